"""A search's chief loses no trial: not by lost workers, lost answers or its own restart."""

import threading
import time
from concurrent import futures

import grpc
import pytest

from pipeline import config
from schema.errors import UserError
from schema.version import VERSION
from trainer import tuning, tuning_trial, tuning_worker
from trainer.chief import service_of, transferable
from trainer.tuning_chief import SearchChief

VALUES = [8, 16, 24, 32]


@pytest.fixture
def fn_args(catalog, tmp_path):
    """A search through four values, so that which trials there will be is known."""
    settings = config.Tuning(
        trials=4, epochs=1, space={"model.dense_units": VALUES}, listen="127.0.0.1:0"
    )
    return catalog.fn_args(tmp_path, tuning=settings.model_dump())


@pytest.fixture
def chief_of(fn_args):
    """Makes the chief of the search, anew as after a kill."""

    def make(timeout_s=60.0, search=None):
        tuner = tuning.tuner_fn(fn_args).tuner
        tuner.save()
        tuner.oracle.verbose = 0
        name = search or tuning_trial.search_name(fn_args)
        made = SearchChief(tuner.oracle, name, transferable(fn_args), timeout_s)
        return made, tuner.oracle

    return make


@pytest.fixture
def client_of():
    """A worker's side of the talk, to be called by hand."""

    def make(address, name, patience_s=0.0):
        client = tuning_worker.SearchClient(address, None, name, patience_s)
        client.job = client.call("join")["job"]
        return client

    return make


@pytest.fixture
def trained(monkeypatch):
    """What a trial scores in place of a training: a hundredth of its value."""
    values = []

    def score(trial, config, splits, report):
        values.append(trial.values["model.dense_units"])
        report("epoch 1 of 1", 1.0)
        return values[-1] / 100

    monkeypatch.setattr(tuning_trial, "score", score)
    return values


def finish(chief):
    """Waits for the end of a search, as the tuner does."""
    while not chief.is_over():
        chief.give_up_lost_workers()
        time.sleep(0.02)


def outcomes(oracle):
    return {
        trial.hyperparameters.values["model.dense_units"]: trial.score
        for trial in oracle.trials.values()
    }


def test_workers_share_the_trials_and_are_told_when_there_are_no_more(chief_of, trained):
    chief, oracle = chief_of()
    done = []
    with chief.served("127.0.0.1:0") as address:
        workers = [
            threading.Thread(target=lambda: done.append(tuning_worker.work(address, None)))
            for _ in range(2)
        ]
        for worker in workers:
            worker.start()
        finish(chief)
        for worker in workers:
            worker.join()
    assert sorted(trained) == VALUES and sum(done) == 4
    assert outcomes(oracle) == {8: 0.08, 16: 0.16, 24: 0.24, 32: 0.32}


def test_the_trial_of_a_worker_that_falls_silent_goes_to_another(chief_of, client_of):
    chief, oracle = chief_of(timeout_s=0.2)
    with chief.served("127.0.0.1:0") as address:
        lost, other = client_of(address, "lost"), client_of(address, "other")
        had = lost.call("next")
        time.sleep(0.3)
        other.call("beat", trial=None)
        chief.give_up_lost_workers()
        assert other.call("next") == had
        # It was only slow: what it says of the trial counts no more, and it is told so.
        assert lost.call("beat", trial=had["trial"]) == {"has": False}
        lost.call("end", trial=had["trial"], score=0.9)
        other.call("end", trial=had["trial"], score=0.5)
        # As after an answer that was lost on the way.
        other.call("end", trial=had["trial"], score=0.7)
    assert oracle.trials[had["trial"]].score == 0.5
    assert oracle.end_order == [had["trial"]]


def test_a_worker_at_work_is_never_given_up(chief_of, fn_args, monkeypatch):
    def slow(trial, config, splits, report):
        time.sleep(1.0)
        return 0.5

    monkeypatch.setattr(tuning_trial, "score", slow)
    chief, oracle = chief_of(timeout_s=0.4)
    oracle.max_trials = 1
    with chief.served("127.0.0.1:0") as address:
        worker = threading.Thread(target=tuning_worker.work, args=(address, None))
        worker.start()
        while not chief.workers:
            time.sleep(0.02)
        finish(chief)
        worker.join()
    assert oracle._run_times["0"] == 1


def test_a_trial_that_costs_three_workers_is_given_up(chief_of, client_of, trained):
    chief, oracle = chief_of()
    with chief.served("127.0.0.1:0") as address:
        for number in range(3):
            trial = client_of(address, f"{number}").call("next")["trial"]
            assert chief.lose(f"{number}", "its machine went away")
        worker = threading.Thread(target=tuning_worker.work, args=(address, None))
        worker.start()
        finish(chief)
        worker.join()
    failed = oracle.trials[trial]
    assert (failed.status, failed.score) == ("FAILED", None)
    assert failed.message == "3 workers were lost in it; of the last, its machine went away"
    assert len(oracle.trials) == 4 and len(trained) == 3


def test_a_worker_outlives_a_restart_of_the_chief(chief_of, client_of, trained):
    chief, _ = chief_of()
    with chief.served("127.0.0.1:0") as address:
        client = client_of(address, "steady", patience_s=30)
        first = client.call("next")["trial"]
        client.call("end", trial=first, score=0.25)
        held = client.call("next")["trial"]
    ended = threading.Thread(target=client.call, args=("end",), kwargs={"trial": held, "score": 1})
    ended.start()
    time.sleep(0.5)
    chief, oracle = chief_of()
    with chief.served(address):
        ended.join()
        assert [oracle.trials[each].score for each in (first, held)] == [0.25, 1]
        worker = threading.Thread(target=tuning_worker.work, args=(address, None))
        worker.start()
        client.call("leave")
        finish(chief)
        worker.join()
    # The held trial was not run again.
    assert len(oracle.trials) == 4 and len(trained) == 2


