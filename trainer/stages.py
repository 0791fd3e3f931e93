"""The stages of a training, what of it each fits, and how fast."""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from trainer.options import Options
from trainer.weight_averages import Adam, AdamW


@dataclasses.dataclass(frozen=True)
class Stage:
    """Epochs of a training that are fitted alike, with an optimizer of their own.

    Attributes:
        first_epoch: Epochs of the training before it.
        end_epoch: Epochs of the training after it.
        learning_rate: The learning rate after the warm-up.
        frozen: Whether the backbone stays as it is.
        on_features: Whether it is fitted on features that were computed once, which can be where
            the backbone is frozen and nothing changes the pictures.
        is_last: Whether no other stage comes after it.
    """

    first_epoch: int
    end_epoch: int
    learning_rate: float
    frozen: bool
    on_features: bool
    is_last: bool


def stages_of(options: Options) -> list[Stage]:
    """The stages of a training: the frozen one, if there is one, and the free one."""
    settings = options["training"]
    epochs, rate = settings["epochs"], settings["learning_rate"]
    frozen = min(settings["frozen_epochs"], epochs)
    stages = []
    if frozen:
        changed = settings["frozen_augmentation"] and (is_augmented(options) or is_mixed(options))
        stages.append(Stage(0, frozen, rate, True, not changed, is_last=frozen == epochs))
        rate = settings["fine_tune_learning_rate"] or rate
    if frozen < epochs:
        stages.append(Stage(frozen, epochs, rate, False, False, is_last=True))
    return stages


def is_augmented(options: Options) -> bool:
    """Whether any probability of the augmentation is above 0, and what it stands for with it."""
    settings = options["augmentation"]
    changes = (f"{name}_probability" for name in ("contrast", "brightness", "geometry"))
    return bool(
        settings["flip_probability"]
        or (settings["strength"] and any(settings[change] for change in changes))
    )


def is_mixed(options: Options) -> bool:
    """Whether pictures are mixed with one another."""
    return bool(options["training"]["mixup_alpha"] or options["training"]["cutmix_alpha"])


def optimizer(
    stage: Stage, options: Options, steps_per_epoch: int, variables: list[keras.Variable]
) -> keras.optimizers.Optimizer:
    """The optimizer of a stage, new and built.

    Args:
        stage: Its learning rate and epochs.
        options: Section `training` is used.
        steps_per_epoch: Training steps of an epoch.
        variables: What it will train.
    """
    settings = options["training"]
    arguments = {
        "learning_rate": _learning_rate(stage, options, steps_per_epoch),
        "global_clipnorm": settings["gradient_clip"],
        "use_ema": settings["ema"] > 0,
        "ema_momentum": settings["ema"],
    }
    if settings["optimizer"] == "adamw":
        chosen = AdamW(weight_decay=settings["weight_decay"], **arguments)
        # Kernels have more than one axis; biases and what normalizations scale and shift by do not.
        chosen.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    else:
        chosen = Adam(**arguments)
    if settings["mixed_precision"] and half_precision() == "float16":
        chosen = keras.optimizers.LossScaleOptimizer(chosen)
    # Keras would do so within the first step, and trace that once more for it.
    chosen.build(variables)
    return chosen


def half_precision() -> str:
    """The 16-bit floats that this machine is fast with: float16 on GPUs, bfloat16 on processors.

    bfloat16 reaches as far as 32 bits do, so that no gradient is lost and the loss needs no scale.
    """
    # Asked for GPUs alone, JAX raises where it has none.
    devices = keras.distribution.list_devices()
    return "float16" if any(device.startswith("gpu") for device in devices) else "bfloat16"


def _learning_rate(
    stage: Stage, options: Options, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    settings = options["training"]
    steps = (stage.end_epoch - stage.first_epoch) * steps_per_epoch
    warmup_steps = min(round(settings["warmup_epochs"] * steps_per_epoch), steps - 1)
    rate = stage.learning_rate
    if settings["schedule"] == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps - warmup_steps)
    return WarmUp(rate, warmup_steps) if warmup_steps else rate


@keras.saving.register_keras_serializable(package="seamline")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from 0, a step as much as another, and goes on as something else then.

    CosineDecay can warm up by itself, with a branch in the graph for every variable that AdamW
    decays, which takes long to build.

    Args:
        then: The rate, or the schedule, that follows.
        steps: Steps of the rise, at least 1.
    """

    def __init__(self, then: float | keras.optimizers.schedules.LearningRateSchedule, steps: int):
        super().__init__()
        self.then = then
        self.steps = steps

    def __call__(self, step):
        """The learning rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        rate = self.then(ops.maximum(step - self.steps, 0)) if callable(self.then) else self.then
        return rate * ops.minimum(step / self.steps, 1)

    def get_config(self):
        """The constructor's arguments."""
        return {"then": self.then, "steps": self.steps}
