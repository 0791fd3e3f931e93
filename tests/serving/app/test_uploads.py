"""Bodies as they come: in pieces, cut off, too long, too slow, hostile."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
import sys
import threading
import time
import tracemalloc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.requests import ClientDisconnect, Request

from serving.app import finder
from serving.app.errors import Refused
from serving.app.uploads import MOST_BYTES, Uploads
from serving.model_server.http_server import Limits
from serving.process import cores
from tests.serving.app import search_model
from tests.serving.app.running import running

PICTURE = search_model.picture((200, 40, 60))
TYPE = "multipart/form-data; boundary=cut"


def multipart(content=PICTURE, name="picture", boundary=b"cut", end=True):
    head = b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="a b.png"\r\n\r\n'
    last = b"\r\n--%b--\r\n" % boundary if end else b""
    return head % (boundary, name.encode()) + content + last


def received(body, content_type=TYPE, chunks=None, uploads=None, takes_id=True, headers=()):
    """What a request's body holds."""
    pieces = [body] if chunks is None else chunks

    async def receive():
        more = len(pieces) > 1
        return {"type": "http.request", "body": pieces.pop(0), "more_body": more}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(b"content-type", content_type.encode("latin-1")), *headers],
    }

    async def take():
        some = uploads or Uploads(10, 1 << 30)
        async with some.received(Request(scope, receive), takes_id=takes_id) as asked:
            return asked

    return asyncio.run(take())


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, len(multipart())), max_size=12))
def test_a_picture_is_the_same_however_its_body_is_cut_up(cuts):
    body = multipart()
    edges = [0, *sorted(cuts), len(body)]
    chunks = [body[start:end] for start, end in zip(edges, edges[1:], strict=False)]

    assert received(body, chunks=chunks) == (PICTURE, None)


@settings(deadline=None, max_examples=200)
@given(body=st.binary(max_size=400), boundary=st.binary(max_size=20))
def test_whatever_comes_is_refused_in_a_sentence(body, boundary):
    kinds = [
        f"multipart/form-data; boundary={boundary.decode('latin-1')}",
        *(TYPE, "application/json", "multipart/form-data", "text/plain", ""),
    ]
    for kind in kinds:
        with pytest.raises(Refused, match=r"\.$"):
            received(body, kind)


REFUSED = [
    (multipart(), "multipart/form-data", 400, "boundary"),
    (multipart(), f"multipart/form-data; boundary={'x' * 300}", 400, "boundary"),
    (multipart(name="image"), TYPE, 400, "no field `picture`"),
    (multipart(name=""), TYPE, 400, "no field `picture`"),
    (b"", TYPE, 400, "missing"),
    (b"--cut--\r\n", TYPE, 400, "no field"),
    (multipart(end=False), TYPE, 400, "missing"),
    (multipart()[:60], TYPE, 400, "missing"),
    (multipart(end=False) + b"\r\n" + multipart(), TYPE, 400, "more than once"),
    (b"".join(multipart(b"1", f"f{at}", end=False) + b"\r\n" for at in range(5000)), TYPE, 400,
     "more than 16"),
    (b"--cut\r\n" + b"A: b\r\n" * 100 + b"\r\n", TYPE, 400, "no multipart"),
    (b"--cut\r\nContent-Disposition: " + b"x" * 5000, TYPE, 400, "no multipart"),
    (b"no boundary here", TYPE, 400, "no multipart"),
    (PICTURE, "image/png", 415, "multipart/form-data"),
    (PICTURE, "application/octet-stream", 415, "multipart/form-data"),
    (b"picture=1", "application/x-www-form-urlencoded", 415, "multipart/form-data"),
    (b"{", "application/json", 400, "no JSON"),
    (b"[" * 10_000, "application/json", 400, "no JSON"),
    (b"\xff", "application/json", 400, "no JSON"),
    (b'"p1"', "application/json", 400, '{"id"'),
    (b'{"id": 7}', "application/json", 400, '{"id"'),
    (b'[{"id": "p1"}]', "application/json", 400, '{"id"'),
    (b'{"id": "\\ud83d"}', "application/json", 400, "surrogate"),
    (b'{"id": "a\\udfff"}', "application/json", 400, "surrogate"),
    (b"1" * 5000, "application/json", 400, "no JSON"),
    (b'{"id": "p1", "k": 7}', "application/json", 400, '{"id"'),
    (b"{}", "application/json", 400, '{"id"'),
    (b" " * 20_000 + b'{"id": "p1"}', "application/json", 413, "longer"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "status", "word"), REFUSED)
def test_a_body_that_is_wrong_gets_its_status(body, kind, status, word):
    with pytest.raises(Refused) as refused:
        received(body, kind)

    assert refused.value.status == status
    assert word in str(refused.value)


