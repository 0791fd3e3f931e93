"""The demo catalog: what is drawn, that it is always the same, and that its labels can be seen."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.demo_catalog import (
    BACKDROPS,
    COLUMNS,
    PATTERNS,
    SIDE,
    SUBCATEGORIES,
    DemoCatalog,
    draw_demo_catalog,
)
from schema.errors import UserError


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> DemoCatalog:
    folder = tmp_path_factory.mktemp("demo") / "sound"
    return draw_demo_catalog(folder, products=240, faults=False)


def labels(catalog: DemoCatalog) -> list[dict[str, str]]:
    with (catalog.folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pixels(catalog: DemoCatalog, product: dict[str, str]) -> np.ndarray:
    image = Image.open(catalog.folder / "images" / f"{product['id']}.jpg")
    return np.asarray(image, dtype=float)


def digests(catalog: DemoCatalog) -> dict[str, str]:
    return {
        str(path.relative_to(catalog.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in catalog.folder.rglob("*")
        if path.is_file()
    }


def test_every_row_has_an_rgb_picture_of_its_own(sound: DemoCatalog) -> None:
    rows = labels(sound)
    assert len(rows) == sound.rows == 240
    assert tuple(rows[0]) == COLUMNS
    pictures = list((sound.folder / "images").iterdir())
    assert {path.stem for path in pictures} == {row["id"] for row in rows}
    for path in pictures[::20]:
        image = Image.open(path)
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (SIDE, SIDE))
    assert len(set(digests(sound).values())) == 241


def test_every_sub_category_stands_below_its_category_and_is_drawn_equally_often(
    sound: DemoCatalog,
) -> None:
    pairs = Counter((row["category"], row["subcategory"]) for row in labels(sound))
    assert set(pairs) == {(name, kind) for name, group in SUBCATEGORIES.items() for kind in group}
    assert set(pairs.values()) == {20}
    assert {row["pattern"] for row in labels(sound)} == set(PATTERNS)


def test_the_same_arguments_draw_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = digests(draw_demo_catalog(tmp_path / "a", products=24, seed=1))
    assert digests(draw_demo_catalog(tmp_path / "b", products=24, seed=1)) == first
    other = digests(draw_demo_catalog(tmp_path / "c", products=24, seed=2))
    assert not set(first.values()) & set(other.values())


def test_more_products_leave_the_first_ones_as_they_were(tmp_path: Path) -> None:
    few = digests(draw_demo_catalog(tmp_path / "few", products=12, faults=False))
    many = digests(draw_demo_catalog(tmp_path / "many", products=24, faults=False))
    del few["labels.csv"]
    assert few.items() <= many.items()


def test_the_season_can_be_seen_in_the_backdrop(sound: DemoCatalog) -> None:
    right = 0
    for row in labels(sound):
        lower_corners = pixels(sound, row)[-8:, [0, 1, 2, -3, -2, -1]].mean((0, 1))
        hue = lower_corners / lower_corners.sum()
        nearest = min(
            BACKDROPS,
            key=lambda name: np.abs(np.array(BACKDROPS[name]) / sum(BACKDROPS[name]) - hue).sum(),
        )
        right += nearest == row["season"]
    assert right == sound.rows


def test_the_color_can_be_seen_in_plain_garments(sound: DemoCatalog) -> None:
    middles: dict[str, list[np.ndarray]] = {}
    for row in labels(sound):
        if row["pattern"] == "Plain" and row["subcategory"] in ("T-shirt", "Skirt", "Backpack"):
            middles.setdefault(row["colour"], []).append(
                np.median(pixels(sound, row)[44:60, 40:56], axis=(0, 1))
            )
    for color, seen in middles.items():
        red, green, blue = np.mean(seen, axis=0)
        expected = {
            "Red": red > 1.8 * max(green, blue),
            "Orange": red > green > 1.5 * blue,
            "Yellow": min(red, green) > 1.5 * blue and green > 0.7 * red,
            "Green": green > 1.3 * max(red, blue),
            "Blue": blue > 1.3 * max(red, green),
            "Purple": min(red, blue) > 1.3 * green,
            "Black": max(red, green, blue) < 80,
            "White": min(red, green, blue) > 150,
        }[color]
        assert expected, (color, red, green, blue)


def test_the_faults_are_those_that_are_announced(tmp_path: Path) -> None:
    catalog = draw_demo_catalog(tmp_path / "demo", products=200)
    rows = labels(catalog)
    assert Counter(catalog.faults.values()) == {
        "missing_picture": 2,
        "doubled_id": 2,
        "truncated": 1,
        "unknown_label": 1,
        "empty_file": 1,
        "not_a_picture": 1,
    }
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        fault = catalog.faults.get(number)
        path = catalog.folder / "images" / f"{row['id']}.jpg"
        assert (row["id"] in seen) == (fault == "doubled_id")
        assert path.exists() == (fault != "missing_picture")
        known = [kind for group in SUBCATEGORIES.values() for kind in group]
        assert (row["subcategory"] in known) == (fault != "unknown_label")
        seen.add(row["id"])
        if fault == "empty_file":
            assert path.read_bytes() == b""
        elif fault == "truncated":
            with pytest.raises(OSError, match="truncated"):
                Image.open(path).load()


def test_a_folder_that_holds_a_catalog_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("mine")
    with pytest.raises(UserError, match=r"labels.csv is already there"):
        draw_demo_catalog(tmp_path)
    assert (tmp_path / "labels.csv").read_text() == "mine"


def test_fewer_products_than_sub_categories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 12 products"):
        draw_demo_catalog(tmp_path / "demo", products=11)
