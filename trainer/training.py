"""Fits the model inside a TFX Trainer, and goes on where a killed run stopped."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from schema.errors import UserError
from trainer import calibration, preprocessing, signatures
from trainer.callbacks import EpochLogs, MeanOfLevels
from trainer.fitting import compiled_for_training, fit
from trainer.frozen_features import FrozenFeatures
from trainer.label_pairs import write_label_pairs
from trainer.label_space import LabelSpace
from trainer.network import network
from trainer.options import Options, hyperparameter_values, override
from trainer.resumable_state import ResumableState
from trainer.splits import Splits
from trainer.stages import Stage, stages_of
from trainer.training_model import backbone_of
from trainer.warm_start import warm_start
from trainer.weight_averages import short_of_steps

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

HISTORY_FILE = "history.json"

_progress = logging.getLogger("seamline.progress")


def run_fn(fn_args: FnArgs) -> None:
    """Trains a model and exports it; TFX's Trainer calls this.

    Args:
        fn_args: `custom_config` has the sections `model`, `augmentation` and `training` of the
            config, `resume_dir` for the state of an unfinished training, `code`, the source's
            fingerprint, and `thresholds`, the scores from which a level's answers count as known.
            `hyperparameters`, if any, override the sections' options. The SavedModel goes to
            `serving_model_dir`, TensorBoard's logs and `history.json` to `model_run_dir`.

    Raises:
        UserError: a split is empty, weights cannot be had, or the loss is no number any more.
    """
    options = override(fn_args.custom_config, hyperparameter_values(fn_args.hyperparameters))
    splits = Splits.read(fn_args)
    directory = Path(fn_args.custom_config["resume_dir"]) / state_name(fn_args, options)
    base_model = fn_args.base_model if options["training"]["warm_start"] else None
    if options["training"]["machines"] > 1:
        # Here, for it trains by what is in this module.
        from trainer import training_chief

        model, state = training_chief.train(fn_args, options, splits, directory, base_model)
    else:
        model, state = train(options, splits, directory, fn_args.model_run_dir, base_model)

    if options["training"]["mixed_precision"]:
        # Served in 32 bits, on whatever machine that is.
        in_32_bits = override(options, {"training.mixed_precision": False})
        weights = model.get_weights()
        model = network(in_32_bits, splits.labels)
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
        thresholds=fn_args.custom_config.get("thresholds"),
    )
    write_label_pairs(splits.train.pairs, splits.labels, fn_args.serving_model_dir)
    last = stages_of(options)[-1]
    steps = (last.end_epoch - last.first_epoch) * splits.steps_per_epoch(options)
    note = short_of_steps(options["training"]["ema"], steps)
    facts = {
        "parameters": model.count_params(),
        "temperatures": temperatures,
        "notes": [note] if note else [],
    }
    write_history(fn_args.model_run_dir, state, options, splits, facts)
    state.remove()


def train(
    options: Options,
    splits: Splits,
    directory: Path,
    log_directory: str,
    base_model: str | None = None,
) -> tuple[keras.Model, ResumableState]:
    """Trains a model through all stages, or goes on where a killed training stopped.

    Args:
        options: All sections.
        splits: The Examples.
        directory: Keeps the state of this one training.
        log_directory: For TensorBoard's logs.
        base_model: The exported model to start from, if any.

    Returns:
        The model with the weights of its best epoch, and the state, for the caller to remove.

    Raises:
        UserError: weights or the base model cannot be had, the batch size cannot be divided over
            the GPUs, or the loss is no number any more.
    """
    epochs = options["training"]["epochs"]

    def report(message: str, done: float) -> None:
        _progress.info(message, extra={"completed": done, "total": epochs})

    keras.utils.set_random_seed(options["training"]["seed"])
    strategy = distribution()
    batch_size, devices = options["training"]["batch_size"], strategy.num_replicas_in_sync
    if batch_size % devices:
        raise UserError(
            f"training.batch_size is {batch_size}, which cannot be divided evenly over {devices} "
            f"GPUs. Make it a multiple of {devices}."
        )
    with strategy.scope():
        model = network(options, splits.labels)
        if base_model:
            report(warm_start(model, splits.labels, base_model), 0)
    state = ResumableState(directory, model, patience=options["training"]["patience"])
    fit_stages(
        *(model, options, splits, directory, state, report),
        callbacks=[EpochLogs(log_directory)],
        scope=strategy.scope,
    )
    state.load_best()
    return model, state


def fit_stages(
    model: keras.Model,
    options: Options,
    splits: Splits,
    directory: Path,
    state: ResumableState,
    report: Callable[[str, float], None],
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    scope: Callable[[], AbstractContextManager] = nullcontext,
) -> None:
    """Fits a model in all stages, or in what is left of them.

    Args:
        model: From `network`.
        options: All sections.
        splits: The Examples.
        directory: Keeps the features of frozen stages.
        state: Of this training, which may have begun in another process.
        report: Is told a sentence and how many epochs are done.
        callbacks: Called after an epoch was judged.
        scope: Where variables are made.

    Raises:
        UserError: the loss is no number any more.
    """
    for stage in stages_of(options):
        if state.finished_epochs > stage.end_epoch or state.stopped_early:
            continue
        with scope():
            fitted = compiled_for_training(model, options, splits, stage)
        state.begin(stage, fitted)
        if state.finished_epochs == stage.end_epoch:
            # The kill came where this stage ended, which Keras' fit does so.
            fitted.optimizer.finalize_variable_values(fitted.trainable_variables)
            continue
        fit(
            fitted,
            options,
            batches_of(stage, model, options, splits, directory, report),
            stage,
            [MeanOfLevels(), state, *callbacks],
            report=report,
            first_epoch=max(stage.first_epoch, state.finished_epochs),
        )


def distribution() -> tf.distribute.Strategy:
    """Over all GPUs, or all processors that TensorFlow was told to see, or on what there is.

    A batch is divided among the devices, each of which normalizes by its own part, and gradients
    are summed, so that `batch_size` and the losses mean the same on any number of them.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def batches_of(
    stage: Stage,
    model: keras.Model,
    options: Options,
    splits: Splits,
    directory: Path,
    report: Callable[[str, float], None],
) -> Splits | FrozenFeatures:
    """What a stage reads: the splits' pictures, or their features, kept in a directory."""
    if not stage.on_features:
        return splits
    return FrozenFeatures(
        backbone_of(model),
        splits,
        options,
        directory,
        report=lambda message: report(message, stage.first_epoch),
    )


def state_name(fn_args: FnArgs, options: Options) -> str:
    """A name for what a training keeps: it is the same on however many machines, but not on one."""
    settings = {**options["training"], "machines": options["training"]["machines"] > 1}
    settings.pop("listen")
    return fingerprint(fn_args, {**options, "training": settings})


def fingerprint(fn_args: FnArgs, options: Options) -> str:
    """A name for everything a training's result depends on: options, source, data, base model.

    Of each data file the name, the size and the checksum at gzip's end are read.
    """
    facts = {
        "options": options,
        "code": fn_args.custom_config.get("code"),
        "base_model": fn_args.base_model,
        "files": [],
    }
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
