"""Executes the Dockerfile's steps where no container engine is, and starts what came of it.

Every step is executed by chroot in a root of its own: an overlay of the layers before it, with what
the step writes as a new layer. That takes root, debootstrap and the package registries. All mounts
are made in namespaces that end with their process.

It differs from an engine in this:

- Published images are stood in for. `python:3.11-slim-trixie` is Debian 13 by debootstrap, with the
  Python 3.11 that runs this at /usr/local, in place of one that is built there; the packages that
  such a build is linked to are named below. `golang` is the same with this machine's Go.
- Every step is executed anew; nothing is cached.
- Steps of the build share this machine's network and its settings for package indexes.
- There are no cgroups, no seccomp profile and no capabilities to drop: who is not root has none.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from environment import c_library, interpreter
from environment.create import uv_variables
from tests.image import dockerfile
from tests.image.dockerfile import Copy, HealthCheck, Stage

SUITE = "trixie"
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
DEBIAN_PACKAGES = (
    # Of the published image itself.
    *("ca-certificates", "netbase", "tzdata"),
    # What a build of Python is linked to, and the image keeps for it.
    *("libbz2-1.0", "libexpat1", "libffi8", "libgdbm6t64", "liblzma5", "libncursesw6"),
    *("libreadline8t64", "libsqlite3-0", "libssl3t64", "libuuid1", "zlib1g"),
)
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

# What an engine sets up before it starts a process. $1: the root; $2: overlay's options; $3: `own`
# for a network of its own; then three words for each folder or file that is bound: where it is,
# where it is to be, `ro` or `rw`; then `--` and chroot's own words.
_SET_UP = """\
set -e
root=$1 overlay=$2 network=$3
shift 3
mount -t overlay -o "$overlay" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
if [ "$network" = own ]; then ip link set lo up; fi
while [ "$1" != -- ]; do
    if [ "$1" = tmpfs ]; then
        mount -t tmpfs -o mode=1777 tmpfs "$root$2"
    else
        if [ -d "$1" ]; then mkdir -p "$root$2"; fi
        mount --bind "$1" "$root$2"
        if [ "$3" = ro ]; then mount -o remount,bind,ro "$root$2"; fi
    fi
    shift 3
