"""A first schema of a catalog, from what was counted in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from schema import features
from schema.changes import bound, counted, listed

MOST_VALUES = 200
"""A feature of more different values stays open: nobody keeps so long a list right by hand."""

LEAST_ROWS_A_VALUE = 5
"""Where a value comes in fewer rows on average, tomorrow's rows will bring new ones."""

SLACK = 1.5
"""How far a figure of a picture may leave what was found, as a factor."""

_UNIT_INTERVAL = frozenset({features.IMAGE_BRIGHTNESS})


class Inferred(NamedTuple):
    """A schema, and a sentence (without its full stop) for each feature that was looked at."""

    schema: schema_pb2.Schema
    sentences: list[str]


def infer_schema(
    base: schema_pb2.Schema, statistics: Iterable[statistics_pb2.DatasetFeatureStatistics]
) -> Inferred:
    """Closes what can be closed and bounds what can be bounded.

    Labels and slice columns get a list of the values that were found, where these are at most
    `MOST_VALUES` and come again and again; the pictures' figures get bounds `SLACK` times wider
    than what was found, and never wider than those of `base` unless the data are.

    Args:
        base: What every Example must have, as `catalog.catalog_schema` gives it.
        statistics: Those of each split, as StatisticsGen writes them.
    """
    schema = schema_pb2.Schema()
    schema.CopyFrom(base)
    found: dict[str, list[statistics_pb2.FeatureNameStatistics]] = {}
    for split in statistics:
        for feature in split.features:
            found.setdefault(".".join(feature.path.step), []).append(feature)
    sentences = []
    for feature in schema.feature:
        measured = found.get(feature.name, [])
        if feature.name in (features.ID, features.PRODUCT, features.IMAGE):
            continue
        if feature.name in features.PICTURE_STATISTICS:
            numbers = [
                one.num_stats for one in measured if one.num_stats.common_stats.num_non_missing
            ]
            if numbers:
                low, high = min(one.min for one in numbers), max(one.max for one in numbers)
                sentences.append(_bounded(feature, low, high))
        elif feature.type == schema_pb2.BYTES:
            sentences.append(_closed(feature, measured))
    named = {feature.domain for feature in schema.feature}
    shared = [domain for domain in schema.string_domain if domain.name in named]
    del schema.string_domain[:]
    schema.string_domain.extend(shared)
    return Inferred(schema, sentences)


def _closed(
    feature: schema_pb2.Feature, measured: list[statistics_pb2.FeatureNameStatistics]
) -> str:
    name = f"`{feature.name}`"
    counts: dict[str, float] = {}
    different = 0
    for one in measured:
        different = max(different, one.string_stats.unique)
        for bucket in one.string_stats.rank_histogram.buckets:
            counts[bucket.label] = counts.get(bucket.label, 0) + bucket.sample_count
    different = max(different, len(counts))
    rows = round(sum(counts.values()))
    feature.ClearField("domain")
    feature.ClearField("string_domain")
    if not counts:
        return f"{name} stays open: no product has any"
    if different > MOST_VALUES:
        return f"{name} stays open: {different:,} or more different values, too many for a list"
    if rows < LEAST_ROWS_A_VALUE * different:
        return (
            f"{name} stays open: {counted(different, 'value')} in {counted(rows, 'label')} come "
            "again too seldom to be a list"
        )
    labels = sorted(counts, key=lambda label: (-counts[label], label))
    feature.string_domain.value[:] = sorted(labels)
    closed = f"{name} is closed to {counted(different, 'value')}, the most frequent first"
    return f"{closed}: {listed(labels)}"


def _bounded(feature: schema_pb2.Feature, low: float, high: float) -> str:
    base: Mapping[str, float] = {}
    for kind in ("int_domain", "float_domain"):
        if feature.HasField(kind):
            domain = getattr(feature, kind)
            base = {side: getattr(domain, side) for side in ("min", "max") if domain.HasField(side)}
    least, most = low / SLACK, high * SLACK
    if feature.name in _UNIT_INTERVAL:
        # A share: as much room towards white as towards black.
        most = 1 - (1 - high) / SLACK
    if feature.type == schema_pb2.INT:
        least, most = math.floor(least), math.ceil(most)
    else:
        least, most = math.floor(least * 1000) / 1000, math.ceil(most * 1000) / 1000
    least = min(low, max(least, base.get("min", least)))
    most = max(high, min(most, base.get("max", most)))
    if feature.type == schema_pb2.INT:
        feature.int_domain.min, feature.int_domain.max = int(least), int(most)
    else:
        feature.float_domain.min, feature.float_domain.max = least, most
    return (
        f"`{feature.name}` may be {bound(least)} to {bound(most)} "
        f"(found: {low:,.3g} to {high:,.3g})"
    )
