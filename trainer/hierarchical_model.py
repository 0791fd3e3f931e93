"""The network with three levels of labels that inform one another, and plainer ones beside it.

Ferreira et al. 2018, "A Unified Model with Structured Output for Fashion Images Classification"
(arXiv 1806.09445): coarse levels pass what they found down to finer ones, and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from schema import features
from trainer.label_space import LabelSpace

MESSAGE_PASSING, PLAIN = "message_passing", "plain"
TOGETHER, SIGMOID_PER_TYPE, SOFTMAX_PER_TYPE = "together", "sigmoid_per_type", "softmax_per_type"

HEADS = "heads"
"""Name of the model from features to outputs inside the whole."""

EMBEDDING_PROJECTION = "embedding_projection"
"""Name of the layer that brings the features to the embedding's size."""


def build_model(
    backbone: keras.Model, heads: keras.Model, *, mirror_average: bool = False
) -> keras.Model:
    """Puts heads on a backbone.

    Args:
        backbone: Model from pictures (N, H, W, 3) to features (N, D).
        heads: From `build_heads`.
        mirror_average: Whether the heads get the mean of the features of a picture and of its
            mirror image, so that both have the same answers.

    Returns:
        A model from pictures (N, H, W, 3), 0 to 255, to the heads' dict of outputs.
    """
    inputs = keras.Input(backbone.input_shape[1:], name="pictures")
    found = backbone(inputs)
    if mirror_average:
        found = layers.average([found, backbone(ops.flip(inputs, axis=2))])
    return keras.Model(inputs, heads(found), name="hierarchical_model")


def build_heads(
    feature_count: int,
    labels: LabelSpace,
    *,
    heads: str = MESSAGE_PASSING,
    attribute_classifier: str = TOGETHER,
    dense_units: int,
    dropout: float,
    l2: float,
    embedding_size: int | None = None,
) -> keras.Model:
    """Builds what makes labels and the embedding of a picture's features.

    With f the features and D a dense layer of `dense_units` with L2 penalty and ReLU, each D one of
    its own, each branch's end dropped out, `message_passing` is the graph of Ferreira et al. 2018:

    - c = D(f), s = D(f), a = D(f)
    - downward: c1 = D(D(c)), s1 = D(D(s) + D(c1)), a1 = D(D(a) + D(c1))
    - upward: a2 = D(D(a)), s2 = D(D(s)), c2 = D(D(c) + D(s2) + D(a2))
    - category = softmax(c1 + c2), sub-category = softmax(s1 + s2), attributes = sigmoid(a1 + a2),
      each through a dense layer with a label a unit.

    `plain` gives every level D(D(f)) of its own instead; extra labels are always such heads.

    `attribute_classifier` says who decides on the attributes: one sigmoid layer over all
    (`together`), or one classifier a type, which is a branch of its own under `plain` and one more
    D under `message_passing`; its attributes are independent (`sigmoid_per_type`) or share the
    probability 1 (`softmax_per_type`: exactly one attribute of each type).

    Without attributes the branch a and what comes of it are left out.

    Args:
        feature_count: Number of features, D.
        labels: What is to be named.
        heads: `message_passing` or `plain`.
        attribute_classifier: `together`, `sigmoid_per_type` or `softmax_per_type`.
        dense_units: Units of every dense layer of the heads.
        dropout: Part of the units dropped at the end of each branch, in training.
        l2: L2 penalty on the kernels of the heads.
        embedding_size: Size of the embedding, E: a linear map of the features, orthogonal at the
            start; None takes the features themselves.

    Returns:
        A model from features (N, D) to a dict of float32 outputs: `category` (N, C1),
        `subcategory` (N, C2) and one of each extra label, rows sum to 1; `attributes` (N, A), each
        in [0, 1]; `embedding` (N, E), of unit length.

    Raises:
        ValueError: no heads or no classifier have this name.
    """
    if heads not in (MESSAGE_PASSING, PLAIN):
        raise ValueError(f"Unknown heads. Received: heads={heads!r}")
    if attribute_classifier not in (TOGETHER, SIGMOID_PER_TYPE, SOFTMAX_PER_TYPE):
        raise ValueError(f"Unknown classifier. Received: {attribute_classifier=}")

    def dense(x, name: str):
        return layers.Dense(
            dense_units,
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(l2),
            name=name,
        )(x)

    def end(x, name: str):
        return layers.Dropout(dropout, name=f"{name}_dropout")(dense(x, name))

    def branch(name: str):
        """The whole of a plain head before its scores."""
        return end(dense(f, name), f"{name}_end")

    def scores(x, count: int, name: str):
        return layers.Dense(
            count, kernel_regularizer=keras.regularizers.L2(l2), name=f"{name}_scores"
        )(x)

    def probabilities(level: str, x, activation: str):
        # Probabilities in 16 bits would be too coarse, hence float32 under mixed precision too.
        name = f"{level}_probabilities"
        return layers.Activation(activation, dtype="float32", name=name)(x)

    def attribute_scores(of_type):
        """Scores of all attributes, each type's from what `of_type` gives for its name."""
        types = labels.attribute_types
        parts = [scores(of_type(name), len(of), f"type_{name}") for name, of in types.items()]
        return _in_vocabulary_order(parts, list(types.values()))

    f = keras.Input((feature_count,), name="features")
    together = attribute_classifier == TOGETHER
    if heads == PLAIN:
        c, s = branch("c"), branch("s")
        if labels.attributes:
            a = (
                scores(branch("a"), labels.attributes, features.ATTRIBUTES)
                if together
                else attribute_scores(lambda name: branch(f"a_{name}"))
            )
    else:
        c, s, a = _message_passing(f, dense, end, with_attributes=bool(labels.attributes))
        if labels.attributes:
            a = (
                scores(a, labels.attributes, features.ATTRIBUTES)
                if together
                else attribute_scores(lambda name: end(a, f"a_{name}"))
            )

    branches = {features.CATEGORY: c, features.SUBCATEGORY: s}
    branches |= {name: branch(f"extra_{name}") for name in labels.extras}
    outputs = {
        level: probabilities(level, scores(branches[level], count, level), "softmax")
        for level, count in labels.single_levels()
    }
    if not labels.attributes:
        outputs[features.ATTRIBUTES] = NoAttributes(name=features.ATTRIBUTES)(f)
    elif attribute_classifier == SOFTMAX_PER_TYPE:
        outputs[features.ATTRIBUTES] = TypeSoftmax(list(labels.attribute_types.values()))(a)
    else:
        outputs[features.ATTRIBUTES] = probabilities(features.ATTRIBUTES, a, "sigmoid")

    embedding = f
    if embedding_size is not None:
        embedding = layers.Dense(
            embedding_size,
            use_bias=False,
            # Keeps distances as they are until something is learned.
            kernel_initializer="orthogonal",
            name=EMBEDDING_PROJECTION,
        )(f)
    outputs[features.EMBEDDING] = layers.UnitNormalization(
        axis=-1, dtype="float32", name=features.EMBEDDING
    )(embedding)
    return keras.Model(f, outputs, name=HEADS)


