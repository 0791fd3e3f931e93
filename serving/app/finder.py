"""What looks like a picture or a product, by one version of a model and the index beside it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc
import numpy as np

from schema import features
from serving.app.errors import BAD_REQUEST, TOO_LARGE, Refused
from serving.app.facets import Facet, choices, facets
from serving.app.joint_searches import JointSearches, Question
from serving.app.pictures import Crop, check, decoded, encoded
from serving.app.seen import Seen, seen
from serving.client import AsyncCatalogClient, RequestFailed
from serving.search import Answer, Cell, Hit, IndexAway, ProductIndex
from serving.search.blocks import color_block
from serving.search.catalog import IndexedCatalog
from serving.search.recipe import Answers
from serving.search.space import Floats

_UNDECODABLE = re.compile(
    re.escape(features.UNDECODABLE.split(":")[0]).replace(r"\{\}", r"\d+") + r"(?:: ([^\n\]]*))?"
)
# Words of the graph's for what is refused because of its size alone.
_SIZE = re.compile("pixel|scan|large|long")

_NO_SIGNATURE = re.compile("signature.*not found", re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """What is looked for: a picture, or a product of the index.

    Attributes:
        picture: its file; None where a product is named.
        id: the product's.
        crop: the part of the picture, or of the product's, that is looked at.
    """

    picture: bytes | None = None
    id: str | None = None
    crop: Crop | None = None


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        answer: of the index.
        model: the model's name.
        version: its version.
        id: the product that was asked about; None for a picture.
        fields: that product's; None for a picture.
        seen: what the model sees in the picture; None where it was not asked, because the product's
            vector is in the index.
    """

    answer: Answer
    model: str
    version: int
    id: str | None
    fields: Mapping[str, Cell] | None
    seen: list[Seen] | None

    def to_dict(self) -> dict[str, Any]:
        """As the API answers it, but for the time it took."""
        return {
            "results": [_plain(hit) for hit in self.answer.hits],
            "model": self.model,
            "version": self.version,
            "exact": self.answer.exact,
            "nothing_close": self.answer.nothing_close,
            "query": {"id": self.id, "fields": self.fields, "seen": self.seen},
        }


