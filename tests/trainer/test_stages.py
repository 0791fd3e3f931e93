"""A training's stages: which epochs, of what, at which rates and by which optimizer."""

import keras
import numpy as np
import pytest

from trainer import stages
from trainer.options import override
from trainer.stages import Stage, WarmUp, optimizer, stages_of

PLAIN_PICTURES = {
    f"augmentation.{change}_probability": 0
    for change in ("flip", "contrast", "brightness", "geometry")
}


@pytest.mark.parametrize(
    ("epochs", "frozen_epochs", "expected"),
    [
        (5, 0, [Stage(0, 5, 0.01, False, False, is_last=True)]),
        (
            *(5, 2),
            [
                Stage(0, 2, 0.01, True, False, is_last=False),
                Stage(2, 5, 0.002, False, False, is_last=True),
            ],
        ),
        (5, 5, [Stage(0, 5, 0.01, True, False, is_last=True)]),
        (3, 9, [Stage(0, 3, 0.01, True, False, is_last=True)]),
    ],
)
def test_the_frozen_epochs_come_first_and_the_others_have_a_rate_of_their_own(
    options_with, epochs, frozen_epochs, expected
):
    options = options_with(
        training__epochs=epochs,
        training__frozen_epochs=frozen_epochs,
        training__learning_rate=0.01,
        training__fine_tune_learning_rate=0.002,
    )
    assert stages_of(options) == expected


def test_without_a_rate_for_fine_tuning_the_rate_stays(options_with):
    options = options_with(
        training__epochs=2,
        training__frozen_epochs=1,
        training__learning_rate=0.01,
        training__fine_tune_learning_rate=None,
    )
    assert [stage.learning_rate for stage in stages_of(options)] == [0.01, 0.01]


@pytest.mark.parametrize(
    ("changes", "on_features"),
    [
        ({}, False),
        ({"training.frozen_augmentation": False}, True),
        (PLAIN_PICTURES, True),
        ({"augmentation.strength": 0}, False),
        ({"augmentation.strength": 0, "augmentation.flip_probability": 0}, True),
        (PLAIN_PICTURES | {"training.mixup_alpha": 0.2}, False),
        (PLAIN_PICTURES | {"training.frozen_augmentation": False, "training.mixup_alpha": 1}, True),
    ],
)
def test_features_are_kept_where_nothing_changes_the_pictures(options_with, changes, on_features):
    options = override(options_with(training__frozen_epochs=1), changes)
    assert [stage.on_features for stage in stages_of(options)] == [on_features, False]


@pytest.mark.parametrize("change", PLAIN_PICTURES)
def test_any_change_of_the_pictures_is_augmentation(options_with, change):
    options = override(options_with(), PLAIN_PICTURES)
    assert not stages.is_augmented(options)
    assert stages.is_augmented(override(options, {change: 0.1}))


@pytest.mark.parametrize("alpha", ["training.mixup_alpha", "training.cutmix_alpha"])
def test_either_way_of_mixing_is_mixing(options_with, alpha):
    assert not stages.is_mixed(options_with())
    assert stages.is_mixed(override(options_with(), {alpha: 0.2}))


def rates(options, stage, steps_per_epoch=10):
    """The learning rate of each step of a stage."""
    of_stage = optimizer(stage, options, steps_per_epoch, [])
    course = []
    for step in range((stage.end_epoch - stage.first_epoch) * steps_per_epoch + 1):
        of_stage.iterations.assign(step)
        course.append(float(of_stage.learning_rate))
    return course


def test_each_stage_warms_up_and_cools_down_by_its_own_rate(options_with):
    options = options_with(
        training__epochs=6,
        training__frozen_epochs=2,
        training__warmup_epochs=0.5,
        training__schedule="cosine",
        training__learning_rate=0.01,
        training__fine_tune_learning_rate=0.002,
    )
    for stage, peak, steps in zip(stages_of(options), (0.01, 0.002), (20, 40), strict=True):
        course = rates(options, stage)
        np.testing.assert_allclose(course[:6], peak * np.arange(6) / 5, rtol=1e-5)
        fraction = np.arange(steps - 4) / (steps - 5)
        expected = peak * (1 + np.cos(np.pi * fraction)) / 2
        np.testing.assert_allclose(course[5:], expected, rtol=1e-4, atol=1e-9)


def test_a_constant_rate_stays_after_its_warm_up(options_with):
    options = options_with(training__warmup_epochs=1, training__epochs=3)
    course = rates(options, stages_of(options)[0])
    assert course[5] == pytest.approx(0.0005)
    np.testing.assert_allclose(course[10:], 0.001, rtol=1e-6)


def test_without_a_warm_up_the_first_step_has_the_whole_rate(options_with):
    options = options_with(training__warmup_epochs=0, training__epochs=1)
    np.testing.assert_allclose(rates(options, stages_of(options)[0]), 0.001, rtol=1e-6)


def test_a_warm_up_longer_than_its_stage_reaches_the_rate_at_the_last_step(options_with):
    options = options_with(training__warmup_epochs=3, training__epochs=1)
    course = rates(options, stages_of(options)[0])
    np.testing.assert_allclose(course, 0.001 * np.minimum(np.arange(11) / 9, 1), rtol=1e-5)


def test_a_warm_up_comes_back_from_its_config():
    assert WarmUp.from_config(WarmUp(0.5, 4).get_config()).get_config() == {"then": 0.5, "steps": 4}


def test_weight_decay_shrinks_kernels_alone(options_with):
    options = options_with(training__optimizer="adamw", training__weight_decay=0.5)
    (stage,) = stages_of(options)
    kernel, bias = keras.Variable(np.ones((2, 2))), keras.Variable(np.ones(2))
    adamw = optimizer(stage, options, 1, [kernel, bias])
    adamw.apply([np.zeros((2, 2)), np.zeros(2)], [kernel, bias])
    np.testing.assert_allclose(kernel.numpy(), 1 - 0.5 * 0.001, rtol=1e-6)
    np.testing.assert_allclose(bias.numpy(), 1)


def test_adam_is_asked_for_averages_and_clipped_gradients_by_the_options(options_with):
    (stage,) = stages_of(options_with())
    for ema in (0, 0.5):
        options = options_with(training__optimizer="adam", training__ema=ema)
        chosen = optimizer(stage, options | {"training": options["training"]}, 1, [])
        assert isinstance(chosen, keras.optimizers.Adam)
        assert not isinstance(chosen, keras.optimizers.AdamW)
        assert chosen.use_ema == bool(ema)
        assert chosen.global_clipnorm == options["training"]["gradient_clip"]
        assert chosen.get_config()["ema_momentum"] == ema


@pytest.mark.parametrize(
    ("devices", "half"),
    [
        (["cpu:0"], "bfloat16"),
        (["cpu:0", "gpu:0"], "float16"),
        (["gpu:0", "gpu:1"], "float16"),
    ],
)
def test_the_loss_is_scaled_where_16_bits_lose_small_gradients(
    options_with, monkeypatch, devices, half
):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: devices)
    assert stages.half_precision() == half
    for mixed_precision in (False, True):
        options = options_with(training__mixed_precision=mixed_precision)
        chosen = optimizer(*stages_of(options), options, 1, [])
        is_scaled = isinstance(chosen, keras.optimizers.LossScaleOptimizer)
        assert is_scaled == (mixed_precision and half == "float16")
