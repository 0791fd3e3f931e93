"""Predict, Classify, Regress, MultiInference, metadata and status, whoever asks over whatever wire.

What computes is a request of `joint_runs`: `finish(predict(servables, request))` is its answer. All
refuse with TensorFlow Serving's status codes and texts: they are what its callers match.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from serving.model_server import admission, picture_costs, remedies, tensors
from serving.model_server.errors import RequestError
from serving.model_server.joint_runs import Asking, Computation, finish
from serving.model_server.saved_model import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    from serving.model_server.servables import Servable, Servables

SIGNATURE_DEF = "signature_def"
"""The one kind of metadata that there is."""

_PREDICT = "tensorflow/serving/predict"
_CLASSIFY = "tensorflow/serving/classify"
_REGRESS = "tensorflow/serving/regress"

# The names that Classify and Regress look for in a signature.
_INPUTS = "inputs"
_OUTPUTS = "outputs"
_CLASSES = "classes"
_SCORES = "scores"

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Signature:
    """A signature, read once for the many requests that ask it.

    Attributes:
        name: its name.
        definition: as the SavedModel has it.
        inputs: the type of each input, a number of `tensorflow.DataType`, by ascending alias.
        outputs: the outputs' aliases, ascending.
        defaults: what inputs are that a request leaves out.
    """

    name: str
    definition: meta_graph_pb2.SignatureDef
    inputs: Mapping[str, int]
    outputs: tuple[str, ...]
    defaults: Mapping[str, np.ndarray]


def read_signatures(
    definitions: Mapping[str, meta_graph_pb2.SignatureDef],
) -> dict[str, Signature]:
    """Reads all signatures of a model.

    Raises:
        RequestError: a default value is no tensor.
    """
    return {
        name: Signature(
            name,
            definition,
            {alias: definition.inputs[alias].dtype for alias in sorted(definition.inputs)},
            tuple(sorted(definition.outputs)),
            {alias: tensors.array(value, alias) for alias, value in definition.defaults.items()},
        )
        for name, definition in definitions.items()
    }


def predict(
    servables: Servables, request: predict_pb2.PredictRequest, timeout_s: float | None = None
) -> Asking[predict_pb2.PredictResponse]:
    """Answers Predict.

    Args:
        servables: the models.
        request: which of them, its signature, inputs, and perhaps the outputs wanted.
        timeout_s: seconds after which the computation is stopped; None: never.

    Raises:
        RequestError: with TensorFlow Serving's status and text.
    """
    _check_has_spec(request)
    with servables.find(request.model_spec) as servable:
        return (yield from _predict(servable, request, timeout_s))


def predict_arrays(
    servable: Servable,
    signature_name: str,
    inputs: Mapping[str, np.ndarray],
    output_filter: Sequence[str] = (),
    timeout_s: float | None = None,
) -> Asking[dict[str, np.ndarray]]:
    """Runs a signature on arrays.

    Args:
        servable: a version of a model, as `Servables.find` gives it.
        signature_name: `DEFAULT_SIGNATURE` if empty.
        inputs: a value for each input that has no default; text as object arrays of bytes. Shapes
            are the graph's to judge, as in TensorFlow Serving.
        output_filter: the outputs wanted; all if empty.
        timeout_s: seconds after which the computation is stopped; None: never.

    Returns:
        The outputs by name, in the order of the filter or ascending; text as object arrays of
        bytes.

    Raises:
        RequestError: with TensorFlow Serving's status and text.
    """
    return _run(servable, signature_name, inputs, lambda value, _: value, output_filter, timeout_s)


def classify(
    servables: Servables,
    request: classification_pb2.ClassificationRequest,
    timeout_s: float | None = None,
) -> Asking[classification_pb2.ClassificationResponse]:
    """Answers Classify: Examples in, labels and scores out; see `predict`."""
    _check_has_spec(request)
    with servables.find(request.model_spec) as servable:
        return (yield from _classify(servable, request, timeout_s))


def regress(
    servables: Servables,
    request: regression_pb2.RegressionRequest,
    timeout_s: float | None = None,
) -> Asking[regression_pb2.RegressionResponse]:
    """Answers Regress: Examples in, one number for each out; see `predict`."""
    _check_has_spec(request)
    with servables.find(request.model_spec) as servable:
        return (yield from _regress(servable, request, timeout_s))


def multi_inference(
    servables: Servables,
    request: inference_pb2.MultiInferenceRequest,
    timeout_s: float | None = None,
) -> Asking[inference_pb2.MultiInferenceResponse]:
    """Answers MultiInference: several signatures of one model on the same Examples.

    See `predict`. The first task says which version of the model it is.
    """
    spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
    with servables.find(spec) as servable:
        return (yield from _multi_inference(servable, request, timeout_s))


def metadata(
    servables: Servables, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Answers GetModelMetadata: the signatures of a version.

    Raises:
        RequestError: with TensorFlow Serving's status and text.
    """
    _check_has_spec(request)
    if not request.metadata_field:
        raise _invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            # The text is TensorFlow Serving's, to the letter.
            raise _invalid(f"Metadata field %s is not supported{field}")
    with servables.find(request.model_spec) as servable:
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in servable.model.signature_defs.items():
            signatures.signature_def[name].CopyFrom(definition)
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response


