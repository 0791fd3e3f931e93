"""Measures and tries training in 16 bits on a GPU, on a machine that need not have TensorFlow.

The environment's TensorFlow sees no GPU. The model's code imports Keras alone, so that it trains on
Keras' JAX back end, wherever JAX and PyTorch with CUDA, Keras, timm and the package of the ImageNet
weights are. In this order:

    python benchmarks/gpu.py pack CONFIG --set catalog.folder=DIR --workspace KEPT --output FILE
    KERAS_BACKEND=jax python benchmarks/gpu.py speed FILE                     with the GPU
    KERAS_BACKEND=jax python benchmarks/gpu.py train FILE --output FOLDER     with the GPU
    python benchmarks/gpu.py answer FILE FOLDER CONFIG --set catalog.folder=DIR --workspace KEPT

`pack` writes a catalog's train and eval split into one file (FILE ends in .npz), with a checksum of
every picture as TensorFlow decodes it, to which the pictures are held that the GPU sees. `speed`
compares training steps with PyTorch's. `train` goes through all stages of the config's training,
with the callbacks of a run, and writes weights and history. `answer` gives these weights to the
network on TensorFlow, in 32 bits, sees whether eval's figures are those that the GPU had, judges by
the test split, exports the model as a run does, and asks it.

`train --metric LOSS` teaches the embedding beside the levels that products are alike, in the way of
`benchmarks/learned_metric.py`, whose `--weights` judges a search by what such a training made.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import keras
import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks._metric_learning import LOSSES, Proxies, codes_of
from benchmarks._packed import (
    EVALUATED_AT_ONCE,
    Batches,
    Packed,
    Products,
    checksums,
    read_facts,
    write,
)
from benchmarks._weights import HISTORY_FILE, history_of, trained, write_weights
from schema import features
from trainer import objective, stages
from trainer.callbacks import MeanOfLevels
from trainer.fitting import compiled_for_training, fit
from trainer.label_space import LabelCounts, LabelSpace
from trainer.network import network
from trainer.options import SECTIONS, Options, override
from trainer.resumable_state import ResumableState
from trainer.training_model import TrainingModel, backbone_of, training_model

if TYPE_CHECKING:
    from benchmarks._torch_training import Training
    from pipeline.config import Config
    from trainer.splits import Splits

WARM_UP_STEPS = 3
ASKED_AT_ONCE = 256


def pack(arguments: argparse.Namespace) -> None:
    """Writes a catalog's train and eval split to one file."""
    from benchmarks._prepared import prepared

    with prepared(arguments) as (config, splits):
        options = {name: getattr(config, name).model_dump() for name in SECTIONS}
        arrays = {}
        for split, patterns in (("train", splits.train_files), ("eval", splits.eval_files)):
            read_as = {name: feature_of(name, config) for name in config.search.alike}
            files, labels, columns = examples(patterns, splits, list(read_as.values()))
            arrays[f"{split}/files"] = np.frombuffer(b"".join(files), np.uint8)
            arrays[f"{split}/lengths"] = np.array([len(file) for file in files])
            arrays[f"{split}/checksums"] = checksums(tensorflow_pictures(files, options))
            for name, feature in read_as.items():
                arrays[f"{split}/columns/{name}"] = np.array(columns[feature], str)
            arrays |= {f"{split}/labels/{level}": of for level, of in labels.items()}
        counts = {"train": splits.train, "eval": splits.eval}
        write(arguments.output, options, splits.labels, counts, arrays)
    print(
        f"{arguments.output}: {splits.train.products:,} products of train and "
        f"{splits.eval.products:,} of eval, {arguments.output.stat().st_size / 2**20:.1f} MiB"
    )


