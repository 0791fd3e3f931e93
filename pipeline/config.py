"""Every option of Seamline: its type, its default and one sentence, in one place.

A catalog's config is one YAML file, read by `load_config`. Options that are not in the file have
the defaults below; `--set section.option=value` on the command line overrides both. The table of
options in docs/options.md is made from these classes (`python -m pipeline.options_table`).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from components.catalog_example_gen.deepfashion import COLUMNS_OF_FORMAT, IMAGE_NAME
from components.catalog_example_gen.storage import is_url
from components.evaluation.figures import levels
from schema import features
from schema.errors import UserError
from schema.labels import has_control, normalized

IMAGENET = "imagenet"

_PATHS = (
    ("catalog", "folder"),
    ("catalog", "schema_file"),
    ("model", "weights"),
    ("serving", "canary_folder"),
)

TUNABLE = ("model", "augmentation", "training")
"""Sections whose options a search may vary."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A group of options; unknown names are errors, so that a typing slip is never ignored."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Catalog(Section):
    """Where the catalog is and what its columns mean."""

    folder: str = Field(
        description="Folder of the catalog, or its URL (`gs://...`) on a file system that Beam "
        "knows; `~` and `${VARIABLE}` are expanded."
    )
    format: Literal["csv", "deepfashion_fine", "deepfashion_coarse", "deepfashion_inshop"] = Field(
        "csv",
        description="A CSV with a header, or the annotation files of a DeepFashion benchmark, with "
        "columns of their own: see the configs of these names.",
    )
    labels_csv: str = Field("labels.csv", description="The CSV file, relative to `folder`.")
    images: str = Field("images", description="The folder of pictures, relative to `folder`.")
    encoding: str = Field("utf-8-sig", description="Text encoding of the CSV.")
    delimiter: Literal[",", ";", "|", "tab"] = Field(
        ",", description="What separates the CSV's fields."
    )
    id: str = Field("id", description="Column that identifies a product.")
    picture: str | None = Field(
        None,
        description="Column with the picture's path below `images`; without it the picture is the "
        "file named `<id>.<suffix>` anywhere below `images`.",
    )
    picture_separator: str | None = Field(
        None,
        min_length=1,
        description="What separates several pictures in a cell of `picture`, e.g. `,`; all of them "
        "are learned from, and fall on one side of the split.",
    )
    product: str | None = Field(
        None,
        description="Column that names the product, where several rows are one (variants, or a row "
        "for each picture): the first of them with labels speaks for all; may be the `id` column.",
    )
    links: bool = Field(
        False,
        description="Whether links may lead out of `images`, to pictures or folders, as the caches "
        "of DVC, git-annex and Hugging Face have them.",
    )
    category: str = Field(
        description="Column of the first level; DeepFashion's is `category_type` by default."
    )
    subcategory: str = Field(
        description="Column of the second level; DeepFashion's is `category` by default."
    )
    attributes: list[str] = Field(
        default_factory=list,
        description="Attribute columns, each a group of labels; several in a cell are separated.",
    )
    separator: str = Field(
        "|",
        min_length=1,
        description="What separates several labels in an attribute cell; lists as JSON and Python "
        "write them are read in any case.",
    )
    flags: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Columns of 0 and 1 (or true and false, yes and no), each an attribute that a "
        "product has or has not, by the group that they make up, e.g. "
        "`{pattern: [striped, floral, dotted]}`.",
    )
    slices: list[str] = Field(
        default_factory=list, description="Columns by whose values every metric is also given."
    )
    extra_labels: list[str] = Field(
        default_factory=list,
        description="Slice columns that the model names as well, one value a product, e.g. gender.",
    )
    class_cap: float | None = Field(
        None,
        gt=0,
        description="Cut a category to so many times the mean category's size (4 in Ferreira et "
        "al.), drawn by a hash of the id; none by default.",
    )
    sample: Positive | None = Field(
        None,
        description="Use only so many products, in proportion by category, drawn by a hash of the "
        "id; all by default.",
    )
    crop: bool = Field(False, description="Cut DeepFashion's pictures to their bounding boxes.")
    stored_side: Positive = Field(
        512, description="Longest side in pixels of a stored picture; larger ones are shrunk."
    )
    schema_file: str | None = Field(
        None, description="A TFMD schema of your own in place of `schema/catalog.pbtxt`."
    )

    @model_validator(mode="before")
    @classmethod
    def _formats_name_their_columns(cls, options: Any) -> Any:
        if isinstance(options, dict) and isinstance(options.get("format"), str):
            return {**COLUMNS_OF_FORMAT.get(options["format"], {}), **options}
        return options

    @model_validator(mode="after")
    def _format_has_what_is_asked(self) -> Catalog:
        if self.format != "csv" and (self.flags or self.delimiter != ","):
            raise ValueError(f"flags and delimiter are for a CSV; leave them out for {self.format}")
        if self.format == "csv":
            if self.crop:
                raise ValueError("crop needs a DeepFashion format: a CSV has no bounding boxes")
            if self.picture_separator and not self.picture:
                raise ValueError(
                    "picture_separator divides the cells of the column `picture`; name that too"
                )
        elif self.product or self.picture_separator:
            raise ValueError(
                f"product and picture_separator are for a CSV; leave them out for {self.format}"
            )
        elif (self.id, self.picture) != (IMAGE_NAME, IMAGE_NAME):
            raise ValueError(
                f"id and picture of {self.format} are `{IMAGE_NAME}`; leave them out of the config"
            )
        return self

    @property
    def several_pictures(self) -> bool:
        """Whether a product may have several pictures, and so several Examples."""
        return bool(self.product or self.picture_separator)

    @field_validator("folder", "schema_file")
    @classmethod
    def _without_variables(cls, path: str | None) -> str | None:
        if unset := re.search(r"\$\{?(\w+)", path or ""):
            raise ValueError(f"the environment variable {unset[1]} is not set")
        return path

    @property
    def attribute_groups(self) -> list[str]:
        """The groups of attributes: the attribute columns, and those of `flags`."""
        return [*self.attributes, *self.flags]

    @field_validator("delimiter", mode="before")
    @classmethod
    def _tab_by_its_letter(cls, delimiter: Any) -> Any:
        return "tab" if delimiter in ("\t", "\\t") else delimiter

    @field_validator("id", "picture", "category", "subcategory", "product")
    @classmethod
    def _column_as_headings_are_read(cls, column: str | None) -> str | None:
        return column and _column_name(column)

    @field_validator("attributes", "slices")
    @classmethod
    def _columns_each_once(cls, columns: list[str]) -> list[str]:
        names = [_column_name(column) for column in columns]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(doubled)} stands there more than once; name it once")
        return names

    @field_validator("attributes")
    @classmethod
    def _groups_tell_from_values(cls, columns: list[str]) -> list[str]:
        return [_group_name(column) for column in columns]

    @field_validator("flags")
    @classmethod
    def _flags_of_groups(
        cls, flags: dict[str, list[str]], validated: ValidationInfo
    ) -> dict[str, list[str]]:
        named = {
            _group_name(_column_name(group)): [_column_name(column) for column in columns]
            for group, columns in flags.items()
        }
        others = validated.data.get("attributes", [])
        columns = [column for of in named.values() for column in of]
        if taken := sorted(set(others) & {*named, *columns}):
            raise ValueError(
                f"{', '.join(taken)} is among catalog.attributes too; name it in one of them"
            )
        if doubled := sorted({column for column in columns if columns.count(column) > 1}):
            raise ValueError(f"{', '.join(doubled)} stands there more than once; name it once")
        if empty := [group for group, of in named.items() if not of]:
            raise ValueError(f"{empty[0]} names no column; list those that say its labels")
        return named

    @field_validator("extra_labels")
    @classmethod
    def _slices_with_a_plain_name(cls, columns: list[str], validated: ValidationInfo) -> list[str]:
        if missing := [
            name for name in columns if name not in validated.data.get("slices", columns)
        ]:
            raise ValueError(f"{', '.join(missing)} must be among catalog.slices as well")
        odd = [name for name in columns if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)]
        if odd := odd or [name for name in columns if features.slice_feature(name) != name]:
            raise ValueError(
                f"{', '.join(odd)} cannot name an output of the model: give the column a name of "
                "letters, digits and `_` that is none of Seamline's own and does not end with "
                "`_label`"
            )
        outputs = [
            name for level in (*features.LEVELS, *columns) for name in features.outputs(level)
        ]
        if taken := sorted({name for name in outputs if outputs.count(name) > 1}):
            raise ValueError(
                f"the outputs {', '.join(taken)} would stand for two things: rename the column, or "
                "name it once"
            )
        return columns