def status(
    servables: Servables, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    """Answers GetModelStatus: what became of each version, the newest first.

    Raises:
        RequestError: with TensorFlow Serving's status and text.
    """
    _check_has_spec(request)
    response = get_model_status_pb2.GetModelStatusResponse()
    for state in servables.states(request.model_spec):
        response.model_version_status.add(
            version=state.version,
            state=get_model_status_pb2.ModelVersionStatus.State.Value(state.state),
            status={"error_code": state.code.value[0], "error_message": state.message},
        )
    return response


def replay(servable: Servable, log: prediction_log_pb2.PredictionLog) -> None:
    """Answers a request that was logged, to warm a model up; what it answers is not looked at.

    Raises:
        RequestError: the request cannot be answered, or is of a kind that cannot be replayed.
    """
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        finish(_predict(servable, log.predict_log.request, None))
    elif kind == "classify_log":
        finish(_classify(servable, log.classify_log.request, None))
    elif kind == "regress_log":
        finish(_regress(servable, log.regress_log.request, None))
    elif kind == "multi_inference_log":
        finish(_multi_inference(servable, log.multi_inference_log.request, None))
    elif kind is not None:
        number = prediction_log_pb2.PredictionLog.DESCRIPTOR.fields_by_name[kind].number
        raise RequestError(
            grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}"
        )


def _predict(
    servable: Servable, request: predict_pb2.PredictRequest, timeout_s: float | None
) -> Asking[predict_pb2.PredictResponse]:
    spec = request.model_spec
    outputs = yield from _run(
        servable,
        spec.signature_name,
        request.inputs,
        tensors.array,
        request.output_filter,
        timeout_s,
    )
    response = predict_pb2.PredictResponse()
    _describe(response.model_spec, servable, spec)
    for name, value in outputs.items():
        tensors.fill(response.outputs[name], value, servable.answers_as_content)
    return response


def _run(
    servable: Servable,
    signature_name: str,
    inputs: Mapping[str, _Value],
    read: Callable[[_Value, str], np.ndarray],
    output_filter: Sequence[str],
    timeout_s: float | None,
) -> Asking[dict[str, np.ndarray]]:
    signature_name = signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(signature_name)
    if signature is None:
        refusal = RequestError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f'Serving signature key "{signature_name}" not found.',
        )
        there = remedies.of_signature(signature_name, servable.signatures)
        raise remedies.with_remedy(refusal, there)
    method_name = signature.definition.method_name
    if servable.checks_method_names and method_name not in (_PREDICT, _CLASSIFY, _REGRESS):
        raise RequestError(
            grpc.StatusCode.INTERNAL,
            "Expected prediction signature method_name to be one of "
            f"{{{_PREDICT}, {_CLASSIFY}, {_REGRESS}}}. Was: {method_name}",
        )
    try:
        values = _inputs(signature, inputs, read)
    except RequestError as error:
        wanted = remedies.of_inputs(signature, inputs, error.message)
        raise remedies.with_remedy(error, wanted) from None
    names = _outputs(signature, output_filter)
    try:
        computed = yield _computation(servable, signature_name, values, names, timeout_s)
    except RequestError as error:
        if error.code is grpc.StatusCode.INVALID_ARGUMENT:
            _show(servable, signature_name, values, None)
            wanted = remedies.of_values(signature, values)
            raise remedies.with_remedy(error, wanted) from None
        raise
    outputs = dict(zip(names, computed, strict=True))
    _show(servable, signature_name, values, outputs)
    return outputs


