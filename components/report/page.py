"""Renders the report: plain data in, one self-contained HTML page out."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from components.catalog_example_gen.rejects import IN_WORDS
from components.data_gate.findings import DRIFT, SKEW
from components.evaluation import figures
from components.evaluation.results import class_name, number
from components.judge import gates
from components.report import charts
from components.report.contents import MOST_REJECTS, Answer, Contents
from schema import features

MOST_PAIRS = 15
"""Pairs of classes in a list of the most frequent confusions."""

SMALL_SUPPORT = 30
"""Products below which a figure says little; such rows are greyed."""

_FIGURE_TITLES = {
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

_MOST_PLACES = 6

_CONFLICTS = {
    "same_picture": {
        "title": "Same picture, other labels",
        "note": "pictures that several products share",
        "head": "First product",
        "one": "picture whose products disagree",
        "many": "pictures whose products disagree",
        "remedy": "Look at the picture and give all of its products the labels that are true. "
        "Where they really differ in what the picture does not show, give one of them a picture "
        "of its own: the model cannot tell them apart either.",
    },
    "several_categories": {
        "title": "Sub-category in several categories",
        "note": "so the levels are no tree",
        "head": "Sub-category",
        "one": "sub-category under several categories",
        "many": "sub-categories under several categories",
        "remedy": "If one category is right, move the few rows to it. If the label means two "
        "things, give each a name of its own.",
    },
    "spelling": {
        "title": "Spelled in several ways",
        "note": "labels that differ in case, blanks, width or hyphens",
        "head": "Label",
        "one": "label with several spellings",
        "many": "labels with several spellings",
        "remedy": "Choose one spelling: for the model each of them is a class of its own, with the "
        "others' products as its counterexamples.",
    },
    "one_product": {
        "title": "One product, other labels",
        "note": "rows of one product that disagree",
        "head": "First row",
        "one": "product whose rows disagree",
        "many": "products whose rows disagree",
        "remedy": "Give all rows of the product the same labels, or leave them empty in all but "
        "the first: what the first row with labels says is used for all of its pictures.",
    },
    "several_pictures": {
        "title": "Several pictures by one name",
        "note": "and nobody knows which is the product's",
        "head": "Product",
        "one": "product with several different pictures by its name",
        "many": "products with several different pictures by their names",
        "remedy": "Take the others out of the images folder, or name the right one's path in a "
        "column (`catalog.picture`).",
    },
}

_COMPARED = {
    (DRIFT, features.TRAIN): "Train since last run",
    (SKEW, features.EVAL): "Eval from train",
    (SKEW, features.TEST): "Test from train",
}

_SLICE_FIGURES = {
    features.CATEGORY: ("accuracy", "overall_f1"),
    features.SUBCATEGORY: ("accuracy", "overall_f1"),
    features.ATTRIBUTES: ("overall_f1", "macro_f1"),
}
"""Figures of a level in the tables of slices; of extra labels the accuracy."""


def render_page(contents: Contents) -> str:
    """Returns the page as HTML that needs no other file and asks nothing of the net."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"figure": number, "count": "{:,}".format, "with_code": with_code}
    drawn: dict[str, charts.Figure] = {}
    sections = {
        "verdict": verdict(contents),
        "cards": cards(contents),
        "data": data_section(contents, drawn),
        "conflicts": conflicts_section(contents),
        "distances": distances_section(contents),
        "training": training_section(contents, drawn),
        "search": search_table(contents),
        "gates": gates_section(contents),
        "automatic": automatic_section(contents),
        "levels": level_tables(contents),
        "slices": slice_tables(contents),
        "decoding": decoding_rows(contents),
        "calibration": calibration_section(contents, drawn),
        "confusions": confusion_section(contents, drawn),
        "attributes": attribute_rows(contents),
        "answers": [
            answer_card(answer, contents.attribute_threshold) for answer in contents.answers
        ],
    }
    return environment.get_template("page.html.j2").render(
        contents=contents,
        **sections,
        small_support=SMALL_SUPPORT,
        bins=figures.BINS,
        style=Markup((folder / "page.css").read_text("utf-8")),
        script=Markup((folder / "page.js").read_text("utf-8")),
        plotly=Markup(get_plotlyjs()),
        figures=_json_for_script(drawn),
    )


