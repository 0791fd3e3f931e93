"""`seamline serve`: a model server of what was pushed, at a terminal."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TextIO

import typer

from pipeline.session import quiet_terminal
from pipeline.workspace import Workspace
from schema.errors import UserError

_MOST_BATCHED = 32
_MOST_IN_A_REQUEST = 1024
"""Their decoded pictures are held together: 50 MB of 128 x 128 pixels."""


def serve_in_console(
    workspace: Workspace,
    model: str,
    *,
    host: str,
    port: int,
    rest_port: int | None,
    batching: bool,
    api_key_file: Path | None,
    tls_files: tuple[Path | None, Path | None, Path | None],
    access_log: Path | None,
    verbose: bool,
) -> None:
    """Serves until SIGTERM or SIGINT, and says at the start where and how to ask.

    Args:
        workspace: whose pushed versions are served.
        model: name of the served model.
        host: address to listen on.
        port: of gRPC; 0 takes any free one.
        rest_port: of REST; None for none.
        batching: whether requests of several callers are computed together.
        api_key_file: keys of which a caller must send one.
        tls_files: the server's certificate, its private key, and the authority that callers must
            have a certificate of.
        access_log: file for a JSON line a request.
        verbose: libraries' output goes to the terminal, and not to `log/serve.log`.

    Raises:
        UserError: something of it cannot be used, or no version can be loaded.
    """
    with quiet_terminal(workspace.log / "serve.log", verbose) as terminal:
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
        )
        from serving.model_server import ModelServer
        from serving.model_server.server import serve

        settings: dict[str, Any] = {
            "api_key_file": api_key_file,
            "access_log": str(access_log or ""),
            "ssl": _tls(*tls_files),
            **(batched() if batching else {}),
        }
        server = ModelServer(
            workspace.serving,
            model_name=model,
            port=port,
            rest_port=rest_port,
            host=host,
            monitoring=_metrics(),
            **settings,
        )
        serve(server, announce=lambda: _announce(server, model, tls_files[2], terminal))


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Any:
    if not (certificate or key or client_ca):
        return None
    if not (certificate and key):
        raise UserError("TLS takes a certificate and its key: --tls-certificate and --tls-key.")
    from serving.model_server.access import ssl_config

    return ssl_config(certificate, key, client_ca)


def batched() -> dict[str, Any]:
    """`ServerOptions` that compute requests of several callers together."""
    from serving.model_server import server_config_pb2
    from serving.process import cores

    parameters = server_config_pb2.BatchingParameters()
    parameters.max_batch_size.value = _MOST_IN_A_REQUEST
    parameters.max_execution_batch_size.value = _MOST_BATCHED
    parameters.enable_large_batch_splitting.value = True
    # A batch waits for nobody while a processor is free: one caller alone loses no time.
    parameters.batch_timeout_micros.value = 0
    parameters.num_batch_threads.value = cores()
    parameters.max_enqueued_batches.value = 1000
    return {
        "enable_batching": True,
        "batching_parameters": parameters,
        "max_requests_in_flight": _MOST_BATCHED * cores(),
    }


def _metrics() -> Any:
    from serving.model_server import server_config_pb2

    config = server_config_pb2.MonitoringConfig()
    config.prometheus_config.enable = True
    return config


def _announce(server: Any, model: str, client_ca: Path | None, terminal: TextIO) -> None:
    lines = [f"serving {model} version {server.version}; Ctrl-C ends it"]
    options = server.options
    named = "" if model == "catalog" else f" --model {model}"
    key = " --api-key-file KEY" if options.api_key_file else ""
    tls = " --tls --ca CA.crt" if options.ssl else ""
    own = " --certificate MINE.crt --key MINE.key" if client_ca else ""
    lines += [
        f"gRPC at {server.endpoint}",
        f"  seamline predict PICTURE.jpg --server {server.endpoint}{named}{key}{tls}{own}",
    ]
    if server.rest_endpoint:
        scheme = "https" if options.ssl else "http"
        url = f"{scheme}://{server.rest_endpoint}"
        header = ' -H "x-api-key: KEY"' if options.api_key_file else ""
        secure = " --cacert CA.crt" if options.ssl else ""
        own = " --cert MINE.crt --key MINE.key" if client_ca else ""
        lines += [
            f"REST at {url}",
            '  echo "{\\"instances\\": [{\\"b64\\": \\"$(base64 -w0 PICTURE.jpg)\\"}]}" | '
            f"curl -d @-{header}{secure}{own} {url}/v1/models/{model}:predict",
            f"  metrics for Prometheus: {url}/monitoring/prometheus/metrics",
        ]
    if server.is_open_to_anybody:
        lines.append(
            f"Anybody who can reach {options.host} may ask: --api-key-file or --tls-client-ca "
            "would change that."
        )
    for line in lines:
        typer.echo(line, file=terminal)
    terminal.flush()
