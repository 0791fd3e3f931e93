"""DeepFashion's annotation files, written small by hand with the quirks that real copies have."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from PIL import Image
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline

from components.catalog_example_gen import sources
from components.catalog_example_gen.catalog import ingest_catalog
from components.catalog_example_gen.component import CatalogExampleGen
from components.catalog_example_gen.deepfashion import DeepFashion
from components.catalog_example_gen.folder import fingerprint
from components.catalog_example_gen.preflight import check_catalog
from components.catalog_example_gen.rejects import Reject
from components.catalog_example_gen.rows import Product, Row
from components.catalog_example_gen.sources import source_of
from pipeline.beam_runner import LOCAL
from pipeline.config import Catalog, Split
from schema.errors import UserError

# Real copies pad with blanks, count 50 categories and list 46, and have names with spaces.
CATEGORIES = """\
50
category_name  category_type
Anorak         1
Button Down    1
Jeans          2
Dress          3
"""

FINE = {
    "Anno_fine/list_attr_cloth.txt": """\
8
attribute_name  attribute_type
floral          1
solid color     1
long_sleeve     2
sleeveless      2
maxi_length     3
crew_neckline   4
denim           5
tight           6
""",
    "Anno_fine/list_category_cloth.txt": CATEGORIES,
    "Anno_fine/train.txt": "img/Anorak/1.jpg\nimg/Jeans/2.jpg\n",
    "Anno_fine/train_attr.txt": "1 0 1 0 1 1 1 1\n0 1 0 1 1 1 1 1 \n",
    "Anno_fine/train_cate.txt": "1\n3\n",
    "Anno_fine/train_bbox.txt": "4 4 36 30\n004 008 036 040\n",
    "Anno_fine/val.txt": "img/Dress/3.jpg\n",
    "Anno_fine/val_attr.txt": "1 0 0 1 1 1 1 1",
    "Anno_fine/val_cate.txt": "4\n",
    "Anno_fine/val_bbox.txt": "-5 -5 30 30\n",
    "Anno_fine/test.txt": "img/Shirt/4.jpg\n\n",
    "Anno_fine/test_attr.txt": "1 0 0 1 1 1 1 1\n",
    "Anno_fine/test_cate.txt": "2\n",
    "Anno_fine/test_bbox.txt": "4 4 900 900\n",
}

COARSE = {
    "Anno_coarse/list_attr_cloth.txt": """\
5
attribute_name       attribute_type
a-line               3
abstract animal print 1
lace trim            2
v-neck               4
boho chic            5
""",
    "Anno_coarse/list_attr_img.txt": """\
4
image_name attribute_labels
img/Anorak/1.jpg    1  1 -1 -1  0
img/Jeans/2.jpg    -1 -1 -1 -1 -1
img/Dress/3.jpg     0  0  0  1  1
img/Shirt/4.jpg    -1  1  1 -1 -1
""",
    "Anno_coarse/list_category_cloth.txt": CATEGORIES,
    "Anno_coarse/list_category_img.txt": """\
4
image_name  category_label
img/Anorak/1.jpg 1
img/Jeans/2.jpg  3
img/Dress/3.jpg  4
img/Shirt/4.jpg  2
""",
    "Anno_coarse/list_bbox.txt": """\
4
image_name  x_1  y_1  x_2  y_2
img/Anorak/1.jpg  004 004 036 030
img/Jeans/2.jpg   4 8 36 40
img/Dress/3.jpg   -5 -5 30 30
img/Shirt/4.jpg   4 4 900 900
""",
    "Eval/list_eval_partition.txt": """\
4
image_name  evaluation_status
img/Anorak/1.jpg  train
img/Jeans/2.jpg   train
img/Dress/3.jpg   val
img/Shirt/4.jpg   test
""",
}

INSHOP = {
    "Eval/list_eval_partition.txt": """\
5
image_name item_id evaluation_status
img/WOMEN/Dresses/id_00000002/02_1_front.jpg  id_00000002 train
img/WOMEN/Dresses/id_00000002/02_2_side.jpg   id_00000002 train
img/MEN/Denim/id_00000080/01_1_front.jpg      id_00000080 query
img/MEN/Denim/id_00000080/01_3_back.jpg       id_00000080 gallery
img/WOMEN/Denim/id_00000007/01_1_front.jpg    id_00000007 train
""",
    "Anno/list_bbox_inshop.txt": """\
