"""The entries, and the look-ups among them."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import ClassVar, TypeVar

from components import storage
from schema.errors import UserError

_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Passed:
    """Data that DataGate let through.

    Attributes:
        inputs: Fingerprint of the catalog and of all that makes Examples of it.
        statistics: URI of the ExampleStatistics.
        verdict: URI of the DataGateVerdict.
    """

    KIND: ClassVar[str] = "passed"
    NEEDED: ClassVar[tuple[str, ...]] = ("statistics", "verdict")

    inputs: str
    statistics: str
    verdict: str


@dataclass(frozen=True)
class Blessed:
    """A model that the Judge blessed.

    Attributes:
        inputs: Fingerprint of the data that it learned from, as in `Passed`.
        training: Fingerprint of those and of all else that the training was given.
        model: URI of the Model.
        judgement: URI of the Judgement.
    """

    KIND: ClassVar[str] = "blessed"
    NEEDED: ClassVar[tuple[str, ...]] = ("model", "judgement")

    inputs: str
    training: str
    model: str
    judgement: str


@dataclass(frozen=True)
class Pushed:
    """A model that went live.

    Attributes:
        model: URI of the Model.
        destination: Path or URL of the version's folder.
        version: Its number.
    """

    KIND: ClassVar[str] = "pushed"
    NEEDED: ClassVar[tuple[str, ...]] = ()

    model: str
    destination: str
    version: str


Entry = Passed | Blessed | Pushed
E = TypeVar("E", bound=Entry)


class Ledger:
    """The entries below a folder.

    Args:
        root: Path or URL of the folder. It need not exist.
    """

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")

    def add(self, entry: Entry) -> None:
        """Writes an entry, whole or not at all; it is the last of its kind from then on.

        A clock that was set back since the last entry, or another machine's, does not change that.
        What says the same as the last one is not written again.

        Raises:
            OSError: It cannot be written.
            UserError: The last entry is damaged.
        """
        now = datetime.now(timezone.utc)
        if earlier := self._files(entry.KIND):
            if _read(f"{self._root}/{entry.KIND}/{earlier[-1]}", type(entry)) == entry:
                return
            now = max(now, _time_of(earlier[-1]) + timedelta(microseconds=1))
        name = f"{now.strftime(_TIME)}-{secrets.token_hex(4)}.json"
        content = json.dumps({"kind": entry.KIND, **dataclasses.asdict(entry)}, indent=1) + "\n"
        storage.write_whole(f"{self._root}/{entry.KIND}/{name}", content.encode())

    def entries(self, kind: type[E]) -> Iterator[E]:
        """The entries of a kind, the last one first, but for those whose artifacts are gone.

        A step that was killed after its entry was written leaves such, and so does whoever deletes
        artifacts by hand.

        Raises:
            UserError: A file is none of this kind's.
        """
        return filter(_is_there, self._all(kind))

    def passed_before(self, inputs: str) -> Passed | None:
        """The data that passed last and are not these; None where there are none.

        Data that were stopped at the gate never became a model, so they are no measure.
        """
        return next((one for one in self.entries(Passed) if one.inputs != inputs), None)

    def base_for(self, inputs: str) -> Blessed | None:
        """The model that was blessed last and learned from other data than these.

        One that learned from these is left out: after a blessed run it is the run's own, and a
        second run with nothing changed would train anew from what the first has learned, and so on
        forever.
        """
        return next((one for one in self.entries(Blessed) if one.inputs != inputs), None)

    def baseline_for(self, training: str) -> Blessed | None:
        """The model that was blessed last and is not of this training.

        Of what was said of it the first is taken, however often it was judged, so that nothing is
        computed anew where only the baseline was judged again.
        """
        # By the entries alone first: each look for artifacts may be a request or two.
        others = [one for one in self._all(Blessed) if one.training != training]
        last = next(filter(_is_there, others), None)
        if last is None:
            return None
        return next(filter(_is_there, (one for one in reversed(others) if one.model == last.model)))

    def _all(self, kind: type[E]) -> Iterator[E]:
        for name in reversed(self._files(kind.KIND)):
            yield _read(f"{self._root}/{kind.KIND}/{name}", kind)

    def _files(self, kind: str) -> list[str]:
        return storage.names(f"{self._root}/{kind}", ".json")


def _is_there(entry: Entry) -> bool:
    return all(storage.is_folder(getattr(entry, uri)) for uri in entry.NEEDED)


def _time_of(name: str) -> datetime:
    return datetime.strptime(name.partition("-")[0], _TIME).replace(tzinfo=timezone.utc)


def _read(path: str, kind: type[E]) -> E:
    try:
        with storage.opened(path) as file:
            fields = json.load(file)
        if fields.pop("kind") != kind.KIND:
            raise ValueError("it is of another kind")
        if not all(isinstance(value, str) for value in fields.values()):
            raise ValueError("its values are no texts")
        return kind(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is no entry of a ledger ({error}). Delete it: what it told of an earlier run "
            "is lost, and nothing else."
        ) from error