def examples(
    patterns: list[str], splits: Splits, columns: Iterable[str] = ()
) -> tuple[list[bytes], dict[str, np.ndarray], dict[str, list[str]]]:
    """What a split's Examples hold, in their order.

    Args:
        patterns: Globs of their files.
        splits: Their labels, and how they are read.
        columns: Features whose texts are wanted as well.

    Returns:
        The pictures' files; by level the labels' indices; by feature the texts, empty where there
        is none.
    """
    import tensorflow as tf

    from trainer import input_pipeline

    files: list[bytes] = []
    parts: dict[str, list[np.ndarray]] = {level: [] for level, of in splits.labels.items() if of}
    layer = splits.transform_output.transform_features_layer()
    texts: dict[str, list[str]] = {feature: [] for feature in columns}
    spec = {features.IMAGE: tf.io.FixedLenFeature([], tf.string)}
    spec |= {feature: tf.io.FixedLenFeature([], tf.string, "") for feature in texts}
    names = sorted(name for pattern in patterns for name in tf.io.gfile.glob(pattern))
    for serialized in tf.data.TFRecordDataset(names, compression_type="GZIP").batch(1024):
        parsed = tf.io.parse_example(serialized, spec)
        files += parsed[features.IMAGE].numpy().tolist()
        for feature, of in texts.items():
            of += [text.decode() for text in parsed[feature].numpy().tolist()]
        labels = input_pipeline.transformed_labels(
            input_pipeline.parse_labels(serialized, splits.transform_output),
            layer,
            len(splits.labels[features.ATTRIBUTES]),
        )
        for level, collected in parts.items():
            collected.append(labels[features.transformed_label(level)].numpy())
    return files, {level: np.concatenate(part) for level, part in parts.items()}, texts


def feature_of(name: str, config: Config) -> str:
    """The Examples' feature that holds a column of the catalog."""
    catalog = config.catalog
    levels = {catalog.category: features.CATEGORY, catalog.subcategory: features.SUBCATEGORY}
    if name in levels:
        return levels[name]
    return features.slice_feature(name) if name in catalog.slices else features.field_feature(name)


def tensorflow_pictures(files: list[bytes], options: Options) -> Iterator[np.ndarray]:
    """The files' pictures as training on TensorFlow has them."""
    import tensorflow as tf

    from trainer.picture_decoding import decode_picture

    size = [options["model"][side] for side in ("image_height", "image_width")]
    return (
        tf.data.Dataset.from_tensor_slices(files)
        .map(lambda file: decode_picture(file, *size), tf.data.AUTOTUNE)
        .as_numpy_iterator()
    )


class Clock(keras.callbacks.Callback):
    """The seconds of a training after its first steps."""

    def on_train_batch_begin(self, batch: int, logs=None):
        """Starts after the warm-up, when the device may still have some of it to do."""
        if batch == WARM_UP_STEPS:
            self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs=None):
        """Stops; the figures of the last step are there."""
        self.seconds = time.perf_counter() - self._began


class Candidate:
    """Our training step, through `trainer.fitting.fit` and without it.

    Args:
        packed: The catalog.
        options: All sections.
        steps: Steps of a turn.
    """

    def __init__(self, packed: Packed, options: Options, steps: int):
        self._options = options
        (self._stage,) = stages.stages_of(options)
        self.fitted = compiled_for_training(
            network(options, packed.labels), options, packed, self._stage
        )
        self._batches = turn_of(packed, options, steps)

    def training_batches(self, options: Options, first_epoch: int, end_epoch: int) -> Batches:
        """The batches of a turn, as `fit` asks for them."""
        return self._batches

    def evaluation_batches(self, options: Options) -> None:
        """None: a turn evaluates nothing."""

    def fit(self) -> float:
        """Seconds of a turn of `fit`."""
        clock = Clock()
        fit(
            *(self.fitted, self._options, self, self._stage, [clock]),
            report=lambda message, done: None,
            first_epoch=0,
        )
        return clock.seconds

    def loop(self) -> float:
        """Seconds of a turn of the same compiled step in a bare loop, as JAX's users write it."""
        import jax

        model = self.fitted
        variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
        # The step takes the variables' memory for its results.
        state = tuple([variable.value for variable in some] for some in variables)
        uploaded = on_device(self._batches)
        for step in range(len(self._batches)):
            if step == WARM_UP_STEPS:
                jax.block_until_ready(state)
                began = time.perf_counter()
            _, state = model.train_function(state, uploaded)
        jax.block_until_ready(state)
        seconds = time.perf_counter() - began
        for some, values in zip(variables, state, strict=True):
            for variable, value in zip(some, values, strict=True):
                variable.assign(value)
        return seconds

    def feed(self) -> float:
        """Seconds in which a turn's batches come to the device, with nothing to compute."""
        import jax

        began = time.perf_counter()
        for number, batch in enumerate(on_device(self._batches), 1):
            jax.block_until_ready(batch)
            if number == WARM_UP_STEPS:
                began = time.perf_counter()
        return time.perf_counter() - began


