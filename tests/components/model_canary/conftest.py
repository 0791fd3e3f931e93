"""Questions about colors, and models that answer them soundly or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from components.model_canary.canary import Question
from tests.serving import color_model

COLORS = {"red": (255, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 90)}


def _examples() -> list[tf.train.Example]:
    def feature(*values: str | bytes) -> tf.train.Feature:
        encoded = [value.encode() if isinstance(value, str) else value for value in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))

    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "id": feature(str(i)),
                    "image": feature(color_model.picture(*color, size=200)),
                    "category": feature(name),
                    "subcategory": feature(f"bright {name}"),
                    "attributes": feature(*["tone=bright", "season=Fall"][: i % 3]),
                    "color": feature(name),
                }
            )
        )
        for i, (name, color) in enumerate(COLORS.items())
    ]


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """The folder of an Examples artifact's test split, with the three colors."""
    folder = tmp_path / "examples" / "Split-test"
    folder.mkdir(parents=True)
    file = str(folder / "data_tfrecord-00000-of-00001.gz")
    with tf.io.TFRecordWriter(file, tf.io.TFRecordOptions("GZIP")) as writer:
        for example in _examples():
            writer.write(example.SerializeToString())
    return folder


@pytest.fixture
def questions() -> list[Question]:
    """The same three products."""
    return [
        Question(
            str(i),
            color_model.picture(*color, size=200),
            name,
            f"bright {name}",
            ("tone=bright", "season=Fall")[: i % 3],
            {"color": name},
        )
        for i, (name, color) in enumerate(COLORS.items())
    ]


@pytest.fixture
def candidate(tmp_path: Path) -> Callable[..., Path]:
    """Saves the color model, its answers changed."""

    def save(change: Callable[[dict], dict] = dict, extra_label: str = "") -> Path:
        class Changed(color_model.ColorModel):
            def answer(self, image_bytes):
                return change(color_model.ColorModel.answer(self, image_bytes))

        folder = tmp_path / "candidate"
        color_model.save(Changed(extra_label=extra_label), str(folder))
        return folder

    return save
