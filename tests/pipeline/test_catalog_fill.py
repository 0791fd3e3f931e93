"""What was empty in a catalog is filled where the model is sure, and nothing else changes."""

import csv
import dataclasses

import pytest

from pipeline.catalog_fill import fill, report_of
from pipeline.catalog_table import CatalogTable
from schema.errors import UserError
from serving.client import tables

COLUMNS = ["row", "id", "picture", *tables.columns(["gender"])]


def answer(row, product, category="", subcategory="", gender="", attributes=(), **cells):
    """A row of predictions.csv; a label that ends with `?` is not known."""
    found = {"row": str(row), "id": product, "model_version": "3"}
    for level, label in (("category", category), ("subcategory", subcategory), ("gender", gender)):
        found |= {
            level: label.rstrip("?"),
            f"{level}_score": "0.5000" if label.endswith("?") else "0.9100",
            f"{level}_known": "no" if label.endswith("?") else "yes",
        }
    found["attributes"] = "|".join(attributes)
    found["attribute_scores"] = "|".join(f"0.8{i}00" for i in range(len(attributes)))
    return found | cells


@pytest.fixture
def filled(tmp_path):
    """Fills a CSV, given as text, by answers; returns its bytes, the report and what was done."""

    def run(text, answers, encoding="utf-8-sig", lanes=False, known_too=False, **columns):
        labels, predictions = tmp_path / "labels.csv", tmp_path / "predictions.csv"
        labels.write_bytes(text if isinstance(text, bytes) else text.encode())
        with open(predictions, "w", encoding="utf-8", newline="") as file:
            names = COLUMNS
            if lanes:
                names = ["row", "id", "picture", *tables.columns(["gender"], lanes=True)]
            writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(answers)
        out = tmp_path / "filled.csv"
        table = dataclasses.replace(CatalogTable(labels, tmp_path, encoding=encoding), **columns)
        done = fill(table, predictions, out, known_too)
        with open(report_of(out), encoding="utf-8", newline="") as file:
            report = list(csv.DictReader(file))
        return out.read_bytes(), report, done

    return run


def test_empty_cells_are_filled_and_others_never_change(filled):
    content, report, done = filled(
        "id,category,subcategory,gender,season\n1,Shoes,,Men,\n2,,,,Fall\n",
        [
            answer(2, "1", "Shoes", "Boot", "Women", ["season=Winter"]),
            answer(3, "2", "Bags", "Tote", "Women", ["season=Winter"]),
        ],
    )
    assert content.decode() == (
        "id,category,subcategory,gender,season\n1,Shoes,Boot,Men,Winter\n2,Bags,Tote,Women,Fall\n"
    )
    assert report[0] == {
        "row": "2", "id": "1", "column": "subcategory", "value": "Boot", "score": "0.9100"
    }  # fmt: skip
    assert [(r["row"], r["column"], r["score"]) for r in report[1:]] == [
        *(("2", "season", "0.8000"), ("3", "category", "0.9100")),
        *(("3", "subcategory", "0.9100"), ("3", "gender", "0.9100")),
    ]
    assert done.cells == {"subcategory": 2, "season": 1, "category": 1, "gender": 1}


def test_below_the_models_threshold_a_cell_stays_empty(filled):
    content, report, _ = filled(
        "id,category,subcategory,season\n1,,,\n",
        [answer(2, "1", "Shoes?", "Boot?", "Men?")],
    )
    assert content.decode().splitlines()[1] == "1,,,"
    assert report == []


def sure(row, *levels, attributes=""):
    """A row of which these levels need no person, and of the attributes those with a `yes`."""
    found = answer(row, str(row - 1), "Shoes", "Boot", "Men?", ["season=Fall", "usage=Home"])
    for level in ("category", "subcategory", "gender"):
        found[f"{level}_automatic"] = "yes" if level in levels else "no"
    lane = next((level for level in ("subcategory", "category") if level in levels), "person")
    return found | {"attributes_automatic": attributes or "no|no", "lane": lane}


