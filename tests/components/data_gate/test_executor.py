"""The gate in the pipeline's place: artifacts in, a verdict or a stop out."""

import json
from pathlib import Path

import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import standard_artifacts

from components.catalog_example_gen.artifacts import Rejects
from components.data_gate.artifacts import DataGateVerdict
from components.data_gate.executor import Executor
from components.data_gate.findings import Finding
from components.data_gate.verdict import read_verdict
from schema.errors import UserError

SCHEMA = schema_pb2.Schema()
SCHEMA.feature.add(name="season", type=schema_pb2.BYTES).string_domain.value[:] = ["Summer"]


INGESTED = {
    "rows": 1200,
    "accepted": 1190,
    "rejected": 10,
    "rejected_by_reason": {"empty_file": 9, "doubled_id": 1},
    "looked_into_by_category": {"Tops": {"opened": 1199, "unusable": 9, "left_out": 0}},
}


def leave_out(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Has the sample leave out so many rows more."""
    ends = {**INGESTED["looked_into_by_category"]["Tops"], "left_out": rows}
    monkeypatch.setitem(INGESTED, "rows", INGESTED["rows"] + rows)
    monkeypatch.setitem(INGESTED, "looked_into_by_category", {"Tops": ends})


def judge(
    folder: Path,
    seasons: dict[str, list[str]],
    stop_on: str,
    max_rejected: float = 0.1,
    max_ambiguous: float = 0.1,
    previous: list[str] | None = None,
    **thresholds: float,
) -> DataGateVerdict:
    """Lets the executor judge splits whose products, and an earlier run's, have these seasons."""
    anomalies, statistics = (
        standard_artifacts.ExampleAnomalies(),
        standard_artifacts.ExampleStatistics(),
    )
    rejects, verdict = Rejects(), DataGateVerdict()
    named = {"anomalies": anomalies, "statistics": statistics, "rejects": rejects}
    for name, artifact in {**named, "verdict": verdict}.items():
        artifact.uri = str(folder / name)
        Path(artifact.uri).mkdir()
    anomalies.split_names = statistics.split_names = json.dumps(list(seasons))
    for split, values in seasons.items():
        measured = tfdv.generate_statistics_from_dataframe(pd.DataFrame({"season": values}))
        found = tfdv.validate_statistics(measured, SCHEMA)
        for artifact, file, proto in (
            (statistics, "FeatureStats.pb", measured),
            (anomalies, "SchemaDiff.pb", found),
        ):
            path = Path(artifact.uri) / f"Split-{split}" / file
            path.parent.mkdir()
            path.write_bytes(proto.SerializeToString())
    (Path(rejects.uri) / "summary.json").write_text(json.dumps(INGESTED))
    inputs = {name: [artifact] for name, artifact in named.items()}
    if previous:
        earlier = standard_artifacts.ExampleStatistics()
        earlier.uri = str(folder / "earlier")
        path = folder / "earlier" / "Split-train" / "FeatureStats.pb"
        path.parent.mkdir(parents=True)
        measured = tfdv.generate_statistics_from_dataframe(pd.DataFrame({"season": previous}))
        path.write_bytes(measured.SerializeToString())
        inputs["previous_statistics"] = [earlier]
    bounds = {"max_rejected": max_rejected, "max_ambiguous": max_ambiguous}
    options = {"stop_on": stop_on, **bounds, **thresholds}
    Executor().Do(inputs, {"verdict": [verdict]}, options)
    return verdict


def summary(verdict: DataGateVerdict) -> str:
    return verdict.get_string_custom_property("summary")


def test_sound_data_pass(tmp_path: Path) -> None:
    verdict = judge(tmp_path, {"train": ["Summer"], "eval": ["Summer"]}, "warning")
    assert summary(verdict) == "1,190 of 1,200 rows usable, all as the schema says"
    content = json.loads((Path(verdict.uri) / "verdict.json").read_text())
    assert content == {"stop_on": "warning", "findings": [], "distances": []}


def test_rows_that_a_sample_left_out_are_not_called_unusable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out(monkeypatch, 4000)
    told = summary(judge(tmp_path, {"train": ["Summer"]}, "error"))
    assert told.startswith("1,190 of 5,200 rows used, 4,000 left out")


def test_more_rejects_than_allowed_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        judge(tmp_path, {"train": ["Summer"]}, "error", max_rejected=0.008)
    assert "10 of 1,200 rows (0.8%)" in str(raised.value)
    assert "`checks.max_rejected`" in str(raised.value)
    assert "empty picture file (9)" in str(raised.value)
    assert str(tmp_path / "rejects" / "rejects.csv") in str(raised.value)


def test_rejects_of_a_sample_are_held_against_what_was_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One row was rejected of all 5,200; of the others 1,199 pictures were opened, 9 of them bad.
    leave_out(monkeypatch, 4000)
    expected = (1 + 5199 * 9 / 1199) / 5200
    (tmp_path / "pass").mkdir()
    judge(tmp_path / "pass", {"train": ["Summer"]}, "error", max_rejected=expected + 1e-6)
    with pytest.raises(UserError) as raised:
        judge(tmp_path, {"train": ["Summer"]}, "error", max_rejected=expected - 1e-6)
    assert "10 of 5,200 rows (0.8%, if the 4,000 that were left out are" in str(raised.value)


def test_rejects_are_held_against_the_pictures_that_the_rows_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of 1,200 rows 1,000 only belong to a product, and 50 pictures are a row's second.
    for name, number in (("belonging_rows", 1000), ("further_pictures", 50), ("accepted", 240)):
        monkeypatch.setitem(INGESTED, name, number)
    with pytest.raises(UserError, match=r"10 of 250 pictures \(4.0%\) were rejected"):
        judge(tmp_path, {"train": ["Summer"]}, "error", max_rejected=0.039)


def test_what_would_have_fitted_is_said_with_the_rejects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INGESTED, "hints", ["Rows name 1.0.", "Others name 2.0."])
    with pytest.raises(UserError, match=r"empty picture file \(9\), .*\. Rows name 1.0. Others"):
        judge(tmp_path, {"train": ["Summer"]}, "error", max_rejected=0.001)


