"""The files that tensorflow_model_server takes: protocol buffers, written as text."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2

from schema.errors import UserError
from serving.model_server import server_config_pb2
from serving.model_server.joint_runs import Batching
from serving.model_server.options import ServerOptions
from serving.process import cores

MODEL_BATCHING = "batching_params.pbtxt"
"""A SavedModel's own batching parameters, beside its graph."""

METRICS_PATH = "/monitoring/prometheus/metrics"
"""Where Prometheus finds the metrics, if its configuration does not say."""

# TensorFlow Serving's defaults.
_MAX_BATCH_SIZE = 1000
_MAX_ENQUEUED_BATCHES = 10

_Kind = TypeVar("_Kind", bound=Message)

_NO_SUCH_FIELD = re.compile(r'Message type "([^"]*)" has no field named "([^"]*)"')
# Line and column, and what stands there.
_BEFORE_REASON = re.compile(r"^(\d+:\d+ : )?('.*?': (?=[A-Z]))?", re.DOTALL)


def model_config(path: Path, text: str | None = None) -> model_server_config_pb2.ModelServerConfig:
    """Reads `--model_config_file`.

    Args:
        path: the file.
        text: what is in it, if that is known.

    Raises:
        UserError: it cannot be read, is no such file, or lists no models.
    """
    config = _read(path, model_server_config_pb2.ModelServerConfig, text)
    if config.WhichOneof("config") == "custom_model_config":
        raise UserError(f"{path}: custom_model_config is not supported; use model_config_list.")
    if not config.model_config_list.config:
        raise UserError(
            f"{path} lists no model; expected model_config_list {{ config {{ name: ... base_path: "
            '... model_platform: "tensorflow" } }.'
        )
    for number, model in enumerate(config.model_config_list.config, start=1):
        of = f"{path}: model {number}" + (f" ({model.name})" if model.name else "")
        if not model.name:
            raise UserError(f"{of} has no name.")
        if not model.base_path:
            raise UserError(f"{of} has no base_path; expected the folder of its versions.")
    return config


def batching_parameters(path: Path) -> server_config_pb2.BatchingParameters:
    """Reads `--batching_parameters_file`.

    Raises:
        UserError: it cannot be read, is no such file, or asks for what cannot be.
    """
    parameters = _read(path, server_config_pb2.BatchingParameters)
    for name in (
        "max_batch_size",
        "max_enqueued_batches",
        "num_batch_threads",
        "max_execution_batch_size",
    ):
        if parameters.HasField(name) and getattr(parameters, name).value < 1:
            raise UserError(
                f"{path}: {name} is {getattr(parameters, name).value}; expected 1 or more."
            )
    if parameters.batch_timeout_micros.value < 0:
        raise UserError(
            f"{path}: batch_timeout_micros is {parameters.batch_timeout_micros.value}; expected 0 "
            "or more."
        )
    if parameters.pad_variable_length_inputs:
        raise UserError(
            f"{path}: pad_variable_length_inputs is not supported; send inputs of one shape."
        )
    sizes = list(parameters.allowed_batch_sizes)
    if sizes:
        most = _most_executed(parameters)
        if sizes != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != most:
            raise UserError(
                f"{path}: allowed_batch_sizes are {sizes}; expected ascending sizes, the last of "
                f"them {most}, which is the largest batch that is computed."
            )
    return parameters


def batching(options: ServerOptions, folder: Path) -> Batching:
    """How the requests of a version are computed together.

    Args:
        options: what the server is told.
        folder: of the version, which may bring parameters of its own.

    Raises:
        UserError: these have a mistake.
    """
    parameters = options.batching_parameters
    own = folder / MODEL_BATCHING
    threads = options.batch_threads or cores()
    if options.enable_per_model_batching_parameters and own.exists():
        parameters = batching_parameters(own)
    # What is not set is as in TensorFlow Serving.
    max_batch_size = parameters.max_batch_size.value or _MAX_BATCH_SIZE
    splits = parameters.enable_large_batch_splitting.value
    return Batching(
        max_batch_size=_most_executed(parameters),
        batch_timeout_micros=parameters.batch_timeout_micros.value,
        num_batch_threads=threads,
        max_enqueued_batches=parameters.max_enqueued_batches.value or _MAX_ENQUEUED_BATCHES,
        allowed_batch_sizes=tuple(parameters.allowed_batch_sizes),
        max_request_size=max_batch_size if splits else None,
    )


