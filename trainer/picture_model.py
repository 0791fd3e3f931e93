"""A network as TensorFlow Serving takes it: picture files in, answers out, through signatures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import keras
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from schema import features
from trainer.explanations import ExplainedNetwork
from trainer.picture_decoding import decode_pictures
from trainer.shared_functions import traced

Answers: TypeAlias = dict[str, tf.Tensor]

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
"""In the SavedModel: requests that a server answers itself before it lets callers in."""

_CHUNK = 64
"""Pictures that go through the network at once, so that a large request needs no more memory."""

_WARMUP_SIZES = (1, 8)

_SHOWN_BYTES = 100
"""Of a label that is unknown, in the message that says so."""

_ONE_EACH = "give one label a picture, an empty text for none"


class PictureModel(tf.Module):
    """A network whose signatures answer pictures with its embedding, and explain it.

    TensorFlow Serving restores variables by name, which Keras 3 does not save (keras-team/keras
    #20095): the module holds none, but the network with its weights as constants, and batch
    normalization folded into them.

    Args:
        model: From `hierarchical_model.build_model`: pictures (N, H, W, 3), 0 to 255, to a dict of
            outputs, `embedding` among them.
        labels: The labels of every level that the model names, in the order of their scores.
    """

    def __init__(self, model: keras.Model, labels: Mapping[str, Sequence[str]]):
        super().__init__()
        self._size = tuple(model.input_shape[1:3])
        # What tf.Module does not see it does not save; a Keras model would come with variables.
        object.__setattr__(self, "_network", ExplainedNetwork(model, labels))

    def signatures(self) -> dict[str, Callable[..., Answers]]:
        """The methods below as TensorFlow functions, by the signature's name."""
        files = tf.TensorSpec([None], tf.string, name=features.IMAGE_BYTES)
        label = tf.TensorSpec([None], tf.string, name=features.LABEL)
        # One function for the four signatures that answer pictures. Unseen as well, because the
        # functions of a module are traced once more when it is saved.
        answered = traced(lambda files: self._answers(files, self._served), files)
        object.__setattr__(self, "_answered", answered)
        return {
            features.SERVING_SIGNATURE: traced(self.serve, files),
            features.TOLERANT_SIGNATURE: traced(self.serve_tolerantly, files),
            features.EVERYTHING_SIGNATURE: traced(self.serve_everything, files),
            features.TOLERANT_EVERYTHING_SIGNATURE: traced(self.serve_everything_tolerantly, files),
            features.EXPLAIN_SIGNATURE: traced(self.explain, files, label),
        }

    def serve(self, image_bytes: tf.Tensor) -> Answers:
        """What most callers need of pictures: the signature `serving_default`.

        Args:
            image_bytes: Encoded pictures, string (N).

        Returns:
            What `_most_needed` makes of the outputs.

        Raises:
            tf.errors.InvalidArgumentError: a picture cannot be used; the message has its index and
                the reason.
        """
        return self._most_needed(all_usable(*self._answered(image_bytes)))

    def serve_tolerantly(self, image_bytes: tf.Tensor) -> Answers:
        """As `serve`, but a picture that cannot be used costs itself alone: `tolerant`.

        Returns:
            What `serve` does, with empty text and zeros for such a picture; `status` string (N),
            why it cannot be used, empty for the others.
        """
        outputs, reasons = self._answered(image_bytes)
        return _with_status(self._most_needed(outputs), reasons)

    def serve_everything(self, image_bytes: tf.Tensor) -> Answers:
        """All that the model says of pictures: the signature `everything`.

        Args:
            image_bytes: Encoded pictures, string (N).

        Returns:
            What `_everything` makes of the outputs; `embedding` float32 (N, E), of unit length, is
            part of it.

        Raises:
            tf.errors.InvalidArgumentError: as `serve`.
        """
        return self._everything(all_usable(*self._answered(image_bytes)))

    def serve_everything_tolerantly(self, image_bytes: tf.Tensor) -> Answers:
        """As `serve_everything`, with `status` as in `serve_tolerantly`: `tolerant_everything`."""
        outputs, reasons = self._answered(image_bytes)
        return _with_status(self._everything(outputs), reasons)

    def explain(self, image_bytes: tf.Tensor, label: tf.Tensor) -> Answers:
        """Where in pictures the answers come from: the signature `explain`.

        Places are those of the backbone's last map, H rows of W, over all of the picture. Two
        pictures' similarity, the product of their embeddings, is so the sum over the places of one
        of what its `regions` give with the other's embedding. See
        `ExplainedNetwork.explanations` for the formulas.

        Args:
            image_bytes: Encoded pictures, string (N).
            label: For each picture a label as `features.level_label` writes it, or an empty text;
                string (N).

        Returns:
            `embedding` float32 (N, E), as in `everything`; `regions` float32 (N, H, W, E), what
            each place adds to the embedding, which is their sum over H and W; `label_map` float32
            (N, H, W), at least 0, how far each place speaks for the label, zeros where there is
            none.

        Raises:
            tf.errors.InvalidArgumentError: as `serve`; or a label is unknown, whose index and text
                the message has; or there are not as many labels as pictures.
        """
        pictures, reasons = decode_pictures(image_bytes, *self._size)
        wanted = _one_hot(label, self._network.names, tf.shape(pictures)[0])
        explained = _chunk_by_chunk(self._network.explanations, pictures, wanted)
        return all_usable(explained, reasons)

    def warmup_requests(self, picture: bytes) -> Iterator[tuple[str, dict[str, list[bytes]]]]:
        """Requests of each kind, so that no caller waits for the first answers of a graph.

        Args:
            picture: An encoded picture of the model's size.

        Yields:
            A signature's name and its inputs.
        """
        for signature in features.PICTURE_SIGNATURES:
            for count in _WARMUP_SIZES:
                yield signature, {features.IMAGE_BYTES: [picture] * count}
        # Hardly anybody asks this one, but all others would wait while it is prepared for him.
        yield features.EXPLAIN_SIGNATURE, {features.IMAGE_BYTES: [picture], features.LABEL: [b""]}

    def save(self, directory: str) -> None:
        """Writes the SavedModel, and requests for a server to warm up with."""
        tf.saved_model.save(
            self,
            directory,
            signatures=self.signatures(),
            # Nobody learns through a model that is served, and swish's gradient cannot be saved.
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )
        gray = tf.fill([*self._size, 3], tf.constant(127, tf.uint8))
        file = os.path.join(directory, WARMUP_FILE)
        tf.io.gfile.makedirs(os.path.dirname(file))
        with tf.io.TFRecordWriter(file) as records:
            for signature, inputs in self.warmup_requests(tf.io.encode_jpeg(gray).numpy()):
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = signature
                for alias, values in inputs.items():
                    request.inputs[alias].CopyFrom(tf.make_tensor_proto(values, tf.string))
                log = prediction_log_pb2.PredictLog(request=request)
                records.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())

    def _served(self, outputs: Answers) -> Answers:
        """The model's outputs as they are served, float32 (N, ...)."""
        return dict(outputs)

    def _most_needed(self, outputs: Answers) -> Answers:
        """Of what is served, the answers of `serve`."""
        return self._everything(outputs)

    def _everything(self, outputs: Answers) -> Answers:
        """Of what is served, the answers of `serve_everything`."""
        return {features.EMBEDDING: outputs[features.EMBEDDING]}

    def _answers(
        self, image_bytes: tf.Tensor, answer: Callable[[Answers], Answers]
    ) -> tuple[Answers, tf.Tensor]:
        """What `answer` makes of the model's outputs, for all pictures, chunk by chunk.

        Returns:
            The answers, float32 (N, ...); and for each picture why it cannot be used, string (N).
        """
        pictures, reasons = decode_pictures(image_bytes, *self._size)
        answered = _chunk_by_chunk(lambda chunk: answer(self._network.answers(chunk)), pictures)
        return answered, reasons