def _column_name(column: str) -> str:
    """The name as headings are read."""
    name = normalized(column)
    if not name or has_control(name):
        raise ValueError(
            f"{column!r} cannot name a column: it has control characters or nothing else. Rename "
            "the column in the CSV"
        )
    return name


def _group_name(column: str) -> str:
    """The name, if labels made of it say where it ends."""
    if "=" in column:
        raise ValueError(
            f"{column} cannot name a group of attributes: labels are written `column=value`, so "
            "the column may have no `=`. Rename it in the CSV"
        )
    return column


class Split(Section):
    """How products are divided; pictures that look the same always fall on one side."""

    seed: int = Field(42, description="Another seed draws another split.")
    eval: Fraction = Field(0.1, description="Part that chooses the epoch and hyperparameters.")
    test: Fraction = Field(0.1, description="Part that only judges: every published metric.")
    policy: Literal["stable", "exact"] = Field(
        "stable",
        description="`stable` keeps products on their side when the catalog grows; `exact` divides "
        "every category as asked for, to within one group.",
    )
    near_duplicate_bits: int = Field(
        12,
        ge=0,
        le=64,
        description="Pictures whose 256-bit hashes differ in at most so many bits fall on one "
        "side; 0 asks for equal hashes.",
    )
    column: str | None = Field(
        None,
        description="Column that says train, eval (or val, validation) or test (or query, gallery) "
        "and replaces the policy; a split that it never names is drawn out of train.",
    )

    @field_validator("column")
    @classmethod
    def _column_as_headings_are_read(cls, column: str | None) -> str | None:
        return column and _column_name(column)

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Split:
        if self.eval <= 0 or self.test <= 0 or self.eval + self.test >= 1:
            raise ValueError(
                f"eval ({self.eval}) and test ({self.test}) must be above 0 and leave a train part"
            )
        return self


