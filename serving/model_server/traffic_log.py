"""A sample of what is asked and answered, written down for `seamline drift`.

A request pays for it with a throw of dice a picture, and where those say so with a reference to the
picture and a copy of its row of the answer. All else is done in one thread, a few pictures at a
time: the model is asked everything about them, whatever the caller asked, they are measured, and
written. That thread rests four times as long as it worked, so that it never takes more than a fifth
of the machine; what comes too fast for it is dropped, and counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import logging
import os
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import model_pb2

from schema import features, live_traffic
from schema.errors import UserError
from schema.picture_figures import PictureError, picture_figures
from schema.records import DamagedRecord, framed, records

if TYPE_CHECKING:
    from serving.model_server.servables import Servables

Ask = Callable[[str, int, np.ndarray], Mapping[str, np.ndarray] | None]
"""From a model's name, its version and pictures, bytes (N), to the outputs of
`features.TOLERANT_EVERYTHING_SIGNATURE`; None where the model has no such signature."""

CURRENT_REQUEST: ContextVar[str] = ContextVar("current_request", default="")
"""How other logs call the request that this thread answers."""

ROTATE_BYTES = 16 << 20
ROTATE_S = 3600.0
KEEP_FILES = 336
"""By default two weeks of a file an hour, and at most 5.6 GB."""

_log = logging.getLogger("seamline.serving")

_MOST_WAITING = 1000
_MOST_WAITING_BYTES = 64 << 20
"""Pictures that wait for the thread, and how much memory they hold."""

_MOST_ROW_BYTES = 1 << 20
"""Longer rows of outputs, masks and the like, stay out of the log."""

_ENVELOPE_BYTES = 4096
"""What a picture that waits holds besides itself, roughly."""

_AT_ONCE = 8
"""Pictures that the model is asked about at once: a caller who comes meanwhile waits for few."""

_REST = 4.0
"""How much longer than it worked the thread rests."""

_ASK_TIMEOUT_S = 30.0
_RETRY_S = 60.0
"""How long nothing is written after something could not be."""

_CLOSE_S = 10.0

_DIGEST_BYTES = 16


@dataclass(frozen=True)
class _Sample:
    """A picture and what is known of it in the moment in which it is answered."""

    time_ms: int
    model: str
    version: int
    signature: str
    request_id: str
    picture: bytes
    answer: Mapping[str, np.ndarray] | None

    @property
    def size(self) -> int:
        return len(self.picture) + _ENVELOPE_BYTES


class TrafficLog:
    """Samples pictures and answers of all models, and writes them into rotating TFRecord files.

    What is in a record, and what the files are called: `schema.live_traffic`. A file is hidden
    until it is whole. Those that a killed server left are made whole at the next start, without the
    record that it was in.

    Args:
        folder: where the files go; several servers may share it.
        rate: the share of pictures that is sampled, 0 to 1.
        pictures: the records hold the pictures themselves.
        rotate_bytes: a file that has so many is closed, and another begun.
        rotate_s: the same for its age in seconds.
        keep_files: how many files are kept; older ones are removed.
        ask: what asks the models; None leaves it at what the callers asked.
        count: told of every sample its model's name and what became of it: `OK` it was written,
            `RESOURCE_EXHAUSTED` the thread could not keep up, `UNAVAILABLE` it could not be
            written, `FAILED_PRECONDITION` there is no answer to write.
        seed: of the draw; by default another every time.

    Raises:
        UserError: the folder cannot be written, or the rate is none.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        rate: float,
        pictures: bool = False,
        rotate_bytes: int = ROTATE_BYTES,
        rotate_s: float = ROTATE_S,
        keep_files: int = KEEP_FILES,
        *,
        ask: Ask | None = None,
        count: Callable[[str, str], None] = lambda model, status: None,
        seed: int | None = None,
    ):
        if not 0 <= rate <= 1:
            raise UserError(f"The traffic log's rate is {rate:g}; it is a share, from 0 to 1.")
        self._rate = rate
        self._keeps_pictures = pictures
        self._ask = ask
        self._count = count
        self._draw = np.random.default_rng(seed)
        self._waiting: deque[_Sample] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._complete: dict[tuple[str, int], frozenset[str]] = {}
        self._told: set[str] = set()
        self._retry_at = 0.0
        self._is_broken = False
        self._files = _RotatingFiles(Path(folder), rotate_bytes, rotate_s, keep_files)
        self._thread = threading.Thread(target=self._run, name="traffic log", daemon=True)
        self._thread.start()

    def observe(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray] | None,
        request_id: str = "",
    ) -> None:
        """Takes an answered request, or one that failed for its pictures; never raises or waits.

        Args:
            model: the model's name.
            version: of the model that answered.
            signature: that was asked.
            inputs: the request's; other than pictures, `features.IMAGE_BYTES` (N), are passed over.
            outputs: the answer, or what the caller wanted of it; None where the request failed as a
                whole with INVALID_ARGUMENT.
            request_id: how the request is called in other logs; by default what `CURRENT_REQUEST`
                says.
        """
        try:
            request_id = request_id or CURRENT_REQUEST.get()
            self._observe(model, version, signature, inputs, outputs, request_id)
        except Exception:
            self._tell_once("a request was left out of the traffic log", with_traceback=True)

    def close(self) -> None:
        """Writes what waits, as far as that takes seconds only, and makes the last file whole."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)

    def _observe(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray] | None,
        request_id: str,
    ) -> None:
        pictures = inputs.get(features.IMAGE_BYTES)
        if pictures is None or pictures.ndim != 1 or pictures.dtype != object or self._is_closing:
            return
        with self._changed:
            drawn = np.flatnonzero(self._draw.random(len(pictures)) < self._rate).tolist()
        if not drawn:
            return
        time_ms = time.time_ns() // 1_000_000
        samples = [
            _Sample(
                time_ms,
                model,
                version,
                signature,
                request_id,
                pictures[index],
                None if outputs is None else _row(outputs, index, len(pictures)),
            )
            for index in drawn
        ]
        dropped = 0
        with self._changed:
            for sample in samples:
                if (
                    len(self._waiting) >= _MOST_WAITING
                    or self._waiting_bytes + sample.size > _MOST_WAITING_BYTES
                ):
                    dropped += 1
                    continue
                self._waiting.append(sample)
                self._waiting_bytes += sample.size
            self._changed.notify()
        for _ in range(dropped):
            self._count(model, "RESOURCE_EXHAUSTED")

    @property
    def _is_closing(self) -> bool:
        return self._closing.is_set()

    def _run(self) -> None:
        give_up_at = float("inf")
        while True:
            samples = self._taken()
            if self._is_closing:
                give_up_at = min(give_up_at, time.monotonic() + _CLOSE_S / 2)
                if not samples or time.monotonic() > give_up_at:
                    break
            began = time.monotonic()
            if samples:
                try:
                    self._write_down(samples)
                except Exception:
                    self._tell_once("pictures were left out of the traffic log", True)
            self._attempt(self._files.rotate_if_due)
            self._closing.wait(_REST * (time.monotonic() - began))
        for sample in self._waiting:
            self._count(sample.model, "RESOURCE_EXHAUSTED")
        self._attempt(self._files.finish)

    def _taken(self) -> list[_Sample]:
        """The next samples of one version; none when a file is to be closed for its age."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or self._is_closing, self._files.until_rotation_s()
            )
            samples: list[_Sample] = []
            while self._waiting and len(samples) < _AT_ONCE:
                sample = self._waiting[0]
                if samples and _asked(sample) != _asked(samples[0]):
                    break
                samples.append(self._waiting.popleft())
                self._waiting_bytes -= sample.size
            return samples

    def _write_down(self, samples: Sequence[_Sample]) -> None:
        model = samples[0].model
        if time.monotonic() < self._retry_at:
            self._count_all(model, len(samples), "UNAVAILABLE")
            return
        answers = self._answers(samples)
        written = [
            framed(self._example(sample, answer).SerializeToString())
            for sample, answer in zip(samples, answers, strict=True)
            if answer is not None
        ]
        self._count_all(model, len(samples) - len(written), "FAILED_PRECONDITION")
        if not written:
            return
        was_written = self._attempt(lambda: self._files.write(written))
        self._count_all(model, len(written), "OK" if was_written else "UNAVAILABLE")
        if was_written and self._is_broken:
            self._is_broken = False
            _log.info("the traffic log in %s is written again", self._files.folder)

    def _answers(self, samples: Sequence[_Sample]) -> list[Mapping[str, np.ndarray] | None]:
        """All that the model says of each picture, or else what it said to the caller."""
        answers = [sample.answer for sample in samples]
        if self._ask is None:
            return answers
        complete = self._complete.get(_asked(samples[0]))
        missing = [
            place
            for place, answer in enumerate(answers)
            if complete is None or answer is None or not complete <= answer.keys()
        ]
        if not missing:
            return answers
        pictures = np.empty(len(missing), object)
        pictures[:] = [samples[place].picture for place in missing]
        try:
            outputs = self._ask(*_asked(samples[0]), pictures)
        except Exception as error:
            # The version is perhaps gone by now; what it said to the callers is there.
            self._tell_once(f"the traffic log could not ask for everything: {error}")
            return answers
        if outputs is not None:
            asked = _asked(samples[0])
            # A strict answer is as complete, and the names of the versions that were are no burden.
            self._complete[asked] = frozenset(outputs) - {features.STATUS}
            for row, place in enumerate(missing):
                answers[place] = _row(outputs, row, len(missing))
        return answers

    def _example(self, sample: _Sample, answer: Mapping[str, np.ndarray]) -> example_pb2.Example:
        example = example_pb2.Example()
        feature = example.features.feature
        status = _status(answer)
        if status is not None:
            _fill(feature[features.STATUS], status)
        else:
            for name, values in answer.items():
                if name != features.STATUS:
                    _fill(feature[name], values)
            # What cannot be measured is answered all the same.
            with contextlib.suppress(PictureError):
                for name, figure in picture_figures(sample.picture)._asdict().items():
                    _fill(feature[name], np.array([figure]))
        digest = hashlib.blake2b(sample.picture, digest_size=_DIGEST_BYTES).digest()
        texts = {
            live_traffic.MODEL: sample.model.encode(),
            live_traffic.SIGNATURE: sample.signature.encode(),
            live_traffic.REQUEST_ID: sample.request_id.encode(),
            live_traffic.DIGEST: digest,
        }
        if self._keeps_pictures:
            texts[features.IMAGE] = sample.picture
        for name, text in texts.items():
            del feature[name].bytes_list.value[:]
            feature[name].bytes_list.value.append(text)
        feature[live_traffic.TIME].int64_list.value[:] = [sample.time_ms]
        feature[live_traffic.VERSION].int64_list.value[:] = [sample.version]
        if sample.answer is None:
            feature[live_traffic.REFUSED].int64_list.value[:] = [1]
        return example

    def _attempt(self, write: Callable[[], None]) -> bool:
        """Does something to the files; whether it could be done."""
        try:
            write()
        except OSError as error:
            self._retry_at = time.monotonic() + _RETRY_S
            if not self._is_broken:
                _log.error(
                    "the traffic log in %s cannot be written (%s); it is tried again every %.0f s, "
                    "and the server goes on without",
                    *(self._files.folder, error.strerror or error, _RETRY_S),
                )
            self._is_broken = True
            return False
        return True

    def _count_all(self, model: str, number: int, status: str) -> None:
        for _ in range(number):
            self._count(model, status)

    def _tell_once(self, sentence: str, with_traceback: bool = False) -> None:
        if sentence not in self._told and len(self._told) < 100:
            self._told.add(sentence)
            _log.error("%s", sentence, exc_info=with_traceback)