def on_device(batches: Batches) -> Iterator[tuple]:
    """Batches in JAX's memory, each on its way while the one before is used."""
    import jax

    coming = jax.device_put(batches[0])
    for index in range(1, len(batches)):
        batch, coming = coming, jax.device_put(batches[index])
        yield batch
    yield coming


def turn_of(packed: Packed, options: Options, steps: int) -> Batches:
    """So many batches and those to warm up, of one epoch after another."""
    steps += WARM_UP_STEPS
    epochs = -(-steps // packed.steps_per_epoch(options))
    order = packed.training_batches(options, 0, epochs).order[:steps]
    return Batches(packed.products["train"], order)


def seconds_of(training: Training, batches: Batches) -> float:
    """Seconds of a turn of PyTorch's steps."""
    for number, batch in enumerate(training.uploaded(batches)):
        if number == WARM_UP_STEPS:
            training.synchronize()
            began = time.perf_counter()
        training.step(batch)
    training.synchronize()
    return time.perf_counter() - began


def read(arguments: argparse.Namespace) -> Packed:
    """The file's products, of which it tells how long decoding them took, and how exactly."""
    began = time.perf_counter()
    packed = Packed.read(arguments.file, arguments.products)
    count = sum(len(of.inputs) for of in packed.products.values())
    print(
        f"{count:,} pictures decoded in {seconds_since(began)}; {packed.differing:,} of them are "
        "not point for point what TensorFlow decodes",
        flush=True,
    )
    return packed


def speed(arguments: argparse.Namespace) -> None:
    """Measures ours against PyTorch's, in turns."""
    began = time.perf_counter()
    packed = read(arguments)
    for batch_size, precision in itertools.product(arguments.batch_sizes, arguments.precisions):
        if time.perf_counter() - began > arguments.limit_s:
            print(f"{precision}, batches of {batch_size}: left out, the time is up")
            continue
        measure(packed, precision, batch_size, arguments)


def measure(packed: Packed, precision: str, batch_size: int, arguments: argparse.Namespace) -> None:
    """Measures one precision and one size of batches."""
    import torch

    from benchmarks._torch_training import Training

    # PyTorch compiles a function anew a few times only, and then not at all.
    torch.compiler.reset()
    options = in_precision(
        precision,
        override(
            packed.options,
            {
                "training.batch_size": batch_size,
                "training.frozen_epochs": 0,
                "training.epochs": 1,
            },
        ),
    )
    steps = arguments.steps or max(4, arguments.pictures // batch_size)
    candidate = Candidate(packed, options, steps)
    turns: dict[str, Callable[[], float]] = {}

    def warm(name: str, turn: Callable[[], float]) -> None:
        started = time.perf_counter()
        try:
            turn()
        except Exception as error:  # noqa: BLE001 - what compilers raise is their own affair
            print(f"  {name} does not run: {type(error).__name__}: {str(error)[:300]}")
            return
        print(f"  {name}: compiled, and a first turn, in", seconds_since(started), flush=True)
        turns[name] = turn

    print(f"{precision}, batches of {batch_size}, turns of {steps} steps", flush=True)
    warm("Keras fit", candidate.fit)
    warm("Keras step in a loop", candidate.loop)
    batches = turn_of(packed, options, steps)
    labels = LabelSpace.of(packed.labels)
    trained = sum(int(np.prod(of.shape)) for of in candidate.fitted.trainable_variables)
    for mode in arguments.torch_compile:
        training = Training(options, labels, precision, mode, len(batches) * arguments.rounds)
        name = "PyTorch" if mode == "none" else f"PyTorch, compiled ({mode})"
        warm(name, partial(seconds_of, training, batches))
    print(
        f"  trained parameters: {trained:,} in Keras, {training.trained_parameters():,} in PyTorch"
    )
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(arguments.rounds):
        for name, turn in turns.items():
            seconds[name].append(turn())
    yardsticks = [name for name in turns if name.startswith("PyTorch")]
    if not yardsticks:
        return
    fastest = min(yardsticks, key=lambda name: median(seconds[name]))
    pictures = steps * batch_size
    for name, took in seconds.items():
        ratio = median(there / here for here, there in zip(took, seconds[fastest], strict=True))
        print(
            f"  {name}: {pictures / median(took):,.0f} pictures/s "
            f"({pictures / max(took):,.0f} to {pictures / min(took):,.0f}), "
            f"{1000 * median(took) / steps:.2f} ms a step, {ratio:.2f} of the fastest PyTorch",
        )
    print(f"  feeding alone: {pictures / candidate.feed():,.0f} pictures/s", flush=True)


def in_precision(precision: str, options: Options) -> Options:
    """The options of a training in so many bits; `auto` is what the product takes."""
    if precision != "auto":
        # The product takes what the machine is fast with, and has no option for another.
        stages.half_precision = lambda: precision
    return override(options, {"training.mixed_precision": precision != "float32"})


def train(arguments: argparse.Namespace) -> None:
    """Trains through all stages, and writes weights and history."""
    import jax

    began = time.perf_counter()

    def report(message: str, done: float) -> None:
        if done == int(done):
            print(message, flush=True)

    packed = read(arguments)
    for name in arguments.label:
        packed = with_label(packed, name)
    changes = {"training.epochs": arguments.epochs, "training.frozen_epochs": arguments.frozen}
    changes = {name: to for name, to in changes.items() if to is not None}
    changes |= {name: json.loads(to) for name, to in (of.split("=", 1) for of in arguments.set)}
    options = in_precision(arguments.precision, override(packed.options, changes))
    keras.utils.set_random_seed(options["training"]["seed"])
    model = network(options, packed.labels)
    compiled = compiled_for_training
    if arguments.metric:
        packed, compiled = with_metric(packed, arguments.metric, arguments.metric_weight)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.state or Path(scratch) / "state"
        state = ResumableState(folder, model, options["training"]["patience"])
        for stage in stages.stages_of(options):
            if state.finished_epochs > stage.end_epoch:
                continue
            fitted = compiled(model, options, packed, stage)
            state.begin(stage, fitted)
            if state.finished_epochs == stage.end_epoch:
                continue
            batches = on_features(packed, backbone_of(model)) if stage.on_features else packed
            fit(
                *(fitted, options, batches, stage, [MeanOfLevels(), state]),
                report=report,
                first_epoch=max(stage.first_epoch, state.finished_epochs),
            )
        state.load_best()
    for epoch in state.epochs:
        print(f"epoch {epoch['epoch']}: {epoch['seconds']:.1f} s, loss {epoch['loss']:.4f}")

    # As a run serves it: in 32 bits, and by the mean of a picture and its mirror image.
    whole = network(override(options, {"training.mixed_precision": False}), packed.labels)
    whole.set_weights(model.get_weights())
    with jax.default_matmul_precision("highest"):
        eval_figures = figures_of(whole, packed.evaluation_batches(options), packed.train)
    print(f"eval as served, after epoch {state.best_epoch}: {in_words(eval_figures)}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    weights = whole.get_weights()
    if arguments.half:
        weights = [of.astype(np.float16) for of in weights]
    write_weights(arguments.output, weights)
    history = {
        "epochs": state.epochs,
        "best_epoch": state.best_epoch,
        "eval": eval_figures,
        "options": options,
        "labels": packed.labels,
        "metric": arguments.metric,
        "precision": stages.half_precision()
        if arguments.precision == "auto"
        else arguments.precision,
        "backend": keras.backend.backend(),
        "seconds": time.perf_counter() - began,
    }
    (arguments.output / HISTORY_FILE).write_text(json.dumps(history, indent=1))
    print("all of it in", seconds_since(began))


def with_label(packed: Packed, name: str) -> Packed:
    """The same products, of whose further columns one is learned as an extra label."""
    labels, counts = np.unique(packed.columns["train"][name], return_counts=True)
    place_of = {label: place for place, label in enumerate(labels.tolist())}

    def indices(split: str) -> np.ndarray:
        values = packed.columns[split][name].tolist()
        return np.array([place_of.get(value, features.NOT_IN_TRAIN) for value in values])

    products = {
        split: Products(of.inputs, of.labels | {name: indices(split)})
        for split, of in packed.products.items()
    }
    found = products["eval"].labels[name]
    of_eval = np.bincount(found[found >= 0], minlength=len(labels))

    def counted(of: LabelCounts, more: np.ndarray) -> LabelCounts:
        return dataclasses.replace(of, labels=of.labels | {name: more})

    return dataclasses.replace(
        packed,
        labels=packed.labels | {name: labels.tolist()},
        train=counted(packed.train, counts),
        eval=counted(packed.eval, of_eval),
        products=products,
    )


def with_metric(
    packed: Packed, loss: str, weight: float
) -> tuple[Packed, Callable[..., keras.Model]]:
    """The same products with the classes of a metric's levels, and what compiles a training of it.

    Args:
        packed: The catalog.
        loss: A name in `LOSSES`.
        weight: What the metric counts beside the levels' losses, each of which counts about 1.
    """
    both = {
        name: np.concatenate([of, packed.columns["eval"][name]])
        for name, of in packed.columns["train"].items()
    }
    ends = [len(packed.products["train"].inputs)]
    proxies, codes = {}, {}
    for number, of in enumerate(codes_of(both)):
        name = f"alike_{number}"
        proxies[name] = Proxies(int(of.max()) + 1, name=name)
        codes[name] = dict(zip(("train", "eval"), np.split(of, ends), strict=True))
    products = {
        split: Products(
            of.inputs, of.labels | {name: by_split[split] for name, by_split in codes.items()}
        )
        for split, of in packed.products.items()
    }

    def compiled(model: keras.Model, options: Options, splits: Packed, stage: stages.Stage):
        losses = objective.level_losses(options, splits.train)
        weights = objective.level_loss_weights(options, splits.train)
        plain = training_model(model, options, stage, [*losses, features.EMBEDDING])
        outputs = dict(plain.output)
        embedding = outputs.pop(features.EMBEDDING)
        outputs |= {name: layer(embedding) for name, layer in proxies.items()}
        fitted = TrainingModel(plain.inputs[0], outputs)
        fitted.compile(
            stages.optimizer(
                stage, options, splits.steps_per_epoch(options), fitted.trainable_variables
            ),
            loss=losses | {name: LOSSES[loss]() for name in proxies},
            loss_weights=weights | {name: weight / len(proxies) for name in proxies},
            weighted_metrics=objective.level_metrics(splits.train),
        )
        return fitted

    return dataclasses.replace(packed, products=products), compiled


def on_features(packed: Packed, backbone: keras.Model) -> Packed:
    """The same products with a backbone's features in the pictures' place."""
    began = time.perf_counter()
    products = {}
    for split, of in packed.products.items():
        count = len(of.inputs)
        # Filled up with the first, so that there is one size of batches to compile for.
        batches = -(-count // EVALUATED_AT_ONCE)
        places = np.resize(np.arange(count), (batches, EVALUATED_AT_ONCE))
        found = backbone.predict(Batches(of, list(places)), verbose=0)
        products[split] = Products(np.asarray(found)[:count], of.labels)
    print("features of both splits in", seconds_since(began), flush=True)
    return dataclasses.replace(packed, products=products)


def figures_of(model: keras.Model, batches: Iterable, train: LabelCounts) -> dict[str, float]:
    """Each level's figure, as trainings compare epochs by it, of a model's own answers."""
    metrics = objective.level_metrics(train)
    for pictures, labels in batches:
        outputs = model.predict_on_batch(np.asarray(pictures))
        for level, (metric,) in metrics.items():
            metric.update_state(np.asarray(labels[level]), outputs[level])
    return {level: float(metric.result()) for level, (metric,) in metrics.items()}


def in_words(figures: dict[str, float]) -> str:
    """Figures in a line."""
    return ", ".join(f"{level} {figure:.4f}" for level, figure in figures.items())


def seconds_since(began: float) -> str:
    """Seconds from a moment to now, in words."""
    return f"{time.perf_counter() - began:.1f} s"


def answer(arguments: argparse.Namespace) -> None:
    """Answers with weights that a GPU trained, on TensorFlow, and asks the exported model."""
    from benchmarks._prepared import prepared
    from serving.model_server.saved_model import SavedModel
    from trainer import calibration, input_pipeline, signatures

    history = history_of(arguments.folder)
    with prepared(arguments) as (_, splits), tempfile.TemporaryDirectory() as scratch:
        if splits.labels != read_facts(arguments.file)["labels"]:
            sys.exit(f"error: {arguments.file} has other labels than the catalog. Pack it anew.")
        model, options = trained(arguments.folder)
        batches = splits.evaluation_batches(options)
        figures = figures_of(model, batches, splits.train)
        print(f"eval on TensorFlow: {in_words(figures)}")
        difference = max(abs(figures[level] - of) for level, of in history["eval"].items())
        print(f"eval on {history['backend']}: {in_words(history['eval'])}")
        print(
            f"they differ by {difference:.2g} at most; a product is {1 / splits.eval.products:.2g}"
        )

        files = [name.replace("Split-eval", "Split-test") for name in splits.eval_files]
        counts = input_pipeline.count_labels(files, splits.transform_output)
        test = dataclasses.replace(splits, eval_files=files, eval=counts)
        of_test = figures_of(model, test.evaluation_batches(options), splits.train)
        print(f"test: {in_words(of_test)}")

        labels = LabelSpace.of(splits.labels)
        temperatures = calibration.calibrate(model, batches, labels)
        folder = str(arguments.output or Path(scratch) / "serving")
        signatures.export(
            model,
            splits.transform_output,
            folder,
            pairs=splits.train.pairs if options["model"]["joint_decoding"] else None,
            temperatures=temperatures,
        )
        pictures, truths, _ = examples(files, splits)
        levels = [level for level, _ in labels.single_levels()]
        exported = SavedModel(Path(folder))
        answers: dict[str, list[bytes]] = {level: [] for level in levels}
        for start in range(0, len(pictures), ASKED_AT_ONCE):
            asked = np.array(pictures[start : start + ASKED_AT_ONCE], object)
            said = exported.run({features.IMAGE_BYTES: asked}, levels)
            for level, of in zip(levels, said, strict=True):
                answers[level] += of.tolist()
        exported.close()
        right = {
            level: accuracy(answers[level], truths[level], splits.labels[level]) for level in levels
        }
        print(
            f"test, as `{features.SERVING_SIGNATURE}` answers {len(pictures):,} pictures: ", end=""
        )
        print(in_words(right))


def accuracy(answers: list[bytes], truths: np.ndarray, labels: list[str]) -> float:
    """Part of the answers that are right, of the products whose label is given."""
    given = truths != features.NOT_GIVEN
    named = np.array([labels[truth] if truth >= 0 else None for truth in truths], object)
    said = np.array([answer.decode() for answer in answers], object)
    return float((said == named)[given].mean())


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    def command(run, files: tuple[str, ...], of_catalog: bool) -> argparse.ArgumentParser:
        text = run.__doc__.splitlines()[0]
        one = commands.add_parser(
            run.__name__,
            help=text,
            description=text,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        one.set_defaults(run=run)
        for name in files:
            one.add_argument(name, type=Path, metavar=name.upper(), help=_FILES[name])
        if of_catalog:
            one.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE")
            one.add_argument("--workspace", type=Path, help="keeps the Examples for the next time")
        else:
            one.add_argument("--products", type=int, help="of train at most; all by default")
        return one

    one = command(pack, ("config",), of_catalog=True)
    one.add_argument("--output", type=Path, required=True, help="the file, *.npz")

    one = command(speed, ("file",), of_catalog=False)
    one.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256, 1024])
    one.add_argument(
        "--precisions",
        nargs="+",
        default=["float16", "bfloat16"],
        choices=["float16", "bfloat16", "float32"],
    )
    one.add_argument(
        "--torch-compile",
        nargs="+",
        default=["none", "reduce-overhead"],
        help="modes of torch.compile that are measured, `none` for without",
    )
    one.add_argument("--pictures", type=int, default=6400, help="pictures of a turn")
    one.add_argument("--steps", type=int, help="steps of a turn, in place of --pictures")
    one.add_argument("--rounds", type=int, default=5, help="turns of each")
    one.add_argument(
        "--limit-s", type=float, default=600, help="seconds after which nothing new is begun"
    )

    one = command(train, ("file",), of_catalog=False)
    one.add_argument("--output", type=Path, required=True, help="folder for weights and history")
    one.add_argument("--epochs", type=int, help="in place of the config's")
    one.add_argument("--frozen", type=int, help="epochs of stage one, in place of the config's")
    one.add_argument(
        "--precision",
        default="auto",
        choices=["auto", "float16", "bfloat16", "float32"],
        help="`auto` is what training.mixed_precision takes on the machine",
    )

    one.add_argument("--metric", choices=LOSSES, help="what the embedding learns beside the levels")
    one.add_argument("--metric-weight", type=float, default=1.0, help="of the metric's loss")
    one.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column of search.alike that is learned as an extra label",
    )
    one.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=JSON")
    one.add_argument("--state", type=Path, help="keeps the state here, to go on after a kill")
    one.add_argument("--half", action="store_true", help="write the weights in 16 bits")

    one = command(answer, ("file", "folder", "config"), of_catalog=True)
    one.add_argument("--output", type=Path, help="keeps the SavedModel in this folder")
    return whole


_FILES = {
    "config": "the catalog's YAML",
    "file": "what `pack` wrote",
    "folder": "what `train` wrote",
}


def main() -> None:
    arguments = parser().parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
