"""How many of the labels that were made wrong the review of labels finds first.

Of a copy of a catalog's labels 5 % of the sub-categories are flipped: half to another one of their
category, drawn at random, and half along the confusions that cross-fitted heads make on the labels
as they are, which is hard: what models take for each other looks alike. A flipped sub-category
takes the category along that it stands under. Then all products are ranked by how probably their
label is wrong: by the review, by cleanlab on the same heads' probabilities, by those alone, and by
the nearest neighbors alone. Labels that were wrong before count as false alarms of all of them.

    python benchmarks/label_review.py CONFIG --set catalog.folder=DIR [--workspace W] [--rounds 3]

Printed are, a round each: average precision, the part of flipped labels among the first 50, 200 and
as many as were flipped, and what of either half is among these. The workspace keeps the features,
which take a quarter of an hour for 40,000 products on two cores.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from cleanlab.rank import get_label_quality_scores
from rich.console import Console
from sklearn.metrics import average_precision_score

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import _catalog
from components.label_review import frozen, judging, review
from components.label_review.executor import described_files
from components.label_review.frozen import Network
from components.label_review.heads import Level
from components.label_review.products import TREE, Products
from pipeline.beam_runner import LOCAL
from pipeline.config import Config
from pipeline.console import StepsView
from pipeline.local_runner import ObservedLocalDagRunner, local_pipeline
from pipeline.workspace import Workspace

PART = 0.05
AT_RANDOM, CONFUSED = 1, 2


def main() -> None:
    """Prints a table a round."""
    parser = _catalog.parser(__doc__.splitlines()[0])
    parser.set_defaults(rounds=1)
    parser.add_argument("--workspace", type=Path, help="keeps the Examples and the features")
    arguments = parser.parse_args()
    with _catalog.configured(arguments) as (config, scratch):
        workspace = Workspace(arguments.workspace or scratch / "workspace")
        workspace.create()
        with workspace.locked():
            files = described(config, workspace)
        products = Products.of(frozen.described(files), [], [])
        components, deviation = review.reduced(files, products)
        options = review.Options(**config.label_review.model_dump(exclude={"enabled"}))

        def ask(of: Products) -> judging.Said:
            return review.ask(of, components, deviation, options)[1][TREE]

        started = time.monotonic()
        clean = ask(products)
        right = (clean.heads.argmax(axis=1) == products.levels[TREE].given).mean()
        print(
            f"{len(products):,} products, {len(products.pairs)} pairs of category and "
            f"sub-category; heads are right out of sample in {right:.4f} (of the labels as they "
            f"are), {time.monotonic() - started:.0f} s"
        )
        for number in range(arguments.rounds):
            flipped, kind = flip(products, clean.heads, np.random.default_rng(number))
            said = ask(flipped)
            level = flipped.levels[TREE]
            own = np.arange(len(level.given)), level.given
            cleanlab = {
                f"cleanlab, {name.replace('_', ' ')}": 1
                - get_label_quality_scores(level.given, said.heads.astype(float), method=name)
                for name in ("normalized_margin", "self_confidence")
            }
            ranked = {
                "the review": judging.suspicion(said, level, options.least_products)[0],
                **cleanlab,
                f"{options.neighbors} neighbors alone": 1 - said.votes[own] / options.neighbors,
            }
            print(f"\n| round {number + 1}: {np.count_nonzero(kind):,} flipped | " + HEADINGS)
            for name, score in ranked.items():
                print(f"| {name} | {figures(score, kind)} |")


HEADINGS = (
    "average precision | first 50 | first 200 | as many as flipped | of those at random | of those "
    "confused |\n| --- | --- | --- | --- | --- | --- | --- |"
)


def described(config: Config, workspace: Workspace) -> list[str]:
    """The files with the features of all products, computed where they are not there yet."""
    with StepsView(Console(stderr=True)) as view:
        runner = ObservedLocalDagRunner(view, last="CatalogExampleGen")
        runner.run(local_pipeline(config, workspace))
    [examples] = runner.results["CatalogExampleGen"].outputs["examples"]
    return described_files(
        examples,
        Network.of(config.model.model_dump()),
        [],
        str(workspace.features),
        lambda: beam.Pipeline(options=PipelineOptions(LOCAL)),
    )


def flip(
    products: Products, heads: np.ndarray, generator: np.random.Generator
) -> tuple[Products, np.ndarray]:
    """Flips labels.

    Args:
        products: With the labels as they are.
        heads: float32 (N, K), what heads say of these.
        generator: Draws.

    Returns:
        The products with the flipped labels, and int64 (N,): 0, `AT_RANDOM` or `CONFUSED`.
    """
    level = products.levels[TREE]
    given, k = level.given.copy(), len(level.labels)
    category = np.array([pair[0] for pair in products.pairs])
    confusions = np.zeros((k, k))
    np.add.at(confusions, (given, heads.argmax(axis=1)), 1)
    np.fill_diagonal(confusions, 0)
    kind = np.zeros(len(given), np.int64)
    wanted = {AT_RANDOM: int(PART * len(given)) // 2, CONFUSED: int(PART * len(given)) // 2}
    for place in generator.permutation(len(given)):
        label = given[place]
        for of_kind, weights in (
            (AT_RANDOM, (category == category[label]) & (np.arange(k) != label)),
            (CONFUSED, confusions[label]),
        ):
            if wanted[of_kind] and weights.sum() and not kind[place]:
                given[place] = generator.choice(k, p=weights / weights.sum())
                kind[place] = of_kind
                wanted[of_kind] -= 1
    return replaced(products, Level(level.labels, given)), kind


def replaced(products: Products, level: Level) -> Products:
    """The products with other labels."""
    return Products(
        products.ids,
        products.pictures,
        products.group,
        products.of_picture,
        products.pairs,
        {TREE: level},
    )


def figures(score: np.ndarray, kind: np.ndarray) -> str:
    """The cells of a row of the table."""
    order = np.argsort(-score, kind="stable")
    hits = kind[order] > 0
    found = kind[order][: np.count_nonzero(kind)]
    cells = [
        average_precision_score(kind > 0, score),
        *(hits[:count].mean() for count in (50, 200, len(found))),
        *((found == of).sum() / (kind == of).sum() for of in (AT_RANDOM, CONFUSED)),
    ]
    return " | ".join(f"{cell:.3f}" for cell in cells)


if __name__ == "__main__":
    main()