def title(level: str) -> str:
    """A level's name for people; an extra label has its column's."""
    return "Sub-category" if level == features.SUBCATEGORY else level[:1].upper() + level[1:]


def verdict(contents: Contents) -> dict[str, Any]:
    """What became of the model: {"state": good|warn|bad, "headline", "text", "reasons"}."""
    if not contents.judgement.blessed:
        return {
            "state": "bad",
            "headline": "Not blessed",
            "text": "The model missed what was asked of it and does not go live. "
            "What was live before stays live.",
            "reasons": contents.judgement.failures,
        }
    if contents.canary_passed is False:
        return {
            "state": "bad",
            "headline": "Stopped by the canary",
            "text": "The model passed every gate, but failed when it was asked from a real "
            "server, so it does not go live.",
            "reasons": [contents.canary_summary.removeprefix("not blessed: ")],
        }
    met = "The model passed every gate"
    if contents.canary_passed:
        met += " and gave sound answers from a real server"
    if contents.pushed_version:
        return {
            "state": "good",
            "headline": f"Live as version {contents.pushed_version}",
            "text": f"{met}. It was pushed to {contents.pushed_destination}.",
            "reasons": [],
        }
    return {
        "state": "warn",
        "headline": "Blessed, not pushed",
        "text": f"{met}, but this run pushed nothing.",
        "reasons": [contents.push_summary] if contents.push_summary else [],
    }


def gates_section(contents: Contents) -> dict[str, Any]:
    """The gates' lines, those that block first: {"rows", "guards", "passed"}.

    Of the guards, which nobody asked for, those that pass are counted alone.
    """
    lines = sorted(contents.judgement.lines, key=lambda line: _OF_VERDICT[line.verdict])
    rows = [_gate_row(line) for line in lines if not line.is_guard or line.verdict == gates.BLOCKS]
    guards = [line for line in lines if line.is_guard]
    told = Counter(line.verdict for line in guards)
    words = {
        gates.PASSES: "pass",
        gates.TOO_FEW: "are of slices with too few products",
        gates.VANISHED: "are of slices without a product",
        gates.NOT_COMPARED: "have no last blessed model to compare with",
    }
    return {
        "rows": rows,
        "guards": [_gate_row(line) for line in guards if line.verdict != gates.BLOCKS],
        "told": ", ".join(f"{told[of]:,} {said}" for of, said in words.items() if told[of]),
    }


def automatic_section(contents: Contents) -> dict[str, Any]:
    """What can be labelled without a person: {"wanted", "rows", "lanes", "attributes"}, or {}."""
    told = contents.judgement.automatic
    if not told:
        return {}
    lanes = {
        "subcategory": "Both labels taken as they are",
        "category": "The category alone",
        "person": "A person looks",
    }
    return {
        "wanted": told["wanted"],
        "rows": [{"title": title(level), **of} for level, of in told["levels"].items()],
        "lanes": [
            {"title": words, **told["lanes"][lane]}
            for lane, words in lanes.items()
            if lane in told.get("lanes", {})
        ],
        "attributes": [{"title": label, **of} for label, of in told["attributes"].items()],
    }


_OF_VERDICT = {
    gates.BLOCKS: 0,
    gates.VANISHED: 1,
    gates.PASSES: 2,
    gates.TOO_FEW: 3,
    gates.NOT_COMPARED: 4,
}


def _gate_row(line: gates.Line) -> dict[str, Any]:
    level, _, figure = line.metric.partition("/")
    compares = line.kind == "at_most_worse"
    change = None
    if compares and line.last is not None and line.figure is not None:
        change = line.figure - line.last
    asked = {"at_least": "at least", "at_most": "at most", "at_most_worse": "worse by at most"}
    return {
        "metric": f"{title(level)}: {figure.replace('_', ' ').replace('f1', 'F1')}",
        "where": line.where,
        "products": line.products,
        "figure": line.figure,
        "change": change,
        "interval": line.interval,
        "asked": f"{asked[line.kind]} {number(line.bound)}",
        "verdict": line.verdict,
        "blocks": line.verdict == gates.BLOCKS,
        "settled_by": line.settled_by,
    }


