"""Draws a small fashion catalog whose labels can be seen in its pictures.

Every label that a model is asked for has a visible cause: the garment's outline is its category and
sub-category, the fabric its color and pattern, the backdrop with its emblem the season, and the
cut (narrow, regular, wide) the gender. So a good model reaches a high figure within minutes, and a
bug in the labels shows at once. A few rows are faulty on purpose, as in every real catalog.
"""

from __future__ import annotations

import concurrent.futures
import csv
import functools
import math
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from schema.errors import UserError

SIDE = 96
"""Height and width of a picture in pixels."""

_CANVAS = 3 * SIDE
"""Pictures are drawn larger and shrunk, which smooths their edges."""

COLUMNS = ("id", "category", "subcategory", "colour", "pattern", "season", "gender", "name")

SUBCATEGORIES = {
    "Topwear": ("T-shirt", "Shirt", "Hoodie"),
    "Bottomwear": ("Trousers", "Shorts", "Skirt"),
    "Footwear": ("Sneaker", "Boot", "Heel"),
    "Bags": ("Handbag", "Backpack", "Clutch"),
}

Color = tuple[int, int, int]
Point = tuple[float, float]

COLORS: dict[str, Color] = {
    "Red": (205, 43, 52),
    "Orange": (238, 128, 38),
    "Yellow": (245, 205, 62),
    "Green": (52, 142, 84),
    "Blue": (45, 98, 190),
    "Purple": (124, 70, 160),
    "Black": (44, 44, 50),
    "White": (244, 243, 240),
}

PATTERNS = ("Plain", "Striped", "Dotted", "Checked")

BACKDROPS: dict[str, Color] = {
    "Spring": (214, 233, 205),
    "Summer": (252, 236, 190),
    "Autumn": (233, 205, 178),
    "Winter": (205, 222, 238),
}

WIDTHS = {"Women": 0.88, "Unisex": 0.98, "Men": 1.08}
"""How wide a garment is cut, by gender."""

_FAULTS = (
    "missing_picture",
    "truncated",
    "doubled_id",
    "unknown_label",
    "empty_file",
    "missing_picture",
    "doubled_id",
    "not_a_picture",
)


@dataclass(frozen=True)
class DemoCatalog:
    """What was drawn.

    Attributes:
        folder: Holds `labels.csv` and `images/<id>.jpg`.
        rows: Rows of `labels.csv`, faulty ones included.
        faults: Reason code (as in `components.catalog_example_gen.rejects`) of each faulty row, by
            its number in the file; the header is row 1.
    """

    folder: Path
    rows: int
    faults: dict[int, str]