def test_many_products_with_several_different_pictures_of_their_name_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("ambiguous", 119), ("products", 1190)):
        monkeypatch.setitem(INGESTED, name, number)
    (tmp_path / "pass").mkdir()
    judge(tmp_path / "pass", {"train": ["Summer"]}, "error", max_ambiguous=0.1)
    with pytest.raises(UserError, match=r"For 119 of 1,190 products \(10.0%\)"):
        judge(tmp_path, {"train": ["Summer"]}, "error", max_ambiguous=0.099)


def test_as_many_rejects_as_allowed_pass(tmp_path: Path) -> None:
    judge(tmp_path, {"train": ["Summer"]}, "error", max_rejected=10 / 1200)


def test_an_error_stops_the_run_and_every_sentence_is_listed(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        judge(tmp_path, {"train": ["Monsoon"] * 3, "eval": ["Rain", "Summer"]}, "error")
    message = str(raised.value)
    assert "train: `season` has 1 value outside its domain, e.g. 'Monsoon' in 3 rows." in message
    assert "eval: `season` has 1 value outside its domain, e.g. 'Rain' in 1 row." in message
    assert "`checks.stop_on`" in message


def test_what_does_not_stop_the_run_is_in_the_verdict(tmp_path: Path) -> None:
    verdict = judge(tmp_path, {"train": ["Monsoon"], "eval": ["Rain", "Summer"]}, "never")
    assert summary(verdict).endswith(
        "; train: `season` has 1 value outside its domain, e.g. 'Monsoon' in 1 row and 1 more"
    )
    content = json.loads((Path(verdict.uri) / "verdict.json").read_text())
    assert [(one["split"], one["severity"]) for one in content["findings"]] == [
        ("train", "error"),
        ("eval", "error"),
    ]


HALF = ["Summer"] * 100 + ["Winter"] * 100
OPEN = schema_pb2.Schema()
OPEN.feature.add(name="season", type=schema_pb2.BYTES)


@pytest.fixture
def any_season(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SCHEMA", OPEN)


@pytest.mark.usefixtures("any_season")
def test_drift_is_a_warning_and_stops_the_run_that_asks_for_it(tmp_path: Path) -> None:
    seasons = {"train": ["Summer"] * 160 + ["Winter"] * 40, "eval": HALF}
    sentence = (
        "`season` has drifted: 'Summer' was 50.0% of the labels and is 80.0% "
        "(distance 0.30, and `checks.drift` allows 0.2)"
    )
    (tmp_path / "pass").mkdir()
    verdict = judge(tmp_path / "pass", seasons, "error", previous=HALF, drift=0.2)
    assert read_verdict(verdict.uri).findings == [Finding("train", "season", "warning", sentence)]
    assert sentence in summary(verdict)
    (tmp_path / "stop").mkdir()
    with pytest.raises(UserError) as raised:
        judge(tmp_path / "stop", seasons, "warning", previous=HALF, drift=0.2)
    assert sentence in str(raised.value)


@pytest.mark.usefixtures("any_season")
def test_every_distance_is_in_the_verdict_whether_too_far_or_not(tmp_path: Path) -> None:
    seasons = {"train": HALF, "eval": ["Summer"] * 120 + ["Winter"] * 80, "test": HALF}
    verdict = read_verdict(judge(tmp_path, seasons, "error", previous=HALF, drift=1, skew=1).uri)
    assert verdict.findings == []
    told = {(one.kind, one.split): round(one.value, 6) for one in verdict.distances}
    assert told == {("drift", "train"): 0, ("skew", "eval"): 0.1, ("skew", "test"): 0}


@pytest.mark.usefixtures("any_season")
def test_without_thresholds_and_without_an_earlier_run_nothing_is_compared(tmp_path: Path) -> None:
    seasons = {"train": HALF, "eval": ["Winter"] * 200}
    assert read_verdict(judge(tmp_path, seasons, "warning", drift=0.1).uri).distances == []
