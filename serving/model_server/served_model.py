"""The model behind one name: which version of it answers, and what became of the others."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from schema.errors import UserError
from serving.model_server.loaded_model import LoadedModel, RequestError

_log = logging.getLogger("seamline.serving")

# What fits a 64-bit integer, as versions are in messages.
_VERSION = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class VersionState:
    """What became of a version.

    Attributes:
        state: a state's name in TensorFlow Serving's `ModelVersionStatus`.
        error: why it could not be loaded; empty if it could.
    """

    state: str
    error: str = ""


class ServedModel:
    """Follows a folder of versions; its largest number that can be loaded answers.

    A thread looks into the folder every `poll_interval_s`. A new version is loaded beside the old
    one and takes over when it is ready. One that cannot be loaded is left alone until its files
    change. If the version that answers is removed, the largest one left takes over; if none is
    left, it keeps answering.

    Args:
        folder: holds one SavedModel a version in subfolders named by numbers; others are ignored.
        name: the model's name.
        max_concurrent: predictions that are computed at a time; others wait.
        poll_interval_s: seconds between two looks into the folder.
    """

    def __init__(self, folder: Path, name: str, max_concurrent: int, poll_interval_s: float = 1.0):
        self.name = name
        self._folder = folder
        self._poll_interval_s = poll_interval_s
        self._turns = threading.BoundedSemaphore(max_concurrent)
        self._current: LoadedModel | None = None
        self._states: dict[int, VersionState] = {}
        # The files of each version that could not be loaded, as they were then.
        self._broken: dict[int, frozenset] = {}
        self._first_look_over = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="versions", daemon=True)

    def start(self) -> None:
        """Begins to load the newest version, in a thread.

        Raises:
            UserError: there is no version, or the folder cannot be read.
        """
        try:
            versions = self._versions()
        except OSError as error:
            raise UserError(
                f"Cannot look for model versions in {self._folder}: {error.strerror}."
            ) from error
        if not versions:
            raise UserError(
                f"There is no model version in {self._folder}. Train and push one with "
                "`seamline run` first."
            )
        self._thread.start()

    def stop(self) -> None:
        """Stops to follow the folder; a version that is being loaded is awaited."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def current_version(self) -> int | None:
        """The version that answers; None until the first one is loaded."""
        return self._current.version if self._current else None

    def wait_until_ready(self, timeout_s: float) -> None:
        """Waits until a version answers.

        Raises:
            UserError: none of the versions can be loaded, or it takes longer.
        """
        if not self._first_look_over.wait(timeout_s):
            raise UserError(
                f"No model version in {self._folder} was loaded within {timeout_s:g} s. "
                "Allow more time."
            )
        if self._current is None:
            reasons = "; ".join(
                f"version {version}: {state.error}" for version, state in self.states().items()
            )
            raise UserError(
                f"No model version in {self._folder} can be loaded ({reasons}). "
                "Push a sound one with `seamline run`."
            )

    def states(self, name: str | None = None, version: int | None = None) -> dict:
        """The state of each version that was seen, by ascending version.

        Raises:
            RequestError: NOT_FOUND if the name or the version is another.
        """
        states = dict(sorted(self._states.copy().items()))
        if name not in (None, self.name):
            raise _not_found(f"Could not find any versions of model {name}")
        if version is None:
            return states
        if version not in states:
            raise _not_found(f"Could not find version {version} of model {self.name}")
        return {version: states[version]}

    def version(self, name: str, version: int | None = None) -> LoadedModel:
        """The version that answers a request for a name and perhaps a version.

        Raises:
            RequestError: NOT_FOUND if another name or version is served, UNAVAILABLE while the
                first version is being loaded.
        """
        current = self._current
        if name != self.name:
            raise _not_found(f"Servable not found for request: Latest({name})")
        if version is not None and (current is None or version != current.version):
            raise _not_found(f"Servable not found for request: Specific({name}, {version})")
        if current is None:
            raise RequestError(grpc.StatusCode.UNAVAILABLE, f"No version of {name} is loaded yet")
        return current

    def predict(
        self,
        model: LoadedModel,
        inputs: Mapping[str, np.ndarray],
        signature_name: str,
        output_filter: Sequence[str] = (),
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> dict[str, np.ndarray]:
        """`model.predict(...)`, when it is its turn and if somebody still waits for the answer."""
        with self._turns:
            if not is_awaited():
                raise RequestError(grpc.StatusCode.CANCELLED, "Nobody waits for the answer")
            return model.predict(inputs, signature_name, output_filter)

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self._look()
            # The folder may be on a network file system that is away for a while.
            except OSError as error:
                _log.warning("cannot look into %s: %s", self._folder, error)
            self._first_look_over.set()
            self._stopped.wait(self._poll_interval_s)

    def _look(self) -> None:
        """Lets the largest version that can be loaded answer."""
        for version, folder in sorted(self._versions().items(), reverse=True):
            if version == self.current_version:
                return
            files = _files(folder)
            if self._broken.get(version) == files:
                continue
            if self._load(version, folder):
                return
            self._broken[version] = files

    def _load(self, version: int, folder: Path) -> bool:
        self._states[version] = VersionState("LOADING")
        began = time.monotonic()
        try:
            loaded = LoadedModel(folder, version)
        # Damaged files make TensorFlow raise errors of many unrelated types.
        except Exception as error:
            reason = error.message if isinstance(error, RequestError) else str(error)
            self._states[version] = VersionState("END", reason or type(error).__name__)
            _log.error("%s version %d cannot be loaded: %s", self.name, version, reason)
            return False
        old = self._current
        self._current = loaded
        self._states[version] = VersionState("AVAILABLE")
        self._broken.pop(version, None)
        if old:
            self._states[old.version] = VersionState("END")
        _log.info(
            "%s version %d answers, loaded from %s in %.1f s",
            self.name,
            version,
            folder,
            time.monotonic() - began,
        )
        return True

    def _versions(self) -> dict[int, Path]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return {
                int(folder.name): folder
                for folder in self._folder.iterdir()
                if _VERSION.fullmatch(folder.name) and folder.is_dir()
            }
        return {}


def _files(folder: Path) -> frozenset:
    """What tells whether anything in the folder has changed."""

    def stamps() -> Iterator[tuple[Path, int, int]]:
        for path in folder.rglob("*"):
            # Somebody may be removing the folder at this moment.
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield path, status.st_size, status.st_mtime_ns

    return frozenset(stamps())


def _not_found(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.NOT_FOUND, message)
