"""The models that are served: which versions of each answer, and what became of the others."""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import grpc
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import model_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from schema.errors import UserError
from serving.model_server import config_files, inference, memory
from serving.model_server.errors import RequestError
from serving.model_server.joint_runs import Batching, Kind, Runs
from serving.model_server.options import ServerOptions
from serving.process import cores

_log = logging.getLogger("seamline.serving")

PLATFORM = "tensorflow"
"""The one `model_platform` that is served."""

WARMUP_REQUESTS = Path("assets.extra", "tf_serving_warmup_requests")
"""Where a SavedModel has the requests that it answers before it answers callers."""

MOST_WARMUP_REQUESTS = 1000

# What fits a 64-bit integer, as versions are in messages.
_VERSION = re.compile(r"[0-9]{1,19}")
_LARGEST_VERSION = 2**63 - 1

_OLD_S = 5.0
"""A version that is there when the server starts, and whose files are older than this, is complete:
nobody has been writing it."""

_AFTER_A_FAULT_S = 10.0

_MOST_ENDED = 1000
"""States of versions that ended are told about so many of a model."""

_LONGEST_REASON = 4096

_Files = frozenset[tuple[str, int, int]]

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Model(Runs, Protocol):
    """What is asked of a SavedModel; `saved_model.SavedModel` is one."""

    signature_defs: Mapping[str, meta_graph_pb2.SignatureDef]
    batching: Batching | None

    def close(self) -> None:
        """Gives the memory back."""


@dataclass(frozen=True)
class VersionState:
    """What became of a version.

    Attributes:
        version: its number.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        code: OK, or why it cannot be loaded.
        message: the same in words.
    """

    version: int
    state: str
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""


class Servable:
    """One version of a model in memory.

    Attributes:
        name: the model's name.
        version: the version's number.
        model: what computes.
        signatures: what can be asked.
        answers_as_content: answers hold `tensor_content`.
        checks_method_names: signatures are only asked what they were made for.
        observe: is shown every Predict once callers are answered; see `TrafficLog.observe`.
    """

    observe: Callable[..., None] | None = None

    def __init__(self, name: str, version: int, model: Model, options: ServerOptions):
        self.name = name
        self.version = version
        self.model = model
        self.signatures = inference.read_signatures(model.signature_defs)
        self.answers_as_content = options.enable_serialization_as_tensor_content
        self.checks_method_names = options.enable_signature_method_name_check
        self._users = 0
        self._left = threading.Condition()

    def enter(self) -> None:
        """Counts somebody who asks the model."""
        with self._left:
            self._users += 1

    def leave(self) -> None:
        """Counts him no more."""
        with self._left:
            self._users -= 1
            if not self._users:
                self._left.notify_all()

    def close(self) -> None:
        """Waits until nobody asks the model, and gives its memory back."""
        with self._left:
            self._left.wait_for(lambda: not self._users)
        self.model.close()


class _Lease:
    """A version that is not unloaded as long as somebody is inside."""

    __slots__ = ("_servable", "_servables", "_spec")

    def __init__(self, servables: Servables, spec: model_pb2.ModelSpec):
        self._servables = servables
        self._spec = spec

    def __enter__(self) -> Servable:
        self._servable = self._servables._taken(self._spec)
        return self._servable

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._servable.leave()


