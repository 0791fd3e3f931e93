import fcntl
import json
import subprocess
import sys

import pytest

from environment import create


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout's files, in a temporary folder, with an environment that is stamped as wanted."""
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "create.py").write_text("# the script\n")
    (tmp_path / "environment" / "bootstrap.lock").write_text("uv==1\n")
    (tmp_path / "requirements.lock").write_text("six==1\n")
    (tmp_path / "setup.py").write_text("setup()\n")
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "version.py").write_text('VERSION = "1"\n')
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(create, "ROOT", tmp_path)
    monkeypatch.setattr(create, "SETUP", tmp_path / "setup.py")
    monkeypatch.setattr(create, "VERSION", tmp_path / "schema" / "version.py")
    monkeypatch.setattr(create, "LOCK", tmp_path / "requirements.lock")
    monkeypatch.setattr(create, "BOOTSTRAP", tmp_path / "environment" / "bootstrap.lock")
    monkeypatch.setattr(create, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(create, "STAMP", tmp_path / ".venv" / ".stamp.json")
    monkeypatch.setattr(create, "GUARD", tmp_path / ".venv.guard")
    create.STAMP.write_text(json.dumps(create.wanted_stamp()))
    return tmp_path


@pytest.fixture
def work_done(monkeypatch):
    """The names of the costly steps, in the order in which `create` called them."""
    done = []
    for step in ("check_machine", "make_interpreter", "install_packages"):
        monkeypatch.setattr(create, step, lambda step=step: done.append(step))
    return done


def test_an_environment_that_is_as_wanted_is_left_alone(checkout, work_done):
    create.create()

    assert work_done == []


@pytest.mark.parametrize("changed", ["requirements.lock", "setup.py", "schema/version.py"])
def test_other_packages_are_installed_into_the_environment_that_is_there(
    checkout, work_done, changed
):
    (checkout / changed).write_text("something else\n")

    create.create()

    assert work_done == ["check_machine", "install_packages"]
    assert create.read_stamp(create.STAMP) == create.wanted_stamp()


@pytest.mark.parametrize("changed", ["environment/create.py", "environment/bootstrap.lock"])
def test_another_way_of_making_it_makes_it_anew(checkout, work_done, changed):
    (checkout / changed).write_text("something else\n")

    create.create()

    assert work_done == ["check_machine", "make_interpreter", "install_packages"]


@pytest.mark.parametrize("stamp", [None, "", '{"interpreter": "abc'])
def test_an_interrupted_environment_is_made_anew(checkout, work_done, stamp):
    create.STAMP.unlink()
    if stamp is not None:
        create.STAMP.write_text(stamp)

    create.create()

    assert work_done == ["check_machine", "make_interpreter", "install_packages"]


def test_a_failed_installation_leaves_no_stamp(checkout, work_done, monkeypatch):
    def fail():
        raise create.SetupFailure("the disk is full")

    (checkout / "requirements.lock").write_text("six==2\n")
    monkeypatch.setattr(create, "install_packages", fail)

    with pytest.raises(create.SetupFailure, match="the disk is full"):
        create.create()

    assert not create.STAMP.exists()


def test_a_child_that_outlives_its_run_keeps_the_next_run_waiting(checkout):
    with create.only_one():
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
        )

    with open(create.GUARD) as guard:
        with pytest.raises(BlockingIOError):
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child.communicate(b"\n")
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_digests_tell_parts_from_each_other():
    assert create.digest("ab", "c") != create.digest("a", "bc")
    assert create.digest("ab", b"c") == create.digest(b"ab", "c")


PIP_CONFIG = """\
:env:.extra-index-url='https://env.example.org/simple'
global.cert='/etc/ssl/shop.pem'
global.extra-index-url='https://one.example.org/simple\\nfile:///srv/simple'
global.find-links='/srv/wheels'
global.index-url='https://mirror.example.org/simple'
install.index-url='https://install.example.org/simple'
install.trusted-host='mirror.example.org'
"""


def test_pips_indexes_and_certificate_are_translated_for_uv():
    assert create.uv_variables(PIP_CONFIG, {}) == {
        "UV_DEFAULT_INDEX": "https://install.example.org/simple",
        "UV_INDEX": "https://env.example.org/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/etc/ssl/shop.pem",
        "UV_INSECURE_HOST": "mirror.example.org",
    }


def test_several_extra_indexes_are_all_passed_on():
    config = PIP_CONFIG.split("\n", 1)[1]

    indexes = create.uv_variables(config, {})["UV_INDEX"]

    assert indexes == "https://one.example.org/simple file:///srv/simple"


def test_what_is_set_for_uv_already_wins_over_pips_configuration():
    mine = {"UV_INDEX_URL": "https://mine.example.org", "SSL_CERT_FILE": "/mine.pem"}

    variables = create.uv_variables(PIP_CONFIG, mine)

    assert not {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "SSL_CERT_FILE"} & variables.keys()


def test_without_pip_configuration_nothing_is_set():
    assert create.uv_variables("", {}) == {}
