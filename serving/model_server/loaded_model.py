"""One version of a SavedModel in memory, and its answers to requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from schema import features

_LOCATION = re.compile(
    r"^(?:Graph execution error:|Detected at node .*|<stack traces unavailable>|\s+File .*\n.*)$",
    re.MULTILINE,
)
_NODE = re.compile(r"\s*\[\[\{\{node .*", re.DOTALL)
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RequestError(Exception):
    """A request that cannot be answered, with the gRPC status that says why."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


class LoadedModel:
    """One version of a model, ready to answer. Threads may share one.

    Args:
        folder: where the SavedModel is.
        version: its version number.

    Attributes:
        signature_defs: what each signature takes and gives, as TensorFlow Serving describes it.

    Raises:
        Exception: whatever TensorFlow raises on a SavedModel that is damaged or cannot compute.
    """

    def __init__(self, folder: Path, version: int):
        self.version = version
        self._saved_model = tf.saved_model.load(str(folder))
        description = saved_model_pb2.SavedModel.FromString(
            (folder / tf.saved_model.SAVED_MODEL_FILENAME_PB).read_bytes()
        )
        self.signature_defs: Mapping[str, meta_graph_pb2.SignatureDef] = dict(
            description.meta_graphs[0].signature_def
        )
        self._warm_up()

    def inputs(self, signature_name: str = "") -> dict[str, tf.TensorSpec]:
        """Name, dtype and shape of each input of a signature; the default one if not named.

        Raises:
            RequestError: there is no such signature (FAILED_PRECONDITION, as TensorFlow Serving).
        """
        return self._signature(signature_name).structured_input_signature[1]

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature_name: str = "",
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            inputs: a value for each input of the signature.
            signature_name: `serving_default` if empty.
            output_filter: the outputs wanted; all if empty.

        Returns:
            The outputs by name; text as object arrays of bytes.

        Raises:
            RequestError: the signature is not there (FAILED_PRECONDITION), inputs or filter do not
                fit it (INVALID_ARGUMENT), or the model refused (the status it gave).
        """
        signature = self._signature(signature_name)
        specs = self.inputs(signature_name)
        if set(inputs) != set(specs):
            raise _invalid(
                f"The signature takes the inputs {_listed(specs)}; the request has "
                f"{_listed(inputs)}."
            )
        tensors = {name: _tensor(name, value, specs[name]) for name, value in inputs.items()}
        if unknown := set(output_filter) - set(signature.structured_outputs):
            raise _invalid(
                f"output_filter names {_listed(unknown)}; the outputs are "
                f"{_listed(signature.structured_outputs)}."
            )
        if len(set(output_filter)) < len(output_filter):
            raise _invalid("output_filter names an output twice.")
        try:
            outputs = signature(**tensors)
            return {name: outputs[name].numpy() for name in output_filter or outputs}
        except tf.errors.OpError as error:
            raise RequestError(_STATUS_CODES[error.error_code], _reason(error.message)) from error

    def _signature(self, name: str):
        try:
            return self._saved_model.signatures[name or features.SERVING_SIGNATURE]
        except KeyError:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name or features.SERVING_SIGNATURE}" not found; '
                f"there are {_listed(self._saved_model.signatures)}.",
            ) from None

    def _warm_up(self) -> None:
        """Lets the graph compute once, before a caller waits for it or meets what is broken."""
        if set(self.inputs()) == {features.IMAGE_BYTES}:
            blank = tf.io.encode_png(tf.zeros([8, 8, 3], tf.uint8)).numpy()
            self.predict({features.IMAGE_BYTES: np.array([blank], dtype=object)})


def _tensor(name: str, value: np.ndarray, spec: tf.TensorSpec) -> tf.Tensor:
    try:
        tensor = tf.constant(value)
    except (ValueError, TypeError) as error:
        raise _invalid(f"The input {name} is not a tensor: {error}") from error
    if tensor.dtype != spec.dtype or not spec.shape.is_compatible_with(tensor.shape):
        raise _invalid(
            f"The input {name} takes {spec.dtype.name} of shape {spec.shape}; the request has "
            f"{tensor.dtype.name} of shape {tensor.shape}."
        )
    return tensor


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _listed(names) -> str:
    return "{" + ", ".join(sorted(names)) + "}"


def _reason(message: str) -> str:
    """A graph's error message without the places in the graph that it came by."""
    lines = _LOCATION.sub("", _NODE.sub("", message)).splitlines()
    return "\n".join(line for line in lines if line.strip()) or message
