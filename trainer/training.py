"""Fits the model inside a TFX Trainer, and goes on where a killed run stopped."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import calibration, objective, preprocessing, signatures
from trainer.augmentation import Augmentation
from trainer.backbones import build_backbone
from trainer.callbacks import EpochReport, MeanOfLevels, RandomnessByEpoch, StopWithoutNumbers
from trainer.hierarchical_model import build_heads, build_model
from trainer.label_space import LabelSpace
from trainer.options import Options, hyperparameter_values, override
from trainer.resumable_state import ResumableState
from trainer.splits import Splits

HISTORY_FILE = "history.json"

_progress = logging.getLogger("seamline.progress")


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
    temperatures = {}
    if options["training"]["calibrate"]:
        batches = splits.evaluation_batches(options)
        temperatures = calibration.calibrate(model, batches, LabelSpace.of(splits.labels))
    signatures.export(
        model,
        splits.transform_output,
        fn_args.serving_model_dir,
        pairs=splits.train.pairs if options["model"]["joint_decoding"] else None,
        temperatures=temperatures,
    )
    facts = {"parameters": model.count_params(), "temperatures": temperatures}
    write_history(fn_args.model_run_dir, state, options, splits, facts)
    state.remove()


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
            kernel_size=settings["kernel_size"],
            blocks=settings["blocks"],
            batch_normalization=settings["batch_normalization"],
        )
        heads = build_heads(
            backbone.output_shape[-1],
            LabelSpace.of(splits.labels),
            heads=settings["heads"],
            attribute_classifier=settings["attribute_classifier"],
            dense_units=settings["dense_units"],
            dropout=settings["dropout"],
            l2=settings["l2"],
            embedding_size=settings["embedding_size"],
        )
        return build_model(backbone, heads)
    finally:
        keras.config.set_dtype_policy(before)


def compiled_for_training(model: keras.Model, options: Options, splits: Splits) -> keras.Model:
    """Puts the augmentation before a model and compiles the whole with losses and optimizer."""
    settings = options["training"]
    inputs = keras.Input(model.input_shape[1:], dtype="uint8", name="pictures")
    augmented = Augmentation(**options["augmentation"], seed=settings["seed"])(inputs)
    outputs = model(augmented)
    # Keras wants a label for every output, so those without are none of the fitted model's.
    levels = objective.levels_of(splits)
    training_model = keras.Model(inputs, {level: outputs[level] for level in levels})

    rate = settings["learning_rate"]
    if settings["schedule"] == "cosine":
        steps = settings["epochs"] * splits.steps_per_epoch(options)
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = keras.optimizers.Adam(rate)
    if settings["mixed_precision"]:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    training_model.compile(
        optimizer,
        loss=objective.level_losses(options, splits),
        loss_weights=objective.level_loss_weights(options, splits),
        metrics=objective.level_metrics(splits),
    )
    return training_model


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
    facts["labels"] = preprocessing.vocabularies(transform_output)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def write_history(
    directory: str, state: ResumableState, options: Options, splits: Splits, facts: dict[str, Any]
) -> None:
    """Writes `history.json`: epochs, the best one, `facts`, and the options that were used."""
    history = {
        "epochs": state.epochs,
        "best_epoch": state.best_epoch,
        **facts,
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
