"""Which metrics a query in PromQL reads, and which labels its answer has."""

from __future__ import annotations

import re
from collections.abc import Mapping

import promql_parser

BINARY_SETS = frozenset({"and", "or", "unless"})

# They give a series for a series, with the labels of their last argument.
_KEEPS_LABELS = frozenset({"increase", "rate", "min_over_time"})


class QueryError(AssertionError):
    """A query can give nothing, or not what it says."""


def labels_of(query: str, metrics: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The labels of what a query gives.

    Args:
        query: PromQL, perhaps with Grafana's variables.
        metrics: the labels of every series there is by its name.

    Raises:
        QueryError: a metric or label that the query names is not there, labels on both sides of an
            operator can never be equal, or it has something that this reader does not know.
    """
    return _labels(promql_parser.parse(without_variables(query)), metrics) or frozenset()


def names_in(query: str) -> set[str]:
    """The names of the series that a query reads."""
    found = set()

    def note(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.add(node.name)

    promql_parser.walk(promql_parser.parse(without_variables(query)), note)
    return found


def without_variables(query: str) -> str:
    """The query as Grafana sends it when everything is chosen."""
    return re.sub(r"\$\w+", ".*", query.replace("$__rate_interval", "5m"))


def _labels(
    node: promql_parser.Expr, metrics: Mapping[str, frozenset[str]]
) -> frozenset[str] | None:
    """The labels of a node's value; None for a number or a text."""
    match node:
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return None
        case promql_parser.ParenExpr() | promql_parser.SubqueryExpr() | promql_parser.UnaryExpr():
            return _labels(node.expr, metrics)
        case promql_parser.MatrixSelector():
            return _labels(node.vector_selector, metrics)
        case promql_parser.VectorSelector():
            return _selected(node, metrics)
        case promql_parser.Call():
            return _called(node, metrics)
        case promql_parser.AggregateExpr():
            return _aggregated(node, metrics)
        case promql_parser.BinaryExpr():
            return _combined(node, metrics)
    raise QueryError(f"{type(node).__name__} is not known here: {node}")


def _selected(
    node: promql_parser.VectorSelector, metrics: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    if node.name not in metrics:
        raise QueryError(f"there is no metric {node.name}")
    named = {matcher.name for matcher in node.matchers.matchers}
    _check(named, metrics[node.name], str(node))
    return metrics[node.name]


def _called(node: promql_parser.Call, metrics: Mapping[str, frozenset[str]]) -> frozenset[str]:
    given = [_labels(argument, metrics) for argument in node.args]
    if node.func.name in _KEEPS_LABELS:
        return given[-1]
    if node.func.name == "histogram_quantile":
        _check({"le"}, given[-1], str(node))
        return given[-1] - {"le"}
    if node.func.name == "absent":
        return frozenset(matcher.name for matcher in node.args[0].matchers.matchers)
    raise QueryError(f"the function {node.func.name} is not known here")


def _aggregated(
    node: promql_parser.AggregateExpr, metrics: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    of = _labels(node.expr, metrics)
    if node.modifier is None:
        return frozenset()
    named = frozenset(node.modifier.labels)
    _check(named, of, str(node))
    return named if node.modifier.type == promql_parser.AggModifierType.By else of - named


def _combined(
    node: promql_parser.BinaryExpr, metrics: Mapping[str, frozenset[str]]
) -> frozenset[str] | None:
    left, right = _labels(node.lhs, metrics), _labels(node.rhs, metrics)
    if left is None or right is None:
        return right if left is None else left
    operator = str(node.op)
    if operator == "or":
        return left | right
    matching = node.modifier.matching if node.modifier else None
    if matching is None:
        if left != right:
            raise QueryError(f"{sorted(left)} and {sorted(right)} are never equal: {node}")
        return left
    if matching.type != promql_parser.LabelModifierType.Include:
        raise QueryError(f"only `on` is known here: {node}")
    _check(set(matching.labels), left & right, str(node))
    return left if operator in BINARY_SETS else frozenset(matching.labels)


def _check(named: set[str] | frozenset[str], there: frozenset[str], where: str) -> None:
    if missing := named - there:
        raise QueryError(f"{sorted(missing)} are not among the labels {sorted(there)}: {where}")
