"""A stage is fitted from the epoch that it had come to, and no step is traced twice."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from schema.errors import UserError
from trainer.fitting import compiled_for_training, fit
from trainer.network import network
from trainer.splits import Splits
from trainer.stages import Stage, stages_of

STEPS = 4
LEVELS = ("category", "subcategory")


class Counting(keras.layers.Layer):
    """Passes on what it gets, and counts how often TensorFlow traces it."""

    def __init__(self):
        super().__init__()
        self.traced = []

    def call(self, inputs, training=False):
        if tf.inside_function():
            self.traced.append(bool(training))
        return inputs


class Drawn:
    """Batches of numbers, for as many epochs as are asked for."""

    def __init__(self, value: float = 1.0):
        self.asked = None
        labels = {name: np.ones((2, 1), np.float32) for name in LEVELS}
        self._batch = np.full((2, 3), value, np.float32), labels

    def training_batches(self, options, first_epoch, end_epoch):
        self.asked = first_epoch, end_epoch
        return tf.data.Dataset.from_tensors(self._batch).repeat(STEPS * (end_epoch - first_epoch))

    def evaluation_batches(self, options):
        return tf.data.Dataset.from_tensors(self._batch)


def compiled():
    """Two levels, for which Keras makes figures of their own when it first computes the loss."""
    counting, inputs = Counting(), keras.Input((3,))
    within = counting(inputs)
    fitted = keras.Model(inputs, {name: keras.layers.Dense(1)(within) for name in LEVELS})
    fitted.compile(
        keras.optimizers.SGD(0.01),
        loss=dict.fromkeys(LEVELS, "mse"),
        metrics={name: [keras.metrics.MeanAbsoluteError(name="error")] for name in LEVELS},
    )
    return fitted, counting


def fitted_from(first_epoch, end_epoch, batches, fitted, told):
    stage = Stage(0, end_epoch, 0.01, frozen=False, on_features=False, is_last=True)
    return fit(
        *(fitted, {"training": {"epochs": end_epoch}}, batches, stage, []),
        report=lambda sentence, done: told.append(done),
        first_epoch=first_epoch,
    )


@pytest.mark.parametrize(("first_epoch", "end_epoch"), [(0, 2), (1, 4)])
def test_the_epochs_that_are_left_have_their_steps_and_no_others(first_epoch, end_epoch):
    fitted, _ = compiled()
    batches, told = Drawn(), []
    history = fitted_from(first_epoch, end_epoch, batches, fitted, told)
    assert batches.asked == (first_epoch, end_epoch)
    assert len(history["loss"]) == len(history["val_loss"]) == end_epoch - first_epoch
    assert int(fitted.optimizer.iterations) == STEPS * (end_epoch - first_epoch)
    assert told[-1] == end_epoch
    assert all(first_epoch <= done <= end_epoch for done in told)


def test_a_model_is_compiled_with_a_built_optimizer_at_the_stage_s_rate(
    catalog, options_with, tmp_path
):
    splits = Splits.read(catalog.fn_args(tmp_path))
    options = options_with(training__learning_rate=0.0123)
    (stage,) = stages_of(options)
    fitted = compiled_for_training(network(options, splits.labels), options, splits, stage)
    assert fitted.compiled and fitted.optimizer.built
    assert float(fitted.optimizer.learning_rate) == pytest.approx(0.0123)


def test_a_step_of_training_and_one_of_evaluation_are_traced_once():
    fitted, counting = compiled()
    # Keras has looked through it once to know the shapes.
    counting.traced.clear()
    fitted_from(0, 2, Drawn(), fitted, [])
    assert sorted(counting.traced) == [False, True]


def test_what_was_answered_before_the_first_step_is_no_part_of_its_figures():
    fitted, _ = compiled()
    fitted.set_weights([np.zeros((3, 1)), np.ones(1)] * len(LEVELS))
    # Every answer is 1, as is right; to make the figures labels of 0 were held against it.
    history = fitted_from(0, 1, Drawn(), fitted, [])
    assert history["loss"] == [0]
    assert {name: history[f"{name}_error"] for name in LEVELS} == dict.fromkeys(LEVELS, [0])


def test_a_loss_that_is_no_number_ends_it():
    fitted, _ = compiled()
    with pytest.raises(UserError, match="The loss became nan in epoch 1"):
        fitted_from(0, 2, Drawn(float("nan")), fitted, [])
