"""tensorflow_model_server's flags, and a few of our own, to `ServerOptions`.

Every flag of TensorFlow Serving is in `FLAGS`: it is followed, or accepted though it has no meaning
here, or refused with the reason. `python -m serving.model_server.flags` prints the table of them
for the documentation.
"""

from __future__ import annotations

import difflib
import enum
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schema.errors import UserError
from serving.model_server import config_files, server_config_pb2
from serving.model_server.options import MAX_MESSAGE_BYTES, ServerOptions, single_model
from serving.process import EVERY_ADDRESS, LOOPBACK, cores

ANY_PORT = "any"
"""The value of a port flag that takes a free one; 0 is no port, as in TensorFlow Serving."""


class Support(enum.Enum):
    """What becomes of a flag."""

    FOLLOWED = "followed"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        name: without its dashes.
        kind: the type of its value: bool, int, float or str.
        default: what it is if it is not given; the words for it where that depends.
        meaning: one sentence. Of a flag without effect or that is refused: why.
        support: what becomes of it. One that is refused may be given its default.
        least: the smallest value of a number.
        most: the largest.
    """

    name: str
    kind: type
    default: Any
    meaning: str
    support: Support = Support.FOLLOWED
    least: float = -math.inf
    most: float = math.inf


_NO_EFFECT = Support.NO_EFFECT
_REFUSED = Support.REFUSED

TENSORFLOW_SERVING_FLAGS = (
    Flag("port", str, "8500", "port of gRPC; 0 for none, `any` for any free one"),
    Flag("grpc_socket_path", str, "", "a Unix socket for gRPC besides"),
    Flag("rest_api_port", str, "0", "port of REST; 0 for none, `any` for any free one"),
    Flag(
        "rest_api_num_threads",
        int,
        "4 a core",
        "REST and gRPC share the threads that --grpc_max_threads counts",
        _NO_EFFECT,
    ),
    Flag(
        "rest_api_timeout_in_ms",
        int,
        30000,
        "milliseconds after which a REST call is given up",
        least=1,
    ),
    Flag("rest_api_enable_cors_support", bool, False, "REST answers carry CORS headers"),
    Flag("enable_batching", bool, False, "computes the requests of several callers together"),
    Flag(
        "allow_version_labels_for_unavailable_models",
        bool,
        False,
        "a new label may name a version that does not answer yet, as at the start",
    ),
    Flag("batching_parameters_file", str, "", "a BatchingParameters as text: how to batch"),
    Flag(
        "enable_per_model_batching_parameters",
        bool,
        False,
        "a version's own `batching_params.pbtxt` comes before --batching_parameters_file",
    ),
    Flag(
        "model_config_file",
        str,
        "",
        "a ModelServerConfig as text: several models, their versions and labels; --model_name and "
        "--model_base_path are then ignored",
    ),
    Flag(
        "model_config_file_poll_wait_seconds",
        int,
        0,
        "seconds between two looks into --model_config_file; 0 reads it once",
    ),
    Flag("model_name", str, "default", "name of the one model"),
    Flag(
        "model_base_path",
        str,
        "",
        "folder of the one model, with a subfolder a version that is named by a number",
    ),
    Flag(
        "num_load_threads",
        int,
        0,
        "versions that are loaded at a time; 0 for as many as there are cores",
        least=0,
    ),
    Flag(
        "num_unload_threads", int, 0, "every version is closed in a thread of its own", _NO_EFFECT
    ),
    Flag(
        "max_num_load_retries",
        int,
        5,
        "how often more a version is tried that could not be loaded",
        least=0,
    ),
    Flag(
        "load_retry_interval_micros",
        int,
        60_000_000,
        "microseconds between two of these; less than 0 for none",
    ),
    Flag(
        "file_system_poll_wait_seconds",
        int,
        1,
        "seconds between two looks for new versions; 0 looks once, less than 0 never",
    ),
    Flag("flush_filesystem_caches", bool, True, "the operating system sees to it", _NO_EFFECT),
    Flag(
        "tensorflow_session_parallelism",
        int,
        0,
        "threads of a TensorFlow Session, within and between operations; 0 lets it choose",
        least=0,
    ),
    Flag(
        "tensorflow_session_config_file",
        str,
        "",
        "a tensorflow.ConfigProto as text: all other options of a Session",
    ),
    Flag(
        "tensorflow_intra_op_parallelism",
        int,
        0,
        "threads within an operation; 0 lets TensorFlow choose, or divides processors among the "
        "batches that are computed at a time",
        least=0,
    ),
    Flag(
        "tensorflow_inter_op_parallelism",
        int,
        0,
        "operations at a time; 0 lets TensorFlow choose",
        least=0,
    ),
    Flag("use_alts_credentials", bool, False, "ALTS is of Google's own network", _REFUSED),
    Flag(
        "ssl_config_file",
        str,
        "",
        "an SSLConfig as text, with PEM texts: TLS, and mutual TLS, for gRPC and, other than in "
        "TensorFlow Serving, for REST",
    ),
    Flag(
        "platform_config_file",
        str,
        "",
        "there are no platforms but TensorFlow here; --tensorflow_session_config_file and "
        "--batching_parameters_file say the rest",
        _REFUSED,
    ),
    Flag(
        "per_process_gpu_memory_fraction",
        float,
        0.0,
        "share of a GPU's memory that is taken; 0 lets TensorFlow choose",
        least=0.0,
        most=1.0,
    ),
    Flag("saved_model_tags", str, "serve", "tags of the graph to load, with commas between"),
    Flag(
        "grpc_channel_arguments",
        str,
        "",
        "what gRPC is told besides, as in `grpc.max_connection_age_ms=2000,...`",
    ),
    Flag(
        "grpc_max_threads",
        int,
        "4 a core",
        "requests that are computed at a time, over gRPC and REST; as --max_requests_in_flight",
        least=1,
    ),
    Flag(
        "enable_model_warmup",
        bool,
        True,
        "a version answers its `assets.extra/tf_serving_warmup_requests` before it answers callers",
    ),
    Flag(
        "num_request_iterations_for_warmup",
        int,
        0,
        "how often each of these is repeated; below 1 once",
    ),
    Flag("version", bool, False, "prints the versions, and ends"),
    Flag(
        "monitoring_config_file",
        str,
        "",
        "a MonitoringConfig as text: whether and where Prometheus finds metrics on the REST port",
    ),
    Flag(
        "remove_unused_fields_from_bundle_metagraph",
        bool,
        True,
        "no such fields are kept",
        _NO_EFFECT,
    ),
    Flag("prefer_tflite_model", bool, False, "TensorFlow Lite models cannot be served", _REFUSED),
    Flag("num_tflite_pools", int, "1 a core", "TensorFlow Lite is not served", _NO_EFFECT),
    Flag("num_tflite_interpreters_per_pool", int, 1, "TensorFlow Lite is not served", _NO_EFFECT),
    Flag(
        "enable_signature_method_name_check",
        bool,
        False,
        "signatures are only asked what they were made for",
    ),
    Flag(
        "xla_cpu_compilation_enabled",
        bool,
        False,
        "what a model marks for XLA is compiled in any case",
        _NO_EFFECT,
    ),
    Flag(
        "xla_gpu_compilation_enabled",
        bool,
        False,
        "what a model marks for XLA is compiled in any case",
        _NO_EFFECT,
    ),
    Flag("enable_profiler", bool, True, "there is no profiler service", _NO_EFFECT),
    Flag(
        "thread_pool_factory_config_file",
        str,
        "",
        "thread pools of one's own are code that is linked into TensorFlow Serving",
        _REFUSED,
    ),
    Flag(
        "mixed_precision",
        str,
        "",
        "`bfloat16` computes in half precision where TensorFlow thinks it safe",
    ),
    Flag("skip_initialize_tpu", bool, False, "TPUs are not served from", _NO_EFFECT),
    Flag(
        "enable_grpc_healthcheck_service",
        bool,
        True,
        "grpc.health.v1 is answered; on by default, other than in TensorFlow Serving",
    ),
    Flag(
        "enable_serialization_as_tensor_content",
        bool,
        False,
        "answers hold `tensor_content` in place of `float_val` and the like",
    ),
)
"""The flags of TensorFlow Serving 2.19 and of its main branch of July 2026."""

OWN_FLAGS = (
    Flag(
        "host",
        str,
        "127.0.0.1, and 0.0.0.0 with TLS or keys",
        "address of both ports: a name, an IPv4 or an IPv6 address; `0.0.0.0` or `::` for all",
    ),
    Flag(
        "api_key_file",
        str,
        "",
        "a key a line, of which a caller must send one",
    ),
    Flag("max_message_bytes", int, MAX_MESSAGE_BYTES, "longest request and answer", least=1024),
    Flag(
        "max_requests_in_flight",
        int,
        "4 a core, or 64 with --enable_batching",
        "requests that are computed at a time, over gRPC and REST",
        least=1,
    ),
    Flag(
        "max_queued_requests",
        int,
        1000,
        "requests that wait for their turn; others get RESOURCE_EXHAUSTED or 429",
        least=0,
    ),
    Flag(
        "max_queued_bytes",
        int,
        1024 * 1024 * 1024,
        "memory that these may hold together",
        least=1024,
    ),
    Flag("max_connections", int, 1000, "REST connections at a time", least=1),
    Flag(
        "max_connection_age_s",
        float,
        0.0,
        "seconds after which a gRPC connection is asked to reconnect, so that callers spread over "
        "replicas; 0 for never",
        least=0.0,
    ),
    Flag(
        "header_timeout_s",
        float,
        10.0,
        "seconds within which the head of a REST request must have come",
        least=0.1,
    ),
    Flag(
        "stop_grace_s",
        float,
        10.0,
        "seconds that a server which is stopped waits for the calls it has",
        least=0.0,
    ),
    Flag("access_log", str, "", "file for a JSON line a request; `-` for standard error"),
    Flag("otlp_endpoint", str, "", "URL that OpenTelemetry traces go to"),
    Flag(
        "traffic_log", str, "", "folder for a sample of requests and answers, for `seamline drift`"
    ),
    Flag(
        "traffic_log_rate",
        float,
        0.01,
        "share of requests that are sampled",
        least=0.0,
        most=1.0,
    ),
    Flag("traffic_log_pictures", bool, False, "the sample holds the pictures too"),
)
"""What TensorFlow Serving has no flags for."""

FLAGS = {flag.name: flag for flag in (*TENSORFLOW_SERVING_FLAGS, *OWN_FLAGS)}


@dataclass(frozen=True)
class CommandLine:
    """What a command line says.

    Attributes:
        options: what the server is told; None where it only is to print `text`.
        text: what is printed: help or versions.
        without_effect: sentences on flags that were given and mean nothing here.
    """

    options: ServerOptions | None
    text: str = ""
    without_effect: tuple[str, ...] = ()


def parse(arguments: Sequence[str]) -> CommandLine:
    """Reads a command line, without the program's name.

    Flags are written `--flag=value` or `--flag value`; those that are on or off also `--flag` and
    `--noflag`. The last of several counts.

    Raises:
        UserError: a flag is unknown, refused or contradicts another, a value is no good, or a file
            that one names.
    """
    if any(argument in ("--help", "-h", "-help", "--help=true") for argument in arguments):
        return CommandLine(None, help_text())
    given = dict(_given(arguments))
    if given.get("version"):
        return CommandLine(None, version_text())
    for name, value in given.items():
        flag = FLAGS[name]
        if flag.support is _REFUSED and value != flag.default:
            raise UserError(f"--{name} is not supported: {flag.meaning}.")
    without_effect = tuple(
        f"--{name} has no effect: {FLAGS[name].meaning}"
        for name in given
        if FLAGS[name].support is _NO_EFFECT
    )
    return CommandLine(_options(given), without_effect=without_effect)


def help_text() -> str:
    """The flags and what they mean, for a terminal."""
    parts = [
        "Serves SavedModels over TensorFlow Serving's gRPC and REST interfaces.",
        "",
        "  python -m serving.model_server --port=8500 --model_name=catalog \\",
        "      --model_base_path=/models/catalog",
        "",
        "Flags of tensorflow_model_server:",
    ]
    for title, flags in (("", TENSORFLOW_SERVING_FLAGS), ("Flags of Seamline's own:", OWN_FLAGS)):
        parts += ["", title] if title else []
        for flag in flags:
            parts.append(f"  --{flag.name} ({_default(flag) or 'none'})")
            parts.append(textwrap.fill(_meaning(flag), 78, **_INDENT))
    return "\n".join(parts)


_INDENT: dict[str, Any] = {"initial_indent": " " * 6, "subsequent_indent": " " * 6}


def markdown_table() -> str:
    """The flags as Markdown: flag, default, what becomes of it, and meaning."""
    rows = ["| flag | default | support | meaning |", "| --- | --- | --- | --- |"]
    for flag in FLAGS.values():
        of = "" if flag.name not in {own.name for own in OWN_FLAGS} else ", Seamline's own"
        default = f"`{_default(flag)}`" if _default(flag) else ""
        rows.append(f"| `--{flag.name}` | {default} | {flag.support.value}{of} | {flag.meaning} |")
    return "\n".join(rows)


def version_text() -> str:
    """The versions of server and library, in the words of TensorFlow Serving."""
    import tensorflow as tf

    return f"TensorFlow ModelServer: Seamline\nTensorFlow Library: {tf.__version__}"


def _given(arguments: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Names and values of the flags that are given."""
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if not argument.startswith("--") or argument == "--":
            raise UserError(f"{argument!r} is no flag; flags begin with two dashes, see --help.")
        name, has_value, text = argument[2:].partition("=")
        flag = FLAGS.get(name)
        if flag is None and name.startswith("no") and not has_value:
            flag = FLAGS.get(name[2:])
            if flag and flag.kind is bool:
                yield flag.name, False
                continue
            flag = None
        if flag is None:
            near = difflib.get_close_matches(name, FLAGS, 1)
            hint = f"did you mean --{near[0]}?" if near else "see --help."
            raise UserError(f"There is no flag --{name}; {hint}")
        if flag.kind is bool and not has_value:
            text = waiting.pop(0) if waiting and waiting[0].lower() in _BOOLEANS else "true"
        elif not has_value:
            if not waiting:
                raise UserError(f"--{name} has no value; write --{name}=...")
            text = waiting.pop(0)
        yield name, _value(flag, text)


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _value(flag: Flag, text: str) -> Any:
    if flag.kind is str:
        return text
    if flag.kind is bool:
        if text.lower() not in _BOOLEANS:
            raise UserError(f"--{flag.name} is {text!r}; expected true or false.")
        return _BOOLEANS[text.lower()]
    try:
        value = flag.kind(text)
    except ValueError:
        kind = "a whole number" if flag.kind is int else "a number"
        raise UserError(f"--{flag.name} is {text!r}; expected {kind}.") from None
    if not flag.least <= value <= flag.most:
        limits = f"{flag.least} or more"
        if flag.most < math.inf:
            limits = f"{flag.least} to {flag.most}"
        raise UserError(f"--{flag.name} is {text}; expected {limits}.")
    return value