def draw_demo_catalog(
    folder: Path, products: int = 800, seed: int = 7, faults: bool = True
) -> DemoCatalog:
    """Writes `labels.csv` and `images/` into `folder`; the same arguments write the same bytes.

    Args:
        folder: Made if it is not there. Must hold no `labels.csv` and no `images` yet, because
            pictures left over from another catalog would be counted as named by no row.
        products: Rows of the CSV.
        seed: Another seed draws other garments.
        faults: Whether one row in twenty, eight at most, has a fault.

    Raises:
        UserError: `folder` already holds a catalog, cannot be written, or `products` is below 12.
    """
    if products < 12:
        raise UserError(
            f"A demo catalog needs at least 12 products, one of each sub-category, not {products}."
        )
    images = folder / "images"
    for taken in (folder / "labels.csv", images):
        if taken.exists():
            raise UserError(f"{taken} is already there. Choose another folder, or delete it.")
    # A catalog whose drawing was cut short must not be taken for a whole one.
    unfinished = folder / ".unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        (unfinished / "images").mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}.") from error

    rows = [_product(index, seed) for index in range(products)]
    # In the second half, so that a doubled id has a sound row above it.
    chosen = random.Random(f"{seed} faults").sample(
        range(products // 2, products), min(len(_FAULTS), products // 20) if faults else 0
    )
    faulty = dict(zip(chosen, _FAULTS, strict=False))

    def draw_picture(index: int) -> None:
        row, fault = rows[index], faulty.get(index)
        if fault in ("missing_picture", "doubled_id"):
            return
        path = unfinished / "images" / f"{row['id']}.jpg"
        _draw_product(row, random.Random(f"{seed} picture {index}")).save(path, quality=90)
        if fault == "truncated":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif fault == "empty_file":
            path.write_bytes(b"")
        elif fault == "not_a_picture":
            path.write_text("<html><body>404 Not Found</body></html>\n")

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for _ in pool.map(draw_picture, range(products)):
            pass  # An error of one picture is raised here.

    for index, fault in faulty.items():
        if fault == "doubled_id":
            first = max(other for other in range(index) if other not in faulty)
            rows[index]["id"] = rows[first]["id"]
        elif fault == "unknown_label":
            rows[index]["subcategory"] = "Parka"

    with (unfinished / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for name in ("images", "labels.csv"):
        (unfinished / name).rename(folder / name)
    unfinished.rmdir()
    return DemoCatalog(folder, products, {index + 2: fault for index, fault in faulty.items()})


def _product(index: int, seed: int) -> dict[str, str]:
    """The labels of one product; every twelfth is of the same sub-category."""
    draw = random.Random(f"{seed} labels {index}")
    kinds = [(category, kind) for category, group in SUBCATEGORIES.items() for kind in group]
    category, subcategory = kinds[index % len(kinds)]
    labels = {
        "id": str(10001 + index),
        "category": category,
        "subcategory": subcategory,
        "colour": draw.choice(list(COLORS)),
        "pattern": draw.choice(PATTERNS),
        "season": draw.choice(list(BACKDROPS)),
        "gender": draw.choice(list(WIDTHS)),
    }
    line = draw.choice(("Riviera", "Harbor", "Meadow", "Atelier", "Nordic", "NA"))
    labels["name"] = (
        f'"{line}" {subcategory.lower()}, {labels["pattern"].lower()}, {labels["colour"].lower()}'
    )
    return labels


@dataclass
class _Pen:
    """Draws shapes given in garment coordinates: x and y in [-1, 1], y down, onto the canvas."""

    x: float
    y: float
    size: float
    width: float
    angle: float

    def points(self, shape: Iterable[Point]) -> list[Point]:
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return [
            (
                self.x + self.size * (x * self.width * cos - y * sin),
                self.y + self.size * (x * self.width * sin + y * cos),
            )
            for x, y in shape
        ]


@dataclass
class _Garment:
    """The parts of a garment, in the order in which they are painted.

    Attributes:
        straps: Lines behind the fabric: (points, thickness).
        fabric: Outlines filled with color and pattern.
        trim: Outlines filled with a darker shade of the color.
        pale: Outlines filled with off-white: soles, buttons, buckles.
        seams: Thin dark lines on top.
    """

    fabric: list[list[Point]]
    straps: Sequence[tuple[list[Point], float]] = ()
    trim: Sequence[list[Point]] = ()
    pale: Sequence[list[Point]] = ()
    seams: Sequence[list[Point]] = ()


def _mirrored(left: Sequence[Point]) -> list[Point]:
    """A whole outline from its left half, which runs from the top's middle to the bottom's."""
    return [*left, *((-x, y) for x, y in reversed(left))]


def _both(shape: Sequence[Point]) -> list[list[Point]]:
    return [list(shape), [(-x, y) for x, y in shape]]


def _ellipse(x: float, y: float, width: float, height: float, corners: int = 24) -> list[Point]:
    turns = (2 * math.pi * corner / corners for corner in range(corners))
    return [(x + width * math.cos(turn), y + height * math.sin(turn)) for turn in turns]


def _arch(x: float, top: float, bottom: float, width: float) -> list[Point]:
    turns = (math.pi * step / 16 for step in range(17))
    return [
        (x - width * math.cos(turn), bottom - (bottom - top) * math.sin(turn)) for turn in turns
    ]


def _softened(outline: Sequence[Point]) -> list[Point]:
    """The outline with its corners cut twice (Chaikin's scheme, with a smaller first cut)."""
    for cut in (0.1, 0.25):
        edges = zip(outline, [*outline[1:], outline[0]], strict=True)
        outline = [
            (a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1]))
            for a, b in edges
            for part in (cut, 1 - cut)
        ]
    return list(outline)


