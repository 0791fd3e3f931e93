"""A catalog that can be searched, as a folder."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

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
    folder = tmp_path / "similarity_index"
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
    (tmp_path / "saved_model.pb").write_bytes(b"graph and weights" * 100_000)
    mark = hashlib.sha256(b"graph and weights" * 100_000).hexdigest()
    assert model_mark(tmp_path) == mark
    catalog = IndexedCatalog.open(written)
    with pytest.raises(DamagedIndex, match="another model's answers"):
        catalog.check_model(tmp_path)
    catalog.index.made_by[MODEL_KEY] = mark
    catalog.check_model(tmp_path)


def test_an_index_without_a_model_is_refused(written):
    with pytest.raises(DamagedIndex, match="no model beside the index"):
        IndexedCatalog.open(written).check_model(written)