LANES = [
    sure(2, "category", "subcategory", attributes="yes|no"),
    sure(3, "category", "gender"),
    sure(4),
]
EMPTY = "id,category,subcategory,gender,season,usage\n1,,,,,\n2,,,,,\n3,,,,,given\n"


def test_only_what_needs_no_person_is_filled_where_that_is_known(filled):
    content, report, done = filled(EMPTY, LANES, lanes=True)
    assert content.decode().splitlines()[1:] == [
        *("1,Shoes,Boot,,Fall,", "2,Shoes,,Men,,", "3,,,,,given"),
    ]
    assert [(of["row"], of["column"]) for of in report] == [
        *(("2", "category"), ("2", "subcategory"), ("2", "season")),
        *(("3", "category"), ("3", "gender")),
    ]
    # Known by the model's own thresholds and empty: usage; subcategory, season, usage; three more.
    assert done.left == {"not sure enough to need no person": 7}


def test_what_somebody_should_look_at_is_filled_where_that_is_asked_for(filled):
    content, _, done = filled(EMPTY, LANES, lanes=True, known_too=True)
    assert content.decode().splitlines()[1:] == [
        *("1,Shoes,Boot,,Fall,Home", "2,Shoes,Boot,,Fall,Home", "3,Shoes,Boot,,Fall,given"),
    ]
    assert not done.left


def test_of_flags_those_that_need_no_person_are_set(filled):
    text = "id,category,Fall,Home\n1,x,,\n2,x,,\n"
    content, _, done = filled(
        text,
        [sure(2, attributes="yes|no"), sure(3)],
        lanes=True,
        flags={"season": ["Fall"], "usage": ["Home"]},
    )
    assert content.decode().splitlines()[1:] == ["1,x,1,", "2,x,,"]
    assert done.left == {"not sure enough to need no person": 3}


def test_a_sub_category_never_contradicts_the_category_that_is_there(filled):
    content, _, done = filled(
        "id,category,subcategory\n1,Bags,\n2,,\n",
        [answer(2, "1", "Shoes", "Boot", "Men"), answer(3, "2", "Shoes?", "Boot", "Men")],
    )
    assert content.decode().splitlines()[1:] == ["1,Bags,", "2,,Boot"]
    assert done.left == {"sub-category of another category than the row's": 1}


def test_several_values_of_a_group_are_joined_as_in_the_catalog(filled):
    text = "id,season,usage\n1,,\n"
    answers = [answer(2, "1", "a", "b", "c", ["season=Fall", "usage=a|b", "season=Winter"])]
    content, report, _ = filled(text, answers, separator="/")
    assert content.decode().splitlines()[1] == "1,Fall/Winter,a|b"
    assert [r["score"] for r in report] == ["0.8000|0.8200", "0.8100"]


def test_flags_are_set_where_the_model_is_sure_and_never_taken_back(filled):
    content, report, done = filled(
        "id,category,striped,dotted,floral\n1,Shoes,,0,\n2,Shoes,,1,\n",
        [
            answer(2, "1", attributes=["pattern=striped", "pattern=dotted"]),
            answer(3, "2", attributes=["pattern=floral"]),
        ],
        flags={"pattern": ["striped", "dotted", "floral"]},
    )
    assert content.decode().splitlines()[1:] == ["1,Shoes,1,0,", "2,Shoes,,1,1"]
    assert [(row["column"], row["value"], row["score"]) for row in report] == [
        *(("striped", "1", "0.8000"), ("floral", "1", "0.8000")),
    ]
    assert done.cells == {"striped": 1, "floral": 1}


@pytest.mark.parametrize(
    "separator_within", ["a|b", "a|b=c", "|", "=", "a|season", "|=", "a=b|c=d"]
)
def test_a_value_may_hold_what_separates_attributes(filled, separator_within):
    content, _, done = filled(
        "id,print,season\n1,,\n",
        [answer(2, "1", attributes=[f"print={separator_within}", "season=Winter"])],
    )
    assert next(csv.reader([content.decode().splitlines()[1]])) == ["1", separator_within, "Winter"]
    assert not done.left