def _t_shirt() -> _Garment:
    half = [(0, -0.58), (-0.15, -0.63), (-0.24, -0.78), (-0.54, -0.7), (-1, -0.3), (-0.76, -0.04)]
    half += [(-0.52, -0.24), (-0.52, 0.8), (0, 0.83)]
    neck = [(-0.24, -0.78), (-0.15, -0.63), (0, -0.57), (0.15, -0.63), (0.24, -0.78)]
    neck += [(0.32, -0.76), (0.2, -0.55), (0, -0.47), (-0.2, -0.55), (-0.32, -0.76)]
    return _Garment(
        [_mirrored(half)],
        trim=[neck],
        seams=[*_both([(-0.56, -0.68), (-0.52, -0.24)]), [(-0.52, 0.73), (0.52, 0.73)]],
    )


def _shirt() -> _Garment:
    half = [(0, -0.62), (-0.22, -0.8), (-0.52, -0.7), (-0.74, -0.42), (-0.98, 0.42)]
    half += [(-0.74, 0.5), (-0.5, -0.18), (-0.5, 0.78), (0, 0.86)]
    return _Garment(
        [_mirrored(half)],
        trim=[
            *_both([(-0.2, -0.88), (0, -0.58), (-0.2, -0.4), (-0.34, -0.72)]),
            *_both([(-0.94, 0.3), (-1, 0.44), (-0.73, 0.53), (-0.68, 0.38)]),
        ],
        pale=[_ellipse(0, y / 100, 0.05, 0.05) for y in range(-34, 80, 24)],
        seams=[[(0.09, -0.5), (0.09, 0.84)], *_both([(-0.56, -0.64), (-0.5, -0.18)])],
    )


def _hoodie() -> _Garment:
    half = [(0, -0.6), (-0.26, -0.62), (-0.58, -0.56), (-0.84, -0.3), (-1, 0.52)]
    half += [(-0.7, 0.6), (-0.58, -0.02), (-0.6, 0.72), (0, 0.74)]
    pocket = [(-0.24, 0.2), (0.24, 0.2), (0.42, 0.62), (-0.42, 0.62), (-0.24, 0.2)]
    return _Garment(
        [_ellipse(0, -0.62, 0.42, 0.34), _mirrored(half)],
        trim=[
            _ellipse(0, -0.62, 0.25, 0.23),
            [(-0.58, 0.66), (0.58, 0.66), (0.54, 0.84), (-0.54, 0.84)],
            *_both([(-0.97, 0.42), (-1, 0.62), (-0.7, 0.68), (-0.68, 0.48)]),
        ],
        pale=_both([(-0.13, -0.42), (-0.08, -0.42), (-0.1, -0.08), (-0.15, -0.08)]),
        seams=[pocket, *_both([(-0.6, -0.54), (-0.58, -0.02)])],
    )


def _trousers() -> _Garment:
    half = [(0, -0.88), (-0.4, -0.88), (-0.54, -0.1), (-0.5, 0.92), (-0.13, 0.92), (0, -0.22)]
    return _Garment(
        [_mirrored(half)],
        trim=[[(-0.41, -0.9), (0.41, -0.9), (0.43, -0.76), (-0.43, -0.76)]],
        pale=[_ellipse(0, -0.83, 0.05, 0.05)],
        seams=[
            [(0, -0.76), (0, -0.22)],
            *_both([(-0.3, -0.76), (-0.34, -0.62), (-0.46, -0.56)]),
            *_both([(-0.29, -0.3), (-0.31, 0.9)]),
        ],
    )


def _shorts() -> _Garment:
    half = [(0, -0.56), (-0.5, -0.56), (-0.78, 0.52), (-0.1, 0.62), (0, 0.04)]
    return _Garment(
        [_mirrored(half)],
        trim=[[(-0.51, -0.58), (0.51, -0.58), (0.54, -0.42), (-0.54, -0.42)]],
        pale=_both([(-0.08, -0.44), (-0.03, -0.44), (-0.05, -0.14), (-0.1, -0.14)]),
        seams=[[(0, -0.42), (0, 0.04)], *_both([(-0.7, 0.43), (-0.1, 0.52)])],
    )


def _skirt() -> _Garment:
    half = [(0, -0.74), (-0.34, -0.74), (-0.86, 0.58), (-0.46, 0.72), (0, 0.77)]
    return _Garment(
        [_mirrored(half)],
        trim=[[(-0.35, -0.78), (0.35, -0.78), (0.4, -0.6), (-0.4, -0.6)]],
        seams=[
            [(0, -0.58), (0, 0.74)],
            *_both([(-0.13, -0.58), (-0.28, 0.72)]),
            *_both([(-0.26, -0.58), (-0.57, 0.66)]),
        ],
    )


