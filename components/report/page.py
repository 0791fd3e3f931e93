"""Renders the report: plain data in, a page and the files beside it out.

The page opens anywhere, offline: what many look at is written into it, what some look at lies
beside it and is read when they do.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from components import sprites
from components.evaluation import figures
from components.evaluation.results import number
from components.report import explorer, sections, visual_search, words
from components.report.contents import Contents
from schema import features

PAGE_FILE = "index.html"

FILES = "files-"
"""How the name of the folder beside the page begins; its rest is of what it holds, so that a page
never reads another's."""

BROWSER = Path(__file__).parent / "browser"
"""What runs in the browser."""

SCRIPTS = ("base", "page", "products", "explorer", "confusion", "thresholds", "map", "begin")
"""The page's scripts, in the order in which they build on each other."""


@dataclass(frozen=True)
class Page:
    """A page and the data beside it.

    Attributes:
        html: The page.
        folder: The name of the folder beside it.
        data: What that folder holds, by name without `.js`: what the page's script reads.
    """

    html: str
    folder: str
    data: Mapping[str, Any]


def render_page(contents: Contents) -> Page:
    """Returns the page, which asks nothing of the net, and what lies beside it."""
    data = {
        "slices": explorer.told(explorer.of_run(contents.evaluation, contents.judgement)),
        **({"products": contents.products} if contents.products else {}),
        **({"attributes": _attributes(contents)} if contents.attribute_decisions else {}),
        **({"map": contents.search_map} if contents.search_map.get("ids") else {}),
    }
    found = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    folder = f"{FILES}{found[:12]}"
    gates = sections.gates_section(contents)
    automatic = sections.automatic_section(contents)
    searched = visual_search.section(contents)
    tables = {
        "more": gates["more"],
        "guards": gates["guards"],
        "automatic": automatic["attributes"] if automatic else {},
        "search": searched.get("slices", {}),
    }
    page_data = {
        "files": folder,
        "inside": False,
        "pictures": contents.products.get("pictures", 0),
        "sheets": sprites.LAYOUT,
        "smallSupport": sections.SMALL_SUPPORT,
        "titles": {level: words.level_title(level) for level in contents.labels},
        "tables": {name: of for name, of in tables.items() if of},
        "confusions": confusions(contents),
    }
    html = template("page.html.j2").render(
        contents=contents,
        verdict=sections.verdict(contents),
        cards=sections.cards(contents),
        data=sections.data_section(contents),
        conflicts=sections.conflicts_section(contents),
        distances=sections.distances_section(contents),
        training=sections.training_section(contents),
        search=sections.search_table(contents),
        gates=gates,
        automatic=automatic,
        visual_search=searched,
        runs=sections.runs_section(contents),
        levels=sections.level_tables(contents),
        decoding=sections.decoding_rows(contents),
        calibration=sections.calibration_section(contents),
        confusions=page_data["confusions"],
        changed=any("last" in of for of in contents.products.get("levels", {}).values()),
        answers=[
            sections.answer_card(answer, contents.attribute_threshold)
            for answer in contents.answers
        ],
        small_support=sections.SMALL_SUPPORT,
        bins=figures.BINS,
        page_data=page_data,
        scripts=SCRIPTS,
    )
    return Page(html, folder, data)


def template(name: str, folder: Path = BROWSER) -> jinja2.Template:
    """A page's template out of a folder, with what all of them use."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "figure": number,
        "count": "{:,}".format,
        "with_code": with_code,
        "script_json": script_json,
    }
    environment.globals |= {
        "style": Markup((BROWSER / "page.css").read_text("utf-8")),
        "script": browser_script,
    }
    return environment.get_template(name)


def browser_script(names: Sequence[str] = SCRIPTS, *others: Path) -> Markup:
    """The scripts of these names, then those of other pages, as one whose names are its own."""
    files = [*(BROWSER / f"{name}.js" for name in names), *others]
    parts = [file.read_text("utf-8") for file in files]
    return Markup('(() => {{\n"use strict";\n\n{}}})();').format(Markup("\n".join(parts)))


def data_script(name: str, value: Any) -> str:
    """A file beside the page: a script that hands the page its data, for it may not read files.

    As a text of JSON: what a catalog calls `__proto__` would be something else in a script.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return f"seamline.deliver({json.dumps(name)},{json.dumps(text)});\n"


def script_json(value: Any) -> Markup:
    """JSON that may stand inside a script element, whatever the catalog's labels hold."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def with_code(sentence: str) -> Markup:
    """The sentence as HTML, with what stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


def confusions(contents: Contents) -> list[dict[str, Any]]:
    """What the page draws matrices of, a level each.

    Returns:
        `name`, `title`, `labels`; `parents`, of the sub-categories each label's category; `pairs`,
        rows of truth, answer and count; `classes`: code, products, precision, recall and F1.
    """
    found = []
    for level, pairs in contents.evaluation.confusion.items():
        if not len(pairs):
            continue
        labels = contents.labels[level]
        parents = None
        if level == features.SUBCATEGORY and contents.parents:
            parents = [contents.parents.get(label, "") for label in labels]
        classes = figures.per_class(pairs)
        found.append(
            {
                "name": level,
                "title": words.level_title(level),
                "labels": labels,
                "parents": parents,
                "pairs": pairs.tolist(),
                "classes": [
                    [code, of["support"], *(round(of[name], 4) for name in _CLASS_FIGURES)]
                    for code, of in classes.items()
                ],
            }
        )
    return found


_CLASS_FIGURES = ("precision", "recall", "f1")


def _attributes(contents: Contents) -> dict[str, Any]:
    """The attributes' decisions, with the figures at the score in use."""
    decisions = dict(contents.attribute_decisions)
    used = decisions.pop("used")
    average = decisions.pop("average_precision")
    decisions["figures"] = [
        [
            of["support"],
            *(round(of[name], 4) for name in _CLASS_FIGURES),
            None if math.isnan(one) else round(one, 4),
        ]
        for of, one in zip(figures.per_attribute(used), average, strict=True)
    ]
    return decisions