def _chunk_by_chunk(compute: Callable[..., Answers], *rows: tf.Tensor) -> Answers:
    """What `compute` makes of rows that belong together, (N, ...), in float32, a few at a time.

    Args:
        compute: From so many rows of each to float32 tensors with a row for each.
        rows: What is divided.
    """

    def in_32_bits(*chunks):
        return compute(*(tf.cast(chunk, tf.float32) for chunk in chunks))

    specs = [tf.TensorSpec([None, *of.shape[1:]], of.dtype) for of in rows]
    shapes = {
        name: of.shape[1:] for name, of in traced(in_32_bits, *specs).structured_outputs.items()
    }
    count = tf.shape(rows[0])[0]
    chunks = (count + _CHUNK - 1) // _CHUNK

    def run_chunk(index, collected):
        # Called inside the loop: what is put into a loop's body from outside is a variable to
        # TensorFlow's optimizer, and cannot be prepared for the processor once and for all.
        found = in_32_bits(*(of[index * _CHUNK : (index + 1) * _CHUNK] for of in rows))
        return index + 1, {
            name: array.write(index, found[name]) for name, array in collected.items()
        }

    collected = {
        name: tf.TensorArray(tf.float32, chunks, infer_shape=False, element_shape=(None, *shape))
        for name, shape in shapes.items()
    }
    _, collected = tf.while_loop(
        lambda index, _: index < chunks,
        run_chunk,
        (tf.constant(0), collected),
        parallel_iterations=1,
    )
    return {
        name: tf.reshape(array.concat(), (count, *shapes[name]))
        for name, array in collected.items()
    }


