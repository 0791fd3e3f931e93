"""What a model server is told to do: one frozen record, made by flags or by code."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from tensorflow_serving.config import model_server_config_pb2

from serving.model_server import server_config_pb2
from serving.process import LOOPBACK, cores

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The longest request and answer by default, over gRPC and over REST."""


@dataclass(frozen=True)
class ServerOptions:
    """Everything that a server is told; the flags of `python -m serving.model_server` make one.

    Attributes:
        models: what to serve: a model config list, as `HandleReloadConfigRequest` and
            `--model_config_file` have it. `single_model` makes one of a name and a folder.
        model_config_file: where `models` was read from, to be read again every
            `model_config_file_poll_wait_seconds`; None if it was not.
        model_config_file_poll_wait_seconds: 0 never reads it again.
        allow_version_labels_for_unavailable_models: a new label may name a version that does not
            answer yet.
        file_system_poll_wait_seconds: how often the models' folders are looked into; 0 looks once,
            at the start, less than 0 never.
        max_num_load_retries: how often more a version is tried that could not be loaded, until its
            files change.
        load_retry_interval_s: seconds between two of these.
        num_load_threads: how many versions are loaded at a time; 0 and 1 one after the other.
        saved_model_tags: of the graph to load.
        enable_model_warmup: a version answers its `assets.extra/tf_serving_warmup_requests` before
            it answers callers.
        num_request_iterations_for_warmup: how often each of these requests is repeated; below 1
            once.
        enable_signature_method_name_check: Classify, Regress and MultiInference take only
            signatures that were made for them.
        enable_serialization_as_tensor_content: answers hold `tensor_content` in place of
            `float_val` and the like.
        enable_batching: requests are computed together.
        batching_parameters: how; TensorFlow Serving's defaults where a field is not set.
        enable_per_model_batching_parameters: a version's own `batching_params.pbtxt` comes before
            `batching_parameters`.
        session_config: a serialized `tensorflow.ConfigProto`, with the flags of parallelism and GPU
            memory already in it.
        host: the address of both ports; a name, an IPv4 or an IPv6 address without brackets.
        port: of gRPC; 0 takes any free one, None opens none.
        grpc_socket_path: a Unix socket that gRPC listens to as well; empty for none.
        grpc_channel_arguments: what gRPC is told besides, as (name, value).
        rest_api_port: of REST; 0 takes any free one, None opens none.
        rest_api_timeout_s: seconds after which a REST call is given up.
        rest_api_enable_cors_support: REST answers carry CORS headers.
        enable_grpc_healthcheck_service: grpc.health.v1 is answered.
        ssl: TLS for gRPC and REST alike; None for none. Its fields hold PEM texts, not paths.
        monitoring: whether and where Prometheus finds its metrics; None for nowhere.
        api_key_file: one key a line; a caller must send one of them. None asks for none.
        max_message_bytes: the longest request and answer.
        max_requests_in_flight: requests that are computed at a time.
        max_queued_requests: requests that wait for their turn; further ones are turned away with
            RESOURCE_EXHAUSTED.
        max_queued_bytes: how much memory the waiting requests may hold together.
        max_connections: REST connections at a time.
        max_connection_age_s: seconds after which a gRPC connection is asked to reconnect, so that
            callers spread over replicas; 0 never.
        header_timeout_s: seconds within which a REST request's head must have come.
        stop_grace_s: how long a server that is stopped waits for the calls it has, in seconds.
        access_log: where a JSON line a request goes; `-` is standard error, empty is nowhere.
        otlp_endpoint: where OpenTelemetry traces go; empty is nowhere.
        traffic_log: folder for a sample of requests and answers; None for none.
        traffic_log_rate: the share of requests that is sampled, 0 to 1.
        traffic_log_pictures: the sample holds the pictures too.
    """

    models: model_server_config_pb2.ModelServerConfig
    model_config_file: Path | None = None
    model_config_file_poll_wait_seconds: float = 0.0
    allow_version_labels_for_unavailable_models: bool = False
    file_system_poll_wait_seconds: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_s: float = 60.0
    num_load_threads: int = 0
    saved_model_tags: tuple[str, ...] = ("serve",)
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    enable_signature_method_name_check: bool = False
    enable_serialization_as_tensor_content: bool = False

    enable_batching: bool = False
    batching_parameters: server_config_pb2.BatchingParameters = field(
        default_factory=server_config_pb2.BatchingParameters
    )
    enable_per_model_batching_parameters: bool = False
    session_config: bytes = b""

    host: str = LOOPBACK
    port: int | None = 0
    grpc_socket_path: str = ""
    grpc_channel_arguments: tuple[tuple[str, int | str], ...] = ()
    rest_api_port: int | None = None
    rest_api_timeout_s: float = 30.0
    rest_api_enable_cors_support: bool = False
    enable_grpc_healthcheck_service: bool = True
    ssl: server_config_pb2.SSLConfig | None = None
    monitoring: server_config_pb2.MonitoringConfig | None = None

    api_key_file: Path | None = None
    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_requests_in_flight: int = field(default_factory=lambda: 4 * cores())
    max_queued_requests: int = 1000
    max_queued_bytes: int = 1024 * 1024 * 1024
    max_connections: int = 1000
    max_connection_age_s: float = 0.0
    header_timeout_s: float = 10.0
    stop_grace_s: float = 10.0
    access_log: str = ""
    otlp_endpoint: str = ""
    traffic_log: Path | None = None
    traffic_log_rate: float = 0.01
    traffic_log_pictures: bool = False

    @property
    def batch_threads(self) -> int | None:
        """How many batches are computed at a time; None where there are none."""
        if not self.enable_batching:
            return None
        return self.batching_parameters.num_batch_threads.value or cores()


def single_model(
    base_path: str | os.PathLike[str], name: str = "default"
) -> model_server_config_pb2.ModelServerConfig:
    """A config of one model, whose newest version in `base_path` answers."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=os.fspath(base_path), model_platform="tensorflow"
    )
    return config