def test_a_trial_that_a_restart_gave_to_another_is_left(chief_of, client_of):
    chief, _ = chief_of()
    with chief.served("127.0.0.1:0") as address:
        client = client_of(address, "late")
        held = client.call("next")["trial"]
    chief, oracle = chief_of()
    with chief.served("127.0.0.1:0") as address:
        assert client_of(address, "quick").call("next")["trial"] == held
        late = client_of(address, "late")
        assert late.call("beat", trial=held) == {"has": False}
        late.call("end", trial=held, score=1.0)
    assert oracle.trials[held].score is None


def test_a_worker_that_goes_gives_its_trial_back(chief_of, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning_trial, "score", interrupted)
    chief, oracle = chief_of()
    with chief.served("127.0.0.1:0") as address:
        with pytest.raises(KeyboardInterrupt):
            tuning_worker.work(address, None)
        assert not oracle.ongoing_trials and oracle._retry_queue == ["0"]
        assert not chief.workers


def test_a_finished_search_is_over_without_any_worker(chief_of, trained):
    chief, _ = chief_of()
    with chief.served("127.0.0.1:0") as address:
        worker = threading.Thread(target=tuning_worker.work, args=(address, None))
        worker.start()
        finish(chief)
        worker.join()
    chief, oracle = chief_of()
    assert chief.is_over() and len(oracle.trials) == 4


def test_a_search_nobody_works_on_is_not_over(chief_of):
    chief, oracle = chief_of()
    assert not chief.is_over() and not chief.is_over()
    # Looking so costs no trial.
    assert list(oracle.trials) == ["0"] and oracle._retry_queue == ["0"]


def test_a_trial_that_only_its_own_file_knows_of_is_run(chief_of):
    """As a kill leaves it between the two files that KerasTuner writes."""
    chief, oracle = chief_of()
    chief.is_over()
    oracle._retry_queue.clear()
    oracle.save()
    _, oracle = chief_of()
    assert oracle._retry_queue == ["0"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"version": "9.9.9"}, f"runs on Seamline {VERSION} and this worker is 9.9.9; install"),
        ({"code": "another"}, "source of the package trainer is another than the search's"),
        ({"job": "old"}, "Another search listens there now than the one that this worker joined"),
    ],
)
def test_a_worker_of_something_else_is_refused(chief_of, client_of, said, sentence):
    chief, oracle = chief_of()
    with chief.served("127.0.0.1:0") as address:
        client = client_of(address, "stranger")
        with pytest.raises(UserError, match=sentence):
            client.call("next", **said)
    assert not oracle.trials


def test_a_worker_that_sees_other_examples_is_refused(chief_of, trained):
    chief, oracle = chief_of(search="of other data")
    refused = pytest.raises(UserError, match="is not what the run reads there. Mount")
    with chief.served("127.0.0.1:0") as address, refused:
        tuning_worker.work(address, None)
    assert not oracle.trials


def test_a_worker_without_the_storage_is_refused(chief_of, trained):
    chief, _ = chief_of()
    chief._fn_args["train_files"] = ["/not/mounted/Split-train/*"]
    refused = pytest.raises(UserError, match="^/not/mounted/Split-train/. cannot be read on this")
    with chief.served("127.0.0.1:0") as address, refused:
        tuning_worker.work(address, None)


def test_nobody_at_the_address_is_one_sentence_in_time():
    began = time.monotonic()
    with pytest.raises(UserError, match="No search has answered at 127.0.0.1:9 for 1 s. See"):
        tuning_worker.work("127.0.0.1:9", None, patience_s=1)
    assert time.monotonic() - began < 10


def test_somebody_else_at_the_address_is_one_sentence():
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(UserError, match=f"answers at 127.0.0.1:{port} is no search of Seamline's"):
        tuning_worker.work(f"127.0.0.1:{port}", None, patience_s=1)
    server.stop(None)


def test_two_searches_cannot_listen_on_one_address(chief_of):
    chief, _ = chief_of()
    with chief.served("127.0.0.1:0") as address:
        refused = pytest.raises(UserError, match="cannot listen on .*taken.* Change tuning.listen")
        with refused, chief.served(address):
            pass


def test_what_is_no_request_breaks_nothing(chief_of, client_of):
    chief, _ = chief_of()
    with chief.served("127.0.0.1:0") as address, grpc.insecure_channel(address) as channel:
        for sent in (b"", b"[]", b"\x80", b'{"worker": 1}', b'{"worker": "w"}'):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"/{service_of(SearchChief.KIND)}/next")(sent, timeout=10)
        client = client_of(address, "w")
        client.call("end", trial="77", score=1.0)
        client.call("end", trial=["x"], score="much")
        client.call("leave")
        client.call("leave")
        assert client.call("next")["trial"] == "0"
        assert not chief.is_over()


def test_books_that_cannot_be_written_end_the_search(chief_of, client_of, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    chief, oracle = chief_of()
    with chief.served("127.0.0.1:0") as address:
        client = client_of(address, "w")
        monkeypatch.setattr(oracle, "save", full)
        for _ in range(2):
            with pytest.raises(UserError, match="No search has answered"):
                client.call("next")
        with pytest.raises(OSError, match="No space left"):
            chief.is_over()
