"""Some seconds of mixed load: the short form of `benchmarks/serving_soak.py`."""

import pytest

from benchmarks import _embedded, serving_soak
from tests.serving import color_model, guarded_model

pytestmark = pytest.mark.slow

SECONDS = 16.0
SWAP_S = 2.0
LONGEST_WAIT_S = 10.0
"""Far more than the benchmark allows: tests share their machine."""


def test_good_requests_are_answered_whatever_else_goes_on(tmp_path):
    model, pictures = tmp_path / "saved", tmp_path / "pictures"
    guarded_model.save(str(model))
    pictures.mkdir()
    for number, color in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 90))):
        picture = color_model.picture(*color, size=64, suffix="jpeg")
        (pictures / f"{number}.jpg").write_bytes(picture)
    with _embedded.served(model) as server:
        report = serving_soak.soak(
            server,
            _embedded.picture_files(pictures, 3),
            SECONDS,
            swap_s=SWAP_S,
            longest_wait_s=LONGEST_WAIT_S,
        )
    assert report.faults == []
    assert report.good > 100
    assert report.swaps >= 3
    assert set(report.others) == {"broken", "huge", "slow readers", "half open"}
