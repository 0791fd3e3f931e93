"""What may name a column of the CSV, and a group of attributes."""

from __future__ import annotations

from schema.labels import has_control, normalized


def column_name(column: str) -> str:
    """The name as headings are read."""
    name = normalized(column)
    if not name or has_control(name):
        raise ValueError(
            f"{column!r} cannot name a column: it has control characters or nothing else. Rename "
            "the column in the CSV"
        )
    return name


def group_name(column: str) -> str:
    """The name, if labels made of it say where it ends."""
    if "=" in column:
        raise ValueError(
            f"{column} cannot name a group of attributes: labels are written `column=value`, so "
            "the column may have no `=`. Rename it in the CSV"
        )
    return column
