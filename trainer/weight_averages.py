"""Moving averages of the weights: optimizers that keep them, and where they replace the weights.

Training goes on from the weights themselves. Normalizations' statistics are moving averages of
their own and stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
from keras import ops


def short_of_steps(momentum: float, steps: int) -> str:
    """A sentence where averages are to remember more steps than a training has; else empty.

    Args:
        momentum: The option `training.ema`.
        steps: Of the last stage, whose weights are averaged.
    """
    remembered = round(1 / (1 - momentum))
    if not momentum or remembered <= steps:
        return ""
    advice = f"{1 - 10 / steps:.2g} or less" if steps > 10 else "0"
    return (
        f"training.ema {momentum:g} averages over {remembered:,.0f} steps and the last stage has "
        f"only {steps:,}, so the averages, which are served, may be worse than the weights: set it "
        f"to {advice}, or train longer"
    )


class _GrowingMemory:
    """What an optimizer's averages remember grows with its steps, up to `ema_momentum`.

    With the full momentum from the start, the random weights of the first step would be a part
    of the average for as many steps as it remembers, and a short training would return little
    else. The momentum of step t is at most (1 + t) / (10 + t), as in TensorFlow's
    `tf.train.ExponentialMovingAverage`.
    """

    @property
    def ema_momentum(self):
        """Part of the average that the current step leaves, float ()."""
        steps = ops.cast(self.iterations, "float32")
        return ops.minimum(self._ema_momentum, (1.0 + steps) / (10.0 + steps))

    @ema_momentum.setter
    def ema_momentum(self, most: float):
        self._ema_momentum = most

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"ema_momentum": self._ema_momentum}


@keras.saving.register_keras_serializable(package="seamline")
class Adam(_GrowingMemory, keras.optimizers.Adam):
    """Keras' Adam, whose averages start without a memory."""


@keras.saving.register_keras_serializable(package="seamline")
class AdamW(_GrowingMemory, keras.optimizers.AdamW):
    """Keras' AdamW, whose averages start without a memory."""


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within it the model has the averages; without averages nothing changes."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    variables = model.trainable_variables
    # Keras' SwapEMAWeights swaps by sums and differences, which leave not quite the same weights.
    weights = [keras.ops.convert_to_numpy(variable) for variable in variables]
    optimizer.finalize_variable_values(variables)
    if keras.backend.backend() == "jax":
        # They are the averages' own memory now, which an evaluation would take for its results.
        for variable in variables:
            variable.assign(keras.ops.convert_to_numpy(variable).copy())
    try:
        yield
    finally:
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)


class EvaluationOfAverages(keras.callbacks.Callback):
    """Lets the averages be evaluated, not the weights."""

    def __init__(self):
        super().__init__()
        self._averaged = contextlib.ExitStack()

    def on_test_begin(self, logs=None):
        """Puts the averages in."""
        self._averaged.enter_context(averaged_weights(self.model))

    def on_test_end(self, logs=None):
        """Puts the weights back."""
        self._averaged.close()