class Checks(Section):
    """When the data stop the run."""

    max_rejected: Fraction = Field(
        0.1, description="Stop if a larger part of the rows is rejected."
    )
    max_ambiguous: Fraction = Field(
        0.1,
        description="Stop if for a larger part of the products there are several different "
        "pictures of that name, of which only one is used.",
    )
    stop_on: Literal["error", "warning", "never"] = Field(
        "error",
        description="Severity from which on a finding stops the run: the schema's are errors, "
        "drift and skew are warnings.",
    )
    drift: Fraction | None = Field(
        0.15,
        description="Warn where the train part is farther than this from the last run's that "
        "passed: the change of any label's share, or a picture figure's Jensen-Shannon divergence; "
        "`null` never warns.",
    )
    skew: Fraction | None = Field(
        0.15, description="The same between eval or test and train; `null` never warns."
    )


class Beam(Section):
    """How the data steps are computed."""

    workers: Positive = Field(1, description="Processes that read pictures in parallel.")


class Model(Section):
    """The network: one backbone and the three-level heads on it."""

    backbone: Literal[
        "small_residual",
        "efficientnetlite0",
        "efficientnetlite2",
        "densenet121",
        "densenet169",
        "densenet201",
        "efficientnetb4",
        "efficientnetv2b0",
        "inceptionresnetv2",
        "inceptionv3",
        "mobilenetv3large",
        "mobilenetv3small",
        "resnet50",
        "vgg16",
    ] = Field("small_residual", description="The convolutional network below the heads.")
    weights: str | None = Field(
        None, description="`imagenet`, or a weights file for the backbone; random by default."
    )
    image_height: Positive = Field(80, description="Height in pixels that pictures are resized to.")
    image_width: Positive = Field(60, description="Width in pixels that pictures are resized to.")
    filters: Positive = Field(32, description="Filters of `small_residual`'s first stage.")
    kernel_size: Positive = Field(
        3, description="Side of the kernels in `small_residual`'s residual blocks."
    )
    blocks: Positive = Field(1, description="Residual blocks in each stage of `small_residual`.")
    batch_normalization: Literal["every_convolution", "block_end", "none"] = Field(
        "every_convolution", description="Where `small_residual` normalizes by batch."
    )
    heads: Literal["message_passing", "plain"] = Field(
        "message_passing",
        description="`message_passing` lets the levels inform one another; `plain` does not.",
    )
    attribute_classifier: Literal["together", "sigmoid_per_type", "softmax_per_type"] = Field(
        "together",
        description="One classifier over all attributes, or one for each attribute column, whose "
        "values are independent (sigmoid) or exclude one another (softmax).",
    )
    joint_decoding: bool = Field(
        True,
        description="Never answer with a sub-category under a category that training never saw it "
        "with.",
    )
    mirror_average: bool = Field(
        False,
        description="Answer by the mean of the features of a picture and of its mirror image: a "
        "little more often right, for twice the time a picture. Training takes as long as without.",
    )
    embedding_size: Positive | None = Field(
        512, description="Size of the embedding; `null` takes the backbone's features as they are."
    )
    dense_units: Positive = Field(1024, description="Units of every dense layer of the heads.")
    dropout: Fraction = Field(0.3, description="Dropout at the end of each branch.")
    l2: float = Field(0.0005, ge=0, description="L2 penalty on the dense layers' kernels.")


