"""How good a search is, by four protocols, of the blocks and of what they are held against.

    python benchmarks/search_quality.py WORKSPACE --labels DIR/labels.csv
        [--photos FOLDER] [--in-shop FOLDER] [--choose] [--json FILE]

WORKSPACE is of a run of fashion_articles.yaml with `evaluation.answer_train` or `search.enabled`,
so that its tables have the answers about every product. Figures, ties and intervals are those of
`components.similarity_index.quality`; three labels are alike, or one or two of them: articleType,
then gender, then baseColour.

`s2`: as upc-aidl-2021-image-retrieval did it, to be compared with its figures. 22 classes of
clothes and shoes are kept, 600 queries are drawn, all kept products are looked through, those that
were trained on too. mAP counts the query itself as found; the other figures are without it. In "all
three" a query that nothing is all alike with counts as 0 here.

`honest`: all queries of the part, among all products of the whole catalog but those of the query's
near-duplicate group; then among those of the part alone.

`photos`: snapshots that people took at home (`labels.csv` with image, sender_id and label, and
`images/`), whose labels stand for articleTypes as `PHOTOS` says, among all products; as S2 asked
with DeepFashion's pictures. Queries of one sender are drawn together.

`in_shop`: the official files of DeepFashion's In-shop benchmark, query against gallery, pictures
cut to their boxes: recall at 1, 10, 20, 30 and 40 of the query's item.

`--choose` tries other blocks, weights and expansions on the eval part, honestly, by nDCG and "all
three" alone. The frozen networks' features of all products take minutes and are kept (`--kept`).
"""

from __future__ import annotations

import argparse
import csv
import glob
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from components.catalog_example_gen.deepfashion import INSHOP
from components.catalog_example_gen.rows import Product
from components.catalog_example_gen.sources import source_of
from components.predictions import table
from components.report.products import read_pictures
from components.similarity_index import quality
from components.similarity_index.quality import (
    ALL_ALIKE,
    LEFT_OUT,
    Alike,
    Figure,
    Found,
    Quality,
)
from pipeline.config import Catalog, Split
from schema import features
from schema.picture_figures import cropped, opened, upright_rgb
from schema.search_blocks import FEATURES, KIND
from serving.search.blocks import Whitening, color_block, unit
from serving.search.product_index import Expansion
from serving.search.recipe import Answers, Recipe
from serving.search.space import Space

CLASSES = (
    *("Tshirts", "Shirts", "Casual Shoes", "Sports Shoes", "Tops", "Heels", "Flip Flops"),
    *("Sandals", "Formal Shoes", "Jeans", "Shorts", "Trousers", "Flats", "Dresses", "Track Pants"),
    *("Sweatshirts", "Sweaters", "Jackets", "Nightdress", "Leggings", "Night suits", "Skirts"),
)
"""What `s2` keeps of clothes and shoes: classes of more than 100 products, without those that its
authors took out."""

LABELS = ("articleType", "gender", "baseColour")
"""The columns whose values are alike or not, coarse to fine."""

PHOTOS: Mapping[str, tuple[str, ...]] = {
    # Polo shirts and long-sleeved T-shirts stand under Tshirts in the catalog; what is thicker and
    # long-sleeved has no label of its own among the photos.
    "T-Shirt": ("Tshirts",),
    "Polo": ("Tshirts",),
    "Longsleeve": ("Tshirts", "Sweatshirts", "Sweaters"),
    "Hoodie": ("Sweatshirts",),
    "Shirt": ("Shirts",),
    # A blouse is a woman's top or shirt.
    "Blouse": ("Tops", "Shirts"),
    "Top": ("Tops",),
    "Dress": ("Dresses",),
    "Skirt": ("Skirts",),
    "Pants": (
        *("Trousers", "Jeans", "Track Pants", "Leggings", "Jeggings", "Tights", "Lounge Pants"),
    ),
    "Shorts": ("Shorts", "Lounge Shorts"),
    "Outwear": ("Jackets", "Rain Jacket", "Nehru Jackets"),
    # Of blazers the catalog has seven; other jackets of suits stand under Jackets.
    "Blazer": ("Blazers", "Jackets"),
    # Photos of shoes of any kind have this one label.
    "Shoes": (
        *("Casual Shoes", "Sports Shoes", "Formal Shoes", "Heels", "Flats"),
        *("Sandals", "Sports Sandals", "Flip Flops"),
    ),
    "Undershirt": ("Innerwear Vests", "Camisoles"),
    "Hat": ("Caps", "Hat"),
    # A baby's.
    "Body": ("Rompers",),
    # Whoever sorted the photos could not say what they show.
    "Not sure": (),
    "Skip": (),
    "Other": (),
}
"""Which articleTypes a label of the photos stands for; a photo of none is not asked about."""

