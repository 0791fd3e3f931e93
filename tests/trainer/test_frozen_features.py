"""Features that are computed once stand for the pictures, and are read again after a kill."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from trainer.fitting import compiled_for_training
from trainer.frozen_features import FrozenFeatures
from trainer.input_pipeline import ALL
from trainer.network import network
from trainer.options import override
from trainer.splits import Splits
from trainer.stages import stages_of
from trainer.training_model import backbone_of

PLAIN_PICTURES = {
    f"augmentation.{change}_probability": 0
    for change in ("flip", "contrast", "brightness", "geometry")
}


@pytest.fixture(scope="module")
def splits(catalog, tmp_path_factory):
    return Splits.read(catalog.fn_args(tmp_path_factory.mktemp("splits")))


def test_on_features_the_heads_learn_what_they_learn_on_unchanged_pictures(
    splits, options_with, tmp_path
):
    options = override(
        options_with(training__frozen_epochs=3, training__epochs=3, model__dropout=0),
        PLAIN_PICTURES,
    )
    (stage,) = stages_of(options)
    model = network(options, splits.labels)
    on_features = compiled_for_training(model, options, splits, stage)
    told = []
    found = FrozenFeatures(backbone_of(model), splits, options, tmp_path, report=told.append)
    assert told == [
        *(f"features of the train pictures, batch {number} of 3" for number in (1, 2, 3)),
        "features of the eval pictures, batch 1 of 1",
    ]
    expected = on_features.evaluate(found.evaluation_batches(options), verbose=0, return_dict=True)
    on_pictures = compiled_for_training(
        model, options, splits, dataclasses.replace(stage, on_features=False)
    )
    loss = on_pictures.evaluate(splits.evaluation_batches(options), verbose=0, return_dict=True)
    assert loss == pytest.approx(expected, rel=1e-4)

    # What was computed once is read from then on.
    kept = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert set(kept) == {"train.npz", "eval.npz"}
    again = FrozenFeatures(None, splits, options, tmp_path, report=None)
    for one, other in zip(
        again.training_batches(options, 1, 2), found.training_batches(options, 1, 2), strict=True
    ):
        np.testing.assert_array_equal(one[0], other[0])


def test_features_in_16_bits_are_read_again_after_a_kill(splits, options_with, tmp_path):
    options = options_with(training__frozen_epochs=1, training__mixed_precision=True)
    backbone = backbone_of(network(options, splits.labels))
    assert backbone.compute_dtype in ("bfloat16", "float16")
    found, again = (
        FrozenFeatures(of, splits, options, tmp_path, report=lambda message: None)
        for of in (backbone, None)
    )
    for one, other in zip(
        found.evaluation_batches(options), again.evaluation_batches(options), strict=True
    ):
        np.testing.assert_array_equal(one[0], other[0])


def test_levels_may_be_called_as_anything_that_is_kept_or_keeps(tmp_path, options_with):
    levels = ("category", "file", "features", "levels", "allow_pickle", "arr_1")
    labels = {level: np.arange(5) + place for place, level in enumerate(levels)}
    pictures = np.arange(5, dtype=np.float32)[:, np.newaxis]

    class Drawn:
        """Splits whose pictures are numbers."""

        share = ALL

        def once(self, name, options):
            return tf.data.Dataset.from_tensor_slices((pictures, labels)).batch(2)

        def evaluation_batch_size(self, options):
            return 5

    def doubled(pictures, training):
        return 2 * pictures

    options = options_with()
    for backbone in (doubled, None):
        found = FrozenFeatures(backbone, Drawn(), options, tmp_path, report=lambda message: None)
        ((features, of_levels),) = found.evaluation_batches(options)
        np.testing.assert_array_equal(features, 2 * pictures)
        assert of_levels.keys() == labels.keys()
        for level in levels:
            np.testing.assert_array_equal(of_levels[level], labels[level])
