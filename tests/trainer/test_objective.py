"""Each level's loss, how much it counts, and the figure that it is judged by."""

import keras
import numpy as np
import pytest

from schema import features
from trainer import objective
from trainer.label_space import LabelCounts
from trainer.losses import (
    SemiHardTriplet,
    TypeCrossentropy,
    WeightedBinaryCrossentropy,
    WeightedCrossentropy,
)


def counts_of(attributes=(80, 20, 5), **extras):
    """A split of 100 products."""
    counts = {"category": (90, 10), "subcategory": (50, 50), "attributes": attributes, **extras}
    labels = {level: np.array(of, int) for level, of in counts.items()}
    return LabelCounts(100, labels, np.array([[50, 40], [0, 10]]))


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
def test_each_answer_to_imbalance_has_its_losses(options_with, imbalance, weights, gamma):
    options = options_with(training__imbalance=imbalance, training__effective_number_beta=0)
    losses = objective.level_losses(options, counts_of())
    np.testing.assert_allclose(losses["category"].class_weights, weights, rtol=1e-5)
    assert losses["category"].focal_gamma == gamma
    kind = keras.losses.BinaryFocalCrossentropy if gamma else WeightedBinaryCrossentropy
    assert type(losses["attributes"]) is kind


def test_attributes_of_a_type_that_exclude_one_another_have_a_crossentropy_a_type(options_with):
    options = options_with(
        model__attribute_classifier="softmax_per_type",
        training__imbalance="focal",
        training__focal_gamma=3,
    )
    loss = objective.level_losses(options, counts_of())["attributes"]
    assert type(loss) is TypeCrossentropy
    assert loss.focal_gamma == 3 and loss.attribute_weights == [1, 1, 1]


def test_labels_are_smoothed_as_the_options_say(options_with):
    losses = objective.level_losses(
        options_with(training__label_smoothing=0.2), counts_of(gender=[60, 40])
    )
    for level in ("category", "subcategory", "gender"):
        assert type(losses[level]) is WeightedCrossentropy
        assert losses[level].label_smoothing == 0.2


def test_the_embedding_has_a_loss_where_triplets_are_asked_for(options_with):
    plain = options_with(training__triplet_weight=0)
    assert "embedding" not in objective.level_losses(plain, counts_of())
    assert "embedding" not in objective.level_loss_weights(plain, counts_of())
    asked = options_with(training__triplet_weight=0.5, training__triplet_margin=0.3)
    loss = objective.level_losses(asked, counts_of())["embedding"]
    assert type(loss) is SemiHardTriplet and loss.margin == 0.3
    assert objective.level_loss_weights(asked, counts_of())["embedding"] == 0.5


def test_a_level_without_labels_has_no_loss_no_weight_and_no_figure(options_with):
    counts = counts_of(attributes=())
    levels = {"category", "subcategory"}
    assert set(objective.level_losses(options_with(), counts)) == levels
    assert set(objective.level_loss_weights(options_with(), counts)) == levels
    assert set(objective.level_metrics(counts)) == levels


def test_attributes_pull_with_twice_the_root_of_their_number(options_with):
    assert objective.level_loss_weights(options_with(), counts_of(gender=[60, 40])) == {
        "category": 1.0,
        "subcategory": 1.0,
        "attributes": pytest.approx(2 * 3**0.5),
        "gender": 1.0,
    }


def test_attributes_that_exclude_one_another_count_one_a_type(options_with):
    options = options_with(model__attribute_classifier="softmax_per_type")
    assert objective.level_loss_weights(options, counts_of())["attributes"] == 1


def test_the_levels_pull_as_much_more_as_the_options_say(options_with):
    options = options_with(
        training__category_weight=0.5,
        training__attributes_weight=3,
        training__extra_labels_weight=0.25,
    )
    assert objective.level_loss_weights(options, counts_of(gender=[60, 40])) == {
        "category": 0.5,
        "subcategory": 1.0,
        "attributes": pytest.approx(6 * 3**0.5),
        "gender": 0.25,
    }


def test_products_without_a_label_are_left_out_of_its_accuracy():
    metric = objective.AccuracyOfGiven()
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 1]]
    metric.update_state(
        np.array([0, features.NOT_GIVEN, 2, 0, features.NOT_IN_TRAIN]), probabilities
    )
    assert float(metric.result()) == pytest.approx(2 / 4)


def test_weights_of_products_count_in_the_accuracy():
    metric = objective.AccuracyOfGiven()
    probabilities = np.eye(2, dtype=np.float32)[[0, 1, 1]]
    metric.update_state(np.array([0, 0, features.NOT_GIVEN]), probabilities, np.array([3, 1, 5]))
    assert float(metric.result()) == pytest.approx(3 / 4)


def test_an_attribute_is_found_from_a_score_of_three_quarters_on(options_with):
    figures = objective.level_metrics(counts_of())
    assert {level: [of.name for of in figure] for level, figure in figures.items()} == {
        "category": ["accuracy"],
        "subcategory": ["accuracy"],
        "attributes": ["f1"],
    }
    (f1,) = figures["attributes"]
    f1.update_state(np.array([[1.0, 1, 0], [1, 0, 0]]), np.array([[0.8, 0.7, 0.8], [0.76, 0, 0]]))
    # Over all attributes: two found of three, and one too many.
    assert float(f1.result()) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
