"""Qdrant's own engine inside this process, asked as a `QdrantClient` is.

The client's local mode is Python of its own: whether filters, deletions and the graph of HNSW do
what `QdrantIndex` counts on, only the engine can say. It knows as much of the client as that uses.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qdrant_edge as edge
from qdrant_client import models


class EdgeClient:
    """Collections, each a shard in a folder.

    Args:
        folder: an empty one.
        indexed_from_kb: of vectors; a segment with more is given a graph.
    """

    def __init__(self, folder: Path, indexed_from_kb: int = 64):
        self._folder = folder
        self._indexed_from_kb = indexed_from_kb
        self._shards: dict[str, Any] = {}
        self._about: dict[str, dict[str, Any]] = {}
        self._aliases: dict[str, str] = {}
        self._dirty: set[str] = set()

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()

    def collection_exists(self, name: str) -> bool:
        return name in self._shards

    def create_collection(self, name: str, vectors: models.VectorParams, metadata: dict) -> None:
        assert vectors.distance == models.Distance.DOT
        path = self._folder / name
        path.mkdir()
        datatype = edge.VectorStorageDatatype.Float32
        if vectors.datatype == models.Datatype.FLOAT16:
            datatype = edge.VectorStorageDatatype.Float16
        params = edge.EdgeVectorParams(vectors.size, edge.Distance.Dot, datatype=datatype)
        graph = edge.HnswIndexConfig(16, 100, 1)
        optimizers = edge.EdgeOptimizersConfig(
            default_segment_number=1, indexing_threshold=self._indexed_from_kb
        )
        config = edge.EdgeConfig(params, hnsw_config=graph, optimizers=optimizers)
        self._shards[name] = edge.EdgeShard.create(str(path), config)
        self._about[name] = dict(metadata)

    def delete_collection(self, name: str) -> None:
        self._shards.pop(name).close()
        self._about.pop(name)
        shutil.rmtree(self._folder / name)

    def get_collection(self, name: str) -> SimpleNamespace:
        about = self._about[self._aliases.get(name, name)]
        return SimpleNamespace(
            config=SimpleNamespace(metadata=about), status=models.CollectionStatus.GREEN
        )

    def update_collection(self, name: str, metadata: dict) -> None:
        self._about[self._aliases.get(name, name)].update(metadata)

    def get_aliases(self) -> SimpleNamespace:
        return SimpleNamespace(
            aliases=[
                models.AliasDescription(alias_name=alias, collection_name=name)
                for alias, name in self._aliases.items()
            ]
        )

    def update_collection_aliases(self, changes: list) -> None:
        for change in changes:
            if isinstance(change, models.DeleteAliasOperation):
                del self._aliases[change.delete_alias.alias_name]
            else:
                made = change.create_alias
                self._aliases[made.alias_name] = made.collection_name

    def create_payload_index(self, name: str, field: str, schema: Any) -> None:
        assert schema == models.PayloadSchemaType.KEYWORD
        keyword = edge.PayloadSchemaType.Keyword
        self._shard(name).update(edge.UpdateOperation.create_field_index(field, keyword))

    def upsert(self, name: str, points: list, wait: bool) -> None:
        made = [edge.Point(point.id, point.vector, point.payload) for point in points]
        self._shard(name).update(edge.UpdateOperation.upsert_points(made))
        self._dirty.add(name)

    def delete(self, name: str, points: models.PointIdsList, wait: bool) -> None:
        self._shard(name).update(edge.UpdateOperation.delete_points(list(points.points)))
        self._dirty.add(name)

    def retrieve(self, name: str, ids: list, with_payload: bool, with_vectors: bool) -> list:
        return self._shard(name).retrieve(ids, with_payload, with_vectors) if ids else []

    def count(self, name: str, count_filter: models.Filter | None, exact: bool) -> SimpleNamespace:
        request = edge.CountRequest(exact=exact, filter=_filter(count_filter))
        return SimpleNamespace(count=self._shard(name).count(request))

    def facet(
        self,
        name: str,
        key: str,
        limit: int,
        exact: bool,
        facet_filter: models.Filter | None = None,
    ) -> Any:
        request = edge.FacetRequest(key, limit=limit, exact=exact, filter=_filter(facet_filter))
        return self._shard(name).facet(request)

    def scroll(
        self,
        name: str,
        scroll_filter: models.Filter | None,
        limit: int,
        offset: Any,
        with_payload: bool,
        with_vectors: bool,
    ) -> tuple[list, Any]:
        request = edge.ScrollRequest(
            offset=offset,
            limit=limit,
            filter=_filter(scroll_filter),
            with_payload=with_payload,
            with_vector=with_vectors,
        )
        return self._shard(name).scroll(request)

    def query_batch_points(self, name: str, requests: list) -> list[SimpleNamespace]:
        shard = self._shard(name)
        if name in self._dirty:
            # What a server does by itself, in its own time.
            shard.optimize()
            self._dirty.discard(name)
        return [
            SimpleNamespace(
                points=shard.query(
                    edge.QueryRequest(
                        request.limit,
                        query=edge.Query.Nearest(request.query),
                        with_vector=request.with_vector,
                        with_payload=request.with_payload,
                        filter=_filter(request.filter),
                        params=edge.SearchParams(
                            hnsw_ef=request.params.hnsw_ef, exact=bool(request.params.exact)
                        ),
                    )
                )
            )
            for request in requests
        ]

    def _shard(self, name: str) -> Any:
        return self._shards[self._aliases.get(name, name)]


def _filter(wanted: models.Filter | None) -> Any:
    if wanted is None:
        return None
    return edge.Filter(
        must=[_condition(each) for each in wanted.must or []] or None,
        must_not=[_condition(each) for each in wanted.must_not or []] or None,
    )


def _condition(wanted: Any) -> Any:
    if isinstance(wanted, models.HasIdCondition):
        return edge.HasIdCondition(set(wanted.has_id))
    if isinstance(wanted.match, models.MatchAny):
        return edge.FieldCondition(wanted.key, match=edge.MatchAny(list(wanted.match.any)))
    return edge.FieldCondition(wanted.key, match=edge.MatchValue(wanted.match.value))
