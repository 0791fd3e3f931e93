"""Text of a whole catalog through the Beam pipeline: lines, labels, and names of folders."""

import csv
import io
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from components.catalog_example_gen.catalog import ingest_catalog
from pipeline.config import Catalog, Split

COUNT = 30


def write_pictures(folder: Path, number: int = COUNT) -> None:
    folder.mkdir(parents=True)
    for index in range(number):
        pixels = np.random.default_rng(index).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def write_csv(folder: Path, rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    (folder / "labels.csv").write_text(text.getvalue(), encoding="utf-8", newline="")


def ingest(folder: Path, out: Path, split: Split | None = None, **catalog: Any) -> dict[str, Any]:
    columns = {"category": "kind", "subcategory": "type", **catalog}
    return ingest_catalog(
        Catalog(folder=str(folder), **columns).model_dump(),
        (split or Split(eval=0.25, test=0.25, policy="exact")).model_dump(),
        {},
        *(str(out / name) for name in ("examples", "rejects", "conflicts")),
        lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
    )


@pytest.mark.parametrize("name", ["shop [1]", "shop*?", "a\\b", "Größe {a,b} #%&'\""])
def test_a_catalogs_folder_may_be_called_anything(tmp_path, name):
    folder = tmp_path / name
    write_pictures(folder / "images")
    rows = [[str(index), "ab"[index % 2], "t"] for index in range(COUNT)]
    write_csv(folder, [["id", "kind", "type"], *rows])
    # Would be taken for a part of the folder, were its name a pattern.
    write_pictures(tmp_path / "shop 1" / "images", 3)
    summary = ingest(folder, tmp_path / "out")
    assert (summary["accepted"], summary["pictures_without_row"]) == (COUNT, 0)


def test_lines_labels_and_spellings_of_a_catalog_are_accounted_for(tmp_path):
    folder = tmp_path / "shop"
    write_pictures(folder / "images")
    sides = [("train", "train", "eval", "test")[index % 4] for index in range(COUNT)]
    rows = [[str(index), "ab"[index % 3 > 0], "t", "Men", side] for index, side in enumerate(sides)]
    rows[2][2], rows[3][2], rows[7][2] = "saree", "saree", "\ufeffsa\u00adree"
    rows[0][3] = "\uff2den"
    rows[4][2] = "two\nlines"
    write_csv(folder, [["id", "kind", "type", "gender", "part"], *rows])
    content = (folder / "labels.csv").read_bytes()
    lines = content.splitlines(keepends=True)
    lines.insert(20, b"\r\n")
    lines.append(b'99,a,t,Men,"train\r\n')
    (folder / "labels.csv").write_bytes(b"".join(lines))
    options = {"slices": ["gender"], "extra_labels": ["gender"]}
    summary = ingest(folder, tmp_path / "out", Split(column="part"), **options)
    assert (summary["rows"], summary["accepted"]) == (COUNT + 1, COUNT)
    assert summary["rejected_by_reason"] == {"stray_quote": 1}
    # One row has two lines.
    assert summary["lines"] == {"header": 1, "rows": COUNT + 2, "blank": 1}
    assert summary["labels_outside_train"] == {"subcategory": {"saree": 3}}
    assert [note.split(",")[0] for note in summary["notes"]] == [
        f"{folder}/labels.csv",
        "1 label of subcategory is in eval or test alone",
    ]
    with (tmp_path / "out" / "conflicts" / "conflicts.csv").open(encoding="utf-8") as file:
        found = [row for row in csv.DictReader(file) if row["kind"] == "spelling"]
    assert [(row["value"], row["rows"], row["found"]) for row in found] == [
        ("Men", "2", "gender: 'Men' (29), '\uff2den' (1)")
    ]


def test_fields_reach_their_examples_as_they_stand_and_no_row_is_lost(tmp_path):
    folder = tmp_path / "shop"
    write_pictures(folder / "images")
    odd = ["", " \t", 10_000 * "\U0001f45f", "a\0b\x1b", 'say "9,90"\r\nor =1+1', "\u202e e\u0301 "]
    prices = [(odd + ["9"])[index % 7] for index in range(COUNT)]
    rows = [
        [str(index), "ab"[index % 2], "t", price, f"name {index}"]
        for index, price in enumerate(prices)
    ]
    rows[5][1] = ""
    write_csv(folder, [["id", "kind", "type", "Preis\u200b (\u20ac)", "note"], *rows])
    fields = ["Preis (\u20ac) ", "note"]
    summary = ingest(folder, tmp_path / "out", fields=fields)
    assert (summary["accepted"], summary["rejected"]) == (COUNT - 1, 1)
    assert summary["rows"] == COUNT

    carried = {}
    for file in (tmp_path / "out" / "examples").glob("*/*.gz"):
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            of = {name: [*feature[name].bytes_list.value] for name in ("id", "field/note")}
            # There, and empty: not left out.
            assert "field/Preis (\u20ac)" in feature
            carried[of["id"][0].decode()] = (
                [value.decode() for value in feature["field/Preis (\u20ac)"].bytes_list.value],
                of["field/note"][0].decode(),
            )
    assert carried == {
        row[0]: ([price] if price.strip() else [], row[4])
        for row, price in zip(rows, prices, strict=True)
        if row[1]
    }
