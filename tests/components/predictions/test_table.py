"""A row of the table of answers, against scikit-learn and by hand."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, top_k_accuracy_score

from components.predictions import table
from schema.errors import UserError

LABELS = {
    "category": ["Bag", "Shoe", "Top"],
    "subcategory": [f"s{number:02d}" for number in range(14)],
    "attributes": ["season=Summer", "season=Winter"],
}


def answers(seed: int, count: int, ties: bool = False) -> dict[str, np.ndarray]:
    """Random outputs; with ties, a few values only."""
    generator = np.random.default_rng(seed)

    def draw(width: int) -> np.ndarray:
        if ties:
            return generator.integers(1, 4, (count, width)).astype(np.float32)
        return generator.random((count, width)).astype(np.float32)

    scores = {level: draw(len(of)) for level, of in LABELS.items()}
    for level in ("category", "subcategory"):
        scores[level] /= scores[level].sum(1, keepdims=True)
    scores["attributes"] /= 4
    return scores | {"embedding": generator.standard_normal((count, 6)).astype(np.float32)}


def rows(outputs: dict[str, np.ndarray], truths: dict[str, list], folder: Path):
    """What is read back of products with these outputs and true labels."""
    count = len(truths["category"])
    names = [f"p{number}" for number in range(count)]
    told = {"id": names, "product": names, "group": names, "split": ["test"] * count}
    told |= {"slice/gender": ["Women"] * count, "image_height": [80] * count}
    told |= {"image_width": [60] * count, "image_aspect": [0.75] * count}
    told |= {"image_brightness": [0.5] * count, "image_sharpness": [None] * count}
    schema = table.file_schema(LABELS, ["gender"], 6)
    file = table.split_folder(folder, "test") / "part.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(file, schema) as writer:
        writer.write_batch(table.rows(schema, told, truths, outputs))
    found = table.read(folder, "test")
    assert found.num_rows == table.count(file) == count
    assert found.schema.names == schema.names
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_what_a_row_says_of_a_class_level_is_what_scikit_learn_says(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, ties: bool
) -> None:
    outputs = answers(seed, count, ties)
    codes = np.random.default_rng(seed + 1).integers(0, 14, count)
    truths = {
        "category": ["Top"] * count,
        "subcategory": [LABELS["subcategory"][code] for code in codes],
        "attributes": [[]] * count,
    }
    found = rows(outputs, truths, tmp_path_factory.mktemp("table"))
    scores = outputs["subcategory"].astype(float)
    kept = np.zeros_like(scores)
    told = found["subcategory/scores"].to_pylist()
    named = found["subcategory/labels"].to_pylist()
    for row in range(count):
        # Ordered by score, equal ones by index.
        order = sorted(range(14), key=lambda code, row=row: (-scores[row, code], code))
        assert named[row] == [LABELS["subcategory"][code] for code in order[:10]]
        np.testing.assert_array_equal(told[row], scores[row, order[:10]].astype(np.float32))
        kept[row, order[:10]] = scores[row, order[:10]]
    np.testing.assert_array_equal(table.scores(found, "subcategory"), kept.astype(np.float32))
    np.testing.assert_array_equal(table.scores(found, "category"), outputs["category"])
    np.testing.assert_array_equal(table.scores(found, "attributes"), outputs["attributes"])
    ranks = np.array(found["subcategory/true_rank"])
    if not ties:
        for k in (1, 3, 5):
            expected = top_k_accuracy_score(codes, scores, k=k, labels=range(14))
            assert np.mean(ranks <= k) == pytest.approx(expected)
    brier = sum(
        brier_score_loss(codes == code, scores[:, code], pos_label=True) for code in range(14)
    )
    assert np.mean(found["subcategory/brier"]) == pytest.approx(brier, abs=1e-6)
    true_score = scores[np.arange(count), codes]
    np.testing.assert_array_equal(found["subcategory/true_score"], true_score.astype(np.float32))


def test_a_label_that_the_model_does_not_know_has_no_rank_and_one_that_nobody_knows_is_null(
    tmp_path: Path,
) -> None:
    outputs = answers(1, 3)
    truths = {
        "category": ["Hat", None, "Bag"],
        "subcategory": ["s01", "s02", "s03"],
        "attributes": [["season=Summer", "fit=Slim"], [], ["season=Winter"]],
    }
    found = rows(outputs, truths, tmp_path)
    assert found["category/true"].to_pylist() == ["Hat", None, "Bag"]
    assert found["category/true_rank"].to_pylist()[:2] == [0, 0]
    assert found["category/true_score"].to_pylist()[:2] == [0, 0]
    squares = (outputs["category"].astype(float) ** 2).sum(1)
    np.testing.assert_allclose(found["category/brier"][:2].to_pylist(), squares[:2] + 1, atol=1e-6)
    assert found["attributes/true"].to_pylist() == truths["attributes"]
    np.testing.assert_array_equal(
        np.stack(found["attributes/scores"].to_numpy()), outputs["attributes"]
    )
    np.testing.assert_array_equal(
        np.stack(found["embedding"].to_numpy()), outputs["embedding"].astype(np.float16)
    )
    assert table.labels_of(found.schema) == LABELS
    assert found["image_sharpness"].to_pylist() == [None] * 3


def test_a_model_of_other_widths_than_its_labels_is_refused(tmp_path: Path) -> None:
    outputs = answers(1, 1) | {"subcategory": np.ones((1, 13), np.float32)}
    truths = {"category": ["Top"], "subcategory": ["s01"], "attributes": [[]]}
    with pytest.raises(ValueError, match="subcategory: 13 scores of 14 labels"):
        rows(outputs, truths, tmp_path)


def test_columns_can_be_chosen_and_what_was_not_asked_is_none(tmp_path: Path) -> None:
    truths = {"category": ["Top"], "subcategory": ["s01"], "attributes": [[]]}
    rows(answers(1, 1), truths, tmp_path)
    found = table.read(tmp_path, "test", ["id", "slice/gender"])
    assert found.to_pylist() == [{"id": "p0", "slice/gender": "Women"}]
    assert table.labels_of(found.schema) == LABELS
    assert table.read(tmp_path, "eval") is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    truths = {"category": ["Top"], "subcategory": ["s01"], "attributes": [[]]}
    rows(answers(1, 1), truths, tmp_path)
    [file] = table.split_folder(tmp_path, "test").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read"):
        table.read(tmp_path, "test")
