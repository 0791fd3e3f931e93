"""What every index of products answers, whatever finds the nearest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from serving.search.columns import Cell, Where, as_wanted
from serving.search.errors import BadSearch
from serving.search.space import Doubles, Floats, Space


@dataclass(frozen=True)
class Hit:
    """A product that was found.

    Attributes:
        id: its id.
        score: how near it is; more is nearer. See `Space`.
        parts: what each block adds to the score; they sum to it.
        fields: its fields.
        group: the near-duplicates' group that it stands for.
        folded: how many more of the group would be among the results, and are not shown.
    """

    id: str
    score: float
    parts: Mapping[str, float]
    fields: Mapping[str, Cell]
    group: str
    folded: int


@dataclass(frozen=True)
class Answer:
    """What was found for one query.

    Attributes:
        hits: the nearest first; of equals, by id.
        exact: whether all products that were let in were compared, so that nothing nearer is
            missed.
        nothing_close: whether even the first is further than the index's threshold, or nothing was
            found; None where no threshold is set.
    """

    hits: tuple[Hit, ...]
    exact: bool
    nothing_close: bool | None


@dataclass(frozen=True)
class Search:
    """A checked question: what `ProductIndex.search` hands on to the index.

    Attributes:
        queries: as stored, unweighted, float32 (Q, D).
        weights: of the blocks, float64 (B).
        k: how many hits a query.
        where: wanted values of each field.
        exclude: ids that must not be found.
        exclude_doubles: whether their groups must not either.
        fold: whether of each group only the nearest is shown.
        exact: whether nothing nearer may be missed.
    """

    queries: Floats
    weights: Doubles
    k: int
    where: Mapping[str, list[str]]
    exclude: frozenset[str]
    exclude_doubles: bool
    fold: bool
    exact: bool


@dataclass(frozen=True)
class Expansion:
    """Alpha query expansion: the query moves towards what it found first.

    Each block becomes q + sum of max(c, 0)^alpha * x over the first products x, c being the mean
    cosine, and is brought to unit length again (Radenovic, Tolias, Chum: Fine-tuning CNN Image
    Retrieval with No Human Annotation, 2018, section 3.3).

    Attributes:
        products: how many of the first are taken.
        alpha: how much less the further of them count; 0 is the plain mean.
    """

    products: int = 5
    alpha: float = 3.0


class ProductIndex(ABC):
    """The products of a catalog, found by what they look like.

    Attributes:
        engine: what finds the nearest, as people call it.
        space: what a vector consists of.
        made_by: what whoever made the vectors says of them, such as which model it was; JSON.
        threshold: `Space.closeness` below which a product is not close, see `calibrate`; None where
            nobody calibrated it. May be set at any time, and is saved with the index.
    """

    engine: ClassVar[str]
    space: Space
    made_by: dict[str, Any]
    threshold: float | None

    @property
    @abstractmethod
    def is_exact(self) -> bool:
        """Whether an unfiltered search compares every product without being told to."""

    @abstractmethod
    def count(self, where: Where | None = None) -> int:
        """How many products there are, or pass a filter.

        Raises:
            BadSearch: there is no such field, or no product has such a value.
        """

    @abstractmethod
    def facets(self, field: str, where: Where | None = None) -> dict[str, int]:
        """Every value of a field, and how many products have it that pass a filter.

        The commonest first; of equals, by value. A value that none has is left out.

        Raises:
            BadSearch: there is no such field, or no product has such a value.
        """

    @property
    @abstractmethod
    def fields(self) -> list[str]:
        """The fields' names."""

    @abstractmethod
    def upsert(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        fields: Mapping[str, Sequence[Any]] | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> None:
        """Adds products, or puts them in the place of those of the same id.

        Args:
            ids: different texts, N.
            vectors: numbers (N, D); see `Space.stored`.
            fields: of each field N values: a text, several, or None. A field that is left out is
                None for these products.
            groups: the name of each one's group of near-duplicates, which by habit is the id of its
                first; None, or all left out: its own.

        Raises:
            BadSearch: something of it cannot be; then nothing has changed.
        """

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> int:
        """Removes products, and returns how many of these there were."""

    @abstractmethod
    def vectors(self, ids: Sequence[str]) -> Floats:
        """Products' vectors as stored, float32 (N, D), to search for more like them.

        Raises:
            UnknownProduct: there is no such product.
        """

    @abstractmethod
    def product(self, id_: str) -> tuple[Mapping[str, Cell], str]:
        """A product's fields, and its group.

        Raises:
            UnknownProduct: there is no such product.
        """

    @abstractmethod
    def doubles(self, id_: str) -> list[str]:
        """The ids of the others in a product's group of near-duplicates, sorted.

        Raises:
            UnknownProduct: there is no such product.
        """

    @abstractmethod
    def save(self, path: Path | str) -> None:
        """Writes the index into a folder, for `LocalIndex.open`, as a whole or not at all.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """

    def search(
        self,
        vectors: npt.ArrayLike,
        k: int,
        *,
        where: Where | None = None,
        exclude: Collection[str] = (),
        exclude_doubles: bool = False,
        fold: bool = True,
        exact: bool = False,
        weights: Mapping[str, float] | None = None,
        expansion: Expansion | None = None,
    ) -> list[Answer]:
        """Finds the nearest products of each query.

        Args:
            vectors: numbers (Q, D), or one vector (D).
            k: how many hits a query, at least 1.
            where: only products with these values; see `Where`.
            exclude: ids that must not be found, such as the product's that the query is of; those
                that are not there do not matter.
            exclude_doubles: the excluded products' near-duplicates must not be found either.
            fold: of a group of near-duplicates only the nearest is shown.
            exact: nothing nearer may be missed, whatever it takes.
            weights: blocks' weights where they differ from the space's.
            expansion: a second search, from between the query and what the first found.

        Returns:
            An answer for each query, in their order.

        Raises:
            BadSearch: something of it cannot be: vectors of another model, an unknown field, value,
                or block.
        """
        if k < 1:
            raise BadSearch(f"{k} results were asked for; ask for 1 at least.")
        asked = Search(
            queries=self.space.stored(vectors),
            weights=self.space.weights_for(weights),
            k=k,
            where=as_wanted(where),
            exclude=frozenset([exclude] if isinstance(exclude, str) else exclude),
            exclude_doubles=exclude_doubles,
            fold=fold,
            exact=exact,
        )
        if expansion is not None:
            asked = self._expanded(asked, expansion)
        return self._search(asked)

    @abstractmethod
    def _search(self, asked: Search) -> list[Answer]:
        """Answers a checked question."""

    def _expanded(self, asked: Search, expansion: Expansion) -> Search:
        if self.space.distance != "cosine":
            raise BadSearch(
                f'A query is expanded between vectors of unit length; the distance is "'
                f'{self.space.distance}".'
            )
        first = replace(asked, k=expansion.products)
        queries = asked.queries.copy()
        for query, answer in zip(queries, self._search(first), strict=True):
            if not answer.hits:
                continue
            near = [self.space.closeness(hit.score, asked.weights) for hit in answer.hits]
            shares = np.maximum(near, 0.0) ** expansion.alpha
            query += shares.astype(np.float32) @ self.vectors([hit.id for hit in answer.hits])
        return replace(asked, queries=self.space.stored(queries))

    def _nothing_close(self, hits: Sequence[Hit], weights: Doubles) -> bool | None:
        if self.threshold is None:
            return None
        return not hits or self.space.closeness(hits[0].score, weights) < self.threshold