class Servables:
    """The models that are served, each followed by a thread of its own.

    A thread looks into its model's folder. Versions that the model's policy wants are loaded,
    warmed up, and answer beside the old ones, which are drained and closed once a wanted one
    answers. A version is loaded only when its files have stopped to change. One that cannot be
    loaded is tried again some times, and again when its files change; until then the old one goes
    on. When it is the first thing a server finds, the next older version answers in its place.

    Args:
        options: what the server is told.
        load: makes a model of a version's folder; may raise whatever a damaged one raises.
        settle_s: a version's files must not have changed for so many seconds before it is loaded.
        on_warmup: told of each version that was warmed up: its folder, `OK` or the name of the
            status that it failed with, how many requests it answered, and the seconds it took.

    Attributes:
        options: the same.
        config: the models that are served now.

    Raises:
        UserError: the configuration cannot be served.
    """

    def __init__(
        self,
        options: ServerOptions,
        load: Callable[[Path], Model] | None = None,
        settle_s: float = 1.0,
        on_warmup: Callable[[str, str, int, float], None] = lambda *_: None,
    ):
        self.options = options
        self.config = model_server_config_pb2.ModelServerConfig()
        self._load = load or saved_models(options)
        self._settle_s = settle_s
        self._on_warmup = on_warmup
        # Guards what is told and who is found; never held while a model loads or closes.
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._reloading = threading.Lock()
        self._available: dict[str, dict[int, Servable]] = {}
        self._latest: dict[str, Servable] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._states: dict[str, dict[int, VersionState]] = {}
        self._followers: dict[str, _Follower] = {}
        self._ended: list[_Follower] = []
        self._listeners: list[Callable[[], None]] = []
        self._loads = threading.BoundedSemaphore(options.num_load_threads or cores())
        self._stopped = threading.Event()
        # Until each of the first models was tried.
        self._is_starting = True
        self._config_thread: threading.Thread | None = None

    observe: Callable[..., None] | None = None
    """What versions that are loaded from now on show their requests to."""

    def start(self) -> None:
        """Begins to load the models, in threads.

        Raises:
            UserError: the configuration cannot be served.
        """
        try:
            self._apply(self.options.models)
        except RequestError as error:
            file = self.options.model_config_file
            raise UserError(f"{file}: " * bool(file) + _remedy(error.message)) from error
        if (
            self.options.model_config_file is not None
            and self.options.model_config_file_poll_wait_seconds > 0
        ):
            self._config_thread = threading.Thread(
                target=self._follow_config, name="models.config", daemon=True
            )
            self._config_thread.start()

    def close(self) -> None:
        """Ends it all: waits for requests that are computed, and closes every model."""
        self._stopped.set()
        with self._news:
            self._news.notify_all()
        with self._reloading:
            followers = [*self._followers.values(), *self._ended]
            for follower in followers:
                follower.end()
            for follower in followers:
                follower.join()
        if self._config_thread:
            self._config_thread.join()

    def find(self, spec: model_pb2.ModelSpec) -> contextlib.AbstractContextManager[Servable]:
        """The version that answers a request, for the length of a `with`.

        Args:
            spec: its name, and a version, a label, or neither for the newest.

        Raises:
            RequestError: on entering: there is none such (NOT_FOUND, or INVALID_ARGUMENT for a
                name or label that nobody can have), or not yet (UNAVAILABLE).
        """
        return _Lease(self, spec)

    def batching(self, kind: Kind) -> Batching | None:
        """How requests of a kind are computed together; None if each by itself, or by nobody."""
        try:
            spec = model_pb2.ModelSpec.FromString(kind.model_spec)
            with self._lock:
                servable = self._servable(spec, self._version(spec))
        except (DecodeError, RequestError):
            return None
        return servable.model.batching if servable else None

    def states(self, spec: model_pb2.ModelSpec) -> list[VersionState]:
        """What became of a model's versions, the newest first, or of one of them.

        Raises:
            RequestError: nothing is known of the model or the version (NOT_FOUND), or the label is
                not set (INVALID_ARGUMENT).
        """
        with self._lock:
            states = self._states.get(spec.name, {})
            version = self._version(spec)
            if version is not None:
                if version not in states:
                    raise _not_found(f"Could not find version {version} of model {spec.name}")
                return [states[version]]
            if not states:
                raise _not_found(f"Could not find any versions of model {spec.name}")
            return [states[number] for number in sorted(states, reverse=True)]

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves what another configuration says, and nothing else.

        Returns when its new models answer.

        Raises:
            RequestError: the configuration cannot be served, and nothing has changed; or one of its
                new models cannot be loaded (UNKNOWN), and all else is served.
        """
        self._await(self._apply(config))

    def is_ready(self) -> bool:
        """Whether each model has a version that answers."""
        with self._lock:
            return all(name in self._latest for name in self._followers)

    def listen(self, listener: Callable[[], None]) -> None:
        """Has a function called whenever a version's state changes, in the thread that did it."""
        self._listeners.append(listener)

    def wait_until_ready(self, timeout_s: float | None = None) -> None:
        """Waits until each model answers.

        Raises:
            UserError: versions were found and none can be loaded, or it takes longer.
        """
        with self._news:
            came = self._news.wait_for(
                lambda: self.is_ready() or self._stopped.is_set() or self._problem(), timeout_s
            )
            if self.is_ready():
                return
            if not came:
                raise UserError(
                    f"After {timeout_s:g} s, {'; '.join(self._those_that_do_not_answer())}."
                )
        raise UserError(self._problem() or "The server was stopped before its models were loaded.")

    def check_folders(self) -> None:
        """Refuses models that have nothing to serve yet, which a server may otherwise wait for.

        Raises:
            UserError: a model's folder does not exist, cannot be read or has no version.
        """
        for config in self.options.models.model_config_list.config:
            folder = Path(config.base_path)
            try:
                found = _versions(folder)
            except OSError as error:
                raise UserError(
                    f"Cannot look for versions of model {config.name} in {folder}: "
                    f"{error.strerror}."
                ) from error
            if not found:
                raise UserError(
                    f"There is no version of model {config.name} in {folder}: it has no folder "
                    "with a number for a name. Train and push one with `seamline run` first."
                )

    def _taken(self, spec: model_pb2.ModelSpec) -> Servable:
        name = spec.name
        if not name:
            raise _invalid("ModelSpec has no name specified.")
        with self._lock:
            version = self._version(spec)
            servable = self._servable(spec, version)
            if servable is not None:
                servable.enter()
                return servable
            follower = self._followers.get(name)
            if follower and name not in self._latest and not follower.tried.is_set():
                raise RequestError(
                    grpc.StatusCode.UNAVAILABLE, f"Model {name} is being loaded; ask again"
                )
            if not follower and self._is_starting and not (self._followers and self.is_ready()):
                # Until its models are loaded TensorFlow Serving has no port, and whoever waits for
                # it asks for a model that there is not.
                raise RequestError(
                    grpc.StatusCode.UNAVAILABLE, "The server's models are being loaded; ask again"
                )
        request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise _not_found(f"Servable not found for request: {request}")

    def _servable(self, spec: model_pb2.ModelSpec, version: int | None) -> Servable | None:
        if version is None:
            return self._latest.get(spec.name)
        return self._available.get(spec.name, {}).get(version)

    def _version(self, spec: model_pb2.ModelSpec) -> int | None:
        """The version that is asked for by number or label; None for the newest."""
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            return None
        if choice == "version":
            return spec.version.value
        try:
            return self._labels[spec.name][spec.version_label]
        except KeyError:
            raise _invalid(f"Unrecognized servable version label: {spec.version_label}") from None

    def _apply(self, config: model_server_config_pb2.ModelServerConfig) -> list[_Follower]:
        """Makes a configuration the one that is served; gives who follows its new models."""
        with self._reloading:
            if self._stopped.is_set():
                raise RequestError(grpc.StatusCode.UNAVAILABLE, "The server is being stopped")
            self._check(config)
            models = {model.name: model for model in config.model_config_list.config}
            labels = self._new_labels(models)
            with self._lock:
                self.config.CopyFrom(config)
                self._labels = labels
                new = []
                for name in set(self._followers) - set(models):
                    follower = self._followers.pop(name)
                    follower.end()
                    self._ended = [ended for ended in self._ended if ended.is_alive()]
                    self._ended.append(follower)
                for name, model in models.items():
                    if name in self._followers:
                        self._followers[name].change(model)
                        continue
                    follower = self._followers[name] = _Follower(self, model)
                    follower.start()
                    new.append(follower)
            return new

    def _check(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        kind = config.WhichOneof("config")
        if kind != "model_config_list":
            if self.config.WhichOneof("config"):
                raise RequestError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    "Cannot transition to requested config. It is only legal to transition from "
                    "one ModelConfigList to another.",
                )
            raise _invalid(
                "ModelServer does not yet support custom model config."
                if kind
                else "The configuration has no model_config_list."
            )
        names = set()
        for model in config.model_config_list.config:
            if model.name in names:
                raise _invalid(f"Illegal to list model {model.name} multiple times in config list")
            names.add(model.name)
            if not model.name:
                raise _invalid("A model in the config list has no name.")
            if "://" in model.base_path:
                raise _invalid(
                    f"Model {model.name} is in {model.base_path}: only folders of this machine "
                    "can be served"
                )
            if model.HasField("logging_config"):
                raise _invalid(
                    f"Model {model.name} has a logging_config: No request-logger-creator provided. "
                    "Take it out, and give --traffic_log for a log of requests"
                )
            if not Path(model.base_path).is_absolute():
                raise _invalid(
                    f"Expected model {model.name} to have an absolute path or URI; got "
                    f"base_path()={model.base_path}"
                )
        before = {model.name: _platform(model) for model in self.config.model_config_list.config}
        for model in config.model_config_list.config:
            platform = _platform(model)
            if before.get(model.name, platform) != platform:
                raise _invalid(
                    f"Illegal to change a model's platform. For model {model.name} platform was "
                    f"{before[model.name]} and new platform requested is {platform}"
                )
            if platform != PLATFORM:
                raise _invalid(f"Model {model.name} requests unsupported platform {platform}")

    def _new_labels(
        self, models: Mapping[str, model_server_config_pb2.ModelConfig]
    ) -> dict[str, dict[str, int]]:
        allowed = self.options.allow_version_labels_for_unavailable_models
        labels: dict[str, dict[str, int]] = {}
        for name, model in models.items():
            for label, version in model.version_labels.items():
                # A label that callers use already must not come to mean what does not answer.
                moves = self._labels.get(name, {}).get(label, version) != version
                available = version in self._available.get(name, {})
                if not available and (moves or not allowed):
                    raise RequestError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {name}, which is "
                        "not currently available for inference",
                    )
                labels.setdefault(name, {})[label] = version
        return labels

    def _await(self, followers: Iterable[_Follower]) -> None:
        """Waits until models answer, or have been tried."""
        failed = []
        for follower in followers:
            follower.tried.wait()
            if follower.model_name not in self._latest:
                failed.append(
                    f"{{{{name: {follower.model_name}}} due to error: {self._why_not(follower)}}}, "
                )
        if failed:
            raise RequestError(
                grpc.StatusCode.UNKNOWN,
                f"{len(failed)} model(s) did not become available: {{{''.join(failed)}}}",
            )

    def _why_not(self, follower: _Follower) -> str:
        with self._lock:
            states = self._states.get(follower.model_name, {})
            reasons = "; ".join(
                f"version {version}: {state.message or state.state}"
                for version, state in sorted(states.items())
            )
        return reasons or f"there is no version in {follower.base_path}"

    def _those_that_do_not_answer(self) -> list[str]:
        return [
            f"no version of model {name} in {follower.base_path} answers "
            f"({self._why_not(follower)})"
            for name, follower in self._followers.items()
            if name not in self._latest
        ]

    def _problem(self) -> str:
        """Why a model cannot be waited for; empty if a version of each may still come."""
        for name, follower in self._followers.items():
            states = self._states.get(name, {}).values()
            if (
                name not in self._latest
                and follower.tried.is_set()
                and any(state.state == "END" and state.message for state in states)
            ):
                return (
                    f"No version of model {name} in {follower.base_path} can be loaded "
                    f"({self._why_not(follower)}). Push a sound one with `seamline run`."
                )
        return ""

    def _was_tried(self, follower: _Follower) -> None:
        """Takes note that everything which a model has at the start was tried."""
        if not follower.tried.is_set():
            with self._news:
                follower.tried.set()
                if all(other.tried.is_set() for other in self._followers.values()):
                    self._is_starting = False
                self._news.notify_all()

    def _tell(self, name: str, state: VersionState) -> None:
        with self._lock:
            states = self._states.setdefault(name, {})
            states[state.version] = state
            ended = sorted(number for number in states if states[number].state == "END")
            for number in ended[:-_MOST_ENDED]:
                del states[number]
            self._news.notify_all()
        for listener in self._listeners:
            listener()

    def _put(self, servable: Servable) -> Servable | None:
        """Lets a version answer; gives the one of the same number that did before."""
        servable.observe = self.observe
        with self._lock:
            available = self._available.setdefault(servable.name, {})
            before = available.get(servable.version)
            available[servable.version] = servable
            self._latest[servable.name] = available[max(available)]
        return before

    def _take_away(self, servable: Servable) -> None:
        """Lets a version answer no more requests."""
        with self._lock:
            available = self._available[servable.name]
            del available[servable.version]
            if available:
                self._latest[servable.name] = available[max(available)]
            else:
                del self._available[servable.name], self._latest[servable.name]

    def _follow_config(self) -> None:
        """Reads models.config again and again; a mistake in it leaves all as it is."""
        path = self.options.model_config_file
        assert path is not None
        known: bytes | None = None
        complaint = ""
        while not self._stopped.wait(self.options.model_config_file_poll_wait_seconds):
            try:
                text = path.read_bytes()
                if text != known:
                    # What cannot be served is said once, not at every look.
                    known = text
                    config = config_files.model_config(path, text.decode(errors="replace"))
                    if config != self.config:
                        self.reload(config)
                        _log.info("%s: its %d models are served", path, len(self._followers))
                complaint = ""
            except (OSError, UserError, RequestError) as error:
                reason = str(error.strerror if isinstance(error, OSError) else error)
                if reason != complaint:
                    _log.error("%s is not followed: %s", path, reason)
                complaint = reason


