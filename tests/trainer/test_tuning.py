"""The search tries the values that the config names, and never passes off nothing as a result."""

import logging

import pytest

from pipeline import config
from schema.errors import UserError
from trainer import training, tuning
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


@pytest.mark.parametrize("search", ["random", "bayesian", "hyperband"])
def test_the_best_trial_is_the_one_with_the_best_mean(fn_args_with, search, monkeypatch):
    """Training is replaced by a figure of the values, so that the best ones are known."""
    seen = []

    def network(options, splits):
        seen.append(options)
        return options

    def fit(options, *args, report, **kwargs):
        score = options["model"]["dense_units"] / 100 + options["training"]["learning_rate"]
        report("epoch 1 of 1", options["training"]["epochs"])
        return {"val_mean": [0.0, score]}

    monkeypatch.setattr(training, "network", network)
    monkeypatch.setattr(training, "compiled_for_training", lambda options, *args: options)
    monkeypatch.setattr(training, "fit", fit)
    tuner = searched(fn_args_with(search=search, trials=12, epochs=2))
    best = tuned_options(tuner.get_best_hyperparameters()[0].values)
    scores = [x["model"]["dense_units"] / 100 + x["training"]["learning_rate"] for x in seen]
    assert best["model.dense_units"] / 100 + best["training.learning_rate"] == max(scores)
    assert {x["training"]["epochs"] for x in seen} <= {1, 2}


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

    monkeypatch.setattr(training, "fit", fails)
    with pytest.raises(UserError, match="None of the 3 trials.*No module named tensorboard"):
        searched(fn_args_with())


def test_single_failures_are_no_obstacle(fn_args_with, monkeypatch):
    def fit(*args, **kwargs):
        outcomes.append(0.5)
        if len(outcomes) != 4:
            raise ValueError("these values do not work")
        return {"val_mean": outcomes}

    outcomes = []
    monkeypatch.setattr(training, "fit", fit)
    tuner = searched(fn_args_with(trials=4))
    assert tuner.oracle.get_best_trials(1)[0].score == 0.5


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        ({"training.momentum": [0.9]}, "training.momentum, which is no option"),
        ({"evaluation.attribute_threshold": [0.5]}, "attribute_threshold, which is no option"),
        ({"model.dropout": []}, r"has \[\] for model.dropout"),
        ({"model.dropout": [0.1, "much"]}, "'much'.*for model.dropout"),
        ({}, "tuning.space is empty"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_before_training(fn_args_with, space, problem):
    with pytest.raises(UserError, match=problem):
        tuning.tuner_fn(fn_args_with(space=space))


def test_whole_numbers_among_fractions_are_fractions(fn_args_with):
    tuner = tuning.tuner_fn(fn_args_with(space={"model.dropout": [0, 0.5]})).tuner
    assert tuner.oracle.get_space().space[0].values == [0.0, 0.5]
