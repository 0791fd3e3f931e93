"""A warm start takes what fits of an earlier model, and of changed labels each to its new place."""

from pathlib import Path

import numpy as np
import pytest

from schema.errors import UserError
from trainer.backbones import build_backbone
from trainer.hierarchical_model import HEADS, build_heads, build_model
from trainer.label_space import LabelSpace
from trainer.signatures import keras_file
from trainer.training_model import backbone_of
from trainer.warm_start import warm_start

OLD = {
    "category": ["bags", "shoes"],
    "subcategory": ["clutch", "boot", "sandal"],
    "attributes": ["color=red", "line=dotted", "color=blue"],
}
NEW = {
    "category": ["shoes", "hats", "bags"],
    "subcategory": ["sandal", "clutch", "cap", "boot"],
    "attributes": ["line=dotted", "color=green", "color=red"],
}


def built(labels, filters=4, dense_units=8, **options):
    backbone = build_backbone(
        "small_residual", image_height=32, image_width=24, filters=filters, weights=None
    )
    heads = build_heads(
        backbone.output_shape[-1],
        LabelSpace.of(labels),
        dense_units=dense_units,
        dropout=0.1,
        l2=0.0005,
        embedding_size=6,
        **options,
    )
    return build_model(backbone, heads)


@pytest.fixture
def exported(tmp_path):
    """Writes what of an exported model is read: the Keras file and the vocabularies."""

    def export(model, labels):
        folder = tmp_path / "Format-Serving"
        (folder / "assets").mkdir(parents=True)
        file = Path(keras_file(str(folder)))
        file.parent.mkdir()
        model.save(file)
        for level, of in labels.items():
            (folder / "assets" / level).write_text("\n".join(of) + "\n")
        return str(folder)

    return export


def layer(model, name):
    return model.get_layer(HEADS).get_layer(name)


def test_with_the_same_labels_everything_is_taken(exported):
    old, new = built(OLD), built(OLD)
    sentence = warm_start(new, OLD, exported(old, OLD))
    for one, other in zip(new.get_weights(), old.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    layers = sum(bool(of.weights) for of in backbone_of(old).layers)
    # Of the heads 19 dense layers and the embedding's have no label a unit, see the paper's graph.
    assert sentence == (
        f"warm start: {layers} of {layers} layers of the backbone, 20 of 20 below the labels and "
        "8 of 8 labels go on from the last blessed model"
    )


@pytest.mark.parametrize("classifier", ["together", "sigmoid_per_type"])
def test_labels_are_taken_by_name_and_new_ones_start_afresh(exported, classifier):
    old, new = (built(labels, attribute_classifier=classifier) for labels in (OLD, NEW))
    fresh = layer(new, "category_scores").kernel.numpy()
    sentence = warm_start(new, NEW, exported(old, OLD))
    before, after = (layer(model, "category_scores").kernel.numpy() for model in (old, new))
    np.testing.assert_array_equal(after[:, [0, 2]], before[:, [1, 0]])
    np.testing.assert_array_equal(after[:, 1], fresh[:, 1])
    before, after = (layer(model, "subcategory_scores").kernel.numpy() for model in (old, new))
    np.testing.assert_array_equal(after[:, [0, 1, 3]], before[:, [2, 0, 1]])
    if classifier == "together":
        before, after = (layer(model, "attributes_scores").kernel.numpy() for model in (old, new))
        np.testing.assert_array_equal(after[:, [0, 2]], before[:, [1, 0]])
    else:
        before, after = (layer(model, "type_color_scores").kernel.numpy() for model in (old, new))
        np.testing.assert_array_equal(after[:, 1], before[:, 0])
    assert "7 of 10 labels" in sentence


def test_layers_that_do_not_fit_start_afresh(exported):
    directory = exported(built(OLD), OLD)
    wider = built(OLD, filters=6)
    before = [weights.copy() for weights in backbone_of(wider).get_weights()]
    assert warm_start(wider, OLD, directory).startswith("warm start: 0 of")
    for one, other in zip(backbone_of(wider).get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert " 0 of 8 labels" in warm_start(built(OLD, dense_units=12), OLD, directory)


def test_a_model_that_is_gone_is_named(tmp_path):
    with pytest.raises(UserError, match="training.warm_start cannot read .*gone"):
        warm_start(built(OLD), OLD, str(tmp_path / "gone"))
