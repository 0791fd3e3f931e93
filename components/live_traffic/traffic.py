"""Reads the log of live traffic, and counts what is in it, version by version."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from schema import features, live_traffic
from schema.errors import UserError
from schema.records import DamagedRecord, records

if TYPE_CHECKING:
    from tensorflow.core.example import example_pb2

_LONGEST_REASON = 200


@dataclass
class LevelAnswers:
    """What a level with one label a picture was answered with.

    Attributes:
        labels: How often each label was the answer.
        scores: The answers' scores, in [0, 1].
        unsure: How many were below the model's own threshold.
    """

    labels: Counter[str] = field(default_factory=Counter)
    scores: list[float] = field(default_factory=list)
    unsure: int = 0


@dataclass
class AttributeAnswers:
    """What pictures were said to have: attributes from the model's threshold on.

    Attributes:
        labels: How often each attribute was named.
        expected: How many pictures have each attribute if the scores are honest: their sums.
        named: How many were named of each picture.
        scores: The sum of their scores, for each picture.
        threshold: The model's; None where the log does not tell.
    """

    labels: Counter[str] = field(default_factory=Counter)
    expected: dict[str, float] = field(default_factory=dict)
    named: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    threshold: float | None = None


@dataclass
class Traffic:
    """What one version was asked.

    Answers count once a picture, however often it was asked about: what a probe asks every second
    is not what the catalog is like. Refusals all count, for a shop that sends the same page of an
    error again and again has a problem each time.

    Attributes:
        answered: Pictures with an answer.
        refused: Records of what the model could not use, by the reason.
        repeats: Records of answered pictures that were there before; they count nowhere else.
        most_repeated: Records of the picture that has most of them.
        first_ms, last_ms: Of all records, in milliseconds since 1970.
        levels: The answers of each level with one label a picture.
        attributes: Those of the attributes; None where none were asked for or logged.
        figures: The values of each of `features.PICTURE_STATISTICS`, of the answered pictures.
    """

    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    most_repeated: int = 0
    first_ms: int = 2**63 - 1
    last_ms: int = 0
    levels: dict[str, LevelAnswers] = field(default_factory=dict)
    attributes: AttributeAnswers | None = None
    figures: dict[str, list[float]] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        """Records of all that the version was asked."""
        return self.answered + self.repeats + sum(self.refused.values())


@dataclass
class Log:
    """A log's records of one model.

    Attributes:
        versions: What each version was asked, by its number; those that are one model under several
            numbers together, under one of these.
        numbers: How many records each version has, by the number that answered.
        latest: The version of the latest record, one of `versions`; None where there is none.
        others: How many records are of other models, by their names.
        damaged: Files of which a part cannot be read, and what was found.
    """

    versions: dict[int, Traffic] = field(default_factory=dict)
    numbers: Counter[int] = field(default_factory=Counter)
    latest: int | None = None
    others: Counter[str] = field(default_factory=Counter)
    damaged: dict[str, str] = field(default_factory=dict)


def read_log(
    folder: Path,
    model: str,
    since_ms: int = 0,
    until_ms: int = 2**63 - 1,
    first: Callable[[int], int] = lambda version: version,
) -> Log:
    """Reads the whole files of a log; the one that is being written is not among them.

    Args:
        folder: What the server was told as its traffic log.
        model: Name of the served model.
        since_ms: Milliseconds since 1970, from which on records count.
        until_ms: The same, before which they do.
        first: From a version to the number under which its model was first pushed.

    Raises:
        UserError: There is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise UserError(
            f"There is no log in {folder}. A server writes one with --traffic_log={folder}."
        )
    log = Log()
    seen: dict[int, Counter[bytes]] = {}
    latest_ms = -1
    for path in live_traffic.whole_files(folder):
        for example in _examples(path, since_ms, log):
            feature = example.features.feature
            try:
                time_ms = feature[live_traffic.TIME].int64_list.value[0]
                version = feature[live_traffic.VERSION].int64_list.value[0]
                name = feature[live_traffic.MODEL].bytes_list.value[0].decode()
                digest = feature[live_traffic.DIGEST].bytes_list.value[0]
            except (IndexError, UnicodeDecodeError):
                log.damaged[path.name] = "a record that is none of a traffic log"
                continue
            if not since_ms <= time_ms < until_ms:
                continue
            if name != model:
                log.others[name] += 1
                continue
            log.numbers[version] += 1
            number = first(version)
            if time_ms > latest_ms:
                latest_ms, log.latest = time_ms, number
            traffic = log.versions.setdefault(number, Traffic())
            traffic.first_ms = min(traffic.first_ms, time_ms)
            traffic.last_ms = max(traffic.last_ms, time_ms)
            if features.STATUS in feature:
                status = feature[features.STATUS].bytes_list.value
                traffic.refused[_reason(b"".join(status))] += 1
                continue
            pictures = seen.setdefault(number, Counter())
            pictures[digest] += 1
            traffic.most_repeated = max(traffic.most_repeated, pictures[digest])
            if pictures[digest] > 1:
                traffic.repeats += 1
            else:
                _count(traffic, feature)
    return log


