"""What `seamline drift` finds out, and how it shows it to people and to programs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from components.atomic_pusher.versions import Version, find_versions, live_version
from components.live_traffic.comparison import Accuracy, Bar, Drift, Limits, Moved, compare
from components.live_traffic.distances import LEAST_PRODUCTS
from components.live_traffic.reference import (
    LABELS_OF_TRAIN,
    Reference,
    find_lineage,
    read_reference,
)
from components.live_traffic.traffic import Log, Traffic, read_log
from pipeline import metadata_database
from pipeline.workspace import Workspace
from schema import features
from schema.errors import UserError

_TITLES = {"subcategory": "sub-category", "attributes": "attributes (precision)"}

_BLOCKS = " ▁▂▃▄▅▆▇█"
_BAR_WIDTH = 24
_MOST_LABELS = 6
_MOST_REASONS = 5

_OFTEN = 0.05
"""A picture that has a larger part of the records is worth a look."""

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Outcome:
    """A look at live traffic.

    Attributes:
        model: Name of the served model.
        version: Which of it was compared.
        traffic: What it was asked.
        reference: What it was compared with.
        drift: What was found.
        limits: From where on something counts as moved.
        numbers: Records of every version in the log.
        notes: What else is to be known, a sentence each, without full stops.
    """

    model: str
    version: int
    traffic: Traffic
    reference: Reference
    drift: Drift
    limits: Limits
    numbers: Mapping[int, int]
    notes: list[str]

    @property
    def has_drifted(self) -> bool:
        """Whether anything has moved."""
        return bool(self.drift.findings)


def look_at_traffic(
    workspace: Workspace,
    folder: Path,
    model: str,
    limits: Limits,
    version: int | None = None,
    since_ms: int = 0,
    until_ms: int = 2**63 - 1,
) -> Outcome:
    """Compares the log of a served model with what the workspace trained it on.

    Args:
        workspace: Whose run pushed the model.
        folder: The server's traffic log.
        model: Name of the served model.
        limits: From where on something counts as moved.
        version: Which; that of the log's latest record by default.
        since_ms: Milliseconds since 1970, from which on records count.
        until_ms: The same, before which they do.

    Raises:
        UserError: There is no log, it has too little of the version, or nothing is known of that.
    """
    served = {one.number: one for one in find_versions(workspace.serving / model)}

    def first(number: int) -> int:
        return served[number].first if number in served else number

    log = read_log(folder, model, since_ms, until_ms, first)
    wanted = log.latest if version is None else first(version)
    traffic = log.versions.get(wanted, Traffic()) if wanted is not None else Traffic()
    if traffic.asked < LEAST_PRODUCTS:
        raise UserError(_too_few(folder, model, version or wanted, traffic, log))
    # First what is cheap and may fail.
    lineage = find_lineage(
        workspace.metadata,
        workspace.artifacts,
        {wanted, first(wanted)},
        metadata_database.known(workspace),
    )
    reference = read_reference(lineage)
    found = compare(traffic, reference, limits)
    notes = _notes(log, wanted, traffic, reference, served, first)
    return Outcome(model, wanted, traffic, reference, found, limits, dict(log.numbers), notes)


def moment_ms(text: str, now: datetime | None = None) -> int:
    """Reads a time as people write one, as milliseconds since 1970.

    Args:
        text: `90m`, `24h`, `7d` or `2w` ago; or ISO 8601, of this machine's time zone where it
            names none.
        now: This moment.

    Raises:
        UserError: It is neither.
    """
    now = now or datetime.now(timezone.utc)
    if found := re.fullmatch(r"(\d{1,6})([mhdw])", text.strip()):
        moment = now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    else:
        try:
            # Python 3.10 does not know the Z.
            moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00")).astimezone()
        except ValueError:
            raise UserError(
                f"{text!r} is no time. Write how long ago it was, as 90m, 24h, 7d or 2w, or a "
                "date, as 2026-11-20 or 2026-11-20T08:30."
            ) from None
    return round(moment.timestamp() * 1000)


def drift_json(outcome: Outcome) -> dict[str, Any]:
    """Everything as plain data.

    Returns:
        "drifted", "findings" (sentences), "model", "version", "compared_with" (URI of the trained
        model), "first" and "last" (ISO 8601 in UTC), "records" and of them "answered" (different
        pictures), "repeats" and "refused",
        "versions" (records by number), "limits", "accuracies", "levels" and "figures" (lists; see
        `components.live_traffic.comparison`), "refusals" and "notes".
    """
    traffic, found = outcome.traffic, outcome.drift
    return {
        "drifted": outcome.has_drifted,
        "findings": found.findings,
        "model": outcome.model,
        "version": outcome.version,
        "compared_with": outcome.reference.model,
        "first": _utc(traffic.first_ms),
        "last": _utc(traffic.last_ms),
        "records": traffic.asked,
        "answered": traffic.answered,
        "repeats": traffic.repeats,
        "refused": sum(traffic.refused.values()),
        "versions": {str(number): count for number, count in sorted(outcome.numbers.items())},
        "limits": dataclasses.asdict(outcome.limits),
        "accuracies": [dataclasses.asdict(one) for one in found.accuracies],
        "levels": [dataclasses.asdict(one) for one in found.levels],
        "figures": [dataclasses.asdict(one) for one in found.figures],
        "refusals": dataclasses.asdict(found.refusals),
        "notes": outcome.notes,
    }


def drift_tables(outcome: Outcome) -> Group:
    """The same for a terminal: tables, histograms, and what moved in sentences at the end."""
    traffic, found = outcome.traffic, outcome.drift
    shown: list[Any] = [
        f"{outcome.model} version {outcome.version}: {traffic.answered:,} different pictures in "
        f"{traffic.asked:,} records from {_local(traffic.first_ms)} to {_local(traffic.last_ms)}"
    ]
    if found.accuracies:
        shown.append(_accuracies(found.accuracies))
    if found.levels or found.figures:
        shown.append(_distances((*found.levels, *found.figures), outcome.limits.drift))
    shown += [_labels(one) for one in found.levels if one.moved]
    if found.refusals.reasons:
        shown.append(_refusals(found.refusals.reasons, traffic.asked))
    shown += [Text(f"note: {note}", "dim") for note in outcome.notes]
    for sentence in found.findings:
        shown.append(Text.assemble(("drift: ", "bold red"), sentence))
    if not found.findings:
        shown.append(Text.assemble(("nothing has moved", "bold green")))
    return Group(*shown)


def _accuracies(accuracies: tuple[Accuracy, ...]) -> Table:
    table = Table("accuracy", box=SIMPLE_HEAD, pad_edge=False)
    for title in ("estimated", "on the test part", "mean score", "on the test part", "unsure"):
        table.add_column(title, justify="right")
    for one in accuracies:
        table.add_row(
            escape(_TITLES.get(one.level, one.level)),
            Text(f"{one.estimate:.3f} ± {2 * one.error:.3f}", "red" if one.moved else ""),
            _figure(one.on_test),
            _figure(one.score),
            _figure(one.score_on_test),
            "" if one.unsure is None else f"{one.unsure:.1%}",
        )
    return table


def _distances(compared: tuple[Moved, ...], limit: float | None) -> Table:
    table = Table("distance", "then", "now", box=SIMPLE_HEAD, pad_edge=False)
    for title in ("distance", "allowed", "by chance"):
        table.add_column(title, justify="right")
    table.add_column("compared with")
    for one in compared:
        highest = max(max(bar.then, bar.now) for bar in one.bars)
        table.add_row(
            escape(_TITLES.get(one.name, one.name).removesuffix(" (precision)")),
            _sparkline([bar.then for bar in one.bars], highest),
            _sparkline([bar.now for bar in one.bars], highest),
            Text(f"{one.distance:.3f}", "red" if one.moved else ""),
            "" if limit is None else f"{limit:g}",
            f"{one.by_chance:.3f}",
            one.against,
        )
    return table


def _labels(moved: Moved) -> Table:
    table = Table(escape(moved.name), box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("then", justify="right")
    table.add_column("now", justify="right")
    table.add_column("")
    bars = moved.bars[:_MOST_LABELS]
    highest = max(max(bar.then, bar.now) for bar in bars)
    for bar in bars:
        table.add_row(escape(bar.name), f"{bar.then:.1%}", f"{bar.now:.1%}", _bars(bar, highest))
    return table


def _refusals(reasons: Mapping[str, int], asked: int) -> Table:
    table = Table("refused because", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("records", justify="right")
    table.add_column("share", justify="right")
    for reason, count in list(reasons.items())[:_MOST_REASONS]:
        table.add_row(escape(reason), f"{count:,}", f"{count / asked:.1%}")
    if more := sum(list(reasons.values())[_MOST_REASONS:]):
        table.add_row("other reasons", f"{more:,}", f"{more / asked:.1%}")
    return table


def _sparkline(shares: list[float], highest: float) -> str:
    """A character a share; what is there at all is seen."""
    steps = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[max(1, round(steps * share / highest)) if share else 0] for share in shares
    )


def _bars(bar: Bar, highest: float) -> Text:
    then, now = (round(_BAR_WIDTH * share / highest) for share in (bar.then, bar.now))
    kept = min(then, now)
    # What is gone is drawn hollow, what has come in red.
    return Text.assemble("█" * kept, ("░" * (then - kept), "dim"), ("█" * (now - kept), "red"))


def _notes(
    log: Log,
    wanted: int,
    traffic: Traffic,
    reference: Reference,
    served: Mapping[int, Version],
    first: Any,
) -> list[str]:
    notes = []
    others = {number: count for number, count in log.numbers.items() if first(number) != wanted}
    for number, count in sorted(others.items()):
        known = "" if number in served else ", which is not in the serving folder"
        notes.append(f"{count:,} more records are of version {number}{known}")
    live = live_version(list(served.values()))
    if live and first(live.number) != wanted:
        notes.append(f"version {live.number} is live, and version {wanted} was compared")
    for name, count in sorted(log.others.items()):
        notes.append(f"{count:,} records are of another model, {name}")
    for name, fault in sorted(log.damaged.items()):
        notes.append(f"{name} is damaged, and read up to there: {fault}")
    if traffic.most_repeated >= _OFTEN * traffic.asked:
        notes.append(
            f"one picture is in {traffic.most_repeated:,} records and was counted once: a "
            "placeholder, or a probe?"
        )
    if traffic.answered < LEAST_PRODUCTS:
        notes.append(
            f"{traffic.answered:,} different pictures were answered; of fewer than "
            f"{LEAST_PRODUCTS} nothing is judged but how many are refused"
        )
    weak = [name for name, of in reference.levels.items() if of.origin == LABELS_OF_TRAIN]
    if weak and reference.evaluation is not None:
        notes.append(
            f"the test part has fewer than {LEAST_PRODUCTS} products, so that answers are compared "
            f"with {LABELS_OF_TRAIN}, which differ by the model's mistakes as well"
        )
    if reference.evaluation is None:
        notes.append("the version was not evaluated: what it was on the test part is not known")
    if features.ATTRIBUTES in reference.levels and traffic.answered and not traffic.attributes:
        notes.append(
            "the log has no attributes with a threshold: the model is of an older Seamline, or its "
            "callers ask for other outputs"
        )
    return notes


def _too_few(folder: Path, model: str, version: int | None, traffic: Traffic, log: Log) -> str:
    others = {number: count for number, count in log.numbers.most_common() if number != version}
    said = f"The log in {folder} has {traffic.asked:,} records of {model}"
    said += f" version {version}" if version is not None else ""
    said += f" in this time, and it takes {LEAST_PRODUCTS} to compare."
    if others:
        named = ", ".join(f"{number} ({count:,} records)" for number, count in others.items())
        said += f" Other versions in it, for --version: {named}."
    elif log.others:
        named = ", ".join(f"{name} ({count:,})" for name, count in log.others.most_common())
        said += f" Other models in it, for --model: {named}."
    return (
        f"{said} Wait, look further back with --since, or let the server sample more with "
        "--traffic_log_rate."
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _utc(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _local(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000):%Y-%m-%d %H:%M}"
