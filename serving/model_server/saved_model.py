"""A SavedModel in a Session, the engine that TensorFlow Serving has.

Python's own loader (`tf.saved_model.load`) forgives what TensorFlow Serving does not: it finds
variables by object, where a Session finds them by name. What answers here answers there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.client import pywrap_tf_session as tf_session

from serving.model_server import memory, tensors
from serving.model_server.errors import RequestError

tf1 = tf.compat.v1

_log = logging.getLogger("seamline.serving")

SERVE = "serve"
"""The tag of the graph that is for serving."""

# What Python puts before an error's message, which C++ callers never see.
_PREFIX = "Graph execution error:\n\n"

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}

_MOST_FETCHES = 16
"""Every set of outputs that a Session is asked for is compiled and kept, so that a caller who asks
for ever other ones could fill the memory; beyond so many a signature, all outputs are computed."""


_MOST_FAILED_BATCHES = 20


@dataclasses.dataclass(frozen=True)
class Batching:
    """How requests of several callers are computed together, in TensorFlow Serving's own terms.

    Attributes:
        max_batch_size: Examples that are computed together at most.
        batch_timeout_micros: How long a batch that is not full waits for more, in microseconds. A
            batch that finds no free thread grows in any case.
        num_batch_threads: Batches that are computed at the same time.
        max_enqueued_batches: Batches that may wait; further requests are UNAVAILABLE.
        allowed_batch_sizes: A batch is filled up to the next of these, ascending, the last of them
            `max_batch_size`, so that few shapes are ever computed; any size if there are none.
        max_request_size: A request of more examples than `max_batch_size` is divided, up to so
            many; None refuses it. TensorFlow Serving calls this `max_batch_size`, too, where
            `enable_large_batch_splitting` is set.
    """

    max_batch_size: int = 64
    batch_timeout_micros: int = 0
    num_batch_threads: int = 2
    max_enqueued_batches: int = 100
    allowed_batch_sizes: tuple[int, ...] = ()
    max_request_size: int | None = 1 << 20


@dataclasses.dataclass
class _Signature:
    """A signature's tensors in the Session's graph.

    Attributes:
        inputs, outputs: the C tensors of its own by alias.
        dtypes: NumPy's type of every input.
        batched_inputs, batched_outputs: those of the batching operation; empty without one.
        variables: handles of the variables that it reads.
        fetches: the sets of outputs that were asked for.
        failed_batches: how many requests were answered alone, but not in a batch, before the first
            batch that was answered; None after it.
    """

    inputs: dict[str, object]
    outputs: dict[str, object]
    dtypes: dict[str, type]
    batched_inputs: dict[str, object] = dataclasses.field(default_factory=dict)
    batched_outputs: dict[str, object] = dataclasses.field(default_factory=dict)
    variables: list[tf.Tensor] = dataclasses.field(default_factory=list)
    fetches: set[tuple[str, ...]] = dataclasses.field(default_factory=set)
    failed_batches: int | None = 0


class SavedModel:
    """A SavedModel, ready to answer. Threads may share one.

    Args:
        folder: where it is.
        tags: which of its graphs to take.
        batching: computes requests together; None computes each alone. A signature that cannot be
            batched (it does not give a row for a row) is computed request by request all the same.
        session_config: TensorFlow's options of a Session.

    Attributes:
        signature_defs: what each signature takes and gives.

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
        session_config: tf1.ConfigProto | None = None,
    ):
        self._graph = tf.Graph()
        self._session = tf1.Session(graph=self._graph, config=session_config)
        self._lock = threading.Lock()
        self._batching = batching
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
        signature_name: str = "serving_default",
        *,
        alone: bool = False,
    ) -> list[np.ndarray]:
        """Computes outputs of a signature.

        Args:
            inputs: A value for each input of the signature by its alias; text as object arrays of
                bytes. Types must be the signature's, shapes only what the graph can compute, as in
                TensorFlow Serving.
            outputs: Aliases of the outputs wanted.
            timeout_s: After so many seconds the computation is stopped; None: never.
            signature_name: One of `signature_defs`.
            alone: Not in a batch with other requests, who would wait for this one.

        Returns:
            The outputs in the order asked for; text as object arrays of bytes.

        Raises:
            RequestError: a type is another than the signature's, the graph refused (the status is
                the graph's), or the time was over (DEADLINE_EXCEEDED).
        """
        signature = self._signatures[signature_name]
        for name, value in inputs.items():
            _check(name, value, signature.dtypes[name])
        # Where somebody else in the batch is at fault, or the model gives no row for a row, each
        # request gets alone the answer or the error that is its own.
        failure = None
        if signature.batched_outputs:
            self._check_size(inputs)
        if signature.batched_outputs and not alone:
            feed = {signature.batched_inputs[name]: value for name, value in inputs.items()}
            # The operation computes all outputs in any case; and each set of them that is fetched
            # would be compiled once, for which all other requests wait.
            names = sorted(signature.outputs)
            try:
                answers = self._run(feed, names, outputs, signature.batched_outputs, timeout_s)
                signature.failed_batches = None
                return answers
            except RequestError as error:
                if error.code in _OF_THE_QUEUE:
                    raise
                failure = error
        feed = {signature.inputs[name]: value for name, value in inputs.items()}
        names = self._fetched(signature, tuple(outputs))
        answers = self._run(feed, names, outputs, signature.outputs, timeout_s)
        if failure:
            self._note_failed_batch(signature_name, failure)
        return answers

    def _run(
        self,
        feed: dict[object, np.ndarray],
        names: Sequence[str],
        wanted: Sequence[str],
        tensors: Mapping[str, object],
        timeout_s: float | None,
    ) -> list[np.ndarray]:
        options = None
        if timeout_s is not None:
            milliseconds = max(1, int(1000 * timeout_s))
            serialized = tf1.RunOptions(timeout_in_ms=milliseconds).SerializeToString()
            options = tf_session.TF_NewBufferFromString(serialized)
        try:
            # Session.run itself holds feeds against the shapes of the graph's placeholders, which
            # neither TensorFlow Serving nor the C interface below do.
            values = self._session._call_tf_sessionrun(
                options, feed, [tensors[name] for name in names], [], None
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
        return [computed[name] for name in wanted]

    def _note_failed_batch(self, name: str, failure: RequestError) -> None:
        """Gives batching up for a signature of which no batch was ever answered.

        Later failures are those of bad requests, and must not end it for the good ones.
        """
        signature = self._signatures[name]
        if signature.failed_batches is None:
            return
        signature.failed_batches += 1
        if signature.failed_batches == _MOST_FAILED_BATCHES:
            signature.batched_outputs = {}
            _log.warning("signature %s is computed request by request: %s", name, failure.message)

    def _check_size(self, inputs: Mapping[str, np.ndarray]) -> None:
        most = self._batching.max_request_size or self._batching.max_batch_size
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
        definition: tf1.GraphDef,
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
        if self._batching and inputs and outputs:
            try:
                entries, results = _batched(self._graph, needed, inputs, outputs, self._batching)
            except (ValueError, TypeError, KeyError) as error:
                _log.info("signature %s is computed request by request: %s", name, error)
            else:
                made.batched_inputs = {
                    alias: tensor._as_tf_output() for alias, tensor in entries.items()
                }
                made.batched_outputs = {
                    alias: tensor._as_tf_output() for alias, tensor in results.items()
                }
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
            # Something must be run in any case, or the Session would not learn of the nodes that
            # batching has added to the graph.
            filled, _ = self._session.run([checks, tf.constant(0)])
        missing = [which for which, there in zip(read, filled, strict=True) if not there]
        if missing:
            name, variable = missing[0]
            raise ValueError(
                f"signature {name} reads the variable {variable.removesuffix(':0')}, which a "
                "Session does not restore, so that TensorFlow Serving could not answer from it. "
                "Export the model again: run its pipeline with this version of Seamline"
            )


_INIT_SIGNATURE = "__saved_model_init_op"

_OF_THE_QUEUE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)


