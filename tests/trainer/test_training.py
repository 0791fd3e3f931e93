"""run_fn trains, writes what it should, goes on after a kill, and repeats itself by its seed."""

import json
import logging
import logging.handlers
import re
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from trainer import resumable_state, training
from trainer.callbacks import EpochReport
from trainer.network import network
from trainer.options import override
from trainer.resumable_state import ResumableState
from trainer.splits import Splits
from trainer.warm_start import warm_start


def without_times(epochs):
    return [{key: value for key, value in x.items() if key != "seconds"} for x in epochs]


@pytest.fixture(scope="module")
def trained(catalog, tmp_path_factory):
    """Folder of a finished training of 3 epochs."""
    folder = tmp_path_factory.mktemp("trained")
    training.run_fn(catalog.fn_args(folder))
    return folder


@pytest.fixture(scope="module")
def otherwise_trained(catalog, tmp_path_factory):
    """Folder of a training with tuned options and without what can be left out; what it told."""
    folder = tmp_path_factory.mktemp("otherwise")
    tuned = keras_tuner.HyperParameters()
    tuned.Fixed("model.dense_units", 16)
    tuned.Fixed("tuner/epochs", 99)
    fn_args = changed(catalog.fn_args(folder), "training", epochs=2, calibrate=False)
    fn_args = changed(fn_args, "model", joint_decoding=False)
    fn_args.hyperparameters = tuned.get_config()
    told = logging.handlers.BufferingHandler(1_000_000)
    progress = logging.getLogger("seamline.progress")
    level = progress.level
    progress.setLevel(logging.INFO)
    progress.addHandler(told)
    try:
        training.run_fn(fn_args)
    finally:
        progress.removeHandler(told)
        progress.setLevel(level)
    return folder, told.buffer


def changed(fn_args, section, **options):
    config = dict(fn_args.custom_config)
    config[section] = {**config[section], **options}
    fn_args.custom_config = config
    return fn_args


def test_a_saved_model_a_keras_file_logs_and_a_history_come_out(trained):
    assert (trained / "serving" / "saved_model.pb").is_file()
    assert (trained / "Format-Keras" / "model.keras").is_file()
    assert list((trained / "run").rglob("events.out.tfevents.*"))
    assert (trained / "run" / "history.json").is_file()


def test_the_history_tells_of_every_epoch_and_of_what_was_trained(trained, history):
    told = history(trained)
    assert [x["epoch"] for x in told["epochs"]] == [1, 2, 3]
    assert told["train_products"] == 144 and told["eval_products"] == 48
    assert told["stopped_early"] is False
    assert told["hyperparameters"]["training.batch_size"] == 16
    assert told["hyperparameters"]["augmentation.shift"] == 0.0625
    model = keras.models.load_model(trained / "Format-Keras" / "model.keras")
    assert told["parameters"] == model.count_params()
    for epoch in told["epochs"]:
        figures = [epoch[f"val_{x}"] for x in ("category_accuracy", "subcategory_accuracy")]
        mean = np.mean([*figures, epoch["val_attributes_f1"]])
        assert epoch["val_mean"] == pytest.approx(mean)
        assert epoch["seconds"] > 0


def test_the_loss_falls(trained, history):
    losses = [x["loss"] for x in history(trained)["epochs"]]
    assert losses[-1] < losses[0]


def test_the_served_model_is_the_one_of_the_best_epoch(trained, catalog, history):
    told = history(trained)
    best = max(told["epochs"], key=lambda x: x["val_mean"])
    assert told["best_epoch"] == best["epoch"]
    served = tf.saved_model.load(str(trained / "serving")).signatures
    examples = tf.constant([x.serialized() for x in catalog.splits["eval"]])
    scores = served["evaluate"](examples=examples)
    labels = served["transform_labels"](examples=examples)
    right = scores["category_independent"].numpy().argmax(1) == labels["category_label"].numpy()
    assert right.mean() == pytest.approx(best["val_category_accuracy"], abs=1e-6)
    found = scores["attributes_uncalibrated"].numpy() >= 0.75
    true = labels["attributes_label"].numpy() > 0
    f1 = 2 * (found & true).sum() / max(1, found.sum() + true.sum())
    assert f1 == pytest.approx(best["val_attributes_f1"], abs=1e-6)


