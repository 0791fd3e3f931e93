"""What holds for every request and answer: headers of security, and who may ask."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger("seamline.app")

_MOST_PARAMETERS = 2000
"""They are refused by number further on; so many are not even taken apart."""

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Around the application.

    Args:
        app: the application.
        local_only: see `make_app`.
    """

    def __init__(self, app: ASGIApp, *, local_only: bool):
        self._app = app
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, whatever happens."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        has_begun = False

        async def with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refused = self._refused(scope)
        if refused:
            return await _refuse(with_headers, *refused)
        if scope["method"] == "HEAD":
            # What GET answers; the server leaves the body out.
            scope = {**scope, "method": "GET"}
        try:
            await self._app(scope, receive, with_headers)
        except (asyncio.CancelledError, ClientDisconnect):
            # Nobody is there to be answered.
            return
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
            if not has_begun:
                await _refuse(with_headers, 500, "The app failed; its log says more.")

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if self._local_only and not _is_local(headers.get("host", "")):
            return 403, (
                "This app answers on its own machine only, under localhost; --host makes it answer "
                "others."
            )
        if scope["method"] not in ("GET", "HEAD") and (
            headers.get("sec-fetch-site") in ("cross-site", "same-site")
        ):
            return 403, "Only this app's own page may ask from a browser."
        if scope["query_string"].count(b"&") >= _MOST_PARAMETERS:
            return 400, f"The query has more than {_MOST_PARAMETERS:,} parameters; ask for less."
        return None


def _is_local(host: str) -> bool:
    """Whether a `Host` is this machine by a name that no name server elsewhere answers for."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]").lower()
    if name in ("localhost", "") or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(send: Send, status: int, sentence: str) -> None:
    content = json.dumps({"detail": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
