"""A rollback makes an earlier version live as a new one, and takes back the model that was live."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.atomic_pusher import versions
from components.atomic_pusher.records import RECORD_FILE, Origin
from schema.errors import UserError

WEIGHTS = "variables/variables.data-00000-of-00001"


class Shop:
    """A serving folder to which models are pushed by a letter each."""

    def __init__(self, make_model, serving_root: Path):
        self._make_model = make_model
        self._models: dict[str, Path] = {}
        self.folder = serving_root

    def push(self, letter: str, **options) -> versions.Outcome:
        if letter not in self._models:
            self._models[letter] = self._make_model(letter)
        return versions.push(self._models[letter], self.folder, **options)

    def number(self, letter: str, **options) -> int:
        """Pushes a model that is new; returns its version's number."""
        outcome = self.push(letter, **options)
        assert outcome.state == "new"
        return outcome.version.number

    def live(self) -> str:
        """The letter of the model that servers answer with."""
        version = versions.live_version(versions.find_versions(self.folder))
        return (version.folder / WEIGHTS).read_bytes()[100_000:].decode()


@pytest.fixture
def shop(make_model, serving_root) -> Shop:
    """An empty serving folder."""
    return Shop(make_model, serving_root)


def test_the_version_before_becomes_live_with_the_largest_number(shop):
    a, b = shop.number("a"), shop.number("b")

    done = versions.roll_back(shop.folder)

    assert shop.live() == "a"
    assert done.live.number > b
    assert (done.live.first, done.replaced.number) == (a, b)
    assert {int(path.name) for path in shop.folder.iterdir()} == {a, b, done.live.number}


def test_the_copy_has_every_file_and_takes_no_room(shop):
    a = shop.push("a").version.folder
    (a / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"asked before")
    shop.push("b")

    copy = versions.roll_back(shop.folder).live.folder

    files = {path.relative_to(a) for path in a.rglob("*") if path.is_file()}
    assert {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()} == files
    for file in files - {RECORD_FILE}:
        assert os.path.samefile(a / file, copy / file)
    assert json.loads((a / RECORD_FILE).read_text())["copy_of"] is None
    assert json.loads((copy / RECORD_FILE).read_text())["copy_of"] == int(a.name)


def test_a_copy_outlives_the_removal_of_what_it_was_copied_from(shop):
    for letter in "ab":
        shop.push(letter)
    copy = versions.roll_back(shop.folder).live
    shop.push("c", keep=2)

    assert len(versions.find_versions(shop.folder)) == 2
    versions.roll_back(shop.folder)
    assert shop.live() == "a"
    assert versions.find_versions(shop.folder)[0].first == copy.first


def test_where_there_are_no_hard_links_files_are_copied(shop, monkeypatch: pytest.MonkeyPatch):
    a = shop.push("a").version.folder
    shop.push("b")

    def refuse(source, target, **options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(source))

    monkeypatch.setattr(os, "link", refuse)
    copy = versions.roll_back(shop.folder).live.folder

    assert shop.live() == "a"
    assert not os.path.samefile(a / WEIGHTS, copy / WEIGHTS)


def test_a_linked_version_is_copied_by_what_it_leads_to(shop, make_model, tmp_path: Path):
    model = make_model("a")
    (model / WEIGHTS).rename(tmp_path / "weights")
    (model / WEIGHTS).symlink_to(Path("..") / ".." / "weights")
    shop.folder.mkdir(parents=True)
    (shop.folder / "7").symlink_to(model)
    shop.push("b")

    copy = versions.roll_back(shop.folder).live

    assert shop.live() == "a"
    assert copy.first == 7
    assert not copy.folder.is_symlink() and not (copy.folder / WEIGHTS).is_symlink()


def test_going_back_again_and_again_goes_further_back(shop):
    for letter in "abcd":
        shop.push(letter)

    lives = []
    for _ in range(3):
        versions.roll_back(shop.folder)
        lives.append(shop.live())
    assert lives == ["c", "b", "a"]
    with pytest.raises(UserError, match=r"There is no version before \d+ \(live as \d+\)"):
        versions.roll_back(shop.folder)
    shop.push("e")
    versions.roll_back(shop.folder)
    assert shop.live() == "a", "what was live before e"


def test_any_version_can_be_asked_for(shop):
    a, b, c = (shop.number(letter) for letter in "abc")

    done = versions.roll_back(shop.folder, to=a)
    assert (shop.live(), done.replaced.number) == ("a", c)
    # b came before c and after a; what was live before a is nothing.
    with pytest.raises(UserError, match="no version before"):
        versions.roll_back(shop.folder)
    versions.roll_back(shop.folder, to=b)
    assert shop.live() == "b"