class _Action(enum.Enum):
    LOAD = "load"
    UNLOAD = "unload"


@dataclass
class _Version:
    """A version as its follower sees it.

    Attributes:
        number: its number.
        folder: where it is.
        files: its files as they were at the last look.
        since: since when they have been so, in seconds of the monotonic clock.
        is_old: it was complete when the server began to look.
        is_wanted: the policy asks for it.
        servable: its model, when it answers.
        loaded: the files that `servable` was loaded from.
        tried: the files of the last try to load it.
        tries: how many there were of these files.
        retry_at: when the next one is due.
    """

    number: int
    folder: Path
    files: _Files = frozenset()
    since: float = 0.0
    is_old: bool = False
    is_wanted: bool = True
    servable: Servable | None = None
    loaded: _Files | None = None
    tried: _Files | None = None
    tries: int = 0
    retry_at: float = 0.0


class _Follower(threading.Thread):
    """Follows the folder of one model. Only its thread touches its versions."""

    def __init__(self, servables: Servables, config: model_server_config_pb2.ModelConfig):
        super().__init__(name=f"versions of {config.name}", daemon=True)
        self.model_name = config.name
        self._servables = servables
        self._options = servables.options
        self._config = config
        self._changed = threading.Event()
        self._is_ending = False
        self._versions: dict[int, _Version] = {}
        self._folders: dict[int, Path] = {}
        self._look_at = 0.0
        self._complaint = ""
        self._drains: list[threading.Thread] = []
        self.tried = threading.Event()

    @property
    def base_path(self) -> Path:
        """Where the model's versions are."""
        return Path(self._config.base_path)

    def change(self, config: model_server_config_pb2.ModelConfig) -> None:
        """Follows another folder or policy from now on."""
        if config != self._config:
            self._config = config
            self._changed.set()

    def end(self) -> None:
        """Unloads every version, and ends the thread."""
        self._is_ending = True
        self._changed.set()

    def run(self) -> None:
        """Looks and acts, until `end`."""
        while not self._is_ending:
            if self._changed.is_set():
                self._changed.clear()
                self._look_at = 0.0
            try:
                self._look()
                while not self._is_ending and self._act():
                    pass
                if not self._is_pending():
                    self._servables._was_tried(self)
                wait_s = self._wait_s()
            except Exception:
                _log.exception("versions of model %s: trying again", self.model_name)
                wait_s = _AFTER_A_FAULT_S
            if not self._is_ending:
                self._changed.wait(wait_s)
        self._servables._was_tried(self)
        for version in sorted(self._versions.values(), key=lambda version: version.number):
            if version.servable:
                self._unload(version)
        for drain in self._drains:
            drain.join()

    def _look(self) -> None:
        poll_s = self._options.file_system_poll_wait_seconds
        now = time.monotonic()
        if now >= self._look_at and poll_s >= 0:
            try:
                folders = _versions(self.base_path)
            except OSError as error:
                # A folder that is away for a while takes no model with it.
                self._complain(
                    f"cannot look for versions of model {self.model_name} in "
                    f"{self.base_path}: {error.strerror}"
                )
            else:
                self._want(folders)
            self._look_at = now + poll_s if poll_s else float("inf")
        for version in self._versions.values():
            self._look_at_files(version, now)

    def _want(self, folders: dict[int, Path]) -> None:
        """Takes note of what is there, and what the policy asks for of it."""
        self._folders = folders
        wanted = self._wanted(folders)
        if not wanted:
            self._complain(
                f"there is no version of model {self.model_name} to serve in {self.base_path}"
            )
        else:
            self._complaint = ""
        for number in wanted:
            if number not in self._versions:
                self._versions[number] = _Version(number, folders[number])
                self._tell(number, "START")
        for number, version in list(self._versions.items()):
            version.is_wanted = number in wanted
            if number in folders:
                version.folder = folders[number]
            # One that is to stand in for a newer one, or cannot, is remembered while it is there.
            stands_in = number in folders and (version.tried or not self._has_one_that_answers())
            if not (version.is_wanted or version.servable or stands_in):
                del self._versions[number]
                self._tell_end(number)

    def _wanted(self, folders: Mapping[int, Path]) -> set[int]:
        policy = self._config.model_version_policy
        choice = policy.WhichOneof("policy_choice")
        if choice == "all":
            return set(folders)
        if choice == "specific":
            return set(folders) & set(policy.specific.versions)
        return set(sorted(folders, reverse=True)[: max(policy.latest.num_versions, 1)])

    def _look_at_files(self, version: _Version, now: float) -> None:
        files, newest = _files(version.folder)
        if files != version.files:
            version.files = files
            version.since = now
            # Another machine's clock may be behind, so that what it writes looks old at once. What
            # was there before this server is most likely not being written.
            version.is_old = not self.tried.is_set() and newest < time.time() - _OLD_S

    def _act(self) -> bool:
        """Does what is most urgent; says whether there was anything."""
        action, version = self._next()
        if version is None:
            return False
        if action is _Action.UNLOAD:
            self._unload(version)
        else:
            self._load(version)
        return True

    def _next(self) -> tuple[_Action | None, _Version | None]:
        """What TensorFlow Serving's policy that preserves availability would do next."""
        versions = sorted(self._versions.values(), key=lambda version: version.number)
        wanted = [version for version in versions if version.is_wanted]
        surplus = [version for version in versions if version.servable and not version.is_wanted]
        if surplus and (
            not wanted or any(version.servable for version in wanted) or len(surplus) > 1
        ):
            return _Action.UNLOAD, surplus[0]
        now = time.monotonic()
        for version in reversed(wanted):
            if self._can_be_loaded(version, now):
                return _Action.LOAD, version
        if stand_in := self._stand_in(wanted):
            return _Action.LOAD, stand_in
        return None, None

    def _stand_in(self, wanted: list[_Version]) -> _Version | None:
        """The newest older version, where none that is wanted can be loaded and none answers."""
        policy = self._config.model_version_policy.WhichOneof("policy_choice")
        if (
            not wanted
            or policy not in (None, "latest")
            or self._has_one_that_answers()
            or any(version.tried != version.files for version in wanted)
        ):
            return None
        now = time.monotonic()
        for number in sorted(self._folders, reverse=True):
            if number >= wanted[0].number:
                continue
            if number not in self._versions:
                version = _Version(number, self._folders[number], is_wanted=False)
                self._versions[number] = version
                self._tell(number, "START")
                self._look_at_files(version, now)
            version = self._versions[number]
            if self._can_be_loaded(version, now):
                return version
            if version.tried != version.files:
                # It is still being written; the others are older still.
                return None
        return None

    def _has_one_that_answers(self) -> bool:
        return any(version.servable for version in self._versions.values())

    def _can_be_loaded(self, version: _Version, now: float) -> bool:
        if not version.files or version.loaded == version.files:
            return False
        if version.tried == version.files:
            return self._may_be_tried_again(version) and now >= version.retry_at
        return self._has_settled(version, now)

    def _may_be_tried_again(self, version: _Version) -> bool:
        return not version.servable and version.tries <= self._options.max_num_load_retries

    def _has_settled(self, version: _Version, now: float) -> bool:
        return version.is_old or now - version.since >= self._servables._settle_s

    def _is_pending(self) -> bool:
        """Whether a version that may be the first to answer has not been tried yet."""
        if self._options.file_system_poll_wait_seconds < 0:
            return False
        return any(
            not version.servable and version.tried != version.files
            for version in self._versions.values()
            if version.is_wanted or not version.tried
        )

    def _wait_s(self) -> float | None:
        """Until when nothing can be due."""
        now = time.monotonic()
        due = [self._look_at] if self._options.file_system_poll_wait_seconds >= 0 else []
        one_answers = self._has_one_that_answers()
        for version in self._versions.values():
            if not version.is_wanted and one_answers:
                continue
            if version.tried == version.files:
                if self._may_be_tried_again(version):
                    due.append(version.retry_at)
            elif version.loaded != version.files:
                # Twice within that time: a change in between must be seen.
                due.append(now + self._servables._settle_s / 2)
        soonest = min(due, default=float("inf"))
        return None if soonest == float("inf") else max(0.0, soonest - now)

    def _load(self, version: _Version) -> None:
        number = version.number
        files = version.files
        if version.tried != files:
            version.tries = 0
        version.tried = files
        version.tries += 1
        if not version.servable:
            self._tell(number, "LOADING")
        began = time.monotonic()
        try:
            with self._servables._loads:
                servable = self._made(version)
        # Damaged files make TensorFlow raise errors of many unrelated types.
        except Exception as error:
            code, reason = _reason(error)
            _log.error(
                "model %s version %d cannot be loaded (try %d): %s",
                *(self.model_name, number, version.tries, reason),
            )
            version.retry_at = time.monotonic() + max(0.0, self._options.load_retry_interval_s)
            if not version.servable:
                self._tell(number, "END", code, reason)
            return
        now = time.monotonic()
        self._look_at_files(version, now)
        if version.files != files:
            # What was loaded is perhaps half of one version and half of another.
            servable.close()
            version.tried = None
            if not version.servable:
                self._tell(number, "START")
            return
        before = self._servables._put(servable)
        version.servable = servable
        version.loaded = files
        _log.info(
            "model %s version %d answers, loaded from %s in %.1f s",
            *(self.model_name, number, version.folder, now - began),
        )
        self._tell(number, "AVAILABLE")
        if before:
            self._drain(before, on_end=None)

    def _made(self, version: _Version) -> Servable:
        model = self._servables._load(version.folder)
        try:
            servable = Servable(self.model_name, version.number, model, self._options)
            if self._options.enable_model_warmup:
                self._warm_up(servable, version.folder)
        except BaseException:
            model.close()
            raise
        # Graphs are made in far more of it than they need.
        memory.give_back()
        return servable

    def _warm_up(self, servable: Servable, folder: Path) -> None:
        began, count, status = time.monotonic(), 0, grpc.StatusCode.OK
        iterations = max(1, self._options.num_request_iterations_for_warmup)
        try:
            count = warm_up(servable, folder, iterations)
        except RequestError as error:
            status = error.code
            raise
        finally:
            if count or status is not grpc.StatusCode.OK:
                seconds = time.monotonic() - began
                self._servables._on_warmup(str(folder), status.name, count, seconds)

    def _unload(self, version: _Version) -> None:
        number, servable = version.number, version.servable
        assert servable is not None
        self._servables._take_away(servable)
        self._tell(number, "UNLOADING")
        del self._versions[number]
        self._drain(servable, on_end=lambda: self._tell_end(number))

    def _drain(self, servable: Servable, on_end: Callable[[], None] | None) -> None:
        """Closes a model in a thread, when the last request that it computes is answered."""

        def close() -> None:
            try:
                servable.close()
            except Exception:
                _log.exception(
                    "model %s version %d was not closed", servable.name, servable.version
                )
            if on_end:
                on_end()

        self._drains = [drain for drain in self._drains if drain.is_alive()]
        self._drains.append(
            threading.Thread(
                target=close, name=f"closes {servable.name} {servable.version}", daemon=True
            )
        )
        self._drains[-1].start()

    def _tell_end(self, number: int) -> None:
        """Says that a version has ended, unless it is back by now, or is known not to load."""
        with self._servables._lock:
            state = self._servables._states.get(self.model_name, {}).get(number)
            if number in self._versions or (state and state.state == "END"):
                return
        self._tell(number, "END")

    def _tell(
        self,
        number: int,
        state: str,
        code: grpc.StatusCode = grpc.StatusCode.OK,
        message: str = "",
    ) -> None:
        self._servables._tell(self.model_name, VersionState(number, state, code, message))

    def _complain(self, sentence: str) -> None:
        """Logs what is wrong, once as long as it is."""
        if sentence != self._complaint:
            _log.warning("%s", sentence)
        self._complaint = sentence


