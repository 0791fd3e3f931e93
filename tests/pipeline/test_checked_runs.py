"""Runs up to the gate: what this run's data are compared with, and what is computed anew."""

import re

import pytest

from components.data_gate.verdict import read_verdict
from pipeline.config import Catalog, Checks, Config
from pipeline.demo_catalog import draw_demo_catalog
from pipeline.workspace import Workspace
from schema.errors import UserError


class Observer:
    """Keeps each step's state and sentence."""

    def __init__(self):
        self.states, self.summaries = {}, {}

    def planned(self, steps):
        self.states = dict.fromkeys(steps, "waiting")

    def left_out(self, step, reason):
        self.states[step] = "off"

    def started(self, step):
        self.states[step] = "running"

    def finished(self, step, result):
        self.states[step], self.summaries[step] = result.state, result.summary

    def failed(self, step, seconds):
        self.states[step] = "failed"


class Runs:
    """A catalog whose pipeline is run again and again, up to the gate."""

    def __init__(self, folder):
        self.catalog = draw_demo_catalog(folder / "catalog", products=300, seed=5, faults=False)
        self.workspace = Workspace(folder / "work")
        self.workspace.create()
        self.observer = Observer()

    def run(self, **checks):
        """Returns the steps that were computed and what the gate found."""
        from pipeline.local_runner import ObservedLocalDagRunner, local_pipeline
        from pipeline.steps import LOOK_UPS

        config = Config(
            catalog=Catalog(
                folder=str(self.catalog.folder),
                category="category",
                subcategory="subcategory",
                slices=["gender"],
            ),
            checks=Checks(**checks),
        )
        runner = ObservedLocalDagRunner(self.observer, last="DataGate")
        runner.run(local_pipeline(config, self.workspace))
        computed = {step for step, state in self.observer.states.items() if state == "done"}
        verdict = read_verdict(runner.results["DataGate"].outputs["verdict"][0].uri)
        return computed - LOOK_UPS, verdict

    def relabel(self, old, new):
        labels = self.catalog.folder / "labels.csv"
        labels.write_text(labels.read_text().replace(old, new))


@pytest.mark.slow
def test_drift_is_measured_against_the_last_other_data_that_passed(tmp_path):
    runs = Runs(tmp_path)
    computed, verdict = runs.run()
    assert "DataGate" in computed
    assert [one for one in verdict.distances if one.kind == "drift"] == []
    assert runs.observer.states["PreviousStatistics"] == "off"
    assert runs.run()[0] == set(), "nothing has changed"

    # Data that are stopped at the gate are no measure for the next ones.
    runs.relabel(",Women,", ",Men,")
    with pytest.raises(UserError, match="`gender` has drifted: 'Men' was (.*%) of") as stopped:
        runs.run(stop_on="warning", skew=None)
    of_the_first = re.search(r"'Men' was (.*?%)", str(stopped.value))[1]
    runs.relabel(",Unisex,", ",Men,")
    computed, verdict = runs.run(skew=None)
    assert "DataGate" in computed
    (finding,) = [one for one in verdict.findings if one.feature == "gender"]
    assert (finding.split, finding.severity) == ("train", "warning")
    assert f"'Men' was {of_the_first} of the labels and is 100.0%" in finding.sentence
    assert runs.run(skew=None)[0] == set(), "nothing has changed"

    # Another threshold judges again and computes nothing else.
    assert runs.run(skew=0.5)[0] == {"DataGate"}
