"""The models under a serving root that can be searched by, and which version of each answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from PIL import Image

from schema import features
from schema.errors import UserError
from serving.app.errors import AWAY, NOT_FOUND, Refused
from serving.app.finder import Finder, is_no_signature
from serving.app.pictures import encoded
from serving.client import AsyncCatalogClient, RequestFailed
from serving.client.connection import read_api_key
from serving.process import cores
from serving.search import DamagedIndex, IndexAway, IndexedCatalog, ProductIndex
from serving.search.folder import MANIFEST
from serving.search.qdrant_server import API_KEY_VARIABLE, QdrantServer

USUAL_MODEL = "catalog"
"""The model that answers where none is named and there is one of this name."""

_log = logging.getLogger("seamline.app")

_LOOK_S = 1.0
"""Seconds between two looks for new versions."""

_OPEN_AGAIN_S = 10.0
"""Seconds after which an index that could not be opened is tried again."""

_STATUS_TIMEOUT_S = 2.0
_TIMEOUT_S = 30.0
_TIMEOUT_AWAY_S = 1.0
_NUMBER = re.compile(r"[0-9]{1,19}")
_ANSWERS = "AVAILABLE"
_FOLDER = Path(features.INDEX_FOLDER)
_MANIFEST = _FOLDER / "index" / MANIFEST

_LOOKED_UP_AT_ONCE = 16
"""Questions to an index on another machine, which are waited for and take no processor."""

_SEARCHES_AT_ONCE = 8
"""Searches of a version among these; others can be told of products meanwhile."""

Stamp = tuple[int | str | None, ...]
T = TypeVar("T")


@dataclass
class Version:
    """A version that has an index.

    Attributes:
        number: of the version.
        folder: the version's.
        stamp: what changes where the index is written anew, or another is asked in Qdrant.
        products: how many its index says it has.
        finder: where it was opened.
        explains: whether its model tells where in a picture its answers come from; None where the
            model was not asked yet.
        problem: why it cannot be opened, a sentence; empty where it can, or nobody tried.
    """

    number: int
    folder: Path
    stamp: Stamp
    products: int
    finder: Finder | None = None
    explains: bool | None = None
    problem: str = ""
    _tried: float = 0.0
    _users: int = 0
    _is_gone: bool = False
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Model:
    """A model under the serving root.

    Attributes:
        name: its name, here and at the model server.
        versions: those with an index, by number.
        answering: the versions that the model server answers with, with an index or not; None where
            it does not answer at all.
        current: the version that is asked where none is named; None where there is none.
        collection: what its alias in Qdrant names; None where it names none, or it is not there
            that is searched.
        away: why no index can be asked, a sentence; empty where it can.
    """

    name: str
    versions: dict[int, Version] = field(default_factory=dict)
    answering: frozenset[int] | None = None
    current: Version | None = None
    collection: str | None = None
    away: str = ""

    @property
    def problem(self) -> str:
        """What keeps pictures from being searched for, a sentence; empty where nothing does."""
        if not self.versions:
            return (
                f"No version of {self.name} has an index to search in; `seamline run CONFIG --set "
                "search.enabled=true` pushes one."
            )
        newest = max(self.versions)
        if self.current is None or self.current.number != newest and self.versions[newest].problem:
            return self.versions[newest].problem or (
                f"The index of version {newest} of {self.name} is being opened; ask again in a "
                "moment."
            )
        if self.away:
            return self.away
        if self.answering is None:
            return (
                "The model server does not answer, so that only products can be searched for, by "
                "their ids."
            )
        if self.current.number not in self.answering:
            return (
                f"The model server does not answer with version {self.current.number} of "
                f"{self.name}, which has the index, so that only products can be searched for, by "
                "their ids."
            )
        return ""

    @property
    def is_ready(self) -> bool:
        """Whether pictures can be searched for."""
        answers = self.current is not None and self.current.number in (self.answering or ())
        return answers and not self.away


class Models:
    """All models of a serving root. Belongs to the event loop that it is started in.

    A version with an index answers from when the model server does with that version; the one
    before answers until then. The folder and the server are looked at every second, and at once
    where the server says that it has not got a version any more.

    Args:
        root: holds `<model>/<version>/`, as a workspace's `serving` does.
        server: "host:port" of the model server's gRPC; None where there is none to ask, so that
            only products can be searched for.
        only: the one model to look for; all by default.
        api_key: for the model server; None for none.
        qdrant: where the indexes were brought to and are searched, in place of the folders' own;
            closed with this.
    """

    def __init__(
        self,
        root: Path,
        server: str | None,
        only: str | None = None,
        api_key: str | None = None,
        qdrant: QdrantServer | None = None,
    ):
        self._root = root
        self._server = server
        self._only = only
        self._api_key = api_key
        self._qdrant = qdrant
        self._work = ThreadPoolExecutor(cores(), thread_name_prefix="seamline-app")
        self._searching = self._work
        if qdrant:
            self._searching = ThreadPoolExecutor(_LOOKED_UP_AT_ONCE, thread_name_prefix="qdrant")
        self._models: dict[str, Model] = {}
        self._status_clients: dict[str, AsyncCatalogClient] = {}
        self._looking = asyncio.Lock()
        self._last_look = 0.0
        self._away = ""
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Looks for the first time, and from now on."""
        await self.look()
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Closes every index and every connection."""
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for model in self._models.values():
            for version in model.versions.values():
                if version.finder:
                    await version.finder.close()
        for client in self._status_clients.values():
            await client.close()
        for pool in (self._work, self._searching):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._qdrant:
            self._qdrant.close()

    @property
    def all(self) -> list[Model]:
        """By name."""
        return [self._models[name] for name in sorted(self._models)]

    @property
    def default(self) -> str | None:
        """The name of the model that answers where none is named."""
        ranked = sorted(self.all, key=lambda one: (not one.versions, one.name != USUAL_MODEL))
        return ranked[0].name if ranked else None

    @property
    def problem(self) -> str:
        """Why no picture can be searched for by any model, a sentence; empty where one can."""
        if any(model.is_ready for model in self._models.values()):
            return ""
        default = self.default
        if default is None:
            return (
                "There is no model to search by: nothing was pushed yet. `seamline run CONFIG` "
                "pushes one where it finds it good enough."
            )
        return self._models[default].problem

    def find(self, name: str | None) -> Model:
        """The model of a name; the default's where none is named.

        Raises:
            Refused: there is none.
        """
        wanted = self.default if name is None else name
        if wanted is None:
            raise Refused(AWAY, self.problem)
        model = self._models.get(wanted)
        if model is None:
            there = ", ".join(sorted(self._models)) or "none"
            raise Refused(NOT_FOUND, f'There is no model "{name}"; there are: {there}.')
        return model

    async def ask(
        self, name: str | None, number: int | None, do: Callable[[Finder], Awaitable[T]]
    ) -> T:
        """Has a version's finder do something; once more where the version has gone meanwhile.

        Args:
            name: of the model; the default's where None.
            number: of the version; the current one where None.
            do: what is to be done.

        Raises:
            Refused: there is no such model or version, or the model server has not got it.
            DamagedIndex: its index cannot be opened.
            IndexAway: the engine that holds its index does not answer.
        """
        model = self.find(name)
        for is_last in (False, True):
            try:
                async with self._finder(model, number) as finder:
                    return await do(finder)
            except RequestFailed as error:
                if error.code is not grpc.StatusCode.NOT_FOUND:
                    raise
                await self.look()
                if is_last or number is not None:
                    raise Refused(
                        AWAY,
                        f"The model server does not answer with version {finder.version} of "
                        f"{model.name}; pictures can be asked about as soon as it does, products "
                        "are found by their ids.",
                    ) from error
            except DamagedIndex:
                # In Qdrant its collection may have been replaced and removed since the last look.
                if is_last or not self._qdrant:
                    raise
                await self.look()
        raise AssertionError

    async def explains(self, model: Model) -> bool:
        """Whether a model's current version tells where in a picture its answers come from."""
        version = model.current
        if version is None or not model.is_ready:
            return False
        if version.explains is None:
            # Nothing else tells its signatures; it is asked once.
            with contextlib.suppress(UserError):
                version.explains = await self.ask(model.name, version.number, _explains)
        return bool(version.explains)

    async def look(self) -> None:
        """Looks at the folder and at the model server, and opens what answers from now on."""
        asked = time.monotonic()
        async with self._looking:
            if self._last_look > asked:
                # Somebody else looked in between.
                return
            self._last_look = time.monotonic()
            found = await asyncio.to_thread(indexed_versions, self._root, self._only)
            states, collections = await asyncio.gather(
                asyncio.gather(*map(self._answering, found)), self._collections()
            )
            answering = dict(zip(found, states, strict=True))
            for name in [name for name in self._models if name not in found]:
                await self._let_go(list(self._models.pop(name).versions.values()))
            for name, versions in found.items():
                model = self._models.setdefault(name, Model(name))
                model.answering, model.away = answering[name], self._away
                if self._qdrant and collections is not None:
                    model.collection = collections.get(self._qdrant.alias(name))
                await self._take_up(model, versions)
                await self._choose(model)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self.look()
            except Exception:
                _log.exception("the look for new versions failed; the next comes")

    async def _answering(self, name: str) -> frozenset[int] | None:
        """The versions that the server answers with."""
        if self._server is None:
            return None
        client = self._status_clients.get(name)
        if client is None:
            client = self._client(name, None, _STATUS_TIMEOUT_S)
            self._status_clients[name] = client
        try:
            states = await client.model_status()
        except RequestFailed as error:
            return frozenset() if error.code is grpc.StatusCode.NOT_FOUND else None
        return frozenset(state.version for state in states if state.state == _ANSWERS)

    async def _collections(self) -> dict[str, str] | None:
        """What each alias in Qdrant names; None where Qdrant is not asked or does not answer."""
        if not self._qdrant:
            return None
        collections, away = None, ""
        try:
            collections = await self._looked_up(self._qdrant.collections)
        except IndexAway as error:
            away = str(error)
        if away != self._away:
            _log.warning("%s", away or "Qdrant answers again")
            self._away = away
        return collections

    async def _take_up(self, model: Model, found: Mapping[int, tuple[Path, Stamp, int]]) -> None:
        """Takes over which versions there are; those that changed are others."""
        if self._qdrant:
            found = {
                number: (folder, (*stamp, model.collection), products)
                for number, (folder, stamp, products) in found.items()
            }
        gone = [
            version
            for version in model.versions.values()
            if version.number not in found or found[version.number][1] != version.stamp
        ]
        for version in gone:
            del model.versions[version.number]
        for number, (folder, stamp, products) in found.items():
            if number not in model.versions:
                model.versions[number] = Version(number, folder, stamp, products)
        model.versions = dict(sorted(model.versions.items(), reverse=True))
        if model.current in gone:
            # It answers until another does.
            await self._choose(model)
        await self._let_go(gone)

    async def _choose(self, model: Model) -> None:
        """Makes the newest version that the server answers with, and that opens, the current.

        Where there is none, the newest that opens: its products can be searched for.
        """
        answering = model.answering or frozenset()
        ranked = sorted(
            model.versions.values(), key=lambda one: (one.number not in answering, -one.number)
        )
        if not answering.intersection(model.versions) and model.current in ranked:
            return
        for version in ranked:
            with contextlib.suppress(DamagedIndex, IndexAway):
                await self._opened(model, version)
                if model.current is not version:
                    _log.info("version %d of %s answers", version.number, model.name)
                model.current = version
                return
        model.current = None

    @contextlib.asynccontextmanager
    async def _finder(self, model: Model, number: int | None) -> AsyncIterator[Finder]:
        """A version's finder, which is not closed meanwhile."""
        if number is None:
            version = model.current
            if version is None:
                raise Refused(AWAY, model.problem)
        else:
            found = model.versions.get(number)
            if found is None:
                there = ", ".join(map(str, model.versions)) or "none"
                raise Refused(
                    NOT_FOUND,
                    f"There is no version {number} of {model.name} with an index; there are: "
                    f"{there}.",
                )
            version = found
        version._users += 1
        try:
            yield await self._opened(model, version)
        finally:
            version._users -= 1
            await self._close_unused(version)

    async def _opened(self, model: Model, version: Version) -> Finder:
        """The version's finder.

        Raises:
            DamagedIndex, IndexAway: its index cannot be opened.
        """
        async with version._opening:
            if version.finder:
                return version.finder
            if model.away:
                version.problem = model.away
                raise IndexAway(model.away)
            if version.problem and time.monotonic() < version._tried + _OPEN_AGAIN_S:
                raise DamagedIndex(version.problem)
            version._tried = time.monotonic()
            try:
                catalog = await self._looked_up(self._open, model, version.folder)
            except Exception as error:
                called = f"version {version.number} of {model.name}"
                if isinstance(error, (DamagedIndex, IndexAway)):
                    # Callers need not know where on this machine things lie.
                    said = str(error).replace(f"{self._root}{os.sep}", "")
                else:
                    said = f"The index of {called} cannot be opened; the app's log says more."
                if version.problem != said:
                    _log.error("%s: %s", called, error, exc_info=error)
                version.problem = said
                raise DamagedIndex(said) from error
            version.problem = ""
            client = self._client(model.name, version.number, _TIMEOUT_S)
            version.finder = Finder(
                model.name,
                version.number,
                catalog,
                client,
                self._work,
                self._searching,
                _SEARCHES_AT_ONCE if self._qdrant else 1,
                # Where nobody answers, nobody needs to wait for long to hear so.
                lambda: _TIMEOUT_AWAY_S if model.answering is None else None,
                lambda: model.away,
            )
            return version.finder

    def _open(self, model: Model, folder: Path) -> IndexedCatalog[ProductIndex]:
        if self._qdrant:
            return self._qdrant.catalog(model.name, folder, model.collection)
        return IndexedCatalog.of_version(folder)

    async def _looked_up(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._searching, function, *arguments
        )

    async def _let_go(self, versions: list[Version]) -> None:
        for version in versions:
            version._is_gone = True
            await self._close_unused(version)

    async def _close_unused(self, version: Version) -> None:
        if version._is_gone and not version._users and version.finder:
            finder, version.finder = version.finder, None
            await finder.close()

    def _client(self, name: str, version: int | None, timeout_s: float) -> AsyncCatalogClient:
        return AsyncCatalogClient(
            # Without a server it is never asked.
            self._server or "localhost:8500",
            name,
            timeout_s,
            version=version,
            api_key=self._api_key,
        )


