"""Which file is a row's picture: the catalogs of `../shared/cases`, and some of each kind drawn.

What is right for a case stands in its EXPECTED.md.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from components.catalog_example_gen.catalog import ingest_catalog
from components.catalog_example_gen.preflight import check_catalog
from pipeline.config import Config, load_config
from schema.errors import UserError

CASES = Path(__file__).parents[4] / "shared" / "cases"
SPLITS = ("train", "eval", "test")

needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")


@dataclass
class Result:
    """What an ingest left: a summary or an error, and its tables."""

    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def rejects(self) -> list[dict[str, str]]:
        folder = "stopped" if self.error else "1"
        with (self.folder / "rejects" / folder / "rejects.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @property
    def conflicts(self) -> list[dict[str, str]]:
        with (self.folder / "conflicts" / "1" / "conflicts.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @property
    def examples(self) -> dict[str, list[dict[str, str]]]:
        """The texts of the Examples of each split."""
        found: dict[str, list[dict[str, str]]] = {}
        for split in SPLITS:
            found[split] = []
            for path in sorted(self.folder.glob(f"examples/1/Split-{split}/*.gz")):
                for record in tf.data.TFRecordDataset(str(path), compression_type="GZIP"):
                    of = tf.train.Example.FromString(record.numpy()).features.feature
                    found[split].append(
                        {
                            name: of[name].bytes_list.value[0].decode()
                            for name in ("id", "category", "subcategory", "product")
                            if name in of
                        }
                    )
        return found


def ingested(config: Config, out: Path) -> Result:
    result = Result(out)
    catalog, split = config.catalog.model_dump(), config.split.model_dump()
    places = (str(out / name / "1") for name in ("examples", "rejects", "conflicts"))
    try:
        check_catalog(catalog, split)
        result.summary = ingest_catalog(
            *(catalog, split, {}, *places),
            lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
        )
    except UserError as error:
        result.error = str(error)
    return result


@pytest.fixture
def case(tmp_path) -> Callable[..., Result]:
    """Ingests a case with overrides of its config."""

    def run(name: str, *overrides: str, folder: Path = CASES) -> Result:
        return ingested(load_config(folder / name / "config.yaml", overrides), tmp_path / "out")

    return run


@needs_cases
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "04-id-with-suffix",
            "like `1000.jpg`, for which `1000.jpg` was taken: the id is a file's",
        ),
        ("09-images-prefix", "`images/1000.jpg`, for which `1000.jpg` was taken"),
        ("10-windows-path", r"`Topwear\1000.jpg`, for which `Topwear/1000.jpg` was taken"),
        ("18-case", "`SKU1000`, for which `sku1000.JPG` was taken: the names differ in case only"),
    ],
)
def test_a_picture_that_was_without_doubt_meant_is_taken_and_said(case, name, said):
    result = case(name)
    assert (result.summary["accepted"], result.summary["rejected"]) == (36, 0)
    (note,) = result.summary["notes"]
    assert note.startswith("36 rows name pictures like ")
    assert said in note
    assert result.summary["pictures_without_row"] == 0


@needs_cases
@pytest.mark.parametrize(
    ("name", "picture", "said", "advice"),
    [
        ("03-float-ids", "1000.jpg", "`1000.0` where there is `1000.jpg`: the id", "whole numbers"),
        ("05-leading-zeros", "001000.jpg", "`1000` where there is `001000.jpg`: ", "as text"),
        (
            "11-urls",
            "1000.jpg",
            "`https://cdn.example.com/s/files/1/0745/files/1000.jpg?v=1777515532`",
            "leave `catalog.picture` out",
        ),
        (
            "13-several-pictures",
            "1000.jpg",
            "`1000.jpg, 1000-back.jpg` where there is `1000.jpg`: the cell names several",
            "`catalog.picture_separator`",
        ),
    ],
)
def test_a_picture_that_would_fit_is_named_in_the_message_and_in_every_reject(
    case, name, picture, said, advice
):
    result = case(name)
    assert "none of 36 rows could be used: no picture (36). 36 rows name pictures" in result.error
    assert said in result.error
    assert advice in result.error
    assert len(result.rejects) == 36
    assert f"there is {picture}: the " in result.rejects[0]["found"]


@needs_cases
def test_several_pictures_in_a_cell_are_all_looked_for(case):
    result = case("13-several-pictures", "catalog.picture_separator=','")
    assert (result.summary["accepted"], result.summary["further_pictures"]) == (36, 36)
    assert result.rejects[0]["found"] == "no file 1000-back.jpg"
    assert {row["found"] for row in result.rejects} == {
        f"no file {row['id'].split('/')[1]}" for row in result.rejects
    }


@needs_cases
def test_variants_belong_to_the_product_that_a_column_names(case):
    result = case("12-shopify-variants", "catalog.product=Handle")
    ends = ("rows", "accepted", "belonging_rows", "rejected", "products")
    assert [result.summary[end] for end in ends] == [90, 30, 60, 0, 30]
    assert {one["product"] for of in result.examples.values() for one in of} == {
        one["id"] for of in result.examples.values() for one in of
    }


@needs_cases
@pytest.mark.parametrize(
    ("name", "rows", "column"),
    [("12-shopify-variants", 60, "Handle"), ("46-several-rows-a-product", 24, "id")],
)
def test_rows_of_one_product_are_suspected_where_many_repeat_an_id(case, name, rows, column):
    assert case(name).summary["hints"] == [
        f"{rows} of them have the id of a row above: where several rows are one product, set "
        f"`catalog.product` to `{column}`."
    ]


@needs_cases
def test_pictures_of_one_product_stay_on_one_side(case):
    result = case("46-several-rows-a-product", "catalog.product=id")
    assert (result.summary["accepted"], result.summary["rejected"]) == (48, 0)
    assert (result.summary["products"], result.summary["groups"]) == (24, 24)
    products = {split: [one["product"] for one in of] for split, of in result.examples.items()}
    assert all(sorted(of) == sorted(2 * sorted(set(of))) for of in products.values())
    assert sum(len(set(of)) for of in products.values()) == 24
    assert {"1000", "1000/1000_back.jpg"} <= {
        one["id"] for of in result.examples.values() for one in of
    }


@needs_cases
def test_different_pictures_of_one_name_are_counted_and_listed(case):
    result = case("16-equal-stems")
    assert result.summary["ambiguous"] == 36
    (note,) = result.summary["notes"]
    assert note.startswith("For 36 products there are several different pictures of that name")
    listed = [row for row in result.conflicts if row["kind"] == "several_pictures"]
    assert len(listed) == 36
    assert listed[0]["found"] == "'a_back/1000.jpg' is used, 'front/1000.jpg' looks different"


@pytest.fixture
def linked(tmp_path) -> Path:
    """The cases of links, with links also where they were copied as text files."""
    for name in ("42-linked-pictures", "42b-linked-folder"):
        shutil.copytree(CASES / name, tmp_path / name, symlinks=True)
        (tmp_path / name / "images").chmod(0o755)
        for path in (tmp_path / name / "images").iterdir():
            if not path.is_symlink() and path.read_bytes().startswith(b"../"):
                target = path.read_text()
                path.unlink()
                path.symlink_to(target)
    return tmp_path


@needs_cases
def test_links_out_of_the_folder_are_named_as_such_or_allowed(case, linked):
    refused = case("42-linked-pictures", folder=linked)
    assert (
        "36 pictures are links that lead out of the images folder: set `catalog.links` to true"
        in (refused.error)
    )
    assert refused.rejects[0]["found"] == "a link: 1000.jpg"
    shutil.rmtree(linked / "out")
    allowed = case("42-linked-pictures", "catalog.links=true", folder=linked)
    assert allowed.summary["accepted"] == 36


@needs_cases
def test_links_to_folders_are_named_or_followed(case, linked):
    refused = case("42b-linked-folder", folder=linked)
    assert "Links to folders are not followed: `Bags`, `Shoes`, `Topwear`." in refused.error
    assert "links to folders are not followed: Bags" in refused.rejects[0]["found"]
    shutil.rmtree(linked / "out")
    allowed = case("42b-linked-folder", "catalog.links=true", folder=linked)
    assert allowed.summary["accepted"] == 36


@needs_cases
def test_a_link_that_was_copied_as_text_is_said_to_be_one(case, tmp_path):
    (tmp_path / "a" / "images").mkdir(parents=True)
    for name in ("config.yaml", "labels.csv"):
        shutil.copy(CASES / "00-base" / name, tmp_path / "a" / name)
    (tmp_path / "a" / "images" / "1000.jpg").write_text("../cache/b1000\n")
    (tmp_path / "a" / "images" / "1001.jpg").write_text(
        "version https://git-lfs.github.com/spec/v1"
    )
    result = case("a", folder=tmp_path)
    first, second = result.rejects[:2]
    assert first["found"].startswith("the path ../cache/b1000, as of a link")
    assert "git lfs pull" in second["found"]


class Shop:
    """A drawn catalog, of which it is known what each row comes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir(parents=True)
        self.rows = ["sku,name,file,kind,type"]
        self.seeds = 0

    def draw(self, path: str, seed: int | None = None, kind: str = "JPEG") -> None:
        self.seeds += 1
        pixels = np.random.default_rng(self.seeds if seed is None else seed).integers(
            0, 256, (4, 4, 3)
        )
        image = Image.fromarray(pixels.astype(np.uint8)).resize((40, 40), Image.Resampling.NEAREST)
        buffer = io.BytesIO()
        image.save(buffer, kind)
        target = self.images / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(buffer.getvalue())

    def ingest(self, **catalog: Any) -> Result:
        (self.folder / "labels.csv").write_text("\n".join(self.rows), encoding="utf-8")
        columns = {"id": "sku", "category": "kind", "subcategory": "type"}
        config = Config.model_validate(
            {
                "catalog": {"folder": str(self.folder), **columns, **catalog},
                "split": {"eval": 0.25, "test": 0.25, "policy": "exact"},
            }
        )
        return ingested(config, self.folder / "out")


