"""What is refused before anything heavy is loaded."""

import subprocess
import sys

import pytest

from components.catalog_example_gen.preflight import check_catalog
from pipeline.config import Catalog, Split
from schema.errors import UserError

SPLIT = Split().model_dump()


@pytest.fixture
def shop(tmp_path):
    """A folder with a CSV of two categories and a picture, and the options that name it."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").touch()
    (tmp_path / "labels.csv").write_text("id,kind,type\n1,Shoes,Boot\n2,Bags,Tote\n")
    return Catalog(folder=str(tmp_path), category="kind", subcategory="type").model_dump()


def test_a_catalog_that_can_be_read_passes(shop):
    check_catalog(shop, SPLIT)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("", "is empty"),
        ("id,kind\n1,Shoes\n", "no column `type`"),
        ("id,kind,type\n", "no rows"),
        ("id,kind,type\n1,Shoes,Boot\n2,Shoes,Boot\n3,,Boot\n", "nothing to tell apart"),
    ],
)
def test_a_csv_that_teaches_nothing_is_refused(shop, tmp_path, labels, expected):
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(UserError, match=expected):
        check_catalog(shop, SPLIT)


def test_pictures_behind_links_to_folders_alone_are_named_or_found(shop, tmp_path):
    (tmp_path / "images" / "1.jpg").unlink()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1.jpg").touch()
    (tmp_path / "images" / "tops").symlink_to(tmp_path / "real")
    with pytest.raises(UserError, match="Links to folders are not followed, as is tops: set"):
        check_catalog(shop, SPLIT)
    check_catalog(shop | {"links": True}, SPLIT)


def test_links_that_lead_nowhere_are_named_where_no_picture_is(shop, tmp_path):
    (tmp_path / "images" / "1.jpg").unlink()
    (tmp_path / "images" / "1.jpg").symlink_to("gone")
    with pytest.raises(UserError, match="There are links that lead nowhere, as 1.jpg: fetch"):
        check_catalog(shop, SPLIT)


def test_a_column_of_splits_that_is_not_there_is_refused(shop):
    with pytest.raises(UserError, match="no column `part`"):
        check_catalog(shop, Split(column="part").model_dump())


def test_it_stops_reading_at_the_second_category(shop, tmp_path):
    with open(tmp_path / "labels.csv", "ab") as labels:
        labels.write(b"\xff" * 100)
    check_catalog(shop | {"encoding": "utf-8"}, SPLIT)


def test_it_loads_neither_beam_nor_tensorflow():
    script = (
        "import sys, components.catalog_example_gen.preflight\n"
        "sys.exit(bool({'apache_beam', 'tensorflow', 'tfx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
