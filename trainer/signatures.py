"""The model as TensorFlow Serving, TFMA and a warm start take it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from schema import features
from trainer import calibration, input_pipeline, preprocessing
from trainer.decoding import JointDecoding
from trainer.folding import folded
from trainer.picture_decoding import decode_pictures

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
"""In the SavedModel: requests that a server answers itself before it lets callers in."""

_CHUNK = 64
"""Pictures that go through the network at once, so that a large request needs no more memory."""

_WARMUP_SIZES = (1, 8)


def keras_file(directory: str) -> str:
    """Where the Keras model of an exported one is: Keras cannot load a SavedModel.

    Beside the SavedModel and not in it, for nobody who answers from that needs it.

    Args:
        directory: TFX's `serving_model_dir`.
    """
    return os.path.join(os.path.dirname(directory.rstrip("/")), "Format-Keras", "model.keras")


def export(
    model: keras.Model,
    transform_output: tft.TFTransformOutput,
    directory: str,
    *,
    pairs: np.ndarray | None = None,
    temperatures: Mapping[str, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> None:
    """Writes a SavedModel with its signatures, and the Keras model to `keras_file(directory)`.

    Args:
        model: From pictures (N, H, W, 3), 0 to 255, to the dict of outputs of
            `trainer.hierarchical_model`.
        transform_output: The Transform graph whose vocabularies the outputs follow.
        directory: Where to write; TFX's `serving_model_dir`.
        pairs: Products of the train split by category and sub-category, for joint decoding in the
            signatures (the Keras model is without it); None leaves the levels as they are.
        temperatures: What `calibration.calibrate` made of the model.
        thresholds: The score from which a level's answer counts as known; .75 where it is missing.
    """
    module = CatalogModel(model, transform_output, pairs, temperatures or {}, thresholds or {})
    tf.saved_model.save(
        module,
        directory,
        signatures=module.signatures(),
        # Nobody learns through a model that is served, and swish's gradient cannot be saved.
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )
    _write_warmup_requests(directory, model.input_shape[1:3])
    file = keras_file(directory)
    tf.io.gfile.makedirs(os.path.dirname(file))
    model.save(file)


class CatalogModel(tf.Module):
    """A model with the vocabularies and the Transform layer that belong to it.

    TensorFlow Serving restores variables by name, which Keras 3 does not save (keras-team/keras
    #20095): the module holds none, but the network with its weights as constants, and batch
    normalization folded into them.

    Args:
        model: See `export`.
        transform_output: See `export`.
        pairs: See `export`.
        temperatures: See `export`.
        thresholds: See `export`.
    """

    def __init__(
        self,
        model: keras.Model,
        transform_output: tft.TFTransformOutput,
        pairs: np.ndarray | None,
        temperatures: Mapping[str, float],
        thresholds: Mapping[str, float],
    ):
        super().__init__(name="catalog_model")
        # What tf.Module does not see it does not save; a Keras model would come with variables.
        object.__setattr__(self, "_model", model)
        self._size = tuple(model.input_shape[1:3])
        self._widths = {name: of.shape[-1] for name, of in model.output.items()}
        self._network = _frozen(folded(model))
        self._joint_decoding = None if pairs is None else JointDecoding(pairs)
        self._temperatures = dict(temperatures)
        self._transform_output = transform_output
        # As an attribute the layer becomes part of what is saved, its vocabulary files with it.
        self._transform_layer = transform_output.transform_features_layer()
        self._labels = preprocessing.vocabularies(transform_output)
        self._thresholds = {level: thresholds.get(level, 0.75) for level in self._labels}

    def signatures(self) -> dict[str, Callable[..., dict[str, tf.Tensor]]]:
        """The methods below as TensorFlow functions, by the signature's name."""
        files = tf.TensorSpec([None], tf.string, name=features.IMAGE_BYTES)
        examples = tf.TensorSpec([None], tf.string, name="examples")
        # One function for the four signatures that answer pictures. Unseen as well, because the
        # functions of a module are traced once more when it is saved.
        answered = _function(lambda files: self._answers(files, self._decoded), files)
        object.__setattr__(self, "_answered", answered)
        return {
            name: _function(method, spec)
            for name, method, spec in (
                (features.SERVING_SIGNATURE, self.serve, files),
                (features.TOLERANT_SIGNATURE, self.serve_tolerantly, files),
                (features.EVERYTHING_SIGNATURE, self.serve_everything, files),
                (features.TOLERANT_EVERYTHING_SIGNATURE, self.serve_everything_tolerantly, files),
                (features.EVALUATE_SIGNATURE, self.evaluate, examples),
                (features.LABELS_SIGNATURE, self.transform_labels, examples),
            )
        }

    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """What most callers need of pictures: the signature `serving_default`.

        With joint decoding no sub-category stands under a category that it was never seen with; see
        `trainer.decoding` for what its score then means.

        Args:
            image_bytes: Encoded pictures, string (N).

        Returns:
            `category`, `subcategory` string (N) and `category_score`, `subcategory_score` float32
            (N), the likeliest of each; `category_labels`, `subcategory_labels` string (N, k) and
            `category_scores`, `subcategory_scores` float32 (N, k), the best k, at most
            `features.BEST`, likeliest first; `category_threshold`, `subcategory_threshold` float32
            (N); for every extra label what there is for the category; `attributes` string (N, K),
            `attribute_scores` float32 (N, K), the best K, at most `features.BEST_ATTRIBUTES`, and
            `attributes_threshold` float32 (N).

        Raises:
            tf.errors.InvalidArgumentError: a picture cannot be used; the message has its index and
                the reason.
        """
        return self._best(_all_usable(*self._answered(image_bytes)))

    def serve_tolerantly(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `serve`, but a picture that cannot be used costs itself alone: `tolerant`.

        Returns:
            What `serve` does, with empty text and zeros for such a picture; `status` string (N),
            why it cannot be used, empty for the others.
        """
        outputs, reasons = self._answered(image_bytes)
        return _with_status(self._best(outputs), reasons)

    def serve_everything(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """All that the model says of pictures: the signature `everything`.

        Args:
            image_bytes: Encoded pictures, string (N).

        Returns:
            What `serve` does, but with all labels and scores of every level, (N, C) and (N, A), the
            labels the same in every row; and `embedding` float32 (N, E) of unit length.

        Raises:
            tf.errors.InvalidArgumentError: as `serve`.
        """
        return self._everything(_all_usable(*self._answered(image_bytes)))

    def serve_everything_tolerantly(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `serve_everything`, with `status` as in `serve_tolerantly`: `tolerant_everything`."""
        outputs, reasons = self._answered(image_bytes)
        return _with_status(self._everything(outputs), reasons)

    def evaluate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """What is served for serialized Examples, string (N), as numbers: the signature `evaluate`.

        Returns:
            `category` (N, C1), `subcategory` (N, C2), `attributes` (N, A), `embedding` (N, E), and
            the extra labels' probabilities. Beside them what would be served without one of two
            things: with joint decoding `category_independent` and `subcategory_independent`, and
            with temperatures `category_uncalibrated` and so on for every level that has one.

        Raises:
            tf.errors.InvalidArgumentError: as `serve`.
        """
        parsed = tf.io.parse_example(
            examples, {features.IMAGE: tf.io.FixedLenFeature([], tf.string)}
        )
        return _all_usable(*self._answers(parsed[features.IMAGE], self._compared))

    def transform_labels(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """The true labels of serialized Examples, string (N), as numbers.

        Returns:
            `category_label`, `subcategory_label` and those of the extra labels int64 (N), negative
            where they are unknown (`features.NOT_IN_TRAIN`, `features.NOT_GIVEN`), and
            `attributes_label` float32 (N, A).
        """
        return input_pipeline.transformed_labels(
            input_pipeline.parse_labels(examples, self._transform_output),
            self._transform_layer,
            len(self._labels[features.ATTRIBUTES]),
        )

    def _decoded(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The model's outputs as they are served."""
        if self._joint_decoding is None:
            return dict(outputs)
        category, subcategory = self._joint_decoding(
            outputs[features.CATEGORY], outputs[features.SUBCATEGORY]
        )
        return {**outputs, features.CATEGORY: category, features.SUBCATEGORY: subcategory}

    def _compared(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The same, and what would be served without joint decoding or without calibration."""
        answers = self._decoded(outputs)
        if self._joint_decoding is not None:
            for level in (features.CATEGORY, features.SUBCATEGORY):
                answers[features.independent(level)] = outputs[level]
        before = calibration.uncalibrated(self._model, outputs, self._temperatures)
        before = self._decoded({**outputs, **before})
        for level in self._temperatures:
            answers[features.uncalibrated(level)] = before[level]
        return answers

    def _answers(
        self,
        image_bytes: tf.Tensor,
        answer: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """What `answer` makes of the model's outputs, for all pictures, chunk by chunk.

        Returns:
            The answers, float32 (N, ...); and for each picture why it cannot be used, string (N).
        """
        pictures, reasons = decode_pictures(image_bytes, *self._size)
        outputs = {
            name: tf.TensorSpec([None, width], tf.float32) for name, width in self._widths.items()
        }
        answers = _function(answer, outputs).structured_outputs
        widths = {name: of.shape[-1] for name, of in answers.items()}
        count = tf.shape(pictures)[0]
        chunks = (count + _CHUNK - 1) // _CHUNK

        def run_chunk(index, collected):
            chunk = pictures[index * _CHUNK : (index + 1) * _CHUNK]
            # Called inside the loop: what is put into a loop's body from outside is a variable to
            # TensorFlow's optimizer, and cannot be prepared for the processor once and for all.
            found = self._network(tf.cast(chunk, tf.float32))
            outputs = answer(dict(zip(sorted(self._widths), found, strict=True)))
            return index + 1, {
                name: array.write(index, outputs[name]) for name, array in collected.items()
            }

        collected = {
            name: tf.TensorArray(tf.float32, chunks, infer_shape=False, element_shape=(None, width))
            for name, width in widths.items()
        }
        _, collected = tf.while_loop(
            lambda index, _: index < chunks,
            run_chunk,
            (tf.constant(0), collected),
            parallel_iterations=1,
        )
        return {
            name: tf.reshape(array.concat(), (count, widths[name]))
            for name, array in collected.items()
        }, reasons

    def _best(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        answers = self._likeliest(outputs)
        for level, of in self._labels.items():
            most = features.BEST_ATTRIBUTES if level == features.ATTRIBUTES else features.BEST
            scores, indices = tf.math.top_k(outputs[level], min(most, len(of)))
            answers |= _labelled(level, tf.gather(tf.constant(of, tf.string), indices), scores)
        return answers

    def _everything(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        answers = self._likeliest(outputs)
        for level, of in self._labels.items():
            labels = tf.constant(of, tf.string, shape=(1, len(of)))
            rows = tf.tile(labels, [tf.shape(outputs[level])[0], 1])
            answers |= _labelled(level, rows, outputs[level])
        answers[features.EMBEDDING] = outputs[features.EMBEDDING]
        return answers

    def _likeliest(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The likeliest label of every level with one a picture, and every level's threshold."""
        answers = {}
        for level, of in self._labels.items():
            scores = outputs[level]
            if level != features.ATTRIBUTES:
                answers[level] = tf.gather(tf.constant(of), tf.argmax(scores, axis=1))
                answers[features.score(level)] = tf.reduce_max(scores, axis=1)
            answers[features.threshold(level)] = tf.fill(
                [tf.shape(scores)[0]], self._thresholds[level]
            )
        return answers


def _frozen(model: keras.Model) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """A model's outputs, by ascending name, of float32 pictures, with its weights as constants."""
    pictures = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)

    def outputs(pictures):
        found = model(pictures, training=False)
        return [tf.cast(found[name], tf.float32) for name in sorted(found)]

    return convert_variables_to_constants_v2(_function(outputs, pictures))


def _function(function: Callable, spec: object) -> tf.types.experimental.ConcreteFunction:
    # Everything here says itself what is an operation; rewriting the source would take seconds.
    return tf.function(function, autograph=False).get_concrete_function(spec)


def _labelled(level: str, labels: tf.Tensor, scores: tf.Tensor) -> dict[str, tf.Tensor]:
    if level == features.ATTRIBUTES:
        return {features.ATTRIBUTES: labels, features.ATTRIBUTE_SCORES: scores}
    return {features.labels(level): labels, features.scores(level): scores}


def _all_usable(outputs: dict[str, tf.Tensor], reasons: tf.Tensor) -> dict[str, tf.Tensor]:
    """The outputs, if every picture can be used.

    Raises:
        tf.errors.InvalidArgumentError: when run on pictures of which one cannot.
    """
    usable = tf.equal(reasons, "")
    first = tf.argmin(tf.cast(tf.concat([usable, [False]], 0), tf.int32))
    before, between, after = features.UNDECODABLE.split("{}")
    message = tf.strings.join(
        [before, tf.as_string(first), between, tf.concat([reasons, [""]], 0)[first], after]
    )
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(usable), [message])]):
        return {name: tf.identity(values) for name, values in outputs.items()}


def _with_status(answers: dict[str, tf.Tensor], reasons: tf.Tensor) -> dict[str, tf.Tensor]:
    """Answers with `status`, and nothing in them where a picture cannot be used."""
    usable = tf.equal(reasons, "")

    def where_usable(values: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(usable, [-1] + [1] * (values.shape.rank - 1))
        return tf.where(rows, values, tf.zeros((), values.dtype))

    return {name: where_usable(values) for name, values in answers.items()} | {
        features.STATUS: reasons
    }


def _write_warmup_requests(directory: str, size: tuple[int, int]) -> None:
    """Writes a request of each kind, so that no caller waits for the first answers of a graph."""
    picture = tf.io.encode_jpeg(tf.fill([*size, 3], tf.constant(127, tf.uint8))).numpy()
    file = os.path.join(directory, WARMUP_FILE)
    tf.io.gfile.makedirs(os.path.dirname(file))
    example = tf.train.Example()
    example.features.feature[features.IMAGE].bytes_list.value.append(picture)
    asked = [
        (signature, features.IMAGE_BYTES, [picture] * count)
        for signature in features.PICTURE_SIGNATURES
        for count in _WARMUP_SIZES
    ]
    # Hardly anybody asks this one, but all others would wait while it is prepared for him.
    asked.append((features.EVALUATE_SIGNATURE, "examples", [example.SerializeToString()]))
    with tf.io.TFRecordWriter(file) as records:
        for signature, alias, values in asked:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(values, tf.string))
            log = prediction_log_pb2.PredictLog(request=request)
            records.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
