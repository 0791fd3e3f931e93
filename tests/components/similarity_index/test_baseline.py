"""A backbone as ImageNet left it, over the products of another model's index."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from components.atomic_pusher import versions
from components.similarity_index import baseline
from components.similarity_index.baseline import push_baseline
from schema import features
from schema.errors import UserError
from serving.search import FaissIndex, IndexedCatalog, Recipe
from serving.search.blocks import Whitening, color_block
from serving.search.recipe import Answers
from trainer.backbones import build_backbone

SIDE = 32
IDS = [f"p{at}" for at in range(9)]


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8) for _ in IDS]


@pytest.fixture
def version(tmp_path, pictures):
    """A pushed version with an index of nine products."""
    rng = np.random.default_rng(1)
    embedding = rng.standard_normal((9, 5))
    recipe = Recipe({"subcategory": ["a", "b"]}, Whitening.fit(embedding, 3))
    images = [Image.fromarray(picture) for picture in pictures]
    answers = Answers({"subcategory": rng.random((9, 2))}, embedding)
    index = FaissIndex(recipe.space, "float16", made_by={"model": "1"})
    index.upsert(IDS, recipe.vectors(answers, images), {"size": list("sml" * 3)},
                 ["p0", "p0", *IDS[2:]])  # fmt: skip
    folder = tmp_path / "serving" / "catalog" / "7"
    encoded = []
    for image in images:
        file = io.BytesIO()
        image.save(file, "PNG")
        encoded.append(file.getvalue())
    IndexedCatalog.write(
        folder / features.INDEX_FOLDER, index, recipe, zip(IDS, encoded, strict=True)
    )
    return folder


def test_it_is_a_model_of_its_own_with_the_same_products(version, tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(baseline, "_AT_ONCE", 4)
    seen = []
    outcome = push_baseline(
        version, tmp_path / "serving", "efficientnetlite0", SIDE, SIDE,
        lambda done, total: seen.append((done, total)),
    )  # fmt: skip

    assert outcome.state == "new"
    assert outcome.version.folder.parent.name == "imagenet-efficientnetlite0"
    assert seen == [(0, 9), (4, 9), (8, 9), (9, 9)]
    assert not list((tmp_path / "serving").glob(".baseline-*"))
    source = IndexedCatalog.open(version / features.INDEX_FOLDER)
    made = IndexedCatalog.of_version(outcome.version.folder)
    assert made.index.ids() == IDS
    for id_ in IDS:
        assert made.index.product(id_) == source.index.product(id_)
        assert made.picture(id_) == source.picture(id_)

    backbone = build_backbone(
        "efficientnetlite0", image_height=SIDE, image_width=SIDE, filters=8, weights="imagenet"
    )
    found = np.asarray(backbone(np.stack(pictures).astype(np.float32)))
    embedding = found / np.linalg.norm(found, axis=1, keepdims=True)
    whitened = Whitening.fit(embedding, 256, 0.5)(embedding)
    vectors = made.index.vectors(IDS)
    near = made.index.space.part(vectors, "features") @ made.index.space.part(vectors, "features").T
    np.testing.assert_allclose(near, whitened @ whitened.T, atol=5e-3)
    colors = made.index.space.part(vectors, "colour")
    expected = np.stack([color_block(Image.fromarray(picture)) for picture in pictures])
    np.testing.assert_allclose(colors, expected, atol=2e-3)

    again = push_baseline(version, tmp_path / "serving", "efficientnetlite0", SIDE, SIDE)
    found = versions.find_versions(again.version.folder.parent)
    assert len(found) <= 2


@pytest.mark.parametrize(("backbone", "said"), [
    ("efficientnetlite9", "no backbone efficientnetlite9; there are "),
    ("small_residual", "small_residual"),
])  # fmt: skip
def test_what_cannot_be_had_is_told_and_nothing_is_left(version, tmp_path, backbone, said):
    with pytest.raises(UserError, match=said):
        push_baseline(version, tmp_path / "serving", backbone, SIDE, SIDE)
    assert [path.name for path in (tmp_path / "serving").iterdir()] == ["catalog"]
