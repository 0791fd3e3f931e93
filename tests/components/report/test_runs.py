"""The runs of a workspace are read from the reports that they left."""

import json

from components.report import runs


def metrics(created, **more):
    return {
        "created": created,
        "live": None,
        "blessed": True,
        "example_count": 90,
        "figures": {
            "category/accuracy": {"value": 0.5, "interval": [0.4, 0.6], "products": 90},
            "gender/accuracy": {"value": None, "interval": None, "products": 0},
        },
        **more,
    }


def test_reports_beside_this_one_are_read_in_the_order_of_their_runs(tmp_path):
    for folder, created in (("9", "2026-01-02T10:00:00Z"), ("17", "2026-01-01T10:00:59Z")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "metrics.json").write_text(json.dumps(metrics(created)))
    for folder, text in (("3", "{"), ("4", "{}"), ("20", json.dumps(metrics("2026-01-03")))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "metrics.json").write_text(text)
    found = runs.read(str(tmp_path / "20"))
    assert [run["created"] for run in found] == ["2026-01-01 10:00", "2026-01-02 10:00"]
    assert found[0]["figures"] == {"category/accuracy": {"value": 0.5, "interval": [0.4, 0.6]}}
    assert (found[0]["products"], found[0]["live"], found[0]["blessed"]) == (90, None, True)


def test_a_first_run_has_none_before_it(tmp_path):
    assert runs.read(str(tmp_path / "artifacts" / "1")) == []
