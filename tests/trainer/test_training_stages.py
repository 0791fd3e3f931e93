"""Stages, averages and the techniques of a training survive a kill and do what they are for."""

import numpy as np
import pytest

from pipeline import config
from trainer import training
from trainer.callbacks import EpochReport
from trainer.fitting import compiled_for_training
from trainer.network import network
from trainer.splits import Splits
from trainer.stages import stages_of
from trainer.training_model import backbone_of

PLAIN_PICTURES = {
    f"augmentation.{change}_probability": 0
    for change in ("flip", "contrast", "brightness", "geometry")
}


@pytest.fixture(scope="module")
def splits(catalog, tmp_path_factory):
    return Splits.read(catalog.fn_args(tmp_path_factory.mktemp("splits")))


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


def train(options, splits, folder, kill_in_epoch=None):
    """The best epoch's weights and all epochs, or nothing where it is killed within an epoch."""
    with pytest.MonkeyPatch.context() as patched:
        if kill_in_epoch:

            def killed(self, batch, logs=None):
                if (self._epoch, batch) == (kill_in_epoch - 1, 1):
                    raise Killed

            patched.setattr(EpochReport, "on_train_batch_begin", killed)
            with pytest.raises(Killed):
                training.train(options, splits, folder / "state", str(folder / "log"))
            return None
        model, state = training.train(options, splits, folder / "state", str(folder / "log"))
    return model.get_weights(), state.epochs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "techniques"),
    [
        (
            [3],
            {
                "training__epochs": 3,
                "training__mixup_alpha": 0.4,
                "training__cutmix_alpha": 1.0,
                "training__imbalance": "balanced_sampling",
            },
        ),
        (
            [2, 3],
            {
                "training__epochs": 4,
                "training__frozen_epochs": 2,
                "training__frozen_augmentation": False,
                "training__fine_tune_learning_rate": 0.0005,
                "training__triplet_weight": 0.3,
            },
        ),
    ],
    ids=["mixed_and_sampled", "in_either_stage_on_features_with_triplets"],
)
def test_killed_in_a_stage_it_ends_with_the_weights_of_an_unbroken_training(
    splits, options_with, tmp_path, kills, techniques
):
    options = options_with(
        training__ema=0.8,
        training__optimizer="adamw",
        training__schedule="cosine",
        training__warmup_epochs=0.5,
        **techniques,
    )
    weights, epochs = train(options, splits, tmp_path / "unbroken")
    for epoch in kills:
        train(options, splits, tmp_path / "broken", kill_in_epoch=epoch)
    again, epochs_again = train(options, splits, tmp_path / "broken")
    for one, other in zip(again, weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(epochs_again, epochs, strict=True):
        assert one | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, rel=1e-5)


def test_stage_one_trains_the_heads_alone_and_stage_two_all(splits, options_with):
    options = options_with(training__epochs=5, training__frozen_epochs=2)
    model = network(options, splits.labels)
    one, two = stages_of(options)
    assert (one.first_epoch, one.end_epoch, two.first_epoch, two.end_epoch) == (0, 2, 2, 5)
    backbone = backbone_of(model)

    def changed_by(stage):
        before = backbone.get_weights()
        fitted = compiled_for_training(model, options, splits, stage)
        fitted.fit(splits.training_batches(options, 0, 1), verbose=0)
        after = backbone.get_weights()
        return [not np.array_equal(*pair) for pair in zip(before, after, strict=True)]

    assert not any(changed_by(one)), "statistics of the normalizations included"
    assert all(changed_by(two))


def test_frozen_normalization_learns_all_but_the_statistics(splits, options_with):
    options = options_with(training__frozen_normalization=True, training__epochs=1)
    model = network(options, splits.labels)
    (stage,) = stages_of(options)
    backbone = backbone_of(model)
    statistics = [weight.numpy() for weight in backbone.non_trainable_weights]
    kernels = [weight.numpy() for weight in backbone.trainable_weights]
    assert statistics and kernels
    fitted = compiled_for_training(model, options, splits, stage)
    fitted.fit(splits.training_batches(options, 0, 1), verbose=0)
    for before, after in zip(statistics, backbone.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(before, after.numpy())
    for before, after in zip(kernels, backbone.trainable_weights, strict=True):
        assert not np.array_equal(before, after.numpy())


def test_mixing_and_triplets_exclude_one_another():
    with pytest.raises(ValueError, match="triplet_weight needs products of one sub-category"):
        config.Training(mixup_alpha=0.2, triplet_weight=0.5)
