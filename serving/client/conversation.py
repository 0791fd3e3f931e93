"""What client and server say to each other, without the sending and the waiting.

Every exchange is a generator that yields what is to be done next, a `Call` or a `Pause`, and is
sent the answer or thrown the `grpc.RpcError`. `CatalogClient` does these things on a thread,
`AsyncCatalogClient` in an event loop; everything that they have in common is here.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import grpc
import numpy as np

from serving.client import answers, connection
from serving.client import tf_serving_pb2 as messages
from serving.client._schema import features
from serving.client.answers import Refused, Result
from serving.client.errors import PictureRefused, RequestFailed, UserError
from serving.client.pictures import Picture, is_one
from serving.client.retries import Retries, RetryBudget, pauses

PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

RESPONSES: Mapping[str, Any] = {
    PREDICT: messages.PredictResponse,
    STATUS: messages.GetModelStatusResponse,
}

# What to ask in which order, for a model of before 2026-12 has `serving_default` alone, where it
# gives everything. The strict signatures are the last resort: one bad picture fails all.
_SIGNATURES = {
    False: (features.TOLERANT_SIGNATURE, features.SERVING_SIGNATURE),
    True: (
        features.TOLERANT_EVERYTHING_SIGNATURE,
        features.EVERYTHING_SIGNATURE,
        features.SERVING_SIGNATURE,
    ),
}

# The strict signatures name the first picture that cannot be used by its index in the request.
_UNDECODABLE = re.compile(
    re.escape(features.UNDECODABLE.split(":")[0]).replace(r"\{\}", r"(\d+)") + r"(?:: ([^\n]*))?"
)
_NO_SUCH_SIGNATURE = re.compile("signature.*not found", re.IGNORECASE)
# gRPC's words for a message above a limit, on either side.
_TOO_LARGE = re.compile("larger than max")

_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    # A server that is being stopped drops a call that comes in this moment.
    grpc.StatusCode.CANCELLED,
)
# gRPC's words for a call that ends because its caller closed the connection, or gave it up.
_GIVEN_UP = re.compile("channel closed|locally cancelled", re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A message to send; its answer is wanted."""

    method: str
    request: Any
    timeout_s: float
    metadata: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Pause:
    """Some time, in seconds, in which nothing is to be done."""

    seconds: float


Text: TypeAlias = str | bytes

Steps: TypeAlias = Generator[Call | Pause, Any, T]
"""An exchange, and what comes of it in the end."""


@dataclass(frozen=True)
class VersionStatus:
    """One version of a served model: its state (`AVAILABLE` answers) and, if it failed, why."""

    version: int
    state: str
    error: str


