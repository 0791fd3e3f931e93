"""What people decided about labels: applied where it still fits, named where it does not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from components.catalog_example_gen import corrections
from components.catalog_example_gen.catalog import ingest_catalog
from components.catalog_example_gen.corrections import check_corrections, read_corrections
from components.catalog_example_gen.preflight import check_catalog
from components.catalog_example_gen.rows import Columns, read_rows
from components.catalog_example_gen.sources import fingerprint
from pipeline.config import Catalog, Split
from schema import features
from schema.errors import UserError

CATALOG = """id,category,subcategory,gender,colour
p1,Top,Shirt,Men,red|blue
p2,Top,Tee,,
p3,Shoe,Boot,Women,red
=1+1,Top,Shirt,Men,green
p5,Top,,Men,red
"""
OPTIONS: dict[str, Any] = {
    "category": "category",
    "subcategory": "subcategory",
    "slices": ["gender"],
    "extra_labels": ["gender"],
    "attributes": ["colour"],
}


def columns(**options: Any) -> Columns:
    catalog = Catalog(folder="nowhere", **{**OPTIONS, **options})
    return Columns.from_options(catalog.model_dump(), Split().model_dump())


def written(folder: Path, *lines: str, header: str = ",".join(corrections.COLUMNS)) -> str:
    path = folder / "corrections.csv"
    path.write_text("\n".join([header, *lines, ""]), "utf-8")
    return str(path)


def decided(
    folder: Path, *lines: str, catalog: str = CATALOG, **options: Any
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The catalog's products as they are after the decisions, and what became of each."""
    of = columns(**options)
    found = read_corrections(written(folder, *lines), of)
    rows = list(read_rows(io.BytesIO(catalog.encode()), "utf-8", of, {}))
    outcomes = check_corrections(found, rows, of)
    products = {row.result.id: row.result for row in found.corrected(rows, of)}
    return products, [(one.decision.id, one.outcome) for one in outcomes]


