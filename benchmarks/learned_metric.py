"""Whether a learned metric finds better than blocks that nobody taught to agree with the labels.

    python benchmarks/learned_metric.py WORKSPACE --labels DIR/labels.csv [--kept FOLDER] [--test]

On what the model of WORKSPACE says of the train part a linear map to a vector of unit length is
learned, by Proxy-Anchor (Kim et al. 2020, arXiv 2003.13911, equation 4) or by the additive angular
margin of ArcFace (Deng et al. 2019, arXiv 1801.07698, equation 3; without a margin it is the
normalized softmax), with proxies for three levels of labels at once: articleType; with gender; with
baseColour as well. The network itself stays as it is. The vector takes the place of the block of
features, or of all blocks, or stands beside them; its weight is the best for the eval part, as the
blocks' are. Beside it, because the measure judges by baseColour, which no block was taught: a block
of the scores of a logistic regression of baseColour, which is what the model's own label
`baseColour` would be.

Queries are the eval part's, honestly (`search_quality`), in all of the catalog: nDCG at 15, and the
share of the first 15 with all three labels alike; a metric is better where the difference, query by
query, is more than a standard error. `--test` prints the test part's figures of what is listed.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import search_quality
from benchmarks._metric_learning import (
    LEVELS,
    ArcFace,
    Metric,
    Proxies,
    ProxyAnchor,
    codes_of,
)
from benchmarks._weights import answers_of, history_of
from components.similarity_index import quality
from components.similarity_index.quality import Alike, Found
from schema import features
from schema.search_blocks import COLOR, FEATURES
from serving.search.blocks import Whitening, label_block
from serving.search.recipe import Answers, Recipe

NDCG = f"ndcg_at_{quality.FIRST}"

_WEIGHTS = (0.35, 0.7, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0)

_FEW = 1000
"""Queries by which a weight is chosen."""


def learned(
    metric: Metric, inputs: np.ndarray, codes: Sequence[np.ndarray], train: np.ndarray
) -> np.ndarray:
    """The vectors of unit length of N products, float32 (N, size).

    Args:
        metric: How.
        inputs: float32 (N, E).
        codes: Of each level int (N,), the label's.
        train: int (T,), the products that are learned from.
    """
    keras.utils.set_random_seed(0)
    given = keras.Input(inputs.shape[1:])
    project = layers.Dense(metric.size, use_bias=False, kernel_initializer="orthogonal")
    vector = layers.UnitNormalization()(project(given))
    outputs, losses, shares, labels = {}, {}, {}, {}
    for number, (of, share) in enumerate(zip(codes, metric.shares, strict=True)):
        if share:
            name = f"level{number}"
            # Codes of the train part alone: the loss knows no others.
            classes, code = np.unique(of[train], return_inverse=True)
            outputs[name] = Proxies(len(classes), name=name)(vector)
            losses[name], shares[name], labels[name] = metric.loss(), share, code
    model = keras.Model(given, outputs)
    steps = metric.epochs * -(-len(train) // _BATCH)
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(2e-3, steps), 1e-4),
        loss=losses,
        loss_weights=shares,
    )
    model.fit(inputs[train], labels, batch_size=_BATCH, epochs=metric.epochs, verbose=0)
    return keras.Model(given, vector).predict(inputs, batch_size=4096, verbose=0)


_BATCH = 512


def label_scores(inputs: np.ndarray, values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The scores of a logistic regression of a column, float32 (N, C)."""
    keras.utils.set_random_seed(0)
    classes, code = np.unique(values[train].astype(str), return_inverse=True)
    model = keras.Sequential(
        [keras.Input(inputs.shape[1:]), layers.Dense(len(classes), activation="softmax")]
    )
    steps = 20 * -(-len(train) // _BATCH)
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(1e-2, steps), 1e-4),
        loss="sparse_categorical_crossentropy",
    )
    model.fit(inputs[train], code, batch_size=_BATCH, epochs=20, verbose=0)
    return model.predict(inputs, batch_size=4096, verbose=0)


def answered_by(
    weights: Path, shop: search_quality.Shop, workspace: Path, kept: Path
) -> search_quality.Shop:
    """The same catalog with what another network says of it, which is kept."""

    def asked() -> dict[str, np.ndarray]:
        answers, _ = answers_of(weights, search_quality.pictures_of(workspace, shop.ids))
        return {**answers.scores, features.EMBEDDING: answers.embedding}

    file = kept / f"answers_{weights.resolve().name}.npz"
    scores = search_quality.kept_of(file, shop.ids, asked)
    embedding = scores.pop(features.EMBEDDING)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    recipe = Recipe(
        history_of(weights)["labels"],
        Whitening.fit(embedding[shop.split == features.TRAIN], 256, 0.5),
    )
    looks = dataclasses.replace(shop.looks, answers=Answers(scores, embedding))
    return dataclasses.replace(shop, looks=looks, recipe=recipe)


