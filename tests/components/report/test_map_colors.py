"""The map's colors can be told apart by all who see, and from the page, light or dark.

How those see who lack a kind of cones is simulated as Machado, Oliveira and Fernandes 2009 do
("A Physiologically-based Model for Simulation of Color Vision Deficiency", table 1, severity 1).
"""

import re

import numpy as np
import pytest

from components.report.page import BROWSER
from serving.search.blocks import cielab

SIGHT = {
    "all cones": np.eye(3),
    "no red ones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green ones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue ones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def colors(scheme):
    style = (BROWSER / "page.css").read_text("utf-8")
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    found = re.findall(r"--(map-\w+|surface): #(\w{6});", dark if scheme == "dark" else light)
    return {name: [int(value[at : at + 2], 16) for at in (0, 2, 4)] for name, value in found}


def linear(color):
    part = np.array(color) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def seen(of, sight):
    light = np.clip(np.array(SIGHT[sight]) @ linear(of), 0, 1)
    low, high = 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    return cielab(np.rint(255 * np.where(light <= 0.0031308, low, high))[None])[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_no_two_colors_are_alike_to_anybody(scheme, sight):
    of = {name: seen(color, sight) for name, color in colors(scheme).items() if "map" in name}
    assert len(of) == 8
    names = sorted(set(of) - {"map-rest"})
    for place, name in enumerate(names):
        for other in names[:place]:
            assert np.linalg.norm(of[name] - of[other]) > 30, (name, other)
        # What shares a color stays behind the others, and is smaller besides.
        assert np.linalg.norm(of[name] - of["map-rest"]) > 10, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_stands_out_from_the_page_as_wcag_asks(scheme):
    of = {name: linear(color) @ [0.2126, 0.7152, 0.0722] for name, color in colors(scheme).items()}
    surface = of.pop("surface")
    for name, light in of.items():
        dark, bright = sorted([light, surface])
        assert (bright + 0.05) / (dark + 0.05) >= 3, name
