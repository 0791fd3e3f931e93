"""The page on which people work through labels that are probably wrong, and what lies beside."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image, ImageOps

from components import sprites
from components.catalog_example_gen.corrections import Decision
from components.label_review.products import TREE
from components.label_review.review import CLEAR, Review
from components.label_review.suspects import Suspect
from components.report import page as report_page
from components.report import products as report_products
from schema import features

PAGE_FILE = "label_review.html"

PAGE_FOLDER = "page"
"""Where in the artifact the page is, and what lies beside it."""

FILES = "label_review-"
"""How the name of the folder beside the page begins; its rest is of what it holds."""

MOST_SHOWN = 1_000
"""Labels that the page shows; the list has all."""

_NEIGHBORS = 3
_SIDE = 160
_QUALITY = 90
_BROWSER = Path(__file__).parent / "browser"


def write(
    found: Review,
    folder: Path,
    *,
    name: str,
    decisions: Sequence[Decision],
    examples: Sequence[str],
) -> None:
    """Writes the page and the sheets of pictures beside it.

    Args:
        found: The review.
        folder: Where to.
        name: The catalog's.
        decisions: What people have decided before, which the file that the page saves has as well.
        examples: The files of Examples, for the pictures.
    """
    data, places = told(found, name, decisions)
    beside = FILES + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]
    ids = [found.products.pictures[place] for place in places]
    pictures = _small_pictures(examples, ids)
    sprites.write_sheets(folder / beside, (pictures.get(one, b"") for one in ids), _SIDE)
    (folder / PAGE_FILE).write_text(render(found, {**data, "files": beside}), encoding="utf-8")


def told(
    found: Review, name: str, decisions: Sequence[Decision]
) -> tuple[dict[str, Any], list[int]]:
    """What the page's script reads, and the products whose pictures it shows, in their order."""
    picture_of: dict[int, int] = {}

    def picture(place: int) -> int:
        return picture_of.setdefault(place, len(picture_of))

    rows = [_row(found, one, picture) for one in found.suspects[:MOST_SHOWN]]
    levels = list(dict.fromkeys(row["level"] for row in rows))
    if features.CATEGORY in levels:
        levels.append(features.SUBCATEGORY)
    data = {
        "name": name,
        "rows": rows,
        "labels": {level: _labels(found, level) for level in levels},
        "several": [level for level in levels if not _is_single(found, level)],
        "titles": {features.CATEGORY: "Category", features.SUBCATEGORY: "Sub-category"},
        "earlier": [list(one[1:]) for one in decisions],
        "sheets": sprites.LAYOUT,
    }
    return data, list(picture_of)


def render(found: Review, data: Mapping[str, Any]) -> str:
    """The page, which asks nothing of the net."""
    style = (report_page.BROWSER / "page.css").read_text("utf-8")
    style += (_BROWSER / "review.css").read_text("utf-8")
    number = len(found.suspects)
    summary = f"{number:,} {'label' if number == 1 else 'labels'} to look at"
    summary += f", {found.clear:,} of them with a score of {CLEAR:.1f} or more."
    if number > len(data["rows"]):
        summary += f" The first {len(data['rows']):,} are here; all are in label_review.csv."
    return report_page.template("review.html.j2", _BROWSER).render(
        name=data["name"],
        summary=summary,
        notes=[one.reason for one in found.skipped],
        rows=data["rows"],
        page_data=data,
        style=Markup(style),
        script=report_page.browser_script(("base",), _BROWSER / "review.js"),
    )


def _row(found: Review, one: Suspect, picture: Any) -> dict[str, Any]:
    products = found.products
    row = {
        "id": products.ids[one.place],
        "level": one.level,
        "given": one.given,
        "suggested": one.suggested,
        "score": round(one.score, 4),
        "reasons": list(one.reasons),
        "picture": picture(one.place),
        "near": [
            {
                "id": products.ids[place],
                "picture": picture(place),
                "label": _label(found, one.level, place),
            }
            for place in found.neighbors[one.place][:_NEIGHBORS].tolist()
            if place >= 0
        ],
    }
    if one.level == features.CATEGORY:
        row["subcategory"] = products.pairs[products.levels[TREE].given[one.place]][1]
        row["suggestedSubcategory"] = one.subcategory
    return row


def _label(found: Review, level: str, place: int) -> str:
    """What a neighbor is, on a suspect's level."""
    of_tree = level in (features.CATEGORY, features.SUBCATEGORY)
    of = found.products.levels[TREE if of_tree else level]
    if not of.is_single:
        return ", ".join(
            label for label, has in zip(of.labels, of.given[place], strict=True) if has
        )
    code = of.given[place]
    return of.labels[code] if code >= 0 else ""


def _labels(found: Review, level: str) -> list[str]:
    if level in (features.CATEGORY, features.SUBCATEGORY):
        place = 0 if level == features.CATEGORY else 1
        return sorted({pair[place] for pair in found.products.pairs})
    return list(found.products.levels[level].labels)


def _is_single(found: Review, level: str) -> bool:
    if level in (features.CATEGORY, features.SUBCATEGORY):
        return True
    return found.products.levels[level].is_single


def _small_pictures(examples: Sequence[str], ids: Sequence[str]) -> dict[str, bytes]:
    """The pictures of some Examples, shrunk as they are read, for all of them may be many.

    Those that are smaller are enlarged: they are looked at one by one.
    """
    small = {}
    for name, picture in _pictures(examples, ids):
        with suppress(OSError, ValueError, SyntaxError), Image.open(io.BytesIO(picture)) as image:
            file = io.BytesIO()
            fitted = ImageOps.contain(image.convert("RGB"), (_SIDE, _SIDE))
            fitted.save(file, "JPEG", quality=_QUALITY)
            small[name] = file.getvalue()
    return small


def _pictures(examples: Sequence[str], ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for file in examples:
        yield from report_products.read_pictures([file], ids).items()
