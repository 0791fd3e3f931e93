"""The CSVs of `../shared/cases`, catalogs as people have them: each right, or named in words.

What is right stands in each case's EXPECTED.md.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from components.catalog_example_gen.catalog import ingest_catalog
from pipeline.config import load_config
from schema.errors import UserError

CASES = Path(__file__).parents[4] / "shared" / "cases"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")


@dataclass
class Result:
    """What an ingest left."""

    folder: Path
    summary: dict[str, Any]

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def attributes(self) -> list[tuple[str, ...]]:
        return [
            tuple(
                value.decode() for value in example.features.feature["attributes"].bytes_list.value
            )
            for path in sorted(self.folder.glob("examples/Split-*/*.gz"))
            for example in (
                tf.train.Example.FromString(record.numpy())
                for record in tf.data.TFRecordDataset(str(path), compression_type="GZIP")
            )
        ]


@pytest.fixture
def ingest(tmp_path):
    def run(case: str, *overrides: str) -> Result:
        options = load_config(CASES / case / "config.yaml", overrides)
        summary = ingest_catalog(
            options.catalog.model_dump(),
            options.split.model_dump(),
            {},
            *(str(tmp_path / name) for name in ("examples", "rejects", "conflicts")),
            lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
        )
        return Result(tmp_path, summary)

    return run


def told(error: pytest.ExceptionInfo[UserError]) -> str:
    """The message, which no terminal may obey."""
    message = str(error.value)
    assert message.isprintable()
    return message


def test_a_quote_that_is_never_closed_costs_its_own_row_and_is_named(ingest):
    result = ingest("02b-one-stray-quote")
    assert (result.summary["accepted"], result.summary["rejected"]) == (35, 1)
    (rejected,) = result.table("rejects/rejects.csv")
    line = next(
        number
        for number, text in enumerate(
            (CASES / "02b-one-stray-quote" / "labels.csv").read_text().splitlines(), start=1
        )
        if text.count('"') % 2
    )
    assert (rejected["row"], rejected["reason"]) == (str(line), "stray_quote")
    assert f"a quote opens in line {line} and is never closed" in rejected["found"]
    assert f"a quote opens in line {line} and is never closed" in result.summary["notes"][0]
    assert result.summary["lines"] == {"header": 1, "rows": 36, "blank": 0}


@pytest.mark.parametrize("case", ["08-bom-utf8", "08b-two-boms", "08c-zero-width", "24-sep-line"])
def test_what_nobody_sees_at_the_start_or_in_a_heading_does_not_matter(ingest, case):
    result = ingest(case)
    assert (result.summary["accepted"], result.summary["rejected"]) == (36, 0)
    assert result.summary["notes"] == []
    assert result.summary["lines"]["header"] == (2 if case == "24-sep-line" else 1)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("06b-semicolons-comma-in-header", ["set `catalog.delimiter` to ';'"]),
        ("07-utf16-tabs", ["UTF-16", "Set it to utf-16", "`catalog.delimiter` to tab as well"]),
        ("07c-utf16-default", ["UTF-16", "`catalog.encoding`", "Set it to utf-16."]),
        ("25-gz", ["is gzip", "Unpack it"]),
        ("26-xlsx", ["is a workbook", "Save it as CSV"]),
        ("51-escapes", ["has no column `id`", r"`\x1b[31mid\x1b]0;owned\x07`"]),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_do(ingest, case, expected):
    with pytest.raises(UserError) as error:
        ingest(case)
    for part in expected:
        assert part in told(error)


@pytest.mark.parametrize(
    ("case", "overrides"),
    [
        ("06b-semicolons-comma-in-header", ["catalog.delimiter=;"]),
        ("07-utf16-tabs", ["catalog.encoding=utf-16", "catalog.delimiter=tab"]),
        ("07c-utf16-default", ["catalog.encoding=utf-16"]),
    ],
)
def test_what_the_message_asks_for_is_the_remedy(ingest, case, overrides):
    result = ingest(case, *overrides)
    assert (result.summary["accepted"], result.summary["rejected"]) == (36, 0)


def test_another_separator_of_labels_is_noted_and_works_when_set(ingest):
    (note,) = ingest("14-comma-values").summary["notes"]
    assert note.startswith("No cell of `colour` holds `|`, and 24 of 36 hold `, `")
    assert "did you mean `catalog.separator: ','`?" in note


def test_the_separator_that_the_note_names_gives_the_labels(ingest):
    result = ingest("14-comma-values", "catalog.separator=','")
    assert result.summary["notes"] == []
    labels = {label for of in result.attributes for label in of if label.startswith("colour")}
    assert labels == {"colour=Red", "colour=Blue", "colour=Green"}


def test_lists_as_json_and_python_write_them_are_read(ingest):
    result = ingest("14b-json-lists")
    labels = {label for of in result.attributes for label in of if label.startswith("colour")}
    assert labels == {"colour=Red", "colour=Blue", "colour=Green"}
    (note,) = result.summary["notes"]
    assert note.startswith("36 of 36 cells of `colour` are lists")


def test_columns_of_0_and_1_are_noted(ingest):
    (note,) = ingest("22-one-hot").summary["notes"]
    assert "`striped`, `floral` and `dotted`" in note
    assert "`flags: {GROUP: [striped, floral, dotted]}`" in note


def test_flags_are_one_label_a_column(ingest):
    flags = json.dumps({"pattern": ["striped", "floral", "dotted"]})
    result = ingest("22-one-hot", "catalog.attributes=[]", f"catalog.flags={flags}")
    with (CASES / "22-one-hot" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = sorted(
        tuple(f"pattern={flag}" for flag in ("striped", "floral", "dotted") if row[flag] == "1")
        for row in rows
    )
    assert sorted(result.attributes) == expected
    assert result.summary["notes"] == []


def test_an_equals_sign_in_an_attribute_column_is_refused():
    with pytest.raises(UserError, match="color=primary cannot name a group of attributes"):
        load_config(CASES / "34-equals-in-column" / "config.yaml")


def test_one_label_in_other_bytes_is_unified_or_a_conflict(ingest):
    result = ingest("48-same-label-other-bytes")
    assert result.summary["rejected"] == 0
    found = [row["found"] for row in result.table("conflicts/conflicts.csv")]
    labels = {label for of in result.attributes for label in of} | {
        *(result.summary["products_by_category"])
    }
    # Form, blanks and what nobody sees are one label; width and case are for people to mend.
    assert not any(re.search("[\u200b\xad\xa0]", label) for label in labels)
    assert any("Ｂags" in text and "'Bags'" in text for text in found), found