def cards(contents: Contents) -> list[dict[str, Any]]:
    """The key figures: {"title", "value", "note"} and, against a baseline, {"change"}."""
    evaluation = contents.evaluation
    found: list[dict[str, Any]] = []
    for level in _levels(contents):
        figure = "overall_f1" if level == features.ATTRIBUTES else "accuracy"
        name = f"{level}/{figure}"
        if name not in evaluation.metrics:
            continue
        value = evaluation.metrics[name]
        found.append(
            {
                "title": _heading(level, figure),
                "value": number(value),
                "change": value - evaluation.baseline[name]
                if name in evaluation.baseline
                else None,
                "note": "",
            }
        )
    found.append(
        {
            "title": "Test products",
            "value": f"{evaluation.example_count:,}",
            "change": None,
            "note": "never seen in training",
        }
    )
    if parameters := contents.history.get("parameters"):
        found.append(
            {
                "title": "Parameters",
                "value": f"{parameters / 1e6:.1f} M",
                "change": None,
                "note": _training_note(contents.history),
            }
        )
    return found


def data_section(contents: Contents, drawn: dict[str, charts.Figure]) -> dict[str, Any]:
    """What came in, what was rejected, and how the classes are distributed."""
    ingest = contents.ingest
    by_reason = Counter(ingest.get("rejected_by_reason", {}))
    distributions = []
    for level, counts in contents.class_counts.items():
        if not counts:
            continue
        chart = drawn_as(f"distribution-{level}", charts.distribution(counts), drawn)
        hidden = sorted(counts.values())[: -charts.MOST_BARS]
        distributions.append(
            {
                "title": title(level),
                "chart": chart,
                "classes": len(counts),
                "hidden": len(hidden),
                "hidden_products": sum(hidden),
            }
        )
    return {
        "rows": ingest.get("rows"),
        "accepted": ingest.get("accepted"),
        "rejected": ingest.get("rejected", 0),
        "further": ingest.get("further_pictures", 0),
        "belonging": ingest.get("belonging_rows", 0),
        "capped": ingest.get("capped", 0),
        "not_sampled": ingest.get("not_sampled", 0),
        "unreferenced": ingest.get("pictures_without_row", 0),
        "notes": [*ingest.get("hints", ()), *ingest.get("notes", ())],
        "splits": ingest.get("products_by_split", {}),
        "reasons": [
            {
                "text": IN_WORDS.get(reason, reason),
                "count": count,
                "share": count / max(by_reason.values()),
            }
            for reason, count in by_reason.most_common()
        ],
        "rejects": [
            {**row, "reason": IN_WORDS.get(row["reason"], row["reason"])}
            for row in contents.rejects[:MOST_REJECTS]
        ],
        "distributions": distributions,
    }


def conflicts_section(contents: Contents) -> dict[str, Any]:
    """How often the catalog contradicts itself, where, and what to do; empty if nobody looked."""
    if not contents.conflict_counts:
        return {}
    return {
        "total": sum(contents.conflict_counts.values()),
        "kinds": [
            {
                **_CONFLICTS[kind],
                "count": count,
                "rows": [
                    {**row, **_places(row)} for row in contents.conflicts if row["kind"] == kind
                ],
            }
            for kind, count in contents.conflict_counts.items()
        ],
    }


def _places(conflict: Mapping[str, str]) -> dict[str, Any]:
    """The rows of a conflict for people: {"places": ["17 (p3)", ...], "more": how many besides}."""
    rows, ids = conflict["rows"].split(), conflict["ids"].split("|")
    places = [f"{row} ({of})" for row, of in itertools.zip_longest(rows, ids, fillvalue="?")]
    return {"places": places[:_MOST_PLACES], "more": len(places[_MOST_PLACES:])}