def _batched(
    graph: tf.Graph,
    needed: tf1.GraphDef,
    inputs: Mapping[str, tf.Tensor],
    outputs: Mapping[str, tf.Tensor],
    batching: Batching,
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Puts TensorFlow's batching operation around a signature.

    Args:
        graph: The graph, in which new nodes are made.
        needed: The nodes that the outputs need.
        inputs: The signature's inputs by alias.
        outputs: The signature's outputs by alias.
        batching: How to batch.

    Returns:
        Placeholders to feed and tensors to fetch in place of the signature's own, by alias.
    """
    state = [
        graph.get_operation_by_name(node.name).outputs[0]
        for node in needed.node
        if graph.get_operation_by_name(node.name).outputs
        and not graph.get_operation_by_name(node.name).inputs
        and graph.get_operation_by_name(node.name).outputs[0].dtype in (tf.resource, tf.variant)
    ]
    if any(node.op in _REFERENCES for node in needed.node):
        raise ValueError("it has variables of TensorFlow 1, which no function can hold")
    read = {
        tensor.name
        for tensor in inputs.values()
        if any(n.name == tensor.op.name for n in needed.node)
    }

    def signature(*values: tf.Tensor) -> list[tf.Tensor]:
        inner = tf1.get_default_graph()
        mapped = {
            tensor.name: value
            for tensor, value in zip(inputs.values(), values, strict=True)
            if tensor.name in read
        }
        # Variables and tables stay those of the graph around.
        mapped |= {tensor.name: inner.capture(tensor) for tensor in state}
        return tf.graph_util.import_graph_def(
            needed,
            input_map=mapped,
            return_elements=[tensor.name for tensor in outputs.values()],
            name="",
        )

    sizes = batching.allowed_batch_sizes
    if batching.max_request_size and not sizes:
        # The operation divides requests into the largest allowed size.
        sizes = range(1, batching.max_batch_size + 1)
    with graph.as_default(), graph.name_scope("batching/"), _without_deprecations():
        entries = [tf1.placeholder(tensor.dtype, None) for tensor in inputs.values()]
        results = tf.nondifferentiable_batch_function(
            num_batch_threads=batching.num_batch_threads,
            max_batch_size=batching.max_request_size or batching.max_batch_size,
            batch_timeout_micros=batching.batch_timeout_micros,
            allowed_batch_sizes=list(sizes) or None,
            max_enqueued_batches=batching.max_enqueued_batches,
            enable_large_batch_splitting=bool(batching.max_request_size),
            autograph=False,
        )(signature)(*entries)
    return (
        dict(zip(inputs, entries, strict=True)),
        dict(zip(outputs, results, strict=True)),
    )


_REFERENCES = frozenset({"Variable", "VariableV2", "TemporaryVariable", "AutoReloadVariable"})


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
def _without_deprecations():
    """A Session is what production has, whatever TensorFlow's Python advises."""
    logger = tf1.logging
    before = logger.get_verbosity()
    logger.set_verbosity(logger.ERROR)
    try:
        yield
    finally:
        logger.set_verbosity(before)
