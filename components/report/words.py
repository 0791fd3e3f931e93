"""What levels and figures are called on the page."""

from __future__ import annotations

from components.evaluation import figures
from schema import features

_FIGURES = {
    "accuracy": "Accuracy",
    "overall_precision": "Precision",
    "overall_recall": "Recall",
    "overall_f1": "F1",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "macro_f1": "Macro F1",
    "balanced_accuracy": "Balanced accuracy",
    "top3_accuracy": "Among the likeliest 3",
    "top5_accuracy": "Among the likeliest 5",
    "brier": "Brier score",
    "pair_accuracy": "Category right as well",
    "wrong_within_category": "Wrong, the category right",
    "wrong_across_categories": "Wrong, the category too",
    "tree_distance": "Tree distance",
    figures.PRODUCT_ACCURACY: "Accuracy by product",
    "product_overall_f1": "Overall F1 by product",
    "product_macro_f1": "Macro F1 by product",
    figures.CALIBRATION_ERROR: "Calibration error",
}


def figure_title(figure: str) -> str:
    """A figure's name for people; one that we do not compute is written as it is called."""
    if figure in _FIGURES:
        return _FIGURES[figure]
    told = figure.replace("_", " ").replace("f1", "F1")
    return told[:1].upper() + told[1:]


def level_title(level: str) -> str:
    """A level's name for people; an extra label has its column's."""
    return "Sub-category" if level == features.SUBCATEGORY else level[:1].upper() + level[1:]


def heading(level: str, figure: str) -> str:
    """Both in one: "Category accuracy"."""
    return f"{level_title(level)} {figure_title(figure).lower().replace('f1', 'F1')}"
