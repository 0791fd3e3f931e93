"""What has changed between two schemas, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tensorflow_metadata.proto.v0 import schema_pb2

MOST_VALUES = 10
"""Values that a sentence lists; the rest are counted."""

_KINDS = {schema_pb2.BYTES: "text", schema_pb2.INT: "integer", schema_pb2.FLOAT: "number"}

_TOLD = (
    "name",
    "type",
    "presence",
    "shape",
    "value_count",
    "domain",
    "string_domain",
    "int_domain",
    "float_domain",
    "drift_comparator",
    "skew_comparator",
)


def changes(before: schema_pb2.Schema, after: schema_pb2.Schema) -> list[str]:
    """A sentence, without its full stop, for everything that `after` asks otherwise than `before`.

    Where a list of values stands, inside its feature or beside it, changes nothing and is not told;
    neither is the order of features and values.
    """
    old = {feature.name: feature for feature in before.feature}
    new = {feature.name: feature for feature in after.feature}
    told: list[str] = []
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            told.append(f"`{name}` is no longer in the schema")
        elif name not in old:
            told.append(f"`{name}` is new: {_asked(new[name], after)}")
        else:
            told += _feature_changes(old[name], before, new[name], after)
    if _rest(before) != _rest(after):
        told.append("the schema as a whole has changed in something besides its features")
    return told


def values(feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> list[str] | None:
    """The values that a text feature may have; None where any goes."""
    if feature.HasField("string_domain"):
        return list(feature.string_domain.value)
    if feature.HasField("domain"):
        for domain in schema.string_domain:
            if domain.name == feature.domain:
                return list(domain.value)
    return None


def listed(labels: Sequence[str]) -> str:
    """The first labels, and how many there are besides."""
    shown = ", ".join(labels[:MOST_VALUES])
    more = len(labels) - MOST_VALUES
    return f"{shown} and {more:,} more" if more > 0 else shown


def counted(count: int, noun: str) -> str:
    """`3 values`, `1 value`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def bound(number: float) -> str:
    """A number as people write it: 20,000 or 0.25."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.6g}"


def _feature_changes(
    old: schema_pb2.Feature,
    before: schema_pb2.Schema,
    new: schema_pb2.Feature,
    after: schema_pb2.Schema,
) -> Iterator[str]:
    name = f"`{new.name}`"
    if old.type != new.type:
        yield f"{name} was {_kind(old)} and is now {_kind(new)}"
    if old.presence != new.presence:
        yield f"{name} {_presence(new)} (before: it {_presence(old)})"
    if _count(old) != _count(new):
        yield f"{name} may now hold {_count(new)} a product (before: {_count(old)})"
    yield from _value_changes(name, values(old, before), values(new, after))
    yield from _bound_changes(name, old, new)
    for kind in ("drift", "skew"):
        was, now = getattr(old, f"{kind}_comparator"), getattr(new, f"{kind}_comparator")
        if was != now:
            yield f"{name} may now {kind} {_distance(now)} (before: {_distance(was)})"
    if _besides(old) != _besides(new):
        fields = {
            field.name for field, _ in (*_besides(old).ListFields(), *_besides(new).ListFields())
        }
        yield f"{name} has also changed in {', '.join(sorted(fields))}"


def _value_changes(name: str, old: list[str] | None, new: list[str] | None) -> Iterator[str]:
    if old is None and new is not None:
        yield f"{name} is now closed to {counted(len(new), 'value')}: {listed(new)}"
    elif old is not None and new is None:
        yield f"{name} is now open to any value (before: {counted(len(old), 'value')})"
    elif old is not None and new is not None:
        if gained := [value for value in new if value not in set(old)]:
            yield f"{name} gained {counted(len(gained), 'value')}: {listed(gained)}"
        if lost := [value for value in old if value not in set(new)]:
            yield f"{name} lost {counted(len(lost), 'value')}: {listed(lost)}"


def _bound_changes(name: str, old: schema_pb2.Feature, new: schema_pb2.Feature) -> Iterator[str]:
    (low_was, high_was), (low, high) = _bounds(old), _bounds(new)
    if low != low_was and high != high_was and low is not None and high is not None:
        before = _range(low_was, high_was)
        yield f"{name} may now be {bound(low)} to {bound(high)} (before: {before})"
        return
    if low != low_was:
        may = "as low as it likes" if low is None else f"down to {bound(low)}"
        only = "only " if low is not None and (low_was is None or low > low_was) else ""
        yield f"{name} may now {only}be {may} (before: {_limit(low_was)})"
    if high != high_was:
        may = "as high as it likes" if high is None else f"up to {bound(high)}"
        only = "only " if high is not None and (high_was is None or high < high_was) else ""
        yield f"{name} may now {only}be {may} (before: {_limit(high_was)})"


def _asked(feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> str:
    parts = [_kind(feature), _presence(feature)]
    allowed = values(feature, schema)
    if allowed is not None:
        parts.append(f"one of {counted(len(allowed), 'value')}: {listed(allowed)}")
    if _bounds(feature) != (None, None):
        parts.append(_range(*_bounds(feature)))
    return ", ".join(parts)


def _kind(feature: schema_pb2.Feature) -> str:
    return _KINDS.get(feature.type, "of any type")


def _presence(feature: schema_pb2.Feature) -> str:
    part = feature.presence.min_fraction
    if part == 1:
        return "must be there in every product"
    if part:
        return f"must be there in {part:.0%} of the products"
    return "must be there in some product" if feature.presence.min_count else "may be missing"


def _count(feature: schema_pb2.Feature) -> str:
    if feature.HasField("shape"):
        sizes = [dim.size for dim in feature.shape.dim]
        return counted(sizes[0], "value") if len(sizes) == 1 else f"values of shape {sizes}"
    low, high = feature.value_count.min, feature.value_count.max
    if high:
        return counted(high, "value") if low == high else f"{low} to {high} values"
    return f"{low} or more values" if low else "any number of values"


def _bounds(feature: schema_pb2.Feature) -> tuple[float | None, float | None]:
    for kind in ("int_domain", "float_domain"):
        if feature.HasField(kind):
            domain = getattr(feature, kind)
            low, high = (
                getattr(domain, side) if domain.HasField(side) else None for side in ("min", "max")
            )
            return low, high
    return None, None


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return "no limit" if high is None else f"at most {bound(high)}"
    return f"at least {bound(low)}" if high is None else f"{bound(low)} to {bound(high)}"


def _limit(number: float | None) -> str:
    return "no limit" if number is None else bound(number)


def _distance(comparator: schema_pb2.FeatureComparator) -> str:
    for measure in ("infinity_norm", "jensen_shannon_divergence"):
        if comparator.HasField(measure):
            return f"by {bound(getattr(comparator, measure).threshold)}"
    return "as the config says"


def _besides(feature: schema_pb2.Feature) -> schema_pb2.Feature:
    """What no sentence above is about."""
    rest = schema_pb2.Feature()
    rest.CopyFrom(feature)
    for field in _TOLD:
        rest.ClearField(field)
    return rest


def _rest(schema: schema_pb2.Schema) -> schema_pb2.Schema:
    rest = schema_pb2.Schema()
    rest.CopyFrom(schema)
    rest.ClearField("feature")
    rest.ClearField("string_domain")
    return rest