def test_the_fields_beside_the_picture_are_left_alone():
    body = multipart(b"x" * 100, "note", end=False) + b"\r\n" + multipart()

    assert received(body) == (PICTURE, None)


def test_what_has_no_name_after_the_picture_is_none_of_it():
    body = multipart(end=False) + b"\r\n--cut\r\n\r\nmore\r\n--cut--\r\n"

    assert received(body) == (PICTURE, None)


def test_names_of_headers_and_types_are_the_same_in_any_case():
    body = multipart().replace(b"Content-Disposition", b"CONTENT-DISPOSITION")

    assert received(body, "Multipart/Form-Data; boundary=cut") == (PICTURE, None)
    assert received(b'{"id": "a"}', "APPLICATION/JSON") == (None, "a")


def test_what_is_just_within_its_bounds_is_taken():
    boundary = b"x" * 200
    kind = f"multipart/form-data; boundary={boundary.decode()}"
    assert received(multipart(boundary=boundary), kind) == (PICTURE, None)
    others = b"".join(multipart(b"1", f"f{at}", end=False) + b"\r\n" for at in range(15))
    assert received(others + multipart()) == (PICTURE, None)
    with pytest.raises(Refused, match="more than 16"):
        received(multipart(b"1", "more", end=False) + b"\r\n" + others + multipart())
    spaces = b" " * (16 * 1024 - len(b'{"id": "a"}'))
    assert received(spaces + b'{"id": "a"}', "application/json") == (None, "a")
    with pytest.raises(Refused, match="longer than an id"):
        received(spaces + b' {"id": "a"}', "application/json")
    most = bytes(MOST_BYTES)
    length = (b"content-length", b"%d" % len(multipart(most)))
    assert received(multipart(most), headers=[length]) == (most, None)


def test_a_picture_is_held_once_while_it_is_asked_about():
    picture = bytes(4 << 20)
    body = multipart(picture)

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http", "method": "POST", "path": "/",
        "headers": [(b"content-type", TYPE.encode())],
    }  # fmt: skip

    async def held():
        async with Uploads(1, 1 << 30).received(Request(scope, receive)) as (taken, _):
            assert taken == picture
            return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        assert asyncio.run(held()) < 1.5 * len(picture)
    finally:
        tracemalloc.stop()


