"""A model that halves and adds two, with the signatures of TensorFlow Serving's of that name."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

tf1 = tf.compat.v1


def save(folder: Path) -> None:
    """Writes y = x / 2 + 2 and y3 = x / 2 + 3 as TensorFlow 1 did.

    `serving_default` takes x of shape (None, 1). `classify_x_to_y`, `regress_x_to_y` and
    `regress_x_to_y2` share the one input that takes Examples with a feature x. The `odd_...`
    signatures are what Classify and Regress must refuse.
    """
    with tf.Graph().as_default(), tf1.Session() as session:
        a = tf1.get_variable("a", initializer=0.5, use_resource=True)
        b = tf1.get_variable("b", initializer=2.0, use_resource=True)
        examples = tf1.placeholder(tf.string, [None], name="tf_example")
        parsed = tf.io.parse_example(
            examples, {"x": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0])}
        )
        x = tf.identity(parsed["x"], name="x")
        y = tf.identity(a * x + b, name="y")
        y2 = tf.identity(a * x + 3.0, name="y2")
        names = tf.identity(
            tf.where(y > 3.0, tf.fill(tf.shape(y), "much"), tf.fill(tf.shape(y), "few"))
        )
        session.run(tf1.global_variables_initializer())

        def info(tensor: tf.Tensor):
            return tf1.saved_model.build_tensor_info(tensor)

        def signature(inputs: dict, outputs: dict, kind: str):
            return tf1.saved_model.build_signature_def(
                {name: info(tensor) for name, tensor in inputs.items()},
                {name: info(tensor) for name, tensor in outputs.items()},
                f"tensorflow/serving/{kind}",
            )

        of_examples = {"inputs": examples}
        signatures = {
            "serving_default": signature({"x": x}, {"y": y}, "predict"),
            "two_outputs": signature({"x": x}, {"y": y, "y2": y2}, "predict"),
            "classify_x_to_y": signature(of_examples, {"scores": y}, "classify"),
            "classify_names": signature(of_examples, {"classes": names, "scores": y}, "classify"),
            "regress_x_to_y": signature(of_examples, {"outputs": y}, "regress"),
            "regress_x_to_y2": signature(of_examples, {"outputs": y2}, "regress"),
            "regress_x2_to_y": signature({"inputs": x}, {"outputs": y}, "regress"),
            "odd_shape": signature(of_examples, {"scores": y[:, 0]}, "classify"),
            "odd_type": signature(of_examples, {"scores": names}, "classify"),
            "odd_rows": signature(of_examples, {"scores": tf.concat([y, y], 0)}, "classify"),
            "odd_columns": signature(
                of_examples, {"classes": names, "scores": tf.concat([y, y], 1)}, "classify"
            ),
            "odd_outputs": signature(of_examples, {"y": y}, "classify"),
            "odd_regression_shape": signature(
                of_examples, {"outputs": tf.concat([y, y], 1)}, "regress"
            ),
            "odd_regression_rows": signature(
                of_examples, {"outputs": tf.concat([y, y], 0)}, "regress"
            ),
            "odd_regression_type": signature(of_examples, {"outputs": names}, "regress"),
        }
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