def _computation(
    servable: Servable,
    signature_name: str,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    timeout_s: float | None,
) -> Computation:
    """What the model is to compute.

    Raises:
        TakesLong: it takes long, and this thread is not for that.
    """
    if admission.may_be_put_off() and picture_costs.takes_long(inputs):
        raise admission.TakesLong
    return Computation(servable.model, inputs, tuple(outputs), timeout_s, signature_name)


def _show(
    servable: Servable,
    signature_name: str,
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray] | None,
) -> None:
    """Shows a request, answered or refused for what it holds, to who samples live traffic."""
    if servable.observe:
        servable.observe(servable.name, servable.version, signature_name, inputs, outputs)


def _inputs(
    signature: Signature,
    given: Mapping[str, _Value],
    read: Callable[[_Value, str], np.ndarray],
) -> dict[str, np.ndarray]:
    """The value of each input of a signature, from a request and the signature's defaults."""
    asked = signature.inputs
    if len(given) > len(asked) or (len(given) < len(asked) and not signature.defaults):
        raise _invalid(
            f"input size does not match signature: {len(given)}!={len(asked)} "
            f"len({_set(given)}) != len({_set(asked)}). "
            f"Sent extra: {_set(set(given) - set(asked))}. "
            f"Missing but required: {_set(set(asked) - set(given))}."
        )
    values: dict[str, np.ndarray] = {}
    used = 0
    for alias, dtype in asked.items():
        if alias in given:
            value = read(given[alias], alias)
            used += 1
        elif alias in signature.defaults:
            value = signature.defaults[alias]
        else:
            feed_name = signature.definition.inputs[alias].name
            raise _invalid(
                f"Signature input alias: {alias}(feed name: {feed_name}) not found in request and "
                "no default value provided. Inputs expected to be in the request "
                f"{_set(given)}, or default input alias set: {','.join(sorted(signature.defaults))}"
            )
        found = tensors.type_number(value)
        if found != dtype:
            raise _invalid(
                f"Expects arg[{len(values)}] to be {tensors.type_name(dtype)} but "
                f"{tensors.type_name(found)} is provided"
            )
        values[alias] = value
    if used != len(given):
        raise _invalid(
            "Inputs contains invalid name. Used request inputs: "
            f"{','.join(alias for alias in asked if alias in given)}, "
            f"request input: {','.join(sorted(given))}"
        )
    return values


def _outputs(signature: Signature, output_filter: Sequence[str]) -> Sequence[str]:
    if not output_filter:
        return signature.outputs
    names: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {_set(signature.outputs)}."
            )
        if alias in names:
            raise _invalid(f"duplicate output tensor alias: {alias}")
        names.append(alias)
    return names


def _classify(
    servable: Servable,
    request: classification_pb2.ClassificationRequest,
    timeout_s: float | None,
) -> Asking[classification_pb2.ClassificationResponse]:
    signature = _signature_for_examples(servable, request.model_spec)
    try:
        outputs = _classification_outputs(servable, signature)
    except RequestError as error:
        raise remedies.with_remedy(error, remedies.of_method(signature)) from None
    examples = _examples(request.input)
    response = classification_pb2.ClassificationResponse()
    _describe(response.model_spec, servable, request.model_spec)
    computed = yield from _run_examples(servable, signature, outputs, examples, timeout_s)
    _fill_classification(response.result, computed, len(examples))
    return response


