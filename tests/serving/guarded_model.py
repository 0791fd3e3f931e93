"""The color model behind the decoder of the real one, which refuses what costs too much."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from schema import features
from tests.serving import color_model
from trainer import picture_decoding, signatures


class GuardedModel(color_model.ColorModel):
    """The model; its pictures become 8 x 8 pixels first."""

    def mean_colors(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """The mean color of each picture, (N, 3) in [0, 1]; -1 where it is none."""
        pictures, reasons = picture_decoding.decode_pictures(image_bytes, 8, 8)
        colors = tf.reduce_mean(tf.cast(pictures, tf.float32) / 255, axis=[1, 2])
        return tf.where(tf.equal(reasons, "")[:, tf.newaxis], colors, -1.0)


def save(folder: str) -> None:
    """Exports the model with requests to warm it up, as the real one has them."""
    color_model.save(GuardedModel(), folder)
    tf.io.gfile.makedirs(f"{folder}/assets.extra")
    with tf.io.TFRecordWriter(f"{folder}/{signatures.WARMUP_FILE}") as records:
        for signature in features.PICTURE_SIGNATURES:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature
            request.inputs[features.IMAGE_BYTES].CopyFrom(
                tf.make_tensor_proto(np.array([color_model.picture(255, 0, 0)], object))
            )
            log = prediction_log_pb2.PredictLog(request=request)
            records.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
