"""A serving folder holds whole versions only, whatever happens to a push or a removal."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.atomic_pusher import versions
from components.atomic_pusher.records import RECORD_FILE
from schema.errors import UserError

WEIGHTS = "variables/variables.data-00000-of-00001"


def _contents(folder: Path) -> dict[Path, bytes]:
    """Every file of a model, by its path; not the version's own record."""
    return {
        p.relative_to(folder): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.relative_to(folder) != RECORD_FILE
    }


def _push(model: Path, serving_root: Path, keep: int | None = None) -> Path:
    return versions.push(model, serving_root, keep=keep).version.folder


def test_a_version_is_the_whole_model_under_the_time_of_its_push(model, serving_root):
    before = int(time.time())
    version = _push(model, serving_root)

    assert before <= int(version.name) <= time.time()
    assert _contents(version) == _contents(model)
    assert list(serving_root.iterdir()) == [version]


def test_older_versions_stay(make_model, serving_root):
    first, second = (_push(make_model(content), serving_root) for content in "ab")

    assert int(second.name) > int(first.name)
    assert sorted(serving_root.iterdir()) == [first, second]


def test_a_model_that_is_live_is_not_pushed_again(make_model, serving_root):
    a, b = make_model("a"), make_model("b")
    version = _push(a, serving_root)

    again = versions.push(a, serving_root)
    assert (again.state, again.version.folder) == ("live", version)
    assert again.summary == f"version {version.name} is live already in {serving_root}"
    assert list(serving_root.iterdir()) == [version]

    _push(b, serving_root)
    assert versions.push(a, serving_root).state == "new", "an older version is not live"


def test_a_live_model_is_compared_to_the_last_byte_and_without_what_others_added(
    model, serving_root
):
    version = _push(model, serving_root)
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"asked before")
    assert versions.push(model, serving_root).state == "live"

    (model / WEIGHTS).write_bytes(bytes(100_000) + b"1")
    assert versions.push(model, serving_root).state == "new"


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    """A file about a model."""
    path = tmp_path / "model_card.md"
    path.write_text("what it is")
    return path


def test_papers_come_with_the_version_and_stay_with_it(make_model, serving_root, paper):
    a = make_model("a")
    first = versions.push(a, serving_root, papers=[paper]).version.folder
    assert (first / "assets.extra" / paper.name).read_text() == "what it is"
    assert _contents(first).keys() - _contents(a).keys() == {Path("assets.extra", paper.name)}

    paper.write_text("what it is now")
    assert versions.push(a, serving_root, papers=[paper]).state == "live"
    assert (first / "assets.extra" / paper.name).read_text() == "what it is"

    _push(make_model("b"), serving_root)
    back = versions.roll_back(serving_root).live.folder
    assert (back / "assets.extra" / paper.name).read_text() == "what it is"


def test_a_paper_that_cannot_be_copied_leaves_no_version(model, serving_root, tmp_path):
    with pytest.raises(UserError, match="Cannot copy the model"):
        versions.push(model, serving_root, papers=[tmp_path / "missing.md"])
    assert list(serving_root.iterdir()) == []


@pytest.fixture
def make_index(tmp_path: Path):
    """Writes a folder of what is asked together with a model; returns it."""

    def make(content: str) -> Path:
        folder = tmp_path / content / "similarity_index"
        (folder / "index").mkdir(parents=True)
        (folder / "recipe.json").write_text("{}")
        (folder / "index" / "vectors.npy").write_text(content)
        return folder

    return make


def test_a_companion_goes_live_and_away_with_its_model(make_model, make_index, serving_root):
    first = versions.push(make_model("a"), serving_root, companion=make_index("x")).version.folder
    assert (first / "assets.extra/similarity_index/index/vectors.npy").read_text() == "x"

    versions.push(make_model("b"), serving_root, companion=make_index("y"))
    back = versions.roll_back(serving_root).live.folder
    assert (back / "assets.extra/similarity_index/index/vectors.npy").read_text() == "x"