def _examples(path: Path, since_ms: int, log: Log) -> Iterator[example_pb2.Example]:
    from tensorflow.core.example import example_pb2

    try:
        # Nothing is written into a file after its last record.
        if path.stat().st_mtime_ns // 1_000_000 < since_ms:
            return
        with path.open("rb") as file:
            for record in records(file):
                yield example_pb2.Example.FromString(record)
    except FileNotFoundError:
        # A server has just removed it, for there are newer ones.
        return
    except (DamagedRecord, DecodeError, OSError) as error:
        log.damaged[path.name] = str(error)


def _count(traffic: Traffic, feature: Mapping[str, example_pb2.Feature]) -> None:
    traffic.answered += 1
    for name in features.PICTURE_STATISTICS:
        if name in feature:
            of = feature[name]
            value = (of.int64_list.value or of.float_list.value)[0]
            traffic.figures.setdefault(name, []).append(float(value))
    suffix = features.score("")
    for name in list(feature):
        level = name.removesuffix(suffix)
        if level == name or level not in feature:
            continue
        labels, scores = feature[level].bytes_list.value, feature[name].float_list.value
        if len(labels) != 1 or len(scores) != 1:
            continue
        answers = traffic.levels.setdefault(level, LevelAnswers())
        answers.labels[labels[0].decode(errors="replace")] += 1
        answers.scores.append(scores[0])
        answers.unsure += scores[0] < (_threshold(feature, level) or 0.0)
    threshold = _threshold(feature, features.ATTRIBUTES)
    if features.ATTRIBUTE_SCORES in feature and threshold is not None:
        attributes = traffic.attributes = traffic.attributes or AttributeAnswers()
        scored = [
            (label.decode(errors="replace"), score)
            for label, score in zip(
                feature[features.ATTRIBUTES].bytes_list.value,
                feature[features.ATTRIBUTE_SCORES].float_list.value,
                strict=False,
            )
        ]
        for label, score in scored:
            attributes.expected[label] = attributes.expected.get(label, 0.0) + score
        named = [(label, score) for label, score in scored if score >= threshold]
        attributes.threshold = threshold
        attributes.labels.update(label for label, _ in named)
        attributes.named.append(len(named))
        attributes.scores.append(sum(score for _, score in named))


def _threshold(feature: Mapping[str, example_pb2.Feature], level: str) -> float | None:
    name = features.threshold(level)
    if name not in feature:
        return None
    values = feature[name].float_list.value
    return values[0] if values else None


def _reason(status: bytes) -> str:
    """A reason without what differs from picture to picture."""
    text = status.decode(errors="replace")[:_LONGEST_REASON]
    return re.sub(r"\d[\d,.]*", "#", text)
