"""A serving folder's versions, as a table for people and as plain data for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from components.atomic_pusher.records import PAPERS_FOLDER
from components.atomic_pusher.versions import Version, live_version, rolled_back_versions
from components.model_card.files import CARD_FILE

_TITLES = {
    "category/accuracy": "category",
    "subcategory/accuracy": "sub-category",
    "attributes/overall_f1": "attributes OF1",
}


def versions_json(found: Sequence[Version]) -> list[dict[str, Any]]:
    """What is known of each version, the newest first.

    Args:
        found: What `find_versions` returned.

    Returns:
        For each version "version", "live", "pushed" (ISO 8601 in UTC), "model" (URI of the trained
        model's artifact), "run" (id of the pipeline run), "metrics" (by `level/metric`, on the test
        part), "bytes", "copy_of", "in_place_of", "rolled_back" (ISO 8601, when its model was taken
        back), "fault" (why it cannot be loaded), "note", "folder" and "model_card" (its file). What
        is not known or not the case is None, or empty in "metrics", "fault" and "note".
    """
    live = live_version(found)
    rolled_back = rolled_back_versions(found)
    rows = []
    for version in found:
        record = version.record
        entry = rolled_back.get(version.number)
        rows.append(
            {
                "version": version.number,
                "live": version is live,
                "pushed": record.pushed if record else _time_of(version.number),
                "model": (record and record.origin.model) or None,
                "run": (record and record.origin.run) or None,
                "metrics": dict(record.origin.metrics) if record else {},
                "bytes": version.size(),
                "copy_of": record and record.copy_of,
                "in_place_of": record and record.in_place_of,
                "rolled_back": entry.when if entry and version is not live else None,
                "fault": version.fault,
                "note": version.note,
                "folder": str(version.folder),
                "model_card": str(card) if (card := card_of(version)) else None,
            }
        )
    return rows


def card_of(version: Version) -> Path | None:
    """Where a version's model card is; None where it came without one."""
    card = version.folder / PAPERS_FOLDER / CARD_FILE
    return card if card.is_file() else None


def versions_table(rows: Sequence[Mapping[str, Any]]) -> Group:
    """Shows what `versions_json` returned, and warns where servers may differ on what is live."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("version", "pushed"):
        table.add_column(title, no_wrap=True)
    table.add_column("model, and its figures on the test part", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("state", overflow="fold")
    for row in rows:
        figures = [
            f"{_TITLES.get(metric, metric.removesuffix('/accuracy'))} {figure:.3f}"
            for metric, figure in row["metrics"].items()
        ]
        table.add_row(
            str(row["version"]),
            _local_time(row["pushed"]),
            "\n".join(["/".join((row["model"] or "").split("/")[-3:]), *figures]),
            f"{row['bytes'] / 1e6:.1f} MB",
            _story(row),
        )
    if rows[0]["live"]:
        return Group(table)
    return Group(
        table,
        f"Version {rows[0]['version']} has the largest number and cannot be loaded: TensorFlow "
        "Serving, started anew, would serve nothing. Remove it, or push or roll back: what goes "
        "live then has a larger number.",
    )


def _story(row: Mapping[str, Any]) -> Text:
    told = []
    if row["fault"]:
        told.append(f"cannot be loaded: {row['fault']}")
    if row["note"]:
        told.append(row["note"])
    if row["rolled_back"]:
        told.append(f"rolled back {_local_time(row['rolled_back'])}")
    if row["copy_of"] is not None:
        told.append(f"a copy of {row['copy_of']}, in place of {row['in_place_of']}")
    story = Text("; ".join(told), "red" if row["fault"] else "")
    if row["live"]:
        return Text.assemble(("live", "bold green"), "; " if told else "", story)
    return story


def _time_of(number: int) -> str | None:
    """When a version without a record was pushed, if its number can be a time that has been."""
    if not 1_000_000_000 <= number <= datetime.now().timestamp():
        return None
    return datetime.fromtimestamp(number, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _local_time(when: str | None) -> str:
    if not when:
        return ""
    # Python 3.10 does not know the Z.
    return f"{datetime.fromisoformat(when.replace('Z', '+00:00')).astimezone():%Y-%m-%d %H:%M}"
