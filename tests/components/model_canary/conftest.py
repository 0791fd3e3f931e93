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
            example.SerializeToString(),
        )
        for i, ((name, color), example) in enumerate(zip(COLORS.items(), _examples(), strict=True))
    ]


class Candidate(color_model.ColorModel):
    """The color model with the signatures that are asked besides, its answers changed."""

    def __init__(
        self,
        change: Callable[[dict], dict] = dict,
        judged: Callable[[dict], dict] = dict,
        explained: Callable[[dict], dict] = dict,
        extra_label: str = "",
    ):
        super().__init__(extra_label=extra_label)
        self._change, self._judged, self._explained = change, judged, explained

    @property
    def signatures(self):
        """What is exported."""
        return {
            **super().signatures,
            "evaluate": self.evaluate,
            "transform_labels": self.transform_labels,
            "explain": self.explain,
        }

    def _answers(self, table):
        return self._change(super()._answers(table))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def evaluate(self, examples):
        """The scores of Examples."""
        answers = self._judged(self.answer(_pictures(examples)))
        levels = {name for name in answers if f"{name}_scores" in answers}
        return {
            **{level: answers[f"{level}_scores"] for level in levels},
            "attributes": answers["attribute_scores"],
            **({"embedding": answers["embedding"]} if "embedding" in answers else {}),
        }

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, of) for of in ("image_bytes", "label")]
    )
    def explain(self, image_bytes, label):
        """Every quarter of a picture adds a quarter."""
        answers = self.answer(image_bytes)
        embedding = answers.get("embedding", answers["category_scores"])
        quarters = tf.tile(embedding[:, None, None] / 4, [1, 2, 2, 1])
        count = tf.shape(quarters)[0]
        maps = tf.cast(tf.strings.length(label), tf.float32)[:, None, None]
        label_map = tf.zeros([count, 2, 2]) + maps
        told = {"embedding": embedding, "regions": quarters, "label_map": label_map}
        return self._explained(told)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def transform_labels(self, examples):
        """Something for every Example."""
        return {"category_label": tf.strings.length(_pictures(examples))}


def _pictures(examples):
    spec = {"image": tf.io.FixedLenFeature([], tf.string)}
    return tf.io.parse_example(examples, spec)["image"]


@pytest.fixture
def candidate(tmp_path: Path) -> Callable[..., Path]:
    """Saves the color model, its answers changed."""

    def save(*changes: Callable[[dict], dict], **options) -> Path:
        folder = tmp_path / "candidate"
        color_model.save(Candidate(*changes, **options), str(folder))
        return folder

    return save