def warm_up(servable: Servable, folder: Path, iterations: int = 1) -> int:
    """Answers the requests that a SavedModel brings with it, if any.

    Args:
        servable: what answers.
        folder: the SavedModel's folder.
        iterations: how often each request is answered.

    Returns:
        How many requests there were.

    Raises:
        RequestError: a request is damaged or cannot be answered, or there are more than
            `MOST_WARMUP_REQUESTS`.
    """
    path = folder / WARMUP_REQUESTS
    count = 0
    if not path.exists():
        return count
    for count, record in enumerate(_records(path), start=1):
        if count > MOST_WARMUP_REQUESTS:
            raise _invalid(
                f"Number of warmup records exceeds the maximum ({MOST_WARMUP_REQUESTS}) at {path}"
            )
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError as error:
            raise _invalid(f"Failed to parse warmup record {count} from {path}: {error}") from None
        for _ in range(iterations):
            inference.replay(servable, log)
    return count


def saved_models(options: ServerOptions) -> Callable[[Path], Model]:
    """What makes the models of a server: SavedModels in Sessions, batched as it is told to."""
    import tensorflow as tf

    from serving.model_server.saved_model import SavedModel

    session_config = tf.compat.v1.ConfigProto.FromString(options.session_config)
    if options.batch_threads and not session_config.intra_op_parallelism_threads:
        # Batches that are computed at the same time share the processors. Were each divided among
        # all of them, its parts would wait for one another.
        session_config.intra_op_parallelism_threads = max(1, cores() // options.batch_threads)

    def load(folder: Path) -> Model:
        batching = None
        if options.enable_batching:
            batching = config_files.batching(options, folder)
        return SavedModel(
            folder, options.saved_model_tags, batching=batching, session_config=session_config
        )

    return load


def _records(path: Path) -> Iterator[bytes]:
    import tensorflow as tf
    from tensorflow.python.lib.io import _pywrap_record_io

    try:
        yield from _pywrap_record_io.RecordIterator(str(path), "")
    except tf.errors.DataLossError as error:
        raise RequestError(
            grpc.StatusCode.DATA_LOSS,
            f"{error.message}. Please verify your warmup data is in TFRecord format.",
        ) from error


def _platform(model: model_server_config_pb2.ModelConfig) -> str:
    """A model's platform, of whichever of the two fields that say it."""
    if model.model_type != model_server_config_pb2.MODEL_TYPE_UNSPECIFIED:
        if model.model_platform:
            raise _invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                "ModelServerConfig::model_platform."
            )
        if model.model_type != model_server_config_pb2.TENSORFLOW:
            raise _invalid(
                f"ModelServerConfig::model_type choice {model.model_type} not supported."
            )
        return PLATFORM
    if not model.model_platform:
        raise _invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform."
        )
    return model.model_platform


