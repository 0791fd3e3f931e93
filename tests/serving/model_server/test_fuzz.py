"""Some hundred malformed requests: the short form of `benchmarks/serving_fuzz.py`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import _embedded, _malformed, serving_fuzz
from tests.serving import color_model, guarded_model

pytestmark = pytest.mark.slow

REQUESTS = 200
SEED = 2
LONGEST_WAIT_S = 60.0
"""No measurement, unlike in the benchmark, because tests share their machine: nothing hangs."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of good pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, color in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 90))):
        picture = color_model.picture(*color, size=64, suffix="jpeg")
        (folder / f"{number}.jpg").write_bytes(picture)
    return _embedded.picture_files(folder, 3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_embedded.Served]:
    """A server in a process of its own."""
    folder = tmp_path_factory.mktemp("model") / "saved"
    color_model.save(guarded_model.GuardedModel(), str(folder))
    with _embedded.served(folder) as running:
        yield running


def test_malformed_requests_cost_nobody_but_those_who_send_them(server, pictures):
    report = serving_fuzz.attack(
        server,
        pictures,
        REQUESTS,
        SEED,
        longest_wait_s=LONGEST_WAIT_S,
        most_peak=3.0,
        most_afterwards=2.0,
        every=0,
    )
    assert report.faults == []
    assert sum(report.outcomes.values()) == REQUESTS
    assert report.good > 20
    kinds = {kind for kind, _ in report.outcomes}
    assert {"mutated message", "strange tensor", "strange JSON", "gzip", "pictures"} <= kinds


def test_the_same_seed_makes_the_same_requests(pictures):
    contents = [Path(file).read_bytes() for file in pictures]

    def made(seed: int) -> list[_malformed.Malformed]:
        return list(_malformed.malformed(seed, range(60), "catalog", contents))

    assert made(5) == made(5)
    assert made(5) != made(6)
    assert made(5)[7] == next(_malformed.malformed(5, [7], "catalog", contents))


@pytest.mark.parametrize(
    ("status", "message", "is_fault"),
    [
        ("INVALID_ARGUMENT", "anything", False),
        ("INTERNAL", "The message is no tensorflow.serving.PredictRequest: Error parsing", False),
        ("INTERNAL", "The server failed; its log says more under error 7", True),
        ("UNKNOWN", "Unexpected <class 'TypeError'>", True),
        ("UNAVAILABLE", "Socket closed", True),
        ("DEADLINE_EXCEEDED", "", True),
    ],
)
def test_what_is_a_fault_over_grpc(status, message, is_fault):
    request = _malformed.Malformed(0, "kind", "/service/Method", b"")
    assert bool(_malformed.fault(request, _malformed.Outcome(status, message, 0.1))) is is_fault


@pytest.mark.parametrize(
    ("status", "message", "is_fault"),
    [
        ("200", "{}", False),
        ("400", '{"error": "no"}', False),
        ("400", "<html>no</html>", True),
        ("501", '{"error": "Not Implemented: BREW"}', False),
        ("503", "<html>busy</html>", True),
        ("500", '{"error": "The server failed"}', True),
        ("closed", "", True),
        ("silence", "", True),
    ],
)
def test_what_is_a_fault_over_rest(status, message, is_fault):
    request = _malformed.Malformed(0, "kind", "", b"")
    assert bool(_malformed.fault(request, _malformed.Outcome(status, message, 0.1))) is is_fault