def _sneaker() -> _Garment:
    upper = [(-0.9, 0.34), (-0.86, -0.34), (-0.66, -0.44), (-0.42, -0.24), (-0.12, -0.52)]
    upper += [(0.04, -0.5), (0.42, -0.08), (0.86, 0.06), (0.98, 0.34)]
    sole = [(-0.95, 0.28), (0.98, 0.28), (1, 0.44), (0.9, 0.54), (-0.9, 0.54), (-0.97, 0.44)]
    return _Garment(
        [upper],
        trim=[
            [(0.58, 0.3), (0.68, -0.02), (0.88, 0.06), (0.98, 0.3)],
            [(-0.9, 0.3), (-0.87, -0.3), (-0.7, -0.24), (-0.6, 0.3)],
        ],
        pale=[
            sole,
            *(
                [(x, y), (x + 0.05, y - 0.05), (x + 0.24, y + 0.14), (x + 0.18, y + 0.18)]
                for x, y in ((-0.16, -0.32), (-0.02, -0.19), (0.12, -0.06))
            ),
        ],
        seams=[[(-0.6, 0.28), (-0.3, -0.02), (0, 0.28)]],
    )


def _boot() -> _Garment:
    outline = [(-0.56, -0.88), (0.1, -0.88), (0.12, -0.08), (0.5, 0.14), (0.84, 0.28)]
    outline += [(0.88, 0.62), (-0.6, 0.62), (-0.64, 0.3)]
    sole = [(-0.66, 0.6), (0.92, 0.6), (0.92, 0.72), (-0.12, 0.72), (-0.18, 0.88), (-0.66, 0.88)]
    return _Garment(
        [outline],
        trim=[sole, [(-0.58, -0.92), (0.13, -0.92), (0.13, -0.74), (-0.58, -0.74)]],
        pale=[_ellipse(-0.36, 0.16, 0.06, 0.06)],
        seams=[[(-0.62, 0.16), (0.14, 0.16)], [(-0.22, -0.74), (-0.22, 0.16)]],
    )


def _heel() -> _Garment:
    upper = [(-0.92, -0.5), (-0.74, -0.6), (-0.56, -0.28), (-0.14, 0.06), (0.36, 0.1)]
    upper += [(0.98, 0.52), (0.98, 0.62), (0.26, 0.62), (-0.24, 0.28), (-0.66, 0.14), (-0.9, 0.0)]
    stem = [(-0.95, -0.08), (-0.6, 0.12), (-0.74, 0.4), (-0.8, 0.8), (-0.92, 0.8)]
    return _Garment(
        [upper],
        trim=[stem, [(0.26, 0.58), (0.98, 0.58), (0.98, 0.66), (0.24, 0.66)]],
        pale=[_ellipse(0.5, 0.3, 0.08, 0.07)],
    )


def _handbag() -> _Garment:
    body = [(-0.56, -0.2), (0.56, -0.2), (0.86, 0.76), (-0.86, 0.76)]
    return _Garment(
        [body],
        straps=[(_arch(0, -0.86, -0.16, 0.36), 0.12)],
        trim=[[(-0.56, -0.22), (0.56, -0.22), (0.63, 0.04), (-0.63, 0.04)]],
        pale=[_ellipse(0, 0.06, 0.11, 0.09)],
        seams=[[(-0.82, 0.64), (0.82, 0.64)]],
    )


def _backpack() -> _Garment:
    half = [(0, -0.72), (-0.34, -0.7), (-0.56, -0.46), (-0.6, 0.8), (0, 0.84)]
    pocket = [(-0.4, 0.2), (0.4, 0.2), (0.42, 0.68), (-0.42, 0.68)]
    return _Garment(
        [_mirrored(half)],
        straps=[
            (_arch(0, -0.94, -0.66, 0.16), 0.09),
            *(
                (side, 0.14)
                for side in _both([(-0.5, -0.4), (-0.78, -0.1), (-0.76, 0.5), (-0.5, 0.72)])
            ),
        ],
        trim=[pocket],
        pale=[[(-0.3, 0.3), (0.3, 0.3), (0.3, 0.36), (-0.3, 0.36)]],
        seams=[_arch(0, -0.52, -0.1, 0.42)],
    )


