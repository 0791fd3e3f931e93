"""What happens beside the steps of a training: its figures, its randomness, its reports."""

import keras
import numpy as np
import pytest

from schema.errors import UserError
from trainer import callbacks
from trainer.callbacks import EpochReport, MeanOfLevels, RandomnessByEpoch, StopWithoutNumbers


def test_the_choosing_figure_is_the_mean_of_the_levels_eval_figures():
    logs = {
        "loss": 9.0,
        "category_accuracy": 0.1,
        "val_loss": 7.0,
        "val_category_loss": 3.0,
        "val_category_accuracy": 0.5,
        "val_subcategory_accuracy": 0.3,
        "val_attributes_f1": 0.7,
    }
    MeanOfLevels().on_epoch_end(0, logs)
    assert logs["val_mean"] == pytest.approx(0.5)


def test_a_loss_that_is_no_number_ends_the_training_with_advice():
    with pytest.raises(UserError, match="loss became nan in epoch 3.*training.learning_rate"):
        StopWithoutNumbers().on_epoch_end(2, {"loss": float("nan")})


def test_a_loss_that_is_a_number_ends_nothing():
    StopWithoutNumbers().on_epoch_end(2, {"loss": 1e30})


def test_an_epochs_randomness_depends_on_its_number_alone():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dropout(0.5, seed=7)])
    randomness = RandomnessByEpoch()
    randomness.set_model(model)
    drawn = {}
    for epoch in (0, 1, 2, 1):
        randomness.on_epoch_begin(epoch)
        masks = [np.asarray(model(np.ones((4, 8)), training=True)) for _ in range(2)]
        np.testing.assert_array_equal(masks, drawn.setdefault(epoch, masks))
    assert len({np.array(masks).tobytes() for masks in drawn.values()}) == 3


def test_an_epoch_is_told_of_once_a_second_by_its_part_that_is_done(monkeypatch):
    now, told = 50.0, []
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    report = EpochReport(lambda *what: told.append(what), epochs=9, steps=8)
    report.on_epoch_begin(3)
    for batch in range(8):
        report.on_train_batch_begin(batch)
        now += 0.5
    logs = {"loss": 2.0, "val_category_accuracy": 0.51239, "val_attributes_f1": 0.25}
    report.on_epoch_end(3, logs)
    assert told == [
        *(("epoch 4 of 9", 3 + batch / 8) for batch in (2, 4, 6)),
        ("epoch 4 of 9: category accuracy 0.512, attributes f1 0.250", 4),
    ]
