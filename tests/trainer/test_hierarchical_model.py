"""The model is the one of Ferreira et al. 2018, and works on other backbones and few labels."""

import keras
import numpy as np
import pytest

from trainer.backbones import build_backbone
from trainer.hierarchical_model import build_heads, build_model
from trainer.label_space import LabelSpace
from trainer.training_model import backbone_of


def model_on(
    name="small_residual", side=32, units=16, labels=(3, 5, 4), filters=4, extras=None, **options
):
    categories, subcategories, attributes = labels
    backbone = build_backbone(
        name, image_height=side, image_width=side, filters=filters, weights=None
    )
    heads = build_heads(
        backbone.output_shape[-1],
        LabelSpace(categories, subcategories, types_of(attributes), extras or {}),
        dense_units=units,
        dropout=0.3,
        l2=0.0005,
        **options,
    )
    return build_model(backbone, heads)


def types_of(attributes):
    """Two types whose attributes alternate, as in a vocabulary ordered by frequency."""
    types = {"even": range(0, attributes, 2), "odd": range(1, attributes, 2)}
    return {name: members for name, members in types.items() if len(members)}


def answers(model, count=6):
    _, height, width, _ = model.input_shape
    pictures = np.random.default_rng(0).integers(0, 256, (count, height, width, 3))
    return {
        name: keras.ops.convert_to_numpy(output)
        for name, output in model(pictures.astype("float32"), training=False).items()
    }


def test_on_resnet50_with_234_labels_it_has_the_papers_number_of_parameters():
    model = model_on("resnet50", side=224, units=1024, labels=(45, 141, 48))
    assert model.count_params() == 46_915_690


def test_its_dense_layers_are_the_papers():
    model = model_on(units=16, labels=(3, 5, 4), filters=4)
    first, rest, dropouts = 3, 16, 6
    layers = model.get_layer("heads").layers
    dense = [layer for layer in layers if isinstance(layer, keras.layers.Dense)]
    assert len(dense) == first + rest + 3
    heads = first * (32 * 16 + 16) + rest * (16 * 16 + 16) + (16 + 1) * (3 + 5 + 4)
    backbone = model.get_layer("small_residual")
    assert model.count_params() - backbone.count_params() == heads
    assert sum(isinstance(layer, keras.layers.Dropout) for layer in layers) == dropouts


def test_every_dense_layer_is_penalized():
    model = model_on()
    kernels = [
        keras.ops.convert_to_numpy(layer.kernel)
        for layer in model.get_layer("heads").layers
        if isinstance(layer, keras.layers.Dense)
    ]
    expected = 0.0005 * sum((kernel**2).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)


def test_categories_and_subcategories_sum_to_one_and_attributes_are_each_a_probability():
    outputs = answers(model_on())
    assert outputs["category"].shape == (6, 3)
    assert outputs["subcategory"].shape == (6, 5)
    assert outputs["attributes"].shape == (6, 4)
    np.testing.assert_allclose(outputs["category"].sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(outputs["subcategory"].sum(1), 1, rtol=1e-5)
    assert (outputs["attributes"] >= 0).all() and (outputs["attributes"] <= 1).all()


def test_the_embedding_is_the_backbones_features_at_unit_length():
    model = model_on()
    outputs = answers(model)
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype("float32")
    features = keras.ops.convert_to_numpy(model.get_layer("small_residual")(pictures))
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(outputs["embedding"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("up_to", ["category", "subcategory", "attributes"])
def test_every_level_learns_from_the_other_levels(up_to):
    """Each output depends on the layers c, s and a that stand at the levels' beginnings, as drawn:
    the category on all three, the others on their own and the category's."""
    model = model_on()
    before = answers(model)[up_to]
    needed = {
        "category": ("c", "s", "a"),
        "subcategory": ("c", "s"),
        "attributes": ("c", "a"),
    }[up_to]
    for name in ("c", "s", "a"):
        layer = model.get_layer("heads").get_layer(name)
        kernel = layer.kernel.numpy()
        layer.kernel.assign(kernel * 3)
        changed = not np.array_equal(answers(model)[up_to], before)
        layer.kernel.assign(kernel)
        assert changed == (name in needed)


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_one_category_and_no_attributes_work():
    model = model_on(labels=(1, 2, 0))
    outputs = answers(model)
    np.testing.assert_allclose(outputs["category"], np.ones((6, 1)))
    assert outputs["attributes"].shape == (6, 0)
    assert "a1" not in {layer.name for layer in model.get_layer("heads").layers}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"labels": (3, 5, 0)},
        {"heads": "plain", "extras": {"gender": 2}, "embedding_size": 8},
        {"attribute_classifier": "softmax_per_type"},
    ],
)
def test_the_model_comes_back_from_its_keras_file(tmp_path, options):
    model = model_on(**options)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for name, output in answers(model).items():
        np.testing.assert_allclose(answers(loaded)[name], output, rtol=1e-5)


def test_a_level_without_labels_is_refused():
    with pytest.raises(ValueError, match="categories=0"):
        model_on(labels=(0, 5, 4))


def test_in_16_bit_floats_the_outputs_still_have_32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        outputs = answers(model_on())
    finally:
        keras.config.set_dtype_policy("float32")
    assert {output.dtype for output in outputs.values()} == {np.dtype("float32")}