class Conversation:
    """All that one client says; threads may share it.

    Args:
        reached: where the server is.
        model_name: the name under which the model is served.
        version: the version to ask; None leaves it to the server, which takes the newest.
        label: in place of a version the name that the server gives to one, e.g. "stable".
        timeout_s: how long one request may take, with all its retries.
        attempt_timeout_s: how long one attempt of it may take before the next; None gives the
            first one all of `timeout_s`.
        retries: when to ask again.
        clock: gives the time in seconds.

    Raises:
        UserError: version and label are both given, or a time is not above 0.
    """

    def __init__(
        self,
        reached: connection.Connection,
        model_name: str,
        version: int | None,
        label: str | None,
        timeout_s: float,
        attempt_timeout_s: float | None,
        retries: Retries,
        clock: Callable[[], float] = time.monotonic,
    ):
        if version is not None and label is not None:
            raise UserError(
                f"Both version {version} and label {label!r} were asked for. Name one of them."
            )
        for name, seconds in (("timeout_s", timeout_s), ("attempt_timeout_s", attempt_timeout_s)):
            if seconds is not None and not seconds > 0:
                raise UserError(f"{name} is {seconds}; it must be above 0 seconds.")
        if reached.api_key is not None:
            connection.checked_header(reached.api_key, "API key")
        self._reached = reached
        self._model_name = model_name
        self._version = version
        self._label = label
        self._timeout_s = timeout_s
        self._attempt_timeout_s = attempt_timeout_s
        self._retries = retries
        self._budget = RetryBudget(retries, clock)
        self._clock = clock
        # Signatures that the model does not have, as far as is known, and the version of which
        # that is known.
        self._lacking: frozenset[str] = frozenset()
        self._lacking_version: int | None = None
        self._has_answered = False

    def deadline(self, timeout_s: float | None) -> float | None:
        """The time, by this clock, at which what begins now must have ended."""
        return None if timeout_s is None else self._clock() + timeout_s

    def results(
        self,
        batch: Sequence[Picture | Refused],
        everything: bool,
        deadline: float | None,
        request_id: str | None = None,
    ) -> Steps[list[Result]]:
        """Asks about the pictures of one request; the refused among them keep their places.

        Where the request as a whole is refused, which an older model does for one bad picture, it
        is divided until the bad one is alone.

        Raises:
            RequestFailed: for another reason than one of the pictures.
        """
        request_id = request_id or connection.new_request_id()
        found: list[Any] = list(batch)
        unexplained: dict[int, grpc.RpcError] = {}
        parts = deque([[i for i, given in enumerate(batch) if isinstance(given, Picture)]])
        while parts:
            part = parts.popleft()
            if not part:
                continue
            pictures = [found[place] for place in part]
            try:
                response = yield from self._ask_pictures(pictures, everything, deadline, request_id)
            except grpc.RpcError as error:
                details = error.details() or ""
                named = _UNDECODABLE.search(details)
                invalid = error.code() is grpc.StatusCode.INVALID_ARGUMENT
                if invalid and named and int(named[1]) < len(part):
                    index = int(named[1])
                    reason = named[2] or ""
                    if named.start() and details[named.start() - 1] == "[":
                        # TensorFlow's words around what an Assert says.
                        reason = reason.removesuffix("]")
                    found[part[index]] = answers.undecodable(reason, pictures[index].name)
                    # What comes before was found good; in what comes after there may be more.
                    parts.extend([part[:index], *_halves(part[index + 1 :])])
                elif not invalid and not _is_too_large(error):
                    raise self._explained(error, request_id, deadline) from error
                elif len(part) > 1:
                    parts.extend(_halves(part))
                else:
                    unexplained[part[0]] = error
                continue
            self._has_answered = True
            results = self._results(response, pictures, request_id)
            for place, result in zip(part, results, strict=True):
                found[place] = result
        for place, refusal in unexplained.items():
            # That a picture is at fault is proven by others that were answered.
            if not self._has_answered and not _is_too_large(refusal):
                raise self._explained(refusal, request_id) from refusal
            found[place] = Refused(
                f"is refused by the server: {refusal.details()}", found[place].name
            )
        return found

    def outputs(
        self,
        signature: str,
        contents: bytes | Sequence[bytes],
        deadline: float | None,
        request_id: str | None = None,
        inputs: Mapping[str, Text | Sequence[Text]] | None = None,
    ) -> Steps[dict[str, np.ndarray]]:
        """Asks one signature as it is, without a second try with another.

        Returns:
            Its outputs, as float32 and object arrays of bytes.

        Raises:
            UserError: the contents are no bytes, or a further input is no text for each picture.
        """
        request_id = request_id or connection.new_request_id()
        asked: Any = [contents] if is_one(contents) else contents
        for index, content in enumerate(asked):
            if not isinstance(content, bytes):
                raise UserError(
                    f"Picture {index} is of the type {type(content).__qualname__}, not bytes. Give "
                    "the bytes of its file, as Path(...).read_bytes() does."
                )
        further = {name: _texts(name, given, len(asked)) for name, given in (inputs or {}).items()}
        request = self._predict_request(signature, asked, further)
        try:
            response = yield from self._ask(PREDICT, request, deadline, request_id)
        except grpc.RpcError as error:
            raise self._explained(error, request_id, deadline) from error
        try:
            return {name: answers.array(tensor) for name, tensor in response.outputs.items()}
        except ValueError as error:
            raise self._foreign(error, request_id) from error

    def status(self) -> Steps[list[VersionStatus]]:
        """What the server says about each version of the model that it knows, oldest first."""
        request_id = connection.new_request_id()
        request = messages.GetModelStatusRequest(
            model_spec=messages.ModelSpec(name=self._model_name)
        )
        try:
            response = yield from self._ask(STATUS, request, None, request_id)
        except grpc.RpcError as error:
            raise self._explained(error, request_id) from error
        found = (
            VersionStatus(
                version=status.version,
                state=messages.VersionStatus.State.Name(status.state),
                error=status.status.error_message,
            )
            for status in response.model_version_status
        )
        return sorted(found, key=lambda status: status.version)

    def _ask_pictures(
        self,
        pictures: Sequence[Picture],
        everything: bool,
        deadline: float | None,
        request_id: str,
    ) -> Steps[messages.PredictResponse]:
        contents = [picture.content for picture in pictures]
        *preferred, last = _SIGNATURES[everything]
        for signature in preferred:
            if signature in self._lacking:
                continue
            request = self._predict_request(signature, contents)
            try:
                return (yield from self._ask(PREDICT, request, deadline, request_id))
            except grpc.RpcError as error:
                if not _NO_SUCH_SIGNATURE.search(error.details() or ""):
                    raise
                self._lacking |= {signature}
        request = self._predict_request(last, contents)
        response = yield from self._ask(PREDICT, request, deadline, request_id)
        version = _version(response)
        if self._lacking_version not in (None, version):
            # Another version may have what the last one lacked.
            self._lacking = frozenset()
        self._lacking_version = version
        return response

    def _ask(
        self, method: str, request: Any, deadline: float | None, request_id: str
    ) -> Steps[Any]:
        """Sends the message; while the server is away or too busy, again until the time is over."""
        ends = self._clock() + self._timeout_s
        if deadline is not None:
            ends = min(ends, deadline)
        metadata = self._reached.metadata(request_id)
        self._budget.earn()
        for pause_s in pauses(self._retries):
            left_s = ends - self._clock()
            attempt_s = min(left_s, self._attempt_timeout_s or left_s)
            try:
                return (yield Call(method, request, max(attempt_s, 0.0), metadata))
            except grpc.RpcError as error:
                timed_out = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                final = _is_too_large(error) or _is_given_up(error)
                passing = error.code() in _PASSING and not final
                if not passing and not (timed_out and self._attempt_timeout_s):
                    raise
                pause_s = max(pause_s, self._budget.spend())
                if self._clock() + pause_s >= ends:
                    self._budget.refund()
                    raise
            yield Pause(pause_s)

    def _predict_request(
        self,
        signature: str,
        contents: Sequence[bytes],
        further: Mapping[str, Sequence[bytes]] = MappingProxyType({}),
    ) -> messages.PredictRequest:
        spec = messages.ModelSpec(name=self._model_name, signature_name=signature)
        if self._version is not None:
            spec.version.value = self._version
        elif self._label is not None:
            spec.version_label = self._label
        tensors = {
            name: messages.Tensor(
                dtype=messages.DT_STRING,
                tensor_shape=messages.TensorShape(dim=[messages.TensorShape.Dim(size=len(values))]),
                string_val=list(values),
            )
            for name, values in {**further, features.IMAGE_BYTES: contents}.items()
        }
        return messages.PredictRequest(model_spec=spec, inputs=tensors)

    def _results(
        self, response: messages.PredictResponse, pictures: Sequence[Picture], request_id: str
    ) -> list[Result]:
        names = [picture.name for picture in pictures]
        try:
            return answers.results(response.outputs, names, _version(response))
        except ValueError as error:
            raise self._foreign(error, request_id) from error

    def _foreign(self, error: ValueError, request_id: str) -> RequestFailed:
        return RequestFailed(
            f"The model {self._model_name!r} at {self._reached.server} does not answer as "
            f"Seamline's models do: {error}. Ask for another model.",
            None,
            request_id,
        )

    def _explained(
        self, error: grpc.RpcError, request_id: str, deadline: float | None = None
    ) -> RequestFailed:
        """The error in words for a person."""
        code, details = error.code(), error.details() or ""
        sentence = self._sentence(code, details)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            allowed = f"{self._timeout_s:g} s"
            if deadline is not None and self._clock() >= deadline:
                allowed = "the time that all pictures together were given"
            sentence = (
                f"The model server at {self._reached.server} did not answer within {allowed}. "
                "See whether it is overloaded, or allow it more time."
            )
        if code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND):
            # Where the server has seen the request, its log tells more.
            sentence = f"{sentence} (request {request_id})"
        return RequestFailed(sentence, code, request_id)

    def _sentence(self, code: grpc.StatusCode, details: str) -> str:
        server = self._reached.server
        if code is grpc.StatusCode.UNAVAILABLE:
            if re.search(r"ssl|tls|handshake|certificate|verification", details, re.IGNORECASE):
                return (
                    f"The server at {server} and this client cannot agree on a secure connection "
                    f"({details}). Check the certificates, their names and dates."
                )
            return (
                f"No model server answers at {server} ({details}). Start one with "
                "`seamline serve WORKSPACE`, or name another with --server HOST:PORT."
            )
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and not _TOO_LARGE.search(details):
            return (
                f"The model server at {server} was too busy for {self._timeout_s:g} s ({details}). "
                "Ask less at a time, or allow it more time."
            )
        if code is grpc.StatusCode.NOT_FOUND:
            return (
                f"The server at {server} has no {self._asked_for} ({details}). Ask for one that "
                "it has: its log and its status name them."
            )
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            given = "refuses this API key" if self._reached.api_key else "wants an API key"
            return f"The server at {server} {given} ({details}). Ask its keeper for one."
        return f"The model server at {server} refused ({code.name}): {details}"

    @property
    def _asked_for(self) -> str:
        named = f"model named {self._model_name!r}"
        if self._version is not None:
            return f"version {self._version} of a {named}"
        return f"version labelled {self._label!r} of a {named}" if self._label else named


