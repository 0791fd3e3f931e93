"""What the client raises. All of it is a `UserError`: a sentence with the remedy in it."""

from __future__ import annotations

import grpc

from serving.client._schema import errors

UserError = errors.UserError


class RequestFailed(UserError):
    """The server did not answer a request, or refused it as a whole.

    Attributes:
        code: gRPC's status; None where the answer itself is of no use.
        request_id: the id that the request carried, under which it stands in the server's log.
    """

    def __init__(self, message: str, code: grpc.StatusCode | None, request_id: str):
        super().__init__(message)
        self.code = code
        self.request_id = request_id


class PictureRefused(UserError):
    """One picture cannot be used; nothing is wrong with the server or with the others.

    Attributes:
        index: its place among the pictures that were asked about, from 0.
        reason: why it cannot be used.
    """

    def __init__(self, message: str, index: int, reason: str):
        super().__init__(message)
        self.index = index
        self.reason = reason
