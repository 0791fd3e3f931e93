"""How far two parts of the data are apart: drift since an earlier run, skew between splits.

The distances are TFDV's own: for texts the L-infinity norm, which is the largest change of any
value's share, for numbers the approximate Jensen-Shannon divergence; both are 0 for the same
distribution and at most 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.data_gate.findings import DRIFT, SKEW, WARNING, Distance, Finding
from schema import features

LEAST_PRODUCTS = 100
"""Of fewer products, shares differ by chance as much as others differ by cause."""

_BUCKETS = 10

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList


def drift(
    now: Statistics, earlier: Statistics, schema: schema_pb2.Schema, threshold: float | None
) -> list[Distance]:
    """Distances of each feature of the train part from an earlier run's train part.

    Args:
        now: Statistics of the train part.
        earlier: Statistics of the earlier run's.
        schema: Names the features; its own drift comparators win over `threshold`.
        threshold: The largest distance to be silent about; None measures only features for which
            the schema has a comparator.

    Returns:
        Nothing where a part has fewer than `LEAST_PRODUCTS`; else a distance for each feature that
        both parts have, the farthest first.
    """
    return _measured(DRIFT, features.TRAIN, now, earlier, schema, threshold)


def skew(
    split: str,
    statistics: Statistics,
    train: Statistics,
    schema: schema_pb2.Schema,
    threshold: float | None,
) -> list[Distance]:
    """Distances of each feature of `split` from the train part; arguments as those of `drift`."""
    return _measured(SKEW, split, statistics, train, schema, threshold)


def too_far(distances: Iterable[Distance]) -> list[Finding]:
    """A warning for each distance above its threshold: the world changes, and data with it."""
    return [
        Finding(one.split, one.feature, WARNING, one.sentence)
        for one in distances
        if one.value > one.threshold
    ]


def _measured(
    kind: str,
    split: str,
    statistics: Statistics,
    reference: Statistics,
    schema: schema_pb2.Schema,
    threshold: float | None,
) -> list[Distance]:
    if min(_products(statistics), _products(reference)) < LEAST_PRODUCTS:
        return []
    compared, against = _by_name(statistics), _by_name(reference)
    wanted = _with_comparators(kind, schema, compared.keys() & against.keys(), threshold)
    if not wanted.feature:
        return []
    statistics, reference = _on_common_buckets(statistics, reference)
    if kind == DRIFT:
        found = tfdv.validate_statistics(statistics, wanted, previous_statistics=reference)
    else:
        found = tfdv.validate_statistics(reference, wanted, serving_statistics=statistics)
    distances = []
    for info in found.drift_skew_info:
        name = ".".join(info.path.step)
        measurements = info.drift_measurements if kind == DRIFT else info.skew_measurements
        for measured in measurements:
            what = _what_moved(kind, split, compared[name], against[name])
            allowed = (
                f"`checks.{kind}`" if _comparator(kind, schema, name) is None else "the schema"
            )
            sentence = (
                f"{what} (distance {measured.value:.2f}, and {allowed} allows "
                f"{measured.threshold:g})"
            )
            distances.append(
                Distance(kind, split, name, measured.value, measured.threshold, sentence)
            )
    return sorted(distances, key=lambda one: (-one.value, one.feature))


def _with_comparators(
    kind: str, schema: schema_pb2.Schema, names: Iterable[str], threshold: float | None
) -> schema_pb2.Schema:
    """A schema that asks of each feature but its distance nothing.

    What else the schema asks has been checked, and the ids are all different by nature.
    """
    wanted = schema_pb2.Schema()
    present = set(names) - {features.ID, features.IMAGE}
    for feature in schema.feature:
        if feature.name not in present:
            continue
        own = _comparator(kind, schema, feature.name)
        if own is None and threshold is None:
            continue
        asked = wanted.feature.add(name=feature.name, type=feature.type)
        comparator = asked.drift_comparator if kind == DRIFT else asked.skew_comparator
        if own is not None:
            comparator.CopyFrom(own)
        elif feature.type == schema_pb2.BYTES:
            comparator.infinity_norm.threshold = threshold
        else:
            comparator.jensen_shannon_divergence.threshold = threshold
    return wanted


def _on_common_buckets(one: Statistics, other: Statistics) -> tuple[Statistics, Statistics]:
    """Copies of both, in which every number's histogram has the same equally wide buckets.

    TFDV takes values to be spread evenly within a bucket. Where nearly all pictures are 80 pixels
    high and one part has a few others, their shares of the bucket that ends at 80 would else seem
    to have nothing in common with the other part's, and the divergence would be 1.
    """
    copies = Statistics(), Statistics()
    for copy, original in zip(copies, (one, other), strict=True):
        copy.CopyFrom(original)
    features_of = [_by_name(copy) for copy in copies]
    for name in features_of[0].keys() & features_of[1].keys():
        parts = [features[name].num_stats for features in features_of]
        if not all(features[name].HasField("num_stats") for features in features_of):
            continue
        low, high = min(part.min for part in parts), max(part.max for part in parts)
        edges = np.linspace(low, high if high > low else low + 1, _BUCKETS + 1)
        for part in parts:
            counts = _counts_between(edges, part)
            del part.histograms[:]
            histogram = part.histograms.add(type=statistics_pb2.Histogram.STANDARD)
            for start, end, count in zip(edges[:-1], edges[1:], counts, strict=True):
                histogram.buckets.add(low_value=start, high_value=end, sample_count=count)
    return copies


def _counts_between(edges: np.ndarray, numbers: statistics_pb2.NumericStatistics) -> np.ndarray:
    """How many values are between each two of `edges`, as far as the histogram tells."""
    counts = np.zeros(len(edges) - 1)
    for histogram in numbers.histograms:
        if histogram.type != statistics_pb2.Histogram.STANDARD:
            continue
        for bucket in histogram.buckets:
            low, high = bucket.low_value, bucket.high_value
            overlap = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
            if high > low:
                counts += bucket.sample_count * np.maximum(overlap, 0) / (high - low)
            else:
                counts[np.searchsorted(edges[1:-1], low)] += bucket.sample_count
    return counts


def _comparator(
    kind: str, schema: schema_pb2.Schema, name: str
) -> schema_pb2.FeatureComparator | None:
    for feature in schema.feature:
        if feature.name == name and feature.HasField(f"{kind}_comparator"):
            return getattr(feature, f"{kind}_comparator")
    return None


def _what_moved(
    kind: str,
    split: str,
    now: statistics_pb2.FeatureNameStatistics,
    then: statistics_pb2.FeatureNameStatistics,
) -> str:
    name = ".".join(now.path.step)
    if now.HasField("string_stats"):
        shares, before = _shares(now), _shares(then)
        moved = max(
            sorted(shares.keys() | before.keys()),
            key=lambda value: abs(shares.get(value, 0) - before.get(value, 0)),
        )
        was, now_is = f"{before.get(moved, 0):.1%}", f"{shares.get(moved, 0):.1%}"
        if kind == DRIFT:
            return f"`{name}` has drifted: '{moved}' was {was} of the labels and is {now_is}"
        return f"`{name}` is skewed: '{moved}' is {now_is} of the labels, and {was} in train"
    median, earlier = f"{now.num_stats.median:.3g}", f"{then.num_stats.median:.3g}"
    if kind == DRIFT:
        return f"`{name}` has drifted: its median was {earlier} and is {median}"
    return f"`{name}` is skewed: its median is {median}, and {earlier} in train"


def _shares(feature: statistics_pb2.FeatureNameStatistics) -> Mapping[str, float]:
    buckets = feature.string_stats.rank_histogram.buckets
    total = sum(bucket.sample_count for bucket in buckets) or 1
    return {bucket.label: bucket.sample_count / total for bucket in buckets}


def _by_name(statistics: Statistics) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    """Features that hold anything; others can be compared with nothing."""
    found = {}
    for feature in statistics.datasets[0].features:
        kind = feature.WhichOneof("stats")
        if kind and getattr(feature, kind).common_stats.tot_num_values:
            found[".".join(feature.path.step)] = feature
    return found


def _products(statistics: Statistics) -> int:
    return statistics.datasets[0].num_examples if statistics.datasets else 0
