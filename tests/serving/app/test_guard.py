"""Who may ask, what every answer carries, and what is said where the application fails."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse

from serving.app.guard import Guard


async def plain(scope, receive, send):
    await PlainTextResponse(scope["method"])(scope, receive, send)


def ask(app=plain, method="GET", path="/", local_only=True, **headers):
    """The answer of the guarded application, and its headers."""

    async def asked():
        transport = httpx.ASGITransport(Guard(app, local_only=local_only))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, headers=given)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8080", "shop.localhost:80", "127.0.0.1", "192.168.1.7:8080", "[::1]",
     "[::1]:8080", ""],
)  # fmt: skip
def test_names_that_no_name_server_answers_for_are_this_machines(host):
    assert ask(host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "notlocalhost", "localhost.evil.example",
     "127.0.0.1.evil.example", "[::1].evil.example:80", "[evil.example]"],
)  # fmt: skip
def test_other_names_may_have_been_led_here_and_are_refused_unless_others_may_ask(host):
    refused = ask(host=host)

    assert refused.status_code == 403
    assert "--host" in refused.json()["detail"]
    assert ask(host=host, local_only=False).status_code == 200


@pytest.mark.parametrize("local_only", [True, False])
def test_pages_of_other_sites_may_lead_here_and_send_nothing(local_only):
    for site in ("cross-site", "same-site"):
        refused = ask(method="POST", sec_fetch_site=site, local_only=local_only)
        assert refused.status_code == 403
        assert refused.json()["detail"] == "Only this app's own page may ask from a browser."
        for method in ("GET", "HEAD"):
            answer = ask(method=method, sec_fetch_site=site, local_only=local_only)
            assert answer.status_code == 200
    for site in ("same-origin", "none"):
        assert ask(method="POST", sec_fetch_site=site).status_code == 200


def test_a_query_has_2000_parameters_at_most():
    assert ask(path="/?" + "&".join(["a=b"] * 2000)).status_code == 200
    refused = ask(path="/?" + "&".join(["a=b"] * 2001))
    assert refused.status_code == 400
    assert "more than 2,000 parameters" in refused.json()["detail"]


def test_refusals_and_failures_carry_what_keeps_others_out_too():
    async def failing(scope, receive, send):
        raise RuntimeError

    for answer in (ask(), ask(host="evil.example"), ask(failing)):
        headers = answer.headers
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"


def test_how_long_an_answer_may_be_kept_is_the_applications_to_say():
    async def lasting(scope, receive, send):
        response = PlainTextResponse("", headers={"cache-control": "no-cache"})
        await response(scope, receive, send)

    assert ask(lasting).headers["cache-control"] == "no-cache"


def test_head_is_answered_as_get_is():
    head = ask(method="HEAD")

    assert head.headers["content-length"] == str(len("GET"))
    assert ask(method="POST").text == "POST"


def test_a_failure_is_told_in_the_log_alone(caplog):
    async def failing(scope, receive, send):
        raise RuntimeError("at /srv/secret")

    answer = ask(failing, path="/there")

    assert answer.status_code == 500
    assert answer.json() == {"detail": "The app failed; its log says more."}
    [record] = caplog.records
    assert record.getMessage() == "GET /there failed" and "/srv/secret" in caplog.text


def test_an_answer_that_has_begun_is_not_begun_again():
    sent = []

    async def failing(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    async def send(message):
        sent.append(message["type"])

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(Guard(failing, local_only=True)(scope, None, send))

    assert sent == ["http.response.start"]


def test_what_is_no_request_is_the_applications_alone():
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)

    asyncio.run(Guard(app, local_only=True)({"type": "lifespan"}, None, None))

    assert scopes == [{"type": "lifespan"}]


@pytest.mark.parametrize("reason", [asyncio.CancelledError, ClientDisconnect])
def test_whoever_has_left_is_no_failure(reason, caplog):
    async def left(scope, receive, send):
        raise reason

    async def send(message):
        raise AssertionError

    caplog.set_level(logging.INFO)
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(Guard(left, local_only=True)(scope, None, send))

    assert caplog.records == []
