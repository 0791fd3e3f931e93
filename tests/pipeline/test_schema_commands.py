"""`seamline schema`: what it says, and what it refuses."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config import load_config
from pipeline.demo_catalog import draw_demo_catalog
from pipeline.workspace import Workspace
from schema.catalog import BASE_FILE, label_domains, read_schema

DEMO_FILE = BASE_FILE.with_name("demo.pbtxt")


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    """A config in the current folder."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "shop.yaml"
    config.write_text(
        "name: shop\n"
        "catalog: {folder: catalog, category: category, subcategory: subcategory,"
        " attributes: [season], slices: [gender]}\n"
    )
    return config


def seamline(*arguments: object) -> tuple[int, str]:
    """Exit status, and all that it said on one line."""
    result = CliRunner().invoke(app, ["schema", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def test_two_files_are_compared_in_words():
    status, said = seamline("diff", BASE_FILE, DEMO_FILE)
    assert status == 0
    assert "`category` is now closed to 4 values: Topwear, Bottomwear, Footwear, Bags." in said
    assert seamline("diff", DEMO_FILE, DEMO_FILE) == (0, "Nothing has changed.")


def test_a_config_stands_for_the_schema_of_its_runs(shop):
    assert "`gender` is new: text" in seamline("diff", BASE_FILE, shop)[1]


def test_a_config_alone_is_compared_with_its_last_run(shop):
    status, said = seamline("diff", shop)
    assert status == 1
    assert "seamline run shop.yaml" in said.replace(str(shop.parent) + "/", "")

    place = Workspace(shop.parent / "workspace" / "shop")
    place.create()
    place.remember_schema(load_config(shop).catalog.tfmd_schema())
    assert seamline("diff", shop) == (0, "Nothing has changed.")
    shutil.copy(DEMO_FILE, shop.with_name("closed.pbtxt"))
    shop.write_text(shop.read_text().replace("catalog: {", "catalog: {schema_file: closed.pbtxt, "))
    assert "`subcategory` is now closed to 12 values" in seamline("diff", shop)[1]


def test_what_cannot_be_compared_is_named(shop):
    assert seamline("diff", "nowhere.pbtxt", BASE_FILE)[0] == 1
    status, said = seamline("diff", BASE_FILE)
    assert status == 1 and "is compared with nothing" in said


def test_a_schema_that_is_there_is_never_overwritten(shop):
    shop.with_suffix(".pbtxt").write_text("mine")
    status, said = seamline("infer", shop)
    assert status == 1 and "is there already" in said
    assert shop.with_suffix(".pbtxt").read_text() == "mine"


@pytest.mark.slow
def test_a_first_schema_lists_the_labels_of_the_catalog(shop):
    draw_demo_catalog(shop.parent / "catalog", products=200, seed=4, faults=False)
    # An older list of the catalog's own must not hide what it does not allow.
    (shop.parent / "old.pbtxt").write_text(
        BASE_FILE.read_text().replace(
            'name: "category"\n', 'name: "category"\n  string_domain { value: "Bags" }\n'
        )
    )
    output = shop.parent / "first.pbtxt"
    status, said = seamline(
        *("infer", shop, "--output", output, "--set", "catalog.schema_file=old.pbtxt")
    )
    assert status == 0, said
    assert "`category` is closed to 4 values" in said
    assert "`gender` is closed to 3 values" in said
    domains = label_domains(read_schema(output))
    assert domains["category"] == ["Bags", "Bottomwear", "Footwear", "Topwear"]
    assert domains["attributes"] == [
        f"season={season}" for season in ("Autumn", "Spring", "Summer", "Winter")
    ]