def test_a_live_model_with_another_companion_is_a_new_version(make_model, make_index, serving_root):
    model, before = make_model("a"), _push(make_model("before"), serving_root)
    bare = _push(model, serving_root)

    indexed = versions.push(model, serving_root, companion=make_index("x"))
    assert indexed.state == "new"
    assert indexed.version.number > int(bare.name)
    # Whoever looks for the model of before finds it, and not the same one without its companion.
    assert versions.roll_back(serving_root).live.record.copy_of == int(before.name)
    versions.roll_back(serving_root, to=indexed.version.number)

    assert versions.push(model, serving_root, companion=make_index("same/x")).state == "new"
    again = versions.push(model, serving_root, companion=make_index("y"))
    assert again.state == "new"
    assert versions.push(model, serving_root, companion=again.version.folder / "assets.extra" /
                         "similarity_index").state == "live"  # fmt: skip
    # Who has nothing to put beside it takes nothing away.
    assert versions.push(model, serving_root).state == "live"


def test_a_companion_that_cannot_be_copied_leaves_no_version(model, serving_root, tmp_path):
    with pytest.raises(UserError, match="Cannot copy the model"):
        versions.push(model, serving_root, companion=tmp_path / "missing")
    assert list(serving_root.iterdir()) == []


def test_a_version_of_a_seamline_without_records_is_known_by_its_files(model, serving_root):
    shutil.copytree(model, serving_root / "17")

    outcome = versions.push(model, serving_root)
    assert (outcome.state, outcome.version.number) == ("live", 17)


def test_what_would_happen_is_told_without_doing_it(model, serving_root):
    assert versions.expected_outcome(model, serving_root).state == "new"
    assert not serving_root.exists()
    version = _push(model, serving_root)
    assert versions.expected_outcome(model, serving_root).version.folder == version


def test_a_version_is_newer_than_one_from_a_clock_that_ran_ahead(model, serving_root):
    (serving_root / "99999999999").mkdir(parents=True)

    assert _push(model, serving_root).name == "100000000000"


def test_a_number_that_nothing_can_follow_is_named(model, serving_root):
    (serving_root / "9223372036854775807").mkdir(parents=True)

    with pytest.raises(UserError, match="No version can come after .*9223372036854775807"):
        versions.push(model, serving_root)


def test_what_is_not_named_by_a_number_is_no_version(model, serving_root):
    version = _push(model, serving_root)
    for name in ("backup", "1.5", "-3", "12a", "٣", "9223372036854775808", ".99999999999"):
        shutil.copytree(model, serving_root / name)

    assert [found.folder for found in versions.find_versions(serving_root)] == [version]


def test_the_live_version_is_the_largest_that_can_be_loaded(make_model, serving_root):
    a = make_model("a")
    version = _push(a, serving_root)
    faults = {}
    for number, spoil in {
        99999999991: lambda folder: (folder / "saved_model.pb").unlink(),
        99999999992: lambda folder: (folder / "saved_model.pb").write_bytes(b""),
        99999999993: lambda folder: (folder / "variables" / "variables.index").unlink(),
        99999999994: lambda folder: (folder / "assets" / "category").unlink(),
        99999999995: lambda folder: os.truncate(folder / WEIGHTS, 10),
        99999999996: lambda folder: (shutil.rmtree(folder), folder.write_bytes(b"")),
        99999999997: lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
    }.items():
        folder = Path(shutil.copytree(version, serving_root / str(number)))
        spoil(folder)
        faults[number] = versions.find_versions(serving_root)[0].fault

    assert versions.live_version(versions.find_versions(serving_root)).folder == version
    assert list(faults.values()) == [
        "saved_model.pb is missing or empty",
        "saved_model.pb is missing or empty",
        "variables/variables.index is missing",
        "assets/category is missing",
        f"{WEIGHTS} has 10 of 100,001 bytes",
        "a file, not a folder",
        "a link that leads nowhere",
    ]
    outcome = versions.push(a, serving_root)
    assert (outcome.state, outcome.version.number) == ("new", 99999999998), (
        "a server that starts anew would look for the largest number alone"
    )


