"""A catalog searched by a network that never saw it: what a trained one is compared with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from components.atomic_pusher import versions
from components.atomic_pusher.records import Origin
from schema import features
from schema.errors import UserError
from schema.search_blocks import COLOR
from serving.search import FaissIndex, IndexedCatalog, Recipe
from serving.search.blocks import Whitening
from serving.search.catalog import MODEL_KEY, model_mark
from serving.search.recipe import Answers
from trainer.backbones import SMALLEST_SIDE

_AT_ONCE = 64


def push_baseline(
    version: Path,
    serving: Path,
    backbone: str,
    image_height: int,
    image_width: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> versions.Outcome:
    """Pushes a backbone as ImageNet left it, with an index of the products of another model's.

    Its vectors are the backbone's features, whitened by those of all products, and the colors.

    Args:
        version: The folder of a pushed version with an index, which gives products and pictures.
        serving: The folder of all models; the baseline is `imagenet-<backbone>` there.
        backbone: A key of `trainer.backbones.SMALLEST_SIDE` with ImageNet weights.
        image_height: Height of the pictures in pixels.
        image_width: Width of the pictures in pixels.
        report: Is told how many of how many pictures have been looked at.

    Raises:
        UserError: there is no such backbone, its weights cannot be had, the version has no index,
            or the disk is full.
    """
    if backbone not in SMALLEST_SIDE:
        raise UserError(f"There is no backbone {backbone}; there are {', '.join(SMALLEST_SIDE)}.")
    catalog = IndexedCatalog.open(version / features.INDEX_FOLDER)
    ids = catalog.index.ids()
    with tempfile.TemporaryDirectory(prefix=".baseline-", dir=serving) as scratch:
        model = Path(scratch, "model")
        embedding = _embedding(backbone, image_height, image_width, model, catalog, ids, report)
        recipe = Recipe({}, Whitening.fit(embedding, 256, 0.5))
        colors = catalog.index.space.part(catalog.index.vectors(ids), COLOR)
        index = FaissIndex(
            recipe.space, catalog.index.dtype, made_by={MODEL_KEY: model_mark(model)}
        )
        told = [catalog.index.product(id_) for id_ in ids]
        index.upsert(
            ids,
            recipe.joined(Answers({}, embedding), colors),
            {name: [fields[name] for fields, _ in told] for name in catalog.index.fields},
            [group for _, group in told],
        )
        folder = Path(scratch, Path(features.INDEX_FOLDER).name)
        pictures = ((id_, catalog.picture(id_)) for id_ in ids)
        IndexedCatalog.write(folder, index, recipe, pictures)
        origin = Origin(model=f"{backbone} with ImageNet's weights")
        return versions.push(
            model, serving / f"imagenet-{backbone}", origin, keep=2, companion=folder
        )


def _embedding(
    backbone: str,
    image_height: int,
    image_width: int,
    model: Path,
    catalog: IndexedCatalog,
    ids: list[str],
    report: Callable[[int, int], None],
) -> np.ndarray:
    """Writes the backbone's model, and asks it about all products: float32 (N, E)."""
    import tensorflow as tf

    from trainer.plain_backbone import export_backbone

    export_backbone(backbone, image_height, image_width, str(model))
    ask = tf.saved_model.load(str(model)).signatures[features.EVERYTHING_SIGNATURE]
    found = []
    for start in range(0, len(ids), _AT_ONCE):
        report(start, len(ids))
        pictures = [catalog.picture(id_) for id_ in ids[start : start + _AT_ONCE]]
        answers = ask(image_bytes=tf.constant(pictures, tf.string))
        found.append(answers[features.EMBEDDING].numpy())
    report(len(ids), len(ids))
    return np.concatenate(found)
