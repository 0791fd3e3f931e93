"""What TensorFlow Serving has published of its behavior, asked over the wire alone.

Without more, our own server is started, twice, with flags of tensorflow_model_server and models of
which every answer is known. With an address another server is asked instead, such as the one in
production, and only what changes nothing:

    SEAMLINE_SERVING_ADDRESS=HOST:8500 SEAMLINE_SERVING_REST_ADDRESS=HOST:8501 \\
        SEAMLINE_SERVING_MODEL=catalog pytest tests/serving/test_contract.py

What is expected is TensorFlow Serving's REST and configuration guides, the behavior that its own
tests hold its server to, and the status codes and texts of its sources. Numbers are reckoned by
hand: the models halve and add.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from tests.serving import color_model, contract_models
from tests.serving.contract_server import (
    OK,
    ROOT,
    Asked,
    connected,
    fill_example,
    predict_request,
    start,
    stop,
    tensor,
)
from tests.serving.model_server import echo_model, half_plus_two

ADDRESS = os.environ.get("SEAMLINE_SERVING_ADDRESS")
REST_ADDRESS = os.environ.get("SEAMLINE_SERVING_REST_ADDRESS")
CATALOG = os.environ.get("SEAMLINE_SERVING_MODEL", "catalog")

VERSION = 123
# Does not fit 32 bits, as a moment in digits does not.
NEWEST = 20170111173521
TWO = np.float32([2.0])
RED, BLUE = color_model.picture(255, 0, 0), color_model.picture(0, 0, 255)
ROWS = {"instances": [1.0]}


# The servers.


def _save_models(root: Path) -> None:
    """Fills a folder with models; that of a version may have zeros before its number."""
    contract_models.save_half_plus(root / "half_plus_two" / "00000123", 2)
    contract_models.save_half_plus(root / "half_plus_three" / "00000123", 3)
    contract_models.save_half_plus_two_of_tensorflow_2(root / "tensorflow_2" / "00000123")
    contract_models.save_counter(root / "counter" / "00000123")
    contract_models.save_various(root / "various" / "00000123")
    contract_models.save_without_signatures(root / "mute" / "1")
    half_plus_two.save(root / "odd" / "1")
    echo_model.save(root / "echo" / "123")
    color_model.save(color_model.ColorModel(), str(root / "catalog" / "7"))
    for version in (17, 33, NEWEST):
        shutil.copytree(root / "half_plus_two" / "00000123", root / "versions" / str(version))
    (root / "versions" / "no_number").mkdir()
    _write_warmup(root / "half_plus_three" / "00000123")


def _write_warmup(folder: Path) -> None:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request("half_plus_three", x=TWO))
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra/tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


SERVED = (
    *("half_plus_two", "half_plus_three", "tensorflow_2", "counter", "various", "mute", "odd"),
    *("echo", "catalog"),
)


def _models_config(models: Path, names: tuple[str, ...], **labels: int) -> str:
    """A models.config; the first model has the labels."""
    entries = []
    for name in names:
        text = f'name: "{name}", base_path: "{models / name}", model_platform: "tensorflow"'
        if name == names[0]:
            text += "".join(f' version_labels {{ key: "{k}" value: {labels[k]} }}' for k in labels)
        entries.append(f"config: {{ {text} }}")
    return f"model_config_list: {{ {' '.join(entries)} }}"


@pytest.fixture(scope="session")
def _processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Asked, Asked, Path]]:
    """Both servers, and the folder of their models, which they wait for."""
    folder = tmp_path_factory.mktemp("contract")
    models = folder / "models"
    (folder / "models.config").write_text(_models_config(models, SERVED, stable=VERSION))
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    (folder / "batching.config").write_text(
        "max_batch_size { value: 128 } batch_timeout_micros { value: 0 }"
        "max_enqueued_batches { value: 1000 } num_batch_threads { value: 2 }"
        "allowed_batch_sizes: 1 allowed_batch_sizes: 8 allowed_batch_sizes: 128"
    )
    ports = ("--port=any", "--rest_api_port=any")
    commands = {
        folder / "first.log": (
            *ports,
            f"--model_config_file={folder / 'models.config'}",
            "--model_config_file_poll_wait_seconds=1",
            "--allow_version_labels_for_unavailable_models=true",
            f"--monitoring_config_file={folder / 'monitoring.config'}",
            f"--grpc_socket_path={folder / 'grpc.sock'}",
            "--enable_grpc_healthcheck_service",
        ),
        folder / "second.log": (
            *ports,
            f"--model_base_path={models / 'half_plus_two'}",
            "--enable_batching",
            f"--batching_parameters_file={folder / 'batching.config'}",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
            "--rest_api_timeout_in_ms=1000",
            "--rest_api_enable_cors_support",
            "--enable_signature_method_name_check=true",
            "--enable_serialization_as_tensor_content",
        ),
    }
    running = {log: start(log, *flags) for log, flags in commands.items()}
    try:
        _save_models(folder / "unfinished")
        (folder / "unfinished").rename(models)
        first, second = (connected(process, log) for log, process in running.items())
        yield first, second, models
        for asked in (first, second):
            assert asked.process.poll() is None, "the server has ended"
            asked.close()
    finally:
        for process in running.values():
            if process.poll() is None:
                stop(process)


def _own(request: pytest.FixtureRequest) -> tuple[Asked, Asked, Path]:
    if ADDRESS:
        pytest.skip(f"{ADDRESS} has models and flags of its own; these are of the tests' server")
    return request.getfixturevalue("_processes")


@pytest.fixture(scope="session")
def models(request: pytest.FixtureRequest) -> Path:
    """The folder of the models."""
    return _own(request)[2]


@pytest.fixture(scope="session")
def own(request: pytest.FixtureRequest) -> Asked:
    """A server of the models above, with a models.config that is followed."""
    return _own(request)[0]


@pytest.fixture(scope="session")
def other(request: pytest.FixtureRequest) -> Asked:
    """A server of other flags, and of the models that it is told to serve."""
    asked = _own(request)[1]
    # Until it is told otherwise, that of its flags.
    assert _value(asked.predict("default", x=TWO)[1]) == 3.0
    return asked


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Asked:
    """The server that is asked: the one at the address, if any."""
    return Asked(ADDRESS, REST_ADDRESS) if ADDRESS else request.getfixturevalue("own")


@pytest.fixture
def rest(server: Asked) -> Asked:
    """The same, where REST may be asked."""
    if not server.rest_address:
        pytest.skip("SEAMLINE_SERVING_REST_ADDRESS names no address")
    return server


@pytest.fixture(scope="session")
def signatures(server: Asked) -> dict[str, Any]:
    """What the model that everybody serves can be asked."""
    code, answer = server.metadata(CATALOG)
    assert code == OK, answer
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    return dict(found.signature_def)


@pytest.fixture
def pictures(signatures: dict[str, Any]) -> dict[str, Any]:
    """Inputs of its default signature: two pictures."""
    if set(signatures["serving_default"].inputs) != {"image_bytes"}:
        pytest.skip(f"{CATALOG} does not take pictures")
    return {"image_bytes": tensor([RED, BLUE])}


def _arrays(answer: predict_pb2.PredictResponse) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


def _value(answer: predict_pb2.PredictResponse, name: str = "y") -> float:
    return float(tf.make_ndarray(answer.outputs[name]).reshape(-1)[0])


# Any server of any model.


class TestAnyServer:
    def test_the_metadata_say_which_version_answers_and_what_it_takes(self, server, signatures):
        code, answer = server.metadata(CATALOG)
        assert code == OK
        assert answer.model_spec.name == CATALOG
        assert server.status(CATALOG, answer.model_spec.version.value) == (
            OK,
            {answer.model_spec.version.value: "AVAILABLE"},
        )
        default = signatures["serving_default"]
        assert default.inputs and default.outputs

    def test_pictures_are_answered_row_by_row_in_the_types_that_were_told(
        self, server, signatures, pictures
    ):
        code, answer = server.predict(CATALOG, **pictures)

        assert code == OK, answer
        told = signatures["serving_default"].outputs
        assert set(answer.outputs) == set(told)
        for name, value in answer.outputs.items():
            assert value.dtype == told[name].dtype
            assert value.tensor_shape.dim[0].size == 2
        assert answer.model_spec.name == CATALOG
        assert answer.model_spec.signature_name == "serving_default"
        assert answer.model_spec.version.value > 0

    def test_outputs_can_be_chosen_and_a_version_be_asked_for(self, server, signatures, pictures):
        _, everything = server.predict(CATALOG, **pictures)
        request = predict_request(CATALOG, "serving_default", **pictures)
        request.output_filter.append(min(signatures["serving_default"].outputs))
        request.model_spec.version.CopyFrom(everything.model_spec.version)
        code, answer = server.call(server.predictions.Predict, request)

        assert code == OK
        (name,) = request.output_filter
        assert dict(answer.outputs) == {name: everything.outputs[name]}
        assert answer.model_spec == everything.model_spec

    def test_rest_says_the_same_by_row_and_by_column(self, rest, pictures):
        _, answer = rest.predict(CATALOG, **pictures)
        arrays = _arrays(answer)
        encoded = [{"b64": base64.b64encode(one).decode()} for one in (RED, BLUE)]
        path = f"/v1/models/{CATALOG}:predict"
        status, by_row = rest.post(path, {"instances": encoded})
        assert status == 200, by_row
        status, by_column = rest.post(path, {"inputs": {"image_bytes": encoded}})
        assert status == 200, by_column

        for name, array in arrays.items():
            rows = [row[name] for row in by_row["predictions"]]
            for found in (rows, by_column["outputs"][name]):
                if array.dtype == object:
                    assert found == np.vectorize(bytes.decode, otypes=[object])(array).tolist()
                else:
                    assert np.allclose(found, array, rtol=1e-5, atol=1e-6)

    def test_a_picture_that_is_none_costs_itself_alone_where_that_is_asked_for(
        self, server, signatures, pictures
    ):
        if "tolerant" not in signatures:
            pytest.skip(f"{CATALOG} has no signature `tolerant`")
        code, answer = server.predict(CATALOG, "tolerant", image_bytes=tensor([RED, b"none", BLUE]))

        assert code == OK, answer
        assert [bool(one) for one in answer.outputs["status"].string_val] == [False, True, False]
        code, said = server.predict(CATALOG, image_bytes=tensor([RED, b"none", BLUE]))
        assert code == "INVALID_ARGUMENT"
        assert "picture at index 1 cannot be decoded" in said

    def test_callers_at_once_are_all_answered(self, server, pictures):
        # TensorFlow Serving computes four a core, and refuses more.
        with ThreadPoolExecutor(4) as pool:
            codes = pool.map(lambda _: server.predict(CATALOG, **pictures)[0], range(32))
        assert set(codes) == {OK}

    @pytest.mark.parametrize(
        ("spec", "code", "said"),
        [
            (None, "INVALID_ARGUMENT", "Missing ModelSpec"),
            ({}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
            ({"name": "shoes?"}, "NOT_FOUND", "Servable not found for request: Latest(shoes?)"),
            (
                {"name": CATALOG, "version": {"value": 999}},
                "NOT_FOUND",
                f"Servable not found for request: Specific({CATALOG}, 999)",
            ),
            (
                {"name": CATALOG, "version_label": "none such"},
                "INVALID_ARGUMENT",
                "Unrecognized servable version label: none such",
            ),
        ],
    )
    def test_a_model_that_is_not_served_is_refused(self, server, spec, code, said):
        requests = {
            server.predictions.Predict: predict_pb2.PredictRequest(model_spec=spec),
            server.predictions.Classify: classification_pb2.ClassificationRequest(model_spec=spec),
            server.predictions.Regress: regression_pb2.RegressionRequest(model_spec=spec),
            server.predictions.GetModelMetadata: get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=spec, metadata_field=["signature_def"]
            ),
        }
        for method, request in requests.items():
            assert server.call(method, request) == (code, said)

    @pytest.mark.parametrize(
        ("question", "code", "said"),
        [
            (
                {"signature": "guess"},
                "FAILED_PRECONDITION",
                'Serving signature key "guess" not found.',
            ),
            (
                {"one": np.float32([1]), "two": np.float32([1])},
                "INVALID_ARGUMENT",
                "Sent extra: {one,two}. Missing but required: {image_bytes}.",
            ),
            ({}, "INVALID_ARGUMENT", "input size does not match signature: 0!=1"),
            (
                {"image_bytes": np.float32([1])},
                "INVALID_ARGUMENT",
                "Expects arg[0] to be string but float is provided",
            ),
            (
                {"image_bytes": np.array([RED]), "outputs": ("price",)},
                "INVALID_ARGUMENT",
                "output tensor alias not found in signature: price Outputs expected to be in the "
                "set {",
            ),
            (
                {"image_bytes": np.array([RED]), "outputs": ("category", "category")},
                "INVALID_ARGUMENT",
                "duplicate output tensor alias: category",
            ),
            (
                {"image_bytes": tensor_pb2.TensorProto(dtype=types_pb2.DT_RESOURCE)},
                "INVALID_ARGUMENT",
                "",
            ),
        ],
    )
    def test_a_question_that_does_not_fit_is_refused(self, server, pictures, question, code, said):
        found, details = server.predict(CATALOG, **question)
        assert found == code
        assert said in details

    def test_a_signature_for_predict_is_none_for_examples(self, server):
        for ask in (server.classify, server.regress):
            assert ask(CATALOG, "", {"x": 1.0})[0] == "INVALID_ARGUMENT"
        assert server.infer([(CATALOG, "serving_default", "predict")], {"x": 1.0}) == (
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        )

    def test_metadata_are_asked_for_by_the_one_name_there_is(self, server):
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec={"name": CATALOG})
        code, said = server.call(server.predictions.GetModelMetadata, request)
        assert (code, "at least one metadata_field" in said) == ("INVALID_ARGUMENT", True)
        code, said = server.metadata(CATALOG, "author")
        assert (code, "Metadata field" in said) == ("INVALID_ARGUMENT", True)
        assert server.metadata(CATALOG, "signature_def", "signature_def")[0] == OK

    def test_the_status_of_what_is_not_served_is_not_found(self, server):
        assert server.call(
            server.models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()
        ) == ("INVALID_ARGUMENT", "Missing ModelSpec")
        assert server.status("shoes") == (
            "NOT_FOUND",
            "Could not find any versions of model shoes",
        )
        assert server.status(CATALOG, 999) == (
            "NOT_FOUND",
            f"Could not find version 999 of model {CATALOG}",
        )
        assert server.status(CATALOG, label="none such") == (
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: none such",
        )

    def test_rest_tells_status_and_metadata_as_grpc_does(self, rest, signatures):
        status, told = rest.get(f"/v1/models/{CATALOG}")
        assert status == 200
        states = {int(one["version"]): one["state"] for one in told["model_version_status"]}
        assert (OK, states) == rest.status(CATALOG)
        status, told = rest.get(f"/v1/models/{CATALOG}/metadata")
        assert status == 200
        assert told["model_spec"]["name"] == CATALOG
        found = json_format.ParseDict(
            told["metadata"]["signature_def"],
            get_model_metadata_pb2.SignatureDefMap(),
            ignore_unknown_fields=True,
        )
        assert dict(found.signature_def) == signatures

    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "said"),
        [
            ("GET", "/v1/foo", None, 400, "Malformed request: GET /v1/foo"),
            ("POST", "/v1/foo", "", 400, "Malformed request: POST /v1/foo"),
            ("GET", "/v1/models", None, 400, "Missing model name in request."),
            ("POST", "/v1/models", "", 400, "Malformed request: POST /v1/models"),
            ("GET", "/v1/models/debug/name", None, 400, "Malformed request"),
            ("GET", "/v1/models/foo:predict", None, 400, "Malformed request"),
            ("GET", "/v1/models/foo/version/50:predict", None, 400, "Malformed request"),
            ("POST", "/v1/models/foo/version/50:regress", "", 400, "Malformed request"),
            ("POST", "/v1/models/foo/versions/HELLO:regress", "", 400, "Malformed request"),
            ("POST", "/v1/models/foo/metadata", "", 400, "Malformed request"),
            ("POST", "/v1/models/foo/label/some:regress", "", 400, "Malformed request"),
            ("POST", "/v1/models/foo/versions/5/labels/l:regress", "", 400, "Malformed request"),
            ("POST", "/v1/models/foo/versions/some:regress", "", 400, "Malformed request"),
            ("PUT", "/v1/models/foo:predict", "", 400, "Malformed request: PUT"),
            ("DELETE", "/v1/models/foo:predict", None, 400, "Malformed request: DELETE"),
            ("PATCH", "/v1/models/foo:predict", "", 400, "Malformed request: PATCH"),
            ("OPTIONS", "/v1/models/foo:predict", None, 400, "Malformed request: OPTIONS"),
            ("POST", "/v1/models/foo:predict?x=1", "{}", 400, "Malformed request"),
            (
                "POST",
                f"/v1/models/foo/versions/{2**64 - 1}:regress",
                "",
                400,
                f"Failed to convert version: {2**64 - 1} to numeric.",
            ),
            ("POST", "/v1/models/foo:predict", '{"instances": [1]}', 404, "Latest(foo)"),
            (
                "POST",
                "/v1/models/foo/versions/50:predict",
                '{"instances": [1]}',
                404,
                "Servable not found for request: Specific(foo, 50)",
            ),
            ("GET", "/v1/models/foo", None, 404, "Could not find any versions of model foo"),
            ("GET", "/v1/models/foo?x=1", None, 404, "any versions of model foo?x=1"),
            (
                "GET",
                f"/v1/models/{CATALOG}/versions/{2**63 - 1}",
                None,
                404,
                f"Could not find version {2**63 - 1} of model {CATALOG}",
            ),
            ("GET", "/v1/models/foo/metadata", None, 404, "Latest(foo)"),
            ("POST", "/v1/models/foo:predict", "", 400, "JSON Parse error: The document is empty"),
        ],
    )
    def test_other_paths_are_refused(self, rest, method, path, body, status, said):
        found, text, headers = rest.rest(method, path, body)
        assert found == status
        assert headers["content-type"] == "application/json"
        assert said in json.loads(text)["error"]

    @pytest.mark.parametrize("path", ["/", "/foo", "/v2/models/foo", "/statuspage"])
    def test_what_is_no_part_of_the_api_is_not_found(self, rest, path):
        assert rest.rest("GET", path)[0] == 404

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("", "JSON Parse error: The document is empty"),
            ("instances = [1, 2]", "JSON Parse error: Invalid value"),
            ('{"instances": [1', "JSON Parse error"),
            ("[1, 2]", "Is not object"),
            ("{}", "Missing 'inputs' or 'instances' key"),
            ('{"signature_name": 100, "instances": [1]}', "must be a string value."),
            ('{"signature_name": "no", "instances": [1]}', '"no" not found in signature def'),
            ('{"instances": []}', "No values in 'instances' array"),
            ('{"instances": {}}', "Excepting 'instances' to be an list/array"),
            ('{"instances": ["a"], "inputs": ["a"]}', "only one of 'inputs' or 'instances'"),
            ('{"instances": [1]}', "Type: Number is not of expected type: string"),
            ('{"instances": [true]}', "Type: True is not of expected type: string"),
            ('{"instances": [null]}', "Type: Null is not of expected type: string"),
            ('{"instances": [["a"], "b"]}', "Expecting shape [1] but got: []"),
            ('{"instances": [["a"], ["b", "c"]]}', "Expecting tensor size: 1 but got: 2"),
            ('{"instances": [{"b64": "%%%"}]}', "Unable to base64 decode"),
            ('{"instances": [{"price": 1}]}', "does not have named input: price"),
            ('{"inputs": {"price": 1}}', "Missing named input: image_bytes in 'inputs' object."),
        ],
    )
    def test_json_that_does_not_fit_is_refused(self, rest, pictures, body, said):
        status, error = rest.post(f"/v1/models/{CATALOG}:predict", body)
        assert status == 400
        assert said in error

    @pytest.mark.parametrize("verb", ["classify", "regress"])
    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("", "JSON Parse error: The document is empty"),
            ('{"signature_name": ["a"], "examples": [{}]}', "key must be a string"),
            ("{}", "key 'examples' is expected and was not found"),
            ('{"examples": []}', "'examples' value is an empty array"),
            ('{"examples": {"names": ["a"]}}', "value to be an list/array"),
            ('{"examples": [[{"names": "a"}]]}', "Example must be JSON object but got JSON Array"),
            ('{"context": [{"n": "a"}], "examples": [{}]}', "Example must be JSON object"),
            ('{"examples": [{"n": [10, null]}]}', "n has element with unexpected JSON type: Null"),
            ('{"examples": [{"n": [10, {"a": 1}]}]}', "unexpected JSON type: Object"),
            ('{"examples": [{"n": [[10], 20]}]}', "unexpected JSON type: Array"),
            ('{"examples": [{"n": [10, 10.0]}]}', "feature: n expecting type: int64"),
            ('{"examples": [{"n": [2, 18446744073709551603]}]}', "Only int64 is supported"),
            ('{"examples": [{"n": 1.7976931348623157e308}]}', "loss of precision"),
        ],
    )
    def test_examples_that_do_not_fit_are_refused(self, rest, verb, body, said):
        status, error = rest.post(f"/v1/models/{CATALOG}:{verb}", body)
        assert status == 400
        assert said in error

    @pytest.mark.parametrize("service", ["", "PredictionService", "ModelService"])
    def test_its_health_is_told(self, server, service):
        stub = health_pb2_grpc.HealthStub(server.channel)
        request = health_pb2.HealthCheckRequest(service=service)
        code, answer = server.call(stub.Check, request)
        if code == "UNIMPLEMENTED":
            pytest.skip("it was started without --enable_grpc_healthcheck_service")
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(request, timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()

    def test_its_services_are_told_and_described(self, server):
        stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
        questions = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(
                file_containing_symbol="tensorflow.serving.PredictionService"
            ),
        ]
        try:
            listed, described = stub.ServerReflectionInfo(iter(questions), timeout=20)
        except grpc.RpcError as error:
            assert ADDRESS and error.code() is grpc.StatusCode.UNIMPLEMENTED
            pytest.skip("it has no reflection")
        names = {service.name for service in listed.list_services_response.service}
        assert {
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
        } <= names
        (file, *_) = described.file_descriptor_response.file_descriptor_proto
        assert b"MultiInference" in file


# Models of which every answer is known.


class TestPredict:
    @pytest.mark.parametrize(
        ("model", "expected"), [("half_plus_two", 3.0), ("half_plus_three", 4.0)]
    )
    def test_a_column_may_come_without_its_second_dimension(self, own, model, expected):
        for outputs in (("y",), ()):
            code, answer = own.predict(model, outputs=outputs, x=TWO)
            assert code == OK
            output = answer.outputs["y"]
            assert (output.dtype, list(output.float_val)) == (types_pb2.DT_FLOAT, [expected])
            assert [dim.size for dim in output.tensor_shape.dim] == [1]
            spec = answer.model_spec
            assert (spec.name, spec.signature_name) == (model, "serving_default")
            assert spec.version.value == VERSION

    def test_a_model_of_tensorflow_2_answers_as_one_of_tensorflow_1(self, own):
        assert _value(own.predict("tensorflow_2", x=TWO)[1]) == 3.0
        assert _value(own.predict("tensorflow_2", "constant", x=TWO)[1]) == 1.0

    def test_a_scalar_is_answered_by_a_scalar(self, own):
        _, answer = own.predict("half_plus_two", x=np.float32(2))
        assert answer.outputs["y"] == tensor_pb2.TensorProto(
            dtype=types_pb2.DT_FLOAT, tensor_shape={}, float_val=[3.0]
        )

    @pytest.mark.parametrize(
        ("signature", "output"),
        [("regress_x2_to_y3", "outputs"), ("classify_x2_to_y3", "scores")],
    )
    def test_signatures_of_other_methods_can_be_predicted_with(self, own, signature, output):
        code, answer = own.predict("half_plus_two", signature, inputs=np.float32(2))
        assert (code, _value(answer, output)) == (OK, 4.0)
        assert answer.model_spec.signature_name == signature

    def test_signatures_may_have_a_state_and_no_inputs(self, own):
        def ask(name: str, **inputs: Any) -> float:
            code, answer = own.predict("counter", name, **inputs)
            assert code == OK, answer
            return _value(answer, "output")

        ask("reset_counter")
        steps = ("get_counter", "incr_counter", "reset_counter", "incr_counter")
        assert [ask(step) for step in steps] == [0.0, 1.0, 0.0, 1.0]
        assert ask("incr_counter_by", delta=np.float32(3)) == 4.0

    def test_an_input_that_is_left_out_has_the_signature_s_default(self, own):
        matrix = np.float32([[[2.0]]])
        assert _value(own.predict("various", "with_default", x=matrix)[1]) == 3.0
        added = np.float32(5)
        assert _value(own.predict("various", "with_default", x=matrix, added=added)[1]) == 6.0

    def test_shapes_are_the_graph_s_to_judge(self, own):
        code, answer = own.predict("echo", "wide", x=np.float32([[1, 2, 3]]))
        assert (code, list(answer.outputs["y"].float_val)) == (OK, [2.0, 3.0, 4.0])

    def test_a_model_without_signatures_fails_a_precondition(self, own):
        assert own.predict("mute", x=TWO) == (
            "FAILED_PRECONDITION",
            'Serving signature key "serving_default" not found.',
        )

    def test_numbers_come_in_the_fields_of_their_types(self, own):
        for dtype, field in (("float32", "float"), ("int64", "int64"), ("bool", "bool")):
            _, answer = own.predict("echo", f"echo_{dtype}", x=np.array([1, 0], dtype))
            output = answer.outputs["y"]
            assert list(getattr(output, f"{field}_val")) == [1, 0]
            assert not output.tensor_content

    def test_a_content_or_a_value_that_stands_for_many_is_taken_as_well(self, own):
        content = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_FLOAT,
            tensor_shape=tensor(TWO).tensor_shape,
            tensor_content=TWO.tobytes(),
        )
        assert _value(own.predict("half_plus_two", x=content)[1]) == 3.0
        one = tensor(np.zeros(3, np.float32))
        one.ClearField("tensor_content")
        one.float_val[:] = [2.0]
        assert list(own.predict("half_plus_two", x=one)[1].outputs["y"].float_val) == [3.0] * 3

    def test_an_error_of_the_graph_is_told_in_its_words_up_to_a_length(self, own):
        code, said = own.predict("echo", "fails", x=np.array([b"a" * 5000]))
        assert code == "INVALID_ARGUMENT"
        assert len(said.encode()) == 1024 + len("...TRUNCATED")
        assert said.endswith("...TRUNCATED")

    def test_a_deadline_ends_a_call(self, own):
        request = predict_request("echo", "slow", x=np.float32([1]))
        with pytest.raises(grpc.RpcError) as error:
            own.predictions.Predict(request, timeout=0.3)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def test_the_unix_socket_answers_too(self, own):
        path = own.log.with_name("grpc.sock")
        assert _value(Asked(f"unix:{path}").predict("half_plus_two", x=TWO)[1]) == 3.0

    def test_a_version_and_a_label_may_be_asked_for(self, own):
        for choice in ({"version": {"value": VERSION}}, {"version_label": "stable"}):
            request = predict_request("half_plus_two", x=TWO)
            request.model_spec.MergeFrom(type(request.model_spec)(**choice))
            code, answer = own.call(own.predictions.Predict, request)
            assert (code, _value(answer)) == (OK, 3.0)
            assert answer.model_spec.version.value == VERSION


class TestClassifyAndRegress:
    @pytest.mark.parametrize("model", ["half_plus_two", "tensorflow_2"])
    def test_examples_are_answered_one_by_one(self, own, model):
        code, answer = own.classify(model, "classify_x_to_y", {"x": 2.0}, {"x": 80.0})
        assert code == OK
        found = [[(c.label, c.score) for c in one.classes] for one in answer.result.classifications]
        assert found == [[("", 3.0)], [("", 42.0)]]
        assert answer.model_spec.signature_name == "classify_x_to_y"
        code, answer = own.regress(model, "regress_x_to_y", {"x": 2.0}, {"x": 80.0})
        assert code == OK
        assert [one.value for one in answer.result.regressions] == [3.0, 42.0]
        assert answer.model_spec.version.value == VERSION

    def test_an_example_may_have_several_classes_with_or_without_scores(self, own):
        examples = (
            {"names": [b"dos", b"uno"], "scores": [2.0, 1.0]},
            {"names": [b"cuatro", b"tres"], "scores": [0.0, -1.0]},
        )
        for signature, scores in (("classify", [2, 1, 0, -1]), ("classes", [0] * 4)):
            code, answer = own.classify("various", signature, *examples)
            assert code == OK
            found = [one.classes for one in answer.result.classifications]
            assert [[one.label for one in classes] for classes in found] == [
                ["dos", "uno"],
                ["cuatro", "tres"],
            ]
            assert [one.score for classes in found for one in classes] == scores

    def test_an_example_s_own_comes_before_what_is_common_to_all(self, own):
        request = classification_pb2.ClassificationRequest(
            model_spec={"name": "various", "signature_name": "classify"}
        )
        given = request.input.example_list_with_context
        fill_example(given.context, {"names": [b"uno", b"dos"], "scores": [1.0, 2.0]})
        given.examples.add()
        fill_example(given.examples.add(), {"names": [b"tres", b"cuatro"], "scores": [3.0, 4.0]})
        code, answer = own.call(own.predictions.Classify, request)
        assert code == OK
        found = [[(c.label, c.score) for c in one.classes] for one in answer.result.classifications]
        assert found == [[("uno", 1.0), ("dos", 2.0)], [("tres", 3.0), ("cuatro", 4.0)]]

    def test_features_that_nobody_takes_do_no_harm(self, own):
        example = {"x": 80.0, "locale": b"pt_BR", "age": 19.0}
        _, answer = own.classify("half_plus_two", "classify_x_to_y", example)
        assert answer.result.classifications[0].classes[0].score == 42.0

    def test_no_examples_are_no_input(self, own):
        refused = ("INVALID_ARGUMENT", "Input is empty.")
        assert own.classify("half_plus_two", "classify_x_to_y") == refused
        assert own.regress("half_plus_two", "regress_x_to_y") == refused
        request = regression_pb2.RegressionRequest(
            model_spec={"name": "half_plus_two", "signature_name": "regress_x_to_y"}
        )
        fill_example(request.input.example_list_with_context.context, {"x": 2.0})
        assert own.call(own.predictions.Regress, request) == refused

    @pytest.mark.parametrize(
        ("model", "signature", "said"),
        [
            ("half_plus_two", "none", "No signature was found with the name: none"),
            ("half_plus_two", "regress_x_to_y", "at least one of"),
            ("half_plus_two", "serving_default", "No classification inputs found"),
            ("odd", "odd_shape", "Expected Tensor shape: [batch_size num_classes] but got [1]"),
            ("odd", "odd_type", "Expected scores Tensor of DT_FLOAT. Got: DT_STRING"),
            ("odd", "odd_rows", "Expected scores output batch size of 1. Got: 2"),
            ("odd", "odd_columns", "should match in dim_size(1). Got 1 vs. 2"),
        ],
    )
    def test_signatures_that_give_no_classes_are_refused(self, own, model, signature, said):
        code, details = own.classify(model, signature, {"x": 2.0})
        assert code == "INVALID_ARGUMENT"
        assert said in details

    @pytest.mark.parametrize(
        ("model", "signature", "said"),
        [
            ("half_plus_two", "none", "No signature was found with the name: none"),
            ("half_plus_two", "classify_x_to_y", "No regression outputs found"),
            ("half_plus_two", "serving_default", "No regression inputs found"),
            ("odd", "odd_regression_shape", "either [batch_size] or [batch_size, 1]"),
            ("odd", "odd_regression_rows", "did not match output batch size: 1 vs. 2"),
            ("odd", "odd_regression_type", "Expected output Tensor of DT_FLOAT"),
        ],
    )
    def test_signatures_that_give_no_numbers_are_refused(self, own, model, signature, said):
        code, details = own.regress(model, signature, {"x": 2.0})
        assert code == "INVALID_ARGUMENT"
        assert said in details

    def test_an_example_that_lacks_a_feature_is_the_graph_s_to_refuse(self, own):
        code, said = own.regress("half_plus_two", "regress_x_to_y", {"z": 1.0})
        assert (code, "x" in said) == ("INVALID_ARGUMENT", True)


class TestMultiInference:
    @pytest.mark.parametrize("model", ["half_plus_two", "tensorflow_2"])
    def test_tasks_are_answered_in_their_order_on_the_same_examples(self, own, model):
        code, answer = own.infer(
            [(model, "regress_x_to_y", "regress"), (model, "classify_x_to_y", "classify")],
            {"x": 2.0},
        )
        assert code == OK, answer
        regression, classification = answer.results
        assert regression.regression_result.regressions[0].value == 3.0
        assert classification.classification_result.classifications[0].classes[0].score == 3.0
        for result, name in zip(answer.results, ("regress_x_to_y", "classify_x_to_y"), strict=True):
            spec = result.model_spec
            assert (spec.name, spec.version.value, spec.signature_name) == (model, VERSION, name)

    def test_two_regressions_are_two_tasks(self, own):
        tasks = [("half_plus_two", f"regress_x_to_{y}", "regress") for y in ("y", "y2")]
        _, answer = own.infer(tasks, {"x": 2.0})
        values = [one.regression_result.regressions[0].value for one in answer.results]
        assert values == [3.0, 4.0]

    @pytest.mark.parametrize(
        ("tasks", "code", "said"),
        [
            ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
            ([("half_plus_two", "none", "regress")], "INVALID_ARGUMENT", "signature not found"),
            (
                [("half_plus_two", "regress_x_to_y", "regress")] * 2,
                "INVALID_ARGUMENT",
                "Duplicate evaluation of signature: regress_x_to_y",
            ),
            (
                [
                    ("half_plus_two", "regress_x_to_y", "regress"),
                    ("half_plus_three", "regress_x_to_y2", "regress"),
                ],
                "INVALID_ARGUMENT",
                "must access the same model name",
            ),
            (
                [
                    ("half_plus_two", "regress_x_to_y", "regress"),
                    ("half_plus_two", "regress_x2_to_y3", "regress"),
                ],
                "INVALID_ARGUMENT",
                "Input tensor must be the same",
            ),
            (
                [("half_plus_two", "serving_default", "predict")],
                "UNIMPLEMENTED",
                "Unsupported signature",
            ),
        ],
    )
    def test_tasks_that_do_not_go_together_are_refused(self, own, tasks, code, said):
        found, details = own.infer(tasks, {"x": 2.0})
        assert found == code
        assert said in details

    def test_tasks_without_examples_have_no_input(self, own):
        task = ("half_plus_two", "regress_x_to_y", "regress")
        assert own.infer([task]) == ("INVALID_ARGUMENT", "Input is empty.")


class TestRest:
    @pytest.mark.parametrize("version", ["", f"/versions/{VERSION}", "/labels/stable"])
    def test_a_model_a_version_and_a_label_can_be_asked(self, own, version):
        model = f"/v1/models/half_plus_two{version}"
        examples = {"examples": [{"x": 80.0}]}
        rows = {"instances": [2.0, 3.0, 4.0]}
        assert own.post(f"{model}:predict", rows) == (200, {"predictions": [3.0, 3.5, 4.0]})
        columns = {"inputs": [2.0, 3.0, 4.0]}
        assert own.post(f"{model}:predict", columns) == (200, {"outputs": [3.0, 3.5, 4.0]})
        named = {"signature_name": "regress_x_to_y", **examples}
        assert own.post(f"{model}:regress", named) == (200, {"results": [42.0]})
        named = {"signature_name": "classify_x_to_y", **examples}
        assert own.post(f"{model}:classify", named) == (200, {"results": [[["", 42.0]]]})
        assert own.get(model) == (
            200,
            {
                "model_version_status": [
                    {
                        "version": "123",
                        "state": "AVAILABLE",
                        "status": {"error_code": "OK", "error_message": ""},
                    }
                ]
            },
        )
        status, metadata = own.get(f"{model}/metadata")
        assert status == 200
        assert metadata["model_spec"] == {
            "name": "half_plus_two", "signature_name": "", "version": "123",
        }  # fmt: skip

    def test_metadata_have_every_field_written_out(self, own):
        _, told = own.get("/v1/models/half_plus_two/metadata")
        found = told["metadata"]["signature_def"]["signature_def"]
        assert set(found) == {
            *("serving_default", "regress_x_to_y", "regress_x_to_y2", "regress_x2_to_y3"),
            *("classify_x_to_y", "classify_x2_to_y3"),
        }
        unknown = {"dim": [], "unknown_rank": True}
        column = {
            "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
            "unknown_rank": False,
        }
        assert found["classify_x_to_y"] == {
            "inputs": {
                "inputs": {"dtype": "DT_STRING", "tensor_shape": unknown, "name": "tf_example:0"}
            },
            "outputs": {"scores": {"dtype": "DT_FLOAT", "tensor_shape": column, "name": "y:0"}},
            "method_name": "tensorflow/serving/classify",
            "defaults": {},
        }

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/V1/Models/half_plus_two", 200),
            ("/v1/models/half%5Fplus%5Ftwo", 200),
            ("/v1/models/half_plus_two/labels/st%61ble", 200),
            ("/v1/models/modelname%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D", 404),
            ("/v1/models/half_plus_two/labels/la%2Ftest", 400),
        ],
    )
    def test_names_in_paths_may_be_escaped(self, own, path, status):
        found, said = own.get(path)
        assert found == status
        if status == 404:
            assert said.endswith("of model modelname!#$%&'()*+,/:;=?@[]")
        if status == 400:
            assert said == "Unrecognized servable version label: la/test"

    def test_shapes_are_the_graph_s_to_judge(self, own):
        path = "/v1/models/half_plus_two:predict"
        rows = {"instances": [[1.0, 2.0], [3.0, 4.0]]}
        assert own.post(path, rows) == (200, {"predictions": [[2.5, 3.0], [3.5, 4.0]]})
        assert own.post(path, {"inputs": 2.0}) == (200, {"outputs": 3.0})

    @pytest.mark.parametrize(
        ("dtype", "values", "answered"),
        [
            ("int32", "[[1,2],[3,4],[5,6]]", [[1, 2], [3, 4], [5, 6]]),
            ("float32", "[1, 2.0, 3, 4, 5.003, 0.007, 0.0]", [1, 2, 3, 4, 5.003, 0.007, 0]),
            ("float64", "[1.0, 2, 0.662, 0]", [1.0, 2.0, 0.662, 0.0]),
            ("bool", "[true, false]", [True, False]),
            ("string", '["foo", {"b64": "aGVsbG8="}]', ["foo", "hello"]),
            ("string", '[["foo"], ["bar"]]', [["foo"], ["bar"]]),
            ("int64", f"[{2**63 - 1}]", [2**63 - 1]),
        ],
    )
    def test_values_come_back_as_they_were_sent(self, own, dtype, values, answered):
        body = f'{{"signature_name": "echo_{dtype}", "instances": {values}}}'
        assert own.post("/v1/models/echo:predict", body) == (200, {"predictions": answered})
        body = f'{{"signature_name": "echo_{dtype}", "inputs": {{"x": {values}}}}}'
        assert own.post("/v1/models/echo:predict", body) == (200, {"outputs": answered})

    def test_numbers_are_written_with_six_digits_or_as_many_as_they_need(self, own):
        body = (
            '{"signature_name": "echo_float32", "instances": [9000000, 999999, 0.5, 0.0003, '
            "0.00003, 555557.5, 0.1, NaN, Infinity, -Infinity]}"
        )
        status, text, _ = own.rest("POST", "/v1/models/echo:predict", body)
        assert status == 200
        assert "".join(text.split()) == (
            '{"predictions":[9e+06,999999.0,0.5,0.0003,3e-05,555557.5,0.1,NaN,Infinity,-Infinity]}'
        )

    def test_inputs_of_several_types_go_row_by_row_and_column_by_column(self, own):
        rows = [
            {"ints": [[1, 2]], "texts": ["foo", "tf"], "floats": [1.0], "doubles": 8.0},
            {"ints": [[3, 4]], "texts": ["bar", "go"], "floats": [2.0], "doubles": 9.0},
        ]
        encoded = [["Zm9v", "dGY="], ["YmFy", "Z28="]]
        as_bytes = [[{"b64": text} for text in row] for row in encoded]
        path = "/v1/models/various:predict"
        assert own.post(path, {"signature_name": "mixed", "instances": rows}) == (
            200,
            {
                "predictions": [
                    {**row, "texts_bytes": texts} for row, texts in zip(rows, as_bytes, strict=True)
                ]
            },
        )
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        answer = (200, {"outputs": {**columns, "texts_bytes": as_bytes}})
        assert own.post(path, {"signature_name": "mixed", "inputs": columns}) == answer
        scalar = {**columns, "texts": {"b64": "aGVsbG8="}}
        status, answer = own.post(path, {"signature_name": "mixed", "inputs": scalar})
        assert (status, answer["outputs"]["texts"]) == (200, "hello")

    @pytest.mark.parametrize(
        ("signature", "body", "said"),
        [
            ("echo_int32", '"instances": [[1,2],[3,4],[5,6,7]]', "Expecting tensor size"),
            ("echo_int32", '"instances": [[1,2],[3,4],[[5,6]]]', "Expecting shape"),
            ("echo_int32", '"instances": [1, [1]]', "Expecting shape"),
            ("echo_int32", '"instances": [[1,2],["a", "b"]]', "not of expected type"),
            ("echo_int32", '"instances": [1.5]', "not of expected type: int32"),
            ("echo_int32", '"instances": [1.0]', "not of expected type: int32"),
            ("echo_int32", '"instances": [true]', "not of expected type: int32"),
            ("echo_int32", '"instances": ["3"]', "not of expected type: int32"),
            ("echo_float32", '"instances": ["1.5"]', "not of expected type: float"),
            ("echo_float32", '"instances": [true]', "not of expected type: float"),
            ("echo_float32", '"instances": [null]', "not of expected type: float"),
            ("echo_float32", '"instances": [1.7976931348623157e308]', "loss of precision"),
            ("echo_float32", '"instances": [16777217]', "loss of precision"),
            ("echo_float64", '"instances": [9007199254740993]', "loss of precision"),
            ("echo_float32", '"instances": [1e400]', "Number too big to be stored in double"),
            ("echo_bool", '"instances": [1]', "not of expected type: bool"),
            ("echo_bool", '"instances": ["x"]', "not of expected type: bool"),
            ("echo_complex64", '"instances": [1]', "to type: complex64"),
            ("echo_float16", '"instances": [1]', "to type: half"),
            ("no_input", '"inputs": {}', "Failed to get input map for signature: no_input"),
            ("two", '"instances": [1]', "multiple input tensors required"),
            ("two", '"inputs": [1]', "multiple input tensors required"),
            ("two", '"instances": [{"a": [1], "b": 1}, [1]]', "Expecting object but got list"),
            ("two", '"instances": [{"a": [1]}]', "keys must be equal to: a,b"),
            (
                "echo_string",
                '"instances": [["a"], {"x": ["b"]}]',
                "Expecting value/list but got object",
            ),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, own, signature, body, said):
        body = f'{{"signature_name": "{signature}", {body}}}'
        status, error = own.post("/v1/models/echo:predict", body)
        assert status == 400
        assert said in error

    @pytest.mark.parametrize(
        ("signature", "said"),
        [
            ("complex", "tensor type: complex64"),
            ("uneven", "inconsistent batch size: 2 expecting: 1"),
            ("sum", "has no shape information"),
        ],
    )
    def test_outputs_that_are_no_rows_are_refused(self, own, signature, said):
        body = {"signature_name": signature, **ROWS}
        status, error = own.post("/v1/models/various:predict", body)
        assert status == 400
        assert said in error
        if signature != "complex":
            body = {"signature_name": signature, "inputs": [1.0]}
            assert own.post("/v1/models/various:predict", body)[0] == 200

    def test_what_json_can_hold_and_need_not_does_no_harm(self, own):
        path = "/v1/models/half_plus_two:predict"
        deep = "[" * 100_000 + "]" * 100_000
        for body in (
            '{"instances": [2.0]} and what follows {',
            f'{{"unused": {deep}, "instances": [2.0]}}',
            '{"inputs": {"x": [2.0], "price": 1}}',
        ):
            status, answer = own.post(path, body)
            assert (status, [*answer.values()]) == (200, [[3.0]])
        body = f'{{"instances": {deep}}}'
        assert own.post(path, body)[0] == 400

    @pytest.mark.parametrize("text", ["aGVsbG8=", "aGVsbG8", "aGVs\nbG8=", "aGVsbG8."])
    def test_base64_may_lack_its_padding_and_have_line_breaks(self, own, text):
        body = {"signature_name": "both_bytes", "instances": [{"b64": text}]}
        assert own.post("/v1/models/echo:predict", body) == (
            200,
            {"predictions": [{"out_bytes": {"b64": "aGVsbG8="}, "text": "hello"}]},
        )

    def test_examples_have_texts_numbers_and_what_is_common(self, own):
        path = "/v1/models/half_plus_two:regress"
        common = {"context": {"x": 2.0, "query": "pizza"}}
        body = {
            "signature_name": "regress_x_to_y",
            **common,
            "examples": [{}, {"x": [4.0], "names": ["a", {"b64": "aGVsbG8="}], "ages": [1, True]}],
        }
        assert own.post(path, body) == (200, {"results": [3.0, 4.0]})
        body = '{"signature_name": "regress_x_to_y", "examples": [{"x": Infinity}, {"x": NaN}]}'
        status, text, _ = own.rest("POST", path, body)
        infinite, not_a_number = json.loads(text)["results"]
        assert (status, infinite, math.isnan(not_a_number)) == (200, math.inf, True)

    def test_bodies_may_be_packed(self, own):
        body = gzip.compress(json.dumps(ROWS).encode())
        status, text, _ = own.rest(
            "POST", "/v1/models/half_plus_two:predict", body, Content_Encoding="gzip"
        )
        assert (status, json.loads(text)) == (200, {"predictions": [2.5]})

    def test_a_preflight_allows_nothing_unless_it_is_told_to(self, own, other):
        origin = {"Origin": "https://shop.example"}
        path = "/v1/models/half_plus_two:predict"
        for asked, allows in ((own, None), (other, "*")):
            status, _, headers = asked.rest("OPTIONS", path, **origin)
            assert (status, headers.get("access-control-allow-origin")) == (200, allows)
            _, _, headers = asked.rest("POST", path, ROWS, **origin)
            assert headers.get("access-control-allow-origin") == allows
        assert headers["access-control-allow-methods"] == "POST, GET"
        assert headers["access-control-allow-headers"] == "Content-Type"


class TestMetrics:
    def test_prometheus_finds_tensorflow_serving_s_names(self, own):
        own.predict("half_plus_two", x=TWO)
        own.post("/v1/models/half_plus_two:predict", ROWS)
        own.regress("half_plus_two", "regress_x_to_y", {"x": 2.0})
        own.predict("half_plus_two", x=np.array([b"no number"]))
        status, text, headers = own.rest("GET", "/monitoring/prometheus/metrics")

        assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
        model = 'model_name="half_plus_two"'
        for kind, name in {
            "counter": "request_count", "histogram": "request_latency",
        }.items():  # fmt: skip
            assert f"# TYPE :tensorflow:serving:{name} {kind}" in text
        for pattern in (
            rf':tensorflow:serving:request_count{{{model},status="OK"}} [1-9]',
            rf':tensorflow:serving:request_count{{{model},status="INVALID_ARGUMENT"}} [1-9]',
            rf':request_latency_count{{{model},API="Predict",entrypoint="GRPC"}} [1-9]',
            rf':request_latency_count{{{model},API="predict",entrypoint="REST"}} [1-9]',
            rf':request_latency_bucket{{{model},API="Predict",entrypoint="GRPC",le="18"}} \d',
            rf':runtime_latency_count{{{model},API="Regress",runtime="TF1"}} [1-9]',
            r':request_example_count_total{model="half_plus_two"} [1-9]',
            r':model_warmup_latency_count{model_path="[^"]*half_plus_three[^"]*",status="OK"} 1',
            r':cc:saved_model:load_attempt_count{model_path="[^"]*",status="success"} 1',
        ):
            assert re.search(pattern, text), pattern

    def test_they_are_not_found_where_nobody_asked_for_them(self, other):
        assert other.rest("GET", "/monitoring/prometheus/metrics")[0] == 404


class TestOtherFlags:
    def test_answers_hold_content_where_that_is_asked_for(self, other, models):
        _serve(other, _model(models, "half_plus_two"))
        _, answer = other.predict("half_plus_two", x=np.float32([[2], [4]]))
        output = answer.outputs["y"]
        assert not output.float_val
        assert np.frombuffer(output.tensor_content, np.float32).tolist() == [3.0, 4.0]

    def test_requests_that_are_computed_together_get_each_its_own_answer(self, other, models):
        _serve(other, _model(models, "tensorflow_2"))

        def ask(number: int) -> float:
            return _value(other.predict("tensorflow_2", x=np.float32([number]))[1])

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(ask, range(64))) == [number / 2 + 2 for number in range(64)]
        code, said = other.predict("tensorflow_2", x=np.ones(129, np.float32))
        assert code == "INVALID_ARGUMENT"
        assert said == "Task size 129 is larger than maximum input batch size 128"

    def test_method_names_are_held_against_the_method(self, other, models):
        _serve(other, _model(models, "half_plus_two"), _model(models, "various"))
        code, said = other.predict("various", "unknown_method", x=np.float32([[[2]]]))
        assert code == "INTERNAL"
        assert said.startswith("Expected prediction signature method_name to be one of")
        code, said = other.classify("half_plus_two", "regress_x_to_y", {"x": 2.0})
        assert code == "INVALID_ARGUMENT"
        assert said.startswith("Expected classification signature method_name to be")

    def test_without_that_they_are_not(self, own):
        code, answer = own.predict("various", "unknown_method", x=np.float32([[[2]]]))
        assert (code, _value(answer)) == (OK, 3.0)

    def test_a_rest_call_that_takes_too_long_is_given_up(self, other, models):
        _serve(other, _model(models, "half_plus_two"), _model(models, "echo"))
        body = {"signature_name": "slow", "inputs": [1.0]}
        assert other.post("/v1/models/echo:predict", body)[0] == 504


def _model(models: Path, name: str, folder: str = "", /, **settings: Any) -> Any:
    return model_server_config_pb2.ModelConfig(
        **{
            "name": name,
            "base_path": str(models / (folder or name)),
            "model_platform": "tensorflow",
            **settings,
        }
    )


def _config(*configs: Any) -> Any:
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.SetInParent()
    config.model_config_list.config.extend(configs)
    return config


def _serve(asked: Asked, *configs: Any) -> None:
    """Has a server serve these models and no others."""
    assert asked.reload(_config(*configs)) == (OK, _accepted())


def _accepted() -> Any:
    answer = model_management_pb2.ReloadConfigResponse()
    answer.status.SetInParent()
    return answer


def _policy(kind: str, **settings: Any) -> dict[str, Any]:
    return {"model_version_policy": {kind: settings}}


def _available(asked: Asked, model: str) -> set[int]:
    code, states = asked.status(model)
    return {v for v, state in states.items() if state == "AVAILABLE"} if code == OK else set()


class TestReload:
    def test_models_come_and_go(self, other, models):
        two, three = (_model(models, name) for name in ("half_plus_two", "half_plus_three"))
        _serve(other, two)
        assert _value(other.predict("half_plus_two", x=TWO)[1]) == 3.0
        assert other.predict("default", x=TWO)[0] == "NOT_FOUND"
        _serve(other, two, three)
        assert _value(other.predict("half_plus_three", x=TWO)[1]) == 4.0

        _serve(other)
        assert other.predict("half_plus_two", x=TWO)[0] == "NOT_FOUND"
        other.wait_until(lambda: other.status("half_plus_two") == (OK, {VERSION: "END"}))
        _serve(other, two)
        assert _value(other.predict("half_plus_two", x=TWO)[1]) == 3.0

    def test_another_folder_is_followed_whatever_its_versions_are_called(self, other, models):
        def move(folder: str, version: int) -> None:
            _serve(other, _model(models, "moving", folder))
            other.wait_until(lambda: _available(other, "moving") == {version})
            assert _value(other.predict("moving", x=TWO)[1]) == 3.0

        move("half_plus_two", VERSION)
        move("versions", NEWEST)
        move("tensorflow_2", VERSION)

    def test_policies_say_which_versions_answer(self, other, models):
        def follow(versions: set[int], policy: dict[str, Any]) -> None:
            _serve(other, _model(models, "versions", **policy))
            other.wait_until(lambda: _available(other, "versions") == versions)

        follow({NEWEST}, {})
        follow({NEWEST}, _policy("latest"))
        follow({NEWEST, 33}, _policy("latest", num_versions=2))
        follow({17, 33}, _policy("specific", versions=[17, 33]))
        assert other.predict("versions", x=TWO)[1].model_spec.version.value == 33
        follow({17, 33, NEWEST}, _policy("all"))
        assert other.predict("versions", x=TWO)[1].model_spec.version.value == NEWEST

    def test_labels_name_versions_that_answer(self, other, models):
        def reload(**labels: int) -> tuple[str, Any]:
            return other.reload(
                _config(_model(models, "versions", **_policy("all"), version_labels=labels))
            )

        def version_of(label: str) -> tuple[str, Any]:
            request = predict_request("versions", x=TWO)
            request.model_spec.version_label = label
            code, answer = other.call(other.predictions.Predict, request)
            return code, answer.model_spec.version.value if code == OK else answer

        assert reload()[0] == OK
        other.wait_until(lambda: _available(other, "versions") == {17, 33, NEWEST})
        assert reload(stable=17, canary=NEWEST) == (OK, _accepted())
        assert (version_of("stable"), version_of("canary")) == ((OK, 17), (OK, NEWEST))
        assert other.status("versions", label="stable") == (OK, {17: "AVAILABLE"})
        for labels in ({"new": 777}, {"stable": 777, "canary": NEWEST}):
            code, said = reload(**labels)
            assert code == "FAILED_PRECONDITION"
            assert "which is not currently available for inference" in said
        assert version_of("stable") == (OK, 17)
        assert version_of("new") == (
            "INVALID_ARGUMENT", "Unrecognized servable version label: new",
        )  # fmt: skip
        assert reload(stable=33) == (OK, _accepted())
        assert version_of("stable") == (OK, 33)
        assert version_of("canary")[0] == "INVALID_ARGUMENT"

    def test_a_version_that_is_renamed_or_removed_is_unloaded(self, other, models, tmp_path):
        for version in ("1", "0001", "3", "5"):
            shutil.copytree(models / "half_plus_two" / "00000123", tmp_path / "v" / version)
        _serve(other, _model(tmp_path, "v", **_policy("all")))
        other.wait_until(lambda: _available(other, "v") == {1, 3, 5})
        (tmp_path / "v" / "3").rename(tmp_path / "v" / "3.away")
        shutil.rmtree(tmp_path / "v" / "5")
        other.wait_until(lambda: _available(other, "v") == {1})
        assert other.predict("v", x=TWO)[1].model_spec.version.value == 1
        for version in ("1", "0001"):
            shutil.rmtree(tmp_path / "v" / version)
        other.wait_until(lambda: _available(other, "v") == set())
        assert other.predict("v", x=TWO)[0] == "NOT_FOUND"

    def test_a_version_that_cannot_be_loaded_says_why_and_the_others_answer(
        self, other, models, tmp_path
    ):
        (tmp_path / "broken" / "5").mkdir(parents=True)
        (tmp_path / "broken" / "5" / "saved_model.pb").write_bytes(b"no model")
        shutil.copytree(models / "half_plus_two" / "00000123", tmp_path / "broken" / "4")
        config = _config(_model(tmp_path, "broken", **_policy("all")))
        assert other.reload(config) == (OK, _accepted())
        other.wait_until(lambda: other.status("broken") == (OK, {4: "AVAILABLE", 5: "END"}))
        status, told = other.get("/v1/models/broken/versions/5")
        (state,) = told["model_version_status"]
        assert (status, state["state"]) == (200, "END")
        assert state["status"]["error_code"] != "OK" and state["status"]["error_message"]
        assert other.predict("broken", x=TWO)[1].model_spec.version.value == 4

    @pytest.mark.parametrize(
        ("change", "code", "said"),
        [
            ({"base_path": "relative/path"}, "INVALID_ARGUMENT", "to have an absolute path"),
            ({"model_type": 1}, "INVALID_ARGUMENT", "Illegal setting both"),
            ({"model_platform": ""}, "INVALID_ARGUMENT", "Illegal setting neither"),
            (
                {"model_platform": "caffe"},
                "INVALID_ARGUMENT",
                "Illegal to change a model's platform",
            ),
            (
                {"name": "new", "model_platform": "caffe"},
                "INVALID_ARGUMENT",
                "requests unsupported platform caffe",
            ),
            ({"logging_config": {}}, "INVALID_ARGUMENT", "No request-logger-creator provided."),
        ],
    )
    def test_a_mistake_changes_nothing(self, other, models, change, code, said):
        two = _model(models, "half_plus_two")
        _serve(other, two)
        found, details = other.reload(_config(_model(models, "half_plus_two", **change)))
        assert found == code
        assert said in details
        assert _value(other.predict("half_plus_two", x=TWO)[1]) == 3.0

    def test_a_model_is_listed_once_and_nothing_but_lists_is_taken(self, other, models):
        two = _model(models, "half_plus_two")
        _serve(other, two)
        code, said = other.reload(_config(two, two))
        assert code == "INVALID_ARGUMENT"
        assert "Illegal to list model half_plus_two multiple times" in said
        custom = model_server_config_pb2.ModelServerConfig()
        custom.custom_model_config.SetInParent()
        for config in (custom, model_server_config_pb2.ModelServerConfig()):
            code, said = other.reload(config)
            assert code == "INVALID_ARGUMENT"
            assert "Only ModelConfigList is currently supported" in said
        assert _value(other.predict("half_plus_two", x=TWO)[1]) == 3.0

    def test_the_deprecated_type_is_a_platform_too(self, other, models):
        two = _model(models, "half_plus_two", model_platform="", model_type=1)
        _serve(other, two)
        assert _value(other.predict("half_plus_two", x=TWO)[1]) == 3.0

    def test_a_model_that_cannot_be_loaded_is_told_and_the_others_answer(
        self, other, models, tmp_path
    ):
        (tmp_path / "none" / "1").mkdir(parents=True)
        (tmp_path / "none" / "1" / "saved_model.pb").write_bytes(b"no model")
        code, said = other.reload(
            _config(_model(models, "half_plus_two"), _model(tmp_path, "none"))
        )
        assert code == "UNKNOWN"
        assert said.startswith("1 model(s) did not become available: {{{name: none")
        assert _value(other.predict("half_plus_two", x=TWO)[1]) == 3.0


class TestModelConfigFile:
    def test_the_file_is_followed_and_a_mistake_in_it_changes_nothing(self, own, models):
        path = own.log.with_name("models.config")
        before = path.read_text()
        path.write_text(_models_config(models, (*SERVED, "versions"), stable=VERSION, ghost=777))
        own.wait_until(lambda: _available(own, "versions") == {NEWEST})
        # A label may name a version that does not answer: a flag says so.
        assert own.status("half_plus_two", label="ghost")[0] == "NOT_FOUND"
        path.write_text("model_config_list { config { nome: 'x' } }")
        own.wait_until(lambda: "did you mean name?" in own.log.read_text())
        assert _value(own.predict("versions", x=TWO)[1]) == 3.0
        path.write_text(before)
        own.wait_until(lambda: _available(own, "versions") == set())
        assert _value(own.predict("half_plus_two", x=TWO)[1]) == 3.0


class TestStart:
    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            (("--no_such_flag=1",), "There is no flag --no_such_flag"),
            ((), "There is nothing to serve"),
            (("--model_config_file=FILE",), "text-format tensorflow.serving.ModelServerConfig"),
            (
                ("--model_base_path=/models", "--use_alts_credentials"),
                "--use_alts_credentials is not supported",
            ),
        ],
    )
    def test_a_mistake_ends_it_with_one_sentence(self, tmp_path, flags, said):
        if ADDRESS:
            pytest.skip("the flags are those of the tests' server")
        (tmp_path / "models.config").write_text("improperly formatted file")
        flags = [flag.replace("FILE", str(tmp_path / "models.config")) for flag in flags]
        ended = subprocess.run(
            [sys.executable, "-m", "serving.model_server", *flags],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 1
        assert said in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1