def _clutch() -> _Garment:
    body = [(-0.96, -0.44), (0.96, -0.44), (0.92, 0.54), (-0.92, 0.54)]
    return _Garment(
        [body],
        trim=[[(-0.96, -0.46), (0.96, -0.46), (0.1, 0.2), (-0.1, 0.2)]],
        pale=[_ellipse(0, 0.1, 0.1, 0.1)],
        seams=[[(-0.94, 0.44), (0.94, 0.44)]],
    )


_SHAPES: dict[str, Callable[[], _Garment]] = {
    "T-shirt": _t_shirt,
    "Shirt": _shirt,
    "Hoodie": _hoodie,
    "Trousers": _trousers,
    "Shorts": _shorts,
    "Skirt": _skirt,
    "Sneaker": _sneaker,
    "Boot": _boot,
    "Heel": _heel,
    "Handbag": _handbag,
    "Backpack": _backpack,
    "Clutch": _clutch,
}


def _draw_product(labels: dict[str, str], draw: random.Random) -> Image.Image:
    """One picture, RGB, `SIDE` x `SIDE`."""
    garment = _SHAPES[labels["subcategory"]]()
    pen = _Pen(
        x=_CANVAS * draw.uniform(0.46, 0.54),
        y=_CANVAS * draw.uniform(0.48, 0.55),
        size=_CANVAS * draw.uniform(0.33, 0.4),
        width=WIDTHS[labels["gender"]],
        angle=math.radians(draw.uniform(-9, 9)),
    )
    color = _shade(COLORS[labels["colour"]], draw.uniform(0.9, 1.08))
    picture = _backdrop(labels["season"], draw)

    silhouette = Image.new("L", picture.size)
    stencil = ImageDraw.Draw(silhouette)
    outlines = [pen.points(_softened(outline)) for outline in garment.fabric]
    for outline in outlines:
        stencil.polygon(outline, fill=255)
    straps = [(pen.points(line), round(pen.size * thick)) for line, thick in garment.straps]
    shadow = silhouette.copy()
    for line, thick in straps:
        ImageDraw.Draw(shadow).line(line, fill=255, width=thick, joint="curve")
    shadow = ImageChops.offset(shadow, 6, 9).filter(ImageFilter.BoxBlur(7))
    picture.paste(_shade(BACKDROPS[labels["season"]], 0.62), mask=shadow.point(lambda v: v * 0.6))

    dark = _shade(color, 0.68)
    ink = _shade(color, 0.45)
    brush = ImageDraw.Draw(picture)
    for line, thick in straps:
        brush.line(line, fill=ink, width=thick + 4, joint="curve")
        brush.line(line, fill=dark, width=thick, joint="curve")
    for outline in outlines:
        brush.line([*outline, outline[0]], fill=ink, width=5, joint="curve")
    picture.paste(_fabric(color, labels["pattern"], pen), mask=silhouette)
    if len(outlines) > 1:
        brush.line([*outlines[-1], outlines[-1][0]], fill=ink, width=2, joint="curve")
    for fill, shapes in ((dark, garment.trim), ((250, 248, 240), garment.pale)):
        for shape in shapes:
            brush.polygon(pen.points(shape), fill=fill, outline=ink, width=2)
    for line in garment.seams:
        brush.line(pen.points(line), fill=ink, width=3, joint="curve")
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _shade(color: Color, factor: float) -> Color:
    """The color made darker (below 1) or brighter (above 1)."""
    red, green, blue = (min(255, round(channel * factor)) for channel in color)
    return red, green, blue