IN_SHOP_RECALL_AT = (1, 10, 20, 30, 40)

QUERIES_OF_S2 = 600

FROZEN = "efficientnetlite0"
"""The network with ImageNet's weights alone: those of ResNet-50 cannot be had offline."""

_S4_SHARE = 10 / 49
"""Of the places of the last map, those whose colors S4 compares."""

_S4_COLOR = 0.1
_DEEP_AT_ONCE = 64

Similar = Callable[[np.ndarray], np.ndarray]
"""From places of queries, int (B,), to their similarity to a gallery, float (B, N)."""


@dataclass(frozen=True)
class Looks:
    """What N pictures look like, by every way.

    Attributes:
        answers: The model's.
        colors: float32 (N, COLORS), blocks of colors.
        frozen: float32 (N, D), pooled features of a network that has seen ImageNet alone, of the
            picture at the model's size.
        regions: float32 (N, 3 R), the mean colors of the places, a fifth of all, where its last map
            is strongest, the strongest first.
    """

    answers: Answers
    colors: np.ndarray
    frozen: np.ndarray
    regions: np.ndarray

    def __getitem__(self, places: np.ndarray) -> Looks:
        """Some of them."""
        scores = {level: of[places] for level, of in self.answers.scores.items()}
        answers = Answers(scores, self.answers.embedding[places])
        rest = {of.name: getattr(self, of.name)[places] for of in fields(self)[1:]}
        return Looks(answers, **rest)


@dataclass(frozen=True)
class Shop:
    """A catalog that can be searched.

    Attributes:
        ids: N products.
        split: (N,), of each.
        groups: (N,), of near-duplicates.
        labels: Of each column the values (N,).
        looks: Of the N products.
        recipe: Of the blocks.
        model: The folder of the SavedModel that answered.
        size: Height and width in pixels of its pictures.
    """

    ids: list[str]
    split: np.ndarray
    groups: np.ndarray
    labels: dict[str, np.ndarray]
    looks: Looks
    recipe: Recipe
    model: str
    size: tuple[int, int]

    def __getitem__(self, places: np.ndarray) -> Shop:
        """A part of it."""
        return replace(
            self,
            ids=[self.ids[place] for place in places],
            split=self.split[places],
            groups=self.groups[places],
            labels={name: of[places] for name, of in self.labels.items()},
            looks=self.looks[places],
        )

    @property
    def alike(self) -> list[np.ndarray]:
        """The labels, coarse to fine."""
        return [self.labels[name] for name in LABELS]


def shop_of(
    workspace: Path,
    labels: Path,
    kept: Path,
    size: int = 256,
    power: float = 0.5,
    frozen: bool = True,
) -> Shop:
    """The last run's catalog, with its model's answers.

    Args:
        workspace: The run's.
        labels: The catalog's CSV.
        kept: Where colors and the frozen network's features are kept.
        size: Of the block of features.
        power: See `Whitening`.
        frozen: Whether the frozen network's are needed.
    """
    tables = []
    for step, splits in (("TrainPredictions", ["train"]), ("Predictions", ["eval", "test"])):
        folder = _last(workspace, step, "predictions")
        tables += [table.read(folder, split) for split in splits]
    answers: pa.Table = pa.concat_tables(tables)
    ids = answers[features.ID].to_pylist()
    with open(labels, encoding="utf-8", newline="") as text:
        rows = {row["id"]: row for row in csv.DictReader(text)}
    split = np.array(answers["split"].to_pylist())
    levels = table.labels_of(answers.schema)
    embedding = table.matrix(answers, features.EMBEDDING).astype(np.float32)
    model = str(_last(workspace, "Trainer", "model") / "Format-Serving")
    sides = input_size(model)

    def pictures() -> list[bytes]:
        return pictures_of(workspace, ids)

    colors = kept_of(kept / "colors.npz", ids, lambda: {"colors": colors_of(pictures())})["colors"]
    deep = {name: np.zeros((len(ids), 0), np.float32) for name in ("frozen", "regions")}
    if frozen:
        file = kept / f"{FROZEN}_{sides[0]}x{sides[1]}.npz"
        deep = kept_of(file, ids, lambda: frozen_of(pictures(), sides))
    return Shop(
        ids=ids,
        split=split,
        groups=np.array(answers[features.GROUP].to_pylist()),
        labels={
            column: np.array([rows[name][column] for name in ids], object) for column in LABELS
        },
        looks=Looks(
            Answers({level: table.scores(answers, level) for level in levels}, embedding),
            colors,
            **deep,
        ),
        recipe=Recipe(levels, Whitening.fit(embedding[split == features.TRAIN], size, power)),
        model=model,
        size=sides,
    )


