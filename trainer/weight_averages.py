"""Moving averages of the weights, where the optimizer keeps any, in the place of the weights.

Training goes on from the weights themselves. Normalizations' statistics are moving averages of
their own and stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


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