def test_what_is_live_already_is_left_as_it_is(shop):
    a, b = shop.number("a"), shop.number("b")
    assert versions.roll_back(shop.folder, to=b).replaced is None
    copy = versions.roll_back(shop.folder, to=a).live

    for number in (a, copy.number):
        again = versions.roll_back(shop.folder, to=number)
        assert (again.live.number, again.replaced) == (copy.number, None)
    assert len(versions.find_versions(shop.folder)) == 3


def test_a_rolled_back_model_is_not_pushed_again_and_a_new_one_is(shop):
    a, b = shop.number("a"), shop.number("b")
    versions.roll_back(shop.folder)

    refused = shop.push("b")
    assert refused.state == "rolled back"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert refused.summary == (
        f"not pushed: this model was version {b} and was rolled back to {a} on {today}; a new "
        f"model is pushed as ever, and `seamline rollback WORKSPACE --to {b}` makes this one live "
        "again"
    )
    assert shop.live() == "a"

    shop.number("c")
    assert shop.push("b").state == "rolled back", "nor after others"
    assert shop.live() == "c"


def test_a_rolled_back_model_stays_so_when_its_version_is_gone(shop):
    shop.push("a")
    b = shop.number("b")
    versions.roll_back(shop.folder)
    for letter in "cd":
        shop.push(letter, keep=2)

    assert not (shop.folder / str(b)).exists()
    refused = shop.push("b")
    assert refused.state == "rolled back"
    assert refused.summary.endswith("a new model is pushed as ever")


def test_a_rollback_is_undone_by_asking_for_the_version(shop):
    a, b = shop.number("a"), shop.number("b")
    versions.roll_back(shop.folder)

    versions.roll_back(shop.folder, to=b)

    assert shop.live() == "b"
    assert shop.push("b").state == "live"
    assert versions.rolled_back_versions(versions.find_versions(shop.folder)) == {}
    # Nobody took a back by going on to b, so it is what a rollback goes to.
    versions.roll_back(shop.folder)
    assert shop.live() == "a"
    assert versions.find_versions(shop.folder)[0].first == a


def test_every_version_of_a_model_that_was_taken_back_is_marked(shop):
    a, b = shop.number("a"), shop.number("b")
    copy = versions.roll_back(shop.folder).live.number
    c = shop.number("c")
    versions.roll_back(shop.folder, to=b)
    versions.roll_back(shop.folder, to=a)

    marked = versions.rolled_back_versions(versions.find_versions(shop.folder))
    found = {version.number: version.first for version in versions.find_versions(shop.folder)}
    assert {number for number, first in found.items() if first in (b, c)} == set(marked)
    assert copy not in marked


def test_a_model_that_was_taken_back_is_skipped_by_the_next_rollback(shop):
    shop.push("a")
    b = shop.number("b")
    copy = versions.roll_back(shop.folder).live
    shop.push("c")
    shutil.rmtree(copy.folder)

    versions.roll_back(shop.folder)

    assert shop.live() == "a"
    assert b in versions.rolled_back_versions(versions.find_versions(shop.folder))


def test_versions_without_records_can_be_gone_back_to_and_taken_back(shop, make_model):
    shop.folder.mkdir(parents=True)
    old, new = make_model("old"), make_model("new")
    shutil.copytree(old, shop.folder / "10")
    shutil.copytree(new, shop.folder / "11")

    versions.roll_back(shop.folder)

    assert shop.live() == "old"
    assert versions.push(new, shop.folder).state == "rolled back"
    assert versions.push(old, shop.folder).state == "live"


def test_the_copy_tells_where_its_model_came_from(shop):
    origin = Origin("/w/Trainer/model/3", "a run", {"category/accuracy": 0.9}, "a state")
    shop.push("a", origin=origin)
    shop.push("b")

    told = versions.roll_back(shop.folder).live.record.origin

    assert (told.model, told.run, told.metrics) == (origin.model, origin.run, origin.metrics)
    assert not told.serving_state, "no step pushed it"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "assets" / "category").unlink(), "assets/category is missing"),
        (lambda folder: os.truncate(folder / WEIGHTS, 7), "has 7 of 100,001 bytes"),
        (
            lambda folder: (folder / WEIGHTS).write_bytes(bytes(100_000) + b"!"),
            f"{WEIGHTS} has changed since it was pushed",
        ),
    ],
)
def test_a_version_that_is_not_as_it_was_pushed_is_refused(shop, spoil, reason):
    a, b = shop.number("a"), shop.number("b")
    spoil(shop.folder / str(a))

    with pytest.raises(UserError, match=f"Version {a} in .* cannot be made live: .*{reason}"):
        versions.roll_back(shop.folder, to=a)
    assert versions.find_versions(shop.folder)[0].number == b


