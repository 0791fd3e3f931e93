"""Why a request is not answered."""

import grpc


class RequestError(Exception):
    """A request that cannot be answered.

    Attributes:
        code: the status that the caller gets, over gRPC as it is and over REST as its HTTP status.
        message: the sentence that goes with it.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message
