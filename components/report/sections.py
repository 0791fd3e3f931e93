"""The sections of the page that are written into it: plain data in, what the template needs out."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from components.catalog_example_gen.rejects import IN_WORDS
from components.data_gate.findings import DRIFT, SKEW, Distance
from components.evaluation import figures
from components.evaluation.results import number
from components.judge import gates
from components.report import charts, words
from components.report.contents import MOST_REJECTS, Answer, Contents
from schema import features

MOST_GATES = 60
"""Lines of gates that are written into the page; of more, the page's script draws the rest."""

MOST_BARS = 30
"""Classes of a distribution that get a bar; the remaining ones are summed up in words."""

SMALL_SUPPORT = 30
"""Products below which a figure says little; such rows are greyed."""

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
    """The gates' lines, those that block first: {"rows", "more", "guards", "told"}.

    Of the guards, which nobody asked for, those that pass are counted alone.
    """
    lines = sorted(contents.judgement.lines, key=lambda line: _OF_VERDICT[line.verdict])
    rows = [_gate_row(line) for line in lines if not line.is_guard or line.verdict == gates.BLOCKS]
    rows, more = rows[:MOST_GATES], rows[MOST_GATES:]
    guards = [line for line in lines if line.is_guard]
    told = Counter(line.verdict for line in guards)
    said_of = {
        gates.PASSES: "pass",
        gates.TOO_FEW: "are of slices with too few products",
        gates.VANISHED: "are of slices without a product",
        gates.NOT_COMPARED: "have no last blessed model to compare with",
    }
    return {
        "rows": rows,
        "more": _gates_table("The other gates' lines", more),
        "guards": _gates_table(
            "No level may become surely worse than the last blessed model, in no slice",
            [_gate_row(line) for line in guards if line.verdict != gates.BLOCKS],
        ),
        "told": ", ".join(f"{told[of]:,} {said}" for of, said in said_of.items() if told[of]),
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
        "rows": [{"title": words.level_title(level), **of} for level, of in told["levels"].items()],
        "lanes": [
            {"title": of_lane, **told["lanes"][lane]}
            for lane, of_lane in lanes.items()
            if lane in told.get("lanes", {})
        ],
        "attributes": _automatic_attributes(told["attributes"]),
        "chart": _coverage_chart(contents, told["wanted"]),
    }