def _regress(
    servable: Servable, request: regression_pb2.RegressionRequest, timeout_s: float | None
) -> Asking[regression_pb2.RegressionResponse]:
    signature = _signature_for_examples(servable, request.model_spec)
    try:
        outputs = _regression_outputs(servable, signature)
    except RequestError as error:
        raise remedies.with_remedy(error, remedies.of_method(signature)) from None
    examples = _examples(request.input)
    response = regression_pb2.RegressionResponse()
    _describe(response.model_spec, servable, request.model_spec)
    computed = yield from _run_examples(servable, signature, outputs, examples, timeout_s)
    _fill_regression(response.result, computed[_OUTPUTS], len(examples))
    return response


def _multi_inference(
    servable: Servable, request: inference_pb2.MultiInferenceRequest, timeout_s: float | None
) -> Asking[inference_pb2.MultiInferenceResponse]:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    tasks: dict[str, tuple[Signature, Sequence[str], str]] = {}
    model_name = input_name = ""
    for task in request.tasks:
        if not task.model_spec.name:
            raise _invalid("Found ModelSpec with an empty model name.")
        model_name = model_name or task.model_spec.name
        if model_name != task.model_spec.name:
            raise _invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        signature_name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if signature_name in tasks:
            raise _invalid(f"Duplicate evaluation of signature: {signature_name}")
        signature = servable.signatures.get(signature_name)
        if signature is None:
            raise _invalid(f"Requested signature not found in model graph: {signature_name}")
        if task.method_name == _CLASSIFY:
            outputs = _classification_outputs(servable, signature)
        elif task.method_name == _REGRESS:
            outputs = _regression_outputs(servable, signature)
        else:
            raise RequestError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Unsupported signature method_name: {task.method_name}",
            )
        name = signature.definition.inputs[_INPUTS].name
        input_name = input_name or name
        # Signatures of TensorFlow 2 have an input each, and all are given the same Examples.
        if input_name != name and signature.inputs[_INPUTS] != types_pb2.DT_STRING:
            raise _invalid("Input tensor must be the same for all Signatures.")
        tasks[signature_name] = signature, outputs, task.method_name
    examples = _examples(request.input)
    response = inference_pb2.MultiInferenceResponse()
    for task, (signature, outputs, method_name) in zip(request.tasks, tasks.values(), strict=True):
        remaining_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        computed = yield from _run_examples(servable, signature, outputs, examples, remaining_s)
        result = response.results.add()
        _describe(result.model_spec, servable, task.model_spec)
        if method_name == _CLASSIFY:
            _fill_classification(result.classification_result, computed, len(examples))
        else:
            _fill_regression(result.regression_result, computed[_OUTPUTS], len(examples))
    return response


def _signature_for_examples(servable: Servable, spec: model_pb2.ModelSpec) -> Signature:
    name = spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise _invalid(f"No signature was found with the name: {name}")
    return signature


def _classification_outputs(servable: Servable, signature: Signature) -> Sequence[str]:
    """The outputs that Classify takes, if the signature has what it needs."""
    definition = signature.definition
    _check_method_name(servable, definition, "classification", _CLASSIFY)
    if len(definition.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if len(definition.outputs) not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {len(definition.outputs)}")
    if _INPUTS not in definition.inputs:
        raise _invalid(f"No classification inputs found in SignatureDef: {definition}")
    outputs = [name for name in (_CLASSES, _SCORES) if name in definition.outputs]
    if not outputs:
        raise _invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {definition}'
        )
    return outputs


