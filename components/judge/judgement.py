"""The verdict: every gate's lines, in words and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.evaluation.results import number
from components.judge.gates import (
    BLOCKS,
    NOT_COMPARED,
    TOO_FEW,
    VANISHED,
    Line,
    blessed,
)
from schema.errors import UserError

FILE = "judgement.json"

VERSION = 1
"""Of the file's shape."""


@dataclass(frozen=True)
class Judgement:
    """What the gates say of a model.

    Attributes:
        lines: One a gate and slice, in the gates' order.
        figures: All figures of all products, see `overview.overview`.
        slices: The telling figures in each slice, see there.
        automatic: What can be labelled without a person, see `automatic.automatic`; empty where
            nobody asked.
        gone: Slices that the last blessed model was judged on and that have no product any more:
            column to value to the number that there were.
    """

    lines: tuple[Line, ...]
    figures: dict[str, Any] = field(default_factory=dict)
    slices: dict[str, Any] = field(default_factory=dict)
    automatic: dict[str, Any] = field(default_factory=dict)
    gone: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def blessed(self) -> bool:
        """Whether nothing blocks."""
        return blessed(self.lines)

    @property
    def failures(self) -> list[str]:
        """A sentence for each line that blocks."""
        return [sentence(line) for line in self.lines if line.verdict == BLOCKS]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each slice that vanished, from the test part or since an earlier run."""
        vanished = dict.fromkeys(line.where for line in self.lines if line.verdict == VANISHED)
        told = [
            f"no product of the test part is of {where}, so no gate holds there"
            for where in vanished
        ]
        for column, values in self.gone.items():
            for value, products in values.items():
                if (where := f"{column} {value}") not in vanished:
                    told.append(
                        f"no product of the test part is of {where}; the last blessed model was "
                        f"judged on {products:,} of them"
                    )
        return told

    @property
    def summary(self) -> str:
        """One sentence of it all."""
        counts = {
            verdict: sum(line.verdict == verdict for line in self.lines)
            for verdict in (BLOCKS, TOO_FEW, VANISHED, NOT_COMPARED)
        }
        judged = len(self.lines) - sum(counts.values()) + counts[BLOCKS]
        told = [f"{judged:,} bounds held against the answers"]
        told.append(f"{counts[BLOCKS]:,} block" if counts[BLOCKS] else "none blocks")
        if counts[TOO_FEW]:
            told.append(f"{counts[TOO_FEW]:,} slices with too few products to judge")
        if counts[VANISHED]:
            told.append(f"{counts[VANISHED]:,} slices without products")
        if counts[NOT_COMPARED]:
            told.append(f"{counts[NOT_COMPARED]:,} without a last model to compare with")
        return ", ".join(told)


def sentence(line: Line) -> str:
    """What a line says: "category/accuracy of gender Girls fell by .063 [-.112, -.020] ..."."""
    of = f"{line.metric} of {line.where}" if line.slice else line.metric
    if line.verdict == VANISHED:
        return f"{of}: no product of the test part"
    on = f"on {line.products:,} products"
    if line.figure is None:
        return f"{of} could not be computed {on}"
    if line.kind == "at_most_worse":
        told = f"{of} is {number(line.figure)}"
        if line.last is None:
            return f"{told} {on}; no last blessed model to compare it with"
        change = line.figure - line.last
        value, bound = apart(abs(change), line.bound)
        moved = "rose" if change > 0 else "fell"
        told = (
            f"{told}, {moved} by {value} against the last blessed model{_interval(line)}, "
            f"at most {bound} worse allowed"
        )
    else:
        value, bound = apart(line.figure, line.bound)
        asked = "least" if line.kind == "at_least" else "most"
        told = f"{of} is {value}{_interval(line)}, must be at {asked} {bound}"
    if line.verdict == TOO_FEW:
        return f"{told}; {on}, too few to judge"
    if line.settled_by:
        return f"{told}; {on}, and {line.settled_by:,} would settle it"
    return f"{told}; {on}"


def _interval(line: Line) -> str:
    if line.interval is None:
        return ""
    low, high = line.interval
    return f" [{number(low)}, {number(high)}]"


def apart(value: float, bound: float) -> tuple[str, str]:
    """Writes both with the fewest digits, from three on, that show the difference."""
    for digits in range(3, 7):
        texts = number(value, digits), number(bound, digits)
        if texts[0] != texts[1]:
            break
    return texts


def write(judgement: Judgement, folder: str | Path) -> None:
    """Writes `judgement.json` into a folder."""
    content = {
        "version": VERSION,
        "blessed": judgement.blessed,
        "gates": to_json(judgement.lines),
        "figures": judgement.figures,
        "slices": judgement.slices,
        "automatic": judgement.automatic,
        "gone": judgement.gone,
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, FILE).write_text(
        json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8"
    )


def to_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The lines as plain types, each with its sentence."""
    return [dataclasses.asdict(line) | {"sentence": sentence(line)} for line in lines]


def read(folder: str | Path) -> Judgement:
    """Reads what `write` wrote.

    Raises:
        UserError: it is not there, or of another version.
    """
    try:
        content = json.loads(Path(folder, FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The verdict in {folder} cannot be read: {error}. Run again.") from error
    if content.get("version") != VERSION:
        raise UserError(f"The verdict in {folder} is of another version of Seamline. Run again.")
    lines = []
    for given in content["gates"]:
        del given["sentence"]
        if given["interval"] is not None:
            given["interval"] = tuple(given["interval"])
        lines.append(Line(**given))
    return Judgement(
        tuple(lines),
        content["figures"],
        content["slices"],
        content["automatic"],
        # A run before this one may have been of a Seamline that did not look for them.
        content.get("gone", {}),
    )
