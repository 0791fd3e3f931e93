"""`seamline app`: the search's page and API of what was pushed, at a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import typer

from pipeline.search_command import chosen_version
from pipeline.session import quiet_terminal
from pipeline.workspace import Workspace
from schema.errors import UserError
from serving.app.models import Models, indexed_versions
from serving.app.server import AppOptions, bound, serve
from serving.process import run
from serving.search.qdrant_server import QdrantServer

_READY_S = 0.2

_LOOK_S = 1.0
"""Seconds between two looks for other models to load."""

_log = logging.getLogger("seamline.app")


def app_in_console(
    workspace: Workspace,
    *,
    model: str | None,
    host: str,
    port: int,
    server: str | None,
    api_key: str | None,
    qdrant: QdrantServer | None,
    opens: bool,
    verbose: bool,
) -> None:
    """Serves until SIGTERM or SIGINT, and says at the start where and what to try.

    Args:
        workspace: whose pushed versions are searched.
        model: the one model to search by; None for all that have an index.
        host: address to listen on.
        port: of the page; 0 takes any free one.
        server: "host:port" of a model server's gRPC; None starts an embedded one.
        api_key: for that server.
        qdrant: where the indexes were brought to and are searched; None searches the workspace's.
        opens: whether a browser is opened.
        verbose: libraries' output goes to the terminal, and not to `log/app.log`.

    Raises:
        UserError: nothing has an index, or the port cannot be had.
    """
    chosen_version(workspace, model, None)
    with quiet_terminal(workspace.log / "app.log", verbose) as terminal:
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
        )
        # Before what takes long: a port in use is said at once.
        sockets = bound(AppOptions(workspace.serving, server or "", model, host, port))
        with contextlib.ExitStack() as started:
            embedded = None
            if server is None:
                typer.echo("loading the models", file=terminal)
                terminal.flush()
                embedded = embedded_server(workspace.serving, model)
                embedded.start()
                started.callback(embedded.stop)
                server = embedded.endpoint
            options = AppOptions(workspace.serving, server, model, host, port, api_key, qdrant)
            run(_serve(options, sockets, opens, terminal, started, embedded))


async def _serve(
    options: AppOptions,
    sockets: list[Any],
    opens: bool,
    terminal: TextIO,
    started: contextlib.ExitStack,
    embedded: Any,
) -> None:
    beside: list[asyncio.Task[None]] = []

    def announce(address: str, models: Models) -> None:
        for line in _lines(address, options):
            typer.echo(line, file=terminal)
        terminal.flush()
        beside.append(asyncio.create_task(_tell_ready(models, terminal)))
        if embedded is not None:
            beside.append(asyncio.create_task(follow(embedded, options.root, options.model)))
        if opens and not webbrowser.open(address):
            typer.echo(f"No browser could be started. Open {address} yourself.", file=terminal)

    try:
        await serve(options, sockets, announce, on_stop=started.close)
    finally:
        for task in beside:
            task.cancel()


async def _tell_ready(models: Models, terminal: TextIO) -> None:
    """Says when pictures can be searched for, and meanwhile what else is wrong."""
    while models.problem:
        await asyncio.sleep(_READY_S)
    for model in models.all:
        if model.is_ready and model.current:
            products = model.current.products
            said = f"ready: {products:,} products by {model.name} version {model.current.number}"
            typer.echo(said, file=terminal)
    terminal.flush()


async def follow(embedded: Any, root: Path, model: str | None) -> None:
    """Has the model server load the models that come to be under the serving root.

    Args:
        embedded: the server.
        root: of the models.
        model: the one model that is searched by; None for all.
    """
    served = _named(embedded.models)
    while True:
        await asyncio.sleep(_LOOK_S)
        wanted = await asyncio.to_thread(_served, root, model)
        if _named(wanted) != served:
            served = _named(wanted)
            _log.info("the model server is to answer by %s", ", ".join(served) or "no model")
            try:
                await asyncio.to_thread(embedded.reload, wanted)
            except UserError as error:
                _log.warning("%s", error)


def _lines(address: str, options: AppOptions) -> Iterator[str]:
    yield f"the page is at {address}; Ctrl-C ends it"
    yield "  drop or paste a picture there, or ask for products like one by its id"
    yield f"  curl -F picture=@PICTURE.jpg '{address}api/search?k=5'"
    yield f"  the API is described at {address}openapi.json"
    if not options.is_local:
        yield (
            f"Anybody who can reach {options.host or '*'} may search and see the products: the app "
            "has no login. Put a proxy that has one before it, or leave out --host."
        )


def embedded_server(root: Path, model: str | None) -> Any:
    """A model server of every version of the models that can be searched by."""
    from pipeline.serve_console import batched
    from serving.model_server import ModelServer
    from serving.model_server.options import ServerOptions

    models = _served(root, model)
    return ModelServer.from_options(ServerOptions(models=models, **batched()))


def _served(root: Path, model: str | None) -> Any:
    """The model server's config of every version of the models that can be searched by."""
    from tensorflow_serving.config import model_server_config_pb2

    from serving.model_server.options import single_model

    models = model_server_config_pb2.ModelServerConfig()
    for name, versions in indexed_versions(root, model).items():
        if versions:
            models.MergeFrom(single_model(root / name, name))
    for config in models.model_config_list.config:
        # Whoever compares versions asks older ones; `serving.keep_versions` says how many there
        # are.
        config.model_version_policy.all.SetInParent()
    return models


def _named(models: Any) -> list[str]:
    return [config.name for config in models.model_config_list.config]