class Finder:
    """Belongs to the event loop that it is used in.

    Args:
        model: the model's name.
        version: its version.
        catalog: the index that was pushed beside that version.
        client: asks that version, and no other.
        work: where pictures are decoded.
        searching: where the index is asked.
        at_once: searches of it that may be under way.
        timeout_s: how long the model server is waited for, asked at every request; None leaves it
            to the client.
        away: why the index cannot be asked, a sentence, looked at before it is; empty where it can.

    Attributes:
        model, version, catalog: as given.
    """

    def __init__(
        self,
        model: str,
        version: int,
        catalog: IndexedCatalog[ProductIndex],
        client: AsyncCatalogClient,
        work: Executor,
        searching: Executor,
        at_once: int = 1,
        timeout_s: Callable[[], float | None] = lambda: None,
        away: Callable[[], str] = lambda: "",
    ):
        self.model = model
        self.version = version
        self.catalog = catalog
        self._client = client
        self._work = work
        self._searching = searching
        self._timeout_s = timeout_s
        self._away = away
        self._searches = JointSearches(catalog.index, searching, at_once)
        self._choices: asyncio.Task[list[str]] | None = None

    async def find(self, asked: Asked, question: Question) -> Found:
        """The products that look like what is asked about, nearest first.

        A product that is asked about is not among them, nor are its near-duplicates.

        Raises:
            UnknownProduct: the index has no such product.
            BadSearch: there is no such field, value or block.
            IndexAway: the engine that holds the index does not answer.
            Refused: the picture cannot be used.
            RequestFailed: the model server does not answer, or not with this version.
            DamagedIndex: another model answers than the one that the index was made with.
        """
        fields: Mapping[str, Cell] | None = None
        self._check_index()
        if asked.id is not None:
            fields, _ = await self.looked_up(self.catalog.index.product, asked.id)
            if not question.exclude:
                question = replace(question, exclude=frozenset([asked.id]), exclude_doubles=True)
            else:
                doubles = await self.looked_up(self.catalog.index.doubles, asked.id)
                question = replace(question, exclude=question.exclude | {asked.id, *doubles})
        with self._searches.coming():
            vector, told = await self.vector(asked)
        answer = await self._searches.search(vector, question)
        return Found(answer, self.model, self.version, asked.id, fields, told)

    async def see(self, picture: bytes, crop: Crop | None = None) -> list[Seen]:
        """What the model sees in a picture.

        Raises:
            Refused, RequestFailed: as `find`.
        """
        return await self.seen_in(await self.sent(Asked(picture, crop=crop)))

    async def seen_in(self, picture: bytes) -> list[Seen]:
        """What the model sees in a picture of `sent`, or in a product's.

        Raises:
            Refused, RequestFailed: as `find`.
        """
        outputs = await self.outputs(features.EVERYTHING_SIGNATURE, [picture])
        return seen(*Answers.of_outputs(outputs))

    async def facets(self, where: Mapping[str, Sequence[str]]) -> tuple[int, dict[str, Facet]]:
        """How many products pass all filters, and the values of each field worth a choice.

        Raises:
            BadSearch, IndexAway: as `find`.
        """
        index = self.catalog.index
        count = await self.looked_up(index.count, where)
        asked = self._choices
        if asked is None or (asked.done() and (asked.cancelled() or asked.exception())):
            # Once, for it looks at every value that there is.
            asked = self._choices = asyncio.ensure_future(self.looked_up(choices, index))
        fields = await asyncio.shield(asked)
        return count, await self.looked_up(facets, index, fields, where)

    async def outputs(
        self, signature: str, pictures: list[bytes], **more: Any
    ) -> dict[str, np.ndarray]:
        """A signature's outputs for pictures.

        Raises:
            Refused, RequestFailed: as `find`.
        """
        try:
            return await self._client.outputs(signature, pictures, self._timeout_s(), **more)
        except RequestFailed as error:
            if error.code is grpc.StatusCode.INVALID_ARGUMENT and (
                said := _UNDECODABLE.search(str(error))
            ):
                reason = (said[1] or "").removesuffix(".")
                reason = re.sub(r" \(request \w+\)$", "", reason)
                raise Refused(
                    TOO_LARGE if _SIZE.search(reason) else BAD_REQUEST,
                    f"The picture cannot be used: {reason or 'it cannot be decoded'}.",
                ) from error
            raise

    async def vector(self, asked: Asked) -> tuple[Floats, list[Seen] | None]:
        """The vector of what is asked about, float32 (D), and what the model sees in it.

        A product's vector is in the index, so that the model need not be asked, and sees nothing.

        Raises:
            UnknownProduct, IndexAway, Refused, RequestFailed, DamagedIndex: as `find`.
        """
        if asked.id is not None and asked.crop is None:
            vectors = await self.looked_up(self.catalog.index.vectors, [asked.id])
            return vectors[0], None
        picture, colors = await self._cut(asked)
        model = asyncio.ensure_future(self.outputs(features.EVERYTHING_SIGNATURE, [picture]))
        try:
            block = await self.done(_colors, picture) if colors is None else colors
        except BaseException:
            model.cancel()
            raise
        answers, labels = Answers.of_outputs(await model)
        self.catalog.recipe.check(labels)
        return self.catalog.recipe.joined(answers, block[None])[0], seen(answers, labels)

    async def sent(self, asked: Asked) -> bytes:
        """The picture that the model is shown: a file.

        Raises:
            UnknownProduct, Refused: as `find`.
        """
        picture, colors = await self._cut(asked)
        if colors is None:
            await self.done(check, picture)
        return picture

    async def explained(self, pictures: list[bytes], label: str) -> dict[str, np.ndarray]:
        """The outputs of the signature `explain` for pictures, and for the same label of each.

        Args:
            pictures: files.
            label: `LEVEL=LABEL`; empty for none.

        Raises:
            Refused, RequestFailed: as `find`; the latter where the model has no such signature.
        """
        return await self.outputs(
            features.EXPLAIN_SIGNATURE, pictures, inputs={features.LABEL: label}
        )

    async def _cut(self, asked: Asked) -> tuple[bytes, np.ndarray | None]:
        """The picture's file, and its colors where it is a part, which was decoded for that."""
        picture = asked.picture
        if picture is None:
            assert asked.id is not None
            picture = await self.done(self.catalog.picture, asked.id)
        if asked.crop is None:
            return picture, None
        return await self.done(_part, picture, asked.crop)

    async def close(self) -> None:
        """Ends the connection, and closes the index's files."""
        if self._choices:
            self._choices.cancel()
        await self._client.close()
        self.catalog.close()

    async def done(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a function returns that takes a processor's time, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._work, function, *arguments)

    async def looked_up(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a function returns that asks the index, which may be on another machine.

        Raises:
            IndexAway: it is known not to answer, so that nobody need wait to hear so.
        """
        self._check_index()
        return await asyncio.get_running_loop().run_in_executor(
            self._searching, function, *arguments
        )

    def _check_index(self) -> None:
        if away := self._away():
            raise IndexAway(away)


def is_no_signature(error: RequestFailed) -> bool:
    """Whether a model was asked for a signature that it has not got."""
    return bool(_NO_SIGNATURE.search(str(error)))


def _colors(picture: bytes) -> np.ndarray:
    return color_block(decoded(picture))


def _part(picture: bytes, crop: Crop) -> tuple[bytes, np.ndarray]:
    """A part of a picture as a file, and its colors.

    In one go, for nobody must hold what is decoded, up to 150 MB, while he waits for a processor or
    for the model.
    """
    part = decoded(picture, crop)
    return encoded(part), color_block(part)


def _plain(hit: Hit) -> dict[str, Any]:
    return {
        "id": hit.id,
        "score": hit.score,
        "parts": hit.parts,
        "fields": hit.fields,
        "group": hit.group,
        "folded": hit.folded,
    }