done
shift
exec chroot "$@"
"""


class BuildFailed(Exception):
    """A step did not work; says which, and holds the last of what it printed."""


@dataclass(frozen=True)
class Layer:
    """What a step wrote.

    Attributes:
        folder: Its files, in overlay's words.
        step: The step.
        seconds: What it took.
    """

    folder: Path
    step: str
    seconds: float

    def size(self) -> int:
        """Bytes of the files in it."""
        files = (Path(folder, name) for folder, _, names in os.walk(self.folder) for name in names)
        return sum({status.st_ino: status.st_size for status in map(os.lstat, files)}.values())


@dataclass(frozen=True)
class Bind:
    """A folder or file of this machine as a process sees it: at the same path, and not to write."""

    source: Path
    target: str = ""
    written: bool = False


@dataclass(frozen=True)
class Image:
    """Layers, the lowest first, and what the Dockerfile says of processes in them."""

    layers: tuple[Layer, ...]
    env: Mapping[str, str] = field(default_factory=lambda: {"PATH": PATH})
    user: str = "0:0"
    folder: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: HealthCheck | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def having(self, instruction: str, argument: Any) -> Image:
        """The image with what an instruction says of processes."""
        match instruction:
            case "ENV":
                return replace(
                    self,
                    env={
                        **self.env,
                        **{key: _filled_in(value, self.env) for key, value in argument.items()},
                    },
                )
            case "LABEL":
                return replace(self, labels={**self.labels, **argument})
            case "USER":
                return replace(self, user=argument)
            case "WORKDIR":
                return replace(self, folder=os.path.join(self.folder, argument))
            case "ENTRYPOINT":
                # The command of an image is a command to its own entry point.
                return replace(self, entrypoint=tuple(argument), command=())
            case "CMD":
                return replace(self, command=tuple(argument))
            case "HEALTHCHECK":
                return replace(self, health=argument)
            case "EXPOSE":
                return self
        raise ValueError(f"{instruction} says nothing of processes")


def _filled_in(value: str, env: Mapping[str, str]) -> str:
    for name, of in env.items():
        value = value.replace(f"${name}", of)
    if "$" in value:
        raise ValueError(f"{value} names what is not set")
    return value


def shortcoming() -> str:
    """Why nothing can be built here; empty where it can."""
    if sys.platform != "linux" or os.geteuid():
        return "only root on Linux may chroot"
    for program in ("debootstrap", "unshare", "nsenter", "chroot", "ip", "go"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return ""


class Engine:
    """Builds the images of a checkout and starts processes in them."""

    def __init__(self, folder: Path, checkout: Path):
        """Takes an empty folder, for all layers, and the root of the checkout."""
        self._folder = folder
        self._checkout = checkout
        self._stages = dockerfile.read((checkout / "Dockerfile").read_text())
        self._built: dict[str, Image] = {}
        self._made = 0
        (folder / "root").mkdir()
        (folder / "nothing").mkdir()

    def build(self, target: str = "") -> Image:
        """The image of a stage, by default the last one, made with all that it needs.

        Raises:
            BuildFailed: A step did not work.
        """
        stages = {stage.name: stage for stage in self._stages}
        stage = stages[target] if target else self._stages[-1]
        if stage.name not in self._built:
            self._built[stage.name] = self._build_stage(stage, set(stages))
        return self._built[stage.name]

    def start(
        self,
        image: Image,
        command: Sequence[str] = (),
        binds: Sequence[Bind] = (),
        *,
        env: Mapping[str, str] | None = None,
        user: str = "",
        network: str = "own",
        beside: Container | None = None,
        output: Any = subprocess.DEVNULL,
    ) -> Container:
        """Starts a process in an image whose root cannot be written; /tmp is its own and can.

        Args:
            image: The image.
            command: What is given to the entry point, in place of the image's own.
            binds: What it sees of this machine.
            env: Variables on top of the image's.
            user: `UID:GID`, in place of the image's.
            network: `own`, in which nothing else is, or this machine's, `host`.
            beside: Whose network it is in, as another container of a pod.
            output: Where its output goes.
        """
        if user:
            image = replace(image, user=user)
        image = replace(image, env={**image.env, **(env or {})})
        tmp = Bind(Path("tmpfs"), "/tmp")
        words = self._words(
            image,
            [*image.entrypoint, *(command or image.command)],
            [tmp, *binds],
            network="host" if beside else network,
        )
        if beside:
            words = ["nsenter", f"--net=/proc/{beside.pid}/ns/net", *words]
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True
        )
        return Container(process, image, self._folder / "root")

    # Stages.

    def _build_stage(self, stage: Stage, named: set[str]) -> Image:
        image = self.build(stage.base) if stage.base in named else self._published(stage.base)
        for name, argument in stage.instructions:
            if name == "RUN":
                image = self._executed(image, f"RUN {argument}", str(argument))
            elif isinstance(argument, Copy):
                image = self._copied(image, argument)
            else:
                image = image.having(name, argument)
        return image

    def _new_layer(self) -> Path:
        self._made += 1
        folder = self._folder / "layers" / str(self._made)
        folder.mkdir(parents=True)
        return folder

    def _executed(self, image: Image, step: str, command: str) -> Image:
        """The image with what a command writes as a layer on top."""
        started = time.monotonic()
        layer = self._new_layer()
        settings = {**_index_settings(), "DEBIAN_FRONTEND": "noninteractive"}
        files = [Bind(Path(file)) for file in ("/etc/resolv.conf", "/etc/hosts", CERTIFICATES)]
        words = self._words(
            replace(image, env={**settings, **image.env}),
            ["/bin/sh", "-c", command],
            files,
            network="host",
            layer=layer,
        )
        _tool(words, step)
        return _with_layer(image, Layer(layer, step, time.monotonic() - started))

    def _copied(self, image: Image, copy: Copy) -> Image:
        """The image with a layer of what is copied from a stage or from the context."""
        of = self.build(copy.stage) if copy.stage else None
        started = time.monotonic()
        layer = self._new_layer()
        into = f"{layer}{os.path.join(image.folder, copy.target)}"
        folder = into if len(copy.sources) > 1 or into.endswith("/") else os.path.dirname(into)
        os.makedirs(folder, exist_ok=True)
        step = f"COPY {' '.join(copy.sources)} {copy.target}"
        root = self._folder / "root"
        if of:
            seen = f'mount -t overlay -o "{self._lower(of)}" overlay {root}'
        else:
            seen = f"mount --bind {self._context()} {root}"
        for source in copy.sources:
            path = os.path.join(root, source.lstrip("/"))
            # Of a folder its files, into one that may be there; they belong to root.
            script = f"""\