class Augmentation(Section):
    """Random changes of the training pictures."""

    flip_probability: Fraction = Field(0.5, description="Probability of a horizontal flip.")
    contrast: Fraction = Field(0.2, description="Largest change of contrast.")
    contrast_probability: Fraction = Field(0.5, description="Probability of a contrast change.")
    brightness: Fraction = Field(0.2, description="Largest change of brightness.")
    brightness_probability: Fraction = Field(0.5, description="Probability of a brightness change.")
    shift: Fraction = Field(0.0625, description="Largest shift, as a part of the side.")
    scale: Fraction = Field(0.1, description="Largest change of scale.")
    rotation_degrees: float = Field(15, ge=0, le=180, description="Largest rotation in degrees.")
    geometry_probability: Fraction = Field(
        0.8, description="Probability of shift, scale and rotation together."
    )
    strength: float = Field(
        1,
        ge=0,
        description="By which contrast, brightness, shift, scale and rotation are multiplied, so "
        "that a search can vary them all at once.",
    )

    @model_validator(mode="after")
    def _changes_leave_a_picture(self) -> Augmentation:
        for name in ("contrast", "brightness", "shift", "scale"):
            if getattr(self, name) * self.strength >= 1:
                raise ValueError(f"{name} times strength must be below 1")
        return self


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
    seed: int = Field(42, description="Seed of the weights, the shuffling and the augmentation.")

    @model_validator(mode="after")
    def _mixed_pictures_have_one_class(self) -> Training:
        if self.triplet_weight and (self.mixup_alpha or self.cutmix_alpha):
            raise ValueError(
                "triplet_weight needs products of one sub-category each; set mixup_alpha and "
                "cutmix_alpha to 0"
            )
        return self


class Range(Section):
    """Numbers from `min` to `max`, both of them included."""

    min: int | float = Field(description="The least.")
    max: int | float = Field(description="The largest.")
    step: int | float | None = Field(None, gt=0, description="Their distance; any by default.")
    log: bool = Field(False, description="Draw evenly by order of magnitude.")

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if not self.min < self.max or (self.log and self.min <= 0):
            raise ValueError("min must be below max, and above 0 where log is on")
        return self


def _usual_space() -> dict[str, Range | list[Any]]:
    return {
        "model.dropout": [0.1, 0.3, 0.5],
        "model.dense_units": [256, 512, 1024],
        "training.learning_rate": [0.0003, 0.001, 0.003],
    }


class Tuning(Section):
    """The search for better hyperparameters before training; off by default."""

    enabled: bool = Field(False, description="Whether the Tuner step is part of the pipeline.")
    search: Literal["random", "hyperband", "bayesian"] = Field(
        "random", description="KerasTuner's search algorithm."
    )
    trials: Positive = Field(10, description="Trials at most (for random and Bayesian search).")
    epochs: Positive = Field(5, description="Epochs of a trial at most.")
    workers: Positive = Field(
        1, description="Processes that run trials side by side, each on a GPU of its own if any."
    )
    space: dict[str, Range | list[Any]] = Field(
        default_factory=_usual_space,
        description="Values to try for each option of `model`, `augmentation` and `training`: a "
        "list, or a range as `{min: 0.0001, max: 0.01, log: true}`.",
    )