def _one_hot(labels: tf.Tensor, names: Sequence[str], count: tf.Tensor) -> tf.Tensor:
    """Labels, string (N), as float32 (N, number of names): 1 at a label's name, 0 for an empty one.

    Raises:
        tf.errors.InvalidArgumentError: when run on a label that is none of the names, or on
            another number of labels than `count`.
    """
    given = tf.size(labels)
    message = tf.strings.join(
        [tf.as_string(given), " labels for ", tf.as_string(count), " pictures; ", _ONE_EACH]
    )
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(given, count), [message])]):
        labels = tf.ensure_shape(labels, [None])
    is_name = tf.equal(labels[:, tf.newaxis], tf.constant(names, tf.string, (1, len(names))))
    known = tf.equal(labels, "") | tf.reduce_any(is_name, axis=1)
    # A status is UTF-8, whatever a caller sends.
    said = tf.strings.substr(labels, 0, _SHOWN_BYTES)
    said = tf.strings.unicode_transcode(said, "UTF-8", "UTF-8")
    one_hot = {"": tf.cast(is_name, tf.float32)}
    return _if_all(one_hot, known, features.UNKNOWN_LABEL, said)[""]


def all_usable(outputs: Answers, reasons: tf.Tensor) -> Answers:
    """The outputs, if every picture can be used.

    Raises:
        tf.errors.InvalidArgumentError: when run on pictures of which one cannot.
    """
    return _if_all(outputs, tf.equal(reasons, ""), features.UNDECODABLE, reasons)


def _if_all(values: Answers, sound: tf.Tensor, message: str, reasons: tf.Tensor) -> Answers:
    """The values, if every row is sound.

    Args:
        values: What is to be given.
        sound: Bool (N).
        message: What to say of the first row that is not: with its index, and its reason.
        reasons: String (N).

    Raises:
        tf.errors.InvalidArgumentError: when run on rows of which one is not sound.
    """
    first = tf.argmin(tf.cast(tf.concat([sound, [False]], 0), tf.int32))
    before, between, after = message.split("{}")
    said = tf.strings.join(
        [before, tf.as_string(first), between, tf.concat([reasons, [""]], 0)[first], after]
    )
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(sound), [said])]):
        return {name: tf.identity(of) for name, of in values.items()}


def _with_status(answers: Answers, reasons: tf.Tensor) -> Answers:
    """Answers with `status`, and nothing in them where a picture cannot be used."""
    usable = tf.equal(reasons, "")

    def where_usable(values: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(usable, [-1] + [1] * (values.shape.rank - 1))
        return tf.where(rows, values, tf.zeros((), values.dtype))

    return {name: where_usable(values) for name, values in answers.items()} | {
        features.STATUS: reasons
    }