def _options(given: Mapping[str, Any]) -> ServerOptions:
    def value(name: str) -> Any:
        return given.get(name, FLAGS[name].default)

    def file(name: str, read: Callable[[Path], Any]) -> Any:
        return read(Path(value(name))) if value(name) else None

    ssl = file("ssl_config_file", config_files.ssl)
    api_key_file = Path(value("api_key_file")) if value("api_key_file") else None
    port = _port("port", value("port"))
    rest_api_port = _port("rest_api_port", value("rest_api_port"))
    if port and port == rest_api_port:
        raise UserError(
            f"--port and --rest_api_port are both {port}; gRPC and REST need a port each."
        )
    if port is None and rest_api_port is None and not value("grpc_socket_path"):
        raise UserError(
            "Nobody could reach the server: give --port, --rest_api_port or --grpc_socket_path."
        )
    if value("batching_parameters_file") and not value("enable_batching"):
        raise UserError("--batching_parameters_file is given without --enable_batching.")
    model_config_file = Path(value("model_config_file")) if value("model_config_file") else None
    if model_config_file:
        models = config_files.model_config(model_config_file)
    elif value("model_base_path"):
        path = value("model_base_path")
        # A path of another machine is refused as such where models are configured.
        models = single_model(path if "://" in path else Path(path).absolute(), value("model_name"))
    else:
        raise UserError("There is nothing to serve: give --model_base_path or --model_config_file.")
    in_flight = given.get("max_requests_in_flight", given.get("grpc_max_threads"))
    if in_flight is None:
        in_flight = (64 if value("enable_batching") else 4) * cores()
    return ServerOptions(
        models=models,
        model_config_file=model_config_file,
        model_config_file_poll_wait_seconds=value("model_config_file_poll_wait_seconds"),
        allow_version_labels_for_unavailable_models=value(
            "allow_version_labels_for_unavailable_models"
        ),
        file_system_poll_wait_seconds=value("file_system_poll_wait_seconds"),
        max_num_load_retries=value("max_num_load_retries"),
        load_retry_interval_s=value("load_retry_interval_micros") / 1e6,
        num_load_threads=value("num_load_threads"),
        saved_model_tags=tuple(value("saved_model_tags").split(",")),
        enable_model_warmup=value("enable_model_warmup"),
        num_request_iterations_for_warmup=value("num_request_iterations_for_warmup"),
        enable_signature_method_name_check=value("enable_signature_method_name_check"),
        enable_serialization_as_tensor_content=value("enable_serialization_as_tensor_content"),
        enable_batching=value("enable_batching"),
        batching_parameters=file("batching_parameters_file", config_files.batching_parameters)
        or server_config_pb2.BatchingParameters(),
        enable_per_model_batching_parameters=value("enable_per_model_batching_parameters"),
        session_config=_session_config(value),
        host=_host(given.get("host"), is_open=bool(ssl or api_key_file)),
        port=port,
        grpc_socket_path=value("grpc_socket_path"),
        grpc_channel_arguments=_channel_arguments(value("grpc_channel_arguments")),
        rest_api_port=rest_api_port,
        rest_api_timeout_s=value("rest_api_timeout_in_ms") / 1e3,
        rest_api_enable_cors_support=value("rest_api_enable_cors_support"),
        enable_grpc_healthcheck_service=value("enable_grpc_healthcheck_service"),
        ssl=ssl,
        monitoring=file("monitoring_config_file", config_files.monitoring),
        api_key_file=api_key_file,
        max_message_bytes=value("max_message_bytes"),
        max_requests_in_flight=in_flight,
        max_queued_requests=value("max_queued_requests"),
        max_queued_bytes=value("max_queued_bytes"),
        max_connections=value("max_connections"),
        max_connection_age_s=value("max_connection_age_s"),
        header_timeout_s=value("header_timeout_s"),
        stop_grace_s=value("stop_grace_s"),
        access_log=value("access_log"),
        otlp_endpoint=value("otlp_endpoint"),
        traffic_log=Path(value("traffic_log")) if value("traffic_log") else None,
        traffic_log_rate=value("traffic_log_rate"),
        traffic_log_pictures=value("traffic_log_pictures"),
    )


