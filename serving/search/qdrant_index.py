"""An index in Qdrant, for catalogs past one machine: its shards, replicas and memory.

Needs `pip install 'seamline[search-qdrant]'`. Qdrant is asked for the inner product of vectors as
`Space` lays them out, so that weights stay on the query's side there as well.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from schema.errors import UserError
from serving.search.columns import (
    Cell,
    Where,
    as_cells,
    as_wanted,
    unknown_field,
    unknown_value,
)
from serving.search.errors import BadSearch, DamagedIndex, IndexAway, UnknownProduct
from serving.search.exact_index import ExactIndex
from serving.search.local_index import LocalIndex
from serving.search.product_index import Answer, Hit, ProductIndex, Search
from serving.search.qdrant_server import API_KEY_VARIABLE
from serving.search.space import Floats, Space

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_ID = "id"
_GROUP = "group"
_OURS = uuid.UUID("6f0cf9d3-5f0a-5a6c-9d0e-3f3c7f4f5b1d")
_POINTS_AT_ONCE = 256
_FACETS = 100_000
_HNSW_EF = 256
"""Candidates that Qdrant keeps while it walks its graph; its own choice of 100 finds less."""

_NEIGHBORS = 15
_SAME_SCORE = 1e-3
"""Float16 knows three digits: products so near to each other may change places."""


class QdrantIndex(ProductIndex):
    """A collection in Qdrant that `create` or `push` made.

    Args:
        client: of the Qdrant that has it; `QdrantClient(url, api_key=...)`.
        collection: its name, or its alias.

    Raises:
        DamagedIndex: there is no such collection, or it holds something else.
        IndexAway: Qdrant does not answer.
    """

    engine = "Qdrant"

    def __init__(self, client: QdrantClient, collection: str):
        self._client = client
        self._collection = collection
        self._known_values: set[tuple[str, str]] = set()
        with self._asking():
            there = client.collection_exists(collection) or collection in aliases(client)
            about = client.get_collection(collection).config.metadata if there else None
        if not about or "blocks" not in about:
            raise DamagedIndex(
                f'Qdrant has no collection "{collection}" that is an index of products; push one '
                "there first."
            )
        # JSON objects keep no order.
        blocks = dict(about["blocks"])
        self.space = Space(blocks, dict(about["weights"]), about["distance"])
        self.made_by = dict(about["made_by"])
        self._dtype = str(about["dtype"])
        self._threshold: float | None = about["threshold"]
        self._fields: list[str] = list(about["fields"])

    @classmethod
    def create(
        cls,
        client: QdrantClient,
        collection: str,
        space: Space,
        *,
        dtype: str = "float32",
        fields: Sequence[str] = (),
        threshold: float | None = None,
        made_by: Mapping[str, Any] | None = None,
    ) -> QdrantIndex:
        """Makes an empty collection, whose fields are indexed before anything is in it.

        Raises:
            BadSearch: there is a collection of that name.
            IndexAway: Qdrant does not answer.
        """
        with _asking(collection):
            if client.collection_exists(collection):
                raise BadSearch(f'Qdrant has a collection "{collection}" already.')
            datatype = models.Datatype.FLOAT16 if dtype == "float16" else models.Datatype.FLOAT32
            client.create_collection(
                collection,
                models.VectorParams(
                    size=space.columns, distance=models.Distance.DOT, datatype=datatype
                ),
                metadata={
                    # Lists, for their order is the vectors'.
                    "blocks": [list(block) for block in space.sizes.items()],
                    "weights": [list(weight) for weight in space.weights.items()],
                    "distance": space.distance,
                    "dtype": dtype,
                    "threshold": threshold,
                    "made_by": dict(made_by or {}),
                    "fields": [],
                },
            )
            client.create_payload_index(collection, _GROUP, models.PayloadSchemaType.KEYWORD)
        made = cls(client, collection)
        made._add_fields(fields)
        return made

    @property
    def is_exact(self) -> bool:
        """False: Qdrant walks a graph, and does not say when it does not."""
        return False

    @property
    def threshold(self) -> float | None:
        """See `ProductIndex`."""
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float | None) -> None:
        self._tell(threshold=threshold)
        self._threshold = threshold

    @property
    def fields(self) -> list[str]:
        """See `ProductIndex`."""
        return list(self._fields)

    def count(self, where: Where | None = None) -> int:
        """See `ProductIndex`."""
        wanted = self._filter(as_wanted(where))
        with self._asking():
            counted = self._client.count(self._collection, count_filter=wanted, exact=True)
        return int(counted.count)

    def facets(self, field: str, where: Where | None = None) -> dict[str, int]:
        """See `ProductIndex`. Of a field's values the 100,000 that are commonest."""
        key, wanted = self._key(field), self._filter(as_wanted(where))
        with self._asking():
            response = self._client.facet(
                self._collection, key, facet_filter=wanted, limit=_FACETS, exact=True
            )
        # The engine still names values whose last product is gone.
        counts = {str(hit.value): hit.count for hit in response.hits if hit.count}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def upsert(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        fields: Mapping[str, Sequence[Any]] | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> None:
        """See `ProductIndex`. All of one call is there once it returns."""
        if not len(ids):
            return
        given = {name: as_cells(name, values) for name, values in (fields or {}).items()}
        stored = self.space.stored(vectors, ids)
        own = list(groups) if groups is not None else [None] * len(ids)
        lengths = {"vectors": len(stored), "groups": len(own)}
        lengths |= {name: len(cells) for name, cells in given.items()}
        for name, length in lengths.items():
            if length != len(ids):
                raise BadSearch(
                    f"There are {len(ids):,} ids to add and {length:,} values of {name}."
                )
        if len(set(ids)) < len(ids):
            doubled = next(id_ for at, id_ in enumerate(ids) if id_ in ids[:at])
            raise BadSearch(f'The product "{doubled}" is there twice among those to add.')
        self._put(ids, stored, given, own)

    def _put(
        self,
        ids: Sequence[str],
        stored: Floats,
        given: Mapping[str, Sequence[Cell]],
        own: Sequence[str | None],
    ) -> None:
        self._add_fields(list(given))
        rows = self.space.rows(stored)
        for first in range(0, len(ids), _POINTS_AT_ONCE):
            points = [
                models.PointStruct(
                    id=_point(ids[at]),
                    vector=rows[at].tolist(),
                    payload={
                        _ID: ids[at],
                        _GROUP: ids[at] if own[at] is None else own[at],
                        **{
                            self._key(name): list(cell) if isinstance(cell, tuple) else cell
                            for name, cells in given.items()
                            if (cell := cells[at]) is not None
                        },
                    },
                )
                for at in range(first, min(first + _POINTS_AT_ONCE, len(ids)))
            ]
            with self._asking():
                self._client.upsert(self._collection, points, wait=True)
        self._known_values.clear()

    def delete(self, ids: Sequence[str]) -> int:
        """See `ProductIndex`."""
        there = [record.id for record in self._records(list(dict.fromkeys(ids)))]
        if there:
            with self._asking():
                self._client.delete(self._collection, models.PointIdsList(points=there), wait=True)
        self._known_values.clear()
        return len(there)

    def vectors(self, ids: Sequence[str]) -> Floats:
        """See `ProductIndex`."""
        found = {record.payload[_ID]: record for record in self._records(ids, vectors=True)}
        made = np.empty((len(ids), self.space.dimensions), np.float32)
        for at, id_ in enumerate(ids):
            if id_ not in found:
                raise UnknownProduct(f'The index holds no product "{id_}", or no longer does.')
            made[at] = self._stored(found[id_])
        return made

    def product(self, id_: str) -> tuple[Mapping[str, Cell], str]:
        """See `ProductIndex`."""
        for record in self._records([id_]):
            return self._cells(record.payload), str(record.payload[_GROUP])
        raise UnknownProduct(f'The index holds no product "{id_}", or no longer does.')

    def doubles(self, id_: str) -> list[str]:
        """See `ProductIndex`."""
        _, group = self.product(id_)
        match = models.FieldCondition(key=_GROUP, match=models.MatchValue(value=group))
        itself = models.HasIdCondition(has_id=[_point(id_)])
        others = models.Filter(must=[match], must_not=[itself])
        return sorted(str(record.payload[_ID]) for page in self._pages(others) for record in page)

    def save(self, path: Path | str) -> None:
        """See `ProductIndex`. What others write meanwhile may be there or not."""
        copy = ExactIndex(self.space, self._dtype, self._threshold, self.made_by)
        for records in self._pages(None, vectors=True):
            cells = [self._cells(record.payload) for record in records]
            copy.upsert(
                [record.payload[_ID] for record in records],
                np.stack([self._stored(record) for record in records]),
                {name: [cell[name] for cell in cells] for name in self._fields},
                [record.payload[_GROUP] for record in records],
            )
        copy.save(path)

    def _search(self, asked: Search) -> list[Answer]:
        wanted = self._filter(asked.where, asked.exclude, asked.exclude_doubles)
        queries = self.space.query(asked.queries, asked.weights)
        found: list[list[Any]] = [[] for _ in queries]
        open_queries = list(range(len(queries)))
        limit = asked.k + (8 + asked.k // 2 if asked.fold else 0)
        while open_queries:
            with self._asking():
                responses = self._client.query_batch_points(
                    self._collection,
                    [
                        models.QueryRequest(
                            query=queries[query].tolist(),
                            filter=wanted,
                            params=models.SearchParams(hnsw_ef=_HNSW_EF, exact=asked.exact),
                            limit=limit,
                            with_payload=True,
                            with_vector=True,
                        )
                        for query in open_queries
                    ],
                )
            still = []
            for query, response in zip(open_queries, responses, strict=True):
                points: list[Any] = response.points
                found[query] = points
                groups = {point.payload[_GROUP] for point in points}
                if asked.fold and len(points) == limit and len(groups) < asked.k:
                    still.append(query)
            open_queries = still
            limit *= 4
        hits = [
            self._hits(asked, query, points)
            for query, points in zip(asked.queries, found, strict=True)
        ]
        if asked.fold:
            hits = self._with_folded(hits, wanted)
        return [
            Answer(tuple(each), asked.exact, self._nothing_close(each, asked.weights))
            for each in hits
        ]

    def _hits(self, asked: Search, query: Floats, points: Sequence[Any]) -> list[Hit]:
        if not points:
            return []
        stored = np.stack([self._stored(point) for point in points])
        parts = self.space.parts(query, asked.weights, stored)
        scores = parts.sum(axis=1)
        seen: set[str] = set()
        hits: list[Hit] = []
        order = sorted(
            range(len(points)), key=lambda at: (-scores[at], str(points[at].payload[_ID]))
        )
        for at in order:
            payload = points[at].payload
            group = str(payload[_GROUP])
            if asked.fold and group in seen:
                continue
            seen.add(group)
            hits.append(
                Hit(
                    id=str(payload[_ID]),
                    score=float(scores[at]),
                    parts=dict(zip(self.space.sizes, parts[at].tolist(), strict=True)),
                    fields=self._cells(payload),
                    group=group,
                    folded=0,
                )
            )
        return hits[: asked.k]

    def _with_folded(
        self, hits: Sequence[Sequence[Hit]], wanted: models.Filter | None
    ) -> list[list[Hit]]:
        groups = sorted({hit.group for each in hits for hit in each})
        if not groups:
            return [list(each) for each in hits]
        these = models.FieldCondition(key=_GROUP, match=models.MatchAny(any=groups))
        must: list[models.Condition] = [these, *((wanted and wanted.must) or [])]
        narrowed = models.Filter(must=must, must_not=wanted and wanted.must_not)
        with self._asking():
            response = self._client.facet(
                self._collection, _GROUP, facet_filter=narrowed, limit=len(groups), exact=True
            )
        counts = {str(hit.value): hit.count for hit in response.hits}
        return [
            [replace(hit, folded=counts.get(hit.group, 1) - 1) for hit in each] for each in hits
        ]

    def _filter(
        self,
        where: Mapping[str, list[str]],
        exclude: frozenset[str] = frozenset(),
        exclude_doubles: bool = False,
    ) -> models.Filter | None:
        must = []
        for field, values in where.items():
            key = self._key(field)
            for value in values:
                self._check_value(field, key, value)
            must.append(models.FieldCondition(key=key, match=models.MatchAny(any=values)))
        must_not: list[models.Condition] = []
        if exclude:
            points = sorted(_point(id_) for id_ in exclude)
            must_not.append(models.HasIdCondition(has_id=list(points)))
        if exclude_doubles:
            records = self._records(sorted(exclude))
            groups = sorted({str(record.payload[_GROUP]) for record in records})
            if groups:
                match = models.MatchAny(any=groups)
                must_not.append(models.FieldCondition(key=_GROUP, match=match))
        if not must and not must_not:
            return None
        return models.Filter(must=list(must) or None, must_not=must_not or None)

    def _check_value(self, field: str, key: str, value: str) -> None:
        if (field, value) in self._known_values:
            return
        match = models.FieldCondition(key=key, match=models.MatchValue(value=value))
        with self._asking():
            counted = self._client.count(
                self._collection, count_filter=models.Filter(must=[match]), exact=True
            )
        if not counted.count:
            raise unknown_value(field, value, self.facets(field))
        self._known_values.add((field, value))

    def _key(self, field: str) -> str:
        # A field may be called what Qdrant reads as a path.
        if field not in self._fields:
            raise unknown_field(field, self._fields)
        return f"f{self._fields.index(field)}"

    def _cells(self, payload: Mapping[str, Any]) -> dict[str, Cell]:
        made: dict[str, Cell] = {}
        for at, name in enumerate(self._fields):
            cell = payload.get(f"f{at}")
            made[name] = tuple(cell) if isinstance(cell, list) else cell
        return made

    def _stored(self, record: Any) -> Floats:
        return np.asarray(record.vector, np.float32)[: self.space.dimensions]

    def _records(self, ids: Sequence[str], vectors: bool = False) -> list[Any]:
        with self._asking():
            return list(
                self._client.retrieve(
                    self._collection,
                    [_point(id_) for id_ in ids],
                    with_payload=True,
                    with_vectors=vectors,
                )
            )

    def _pages(self, wanted: models.Filter | None, vectors: bool = False) -> Iterator[list[Any]]:
        """All products that pass a filter, some at a time."""
        offset = None
        while True:
            with self._asking():
                records, offset = self._client.scroll(
                    self._collection,
                    scroll_filter=wanted,
                    limit=_POINTS_AT_ONCE,
                    offset=offset,
                    with_payload=True,
                    with_vectors=vectors,
                )
            if records:
                yield records
            if offset is None:
                return

    def _add_fields(self, fields: Sequence[str]) -> None:
        new = [name for name in fields if name not in self._fields]
        if not new:
            return
        self._fields = [*self._fields, *new]
        self._tell(fields=self._fields)
        for name in new:
            with self._asking():
                self._client.create_payload_index(
                    self._collection, self._key(name), models.PayloadSchemaType.KEYWORD
                )

    def _tell(self, **about: Any) -> None:
        with self._asking():
            self._client.update_collection(self._collection, metadata=about)

    def _asking(self) -> Any:
        return _asking(self._collection)


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        collection: what the alias names now.
        replaced: what it named before; None where it is new.
        products: how many are there.
        recall: share of the exact nearest that Qdrant found, over the queries.
    """

    collection: str
    replaced: str | None
    products: int
    recall: float


def push(
    source: LocalIndex,
    client: QdrantClient,
    alias: str,
    *,
    made_by: Mapping[str, Any] | None = None,
    queries: int = 1_000,
    recall: float = 0.99,
    remove_replaced: bool = False,
    wait_s: float = 3_600,
) -> Pushed:
    """Brings an index to Qdrant and, once it answers there as it should, lets an alias name it.

    The products are streamed into a new collection; then queries are put to both, half of them
    filtered. Until the last step, whoever asks the alias is answered by the collection before.

    Args:
        source: the index, which nobody should write to meanwhile.
        client: of the Qdrant.
        alias: what `QdrantIndex` is asked by.
        made_by: what the collection says of the vectors; what the index does, by default.
        queries: how many products' neighbors are compared.
        recall: share of the exact nearest that must be found.
        remove_replaced: whether the collection that the alias named before is removed.
        wait_s: seconds that Qdrant may take to index what it was given.

    Raises:
        UserError: too few of the nearest are found, or Qdrant does not get ready. The new
            collection is gone then, and the alias names what it did.
        IndexAway: Qdrant does not answer.
    """
    with _asking(alias):
        if client.collection_exists(alias) and alias not in aliases(client):
            raise BadSearch(
                f'Qdrant has a collection that is called "{alias}" itself; choose another alias.'
            )
    collection = f"{alias}-{secrets.token_hex(4)}"
    made = QdrantIndex.create(
        client,
        collection,
        source.space,
        dtype=source.dtype,
        fields=source.fields,
        threshold=source.threshold,
        made_by=source.made_by if made_by is None else made_by,
    )
    try:
        _stream(source, made)
        _wait_until_ready(client, collection, wait_s)
        if made.count() != source.count():
            raise UserError(
                f"Qdrant has {made.count():,} products of {source.count():,}; push again, and see "
                "that nobody changes the index meanwhile."
            )
        found = _compared(source, made, queries)
        if found < recall:
            raise UserError(
                f'Qdrant finds {found:.3f} of the nearest products, {recall} are wanted; "{alias}" '
                "stays what it was. Raise hnsw_config.m or ef_construct in Qdrant's configuration."
            )
        with _asking(alias):
            replaced = aliases(client).get(alias)
            changes: list[models.AliasOperations] = []
            if replaced is not None:
                changes.append(
                    models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
                )
            changes.append(
                models.CreateAliasOperation(
                    create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
                )
            )
            client.update_collection_aliases(changes)
    except BaseException:
        with suppress(Exception):
            client.delete_collection(collection)
        raise
    if remove_replaced and replaced is not None:
        with _asking(replaced):
            client.delete_collection(replaced)
    return Pushed(collection, replaced, source.count(), found)


def _stream(source: LocalIndex, made: QdrantIndex) -> None:
    ids = source.ids()
    for first in range(0, len(ids), _POINTS_AT_ONCE):
        some = ids[first : first + _POINTS_AT_ONCE]
        products = [source.product(id_) for id_ in some]
        # As they are: to bring float16 to unit length again would change its last digit.
        made._put(
            some,
            source.vectors(some),
            {name: [fields[name] for fields, _ in products] for name in source.fields},
            [group for _, group in products],
        )


def _wait_until_ready(client: QdrantClient, collection: str, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        with _asking(collection):
            status = client.get_collection(collection).status
        if status == models.CollectionStatus.GREEN:
            return
        if status == models.CollectionStatus.RED or time.monotonic() > deadline:
            raise UserError(
                f'Qdrant has not indexed "{collection}" after {wait_s:.0f} s; its status is '
                f"{status.value}."
            )
        time.sleep(1)


def _compared(source: LocalIndex, made: QdrantIndex, queries: int) -> float:
    """Share of the exact nearest that are found, by products, without filters and with."""
    ids = source.ids()
    if not ids:
        return 1.0
    rng = np.random.default_rng(0)
    asked = [ids[at] for at in rng.choice(len(ids), min(queries, len(ids)), replace=False)]
    filters: list[Where] = [{}]
    for field in source.fields:
        common = list(source.facets(field))[:2]
        filters += [{field: value} for value in common]
    # Half of them without a filter.
    plain = (len(asked) + 1) // 2 if len(filters) > 1 else len(asked)
    parts = [asked[:plain]]
    parts += [asked[plain + at :: len(filters) - 1] for at in range(len(filters) - 1)]
    right = wanted = 0
    for where, part in zip(filters, parts, strict=True):
        for first in range(0, len(part), _POINTS_AT_ONCE):
            vectors = source.vectors(part[first : first + _POINTS_AT_ONCE])
            truths = source.search(vectors, _NEIGHBORS, where=where, exact=True, fold=False)
            founds = made.search(vectors, _NEIGHBORS, where=where, fold=False)
            for truth, found in zip(truths, founds, strict=True):
                if not truth.hits:
                    continue
                least = truth.hits[-1].score - _SAME_SCORE
                wanted += len(truth.hits)
                right += sum(hit.score >= least for hit in found.hits)
    return right / wanted if wanted else 1.0


def _point(id_: str) -> str:
    """A product's id in Qdrant, which takes numbers and UUIDs only."""
    return str(uuid.uuid5(_OURS, id_))


def aliases(client: QdrantClient) -> dict[str, str]:
    """The collection that each alias names.

    Raises:
        IndexAway: Qdrant does not answer.
    """
    with _asking():
        found = client.get_aliases().aliases
    return {each.alias_name: each.collection_name for each in found}


@contextmanager
def _asking(collection: str = "") -> Iterator[None]:
    called = f' for "{collection}"' if collection else ""
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code in (_UNAUTHORIZED, _FORBIDDEN):
            raise IndexAway(
                f"Qdrant wants another API key{called} than it was given; "
                f"{API_KEY_VARIABLE} may hold the right one, or a file that the command is told of."
            ) from error
        if error.status_code == _NOT_FOUND:
            raise DamagedIndex(
                f'Qdrant has no collection "{collection}", or no longer has; push the index there '
                "again."
            ) from error
        raise _away(called, error) from error
    except (ApiException, QdrantException, grpc.RpcError, ConnectionError) as error:
        raise _away(called, error) from error


def _away(called: str, error: Exception) -> IndexAway:
    said = " ".join(str(error).split())[:300]
    return IndexAway(
        f"Qdrant does not answer{called} ({said}); see that it runs, and that its address is right."
    )
