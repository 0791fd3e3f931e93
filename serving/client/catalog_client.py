"""The client for programs that wait for their answers."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar, overload

import grpc
import numpy as np

from serving.client.answers import Prediction, Result
from serving.client.connection import Connection, Tls, checked_header
from serving.client.conversation import (
    RESPONSES,
    Call,
    Conversation,
    Pause,
    Steps,
    Text,
    VersionStatus,
    first_refusal,
)
from serving.client.pictures import (
    CONCURRENCY,
    MAX_MESSAGE_BYTES,
    PICTURES_PER_REQUEST,
    Given,
    batches,
    check_bounds,
    chunks,
    is_one,
)
from serving.client.retries import Retries

T = TypeVar("T")


class CatalogClient:
    """A connection to a model server. Threads may share one.

    Args:
        server: "host:port" of the server's gRPC port; with "dns:///" before it, every address
            behind the name is asked in turn.
        model_name: the name under which the model is served.
        timeout_s: how long one request may take, with all its retries. A server that does not
            answer, or is too busy to, is asked again until then.
        attempt_timeout_s: how long one attempt of a request may take before it is made again; None
            lets the first one take all the time.
        version: the version of the model to ask; None takes the one that the server chooses, the
            newest.
        label: in place of a version the label that the server gives to one, e.g. "stable".
        tls: None speaks in the clear; `Tls()` trusts the certificates that gRPC brings; its
            arguments name others, and the client's own for mutual TLS.
        api_key: sent with every request, as the metadata `authorization: Bearer KEY`.
        retries: when a request is made again.
        max_message_bytes: the largest message in either direction. A picture that does not fit is
            refused under its name; nothing is shrunk.

    Raises:
        UserError: an argument is of no use, or a certificate's file cannot be read.
    """

    def __init__(
        self,
        server: str = "localhost:8500",
        model_name: str = "catalog",
        timeout_s: float = 10.0,
        *,
        attempt_timeout_s: float | None = None,
        version: int | None = None,
        label: str | None = None,
        tls: Tls | None = None,
        api_key: str | None = None,
        retries: Retries = Retries(),  # noqa: B008 It is frozen.
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        reached = Connection(server, tls, api_key, max_message_bytes)
        self._max_message_bytes = max_message_bytes
        self._conversation = Conversation(
            reached, model_name, version, label, timeout_s, attempt_timeout_s, retries
        )
        self._channel = (
            grpc.secure_channel(server, tls.credentials(), reached.options)
            if tls
            else grpc.insecure_channel(server, reached.options)
        )
        self._methods = {
            method: self._channel.unary_unary(
                method,
                request_serializer=lambda request: request.SerializeToString(),
                response_deserializer=response.FromString,
            )
            for method, response in RESPONSES.items()
        }

    def __enter__(self) -> CatalogClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; the client cannot be used afterwards."""
        self._channel.close()

    # A text is an iterable of texts too, but no list of pictures.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        images: bytes | str | os.PathLike[str],
        *,
        everything: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        images: Iterable[bytes | str | os.PathLike[str]],
        *,
        everything: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> list[Prediction]: ...

    def predict(
        self,
        images: bytes | str | os.PathLike[str] | Iterable[bytes | str | os.PathLike[str]],
        *,
        everything: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Prediction | list[Prediction]:
        """Asks the model about pictures, all of which must be answered.

        Args:
            images: encoded pictures (JPEG, PNG, GIF, BMP or WebP) as bytes, or paths of such files;
                or a single one. They are sent in as many requests as their number and size need.
            everything: whether to ask for the scores of all labels and for the embedding.
            timeout_s: how long all of it may take; None leaves it to each request's own time.
            request_id: under which the server logs the request; one of its own by default.

        Returns:
            One prediction a picture, in the same order; of a single picture its prediction alone.

        Raises:
            UserError: `images` is neither a picture nor several.
            PictureRefused: a file cannot be read, a picture cannot be decoded or is too large for a
                message; it is named.
            RequestFailed: the server does not answer in time, it has no such model or version, it
                wants another key, or the model is not one of Seamline's.
        """
        if request_id is not None:
            checked_header(request_id, "request id")
        alone = is_one(images)
        deadline = self._conversation.deadline(timeout_s)
        given: Any = [images] if alone else images
        predictions: list[Any] = []
        for batch in batches(given, 0, self._max_message_bytes):
            # What is refused already need not wait for the others' answers.
            if refused := first_refusal(batch, len(predictions)):
                raise refused
            steps = self._conversation.results(batch, everything, deadline, request_id)
            results = self._run(steps)
            if refused := first_refusal(results, len(predictions)):
                raise refused
            predictions.extend(results)
        return predictions[0] if alone else predictions

    def predict_many(
        self,
        images: Given | Iterable[Given],
        *,
        everything: bool = False,
        concurrency: int = CONCURRENCY,
        pictures_per_request: int = PICTURES_PER_REQUEST,
        timeout_s: float | None = None,
    ) -> Generator[Result, None, None]:
        """Asks the model about any number of pictures, some requests at a time.

        Takes from `images` only as results are taken: what is held at any time is twice
        `concurrency` requests.

        Args:
            images: encoded pictures as bytes, or paths of them, or a single one. A `Refused` is
                passed on, for what has no picture and yet a place.
            everything: as in `predict`.
            concurrency: how many requests travel at a time.
            pictures_per_request: how many pictures a request holds, at most
                `MAX_PICTURES_PER_REQUEST`.
            timeout_s: as in `predict`.

        Yields:
            One result a picture, in their order: a `Prediction`, or `Refused` with the reason for
            a picture that cannot be read, sent or decoded, which costs itself alone. Who stops in
            the middle closes the generator, which gives up what is still asked.

        Raises:
            RequestFailed: as in `predict`; results of earlier pictures were given.
        """
        check_bounds(concurrency, pictures_per_request)
        given: Any = [images] if is_one(images) else images
        return self._predict_many(
            chunks(given, pictures_per_request), everything, concurrency, timeout_s
        )

    def _predict_many(
        self,
        waiting: Iterator[tuple[int, list[Given]]],
        everything: bool,
        concurrency: int,
        timeout_s: float | None,
    ) -> Generator[Result, None, None]:
        deadline = self._conversation.deadline(timeout_s)
        in_flight = _InFlight()

        def results_of(start: int, chunk: list[Given]) -> list[Result]:
            results: list[Result] = []
            for batch in batches(chunk, start, self._max_message_bytes):
                steps = self._conversation.results(batch, everything, deadline)
                results += self._run(steps, in_flight)
            return results

        asked: deque[Future[list[Result]]] = deque()
        threads = ThreadPoolExecutor(concurrency, thread_name_prefix="seamline-client")
        try:
            while True:
                for start, chunk in islice(waiting, 2 * concurrency - len(asked)):
                    asked.append(threads.submit(results_of, start, chunk))
                if not asked:
                    return
                yield from asked.popleft().result()
        finally:
            # Whoever stops in the middle, by Ctrl-C too, does not wait for answers.
            in_flight.stop()
            threads.shutdown(wait=False, cancel_futures=True)

    def outputs(
        self,
        signature: str,
        images: bytes | Sequence[bytes],
        timeout_s: float | None = None,
        *,
        inputs: Mapping[str, Text | Sequence[Text]] | None = None,
    ) -> dict[str, np.ndarray]:
        """Asks one signature of the model as it is, in one request.

        Args:
            signature: one that takes `image_bytes`, e.g. "everything".
            images: encoded pictures, or a single one, which makes a batch of one.
            timeout_s: as in `predict`.
            inputs: the signature's further inputs by name, each a text for every picture, or a
                single one for all: `{"label": "category=Shoes"}` of "explain".

        Returns:
            The signature's outputs, float32 or object arrays of bytes, of the shapes that the model
            gives them.

        Raises:
            RequestFailed: the server refuses, for a picture's sake too, or does not answer.
            UserError: an input has another number of texts than there are pictures.
        """
        deadline = self._conversation.deadline(timeout_s)
        return self._run(self._conversation.outputs(signature, images, deadline, inputs=inputs))

    def model_status(self) -> list[VersionStatus]:
        """What the server says about each version of the model that it knows, oldest first.

        Raises:
            RequestFailed: the server does not answer in time, or it has no such model.
        """
        return self._run(self._conversation.status())

    def _run(self, steps: Steps[T], in_flight: _InFlight | None = None) -> T:
        """Does what the exchange wants done, until it comes to its end."""
        try:
            step = next(steps)
            while True:
                try:
                    done = self._do(step, in_flight)
                except grpc.RpcError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(done)
        except StopIteration as end:
            return end.value

    def _do(self, step: Call | Pause, in_flight: _InFlight | None) -> Any:
        if isinstance(step, Call):
            method = self._methods[step.method]
            if in_flight:
                return in_flight.answer(method, step)
            return method(step.request, timeout=step.timeout_s, metadata=step.metadata)
        if in_flight:
            return in_flight.stopped.wait(step.seconds)
        return time.sleep(step.seconds)


class _InFlight:
    """The calls of one `predict_many`, so that all can be given up together."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._calls: set[Any] = set()
        self._lock = threading.Lock()

    def answer(self, method: grpc.UnaryUnaryMultiCallable, call: Call) -> Any:
        with self._lock:
            if self.stopped.is_set():
                raise CancelledError
            future = method.future(call.request, timeout=call.timeout_s, metadata=call.metadata)
            self._calls.add(future)
        try:
            return future.result()
        finally:
            with self._lock:
                self._calls.discard(future)

    def stop(self) -> None:
        with self._lock:
            self.stopped.set()
            calls = list(self._calls)
        for call in calls:
            call.cancel()
