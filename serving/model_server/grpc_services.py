"""TensorFlow Serving's gRPC services, answered from a `ServedModel`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import grpc
import numpy as np
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from schema import features
from serving.client import MAX_MESSAGE_BYTES
from serving.model_server.loaded_model import LoadedModel, RequestError
from serving.model_server.served_model import ServedModel, VersionState

# gRPC sends a status as a header, and a header of more than 8 KB breaks the call.
_LONGEST_MESSAGE = 2000

SIGNATURE_DEF = "signature_def"
"""The one kind of metadata that TensorFlow Serving gives."""


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict and GetModelMetadata; the other methods are UNIMPLEMENTED."""

    def __init__(self, served: ServedModel):
        self._served = served

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs one signature on one batch."""
        with _errors_to(context):
            return self._predict(request, context)

    def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Describes the signatures."""
        with _errors_to(context):
            return self._metadata(request)

    def _predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        model = _asked_for(self._served, request.model_spec)
        signature_name = request.model_spec.signature_name or features.SERVING_SIGNATURE
        inputs = {name: _array(name, tensor) for name, tensor in request.inputs.items()}
        outputs = self._served.predict(
            model, inputs, signature_name, request.output_filter, is_awaited=context.is_active
        )
        response = predict_pb2.PredictResponse(
            model_spec=_model_spec(self._served.name, model, signature_name)
        )
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if list(request.metadata_field) != [SIGNATURE_DEF]:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"metadata_field must be [{SIGNATURE_DEF}]; the request has "
                f"{list(request.metadata_field)}.",
            )
        return metadata(self._served, _asked_for(self._served, request.model_spec))


class HealthService(health_pb2_grpc.HealthServicer):
    """Answers grpc.health.v1 Check: SERVING as soon as a version answers."""

    def __init__(self, served: ServedModel):
        self._served = served

    def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Says whether the server as a whole (the empty service name) can answer."""
        if request.service:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service}")
        states = health_pb2.HealthCheckResponse
        ready = self._served.current_version is not None
        return states(status=states.SERVING if ready else states.NOT_SERVING)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Answers GetModelStatus; HandleReloadConfigRequest is UNIMPLEMENTED."""

    def __init__(self, served: ServedModel):
        self._served = served

    def GetModelStatus(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        context: grpc.ServicerContext,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Says what became of each version."""
        with _errors_to(context):
            spec = request.model_spec
            version = spec.version.value if spec.HasField("version") else None
            return status(self._served.states(spec.name, version))


def metadata(
    served: ServedModel, model: LoadedModel
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The message that describes a version's signatures."""
    response = get_model_metadata_pb2.GetModelMetadataResponse(
        model_spec=_model_spec(served.name, model, "")
    )
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in model.signature_defs.items():
        signatures.signature_def[name].CopyFrom(signature)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def status(states: dict[int, VersionState]) -> get_model_status_pb2.GetModelStatusResponse:
    """The message that says what became of each version, newest first."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, state in sorted(states.items(), reverse=True):
        entry = response.model_version_status.add(
            version=version,
            state=get_model_status_pb2.ModelVersionStatus.State.Value(state.state),
        )
        if state.error:
            entry.status.error_code = tf.errors.UNKNOWN
            entry.status.error_message = state.error
        else:
            entry.status.error_code = tf.errors.OK
    return response


@contextlib.contextmanager
def _errors_to(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        context.abort(error.code, error.message[:_LONGEST_MESSAGE])


def _asked_for(served: ServedModel, spec: model_pb2.ModelSpec) -> LoadedModel:
    if spec.version_label:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"Unrecognized servable version label: {spec.version_label}",
        )
    return served.version(spec.name, spec.version.value if spec.HasField("version") else None)


def _model_spec(name: str, model: LoadedModel, signature_name: str) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name, signature_name=signature_name)
    spec.version.value = model.version
    return spec


def _array(name: str, tensor: tensor_pb2.TensorProto) -> np.ndarray:
    # A few bytes may claim any shape, for a single value stands for as many as the shape asks.
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    try:
        if min(shape, default=0) < 0 or math.prod(shape) > MAX_MESSAGE_BYTES:
            raise ValueError(f"the shape {shape} is not possible")
        return tf.make_ndarray(tensor)
    except (ValueError, TypeError) as error:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT, f"The input {name} is not a tensor: {error}"
        ) from error
