"""A walk over a catalog as a person sees it: a bar, what is left, what came of it."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pipeline.catalog_fill import fill, report_of
from pipeline.catalog_table import CatalogTable
from pipeline.catalog_walk import Tally, walk
from pipeline.session import shown
from schema.errors import UserError
from serving.client import Automatic, CatalogClient

_MOST_REASONS = 5

_LANES = {
    "subcategory": "nobody",
    "category": "nobody the category, somebody the rest",
    "person": "somebody",
}

# Drawing takes longer than a row does.
_SHOWN_EVERY_S = 0.1
_TOLD_EVERY_S = 30.0


class WalkStopped(Exception):
    """A walk that was interrupted; the message says how to go on."""


def walk_in_console(
    client: CatalogClient,
    table: CatalogTable,
    out: Path,
    filled: Path | None = None,
    anew: bool = False,
    concurrency: int = 4,
    scores_of: Callable[[int | None], Automatic | None] = lambda version: None,
    known_too: bool = False,
) -> None:
    """Walks a catalog, shows how it goes, and fills what is empty if `filled` is named.

    Args:
        client: asks the server.
        table: the catalog.
        out: see `walk`.
        filled: see `fill`.
        anew: see `walk`.
        concurrency: see `walk`.
        scores_of: see `walk`.
        known_too: see `fill`.

    Raises:
        UserError: it cannot go on; what was written is kept.
        WalkStopped: Ctrl-C; as well.
    """
    console = Console()
    tally = Tally(total=0)
    try:
        with _progress(console) as show:

            def on_progress(current: Tally) -> None:
                nonlocal tally
                tally = current
                show(current)

            walk(client, table, out, anew, concurrency, on_progress, scores_of)
    except KeyboardInterrupt:
        raise WalkStopped(f"Interrupted. {_how_far(tally, out)}") from None
    except UserError as error:
        if not tally.rows:
            raise
        raise UserError(f"{error} {_how_far(tally, out)}") from error
    for line in _summary(tally, out):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if filled:
        done = fill(table, out, filled, known_too)
        columns = ", ".join(f"{column} {count:,}" for column, count in done.cells.most_common())
        lines = [f"{shown(filled)}: {done.cells.total():,} empty cells filled ({columns or '-'})"]
        lines.append(f"which, with which score: {shown(report_of(filled))}")
        if not tally.lanes:
            lines.append(
                "by the model's own thresholds, for which answers need no person is not known; "
                "--workspace names where the served versions are"
            )
        elif known_too:
            lines.append("answers that somebody should look at are filled in as well")
        lines += [f"left empty, {count:,}: {reason}" for reason, count in done.left.most_common()]
        if done.without_column:
            names = ", ".join(done.without_column)
            lines.append(f"named by the model, and without a column in {table.csv.name}: {names}")
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def _how_far(tally: Tally, out: Path) -> str:
    command = shlex.join(["seamline", *(word for word in sys.argv[1:] if word != "--anew")])
    there = f"{tally.rows:,} of {tally.total:,} rows are in {shown(out)}"
    return f"{there}. To go on from there: {command}"


def _summary(tally: Tally, out: Path) -> Iterator[str]:
    resumed = f", {tally.resumed:,} of them from before" if tally.resumed else ""
    yield f"{shown(out)}: {tally.rows:,} products{resumed}; {tally.answered:,} answered"
    if tally.known:
        known = (
            f"{column.removesuffix('_known')} {count / tally.answered:.1%}"
            for column, count in sorted(tally.known.items())
        )
        yield f"sure enough by the model's own thresholds: {', '.join(known)}"
    if tally.lanes:
        lanes = ", ".join(
            f"{words} {tally.lanes[lane] / tally.answered:.1%}" for lane, words in _LANES.items()
        )
        yield f"who labels the products: {lanes}"
    if tally.refused:
        reasons = tally.refused.most_common(_MOST_REASONS)
        told = ", ".join(f"{reason} ({count:,})" for reason, count in reasons)
        yield f"{tally.refused.total():,} without an answer: {told}"


@contextmanager
def _progress(console: Console) -> Iterator:
    """Shows a tally: as a bar on a terminal, else as a line now and then."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    last = 0.0
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("asking", total=None)

        def show(tally: Tally) -> None:
            nonlocal last
            now = time.monotonic()
            pause_s = _SHOWN_EVERY_S if console.is_terminal else _TOLD_EVERY_S
            if now - last < pause_s and tally.rows < tally.total:
                return
            if not console.is_terminal and last:
                console.print(f"{tally.rows:,} of {tally.total:,}", highlight=False)
            if not last:
                # What was there before counts for nothing in pictures a second.
                bar.reset(task, total=tally.total, completed=tally.rows)
            last = now
            bar.update(task, completed=tally.rows)

        yield show


class _Rate(ProgressColumn):
    """Pictures a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} pictures/s" if speed else "", style="progress.data.speed")
