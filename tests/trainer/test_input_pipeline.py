"""Pictures are decoded alike everywhere; batches hold every product, in an order of the seed's."""

import io
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from schema.errors import UserError
from trainer import input_pipeline, picture_decoding, preprocessing


def encoded(pixels, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def batches_of(catalog, **changes):
    options = {
        "products": 144,
        "image_height": 32,
        "image_width": 24,
        "batch_size": 32,
        "seed": 1,
        "first_epoch": 0,
        "epochs": 2,
    }
    return [
        pictures.numpy()
        for pictures, _ in input_pipeline.training_batches(
            [catalog.pattern("train")], catalog.transform_output, **{**options, **changes}
        )
    ]


def test_labels_are_counted_without_decoding(catalog):
    counted = input_pipeline.count_labels([catalog.pattern("train")], catalog.transform_output)
    train = catalog.splits["train"]
    assert counted.products == len(train)
    for level, found in {
        "category": Counter(x.category for x in train),
        "subcategory": Counter(x.subcategory for x in train),
        "attributes": Counter(label for x in train for label in x.attributes),
    }.items():
        vocabulary = preprocessing.vocabulary(catalog.transform_output, level)
        assert counted.labels[level].tolist() == [found[label] for label in vocabulary]


def test_pairs_of_category_and_subcategory_are_counted(catalog):
    output = catalog.transform_output
    counted = input_pipeline.count_labels([catalog.pattern("train")], output)
    found = Counter((x.category, x.subcategory) for x in catalog.splits["train"])
    assert counted.pairs.tolist() == [
        [
            found[category, subcategory]
            for subcategory in preprocessing.vocabulary(output, "subcategory")
        ]
        for category in preprocessing.vocabulary(output, "category")
    ]


def test_labels_unknown_to_train_are_not_counted(catalog):
    counted = input_pipeline.count_labels([catalog.pattern("eval")], catalog.transform_output)
    assert counted.products == 48
    assert counted.labels["category"].sum() == counted.pairs.sum() == 47


def test_evaluation_batches_hold_every_product_with_its_labels(catalog):
    batches = input_pipeline.evaluation_batches(
        [catalog.pattern("eval")],
        catalog.transform_output,
        products=48,
        image_height=40,
        image_width=30,
        batch_size=20,
    )
    assert [len(pictures) for pictures, _ in batches] == [20, 20, 8]
    seen = {}
    for pictures, labels in batches:
        assert pictures.dtype == tf.uint8 and labels["attributes"].shape[1] == 3
        for picture, category in zip(pictures.numpy(), labels["category"].numpy(), strict=True):
            seen[picture.tobytes()] = category
    vocabulary = preprocessing.vocabulary(catalog.transform_output, "category")
    for product in catalog.splits["eval"][:-1]:
        picture = np.asarray(Image.open(io.BytesIO(product.image)))
        assert vocabulary[seen[picture.tobytes()]] == product.category


def test_training_batches_are_whole_and_hold_no_product_twice_in_an_epoch(catalog):
    batches = batches_of(catalog)
    assert [len(pictures) for pictures in batches] == [32] * 8
    assert input_pipeline.steps_per_epoch(144, 32) == 4
    first = {picture.tobytes() for pictures in batches[:4] for picture in pictures}
    assert len(first) == 4 * 32


def test_the_order_depends_on_seed_and_epoch_alone(catalog):
    batches = batches_of(catalog)
    np.testing.assert_array_equal(batches, batches_of(catalog))
    assert not np.array_equal(batches[:4], batches[4:])
    assert not np.array_equal(batches, batches_of(catalog, seed=2))


def test_a_training_that_begins_later_sees_what_an_uninterrupted_one_sees(catalog):
    np.testing.assert_array_equal(batches_of(catalog)[4:], batches_of(catalog, first_epoch=1))


def test_a_split_too_large_for_memory_is_decoded_anew_each_epoch(catalog, monkeypatch):
    monkeypatch.setattr(input_pipeline, "CACHE_LIMIT_BYTES", 0)
    batches = batches_of(catalog, batch_size=36)
    for epoch in (batches[:4], batches[4:]):
        assert len({picture.tobytes() for pictures in epoch for picture in pictures}) == 144


@pytest.mark.parametrize("global_seed", [0, 42])
def test_a_split_too_large_for_memory_is_shuffled_by_seed_and_epoch_too(
    catalog, monkeypatch, global_seed
):
    tf.random.set_seed(global_seed)
    monkeypatch.setattr(input_pipeline, "CACHE_LIMIT_BYTES", 0)
    batches = batches_of(catalog)
    np.testing.assert_array_equal(batches[4:], batches_of(catalog, first_epoch=1))
    assert not np.array_equal(batches[:4], batches[4:])
    assert not np.array_equal(batches, batches_of(catalog, seed=2))


@pytest.mark.parametrize("limit", [0, 2**30])
def test_each_picture_keeps_its_labels(catalog, monkeypatch, limit):
    monkeypatch.setattr(input_pipeline, "CACHE_LIMIT_BYTES", limit)
    vocabulary = preprocessing.vocabulary(catalog.transform_output, "category")
    known = {
        picture_decoding.decode_picture(product.image, 32, 24).numpy().tobytes(): product.category
        for product in catalog.splits["train"]
    }
    [(pictures, labels)] = input_pipeline.training_batches(
        [catalog.pattern("train")],
        catalog.transform_output,
        products=144,
        image_height=32,
        image_width=24,
        batch_size=144,
        seed=1,
        first_epoch=0,
        epochs=1,
    )
    for picture, category in zip(pictures.numpy(), labels["category"].numpy(), strict=True):
        assert known[picture.tobytes()] == vocabulary[category]


def test_fewer_products_than_a_batch_are_one_batch(catalog):
    assert [len(pictures) for pictures in batches_of(catalog, batch_size=500)] == [144, 144]


def test_a_catalog_without_attributes_has_batches_without_them(plain_catalog):
    batches = input_pipeline.evaluation_batches(
        [plain_catalog.pattern("eval")],
        plain_catalog.transform_output,
        products=10,
        image_height=8,
        image_width=8,
        batch_size=10,
    )
    _, labels = next(iter(batches))
    assert set(labels) == {"category", "subcategory"}


def test_missing_files_are_named(catalog):
    with pytest.raises(UserError, match="No Examples are at /nowhere"):
        input_pipeline.count_labels(["/nowhere/*"], catalog.transform_output)


def test_an_empty_split_is_named(catalog, tmp_path):
    path = str(tmp_path / "data_tfrecord-00000-of-00001.gz")
    with tf.io.TFRecordWriter(path, options="GZIP"):
        pass
    with pytest.raises(UserError, match="no product in .*data_tfrecord.*split.eval"):
        input_pipeline.count_labels([path], catalog.transform_output)


def test_an_epoch_has_each_product_as_often_as_it_is_to_be_drawn_in_the_mean():
    subcategories = np.array([0] * 90 + [1] * 10)

    def epochs(first, end):
        batches = input_pipeline.batches_in_memory(
            (np.arange(100), {"subcategory": subcategories}),
            products=100,
            batch_size=10,
            seed=3,
            first_epoch=first,
            epochs=end,
            draws=np.array([0.5, 5.5]),
        )
        drawn = np.stack([pictures for pictures, _ in batches.as_numpy_iterator()])
        return drawn.reshape(end - first, 100)

    drawn = epochs(0, 40)
    times = np.bincount(drawn.ravel(), minlength=100) / 40
    # 40 epochs of 45 in the mean, standard deviation 5 an epoch at most.
    assert times[:90].sum() == pytest.approx(45, abs=3)
    assert times[90:].sum() == pytest.approx(55, abs=3)
    assert times[:90].min() > 0 and 5 <= times[90:].min() <= times[90:].max() <= 6
    assert not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(epochs(7, 9), drawn[7:9])


@pytest.mark.parametrize("limit", [2**31, 0], ids=["in_memory", "read_anew"])
def test_subcategories_that_are_not_to_be_drawn_are_not(catalog, limit, monkeypatch):
    monkeypatch.setattr(input_pipeline, "CACHE_LIMIT_BYTES", limit)
    drawn = subcategories_of(catalog, draws=np.array([0, 1, 2, 0.5]), first_epoch=3, epochs=5)
    counts = np.bincount(drawn, minlength=4)
    assert counts.sum() == 288
    assert counts[0] == 0 and counts[3] < counts[1] < counts[2]


@pytest.mark.parametrize("limit", [2**31, 0], ids=["in_memory", "read_anew"])
def test_an_epoch_for_which_too_few_are_drawn_begins_with_them_anew(catalog, limit, monkeypatch):
    monkeypatch.setattr(input_pipeline, "CACHE_LIMIT_BYTES", limit)
    drawn = subcategories_of(catalog, draws=np.array([0, 0, 0, 1]), first_epoch=0, epochs=2)
    assert drawn.tolist() == [3] * 288


def test_a_product_whose_subcategory_is_unknown_is_drawn_once():
    batches = input_pipeline.batches_in_memory(
        (np.arange(6), {"subcategory": np.array([-1, 0, 1, -1, 0, 1])}),
        products=6,
        batch_size=3,
        seed=3,
        first_epoch=0,
        epochs=1,
        draws=np.array([0.0, 2.0]),
    )
    drawn = np.concatenate([pictures for pictures, _ in batches.as_numpy_iterator()])
    assert sorted(drawn) == [0, 2, 2, 3, 5, 5]


def subcategories_of(catalog, **changes):
    """The sub-categories of all products drawn, in epochs of four batches."""
    batches = input_pipeline.training_batches(
        [catalog.pattern("train")],
        catalog.transform_output,
        products=144,
        image_height=16,
        image_width=16,
        batch_size=36,
        seed=1,
        **changes,
    )
    assert len(batches) == 8
    return np.concatenate([labels["subcategory"] for _, labels in batches])


def test_a_split_is_kept_in_memory_up_to_two_gibibytes_of_pixels():
    # 2 ** 31 bytes / (120 x 120 x 3) = 49,710.3 pictures.
    assert input_pipeline._fits_in_memory(49_710, (120, 120))
    assert not input_pipeline._fits_in_memory(49_711, (120, 120))
    assert input_pipeline._fits_in_memory(1, (32_768, 21_845))
    assert not input_pipeline._fits_in_memory(1, (21_846, 32_768))


def shares(devices=2):
    return [input_pipeline.Share(rank, 2, devices) for rank in range(2)]


@pytest.mark.parametrize("limit", [2 * 2**30, 0])
def test_two_machines_shares_are_one_machines_batches(catalog, monkeypatch, limit):
    monkeypatch.setattr(input_pipeline, "CACHE_LIMIT_BYTES", limit)
    whole = batches_of(catalog)
    parts = [batches_of(catalog, share=share) for share in shares()]
    assert [len(part) for batch in zip(*parts, strict=True) for part in batch] == [16] * 16
    for batch, *of_batch in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(batch, np.concatenate(of_batch))


@pytest.mark.parametrize("limit", [2 * 2**30, 0])
@pytest.mark.parametrize("devices", [2, 10])
def test_shares_hold_every_product_once_by_weight(catalog, monkeypatch, limit, devices):
    monkeypatch.setattr(input_pipeline, "CACHE_LIMIT_BYTES", limit)

    def read(**share):
        return list(
            input_pipeline.evaluation_batches(
                [catalog.pattern("eval")],
                catalog.transform_output,
                **{"products": 48, "image_height": 32, "image_width": 24, "batch_size": 20},
                **share,
            )
        )

    whole = np.concatenate([pictures for pictures, _ in read()])
    batches = list(zip(*[read(share=share) for share in shares(devices)], strict=True))
    assert len(batches) == 3
    for batch in batches:
        # Each of a machine's devices gets as many.
        assert len({len(weights) for *_, weights in batch}) == 1
        assert len(batch[0][2]) % (devices // 2) == 0
    weights = np.concatenate([part[2] for batch in batches for part in batch])
    pictures = np.concatenate([part[0] for batch in batches for part in batch])
    labels = np.concatenate([part[1]["category"] for batch in batches for part in batch])
    np.testing.assert_array_equal(pictures[weights > 0], whole)
    np.testing.assert_array_equal(
        labels[weights > 0], np.concatenate([of["category"] for _, of in read()])
    )
    assert len(weights) == -(-48 // devices) * devices and len(set(weights[:48])) == 1
    assert weights.mean() == pytest.approx(1)