def distances_section(contents: Contents) -> dict[str, Any]:
    """A row a feature, a column for each thing that was compared; the farthest first."""
    by_place = {(one.kind, one.split, one.feature): one for one in contents.distances}
    compared = [
        (kind, split)
        for kind, split in _COMPARED
        if any((one.kind, one.split) == (kind, split) for one in contents.distances)
    ]
    rows = []
    for feature in dict.fromkeys(one.feature for one in contents.distances):
        cells = []
        for kind, split in compared:
            one = by_place.get((kind, split, feature))
            cells.append(
                one
                and {"value": one.value, "far": one.value > one.threshold, "sentence": one.sentence}
            )
        rows.append({"feature": feature, "cells": cells})
    rows.sort(key=lambda row: -max(cell["value"] for cell in row["cells"] if cell))
    return {
        "drift": any(kind == DRIFT for kind, _ in compared),
        "heads": [_COMPARED[place] for place in compared],
        "rows": rows,
    }


def training_section(contents: Contents, drawn: dict[str, charts.Figure]) -> dict[str, Any]:
    """The training curves and what was trained with; empty without epochs."""
    history = contents.history
    if not history.get("epochs"):
        return {}
    return {
        "losses": drawn_as("losses", charts.losses(history), drawn),
        "metrics": drawn_as(
            "training-metrics", charts.training_metrics(history, _levels(contents)), drawn
        ),
        "note": "; ".join([_training_note(history), *history.get("notes", ())]),
        "seconds": sum(epoch.get("seconds", 0) for epoch in history["epochs"]),
        "hyperparameters": history.get("hyperparameters") or {},
    }


def search_table(contents: Contents) -> dict[str, Any]:
    """The trials of the search: {"options", "rows": [{"score", "values"}]}; empty without any."""
    if not contents.trials:
        return {}
    options = [name for name in contents.trials[0] if name != "score"]
    return {
        "options": options,
        "rows": [
            {"score": trial["score"], "values": [_trial_value(trial.get(name)) for name in options]}
            for trial in contents.trials
        ],
    }


