"""A SavedModel whose signatures give back what they are given, in every dtype and shape."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

ECHOED = {
    "float32": tf.float32,
    "float64": tf.float64,
    "int8": tf.int8,
    "int32": tf.int32,
    "int64": tf.int64,
    "uint8": tf.uint8,
    "bool": tf.bool,
    "string": tf.string,
    "float16": tf.float16,
    "bfloat16": tf.bfloat16,
    "complex64": tf.complex64,
    "uint16": tf.uint16,
}
"""The dtypes that have a signature `echo_<name>`, any shape in and the same out."""


def save(folder: Path) -> None:
    """Saves the model.

    Signatures: `serving_default` (x: float32 (-1, 1)) gives y = x / 2 + 2, as TensorFlow Serving's
    half_plus_two; `echo_*`; `both_bytes` gives `out_bytes` and `text` of a text; `two` gives s, the
    sums of the rows of a and b, and t, those rows doubled; `twice` gives each row twice; `wide`
    adds 1 to (2, 3); `no_input` takes nothing; `slow` computes for some seconds; `fails` fails with
    the text it is given; `classify` and `regress` read the feature x of Examples.
    """
    module = tf.Module()
    signatures = {
        f"echo_{name}": _function(tf.identity, x=tf.TensorSpec(None, dtype))
        for name, dtype in ECHOED.items()
    }
    signatures["serving_default"] = _named(
        lambda x: {"y": x / 2 + 2}, x=tf.TensorSpec([None, 1], tf.float32)
    )
    signatures["both_bytes"] = _named(
        lambda x: {"out_bytes": tf.identity(x), "text": tf.identity(x)},
        x=tf.TensorSpec(None, tf.string),
    )
    signatures["two"] = _named(
        lambda a, b: {"s": tf.reduce_sum(a, -1) + b, "t": 2 * a},
        a=tf.TensorSpec([None, None], tf.float32),
        b=tf.TensorSpec([None], tf.float32),
    )
    signatures["twice"] = _named(
        lambda x: {"y": tf.tile(x, [2])}, x=tf.TensorSpec([None], tf.float32)
    )
    signatures["wide"] = _named(lambda x: {"y": x + 1}, x=tf.TensorSpec([2, 3], tf.float32))
    signatures["no_input"] = _named(lambda: {"y": tf.constant([1.0, 2.0])})
    signatures["slow"] = _named(_slow, x=tf.TensorSpec([None], tf.float32))
    signatures["fails"] = _named(_fails, x=tf.TensorSpec([None], tf.string))
    signatures["classify"] = _named(_classify, inputs=tf.TensorSpec([None], tf.string))
    signatures["regress"] = _named(_regress, inputs=tf.TensorSpec([None], tf.string))
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _function(operation, x: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
    return _named(lambda x: {"y": operation(x)}, x=x)


def _named(body, **specs: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
    return tf.function(body, autograph=False).get_concrete_function(**specs)


def _slow(x: tf.Tensor) -> dict[str, tf.Tensor]:
    matrix = tf.ones([64, 64]) * x[0]
    rounds = tf.while_loop(
        lambda i, m: i < 2_000_000, lambda i, m: (i + 1, tf.matmul(m, m) / 64), [0, matrix]
    )
    return {"y": rounds[1][0]}


def _fails(x: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"y": tf.io.decode_raw(x, tf.float32) + tf.strings.to_number(x)[:, None]}


def _x(examples: tf.Tensor) -> tf.Tensor:
    return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]


def _classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"scores": _x(inputs) / 2 + 2}


def _regress(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"outputs": _x(inputs) / 2 + 2}