def _automatic_attributes(attributes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if not attributes:
        return {}
    rows = []
    for label, of in attributes.items():
        right = _number_cell(of["precision"])
        if of["interval"]:
            low, high = of["interval"]
            right["note"] = f"{number(low)} to {number(high)}"
        rows.append(
            [
                label,
                _number_cell(of["threshold"]),
                of["products"],
                {
                    "text": f"{of['accepted']:,}",
                    "note": f"{100 * of['share']:.1f} %",
                    "sort": of["share"],
                },
                right,
                _number_cell(of["recall"]),
            ]
        )
    heads = ("Attribute", "*From score", "*Products", "*Said to have it", "*Right", "*Of all")
    return _drawn_table("Products that are said to have it", heads, rows)


def _coverage_chart(contents: Contents, wanted: float) -> charts.Chart | None:
    if not contents.coverage:
        return None
    curves = {words.level_title(level): of for level, of in contents.coverage.items()}
    return charts.coverage(curves, wanted)


_OF_VERDICT = {
    gates.BLOCKS: 0,
    gates.VANISHED: 1,
    gates.PASSES: 2,
    gates.TOO_FEW: 3,
    gates.NOT_COMPARED: 4,
}


def _gates_table(caption: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gates' lines as a table that the page draws when it is unfolded; empty without any."""
    if not lines:
        return {}
    rows: list[list[Any]] = []
    for row in lines:
        low, high = row["interval"] or (None, None)
        rows.append(
            [
                row["metric"],
                row["where"],
                row["products"],
                _number_cell(row["figure"]),
                _number_cell(row["change"]),
                {
                    "text": "–" if low is None else f"{number(low)} to {number(high)}",
                    "sort": -9 if low is None else low,
                },
                row["asked"],
                row["verdict"],
            ]
        )
    heads = ("Figure", "Where", "*Products", "*Value", "*Change", "*Interval", "Asked", "Verdict")
    return _drawn_table(caption, heads, rows)


def _drawn_table(caption: str, heads: Sequence[str], rows: list[list[Any]]) -> dict[str, Any]:
    """A table for the page's script; a head of numbers begins with a star."""
    named = [{"title": head.lstrip("*"), "number": head.startswith("*")} for head in heads]
    return {"caption": caption, "heads": named, "rows": rows}


def _number_cell(value: float | None, digits: int = 3) -> dict[str, Any]:
    if value is None:
        return {"text": "–", "sort": -9}
    return {"text": number(value, digits), "sort": value}


def _gate_row(line: gates.Line) -> dict[str, Any]:
    level, _, figure = line.metric.partition("/")
    compares = line.kind == "at_most_worse"
    change = None
    if compares and line.last is not None and line.figure is not None:
        change = line.figure - line.last
    asked = {"at_least": "at least", "at_most": "at most", "at_most_worse": "worse by at most"}
    return {
        "metric": f"{words.level_title(level)}: {figure.replace('_', ' ').replace('f1', 'F1')}",
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
    for level in levels(contents):
        figure = "overall_f1" if level == features.ATTRIBUTES else "accuracy"
        name = f"{level}/{figure}"
        if name not in evaluation.metrics:
            continue
        value = evaluation.metrics[name]
        found.append(
            {
                "title": words.heading(level, figure),
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


def data_section(contents: Contents) -> dict[str, Any]:
    """What came in, what was rejected, and how the classes are distributed."""
    ingest = contents.ingest
    by_reason = Counter(ingest.get("rejected_by_reason", {}))
    distributions = []
    for level, counts in contents.class_counts.items():
        if not counts:
            continue
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        hidden = [number for _, number in ranked[MOST_BARS:]]
        distributions.append(
            {
                "title": words.level_title(level),
                "rows": [
                    {"label": label, "count": number, "share": number / ranked[0][1]}
                    for label, number in ranked[:MOST_BARS]
                ],
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
                "text": _reason(reason),
                "count": count,
                "share": count / max(by_reason.values()),
            }
            for reason, count in by_reason.most_common()
        ],
        "rejects": [
            {**row, "reason": _reason(row["reason"])} for row in contents.rejects[:MOST_REJECTS]
        ],
        "distributions": distributions,
    }


def _reason(code: str) -> str:
    """Why a row was rejected, in words; a code of another version is shown as it is."""
    return {reason.value: of for reason, of in IN_WORDS.items()}.get(code, code)


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
    rows: list[dict[str, Any]] = []
    for feature in dict.fromkeys(one.feature for one in contents.distances):
        cells = [_distance_cell(by_place.get((*place, feature))) for place in compared]
        rows.append({"feature": feature, "cells": cells})
    rows.sort(key=lambda row: -max(cell["value"] for cell in row["cells"] if cell))
    return {
        "drift": any(kind == DRIFT for kind, _ in compared),
        "heads": [_COMPARED[place] for place in compared],
        "rows": rows,
    }


def _distance_cell(one: Distance | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {"value": one.value, "far": one.value > one.threshold, "sentence": one.sentence}


def training_section(contents: Contents) -> dict[str, Any]:
    """The training curves and what was trained with; empty without epochs."""
    history = contents.history
    if not history.get("epochs"):
        return {}
    return {
        "losses": charts.losses(history),
        "metrics": charts.training_metrics(history, levels(contents)),
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
    for level in levels(contents):
        rows = []
        for figure in (*figures.served(level), *figures.by_product(level)):
            value = evaluation.metrics.get(f"{level}/{figure}")
            if value is None:
                continue
            before = evaluation.baseline.get(f"{level}/{figure}")
            rows.append(
                {
                    "title": words.figure_title(figure),
                    "value": value,
                    "before": before,
                    "change": None if before is None else value - before,
                    "less_is_better": figure in figures.LESS_IS_BETTER,
                }
            )
        tables.append({"title": words.level_title(level), "rows": rows})
    return tables


def runs_section(contents: Contents) -> dict[str, Any]:
    """The runs of the workspace: {"chart", "heads", "rows"}; empty where this is the first."""
    if len(contents.runs) < 2:
        return {}
    mains = [gates.main_figure(level) for level in levels(contents)]
    shown = [name for name in mains if any(run["figures"].get(name) for run in contents.runs)]
    curves = {
        words.heading(*name.split("/")): [
            None if (of := run["figures"].get(name)) is None else (of["value"], of["interval"])
            for run in contents.runs
        ]
        for name in shown
    }
    rows = [
        {
            "run": place,
            "created": run["created"],
            "state": f"live as {run['live']}"
            if run["live"]
            else "blessed, not pushed"
            if run["blessed"]
            else "not blessed",
            "products": run["products"],
            "figures": [run["figures"].get(name) for name in shown],
        }
        for place, run in enumerate(contents.runs, start=1)
    ]
    return {"chart": charts.runs(curves), "heads": [*curves], "rows": rows[::-1]}


def decoding_rows(contents: Contents) -> list[dict[str, Any]]:
    """What joint decoding did: {"title", "served" and "independent" accuracy, "changed" answers}.

    The last row is of both levels together, and says nothing of changed answers.
    """
    metrics = contents.evaluation.metrics
    rows = [
        {
            "title": words.level_title(level),
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


def calibration_section(contents: Contents) -> list[dict[str, Any]]:
    """For each level a reliability diagram, its errors and its temperature, None where not so."""
    evaluation, found = contents.evaluation, []
    temperatures = contents.history.get("temperatures", {})
    for level, served in evaluation.reliability.items():
        if not served[:, 0].any():
            continue
        before = evaluation.uncalibrated_reliability.get(level)
        title = words.level_title(level)
        of_level = f"Reliability diagram of {title}"
        found.append(
            {
                "title": title,
                "chart": charts.reliability(f"reliability-{level}", of_level, served, before),
                "error": figures.calibration_error(served),
                "before": None if before is None else figures.calibration_error(before),
                "temperature": temperatures.get(level),
            }
        )
    return found


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
            "title": words.level_title(level),
            "truth": answer.truth[level],
            "said": label,
            # Nobody knows whether an answer is right where the catalog says nothing.
            "right": answer.truth[level] in (label, features.UNKNOWN),
            "score": number(score, 2),
        }
        for level, (label, score) in said.items()
    ]
    true = set(answer.truth.get(features.ATTRIBUTES, ()))
    found = {
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
                if label in true & found
                else "extra"
                if label in found
                else "missed",
            }
            for label in sorted(true | found)
        ],
        "image": _data_url(answer.thumbnail),
    }


def levels(contents: Contents) -> list[str]:
    """The levels with something to tell: without attributes not theirs."""
    return [
        level
        for level in contents.labels
        if level != features.ATTRIBUTES or contents.labels[features.ATTRIBUTES]
    ]


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
