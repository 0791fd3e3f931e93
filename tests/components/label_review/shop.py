"""A generated catalog whose features show its labels, of which some are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.label_review import frozen
from components.label_review.review import Options

TREE = {
    "Top": ("Shirt", "Tee", "Hoodie"),
    "Shoe": ("Boot", "Sneaker"),
    "Bag": ("Clutch", "Backpack", "Purse"),
}
PAIRS = [(category, one) for category, of in TREE.items() for one in of]
OPTIONS = Options(folds=5, neighbors=10, least_products=5)


class Shop:
    """Products drawn around a center for each pair of category and sub-category.

    Args:
        folder: Where its features are written.
        products: How many.
        seed: Of the draws.
    """

    def __init__(self, folder: Path, products: int = 400, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.folder = folder
        self.truth = generator.integers(0, len(PAIRS), products)
        self.pairs = [PAIRS[of] for of in self.truth]
        self.gender = [("Men", "Women")[of] for of in generator.integers(0, 2, products)]
        self.colours = [
            sorted({"red", "blue", "green"} - {("red", "blue", "green")[of]})
            for of in generator.integers(0, 3, products)
        ]
        self.season = [("Summer", "Winter")[of] for of in generator.integers(0, 2, products)]
        self.ids = [f"p{number}" for number in range(products)]
        self.groups = list(self.ids)
        self.products = list(self.ids)
        centers = generator.normal(size=(len(PAIRS), 12))
        shown = [
            centers[self.truth],
            np.array([[1.5 * (of == "Men")] for of in self.gender]),
            np.array(
                [[2.0 * (name in of) for name in ("red", "blue", "green")] for of in self.colours]
            ),
        ]
        noise = generator.normal(scale=0.35, size=(products, 16))
        # What pictures do not show: the season.
        self.features = np.concatenate(shown, axis=1) + noise

    def written(self) -> list[str]:
        """The files that `frozen.Describe` would write, two of them."""
        files = []
        for number, places in enumerate(np.array_split(np.arange(len(self.ids)), 2)):
            rows = places.tolist()
            table = pa.table(
                {
                    "id": [self.ids[place] for place in rows],
                    "product": [self.products[place] for place in rows],
                    "group": [self.groups[place] for place in rows],
                    "split": ["train"] * len(rows),
                    "category/true": [self.pairs[place][0] for place in rows],
                    "subcategory/true": [self.pairs[place][1] for place in rows],
                    "gender/true": pa.array([self.gender[place] for place in rows], pa.string()),
                    "attributes/true": [
                        [
                            *(f"colour={one}" for one in self.colours[place]),
                            f"season={self.season[place]}",
                        ]
                        for place in rows
                    ],
                    frozen.DIGEST: pa.array(np.array(rows, np.uint64)),
                    frozen.FEATURES: pa.FixedSizeListArray.from_arrays(
                        pa.array(self.features[places].astype(np.float16).ravel(), pa.float16()), 16
                    ),
                }
            )
            path = self.folder / f"part-{number}.parquet"
            pq.write_table(table, path)
            files.append(str(path))
        return files

    def flip(self, places: Sequence[int], seed: int = 1) -> dict[str, tuple[str, str]]:
        """Gives products other labels, of their category or of another; returns the true ones."""
        generator = np.random.default_rng(seed)
        true = {}
        for place in places:
            true[self.ids[place]] = self.pairs[place]
            others = [pair for pair in PAIRS if pair != self.pairs[place]]
            self.pairs[place] = others[generator.integers(0, len(others))]
        return true
