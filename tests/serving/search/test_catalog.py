"""A catalog that can be searched, as a folder."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest

from schema import features
from serving.search import DamagedIndex, FaissIndex, UnknownProduct
from serving.search.blocks import Whitening
from serving.search.catalog import MODEL_KEY, IndexedCatalog, model_mark
from serving.search.recipe import Recipe

IDS = ["a", "b/c", "ü", "d"]
PICTURES = {"a": b"\xff\xd8first", "b/c": b"", "ü": b"third" * 1000, "d": b"4"}


@pytest.fixture
def written(tmp_path):
    rng = np.random.default_rng(1)
    whitening = Whitening.fit(rng.standard_normal((40, 5)), 3)
    recipe = Recipe({"subcategory": ["x", "y"]}, whitening)
    index = FaissIndex(recipe.space, "float16", made_by={MODEL_KEY: "1" * 64})
    index.upsert(IDS, rng.standard_normal((4, recipe.space.dimensions)), {"field": ["1", None] * 2})
    folder = tmp_path / features.INDEX_FOLDER
    IndexedCatalog.write(folder, index, recipe, ((id_, PICTURES[id_]) for id_ in IDS))
    return folder


def test_what_is_written_is_read_back(written):
    catalog = IndexedCatalog.open(written)
    assert catalog.index.ids() == IDS
    assert {id_: catalog.picture(id_) for id_ in IDS} == PICTURES
    assert catalog.index.space.sizes == catalog.recipe.space.sizes
    assert catalog.index.product("a")[0] == {"field": "1"}


def test_no_picture_but_the_catalogs_can_be_had(written):
    catalog = IndexedCatalog.open(written)
    for id_ in ("", "..", "../recipe.json", "A", "recipe.json", "/etc/passwd"):
        with pytest.raises(UnknownProduct):
            catalog.picture(id_)


def test_pictures_are_in_the_order_of_nobody(written):
    """They belong to ids, not to the index's rows, which deletes and updates move."""
    catalog = IndexedCatalog.open(written)
    catalog.index.delete(["a"])
    catalog.index.upsert(["new"], np.ones((1, catalog.index.space.dimensions)))
    assert catalog.picture("d") == PICTURES["d"]


@pytest.mark.parametrize("name", [
    "recipe.json", "whitening.npz", "pictures.bin", "pictures.npy", "pictures.json",
    "index/manifest.json",
])  # fmt: skip
@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_whatever_is_damaged_is_named_in_a_sentence(written, name, damage):
    file = written / name
    content = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(DamagedIndex, match="build"):
        IndexedCatalog.open(written)


def test_vectors_of_another_recipe_are_refused(written):
    recipe = json.loads((written / "recipe.json").read_text())
    recipe["labels"]["subcategory"].append("z")
    (written / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(DamagedIndex, match="not made as its recipe.json says"):
        IndexedCatalog.open(written)


def test_it_belongs_to_the_model_that_it_was_made_of(written, tmp_path):
    version = tmp_path
    (version / "saved_model.pb").write_bytes(b"graph and weights" * 100_000)
    mark = hashlib.sha256(b"graph and weights" * 100_000).hexdigest()
    assert model_mark(version) == mark
    with pytest.raises(DamagedIndex, match="another model's answers"):
        IndexedCatalog.of_version(version)
    index = IndexedCatalog.open(written).index
    index.made_by[MODEL_KEY] = mark
    index.save(written / "index")
    assert IndexedCatalog.of_version(version).index.ids() == IDS


def test_an_index_without_a_model_is_refused(written, tmp_path):
    with pytest.raises(DamagedIndex, match="no model beside the index"):
        IndexedCatalog.of_version(tmp_path)


@pytest.mark.parametrize("at", [0, 3, -1])
def test_a_damaged_picture_is_named_and_the_others_are_shown(written, at):
    file = written / "pictures.bin"
    content = bytearray(file.read_bytes())
    start = content.index(PICTURES["ü"])
    content[(start if at >= 0 else start + len(PICTURES["ü"])) + at] ^= 1
    file.write_bytes(content)
    catalog = IndexedCatalog.open(written)
    with pytest.raises(DamagedIndex, match='The picture of the product "ü" is damaged; bring pict'):
        catalog.picture("ü")
    assert [catalog.picture(id_) for id_ in ("a", "b/c", "d")] == [b"\xff\xd8first", b"", b"4"]


def test_a_file_that_is_cut_while_it_is_open_is_a_damaged_picture(written):
    catalog = IndexedCatalog.open(written)
    os.truncate(written / "pictures.bin", 5)
    for id_ in ("a", "ü", "d"):
        with pytest.raises(DamagedIndex, match=f'picture of the product "{id_}" is damaged'):
            catalog.picture(id_)


@pytest.mark.parametrize(("at", "start"), [(0, 1), (0, -1), (1, 2**62), (2, -5), (2, 6), (3, 5009)])
def test_pictures_that_begin_where_they_cannot_are_refused(written, at, start):
    damaged = np.load(written / "pictures.npy")
    assert damaged[0].tolist() == [0, 7, 7, 5007, 5008]
    damaged[0, at] = start
    np.save(written / "pictures.npy", damaged)
    with pytest.raises(DamagedIndex, match="begin where they cannot.*build the index anew"):
        IndexedCatalog.open(written)


def test_places_are_whole_numbers_and_ids_are_texts(written):
    sound = np.load(written / "pictures.npy")
    for places in (sound.astype(float), sound.astype(np.int32), sound[:, :0]):
        np.save(written / "pictures.npy", places)
        with pytest.raises(DamagedIndex, match="build the index anew"):
            IndexedCatalog.open(written)
    np.save(written / "pictures.npy", sound)
    (written / "pictures.json").write_text('["a", ["b/c"], "ü", "d"]')
    with pytest.raises(DamagedIndex, match="build the index anew"):
        IndexedCatalog.open(written)


def test_pictures_without_checksums_are_refused(written):
    np.save(written / "pictures.npy", np.load(written / "pictures.npy")[0])
    with pytest.raises(DamagedIndex, match="no checksums of them.*build the index anew"):
        IndexedCatalog.open(written)