def _regression_outputs(servable: Servable, signature: Signature) -> Sequence[str]:
    """The output that Regress takes, if the signature has what it needs."""
    definition = signature.definition
    _check_method_name(servable, definition, "regression", _REGRESS)
    if len(definition.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if len(definition.outputs) != 1:
        raise _invalid("Expected one output Tensor.")
    if _INPUTS not in definition.inputs:
        raise _invalid(f"No regression inputs found in SignatureDef: {definition}")
    if _OUTPUTS not in definition.outputs:
        raise _invalid(f"No regression outputs found in SignatureDef: {definition}")
    return (_OUTPUTS,)


def _check_method_name(
    servable: Servable, definition: meta_graph_pb2.SignatureDef, kind: str, method_name: str
) -> None:
    if servable.checks_method_names and definition.method_name != method_name:
        raise _invalid(
            f"Expected {kind} signature method_name to be {method_name}. "
            f"Was: {definition.method_name}"
        )


def _examples(given: input_pb2.Input) -> np.ndarray:
    """Serialized Examples, string (N); what is common to all comes first in each."""
    kind = given.WhichOneof("kind")
    common = b""
    examples: Sequence[Any] = ()
    if kind == "example_list":
        examples = given.example_list.examples
    elif kind == "example_list_with_context":
        examples = given.example_list_with_context.examples
        common = given.example_list_with_context.context.SerializeToString()
    if not examples:
        raise _invalid("Input is empty.")
    serialized = np.empty(len(examples), object)
    serialized[:] = [common + example.SerializeToString() for example in examples]
    return serialized


def _run_examples(
    servable: Servable,
    signature: Signature,
    outputs: Sequence[str],
    examples: np.ndarray,
    timeout_s: float | None,
) -> Asking[dict[str, np.ndarray]]:
    values = _inputs(signature, {_INPUTS: examples}, lambda value, _: value)
    computed = yield _computation(servable, signature.name, values, outputs, timeout_s)
    return dict(zip(outputs, computed, strict=True))


def _fill_classification(
    result: classification_pb2.ClassificationResult,
    outputs: Mapping[str, np.ndarray],
    examples: int,
) -> None:
    """Writes classes and scores, (N, k) each, or one of them."""
    for name, dtype in ((_CLASSES, types_pb2.DT_STRING), (_SCORES, types_pb2.DT_FLOAT)):
        if name not in outputs:
            continue
        values = outputs[name]
        if values.ndim != 2:
            raise _invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got {_shape(values)}"
            )
        _check_output_type(name, values, dtype)
        if len(values) != examples:
            raise _invalid(f"Expected {name} output batch size of {examples}. Got: {len(values)}")
    classes = outputs.get(_CLASSES)
    scores = outputs.get(_SCORES)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise _invalid(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    for row in range(examples):
        added = result.classifications.add().classes
        # A label is text in the message, and bytes in the model.
        labels = [_text(label) for label in classes[row]] if classes is not None else None
        numbers = scores[row].tolist() if scores is not None else None
        for place in range(len(labels if labels is not None else numbers or ())):
            entry = added.add()
            if labels is not None:
                entry.label = labels[place]
            if numbers is not None:
                entry.score = numbers[place]


def _fill_regression(
    result: regression_pb2.RegressionResult, values: np.ndarray, examples: int
) -> None:
    """Writes one number for each Example, from (N) or (N, 1)."""
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise _invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(values)}"
        )
    if len(values) != examples:
        raise _invalid(
            f"Input batch size did not match output batch size: {examples} vs. {len(values)}"
        )
    found = tensors.type_number(values)
    if found != types_pb2.DT_FLOAT:
        raise _invalid(
            f"Expected output Tensor of DT_FLOAT.  Got: {types_pb2.DataType.Name(found)}"
        )
    for value in values.ravel().tolist():
        result.regressions.add(value=value)


def _check_output_type(name: str, values: np.ndarray, dtype: int) -> None:
    found = tensors.type_number(values)
    if found != dtype:
        raise _invalid(
            f"Expected {name} Tensor of {types_pb2.DataType.Name(dtype)}. "
            f"Got: {types_pb2.DataType.Name(found)}"
        )


def _describe(
    answered: model_pb2.ModelSpec, servable: Servable, asked: model_pb2.ModelSpec
) -> None:
    answered.name = asked.name
    answered.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    answered.version.value = servable.version


def _check_has_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise _invalid("Missing ModelSpec")


def _text(label: bytes) -> str:
    try:
        return label.decode()
    except UnicodeDecodeError:
        raise RequestError(
            grpc.StatusCode.INTERNAL, f"the class {label!r} is no UTF-8, and cannot be sent"
        ) from None


def _shape(values: np.ndarray) -> str:
    return "[" + ",".join(str(size) for size in values.shape) + "]"


def _set(names: Mapping[str, object] | Sequence[str] | set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)
