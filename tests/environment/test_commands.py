import sys

import pytest

from environment import commands
from environment.commands import SetupFailure


def test_a_command_returns_what_it_printed_on_both_streams():
    script = "import os, sys; print(os.environ['SEEN']); print('oops', file=sys.stderr)"

    printed = commands.run([sys.executable, "-c", script], env={"SEEN": "yes"})

    assert sorted(printed.split()) == ["oops", "yes"]


def test_a_failed_command_is_told_with_its_last_words():
    with pytest.raises(SetupFailure, match="(?s)failed:.*it broke"):
        commands.run([sys.executable, "-c", "raise SystemExit('it broke')"])


def test_a_missing_program_is_named():
    with pytest.raises(SetupFailure, match="no-such-program is not installed"):
        commands.run(["no-such-program"])


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        ("error: failed to write: No space left on device (os error 28)", "the disk is full"),
        ("ERROR: [Errno 28] No space left on device: '/tmp/x'", "the disk is full"),
        ("  Caused by: dns error\n  Caused by: failed to lookup", "could not be reached"),
        ("E: Failed to fetch http://mirror.example.org/InRelease", "could not be reached"),
        ("error: Hash mismatch for `six==1.17.0`", "does not have the hash"),
        ("W: GPG error: NO_PUBKEY 6ED0E7B82643E131", "not signed by a key"),
    ],
)
def test_a_known_failure_is_told_with_its_remedy_and_the_line_that_shows_it(output, remedy):
    sentence = commands.explain(["tool"], output)

    assert remedy in sentence
    assert "seen: " in sentence
