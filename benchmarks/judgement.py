"""What judging costs: Predictions, Evaluator and Judge beside a plain pass of the model.

The yardstick asks the model about the same test products, 64 at a time, and computes accuracy,
precision, recall and F1 with scikit-learn, overall and in every slice. Ours writes the table of
answers, has TFMA compute all metrics on it, overall, per slice and attribute, and holds the answers
against the gates, with every interval. Both begin after the imports.

    python benchmarks/judgement.py WORKSPACE [--slice gender] [--rounds 2] [--copies 10]

WORKSPACE is that of a run whose model was trained; its last model and Examples are taken. With
`--copies 10` every test product is there ten times, for the growth of memory (`--only ours` then).
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import standard_artifacts

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from components.evaluation.component import Evaluator
from components.evaluation.eval_config import eval_config
from components.judge.artifacts import Judgement
from components.judge.component import Judge
from components.predictions import answering
from components.predictions.artifacts import Predictions as PredictionsArtifact
from components.predictions.component import Predictions
from pipeline.beam_runner import LOCAL
from schema import features


def main() -> None:
    """Prints seconds, the ratio and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--only", choices=["ours", "plain"])
    parser.add_argument("--slice", action="append", help="only these columns; all by default")
    arguments = parser.parse_args()
    artifacts = arguments.workspace / "artifacts"
    model = _last(artifacts / "Trainer" / "model")
    examples = _last(artifacts / "CatalogExampleGen" / "examples")
    slices = arguments.slice or _slice_columns(examples)
    ratios = []
    for _ in range(arguments.rounds):
        seconds = {}
        if arguments.only != "plain":
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                steps = _ours(model, examples, slices, Path(folder), arguments.copies)
            seconds["ours"] = time.perf_counter() - began
            print(", ".join(f"{name} {of:.1f} s" for name, of in steps.items()))
        if arguments.only != "ours":
            began = time.perf_counter()
            products = _plain(model, examples, slices)
            seconds["plain"] = time.perf_counter() - began
            print(f"plain pass over {products:,} products {seconds['plain']:.1f} s")
        if len(seconds) == 2:
            ratios.append(seconds["ours"] / seconds["plain"])
            print(f"ours takes {ratios[-1]:.2f} times the plain pass (wanted 1.5 at most)")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of memory {peak:,.0f} MB")


def _ours(
    model: Path, examples: Path, slices: list[str], folder: Path, copies: int
) -> dict[str, float]:
    """Runs the three steps; gives their seconds."""
    split = folder / "examples" / "Split-test"
    split.mkdir(parents=True)
    for copy in range(copies):
        for file in sorted((examples / "Split-test").iterdir()):
            (split / f"{copy:03d}-{file.name}").symlink_to(file.absolute())
    channel, model_channel = _channel(PredictionsArtifact), _channel(standard_artifacts.Model)
    of_examples = _artifact(standard_artifacts.Examples, folder / "examples")
    of_examples.split_names = json.dumps(["test"])
    of_model = _artifact(standard_artifacts.Model, model)
    predictions = _artifact(PredictionsArtifact, folder / "predictions")
    evaluation = _artifact(standard_artifacts.ModelEvaluation, folder / "evaluation")
    labels = answering.model_labels(model / "Format-Serving")
    extra_labels = [level for level in labels if level not in features.LEVELS]
    config = eval_config(
        slices, 0.75, extra_labels=extra_labels, joint_decoding=True, calibrated=True
    )
    steps: dict[str, tuple[BaseComponent, dict[str, list], dict[str, list]]] = {
        "Predictions": (
            Predictions(
                _channel(standard_artifacts.Examples),
                model_channel,
                splits=["test"],
                slices=slices,
                resume_dir=str(folder / "resume"),
            ),
            {"examples": [of_examples], "model": [of_model]},
            {"predictions": [predictions]},
        ),
        "Evaluator": (
            Evaluator(channel, channel, eval_config=config, slices=slices),
            {"predictions": [predictions]},
            {"evaluation": [evaluation]},
        ),
        "Judge": (
            Judge(
                *(model_channel, channel),
                gates=[],
                slices=slices,
                attribute_threshold=0.75,
                inputs="",
                training="",
                ledger=str(folder / "ledger"),
            ),
            {"predictions": [predictions], "model": [of_model]},
            {
                "blessing": [_artifact(standard_artifacts.ModelBlessing, folder / "blessing")],
                "judgement": [_artifact(Judgement, folder / "judgement")],
            },
        ),
    }
    seconds = {}
    for name, (component, inputs, outputs) in steps.items():
        began = time.perf_counter()
        executor = component.executor_spec.executor_class
        context = executor.Context(tmp_dir=str(folder), unique_id="1")
        if hasattr(context, "beam_pipeline_args"):
            context.beam_pipeline_args = [*LOCAL]
        executor(context).Do(inputs, outputs, component.exec_properties)
        seconds[name] = time.perf_counter() - began
    return seconds


def _plain(model: Path, examples: Path, slices: list[str]) -> int:
    """Asks and computes as one would without us; gives the number of products."""
    loaded = tf.saved_model.load(str(model / "Format-Serving"))
    ask = loaded.signatures[features.EVALUATE_SIGNATURE]
    labels = answering.model_labels(model / "Format-Serving")
    truths: dict[str, list[Any]] = {level: [] for level in (*labels, *slices)}
    said: dict[str, list[Any]] = {level: [] for level in labels}
    files = sorted(map(str, (examples / "Split-test").iterdir()))
    records = tf.data.TFRecordDataset(files, "GZIP").batch(64).as_numpy_iterator()
    for batch in records:
        outputs = ask(examples=tf.constant(batch))
        for level in labels:
            said[level].append(outputs[level].numpy())
        for record in batch:
            of = tf.train.Example.FromString(record).features.feature
            for name, values in truths.items():
                feature = of[features.slice_feature(name) if name in slices else name]
                values.append([one.decode() for one in feature.bytes_list.value])
    for level, names in labels.items():
        scores = np.concatenate(said[level])
        if level == features.ATTRIBUTES:
            truth = np.array([[name in own for name in names] for own in truths[level]])
            answers = scores >= 0.75
        else:
            code_of = {name: code for code, name in enumerate(names)}
            truth = np.array([code_of.get("".join(own), -1) for own in truths[level]])
            answers = scores.argmax(1)
        chosen = [np.ones(len(truth), bool)]
        for column in slices:
            cells = np.array(["".join(own) for own in truths[column]])
            chosen += [cells == value for value in np.unique(cells)]
        for where in chosen:
            accuracy_score(truth[where], answers[where])
            average = "micro" if level == features.ATTRIBUTES else "weighted"
            for of_average in (average, "macro"):
                precision_recall_fscore_support(
                    truth[where], answers[where], average=of_average, zero_division=0
                )
    return len(truths[features.CATEGORY])


def _slice_columns(examples: Path) -> list[str]:
    """The slice columns that the Examples have."""
    file = next(iter(sorted((examples / "Split-test").iterdir())))
    record = next(iter(tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()))
    names = tf.train.Example.FromString(record).features.feature
    slices = [name for name in names if not name.startswith(features.field_feature(""))]
    return sorted(map(features.slice_column, set(slices) - features.RESERVED))


def _last(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda of: int(of.name))


def _channel(kind: type) -> types.Channel:
    return types.Channel(type=kind)


def _artifact(kind: type, uri: Path) -> Any:
    made = kind()
    made.uri, made.id = str(uri), 1
    return made


if __name__ == "__main__":
    main()
