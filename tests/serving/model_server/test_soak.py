"""Some seconds of mixed load: the short form of `benchmarks/serving_soak.py`."""

import os

import pytest

from benchmarks import _embedded, serving_soak
from tests.serving import color_model, guarded_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "SEAMLINE_SOAK" not in os.environ,
        reason="takes minutes beside other tests, and counts threads: SEAMLINE_SOAK=1 runs it",
    ),
]

SECONDS = 12.0
SWAP_S = 1.5
LONGEST_WAIT_S = 60.0
"""No measurement, unlike in the benchmark, because tests share their machine: nothing hangs."""

MOST_GROWTH = 2.0
"""In some seconds of swaps memory has not settled; what is lost at every swap would show."""


def test_good_requests_are_answered_whatever_else_goes_on(tmp_path):
    model, pictures = tmp_path / "saved", tmp_path / "pictures"
    color_model.save(guarded_model.GuardedModel(), str(model))
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
            most_growth=MOST_GROWTH,
        )
    assert report.faults == []
    assert report.good > 100
    assert report.swaps >= 2
    assert set(report.others) == {"broken", "huge", "slow readers", "half open"}
