"""What TensorFlow Serving answers to Predict, Classify, Regress, MultiInference and metadata."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.example import example_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from serving.model_server import inference, joint_runs
from serving.model_server.errors import RequestError
from serving.model_server.options import ServerOptions, single_model
from serving.model_server.servables import WARMUP_REQUESTS, Servables
from tests.serving.model_server import half_plus_two

NAME = "half_plus_two"
VERSION = 123


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / NAME
    half_plus_two.save(folder / str(VERSION))
    return folder


@contextlib.contextmanager
def _served(base: Path, **options):
    servables = Servables(ServerOptions(single_model(base, NAME), **options), settle_s=0.05)
    try:
        servables.start()
        servables.wait_until_ready(60)
        yield servables
    finally:
        servables.close()


@pytest.fixture(scope="module")
def servables(base):
    with _served(base) as servables:
        yield servables


@pytest.fixture(scope="module")
def strict(base):
    with _served(
        base, enable_signature_method_name_check=True, enable_serialization_as_tensor_content=True
    ) as servables:
        yield servables


def _finished(function):
    return lambda *args, **kwargs: joint_runs.finish(function(*args, **kwargs))


asked = SimpleNamespace(
    predict=_finished(inference.predict),
    predict_arrays=_finished(inference.predict_arrays),
    classify=_finished(inference.classify),
    regress=_finished(inference.regress),
    multi_inference=_finished(inference.multi_inference),
)


@contextlib.contextmanager
def _refused(code: str, message: str):
    with pytest.raises(RequestError) as error:
        yield
    assert error.value.code == grpc.StatusCode[code]
    assert error.value.message == message


@contextlib.contextmanager
def _refused_with(code: str, part: str):
    with pytest.raises(RequestError) as error:
        yield
    assert error.value.code == grpc.StatusCode[code]
    assert part in error.value.message


def _predict(signature_name: str = "", output_filter=(), name: str = NAME, **inputs):
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.name = name
    request.model_spec.signature_name = signature_name
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


def _examples(*numbers: float, **context: float) -> input_pb2.Input:
    given = input_pb2.Input()
    rows = given.example_list.examples
    if context:
        rows = given.example_list_with_context.examples
        given.example_list_with_context.context.CopyFrom(_example(**context))
    rows.extend(_example() if number is None else _example(x=number) for number in numbers)
    return given


def _example(**features: float) -> example_pb2.Example:
    example = example_pb2.Example()
    for name, number in features.items():
        example.features.feature[name].float_list.value.append(number)
    return example


def _classify(signature_name: str, given: input_pb2.Input):
    request = classification_pb2.ClassificationRequest(input=given)
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature_name
    return request


def _regress(signature_name: str, given: input_pb2.Input):
    request = regression_pb2.RegressionRequest(input=given)
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature_name
    return request


def _multi(given: input_pb2.Input, *tasks: tuple[str, str], name: str = NAME):
    request = inference_pb2.MultiInferenceRequest(input=given)
    for signature_name, kind in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{kind}")
        task.model_spec.name = name
        task.model_spec.signature_name = signature_name
    return request


class TestPredict:
    def test_the_answer_is_the_one_of_tensorflow_serving_to_the_last_field(self, servables):
        request = _predict(x=np.array([[2.0], [4.0]], np.float32))
        expected = text_format.Parse(
            """
            model_spec {
              name: "half_plus_two" version { value: 123 } signature_name: "serving_default"
            }
            outputs { key: "y" value {
              dtype: DT_FLOAT
              tensor_shape { dim { size: 2 } dim { size: 1 } }
              float_val: 3 float_val: 4
            } }
            """,
            predict_pb2.PredictResponse(),
        )
        assert asked.predict(servables, request) == expected

    def test_shapes_are_left_to_the_graph(self, servables):
        """The signature says (None, 1)."""
        for x in (np.float32([2, 3, 4]), np.float32(2), np.float32([[[2, 3]], [[4, 5]]])):
            answer = asked.predict(servables, _predict(x=x))
            assert (tf.make_ndarray(answer.outputs["y"]) == x / 2 + 2).all()

    def test_the_filter_says_which_outputs_are_computed(self, servables):
        request = _predict("two_outputs", ["y2"], x=np.float32([[2]]))
        assert dict(asked.predict(servables, request).outputs).keys() == {"y2"}
        request = _predict("two_outputs", x=np.float32([[2]]))
        assert dict(asked.predict(servables, request).outputs).keys() == {"y", "y2"}

    def test_a_signature_of_another_kind_can_be_predicted_with_too(self, servables):
        answer = asked.predict(servables, _predict("regress_x2_to_y", inputs=np.float32([[2]])))
        assert answer.outputs["outputs"].float_val == [3]

    def test_answers_hold_content_where_that_is_asked_for(self, strict):
        answer = asked.predict(strict, _predict(x=np.float32([[2]])))
        assert answer.outputs["y"].tensor_content == np.float32([[3]]).tobytes()
        assert not answer.outputs["y"].float_val

    def test_no_model_spec(self, servables):
        with _refused("INVALID_ARGUMENT", "Missing ModelSpec"):
            asked.predict(servables, predict_pb2.PredictRequest())

    def test_an_empty_name(self, servables):
        with _refused("INVALID_ARGUMENT", "ModelSpec has no name specified."):
            asked.predict(servables, _predict(name="", x=np.float32([1])))

    def test_another_name(self, servables):
        with _refused("NOT_FOUND", "Servable not found for request: Latest(nope)"):
            asked.predict(servables, _predict(name="nope", x=np.float32([1])))

    def test_another_version(self, servables):
        request = _predict(x=np.float32([1]))
        request.model_spec.version.value = 7
        with _refused("NOT_FOUND", "Servable not found for request: Specific(half_plus_two, 7)"):
            asked.predict(servables, request)

    def test_another_signature(self, servables):
        with _refused_with("FAILED_PRECONDITION", 'Serving signature key "nope" not found. There'):
            asked.predict(servables, _predict("nope", x=np.float32([1])))

    def test_no_inputs(self, servables):
        with _refused(
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
            "Missing but required: {x}.",
        ):
            asked.predict(servables, _predict())

    def test_inputs_too_many(self, servables):
        with _refused(
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({a,b}) != len({x}). Sent extra: {a,b}. "
            "Missing but required: {x}.",
        ):
            asked.predict(servables, _predict(b=np.float32([1]), a=np.float32([1])))

    def test_an_input_of_another_name(self, servables):
        with _refused(
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {z}, or default input alias set: ",
        ):
            asked.predict(servables, _predict(z=np.float32([1])))

    @pytest.mark.parametrize(
        ("value", "name"),
        [([b"text"], "string"), (np.float64([1]), "double"), (np.array([True]), "bool")],
    )
    def test_an_input_of_another_type(self, servables, value, name):
        with _refused("INVALID_ARGUMENT", f"Expects arg[0] to be float but {name} is provided"):
            asked.predict(servables, _predict(x=value))

    def test_an_input_that_is_no_tensor(self, servables):
        request = _predict(x=np.float32([1]))
        request.inputs["x"].tensor_shape.dim[0].size = -1
        with _refused_with("INVALID_ARGUMENT", "tensor parsing error: x"):
            asked.predict(servables, request)

    def test_an_output_that_there_is_not(self, servables):
        with _refused(
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
        ):
            asked.predict(servables, _predict("", ["z"], x=np.float32([1])))

    def test_an_output_named_twice(self, servables):
        with _refused("INVALID_ARGUMENT", "duplicate output tensor alias: y"):
            asked.predict(servables, _predict("", ["y", "y"], x=np.float32([1])))

    def test_arrays_are_answered_as_messages_are(self, servables):
        with servables.find(_predict().model_spec) as servable:
            answer = asked.predict_arrays(
                servable, "two_outputs", {"x": np.float32([[2]])}, ["y2", "y"]
            )
        assert {name: value.tolist() for name, value in answer.items()} == {
            "y2": [[4.0]],
            "y": [[3.0]],
        }
        assert list(answer) == ["y2", "y"]


class TestDefaults:
    """Inputs that a signature has values for (SignatureDef.defaults)."""

    @pytest.fixture(scope="class")
    def servables(self, base, tmp_path_factory):
        folder = tmp_path_factory.mktemp("defaults") / "1"

        class Scaled(tf.Module):
            @tf.function(
                input_signature=[
                    tf.TensorSpec([None], tf.float32, "x"),
                    tf.TensorSpec([], tf.float32, "k"),
                ]
            )
            def scale(self, x, k):
                return {"y": x * k}

        model = Scaled()
        tf.saved_model.save(model, str(folder), signatures={"serving_default": model.scale})
        from tensorflow.core.protobuf import saved_model_pb2

        path = folder / "saved_model.pb"
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        signature = saved.meta_graphs[0].signature_def["serving_default"]
        signature.defaults["k"].CopyFrom(tf.make_tensor_proto(np.float32(10)))
        path.write_bytes(saved.SerializeToString())
        with _served(folder.parent) as servables:
            yield servables

    def test_an_input_that_is_left_out_has_its_default(self, servables):
        answer = asked.predict(servables, _predict(x=np.float32([2])))
        assert answer.outputs["y"].float_val == [20]

    def test_an_input_that_is_given_has_what_is_given(self, servables):
        answer = asked.predict(servables, _predict(x=np.float32([2]), k=np.float32(3)))
        assert answer.outputs["y"].float_val == [6]

    def test_an_input_without_default_is_required(self, servables):
        with _refused_with(
            "INVALID_ARGUMENT",
            "not found in request and no default value provided. Inputs expected to be in the "
            "request {k}, or default input alias set: k",
        ):
            asked.predict(servables, _predict(k=np.float32(3)))

    def test_an_input_of_another_name_is_not_taken_for_the_default(self, servables):
        with _refused(
            "INVALID_ARGUMENT",
            "Inputs contains invalid name. Used request inputs: x, request input: x,z",
        ):
            asked.predict(servables, _predict(x=np.float32([2]), z=np.float32(3)))


class TestClassify:
    def test_scores_without_classes(self, servables):
        answer = asked.classify(servables, _classify("classify_x_to_y", _examples(2, 4)))
        expected = text_format.Parse(
            """
            result {
              classifications { classes { score: 3 } }
              classifications { classes { score: 4 } }
            }
            model_spec {
              name: "half_plus_two" version { value: 123 } signature_name: "classify_x_to_y"
            }
            """,
            classification_pb2.ClassificationResponse(),
        )
        assert answer == expected

    def test_classes_and_scores(self, servables):
        answer = asked.classify(servables, _classify("classify_names", _examples(2, 4)))
        assert [
            (entry.label, entry.score)
            for row in answer.result.classifications
            for entry in row.classes
        ] == [("few", 3.0), ("much", 4.0)]

    def test_what_is_common_to_all_examples_is_sent_once(self, servables):
        given = _examples(2, None, x=10)
        answer = asked.classify(servables, _classify("classify_x_to_y", given))
        scores = [row.classes[0].score for row in answer.result.classifications]
        assert scores == [3, 7]

    @pytest.mark.parametrize(
        ("signature_name", "message"),
        [
            ("nope", "No signature was found with the name: nope"),
            (
                "odd_shape",
                "Expected Tensor shape: [batch_size num_classes] but got [2]",
            ),
            ("odd_type", "Expected scores Tensor of DT_FLOAT. Got: DT_STRING"),
            ("odd_rows", "Expected scores output batch size of 2. Got: 4"),
            ("odd_columns", "Tensors class and score should match in dim_size(1). Got 1 vs. 2"),
        ],
    )
    def test_signatures_that_give_no_classes(self, servables, signature_name, message):
        with _refused("INVALID_ARGUMENT", message):
            asked.classify(servables, _classify(signature_name, _examples(2, 4)))

    @pytest.mark.parametrize(
        ("signature_name", "message"),
        [
            ("odd_outputs", 'to contain at least one of "classes" or "scores". Signature was: '),
            ("serving_default", "No classification inputs found in SignatureDef: "),
        ],
    )
    def test_signatures_that_are_no_classifiers(self, servables, signature_name, message):
        with _refused_with("INVALID_ARGUMENT", message):
            asked.classify(servables, _classify(signature_name, _examples(2)))

    @pytest.mark.parametrize("given", [input_pb2.Input(), _examples(), _examples(x=1)])
    def test_no_examples(self, servables, given):
        with _refused("INVALID_ARGUMENT", "Input is empty."):
            asked.classify(servables, _classify("classify_x_to_y", given))

    def test_a_signature_made_for_something_else(self, servables, strict):
        message = (
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/regress"
        )
        with _refused("INVALID_ARGUMENT", message):
            asked.classify(strict, _classify("regress_x_to_y", _examples(2)))

    def test_no_model_spec(self, servables):
        with _refused("INVALID_ARGUMENT", "Missing ModelSpec"):
            asked.classify(servables, classification_pb2.ClassificationRequest())

    def test_examples_that_lack_what_the_model_needs_get_the_graph_s_own_error(self, servables):
        given = input_pb2.Input()
        example = given.example_list.examples.add()
        example.features.feature["x"].bytes_list.value.append(b"no number")
        with _refused_with("INVALID_ARGUMENT", "Data types don't match"):
            asked.classify(servables, _classify("classify_x_to_y", given))


class TestRegress:
    def test_a_number_for_each_example(self, servables):
        answer = asked.regress(servables, _regress("regress_x_to_y", _examples(2, 4)))
        expected = text_format.Parse(
            """
            result { regressions { value: 3 } regressions { value: 4 } }
            model_spec {
              name: "half_plus_two" version { value: 123 } signature_name: "regress_x_to_y"
            }
            """,
            regression_pb2.RegressionResponse(),
        )
        assert answer == expected

    @pytest.mark.parametrize(
        ("signature_name", "message"),
        [
            ("nope", "No signature was found with the name: nope"),
            ("classify_names", "Expected one output Tensor."),
            (
                "odd_regression_shape",
                "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
                "[2,2]",
            ),
            (
                "odd_regression_rows",
                "Input batch size did not match output batch size: 2 vs. 4",
            ),
            ("odd_regression_type", "Expected output Tensor of DT_FLOAT.  Got: DT_STRING"),
        ],
    )
    def test_signatures_that_give_no_numbers(self, servables, signature_name, message):
        with _refused("INVALID_ARGUMENT", message):
            asked.regress(servables, _regress(signature_name, _examples(2, 4)))

    def test_signatures_that_are_no_regressors(self, servables, strict):
        with _refused_with("INVALID_ARGUMENT", "No regression inputs found in SignatureDef: "):
            asked.regress(servables, _regress("", _examples(2)))
        with _refused(
            "INVALID_ARGUMENT",
            "Expected regression signature method_name to be tensorflow/serving/regress. "
            "Was: tensorflow/serving/predict",
        ):
            asked.regress(strict, _regress("", _examples(2)))

    def test_a_signature_that_takes_no_examples_but_numbers(self, servables):
        with _refused("INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided"):
            asked.regress(servables, _regress("regress_x2_to_y", _examples(2)))


class TestMultiInference:
    def test_several_signatures_answer_in_the_order_asked(self, servables):
        request = _multi(
            _examples(2, 4),
            ("regress_x_to_y2", "regress"),
            ("classify_x_to_y", "classify"),
        )
        answer = asked.multi_inference(servables, request)
        expected = text_format.Parse(
            """
            results {
              model_spec {
                name: "half_plus_two" version { value: 123 } signature_name: "regress_x_to_y2"
              }
              regression_result { regressions { value: 4 } regressions { value: 5 } }
            }
            results {
              model_spec {
                name: "half_plus_two" version { value: 123 } signature_name: "classify_x_to_y"
              }
              classification_result {
                classifications { classes { score: 3 } } classifications { classes { score: 4 } }
              }
            }
            """,
            inference_pb2.MultiInferenceResponse(),
        )
        assert answer == expected

    @pytest.mark.parametrize(
        ("tasks", "code", "message"),
        [
            ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
            (
                [("nope", "regress")],
                "INVALID_ARGUMENT",
                "Requested signature not found in model graph: nope",
            ),
            (
                [("regress_x_to_y", "regress")] * 2,
                "INVALID_ARGUMENT",
                "Duplicate evaluation of signature: regress_x_to_y",
            ),
            (
                [("regress_x_to_y", "predict")],
                "UNIMPLEMENTED",
                "Unsupported signature method_name: tensorflow/serving/predict",
            ),
            (
                [("regress_x_to_y", "regress"), ("regress_x2_to_y", "regress")],
                "INVALID_ARGUMENT",
                "Input tensor must be the same for all Signatures.",
            ),
        ],
    )
    def test_tasks_that_do_not_go_together(self, servables, tasks, code, message):
        with _refused(code, message):
            asked.multi_inference(servables, _multi(_examples(2), *tasks))

    def test_tasks_of_several_models(self, servables):
        request = _multi(_examples(2), ("regress_x_to_y", "regress"))
        request.tasks.add().model_spec.name = "another"
        with _refused(
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ):
            asked.multi_inference(servables, request)
        request.tasks[1].model_spec.name = ""
        with _refused("INVALID_ARGUMENT", "Found ModelSpec with an empty model name."):
            asked.multi_inference(servables, request)

    def test_no_examples(self, servables):
        with _refused("INVALID_ARGUMENT", "Input is empty."):
            request = _multi(input_pb2.Input(), ("regress_x_to_y", "regress"))
            asked.multi_inference(servables, request)


class TestMetadata:
    def _request(self, *fields: str, name: str = NAME):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        request.model_spec.name = name
        return request

    def test_signatures_are_described_as_the_model_has_them(self, servables):
        answer = inference.metadata(servables, self._request("signature_def", "signature_def"))
        assert (answer.model_spec.name, answer.model_spec.version.value) == (NAME, VERSION)
        assert answer.model_spec.signature_name == ""
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(signatures)
        expected = text_format.Parse(
            """
            inputs { key: "x" value {
              name: "x:0" dtype: DT_FLOAT tensor_shape { dim { size: -1 } dim { size: 1 } }
            } }
            outputs { key: "y" value {
              name: "y:0" dtype: DT_FLOAT tensor_shape { dim { size: -1 } dim { size: 1 } }
            } }
            method_name: "tensorflow/serving/predict"
            """,
            meta_graph_pb2.SignatureDef(),
        )
        assert signatures.signature_def["serving_default"] == expected

    def test_no_model_spec_comes_before_all_else(self, servables):
        with _refused("INVALID_ARGUMENT", "Missing ModelSpec"):
            inference.metadata(servables, get_model_metadata_pb2.GetModelMetadataRequest())

    def test_no_field(self, servables):
        with _refused(
            "INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field"
        ):
            inference.metadata(servables, self._request())

    def test_another_field(self, servables):
        with _refused("INVALID_ARGUMENT", "Metadata field %s is not supportednope"):
            inference.metadata(servables, self._request("signature_def", "nope"))

    def test_another_model(self, servables):
        with _refused("NOT_FOUND", "Servable not found for request: Latest(nope)"):
            inference.metadata(servables, self._request("signature_def", name="nope"))


class TestStatus:
    def test_each_version_has_its_state(self, servables):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = NAME
        expected = text_format.Parse(
            "model_version_status { version: 123 state: AVAILABLE status { error_message: '' } }",
            get_model_status_pb2.GetModelStatusResponse(),
        )
        assert inference.status(servables, request) == expected

    def test_no_model_spec(self, servables):
        with _refused("INVALID_ARGUMENT", "Missing ModelSpec"):
            inference.status(servables, get_model_status_pb2.GetModelStatusRequest())

    def test_another_model(self, servables):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "nope"
        with _refused("NOT_FOUND", "Could not find any versions of model nope"):
            inference.status(servables, request)


def test_requests_of_every_kind_warm_a_model_up(base, tmp_path):
    folder = tmp_path / "warm" / "1"
    half_plus_two.save(folder)
    logs = [prediction_log_pb2.PredictionLog() for _ in range(4)]
    logs[0].predict_log.request.CopyFrom(_predict(x=np.float32([[1]])))
    logs[1].classify_log.request.CopyFrom(_classify("classify_x_to_y", _examples(1)))
    logs[2].regress_log.request.CopyFrom(_regress("regress_x_to_y", _examples(1)))
    logs[3].multi_inference_log.request.CopyFrom(
        _multi(_examples(1), ("regress_x_to_y", "regress"))
    )
    path = folder / WARMUP_REQUESTS
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    with _served(folder.parent):
        pass
    with tf.io.TFRecordWriter(str(path)) as writer:
        logs[2].regress_log.request.model_spec.signature_name = "nope"
        writer.write(logs[2].SerializeToString())
    servables = Servables(ServerOptions(single_model(folder.parent, NAME)), settle_s=0.05)
    servables.start()
    with pytest.raises(Exception, match="No signature was found with the name: nope"):
        servables.wait_until_ready(60)
    servables.close()