@pytest.fixture
def shop(tmp_path) -> Shop:
    return Shop(tmp_path / "shop")


def test_files_that_programs_leave_never_win_over_the_real_one(shop):
    for number in range(16):
        name = f"b{number:02}"
        # Earlier by suffix, by depth or by path than the real one, and of another look.
        for litter in (
            f".{name}.jpg",
            f"._{name}.jpg",
            f".Trash/{name}.jpg",
            f"__MACOSX/{name}.jpg",
        ):
            shop.draw(litter)
        shop.draw(f"tops/{name}.png", kind="PNG")
        shop.rows.append(f"{name},,,{'ab'[number % 2]},x")
    result = shop.ingest()
    assert (result.summary["accepted"], result.summary["ambiguous"]) == (16, 0)
    assert result.summary["pictures_without_row"] == 0


def test_a_picture_that_two_ids_may_mean_is_neither_s_and_one_that_is_named_is_no_near_miss(shop):
    for number in range(16):
        shop.draw(f"{number}.jpg")
        shop.rows.append(f"{number},,,{'ab'[number % 2]},x")
    shop.draw("sku1.jpg")
    shop.rows += ["Sku1,,,a,x", "SKU1,,,b,x", "0007.0,,,a,x", "nothing,,,a,x"]
    result = shop.ingest()
    assert [(row["id"], row["found"]) for row in result.rejects] == [
        (
            "Sku1",
            "no file Sku1.jpg or another suffix; there is sku1.jpg: the names differ in case only",
        ),
        (
            "SKU1",
            "no file SKU1.jpg or another suffix; there is sku1.jpg: the names differ in case only",
        ),
        ("0007.0", "no file 0007.0.jpg or another suffix"),
        ("nothing", "no file nothing.jpg or another suffix"),
    ]
    (hint,) = result.summary["hints"]
    assert hint.startswith("2 rows name pictures like `Sku1` where there is `sku1.jpg`")
    assert result.summary["pictures_without_row"] == 1


