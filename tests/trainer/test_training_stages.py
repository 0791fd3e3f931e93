"""Stages, averages and the techniques of a training survive a kill and do what they are for."""

import dataclasses

import keras
import numpy as np
import pytest

from pipeline import config
from trainer import input_pipeline, objective, training
from trainer.callbacks import EpochReport
from trainer.fitting import compiled_for_training
from trainer.frozen_features import FrozenFeatures
from trainer.losses import WeightedBinaryCrossentropy
from trainer.network import network
from trainer.options import override
from trainer.splits import Splits
from trainer.stages import optimizer, stages_of
from trainer.training_model import backbone_of, training_model
from trainer.weight_averages import AdamW, averaged_weights

PLAIN_PICTURES = {
    f"augmentation.{change}_probability": 0
    for change in ("flip", "contrast", "brightness", "geometry")
}


@pytest.fixture(scope="module")
def splits(catalog, tmp_path_factory):
    return Splits.read(catalog.fn_args(tmp_path_factory.mktemp("splits")))


@pytest.fixture(scope="module")
def options_with(catalog, tmp_path_factory):
    """Options of a still smaller model than the other tests', with some replaced."""
    small = {
        "model.image_height": 16,
        "model.image_width": 16,
        "model.batch_normalization": "block_end",
        "model.filters": 4,
        "model.heads": "plain",
        "training.batch_size": 48,
    }
    defaults = catalog.fn_args(tmp_path_factory.mktemp("options")).custom_config
    return lambda **changes: override(
        defaults, small | {name.replace("__", "."): value for name, value in changes.items()}
    )


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


def test_on_features_the_heads_learn_what_they_learn_on_unchanged_pictures(
    splits, options_with, tmp_path
):
    options = override(
        options_with(training__frozen_epochs=3, training__epochs=3, model__dropout=0),
        PLAIN_PICTURES,
    )
    (stage,) = stages_of(options)
    model = network(options, splits.labels)
    on_features = compiled_for_training(model, options, splits, stage)
    found = FrozenFeatures(backbone_of(model), splits, options, tmp_path, report=print)
    expected = on_features.evaluate(found.evaluation_batches(options), verbose=0, return_dict=True)
    on_pictures = compiled_for_training(
        model, options, splits, dataclasses.replace(stage, on_features=False)
    )
    loss = on_pictures.evaluate(splits.evaluation_batches(options), verbose=0, return_dict=True)
    assert loss == pytest.approx(expected, rel=1e-4)

    # What was computed once is read from then on.
    kept = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert set(kept) == {"train.npz", "eval.npz"}
    again = FrozenFeatures(None, splits, options, tmp_path, report=None)
    for one, other in zip(
        again.training_batches(options, 1, 2), found.training_batches(options, 1, 2), strict=True
    ):
        np.testing.assert_array_equal(one[0], other[0])


def test_features_in_16_bits_are_read_again_after_a_kill(splits, options_with, tmp_path):
    options = options_with(training__frozen_epochs=1, training__mixed_precision=True)
    backbone = backbone_of(network(options, splits.labels))
    assert backbone.compute_dtype in ("bfloat16", "float16")
    found, again = (
        FrozenFeatures(of, splits, options, tmp_path, report=lambda message: None)
        for of in (backbone, None)
    )
    for one, other in zip(
        found.evaluation_batches(options), again.evaluation_batches(options), strict=True
    ):
        np.testing.assert_array_equal(one[0], other[0])


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


def test_weight_decay_shrinks_kernels_alone(options_with):
    options = options_with(training__optimizer="adamw", training__weight_decay=0.5)
    (stage,) = stages_of(options)
    kernel, bias = keras.Variable(np.ones((2, 2))), keras.Variable(np.ones(2))
    adamw = optimizer(stage, options, 1, [kernel, bias])
    adamw.apply([np.zeros((2, 2)), np.zeros(2)], [kernel, bias])
    np.testing.assert_allclose(kernel.numpy(), 1 - 0.5 * 0.001, rtol=1e-6)
    np.testing.assert_allclose(bias.numpy(), 1)