class Gate(Section):
    """One bound on one metric; exactly one of the three `at_...` is given."""

    metric: str = Field(description="Named `level/metric`, as in `category/accuracy`.")
    slices: str | list[str] = Field(
        "overall",
        description="`overall`: all products together. `all`: every value of every slice column. A "
        "column: each of its values; `column=value`: that one; a list of these: their crosses. "
        "Beside the slice columns there are `attributes`, `image_brightness`, `image_sharpness` "
        "and `image_size`.",
    )
    at_least: NonNegative | None = Field(None, description="The least that the figure may be.")
    at_most: NonNegative | None = Field(
        None, description="The most that it may be, for a `calibration_error` for example."
    )
    at_most_worse: NonNegative | None = Field(
        None, description="How much worse than the last blessed model's it may be."
    )
    min_products: Positive = Field(
        30, description="Slices of fewer test products never block, and say so."
    )
    confidence: float = Field(
        0.95, ge=0.5, lt=1, description="Of the intervals, and of what is called sure."
    )
    blocks: Literal["by_figure", "when_surely_beyond", "unless_surely_within"] | None = Field(
        None,
        description="Whether the figure alone decides (`by_figure`, the default for `overall`), or "
        "a gate blocks only where the whole interval is beyond the bound (`when_surely_beyond`, "
        "the default for slices), or wherever it is not wholly within (`unless_surely_within`, for "
        "a launch).",
    )

    @model_validator(mode="after")
    def _has_one_bound(self) -> Gate:
        bounds = (self.at_least, self.at_most, self.at_most_worse)
        if sum(bound is not None for bound in bounds) != 1:
            raise ValueError(
                "a gate has exactly one of at_least, at_most and at_most_worse; write a gate for "
                "each bound"
            )
        return self

    @field_validator("slices")
    @classmethod
    def _names_something(cls, slices: str | list[str]) -> str | list[str]:
        if not slices or (isinstance(slices, list) and {"overall", "all"} & {*slices}):
            raise ValueError(
                "write overall, all, a column, column=value, or a list of columns and values"
            )
        return slices

    def options(self) -> dict[str, Any]:
        """Fields of `components.judge.gates.Gate`, with `blocks` decided."""
        by_default = "by_figure" if self.slices == "overall" else "when_surely_beyond"
        return self.model_dump() | {"blocks": self.blocks or by_default}


class Evaluation(Section):
    """What a model must reach to go live. Metrics are named `level/metric`."""

    attribute_threshold: Fraction = Field(
        0.75, description="Score from which an attribute counts as predicted."
    )
    label_threshold: Fraction = Field(
        0.75,
        description="Score from which a category, sub-category or extra label counts as known: "
        "part of every answer, and what `seamline predict --fill` fills in. Changing it or "
        "`attribute_threshold` trains anew, since they are part of the model.",
    )
    gates: list[Gate] = Field(
        default_factory=list,
        description="What a model must reach on the test part to go live: a list of bounds, see "
        "`evaluation.gates[]` below.",
    )
    automatic: float | None = Field(
        0.98,
        gt=0.5,
        lt=1,
        description="The share of right answers that is wanted of products which are labelled "
        "without a person: the report says from which scores on that holds, and for how many. "
        "`null` leaves it out.",
    )
    crosses: list[list[str]] = Field(
        default_factory=list,
        description="Lists of slice columns for whose combined values the metrics are computed as "
        "well, e.g. `[[gender, season]]`.",
    )
    guards: bool = Field(
        True,
        description="Whether, beside the gates, no level's accuracy, nor the attributes' overall "
        "F1, may become surely more than .01 worse than the last blessed model's, overall or in "
        "any slice. A gate of your own on the same metric and slices with `at_most_worse` stands "
        "in place of one of these.",
    )

    @model_validator(mode="before")
    @classmethod
    def _thresholds_are_gates_now(cls, options: Any) -> Any:
        if isinstance(options, dict):
            for old, bound in (("thresholds", "at_least"), ("max_regression", "at_most_worse")):
                if old not in options:
                    continue
                given = options[old] if isinstance(options[old], dict) else {}
                metric, value = next(iter(given.items()), ("category/accuracy", 0.9))
                raise ValueError(
                    f"{old} is written as gates now: `gates: [{{metric: {metric}, {bound}: "
                    f"{value}}}]`, a line for each"
                )
        return options


