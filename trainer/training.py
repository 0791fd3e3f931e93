"""Fits the model inside a TFX Trainer, and goes on where a killed run stopped."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from schema import features
from schema.errors import UserError
from trainer import input_pipeline, losses, preprocessing, signatures
from trainer.augmentation import Augmentation
from trainer.backbones import build_backbone
from trainer.hierarchical_model import build_model

HISTORY_FILE = "history.json"

SECTIONS = ("model", "augmentation", "training")
"""Sections of the config that say how a model is built and fitted."""

ATTRIBUTE_THRESHOLD = 0.75
"""Score from which an attribute counts as found when epochs are compared (Ferreira et al. 2018)."""

CHOOSING_FIGURE = "val_mean"
"""The mean of the levels' figures on the eval split, by which the best epoch is chosen."""

_progress = logging.getLogger("seamline.progress")

Options = dict[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Splits:
    """Where the Examples are and what is in them.

    Attributes:
        train_files: Globs of the train split's files.
        eval_files: Globs of the eval split's files.
        transform_output: The Transform graph.
        train: Counts of the train split.
        eval: Counts of the eval split.
    """

    train_files: list[str]
    eval_files: list[str]
    transform_output: tft.TFTransformOutput
    train: input_pipeline.LabelCounts
    eval: input_pipeline.LabelCounts

    @classmethod
    def read(cls, fn_args: FnArgs) -> Splits:
        """Counts the labels of both splits.

        Raises:
            UserError: a split is empty.
        """
        transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
        return cls(
            fn_args.train_files,
            fn_args.eval_files,
            transform_output,
            input_pipeline.count_labels(fn_args.train_files, transform_output),
            input_pipeline.count_labels(fn_args.eval_files, transform_output),
        )

    def training_batches(self, options: Options, first_epoch: int = 0) -> tf.data.Dataset:
        """See `input_pipeline.training_batches`."""
        return input_pipeline.training_batches(
            self.train_files,
            self.transform_output,
            products=self.train.products,
            image_height=options["model"]["image_height"],
            image_width=options["model"]["image_width"],
            batch_size=options["training"]["batch_size"],
            seed=options["training"]["seed"],
            first_epoch=first_epoch,
            epochs=options["training"]["epochs"],
        )

    def evaluation_batches(self, options: Options) -> tf.data.Dataset:
        """The eval split, see `input_pipeline.evaluation_batches`."""
        return input_pipeline.evaluation_batches(
            self.eval_files,
            self.transform_output,
            products=self.eval.products,
            image_height=options["model"]["image_height"],
            image_width=options["model"]["image_width"],
            batch_size=max(64, options["training"]["batch_size"]),
        )

    def steps_per_epoch(self, options: Options) -> int:
        """Training steps of an epoch."""
        return input_pipeline.steps_per_epoch(
            self.train.products, options["training"]["batch_size"]
        )


def run_fn(fn_args: FnArgs) -> None:
    """Trains a model and exports it; TFX's Trainer calls this.

    Args:
        fn_args: `custom_config` has the sections `model`, `augmentation` and `training` of the
            config, `resume_dir` for the state of an unfinished training, and `code`, the source's
            fingerprint. `hyperparameters`, if any, override the sections' options. The SavedModel
            goes to `serving_model_dir`, TensorBoard's logs and `history.json` to `model_run_dir`.

    Raises:
        UserError: a split is empty, weights cannot be had, or the loss is no number any more.
    """
    options = override(fn_args.custom_config, hyperparameter_values(fn_args.hyperparameters))
    splits = Splits.read(fn_args)
    seed = options["training"]["seed"]
    keras.utils.set_random_seed(seed)

    gpus = tf.config.list_physical_devices("GPU")
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        model = network(options, splits)
        fitted = compiled_for_training(model, options, splits)

    state = ResumableState(
        Path(fn_args.custom_config["resume_dir"]) / fingerprint(fn_args, options),
        patience=options["training"]["patience"],
    )
    state.restore(fitted)
    epochs = options["training"]["epochs"]
    if not state.has_ended(epochs):
        fit(
            fitted,
            options,
            splits,
            [
                MeanOfLevels(),
                state,
                keras.callbacks.TensorBoard(fn_args.model_run_dir, write_graph=False),
            ],
            report=lambda message, done: _progress.info(
                message, extra={"completed": done, "total": epochs}
            ),
            first_epoch=state.finished_epochs,
        )
    state.load_best(fitted)

    if options["training"]["mixed_precision"]:
        # Served in 32 bits, on whatever machine that is.
        in_32_bits = override(options, {"training.mixed_precision": False})
        weights = model.get_weights()
        model = network(in_32_bits, splits)
        model.set_weights(weights)
    signatures.export(model, splits.transform_output, fn_args.serving_model_dir)
    write_history(fn_args.model_run_dir, state, options, splits, parameters=model.count_params())
    state.remove()


def override(custom_config: dict[str, Any], values: dict[str, Any]) -> Options:
    """The options of a training: the config's sections with some values replaced.

    Args:
        custom_config: Has the sections named in `SECTIONS`, each a dict of options.
        values: New values by "section.option".

    Raises:
        UserError: a name is none of an option.
    """
    options = {section: copy.deepcopy(custom_config[section]) for section in SECTIONS}
    for name, value in values.items():
        section, _, option = name.partition(".")
        if option not in options.get(section, {}):
            raise UserError(
                f"tuning.space names {name}, which is no option. Name options of "
                f"{', '.join(SECTIONS)} as section.option, e.g. training.learning_rate."
            )
        options[section][option] = value
    return options


def hyperparameter_values(config: dict[str, Any] | None) -> dict[str, Any]:
    """The "section.option" values in the KerasTuner config that a Tuner hands on."""
    if not config:
        return {}
    return tuned_options(keras_tuner.HyperParameters.from_config(config).values)


def tuned_options(values: dict[str, Any]) -> dict[str, Any]:
    """A trial's values without those that Hyperband keeps its own books in."""
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


def network(options: Options, splits: Splits) -> keras.Model:
    """Builds the model for the splits' labels, without augmentation.

    Args:
        options: Section `model` and `training.mixed_precision` are used.
        splits: Whose vocabularies give the number of labels.
    """
    settings = options["model"]
    before = keras.config.dtype_policy()
    if options["training"]["mixed_precision"]:
        keras.config.set_dtype_policy("mixed_float16")
    try:
        backbone = build_backbone(
            settings["backbone"],
            image_height=settings["image_height"],
            image_width=settings["image_width"],
            filters=settings["filters"],
            weights=settings["weights"],
        )
        counts = {level: len(labels) for level, labels in splits.train.labels.items()}
        return build_model(
            backbone,
            category_count=counts[features.CATEGORY],
            subcategory_count=counts[features.SUBCATEGORY],
            attribute_count=counts[features.ATTRIBUTES],
            dense_units=settings["dense_units"],
            dropout=settings["dropout"],
            l2=settings["l2"],
        )
    finally:
        keras.config.set_dtype_policy(before)


def compiled_for_training(model: keras.Model, options: Options, splits: Splits) -> keras.Model:
    """Puts the augmentation before a model and compiles the whole with losses and optimizer."""
    settings = options["training"]
    inputs = keras.Input(model.input_shape[1:], dtype="uint8", name="pictures")
    augmented = Augmentation(**options["augmentation"], seed=settings["seed"])(inputs)
    outputs = model(augmented)
    # Keras wants a label for every output, so those without are none of the fitted model's.
    training_model = keras.Model(inputs, {level: outputs[level] for level in levels_of(splits)})

    rate = settings["learning_rate"]
    if settings["schedule"] == "cosine":
        steps = settings["epochs"] * splits.steps_per_epoch(options)
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = keras.optimizers.Adam(rate)
    if settings["mixed_precision"]:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    training_model.compile(
        optimizer,
        loss=level_losses(options, splits),
        loss_weights=level_loss_weights(splits),
        metrics=level_metrics(splits),
    )
    return training_model


def level_losses(options: Options, splits: Splits) -> dict[str, keras.losses.Loss]:
    """The loss of each level that has labels, classes weighted as `class_weighting` says."""
    settings = options["training"]

    def loss(level: str) -> keras.losses.Loss:
        counts, limit = splits.train.labels[level], settings["class_weight_limit"]
        if level == features.ATTRIBUTES:
            kind, weights = losses.WeightedBinaryCrossentropy, losses.attribute_weights
        else:
            kind, weights = losses.WeightedCrossentropy, losses.class_weights
        if settings["class_weighting"] == "none":
            return kind([1.0] * len(counts))
        return kind(weights(counts, limit))

    return {level: loss(level) for level in levels_of(splits)}


def level_loss_weights(splits: Splits) -> dict[str, float]:
    """How much each level counts in the loss: A attributes 2 sqrt(A), the other levels 1.

    The mean over A attributes gives each 1/A of the pull that a class has, and attributes are then
    learned long after the classes; their sum drowns the other levels. Twice the root is in between:
    on the demo catalog and on fashion-products it cost the classes nothing.
    """
    return {
        level: 2 * len(splits.train.labels[level]) ** 0.5 if level == features.ATTRIBUTES else 1.0
        for level in levels_of(splits)
    }


def level_metrics(splits: Splits) -> dict[str, list[keras.metrics.Metric]]:
    """One figure a level, by whose mean epochs are compared."""
    return {
        level: [
            keras.metrics.F1Score(average="micro", threshold=ATTRIBUTE_THRESHOLD, name="f1")
            if level == features.ATTRIBUTES
            else keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        ]
        for level in levels_of(splits)
    }


def levels_of(splits: Splits) -> list[str]:
    """The levels that the catalog has labels for: all, or all but the attributes."""
    return [level for level in features.LEVELS if len(splits.train.labels[level])]


def fit(
    model: keras.Model,
    options: Options,
    splits: Splits,
    callbacks: list[keras.callbacks.Callback],
    *,
    report: Callable[[str, float], None],
    first_epoch: int = 0,
) -> dict[str, list[float]]:
    """Fits a compiled model.

    Args:
        model: From `compiled_for_training`.
        options: Sections `model` and `training` are used.
        splits: The Examples.
        callbacks: Called in this order.
        report: Is told, about once a second, a sentence and how many epochs are done.
        first_epoch: Epochs that are done already.

    Returns:
        Keras' history: for each figure its value after each epoch.

    Raises:
        UserError: the loss became infinite or not a number.
    """
    epochs = options["training"]["epochs"]
    steps = splits.steps_per_epoch(options)
    return model.fit(
        splits.training_batches(options, first_epoch),
        validation_data=splits.evaluation_batches(options),
        epochs=epochs,
        initial_epoch=first_epoch,
        steps_per_epoch=steps,
        shuffle=False,
        callbacks=[
            RandomnessByEpoch(),
            StopWithoutNumbers(),
            *callbacks,
            EpochReport(report, epochs, steps),
        ],
        verbose=0,
    ).history


def fingerprint(fn_args: FnArgs, options: Options) -> str:
    """A name for everything a training's result depends on: options, source and data.

    Of each data file the name, the size and the checksum at gzip's end are read.
    """
    facts = {"options": options, "code": fn_args.custom_config.get("code"), "files": []}
    for pattern in [*fn_args.train_files, *fn_args.eval_files]:
        for file in sorted(tf.io.gfile.glob(pattern)):
            size = tf.io.gfile.stat(file).length
            with tf.io.gfile.GFile(file, "rb") as data:
                data.seek(max(0, size - 8))
                facts["files"].append((os.path.basename(file), size, data.read().hex()))
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    facts["labels"] = [preprocessing.vocabulary(transform_output, x) for x in features.LEVELS]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


class MeanOfLevels(keras.callbacks.Callback):
    """Adds `val_mean`, the mean of the levels' eval figures, to each epoch's logs."""

    def on_epoch_end(self, epoch: int, logs=None):
        """Must come before every callback that reads `val_mean`."""
        figures = [value for name, value in logs.items() if is_level_figure(name)]
        logs[CHOOSING_FIGURE] = sum(figures) / len(figures)


def is_level_figure(name: str) -> bool:
    """Whether a name in Keras' logs is a level's figure on the eval split."""
    return name.startswith("val_") and name.endswith(("_accuracy", "_f1"))


class RandomnessByEpoch(keras.callbacks.Callback):
    """Makes augmentation and dropout depend on seed and epoch alone, as the products' order does.

    Keras saves no random state with a model, and a resumed training would draw otherwise.
    """

    _DRAWS_PER_EPOCH = 2**20

    def on_epoch_begin(self, epoch: int, logs=None):
        """Sets the counter of every random generator in the model."""
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                seed, _ = keras.ops.convert_to_numpy(variable)
                variable.assign([seed, epoch * self._DRAWS_PER_EPOCH])


class StopWithoutNumbers(keras.callbacks.Callback):
    """Ends a training whose loss is not finite any more, with a message that says what helps."""

    def on_epoch_end(self, epoch: int, logs=None):
        """Looks at the epoch's mean loss."""
        if not tf.math.is_finite(logs["loss"]):
            raise UserError(
                f"The loss became {logs['loss']} in epoch {epoch + 1}. Lower "
                "training.learning_rate, or turn training.mixed_precision off."
            )


class EpochReport(keras.callbacks.Callback):
    """Tells of every epoch, and about once a second of the part of it that is done.

    Args:
        report: Is told a sentence and how many epochs are done.
        epochs: Epochs at most.
        steps: Steps of an epoch.
    """

    _INTERVAL_S = 1.0

    def __init__(self, report: Callable[[str, float], None], epochs: int, steps: int):
        super().__init__()
        self._report = report
        self._epochs = epochs
        self._steps = steps
        self._epoch = 0
        self._reported_at = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs=None):
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs=None):
        """Tells the part of the epoch that is done, if it is time to."""
        if time.monotonic() - self._reported_at < self._INTERVAL_S:
            return
        self._reported_at = time.monotonic()
        part = (batch + 1) / self._steps
        self._report(f"epoch {self._epoch + 1} of {self._epochs}", self._epoch + part)

    def on_epoch_end(self, epoch: int, logs=None):
        """Tells the eval figures."""
        figures = ", ".join(
            f"{name.removeprefix('val_').replace('_', ' ')} {value:.3f}"
            for name, value in logs.items()
            if is_level_figure(name)
        )
        self._report(f"epoch {epoch + 1} of {self._epochs}: {figures}", epoch + 1)


