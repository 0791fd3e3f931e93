"""Features of pictures: computed once, found again by the picture, whatever the labels say."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from components.label_review import frozen
from components.label_review.frozen import Describe, Network, Store
from components.parts import Part
from components.predictions import table
from tests.components.label_review.shop import Shop
from trainer.backbones import build_backbone

SMALL = Network("efficientnetlite0", 32, 32, mirror_average=False)


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def examples(file: Path, seeds: Sequence[int], category: str = "Top") -> str:
    with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for seed in seeds:
            of = tf.train.Example()
            for name, value in {
                "id": f"p{seed}".encode(),
                "category": category.encode(),
                "subcategory": b"Tee",
                "image": picture(seed),
            }.items():
                of.features.feature[name].bytes_list.value.append(value)
            writer.write(of.SerializeToString())
    return str(file)


def described(store: Store, file: str, network: Network = SMALL) -> np.ndarray:
    part = Part("train", file, str(store.folder / "Split-train" / "part.parquet"))
    marks: list[None] = []
    describe = Describe(network, ("category", "subcategory"), tuple(store.known))
    describe(part, lambda: marks.append(None))
    found = table.read_file(part.output)
    assert len(marks) == found.num_rows
    return table.matrix(found, frozen.FEATURES)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    frozen._earlier.cache_clear()


def test_features_are_the_roots_of_what_the_network_says(tmp_path: Path) -> None:
    found = described(Store(tmp_path, SMALL, "a"), examples(tmp_path / "e.gz", [1, 2]))
    backbone = build_backbone(
        "efficientnetlite0", image_height=32, image_width=32, filters=0, weights="imagenet"
    )
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(picture(seed)))) for seed in (1, 2)])
    expected = np.sqrt(np.asarray(backbone(pixels.astype(np.float32))))
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_picture_that_was_seen_before_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def computer(network: Network):
        def compute(pictures: Sequence[bytes]) -> np.ndarray:
            asked.append(len(pictures))
            return np.array([[frozen.digest(one) % 1000] * 4 for one in pictures], np.float16)

        return compute

    monkeypatch.setattr(frozen, "_computer", computer)
    first = described(Store(tmp_path, SMALL, "a"), examples(tmp_path / "e.gz", [1, 2, 3]))
    # Other labels, another order, one picture more, one less.
    later = Store(tmp_path, SMALL, "b")
    file = examples(tmp_path / "f.gz", [3, 4, 1], category="Shoe")
    second = described(later, file)
    assert asked == [3, 1]
    assert (second[[0, 2]] == first[[2, 0]]).all()

    later.forget_others()
    assert [folder.name for folder in (tmp_path / SMALL.fingerprint).iterdir()] == ["b"]
    other = Network("efficientnetlite0", 64, 64, mirror_average=False)
    frozen._earlier.cache_clear()
    described(Store(tmp_path, other, "c"), file, other)
    assert asked == [3, 1, 3]


def test_only_a_network_of_imagenet_is_asked() -> None:
    model = {
        "backbone": "efficientnetlite2",
        "weights": "imagenet",
        "image_height": 80,
        "image_width": 60,
        "mirror_average": True,
    }
    assert Network.of(model) == Network("efficientnetlite2", 80, 60, mirror_average=True)
    # The weights in a file may have seen the labels; the stand-in needs larger pictures.
    for weights in (None, "mine.weights.h5"):
        assert Network.of({**model, "weights": weights}) == Network(
            "efficientnetlite0", 160, 120, mirror_average=True
        )


def test_components_are_scikit_learns(shop: Shop) -> None:
    files = shop.written()
    of_picture = np.arange(len(shop.ids))
    components, deviation = frozen.reduced(files, of_picture, 5)
    stored = shop.features.astype(np.float16).astype(float)
    scaled = StandardScaler().fit_transform(stored)
    reference = PCA(5).fit(scaled)
    expected = reference.transform(scaled)
    # Which way a component points is nobody's business.
    signs = np.sign((components * expected).sum(axis=0))
    np.testing.assert_allclose(components * signs, expected, atol=0.02)
    np.testing.assert_allclose(deviation, np.sqrt(reference.explained_variance_), rtol=0.01)


def test_a_product_of_several_pictures_has_their_mean(shop: Shop) -> None:
    files = shop.written()
    alone, _ = frozen.reduced(files, np.arange(400), 5)
    together, _ = frozen.reduced(files, np.arange(400) // 2, 5)
    np.testing.assert_allclose(together, (alone[::2] + alone[1::2]) / 2, atol=1e-4)