class Serving(Section):
    """How the model goes live."""

    model_name: str = Field("catalog", description="Name under which the model is served.")
    canary_questions: Positive = Field(
        16, description="Test pictures that the candidate must answer from a real server first."
    )
    canary_latency_ms: float | None = Field(
        None,
        gt=0,
        description="The candidate is not blessed if one picture takes longer than so many "
        "milliseconds, in the median; any time by default.",
    )
    canary_binary: str | None = Field(
        None,
        description="A `tensorflow_model_server` for the candidate to be asked on, in place of the "
        "embedded server.",
    )
    canary_address: str | None = Field(
        None,
        description="`host:port` of a model server for the candidate to be asked on, which finds "
        "new versions in `canary_folder`.",
    )
    canary_folder: str | None = Field(
        None,
        description="The folder of the model's versions that the server at `canary_address` looks "
        "into; the candidate is put there, asked, and taken away again.",
    )
    keep_versions: int = Field(
        5,
        ge=2,
        description="How many of the newest versions a push leaves in the serving folder, the live "
        "one among them; at least 2, so that there is one to go back to.",
    )

    @model_validator(mode="after")
    def _canary_has_one_server(self) -> Serving:
        if self.canary_binary and self.canary_address:
            raise ValueError(
                "canary_binary starts a server and canary_address names one; choose one of them"
            )
        if bool(self.canary_address) != bool(self.canary_folder):
            raise ValueError(
                "canary_address and canary_folder go together: the server there serves that folder"
            )
        return self


class Config(Section):
    """One catalog's pipeline."""

    name: str = Field("catalog", description="Name of the pipeline.")
    catalog: Catalog
    split: Split = Split()
    checks: Checks = Checks()
    beam: Beam = Beam()
    model: Model = Model()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    tuning: Tuning = Tuning()
    evaluation: Evaluation = Evaluation()
    serving: Serving = Serving()

    @field_validator("evaluation")
    @classmethod
    def _gates_on_what_there_is(
        cls, evaluation: Evaluation, validated: ValidationInfo
    ) -> Evaluation:
        catalog = validated.data.get("catalog")
        for cross in evaluation.crosses if catalog else ():
            if unknown := [column for column in cross if column not in catalog.slices]:
                raise ValueError(
                    f"crosses names {unknown[0]}; catalog.slices has "
                    f"{', '.join(catalog.slices) or 'none'}"
                )
            if len(set(cross)) < 2:
                raise ValueError("a cross is of two or more different slice columns")
        if not evaluation.gates or not catalog:
            return evaluation
        # Only here, for it stands on SciPy, and most commands ask for no gates.
        from components.judge.answers import PICTURES
        from components.judge.gates import metric_names

        known = metric_names(
            levels(catalog.extra_labels, bool(catalog.attribute_groups)), catalog.several_pictures
        )
        for gate in evaluation.gates:
            if gate.metric not in known:
                nearest = difflib.get_close_matches(gate.metric, known, n=1)
                hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
                raise ValueError(f"no metric that can have a gate is named {gate.metric} ({hint})")
            named = [gate.slices] if isinstance(gate.slices, str) else gate.slices
            for name in named:
                column = name.partition("=")[0]
                made = [features.ATTRIBUTES] if catalog.attribute_groups else []
                there = dict.fromkeys([*catalog.slices, *made, *PICTURES])
                if name not in ("overall", "all") and column not in there:
                    raise ValueError(
                        f"a gate on {gate.metric} names the slice {name}; there are "
                        f"{', '.join(there)}"
                    )
        return evaluation

    @field_validator("split")
    @classmethod
    def _not_given_twice(cls, split: Split, validated: ValidationInfo) -> Split:
        catalog = validated.data.get("catalog")
        if split.column and catalog and catalog.format != "csv":
            raise ValueError(
                f"column is for a CSV; the annotation files of {catalog.format} give the split "
                "themselves, so leave it out of the config"
            )
        return split

    @model_validator(mode="after")
    def _frozen_normalization_has_statistics(self) -> Config:
        training = self.training
        if training.frozen_normalization and not (self.model.weights or training.warm_start):
            raise ValueError(
                "training.frozen_normalization keeps the statistics of weights that were trained "
                "before; set model.weights, e.g. to imagenet, or turn it off"
            )
        return self

    @model_validator(mode="after")
    def _space_can_be_tried(self) -> Config:
        for name, values in self.tuning.space.items():
            section, _, option = name.partition(".")
            if section not in TUNABLE or option not in type(getattr(self, section)).model_fields:
                raise ValueError(
                    f"tuning.space names {name}, which is no option of {', '.join(TUNABLE)}"
                )
            for value in [values.min, values.max] if isinstance(values, Range) else values:
                try:
                    of_section = getattr(self, section)
                    type(of_section).model_validate({**of_section.model_dump(), option: value})
                except ValidationError as error:
                    problem = error.errors()[0]["msg"].removeprefix("Value error, ")
                    raise ValueError(
                        f"tuning.space cannot try {value!r} for {name}: {problem}"
                    ) from error
        return self