class Asked:
    """Some of a catalog's products, asked honestly for the others."""

    def __init__(self, shop: search_quality.Shop, queries: np.ndarray):
        self.queries, self.groups = queries, shop.groups[queries]
        left_out = search_quality.left_out_of(self.groups, shop.groups)
        alike = Alike([of[queries] for of in shop.alike], shop.alike)
        self._gains = search_quality.gains_of(alike, left_out)
        self._shape = len(queries), len(shop.ids)

    def found(self, similar: Callable[[np.ndarray], np.ndarray]) -> Found:
        """What is found by similarities, from places in `queries`, int (B,), to float (B, N)."""
        return quality.find(similar, self._gains, *self._shape, levels=len(LEVELS), whole=False)

    def by(self, blocks: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> Found:
        """What is found by blocks, each float32 (N, D), under their weights."""
        vectors = joined(blocks, weights)
        return self.found(lambda places: vectors[self.queries[places]] @ vectors.T)


def joined(blocks: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """Vectors whose inner products are the blocks' weighted sum, float32 (N, D)."""
    roots = [np.sqrt(weight) * blocks[name] for name, weight in weights.items() if weight]
    return np.concatenate(roots, axis=1).astype(np.float32)


def best_weight(
    few: Asked, block: np.ndarray, blocks: Mapping[str, np.ndarray], rest: Mapping[str, float]
) -> float:
    """The weight of a further block by which a few queries find best."""
    if not any(rest.values()):
        return 1.0
    others = joined(blocks, rest)
    of_others, of_block = (of[few.queries] @ of.T for of in (others, block))

    def ndcg(weight: float) -> float:
        found = few.found(lambda places: of_others[places] + weight * of_block[places])
        return float(np.nanmean(found.values[NDCG]))

    return max(_WEIGHTS, key=ndcg)


def main() -> None:
    """Learns metrics, weighs them on eval, and prints how they compare to the blocks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--labels", type=Path, required=True, help="the catalog's CSV")
    parser.add_argument("--kept", type=Path, help="where colors are kept")
    parser.add_argument("--weight", action="append", default=[], metavar="BLOCK=WEIGHT")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FOLDER",
        help="of `gpu.py train`, whose network is asked in place of the workspace's model",
    )
    parser.add_argument("--test", action="store_true", help="print the test part's figures too")
    arguments = parser.parse_args()
    kept = arguments.kept or arguments.workspace / "search_quality"
    shop = search_quality.shop_of(arguments.workspace, arguments.labels, kept, frozen=False)
    if arguments.weights:
        shop = answered_by(arguments.weights, shop, arguments.workspace, kept)
    weights = dict(shop.recipe.space.weights)
    weights |= {name: float(value) for name, value in (of.split("=") for of in arguments.weight)}

    vectors = shop.recipe.joined(shop.looks.answers, shop.looks.colors)
    sizes = shop.recipe.space.sizes
    ends = np.cumsum(list(sizes.values()))[:-1]
    blocks = dict(zip(sizes, np.split(vectors, ends, axis=1), strict=True))
    train = np.flatnonzero(shop.split == features.TRAIN)
    codes = codes_of(shop.labels)
    embedding = shop.looks.answers.embedding
    everything = np.concatenate([embedding, vectors], axis=1)
    looks = np.concatenate([embedding, shop.looks.colors], axis=1)

    of_eval = np.flatnonzero(shop.split == features.EVAL)
    few = Asked(shop, np.sort(np.random.default_rng(0).permutation(of_eval)[:_FEW]))
    parts = {"eval": Asked(shop, of_eval)}
    if arguments.test:
        parts["test"] = Asked(shop, np.flatnonzero(shop.split == features.TEST))

    # The block whose place a learned one takes is weighed as that is.
    rest = {name: weight for name, weight in weights.items() if name != FEATURES}
    weights[FEATURES] = best_weight(few, blocks[FEATURES], blocks, rest)
    before = {part: of.by(blocks, weights) for part, of in parts.items()}
    for part, found in before.items():
        said = f"blocks, features at {weights[FEATURES]}, {part}"
        print(f"{said:58} {search_quality.means(found)}", flush=True)

    def tried(title: str, block: np.ndarray, without: Sequence[str]) -> None:
        rest = {name: weight for name, weight in weights.items() if name not in without}
        weight = best_weight(few, block, blocks, rest)
        for part, asked in parts.items():
            found = asked.by(blocks | {"learned": block}, rest | {"learned": weight})
            told = quality.difference(found, before[part], NDCG, asked.groups)
            better = f"nDCG {told.value:+.4f} (one standard error {told.error:.4f})"
            said = f"{title}, at {weight}, {part}"
            print(f"{said:58} {search_quality.means(found)}  {better}", flush=True)

    color = label_block(label_scores(looks, shop.labels["baseColour"], train))
    tried("blocks, baseColour's scores", color, ())
    tried("blocks, baseColour's scores for colors", color, (COLOR,))
    for name, metric in {
        "Proxy-Anchor": Metric(ProxyAnchor),
        "normalized softmax": Metric(lambda: ArcFace(margin=0.0)),
        "ArcFace": Metric(ArcFace),
        "ArcFace, fine level alone": Metric(ArcFace, shares=(0.0, 0.0, 1.0)),
    }.items():
        tried(f"{name} for features", learned(metric, embedding, codes, train), (FEATURES,))
        of_all = learned(metric, everything, codes, train)
        tried(f"{name} of all blocks, alone", of_all, tuple(blocks))
        tried(f"{name} of all blocks, beside them", of_all, ())


if __name__ == "__main__":
    main()