def refusal(folder: Path, *lines: str, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        decided(folder, *lines, **options)
    return str(error.value).replace(f"{folder}/", "")


def test_each_level_is_changed_to_what_was_decided(tmp_path: Path) -> None:
    products, outcomes = decided(
        tmp_path,
        "p1,category,Top,change,Shoe",
        "p1,subcategory,Shirt,change,Boot",
        "p3,gender,Women,change,Men",
        "p1,colour,blue|red,change,green",
        "p3,colour,red,change,red|green",
    )
    assert {outcome for _, outcome in outcomes} == {corrections.CHANGED}
    assert products["p1"][2:5] == ("Shoe", "Boot", ("colour=green",))
    assert products["p1"].corrected == ("category", "subcategory", "colour")
    assert products["p3"].slices == ("Men",)
    assert set(products["p3"].attributes) == {"colour=green", "colour=red"}
    assert products["p2"].corrected == ()


def test_fields_stay_as_they_are(tmp_path: Path) -> None:
    notes = ["note", " Top ", "", "", "", ""]
    lines = zip(CATALOG.splitlines(), notes, strict=True)
    catalog = "\n".join(f"{line},{note}" for line, note in lines)
    products, _ = decided(tmp_path, "p1,category,Top,change,Shoe", catalog=catalog, fields=["note"])
    assert (products["p1"].category, products["p1"].fields) == ("Shoe", (" Top ",))
    assert "there is no level `note`" in refusal(
        tmp_path, "p1,note,Top,change,Shoe", catalog=catalog, fields=["note"]
    )


def test_what_was_kept_or_nobody_could_tell_stays(tmp_path: Path) -> None:
    products, outcomes = decided(
        tmp_path, "p1,category,Top,keep,", "p2,category,Top,unsure,", "p2,gender,,keep,"
    )
    assert outcomes == [("p1", "kept"), ("p2", "unsure"), ("p2", "kept")]
    assert products["p1"].category == products["p2"].category == "Top"
    assert products["p1"].corrected == ()


def test_a_decision_on_another_label_than_the_catalog_has_is_out_of_date(tmp_path: Path) -> None:
    lines = "p1,subcategory,Tee,change,Boot", "p3,category,Top,keep,"
    products, outcomes = decided(tmp_path, *lines)
    assert outcomes == [("p1", "out of date"), ("p3", "out of date")]
    assert products["p1"].subcategory == "Shirt"


def test_a_catalog_that_was_mended_meanwhile_is_right_already(tmp_path: Path) -> None:
    _, outcomes = decided(tmp_path, "p1,subcategory,Tee,change,Shirt")
    assert outcomes == [("p1", "already so")]


def test_what_was_corrected_can_be_corrected_again(tmp_path: Path) -> None:
    lines = (
        "p1,subcategory,Shirt,change,Tee",
        "p1,subcategory,Tee,change,Boot",
        "p1,subcategory,Boot,keep,",
    )
    products, outcomes = decided(tmp_path, *lines)
    assert products["p1"].subcategory == "Boot"
    assert [outcome for _, outcome in outcomes] == ["changed", "changed", "kept"]


def test_an_id_that_a_workbook_would_run_is_found(tmp_path: Path) -> None:
    products, _ = decided(tmp_path, "'=1+1,subcategory,Shirt,change,Tee")
    assert products["=1+1"].subcategory == "Tee"


def test_a_decision_on_a_rejected_row_is_told_and_no_error(tmp_path: Path) -> None:
    _, outcomes = decided(tmp_path, "p5,category,Top,change,Shoe")
    assert outcomes == [("p5", "rejected")]


def test_a_decision_on_several_rows_of_one_product_holds_for_the_product(tmp_path: Path) -> None:
    catalog = CATALOG.replace("p2,Top,Tee,,", "p1,Top,Tee,,")
    products, outcomes = decided(
        tmp_path, "p1,subcategory,Shirt,change,Boot", catalog=catalog, product="id"
    )
    assert outcomes == [("p1", "changed")]
    assert products["p1"].subcategory == "Tee"  # The second row's, which speaks for nobody.


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["p9,category,Top,keep,", "p1,category,Top,keep,", "p8,category,Top,keep,"],
            "corrections.csv: p9, p8 are not ids of the catalog. Take rows 2, 4 out, or check that "
            "the file belongs to this catalog.",
        ),
        (
            ["p1,category,Top,change,Hat"],
            "corrections.csv: Hat (category) is a label that no product of the catalog has. "
            "Correct row 2.",
        ),
        (
            ["p1,colour,red|blue,change,red|mauve"],
            "corrections.csv: mauve (colour) is a label that no product of the catalog has. "
            "Correct row 2.",
        ),
        (
            ["p1,size,M,change,L"],
            "corrections.csv, row 2: there is no level `size`; there are category, subcategory, "
            "gender, colour. Correct the row, or take it out.",
        ),
        (
            ["p1,category,Top,maybe,"],
            "corrections.csv, row 2: `maybe` is no decision; write keep, change, unsure.",
        ),
        (
            ["p1,category,Top,change,"],
            "corrections.csv, row 2: the cell `corrected` is empty. Fill it, or take the row out.",
        ),
        (
            ["p1,category"],
            "corrections.csv, row 2: it has not the 5 cells of the header. Correct it, or take it "
            "out.",
        ),
    ],
)
def test_what_there_is_not_is_named_in_one_sentence(
    lines: Sequence[str], told: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path, *lines) == told


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, header="id,label")
    with pytest.raises(UserError, match="has no column `level`, `given`, `decision`, `corrected`"):
        read_corrections(path, columns())
    with pytest.raises(UserError, match="nowhere.csv cannot be read: No such file"):
        read_corrections(str(tmp_path / "nowhere.csv"), columns())


def test_labels_with_the_separator_in_them_come_back(tmp_path: Path) -> None:
    cell = corrections.joined(["a|b", "c"])
    catalog = 'id,category,subcategory,gender,colour\np1,A,B,,"[""a|b"",""c""]"\np2,C,D,,e\n'
    quoted = cell.replace('"', '""')
    products, outcomes = decided(tmp_path, f'p1,colour,"{quoted}",change,e', catalog=catalog)
    assert outcomes == [("p1", "changed")]
    assert products["p1"].attributes == ("colour=e",)


