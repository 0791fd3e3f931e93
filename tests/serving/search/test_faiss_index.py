"""What FAISS adds to the contract: when it approximates, how well, and what it does about less."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from serving.search import ExactIndex, FaissIndex, Space, local_index
from tests.serving.search.clustered import SIZES, clustered

COUNT = 6_000
IDS = [f"p{number}" for number in range(COUNT)]
VECTORS = clustered(COUNT)
QUERIES = clustered(200, seed=7)


def fields():
    """A tenth of the products is rare, and rare ones lie all in the last clusters' corner."""
    far = np.argsort(VECTORS[:, 0])[: COUNT // 10]
    corner = np.full(COUNT, "elsewhere", object)
    corner[far] = "corner"
    tenth = ["yes" if number % 10 == 0 else "no" for number in range(COUNT)]
    return {"corner": corner.tolist(), "tenth": tenth}


def make(cls, **options):
    index = cls(Space(SIZES, {"features": 0.7}), **options)
    index.upsert(IDS, VECTORS, fields())
    return index


@pytest.fixture(scope="module")
def exact():
    return make(ExactIndex)


@pytest.fixture(scope="module")
def built():
    index = make(FaissIndex, exact_below=500)
    index.build()
    return index


def recall(index, truth_index, k=15, **asked):
    """Share of the exact nearest that are found; both without folding."""
    found = index.search(QUERIES, k, fold=False, **asked)
    truth = truth_index.search(QUERIES, k, fold=False, **asked)
    return np.mean(
        [
            len({hit.id for hit in one.hits} & {hit.id for hit in other.hits}) / len(other.hits)
            for one, other in zip(found, truth, strict=True)
        ]
    )


def test_few_products_are_all_compared():
    index = make(FaissIndex)
    index.build()

    assert index.is_exact
    assert index.approximation is None
    assert index.search(QUERIES[0], 3)[0].exact


def test_many_are_not_and_the_recall_is_what_was_measured(built, exact):
    known = built.approximation

    assert not built.is_exact
    assert not built.search(QUERIES[0], 3)[0].exact
    assert known.recall >= 0.99
    assert known.probes < known.lists / 2
    assert recall(built, exact) == pytest.approx(known.recall, abs=0.02)


@pytest.mark.parametrize("weights", [{"colour": 5.0}, {"kind": 0.0, "features": 0.0}])
def test_other_weights_keep_the_recall(built, exact, weights):
    assert recall(built, exact, weights=weights) >= 0.98


def test_asked_to_be_exact_it_is(built, exact):
    assert built.search(QUERIES[0], 3, exact=True)[0].exact
    assert recall(built, exact, exact=True) == 1


@pytest.mark.parametrize("where", [{"tenth": "yes"}, {"tenth": "no"}, {"corner": "corner"}])
def test_a_filter_keeps_the_recall_even_where_it_lets_in_what_is_far_from_the_query(
    built, exact, where
):
    assert not built.search(QUERIES[0], 3, where=where)[0].exact
    assert recall(built, exact, where=where) >= 0.98


def test_a_filter_that_lets_in_few_is_exact(built):
    assert built.search(QUERIES[0], 3, where={"tenth": "yes", "corner": "corner"})[0].exact


def test_changes_keep_the_recall_before_and_after_it_is_made_anew(built):
    index, exact = make(FaissIndex, exact_below=500), make(ExactIndex)
    index.build()
    new = clustered(1_000, seed=3)
    for each in (index, exact):
        each.delete(IDS[1_000:2_500])
        each.upsert([*IDS[500:1_000], *(f"n{number}" for number in range(500))], new)
    assert not index.is_exact
    before = recall(index, exact)
    index.build()

    assert before >= 0.98
    assert recall(index, exact) >= 0.98
    assert index.approximation.products == COUNT - 1_500 + 500
    # Each product is where it belongs, or more would have to be looked through.
    assert index.approximation.probes <= 2 * built.approximation.probes


def test_rows_of_products_that_are_gone_are_forgotten_one_day(exact, monkeypatch):
    monkeypatch.setattr(local_index, "_DEAD_ROWS", 100)
    index = make(FaissIndex, exact_below=500)
    index.build()
    # Far more rows are dead than alive, were they all kept.
    for _ in range(5):
        index.upsert(IDS[::2], VECTORS[::2], {name: of[::2] for name, of in fields().items()})
    index.delete(["nobody"])

    assert not index.is_exact
    assert index._products.view().length < 2 * COUNT + 1_000
    assert recall(index, exact) >= 0.98
    assert recall(index, exact, where={"tenth": "no"}) >= 0.98


def test_where_no_inverted_file_finds_enough_all_are_compared(caplog):
    # More than can be.
    index = make(FaissIndex, exact_below=500, recall=1.01)
    index.build()

    assert index.is_exact
    assert "All products are compared" in caplog.text


def test_that_no_inverted_file_finds_enough_is_kept_in_the_folder(tmp_path, monkeypatch):
    index = FaissIndex(Space(SIZES), exact_below=500, recall=1.01)
    index.upsert(IDS[:1_000], VECTORS[:1_000])
    index.save(tmp_path)
    trained = []
    train = FaissIndex._trained

    def counted(self, view):
        trained.append(view.length)
        return train(self, view)

    monkeypatch.setattr(FaissIndex, "_trained", counted)

    for _ in range(2):
        opened = FaissIndex.open(tmp_path, exact_below=500, recall=1.01)
        opened.build()
        assert opened.is_exact and not trained
        assert json.loads((tmp_path / "manifest.json").read_text())["approximate"] is None
    # Whoever opens it with less of a wish does not undo what was wished for when it was made.
    assert FaissIndex.open(tmp_path, exact_below=500, recall=0.9).is_exact and not trained
    # An opening that finds no cache makes one, and what that says is kept as well.
    [about] = tmp_path.glob("faiss-*.json")
    about.unlink()
    for _ in range(2):
        assert FaissIndex.open(tmp_path, exact_below=500, recall=1.01).is_exact
        assert trained == [1_000]
    # Other products may be told apart better, and so may those that less is asked of.
    opened = FaissIndex.open(tmp_path, exact_below=500, recall=0.9)
    opened.save(tmp_path)
    assert not FaissIndex.open(tmp_path, exact_below=500).is_exact
    assert trained == [1_000] * 2


@pytest.mark.parametrize("distance", ["dot", "euclidean"])
def test_vectors_whose_length_counts_are_found_as_well(distance):
    space = Space(SIZES, distance=distance)
    index, exact = FaissIndex(space, exact_below=500), ExactIndex(space)
    for each in (index, exact):
        each.upsert(IDS, VECTORS)
    index.build()

    assert recall(index, exact) >= 0.98


@pytest.fixture
def saved(tmp_path, built):
    index = make(FaissIndex, exact_below=500)
    index.save(tmp_path / "index")
    return tmp_path / "index"


def test_a_saved_one_is_opened_with_its_inverted_file_and_answers_alike(saved, exact, caplog):
    manifest = json.loads((saved / "manifest.json").read_text())
    opened = FaissIndex.open(saved, exact_below=500)

    assert manifest["approximate"]["recall"] >= 0.99
    assert manifest["approximate"]["recall"] == opened.approximation.recall
    assert not caplog.text
    assert recall(opened, exact) >= 0.98
    # It may be changed, and saved again where it is.
    opened.delete(IDS[:100])
    opened.save(saved)
    assert FaissIndex.open(saved, exact_below=500).count() == COUNT - 100
    assert sorted(path.suffix for path in saved.iterdir() if path.name.startswith("faiss")) == [
        ".index",
        ".json",
    ]


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "foreign", "nonsense", "older"])
def test_an_inverted_file_that_is_of_no_use_is_made_anew_and_kept(saved, exact, caplog, damage):
    (index,) = saved.glob("faiss-*.index")
    (about,) = saved.glob("faiss-*.json")
    told = json.loads(about.read_text())
    if damage == "cut":
        index.write_bytes(index.read_bytes()[:-1_000])
    elif damage == "flipped":
        content = bytearray(index.read_bytes())
        content[len(content) // 2] ^= 1
        index.write_bytes(content)
    elif damage == "gone":
        index.unlink()
    elif damage == "foreign":
        told["vectors"]["crc32c"] = "00000000"
        about.write_text(json.dumps(told))
    elif damage == "older":
        about.write_text(json.dumps({**told, "version": 0}))
    else:
        about.write_text("{")

    opened = FaissIndex.open(saved, exact_below=500)
    assert "is made anew" in caplog.text
    assert recall(opened, exact) >= 0.98
    caplog.clear()
    assert not FaissIndex.open(saved, exact_below=500).is_exact
    assert not caplog.text


def test_searches_go_on_while_others_write_build_and_save(tmp_path):
    index = make(FaissIndex, exact_below=500)
    index.build()
    stopped, failures, answered = threading.Event(), [], [0]

    def search():
        at = 0
        while not stopped.is_set():
            at = (at + 1) % 400
            # These are never touched; what is nearest to a product is itself.
            (answer,) = index.search(VECTORS[at], 1, where={"tenth": ["yes", "no"]})
            answered[0] += 1
            if answer.hits[0].id != IDS[at]:
                failures.append((IDS[at], answer.hits[0]))

    readers = [threading.Thread(target=search) for _ in range(3)]

    def write(part):
        for round_ in range(10):
            some = IDS[1_000 + 500 * part : 1_500 + 500 * part]
            index.upsert(some, clustered(500, seed=round_), {"tenth": ["yes"] * 500})
            index.delete(some[:100])

    writers = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in [*readers, *writers]:
        thread.start()
    index.save(tmp_path / "index")
    for writer in writers:
        writer.join()
    index.build()
    index.save(tmp_path / "index")
    stopped.set()
    for reader in readers:
        reader.join()

    assert not failures
    assert answered[0] > 20
    assert index.count() == COUNT - 4 * 100
    assert FaissIndex.open(tmp_path / "index", exact_below=500).count() == COUNT - 4 * 100
