"""What a training keeps on disk: as often as it may, as much as it needs, and no more."""

import keras
import numpy as np

from trainer import resumable_state
from trainer.resumable_state import ResumableState
from trainer.stages import Stage


def tiny_model():
    """A model of one weight and one bias, and itself as what is fitted."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    fitted = keras.Sequential([keras.Input((1,)), network])
    fitted.compile(optimizer="adam")
    fitted.optimizer.build(fitted.trainable_variables)
    return network, fitted


def stage(first_epoch=0, end_epoch=10, is_last=True):
    return Stage(first_epoch, end_epoch, 0.001, frozen=False, on_features=False, is_last=is_last)


def judge(state, fitted, means):
    """Ends epochs with these means; which of them stopped the training."""
    state.set_model(fitted)
    stopped = []
    for epoch, mean in enumerate(means, state.finished_epochs):
        state.on_epoch_begin(epoch)
        state.on_epoch_end(epoch, {"val_mean": mean})
        stopped.append(state.stopped_early)
    return stopped


def test_short_epochs_are_saved_as_often_as_costs_a_twentieth_of_the_time(tmp_path, monkeypatch):
    now = 0.0
    written = []

    def save(file, values):
        nonlocal now
        now += 1.0
        file.touch()
        written.append(file.name)

    monkeypatch.setattr(resumable_state, "save_arrays", save)
    monkeypatch.setattr(resumable_state.time, "monotonic", lambda: now)
    network, fitted = tiny_model()
    state = ResumableState(tmp_path / "state", network, patience=0)
    stages = [stage(0, 60, is_last=False), stage(60, 63)]
    for one in stages:
        state.begin(one, fitted)
        state.set_model(fitted)
        for epoch in range(one.first_epoch, one.end_epoch):
            now += 1.0
            state.on_epoch_end(epoch, {"val_mean": 0.5})
    # A second an epoch and a second a file: two files after the first, which is the best, then one
    # in 20 s of training.
    last = [name for name in written if name.startswith("epoch")]
    assert last == [f"epoch-{epoch:04d}.npz" for epoch in (1, 41, 60, 63)]
    assert [name for name in written if name.startswith("best")] == ["best-0001.npz"]


def test_training_stops_after_patience_epochs_without_a_better_mean(tmp_path):
    network, fitted = tiny_model()
    state = ResumableState(tmp_path / "state", network, patience=2)
    state.begin(stage(), fitted)
    assert judge(state, fitted, [0.2, 0.5, 0.5, 0.4]) == [False, False, False, True]
    assert state.best_epoch == 2 and fitted.stop_training
    kept = {file.name for file in (tmp_path / "state").iterdir()}
    assert kept == {"state.json", "best-0002.npz", "epoch-0004.npz"}


def test_the_least_patience_is_one_epoch(tmp_path):
    network, fitted = tiny_model()
    state = ResumableState(tmp_path / "state", network, patience=1)
    state.begin(stage(), fitted)
    assert judge(state, fitted, [0.2, 0.5, 0.5]) == [False, False, True]


def test_patience_begins_anew_with_the_last_stage(tmp_path):
    network, fitted = tiny_model()
    state = ResumableState(tmp_path / "state", network, patience=2)
    state.begin(stage(0, 4, is_last=False), fitted)
    assert judge(state, fitted, [0.5, 0.4, 0.3, 0.3]) == [False] * 4
    state.begin(stage(4, 10), fitted)
    assert judge(state, fitted, [0.4, 0.4]) == [False, True]
    assert state.best_epoch == 1


def test_patience_survives_a_kill(tmp_path):
    network, fitted = tiny_model()
    for mean in [0.5, 0.4, 0.3]:
        state = ResumableState(tmp_path / "state", network, patience=2)
        assert not state.stopped_early
        state.begin(stage(), fitted)
        judge(state, fitted, [mean])
    again = ResumableState(tmp_path / "state", network, patience=2)
    assert again.stopped_early and again.best_epoch == 1


def test_without_patience_a_training_never_stops_early(tmp_path):
    network, fitted = tiny_model()
    state = ResumableState(tmp_path / "state", network, patience=0)
    state.begin(stage(), fitted)
    assert judge(state, fitted, [0.5, 0.4, 0.3, 0.2]) == [False] * 4
    assert not getattr(fitted, "stop_training", False)


def test_after_a_kill_the_fitted_model_has_the_weights_of_its_last_epoch(tmp_path):
    network, fitted = tiny_model()
    state = ResumableState(tmp_path / "state", network, patience=0)
    state.begin(stage(), fitted)
    kernels = []
    for mean in (0.5, 0.9, 0.4):
        network.set_weights([np.full((1, 1), mean), np.zeros(1)])
        # As if it took long: every epoch is saved.
        state._next_save = 0.0
        judge(state, fitted, [mean])
        kernels.append(mean)

    network, fitted = tiny_model()
    again = ResumableState(tmp_path / "state", network, patience=0)
    assert (again.finished_epochs, again.best_epoch) == (3, 2)
    assert [epoch["epoch"] for epoch in again.epochs] == [1, 2, 3]
    assert [epoch["val_mean"] for epoch in again.epochs] == kernels
    assert all(epoch["seconds"] >= 0 for epoch in again.epochs)
    again.begin(stage(), fitted)
    np.testing.assert_allclose(network.get_weights()[0], [[0.4]])
    again.load_best()
    np.testing.assert_allclose(network.get_weights()[0], [[0.9]])
    # What the best epoch had outlives one that is worse, in the process that goes on too.
    judge(again, fitted, [0.1])
    again.load_best()
    np.testing.assert_allclose(network.get_weights()[0], [[0.9]])
    again.remove()
    assert not (tmp_path / "state").exists()


def test_a_stage_that_has_not_begun_begins_with_what_the_network_has(tmp_path):
    network, fitted = tiny_model()
    state = ResumableState(tmp_path / "state", network, patience=0)
    state.begin(stage(0, 1, is_last=False), fitted)
    judge(state, fitted, [0.5])
    network, fitted = tiny_model()
    network.set_weights([np.full((1, 1), 8.0), np.zeros(1)])
    again = ResumableState(tmp_path / "state", network, patience=0)
    again.begin(stage(1, 3), fitted)
    np.testing.assert_allclose(network.get_weights()[0], [[8]])


def test_an_epochs_seconds_are_those_since_it_began(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(resumable_state.time, "monotonic", lambda: now)
    network, fitted = tiny_model()
    state = ResumableState(tmp_path / "state", network, patience=0)
    state.begin(stage(), fitted)
    state.set_model(fitted)
    for epoch, seconds in enumerate((2.5, 0.12345)):
        now += 1
        state.on_epoch_begin(epoch)
        now += seconds
        state.on_epoch_end(epoch, {"val_mean": 0.5})
    assert [epoch["seconds"] for epoch in state.epochs] == [2.5, 0.123]
