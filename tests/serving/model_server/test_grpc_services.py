"""Over gRPC the server promises what TensorFlow Serving promises.

These tests speak TensorFlow Serving's published messages, not the client's own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
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

from serving.client import CatalogClient
from tests.serving import color_model

RED = color_model.picture(255, 0, 0)
ALL_OUTPUTS = {
    "category",
    "category_score",
    "category_scores",
    "category_labels",
    "subcategory",
    "subcategory_score",
    "subcategory_scores",
    "subcategory_labels",
    "attributes",
    "attribute_scores",
    "embedding",
}


@pytest.fixture
def channel(server):
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.endpoint, options) as opened:
        yield opened


@pytest.fixture
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def _request(*pictures: bytes, name: str = "catalog", version: int | None = None, **spec):
    request = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name=name, **spec))
    if version is not None:
        request.model_spec.version.value = version
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(pictures), tf.string))
    return request


def _refusal(stub, request) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(request, timeout=10)
    return refused.value.code(), refused.value.details()


def test_an_answer_holds_every_output_and_says_who_gave_it(stub):
    response = stub.Predict(_request(RED, RED))

    assert set(response.outputs) == ALL_OUTPUTS
    assert tf.make_ndarray(response.outputs["category"]).tolist() == [b"red", b"red"]
    assert tf.make_ndarray(response.outputs["category_scores"])[1] == pytest.approx(
        color_model.expected_scores(255, 0, 0), abs=1e-6
    )
    spec = response.model_spec
    assert (spec.name, spec.version.value) == ("catalog", 7)
    assert spec.signature_name == "serving_default"


def test_a_version_and_a_signature_may_be_asked_for(stub):
    response = stub.Predict(_request(RED, version=7, signature_name="serving_default"))

    assert response.model_spec.version.value == 7


def test_an_output_filter_is_honored(stub):
    request = _request(RED)
    request.output_filter.extend(["embedding", "category"])

    assert set(stub.Predict(request).outputs) == {"embedding", "category"}


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (_request(RED, name="shoes"), "NOT_FOUND", "shoes"),
        (_request(RED, version=6), "NOT_FOUND", "6"),
        (_request(RED, version=0), "NOT_FOUND", "0"),
        (_request(RED, signature_name="regress"), "FAILED_PRECONDITION", '"regress" not found'),
        (_request(RED, version_label="stable"), "INVALID_ARGUMENT", "stable"),
        (predict_pb2.PredictRequest(), "NOT_FOUND", ""),
    ],
)
def test_what_is_not_served_is_refused(stub, request_, code, said):
    found, details = _refusal(stub, request_)

    assert (found.name, said in details) == (code, True)


def _with_input(name: str, tensor: tensor_pb2.TensorProto) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name="catalog"))
    request.inputs[name].CopyFrom(tensor)
    return request


def _claiming_shape(*shape: int) -> tensor_pb2.TensorProto:
    proto = tf.make_tensor_proto([RED])
    proto.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return proto


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (_with_input("picture", tf.make_tensor_proto([RED])), "image_bytes"),
        (
            predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name="catalog")),
            "image_bytes",
        ),
        (_with_input("image_bytes", tf.make_tensor_proto([1.0])), "float32"),
        (_with_input("image_bytes", tf.make_tensor_proto(RED)), "shape"),
        (_with_input("image_bytes", tf.make_tensor_proto([[RED]])), "shape"),
        (_with_input("image_bytes", _claiming_shape(2**50)), "not possible"),
        (_with_input("image_bytes", _claiming_shape(None)), "not possible"),
        (_with_input("image_bytes", tensor_pb2.TensorProto(dtype=999)), "not a tensor"),
    ],
)
def test_inputs_that_do_not_fit_the_signature_are_invalid(stub, request_, said):
    code, details = _refusal(stub, request_)

    assert (code, said in details) == (grpc.StatusCode.INVALID_ARGUMENT, True), details


@pytest.mark.parametrize("names", [["color"], ["category", "category"]])
def test_an_output_filter_that_does_not_fit_is_invalid(stub, names):
    request = _request(RED)
    request.output_filter.extend(names)

    assert _refusal(stub, request)[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("broken", [b"", b"no picture", RED[:50], bytes(1_000_000)])
def test_a_picture_that_cannot_be_decoded_is_invalid_and_told_by_its_index(stub, broken):
    code, details = _refusal(stub, _request(RED, RED, broken, RED, broken))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "picture at index 2 cannot be decoded" in details
    assert "node" not in details
    assert stub.Predict(_request(RED)).outputs


def test_a_request_without_pictures_has_an_answer_without_rows(stub):
    response = stub.Predict(_request())

    assert tf.make_ndarray(response.outputs["category_scores"]).shape == (0, 3)


def test_a_thousand_pictures_fit_in_one_request(stub):
    response = stub.Predict(_request(*[RED, color_model.picture(0, 0, 255)] * 500))

    categories = tf.make_ndarray(response.outputs["category"])
    assert categories.tolist() == [b"red", b"blue"] * 500


def test_a_message_that_is_too_large_is_refused(stub):
    code, _ = _refusal(stub, _request(bytes(65 << 20)))

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert stub.Predict(_request(RED)).outputs


def test_concurrent_callers_each_get_their_own_answer(server):
    def ask(seed: int) -> bool:
        colors = np.random.default_rng(seed).integers(0, 256, (12, 3)).tolist()
        with CatalogClient(server.endpoint, timeout_s=60) as client:
            return all(
                list(client.predict([color_model.picture(*color)])[0].category_scores.values())
                == pytest.approx(sorted(color_model.expected_scores(*color))[::-1], abs=1e-5)
                for color in colors
            )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_metadata_describes_the_signatures(stub):
    response = stub.GetModelMetadata(
        get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=model_pb2.ModelSpec(name="catalog"), metadata_field=["signature_def"]
        )
    )

    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert signature.inputs["image_bytes"].dtype == tf.string.as_datatype_enum
    assert set(signature.outputs) == ALL_OUTPUTS
    assert response.model_spec.version.value == 7


def test_other_metadata_is_refused(stub):
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetModelMetadata(
            get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=model_pb2.ModelSpec(name="catalog"), metadata_field=["author"]
            )
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_status_is_given_for_all_versions_or_for_one(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    spec = model_pb2.ModelSpec(name="catalog")
    everything = stub.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
    spec.version.value = 7
    one = stub.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))

    assert everything == one
    (status,) = one.model_version_status
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    spec.version.value = 8
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_health_service_says_that_it_serves(channel):
    health = health_pb2_grpc.HealthStub(channel)

    assert health.Check(health_pb2.HealthCheckRequest()).status == (
        health_pb2.HealthCheckResponse.SERVING
    )
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(health_pb2.HealthCheckRequest(service="shoes"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
