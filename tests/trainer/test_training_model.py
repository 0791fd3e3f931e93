"""The fitted model: what a stage trains of a network, and what its losses are of."""

import keras
import numpy as np
import pytest

from trainer.losses import WeightedCrossentropy
from trainer.network import network
from trainer.stages import stages_of
from trainer.training_model import TrainingModel, backbone_of, training_model

LABELS = {
    "category": ["bags", "shoes"],
    "subcategory": ["clutch", "boot", "sandal"],
    "attributes": ["color=red", "line=dotted", "color=blue"],
}


def test_the_loss_of_a_mixed_picture_is_that_of_both_labels_in_their_parts():
    inputs = keras.Input((3,))
    model = TrainingModel(inputs, {"subcategory": inputs, "own_part": inputs[:, 0]})
    model.compile(loss={"subcategory": WeightedCrossentropy([1.0, 2.0, 0.5])})
    answers = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]], "float32")
    labels, own = np.array([2, 1, -1]), np.array([0.9, 0.25, 0.4], "float32")
    # Product by product: its own label, then the label of the one before (of the last, unknown).
    expected = (
        0.9 * 0.5 * -np.log(0.5)
        + 0.25 * 2.0 * -np.log(0.3)
        + 0.75 * 0.5 * -np.log(0.1)
        + 0.6 * 2.0 * -np.log(0.1)
    ) / 3
    outputs = {"subcategory": answers, "own_part": own}
    loss = model.compute_loss(None, {"subcategory": labels}, outputs, training=True)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_embeddings_projection_is_trained_by_the_triplet_loss_alone(options_with):
    options = options_with()
    model = network(options, LABELS)
    (stage,) = stages_of(options)
    for outputs in ([*LABELS], [*LABELS, "embedding"]):
        fitted = training_model(model, options, stage, outputs)
        trained = [variable.path for variable in fitted.trainable_variables]
        assert any("embedding_projection" in path for path in trained) == ("embedding" in outputs)


def test_embeddings_are_judged_by_the_subcategory():
    inputs = keras.Input((3,))
    model = TrainingModel(inputs, {"embedding": inputs})

    def told(labels, embeddings):
        np.testing.assert_array_equal(labels, [4, 5])
        return keras.ops.sum(embeddings)

    model.compile(loss={"embedding": told})
    labels = {"category": np.array([1, 2]), "subcategory": np.array([4, 5])}
    outputs = {"embedding": np.full((2, 3), 0.5, "float32")}
    assert float(model.compute_loss(None, labels, outputs)) == pytest.approx(3)


def test_a_stage_freezes_the_backbone_or_trains_it(options_with):
    options = options_with(training__frozen_epochs=1, training__frozen_augmentation=False)
    model = network(options, LABELS)
    frozen, free = stages_of(options)
    for stage in (frozen, free):
        fitted = training_model(model, options, stage, [*LABELS])
        assert bool(backbone_of(model).trainable_variables) == (not stage.frozen)
        of_backbone = {id(variable) for variable in backbone_of(model).variables}
        trained = {id(variable) for variable in fitted.trainable_variables}
        assert bool(of_backbone & trained) == (not stage.frozen)
        # The frozen stage is fitted on features, the other on pictures.
        width = backbone_of(model).output_shape[-1]
        assert fitted.input_shape == ((None, width) if stage.frozen else (None, 16, 16, 3))
        assert set(fitted.output) == set(LABELS)


@pytest.mark.parametrize("mixed", [False, True])
def test_pictures_are_mixed_where_that_is_asked_for(options_with, mixed):
    options = options_with(training__mixup_alpha=0.4 if mixed else 0)
    (stage,) = stages_of(options)
    fitted = training_model(network(options, LABELS), options, stage, [*LABELS])
    assert ("own_part" in fitted.output) == mixed
    seeds = [
        layer.seed for layer in fitted.layers if type(layer).__name__ in ("Augmentation", "Mixing")
    ]
    assert len(set(seeds)) == 1 + mixed, "each draws numbers of its own"


def test_in_evaluation_a_mixed_picture_counts_with_its_own_labels_alone():
    inputs = keras.Input((2,))
    model = TrainingModel(inputs, {"category": inputs, "own_part": inputs[:, 0]})
    model.compile(loss={"category": WeightedCrossentropy([1.0, 1.0])}, metrics=["accuracy"])
    answers = np.array([[0.25, 0.75], [0.5, 0.5]], "float32")
    outputs = {"category": answers, "own_part": np.array([0.9, 0.6], "float32")}
    labels = {"category": np.array([1, 0]), "subcategory": np.array([0, 0])}
    loss = model.compute_loss(None, labels, outputs, training=False)
    assert float(loss) == pytest.approx(-(np.log(0.75) + np.log(0.5)) / 2, rel=1e-5)
