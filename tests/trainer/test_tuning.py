"""The search tries the values that the config names, and never passes off nothing as a result."""

import logging

import keras_tuner
import pytest

from pipeline import config
from schema.errors import UserError
from trainer import tuning, tuning_trial
from trainer.options import tuned_options


@pytest.fixture
def fn_args_with(catalog, tmp_path):
    def make(**options):
        settings = config.Tuning(
            **{
                "trials": 3,
                "epochs": 1,
                "space": {"model.dense_units": [8, 16], "training.learning_rate": [0.001, 0.01]},
                **options,
            }
        )
        return catalog.fn_args(tmp_path, tuning=settings.model_dump())

    return make


def searched(fn_args):
    result = tuning.tuner_fn(fn_args)
    result.tuner.search(**result.fit_kwargs)
    return result.tuner


@pytest.fixture
def seen(monkeypatch):
    """The options of each trial; a figure of theirs replaces training, so the best are known."""
    seen = []

    def network(options, labels):
        seen.append(options)
        return options

    def fit(options, *args, report, **kwargs):
        score = options["model"]["dense_units"] / 100 + options["training"]["learning_rate"]
        report("epoch 1 of 1", options["training"]["epochs"])
        return {"val_mean": [0.0, score]}

    monkeypatch.setattr(tuning_trial, "network", network)
    monkeypatch.setattr(tuning_trial, "compiled_for_training", lambda options, *args: options)
    monkeypatch.setattr(tuning_trial, "fit", fit)
    return seen


@pytest.mark.parametrize("search", ["random", "bayesian", "hyperband"])
def test_the_best_trial_is_the_one_with_the_best_mean(fn_args_with, search, seen):
    tuner = searched(fn_args_with(search=search, trials=12, epochs=2))
    best = tuned_options(tuner.get_best_hyperparameters()[0].values)
    scores = [x["model"]["dense_units"] / 100 + x["training"]["learning_rate"] for x in seen]
    assert best["model.dense_units"] / 100 + best["training.learning_rate"] == max(scores)
    assert {x["training"]["epochs"] for x in seen} <= {1, 2}
    # As TFX's Tuner asks for the results.
    assert len(tuner.oracle.get_best_trials(tuner.oracle.max_trials)) == len(seen)


def test_hyperband_knows_how_many_trials_it_will_make(fn_args_with, seen):
    """Li et al. 2018 (arXiv 1603.06560), table 1's scheme for 9 epochs and thirds of them."""
    space = {"training.learning_rate": {"min": 1e-5, "max": 1e-2}}
    tuner = searched(fn_args_with(search="hyperband", epochs=9, space=space))
    epochs = [options["training"]["epochs"] for options in seen]
    assert len(epochs) == tuner.oracle.max_trials
    assert epochs.count(1) == 9 and epochs.count(3) == 3 + 5 and epochs.count(9) == 1 + 2 + 3


def test_a_trial_really_trains_and_reports_progress(fn_args_with, caplog):
    with caplog.at_level(logging.INFO, logger="seamline.progress"):
        tuner = searched(fn_args_with(trials=1))
    (trial,) = tuner.oracle.trials.values()
    assert 0 <= trial.score <= 1
    last = caplog.records[-1]
    assert last.message.startswith("trial 1 of at most 1, epoch 1 of 1: ")
    assert (last.completed, last.total) == (1, 1)


def test_a_search_without_any_result_is_an_error(fn_args_with, monkeypatch):
    def fails(*args, **kwargs):
        raise ImportError("No module named tensorboard")

    monkeypatch.setattr(tuning_trial, "fit", fails)
    # The error itself, not the line of code that raised it.
    said = "to its end: [A-Za-z.]*ImportError: No module named tensorboard. Change tuning.space"
    with pytest.raises(UserError, match=f"^None of the 3 trials.*came {said}"):
        searched(fn_args_with())