def test_plain_heads_let_no_level_see_another():
    model = model_on(heads="plain")
    before = answers(model)
    heads = model.get_layer("heads")
    for name, level in {"c": "category", "s": "subcategory", "a": "attributes"}.items():
        kernel = heads.get_layer(name).kernel
        value = kernel.numpy()
        kernel.assign(value * 3)
        after = answers(model)
        kernel.assign(value)
        changed = {x for x in before if not np.array_equal(before[x], after[x])}
        assert changed == {level}


@pytest.mark.parametrize("heads", ["message_passing", "plain"])
def test_one_attribute_of_each_type_where_a_type_shares_the_probability(heads):
    model = model_on(heads=heads, attribute_classifier="softmax_per_type", labels=(3, 5, 5))
    attributes = answers(model)["attributes"]
    np.testing.assert_allclose(attributes[:, [0, 2, 4]].sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(attributes[:, [1, 3]].sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sigmoid_per_type", "softmax_per_type"])
def test_a_types_classifier_decides_on_its_own_attributes_alone(kind):
    model = model_on(heads="plain", attribute_classifier=kind, labels=(3, 5, 5))
    before = answers(model)["attributes"]
    layer = model.get_layer("heads").get_layer("type_odd_scores")
    layer.kernel.assign(layer.kernel.numpy() * 3 + 0.1)
    changed = (answers(model)["attributes"] != before).any(axis=0)
    assert changed.tolist() == [False, True, False, True, False]


def test_every_extra_label_is_an_output_of_its_own():
    model = model_on(extras={"gender": 4, "season": 2})
    outputs = answers(model)
    assert outputs["gender"].shape == (6, 4) and outputs["season"].shape == (6, 2)
    np.testing.assert_allclose(outputs["gender"].sum(1), 1, rtol=1e-5)


def test_an_embedding_of_another_size_keeps_distances_where_it_has_room():
    narrow, wide = (answers(model_on(embedding_size=size))["embedding"] for size in (8, 64))
    assert narrow.shape == (6, 8) and wide.shape == (6, 64)
    np.testing.assert_allclose(np.linalg.norm(narrow, axis=1), 1, rtol=1e-5)
    model = model_on(embedding_size=64)
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype("float32")
    features = keras.ops.convert_to_numpy(model.get_layer("small_residual")(pictures))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    embedding = answers(model)["embedding"]
    np.testing.assert_allclose(embedding @ embedding.T, features @ features.T, atol=1e-5)


@pytest.mark.parametrize("options", [{"heads": "none"}, {"attribute_classifier": "none"}])
def test_heads_of_an_unknown_name_are_refused(options):
    with pytest.raises(ValueError, match="'none'"):
        model_on(**options)


def test_with_the_mirror_average_a_picture_and_its_mirror_image_have_the_same_answers(tmp_path):
    plain = model_on()
    backbone, heads = plain.get_layer("small_residual"), plain.get_layer("heads")
    model = build_model(backbone, heads, mirror_average=True)
    assert model.count_params() == plain.count_params()
    assert backbone_of(model) is backbone
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")

    pictures = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    mirrored = pictures[:, :, ::-1]
    mean = (backbone(pictures) + backbone(mirrored)) / 2
    expected = heads(mean)
    for answered in (model(pictures), model(mirrored), loaded(pictures)):
        for level, output in expected.items():
            np.testing.assert_allclose(answered[level], output, rtol=1e-4, atol=1e-5)
    assert not np.allclose(plain(pictures)["subcategory"], expected["subcategory"])


def heads_for(labels, **options):
    """Heads alone, of 12 features, with an extra label of two values."""
    categories, subcategories, attributes = labels
    space = LabelSpace(categories, subcategories, types_of(attributes), {"gender": 2})
    return build_heads(12, space, dense_units=8, dropout=0.3, l2=0.0, **options)


def test_a_model_says_the_shapes_that_it_answers_in():
    for attributes, options in (
        (0, {}),
        (4, {}),
        (4, {"attribute_classifier": "softmax_per_type"}),
    ):
        heads = heads_for((3, 5, attributes), embedding_size=7, **options)
        widths = {"category": 3, "subcategory": 5, "attributes": attributes}
        widths |= {"gender": 2, "embedding": 7}
        found = heads(np.ones((6, 12), "float32"))
        assert {name: of.shape for name, of in heads.output.items()} == {
            name: (None, width) for name, width in widths.items()
        }
        assert {name: of.shape for name, of in found.items()} == {
            name: (6, width) for name, width in widths.items()
        }


@pytest.mark.parametrize("heads", ["message_passing", "plain"])
def test_dropout_stands_at_the_end_of_every_branch(heads):
    for attributes, types, count in (
        (0, "together", {"message_passing": 4 + 1, "plain": 2 + 1}),
        (4, "together", {"message_passing": 6 + 1, "plain": 3 + 1}),
        (4, "sigmoid_per_type", {"message_passing": 6 + 2 + 1, "plain": 2 + 2 + 1}),
    ):
        made = heads_for((3, 5, attributes), heads=heads, attribute_classifier=types)
        rates = [layer.rate for layer in made.layers if isinstance(layer, keras.layers.Dropout)]
        assert rates == [0.3] * count[heads]