def _trial_value(value: Any) -> str:
    """What was tried, short: a drawn fraction has more digits than anyone reads."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def level_tables(contents: Contents) -> list[dict[str, Any]]:
    """Each level's figures, with the last blessed model's where there is one."""
    evaluation = contents.evaluation
    tables = []
    for level in _levels(contents):
        rows = []
        for figure in (*figures.served(level), *figures.by_product(level)):
            value = evaluation.metrics.get(f"{level}/{figure}")
            if value is None:
                continue
            before = evaluation.baseline.get(f"{level}/{figure}")
            rows.append(
                {
                    "title": _FIGURE_TITLES[figure],
                    "value": value,
                    "before": before,
                    "change": None if before is None else value - before,
                    "less_is_better": figure in figures.LESS_IS_BETTER,
                }
            )
        tables.append({"title": title(level), "rows": rows})
    return tables


def slice_tables(contents: Contents) -> list[dict[str, Any]]:
    """A table for each slice column: its values by support, each with the figures of all levels."""
    evaluation = contents.evaluation
    named = [
        (level, figure)
        for level in _levels(contents)
        for figure in _SLICE_FIGURES.get(level, ("accuracy",))
        if f"{level}/{figure}" in evaluation.metrics
    ]
    shown = [f"{level}/{figure}" for level, figure in named]
    heads = [_heading(level, figure) for level, figure in named]
    tables = []
    # The catalog's own columns first.
    columns = sorted(evaluation.slices, key=lambda column: column == features.ATTRIBUTES)
    for column, values in ((column, evaluation.slices[column]) for column in columns):
        rows = []
        for value, of in sorted(values.items(), key=lambda item: -item[1]["example_count"]):
            support = int(of["example_count"])
            rows.append(
                {
                    "value": value,
                    "support": support,
                    "small": support < SMALL_SUPPORT,
                    "cells": [
                        {
                            "value": of.get(name),
                            "low": bool(_surely(contents, column, value, name).get("low")),
                            "interval": _surely(contents, column, value, name).get("interval"),
                        }
                        for name in shown
                    ],
                }
            )
        tables.append(
            {
                "column": column,
                "heads": heads,
                "overall": [evaluation.metrics[name] for name in shown],
                "rows": rows,
            }
        )
    return [*tables, *_made_slice_tables(contents)]


def _made_slice_tables(contents: Contents) -> list[dict[str, Any]]:
    """The same for attributes and picture figures, which only the Judge looks at: main figures."""
    judgement, tables = contents.judgement, []
    metrics = [gates.main_figure(level) for level in _levels(contents)]
    shown = [name for name in metrics if name in judgement.figures]
    for column, values in judgement.slices.items():
        if column in contents.evaluation.slices or not any(values.values()):
            continue
        rows = []
        for value, of in values.items():
            support = max((told["products"] for told in of.values()), default=0)
            rows.append(
                {
                    "value": value,
                    "support": support,
                    "small": support < SMALL_SUPPORT,
                    "cells": [
                        {
                            "value": of.get(name, {}).get("value"),
                            "low": bool(of.get(name, {}).get("low")),
                            "interval": of.get(name, {}).get("interval"),
                        }
                        for name in shown
                    ],
                }
            )
        tables.append(
            {
                "column": _MADE_COLUMNS.get(column, column),
                "heads": [_heading(*name.split("/")) for name in shown],
                "overall": [judgement.figures[name]["value"] or 0.0 for name in shown],
                "rows": rows,
            }
        )
    return tables


_MADE_COLUMNS = {
    features.ATTRIBUTES: "attribute",
    features.IMAGE_BRIGHTNESS: "brightness of the picture",
    features.IMAGE_SHARPNESS: "sharpness of the picture",
    "image_size": "size of the picture",
}


def _surely(contents: Contents, column: str, value: str, metric: str) -> dict[str, Any]:
    """What the Judge says of a figure in a slice; nothing where it says nothing."""
    return contents.judgement.slices.get(column, {}).get(value, {}).get(metric, {})


def decoding_rows(contents: Contents) -> list[dict[str, Any]]:
    """What joint decoding did: {"title", "served" and "independent" accuracy, "changed" answers}.

    The last row is of both levels together, and says nothing of changed answers.
    """
    metrics = contents.evaluation.metrics
    rows = [
        {
            "title": title(level),
            "served": metrics[f"{level}/accuracy"],
            "independent": metrics[f"{level}/{figures.INDEPENDENT_ACCURACY}"],
            "changed": round(
                metrics[f"{level}/{figures.CHANGED}"] * contents.evaluation.example_count
            ),
        }
        for level in (features.CATEGORY, features.SUBCATEGORY)
        if f"{level}/{figures.INDEPENDENT_ACCURACY}" in metrics
    ]
    if rows:
        served, independent = (
            metrics[f"{features.SUBCATEGORY}/{figure}"]
            for figure in (figures.PAIR_FIGURES[0], figures.INDEPENDENT_PAIR_ACCURACY)
        )
        both = {"title": "Both", "served": served, "independent": independent, "changed": None}
        rows.append(both)
    return rows


def calibration_section(
    contents: Contents, drawn: dict[str, charts.Figure]
) -> list[dict[str, Any]]:
    """For each level a reliability diagram, its errors and its temperature, None where not so."""
    evaluation, found = contents.evaluation, []
    temperatures = contents.history.get("temperatures", {})
    for level, served in evaluation.reliability.items():
        if not served[:, 0].any():
            continue
        before = evaluation.uncalibrated_reliability.get(level)
        chart = charts.reliability(served, before)
        found.append(
            {
                "title": title(level),
                "chart": drawn_as(f"reliability-{level}", chart, drawn),
                "error": figures.calibration_error(served),
                "before": None if before is None else figures.calibration_error(before),
                "temperature": temperatures.get(level),
            }
        )
    return found


def confusion_section(contents: Contents, drawn: dict[str, charts.Figure]) -> list[dict[str, Any]]:
    """A heat map and the most frequent confusions of each level with one label a product."""
    found = []
    for level, pairs in contents.evaluation.confusion.items():
        if not len(pairs):
            continue
        vocabulary = contents.labels[level]
        chart = drawn_as(f"confusion-{level}", charts.confusion(pairs, vocabulary), drawn)
        classes = len({*pairs[:, 0].tolist(), *pairs[:, 1].tolist()} - {features.NOT_IN_TRAIN})
        found.append(
            {
                "title": title(level),
                "chart": chart,
                "classes": classes,
                "shown": min(classes, charts.MOST_CLASSES),
                "pairs": most_confused(pairs, vocabulary),
            }
        )
    return found


def most_confused(pairs: np.ndarray, vocabulary: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent errors: {"truth", "prediction", "count", "share" of the true class}.

    Args:
        pairs: int64 (K, 3), rows [truth, prediction, count].
        vocabulary: The labels by index.
    """
    support: Counter[int] = Counter()
    for truth, _, count in pairs.tolist():
        support[truth] += count
    errors = sorted(row for row in pairs.tolist() if row[0] != row[1])
    errors.sort(key=lambda row: -row[2])
    return [
        {
            "truth": class_name(vocabulary, truth),
            "prediction": class_name(vocabulary, prediction),
            "count": count,
            "share": count / support[truth],
        }
        for truth, prediction, count in errors[:MOST_PAIRS]
    ]


