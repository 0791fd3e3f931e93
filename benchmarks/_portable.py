"""Beam past this process, played on one machine: Prism, and worker pools that are strangers here.

Prism is Beam's own local runner, in Go; it takes jobs as Flink's job server does. It starts one
worker a job, at the one address that `environment_config` names. A `Dispatcher` stands there and
has each worker started by the next pool, so that jobs go to all of them by turns.

A `Pool` has Seamline's wheel alone and a working folder of its own. As root it also is another user
in a mount namespace, where folders that no other machine would have are empty.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import apache_beam
import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as messages
from apache_beam.portability.api import beam_fn_api_pb2_grpc as services

from benchmarks._go import NotHere as NotHere
from benchmarks._go import installed
from pipeline.config.beam import Beam

_MODULE = "github.com/apache/beam/sdks/v2/go/cmd/prism"

_SECONDS_TO_START = 60
_MOST_CALLS = 16


def prism() -> Path:
    """The binary of Beam's own version.

    Raises:
        NotHere: there is no Go, or it cannot fetch or build the module.
    """
    return installed(_MODULE, apache_beam.__version__)


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Started:
    """A process that listens on a port, ended with all that it started.

    Args:
        command: What is run, which knows the port.
        port: Where it listens, once it does.
        log: File that gets what it says.
        folder: Where it works; here by default.
        environment: Its variables; those of this process by default.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.address = f"localhost:{port}"
        self._port = port
        self._log = log
        self._popen = partial(
            subprocess.Popen,
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.start()

    def start(self) -> None:
        """Starts it, at the same port where it was killed or has ended."""
        with self._log.open("ab") as log:
            self._process = self._popen(stdout=log, stderr=log)
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self._listens():
            if not self.lives or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"It did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("localhost", self._port), 1):
            return True
        return False

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends it and its children at once, as when a machine goes away."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Prism(Started):
    """Beam's runner in Go, with its workers in the pool at an address; `beam` is a config's of it.

    Raises:
        NotHere: as `prism` does.
    """

    def __init__(self, log: Path, pool: str) -> None:
        port = free_port()
        command = [str(prism()), f"--job_port={port}", "--serve_http=false", "--log_kind=text"]
        super().__init__(command, port, log)
        self.beam = Beam(runner="portable", job_endpoint=self.address, environment_config=pool)


class Pool(Started):
    """Beam's worker pool as on a machine of its own.

    Args:
        folder: Its own, where it works and finds its home.
        installed: The folder of the unpacked wheel.
        hidden: Folders that are empty for it, where that can be done here.
        variables: What its environment has besides.
    """

    def __init__(
        self,
        folder: Path,
        installed: Path,
        hidden: Sequence[Path] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        port = free_port()
        self.environment = {
            # It starts its workers by `python`, whichever comes first.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
            "PYTHONPATH": str(installed),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TF_CPP_MIN_LOG_LEVEL": "1",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            **(variables or {}),
        }
        self.folder = folder
        self._stranger = stranger(hidden)
        module = "apache_beam.runners.worker.worker_pool_main"
        super().__init__(
            [*self._stranger, "python", "-m", module, f"--service_port={port}"],
            port,
            folder / "pool.log",
            folder=folder,
            environment=self.environment,
        )

    def run(self, code: str) -> str:
        """What Python code prints that is run as its workers are."""
        done = subprocess.run(
            [*self._stranger, "python", "-c", code],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


def stranger(hidden: Sequence[Path]) -> list[str]:
    """The command that runs another as user `nobody`, for whom some folders are empty.

    Nothing but root may do that; for others it is no command. Folders are shared as NFS shares them
    with `all_squash`: who may write does not depend on the user, for TensorFlow makes folders that
    only their owner may write to, whatever the umask.
    """
    if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        return []
    script = (
        'while [ "$1" != -- ]; do mount -t tmpfs none "$1" || exit; shift; done; shift; exec "$@"'
    )
    mounted = ["unshare", "--mount", "sh", "-c", script, "sh"]
    rights = "+dac_override,+dac_read_search"
    # The bit keeps these rights for access(2) as well, which TensorFlow asks by.
    user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--securebits=+no_setuid_fixup"]
    demoted = ["setpriv", *user, f"--inh-caps={rights}", f"--ambient-caps={rights}"]
    command = [*mounted, *map(str, hidden), "--", *demoted]
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return [] if tried.returncode else command


class Dispatcher(services.BeamFnExternalWorkerPoolServicer):
    """One address for several pools: each worker is started by the next one that answers."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = list(pools)
        self._turn = 0
        self._lock = threading.Lock()
        self._where: dict[str, Pool] = {}
        self.started_by: list[Pool] = []
        self._server = grpc.server(ThreadPoolExecutor(_MOST_CALLS))
        services.add_BeamFnExternalWorkerPoolServicer_to_server(self, self._server)
        self.address = f"localhost:{self._server.add_insecure_port('localhost:0')}"
        self._server.start()

    def StartWorker(self, request, context):  # noqa: D102
        with self._lock:
            order = self._pools[self._turn :] + self._pools[: self._turn]
        for pool in order:
            try:
                answer = _asked(pool, "StartWorker", request)
            except grpc.RpcError:
                continue
            with self._lock:
                self._where[request.worker_id] = pool
                self._turn = (self._pools.index(pool) + 1) % len(self._pools)
                self.started_by.append(pool)
            return answer
        return messages.StartWorkerResponse(error="no worker pool answers")

    def StopWorker(self, request, context):  # noqa: D102
        with self._lock:
            pool = self._where.pop(request.worker_id, None)
        if pool:
            with suppress(grpc.RpcError):
                return _asked(pool, "StopWorker", request)
        return messages.StopWorkerResponse()

    def stop(self) -> None:
        """Closes the address; the pools stay."""
        self._server.stop(0)


def _asked(pool: Pool, call: str, request: object) -> object:
    with grpc.insecure_channel(pool.address) as channel:
        stub = services.BeamFnExternalWorkerPoolStub(channel)
        return getattr(stub, call)(request, timeout=30)
