"""Examples on disk to batches of pictures and labels."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schema import features
from schema.errors import UserError
from trainer import preprocessing
from trainer.label_space import LabelCounts
from trainer.picture_decoding import decode_picture

CACHE_LIMIT_BYTES = 2 * 2**30
"""Decoded pictures of a split are kept in memory up to this size, and decoded anew above it."""

_SHUFFLED_AT_ONCE = 4096
"""Examples, of a split too large to be kept, among which the next one is drawn."""

_DECODED_AT_ONCE = 64
_PREFETCHED = 2

WITHOUT_TUNER = tf.data.Options()
"""TensorFlow's tuner sleeps longer and longer, up to a minute, and who is done with a dataset waits
until it wakes."""
WITHOUT_TUNER.autotune.enabled = False


@dataclasses.dataclass(frozen=True)
class Share:
    """What one machine reads of every batch.

    Attributes:
        rank: The machine's number, from 0.
        machines: How many there are.
        devices: Devices of all machines together, over which every batch can be divided.
    """

    rank: int = 0
    machines: int = 1
    devices: int = 1

    def of(self, batch):
        """This machine's part of a batch, which all machines put together alike."""
        if self.machines == 1:
            return batch

        @tf.autograph.experimental.do_not_convert
        def part(rows):
            size = tf.shape(rows)[0] // self.machines
            return rows[self.rank * size : (self.rank + 1) * size]

        return tf.nest.map_structure(part, batch)

    def divisible(self, number: int) -> int:
        """The next number that can be divided over the devices."""
        return -(-number // self.devices) * self.devices


ALL = Share()
"""The share of who is alone."""


def count_labels(
    file_patterns: Sequence[str], transform_output: tft.TFTransformOutput
) -> LabelCounts:
    """Counts a split's labels in one pass that leaves the pictures undecoded.

    Raises:
        UserError: no file matches the patterns, or the split has no product.
    """
    vocabularies = preprocessing.vocabularies(transform_output)
    sizes = {level: len(labels) for level, labels in vocabularies.items()}
    parse = _label_parser(transform_output)
    counts = {level: np.zeros(size, np.int64) for level, size in sizes.items()}
    pairs = np.zeros((sizes[features.CATEGORY], sizes[features.SUBCATEGORY]), np.int64)
    products = 0
    for labels in _serialized(_files(file_patterns)).batch(1024).map(parse).prefetch(_PREFETCHED):
        products += len(labels[features.CATEGORY])
        for level in sizes.keys() - {features.ATTRIBUTES}:
            indices = labels[level].numpy()
            counts[level] += np.bincount(indices[indices >= 0], minlength=sizes[level])
        both = np.stack([labels[features.CATEGORY], labels[features.SUBCATEGORY]])
        np.add.at(pairs, tuple(both[:, (both >= 0).all(axis=0)]), 1)
        counts[features.ATTRIBUTES] += labels[features.ATTRIBUTES].numpy().sum(0).astype(np.int64)
    if not products:
        raise UserError(
            f"There is no product in {', '.join(file_patterns)}. Give the catalog more products, "
            "or a larger part to this split (split.eval, split.test)."
        )
    return LabelCounts(products, counts, pairs)


def training_batches(
    file_patterns: Sequence[str],
    transform_output: tft.TFTransformOutput,
    *,
    products: int,
    image_height: int,
    image_width: int,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    draws: np.ndarray | None = None,
    share: Share = ALL,
) -> tf.data.Dataset:
    """The train split over and over, in an order that depends on seed and epoch alone.

    Products that fill no whole batch at the end of an epoch are left out of it, others each time.

    Args:
        file_patterns: Globs of gzipped TFRecord files of Examples.
        transform_output: The Transform graph.
        products: Number of products in the files.
        image_height: Height in pixels that pictures are resized to.
        image_width: Width in pixels.
        batch_size: Products in a batch.
        seed: Seed of the order.
        first_epoch: Epoch to begin with, counted from 0: a resumed training sees what an
            uninterrupted one sees.
        epochs: Epoch to end before.
        draws: How often an epoch has each product of a sub-category, in the mean, float (C2); None
            for once each. Epochs are as long in any case.
        share: What of each batch is read here.

    Returns:
        Dataset of `steps_per_epoch(products, batch_size)` batches an epoch, each of pictures uint8
        (N, image_height, image_width, 3) and a dict of labels, see `evaluation_batches`.
    """
    size = (image_height, image_width)
    files = _files(file_patterns)
    if _fits_in_memory(products, size):
        return batches_in_memory(
            _in_memory(_serialized(files), transform_output, products, size),
            products=products,
            batch_size=batch_size,
            seed=seed,
            first_epoch=first_epoch,
            epochs=epochs,
            draws=draws,
            share=share,
        )
    batch_size = min(batch_size, products)
    steps = steps_per_epoch(products, batch_size)
    parse = _label_parser(transform_output)

    def drawn(serialized, epoch):
        """Examples in a row as many times as each was drawn."""

        def repeated(number, some):
            seeds = tf.random.experimental.stateless_fold_in((seed, epoch), number)
            return tf.repeat(some, _copies(parse(some)[features.SUBCATEGORY], draws, seeds))

        return serialized.batch(_DECODED_AT_ONCE).enumerate().map(repeated).unbatch()

    def examples(epoch):
        serialized = _serialized(files.shuffle(len(files), seed=seed + epoch))
        if draws is not None:
            serialized = drawn(serialized, epoch)
        shuffled = serialized.shuffle(_SHUFFLED_AT_ONCE, seed=seed + epoch)
        if draws is not None:
            # The number of draws is the number of products only in the mean.
            shuffled = shuffled.repeat()
        return shuffled.batch(batch_size, drop_remainder=True).take(steps)

    # One dataset an epoch, put together here: in a graph of TensorFlow's own, where the epoch would
    # be a tensor, `shuffle` fails if the global seed is 0.
    datasets = [examples(epoch) for epoch in range(first_epoch, epochs)]
    return (
        functools.reduce(tf.data.Dataset.concatenate, datasets)
        .map(share.of)
        .map(_reader(transform_output, size), tf.data.AUTOTUNE)
        .apply(tf.data.experimental.assert_cardinality((epochs - first_epoch) * steps))
        .prefetch(_PREFETCHED)
        .with_options(WITHOUT_TUNER)
    )


def batches_in_memory(
    kept: tuple[tf.Tensor | np.ndarray, dict[str, tf.Tensor | np.ndarray]],
    *,
    products: int,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    draws: np.ndarray | None = None,
    share: Share = ALL,
) -> tf.data.Dataset:
    """As `training_batches`, of pictures, or what stands for them, and labels in memory.

    Args:
        kept: Pictures (products, ...) and the dict of labels.
        products: Number of products.
        batch_size: Products in a batch.
        seed: Seed of the order.
        first_epoch: Epoch to begin with, counted from 0.
        epochs: Epoch to end before.
        draws: See `training_batches`.
        share: What of each batch is read here.
    """
    batch_size = min(batch_size, products)
    steps = steps_per_epoch(products, batch_size)
    kept = tf.nest.map_structure(tf.convert_to_tensor, kept)

    @tf.autograph.experimental.do_not_convert
    def order(epoch):
        places = tf.range(products)
        if draws is not None:
            copies = _copies(kept[1][features.SUBCATEGORY], draws, (seed, epoch))
            places = tf.repeat(places, copies)
        places = tf.random.experimental.stateless_shuffle(places, (seed, epoch))
        # The number of draws is the number of products only in the mean.
        wanted = tf.range(steps * batch_size) % tf.size(places)
        return tf.reshape(tf.gather(places, wanted), (steps, batch_size))

    return (
        tf.data.Dataset.range(first_epoch, epochs)
        .map(order)
        .unbatch()
        .map(
            lambda places: tf.nest.map_structure(lambda x: tf.gather(x, share.of(places)), kept),
            tf.data.AUTOTUNE,
        )
        .apply(tf.data.experimental.assert_cardinality((epochs - first_epoch) * steps))
        .prefetch(_PREFETCHED)
        .with_options(WITHOUT_TUNER)
    )


def _copies(subcategories: tf.Tensor, draws: np.ndarray, seeds) -> tf.Tensor:
    """How often each of some products is drawn in one epoch, int32 (N), from its sub-category."""
    expected = tf.gather(tf.constant(draws, tf.float32), tf.maximum(subcategories, 0))
    expected = tf.where(subcategories < 0, 1.0, expected)
    tosses = tf.random.stateless_uniform(tf.shape(subcategories), seeds)
    return tf.cast(tf.floor(expected + tosses), tf.int32)


def steps_per_epoch(products: int, batch_size: int) -> int:
    """Batches of an epoch of `training_batches`."""
    return max(1, products // batch_size)


def evaluation_batches(
    file_patterns: Sequence[str],
    transform_output: tft.TFTransformOutput,
    *,
    products: int,
    image_height: int,
    image_width: int,
    batch_size: int,
    share: Share = ALL,
) -> tf.data.Dataset:
    """A split once, in the order of its files, every product of it.

    Args:
        file_patterns: Globs of gzipped TFRecord files of Examples.
        transform_output: The Transform graph.
        products: Number of products in the files.
        image_height: Height in pixels that pictures are resized to.
        image_width: Width in pixels.
        batch_size: Products in a batch; the last may have fewer.
        share: What of each batch is read here.

    Returns:
        Dataset of pictures uint8 (N, image_height, image_width, 3) and a dict of labels:
        `category`, `subcategory` and the extra labels int64 (N), negative for unknown, and, where
        the catalog has attributes, `attributes` float32 (N, A). Of several machines' shares weights
        as well, float32 (N): 0 for products that are there again to make a batch divisible, and for
        the others what makes the mean over all of them 1.
    """
    size = (image_height, image_width)
    serialized = _serialized(_files(file_patterns))
    if _fits_in_memory(products, size):
        return evaluation_in_memory(
            _in_memory(serialized, transform_output, products, size), batch_size, share
        )
    read = _reader(transform_output, size)
    batches = _in_order(serialized, products, batch_size, share)
    if share.machines == 1:
        batches = batches.map(read, tf.data.AUTOTUNE)
    else:
        batches = batches.map(
            lambda examples, weights: (*read(examples), weights), tf.data.AUTOTUNE
        )
    # Keras averages losses wrongly over a dataset whose length it must find out.
    length = tf.data.experimental.assert_cardinality(-(-share.divisible(products) // batch_size))
    return batches.apply(length).prefetch(_PREFETCHED).with_options(WITHOUT_TUNER)


def evaluation_in_memory(
    kept: tuple[tf.Tensor | np.ndarray, dict[str, tf.Tensor | np.ndarray]],
    batch_size: int,
    share: Share = ALL,
) -> tf.data.Dataset:
    """As `evaluation_batches`, of pictures, or what stands for them, and labels in memory.

    Args:
        kept: Pictures (products, ...) and the dict of labels.
        batch_size: Products in a batch; the last may have fewer.
        share: What of each batch is read here.
    """
    # Without what decodes them: TensorFlow would prepare that anew for every iterator, which over
    # several devices takes seconds an epoch.
    batches = _in_order(tf.data.Dataset.from_tensor_slices(kept), len(kept[0]), batch_size, share)
    if share.machines > 1:
        batches = batches.map(lambda example, weights: (*example, weights))
    return batches.prefetch(_PREFETCHED).with_options(WITHOUT_TUNER)


def _in_order(
    examples: tf.data.Dataset, products: int, batch_size: int, share: Share
) -> tf.data.Dataset:
    """Batches of examples, and, of several machines' shares, of their weights."""
    if share.machines == 1:
        return examples.batch(batch_size)
    filled = share.divisible(products)
    # Keras takes means over all that is in a batch.
    weight = filled / products
    weights = tf.data.Dataset.range(filled).map(
        lambda place: weight * tf.cast(place < products, tf.float32)
    )
    both = tf.data.Dataset.zip((examples.repeat().take(filled), weights))
    return both.batch(batch_size).map(lambda *batch: share.of(batch))


def parse_labels(
    serialized: tf.Tensor, transform_output: tft.TFTransformOutput
) -> dict[str, tf.Tensor]:
    """The raw labels of serialized Examples (N), as the Transform graph takes them."""
    return tf.io.parse_example(serialized, _label_spec(transform_output))


def transformed_labels(
    raw_labels: dict[str, tf.Tensor], transform_layer, attribute_count: int
) -> dict[str, tf.Tensor]:
    """Applies the Transform graph's layer; the names of the results are `transformed_label(level)`.

    The attributes come (N, attribute_count), also when that is 0, where the graph itself gives one
    column for the placeholder of an empty vocabulary.
    """
    labels = dict(transform_layer(raw_labels))
    name = features.transformed_label(features.ATTRIBUTES)
    labels[name] = tf.ensure_shape(labels[name][:, :attribute_count], (None, attribute_count))
    return labels


def _label_spec(transform_output: tft.TFTransformOutput) -> dict:
    spec = transform_output.raw_feature_spec()
    return {level: spec[level] for level in preprocessing.levels(transform_output)}


def _label_parser(transform_output: tft.TFTransformOutput):
    levels = preprocessing.levels(transform_output)
    attribute_count = len(preprocessing.vocabulary(transform_output, features.ATTRIBUTES))
    layer = transform_output.transform_features_layer()

    @tf.autograph.experimental.do_not_convert
    def parse(serialized):
        labels = transformed_labels(
            parse_labels(serialized, transform_output), layer, attribute_count
        )
        return {level: labels[features.transformed_label(level)] for level in levels}

    return parse


def _reader(transform_output: tft.TFTransformOutput, size: tuple[int, int]):
    """Maps serialized Examples (N) to pictures and labels.

    The pictures of a batch are decoded one after another: batches are read in parallel, and a task
    of its own for every small picture would cost as much as decoding it.
    """
    parse = _label_parser(transform_output)
    image_spec = {features.IMAGE: tf.io.FixedLenFeature([], tf.string)}

    @tf.autograph.experimental.do_not_convert
    def read(serialized):
        labels = parse(serialized)
        if not labels[features.ATTRIBUTES].shape[1]:
            del labels[features.ATTRIBUTES]
        pictures = tf.map_fn(
            lambda encoded: decode_picture(encoded, *size),
            tf.io.parse_example(serialized, image_spec)[features.IMAGE],
            fn_output_signature=tf.TensorSpec((*size, 3), tf.uint8),
            parallel_iterations=1,
        )
        return pictures, labels

    return read


def _in_memory(
    serialized: tf.data.Dataset,
    transform_output: tft.TFTransformOutput,
    products: int,
    size: tuple[int, int],
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """All pictures, uint8 (products, height, width, 3), and labels of a split, decoded."""
    batches = (
        serialized.batch(_DECODED_AT_ONCE)
        .map(_reader(transform_output, size), tf.data.AUTOTUNE)
        .rebatch(products)
        .with_options(WITHOUT_TUNER)
    )
    # They may be too much for a GPU, and batches are made on the CPU anyway. By an iterator: for
    # `get_single_element` TensorFlow does not look for a dataset's better form.
    with tf.device("CPU"):
        return next(iter(batches))


def _files(file_patterns: Sequence[str]) -> tf.data.Dataset:
    files = sorted(file for pattern in file_patterns for file in tf.io.gfile.glob(pattern))
    if not files:
        raise UserError(
            f"No Examples are at {', '.join(file_patterns)}. Run the pipeline again from its first "
            "step; artifacts of an earlier run may have been deleted by hand."
        )
    return tf.data.Dataset.from_tensor_slices(files)


def _serialized(files: tf.data.Dataset) -> tf.data.Dataset:
    return files.interleave(
        lambda file: tf.data.TFRecordDataset(file, compression_type="GZIP"),
        # A number of our own, because TensorFlow's depends on the machine, and the order on it.
        cycle_length=4,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _fits_in_memory(products: int, size: tuple[int, int]) -> bool:
    return products * size[0] * size[1] * 3 <= CACHE_LIMIT_BYTES