def test_half_a_surrogate_pair_is_refused_in_json_that_anybody_reads(app):
    answer = app.http.post(
        "/api/search",
        content=b'{"id": "\\ud800"}',
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 400
    assert "surrogate" in json.loads(answer.content.decode())["detail"]
    # A whole pair is a letter, as any other.
    assert app.search(id="\U0001f45f", status=404)["detail"].count("\U0001f45f") == 1


def test_an_id_is_taken_where_one_may_come():
    assert received('{"id": "a/ä"}'.encode(), "application/json; charset=utf-8") == (None, "a/ä")
    with pytest.raises(Refused) as refused:
        received(b'{"id": "a"}', "application/json", takes_id=False)
    assert refused.value.status == 415


def test_a_picture_of_more_than_20_mb_is_refused_while_it_is_read():
    taken = []

    def chunks():
        yield multipart(end=False)
        for _ in range(50):
            taken.append(1)
            yield bytes(1 << 20)

    coming = chunks()

    class Endless(list):
        def pop(self, _):
            return next(coming)

        def __len__(self):
            return 2

    with pytest.raises(Refused) as refused:
        received(b"", chunks=Endless())

    assert refused.value.status == 413 and "20 MB" in str(refused.value)
    assert len(taken) == MOST_BYTES // (1 << 20)


def test_what_says_that_it_is_too_long_is_refused_before_it_comes():
    said = ((b"content-length", b"50000000"),)

    with pytest.raises(Refused) as refused:
        received(b"", headers=said, chunks=[])

    assert refused.value.status == 413


def test_no_more_are_answered_and_held_at_a_time_than_is_said():
    async def hold(uploads):
        async def receive():
            return {"type": "http.request", "body": multipart(), "more_body": False}

        scope = {
            "type": "http", "method": "POST", "path": "/",
            "headers": [(b"content-type", TYPE.encode())],
        }  # fmt: skip
        request = Request(scope, receive)
        async with uploads.received(request), uploads.received(Request(scope, receive)):
            pass

    for uploads in (Uploads(1, 1 << 30), Uploads(10, len(multipart()) + 10)):
        for _ in range(3):
            with pytest.raises(Refused) as refused:
                asyncio.run(hold(uploads))
            assert refused.value.status == 429
        assert received(multipart(), uploads=uploads) == (PICTURE, None)


def test_a_client_that_leaves_gives_back_what_it_held():
    uploads = Uploads(1, 1000)

    async def receive():
        if coming:
            return {"type": "http.request", "body": coming.pop(), "more_body": True}
        return {"type": "http.disconnect"}

    scope = {
        "type": "http", "method": "POST", "path": "/",
        "headers": [(b"content-type", TYPE.encode())],
    }  # fmt: skip

    async def take():
        async with uploads.received(Request(scope, receive)):
            raise AssertionError

    for _ in range(5):
        coming = [multipart()[:300]]
        with pytest.raises(ClientDisconnect):
            asyncio.run(take())
    assert received(multipart(), uploads=uploads) == (PICTURE, None)


def test_over_http_50_mb_are_refused_while_they_come(app):
    with socket.create_connection((app.http.base_url.host, app.http.base_url.port)) as connection:
        connection.settimeout(30)
        connection.sendall(
            f"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: {TYPE}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        sent = 0
        piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        first = multipart(end=False)
        connection.sendall(b"%x\r\n%b\r\n" % (len(first), first))
        try:
            for _ in range(50):
                connection.sendall(piece)
                sent += 1
        except OSError:
            pass
        answer = b""
        try:
            while some := connection.recv(65536):
                answer += some
                if b"}" in answer:
                    break
        except OSError:
            pass
    assert answer.startswith(b"HTTP/1.1 413") and b"20 MB" in answer
    assert app.search(PICTURE)["results"]


def test_a_slow_body_is_cut_off_and_others_are_answered_meanwhile(root, model_server, caplog):
    limits = Limits(body_s=0.5, body_bytes_per_s=1 << 30, drain_s=0.5)
    with running(root, model_server.endpoint, limits=limits) as app:
        slow = socket.create_connection((app.http.base_url.host, app.http.base_url.port))
        slow.settimeout(30)
        slow.sendall(
            f"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: {TYPE}\r\n"
            f"Content-Length: {len(multipart())}\r\n\r\n--cut".encode()
        )
        assert app.search(id="p20")["results"]
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")
        slow.close()
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


def test_whoever_leaves_before_the_answer_costs_nobody_else_theirs_and_no_line_of_the_log(
    app, caplog
):
    for _ in range(20):
        with socket.create_connection((app.http.base_url.host, app.http.base_url.port)) as one:
            body = multipart()
            one.sendall(
                f"POST /api/search?k=1000 HTTP/1.1\r\nHost: localhost\r\nContent-Type: {TYPE}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )

    assert app.search(PICTURE)["results"]
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


def test_of_parts_of_large_pictures_no_more_are_decoded_than_there_are_processors(app, monkeypatch):
    there, most = set(), []
    decoded = finder.decoded

    def counted(*asked):
        image = decoded(*asked)
        there.add(id(image))
        weakref.finalize(image, there.discard, id(image))
        most.append(len(there))
        return image

    monkeypatch.setattr(finder, "decoded", counted)
    threads = [
        threading.Thread(target=app.search, args=[PICTURE], kwargs={"crop": "0,0,1,0.5"})
        for _ in range(4 * cores())
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(most) == 4 * cores()
    assert max(most) <= cores()


_opened: list[str] = []
_watching = threading.Event()


# Bound as they are now: it is called until the process has ended.
def _watch(event, arguments, watching=_watching, opened=_opened):
    if watching.is_set() and event == "open" and isinstance(arguments[0], str):
        mode, flags = arguments[1], arguments[2]
        if (mode and set(mode) & set("wax+")) or (flags or 0) & 3:
            opened.append(arguments[0])


def test_no_upload_touches_the_disk(app):
    buffer = io.BytesIO()
    Image.effect_noise((1500, 1500), 90).convert("RGB").save(buffer, "PNG")
    assert len(buffer.getvalue()) > 2_000_000
    sys.addaudithook(_watch)
    _watching.set()
    try:
        assert app.search(buffer.getvalue())["results"]
        assert app.search(buffer.getvalue(), crop="0.1,0.1,0.8,0.8")["results"]
    finally:
        _watching.clear()
    assert _opened == []


def test_thirty_two_at_once_are_all_answered_as_one_alone_is(app, products):
    expected = [app.search(product.picture, k=5)["results"] for product in products[:32]]
    found = [None] * 32

    def ask(at):
        found[at] = app.search(products[at].picture, k=5)["results"]

    threads = [threading.Thread(target=ask, args=[at]) for at in range(32)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert time.monotonic() - began < 60
    for mine, alone in zip(found, expected, strict=True):
        assert [hit["id"] for hit in mine] == [hit["id"] for hit in alone]
        assert [hit["score"] for hit in mine] == pytest.approx([hit["score"] for hit in alone])