5
image_name  clothes_type  pose_type  x_1  y_1  x_2  y_2
img/WOMEN/Dresses/id_00000002/02_1_front.jpg  3 1 4 4 36 30
img/WOMEN/Dresses/id_00000002/02_2_side.jpg   3 2 4 4 36 30
img/MEN/Denim/id_00000080/01_1_front.jpg      2 1 4 4 36 30
img/MEN/Denim/id_00000080/01_3_back.jpg       2 3 4 4 36 30
img/WOMEN/Denim/id_00000007/01_1_front.jpg    1 1 4 4 36 30
""",
}

FILES = {"deepfashion_fine": FINE, "deepfashion_coarse": COARSE, "deepfashion_inshop": INSHOP}

Change = dict[str, Callable[[str], str]]


def write(folder: Path, files: dict[str, str], change: Change | None = None) -> Path:
    """Writes the files, those in `change` (by their last name) changed."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((change or {}).get(path.name, str)(text), encoding="utf-8")
    return folder


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert text.count(old) == 1
        return text.replace(old, new)

    return change


def appended(line: str) -> Callable[[str], str]:
    return lambda text: text.rstrip("\n") + f"\n{line}\n"


def source(folder: Path, kind: str, **options: Any) -> DeepFashion:
    options = {"crop": True, **options}
    catalog = Catalog(folder=str(folder), format=kind, **options)
    return source_of(catalog.model_dump(), Split().model_dump())


def rows(one: DeepFashion, eval_part: float = 0.1) -> list[Row]:
    return list(one.rows({}, 42, eval_part))


def rejects(found: list[Row]) -> list[tuple[int, str, str, str]]:
    """(row, id, column, reason) of every reject."""
    results = [row.result for row in found]
    return [tuple(map(str, one[:4])) for one in results if isinstance(one, Reject)]


def reject(row: int, product_id: str, column: str, reason: str) -> tuple[str, ...]:
    return str(row), product_id, column, reason


# The fine annotation.


def fine_attributes(texture: str, sleeve: str) -> tuple[str, ...]:
    rest = ("length=maxi_length", "neckline=crew_neckline", "fabric=denim", "fit=tight")
    return f"texture={texture}", f"sleeve={sleeve}", *rest


def fine_product(row: int, path: str, kind: str, category: str, *rest: Any) -> Row:
    return Row(path, Product(row, path, kind, category, *rest))


def test_fine_rows_are_joined_line_by_line_and_keep_their_types(tmp_path: Path) -> None:
    floral, solid = (
        fine_attributes("floral", "long_sleeve"),
        fine_attributes("solid color", "sleeveless"),
    )
    mixed = fine_attributes("floral", "sleeveless")
    assert rows(source(write(tmp_path, FINE), "deepfashion_fine")) == [
        fine_product(1, "img/Anorak/1.jpg", "upper", "Anorak", floral, (), "train", (4, 4, 36, 30)),
        fine_product(2, "img/Jeans/2.jpg", "lower", "Jeans", solid, (), "train", (4, 8, 36, 40)),
        fine_product(1, "img/Dress/3.jpg", "full", "Dress", mixed, (), "eval", (-5, -5, 30, 30)),
        fine_product(
            1, "img/Shirt/4.jpg", "upper", "Button Down", mixed, (), "test", (4, 4, 900, 900)
        ),
    ]