def test_of_many_pictures_of_one_name_each_row_finds_its_own(shop):
    for number in range(100, 180):
        shop.draw(f"{number}/front.jpg")
        shop.rows.append(rf"{number},,images\{number}\front.jpg,{'ab'[number % 2]},x")
    shop.rows.append(r"9,,/somewhere/else/front.jpg,a,x")
    result = shop.ingest(picture="file")
    assert (result.summary["accepted"], result.summary["rejected"]) == (80, 1)
    assert (
        "`images\\100\\front.jpg`, for which `100/front.jpg` was taken"
        in (result.summary["notes"][0])
    )
    (reject,) = result.rejects
    assert reject["reason"] == "outside_images"
    assert reject["found"].startswith("/somewhere/else/front.jpg; there is 100/front.jpg: the path")


def test_links_are_a_matter_only_where_a_picture_is_missing(shop):
    for number in range(16):
        shop.draw(f"{number}.jpg")
        shop.rows.append(f"{number},,,{'ab'[number % 2]},{'ab'[number % 2]}")
    (shop.images / "around").symlink_to(shop.images)
    (shop.images / "100.jpg").symlink_to("gone")
    assert shop.ingest().summary["hints"] == []
    shop.rows.append("100,,,a,a")
    shutil.rmtree(shop.folder / "out")
    assert shop.ingest().summary["hints"] == [
        "Links to folders are not followed: `around`. Set `catalog.links` to true if they shall "
        "be.",
        "Links to pictures lead nowhere: `100.jpg`. Fetch what they lead to (`dvc checkout`, `git "
        "annex get`).",
    ]