def test_the_fingerprint_looks_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    catalog = Catalog(folder=str(tmp_path), category="a", subcategory="b").model_dump()

    def seen(**given: str) -> str:
        return fingerprint(catalog | given, Split().model_dump())

    without, missing = seen(), seen(corrections=str(path))
    path.write_text("id,column,from,to\n")
    assert without == missing != seen(corrections=str(path))


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A catalog of forty products, of which p0 to p3 are to be corrected."""
    folder = tmp_path / "shop"
    (folder / "images").mkdir(parents=True)
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "category", "subcategory", "gender", "colour"])
        for number in range(40):
            (folder / "images" / f"p{number}.png").write_bytes(picture(number))
            kind = ("Top", "Shirt") if number % 2 else ("Shoe", "Boot")
            writer.writerow([f"p{number}", *kind, "Men", "red"])
    return folder


def options(shop: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    catalog = Catalog(folder=str(shop), corrections=str(shop / "corrections.csv"), **OPTIONS)
    return catalog.model_dump(), Split(eval=0.25, test=0.25).model_dump()


def test_the_ingest_applies_them_counts_them_and_says_so(shop: Path, tmp_path: Path) -> None:
    written(
        shop,
        "p0,subcategory,Boot,change,Shirt",
        "p0,category,Shoe,change,Top",
        "p1,subcategory,Shirt,keep,",
        "p2,subcategory,Tee,change,Shirt",
        "p3,gender,Women,change,Men",
    )
    catalog, split = options(shop)
    out = tmp_path / "out"
    summary = ingest_catalog(
        catalog,
        split,
        {},
        *(str(out / name) for name in ("examples", "rejects", "conflicts")),
        lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
        corrections=str(out / "corrections"),
    )
    found = {}
    for file in sorted((out / "examples").glob("Split-*/*.gz")):
        for record in tf.data.TFRecordDataset(str(file), compression_type="GZIP"):
            example = tf.train.Example.FromString(record.numpy()).features.feature
            name = example[features.ID].bytes_list.value[0].decode()
            found[name] = (
                file.parent.name.removeprefix("Split-"),
                example[features.CATEGORY].bytes_list.value[0].decode(),
                example[features.SUBCATEGORY].bytes_list.value[0].decode(),
            )
    side, *labels = found["p0"]
    assert labels == ["Top", "Shirt"]
    assert found["p2"][1:] == ("Shoe", "Boot")
    where = {**dict.fromkeys(features.SPLITS, 0), side: 1}
    assert summary["corrected"] == {"category": where, "subcategory": where}
    assert "2 labels corrected (1 of subcategory, 1 of category), 1 kept." in summary["notes"]
    assert (
        "1 decision is out of date and not applied: p2 (subcategory `Tee` was decided on, the "
        "catalog has `Boot`). Look at these products again."
    ) in summary["notes"]

    counts = json.loads((out / "corrections" / corrections.COUNTS_FILE).read_text())
    assert counts["changed"] == summary["corrected"]
    assert counts["outcomes"]["already so"] == counts["outcomes"]["kept"] == 1
    with open(out / "corrections" / corrections.CORRECTIONS_FILE, "rb") as file:
        outcomes = corrections.read_outcomes(file)
    assert [(one.decision.id, one.outcome, one.found) for one in outcomes] == [
        ("p0", "changed", "Boot"),
        ("p0", "changed", "Shoe"),
        ("p1", "kept", "Shirt"),
        ("p2", "out of date", "Boot"),
        ("p3", "already so", "Men"),
    ]


def test_the_command_line_refuses_a_bad_file_before_anything_is_loaded(shop: Path) -> None:
    written(shop, "p0,size,M,change,L")
    with pytest.raises(UserError, match="there is no level `size`"):
        check_catalog(*options(shop))