def _port(name: str, text: str) -> int | None:
    """A port as options have it: None for none, 0 for any."""
    if text == ANY_PORT:
        return 0
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise UserError(f"--{name} is {text!r}; expected a port from 0 to 65535, or {ANY_PORT}.")
    return int(text) or None


def _host(given: str | None, is_open: bool) -> str:
    """Where to listen: who asks nobody for a key or certificate is not for the network."""
    if given is None:
        return EVERY_ADDRESS if is_open else LOOPBACK
    host = given.removeprefix("[").removesuffix("]")
    if not host:
        raise UserError("--host is empty; expected a name or an address, as in --host=0.0.0.0.")
    return host


def _channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    arguments = []
    for part in filter(None, text.split(",")):
        name, has_value, value = part.partition("=")
        if not name or not has_value:
            raise UserError(f"--grpc_channel_arguments has {part!r}; expected name=value.")
        is_number = value.removeprefix("-").isascii() and value.removeprefix("-").isdigit()
        arguments.append((name, int(value) if is_number else value))
    return tuple(arguments)


def _session_config(value: Callable[[str], Any]) -> bytes:
    """The options of a Session that a file and the flags beside it give, serialized."""
    parallelism = value("tensorflow_session_parallelism")
    intra = value("tensorflow_intra_op_parallelism")
    inter = value("tensorflow_inter_op_parallelism")
    fraction = value("per_process_gpu_memory_fraction")
    precision = value("mixed_precision")
    file = value("tensorflow_session_config_file")
    if precision not in ("", "bfloat16"):
        raise UserError(f"--mixed_precision is {precision!r}; only bfloat16 is supported.")
    if parallelism and (intra or inter):
        raise UserError(
            "--tensorflow_session_parallelism is given beside --tensorflow_intra_op_parallelism or "
            "--tensorflow_inter_op_parallelism; give either the one or the others."
        )
    if not (parallelism or intra or inter or fraction or precision or file):
        return b""
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

    config: Any = config_files.session_config(Path(file)) if file else config_pb2.ConfigProto()
    if intra or parallelism:
        config.intra_op_parallelism_threads = intra or parallelism
    if inter or parallelism:
        config.inter_op_parallelism_threads = inter or parallelism
    if fraction:
        config.gpu_options.per_process_gpu_memory_fraction = fraction
    if precision:
        rewrites = config.graph_options.rewrite_options
        rewrites.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    return config.SerializeToString()


def _default(flag: Flag) -> str:
    if flag.kind is bool:
        return str(flag.default).lower()
    return str(flag.default)


def _meaning(flag: Flag) -> str:
    if flag.support is Support.FOLLOWED:
        return f"{flag.meaning[0].upper()}{flag.meaning[1:]}."
    return f"{flag.support.value.capitalize()}: {flag.meaning}."


if __name__ == "__main__":
    print(markdown_table())
