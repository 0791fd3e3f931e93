"""The index of a small catalog, against all pairs of its answers and pictures."""

from __future__ import annotations

import dataclasses
import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tensorflow.core.example.example_pb2 import Example

from components.parts import Part
from components.predictions import table
from components.similarity_index import build
from components.similarity_index.colors import count_colors
from schema import features
from schema.errors import UserError
from schema.records import framed
from serving.search import FaissIndex, Space
from serving.search.blocks import COLORS, Whitening, color_block
from serving.search.catalog import MODEL_KEY, IndexedCatalog
from tests.serving.search.clustered import clustered

LABELS = {
    "category": ["Bags", "Shoes"],
    "subcategory": ["Boots", "Clutches", "Heels"],
    "attributes": ["season=Summer", "season=Winter", "usage=Casual"],
    "gender": ["Men", "Women"],
}
COLUMNS = build.Columns(
    category="master",
    subcategory="article",
    groups=["season", "usage", "sleeves"],
    slices=["gender", "fit cut"],
    fields=["name", "price"],
    product=False,
)
OPTIONS = build.Options({"season": 0.5}, 4, 0.5, least_recall=1, alike=["article"])


class Catalog:
    """Ten products, written as the ingest and the answering of a model write them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(5)
        self.ids = [f"p{at}" for at in range(10)]
        self.splits = ["train"] * 6 + ["eval"] * 2 + ["test"] * 2
        self.groups = ["p0", "p0", *self.ids[2:]]
        self.scores = {
            level: rng.dirichlet(np.ones(len(of)), 10).astype(np.float32)
            for level, of in LABELS.items()
        }
        embedding = rng.standard_normal((10, 6)).astype(np.float16).astype(np.float32)
        self.embedding = embedding
        self.pictures = [
            Image.fromarray(rng.integers(0, 255, (24, 16, 3), np.uint8)) for _ in self.ids
        ]
        self.encoded = [_png(picture) for picture in self.pictures]

    def files(self, answered: list[str] | None = None) -> list[build.File]:
        """Writes the files of all splits."""
        return [self._file(split, answered) for split in features.SPLITS]

    def _file(self, split: str, answered: list[str] | None) -> build.File:
        at = [place for place, of in enumerate(self.splits) if of == split]
        examples = self.folder / f"{split}.gz"
        with gzip.open(examples, "wb") as file:
            for place in at:
                file.write(framed(self._example(place).SerializeToString()))
        answers = self.folder / f"{split}.parquet"
        schema = table.file_schema(LABELS, ["gender"], 6)
        told = {"id": answered or [self.ids[place] for place in at]}
        told |= {"product": told["id"], "group": [self.groups[place] for place in at]}
        told |= {"split": [split] * len(at), "slice/gender": ["Men"] * len(at)}
        told |= {name: [None] * len(at) for name in features.PICTURE_STATISTICS}
        truths = {level: [None] * len(at) for level in LABELS} | {"attributes": [[]] * len(at)}
        outputs = {level: of[at] for level, of in self.scores.items()}
        outputs["embedding"] = self.embedding[at]
        with pq.ParquetWriter(answers, schema) as writer:
            writer.write_batch(table.rows(schema, told, truths, outputs))
        colors = self.folder / "colors" / f"{split}.npy"
        count_colors(Part(split, str(examples), str(colors)), lambda: None)
        return build.File(split, str(examples), str(answers), str(colors))

    def _example(self, place: int) -> Example:
        example = Example()

        def put(name: str, *values: str) -> None:
            encoded = [value.encode() for value in values]
            example.features.feature[name].bytes_list.value.extend(encoded)

        put("id", self.ids[place])
        put("category", "Shoes")
        put("subcategory", ["Boots", "Heels"][place % 2])
        put("attributes", "season=Summer", *(["season=Winter"] if place == 3 else []))
        put(features.slice_feature("gender"), ["Women", features.UNKNOWN][place == 1])
        put(features.slice_feature("fit cut"), "slim")
        put(features.field_feature("name"), *([f"Nr. {place} <b>"] if place else []))
        put(features.field_feature("price"), "9.95")
        example.features.feature["image"].bytes_list.value.append(self.encoded[place])
        return example


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path)


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_what_is_found_is_what_all_pairs_say(catalog, tmp_path):
    built = build.build(catalog.files(), COLUMNS, OPTIONS, "mark")
    built.write(tmp_path / "similarity_index")
    opened = IndexedCatalog.open(tmp_path / "similarity_index")

    kind = _unit(np.sqrt(catalog.scores["subcategory"]))
    gender = _unit(np.sqrt(catalog.scores["gender"]))
    season = _unit(np.sqrt(catalog.scores["attributes"][:, :2]))
    colour = np.stack([color_block(picture) for picture in catalog.pictures])
    mean = catalog.embedding[:6].mean(0)
    values, vectors = np.linalg.eigh(np.cov(catalog.embedding[:6] - mean, rowvar=False))
    whitened = _unit((catalog.embedding - mean) @ (vectors[:, -4:] * values[-4:] ** -0.25))
    near = (
        1.8 * kind @ kind.T
        + 0.7 * gender @ gender.T
        + 0.5 * season @ season.T
        + 0.7 * whitened @ whitened.T
        + 1.2 * colour @ colour.T
    )
    for place, id_ in enumerate(catalog.ids):
        (answer,) = opened.index.search(opened.index.vectors([id_]), 10, fold=False)
        order = sorted(range(10), key=lambda at, place=place: -near[place, at])
        assert [hit.id for hit in answer.hits] == [catalog.ids[at] for at in order]
        # Colors are kept in 16 bits.
        scores = [hit.score for hit in answer.hits]
        np.testing.assert_allclose(scores, near[place, order], atol=1e-3)
    assert answer.exact

    # Of the test part's two, how close the nearest is that is no double, by the sum of the weights.
    same = np.equal.outer(catalog.groups, catalog.groups)
    closest = np.where(same, -np.inf, near).max(1)[8:] / (1.8 + 0.7 + 0.5 + 0.7 + 1.2)
    assert opened.index.threshold == pytest.approx(np.quantile(closest, 0.01), abs=1e-3)


def test_it_knows_the_catalogs_columns_by_their_own_names(catalog):
    built = build.build(catalog.files(), COLUMNS, OPTIONS, "mark")
    assert built.index.product("p3") == (
        {
            "master": "Shoes",
            "article": "Heels",
            "gender": "Women",
            "fit cut": "slim",
            "name": "Nr. 3 <b>",
            "price": "9.95",
            "season": ("Summer", "Winter"),
            "usage": None,
            "sleeves": None,
        },
        "p3",
    )
    assert built.index.product("p1")[0]["gender"] is None
    assert built.index.product("p0")[0]["name"] is None
    assert built.index.product("p1")[1] == "p0"
    assert built.index.count({"season": "Winter"}) == 1
    assert built.test == ["p8", "p9"]
    assert built.index.made_by == {MODEL_KEY: "mark"}
    assert built.summary == "10 products, 6 blocks of 498 numbers, all compared"


def test_it_has_the_pictures_as_the_model_saw_them(catalog, tmp_path):
    build.build(catalog.files(), COLUMNS, OPTIONS, "mark").write(tmp_path / "made")
    opened = IndexedCatalog.open(tmp_path / "made")
    assert [opened.picture(id_) for id_ in catalog.ids] == catalog.encoded


def test_nothing_but_the_train_part_decides_what_vectors_are(catalog):
    before = build.fitted(catalog.files(), 4, 0.5)
    catalog.embedding[6:] += 1
    after = build.fitted(catalog.files(), 4, 0.5)
    np.testing.assert_array_equal(before.matrix, after.matrix)
    np.testing.assert_array_equal(before.mean, after.mean)


def test_answers_about_other_products_are_refused(catalog):
    files = catalog.files()
    files[1] = catalog._file("eval", ["p6", "gone"])
    with pytest.raises(UserError, match="are about other products than"):
        build.build(files, COLUMNS, OPTIONS, "mark")


def test_a_file_without_products_adds_none(catalog):
    catalog.splits[6:8] = ["train", "test"]
    files = catalog.files()
    empty = next(file for file in files if file.split == "eval")
    assert np.load(empty.colors).shape == (0, COLORS)
    built = build.build(files, COLUMNS, OPTIONS, "mark")
    assert sorted(built.index.ids()) == catalog.ids


def test_products_without_an_answer_are_not_left_out_in_silence(catalog, tmp_path):
    files = catalog.files()
    other = Catalog(tmp_path / "other")
    other.folder.mkdir()
    other.splits[6:8] = ["train", "test"]
    unanswered = dataclasses.replace(files[1], answers=other._file("eval", None).answers)
    with pytest.raises(UserError, match="are about other products than"):
        build.build([files[0], unanswered, files[2]], COLUMNS, OPTIONS, "mark")


def test_of_many_products_the_first_make_the_vectors(catalog, monkeypatch):
    train = catalog.files()[0]
    assert train.split == "train"
    for most, rows in ((4, [0, 1, 2, 3]), (6, range(6)), (8, [*range(6), 0, 1])):
        monkeypatch.setattr(build, "FITTED_ON", most)
        found = build.fitted([train, train, train], 4, 0.5)
        expected = Whitening.fit(catalog.embedding[list(rows)], 4, 0.5)
        np.testing.assert_allclose(found.mean, expected.mean, atol=1e-6)
        np.testing.assert_allclose(np.abs(found.matrix), np.abs(expected.matrix), rtol=1e-3)


def test_vectors_that_every_query_is_compared_with_are_kept_as_they_are(catalog, monkeypatch):
    files = catalog.files()
    for below, dtype in ((11, "float32"), (10, "float16")):
        monkeypatch.setattr(build, "EXACT_BELOW", below)
        assert build.build(files, COLUMNS, OPTIONS, "mark").index.dtype == dtype


def test_colors_are_those_of_the_pictures_and_every_product_is_counted(catalog):
    files = catalog.files()
    marks = []
    part = Part("train", files[0].examples, files[0].colors)
    count_colors(part, lambda: marks.append(1))
    counted = np.load(files[0].colors)
    expected = [color_block(picture) for picture in catalog.pictures[:6]]
    assert (counted.dtype, len(marks)) == (np.float16, 6)
    np.testing.assert_allclose(counted, expected, atol=1e-3)


def test_an_approximate_index_says_how_much_it_finds(catalog):
    built = build.build(catalog.files(), COLUMNS, OPTIONS, "mark")
    index = FaissIndex(Space({"all": 8}), exact_below=100)
    index.upsert([f"p{at}" for at in range(2000)], clustered(2000, 8))
    index.build()
    known = index.approximation
    assert dataclasses.replace(built, index=index).summary == (
        f"2,000 products, 6 blocks of 498 numbers, {100 * known.recall:.1f}% of the nearest found "
        f"in {known.probes} of {known.lists} parts"
    )


def test_without_answers_about_the_train_part_there_are_no_vectors(catalog):
    files = [file for file in catalog.files() if file.split != "train"]
    with pytest.raises(UserError, match="no answers about the train part"):
        build.build(files, COLUMNS, OPTIONS, "mark")


def test_a_products_pictures_have_its_name_as_a_field(catalog):
    columns = build.Columns(**{**vars(COLUMNS), "product": True})
    assert "product" in build.build(catalog.files(), columns, OPTIONS, "m").index.fields