async def _explains(finder: Finder) -> bool:
    try:
        await finder.explained([encoded(Image.new("RGB", (64, 64), "white"))], "")
    except RequestFailed as error:
        if is_no_signature(error):
            return False
        raise
    return True


def qdrant_server(
    url: str | None, alias: str | None, api_key_file: Path | None
) -> QdrantServer | None:
    """The Qdrant that a command names to search in; None where it names none.

    Args:
        url: of `--qdrant`.
        alias: of `--qdrant-alias`.
        api_key_file: of `--qdrant-api-key-file`; the environment may hold the key, too.

    Raises:
        UserError: something is told of a Qdrant that is not named, the key cannot be read, the URL
            is none, or Qdrant's client is not installed.
    """
    if url is None:
        if alias is not None or api_key_file is not None:
            raise UserError("Which Qdrant is meant? Name it with --qdrant URL.")
        return None
    return QdrantServer(url, alias, read_api_key(api_key_file, API_KEY_VARIABLE))


def indexed_versions(
    root: Path, only: str | None = None
) -> dict[str, dict[int, tuple[Path, Stamp, int]]]:
    """Of every model, those versions that have an index: folder, stamp, number of products.

    Args:
        root: the serving root.
        only: the one model to look at; all by default.
    """
    found: dict[str, dict[int, tuple[Path, Stamp, int]]] = {}
    for name in [only] if only else _names(root):
        numbers = [number for number in _names(root / name) if _NUMBER.fullmatch(number)]
        if numbers or only:
            versions = ((int(number), _version(root / name / number)) for number in numbers)
            found[name] = {number: version for number, version in versions if version}
    return found


def _version(folder: Path) -> tuple[Path, Stamp, int] | None:
    try:
        status = (folder / _MANIFEST).stat()
    except OSError as error:
        is_closed = isinstance(error, PermissionError)
        if not is_closed and not os.path.isdir(folder / _FOLDER):
            return None
        # There is one, and it cannot be opened, which is said when it is tried.
        return folder, (), 0
    stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    try:
        products = int(json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["products"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        products = 0
    return folder, stamp, products


def _names(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    # Nobody can ask for what is called by no text. Others' strays must not hide the rest.
    texts = [name for name in names if name.encode(errors="ignore").decode() == name]
    return sorted(name for name in texts if name[0] != "." and os.path.isdir(folder / name))