set -e
{seen}
if [ -d "$1" ]; then mkdir -p "$2" && set -- "$1/." "$2"; fi
cp -R -P --preserve=mode,timestamps,links "$1" "$2"
"""
            _tool(["unshare", "--mount", "sh", "-c", script, "sh", path, into], step)
        return _with_layer(image, Layer(layer, step, time.monotonic() - started))

    def _context(self) -> Path:
        """A folder of what .dockerignore lets in."""
        context = self._folder / "context"
        if not context.exists():
            context.mkdir()
            ignore = (self._checkout / ".dockerignore").read_text()
            for path in dockerfile.context(self._checkout, ignore):
                (context / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self._checkout / path, context / path, follow_symlinks=False)
        return context

    # Published images.

    def _published(self, name: str) -> Image:
        if name not in self._built:
            if name.startswith(f"python:{interpreter.VERSION}-"):
                made = self._with_python(name)
            elif name.startswith("golang:"):
                made = self._with_go(name)
            else:
                raise BuildFailed(f"nothing stands in for {name}")
            self._built[name] = made
        return self._built[name]

    def _debian(self, name: str) -> Image:
        if not name.endswith(f"-{SUITE}"):
            raise BuildFailed(f"nothing stands in for {name}")
        if SUITE not in self._built:
            started = time.monotonic()
            layer = self._new_layer()
            codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
            mirror = c_library.choose_mirror(c_library.read_apt_sources(Path("/etc/apt")), codename)
            _tool(
                [
                    *("debootstrap", "--variant=minbase", f"--include={','.join(DEBIAN_PACKAGES)}"),
                    f"--keyring={mirror.signed_by or c_library.KEYRINGS[SUITE]}",
                    *(SUITE, str(layer), mirror.uri),
                ],
                f"debootstrap {SUITE}",
            )
            for leftover in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc"):
                shutil.rmtree(layer / leftover)
            made = Layer(layer, f"Debian {SUITE}", time.monotonic() - started)
            self._built[SUITE] = Image((made,))
        return self._built[SUITE]

    def _with_python(self, name: str) -> Image:
        debian, started = self._debian(name), time.monotonic()
        layer, program = self._new_layer(), interpreter.base_python().resolve()
        home, version = program.parents[1], f"python{interpreter.VERSION}"
        local = layer / "usr" / "local"
        for folder in ("include", "lib"):
            shutil.copytree(
                home / folder / version,
                local / folder / version,
                ignore=shutil.ignore_patterns("site-packages", "__pycache__", "test", "tests"),
            )
        for library in (home / "lib").glob("libpython*.so*"):
            shutil.copy2(library, local / "lib", follow_symlinks=False)
        (local / "bin").mkdir()
        shutil.copy2(program, local / "bin" / version)
        for link in ("python", "python3"):
            (local / "bin" / link).symlink_to(version)
        image = _with_layer(debian, Layer(layer, name, time.monotonic() - started))
        pip = "ldconfig && python -m ensurepip && ln -s pip3 /usr/local/bin/pip"
        return self._executed(image, f"{name}: pip", pip)

    def _with_go(self, name: str) -> Image:
        debian, started = self._debian(name), time.monotonic()
        layer = self._new_layer()
        root = subprocess.run(
            ["go", "env", "GOROOT"], capture_output=True, text=True, check=True
        ).stdout.strip()
        shutil.copytree(root, layer / "usr" / "local" / "go", symlinks=True)
        image = _with_layer(debian, Layer(layer, name, time.monotonic() - started))
        return replace(image, env={"PATH": f"/go/bin:/usr/local/go/bin:{PATH}", "GOPATH": "/go"})

    # Processes.

    def _lower(self, image: Image, *over: Path) -> str:
        """Overlay's options for the layers of an image, with others over them."""
        folders = [*over, *(layer.folder for layer in reversed(image.layers))]
        # A single folder is no overlay.
        return f"lowerdir={':'.join(map(str, [*folders, self._folder / 'nothing']))}"

    def _words(
        self,
        image: Image,
        command: Sequence[str],
        binds: Sequence[Bind],
        *,
        network: str,
        layer: Path | None = None,
    ) -> list[str]:
        """What starts a command in an image; what it writes goes to `layer`, if it may write."""
        # Where something is bound there must be something.
        self._made += 1
        places = self._folder / "places" / str(self._made)
        for name in ("proc", "sys", "dev"):
            (places / name).mkdir(parents=True)
        bound: list[str] = []
        for bind in binds:
            target = bind.target or str(bind.source)
            place = places / target.lstrip("/")
            if bind.source.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            else:
                place.mkdir(parents=True, exist_ok=True)
            bound += [str(bind.source), target, "rw" if bind.written else "ro"]
        overlay = self._lower(image, places)
        if layer:
            work = self._folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            overlay += f",upperdir={layer},workdir={work}"
        root = str(self._folder / "root")
        return [
            *("unshare", "--mount", "--pid", "--fork"),
            *(["--net"] if network == "own" else []),
            *("sh", "-c", _SET_UP, "sh", root, overlay, network, *bound, "--"),
            *(f"--userspec={image.user}", "--groups=", root),
            *_in_environment(image, command),
        ]


