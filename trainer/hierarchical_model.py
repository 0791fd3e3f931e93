"""The network with three levels of labels that inform one another.

Ferreira et al. 2018, "A Unified Model with Structured Output for Fashion Images Classification"
(arXiv 1806.09445): coarse levels pass what they found down to finer ones, and the other way round.
"""

from __future__ import annotations

import keras
from keras import layers

from schema import features


def build_model(
    backbone: keras.Model,
    *,
    category_count: int,
    subcategory_count: int,
    attribute_count: int,
    dense_units: int,
    dropout: float,
    l2: float,
) -> keras.Model:
    """Puts the three-level heads on a backbone.

    With f the backbone's features and D a dense layer of `dense_units` with L2 penalty and ReLU,
    each D one of its own, each branch's end dropped out:

    - c = D(f), s = D(f), a = D(f)
    - downward: c1 = D(D(c)), s1 = D(D(s) + D(c1)), a1 = D(D(a) + D(c1))
    - upward: a2 = D(D(a)), s2 = D(D(s)), c2 = D(D(c) + D(s2) + D(a2))
    - category = softmax(c1 + c2), sub-category = softmax(s1 + s2), attributes = sigmoid(a1 + a2),
      each through a dense layer with a label a unit.

    Without attributes (`attribute_count` 0) the branch a and what comes of it are left out.

    Args:
        backbone: Model from pictures (N, H, W, 3) to features (N, D).
        category_count: Number of categories, C1, at least 1.
        subcategory_count: Number of sub-categories, C2, at least 1.
        attribute_count: Number of attributes, A, 0 or more.
        dense_units: Units of every dense layer of the heads.
        dropout: Part of the units dropped at the end of each branch, in training.
        l2: L2 penalty on the kernels of the heads.

    Returns:
        A model from pictures (N, H, W, 3), 0 to 255, to a dict of float32 outputs: `category`
        (N, C1) and `subcategory` (N, C2), rows sum to 1; `attributes` (N, A), each in [0, 1];
        `embedding` (N, D), the features scaled to unit length.

    Raises:
        ValueError: a count is too small.
    """
    if category_count < 1 or subcategory_count < 1 or attribute_count < 0:
        raise ValueError(
            "There must be a category and a sub-category. Received: "
            f"category_count={category_count}, subcategory_count={subcategory_count}, "
            f"attribute_count={attribute_count}"
        )

    def dense(x, name: str):
        return layers.Dense(
            dense_units,
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(l2),
            name=name,
        )(x)

    def end(x, name: str):
        return layers.Dropout(dropout, name=f"{name}_dropout")(dense(x, name))

    def output(level: str, count: int, activation: str, down, up):
        scores = layers.Dense(
            count, kernel_regularizer=keras.regularizers.L2(l2), name=f"{level}_scores"
        )(layers.Add(name=f"{level}_sum")([down, up]))
        # Probabilities in 16 bits would be too coarse, hence float32 under mixed precision too.
        return layers.Activation(activation, dtype="float32", name=level)(scores)

    inputs = keras.Input(backbone.input_shape[1:], name="pictures")
    f = backbone(inputs)

    c, s = dense(f, "c"), dense(f, "s")
    c1 = end(dense(c, "c_down"), "c1")
    s1 = end(layers.add([dense(s, "s_down"), dense(c1, "c1_to_s")]), "s1")
    s2 = end(dense(s, "s_up"), "s2")
    upward = [dense(c, "c_up"), dense(s2, "s2_to_c")]
    if attribute_count:
        a = dense(f, "a")
        a1 = end(layers.add([dense(a, "a_down"), dense(c1, "c1_to_a")]), "a1")
        a2 = end(dense(a, "a_up"), "a2")
        upward.append(dense(a2, "a2_to_c"))
        attributes = output(features.ATTRIBUTES, attribute_count, "sigmoid", a1, a2)
    else:
        attributes = NoAttributes(name=features.ATTRIBUTES)(f)
    c2 = end(layers.add(upward), "c2")

    return keras.Model(
        inputs,
        {
            features.CATEGORY: output(features.CATEGORY, category_count, "softmax", c1, c2),
            features.SUBCATEGORY: output(
                features.SUBCATEGORY, subcategory_count, "softmax", s1, s2
            ),
            features.ATTRIBUTES: attributes,
            features.EMBEDDING: layers.UnitNormalization(
                axis=-1, dtype="float32", name=features.EMBEDDING
            )(f),
        },
        name="hierarchical_model",
    )


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