def _message_passing(f, dense, end, with_attributes: bool):
    """The sums c1 + c2, s1 + s2 and a1 + a2 (None without attributes) of `build_heads`."""
    c, s = dense(f, "c"), dense(f, "s")
    c1 = end(dense(c, "c_down"), "c1")
    s1 = end(layers.add([dense(s, "s_down"), dense(c1, "c1_to_s")]), "s1")
    s2 = end(dense(s, "s_up"), "s2")
    upward = [dense(c, "c_up"), dense(s2, "s2_to_c")]
    attributes = None
    if with_attributes:
        a = dense(f, "a")
        a1 = end(layers.add([dense(a, "a_down"), dense(c1, "c1_to_a")]), "a1")
        a2 = end(dense(a, "a_up"), "a2")
        upward.append(dense(a2, "a2_to_c"))
        attributes = layers.add([a1, a2])
    c2 = end(layers.add(upward), "c2")
    return layers.add([c1, c2]), layers.add([s1, s2]), attributes


def _in_vocabulary_order(parts: Sequence, types: Sequence[Sequence[int]]):
    """What each type has, (N, its attributes), as (N, A) by the attributes' indices in `types`."""
    order = np.argsort(np.concatenate([np.asarray(of, int) for of in types])).tolist()
    return ops.take(ops.concatenate(parts, axis=-1), order, axis=-1)


@keras.saving.register_keras_serializable(package="seamline")
class TypeSoftmax(layers.Layer):
    """Softmax within each type of attribute, in float32.

    Args:
        types: For each type the indices of its attributes, each index in one type.
        name: Name of the layer.
    """

    def __init__(self, types: Sequence[Sequence[int]], name: str | None = None, **kwargs):
        super().__init__(name=name, dtype="float32")
        self.types = [[int(index) for index in members] for members in types]

    def call(self, scores):
        """Scores (N, A) to probabilities (N, A); those of each type sum to 1."""
        parts = [ops.softmax(ops.take(scores, of, axis=-1), axis=-1) for of in self.types]
        return _in_vocabulary_order(parts, self.types)

    def compute_output_shape(self, input_shape):
        """The shape stays."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return {"types": self.types, "name": self.name}


@keras.saving.register_keras_serializable(package="seamline")
class NoAttributes(layers.Layer):
    """Stands in for the attributes of a catalog that has none: (N, D) to (N, 0), float32."""

    def __init__(self, name: str | None = None, **kwargs):
        super().__init__(name=name, dtype="float32")

    def call(self, x):
        """No columns of the features."""
        return x[:, :0]

    def compute_output_shape(self, input_shape):
        """The batch stays, nothing else does."""
        return (input_shape[0], 0)
