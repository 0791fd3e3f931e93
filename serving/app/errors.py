"""What a caller is told that cannot be answered: a status of HTTP, and a sentence."""

from __future__ import annotations

import grpc

from schema.errors import UserError
from serving.client import RequestFailed
from serving.search import BadSearch, DamagedIndex, IndexAway, UnknownProduct

BAD_REQUEST = 400
NOT_FOUND = 404
TOO_LARGE = 413
NO_PICTURE = 415
TOO_MANY = 429
AWAY = 503


class Refused(UserError):
    """A request that is not answered.

    Attributes:
        status: of HTTP: 400 what was asked for makes no sense, 404 there is no such thing, 413 too
            much came, 415 it is no picture, 429 too many ask, 503 what is needed to answer is away.
    """

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


def status_of(error: UserError) -> int:
    """The status of HTTP for what was raised on purpose."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, BadSearch):
        return BAD_REQUEST
    if isinstance(error, UnknownProduct):
        return NOT_FOUND
    if isinstance(error, RequestFailed) and error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return TOO_MANY
    if isinstance(error, (DamagedIndex, IndexAway, RequestFailed)):
        return AWAY
    return BAD_REQUEST
