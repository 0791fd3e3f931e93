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

from serving.app import server
from serving.app.__main__ import main

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


@pytest.mark.parametrize(
    ("host", "is_local", "address"),
    [("127.0.0.1", True, "http://localhost:80/"), ("127.0.0.2", True, "http://127.0.0.2:80/"),
     ("::1", True, "http://[::1]:80/"), ("0.0.0.0", False, "http://localhost:80/"),
     ("::", False, "http://localhost:80/"), ("192.0.2.7", False, "http://192.0.2.7:80/")],
)  # fmt: skip
def test_where_it_listens_says_who_may_ask_and_where_the_page_is(host, is_local, address):
    options = server.AppOptions(Path(), "localhost:8500", host=host)

    assert options.is_local is is_local
    assert server.address_of(options, 80) == address


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--api-key-file", "no/key"], "no/key"), (["--qdrant-alias", "summer"], "--qdrant URL"),
     (["--port", "65536"], "--port")],
)  # fmt: skip
def test_what_it_cannot_begin_with_is_one_sentence(tmp_path, capsys, arguments, said):
    assert main([str(tmp_path), *arguments]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


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