@pytest.mark.parametrize(
    ("name", "change", "column", "reason"),
    [
        ("train_attr.txt", replaced("\n0 1 0 1", "\n1 1 0 1"), "texture", "not_one_label"),
        ("train_attr.txt", replaced("\n0 1 0 1", "\n0 1 0 0"), "sleeve", "not_one_label"),
        ("train_attr.txt", replaced("1 1 \n", "1\n"), "train_attr.txt", "wrong_fields"),
        ("train_attr.txt", replaced("1 1 \n", "1 2\n"), "train_attr.txt", "bad_value"),
        ("train_cate.txt", replaced("3", "5"), "train_cate.txt", "bad_value"),
        ("train_cate.txt", replaced("3", "0"), "train_cate.txt", "bad_value"),
        ("train_cate.txt", replaced("3", "Jeans"), "train_cate.txt", "bad_value"),
        ("train_bbox.txt", replaced("036 040", "036"), "train_bbox.txt", "wrong_fields"),
        ("train_bbox.txt", replaced("036 040", "036 x"), "train_bbox.txt", "bad_value"),
        (
            "train.txt",
            replaced("img/Jeans/2.jpg", "../Jeans/2.jpg"),
            "image_name",
            "outside_images",
        ),
    ],
)
def test_a_fine_line_that_is_wrong_rejects_its_picture_alone(
    tmp_path: Path, name: str, change: Callable[[str], str], column: str, reason: str
) -> None:
    found = rows(source(write(tmp_path, FINE, {name: change}), "deepfashion_fine"))
    path = "../Jeans/2.jpg" if name == "train.txt" else "img/Jeans/2.jpg"
    assert rejects(found) == [reject(2, path, column, reason)]
    assert len(found) == 4


def test_fine_files_of_unlike_length_are_refused_for_nobody_knows_what_is_missing(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, FINE, {"train_attr.txt": lambda text: text.splitlines()[0]})
    with pytest.raises(UserError, match=r"train_attr\.txt has fewer lines"):
        source(folder, "deepfashion_fine").survey()


def test_a_blank_line_in_the_middle_shifts_nothing_and_those_at_the_end_are_none(
    tmp_path: Path,
) -> None:
    between = {
        f"train{part}.txt": lambda text: "\n\n".join(text.splitlines()) + "\n\n"
        for part in ("", "_attr", "_cate", "_bbox")
    }
    found = rows(source(write(tmp_path, FINE, between), "deepfashion_fine"))
    assert [reason for *_, reason in rejects(found)] == ["wrong_fields"]
    assert [row.picture for row in found][:3] == ["img/Anorak/1.jpg", "", "img/Jeans/2.jpg"]


def test_without_category_files_attribute_types_are_the_levels(tmp_path: Path) -> None:
    without = {name: text for name, text in FINE.items() if "cate" not in name}
    folder = write(tmp_path, without)
    with pytest.raises(UserError, match="for example sleeve and texture"):
        source(folder, "deepfashion_fine").check()
    one = source(folder, "deepfashion_fine", category="sleeve", subcategory="texture")
    one.check()
    assert [(row.result.category, row.result.subcategory) for row in rows(one)][:2] == [
        ("long_sleeve", "floral"),
        ("sleeveless", "solid color"),
    ]


# The coarse annotation.

COARSE_ROWS = [
    Row(
        "img/Anorak/1.jpg",
        Product(
            3,
            "img/Anorak/1.jpg",
            "upper",
            "Anorak",
            ("texture=abstract animal print", "shape=a-line"),
            (),
            "train",
            (4, 4, 36, 30),
        ),
    ),
    Row(
        "img/Jeans/2.jpg",
        Product(4, "img/Jeans/2.jpg", "lower", "Jeans", (), (), "train", (4, 8, 36, 40)),
    ),
    Row(
        "img/Dress/3.jpg",
        Product(
            5,
            "img/Dress/3.jpg",
            "full",
            "Dress",
            ("part=v-neck", "style=boho chic"),
            (),
            "eval",
            (-5, -5, 30, 30),
        ),
    ),
    Row(
        "img/Shirt/4.jpg",
        Product(
            6,
            "img/Shirt/4.jpg",
            "upper",
            "Button Down",
            ("texture=abstract animal print", "fabric=lace trim"),
            (),
            "test",
            (4, 4, 900, 900),
        ),
    ),
]


def test_coarse_rows_take_the_positive_attributes_and_leave_negative_and_unknown_ones(
    tmp_path: Path,
) -> None:
    assert rows(source(write(tmp_path, COARSE), "deepfashion_coarse")) == COARSE_ROWS


