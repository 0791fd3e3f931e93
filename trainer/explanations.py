"""A network's answers, and where in a picture they come from, with weights that are constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from schema import features
from trainer.feature_maps import maker, with_parts
from trainer.folding import folded
from trainer.hierarchical_model import EMBEDDING_PROJECTION, HEADS
from trainer.shared_functions import traced


class ExplainedNetwork:
    """A network as it is served: batch normalization folded, weights as constants.

    One function holds all of it, whoever calls it, and gives answers, what explanations are made
    of, and the heads' weights: gradients need these a second time, and two functions share a
    constant only if one hands it to the other. A graph that takes nothing but the answers computes
    nothing else.

    Args:
        model: From `hierarchical_model.build_model`.
        labels: The labels of every level that the model names, in the order of their scores.
    """

    def __init__(self, model: keras.Model, labels: Mapping[str, Sequence[str]]):
        model = folded(model)
        heads = model.get_layer(HEADS)
        levels = [level for level, of in labels.items() if of]
        self._names = [
            features.level_label(level, label) for level in levels for label in labels[level]
        ]
        self._has_projection = EMBEDDING_PROJECTION in {layer.name for layer in heads.layers}
        self._weights = []
        if self._has_projection:
            self._weights.append(heads.get_layer(EMBEDDING_PROJECTION).kernel)
        if levels:
            # What makes probabilities of the scores is the last layer of each level.
            scores = [maker(heads.output[level]).input_tensors[0] for level in levels]
            self._scores = keras.Model(heads.inputs, scores)
            self._weights += self._scores.weights
        self._outputs = sorted(model.output)
        self._function = _frozen(with_parts(model), self._outputs, self._weights)

    @property
    def names(self) -> list[str]:
        """All labels as `features.level_label` has them, in the order in which they are wanted."""
        return self._names

    def answers(self, pictures: tf.Tensor) -> dict[str, tf.Tensor]:
        """The model's outputs, float32 (N, ...), of float32 pictures (N, H, W, 3)."""
        return self._found(pictures)[0]

    def explanations(self, pictures: tf.Tensor, wanted: tf.Tensor) -> dict[str, tf.Tensor]:
        """The embedding, what each place adds to it, and how far each speaks for a label.

        With x_i the part of the features that place i gives (see `feature_maps.with_parts`) and W
        the projection, if there is one, the embedding is sum W x_i / |sum W x_i|: place i adds
        W x_i / |sum W x_i|.

        The map of a label with the score s, before the softmax or the sigmoid, is Grad-CAM
        (Selvaraju et al. 2017, arXiv 1610.02391) of the last convolution: max(0, x_i . ds/dx),
        where x is the features. It needs no gradient below them, for x is the sum of all x_i.

        Args:
            pictures: Float32 (N, image height, image width, 3), 0 to 255.
            wanted: For each picture 1 at the place in `names` of the label that a map is wanted
                of, zeros where none is; float32 (N, number of names).

        Returns:
            Float32 `embedding` (N, E), `regions` (N, H, W, E) and `label_map` (N, H, W).
        """
        outputs, parts, weights = self._found(pictures)
        found = tf.reduce_sum(parts, (1, 2))
        regions, total = parts, found
        if self._has_projection:
            projection, *weights = weights
            regions, total = tf.matmul(parts, projection), tf.matmul(found, projection)
        embedding = outputs[features.EMBEDDING]
        # Features next to nothing make an embedding shorter than 1.
        scale = tf.math.divide_no_nan(tf.norm(embedding, axis=1), tf.norm(total, axis=1))
        return {
            features.EMBEDDING: embedding,
            features.REGIONS: regions * scale[:, tf.newaxis, tf.newaxis, tf.newaxis],
            features.LABEL_MAP: self._label_map(parts, found, wanted, weights),
        }

    def _label_map(
        self, parts: tf.Tensor, found: tf.Tensor, wanted: tf.Tensor, weights: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        none = tf.zeros(tf.shape(parts)[:-1])
        if not self._names:
            return none

        def grad_cam():
            with tf.GradientTape() as tape:
                tape.watch(found)
                with keras.StatelessScope(zip(self._scores.weights, weights, strict=True)):
                    scores = self._scores(found, training=False)
                score = tf.reduce_sum(wanted * tf.cast(tf.concat(scores, 1), tf.float32))
            gradient = tape.gradient(score, found)
            return tf.nn.relu(tf.einsum("nhwd,nd->nhw", parts, gradient))

        # The heads, there and back, take as long as all below them.
        return tf.cond(tf.reduce_any(wanted > 0), grad_cam, lambda: none)

    def _found(
        self, pictures: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, Sequence[tf.Tensor]]:
        found = self._function(pictures)
        count = len(self._outputs)
        outputs = dict(zip(self._outputs, found[:count], strict=True))
        return outputs, found[count], found[count + 1 :]


def _frozen(network: keras.Model, names: Sequence[str], weights: Sequence[keras.Variable]):
    """A function from float32 pictures to outputs, by `names`, their parts, and `weights`."""

    def compute(pictures):
        outputs, parts = network(pictures, training=False)
        values = [weight.value for weight in weights]
        return [*(tf.cast(outputs[name], tf.float32) for name in names), parts, *values]

    pictures = tf.TensorSpec([None, *network.input_shape[1:]], tf.float32)
    return convert_variables_to_constants_v2(traced(compute, pictures))