def attribute_rows(contents: Contents) -> list[dict[str, Any]]:
    """Each attribute's group, value, support, precision, recall and F1, by group and support."""
    rows = []
    counts = contents.evaluation.attribute_counts
    # TensorFlow Transform's vocabulary of no labels may hold a placeholder; there is no label then.
    for label, of in zip(
        contents.labels[features.ATTRIBUTES], figures.per_attribute(counts), strict=False
    ):
        group, value = features.split_attribute_label(label)
        rows.append({"group": group, "value": value, **of, "small": of["support"] < SMALL_SUPPORT})
    return sorted(rows, key=lambda row: (row["group"], -row["support"]))


def answer_card(answer: Answer, attribute_threshold: float) -> dict[str, Any]:
    """One picture of the gallery: what it is, what the candidate said, whether that is right."""
    said = {
        level: (answer.prediction[level], answer.prediction[f"{level}_score"])
        for level in (features.CATEGORY, features.SUBCATEGORY)
    } | {
        extra: (of["label"], of["score"])
        for extra, of in answer.prediction.get("extra_labels", {}).items()
    }
    levels = [
        {
            "title": title(level),
            "truth": answer.truth[level],
            "said": label,
            # Nobody knows whether an answer is right where the catalog says nothing.
            "right": answer.truth[level] in (label, features.UNKNOWN),
            "score": number(score, 2),
        }
        for level, (label, score) in said.items()
    ]
    true = set(answer.truth.get(features.ATTRIBUTES, ()))
    said = {
        label
        for label, score in answer.prediction.get(features.ATTRIBUTES, {}).items()
        if score >= attribute_threshold
    }
    return {
        "id": answer.id,
        "levels": levels,
        "right": all(level["right"] for level in levels[:2]),
        "attributes": [
            {
                "label": label,
                "state": "right"
                if label in true & said
                else "extra"
                if label in said
                else "missed",
            }
            for label in sorted(true | said)
        ],
        "image": _data_url(answer.thumbnail),
    }


def drawn_as(name: str, figure: charts.Figure, drawn: dict[str, charts.Figure]) -> dict[str, Any]:
    """Registers a chart under the id of its element; returns what the template needs of it."""
    drawn[name] = figure
    return {"id": name, "height": figure["layout"]["height"]}


def with_code(sentence: str) -> Markup:
    """The sentence as HTML, with what stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


def _levels(contents: Contents) -> list[str]:
    return [
        level
        for level in contents.labels
        if level != features.ATTRIBUTES or contents.labels[features.ATTRIBUTES]
    ]


def _heading(level: str, figure: str) -> str:
    return f"{title(level)} {_FIGURE_TITLES[figure].lower().replace('f1', 'F1')}"


def _training_note(history: Mapping[str, Any]) -> str:
    epochs = len(history.get("epochs", ()))
    if not epochs:
        return ""
    stopped = ", stopped early" if history.get("stopped_early") else ""
    return f"best epoch {history.get('best_epoch')} of {epochs}{stopped}"


def _data_url(thumbnail: str) -> str:
    if not thumbnail:
        return ""
    # "iVBOR" is how the PNG signature begins in base64.
    kind = "png" if thumbnail.startswith("iVBOR") else "jpeg"
    return f"data:image/{kind};base64,{thumbnail}"


def _json_for_script(value: Any) -> Markup:
    """JSON that may stand inside a script element, whatever the catalog's labels hold."""
    text = json.dumps(value, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