def test_a_version_that_is_not_there_is_named_beside_those_that_are(shop):
    a = shop.number("a")
    with pytest.raises(UserError, match=f"There is no version 5 in .*; there are {a}"):
        versions.roll_back(shop.folder, to=5)


def test_nothing_can_be_gone_back_from_where_nothing_is_live(serving_root):
    with pytest.raises(UserError, match="There is no version in .* that could be live"):
        versions.roll_back(serving_root)
    (serving_root / "5").mkdir(parents=True)
    with pytest.raises(UserError, match="There is no version in .* that could be live"):
        versions.roll_back(serving_root, to=5)


def test_below_a_larger_number_that_cannot_be_loaded_the_live_version_is_copied_above(shop):
    a = shop.number("a")
    (shop.folder / "99999999999").mkdir()

    done = versions.roll_back(shop.folder, to=a)

    assert done.live.number == 100000000000
    assert shop.live() == "a"
    assert shop.push("a").state == "live", "a model that stays live is not taken back"


def test_a_live_version_removed_by_hand_is_what_a_rollback_leaves_behind(shop):
    shop.push("a")
    b = shop.number("b")
    copy = versions.roll_back(shop.folder).live
    shutil.rmtree(copy.folder)

    assert shop.push("b").state == "live", "removing the copy by hand took the rollback back"
    versions.roll_back(shop.folder)
    assert shop.live() == "a"
    assert b in versions.rolled_back_versions(versions.find_versions(shop.folder))


def test_a_record_that_cannot_be_understood_is_told_and_the_one_before_it_counts(shop):
    shop.push("a")
    shop.push("b")
    versions.roll_back(shop.folder)
    newest = shop.number("c")
    (shop.folder / str(newest) / RECORD_FILE).write_text("[1, 2]")

    found = versions.find_versions(shop.folder)
    assert "seamline_version.json cannot be understood" in found[0].note
    assert versions.live_version(found).number == newest
    assert shop.push("b").state == "rolled back"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_live_what_was(shop, monkeypatch: pytest.MonkeyPatch, number):
    shop.push("a")
    shop.push("b")
    before = sorted(shop.folder.iterdir())

    def full(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(versions, "_write_through", full)
    with pytest.raises(UserError, match=r"What was live still is\. Make room, and try again"):
        versions.roll_back(shop.folder)
    assert sorted(shop.folder.iterdir()) == before
    assert shop.live() == "b"


@pytest.mark.parametrize(
    ("meanwhile", "live"),
    [(lambda shop: shop.push("c"), "c"), (lambda shop: versions.roll_back(shop.folder), "a")],
    ids=["a push", "another rollback"],
)
def test_a_rollback_never_takes_back_what_went_live_while_it_waited(shop, meanwhile, live):
    shop.push("older")
    shop.push("a")
    b = shop.number("b")
    waiting, go_on = threading.Event(), threading.Event()
    original = versions.find_versions

    def look_and_wait(serving_root):
        found = original(serving_root)
        if threading.current_thread() is not threading.main_thread() and not waiting.is_set():
            waiting.set()
            assert go_on.wait(30)
        return found

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(versions, "find_versions", look_and_wait)
        result = pool.submit(versions.roll_back, shop.folder)
        assert waiting.wait(30)
        meanwhile(shop)
        now_live = versions.live_version(original(shop.folder)).number
        go_on.set()
        with pytest.raises(UserError, match=f"Version {b} is no longer live: {now_live} is"):
            result.result()
    assert shop.live() == live


def test_pushes_and_rollbacks_at_once_end_in_some_order(shop):
    """Whatever the order: whole versions, and live is the pushed model or the one asked for."""
    a, b = shop.number("a"), shop.number("b")
    for round_ in range(8):
        letter = f"new{round_}"
        shop._models[letter] = shop._make_model(letter)
        with ThreadPoolExecutor(2) as pool:
            pushed = pool.submit(shop.push, letter)
            rolled = pool.submit(versions.roll_back, shop.folder, a)
            outcome, done = pushed.result(), rolled.result()
        found = versions.find_versions(shop.folder)
        assert all(not version.fault for version in found)
        marked = versions.rolled_back_versions(found)
        if done.replaced is None or done.live.number < outcome.version.number:
            assert shop.live() == letter
            assert outcome.version.number not in marked
        else:
            assert shop.live() == "a"
            assert outcome.version.number in marked
        versions.roll_back(shop.folder, b)
