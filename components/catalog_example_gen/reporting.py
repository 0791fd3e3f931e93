"""What the stages of the ingest have to tell, and the files made of it.

Those are rejects.csv, conflicts.csv, conflicts.json and summary.json.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from components.catalog_example_gen import folder, near_misses
from components.catalog_example_gen.conflicts import (
    CONFLICTS_FILE,
    COUNTS_FILE,
    SEVERAL_PICTURES,
    Conflict,
    write_conflicts,
    write_counts,
)
from components.catalog_example_gen.label_coverage import outside_train, outside_train_sentences
from components.catalog_example_gen.near_misses import Difference
from components.catalog_example_gen.rejects import (
    REJECTS_FILE,
    SUMMARY_FILE,
    Reason,
    printable,
    write_rejects,
)
from components.catalog_example_gen.spill import Chunk, read_sorted
from components.storage import created_whole
from schema import features

_SHARE_OF_VARIANTS = 0.05
"""Where so many rows repeat an id and are rejected, they are likely no mistakes."""

# Keys of the counts that every stage adds to; summary.json is made of them.
ROWS = ("rows",)
CAPPED = ("capped",)
NOT_SAMPLED = ("not_sampled",)
GROUPS = ("groups",)
UNNAMED = ("pictures_without_row",)
BELONGING = ("belonging_rows",)
FURTHER = ("further_pictures",)
PRODUCTS = ("distinct_products",)
REPEATED = ("repeated_ids",)
LINKED = ("linked_pictures",)


class NearMisses(NamedTuple):
    """Rows whose names miss pictures in the same way.

    Attributes:
        differences: Which way.
        taken: Whether the picture that would fit was taken for the one that was meant.
        rows: How many.
        row, name, path: An example: its number, what it says, and the picture that would fit, if
            any.
    """

    differences: tuple[Difference, ...]
    taken: bool
    rows: int
    row: int
    name: str
    path: str | None


Reportable = Conflict | NearMisses | folder.SkippedLinks | Counter[tuple[str, ...]]


def write_report(
    found: Iterable[Chunk | Reportable],
    rejects_folder: str,
    conflicts_folder: str,
    scratch: str,
    id_column: str,
) -> None:
    """Writes rejects.csv, summary.json, conflicts.csv and conflicts.json.

    Args:
        found: What the stages tell; a `Chunk` has rejects in their order.
        rejects_folder: Folder of the first two.
        conflicts_folder: Folder of the others.
        scratch: Folder for files that are needed only meanwhile.
        id_column: The column that identifies a product.
    """
    rejects: list[Chunk] = []
    conflicts: list[Conflict] = []
    near: list[NearMisses] = []
    skipped = folder.SkippedLinks()
    counts: Counter[tuple[str, ...]] = Counter()
    for result in found:
        if isinstance(result, Chunk):
            rejects.append(result)
        elif isinstance(result, Conflict):
            conflicts.append(result)
        elif isinstance(result, NearMisses):
            near.append(result)
        elif isinstance(result, folder.SkippedLinks):
            skipped = result
        else:
            counts.update(result)
    with created_whole(f"{rejects_folder}/{REJECTS_FILE}", scratch) as file:
        by_reason = write_rejects(read_sorted(rejects, scratch), file)
    with created_whole(f"{conflicts_folder}/{CONFLICTS_FILE}", scratch) as file:
        by_kind = write_conflicts(conflicts, file)
    with created_whole(f"{conflicts_folder}/{COUNTS_FILE}", scratch) as file:
        write_counts(by_kind, file)
    outside = outside_train(
        (key[1], key[2], key[3], number) for key, number in counts.items() if key[0] == "label"
    )
    told = _told(near, counts, by_reason, skipped, id_column)
    with created_whole(f"{rejects_folder}/{SUMMARY_FILE}", scratch) as file:
        summary = {
            **_summary(counts, by_reason),
            "ambiguous": by_kind[SEVERAL_PICTURES],
            "labels_outside_train": outside,
            **told,
            "notes": [*told["notes"], *outside_train_sentences(outside)],
        }
        file.write(json.dumps(summary, indent=2, ensure_ascii=False).encode())


def _told(
    near: Iterable[NearMisses],
    counts: Counter[tuple[str, ...]],
    by_reason: Counter[str],
    skipped: folder.SkippedLinks,
    id_column: str,
) -> dict[str, list[str]]:
    """Sentences: `notes` on what was made of names, and `hints` on what to do about rejects."""
    alike: dict[tuple[Any, ...], list[NearMisses]] = {}
    for one in near:
        key = one.differences, one.taken, one.path is None
        alike.setdefault(key, []).append(one)
    notes: list[str] = []
    hints: list[str] = []
    ranked = sorted(alike.values(), key=lambda of: (-sum(one.rows for one in of), of[0]))
    for of_kind in ranked:
        rows = sum(one.rows for one in of_kind)
        first = min(of_kind, key=lambda one: one.row)
        say = near_misses.taken_sentence if first.taken else near_misses.sentence
        (notes if first.taken else hints).append(
            say(rows, first.name, first.path, first.differences)
        )
    if (repeated := counts[REPEATED]) > max(1, _SHARE_OF_VARIANTS * counts[ROWS]):
        hints.append(
            f"{repeated:,} of them have the id of a row above: where several rows are one product, "
            f"set `catalog.product` to `{id_column}`."
        )
    if linked := counts[LINKED]:
        hints.append(
            f"{linked:,} pictures are links that lead out of the images folder: set "
            "`catalog.links` to true if they may."
        )
    if by_reason[Reason.MISSING_PICTURE] and skipped.folders.count:
        hints.append(
            f"Links to folders are not followed: {_listed(skipped.folders)}. Set `catalog.links` "
            "to true if they shall be."
        )
    if by_reason[Reason.MISSING_PICTURE] and skipped.dangling.count:
        hints.append(
            f"Links to pictures lead nowhere: {_listed(skipped.dangling)}. Fetch what they lead to "
            "(`dvc checkout`, `git annex get`)."
        )
    return {"notes": notes, "hints": hints}


def _listed(paths: folder.Few) -> str:
    more = f" and {paths.count - len(paths.first):,} more" * (paths.count > len(paths.first))
    return ", ".join(f"`{printable(path)}`" for path in paths.first) + more


def _summary(counts: Counter[tuple[str, ...]], by_reason: Counter[str]) -> dict[str, Any]:
    by_split = dict.fromkeys(features.SPLITS, 0)
    by_category: dict[str, dict[str, int]] = {}
    opened: dict[str, dict[str, int]] = {}
    corrected: dict[str, dict[str, int]] = {}
    for key, number in sorted(counts.items()):
        if key[0] == "products":
            _, split, category = key
            by_split[split] += number
            by_category.setdefault(category, dict.fromkeys(features.SPLITS, 0))[split] = number
        elif key[0] == "looked_into":
            _, category, end = key
            ends = {"opened": 0, "unusable": 0, "left_out": 0}
            opened.setdefault(category, ends)[end] = number
        elif key[0] == "corrected":
            _, level, split = key
            corrected.setdefault(level, dict.fromkeys(features.SPLITS, 0))[split] = number
    return {
        "rows": counts[ROWS],
        "further_pictures": counts[FURTHER],
        "belonging_rows": counts[BELONGING],
        "accepted": sum(by_split.values()),
        "rejected": by_reason.total(),
        "capped": counts[CAPPED],
        "not_sampled": counts[NOT_SAMPLED],
        "products": counts[PRODUCTS],
        "groups": counts[GROUPS],
        "pictures_without_row": counts[UNNAMED],
        "rejected_by_reason": dict(sorted(by_reason.items(), key=lambda item: (-item[1], item))),
        "products_by_split": by_split,
        "products_by_category": by_category,
        "looked_into_by_category": opened,
        "corrected": corrected,
    }
