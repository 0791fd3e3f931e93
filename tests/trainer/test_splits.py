"""Two splits: in which order they are learned, and how many products at a time."""

import numpy as np
import pytest

from trainer import input_pipeline
from trainer.input_pipeline import ALL
from trainer.label_space import LabelCounts
from trainer.splits import Splits


@pytest.fixture(scope="module")
def splits(catalog, tmp_path_factory):
    return Splits.read(catalog.fn_args(tmp_path_factory.mktemp("splits")))


def sized(train=144, evaluated=48, subcategories=(1,)):
    """Splits without files."""
    counts = [
        LabelCounts(products, {"subcategory": np.array(subcategories)}, np.zeros((1, 1)))
        for products in (train, evaluated)
    ]
    return Splits([], [], None, {}, *counts)


@pytest.mark.parametrize(
    ("exponent", "expected"), [(1, [28, 28, 28, 0]), (0.5, [48, 24, 12, 0]), (0, [64, 16, 4, 0])]
)
def test_balanced_sampling_draws_by_the_power_of_a_subcategorys_size(
    options_with, exponent, expected
):
    options = options_with(
        training__imbalance="balanced_sampling", training__sampling_exponent=exponent
    )
    counts = np.array([64, 16, 4, 0])
    draws = sized(subcategories=counts).order(options, 0, 1)["draws"]
    np.testing.assert_allclose(draws * counts, expected, rtol=1e-6)


def test_without_balanced_sampling_every_product_is_learned_once_an_epoch(options_with):
    options = options_with(training__imbalance="focal", training__seed=5)
    assert sized(train=100).order(options, 2, 7) == {
        "products": 100,
        "batch_size": 48,
        "seed": 5,
        "first_epoch": 2,
        "epochs": 7,
        "draws": None,
        "share": ALL,
    }


@pytest.mark.parametrize(
    ("batch_size", "products", "expected"),
    [
        # At least 64, at most all there are, and a multiple of 8 where there are more than 8.
        (16, 1000, 64),
        (64, 1000, 64),
        (100, 1000, 96),
        (128, 1000, 128),
        (128, 50, 48),
        (16, 48, 48),
        (16, 9, 8),
        (16, 8, 8),
        (16, 7, 7),
        (16, 1, 1),
    ],
)
def test_evaluation_batches_can_be_divided_among_devices(
    options_with, batch_size, products, expected
):
    options = options_with(training__batch_size=batch_size)
    assert sized(evaluated=products).evaluation_batch_size(options) == expected


@pytest.mark.parametrize(("products", "steps"), [(144, 3), (100, 2), (48, 1), (7, 1)])
def test_an_epoch_has_the_batches_that_its_products_fill(options_with, products, steps):
    assert sized(train=products).steps_per_epoch(options_with()) == steps


@pytest.mark.parametrize(("name", "batches"), [("train", 3), ("eval", 1)])
def test_a_split_once_has_all_of_its_products(splits, options_with, read_anew, name, batches):
    options = options_with(model__image_height=20, model__image_width=12)
    found = splits.once(name, options)
    # At most 48 at a time, as many as eval has.
    assert len(found) == batches
    pictures, _ = found.element_spec
    assert pictures.shape == (None, 20, 12, 3)


def test_who_asks_again_for_the_eval_split_gets_what_was_read_before(
    splits, options_with, read_anew
):
    asked = splits.evaluation_batches(options_with())
    assert splits.evaluation_batches(options_with()) is asked
    wider = splits.evaluation_batches(options_with(model__image_width=24))
    assert wider is not asked
    assert wider.element_spec[0].shape[1:] == (16, 24, 3)


def test_training_batches_are_as_large_and_as_many_as_the_options_say(
    splits, options_with, read_anew
):
    batches = splits.training_batches(options_with(training__batch_size=40), 1, 4)
    assert len(batches) == 3 * 3
    assert batches.element_spec[0].shape == (40, 16, 16, 3)


@pytest.fixture
def read_anew(monkeypatch):
    """Nothing is decoded before somebody asks for a batch."""
    monkeypatch.setattr(input_pipeline, "CACHE_LIMIT_BYTES", 0)


def test_a_splits_counts_are_of_its_own_files(splits):
    assert (splits.train.products, splits.eval.products) == (144, 48)
    assert "/Split-train/" in splits.train_files[0] and "/Split-eval/" in splits.eval_files[0]
