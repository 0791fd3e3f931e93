"""Measures how fast training gets its pictures, against two yardsticks in the same run.

    python benchmarks/input_pipeline.py                                 a drawn catalog
    python benchmarks/input_pipeline.py CONFIG --set catalog.folder=DIR  a catalog of your own

The yardsticks are a loop of scikit-image's `imread` and `resize` in float, and `tf.io.decode_jpeg`
and `tf.image.resize` alone, in parallel, on files in memory. scikit-image is no dependency of
Seamline; install it beside, and name the folder in PYTHONPATH:

    python -m pip install --no-deps --target DIR scikit-image imageio lazy-loader networkx tifffile

Prints one line a figure: the first epoch, with everything from opening the files on; later ones,
where pictures come from memory; and epochs of a catalog that is too large for that. All are
measured in turn, `--rounds` times, and the best of each counts. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks._prepared import parser, prepared
from trainer import input_pipeline
from trainer.options import SECTIONS, Options
from trainer.splits import Splits

import tensorflow as tf  # isort: skip

EPOCHS = 4
MOST_IN_LOOP = 500


def encoded_pictures(splits: Splits) -> list[bytes]:
    """The train split's picture files."""
    files = tf.io.gfile.glob(splits.train_files)
    spec = {"image": tf.io.FixedLenFeature([], tf.string)}
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return [tf.io.parse_single_example(record, spec)["image"].numpy() for record in records]


def scikit_image_loop(pictures: list[bytes], size: tuple[int, int]) -> float | None:
    """Pictures a second of what a notebook does; None where scikit-image is not installed."""
    try:
        from skimage.io import imread
        from skimage.transform import resize
    except ImportError:
        return None
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.jpg" for number in range(len(pictures))]
        for file, picture in zip(files, pictures, strict=True):
            file.write_bytes(picture)
        started = time.perf_counter()
        for file in files:
            resize(imread(file), size)
        return len(files) / (time.perf_counter() - started)


def decoding_alone(pictures: list[bytes], size: tuple[int, int], batch_size: int) -> float:
    """Pictures a second of decoding and resizing what is in memory, on all cores."""
    batches = (
        tf.data.Dataset.from_tensor_slices(pictures)
        .map(
            lambda file: tf.image.resize(tf.io.decode_jpeg(file, channels=3), size),
            tf.data.AUTOTUNE,
        )
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    started = time.perf_counter()
    for _ in batches:
        pass
    return len(pictures) / (time.perf_counter() - started)


def epochs(splits: Splits, options: Options) -> Iterator[float]:
    """Pictures a second of each epoch, what comes before the first one counted in."""
    steps = splits.steps_per_epoch(options)
    started = time.perf_counter()
    batches = iter(splits.training_batches(options, 0, EPOCHS))
    for _ in range(EPOCHS):
        seen = sum(len(pictures) for pictures, _ in islice(batches, steps))
        yield seen / (time.perf_counter() - started)
        started = time.perf_counter()


def main() -> None:
    arguments = parser(__doc__).parse_args()
    with prepared(arguments) as (config, splits):
        options = {name: getattr(config, name).model_dump() for name in SECTIONS}
        size = (config.model.image_height, config.model.image_width)
        pictures = encoded_pictures(splits)
        figures: dict[str, list[float]] = {"alone": [], "first": [], "later": [], "anew": []}
        loops: list[float] = []
        kept = input_pipeline.CACHE_LIMIT_BYTES
        for _ in range(arguments.rounds):
            figures["alone"].append(decoding_alone(pictures, size, config.training.batch_size))
            first, *later = epochs(splits, options)
            figures["first"].append(first)
            figures["later"] += later
            input_pipeline.CACHE_LIMIT_BYTES = 0
            figures["anew"] += epochs(splits, options)
            input_pipeline.CACHE_LIMIT_BYTES = kept
            if measured := scikit_image_loop(pictures[:MOST_IN_LOOP], size):
                loops.append(measured)

    print(f"{len(pictures):,} pictures, to {size[0]}x{size[1]}")
    alone = max(figures["alone"])
    print(f"decode_jpeg and resize alone: {alone:,.0f} pictures/s, a yardstick")
    loop = max(loops, default=None)
    if loop:
        print(f"scikit-image loop: {loop:,.0f} pictures/s, a yardstick")
    else:
        print("scikit-image loop: not measured, scikit-image is not installed (see --help)")
    for name, figure in (
        ("first epoch, decoded into memory, from a cold start", "first"),
        ("later epochs, from memory", "later"),
        ("any epoch, decoded as of a split too large for memory", "anew"),
    ):
        speed = max(figures[figure])
        times = f", {speed / loop:,.1f} times the loop" if loop else ""
        print(f"{name}: {speed:,.0f} pictures/s, {speed / alone:.2f} of decoding alone{times}")


if __name__ == "__main__":
    main()
