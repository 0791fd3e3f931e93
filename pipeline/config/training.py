"""How the model is fitted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Fraction, Positive, Section, checked_address


class Training(Section):
    """How the model is fitted."""

    epochs: Positive = Field(25, description="Most epochs, those of stage one included.")
    batch_size: Positive = Field(32, description="Products a step, over all GPUs together.")
    optimizer: Literal["adam", "adamw"] = Field(
        "adam", description="`adamw` is Adam with weight decay."
    )
    learning_rate: float = Field(0.001, gt=0, description="Learning rate after the warm-up.")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="`cosine` lets the learning rate fall to 0 over a stage's epochs."
    )
    warmup_epochs: float = Field(
        0,
        ge=0,
        description="Epochs, or a part of one, at a stage's start over which the learning rate "
        "rises from 0.",
    )
    weight_decay: float = Field(
        0.01, ge=0, description="AdamW's decay of the kernels; biases and normalizations have none."
    )
    gradient_clip: float | None = Field(
        None, gt=0, description="Largest norm of all gradients together; unlimited by default."
    )
    ema: float = Field(
        0,
        ge=0,
        lt=1,
        description="Momentum of moving averages of the weights, which are then evaluated and "
        "served in the weights' place, e.g. 0.998 over thousands of steps; 0 keeps none.",
    )
    frozen_epochs: int = Field(
        0,
        ge=0,
        description="Epochs of stage one, in which the backbone stays as it is and the heads are "
        "trained.",
    )
    fine_tune_learning_rate: float | None = Field(
        None,
        gt=0,
        description="Learning rate of stage two, where stage one has epochs; as before by default.",
    )
    frozen_augmentation: bool = Field(
        True,
        description="Whether stage one changes and mixes its pictures; where nothing does, their "
        "features are computed once and kept.",
    )
    frozen_normalization: bool = Field(
        False,
        description="Whether the backbone runs as when it is served while it is trained: batch "
        "normalizations keep the statistics that its weights came with. Of use where batches are "
        "too small for statistics of their own; else it teaches a little less.",
    )
    category_weight: float = Field(
        1, ge=0, description="Weight of the categories' loss; 0 leaves a level unlearned."
    )
    subcategory_weight: float = Field(1, ge=0, description="Weight of the sub-categories' loss.")
    attributes_weight: float = Field(1, ge=0, description="Weight of the attributes' loss.")
    extra_labels_weight: float = Field(1, ge=0, description="Weight of each extra label's loss.")
    imbalance: Literal[
        "none", "inverse_frequency", "effective_number", "focal", "balanced_sampling"
    ] = Field(
        "none",
        description="What helps rare classes: weights in the losses by inverse frequency or "
        "effective number, the focal loss, or that their products are drawn more often.",
    )
    class_weight_limit: float = Field(
        5.0, ge=1, description="Largest weight of a class, with a product's mean weight being 1."
    )
    effective_number_beta: float = Field(
        0.999, ge=0, lt=1, description="Beta of `effective_number`; nearer to 1 weights more."
    )
    focal_gamma: float = Field(
        2.0, gt=0, description="Gamma of `focal`; more leaves what is learned already out more."
    )
    sampling_exponent: Fraction = Field(
        0.5,
        description="`balanced_sampling` draws a sub-category's products in proportion to its size "
        "to the power of 1 less this; 1 draws all sub-categories alike.",
    )
    label_smoothing: float = Field(
        0,
        ge=0,
        lt=1,
        description="Part of a label spread over all classes, in levels with one label a product.",
    )
    mixup_alpha: float = Field(
        0,
        ge=0,
        description="Mixes pairs of pictures and their labels in parts drawn from "
        "Beta(alpha, alpha); 0 does not.",
    )
    cutmix_alpha: float = Field(
        0,
        ge=0,
        description="Puts a box of one picture into another, of a size drawn as for mixup; with "
        "both, each picture is mixed in one way by chance.",
    )
    triplet_weight: float = Field(
        0,
        ge=0,
        description="Weight of the embedding's triplet loss, by which products of a sub-category "
        "come closer to one another than to others; 0 leaves it out.",
    )
    triplet_margin: float = Field(
        0.2, gt=0, description="Margin of the triplet loss, in squared distance (0 to 4)."
    )
    warm_start: bool = Field(
        False,
        description="Whether to start from the weights of the last blessed model that was trained "
        "on other data, as far as they fit.",
    )
    patience: int = Field(
        5,
        ge=0,
        description="Stop after so many epochs without a better mean of the levels, not in stage "
        "one; 0: never.",
    )
    calibrate: bool = Field(
        True,
        description="Fit a temperature a level on the eval part, so that of all answers with a "
        "score of .75 three in four are right.",
    )
    mixed_precision: bool = Field(
        False,
        description="Compute in 16-bit floats: float16 on GPUs, bfloat16 on processors, of which "
        "those with instructions for it gain.",
    )
    machines: Positive = Field(
        1,
        description="Machines that train together, this one with all its GPUs and the others by "
        "`seamline train-worker`; more than one train on JAX.",
    )
    listen: str = Field(
        "0.0.0.0:7078",
        description="`host:port` where the other machines of a training join; the next port is for "
        "JAX. Whoever reaches it is answered, so a NetworkPolicy belongs before it.",
    )
    seed: int = Field(42, description="Seed of the weights, the shuffling and the augmentation.")

    @field_validator("listen")
    @classmethod
    def _address(cls, listen: str) -> str:
        return checked_address(listen)

    @model_validator(mode="after")
    def _mixed_pictures_have_one_class(self) -> Training:
        if self.triplet_weight and (self.mixup_alpha or self.cutmix_alpha):
            raise ValueError(
                "triplet_weight needs products of one sub-category each; set mixup_alpha and "
                "cutmix_alpha to 0"
            )
        return self