def test_coarse_files_in_another_order_give_the_same_rows(tmp_path: Path) -> None:
    def turned(text: str) -> str:
        first, second, *lines = text.splitlines()
        return "\n".join([first, second, *reversed(lines)])

    files = ("list_category_img.txt", "list_bbox.txt", "list_eval_partition.txt")
    folder = write(tmp_path, COARSE, dict.fromkeys(files, turned))
    assert rows(source(folder, "deepfashion_coarse")) == COARSE_ROWS


def test_a_count_that_is_not_the_number_of_rows_is_a_note(tmp_path: Path) -> None:
    folder = write(tmp_path, COARSE, {"list_bbox.txt": lambda text: text.replace("4", "1234", 1)})
    survey = source(folder, "deepfashion_coarse").survey()
    assert survey.rows == 4
    assert survey.notes == (
        f"{folder}/Anno_coarse/list_category_cloth.txt says 50 in its first line and lists 4.",
        f"{folder}/Anno_coarse/list_bbox.txt says 1,234 in its first line and lists 4.",
    )


@pytest.mark.parametrize(
    ("name", "change", "column", "reason"),
    [
        ("list_attr_img.txt", replaced("-1 -1 -1 -1 -1\n", "-1 -1 -1 -1\n"), None, "wrong_fields"),
        ("list_attr_img.txt", replaced("-1 -1 -1 -1 -1\n", "-1 -1 yes -1 1\n"), None, "bad_value"),
        ("list_category_img.txt", replaced("2.jpg  3", "2.jpg  48"), None, "bad_value"),
        ("list_category_img.txt", replaced("2.jpg  3", "2.jpg"), None, "wrong_fields"),
        ("list_category_img.txt", replaced("img/Jeans/2.jpg  3\n", ""), None, "missing_annotation"),
        ("list_bbox.txt", replaced("4 8 36 40", "4 8 36"), None, "wrong_fields"),
        ("list_eval_partition.txt", replaced("2.jpg   train", "2.jpg  dev"), None, "bad_value"),
    ],
)
def test_a_coarse_line_that_is_wrong_rejects_its_picture_alone(
    tmp_path: Path, name: str, change: Callable[[str], str], column: None, reason: str
) -> None:
    found = rows(source(write(tmp_path, COARSE, {name: change}), "deepfashion_coarse"))
    assert rejects(found) == [reject(4, "img/Jeans/2.jpg", name, reason)]
    assert [row for row in found if isinstance(row.result, Product)] == [
        COARSE_ROWS[0],
        *COARSE_ROWS[2:],
    ]


def test_the_line_of_another_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, COARSE, {"list_bbox.txt": replaced("4 8 36 40", "4 8 36")})
    (found,) = [
        row.result.found
        for row in rows(source(folder, "deepfashion_coarse"))
        if isinstance(row.result, Reject)
    ]
    assert found == "line 4: 3 values, expected 4: 4 8 36"


def test_lines_without_a_picture_in_the_list_are_rejected_too(tmp_path: Path) -> None:
    change = {
        "list_bbox.txt": appended("img/Lost/5.jpg 1 2 3 4"),
        "list_eval_partition.txt": appended("img/Lost/6.jpg train\nimg/Dress/3.jpg test"),
    }
    one = source(write(tmp_path, COARSE, change), "deepfashion_coarse")
    found = rows(one)
    assert rejects(found) == [
        reject(7, "img/Lost/5.jpg", "list_bbox.txt", "missing_annotation"),
        reject(7, "img/Lost/6.jpg", "list_eval_partition.txt", "missing_annotation"),
        reject(8, "img/Dress/3.jpg", "list_eval_partition.txt", "missing_annotation"),
    ]
    assert one.survey().rows == len(found) == 7


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("list_attr_cloth.txt", replaced("a-line               3", "a-line"), "line 3: expected a"),
        ("list_attr_cloth.txt", lambda text: text.split("\n", 1)[1], "must begin with a line with"),
        ("list_attr_img.txt", lambda _: "", "must begin with a line with"),
        ("list_attr_img.txt", lambda _: "0\nimage_name\n", None),
        ("list_category_img.txt", lambda text: text.replace(" 3", " 1").replace(" 4", " 2"), None),
    ],
)
def test_files_that_nothing_can_be_made_of_are_refused(
    tmp_path: Path, name: str, change: Callable[[str], str], expected: str | None
) -> None:
    folder = write(tmp_path, COARSE, {name: change})
    for look in (
        lambda one: one.survey(),
        lambda one: one.glance(),
    ):
        with pytest.raises(UserError, match=expected or "fewer than two .* `category_type`"):
            look(source(folder, "deepfashion_coarse"))