def test_a_hidden_picture_that_a_row_names_is_said_to_be_passed_over(shop):
    for number in range(16):
        shop.draw(f"{number}.jpg")
        shop.rows.append(f"{number},,{number}.jpg,{'ab'[number % 2]},x")
    shop.draw(".cache/x.jpg")
    shop.rows.append("x,,.cache/x.jpg,a,x")
    (reject,) = shop.ingest(picture="file").rejects
    assert reject["found"] == (
        "no file .cache/x.jpg: hidden files and what programs leave are passed over, as is .cache"
    )


def test_the_same_picture_in_several_files_is_no_ambiguity_and_another_is(shop):
    for number in range(16):
        shop.draw(f"{number}.jpg", seed=1000 + number)
        shop.draw(f"{number}.png", seed=1000 + number, kind="PNG")
        shop.draw(f"small/{number}.jpg", seed=1000 + number)
        if number < 3:
            shop.draw(f"zoom/{number}.jpg")
        shop.rows.append(f"{number},,,{'ab'[number % 2]},x")
    result = shop.ingest()
    assert result.summary["ambiguous"] == 3
    assert [
        (row["value"], row["found"])
        for row in result.conflicts
        if row["kind"] == "several_pictures"
    ] == [(str(n), f"'{n}.jpg' is used, 'zoom/{n}.jpg' looks different") for n in range(3)]
    assert result.summary["pictures_without_row"] == 2 * 16 + 3


@dataclass
class Drawn:
    """A product of a drawn catalog: per row its pictures, and whether it has labels."""

    rows: list[tuple[list[int], bool]]
    kind: str


PRODUCTS = st.lists(
    st.builds(
        Drawn,
        st.lists(
            st.tuples(st.lists(st.integers(0, 3), max_size=2, unique=True), st.booleans()),
            min_size=1,
            max_size=4,
        ),
        st.sampled_from(["a", "b"]),
    ),
    max_size=6,
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PRODUCTS, st.sampled_from([None, 8]))
def test_products_of_any_rows_and_pictures_are_whole_and_no_row_is_lost(products, sample):
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder) / "shop")
        base = [Drawn([([0], True), ([1], False)], "ab"[number % 2]) for number in range(12)]
        shown: dict[str, set[str]] = {}
        asked = 0
        for number, product in enumerate([*base, *products]):
            named = {f"p{number}-{place}.jpg" for files, _ in product.rows for place in files}
            labels = any(has for _, has in product.rows)
            for files, has in product.rows:
                cell = "; ".join(f"p{number}-{place}.jpg" for place in files)
                kind = product.kind if has else ""
                shop.rows.append(f"s{asked},p{number},{cell},{kind},{kind}")
                asked += 1
            for name in sorted(named):
                shop.draw(name)
            if named and labels:
                shown[f"p{number}"] = named
        options = {"product": "name", "picture": "file", "picture_separator": ";"}
        result = shop.ingest(sample=sample, **options)
        assert not result.error
        summary = result.summary
        sides = defaultdict(set)
        pictures = defaultdict(int)
        for split, examples in result.examples.items():
            for example in examples:
                sides[example["product"]].add(split)
                pictures[example["product"]] += 1
        assert all(len(of) == 1 for of in sides.values())
        assert dict(pictures) == {name: len(shown[name]) for name in sides}
        assert len(sides) == min(sample or len(shown), len(shown)) == summary["products"]
        ends = ("accepted", "rejected", "capped", "not_sampled", "belonging_rows")
        assert summary["rows"] == asked
        assert asked + summary["further_pictures"] == sum(summary[end] for end in ends)
        assert summary["pictures_without_row"] == 0
