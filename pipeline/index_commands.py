"""`seamline index`: an index to Qdrant, and one by a network that never saw the catalog."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from components.atomic_pusher.versions import Version, find_versions, live_version
from pipeline.session import quiet_terminal, shown
from pipeline.workspace import Workspace
from schema import features
from schema.errors import UserError


def push_index(
    models: Path,
    version: int | None,
    url: str,
    alias: str,
    api_key: str | None,
    remove_replaced: bool,
) -> str:
    """Brings a version's index to Qdrant; gives a sentence.

    Args:
        models: The folder of a model's versions.
        version: Whose index; the live one's by default.
        url: Qdrant's.
        alias: What the app will ask for.
        api_key: Qdrant's.
        remove_replaced: Whether what the alias named before is removed.

    Raises:
        UserError: Qdrant's client is not installed, there is no index, Qdrant does not answer, or
            it does not find what it should.
    """
    from serving.search import IndexedCatalog
    from serving.search.catalog import RECIPE_KEY
    from serving.search.qdrant_server import QdrantServer

    with closing(QdrantServer(url, api_key=api_key)) as qdrant:
        from serving.search.qdrant_index import push

        catalog = IndexedCatalog.of_version(indexed(models, version).folder)
        made_by = catalog.index.made_by | {RECIPE_KEY: catalog.recipe.mark}
        pushed = push(
            catalog.index, qdrant.client, alias, made_by=made_by, remove_replaced=remove_replaced
        )
    replaced = f", in place of {pushed.replaced}" if pushed.replaced else ""
    return (
        f"{pushed.products:,} products in {pushed.collection}, which {alias} names{replaced}; "
        f"{pushed.recall:.1%} of the exact nearest found"
    )


def baseline_in_console(
    workspace: Workspace,
    models: Path,
    backbone: str,
    image_height: int,
    image_width: int,
    verbose: bool = False,
) -> None:
    """Pushes a baseline beside a model, with a bar for the pictures that it looks at.

    Raises:
        UserError: see `components.similarity_index.baseline.push_baseline`.
    """
    version = indexed(models, None)
    with quiet_terminal(workspace.log / "baseline.log", verbose) as terminal:
        from components.similarity_index.baseline import push_baseline

        console = Console(file=terminal)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            task = progress.add_task(f"{backbone} looks at the products", total=None)
            outcome = push_baseline(
                version.folder,
                workspace.serving,
                backbone,
                image_height,
                image_width,
                lambda done, total: progress.update(task, completed=done, total=total),
            )
        console.print(outcome.summary, highlight=False, soft_wrap=True)
        console.print(
            f"compare: seamline app {shown(workspace.root)}", highlight=False, soft_wrap=True
        )


def indexed(models: Path, number: int | None) -> Version:
    """A version with an index: the live one, or the one of a number.

    Raises:
        UserError: there is none.
    """
    found = find_versions(models)
    version = (
        live_version(found)
        if number is None
        else next((each for each in found if each.number == number), None)
    )
    if version is None:
        named = ", ".join(str(each.number) for each in found) or "none"
        raise UserError(f"There is no version {number or ''} in {models}; there are: {named}.")
    if not (version.folder / features.INDEX_FOLDER).is_dir():
        raise UserError(
            f"Version {version.number} in {models} was pushed without an index. Set "
            "`search: {enabled: true}` in the catalog's config and run again; what has not changed "
            "is not computed again."
        )
    return version