def test_calibration_lowers_the_loss_on_the_part_that_it_is_fitted_on(trained, catalog, history):
    served = tf.saved_model.load(str(trained / "serving")).signatures
    examples = tf.constant([x.serialized() for x in catalog.splits["eval"]])
    scores = served["evaluate"](examples=examples)
    truths = served["transform_labels"](examples=examples)["attributes_label"].numpy()

    def loss(name):
        likelihood = np.where(truths > 0, scores[name], 1 - scores[name].numpy())
        return -np.log(likelihood).sum(1).mean()

    temperatures = history(trained)["temperatures"]
    assert set(temperatures) == {"category", "subcategory", "attributes"}
    assert abs(np.log(temperatures["attributes"])) > 0.01
    assert loss("attributes") < loss("attributes_uncalibrated")


def test_calibration_and_joint_decoding_can_be_switched_off(otherwise_trained, history):
    folder, _ = otherwise_trained
    served = tf.saved_model.load(str(folder / "serving")).signatures
    assert set(served["evaluate"].structured_outputs) == {
        "category",
        "subcategory",
        "attributes",
        "embedding",
    }
    assert history(folder)["temperatures"] == {}


def test_a_warm_start_takes_over_what_was_exported(trained, catalog, tmp_path):
    fn_args = catalog.fn_args(tmp_path)
    splits = Splits.read(fn_args)
    model = network(override(fn_args.custom_config, {}), splits.labels)
    sentence = warm_start(model, splits.labels, str(trained / "serving"))
    exported = keras.models.load_model(trained / "Format-Keras" / "model.keras")
    for one, other in zip(model.get_weights(), exported.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sentence.endswith("9 of 9 labels go on from the last blessed model")


def test_the_state_is_gone_once_the_training_has_finished(trained):
    assert list((trained / "resume").iterdir()) == []


def test_the_same_seed_trains_the_same_model(trained, catalog, tmp_path, history):
    fn_args = catalog.fn_args(tmp_path)
    _, again = training.train(
        override(fn_args.custom_config, {}), Splits.read(fn_args), tmp_path, str(tmp_path / "log")
    )
    before = history(trained)["epochs"]
    for one, other in zip(without_times(again.epochs), without_times(before), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


def test_after_a_kill_training_goes_on_as_if_nothing_had_happened(
    trained, catalog, tmp_path, history, monkeypatch
):
    fn_args = catalog.fn_args(tmp_path)
    monkeypatch.setattr(resumable_state, "TIMES_A_SAVE", 0)
    report = EpochReport.on_train_batch_begin

    def killed_in_epoch_3(self, batch, logs=None):
        if self._epoch == 2 and batch == 4:
            raise Killed
        report(self, batch, logs)

    with monkeypatch.context() as patched:
        patched.setattr(EpochReport, "on_train_batch_begin", killed_in_epoch_3)
        with pytest.raises(Killed):
            training.run_fn(fn_args)
    (state,) = (tmp_path / "resume").iterdir()
    assert len(json.loads((state / "state.json").read_text())["epochs"]) == 2
    # A file that was being written when the kill came is no obstacle.
    (state / "unfinished.npz").write_bytes(b"half a file")

    begun = []
    begin = ResumableState.on_epoch_begin
    monkeypatch.setattr(
        ResumableState,
        "on_epoch_begin",
        lambda self, epoch, logs=None: (begun.append(epoch), begin(self, epoch, logs)),
    )
    training.run_fn(fn_args)
    assert begun == [2]
    resumed, straight = history(tmp_path)["epochs"], history(trained)["epochs"]
    for one, other in zip(without_times(resumed), without_times(straight), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_a_kill_between_the_last_epoch_and_the_export_costs_no_epoch(
    catalog, tmp_path, history, monkeypatch
):
    fn_args = changed(catalog.fn_args(tmp_path), "training", epochs=1)
    with monkeypatch.context() as patched:

        def killed(*args, **kwargs):
            raise Killed

        patched.setattr(training.signatures, "export", killed)
        with pytest.raises(Killed):
            training.run_fn(fn_args)
    monkeypatch.setattr(training, "fit", None)
    training.run_fn(fn_args)
    assert len(history(tmp_path)["epochs"]) == 1
    assert (tmp_path / "serving" / "saved_model.pb").is_file()


def test_other_options_other_data_or_other_code_are_another_training(catalog, tmp_path):
    fn_args = catalog.fn_args(tmp_path)

    def name(fn_args):
        return training.fingerprint(fn_args, override(fn_args.custom_config, {}))

    assert name(fn_args) == name(catalog.fn_args(tmp_path / "elsewhere"))
    swapped = catalog.fn_args(tmp_path)
    swapped.train_files = swapped.eval_files
    others = [
        changed(catalog.fn_args(tmp_path), "training", learning_rate=0.01),
        catalog.fn_args(tmp_path, code="abc"),
        swapped,
    ]
    assert len({name(x) for x in [fn_args, *others]}) == 4


def test_data_that_differ_by_a_byte_or_a_name_are_another_training(catalog, tmp_path):
    content = Path(min(tf.io.gfile.glob(catalog.pattern("train")))).read_bytes()

    def name(file, content, base_model=None):
        fn_args = catalog.fn_args(tmp_path)
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        fn_args.train_files = [str(path)]
        fn_args.base_model = base_model
        return training.fingerprint(fn_args, override(fn_args.custom_config, {}))

    # At its end gzip has the sum of what is packed; where the folder lies is of no interest.
    other = content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]
    assert name("a/x.gz", content) == name("b/x.gz", content)
    different = [
        name("a/x.gz", content),
        name("a/x.gz", other),
        name("a/y.gz", content),
        name("a/x.gz", content[:-9] + content[-8:]),
        name("a/x.gz", content, base_model="/models/7"),
        # Shorter than such an end.
        name("a/x.gz", b"1234567"),
        name("a/x.gz", b"7654321"),
    ]
    assert len(set(different)) == len(different)


def test_progress_is_reported_with_figures_after_each_epoch(otherwise_trained):
    _, told = otherwise_trained
    ends = [x for x in told if ":" in x.getMessage()]
    assert [(x.completed, x.total) for x in ends] == [(1, 2), (2, 2)]
    assert ends[1].getMessage().startswith("epoch 2 of 2: ")
    assert "category accuracy 0." in ends[1].getMessage()
    completed = [x.completed for x in told]
    assert completed == sorted(completed)


def test_tuned_values_override_the_config(otherwise_trained, history):
    folder, _ = otherwise_trained
    assert history(folder)["hyperparameters"]["model.dense_units"] == 16
    assert history(folder)["hyperparameters"]["training.epochs"] == 2


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_a_catalog_with_one_category_and_no_attributes_is_trained(plain_catalog, tmp_path, history):
    training.run_fn(changed(plain_catalog.fn_args(tmp_path), "training", epochs=1))
    epoch = history(tmp_path)["epochs"][0]
    assert epoch["val_category_accuracy"] == 1
    assert not any("attributes" in name for name in epoch)
    assert epoch["val_mean"] == pytest.approx((1 + epoch["val_subcategory_accuracy"]) / 2)


@pytest.mark.parametrize(
    "module",
    [
        *("augmentation.py", "backbones/*.py", "calibration.py", "decoding.py"),
        *("hierarchical_model.py", "label_space.py", "losses.py", "mixing.py", "stages.py"),
        *("training_model.py", "weight_averages.py"),
    ],
)
def test_model_code_imports_no_tensorflow(module):
    """The model itself must run on other back ends of Keras."""
    files = list(Path(training.__file__).parent.glob(module))
    assert files
    for file in files:
        assert not re.search(r"^\s*(import|from) tensorflow", file.read_text(), re.MULTILINE)
