"""The card for people: Markdown, headed by what the Hugging Face Hub reads of a card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from components.catalog_example_gen.rejects import top_reasons
from components.data_gate.findings import DRIFT, SKEW
from components.evaluation import figures
from components.evaluation.results import class_name, number
from components.judge import gates
from components.judge.certainty import CONFIDENCE
from components.judge.gates import main_figure
from components.judge.judgement import sentence
from components.model_card.contents import IMAGENET, SMALL, Contents
from components.model_card.files import BOM_FILE
from components.model_card.plain_text import plain
from schema import features, pictures
from schema.search_blocks import COLOR, FEATURES, KIND, label_blocks

MOST_SLICES = 40
"""Slices of a column that are listed; the others are in the ML-BOM."""

MOST_GATES = 60
"""Lines of gates that are listed."""

_CONFLICTS = {
    "same_picture": "pictures that several products share, with different labels",
    "several_categories": "sub-categories that stand under several categories",
    "spelling": "labels that are spelled in several ways",
    "one_product": "products whose rows have different labels",
    "several_pictures": "products with several different pictures by their name",
}

_OF_CLASSES = (
    *("accuracy", "macro_f1", "balanced_accuracy", "top3_accuracy", "top5_accuracy", "brier"),
    *(*figures.PAIR_FIGURES, "hierarchical_consistency"),
)
_OF_ATTRIBUTES = (
    *("overall_precision", "overall_recall", "overall_f1", "macro_f1", "r_precision"),
    *("macro_average_precision", "samples_average_precision", "example_f1", "subset_accuracy"),
)

_SIGNATURES = {
    features.SERVING_SIGNATURE: "the likeliest label of every level with its score, the best "
    f"{features.BEST} of each, the best {features.BEST_ATTRIBUTES} attributes with their scores, "
    "and the score from which each counts",
    features.EVERYTHING_SIGNATURE: "every label of every level with its score, and the embedding",
    features.TOLERANT_SIGNATURE: f"as `{features.SERVING_SIGNATURE}`; a picture that cannot be "
    f"used costs itself alone, and `{features.STATUS}` says why",
    features.TOLERANT_EVERYTHING_SIGNATURE: f"as `{features.EVERYTHING_SIGNATURE}`, in the same "
    "way",
    features.EXPLAIN_SIGNATURE: "where in a picture the embedding comes from, and where it shows "
    f"the label that a second input, `{features.LABEL}`, may name",
}


def card(contents: Contents) -> str:
    """The whole card."""
    sections = (
        _purpose,
        _version,
        _data,
        _model,
        _figures,
        _slices,
        _calibration,
        _automatic,
        _verdict,
        _confusions,
        _test_conditions,
        _serving,
        _responsibility,
    )
    parts = [f"---\n{_front_matter(contents)}---", f"# Model card: {plain(contents.name)}"]
    parts += [part for section in sections if (part := section(contents))]
    return "\n\n".join(parts) + "\n"


def _front_matter(contents: Contents) -> str:
    told: dict[str, Any] = {
        # What the Hub calls a license that nobody has named.
        "license": contents.license.lower() or "unknown",
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["tensorflow", "tf-serving", "fashion"],
    }
    if contents.pretrained:
        of = contents.pretrained
        told["base_model"] = of.package.name if of.package else of.name
    told["metrics"] = ["accuracy", "f1"]
    told["model-index"] = [
        {
            "name": contents.name,
            "results": [
                {
                    "task": {"type": "image-classification", "name": level},
                    "dataset": {
                        "type": contents.name,
                        "name": contents.name,
                        "split": features.TEST,
                        "revision": contents.examples_sha256,
                    },
                    "metrics": [
                        {"type": kind, "name": name, "value": found["value"]}
                        for kind, figure in _indexed(level)
                        if (found := contents.judgement.figures.get(name := f"{level}/{figure}"))
                        and found["value"] is not None
                    ],
                }
                for level in contents.levels
            ],
        }
    ]
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100)


def _indexed(level: str) -> list[tuple[str, str]]:
    """A level's figures in the front matter: the Hub's kind of each, and its name."""
    if level == features.ATTRIBUTES:
        return [("f1", "overall_f1"), ("f1", "macro_f1")]
    return [("accuracy", "accuracy"), ("f1", "macro_f1")]


def _purpose(contents: Contents) -> str:
    named = [
        f"{plain(level)} (one of {len(contents.labels[level]):,})"
        for level in contents.labels
        if level != features.ATTRIBUTES
    ]
    told = f"It looks at a picture of a product and names its {_listed(named)}"
    if groups := _groups(contents):
        count = len(contents.labels[features.ATTRIBUTES])
        told += f", and which of {count:,} attributes ({', '.join(map(plain, groups))}) it has"
    lines = [
        "## What it is for",
        f"{told}. Each answer comes with its probability, and the picture with a vector that is "
        "near those of pictures that look alike. It was made for the catalog that it learned from: "
        "to fill in labels that are missing, to find labels that are wrong, and to search: where "
        f"an index is pushed with it, two pictures are compared by {_listed(_blocks(contents))}.",
        "It is not for",
    ]
    points = [
        "products of kinds that are not among its labels: it always names one of them, whatever "
        "the picture shows;",
        "saying anything of people. Pictures of products may show persons; the model has learned "
        "the products' labels and nothing else;",
        "labels that nobody looks at, but for answers above the scores given under "
        "“Without a person”.",
    ]
    if contents.is_of_people:
        points.insert(
            2,
            "telling a person's gender. The label is the group that a garment is made for, as the "
            "catalog says, and nothing about whoever wears it;",
        )
    lines.append("\n".join(f"- {point}" for point in points))
    return "\n\n".join(lines)


def _version(contents: Contents) -> str:
    versions = {of.name.lower(): of.version for of in contents.packages}
    rows = [
        ("model", f"`{contents.fingerprint}` (SHA-256 of what a server loads of it)"),
        ("trained as", plain(contents.model)),
        ("trained until", contents.trained),
        (
            "with",
            ", ".join(
                [f"Seamline {contents.seamline}"]
                + [
                    f"{title} {versions[name]}"
                    for title, name in (
                        ("TFX", "tfx"),
                        ("TensorFlow", "tensorflow"),
                        ("Keras", "keras"),
                    )
                    if name in versions
                ]
            ),
        ),
        ("served as", "the folder's number; `seamline_version.json` beside this card says since"),
        ("license", plain(contents.license) or "not given; ask whoever gave you the model"),
        ("contact", plain(contents.contact)),
        ("for programs", f"`{BOM_FILE}` beside this card, a CycloneDX ML-BOM"),
    ]
    return f"## Version\n\n{_table(('', ''), [row for row in rows if row[1]])}"


def _data(contents: Contents) -> str:
    ingest = contents.ingest
    by_split = ingest["products_by_split"]
    rows = [
        ("rows of the catalog", f"{ingest['rows']:,}"),
        ("used", f"{ingest['accepted']:,}"),
        (
            "rejected",
            f"{ingest['rejected']:,}"
            + (
                f": {top_reasons(ingest['rejected_by_reason'])}"
                if ingest["rejected_by_reason"]
                else ""
            ),
        ),
    ]
    if left_out := ingest["capped"] + ingest["not_sampled"]:
        rows.append(("left out by options", f"{left_out:,}"))
    of_groups = "of nearly the same picture or one product, kept on one side of the division"
    rows += [
        ("products", f"{ingest['products']:,}"),
        ("groups", f"{ingest['groups']:,}, each {of_groups}"),
        *((f"part `{split}`", f"{by_split[split]:,}") for split in features.SPLITS),
        ("hash", f"`{contents.examples_sha256}` (SHA-256 of the Examples' files)"),
    ]
    rows += [
        ("contradictions", f"{count:,} {_CONFLICTS[kind]}")
        for kind, count in contents.conflicts.items()
        if count and kind in _CONFLICTS
    ]
    rows.append(("against the schema", f"{contents.findings:,} findings"))
    for kind, words in ((DRIFT, "since an earlier run"), (SKEW, "between the parts")):
        of_kind = [one for one in contents.distances if one.kind == kind]
        if of_kind:
            most = max(of_kind, key=lambda one: (one.value, one.feature))
            rows.append((f"largest shift {words}", plain(most.sentence)))
    return (
        "## What it learned from\n\n"
        f"The catalog {plain(contents.name)}. `{features.TRAIN}` taught it, `{features.EVAL}` "
        f"chose epochs and scores, `{features.TEST}` judged it and chose nothing.\n\n"
        f"{_table(('', ''), rows)}"
    )


def _model(contents: Contents) -> str:
    options, history = contents.options, contents.history
    rows = [
        ("backbone", plain(options["model.backbone"])),
        (
            "picture",
            f"{options['model.image_height']} × {options['model.image_width']} points, 3 channels",
        ),
        ("heads", plain(options["model.heads"])),
        ("parameters", f"{history['parameters']:,}"),
        ("embedding", f"{options['model.embedding_size']:,} numbers, of unit length"),
        ("levels decided jointly", "yes" if options["model.joint_decoding"] else "no"),
        (
            "epochs",
            f"{len(history['epochs']):,}, of which {history['best_epoch']:,} was the best"
            + (", stopped early" if history["stopped_early"] else ""),
        ),
        (
            "time of the epochs",
            f"{sum(epoch.get('seconds', 0) for epoch in history['epochs']):,.0f} s",
        ),
    ]
    told = [f"## How it is made\n\n{_table(('', ''), rows)}"]
    if of := contents.pretrained:
        source = plain(of.name)
        if of.package:
            source += f", from the package {plain(of.package.name)} {plain(of.package.version)}"
        what = "ImageNet weights" if options["model.weights"] == IMAGENET else "the weights"
        told.append(f"It started from {what}: {source}. They are part of it.")
        if of.notice:
            told.append("Hand it on with this notice:")
            told.append("\n".join(f"    {line}".rstrip() for line in of.notice.splitlines()))
    else:
        told.append("It started from random weights.")
    if options.get("training.warm_start"):
        told.append("Where an earlier blessed model was there, it went on from that one's weights.")
    return "\n\n".join(told)


def _figures(contents: Contents) -> str:
    found = contents.judgement.figures
    compared = any("last" in of for of in found.values())
    head = ["figure", "value", f"{CONFIDENCE:.0%} interval", "products"]
    rows = []
    for level in contents.levels:
        names = _OF_ATTRIBUTES if level == features.ATTRIBUTES else _OF_CLASSES
        for name in names:
            if of := found.get(f"{level}/{name}"):
                row = [f"{plain(level)} {name.replace('_', ' ')}", *_cells(of)]
                rows.append([*row, _figure(of.get("last"))] if compared else row)
    if compared:
        head.append("last blessed model")
    return (
        "## How good it is\n\n"
        f"On the {contents.evaluation.example_count:,} pictures of the part `{features.TEST}`. Of "
        "Brier score, tree distance and what is wrong less is better; all figures, with those of "
        f"every slice, are in `{BOM_FILE}`.\n\n{_table(head, rows)}"
    )


def _slices(contents: Contents) -> str:
    parts = []
    if worst := contents.worst_slices():
        rows = [
            (
                f"{plain(one.column)} {plain(one.value)}",
                plain(one.metric),
                *_cells(one.told),
                number(one.below),
                "surely" if one.told.get("low") else "perhaps by chance",
            )
            for one in worst
        ]
        head = ("slice", "figure", "value", f"{CONFIDENCE:.0%} interval", "products")
        parts.append(
            f"## Where it is weakest\n\nThe slices of at least {SMALL} products that are farthest "
            f"below all products together.\n\n{_table((*head, 'below', ''), rows)}"
        )
    metrics = [main_figure(level) for level in contents.levels]
    for column in contents.slice_columns:
        values = contents.judgement.slices[column]
        told = sorted(values.items(), key=lambda item: (-_products(item[1]), item[0]))
        of_column: list[Sequence[str]] = [
            (
                plain(value),
                f"{_products(of):,}",
                *(
                    " ".join(cell for cell in _cells(of[metric])[:2] if cell)
                    if metric in of
                    else ""
                    for metric in metrics
                ),
            )
            for value, of in told[:MOST_SLICES]
        ]
        if of_column:
            more = len(told) - len(of_column)
            parts.append(
                f"## By {plain(column)}\n\n"
                + _table((plain(column), "products", *map(plain, metrics)), of_column)
                + (f"\n\nAnd {more:,} of fewer products, in `{BOM_FILE}`." if more > 0 else "")
            )
    return "\n\n".join(parts)


def _calibration(contents: Contents) -> str:
    metrics, temperatures = contents.evaluation.metrics, contents.history["temperatures"]
    rows = [
        (
            plain(level),
            number(metrics[name]),
            _figure(metrics.get(f"{level}/{figures.UNCALIBRATED_ERROR}")),
            f"{temperatures[level]:.2f}" if level in temperatures else "",
        )
        for level in contents.levels
        if (name := f"{level}/{figures.CALIBRATION_ERROR}") in metrics
    ]
    if not rows:
        return ""
    return (
        "## How honest its scores are\n\n"
        "The expected calibration error: by how much scores and shares of right answers differ.\n\n"
        + _table(("level", "error", "without calibration", "temperature"), rows)
    )


def _automatic(contents: Contents) -> str:
    told = contents.judgement.automatic
    if not told:
        return ""
    rows = [
        (
            plain(level),
            _figure(of["threshold"]) or "no score shows it",
            f"{of['share']:.1%}",
            *_cells({"value": of["precision"], "interval": of["interval"]})[:2],
        )
        for level, of in told["levels"].items()
    ]
    lines = [
        "## Without a person",
        f"From which score on answers are right in {told['wanted']:.1%}, chosen on "
        f"`{features.EVAL}` so that it holds with a confidence of {told['confidence']:.0%} over "
        f"all products, not in every slice; and what that does on `{features.TEST}`.",
        _table(("level", "from score", "share of products", "right", "interval"), rows),
    ]
    if lanes := told.get("lanes"):
        words = {
            "subcategory": "both labels",
            "category": "the category alone",
            "person": "a person",
        }
        shares = [f"{of['share']:.1%} {words[lane]}" for lane, of in lanes.items()]
        lines.append(f"So of all products: {_listed(shares)}.")
    if attributes := told["attributes"]:
        sure = sum(of["threshold"] is not None for of in attributes.values())
        lines.append(f"Of {len(attributes):,} attributes {sure:,} have such a score.")
    return "\n\n".join(lines)


def _verdict(contents: Contents) -> str:
    judged = contents.judgement
    lines = [
        "## Gates",
        f"{'Blessed' if judged.blessed else 'Not blessed'}: {plain(judged.summary)}. "
        + ("Asked as in production: " if contents.canary_passed else "Not fit for production: ")
        + f"{plain(contents.canary_summary).rstrip('.')}.",
    ]
    if judged.warnings:
        lines.append("\n".join(f"- A warning: {plain(warning)}." for warning in judged.warnings))
    # What somebody asked for, and of what holds beside it only what blocks.
    shown = [line for line in judged.lines if not line.is_guard or line.verdict == gates.BLOCKS]
    shown.sort(key=lambda line: line.verdict != gates.BLOCKS)
    if shown:
        rows = [(plain(line.verdict), plain(sentence(line))) for line in shown[:MOST_GATES]]
        lines.append(_table(("verdict", "gate"), rows))
    if len(shown) > MOST_GATES:
        lines.append(f"And {len(shown) - MOST_GATES:,} more.")
    return "\n\n".join(lines)


def _confusions(contents: Contents) -> str:
    parts = []
    for level in contents.levels:
        if pairs := contents.confusions(level):
            names = contents.labels[level]
            rows = [
                (plain(class_name(names, truth)), plain(class_name(names, answer)), f"{count:,}")
                for truth, answer, count in pairs
            ]
            head = (f"true {plain(level)}", "answered", "pictures")
            parts.append(_table(head, rows))
    return "\n\n".join(["## What it takes for what", *parts]) if parts else ""


def _test_conditions(contents: Contents) -> str:
    points = [
        f"Every figure is of pictures in `{features.TEST}`, which chose neither weights nor epochs "
        "nor scores; pictures that look nearly alike are all in one part.",
        f"An attribute counts as predicted from a score of {contents.attribute_threshold} on; "
        "labels that training never saw count as mistakes.",
        f"Intervals are of {CONFIDENCE:.0%}: Wilson's for shares, a bootstrap of 1,000 draws for "
        "others, both with pictures that look alike as one.",
        "The answers are those of the served graph, asked through its signature "
        f"`{features.EVALUATE_SIGNATURE}`.",
    ]
    return "## How it was tested\n\n" + "\n".join(f"- {point}" for point in points)


def _serving(contents: Contents) -> str:
    rows = [(f"`{name}`", gives) for name, gives in _SIGNATURES.items()]
    options = contents.options
    points = [
        "Pictures are JPEG, PNG, GIF, BMP or WebP, as files are: `image_bytes`, text (N). Others "
        "fail the request with INVALID_ARGUMENT and their index, but for the tolerant signatures.",
        f"Sides from {pictures.SMALLEST_SIDE} to {pictures.LARGEST_SIDE:,} points, at most "
        f"{pictures.MOST_PIXELS:,} in all; of what cannot be decoded at a part of its size "
        f"{pictures.MOST_PIXELS_DECODED_WHOLE:,}.",
        "A picture is looked at upright, on white, its first frame, scaled to "
        f"{options['model.image_height']} × {options['model.image_width']} points.",
    ]
    return "\n\n".join(
        [
            "## Asking it",
            _table(("signature", "answers"), rows),
            "\n".join(f"- {point}" for point in points),
            "To go back to the version before: `seamline rollback WORKSPACE`, or `--to VERSION`; "
            "`seamline versions WORKSPACE` lists them. To see whether what it is asked is still "
            "like what it learned from: `seamline drift WORKSPACE --log DIR`.",
        ]
    )


def _responsibility(contents: Contents) -> str:
    points = [
        "It repeats what the catalog says: labels that are wrong or one-sided there are learned.",
        "Rare labels are learned badly; look at the slices above before it decides about them.",
        "Pictures that show persons are personal data wherever they are kept or logged.",
    ]
    return "## Before it is relied on\n\n" + "\n".join(f"- {point}" for point in points)


def _groups(contents: Contents) -> list[str]:
    """The attributes' groups, in the order of the vocabulary."""
    attributes = contents.labels[features.ATTRIBUTES]
    return list(dict.fromkeys(features.split_attribute_label(label)[0] for label in attributes))


def _blocks(contents: Contents) -> list[str]:
    """What a search compares pictures by."""
    extras = [level for level in contents.labels if level not in features.LEVELS]
    names = [KIND, *label_blocks([*extras, *_groups(contents)]), FEATURES, COLOR]
    return [plain(name) for name in names]


def _products(of_slice: Mapping[str, Mapping[str, Any]]) -> int:
    return max((of["products"] for of in of_slice.values()), default=0)


def _cells(told: Mapping[str, Any]) -> tuple[str, str, str]:
    """Value, interval and products of a figure."""
    interval = told["interval"]
    between = f"\\[{number(interval[0])}, {number(interval[1])}\\]" if interval else ""
    products = told.get("products")
    return _figure(told["value"]), between, "" if products is None else f"{products:,}"


def _figure(value: float | None) -> str:
    return "" if value is None else number(value)


def _listed(parts: Sequence[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