def asking(servables: Servables) -> Ask:
    """Asks a server's own models, past its queue of requests."""

    def ask(model: str, version: int, pictures: np.ndarray) -> Mapping[str, np.ndarray] | None:
        spec = model_pb2.ModelSpec(name=model)
        spec.version.value = version
        with servables.find(spec) as servable:
            name = features.TOLERANT_EVERYTHING_SIGNATURE
            signature = servable.signatures.get(name)
            if signature is None or list(signature.inputs) != [features.IMAGE_BYTES]:
                return None
            outputs = servable.model.run(
                {features.IMAGE_BYTES: pictures},
                signature.outputs,
                timeout_s=_ASK_TIMEOUT_S,
                signature_name=name,
            )
            return dict(zip(signature.outputs, outputs, strict=True))

    return ask


class _RotatingFiles:
    """TFRecord files of which the last is hidden until it is whole; see `TrafficLog`."""

    def __init__(self, folder: Path, rotate_bytes: int, rotate_s: float, keep_files: int):
        self.folder = folder
        self._rotate_bytes = rotate_bytes
        self._rotate_s = rotate_s
        self._keep_files = keep_files
        self._numbers = itertools.count()
        self._writer = re.sub(r"[^\w.]", "_", socket.gethostname())[:64]
        self._file: int | None = None
        self._path = Path()
        self._size = 0
        self._rotate_at = float("inf")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Found out now, not by the first request.
            self._open()
            self._discard()
        except OSError as error:
            raise UserError(
                f"The traffic log's folder {folder} cannot be written: {error.strerror}. Name "
                "another, or leave the log out."
            ) from error
        for partial in live_traffic.unfinished_files(folder):
            with contextlib.suppress(OSError):
                _make_whole(partial)
        self._remove_old()

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def until_rotation_s(self) -> float | None:
        """Seconds until the file is old; None where there is none."""
        return max(0.0, self._rotate_at - time.monotonic()) if self.is_open else None

    def write(self, framed_records: Iterable[bytes]) -> None:
        """Appends records; after an OSError none of them is in the file, or all are."""
        if not self.is_open:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._open()
        assert self._file is not None
        content = b"".join(framed_records)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            # What was written before is good; a disk that is full has room for a name.
            with contextlib.suppress(OSError):
                self.finish()
            raise
        self._size += len(content)
        if self._size >= self._rotate_bytes:
            self.finish()

    def rotate_if_due(self) -> None:
        """Ends a file that is old."""
        if self.is_open and time.monotonic() >= self._rotate_at:
            self.finish()

    def finish(self) -> None:
        """Makes the file whole, if there is one, and removes those that are too many."""
        if self._file is None:
            return
        try:
            if self._size:
                os.fsync(self._file)
                os.rename(self._path, live_traffic.finished(self._path))
            else:
                self._path.unlink(missing_ok=True)
        finally:
            self._close()
        self._remove_old()

    def _open(self) -> None:
        while True:
            now = datetime.now(timezone.utc)
            # A time to the microsecond and a number: names by time, none of them twice.
            name = live_traffic.file_name(
                f"{now:%Y%m%dT%H%M%S.%fZ}", f"{self._writer}-{os.getpid()}-{next(self._numbers)}"
            )
            path = live_traffic.unfinished(self.folder / name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            file = os.open(path, flags, 0o640)
            if _locked(file, path):
                break
            os.close(file)
        self._file, self._path, self._size = file, path, 0
        self._rotate_at = time.monotonic() + self._rotate_s

    def _discard(self) -> None:
        self._path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        assert self._file is not None
        os.close(self._file)
        self._file = None

    def _remove_old(self) -> None:
        for old in live_traffic.whole_files(self.folder)[: -self._keep_files or None]:
            old.unlink(missing_ok=True)


def _make_whole(partial: Path) -> None:
    """Takes over a file whose writer is gone: all but the record that it was in."""
    with partial.open("r+b") as file:
        if not _locked(file.fileno(), partial):
            return
        good = 0
        try:
            for record in records(file):
                good += len(framed(record))
        except DamagedRecord as damaged:
            good = damaged.offset
            file.truncate(good)
        if not good:
            partial.unlink(missing_ok=True)
            return
        os.fsync(file.fileno())
        os.rename(partial, live_traffic.finished(partial))


def _locked(file: int, path: Path) -> bool:
    """Whether the file is now this process's, and still the one that the path names."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there, here = path.stat(), os.fstat(file)
    except (BlockingIOError, FileNotFoundError):
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _asked(sample: _Sample) -> tuple[str, int]:
    return sample.model, sample.version


def _row(outputs: Mapping[str, np.ndarray], index: int, count: int) -> dict[str, np.ndarray]:
    """A picture's row of every output that has one; copied, or it would hold the whole batch."""
    return {
        name: values[index : index + 1].copy()
        for name, values in outputs.items()
        if values.ndim
        and len(values) == count
        and values.dtype.kind in "Ofiub"
        and values[:1].nbytes <= _MOST_ROW_BYTES
    }


def _status(answer: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Why a picture was refused, string (1); None where it was not."""
    status = answer.get(features.STATUS)
    is_told = status is not None and status.dtype == object and status.ravel()[0]
    return status if is_told else None


def _fill(feature: example_pb2.Feature, values: np.ndarray) -> None:
    """Writes values as what an Example has: bytes, floats or 64-bit integers."""
    values = np.ravel(values)
    if values.dtype == object:
        feature.bytes_list.value.extend(values.tolist())
    elif values.dtype.kind == "f":
        feature.float_list.value.extend(values.tolist())
    else:
        feature.int64_list.value.extend(values.astype(np.int64).tolist())