def _versions(folder: Path) -> dict[int, Path]:
    """The subfolders that are named by a number; others are nobody's business here."""
    found: dict[int, Path] = {}
    for child in sorted(folder.iterdir()):
        if not _VERSION.fullmatch(child.name) or int(child.name) > _LARGEST_VERSION:
            continue
        # Somebody may be removing it at this moment.
        with contextlib.suppress(OSError):
            if child.is_dir():
                found[int(child.name)] = child
    return found


def _files(folder: Path) -> tuple[_Files, float]:
    """What is in a folder, and when it was written.

    Returns:
        Path, size and time of writing of every file, and the paths of the folders; and the newest
        time of anything, in seconds since 1970. Nothing and 0 if there is no such folder.
    """
    found: list[tuple[str, int, int]] = []
    newest = 0
    # What is removed while it is walked through is left out.
    for parent, _, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            try:
                status = os.stat(path)
            except OSError:
                # Perhaps a link to nothing.
                found.append((path, -1, 0))
                continue
            if stat.S_ISDIR(status.st_mode):
                found.append((path, 0, 0))
                newest = max(newest, status.st_mtime_ns)
            else:
                found.append((path, status.st_size, status.st_mtime_ns))
                # A copy may bear the times of its original; when it was made it still tells.
                newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
    return frozenset(found), newest / 1e9


def _reason(error: Exception) -> tuple[grpc.StatusCode, str]:
    """An error's status and text; of TensorFlow's errors their own."""
    code = grpc.StatusCode.UNKNOWN
    message = getattr(error, "message", None)
    if not isinstance(message, str):
        message = str(error)
    if isinstance(error, RequestError):
        code = error.code
    elif isinstance(number := getattr(error, "error_code", None), int):
        code = _STATUS_CODES.get(number, code)
    elif isinstance(error, OSError):
        code = grpc.StatusCode.NOT_FOUND
    return code, (message or type(error).__name__)[:_LONGEST_REASON]


def _remedy(message: str) -> str:
    if "which is not currently available for inference" in message:
        return (
            f"{message}. Give --allow_version_labels_for_unavailable_models, for at the start no "
            "version is available."
        )
    return message if message.endswith(".") else f"{message}."


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _not_found(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.NOT_FOUND, message)
