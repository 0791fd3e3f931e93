"""Small models of which every answer is known, in the ways of TensorFlow 1, 2 and Keras.

They have the names, signatures and nodes that TensorFlow Serving's published examples have, so that
what is published of its answers can be held against them.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

tf1 = tf.compat.v1

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def save_half_plus(folder: Path, number: float) -> None:
    """Writes y = x / 2 + `number` with everything that a SavedModel of TensorFlow 1 can have.

    Variables are references, an asset is read by an operation at the start, and the input of
    Examples has no shape. `regress_x_to_y2` gives y2 = x / 2 + 3, and `regress_x2_to_y3` as well as
    `classify_x2_to_y3` take x2, a number, for y3 = x2 / 2 + 3.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    asset = folder.parent / "foo.txt"
    asset.write_text("asset-file-contents")
    with tf.Graph().as_default(), tf1.Session() as session:
        half = tf1.Variable(0.5, name="a", use_resource=False)
        added = tf1.Variable(float(number), name="b", use_resource=False)
        three = tf1.Variable(3.0, name="c", use_resource=False)
        examples = tf1.placeholder(tf.string, name="tf_example")
        features = tf1.parse_example(
            examples,
            {
                "x": tf.io.FixedLenFeature([1], tf.float32),
                "x2": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
            },
        )
        for feature in features.values():
            feature.set_shape([None, 1])
        x = tf.identity(features["x"], name="x")
        x2 = tf.identity(features["x2"], name="x2")
        y = tf.identity(half * x + added, name="y")
        y2 = tf.identity(half * x + three, name="y2")
        y3 = tf.identity(half * x2 + three, name="y3")
        asset_path = tf.constant(str(asset))
        tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, asset_path)
        file_name = tf1.Variable("foo.txt", name="filename_tensor", trainable=False, collections=[])
        signatures = {
            "serving_default": _signature({"x": x}, {"y": y}, PREDICT),
            "regress_x_to_y": _signature({"inputs": examples}, {"outputs": y}, REGRESS),
            "regress_x_to_y2": _signature({"inputs": examples}, {"outputs": y2}, REGRESS),
            "regress_x2_to_y3": _signature({"inputs": x2}, {"outputs": y3}, REGRESS),
            "classify_x_to_y": _signature({"inputs": examples}, {"scores": y}, CLASSIFY),
            "classify_x2_to_y3": _signature({"inputs": x2}, {"scores": y3}, CLASSIFY),
        }
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map=signatures,
            assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
            main_op=tf.group(file_name.assign("foo.txt")),
        )
        builder.save()
    asset.unlink()


def save_half_plus_two_of_tensorflow_2(folder: Path) -> None:
    """Writes y = x / 2 + 2 as `tf.saved_model.save` does, with signatures that take Examples."""
    model = tf.Module()
    model.half = tf.Variable(0.5)

    def signature(body, **specs: tf.TensorSpec):
        named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
        return tf.function(body).get_concrete_function(**named)

    def of_examples(inputs: tf.Tensor) -> tf.Tensor:
        features = {"x": tf.io.FixedLenFeature([1], tf.float32)}
        return model.half * tf.io.parse_example(inputs, features)["x"] + 2.0

    examples = tf.TensorSpec([None], tf.string)
    tf.saved_model.save(
        model,
        str(folder),
        signatures={
            "serving_default": signature(
                lambda x: {"y": model.half * x + 2.0}, x=tf.TensorSpec(None, tf.float32)
            ),
            "constant": signature(lambda x: {"y": 1.0}, x=tf.TensorSpec(None, tf.float32)),
            "classify_x_to_y": signature(
                lambda inputs: {"scores": of_examples(inputs)}, inputs=examples
            ),
            "regress_x_to_y": signature(
                lambda inputs: {"outputs": of_examples(inputs)}, inputs=examples
            ),
        },
    )


def save_counter(folder: Path) -> None:
    """Writes a number that its signatures read, raise and set back; three take no input."""
    with tf.Graph().as_default(), tf1.Session() as session:
        counter = tf1.Variable(0.0, name="counter", use_resource=False)
        delta = tf1.placeholder(tf.float32, name="delta")
        signatures = {
            "get_counter": _signature({}, {"output": counter}, PREDICT),
            "incr_counter": _signature({}, {"output": counter.assign_add(1.0)}, PREDICT),
            "incr_counter_by": _signature(
                {"delta": delta}, {"output": counter.assign_add(delta)}, PREDICT
            ),
            "reset_counter": _signature({}, {"output": counter.assign(0.0)}, PREDICT),
        }
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def save_various(folder: Path) -> None:
    """Writes what else a signature can be.

    `serving_default` gives y = x / 2 + 2 for matrices, and `with_default` the same, with an input
    `added` that may be left out. `unknown_method` was made for a method that nobody knows. `mixed`
    gives back inputs of four types, and texts once more as `texts_bytes`. `uneven` gives once and
    twice as many rows as x has, `complex` complex numbers, and `sum` one number. `classify` gives
    the two names and scores that an Example has, and `classes` only the names.
    """
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, None, None], name="x")
        added = tf1.placeholder(tf.float32, [], name="added")
        column = tf1.placeholder(tf.float32, [None], name="column")
        y = tf.identity(x / 2 + 2, name="y")
        dtypes = {
            "ints": tf.int32, "texts": tf.string, "floats": tf.float32, "doubles": tf.float64,
        }  # fmt: skip
        mixed = {name: tf1.placeholder(dtype, name=name) for name, dtype in dtypes.items()}
        same = {name: tf.identity(tensor) for name, tensor in mixed.items()}
        with_default = _signature({"x": x, "added": added}, {"y": x / 2 + added}, PREDICT)
        with_default.defaults["added"].CopyFrom(tf.make_tensor_proto(2.0))
        uneven = {"once": tf.identity(column), "twice": tf.tile(column, [2])}
        examples = tf1.placeholder(tf.string, [None], name="examples")
        features = tf1.parse_example(
            examples,
            {
                "names": tf.io.FixedLenFeature([2], tf.string),
                "scores": tf.io.FixedLenFeature([2], tf.float32),
            },
        )
        classes = {"classes": features["names"]}
        signatures = {
            "serving_default": _signature({"x": x}, {"y": y}, PREDICT),
            "classify": _signature(
                {"inputs": examples}, {**classes, "scores": features["scores"]}, CLASSIFY
            ),
            "classes": _signature({"inputs": examples}, classes, CLASSIFY),
            "with_default": with_default,
            "unknown_method": _signature({"x": x}, {"y": y}, "not/supported/method"),
            "mixed": _signature(
                mixed, {**same, "texts_bytes": tf.identity(mixed["texts"])}, PREDICT
            ),
            "uneven": _signature({"x": column}, uneven, PREDICT),
            "complex": _signature({"x": column}, {"y": tf.complex(column, column)}, PREDICT),
            "sum": _signature({"x": column}, {"y": tf.reduce_sum(column)}, PREDICT),
        }
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def save_without_signatures(folder: Path) -> None:
    """Writes a model that can be loaded and not asked."""
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.Variable(0.5, name="a", use_resource=False)
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={})
        builder.save()


def _signature(inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor], method_name: str):
    return tf1.saved_model.build_signature_def(
        {name: tf1.saved_model.build_tensor_info(tensor) for name, tensor in inputs.items()},
        {name: tf1.saved_model.build_tensor_info(tensor) for name, tensor in outputs.items()},
        method_name,
    )