class ResumableState(keras.callbacks.Callback):
    """Keeps on disk what is needed to go on after a kill, and says when to stop.

    After every epoch one file holds weights, optimizer and random state, and `state.json`, replaced
    in one move, names it together with the history. The file of the best epoch is kept as well.

    Args:
        directory: Where to keep it; belongs to this one training.
        patience: Stop after so many epochs without a better `val_mean`; 0 for never.
    """

    def __init__(self, directory: Path, patience: int):
        super().__init__()
        self._directory = directory
        self._patience = patience
        self._epoch_began = time.monotonic()
        self.epochs: list[dict[str, float]] = []
        self.best_epoch = 0
        self.stopped_early = False

    @property
    def finished_epochs(self) -> int:
        """Number of epochs done, those of earlier processes counted in."""
        return len(self.epochs)

    def has_ended(self, epochs: int) -> bool:
        """Whether there is nothing left to fit."""
        return self.stopped_early or self.finished_epochs >= epochs

    def restore(self, model: keras.Model) -> None:
        """Sets model, optimizer and history to the last finished epoch, if there is one."""
        if not self._state_file.exists():
            return
        state = json.loads(self._state_file.read_text())
        self.epochs = state["epochs"]
        self.best_epoch = state["best_epoch"]
        self.stopped_early = state["stopped_early"]
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self._weights_file(self.finished_epochs))

    def load_best(self, model: keras.Model) -> None:
        """Gives the model the weights of its best epoch."""
        model.load_weights(self._weights_file(self.best_epoch))

    def remove(self) -> None:
        """Deletes the state of a finished training."""
        shutil.rmtree(self._directory)

    def on_epoch_begin(self, epoch: int, logs=None):
        """Starts the epoch's clock."""
        self._epoch_began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs=None):
        """Writes the state and judges the epoch."""
        record = {"epoch": epoch + 1, "seconds": round(time.monotonic() - self._epoch_began, 3)}
        self.epochs.append(record | {name: float(value) for name, value in logs.items()})
        best = self.epochs[self.best_epoch - 1] if self.best_epoch else None
        if best is None or logs[CHOOSING_FIGURE] > best[CHOOSING_FIGURE]:
            self.best_epoch = epoch + 1
        self.stopped_early = 0 < self._patience <= epoch + 1 - self.best_epoch
        self._write()
        if self.stopped_early:
            self.model.stop_training = True

    def _write(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        kept = {self._weights_file(self.finished_epochs), self._weights_file(self.best_epoch)}
        # Keras wants the suffix .weights.h5, of the unfinished file too.
        unfinished = self._directory / "unfinished.weights.h5"
        self.model.save_weights(unfinished)
        os.replace(unfinished, self._weights_file(self.finished_epochs))
        unfinished = self._state_file.with_suffix(".unfinished")
        unfinished.write_text(
            json.dumps(
                {
                    "epochs": self.epochs,
                    "best_epoch": self.best_epoch,
                    "stopped_early": self.stopped_early,
                }
            )
        )
        os.replace(unfinished, self._state_file)
        for file in self._directory.glob("epoch-*.weights.h5"):
            if file not in kept:
                file.unlink()

    @property
    def _state_file(self) -> Path:
        return self._directory / "state.json"

    def _weights_file(self, epoch: int) -> Path:
        return self._directory / f"epoch-{epoch:04d}.weights.h5"


def write_history(
    directory: str, state: ResumableState, options: Options, splits: Splits, parameters: int
) -> None:
    """Writes `history.json`: epochs, the best one, sizes and the options that were used."""
    history = {
        "epochs": state.epochs,
        "best_epoch": state.best_epoch,
        "parameters": parameters,
        "stopped_early": state.stopped_early,
        "train_products": splits.train.products,
        "eval_products": splits.eval.products,
        "hyperparameters": {
            f"{section}.{option}": value
            for section, values in options.items()
            for option, value in values.items()
        },
    }
    tf.io.gfile.makedirs(directory)
    with tf.io.gfile.GFile(os.path.join(directory, HISTORY_FILE), "w") as file:
        file.write(json.dumps(history, indent=1))