class Container:
    """A process that was started in an image, the first one of its own."""

    def __init__(self, process: subprocess.Popen, image: Image, root: Path):
        """Takes what starts it; waits until it is in its root."""
        self._process = process
        self._image = image
        self.pid = 0
        while process.poll() is None and not self.pid:
            time.sleep(0.02)
            # It may end meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # `nsenter` becomes `unshare`, which has one child.
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
                for child in children.split():
                    if os.readlink(f"/proc/{child}/root") == str(root):
                        self.pid = int(child)

    def execute(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Runs a further command beside it, as the same user."""
        user, group = self._image.user.split(":")
        words = [
            *("nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root"),
            *(f"--setuid={user}", f"--setgid={group}"),
            *_in_environment(self._image, command),
        ]
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def becomes_healthy(self, command: Sequence[str], timeout_s: float) -> bool:
        """Whether a command beside it ends with status 0, tried until it does."""
        ends = time.monotonic() + timeout_s
        while self.lives and time.monotonic() < ends:
            if self.execute(command).returncode == 0:
                return True
            time.sleep(1)
        return False

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self, timeout_s: float) -> int:
        """Asks it to end, as `docker stop` does, and returns its exit status.

        Raises:
            subprocess.TimeoutExpired: It did not; it is killed.
        """
        os.kill(self.pid, signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends it and all that it has started."""
        # Of what started it nothing is left then; the other way round it would live on, as another
        # user's.
        if self.lives:
            os.kill(self.pid or self._process.pid, signal.SIGKILL)
        self._process.wait()

    def ended(self) -> tuple[int, str]:
        """Its exit status when it has ended, and its output, where that is a pipe."""
        output, _ = self._process.communicate()
        return self._process.returncode, output or ""


def _with_layer(image: Image, layer: Layer) -> Image:
    return replace(image, layers=(*image.layers, layer))


def _in_environment(image: Image, command: Sequence[str]) -> list[str]:
    home = "/root" if image.user.startswith("0:") else "/"
    variables = [f"{name}={value}" for name, value in {"HOME": home, **image.env}.items()]
    # What this process ignores is nothing to a container's.
    options = ["-i", "--default-signal", f"--chdir={image.folder}"]
    return ["/usr/bin/env", *options, *variables, *command]


def _index_settings() -> dict[str, str]:
    """This machine's settings for package indexes, as pip, uv and Go read them."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    settings = {**uv_variables(listed.stdout, {}), "SSL_CERT_FILE": CERTIFICATES}
    if "UV_DEFAULT_INDEX" in settings:
        settings["PIP_INDEX_URL"] = settings["UV_DEFAULT_INDEX"]
    settings["PIP_CERT"] = CERTIFICATES
    given = ("UV_", "GOPROXY", "GOSUMDB", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return settings | {
        name: value for name, value in os.environ.items() if name.upper().startswith(given)
    }


def _tool(words: Sequence[str], step: str) -> None:
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise BuildFailed(f"{step}: {done.stdout[-4000:]}")
