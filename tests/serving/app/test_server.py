"""The app as a process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[3]
ADDRESS = re.compile(r"the page is at (http://\S+)")


def started(*arguments, module="serving.app"):
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
    )


def address_of(process):
    for line in process.stderr:
        if found := ADDRESS.search(line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[1]
    raise AssertionError(process.wait())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_beside_a_server_and_ends_well_when_it_is_told_to(root, model_server, number):
    process = started(root, "--server", model_server.endpoint, "--port", 0, "--model", "plain")
    try:
        address = address_of(process)
        told = httpx.get(f"{address}api/models", timeout=60).json()
        process.send_signal(number)
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert [model["name"] for model in told["models"]] == ["plain"]
    assert told["default"] == "plain"


def test_a_port_in_use_and_a_root_that_is_not_there_are_said(root, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, word in (((root, "--port", port), "--port"), ((tmp_path / "no",), "no")):
            process = started(*arguments)
            assert process.wait(60) == 1
            said = process.stderr.read().strip()
            assert word in said and len(said.splitlines()) == 1


def test_it_needs_no_tensorflow_and_no_step():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent("""
            import sys
            import serving.app.__main__
            loaded = {name.partition(".")[0] for name in sys.modules}
            print(sorted(loaded & {"tensorflow", "keras", "tfx", "apache_beam", "components",
                                   "trainer", "pipeline", "qdrant_client", "torch"}))
        """)],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip

    assert done.stdout.strip() == "[]", done.stderr
