"""The colors of a file of Examples' pictures, which no model changes: counted once, then read."""

from __future__ import annotations

import numpy as np

from components.parts import Mark, Part, examples_of
from components.storage import created_whole
from schema import features
from schema.picture_figures import opened, upright_rgb
from serving.search.blocks import COLORS, color_block


def count_colors(part: Part, mark: Mark) -> None:
    """Writes the blocks of colors of a part's pictures, float16 (N, COLORS), in their order."""
    made = []
    for example in examples_of(part.examples):
        picture = example.features.feature[features.IMAGE].bytes_list.value[0]
        made.append(color_block(upright_rgb(opened(picture))).astype(np.float16))
        mark()
    with created_whole(part.output) as file:
        np.save(file, np.reshape(np.array(made, np.float16), (len(made), COLORS)))
