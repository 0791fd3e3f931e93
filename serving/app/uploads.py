"""What comes in a request's body: a picture as multipart, or a product's id as JSON.

A body is refused while it is read, as soon as it is too long. All of it stays in memory: nothing
that anybody uploads ever touches a disk.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from serving.app.errors import BAD_REQUEST, NO_PICTURE, TOO_LARGE, TOO_MANY, Refused

FIELD = "picture"
"""The multipart field that holds the picture."""

MOST_BYTES = 20 * 1024 * 1024
"""Of a picture's file."""

_MOST_BODY_BYTES = MOST_BYTES + 16 * 1024
_MOST_JSON_BYTES = 16 * 1024
_MOST_PARTS = 16
_MOST_HEADERS = 8
_MOST_HEADER_BYTES = 1024
_LONGEST_BOUNDARY = 200

_WANTED = (
    f"Send a picture as multipart/form-data, in the field `{FIELD}`, or a product as "
    'application/json, {"id": "..."}.'
)


class Uploads:
    """Bounds what all requests together may hold.

    Args:
        most_answered: how many are answered at a time.
        most_bytes: of all bodies that are being received or answered.
    """

    def __init__(self, most_answered: int, most_bytes: int):
        self._most_answered = most_answered
        self._most_bytes = most_bytes
        self._answered = 0
        self._bytes = 0

    @asynccontextmanager
    async def received(
        self, request: Request, *, takes_id: bool = True
    ) -> AsyncIterator[tuple[bytes | None, str | None]]:
        """The picture in a request's body, or else the id; they count as held meanwhile.

        Args:
            request: the request.
            takes_id: whether an id may come in place of the picture.

        Raises:
            Refused: the body is none of both, or malformed, or too long, or too much is being
                received.
        """
        held = 0
        try:
            kind, options = parse_options_header(request.headers.get("content-type"))
            is_json = takes_id and kind == b"application/json"
            most = _MOST_JSON_BYTES if is_json else _MOST_BODY_BYTES
            declared = request.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > most:
                raise _too_long(is_json)
            if not is_json and kind != b"multipart/form-data":
                raise Refused(NO_PICTURE, _WANTED)
            parts = None if is_json else _Parts(options.get(b"boundary"))
            body: list[bytes] = []
            async for chunk in request.stream():
                held += len(chunk)
                self._bytes += len(chunk)
                if held > most:
                    raise _too_long(is_json)
                if self._bytes > self._most_bytes:
                    raise _too_many()
                if parts is None:
                    body.append(chunk)
                else:
                    parts.write(chunk)
            asked = (None, _id(b"".join(body))) if parts is None else (parts.picture(), None)
            if self._answered >= self._most_answered:
                raise _too_many()
            self._answered += 1
            try:
                yield asked
            finally:
                self._answered -= 1
        finally:
            self._bytes -= held


class _Parts:
    """The picture among the parts of a multipart body, as it comes.

    Args:
        boundary: what stands between the parts; None where the request names none.
    """

    def __init__(self, boundary: bytes | None):
        if not boundary or len(boundary) > _LONGEST_BOUNDARY:
            raise Refused(
                BAD_REQUEST,
                "The content type multipart/form-data has no boundary, or too long a one.",
            )
        self._header = bytearray()
        self._value = bytearray()
        self._parts = 0
        self._is_picture = False
        self._pictures = 0
        self._picture = bytearray()
        self._is_over = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_part_data": self._on_data,
                "on_end": self._end,
            },
            max_header_count=_MOST_HEADERS,
            max_header_size=_MOST_HEADER_BYTES,
        )

    def write(self, chunk: bytes) -> None:
        """Takes what has come.

        Raises:
            Refused: it is not multipart, or of too many parts.
        """
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise Refused(
                BAD_REQUEST, f"The body is no multipart/form-data as its type says: {error}."
            ) from error

    def picture(self) -> bytes:
        """Hands the picture over, once all has come.

        Raises:
            Refused: there is none, or more than one, or the end is missing.
        """
        if not self._is_over:
            raise Refused(
                BAD_REQUEST, "The body ends before its last boundary: part of it is missing."
            )
        if not self._pictures:
            raise Refused(BAD_REQUEST, f"There is no field `{FIELD}` in the body. {_WANTED}")
        picture = bytes(self._picture)
        self._picture.clear()
        return picture

    def _begin(self) -> None:
        self._parts += 1
        self._is_picture = False
        if self._parts > _MOST_PARTS:
            raise Refused(BAD_REQUEST, f"The body has more than {_MOST_PARTS} fields. {_WANTED}")

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._is_picture = options.get(b"name") == FIELD.encode()
            self._pictures += self._is_picture
            if self._pictures > 1:
                raise Refused(
                    BAD_REQUEST, f"The field `{FIELD}` is there more than once; send one."
                )
        self._header.clear()
        self._value.clear()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_picture:
            self._picture += data[start:end]
            if len(self._picture) > MOST_BYTES:
                raise _too_long(is_json=False)

    def _end(self) -> None:
        self._is_over = True


def _id(body: bytes) -> str:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(BAD_REQUEST, f"The body is no JSON as its type says: {error}.") from error
    if not isinstance(told, dict) or set(told) != {"id"} or not isinstance(told["id"], str):
        raise Refused(BAD_REQUEST, f'The body\'s JSON is not {{"id": "..."}}. {_WANTED}')
    if any("\ud800" <= letter <= "\udfff" for letter in told["id"]):
        raise Refused(
            BAD_REQUEST, "The id has half of a surrogate pair, which is no letter; send text."
        )
    return told["id"]


def _too_long(is_json: bool) -> Refused:
    if is_json:
        return Refused(TOO_LARGE, "The JSON is longer than an id can be.")
    return Refused(
        TOO_LARGE, f"The picture is larger than the {MOST_BYTES >> 20} MB that are taken."
    )


def _too_many() -> Refused:
    return Refused(TOO_MANY, "Too many ask at the same time; ask again in a moment.")