@pytest.mark.parametrize(
    ("exponent", "expected"), [(1, [28, 28, 28, 0]), (0.5, [48, 24, 12, 0]), (0, [64, 16, 4, 0])]
)
def test_balanced_sampling_draws_by_the_power_of_a_subcategorys_size(
    splits, options_with, exponent, expected
):
    options = options_with(
        training__imbalance="balanced_sampling", training__sampling_exponent=exponent
    )
    counts = np.array([64, 16, 4, 0])
    uneven = dataclasses.replace(
        splits, train=dataclasses.replace(splits.train, labels={"subcategory": counts})
    )
    draws = uneven.order(options, 0, 1)["draws"]
    np.testing.assert_allclose(draws * counts, expected, rtol=1e-6)


def test_an_epoch_has_each_product_as_often_as_it_is_to_be_drawn_in_the_mean():
    subcategories = np.array([0] * 90 + [1] * 10)

    def epochs(first, end):
        batches = input_pipeline.batches_in_memory(
            (np.arange(100), {"subcategory": subcategories}),
            products=100,
            batch_size=10,
            seed=3,
            first_epoch=first,
            epochs=end,
            draws=np.array([0.5, 5.5]),
        )
        drawn = np.stack([pictures for pictures, _ in batches.as_numpy_iterator()])
        return drawn.reshape(end - first, 100)

    drawn = epochs(0, 40)
    times = np.bincount(drawn.ravel(), minlength=100) / 40
    # 40 epochs of 45 in the mean, standard deviation 5 an epoch at most.
    assert times[:90].sum() == pytest.approx(45, abs=3)
    assert times[90:].sum() == pytest.approx(55, abs=3)
    assert times[:90].min() > 0 and 5 <= times[90:].min() <= times[90:].max() <= 6
    assert not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(epochs(7, 9), drawn[7:9])


@pytest.mark.parametrize("limit", [2**31, 0], ids=["in_memory", "read_anew"])
def test_subcategories_that_are_not_to_be_drawn_are_not(splits, options_with, limit, monkeypatch):
    monkeypatch.setattr(input_pipeline, "CACHE_LIMIT_BYTES", limit)
    order = splits.order(options_with(), 3, 5) | {"draws": np.array([0, 1, 2, 0.5])}
    batches = input_pipeline.training_batches(
        splits.train_files, splits.transform_output, image_height=16, image_width=16, **order
    )
    drawn = np.concatenate([labels["subcategory"] for _, labels in batches])
    counts = np.bincount(drawn, minlength=4)
    assert counts.sum() == 288 and len(batches) == 6
    assert counts[0] == 0 and counts[3] < counts[1] < counts[2]


def test_the_embeddings_projection_is_trained_by_the_triplet_loss_alone(splits, options_with):
    model = network(options_with(), splits.labels)
    for weight in (0, 0.5):
        options = options_with(training__triplet_weight=weight)
        (stage,) = stages_of(options)
        outputs = list(objective.level_losses(options, splits))
        fitted = training_model(model, options, stage, outputs)
        trained = [variable.path for variable in fitted.trainable_variables]
        assert any("embedding_projection" in path for path in trained) == bool(weight)


@pytest.mark.parametrize(
    ("imbalance", "weights", "gamma"),
    [
        ("none", [1, 1], 0),
        ("balanced_sampling", [1, 1], 0),
        # 90 t / 90 + 10 t / 10 = 100 products.
        ("inverse_frequency", [50 / 90, 5], 0),
        # With beta 0 what comes after the first product adds nothing.
        ("effective_number", [1, 1], 0),
        ("focal", [1, 1], 2),
    ],
)
def test_each_answer_to_imbalance_has_its_losses(splits, options_with, imbalance, weights, gamma):
    options = options_with(training__imbalance=imbalance, training__effective_number_beta=0)
    counts = {"category": np.array([90, 10]), "subcategory": np.array([50, 50])}
    counts["attributes"] = np.array([80, 20])
    train = dataclasses.replace(splits.train, products=100, labels=counts)
    uneven = dataclasses.replace(splits, train=train)
    losses = objective.level_losses(options, uneven)
    np.testing.assert_allclose(losses["category"].class_weights, weights, rtol=1e-5)
    assert losses["category"].focal_gamma == gamma
    kind = keras.losses.BinaryFocalCrossentropy if gamma else WeightedBinaryCrossentropy
    assert type(losses["attributes"]) is kind


def test_mixing_and_triplets_exclude_one_another():
    with pytest.raises(ValueError, match="triplet_weight needs products of one sub-category"):
        config.Training(mixup_alpha=0.2, triplet_weight=0.5)