def test_single_failures_are_no_obstacle(fn_args_with, monkeypatch):
    def fit(*args, **kwargs):
        outcomes.append(0.5)
        if len(outcomes) != 4:
            raise ValueError("these values do not work")
        return {"val_mean": outcomes}

    outcomes = []
    monkeypatch.setattr(tuning_trial, "fit", fit)
    tuner = searched(fn_args_with(trials=4))
    assert tuner.oracle.get_best_trials(1)[0].score == 0.5


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        ({"training.momentum": [0.9]}, "training.momentum, which is no option"),
        ({"evaluation.attribute_threshold": [0.5]}, "attribute_threshold, which is no option"),
        ({"model.dropout": []}, r"has \[\] for model.dropout"),
        ({"model.dropout": [0.1, "much"]}, "'much'.*for model.dropout"),
        ({"model.weights": [None]}, r"has \[None\] for model.weights"),
        ({"model.filters": [[8], [16]]}, r"has \[\[8\], \[16\]\] for model.filters"),
        ({}, "tuning.space is empty"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_before_training(fn_args_with, space, problem):
    with pytest.raises(UserError, match=problem):
        tuning.tuner_fn(fn_args_with(space=space))


def test_a_killed_search_goes_on_with_the_trials_that_are_left(fn_args_with, monkeypatch):
    class Killed(BaseException):
        """Stands for kill -9."""

    trained = []

    def fit(*args, **kwargs):
        trained.append(1)
        if len(trained) == 3:
            raise Killed
        return {"val_mean": [0.1 * len(trained)]}

    monkeypatch.setattr(tuning_trial, "fit", fit)
    fn_args = fn_args_with(trials=4)
    with pytest.raises(Killed):
        searched(fn_args)
    tuner = searched(fn_args)
    # Two were done, the third is tried again.
    assert len(trained) == 5
    scores = [trial.score for trial in tuner.oracle.trials.values()]
    assert sorted(scores) == pytest.approx([0.1, 0.2, 0.4, 0.5])


def test_another_space_is_another_search(fn_args_with, monkeypatch):
    monkeypatch.setattr(tuning_trial, "fit", lambda *args, **kwargs: {"val_mean": [0.5]})
    searched(fn_args_with(trials=2))
    tuner = searched(fn_args_with(trials=2, space={"model.dropout": [0.1, 0.2, 0.3]}))
    assert [set(x.hyperparameters.values) for x in tuner.oracle.trials.values()] == [
        {"model.dropout"},
        {"model.dropout"},
    ]


def test_a_range_is_drawn_from_within_its_bounds(fn_args_with):
    space = {
        "model.dropout": {"min": 0.1, "max": 0.4},
        "model.filters": {"min": 8, "max": 32, "step": 8},
        "training.learning_rate": {"min": 0.0001, "max": 0.01, "log": True},
    }
    drawn = tuning.tuner_fn(fn_args_with(space=space)).tuner.oracle
    for _ in range(20):
        values = drawn.populate_space("0")["values"]
        assert 0.1 <= values["model.dropout"] <= 0.4
        assert values["model.filters"] in (8, 16, 24, 32)
        assert 0.0001 <= values["training.learning_rate"] <= 0.01


@pytest.mark.parametrize(
    ("bounds", "kind", "sampling"),
    [
        ({"min": 0, "max": 2}, keras_tuner.engine.hyperparameters.Int, "linear"),
        ({"min": 0, "max": 0.5}, keras_tuner.engine.hyperparameters.Float, "linear"),
        ({"min": 0.5, "max": 2, "log": True}, keras_tuner.engine.hyperparameters.Float, "log"),
        ({"min": 1, "max": 8, "log": True}, keras_tuner.engine.hyperparameters.Int, "log"),
    ],
)
def test_a_range_of_whole_numbers_alone_is_of_whole_numbers(fn_args_with, bounds, kind, sampling):
    tuner = tuning.tuner_fn(fn_args_with(space={"model.dropout": bounds})).tuner
    (space,) = tuner.oracle.get_space().space
    assert (type(space), space.sampling) == (kind, sampling)
    assert (space.min_value, space.max_value) == (bounds["min"], bounds["max"])


def test_whole_numbers_among_fractions_are_fractions(fn_args_with):
    tuner = tuning.tuner_fn(fn_args_with(space={"model.dropout": [0, 0.5]})).tuner
    assert tuner.oracle.get_space().space[0].values == [0.0, 0.5]