def monitoring(path: Path) -> server_config_pb2.MonitoringConfig:
    """Reads `--monitoring_config_file`.

    Raises:
        UserError: it cannot be read, is no such file, or its path is none of a URL.
    """
    config = _read(path, server_config_pb2.MonitoringConfig)
    prometheus = config.prometheus_config
    prometheus.path = prometheus.path or METRICS_PATH
    if not prometheus.path.startswith("/"):
        raise UserError(
            f"{path}: the path of prometheus_config is {prometheus.path}; expected one that begins "
            "with /."
        )
    return config


def ssl(path: Path) -> server_config_pb2.SSLConfig:
    """Reads `--ssl_config_file`, which holds key and certificates as PEM texts.

    Whether they are good is for who opens the port to say.

    Raises:
        UserError: it cannot be read, is no such file, or lacks a key or certificate.
    """
    config = _read(path, server_config_pb2.SSLConfig, is_secret=True)
    for name in ("server_key", "server_cert"):
        if not getattr(config, name):
            raise UserError(f"{path} has no {name}; expected a PEM text.")
    if config.client_verify and not config.custom_ca:
        raise UserError(
            f"{path}: client_verify is set and custom_ca is not; expected the certificate that "
            "signs those of the clients, a PEM text."
        )
    return config


def session_config(path: Path) -> Message:
    """Reads `--tensorflow_session_config_file`, a `tensorflow.ConfigProto`.

    Raises:
        UserError: it cannot be read or is no such file.
    """
    from tensorflow.core.protobuf import config_pb2

    return _read(path, config_pb2.ConfigProto)


def _most_executed(parameters: server_config_pb2.BatchingParameters) -> int:
    """The largest batch that is computed."""
    most = parameters.max_batch_size.value or _MAX_BATCH_SIZE
    if parameters.enable_large_batch_splitting.value:
        return parameters.max_execution_batch_size.value or most
    return most


def _read(
    path: Path, kind: type[_Kind], text: str | None = None, *, is_secret: bool = False
) -> _Kind:
    if text is None:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror}.") from error
        except UnicodeDecodeError:
            raise UserError(
                f"{path} is no text; expected a {kind.DESCRIPTOR.name} as text."
            ) from None
    try:
        return text_format.Parse(text, kind())
    except text_format.ParseError as error:
        raise UserError(_sentence(path, kind, error, is_secret)) from None


def _sentence(
    path: Path, kind: type[Message], error: text_format.ParseError, is_secret: bool
) -> str:
    where = f"{path}:{error.GetLine()}" if error.GetLine() else str(path)
    reason = _BEFORE_REASON.sub("", str(error)).strip().rstrip(".")
    expected = f"expected a {kind.DESCRIPTOR.name} as text"
    # What is looked for in TensorFlow Serving's log.
    said = f"(Error parsing text-format {_published_name(kind)}.)"
    if unknown := _NO_SUCH_FIELD.search(reason):
        message, name = unknown.groups()
        fields = _messages(kind.DESCRIPTOR)[message]
        near = difflib.get_close_matches(name, fields, 1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(fields)}."
        return f"{where}: a {message.rpartition('.')[2]} has no field {name}; {hint} {said}"
    if is_secret:
        # The parser quotes what it cannot read, and that may be half a key.
        return (
            f"{where}: this line cannot be read; {expected}, and line breaks in it as \\n. {said}"
        )
    return f"{where}: {reason}; {expected}. {said}"


def _published_name(kind: type[Message]) -> str:
    """The full name that a message has in TensorFlow Serving."""
    return kind.DESCRIPTOR.full_name.replace("seamline.serving.config.", "tensorflow.serving.")


def _messages(descriptor: Any) -> dict[str, list[str]]:
    """The fields of a message and of those in it, by the messages' full names."""
    found: dict[str, list[str]] = {}
    waiting = [descriptor]
    while waiting:
        message = waiting.pop()
        if message.full_name not in found:
            found[message.full_name] = [field.name for field in message.fields]
            waiting += [field.message_type for field in message.fields if field.message_type]
    return found