# In-shop.


def test_inshop_rows_take_their_labels_from_the_boxes_file_and_the_path(tmp_path: Path) -> None:
    one = source(
        write(tmp_path, INSHOP), "deepfashion_inshop", slices=["gender", "partition", "item_id"]
    )
    found = rows(one, eval_part=0.0)
    path = "img/MEN/Denim/id_00000080/01_3_back.jpg"
    slices = ("MEN", "gallery", "id_00000080")
    assert found[3] == Row(
        path, Product(6, path, "lower", "Denim", (), slices, "test", (4, 4, 36, 30))
    )
    assert [row.result.split for row in found] == ["train", "train", "test", "test", "train"]


def test_what_a_format_tells_of_a_picture_may_be_a_field(tmp_path: Path) -> None:
    inshop = source(
        write(tmp_path / "inshop", INSHOP), "deepfashion_inshop", fields=["item_id", "partition"]
    )
    assert rows(inshop)[3].result.fields == ("id_00000080", "gallery")
    # The files of categories are read where only a field needs them.
    attributes = {"category": "sleeve", "subcategory": "texture", "attributes": ["fit"]}
    fine = source(
        write(tmp_path / "fine", FINE), "deepfashion_fine", fields=["category"], **attributes
    )
    assert [row.result.fields for row in rows(fine)] == [
        ("Anorak",),
        ("Jeans",),
        ("Dress",),
        ("Button Down",),
    ]


