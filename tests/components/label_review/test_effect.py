"""What corrections did to the figures, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog_example_gen.corrections import (
    CORRECTIONS_FILE,
    COUNTS_FILE,
    Decision,
    Outcome,
    counts_json,
    write_counts,
    write_outcomes,
)
from components.label_review.effect import effect, sentences
from components.predictions import table


def corrections(folder: Path) -> Path:
    """Two corrections on test's `a` (twice) and `b`, one in train, and one that is out of date."""
    folder.mkdir()
    outcomes = [
        Outcome(Decision(2, "a", "category", "Bag", "change", "Shoe"), "changed", "Bag"),
        Outcome(Decision(3, "a", "category", "Shoe", "change", "Top"), "changed", "Shoe"),
        Outcome(Decision(4, "b", "category", "Top", "change", "Bag"), "changed", "Top"),
        Outcome(Decision(5, "t", "category", "Top", "change", "Bag"), "changed", "Top"),
        Outcome(Decision(6, "c", "category", "Hat", "change", "Bag"), "out of date", "Top"),
    ]
    with open(folder / CORRECTIONS_FILE, "wb") as file:
        write_outcomes(outcomes, file)
    changed = {"category": {"train": 1, "eval": 0, "test": 2}}
    with open(folder / COUNTS_FILE, "wb") as file:
        write_counts(counts_json(outcomes, changed), file)
    return folder


def answers(folder: Path) -> Path:
    """Of four test products the model is right in three, of which two were corrected."""
    labels = {"category": ["Top", "Bag", "Shoe"], "subcategory": ["x"], "attributes": []}
    schema = table.file_schema(labels, [], 2)
    names = ["a", "b", "c", "d"]
    told: dict[str, list] = {name: [0] * 4 for name in schema.names if "/" not in name}
    told |= {"id": names, "product": names, "group": names, "split": ["test"] * 4}
    del told["embedding"]
    scores = np.eye(3, dtype=np.float32)[[0, 1, 0, 2]]
    truths = {"category": ["Top", "Bag", "Top", "Bag"], "subcategory": [None] * 4}
    rows = table.rows(
        schema,
        told,
        {**truths, "attributes": [[]] * 4},
        {
            "category": scores,
            "subcategory": np.ones((4, 1), np.float32),
            "attributes": np.zeros((4, 0), np.float32),
            "embedding": np.zeros((4, 2)),
        },
    )
    target = table.split_folder(folder, "test")
    target.mkdir(parents=True)
    pq.write_table(pa.Table.from_batches([rows]), target / "part.parquet")
    return folder


def test_figures_with_and_without_the_corrections(tmp_path: Path) -> None:
    found = effect(corrections(tmp_path / "corrections"), answers(tmp_path / "answers"))
    assert found["changed"] == {"category": {"train": 1, "eval": 0, "test": 2}}
    assert found["outcomes"]["out of date"] == 1
    # As they were, a was a Bag and b a Top: only c is right. Without these two, c and not d.
    assert found["test"] == {
        "category": {
            "products": 4,
            "corrected": 2,
            "accuracy": 0.75,
            "as_given": 0.25,
            "without": 0.5,
        }
    }
    assert sentences(found) == [
        "Labels that people corrected: 3 of category (1 in train, 2 in test).",
        "On test, category is right in .750 of 4 products; with the labels as they were before, "
        "the same answers would be right in .250, and without the 2 corrected products in .500.",
    ]


def test_without_corrections_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert effect(tmp_path, tmp_path) == {}
    assert sentences({}) == []
