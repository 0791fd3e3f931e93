"""Names of Example features, label levels, model outputs and what travels along, each once."""

from collections.abc import Iterable

ID = "id"
PRODUCT = "product"
IMAGE = "image"
CATEGORY = "category"
SUBCATEGORY = "subcategory"
ATTRIBUTES = "attributes"

GROUP = "group"
"""The id of the first of the products that belong together, for their pictures look nearly alike or
show one product. They fall on one side of the split, and no two are independent of each other."""

LEVELS = (CATEGORY, SUBCATEGORY, ATTRIBUTES)
"""The three label levels, coarse to fine. The model has one output of each name, and one for every
extra label: a slice column (`gender`) that the model names as well, one value a product."""

UNKNOWN = "unknown"
"""What a slice column's feature says where the catalog says nothing; no label to learn."""

NOT_IN_TRAIN = -1
"""Index after Transform of a label that the train split did not have. No model can name it, so it
is learned from by none, and counts as an error of every model."""

NOT_GIVEN = -2
"""Index after Transform of an extra label that is `UNKNOWN`: nobody knows what would be right, so
the product is left out of that label's figures."""

EMBEDDING = "embedding"
"""The model's output beside the labels: a vector of unit length."""

IMAGE_HEIGHT = "image_height"
IMAGE_WIDTH = "image_width"
IMAGE_ASPECT = "image_aspect"
IMAGE_BRIGHTNESS = "image_brightness"
IMAGE_SHARPNESS = "image_sharpness"

PICTURE_STATISTICS = (
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    IMAGE_ASPECT,
    IMAGE_BRIGHTNESS,
    IMAGE_SHARPNESS,
)
"""Measured on the picture as found: height and width in pixels (int64); width over height, mean
luminance in [0, 1], and mean absolute Laplacian of the luminance (float)."""

RESERVED = frozenset({ID, PRODUCT, GROUP, IMAGE, *LEVELS, EMBEDDING, *PICTURE_STATISTICS})
"""Features of our own, or outputs of the model: a slice column of such a name becomes a feature of
another, see `slice_feature`."""

_SLICE = "slice:"
_FIELD = "field/"

TRAIN, EVAL, TEST = "train", "eval", "test"
SPLITS = (TRAIN, EVAL, TEST)
"""`train` is learned from, `eval` chooses (epoch, hyperparameters), `test` only judges."""

SERVING_SIGNATURE = "serving_default"
"""Pictures to what most callers need: labels, their best few scores, attributes, thresholds."""

EVERYTHING_SIGNATURE = "everything"
"""Pictures to all scores of all labels, and the embedding."""

TOLERANT_SIGNATURE = "tolerant"
"""As `SERVING_SIGNATURE`, but a picture that cannot be used costs itself alone: see `STATUS`."""

TOLERANT_EVERYTHING_SIGNATURE = "tolerant_everything"
"""As `EVERYTHING_SIGNATURE`, but a picture that cannot be used costs itself alone: see `STATUS`."""

PICTURE_SIGNATURES = (
    SERVING_SIGNATURE,
    TOLERANT_SIGNATURE,
    EVERYTHING_SIGNATURE,
    TOLERANT_EVERYTHING_SIGNATURE,
)
"""The signatures that take pictures, `IMAGE_BYTES`, and answer what is in them."""

EXPLAIN_SIGNATURE = "explain"
"""Pictures, each with a label or none (`LABEL`), to where in them the answers come from."""

EVALUATE_SIGNATURE = "evaluate"
LABELS_SIGNATURE = "transform_labels"

IMAGE_BYTES = "image_bytes"
"""Input of the serving signature; the suffix makes TensorFlow Serving's REST API decode base64."""

LABEL = "label"
"""Input of `EXPLAIN_SIGNATURE`: `level_label` of a label, or empty for none, string (N)."""

REGIONS = "regions"
"""Output of `EXPLAIN_SIGNATURE`: what each place adds to the embedding, float (N, H, W, E)."""

LABEL_MAP = "label_map"
"""Output of `EXPLAIN_SIGNATURE`: how far each place speaks for `LABEL`, float (N, H, W)."""

ATTRIBUTE_SCORES = "attribute_scores"

VERSION_FILE = "assets.extra/seamline_version.json"
"""In a pushed version's folder: where its model came from, and what callers may want to know."""

