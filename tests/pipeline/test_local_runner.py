"""When the push is taken from an earlier run, and what it does when it is not.

A pipeline of stand-ins around the real push, run by the real runner with its metadata and cache.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration import metadata, pipeline
from tfx.types.standard_artifacts import InfraBlessing, Model, ModelBlessing

from components.atomic_pusher import object_store, versions
from components.atomic_pusher.component import AtomicPusher
from components.ledger.ledger import Ledger, Pushed
from pipeline import local_runner


@component
def _Trainer(content: Parameter[str], model: OutputArtifact[Model]):  # noqa: N802
    folder = Path(model.uri) / "Format-Serving"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text(content)


@component
def _Judge(  # noqa: N802
    model: InputArtifact[Model],
    verdict: Parameter[str],
    blessing: OutputArtifact[ModelBlessing],
):
    blessing.set_int_custom_property("blessed", int(verdict.startswith("good")))


@component
def _Canary(model: InputArtifact[Model], blessing: OutputArtifact[InfraBlessing]):  # noqa: N802
    blessing.set_int_custom_property("blessed", 1)


class _Unobserved:
    def __getattr__(self, name):
        return lambda *arguments: None


@dataclass
class Runs:
    """A workspace in which the stand-ins are run again and again."""

    root: Path
    destination: str = ""

    @property
    def serving(self) -> Path:
        return self.root / "serving" / "catalog"

    def run(self, content: str, verdict: str = "good", keep: int = 5) -> tuple[str, str]:
        """Trains the model `content`, judges and pushes it; returns the push's state and summary.

        Another good `verdict` is another judgment of the same model.
        """
        trainer = _Trainer(content=content).with_id("Trainer")
        model = trainer.outputs["model"]
        evaluator = _Judge(model=model, verdict=verdict).with_id("Judge")
        canary = _Canary(model=model).with_id("ModelCanary")
        pusher = AtomicPusher(
            model=model,
            model_blessing=evaluator.outputs["blessing"],
            infra_blessing=canary.outputs["blessing"],
            base_directory=self.destination or str(self.serving),
            keep_versions=keep,
            ledger=str(self.root / "ledger"),
        ).with_id("Pusher")
        runner = local_runner.ObservedLocalDagRunner(_Unobserved(), last="Pusher")
        runner.run(
            pipeline.Pipeline(
                pipeline_name="catalog",
                pipeline_root=str(self.root / "artifacts"),
                components=[trainer, evaluator, canary, pusher],
                enable_cache=True,
                metadata_connection_config=(
                    metadata.sqlite_metadata_connection_config(str(self.root / "metadata.sqlite"))
                ),
            )
        )
        self.pushed = runner.results["Pusher"].outputs["pushed_model"][0]
        return runner.results["Pusher"].state, runner.results["Pusher"].summary

    def live(self) -> versions.Version:
        return versions.live_version(versions.find_versions(self.serving))

    def live_model(self) -> str:
        return (self.live().folder / "saved_model.pb").read_text()


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Runs:
    """No run yet."""
    monkeypatch.setattr(local_runner, "STEPS", ("Trainer", "Judge", "ModelCanary", "Pusher"))
    summarize = local_runner.summarize
    monkeypatch.setattr(
        local_runner, "summarize", lambda step, of: summarize(step, of) if step == "Pusher" else ""
    )
    return Runs(tmp_path)


def test_a_push_is_taken_from_the_cache_while_its_version_is_live(runs):
    state, said = runs.run("a")
    assert (state, said) == ("done", f"version {runs.live().number} pushed to {runs.serving}")
    assert runs.run("a") == ("cached", said)
    assert len(versions.find_versions(runs.serving)) == 1
    record = runs.live().record
    assert Path(record.origin.model).is_relative_to(runs.root / "artifacts" / "Trainer")
    assert record.origin.run


def test_a_model_that_another_one_replaced_is_pushed_again(runs):
    runs.run("a")
    runs.run("b")
    assert runs.run("a")[0] == "done"
    assert runs.live_model() == "a"
    assert len(versions.find_versions(runs.serving)) == 3
    assert runs.run("a")[0] == "cached"


@pytest.mark.parametrize(("order", "keep"), [("abab", 5), ("aabbab", 2), ("abcabc", 2)])
def test_after_every_run_that_model_is_live_which_was_asked_for(runs, order, keep):
    """Options there and back, twice: in the end all of it is in the cache."""
    live = None
    for place, content in enumerate(order):
        state, said = runs.run(content, keep=keep)
        assert (place, runs.live_model()) == (place, content)
        assert str(runs.live().number) in said
        if content == live:
            assert state == "cached"
        live = content


def test_the_ledger_knows_what_is_live_whether_it_was_pushed_or_taken_from_the_cache(runs):
    """What is next compared with the last one must not be compared with one that it replaced."""
    for content in "abba":
        runs.run(content)
        last = next(Ledger(str(runs.root / "ledger")).entries(Pushed))
        assert last.destination == str(runs.live().folder)
    assert len(list((runs.root / "ledger" / "pushed").iterdir())) == 3


def test_a_push_to_a_bucket_is_taken_from_the_cache_only_while_its_version_is_live(
    runs, bucket_url
):
    runs.destination = f"{bucket_url}/serving/catalog"
    states = [runs.run(content)[0] for content in "aabba"]
    assert states == ["done", "cached", "done", "cached", "done"]
    found = object_store.find_versions(runs.destination)
    assert len(found) == 3
    assert next(Ledger(str(runs.root / "ledger")).entries(Pushed)).destination == found[0].folder


def test_a_version_that_was_removed_is_pushed_again(runs):
    runs.run("a")
    runs.live().folder.rename(runs.root / "elsewhere")
    assert runs.run("a")[0] == "done"
    assert runs.live_model() == "a"


def test_the_same_model_judged_anew_is_live_already(runs):
    runs.run("a")
    number = runs.live().number
    state, said = runs.run("a", verdict="good by other gates")
    assert (state, said) == ("done", f"version {number} is live already in {runs.serving}")
    assert runs.pushed.get_string_custom_property("pushed_version") == str(number)
    assert runs.run("a", verdict="good by other gates") == ("cached", said)


def test_a_model_that_is_not_blessed_is_not_pushed_and_that_is_remembered(runs):
    runs.run("a")
    said = "not pushed: the Judge did not bless the model"
    assert runs.run("b", verdict="bad") == ("done", said)
    assert runs.run("b", verdict="bad") == ("cached", said)
    assert runs.live_model() == "a"


def test_a_rolled_back_model_is_not_pushed_by_the_next_cached_run_nor_by_the_one_after(runs):
    runs.run("a")
    runs.run("b")
    b = runs.live().number
    copy = versions.roll_back(runs.serving).live

    state, said = runs.run("b")
    assert state == "done"
    assert said.startswith(f"not pushed: this model was version {b} and was rolled back to ")
    assert runs.pushed.get_int_custom_property("pushed") == 0
    assert list(Path(runs.pushed.uri).iterdir()) == [], "what is not pushed is not archived"
    assert runs.run("b") == ("cached", said)
    assert runs.live().number == copy.number
    # Judged anew it is still the same model.
    assert runs.run("b", verdict="good again") == ("done", said)
    assert runs.live().number == copy.number


def test_a_new_model_is_pushed_after_a_rollback_as_ever(runs):
    runs.run("a")
    runs.run("b")
    versions.roll_back(runs.serving)
    assert runs.run("c")[0] == "done"
    assert runs.live_model() == "c"


def test_after_an_undone_rollback_every_run_says_what_is_live(runs):
    runs.run("a")
    runs.run("b")
    b = runs.live().number
    versions.roll_back(runs.serving)
    runs.run("b")
    copy = versions.roll_back(runs.serving, to=b).live

    said = f"version {copy.number} is live already in {runs.serving}"
    assert runs.run("b") == ("done", said)
    assert runs.pushed.get_string_custom_property("pushed_version") == str(copy.number)
    assert runs.run("b") == ("cached", said)
    assert runs.live().number == copy.number


def test_the_model_that_was_gone_back_to_is_live_already(runs):
    runs.run("a")
    runs.run("b")
    copy = versions.roll_back(runs.serving).live
    assert runs.run("a") == ("done", f"version {copy.number} is live already in {runs.serving}")


def test_so_many_versions_are_kept_as_the_option_says(runs):
    for content in "abc":
        runs.run(content)
    assert len(versions.find_versions(runs.serving)) == 3
    state, said = runs.run("c", keep=2)
    assert state == "done" and said.endswith(" removed")
    assert len(versions.find_versions(runs.serving)) == 2
    assert runs.live_model() == "c"
