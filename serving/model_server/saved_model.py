"""A SavedModel in a Session, the engine that TensorFlow Serving has.

Python's own loader (`tf.saved_model.load`) forgives what TensorFlow Serving does not: it finds
variables by object, where a Session finds them by name. What answers here answers there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.client import pywrap_tf_session as tf_session

from serving.model_server import memory, tensors
from serving.model_server.errors import RequestError
from serving.model_server.joint_runs import Batching

tf1 = tf.compat.v1

_log = logging.getLogger("seamline.serving")

SERVE = "serve"
"""The tag of the graph that is for serving."""

DEFAULT_SIGNATURE = "serving_default"
"""The signature of a request that names none."""

# What Python puts before an error's message, which C++ callers never see.
_PREFIX = "Graph execution error:\n\n"

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}

_MOST_FETCHES = 16
"""Every set of outputs that a Session is asked for is compiled and kept, so that a caller who asks
for ever other ones could fill the memory; beyond so many a signature, all outputs are computed."""


_MOST_FAILED_BATCHES = 20
"""Once so many batches of a signature have failed, and none not, there are no further ones."""


@dataclasses.dataclass
class _Signature:
    """A signature's tensors in the Session's graph.

    Attributes:
        inputs, outputs: the C tensors of its own by alias.
        dtypes: NumPy's type of every input.
        variables: handles of the variables that it reads.
        fetches: the sets of outputs that were asked for.
        joins: several requests can be computed in one batch.
        failed_batches: how many batches of several requests have failed, each of which was answered
            alone, before the first that was answered; None after it.
    """

    inputs: dict[str, object]
    outputs: dict[str, object]
    dtypes: dict[str, type]
    variables: list[tf.Tensor] = dataclasses.field(default_factory=list)
    fetches: set[tuple[str, ...]] = dataclasses.field(default_factory=set)
    joins: bool = True
    failed_batches: int | None = 0


class _NotByRow(Exception):
    """An output has no row for each row of the inputs."""


class SavedModel:
    """A SavedModel, ready to answer. Threads may share one.

    Args:
        folder: where it is.
        tags: which of its graphs to take.
        batching: how `run_together` makes batches, and `run` divides and fills up requests; None
            computes each request by itself and as it is. So is a signature computed that does not
            give a row for a row.
        session_config: TensorFlow's options of a Session.

    Attributes:
        signature_defs: what each signature takes and gives.
        batching: the same.

    Raises:
        Exception: whatever TensorFlow raises on a SavedModel that is damaged.
        ValueError: a signature reads variables that are not restored: it could never answer.
    """

    def __init__(
        self,
        folder: Path,
        tags: Sequence[str] = (SERVE,),
        *,
        batching: Batching | None = None,
        session_config: config_pb2.ConfigProto | None = None,
    ):
        self._graph = tf.Graph()
        self._session = tf1.Session(graph=self._graph, config=session_config)
        self._lock = threading.Lock()
        self.batching = batching
        try:
            with self._graph.as_default(), _without_deprecations():
                meta_graph = tf1.saved_model.load(self._session, list(tags), str(folder))
            self.signature_defs: Mapping[str, meta_graph_pb2.SignatureDef] = dict(
                meta_graph.signature_def
            )
            definition = self._graph.as_graph_def()
            self._signatures = {
                name: self._signature(name, signature, definition)
                for name, signature in self.signature_defs.items()
                if name != _INIT_SIGNATURE
            }
            self._check_variables()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the memory back; the model cannot be asked afterwards."""
        self._session.close()
        self._signatures = {}
        del self._session, self._graph
        # Graphs are cycles of Python objects and would stay for long.
        gc.collect()
        memory.give_back()

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        timeout_s: float | None = None,
        signature_name: str = DEFAULT_SIGNATURE,
    ) -> list[np.ndarray]:
        """Computes outputs of a signature.

        Args:
            inputs: A value for each input of the signature by its alias; text as object arrays of
                bytes. Types must be the signature's, shapes only what the graph can compute, as in
                TensorFlow Serving.
            outputs: Aliases of the outputs wanted.
            timeout_s: After so many seconds the computation is stopped; None: never.
            signature_name: One of `signature_defs`.

        Returns:
            The outputs in the order asked for; text as object arrays of bytes.

        Raises:
            RequestError: a type is another than the signature's, the graph refused (the status is
                the graph's), or the time was over (DEADLINE_EXCEEDED).
        """
        signature = self._signatures[signature_name]
        for name, value in inputs.items():
            _check(name, value, signature.dtypes[name])
        if self.batching:
            self._check_size(inputs)
            rows = _rows(inputs)
            if signature.joins and rows and not self._is_a_batch(rows):
                try:
                    return self._run_rows(signature, inputs, rows, outputs, timeout_s)
                except _NotByRow as error:
                    self._note_failed_batch(signature_name, error)
                except RequestError as error:
                    if error.code in _NOBODYS_FAULT:
                        raise
                    # What is wrong is to be told of the request as it is, not of a part of it.
        return self._run(signature, inputs, outputs, timeout_s)

    def run_together(
        self,
        requests: Sequence[Mapping[str, np.ndarray]],
        outputs: Sequence[str],
        timeout_s: float | None = None,
        signature_name: str = DEFAULT_SIGNATURE,
    ) -> list[list[np.ndarray] | RequestError]:
        """Computes the same outputs for several requests, in one batch where that can be.

        Where one of them is at fault, each gets alone the answer or the error that is its own.

        Args:
            requests: The inputs of each; see `run`.
            outputs: See `run`.
            timeout_s: See `run`.
            signature_name: See `run`.

        Returns:
            For each request what `run` returns, or what it raises.
        """
        answers: dict[int, list[np.ndarray] | RequestError] = {}
        for members in self._batches(self._signatures[signature_name], requests):
            together = [requests[member] for member in members]
            found = self._run_batch(together, outputs, timeout_s, signature_name)
            answers |= zip(members, found, strict=True)
        return [answers[place] for place in range(len(requests))]

    def _batches(
        self, signature: _Signature, requests: Sequence[Mapping[str, np.ndarray]]
    ) -> list[list[int]]:
        """The places of requests that make one batch, for each batch."""
        batches: list[list[int]] = []
        # For each form of inputs, the batch that is being filled, and how many rows it has.
        growing: dict[tuple[object, ...], tuple[list[int], int]] = {}
        for place, inputs in enumerate(requests):
            rows = _rows(inputs)
            if not (self.batching and signature.joins and rows):
                batches.append([place])
                continue
            form = tuple((name, value.dtype, value.shape[1:]) for name, value in inputs.items())
            members, taken = growing.get(form, ([], 0))
            if not members or taken + rows > self.batching.max_batch_size:
                members, taken = [], 0
                batches.append(members)
            members.append(place)
            growing[form] = members, taken + rows
        return batches

    def _run_batch(
        self,
        requests: Sequence[Mapping[str, np.ndarray]],
        outputs: Sequence[str],
        timeout_s: float | None,
        signature_name: str,
    ) -> list[list[np.ndarray] | RequestError]:
        signature = self._signatures[signature_name]
        failure: RequestError | _NotByRow | None = None
        if len(requests) > 1:
            sizes = [_rows(inputs) for inputs in requests]
            ends = list(itertools.accumulate(sizes))
            try:
                for name, value in requests[0].items():
                    _check(name, value, signature.dtypes[name])
                joined = {
                    name: np.concatenate([inputs[name] for inputs in requests])
                    for name in requests[0]
                }
                computed = self._run_rows(signature, joined, ends[-1], outputs, timeout_s)
                signature.failed_batches = None
                return [
                    [values[end - size : end] for values in computed]
                    for size, end in zip(sizes, ends, strict=True)
                ]
            except RequestError as error:
                if error.code in _NOBODYS_FAULT:
                    return [error] * len(requests)
                failure = error
            except _NotByRow as error:
                failure = error
        answers: list[list[np.ndarray] | RequestError] = []
        for inputs in requests:
            try:
                answers.append(self.run(inputs, outputs, timeout_s, signature_name))
            except RequestError as error:
                answers.append(error)
        if failure and not any(isinstance(answer, RequestError) for answer in answers):
            self._note_failed_batch(signature_name, failure)
        return answers

    def _run_rows(
        self,
        signature: _Signature,
        inputs: Mapping[str, np.ndarray],
        rows: int,
        outputs: Sequence[str],
        timeout_s: float | None,
    ) -> list[np.ndarray]:
        """Computes inputs that have rows, in batches of the sizes that are allowed.

        Raises:
            _NotByRow: an output has no row for each of theirs.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        assert self.batching is not None
        most = self.batching.max_batch_size
        parts = []
        for start in range(0, rows, most):
            size = min(most, rows - start)
            filled = next((n for n in self.batching.allowed_batch_sizes if n >= size), size)
            part = {name: value[start : start + size] for name, value in inputs.items()}
            if filled > size:
                part = {
                    name: np.concatenate([value, np.repeat(value[:1], filled - size, axis=0)])
                    for name, value in part.items()
                }
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            computed = self._run(signature, part, outputs, left_s)
            if any(not values.ndim or len(values) != filled for values in computed):
                raise _NotByRow(f"an output has no row for each of the {filled} of its inputs")
            parts.append([values[:size] for values in computed])
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    def _run(
        self,
        signature: _Signature,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        timeout_s: float | None,
    ) -> list[np.ndarray]:
        names = self._fetched(signature, tuple(outputs))
        options = None
        if timeout_s is not None:
            milliseconds = max(1, int(1000 * timeout_s))
            serialized = tf1.RunOptions(timeout_in_ms=milliseconds).SerializeToString()
            options = tf_session.TF_NewBufferFromString(serialized)
        try:
            # Session.run itself holds feeds against the shapes of the graph's placeholders, which
            # neither TensorFlow Serving nor the C interface below do.
            values = self._session._call_tf_sessionrun(
                options,
                {signature.inputs[name]: value for name, value in inputs.items()},
                [signature.outputs[name] for name in names],
                [],
                None,
            )
        except tf.errors.OpError as error:
            raise _request_error(error) from error
        except UnicodeDecodeError as error:
            # Bytes of the request in the text of an error, whose status is lost with it.
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT, bytes(error.object).decode(errors="replace")
            ) from error
        finally:
            if options is not None:
                tf_session.TF_DeleteBuffer(options)
        computed = dict(zip(names, map(_array, values), strict=True))
        return [computed[name] for name in outputs]

    def _note_failed_batch(self, name: str, failure: RequestError | _NotByRow) -> None:
        """Computes a signature's requests one by one if no batch of them was ever answered.

        Later failures are those of bad requests, and must not end it for the good ones.
        """
        signature = self._signatures[name]
        if isinstance(failure, RequestError):
            if signature.failed_batches is None:
                return
            signature.failed_batches += 1
            if signature.failed_batches < _MOST_FAILED_BATCHES:
                return
        signature.joins = False
        _log.warning("signature %s is computed request by request: %s", name, failure)

    def _is_a_batch(self, rows: int) -> bool:
        """Whether so many rows are neither to be divided nor to be filled up."""
        assert self.batching is not None
        sizes = self.batching.allowed_batch_sizes
        return rows in sizes if sizes else rows <= self.batching.max_batch_size

    def _check_size(self, inputs: Mapping[str, np.ndarray]) -> None:
        assert self.batching is not None
        most = self.batching.max_request_size or self.batching.max_batch_size
        size = max((len(value) for value in inputs.values() if value.ndim), default=0)
        if size > most:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Task size {size} is larger than maximum input batch size {most}",
            )

    def _fetched(self, signature: _Signature, outputs: tuple[str, ...]) -> Sequence[str]:
        """What is computed in order to have `outputs`, in a fixed order."""
        ordered = tuple(sorted(set(outputs)))
        with self._lock:
            if len(signature.fetches) < _MOST_FETCHES:
                signature.fetches.add(ordered)
            return ordered if ordered in signature.fetches else sorted(signature.outputs)

    def _signature(
        self,
        name: str,
        signature: meta_graph_pb2.SignatureDef,
        definition: graph_pb2.GraphDef,
    ) -> _Signature:
        inputs = {
            alias: self._graph.get_tensor_by_name(info.name)
            for alias, info in signature.inputs.items()
            if info.name
        }
        outputs = {
            alias: self._graph.get_tensor_by_name(info.name)
            for alias, info in signature.outputs.items()
            if info.name
        }
        made = _Signature(
            inputs={alias: tensor._as_tf_output() for alias, tensor in inputs.items()},
            outputs={alias: tensor._as_tf_output() for alias, tensor in outputs.items()},
            dtypes={
                alias: tensor.dtype.base_dtype.as_numpy_dtype for alias, tensor in inputs.items()
            },
        )
        with _without_deprecations():
            needed = tf1.graph_util.extract_sub_graph(
                definition, sorted({tensor.op.name for tensor in outputs.values()})
            )
        made.variables = [
            self._graph.get_tensor_by_name(f"{node.name}:0")
            for node in needed.node
            if node.op == "VarHandleOp"
        ]
        return made

    def _check_variables(self) -> None:
        """Refuses signatures that read variables which the loader has not filled.

        Keras 3 exports such models (keras-team/keras#20095): the loader reports success, and every
        request fails.
        """
        read = {
            (name, variable.name): variable
            for name, signature in self._signatures.items()
            for variable in signature.variables
        }
        with self._graph.as_default():
            checks = [tf.raw_ops.VarIsInitializedOp(resource=handle) for handle in read.values()]
            filled = self._session.run(checks)
        missing = [which for which, there in zip(read, filled, strict=True) if not there]
        if missing:
            name, variable = missing[0]
            raise ValueError(
                f"signature {name} reads the variable {variable.removesuffix(':0')}, which a "
                "Session does not restore, so that TensorFlow Serving could not answer from it. "
                "Export the model again: run its pipeline with this version of Seamline"
            )


_INIT_SIGNATURE = "__saved_model_init_op"

_NOBODYS_FAULT = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


def _rows(inputs: Mapping[str, np.ndarray]) -> int:
    """How many rows the inputs have; 0 where they have none, or not all as many."""
    sizes = {len(value) if value.ndim else 0 for value in inputs.values()}
    return sizes.pop() if len(sizes) == 1 else 0


def _check(name: str, value: np.ndarray, dtype: type) -> None:
    if value.dtype != dtype:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"Expects arg {name} to be {tf.as_dtype(dtype).name} but "
            f"{tf.as_dtype(value.dtype).name} is provided",
        )
    if value.ndim > tensors.MOST_DIMENSIONS:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"The input {name} has {value.ndim} dimensions; at most {tensors.MOST_DIMENSIONS} are "
            "possible",
        )


def _array(value: object) -> np.ndarray:
    """What a Session gave, where a single text comes as plain bytes, as an array."""
    if isinstance(value, bytes):
        array = np.empty((), dtype=object)
        array[()] = value
        return array
    return np.asarray(value)


def _request_error(error: tf.errors.OpError) -> RequestError:
    message = error.message if isinstance(error.message, str) else str(error.message)
    return RequestError(
        _STATUS_CODES.get(error.error_code, grpc.StatusCode.UNKNOWN),
        message.removeprefix(_PREFIX),
    )


@contextlib.contextmanager
def _without_deprecations() -> Iterator[None]:
    """A Session is what production has, whatever TensorFlow's Python advises."""
    logger = tf1.logging
    before = logger.get_verbosity()
    logger.set_verbosity(logger.ERROR)
    try:
        yield
    finally:
        logger.set_verbosity(before)
