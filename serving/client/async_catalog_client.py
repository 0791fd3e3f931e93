"""The client for programs that run in an event loop."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

import grpc
import numpy as np

from serving.client.answers import Prediction, Refused, Result
from serving.client.connection import Connection, Tls, checked_header
from serving.client.conversation import (
    RESPONSES,
    Call,
    Conversation,
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
    Picture,
    achunks,
    batches,
    check_bounds,
    is_one,
)
from serving.client.retries import Retries

T = TypeVar("T")


class AsyncCatalogClient:
    """As `CatalogClient`, for asyncio: the same arguments, methods, results and errors.

    Belongs to the event loop in which it is made. Files are read in threads, so that the loop does
    not wait for a disk.
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
            grpc.aio.secure_channel(server, tls.credentials(), reached.options)
            if tls
            else grpc.aio.insecure_channel(server, reached.options)
        )
        self._methods = {
            method: self._channel.unary_unary(
                method,
                request_serializer=lambda request: request.SerializeToString(),
                response_deserializer=response.FromString,
            )
            for method, response in RESPONSES.items()
        }

    async def __aenter__(self) -> AsyncCatalogClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; the client cannot be used afterwards."""
        await self._channel.close()

    # A text is an iterable of texts too, but no list of pictures.
    @overload
    async def predict(  # type: ignore[overload-overlap]
        self,
        images: bytes | str | os.PathLike[str],
        *,
        everything: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Prediction: ...

    @overload
    async def predict(
        self,
        images: Iterable[bytes | str | os.PathLike[str]],
        *,
        everything: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> list[Prediction]: ...

    async def predict(
        self,
        images: bytes | str | os.PathLike[str] | Iterable[bytes | str | os.PathLike[str]],
        *,
        everything: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Prediction | list[Prediction]:
        """As `CatalogClient.predict`."""
        if request_id is not None:
            checked_header(request_id, "request id")
        alone = is_one(images)
        deadline = self._conversation.deadline(timeout_s)
        given: Any = [images] if alone else images
        predictions: list[Any] = []
        async for batch in self._batches(given, 0):
            if refused := first_refusal(batch, len(predictions)):
                raise refused
            steps = self._conversation.results(batch, everything, deadline, request_id)
            results = await self._run(steps)
            if refused := first_refusal(results, len(predictions)):
                raise refused
            predictions.extend(results)
        return predictions[0] if alone else predictions

    def predict_many(
        self,
        images: Given | Iterable[Given] | AsyncIterable[Given],
        *,
        everything: bool = False,
        concurrency: int = CONCURRENCY,
        pictures_per_request: int = PICTURES_PER_REQUEST,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Result]:
        """As `CatalogClient.predict_many`; the pictures may come from an async iterator as well."""
        check_bounds(concurrency, pictures_per_request)
        given: Any = [images] if is_one(images) else images
        waiting = achunks(given, pictures_per_request)
        return self._predict_many(waiting, everything, concurrency, timeout_s)

    async def _predict_many(
        self,
        waiting: AsyncIterator[tuple[int, list[Given]]],
        everything: bool,
        concurrency: int,
        timeout_s: float | None,
    ) -> AsyncIterator[Result]:
        deadline = self._conversation.deadline(timeout_s)
        free = asyncio.Semaphore(concurrency)

        async def results_of(start: int, chunk: list[Given]) -> list[Result]:
            results: list[Result] = []
            async with free:
                async for batch in self._batches(chunk, start):
                    steps = self._conversation.results(batch, everything, deadline)
                    results += await self._run(steps)
            return results

        asked: deque[asyncio.Task[list[Result]]] = deque()
        more = True
        try:
            while True:
                while more and len(asked) < 2 * concurrency:
                    chunk = await anext(waiting, None)
                    if chunk is None:
                        more = False
                    else:
                        asked.append(asyncio.create_task(results_of(*chunk)))
                if not asked:
                    return
                for result in await asked[0]:
                    yield result
                asked.popleft()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def outputs(
        self,
        signature: str,
        images: bytes | Sequence[bytes],
        timeout_s: float | None = None,
        *,
        inputs: Mapping[str, Text | Sequence[Text]] | None = None,
    ) -> dict[str, np.ndarray]:
        """As `CatalogClient.outputs`."""
        deadline = self._conversation.deadline(timeout_s)
        return await self._run(
            self._conversation.outputs(signature, images, deadline, inputs=inputs)
        )

    async def model_status(self) -> list[VersionStatus]:
        """As `CatalogClient.model_status`."""
        return await self._run(self._conversation.status())

    async def _batches(
        self, images: Iterable[Given], start: int
    ) -> AsyncIterator[list[Picture | Refused]]:
        reading = batches(images, start, self._max_message_bytes)
        while batch := await asyncio.to_thread(next, reading, None):
            yield batch

    async def _run(self, steps: Steps[T]) -> T:
        """Does what the exchange wants done, until it comes to its end."""
        try:
            step = next(steps)
            while True:
                try:
                    if isinstance(step, Call):
                        method = self._methods[step.method]
                        done = await method(
                            step.request, timeout=step.timeout_s, metadata=step.metadata
                        )
                    else:
                        await asyncio.sleep(step.seconds)
                        done = None
                except grpc.RpcError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(done)
        except StopIteration as end:
            return end.value
