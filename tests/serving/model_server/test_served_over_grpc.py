"""What real models answer over the wire is what TensorFlow Serving answers.

These tests speak TensorFlow Serving's published messages, not the client's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.model_server import ModelServer
from serving.model_server.options import single_model
from tests.serving import color_model
from tests.serving.model_server import echo_model

RED, BLUE = color_model.picture(255, 0, 0), color_model.picture(0, 0, 255)


@pytest.fixture
def channel(server: ModelServer) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.endpoint, options) as opened:
        yield opened


@pytest.fixture
def stub(channel: grpc.Channel) -> prediction_service_pb2_grpc.PredictionServiceStub:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def _request(*pictures: bytes, name: str = "catalog", version: int | None = None, **spec):
    request = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name=name, **spec))
    if version is not None:
        request.model_spec.version.value = version
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(pictures), tf.string))
    return request


def _highest_first(*color: int) -> list[float]:
    return sorted(color_model.expected_scores(*color), reverse=True)


def _refusal(call, request) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as refused:
        call(request, timeout=20)
    return refused.value.code().name, refused.value.details()


def test_an_answer_says_who_gave_it_and_holds_values_as_fields(stub):
    response = stub.Predict(_request(RED, BLUE, signature_name="everything"))

    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("catalog", 7, "everything")
    assert list(response.outputs["category"].string_val) == [b"red", b"blue"]
    scores = response.outputs["category_scores"]
    assert [dim.size for dim in scores.tensor_shape.dim] == [2, 3]
    assert list(scores.float_val) == pytest.approx(
        [
            *_highest_first(255, 0, 0),
            *_highest_first(0, 0, 255),
        ],
        abs=1e-6,
    )


def test_a_version_may_be_asked_for_and_outputs_chosen(stub):
    request = _request(RED, version=7)
    request.output_filter.extend(["category", "category_score"])

    response = stub.Predict(request)
    assert set(response.outputs) == {"category", "category_score"}
    assert response.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (_request(RED, name="shoes"), "NOT_FOUND", "Servable not found for request: Latest(shoes)"),
        (_request(RED, version=6), "NOT_FOUND", "Specific(catalog, 6)"),
        (_request(RED, version=0), "NOT_FOUND", "Specific(catalog, 0)"),
        (_request(RED, signature_name="guess"), "FAILED_PRECONDITION", '"guess" not found'),
        (_request(RED, version_label="stable"), "INVALID_ARGUMENT", "label: stable"),
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (_request(RED, name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    ],
)
def test_what_is_not_served_is_refused_in_tensorflow_servings_words(stub, request_, code, said):
    found, details = _refusal(stub.Predict, request_)

    assert (found, said in details) == (code, True), details


def _with_input(name: str, tensor: tensor_pb2.TensorProto) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name="catalog"))
    request.inputs[name].CopyFrom(tensor)
    return request


def _claiming_shape(*shape: int) -> tensor_pb2.TensorProto:
    proto = tf.make_tensor_proto([RED])
    proto.ClearField("tensor_shape")
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    "request_",
    [
        _with_input("picture", tf.make_tensor_proto([RED])),
        predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name="catalog")),
        _with_input("image_bytes", tf.make_tensor_proto([1.0])),
        _with_input("image_bytes", _claiming_shape(2**50)),
        _with_input("image_bytes", _claiming_shape(5_000_000)),
        _with_input("image_bytes", _claiming_shape(-1)),
        _with_input("image_bytes", _claiming_shape(*[1] * 33)),
        _with_input("image_bytes", tensor_pb2.TensorProto(dtype=999)),
        _with_input("image_bytes", tensor_pb2.TensorProto(dtype=20)),
        _with_input("image_bytes", tensor_pb2.TensorProto(dtype=21)),
    ],
)
def test_inputs_that_cannot_be_used_are_invalid_and_end_nothing(stub, request_):
    assert _refusal(stub.Predict, request_)[0] == "INVALID_ARGUMENT"
    assert stub.Predict(_request(RED)).outputs


@pytest.mark.parametrize("broken", [b"", b"no picture", RED[:50], bytes(1_000_000)])
def test_a_picture_that_cannot_be_decoded_is_told_by_its_index(stub, broken):
    code, details = _refusal(stub.Predict, _request(RED, RED, broken, RED, broken))

    assert code == "INVALID_ARGUMENT"
    assert "picture at index 2 cannot be decoded" in details


def test_the_tolerant_signature_lets_a_bad_picture_cost_itself_alone(stub):
    answer = stub.Predict(_request(RED, b"none", BLUE, signature_name="tolerant"))

    assert list(answer.outputs["category"].string_val) == [b"red", b"", b"blue"]
    assert [bool(status) for status in answer.outputs["status"].string_val] == [False, True, False]


def test_a_request_of_no_or_of_a_thousand_pictures_has_as_many_answers(stub):
    for pictures in ([], [RED, BLUE] * 500):
        response = stub.Predict(_request(*pictures))
        assert response.outputs["category"].tensor_shape.dim[0].size == len(pictures)


def test_concurrent_callers_each_get_their_own_answer(server):
    def ask(seed: int) -> bool:
        colors = np.random.default_rng(seed).integers(0, 256, (12, 3)).tolist()
        with grpc.insecure_channel(server.endpoint) as channel:
            own = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            return all(
                list(
                    own.Predict(
                        _request(color_model.picture(*color), signature_name="everything"),
                        timeout=60,
                    )
                    .outputs["category_scores"]
                    .float_val
                )
                == pytest.approx(_highest_first(*color), abs=1e-5)
                for color in colors
            )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_metadata_describes_the_signatures(stub):
    spec = model_pb2.ModelSpec(name="catalog")
    response = stub.GetModelMetadata(
        get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=["signature_def"]
        )
    )

    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert signature.inputs["image_bytes"].dtype == tf.string.as_datatype_enum
    assert {"category", "category_score", "category_threshold"} <= set(signature.outputs)
    assert response.model_spec.version.value == 7
    other = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=spec, metadata_field=["author"]
    )
    assert _refusal(stub.GetModelMetadata, other)[0] == "INVALID_ARGUMENT"


def test_status_is_given_for_all_versions_or_for_one(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "catalog"
    everything = stub.GetModelStatus(request)
    request.model_spec.version.value = 7
    one = stub.GetModelStatus(request)

    assert everything == one
    (status,) = one.model_version_status
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    request.model_spec.version.value = 8
    assert _refusal(stub.GetModelStatus, request) == (
        "NOT_FOUND",
        "Could not find version 8 of model catalog",
    )


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """A server of a model that also has signatures for Classify and Regress."""
    root = tmp_path_factory.mktemp("echo")
    echo_model.save(root / "echo" / "1")
    with ModelServer(root, "echo") as running:
        yield running


@pytest.fixture
def echo_stub(echo: ModelServer) -> Iterator[prediction_service_pb2_grpc.PredictionServiceStub]:
    with grpc.insecure_channel(echo.endpoint) as opened:
        yield prediction_service_pb2_grpc.PredictionServiceStub(opened)


def _fill(request, signature_name: str, *values: float) -> None:
    request.model_spec.name = "echo"
    request.model_spec.signature_name = signature_name
    for value in values:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)


def test_classify_regress_and_multi_inference_are_answered(echo_stub):
    classify = classification_pb2.ClassificationRequest()
    _fill(classify, "classify", 1.0, 2.0)
    assert len(echo_stub.Classify(classify).result.classifications) == 2

    regress = regression_pb2.RegressionRequest()
    _fill(regress, "regress", 1.0, 2.0, 3.0)
    regressed = echo_stub.Regress(regress)
    assert len(regressed.result.regressions) == 3
    assert regressed.model_spec.version.value == 1

    inference = inference_pb2.MultiInferenceRequest()
    inference.input.CopyFrom(classify.input)
    task = inference.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.CopyFrom(regress.model_spec)
    (answer,) = echo_stub.MultiInference(inference).results
    assert len(answer.regression_result.regressions) == 2


def test_a_reload_serves_another_model_and_the_first_one_no_more(saved_model, tmp_path, echo_stub):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").symlink_to(saved_model)
    with ModelServer(tmp_path, "old") as server, grpc.insecure_channel(server.endpoint) as channel:
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = model_management_pb2.ReloadConfigRequest()
        request.config.CopyFrom(single_model(tmp_path / "new", "new"))
        assert models.HandleReloadConfigRequest(request, timeout=60).status.error_code == 0

        assert predictions.Predict(_request(RED, name="new")).outputs
        assert _refusal(predictions.Predict, _request(RED, name="old"))[0] == "NOT_FOUND"
        request.config.model_config_list.config[0].base_path = ""
        code, _ = _refusal(models.HandleReloadConfigRequest, request)
        assert code == "INVALID_ARGUMENT"
        assert predictions.Predict(_request(RED, name="new")).outputs
