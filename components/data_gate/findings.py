"""Says in words what TFDV found wrong with a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from tensorflow_metadata.proto.v0 import anomalies_pb2, path_pb2, schema_pb2, statistics_pb2

ERROR, WARNING, NEVER = "error", "warning", "never"
DRIFT, SKEW = "drift", "skew"

_Info = anomalies_pb2.AnomalyInfo
_Statistics: TypeAlias = statistics_pb2.FeatureNameStatistics

_OUTSIDE_DOMAIN = {_Info.ENUM_TYPE_UNEXPECTED_STRING_VALUES}
_MISSING = {
    _Info.SCHEMA_MISSING_COLUMN,
    _Info.FEATURE_TYPE_NOT_PRESENT,
    _Info.FEATURE_TYPE_LOW_FRACTION_PRESENT,
    _Info.FEATURE_TYPE_LOW_NUMBER_PRESENT,
}
_OUT_OF_BOUNDS = {
    _Info.INT_TYPE_SMALL_INT,
    _Info.INT_TYPE_BIG_INT,
    _Info.FLOAT_TYPE_SMALL_FLOAT,
    _Info.FLOAT_TYPE_BIG_FLOAT,
}
_DISTANT = {
    _Info.COMPARATOR_L_INFTY_HIGH,
    _Info.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH,
    _Info.COMPARATOR_NORMALIZED_ABSOLUTE_DIFFERENCE_HIGH,
}


class Finding(NamedTuple):
    """Something that is not as the schema says.

    Attributes:
        split: Where.
        feature: Name of the feature; empty where the finding is about the split as a whole.
        severity: `ERROR` or `WARNING`.
        sentence: What was found, expected, and how often; a whole sentence without its full stop.
    """

    split: str
    feature: str
    severity: str
    sentence: str


class Distance(NamedTuple):
    """How far one feature is apart from what it is compared with.

    Attributes:
        kind: `DRIFT`: the train part against an earlier run's; `SKEW`: a split against train.
        split: The split that is compared.
        feature: Name of the feature.
        value: In [0, 1].
        threshold: The largest value that nobody need hear of.
        sentence: What has moved and how far; a whole sentence without its full stop.
    """

    kind: str
    split: str
    feature: str
    value: float
    threshold: float
    sentence: str


def findings(
    split: str,
    anomalies: anomalies_pb2.Anomalies,
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
) -> list[Finding]:
    """All findings of a split, errors first.

    Args:
        split: Its name.
        anomalies: What ExampleValidator wrote; holds the schema that it used.
        statistics: What StatisticsGen wrote, for the numbers in the sentences.
    """
    dataset = statistics.datasets[0] if statistics.datasets else None
    measured = {_name(feature.path): feature for feature in dataset.features} if dataset else {}
    products = dataset.num_examples if dataset else 0
    declared = {feature.name: feature for feature in anomalies.baseline.feature}
    found: list[Finding] = []
    if anomalies.data_missing:
        found.append(Finding(split, "", ERROR, f"The split `{split}` has no products"))
    if anomalies.HasField("dataset_anomaly_info"):
        info = anomalies.dataset_anomaly_info
        for reason in info.reason:
            sentence = f"The split `{split}`: {_without_stop(reason.description)}"
            found.append(Finding(split, "", _severity(info), sentence))
    for name, info in sorted(anomalies.anomaly_info.items()):
        feature = _name(info.path) or name
        speaker = _Speaker(
            feature,
            anomalies.baseline,
            declared.get(feature),
            measured.get(feature),
            products,
        )
        for sentence in speaker.sentences(info):
            found.append(Finding(split, feature, _severity(info), sentence))
    return sorted(found, key=lambda one: (one.severity != ERROR, one.feature, one.sentence))


def stopping(found: Iterable[Finding], stop_on: str) -> list[Finding]:
    """The findings that stop the run: none, the errors, or all.

    Args:
        found: All findings.
        stop_on: `ERROR`, `WARNING` or `NEVER`.
    """
    if stop_on == NEVER:
        return []
    return [one for one in found if stop_on == WARNING or one.severity == ERROR]


class _Speaker:
    """Knows everything about one feature that its sentences need."""

    def __init__(
        self,
        name: str,
        schema: schema_pb2.Schema,
        declared: schema_pb2.Feature | None,
        measured: _Statistics | None,
        products: int,
    ) -> None:
        self._name = name
        self._schema = schema
        self._declared = declared
        self._measured = measured
        self._products = products

    def sentences(self, info: anomalies_pb2.AnomalyInfo) -> Iterator[str]:
        """One sentence for each cause that can be told apart."""
        reasons = {reason.type: reason.description for reason in info.reason}
        if not reasons:
            yield f"`{self._name}`: {_without_stop(info.description)}"
        if reasons.keys() & _OUT_OF_BOUNDS:
            yield self._out_of_bounds()
        if reasons.keys() & _MISSING:
            yield self._missing()
        for kind, description in reasons.items():
            if kind in _OUT_OF_BOUNDS | _MISSING:
                continue
            if kind in _OUTSIDE_DOMAIN and (sentence := self._outside_domain()):
                yield sentence
            elif kind == _Info.SCHEMA_NEW_COLUMN:
                yield f"`{self._name}` is in the data and not in the schema"
            elif kind in _DISTANT:
                yield (
                    f"`{self._name}` is distributed differently from what it is compared with: "
                    f"{_without_stop(description)}"
                )
            else:
                yield f"`{self._name}`: {_without_stop(description)}"

    def _outside_domain(self) -> str | None:
        """None where the statistics do not tell which values."""
        if self._declared is None or self._measured is None:
            return None
        allowed = set(_domain(self._schema, self._declared))
        buckets = self._measured.string_stats.rank_histogram.buckets
        outside = [
            (round(bucket.sample_count), bucket.label)
            for bucket in buckets
            if bucket.label not in allowed
        ]
        if not outside:
            return None
        count, label = max(outside, key=lambda one: (one[0], one[1]))
        values = _number(len(outside), "value")
        rows = _number(count, "row")
        return f"`{self._name}` has {values} outside its domain, e.g. '{label}' in {rows}"

    def _missing(self) -> str:
        if self._measured is None:
            return f"`{self._name}` is in the schema and in none of the Examples"
        there = self._measured.WhichOneof("stats")
        common = getattr(self._measured, there).common_stats if there else None
        present = common.num_non_missing if common else 0
        missing = self._products - present
        return f"`{self._name}` is missing in {missing:,} of {_number(self._products, 'row')}"

    def _out_of_bounds(self) -> str:
        bounds = "other bounds"
        if self._declared is not None:
            kind = self._declared.WhichOneof("domain_info")
            domain = getattr(self._declared, kind) if kind else None
            if kind in ("int_domain", "float_domain"):
                low = f"{domain.min:g}" if domain.HasField("min") else None
                high = f"{domain.max:g}" if domain.HasField("max") else None
                if low and high:
                    bounds = f"{low} to {high}"
                else:
                    bounds = f"at least {low}" if low else f"at most {high}"
        seen = "values"
        if self._measured is not None and self._measured.HasField("num_stats"):
            numbers = self._measured.num_stats
            seen = f"values from {numbers.min:g} to {numbers.max:g}"
        return f"`{self._name}` has {seen}, and the schema allows {bounds}"


def _severity(info: anomalies_pb2.AnomalyInfo) -> str:
    return WARNING if info.severity == _Info.WARNING else ERROR


def _name(path: path_pb2.Path) -> str:
    return ".".join(path.step)


def _domain(schema: schema_pb2.Schema, feature: schema_pb2.Feature) -> Iterable[str]:
    if feature.HasField("string_domain"):
        return feature.string_domain.value
    for domain in schema.string_domain:
        if domain.name == feature.domain:
            return domain.value
    return ()


def _without_stop(description: str) -> str:
    return description.strip().rstrip(".")


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