def test_an_inshop_item_is_on_one_side_whole(tmp_path: Path) -> None:
    lines = [
        (f"img/MEN/Denim/id_{item}/{picture}.jpg", f"id_{item}")
        for item in range(200)
        for picture in range(3)
    ]
    partition = "\n".join(f"{path} {item} train" for path, item in lines)
    boxes = "\n".join(f"{path} {1 + n % 2} 1 4 4 36 30" for n, (path, _) in enumerate(lines))
    folder = write(
        tmp_path,
        {
            "Eval/list_eval_partition.txt": f"600\nhead\n{partition}\n",
            "Anno/list_bbox_inshop.txt": f"600\nhead\n{boxes}\n",
        },
    )
    sides: dict[str, set[str]] = {}
    for row in rows(source(folder, "deepfashion_inshop", slices=["item_id"]), eval_part=0.2):
        sides.setdefault(row.result.slices[0], set()).add(row.result.split)
    counts = Counter(side for (side,) in sides.values())
    assert counts.keys() == {"train", "eval"}
    # Five standard deviations of 200 draws of .2.
    assert abs(counts["eval"] - 40) < 5 * (200 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize(
    ("name", "change", "column", "reason"),
    [
        (
            "list_eval_partition.txt",
            replaced("id_00000007 train", "id_00000080 train"),
            "item_id",
            "item_on_two_sides",
        ),
        ("list_eval_partition.txt", replaced("id_00000007 train", "train"), None, "wrong_fields"),
        ("list_eval_partition.txt", replaced("id_00000007 train", "id_7 val"), None, "bad_value"),
        ("list_bbox_inshop.txt", replaced("1 1 4 4 36 30", "1 1 4 4 36"), None, "wrong_fields"),
        ("list_bbox_inshop.txt", replaced("1 1 4 4 36 30", "9 1 4 4 36 30"), None, "bad_value"),
    ],
)
def test_an_inshop_line_that_is_wrong_rejects_its_picture_alone(
    tmp_path: Path, name: str, change: Callable[[str], str], column: str | None, reason: str
) -> None:
    if name == "list_bbox_inshop.txt":
        # The last line only: the others end alike.
        old = change
        change = lambda text: "\n".join([*text.splitlines()[:-1], old(text.splitlines()[-1])])  # noqa: E731
    found = rows(source(write(tmp_path, INSHOP, {name: change}), "deepfashion_inshop"))
    path = "img/WOMEN/Denim/id_00000007/01_1_front.jpg"
    assert rejects(found) == [reject(7, path, column or name, reason)]
    assert len(found) == 5


# Which files are read.


@pytest.mark.parametrize(("kind", "files"), FILES.items())
def test_every_file_that_is_missing_is_named_and_each_change_is_noticed(
    tmp_path: Path, kind: str, files: dict[str, str]
) -> None:
    one = source(write(tmp_path, files), kind)
    one.check()
    seen = {fingerprint(one.files, "no pictures")}
    for number, name in enumerate(files, start=1):
        os.utime(tmp_path / name, ns=(number, number))
        seen.add(fingerprint(one.files, "no pictures"))
    assert len(seen) == 1 + len(files)
    for name in files:
        (tmp_path / name).rename(tmp_path / "away")
        with pytest.raises(UserError, match=f"no file {Path(name).name} in {tmp_path}"):
            one.check()
        (tmp_path / "away").rename(tmp_path / name)


@pytest.mark.parametrize("kind", ["deepfashion_fine", "deepfashion_coarse"])
def test_boxes_are_asked_for_only_where_pictures_are_cropped(tmp_path: Path, kind: str) -> None:
    without = {name: text for name, text in FILES[kind].items() if "bbox" not in name}
    folder = write(tmp_path, without)
    with pytest.raises(UserError, match=r"`catalog\.crop`, which can be false"):
        source(folder, kind).check()
    one = source(folder, kind, crop=False)
    one.check()
    assert [row.result.box for row in rows(one)] == [None] * 4


@pytest.mark.parametrize(("kind", "files"), FILES.items())
def test_files_may_lie_in_the_catalogs_folder_itself(
    tmp_path: Path, kind: str, files: dict[str, str]
) -> None:
    write(tmp_path / "deep", files)
    write(tmp_path / "flat", {Path(name).name: text for name, text in files.items()})
    assert rows(source(tmp_path / "flat", kind)) == rows(source(tmp_path / "deep", kind))


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("deepfashion_fine", {"slices": ["gender"]}, "`catalog.slices` names `gender`"),
        ("deepfashion_fine", {"attributes": ["style"]}, "`catalog.attributes` names `style`"),
        # A picture may have several styles, so style cannot be a level.
        ("deepfashion_coarse", {"category": "style"}, "`catalog.category` names `style`"),
        ("deepfashion_inshop", {"attributes": ["style"]}, "It has none"),
        ("deepfashion_coarse", {"fields": ["price"]}, "`catalog.fields` names `price`"),
    ],
)
def test_a_column_that_the_format_does_not_have_is_refused(
    tmp_path: Path, kind: str, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        source(write(tmp_path, FILES[kind]), kind, **options).glance()


# Whole catalogs.

INSIDE, OUTSIDE = (220, 30, 30), (20, 20, 200)


def framed(box: tuple[int, int, int, int], width: int = 40, height: int = 44) -> bytes:
    """A picture that is red in its box and blue around it."""
    image = Image.new("RGB", (width, height), OUTSIDE)
    image.paste(INSIDE, box)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_pictures(folder: Path, boxes: dict[str, tuple[int, int, int, int]]) -> None:
    for name, box in boxes.items():
        # PNG in spite of its name: a JPEG would blur the edge of the box.
        path = folder / "Img" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(framed(box))


def ingest(folder: Path, out: Path, kind: str, **options: Any) -> tuple[dict[str, Any], Any, Any]:
    """The summary, (split, Example) by id, and the rejects of a whole ingest."""
    catalog = Catalog(folder=str(folder), format=kind, **options).model_dump()
    split = Split(eval=0.34, test=0.1).model_dump()
    check_catalog(catalog, split)
    summary = ingest_catalog(
        catalog,
        split,
        {},
        str(out / "examples"),
        str(out / "rejects"),
        str(out / "conflicts"),
        lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
    )
    examples = {}
    for path in sorted(out.glob("examples/Split-*/*.gz")):
        for record in tf.data.TFRecordDataset(str(path), compression_type="GZIP"):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            product_id = features["id"].bytes_list.value[0].decode()
            examples[product_id] = (path.parent.name.removeprefix("Split-"), features)
    with (out / "rejects" / "rejects.csv").open(encoding="utf-8", newline="") as file:
        rejected = list(csv.DictReader(file))
    assert summary["rows"] == len(examples) + len(rejected)
    assert json.loads((out / "rejects" / "summary.json").read_text()) == summary
    return summary, examples, rejected


def image_of(features: Any) -> np.ndarray:
    return tf.io.decode_jpeg(features["image"].bytes_list.value[0]).numpy().astype(int)


CLIPPED = {
    "img/Anorak/1.jpg": (4, 4, 36, 30),
    "img/Jeans/2.jpg": (4, 8, 36, 40),
    "img/Dress/3.jpg": (0, 0, 30, 30),
    "img/Shirt/4.jpg": (4, 4, 40, 44),
}
"""The boxes of FINE and COARSE as far as they lie in a picture of 40 x 44 pixels."""

SPLIT_OF = {
    "img/Anorak/1.jpg": "train",
    "img/Jeans/2.jpg": "train",
    "img/Dress/3.jpg": "eval",
    "img/Shirt/4.jpg": "test",
}


@pytest.mark.parametrize("kind", ["deepfashion_fine", "deepfashion_coarse"])
def test_an_ingest_keeps_the_given_split_and_crops_to_the_box(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path / "catalog", FILES[kind])
    write_pictures(folder, CLIPPED)
    summary, examples, rejected = ingest(folder, tmp_path / "out", kind, crop=True)
    assert rejected == []
    assert {name: split for name, (split, _) in examples.items()} == SPLIT_OF
    assert [note for note in summary["notes"] if "says" in note] == summary["notes"][:1]
    assert "says 50" in summary["notes"][0]
    for name, (x1, y1, x2, y2) in CLIPPED.items():
        features = examples[name][1]
        assert list(features["image_width"].int64_list.value) == [x2 - x1]
        assert list(features["image_height"].int64_list.value) == [y2 - y1]
        image = image_of(features)
        assert image.shape == (y2 - y1, x2 - x1, 3)
        assert np.abs(image - INSIDE).max() < 8
    anorak = examples["img/Anorak/1.jpg"][1]
    assert anorak["category"].bytes_list.value[0] == b"upper"
    assert anorak["subcategory"].bytes_list.value[0] == b"Anorak"
    texture = b"floral" if kind == "deepfashion_fine" else b"abstract animal print"
    assert b"texture=" + texture in anorak["attributes"].bytes_list.value


def test_a_picture_on_the_same_line_of_two_files_is_taken_once(tmp_path: Path) -> None:
    again = {
        f"val{part}.txt": lambda text, part=part: (
            FINE[f"Anno_fine/train{part}.txt"].splitlines(keepends=True)[0] + text
        )
        for part in ("", "_attr", "_cate", "_bbox")
    }
    folder = write(tmp_path / "catalog", FINE, again)
    write_pictures(folder, CLIPPED)
    _, examples, rejected = ingest(folder, tmp_path / "out", "deepfashion_fine")
    assert {name: split for name, (split, _) in examples.items()} == SPLIT_OF
    assert [(one["row"], one["id"], one["reason"]) for one in rejected] == [
        ("1", "img/Anorak/1.jpg", "doubled_id")
    ]


def test_an_ingest_of_inshop_judges_on_query_and_gallery(tmp_path: Path) -> None:
    # More items, so that some of them choose and some are learned from.
    more = [f"img/WOMEN/Denim/id_1{n:07}/01_1_front.jpg" for n in range(12)]
    folder = write(
        tmp_path / "catalog",
        INSHOP,
        {
            "list_eval_partition.txt": appended(
                "\n".join(f"{path} {path.split('/')[3]} train" for path in more)
            ),
            "list_bbox_inshop.txt": appended("\n".join(f"{path} 1 1 4 4 36 30" for path in more)),
        },
    )
    names = [line.split()[0] for line in INSHOP["Eval/list_eval_partition.txt"].splitlines()[2:]]
    write_pictures(folder, dict.fromkeys([*names, *more], (4, 4, 36, 30)))
    summary, examples, rejected = ingest(
        folder, tmp_path / "out", "deepfashion_inshop", slices=["gender", "partition"]
    )
    assert rejected == []
    sides = {name: split for name, (split, _) in examples.items()}
    assert sides.keys() == {*names, *more}
    assert {name for name, side in sides.items() if side == "test"} == {names[2], names[3]}
    assert sides[names[0]] == sides[names[1]]
    query = examples[names[2]][1]
    assert query["partition"].bytes_list.value[0] == b"query"
    assert query["gender"].bytes_list.value[0] == b"MEN"
    # Not cropped, unless that is asked for.
    assert list(query["image_width"].int64_list.value) == [40]
    assert sum("says" in note for note in summary["notes"]) == 2


def test_a_box_without_a_usable_part_of_the_picture_rejects_it(tmp_path: Path) -> None:
    lost = {5: "50 4 60 30", 6: "30 30 4 4", 7: "4 4 9 40", 8: "0 0 40 44"}
    paths = {number: f"img/Lost/{number}.jpg" for number in lost}
    change = {
        "list_bbox.txt": appended("\n".join(f"{paths[n]} {box}" for n, box in lost.items())),
        "list_attr_img.txt": appended("\n".join(f"{path} 0 0 0 0 0" for path in paths.values())),
        "list_category_img.txt": appended("\n".join(f"{path} 1" for path in paths.values())),
        "list_eval_partition.txt": appended("\n".join(f"{path} train" for path in paths.values())),
    }
    folder = write(tmp_path / "catalog", COARSE, change)
    write_pictures(folder, CLIPPED | dict.fromkeys(list(paths.values())[:3], (4, 4, 36, 30)))
    _, _, rejected = ingest(folder, tmp_path / "out", "deepfashion_coarse", crop=True)
    assert [(one["row"], one["id"], one["column"], one["reason"]) for one in rejected] == [
        ("7", "img/Lost/5.jpg", "image_name", "empty_box"),
        ("8", "img/Lost/6.jpg", "image_name", "empty_box"),
        ("9", "img/Lost/7.jpg", "image_name", "too_small"),
        ("10", "img/Lost/8.jpg", "image_name", "missing_picture"),
    ]
    assert rejected[0]["found"] == "box 50 4 60 30 in 40 x 44 pixels"


def test_a_partition_that_leaves_a_split_empty_is_refused(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "catalog", COARSE, {"list_eval_partition.txt": replaced(" val", " train")}
    )
    write_pictures(folder, CLIPPED)
    with pytest.raises(UserError, match="give none of 4 usable products to the split `eval`"):
        ingest(folder, tmp_path / "out", "deepfashion_coarse")


def test_the_component_runs_again_when_one_of_the_annotation_files_has_changed(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path / "catalog", FINE)
    write_pictures(folder, CLIPPED)
    catalog = Catalog(folder=str(folder), format="deepfashion_fine", crop=True)
    options = catalog.model_dump(), Split().model_dump()
    connection = sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))

    def run() -> int:
        component = CatalogExampleGen(*options, {}, sources.fingerprint(*options))
        LocalDagRunner().run(
            Pipeline(
                pipeline_name="ingest",
                pipeline_root=str(tmp_path / "artifacts"),
                metadata_connection_config=connection,
                components=[component.with_beam_pipeline_args(LOCAL)],
                enable_cache=True,
            )
        )
        executions = metadata_store.MetadataStore(connection).get_executions()
        return max(executions, key=lambda one: one.id).last_known_state

    assert run() == metadata_store_pb2.Execution.COMPLETE
    (examples,) = metadata_store.MetadataStore(connection).get_artifacts_by_type("Examples")
    sentence = examples.custom_properties["summary"].string_value
    assert sentence.startswith("4 products, 0 rejected; ") and "lists 4." in sentence
    assert run() == metadata_store_pb2.Execution.CACHED
    os.utime(folder / "Anno_fine" / "val_bbox.txt", ns=(1, 1))
    assert run() == metadata_store_pb2.Execution.COMPLETE