def first_refusal(results: Sequence[Result | Picture], start: int) -> PictureRefused | None:
    """What to raise where every picture had to be answered; `start` is the place of the first."""
    for index, result in enumerate(results, start):
        if isinstance(result, Refused):
            sentence = f"{result.picture} {result.reason}. Mend it or leave it out."
            return PictureRefused(sentence, index, result.reason)
    return None


def _texts(name: str, given: Text | Sequence[Text], count: int) -> list[bytes]:
    """A further input's text for each of `count` pictures, encoded."""
    texts = [given] * count if isinstance(given, str | bytes) else list(given)
    if len(texts) != count:
        raise UserError(
            f"The input {name} has {len(texts)} texts for {count} pictures. Give one a picture, or "
            "a single text for all of them."
        )
    for index, text in enumerate(texts):
        if not isinstance(text, str | bytes):
            raise UserError(
                f"Text {index} of the input {name} is of the type {type(text).__qualname__}. Give "
                "str or bytes."
            )
    return [text.encode() if isinstance(text, str) else text for text in texts]


def _halves(part: list[int]) -> list[list[int]]:
    middle = (len(part) + 1) // 2
    return [half for half in (part[:middle], part[middle:]) if half]


def _is_too_large(error: grpc.RpcError) -> bool:
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and bool(
        _TOO_LARGE.search(error.details() or "")
    )


def _is_given_up(error: grpc.RpcError) -> bool:
    return error.code() is grpc.StatusCode.CANCELLED and bool(
        _GIVEN_UP.search(error.details() or "")
    )


def _version(response: messages.PredictResponse) -> int | None:
    spec = response.model_spec
    return spec.version.value if spec.HasField("version") else None