def test_a_folder_removed_by_hand_makes_the_one_before_it_live(make_model, serving_root):
    a, b = make_model("a"), make_model("b")
    first, second = _push(a, serving_root), _push(b, serving_root)
    shutil.rmtree(second)

    assert versions.live_version(versions.find_versions(serving_root)).folder == first
    assert versions.push(a, serving_root).state == "live"
    assert versions.push(b, serving_root).state == "new"


def test_the_newest_versions_are_kept_and_the_others_removed(make_model, serving_root):
    pushed = [_push(make_model(content), serving_root) for content in "abc"]

    outcome = versions.push(make_model("d"), serving_root, keep=2)

    assert sorted(serving_root.iterdir()) == [pushed[2], outcome.version.folder]
    assert outcome.removed == (int(pushed[0].name), int(pushed[1].name))
    assert outcome.summary.endswith(f"; versions {pushed[0].name}, {pushed[1].name} removed")


def test_fewer_are_kept_as_soon_as_fewer_are_asked_for(make_model, serving_root):
    models = [make_model(content) for content in "abc"]
    pushed = [_push(model, serving_root) for model in models]

    outcome = versions.push(models[-1], serving_root, keep=2)

    assert (outcome.state, outcome.removed) == ("live", (int(pushed[0].name),))


def test_what_cannot_be_loaded_neither_counts_nor_goes(make_model, serving_root):
    """It may be a copy that somebody is just making; and were it counted, the live one would go."""
    first = _push(make_model("a"), serving_root)
    for number in (99999999998, 99999999999):
        (serving_root / str(number)).mkdir()
    (serving_root / "5").mkdir()
    live = versions.push(make_model("b"), serving_root, keep=2)

    assert live.removed == ()
    assert {path.name for path in serving_root.iterdir()} == {
        *("5", "99999999998", "99999999999"),
        *(first.name, str(live.version.number)),
    }


def test_of_a_linked_version_the_link_goes_and_what_a_kept_link_leads_to_stays(
    make_model, serving_root, tmp_path: Path
):
    elsewhere = make_model("elsewhere")
    serving_root.mkdir(parents=True)
    (serving_root / "1").symlink_to(elsewhere)
    shutil.copytree(make_model("a"), serving_root / "2")
    newest = _push(make_model("b"), serving_root)
    (serving_root / "99999999999").symlink_to("2")

    outcome = versions.push(make_model("c"), serving_root, keep=2)

    assert outcome.removed == (1, int(newest.name))
    assert (elsewhere / "saved_model.pb").is_file()
    assert (serving_root / "2").is_dir(), "99999999999, which is kept, leads to it"


def test_a_version_that_will_not_go_stops_no_push_and_is_named(
    make_model, serving_root, monkeypatch: pytest.MonkeyPatch
):
    first, second = (_push(make_model(content), serving_root) for content in "ab")

    def refuse(path, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    outcome = versions.push(make_model("c"), serving_root, keep=2)
    assert outcome.summary.endswith(
        f"; version {first.name} could not be removed (Permission denied)"
    )
    assert not first.exists()
    third = outcome.version.folder
    assert third.is_dir()

    monkeypatch.undo()
    fourth = _push(make_model("d"), serving_root)
    assert sorted(serving_root.iterdir()) == [second, third, fourth]


@pytest.mark.parametrize("leftover", [".pushing-123", ".removing-123"])
def test_what_a_killed_push_or_removal_left_is_removed_by_the_next(model, serving_root, leftover):
    folder = serving_root / leftover
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"gra")

    version = _push(model, serving_root)

    assert list(serving_root.iterdir()) == [version]


def _kill_in(function: str, call: str, *arguments: object) -> None:
    """Kills a process with SIGKILL after its first call of a function of `versions`."""
    killed = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from pathlib import Path\n"
            "from components.atomic_pusher import versions\n"
            f"original = versions.{function}\n"
            "def slow(*arguments):\n"
            "    original(*arguments)\n"
            "    print('there', flush=True)\n"
            "    time.sleep(60)\n"
            f"versions.{function} = slow\n"
            f"versions.{call}\n",
            *map(str, arguments),
        ],
        stdout=subprocess.PIPE,
        cwd=Path(versions.__file__).parents[2],
    )
    assert killed.stdout.readline() == b"there\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()


