"""Averages of weights: what they remember, and where they replace the weights."""

import keras
import numpy as np
import pytest

from trainer.weight_averages import (
    Adam,
    AdamW,
    EvaluationOfAverages,
    averaged_weights,
    short_of_steps,
)


@pytest.mark.parametrize(
    ("momentum", "steps", "advice"),
    [
        # By hand: 1 / (1 - momentum) steps are remembered.
        (0.0, 1, None),
        (0.9, 10, None),
        (0.9, 9, "set it to 0, or train longer"),
        (0.998, 500, None),
        (0.998, 499, "set it to 0.98 or less, or train longer"),
        (0.998, 100, "set it to 0.9 or less, or train longer"),
        (0.9999, 10, "set it to 0, or train longer"),
    ],
)
def test_a_memory_longer_than_the_training_is_told_with_what_would_fit(momentum, steps, advice):
    told = short_of_steps(momentum, steps)
    assert bool(told) == (advice is not None)
    if advice:
        assert told.endswith(advice)
        assert f"training.ema {momentum:g} averages over" in told
        assert f"only {steps:,}," in told


def test_averages_are_evaluated_while_training_goes_on_from_the_weights():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.layers[0].kernel.assign([[0.0]])
    model.compile(keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.75), loss="mse")
    x = np.ones((1, 1))
    course = []
    for _ in range(3):
        model.train_on_batch(x, x)
        course.append(float(model.layers[0].kernel.numpy()[0, 0]))
    # The gradient at w is 2 (w - 1), so that one step of .5 leads to 1 at once.
    assert course == pytest.approx([1, 1, 1])
    model.layers[0].kernel.assign([[5.0]])
    with averaged_weights(model):
        assert model.layers[0].kernel.numpy()[0, 0] == pytest.approx(1)
    assert model.layers[0].kernel.numpy()[0, 0] == 5


def test_without_averages_the_weights_are_evaluated():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(Adam(0.1), loss="mse")
    model.optimizer.build(model.trainable_variables)
    weights = model.get_weights()
    with averaged_weights(model):
        for one, other in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_averages_are_found_behind_the_scale_of_a_loss_in_16_bits():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    inner = Adam(0.1, use_ema=True, ema_momentum=0.9)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), loss="mse")
    model.optimizer.build(model.trainable_variables)
    kernel = model.layers[0].kernel
    kernel.assign([[3.0]])
    model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
    # The first step's average is its weights.
    (stepped,) = kernel.numpy().ravel()
    kernel.assign([[7.0]])
    evaluation = EvaluationOfAverages()
    evaluation.set_model(model)
    evaluation.on_test_begin()
    assert kernel.numpy().ravel() == pytest.approx([stepped])
    evaluation.on_test_end()
    assert kernel.numpy().ravel() == pytest.approx([7])


def test_averages_of_a_short_training_do_not_hold_on_to_its_first_weights():
    """By hand: update 0 is the average; from then on the momentum is (1 + n) / (10 + n)."""
    variable = keras.Variable([0.0])
    optimizer = AdamW(0.1, use_ema=True, ema_momentum=0.999)
    optimizer.build([variable])
    course, average = [], 0.0
    for update in range(40):
        optimizer.apply([keras.ops.convert_to_tensor([-1.0])])
        course.append(float(variable.numpy()[0]))
        momentum = (1 + update) / (10 + update) if update else 0
        average = momentum * average + (1 - momentum) * course[-1]
    optimizer.finalize_variable_values([variable])
    assert float(variable.numpy()[0]) == pytest.approx(average, rel=1e-4)
    assert course[10] < average < course[-1]
    again = AdamW.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