def load_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Reads a catalog's YAML file and applies `section.option=value` overrides in order.

    Values of overrides are read as YAML: `training.epochs=3`, `catalog.slices=[gender]`. Relative
    paths in the file start at the file's folder, those of overrides at the current directory.

    Raises:
      UserError: the file cannot be read, or an option is unknown, missing or of the wrong kind.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"The config {path} cannot be read: {error.strerror}. Name a YAML file, for example "
            "one of pipeline/configs/."
        ) from error
    try:
        options = yaml.safe_load(text) or {}
        if not isinstance(options, dict):
            raise UserError(f"{path} is not a config: it must hold `section:` blocks of options.")
        _make_absolute(options, path.parent)
        for override in overrides:
            _override(options, override)
        _make_absolute(options, Path.cwd())
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    try:
        return Config.model_validate(options)
    except ValidationError as error:
        problems = "; ".join(_problem(details) for details in error.errors())
        raise UserError(f"The config {path} has a mistake: {problems}.") from error


def _make_absolute(options: dict[str, Any], folder: Path) -> None:
    for section, option in _PATHS:
        of_section = options.get(section)
        path = of_section.get(option) if isinstance(of_section, dict) else None
        if isinstance(path, str) and path != IMAGENET:
            expanded = os.path.expanduser(os.path.expandvars(path))
            # A URL is absolute; normalized, it would lose a slash.
            if not is_url(expanded):
                expanded = os.path.normpath(folder.absolute() / expanded)
            of_section[option] = expanded


_SIGNS = frozenset("|,;:/&+*-#")
"""Values that stand for themselves: what separates labels or fields, and is no YAML or another."""


def _override(options: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    *sections, option = name.strip().split(".")
    if not equals or not option:
        raise UserError(f"--set {override} is not understood; write it as --set training.epochs=3.")
    for section in sections:
        options = options.setdefault(section, {})
        if not isinstance(options, dict):
            raise UserError(f"--set {override}: {section} is not a section of options.")
    if value in _SIGNS:
        options[option] = value
        return
    try:
        options[option] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(
            f"--set {override}: the value is no YAML. Put it into quotes that the shell leaves in "
            f"place: --set '{name}=\"...\"'."
        ) from error


def _problem(details: Mapping[str, Any]) -> str:
    """One pydantic error as words: the option's full name, what is wrong, the nearest real name."""
    *sections, option = [str(part) for part in details["loc"]] or [""]
    name = ".".join([*sections, option])
    if details["type"] == "missing":
        return f"{name} is missing"
    if details["type"] == "extra_forbidden":
        known = _options_of(sections)
        nearest = difflib.get_close_matches(option, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
        return f"{name} is not an option ({hint})"
    message = details["msg"].removeprefix("Value error, ")
    message = f"{message[0].lower()}{message[1:]}"
    if not name:
        return message
    if isinstance(details["input"], dict):
        # A section whose options do not go together.
        return f"{name}: {message}"
    return f"{name}: {message} (found {details['input']!r})"


def _options_of(sections: list[str]) -> list[str]:
    fields = Config.model_fields
    for section in sections:
        if section.isdigit():  # An item of a list.
            continue
        annotation = fields[section].annotation if section in fields else None
        if get_origin(annotation) is list:
            [annotation] = get_args(annotation)
        fields = getattr(annotation, "model_fields", {})
    return list(fields)
