"""What `seamline serve` says at the start, and what it refuses before it loads anything."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import serve_console
from schema.errors import UserError


def _said(client_ca: Path | None = None, model: str = "catalog", **settings) -> str:
    options = {"ssl": None, "api_key_file": None, "host": "127.0.0.1"} | settings
    server = SimpleNamespace(
        version=7,
        endpoint="127.0.0.1:8500",
        rest_endpoint="127.0.0.1:8501",
        is_open_to_anybody=options["host"] != "127.0.0.1",
        options=SimpleNamespace(**options),
    )
    terminal = io.StringIO()
    serve_console._announce(server, model, client_ca, terminal)
    return terminal.getvalue()


def test_it_says_where_it_listens_and_how_to_ask():
    said = _said()

    assert "serving catalog version 7" in said
    assert "seamline predict PICTURE.jpg --server 127.0.0.1:8500\n" in said
    assert "curl -d @- http://127.0.0.1:8501/v1/models/catalog:predict\n" in said
    assert "Anybody" not in said


def test_the_lines_ask_with_what_the_server_wants():
    said = _said(Path("ca.crt"), model="shoes", api_key_file=Path("keys"), ssl=object())

    assert "--model shoes --api-key-file KEY --tls --ca CA.crt --certificate MINE.crt" in said
    assert '-H "x-api-key: KEY" --cacert CA.crt --cert MINE.crt' in said
    assert "https://127.0.0.1:8501/v1/models/shoes:predict" in said


def test_who_is_open_to_anybody_is_told_so():
    assert "Anybody who can reach 0.0.0.0 may ask" in _said(host="0.0.0.0")


@pytest.mark.parametrize(
    "files", [("a.crt", None, None), (None, "a.key", None), (None, None, "ca")]
)
def test_half_of_tls_is_refused(files):
    with pytest.raises(UserError, match="--tls-certificate and --tls-key"):
        serve_console._tls(*(file and Path(file) for file in files))


def test_a_certificate_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.crt cannot be read"):
        serve_console._tls(tmp_path / "none.crt", tmp_path / "none.key", None)