def _last(workspace: Path, step: str, output: str) -> Path:
    folders = glob.glob(str(workspace / "artifacts" / step / output / "*"))
    return Path(max(folders, key=lambda folder: int(Path(folder).name)))


def pictures_of(workspace: Path, ids: Sequence[str]) -> list[bytes]:
    """The products' pictures, encoded, of the last run's Examples."""
    examples = _last(workspace, "CatalogExampleGen", "examples")
    found = read_pictures(sorted(glob.glob(f"{examples}/Split-*/*")), ids)
    return [found[name] for name in ids]


def kept_of(
    file: Path, ids: list[str], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What a file has of these products, float32 (N, ...); made anew where it lacks one.

    It is kept as float16.
    """
    if file.is_file():
        with np.load(file) as arrays:
            found = dict(arrays)
        place_of = {name: place for place, name in enumerate(found.pop("ids").tolist())}
        if place_of.keys() >= set(ids):
            places = [place_of[name] for name in ids]
            return {name: of[places].astype(np.float32) for name, of in found.items()}
    # Any, for by its names NumPy could be given its own arguments, which are no arrays.
    made: dict[str, Any] = {name: of.astype(np.float16) for name, of in make().items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, ids=np.array(ids), **made)
    return {name: of.astype(np.float32) for name, of in made.items()}


def colors_of(pictures: Iterable[bytes]) -> np.ndarray:
    """Blocks of colors of encoded pictures."""
    return np.stack([color_block(upright_rgb(opened(picture))) for picture in pictures])


def frozen_of(pictures: Sequence[bytes], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """`frozen` and `regions` of `Looks`, of encoded pictures."""
    deep: dict[str, list[np.ndarray]] = {"frozen": [], "regions": []}
    compute = _frozen(size)
    for count, chunk in enumerate(_chunks(pictures)):
        for name, of in compute(chunk).items():
            deep[name].append(of)
        if count % 50 == 0:
            print(f"frozen features of {count * _DEEP_AT_ONCE:,}", file=sys.stderr, flush=True)
    return {name: np.concatenate(of).astype(np.float32) for name, of in deep.items()}


def _chunks(pictures: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(pictures), _DEEP_AT_ONCE):
        yield pictures[start : start + _DEEP_AT_ONCE]


def _frozen(size: tuple[int, int]) -> Callable[[Sequence[bytes]], dict[str, np.ndarray]]:
    """From encoded pictures to `Looks`' arrays of the frozen network."""
    # Here, because whoever looks at the kept ones need not wait for TensorFlow.
    import keras
    import tensorflow as tf

    from trainer.backbones import IMAGENET, build_backbone
    from trainer.picture_decoding import decode_picture

    backbone = build_backbone(
        FROZEN, image_height=size[0], image_width=size[1], filters=0, weights=IMAGENET
    )
    # It ends in the average of the places.
    of_places = backbone.layers[-1].input
    network = keras.Model(backbone.inputs, (backbone.output, of_places))
    places = of_places.shape[1] * of_places.shape[2]
    mean, deviation = (
        np.array(of, np.float32) for of in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def compute(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        decoded = tf.map_fn(
            lambda one: decode_picture(one, *size),
            encoded,
            fn_output_signature=tf.TensorSpec((*size, 3), tf.uint8),
        )
        pictures = tf.cast(decoded, tf.float32)
        pooled, maps = network(pictures, training=False)
        standardized = (pictures / 255 - mean) / deviation
        blocks = tf.image.resize(standardized, maps.shape[1:3], "area")
        strength = tf.reshape(tf.reduce_mean(maps, axis=-1), (-1, places))
        strongest = tf.math.top_k(strength, round(places * _S4_SHARE)).indices
        colors = tf.gather(tf.reshape(blocks, (-1, places, 3)), strongest, batch_dims=1)
        return {"frozen": pooled, "regions": tf.reshape(colors, (tf.shape(colors)[0], -1))}

    return lambda pictures: {
        name: of.numpy() for name, of in compute(tf.constant(list(pictures))).items()
    }


def input_size(model: str) -> tuple[int, int]:
    """Height and width of the pictures that a model looks at."""
    # The Keras model lies beside; to load it would take its classes.
    with zipfile.ZipFile(Path(model).parent / "Format-Keras" / "model.keras") as file:
        given = json.loads(file.read("config.json"))["config"]["layers"][0]
    _, height, width, _ = given["config"]["batch_shape"]
    return height, width


def asked(model: str, pictures: Sequence[bytes]) -> tuple[Answers, dict[str, list[str]]]:
    """What a model says of encoded pictures, and its labels."""
    import tensorflow as tf

    loaded = tf.saved_model.load(model)
    everything = loaded.signatures[features.EVERYTHING_SIGNATURE]
    found: list[Answers] = []
    labels: dict[str, list[str]] = {}
    for chunk in _chunks(pictures):
        outputs = everything(image_bytes=tf.constant(list(chunk)))
        arrays = {name: of.numpy() for name, of in outputs.items()}
        answers, labels = Answers.of_outputs(arrays)
        found.append(answers)
    scores = {level: np.concatenate([of.scores[level] for of in found]) for level in labels}
    return Answers(scores, np.concatenate([of.embedding for of in found])), labels


def looks_of(shop: Shop, pictures: Sequence[bytes]) -> Looks:
    """What other pictures look like, to be sought in a catalog."""
    answers, labels = asked(shop.model, pictures)
    shop.recipe.check(labels)
    return Looks(answers, colors_of(pictures), **frozen_of(pictures, shop.size))


def ways(
    shop: Shop,
    queries: Looks,
    weights: Mapping[str, float],
    expansion: Expansion,
    left_out: Callable[[np.ndarray], np.ndarray],
    train: Looks,
) -> dict[str, Similar]:
    """Every way to search: its name, and how similar queries are by it to a catalog's products.

    Args:
        shop: The catalog.
        queries: What is asked for.
        weights: Of the blocks, where they differ from the recipe's.
        expansion: Of the blocks' queries.
        left_out: From queries, int (B,), to bool (B, N): what they do not look through.
        train: Of the products that projections are fitted on.
    """
    whitened = Whitening.fit(unit(train.frozen), 128)

    def inner(of: Callable[[Looks], np.ndarray]) -> Similar:
        asked_for, gallery = of(queries), of(shop.looks)
        return lambda places: asked_for[places] @ gallery.T

    recipe = shop.recipe
    vectors = {
        "queries": recipe.joined(queries.answers, queries.colors),
        "gallery": recipe.joined(shop.looks.answers, shop.looks.colors),
    }
    blocks = of_blocks(recipe.space, vectors["queries"], vectors["gallery"], weights)
    return {
        "colors alone": inner(lambda of: of.colors),
        f"{FROZEN}, ImageNet": inner(lambda of: unit(of.frozen)),
        "the same, PCA 128 whitened": inner(lambda of: whitened(unit(of.frozen))),
        "S4's way": _s4(queries, shop.looks),
        "the embedding as served": inner(lambda of: of.answers.embedding),
        "blocks": blocks,
        "blocks, expanded": expanded(
            recipe.space, vectors["queries"], vectors["gallery"], weights, expansion, left_out
        ),
    }


def of_blocks(
    space: Space, queries: np.ndarray, gallery: np.ndarray, weights: Mapping[str, float]
) -> Similar:
    """The score of `serving.search` of vectors to vectors, under weights."""
    weighted = space.query(space.stored(queries), space.weights_for(weights))
    rows = space.rows(space.stored(gallery))
    return lambda places: weighted[places] @ rows.T


def expanded(
    space: Space,
    queries: np.ndarray,
    gallery: np.ndarray,
    weights: Mapping[str, float],
    expansion: Expansion,
    left_out: Callable[[np.ndarray], np.ndarray],
) -> Similar:
    """The same after `Expansion`, as `ProductIndex.search` does it, of what is looked through."""
    stored, products = space.stored(queries), space.stored(gallery)
    of = space.weights_for(weights)
    first = of_blocks(space, queries, gallery, weights)

    def similar(places: np.ndarray) -> np.ndarray:
        scores = np.where(left_out(places), -np.inf, first(places))
        nearest = np.argsort(-scores, axis=1)[:, : expansion.products]
        near = np.take_along_axis(scores, nearest, axis=1)
        shares = np.maximum(near / of.sum(), 0) ** expansion.alpha
        moved = stored[places] + np.einsum("bk,bkd->bd", shares, products[nearest])
        return space.query(space.stored(moved), of) @ space.rows(products).T

    return similar


def _s4(queries: Looks, gallery: Looks) -> Similar:
    """-|deep| - .1 |colors|, Euclidean, as deep-fashion-retrieval (S4) has it.

    Of its faults the order of the regions is put right, which was arbitrary.
    """

    def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
        return np.sqrt(np.maximum(squares, 0))

    return lambda places: (
        -distances(queries.frozen[places], gallery.frozen)
        - _S4_COLOR * distances(queries.regions[places], gallery.regions)
    )


def left_out_of(queries: np.ndarray, gallery: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From queries, int (B,), to whose group they share, bool (B, N)."""
    codes = np.unique(np.concatenate([queries, gallery]), return_inverse=True)[1]
    first, second = codes[: len(queries)], codes[len(queries) :]
    return lambda places: first[places][:, None] == second


def nobody(gallery: int) -> Callable[[np.ndarray], np.ndarray]:
    """Leaves out nothing."""
    return lambda places: np.zeros((len(places), gallery), bool)


def gains_of(
    alike: Alike, left_out: Callable[[np.ndarray], np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """Gains of a gallery's products, but of what is left out."""
    return lambda places: np.where(left_out(places), LEFT_OUT, alike.gains(places))


def s2(shop: Shop, split: str, count: int, search: Search) -> dict[str, Quality]:
    """As S2 did it: mean average precision with the query counted, all else without it."""
    kept = shop[np.flatnonzero(np.isin(shop.labels["articleType"], CLASSES))]
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(kept.split == split))[:count]
    alike = Alike([of[drawn] for of in kept.alike], kept.alike)
    itself = left_out_of(drawn, np.arange(len(kept.ids)))
    told = {}
    for name, similar in search(kept, kept.looks[drawn], itself).items():
        counted, without = (
            quality.find(
                similar, gains_of(alike, out), len(drawn), len(kept.ids), levels=len(LABELS)
            )
            for out in (nobody(len(kept.ids)), itself)
        )
        told[name] = quality.judge(
            with_itself(counted, without),
            groups=kept.groups[drawn],
            classes=kept.labels["articleType"][drawn],
        )
    return told


def with_itself(counted: Found, without: Found) -> Found:
    """`without`, but mean average precision as of `counted`, and 0 where nothing is all alike."""
    of = "mean_average_precision"

    def joined(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, Any]:
        return second | {of: first[of], _THREE: np.nan_to_num(second[_THREE])}

    return Found(
        joined(counted.values, without.values),
        joined(counted.chance, without.chance),
        joined(counted.best, without.best),
        without.gallery,
    )


def honest(shop: Shop, split: str, search: Search, *, part: bool) -> dict[str, Quality]:
    """All queries of a part, among all products or that part's, without their near-duplicates."""
    searched = shop[np.flatnonzero(shop.split == split)] if part else shop
    queries = np.flatnonzero(searched.split == split)
    left_out = left_out_of(searched.groups[queries], searched.groups)

    def of_products(similar: Similar) -> Similar:
        return lambda places: similar(np.searchsorted(queries, places))

    return {
        name: quality.honest(
            of_products(similar),
            list(searched.labels.items()),
            searched.groups,
            queries,
            slices={"gender": searched.labels["gender"]},
        )
        for name, similar in search(searched, searched.looks[queries], left_out).items()
    }


def photos(shop: Shop, folder: Path, search: Search) -> dict[str, Quality]:
    """Snapshots against the catalog."""
    with open(folder / "labels.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if PHOTOS[row["label"]]]
    rows = [row for row in rows if (folder / "images" / f"{row['image']}.jpg").is_file()]
    pictures = [(folder / "images" / f"{row['image']}.jpg").read_bytes() for row in rows]
    label = np.array([row["label"] for row in rows])
    kinds = shop.labels["articleType"]
    relevant = {of: np.isin(kinds, wanted) for of, wanted in PHOTOS.items()}
    told = {}
    none = nobody(len(shop.ids))
    for name, similar in search(shop, looks_of(shop, pictures), none).items():
        found = quality.find(
            similar,
            lambda places: np.stack([relevant[of] for of in label[places]]).astype(int),
            len(rows),
            len(shop.ids),
            levels=1,
        )
        told[name] = quality.judge(
            found,
            groups=np.array([row["sender_id"] for row in rows]),
            classes=label,
            slices={"label": label, "kids": np.array([row["kids"] for row in rows])},
        )
    return told


@dataclass(frozen=True)
class InShop:
    """The part of an In-shop catalog that judges: pictures, whose item each shows, and which side.

    Attributes:
        pictures: N paths.
        boxes: Of each the box of the garment.
        items: (N,).
        categories: (N,).
        is_query: bool (N,).
    """

    pictures: list[Path]
    boxes: list[tuple[int, int, int, int] | None]
    items: np.ndarray
    categories: np.ndarray
    is_query: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> InShop:
        """Reads the official files."""
        columns = ("item_id", "category", "partition")
        # Which columns are its levels the format says.
        catalog = Catalog.model_validate(
            {"folder": str(folder), "format": INSHOP, "crop": True, "slices": list(columns)}
        )
        source = source_of(catalog.model_dump(), Split().model_dump())
        rows: list[tuple[Path, Product]] = []
        for row in source.rows({}, 0, 0.1):
            if isinstance(row.result, Product) and row.result.split == features.TEST:
                rows.append((folder / catalog.images / row.picture, row.result))
        item, category, partition = np.array([of.slices for _, of in rows]).T
        return cls(
            [picture for picture, _ in rows],
            [of.box for _, of in rows],
            item,
            category,
            partition == "query",
        )

    def encoded(self) -> list[bytes]:
        """The pictures cut to their boxes, as PNG."""
        made = []
        for path, box in zip(self.pictures, self.boxes, strict=True):
            stream = io.BytesIO()
            cropped(upright_rgb(opened(path.read_bytes())), box).save(stream, "PNG")
            made.append(stream.getvalue())
        return made

    def judge(self, similar: Similar) -> Quality:
        """Of a search among the gallery, recall of the query's item."""
        item, gallery = self.items[self.is_query], self.items[~self.is_query]
        found = quality.find(
            similar,
            Alike([item], [gallery]).gains,
            len(item),
            len(gallery),
            levels=1,
            recall_at=IN_SHOP_RECALL_AT,
        )
        return quality.judge(found, groups=item, classes=self.categories[self.is_query])


def in_shop(shop: Shop, folder: Path, search: Search) -> dict[str, Quality]:
    """DeepFashion's In-shop benchmark, by the model of whatever catalog."""
    given = InShop.read(folder)
    looks = looks_of(shop, given.encoded())
    gallery = replace(shop, looks=looks[np.flatnonzero(~given.is_query)])
    none = nobody(int((~given.is_query).sum()))
    found = search(gallery, looks[np.flatnonzero(given.is_query)], none)
    return {name: given.judge(similar) for name, similar in found.items()}


Search = Callable[[Shop, Looks, Callable[[np.ndarray], np.ndarray]], Mapping[str, Similar]]
"""`ways` of a shop, queries and what they leave out."""


def chosen(shop: Shop, weights: Mapping[str, float], count: int = 1500) -> None:
    """Tries on the eval part, one thing after another, what makes nDCG and "all three" better."""
    drawn = np.random.default_rng(1).permutation(np.flatnonzero(shop.split == features.EVAL))
    drawn = np.sort(drawn[:count])
    left_out = left_out_of(shop.groups[drawn], shop.groups)
    gains = gains_of(Alike([of[drawn] for of in shop.alike], shop.alike), left_out)(
        np.arange(len(drawn))
    )
    embedding = shop.looks.answers.embedding
    train = shop.split == features.TRAIN

    def parts(recipe: Recipe) -> dict[str, np.ndarray]:
        """Of each block the similarities, float16 (Q, N)."""
        vectors = recipe.space.stored(recipe.joined(shop.looks.answers, shop.looks.colors))
        ends = np.cumsum(list(recipe.space.sizes.values()))
        return {
            name: (of[drawn] @ of.T).astype(np.float16)
            for name, of in zip(
                recipe.space.sizes, np.split(vectors, ends[:-1], axis=1), strict=True
            )
        }

    def tried(of: Mapping[str, np.ndarray], weights: Mapping[str, float], said: str) -> Found:
        def similar(places: np.ndarray) -> np.ndarray:
            summed = np.zeros((len(places), len(shop.ids)), np.float32)
            for name, weight in weights.items():
                if weight:
                    summed += weight * of[name][places]
            return summed

        return fine(
            quality.find(similar, lambda places: gains[places], *gains.shape, **_FINE), said
        )

    def fine(found: Found, said: str) -> Found:
        print(f"{said:60} {means(found)}", flush=True)
        return found

    sizes = [(size, power) for size in (64, 128, 256, 512) for power in (0.0, 0.5, 1.0)]
    kept = parts(shop.recipe)
    now = dict(shop.recipe.space.weights) | dict(weights)
    best = tried(kept, now, f"{now}")
    for size, power in sizes:
        of = Whitening.fit(embedding[train], size, power)(embedding)
        similarities = {FEATURES: (of[drawn] @ of.T).astype(np.float16)}
        tried(kept | similarities, now, f"features: {size} numbers, power {power}")
    for _ in range(2):
        for name in now:
            # What all weights are multiplied by changes nothing, so that one of them stays.
            for value in () if name == KIND else _WEIGHTS:
                found = tried(kept, now | {name: value}, f"{name} {value}")
                told = quality.difference(found, best, _NDCG, shop.groups[drawn])
                if told.value > told.error:
                    best, now = found, now | {name: value}
    print(f"Of these, each better by more than a standard error than before it: {now}")
    vectors = shop.recipe.joined(shop.looks.answers, shop.looks.colors)
    for products in (3, 5, 10):
        for alpha in (0.0, 1.0, 3.0):
            similar = expanded(
                shop.recipe.space,
                vectors[drawn],
                vectors,
                now,
                Expansion(products, alpha),
                left_out,
            )
            found = quality.find(similar, lambda places: gains[places], *gains.shape, **_FINE)
            fine(found, f"expanded by {products}, alpha {alpha}")


def means(found: Found) -> str:
    """The fine figures, and that of the kind alone, for people."""
    return "  ".join(
        f"{said} {np.nanmean(found.values[name]):.4f}"
        for name, said in ((_NDCG, "nDCG"), (_THREE, "all three"), (_HITS, "hits"))
    )


_FINE: dict[str, Any] = {"levels": len(LABELS), "whole": False}

_HITS = f"precision_at_{quality.FIRST}"
_NDCG = f"ndcg_at_{quality.FIRST}"
_THREE = f"{ALL_ALIKE}precision_at_{quality.FIRST}"

_WEIGHTS = (0.0, 0.35, 0.7, 1.2, 1.8, 2.5)

_SHOWN = {
    "mean_average_precision": "mAP",
    "map_at_r": "MAP@R",
    "r_precision": "R-precision",
    _HITS: f"hits at {quality.FIRST}",
    "recall_at_1": "recall at 1",
    **{f"recall_at_{k}": f"at {k}" for k in IN_SHOP_RECALL_AT[1:]},
    _THREE: "all three alike",
    f"{ALL_ALIKE}recall_at_1": "the first is",
    _NDCG: f"nDCG at {quality.FIRST}",
}


def shown(title: str, told: Mapping[str, Quality], macro: Sequence[str] = ("blocks",)) -> None:
    """Prints a table, with half of each interval's width."""
    first = next(iter(told.values()))
    names = [name for name in _SHOWN if name in first.micro]
    lone = {first.micro[name].lone for name in names}
    print(f"\n### {title}: {first.queries:,} queries, {first.gallery:,} products\n")
    print(f"| | {' | '.join(_SHOWN[name] for name in names)} |")
    print(f"| --- |{' --- |' * len(names)}")
    _row("chance", [first.micro[name].chance for name in names])
    _row("a perfect order", [first.micro[name].best for name in names])
    for way, of in told.items():
        _row(way, [of.micro[name] for name in names])
    for way in macro:
        _row(f"{way}, macro", [told[way].macro[name] for name in names])
        for column, values in told[way].slices.items():
            for value, figures in values.items():
                queries = max(of.queries + of.lone for of in figures.values())
                said = f"{way}, {column} {value} ({queries})"
                _row(said, [figures[name] for name in names])
    print(f"\nQueries that nothing is relevant to, by figure: {sorted(lone)}.", flush=True)


def _row(title: str, figures: Sequence[Figure | float]) -> None:
    cells = [
        f"{of:.3f}"
        if isinstance(of, float)
        else f"{of.value:.3f} ±{(of.high - of.low) / 2:.3f}".replace("0.", ".")
        for of in figures
    ]
    print(f"| {title} | {' | '.join(cell.replace('0.', '.') for cell in cells)} |")


def main() -> None:
    """Prints the protocols' tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--labels", type=Path, required=True, help="the catalog's CSV")
    parser.add_argument("--split", default=features.TEST, help="where the queries are from")
    parser.add_argument(
        "--protocol", action="append", choices=["s2", "honest", "photos", "in_shop"]
    )
    parser.add_argument("--photos", type=Path, help="folder of labels.csv and images/")
    parser.add_argument("--in-shop", type=Path, help="folder of the official files")
    parser.add_argument("--choose", action="store_true", help="try others on eval, and stop")
    parser.add_argument("--way", action="append", help="only these; all by default")
    parser.add_argument("--queries", type=int, default=QUERIES_OF_S2, help="of s2")
    parser.add_argument("--weight", action="append", default=[], metavar="BLOCK=WEIGHT")
    parser.add_argument("--size", type=int, default=256, help="of the block of features")
    parser.add_argument("--power", type=float, default=0.5, help="of its whitening")
    parser.add_argument("--expand", type=int, default=Expansion.products, help="products")
    parser.add_argument("--alpha", type=float, default=Expansion.alpha, help="of the expansion")
    parser.add_argument("--kept", type=Path, help="where frozen features are kept")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    weights = {name: float(value) for name, value in (of.split("=") for of in arguments.weight)}
    kept = arguments.kept or arguments.workspace / "search_quality"
    shop = shop_of(arguments.workspace, arguments.labels, kept, arguments.size, arguments.power)
    if arguments.choose:
        chosen(shop, weights)
        return
    train = shop.looks[np.flatnonzero(shop.split == features.TRAIN)]
    expansion = Expansion(arguments.expand, arguments.alpha)

    def search(
        searched: Shop, queries: Looks, left_out: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, Similar]:
        found = ways(searched, queries, weights, expansion, left_out, train)
        return {name: found[name] for name in arguments.way or found}

    wanted = arguments.protocol or [
        *("s2", "honest"),
        *(["photos"] if arguments.photos else []),
        *(["in_shop"] if arguments.in_shop else []),
    ]
    print(f"Weights {dict(shop.recipe.space.weights) | weights}; {expansion}.")
    told: dict[str, dict[str, Quality]] = {}

    def tell(title: str, of: dict[str, Quality]) -> None:
        told[title] = of
        shown(title, of, [way for way in ("blocks",) if way in of])

    for protocol in wanted:
        if protocol == "s2":
            tell("s2", s2(shop, arguments.split, arguments.queries, search))
        elif protocol == "honest":
            tell("honest", honest(shop, arguments.split, search, part=False))
            tell("honest, the part alone", honest(shop, arguments.split, search, part=True))
        elif protocol == "photos":
            tell("photos", photos(shop, arguments.photos, search))
        else:
            tell("in_shop", in_shop(shop, arguments.in_shop, search))
    if arguments.json:
        plain = {
            title: {way: one.to_json() for way, one in of.items()} for title, of in told.items()
        }
        arguments.json.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