def test_attributes_that_cannot_be_told_apart_are_counted(filled):
    content, _, done = filled(
        "id,print,season\n1,,\n", [answer(2, "1", attributes=["print=a|season=b", "season=Winter"])]
    )
    assert content.decode().splitlines()[1] == "1,,"
    assert done.left == {"attributes in whose text one does not end where the next begins": 1}


def test_columns_have_the_names_that_the_catalog_gives_them(filled):
    content, _, done = filled(
        "id,kind,articleType,season,category\n1,,,,\n",
        [answer(2, "1", "Shoes", "Boot", "Men", ["season=Fall", "usage=Home"])],
        category="kind",
        subcategory="articleType",
        attributes=("season",),
    )
    assert content.decode().splitlines()[1] == "1,Shoes,Boot,Fall,"
    assert done.without_column == ["gender"]


def test_dialect_encoding_and_line_ends_are_kept(filled):
    text = '\ufeff"id";"nämé";"category"\r\n"1";"a;\r\nb";""\r\n"2"; x ;""'
    content, _, _ = filled(
        text.encode("utf-16-le"),
        [answer(2, "1", "Böden", "b", "c"), answer(3, "2", 'a;"b"', "b", "c")],
        encoding="utf-16",
    )
    assert content.decode("utf-16-le") == (
        '\ufeff"id";"nämé";"category"\r\n"1";"a;\r\nb";"Böden"\r\n"2"; x ;"a;""b"""'
    )


def test_rows_that_were_refused_or_broken_and_blank_lines_stay(filled):
    text = "id,category\n1,\n\n2,,too,many\n3,\n"
    refused = {column: "" for column in COLUMNS} | {"refused": "cannot be decoded"}
    content, _, _ = filled(
        text,
        [
            {**refused, "row": "2", "id": "1"},
            {**refused, "row": "4", "refused": "wrong number of fields"},
            answer(5, "3", "Shoes", "b", "c"),
        ],
    )
    assert content.decode() == text.replace("3,", "3,Shoes")


def test_letters_that_the_encoding_does_not_have_are_not_forced_into_it(filled):
    content, _, done = filled(
        "id,category\n1,\n2,\n".encode("latin-1"),
        [answer(2, "1", "靴", "b", "c"), answer(3, "2", "Gürtel", "b", "c")],
        encoding="latin-1",
    )
    assert content.decode("latin-1") == "id,category\n1,\n2,Gürtel\n"
    assert done.left == {"letters that iso8859-1 does not have": 1}


def test_a_model_without_thresholds_fills_nothing(filled, tmp_path):
    with pytest.raises(UserError, match="Version 3 of the model says nothing of the scores"):
        filled("id,category\n1,\n", [answer(2, "1", "a", "b", "c", category_known="")])
    assert not (tmp_path / "filled.csv").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("numbers", [[2], [2, 3, 4], [2, 4]])
def test_answers_of_another_catalog_are_named(filled, tmp_path, numbers):
    answers = [answer(number, str(number - 1), "a", "b", "c") for number in numbers]
    with pytest.raises(UserError, match="is another catalog's"):
        filled("id,category\n1,\n2,\n", answers)
    assert not (tmp_path / "filled.csv").exists()


def test_neither_the_catalog_nor_the_answers_are_written_over(filled, tmp_path):
    filled("id,category\n1,\n", [answer(2, "1", "a", "b", "c")])
    table = CatalogTable(tmp_path / "labels.csv", tmp_path)
    for name in ("labels.csv", "predictions.csv"):
        with pytest.raises(UserError, match="Name another file with --fill"):
            fill(table, tmp_path / "predictions.csv", tmp_path / name)


def test_a_column_that_was_named_and_is_missing_is_told(filled):
    with pytest.raises(UserError, match="has no column `kind`"):
        filled("id,category\n1,\n", [answer(2, "1", "a", "b", "c")], category="kind")
