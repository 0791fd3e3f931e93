"""The real server that a candidate is asked on."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from schema.errors import UserError
from serving.client import CatalogClient
from serving.model_server import ModelServer

_POLL_S = 0.2
_STATUS_S = 2.0


@dataclass(frozen=True)
class Server:
    """Where the candidate is served.

    Attributes:
        binary: a `tensorflow_model_server` to start, with its arguments if it needs any.
        address: "host:port" of a server that runs and looks into `folder` for new versions.
        folder: where that server finds the model's versions, as this process sees it.
        start_s: how long it may take until the candidate answers.

    Without any of the first two the embedded server is started.

    Raises:
        ValueError: both are named, or an address without the folder.
    """

    binary: str | None = None
    address: str | None = None
    folder: str | None = None
    start_s: float = 120.0

    def __post_init__(self) -> None:
        if self.binary and self.address:
            raise ValueError("a canary's server is started or reached at an address, not both")
        if bool(self.address) != bool(self.folder):
            raise ValueError("a server at an address needs the folder that it serves, and only it")

    def __str__(self) -> str:
        if self.address:
            return f"the server at {self.address}"
        return shlex.split(self.binary)[0] if self.binary else "the embedded server"


@contextlib.contextmanager
def client_of(
    candidate: Path, model_name: str, server: Server, timeout_s: float
) -> Iterator[CatalogClient]:
    """Serves the candidate, and gives a client that asks it and no other version.

    Args:
        candidate: the SavedModel's folder.
        model_name: the name to serve it under.
        server: on what.
        timeout_s: how long the client waits for an answer.

    Raises:
        UserError: it is not served in time, or the server cannot be started.
    """
    if server.address:
        with (
            _added_to(Path(server.folder), candidate) as version,
            CatalogClient(server.address, model_name, timeout_s, version=version) as client,
            CatalogClient(server.address, model_name, _STATUS_S) as status,
        ):
            _await(status, version, server)
            yield client
        return
    with tempfile.TemporaryDirectory(prefix="canary-") as root:
        served = Path(root, model_name, "1")
        served.parent.mkdir()
        served.symlink_to(candidate.absolute(), target_is_directory=True)
        if not server.binary:
            with (
                ModelServer(root, model_name) as embedded,
                CatalogClient(embedded.endpoint, model_name, timeout_s) as client,
            ):
                yield client
            return
        with (
            _started(server, model_name, served.parent, Path(root, "log")) as (endpoint, check),
            CatalogClient(endpoint, model_name, timeout_s) as client,
            CatalogClient(endpoint, model_name, _STATUS_S) as status,
        ):
            _await(status, 1, server, check)
            yield client


@contextlib.contextmanager
def _added_to(folder: Path, candidate: Path) -> Iterator[int]:
    """Makes the candidate a version of a folder that a server looks into, and takes it away."""
    numbers = (int(path.name) for path in folder.glob("*") if path.name.isdecimal())
    version = max([int(time.time()), *(number + 1 for number in numbers)])
    hidden, place = folder / f".canary-{version}", folder / str(version)
    try:
        shutil.copytree(candidate, hidden)
        hidden.rename(place)
        yield version
    except OSError as error:
        raise UserError(
            f"The canary cannot put the candidate into {folder}: {error.strerror or error}. See "
            "that serving.canary_folder is the folder that the server at serving.canary_address "
            "serves, and that it can be written."
        ) from error
    finally:
        for path in (hidden, place):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _started(
    server: Server, model_name: str, folder: Path, log: Path
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Starts the binary; gives its address, and what raises a UserError once it has ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [
        f"--port={port}",
        f"--model_name={model_name}",
        f"--model_base_path={folder}",
    ]
    with open(log, "wb") as output:
        try:
            process = subprocess.Popen(
                [*shlex.split(server.binary), *arguments], stdout=output, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise UserError(
                f"serving.canary_binary cannot be started: {server.binary}: {error.strerror}."
            ) from error

        def check_running() -> None:
            if process.poll() is not None:
                said = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise UserError(
                    f"{server.binary} ended with status {process.returncode}: {''.join(said)}"
                )

        try:
            yield f"127.0.0.1:{port}", check_running
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(
    client: CatalogClient,
    version: int,
    server: Server,
    check_running: Callable[[], None] = lambda: None,
) -> None:
    deadline = time.monotonic() + server.start_s
    problem = "it does not know the version"
    while time.monotonic() < deadline:
        check_running()
        try:
            for state in client.model_status():
                if state.version == version and state.state == "AVAILABLE":
                    return
                if state.version == version and state.error:
                    raise UserError(f"{server} cannot load the candidate: {state.error}")
        except UserError as error:
            if "cannot load" in str(error):
                raise
            problem = str(error)
        time.sleep(_POLL_S)
    raise UserError(
        f"{server} does not answer from the candidate within {server.start_s:g} s: {problem}"
    )
