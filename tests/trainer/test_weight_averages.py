"""When averaged weights remember more than a training has."""

import pytest

from trainer.weight_averages import short_of_steps


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