INDEX_FOLDER = "assets.extra/similarity_index"
"""In a pushed version's folder: the catalog's products, found by what the model says of them."""

STATUS = "status"
"""Output of the tolerant signatures, string (N): empty where the picture is answered, otherwise why
it cannot be; its other answers are then zeros and empty."""

BEST = 5
"""How many labels of a level `SERVING_SIGNATURE` answers with."""

BEST_ATTRIBUTES = 32
"""How many attributes `SERVING_SIGNATURE` answers with."""

UNDECODABLE = "picture at index {} cannot be decoded: {}"
"""What the strict signatures say of the first picture that cannot be used, with its index in the
request and the reason; clients read both out of it."""

UNKNOWN_LABEL = (
    "label at index {} is unknown: {} (wanted is LEVEL=LABEL of a label that the signature "
    "everything lists, or an empty text for none)"
)
"""What `EXPLAIN_SIGNATURE` says of the first label that the model does not name, with its index in
the request."""


def score(level: str) -> str:
    """Serving output with the probability of the level's likeliest label, float (N)."""
    return f"{level}_score"


def scores(level: str) -> str:
    """Serving output with probabilities of the level's labels, all or the best, float (N, C)."""
    return f"{level}_scores"


def labels(level: str) -> str:
    """Serving output with the labels that `scores` belong to, string of the same shape."""
    return f"{level}_labels"


def threshold(level: str) -> str:
    """Serving output with the score from which an answer counts as known, float (N), all alike."""
    return f"{level}_threshold"


def independent(level: str) -> str:
    """Output of the evaluate signature: the level's probabilities without joint decoding."""
    return f"{level}_independent"


def uncalibrated(level: str) -> str:
    """Output of the evaluate signature: the level's probabilities without calibration."""
    return f"{level}_uncalibrated"


def outputs(level: str) -> list[str]:
    """All outputs of the model and its signatures that a level has, or would have."""
    if level == ATTRIBUTES:
        return [
            *(ATTRIBUTES, ATTRIBUTE_SCORES, threshold(ATTRIBUTES), uncalibrated(ATTRIBUTES)),
            *(EMBEDDING, STATUS),
        ]
    return [of(level) for of in (str, score, scores, labels, threshold, independent, uncalibrated)]


def attribute_label(group: str, value: str) -> str:
    """Names one attribute: `attribute_label("season", "Summer")` is `"season=Summer"`.

    The group is part of the name because two groups may hold the same value.
    """
    return f"{group}={value}"


def split_attribute_label(label: str) -> tuple[str, str]:
    """The inverse of `attribute_label`: (group, value). The group holds no `=`."""
    group, _, value = label.partition("=")
    return group, value


def level_label(level: str, label: str) -> str:
    """Names one label among those of all levels: `"category=Shoes"`.

    That of an attribute, whose label holds its group, is `"attributes=season=Summer"`.
    """
    return f"{level}={label}"


def slice_feature(column: str) -> str:
    """Name of the feature that a slice column becomes: its own, unless that would stand for two.

    What Transform makes of labels ends with `_label`, and the Evaluator slices by it before it
    looks at features; TFX's own columns, the whole record for example, begin with `__`.
    """
    taken = column in RESERVED or column.endswith(transformed_label(""))
    odd = column.startswith((_SLICE, _FIELD, "__"))
    return f"{_SLICE}{column}" if taken or odd else column


def slice_column(feature: str) -> str:
    """The inverse of `slice_feature`."""
    return feature.removeprefix(_SLICE)


def field_feature(column: str) -> str:
    """Name of the feature that carries a field: a column that is for people, and never learned."""
    return f"{_FIELD}{column}"


def field_column(feature: str) -> str:
    """The inverse of `field_feature`."""
    return feature.removeprefix(_FIELD)


def transformed_label(level: str) -> str:
    """Name of a level's label after Transform: an index, or multi-hot for the attributes."""
    return f"{level}_label"


def transformed_levels(names: Iterable[str]) -> list[str]:
    """The levels whose labels are among `names` after Transform: `LEVELS`, then the extra labels.

    The levels themselves are always there, because Transform has a label for each.
    """
    suffix = transformed_label("")
    extras = {name.removesuffix(suffix) for name in names if name.endswith(suffix)}
    return [*LEVELS, *sorted(extras.difference(LEVELS))]
