"""Compares the last model of a workspace with figures that others published on the same data set.

    python benchmarks/published.py WORKSPACE

Published figures are often on a part of the classes; `published.yaml` beside this file says on
which. The model is asked about the test part's products of these classes, for each of the published
levels that it names. `all` is the part of them that it names right out of all the classes it knows,
which is harder than what was published; `among these` is its best answer out of the published
classes alone, which is the same question. The error is one standard error of the last.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from schema import features

PUBLISHED = Path(__file__).with_suffix(".yaml")
BATCH = 256


def last(folder: Path) -> Path:
    """The newest of a step's numbered outputs."""
    numbered = [path for path in folder.glob("*") if path.name.isdigit()]
    if not numbered:
        sys.exit(f"{folder} holds nothing. Name a workspace in which a pipeline was run.")
    return max(numbered, key=lambda path: int(path.name))


def products(split: Path) -> tf.data.Dataset:
    """The serialized Examples of a split."""
    files = sorted(str(file) for file in split.glob("*"))
    return tf.data.TFRecordDataset(files, compression_type="GZIP")


def labels_of(split: Path, levels: list[str]) -> dict[str, list[str]]:
    """The true labels of a split's products, by level."""
    spec = {level: tf.io.FixedLenFeature([], tf.string, "") for level in levels}
    columns: dict[str, list[str]] = {level: [] for level in levels}
    for batch in products(split).batch(BATCH):
        for level, column in tf.io.parse_example(batch, spec).items():
            columns[level] += [label.decode() for label in column.numpy()]
    return columns


def scores_of(model: Path, split: Path, levels: list[str]) -> dict[str, tuple[np.ndarray, list]]:
    """The model's scores for a split's products, (N, C), and their labels, by level it names."""
    loaded = tf.saved_model.load(str(model))
    serve = loaded.signatures[features.EVERYTHING_SIGNATURE]
    levels = [level for level in levels if features.scores(level) in serve.structured_outputs]
    spec = {features.IMAGE: tf.io.FixedLenFeature([], tf.string)}
    parts: dict[str, list[np.ndarray]] = {level: [] for level in levels}
    names: dict[str, list[str]] = {}
    for batch in products(split).batch(BATCH):
        answers = serve(**{features.IMAGE_BYTES: tf.io.parse_example(batch, spec)[features.IMAGE]})
        for level in levels:
            parts[level].append(answers[features.scores(level)].numpy())
            names[level] = [name.decode() for name in answers[features.labels(level)][0].numpy()]
    return {level: (np.concatenate(parts[level]), names[level]) for level in levels}


def classes_of(published: dict[str, Any], train: list[str]) -> set[str]:
    """The classes of a level that a figure is on."""
    if "classes" in published:
        return set(published["classes"])
    share = published["smallest_share"] * len(train)
    return {label for label, count in Counter(train).items() if label and count >= share}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--figures", type=Path, default=PUBLISHED, help="%(default)s")
    arguments = parser.parse_args()
    artifacts = arguments.workspace / "artifacts"
    figures = yaml.safe_load(arguments.figures.read_text(encoding="utf-8"))
    levels = sorted({level for of_levels in figures.values() for level in of_levels})

    examples = last(artifacts / "CatalogExampleGen" / "examples")
    model = last(artifacts / "Trainer" / "model") / "Format-Serving"
    train = labels_of(examples / "Split-train", levels)
    truths = labels_of(examples / "Split-test", levels)
    scores = scores_of(model, examples / "Split-test", levels)

    print("| published by | level | classes | products | published | all | among these | error |")
    print("| --- " * 8 + "|")
    for name, of_levels in figures.items():
        classes = {level: classes_of(of_levels[level], train[level]) for level in of_levels}
        chosen = np.array(
            [
                all(label in classes[level] for level, label in zip(of_levels, row, strict=True))
                for row in zip(*(truths[level] for level in of_levels), strict=True)
            ]
        )
        count = int(chosen.sum())
        for level, published in of_levels.items():
            if level not in scores:
                continue
            of_level, labels = scores[level]
            truth = np.array(truths[level])[chosen]
            among = np.isin(labels, list(classes[level]))
            out_of_all = np.array(labels)[of_level[chosen].argmax(1)]
            out_of_these = np.array(labels)[np.where(among, of_level[chosen], -1.0).argmax(1)]
            right = float(np.mean(out_of_these == truth))
            error = (right * (1 - right) / count) ** 0.5
            cells = [published["accuracy"], float(np.mean(out_of_all == truth)), right, error]
            of_cells = " | ".join(f"{cell:.4f}".removeprefix("0") for cell in cells)
            print(f"| {name} | {level} | {len(classes[level])} | {count} | {of_cells} |")


if __name__ == "__main__":
    main()
