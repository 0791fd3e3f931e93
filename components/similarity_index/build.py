"""Makes the index of a catalog, of a model's answers about it and of its pictures' colors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tensorflow.core.example.example_pb2 import Example

from components.parts import examples_of
from components.predictions import table
from schema import features
from schema.errors import UserError
from serving.search import FaissIndex, calibrate
from serving.search.blocks import Whitening
from serving.search.catalog import MODEL_KEY, IndexedCatalog
from serving.search.columns import Cell
from serving.search.faiss_index import EXACT_BELOW
from serving.search.recipe import Answers, Recipe

FITTED_ON = 50_000
"""So many of the train part's products, at most, are what embeddings are whitened by."""


@dataclass(frozen=True)
class Options:
    """The config's section `search`, without what says whether there is an index.

    Attributes:
        weights: of blocks, where they differ from `serving.search.recipe`'s.
        features_size: numbers of the block of features, at most.
        features_power: see `Whitening`.
        least_recall: of an approximate index; see `FaissIndex`.
        alike: the columns by which a search is judged, coarse to fine.
    """

    weights: Mapping[str, float]
    features_size: int
    features_power: float
    least_recall: float
    alike: Sequence[str]


@dataclass(frozen=True)
class Columns:
    """Which column of the catalog is what; the index's fields are called like them.

    Attributes:
        category: the first level's.
        subcategory: the second level's.
        groups: those of attributes.
        slices: the slice columns.
        fields: those that are carried along.
        product: whether products may have several pictures.
    """

    category: str
    subcategory: str
    groups: Sequence[str]
    slices: Sequence[str]
    fields: Sequence[str]
    product: bool


@dataclass(frozen=True)
class File:
    """What there is of a file of Examples: itself, the answers about it and its colors."""

    split: str
    examples: str
    answers: str
    colors: str


def build(files: Sequence[File], columns: Columns, options: Options, mark: str) -> Built:
    """Makes the index.

    Args:
        files: of all splits.
        columns: see there.
        options: see there.
        mark: of the model that answered, `serving.search.catalog.model_mark`.

    Raises:
        UserError: there are no answers, or they are about other products than the Examples hold.
    """
    labels = table.labels_of(pq.read_schema(files[0].answers))
    whitening = fitted(files, options.features_size, options.features_power)
    recipe = Recipe(labels, whitening, options.weights)
    # What is compared with every query is kept as it is compared.
    few = sum(table.count(file.answers) for file in files) < EXACT_BELOW
    index = FaissIndex(
        recipe.space,
        "float32" if few else "float16",
        made_by={MODEL_KEY: mark},
        recall=options.least_recall,
    )
    test: list[str] = []
    for file in files:
        answers = table.read_file(file.answers)
        ids = answers[features.ID].to_pylist()
        examples = list(examples_of(file.examples))
        if ids != [_text(example, features.ID) for example in examples]:
            raise UserError(
                f"The answers in {file.answers} are about other products than {file.examples} "
                "holds. Delete its folder and run again; the model is then asked anew."
            )
        if not ids:
            continue
        index.upsert(
            ids,
            recipe.joined(answers_of(answers, labels), np.load(file.colors)),
            fields_of(examples, columns),
            answers[features.GROUP].to_pylist(),
        )
        if file.split == features.TEST:
            test += ids
    index.threshold = calibrate(index, test)
    return Built(recipe, index, files, test)


@dataclass(frozen=True)
class Built:
    """An index that was made.

    Attributes:
        recipe: of its vectors.
        index: the products.
        files: that it was made of.
        test: ids of the test part's products.
    """

    recipe: Recipe
    index: FaissIndex
    files: Sequence[File]
    test: list[str]

    def write(self, folder: Path) -> None:
        """Writes it with its pictures, as `IndexedCatalog.open` reads it."""
        IndexedCatalog.write(folder, self.index, self.recipe, self._pictures())

    @property
    def summary(self) -> str:
        """One sentence for the console."""
        known = self.index.approximation
        compared = (
            f"{known.recall:.1%} of the nearest found in {known.probes} of {known.lists} parts"
            if known
            else "all compared"
        )
        blocks = len(self.recipe.space.sizes)
        return (
            f"{self.index.count():,} products, {blocks} blocks of "
            f"{self.recipe.space.dimensions} numbers, {compared}"
        )

    def _pictures(self) -> Iterator[tuple[str, bytes]]:
        for file in self.files:
            for example in examples_of(file.examples):
                picture = example.features.feature[features.IMAGE].bytes_list.value[0]
                yield _text(example, features.ID), picture


def fitted(files: Iterable[File], size: int, power: float) -> Whitening:
    """The whitening of the train part's embeddings.

    Raises:
        UserError: there are no answers about the train part.
    """
    found: list[np.ndarray] = []
    room = FITTED_ON
    for file in files:
        if file.split == features.TRAIN and room > 0:
            answers = table.read_file(file.answers, [features.EMBEDDING])
            if answers.num_rows:
                found.append(table.matrix(answers, features.EMBEDDING)[:room])
                room -= len(found[-1])
    if not found:
        raise UserError(
            "There are no answers about the train part, by which the search's vectors are made. "
            "Run the pipeline again; it asks the model about every product."
        )
    return Whitening.fit(np.concatenate(found), size, power)


def answers_of(of: pa.Table, labels: Mapping[str, Sequence[str]]) -> Answers:
    """The answers in a table, as a recipe takes them."""
    scores = {level: table.scores(of, level) for level in labels}
    return Answers(scores, table.matrix(of, features.EMBEDDING))


def fields_of(examples: Sequence[Example], columns: Columns) -> dict[str, list[Cell]]:
    """The values of the catalog's columns, as the Examples have them; None where they have none."""
    fields: dict[str, list[Cell]] = {}
    names = {columns.category: features.CATEGORY, columns.subcategory: features.SUBCATEGORY}
    names |= {column: features.slice_feature(column) for column in columns.slices}
    names |= {column: features.field_feature(column) for column in columns.fields}
    if columns.product:
        names[features.PRODUCT] = features.PRODUCT
    for column, name in names.items():
        values = [_text(example, name) for example in examples]
        fields[column] = [None if value in ("", features.UNKNOWN) else value for value in values]
    for group in columns.groups:
        fields[group] = [None] * len(examples)
    for row, example in enumerate(examples):
        of_group: dict[str, list[str]] = {}
        for label in example.features.feature[features.ATTRIBUTES].bytes_list.value:
            group, value = features.split_attribute_label(label.decode())
            of_group.setdefault(group, []).append(value)
        for group, values in of_group.items():
            fields[group][row] = values[0] if len(values) == 1 else tuple(values)
    return fields


def _text(example: Example, name: str) -> str:
    return b"".join(example.features.feature[name].bytes_list.value[:1]).decode()
