"""`seamline search`: products that look like a picture or a product, at a terminal."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.workspace import Workspace
from schema.errors import UserError
from serving.app import parameters
from serving.app.finder import Asked, Found
from serving.app.joint_searches import Question
from serving.app.models import USUAL_MODEL, Models, indexed_versions
from serving.app.pictures import Crop, check
from serving.search import UnknownProduct
from serving.search.qdrant_server import QdrantServer

_LEAST_PART = 0.005
_MOST_SEEN = 3


def search(
    workspace: Workspace,
    target: str,
    wanted: parameters.Search,
    *,
    server: str | None = None,
    api_key: str | None = None,
    qdrant: QdrantServer | None = None,
    verbose: bool = False,
) -> dict[str, Any]:
    """Looks for it, and returns what the API would answer.

    A picture is shown to the model server at `server`, or else to an embedded one that is started
    for this. A product's vector is in the index, so that nobody need be asked.

    Args:
        workspace: whose pushed versions are searched.
        target: a picture's path, or a product's id.
        wanted: what is looked for besides. Without a model it is `catalog`, or the only one that
            has an index, without a version the newest that has one.
        server: "host:port" of a model server's gRPC.
        api_key: for that server.
        qdrant: where the index was brought to and is searched; None searches the workspace's own.
        verbose: libraries' output goes to the terminal, and not to `log/search.log`.

    Raises:
        UserError: nothing has an index, there is no such product, field, value or block, the
            picture cannot be used, or the model server does not answer.
    """
    name, number = chosen_version(workspace, wanted.model, wanted.version)
    question, asked = wanted.question, _asked(target, wanted.part)
    with _server(workspace, name, number, server, asked, verbose) as address:
        # Without a version the server says which of those with an index it has.
        told = number if server is None or wanted.version is not None else None
        models = Models(workspace.serving, address, name, api_key, qdrant)
        return asyncio.run(_found(models, name, told, asked, question))


def result_table(answer: Mapping[str, Any], target: str) -> Group:
    """What was found, for a terminal.

    Args:
        answer: of `search`.
        target: what was looked for, as it was typed.
    """
    results = answer["results"]
    called = f"{answer['model']} version {answer['version']}"
    lines = [Text(line) for line in _seen_lines(answer)]
    if not results:
        return Group(*lines, Text(f"Nothing in {called} passes these filters."))
    title = f"{len(results)} products of {called} that look like {target}"
    if answer["nothing_close"]:
        title = f"Nothing in {called} is close to {target}; the nearest are"
    table = Table(box=SIMPLE_HEAD, title=Text(title), title_justify="left", title_style="")
    table.add_column("", justify="right")
    table.add_column("id", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("made of", overflow="fold")
    table.add_column("product", overflow="fold")
    folds = any(hit["folded"] for hit in results)
    if folds:
        table.add_column("doubles", justify="right")
    for rank, hit in enumerate(results, 1):
        cells = [str(rank), _printable(hit["id"]), f"{hit['score']:.3f}", _parts(hit["parts"])]
        cells.append(_printable(", ".join(_texts(hit["fields"].values()))))
        if folds:
            cells.append(f"+{hit['folded']}" if hit["folded"] else "")
        table.add_row(*map(Text, cells))
    if not answer["exact"]:
        lines.append(Text("Searched approximately; --exact compares every product."))
    return Group(*lines, table)


def chosen_version(workspace: Workspace, model: str | None, version: int | None) -> tuple[str, int]:
    """Which version of which model is searched.

    Raises:
        UserError: there is none with an index.
    """
    found = indexed_versions(workspace.serving, model)
    if not any(found.values()):
        pushed = [name for name, _ in indexed_versions(workspace.serving).items()]
        called = f"No version of {model or ' or '.join(pushed)}" if pushed else "Nothing"
        raise UserError(
            f"{called} in {workspace.serving} "
            + ("has an index to search in" if pushed else "was pushed yet")
            + f". `seamline run CONFIG --workspace {workspace.root} --set search.enabled=true` "
            "pushes a model with one, where it finds it good enough."
        )
    with_index = {name: versions for name, versions in found.items() if versions}
    name = model or (USUAL_MODEL if USUAL_MODEL in with_index else min(with_index))
    if version is not None and version not in with_index[name]:
        there = ", ".join(map(str, sorted(with_index[name], reverse=True)))
        raise UserError(
            f"There is no version {version} of {name} with an index; there are: {there}."
        )
    return name, version if version is not None else max(with_index[name])


def default_workspace() -> Path:
    """The workspace that is meant where none is named: the only one in `workspace/`.

    Raises:
        UserError: there is none, or more than one.
    """
    found = sorted(path.parent for path in Path("workspace").glob("*/serving"))
    if len(found) == 1:
        return found[0]
    raise UserError(
        f"There are several workspaces: {', '.join(map(str, found))}. Name one with --workspace."
        if found
        else "There is no workspace in ./workspace. Name one with --workspace."
    )


def _asked(target: str, crop: Crop | None) -> Asked:
    """The picture of that path if there is one, or else the product of that id."""
    path = Path(target)
    try:
        if not path.is_file():
            return Asked(id=target, crop=crop)
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    # Before a model is loaded for it.
    check(content)
    return Asked(content, crop=crop)


async def _found(
    models: Models, name: str, number: int | None, asked: Asked, question: Question
) -> dict[str, Any]:
    try:
        await models.look()
        began = time.perf_counter()
        found: Found = await models.ask(name, number, lambda finder: finder.find(asked, question))
        return found.to_dict() | {"took_ms": round(1000 * (time.perf_counter() - began), 2)}
    except UnknownProduct as error:
        raise UserError(f"{asked.id} is no file, and no product either: {error}") from error
    finally:
        await models.close()


@contextmanager
def _server(
    workspace: Workspace,
    name: str,
    number: int,
    server: str | None,
    asked: Asked,
    verbose: bool,
) -> Iterator[str | None]:
    """Where the model is asked; None where it need not be."""
    if asked.picture is None and asked.crop is None:
        yield None
        return
    if server is not None:
        yield server
        return
    from pipeline.session import quiet_terminal

    workspace.create()
    with quiet_terminal(workspace.log / "search.log", verbose):
        from serving.model_server import ModelServer
        from serving.model_server.options import ServerOptions, single_model

        models = single_model(workspace.serving / name, name)
        (config,) = models.model_config_list.config
        config.model_version_policy.specific.versions.append(number)
        # One question to one signature: nobody waits for the others to be warm.
        options = ServerOptions(models=models, enable_model_warmup=False)
        with ModelServer.from_options(options) as started:
            yield started.endpoint


def _seen_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    for level in answer["query"]["seen"] or ():
        labels = [f"{one['label']} {one['score']:.2f}" for one in level["labels"][:_MOST_SEEN]]
        yield f"{level['level']}: {_printable(', '.join(labels)) or '-'}"


def _parts(parts: Mapping[str, float]) -> str:
    return " ".join(f"{name} {part:.2f}" for name, part in parts.items() if part >= _LEAST_PART)


def _texts(cells: Any) -> Iterator[str]:
    for cell in cells:
        yield from (cell,) if isinstance(cell, str) else cell or ()


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def as_json(answer: Mapping[str, Any]) -> str:
    """The answer as the API sends it."""
    return json.dumps(answer, ensure_ascii=False)
