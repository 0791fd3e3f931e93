"""How alike the products are that a vector finds, by the protocol of upc-aidl-2021-image-retrieval.

    python benchmarks/search_quality.py WORKSPACE --labels DIR/labels.csv [--split eval]

WORKSPACE is of a run of fashion_articles.yaml with `evaluation.answer_train`, so that its tables
have the answers about every product. As there, 22 classes of clothes and shoes are kept, 600
queries are drawn, all kept products are looked through, and relevant is what has the query's
articleType: mean average precision over the whole order, the query itself counted, and the share of
relevant products among the first 15 without it ("hits"). That says nothing of looks, so beside it:
the share of the first 15 with articleType, gender and baseColour alike, and nDCG at 15 with a gain
of 1 for articleType, 2 with gender, 3 with baseColour as well. `honest` leaves out the query and
everything of its group of near-duplicates. Weights were chosen with `--split eval`.
"""

from __future__ import annotations

import argparse
import csv
import glob
import io
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

sys.path[0] = str(Path(__file__).parents[1])
from components.predictions import table  # noqa: E402
from components.report.products import read_pictures  # noqa: E402
from schema import features  # noqa: E402
from serving.search import blocks  # noqa: E402

CLASSES = (
    *("Tshirts", "Shirts", "Casual Shoes", "Sports Shoes", "Tops", "Heels", "Flip Flops"),
    *("Sandals", "Formal Shoes", "Jeans", "Shorts", "Trousers", "Flats", "Dresses", "Track Pants"),
    *("Sweatshirts", "Sweaters", "Jackets", "Nightdress", "Leggings", "Night suits", "Skirts"),
)
"""What the protocol keeps of clothes and shoes: classes of more than 100 products, without those
that its authors took out."""

WEIGHTS = {"kind": 1.8, "features": 0.7, "gender": 0.7, "colour": 1.2}

FIRST = 15

_DISCOUNT = 1 / np.log2(np.arange(2, FIRST + 2))


def read(workspace: Path) -> pa.Table:
    """The last model's answers about all products."""
    tables = []
    for step, splits in (("TrainPredictions", ["train"]), ("Predictions", ["eval", "test"])):
        folders = glob.glob(str(workspace / "artifacts" / step / "predictions" / "*"))
        last = max(folders, key=lambda folder: int(Path(folder).name))
        tables += [table.read(last, split) for split in splits]
    return pa.concat_tables(tables)


def scores_of(of: pa.Table, level: str) -> np.ndarray:
    """The scores of a level's labels, of those that the table keeps, float32 (N, C)."""
    labels = table.labels_of(of.schema)[level]
    code_of = {label: code for code, label in enumerate(labels)}
    scores = np.zeros((of.num_rows, len(labels)), np.float32)
    kept = zip(of[f"{level}/labels"].to_pylist(), of[f"{level}/scores"].to_pylist(), strict=True)
    for row, (names, values) in zip(scores, kept, strict=True):
        row[[code_of[name] for name in names]] = values
    return scores


def colours(workspace: Path, ids: list[str]) -> np.ndarray:
    """Each product's block of colors."""
    folders = glob.glob(str(workspace / "artifacts" / "CatalogExampleGen" / "examples" / "*"))
    last = max(folders, key=lambda folder: int(Path(folder).name))
    pictures = read_pictures(sorted(glob.glob(f"{last}/Split-*/*")), ids)
    return np.stack([blocks.color_block(Image.open(io.BytesIO(pictures[name]))) for name in ids])


def quality(
    similar: np.ndarray,
    queries: np.ndarray,
    truth: Mapping[str, np.ndarray],
    groups: np.ndarray,
    *,
    honest: bool,
) -> np.ndarray:
    """Means over the queries: average precision, hits, all three alike, nDCG.

    Args:
        similar: float (Q, N), of every query to every kept product.
        queries: int (Q,), their places among the kept ones.
        truth: `articleType`, `gender`, `baseColour`, each (N,).
        groups: (N,), of near-duplicates.
        honest: Whether the query's group is left out.
    """
    told = []
    for query, scores in zip(queries, similar, strict=True):
        order = np.argsort(-scores, kind="stable")
        if honest:
            order = order[groups[order] != groups[query]]
        kind = truth["articleType"][order] == truth["articleType"][query]
        precision = np.cumsum(kind)[kind] / (np.flatnonzero(kind) + 1)
        others = order != query
        kind = kind[others]
        gender = kind & (truth["gender"][order] == truth["gender"][query])[others]
        colour = gender & (truth["baseColour"][order] == truth["baseColour"][query])[others]
        gain = kind.astype(float) + gender + colour
        ideal = np.sort(gain)[::-1][:FIRST] @ _DISCOUNT
        told.append(
            (
                precision.mean() if len(precision) else np.nan,
                kind[:FIRST].mean(),
                colour[:FIRST].mean(),
                gain[:FIRST] @ _DISCOUNT / ideal if ideal else np.nan,
            )
        )
    return np.nanmean(told, axis=0)


def main() -> None:
    """Prints the figures of what is served today and of the blocks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--labels", type=Path, required=True, help="the catalog's CSV")
    parser.add_argument("--split", default="test", help="where the queries are from")
    parser.add_argument("--queries", type=int, default=600)
    parser.add_argument("--weight", action="append", default=[], metavar="BLOCK=WEIGHT")
    arguments = parser.parse_args()
    weights = WEIGHTS | {
        name: float(value) for name, value in (of.split("=") for of in arguments.weight)
    }

    answers = read(arguments.workspace)
    ids = answers[features.ID].to_pylist()
    with open(arguments.labels, encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    columns = ("articleType", "gender", "baseColour")
    truth = {column: np.array([rows[name][column] for name in ids]) for column in columns}
    split = np.array(answers["split"].to_pylist())
    embedding = table.matrix(answers, features.EMBEDDING).astype(np.float32)
    fitted = blocks.Whitening.fit(embedding[split == "train"], 256, power=0.5)
    made = {
        "kind": blocks.label_block(scores_of(answers, features.SUBCATEGORY)),
        "features": fitted(embedding),
        "gender": blocks.label_block(scores_of(answers, "gender")),
        "colour": colours(arguments.workspace, ids),
        "embedding": embedding,
    }

    kept = np.flatnonzero(np.isin(truth["articleType"], CLASSES))
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(split[kept] == arguments.split))
    queries = drawn[: arguments.queries]
    groups = np.array(answers[features.GROUP].to_pylist())[kept]
    truth = {column: of[kept] for column, of in truth.items()}
    print(f"{len(queries)} queries of {arguments.split}, {len(kept):,} products, weights {weights}")
    print(f"{'':24} {'mAP':>6} {'hits':>6} {'all 3':>6} {'nDCG':>6}")
    for name, chosen in (
        ("embedding alone", {"embedding": 1.0}),
        ("colour alone", {"colour": 1.0}),
        ("blocks", weights),
    ):
        similar = sum(
            weight * (made[block][kept][queries] @ made[block][kept].T)
            for block, weight in chosen.items()
        )
        for honest in (False, True):
            of = quality(np.asarray(similar), queries, truth, groups, honest=honest)
            protocol = "honest" if honest else "s2"
            print(
                f"{name:16} {protocol:7} " + " ".join(f"{value:6.3f}" for value in of), flush=True
            )


if __name__ == "__main__":
    main()