def test_a_push_that_is_killed_shows_no_version(model, serving_root):
    call = "push(Path(sys.argv[1]), Path(sys.argv[2]))"
    _kill_in("_copy_to_disk", call, model, serving_root)

    assert versions.find_versions(serving_root) == []
    assert list(serving_root.iterdir()) != []
    # Neither the killed push's lock nor what it left is in the way.
    version = _push(model, serving_root)
    assert list(serving_root.iterdir()) == [version]


def test_a_rollback_that_is_killed_changes_nothing(make_model, serving_root):
    pushed = [_push(make_model(content), serving_root) for content in "ab"]
    _kill_in("_link_to_disk", "roll_back(Path(sys.argv[1]))", serving_root)

    found = versions.find_versions(serving_root)
    assert [version.folder for version in found] == pushed[::-1]
    assert versions.rolled_back_versions(found) == {}
    copy = versions.roll_back(serving_root).live
    assert sorted(serving_root.iterdir()) == sorted([*pushed, copy.folder])
    assert copy.first == int(pushed[0].name)


def test_a_removal_that_is_killed_has_pushed_and_shows_no_half(make_model, serving_root):
    pushed = [_push(make_model(content), serving_root) for content in "abc"]
    last = make_model("d")
    call = "push(Path(sys.argv[1]), Path(sys.argv[2]), keep=2)"
    _kill_in("_delete", call, last, serving_root)

    found = versions.find_versions(serving_root)
    assert [version.folder for version in found[1:]] == [pushed[2], pushed[1]]
    assert _contents(found[0].folder) == _contents(last)
    again = versions.push(last, serving_root, keep=2)
    assert (again.state, again.removed) == ("live", (int(pushed[1].name),))
    assert sorted(serving_root.iterdir()) == [pushed[2], found[0].folder]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_behind_and_is_named(
    model, serving_root, monkeypatch: pytest.MonkeyPatch, number
):
    def full(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(versions, "_write_through", full)

    with pytest.raises(UserError, match=r"disk of .*catalog is full: .* takes 0\.1 MB"):
        versions.push(model, serving_root)
    assert list(serving_root.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(model, tmp_path: Path):
    (tmp_path / "serving").write_text("a file where a folder should be")

    with pytest.raises(UserError, match=r"Cannot copy the model to .*serving/catalog"):
        versions.push(model, tmp_path / "serving" / "catalog")


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes every folder refuse new entries, as a read-only file system does, root or not."""

    def refuse(path, *arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def apply() -> None:
        monkeypatch.setattr(os, "mkdir", refuse)

    return apply


def test_a_folder_that_cannot_be_written_is_named_and_can_be_listed(
    make_model, serving_root, read_only
):
    pushed = [_push(make_model(content), serving_root) for content in "ab"]
    new = make_model("c")
    read_only()

    with pytest.raises(UserError, match=r"Cannot copy .*Read-only file system.*can be written"):
        versions.push(new, serving_root)
    with pytest.raises(UserError, match=r"Cannot roll back .*Read-only.*What was live still is"):
        versions.roll_back(serving_root)
    assert [version.folder for version in versions.find_versions(serving_root)] == pushed[::-1]


def test_different_pushes_at_the_same_time_all_arrive(make_model, serving_root):
    models = [make_model(content) for content in "abcd"]
    with ThreadPoolExecutor(4) as pool:
        pushed = list(pool.map(lambda model: _push(model, serving_root), models))

    assert sorted(serving_root.iterdir()) == sorted(pushed)
    assert len(set(pushed)) == 4
    for model, version in zip(models, pushed, strict=True):
        assert _contents(version) == _contents(model)


def test_the_same_model_pushed_by_several_at_the_same_time_is_one_version(model, serving_root):
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: versions.push(model, serving_root), range(4)))

    assert sorted(outcome.state for outcome in outcomes) == ["live", "live", "live", "new"]
    assert {outcome.version.folder for outcome in outcomes} == set(serving_root.iterdir())


def test_an_object_store_has_no_versions_to_list_or_to_roll_back():
    for call in (versions.find_versions, versions.roll_back):
        with pytest.raises(UserError, match="object store"):
            call(Path("gs://bucket/catalog"))