def _fabric(color: Color, pattern: str, pen: _Pen) -> Image.Image:
    """A whole canvas of cloth, its pattern aligned with the garment, darker toward the right."""
    cloth = Image.new("RGB", (_CANVAS, _CANVAS), color)
    luminance = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]
    contrast = _shade(color, 0.5) if luminance > 150 else _blend(color, (255, 255, 255), 0.72)
    steps = [step / 100 for step in range(-130, 140, 26)]
    if pattern == "Dotted":
        brush = ImageDraw.Draw(cloth)
        for row, y in enumerate(steps):
            for x in steps:
                dot = _ellipse(x + 0.13 * (row % 2), y, 0.075 / pen.width, 0.075, corners=16)
                brush.polygon(pen.points(dot), fill=contrast)
    elif pattern != "Plain":
        bands: list[list[Point]] = [[(-2, y), (2, y), (2, y + 0.11), (-2, y + 0.11)] for y in steps]
        directions = [bands]
        if pattern == "Checked":
            directions.append([[(y, x) for x, y in band] for band in bands])
        for direction in directions:
            weave = Image.new("L", cloth.size)
            for band in direction:
                # Checks are woven: half as strong alone, full where two bands cross.
                strength = 255 if pattern == "Striped" else 140
                ImageDraw.Draw(weave).polygon(pen.points(band), fill=strength)
            cloth.paste(contrast, mask=weave)
    return ImageChops.multiply(cloth, _light())


@functools.cache
def _light() -> Image.Image:
    """White, a little darker toward the right."""
    light = Image.linear_gradient("L").rotate(90).point(lambda v: 255 - v * 0.22)
    light = light.resize((_CANVAS, _CANVAS))
    return Image.merge("RGB", (light, light, light))


def _blend(a: Color, b: Color, part: float) -> Color:
    red, green, blue = (round(x + (y - x) * part) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _backdrop(season: str, draw: random.Random) -> Image.Image:
    """The season's tint, darker toward the edges, with its emblem in one of the upper corners."""
    tint = _shade(BACKDROPS[season], draw.uniform(0.96, 1.04))
    picture = Image.new("RGB", (_CANVAS, _CANVAS), tint)
    picture.paste(_shade(tint, 0.84), mask=_vignette())
    pen = _Pen(
        x=_CANVAS * draw.choice((0.12, 0.88)),
        y=_CANVAS * draw.uniform(0.11, 0.15),
        size=_CANVAS * draw.uniform(0.085, 0.1),
        width=1,
        angle=math.radians(draw.uniform(-25, 25)),
    )
    _EMBLEMS[season](ImageDraw.Draw(picture), pen)
    return picture


@functools.cache
def _vignette() -> Image.Image:
    """How much darker a backdrop is toward its edges."""
    return Image.radial_gradient("L").resize((_CANVAS, _CANVAS)).point(lambda v: v * 0.5)


def _around(count: int, distance: float) -> list[Point]:
    return _ellipse(0, 0, distance, distance, corners=count)


def _flower(brush: ImageDraw.ImageDraw, pen: _Pen) -> None:
    for x, y in _around(5, 0.55):
        brush.polygon(pen.points(_ellipse(x, y, 0.42, 0.42)), fill=(236, 132, 164))
    brush.polygon(pen.points(_ellipse(0, 0, 0.36, 0.36)), fill=(250, 214, 90))


def _sun(brush: ImageDraw.ImageDraw, pen: _Pen) -> None:
    for near, far in zip(_around(8, 0.7), _around(8, 1.1), strict=True):
        brush.line(pen.points([near, far]), fill=(244, 160, 40), width=6)
    brush.polygon(pen.points(_ellipse(0, 0, 0.55, 0.55)), fill=(250, 184, 50))


def _leaf(brush: ImageDraw.ImageDraw, pen: _Pen) -> None:
    half = [(0, -1), (-0.38, -0.5), (-0.56, 0.05), (-0.34, 0.55), (0, 0.75)]
    brush.polygon(pen.points(_mirrored(half)), fill=(184, 84, 38))
    brush.line(pen.points([(0, -0.7), (0, 1.15)]), fill=(120, 50, 24), width=4)


def _snowflake(brush: ImageDraw.ImageDraw, pen: _Pen) -> None:
    tips = _around(6, 1)
    for x, y in tips:
        brush.line(pen.points([(0, 0), (x, y)]), fill=(96, 140, 196), width=5)
        for side in (-1, 1):
            branch = (0.8 * x - side * 0.3 * y, 0.8 * y + side * 0.3 * x)
            brush.line(pen.points([(0.5 * x, 0.5 * y), branch]), fill=(96, 140, 196), width=4)


_EMBLEMS: dict[str, Callable[[ImageDraw.ImageDraw, _Pen], None]] = {
    "Spring": _flower,
    "Summer": _sun,
    "Autumn": _leaf,
    "Winter": _snowflake,
}
