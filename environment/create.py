"""Makes `.venv` from requirements.lock on a machine that has nothing but a Python.

    python3 -m environment.create            make it, or see at once that it is there
    python3 -m environment.create --lock     the same, then remake the lock files

Any Python from 3.9 on may start it, so it keeps to that syntax; 3.11 makes the environment. The
stamp is written last: an environment without one was interrupted and is made anew.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from environment import c_library, interpreter
from environment.commands import SetupFailure, run

ROOT = Path(__file__).resolve().parent.parent
SETUP = ROOT / "setup.py"
VERSION = ROOT / "schema" / "version.py"
LOCK = ROOT / "requirements.lock"
BOOTSTRAP = ROOT / "environment" / "bootstrap.lock"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
TOOLS = VENV / ".tools"
RUNTIME = VENV / ".runtime"
STAMP = VENV / ".stamp.json"
GUARD = ROOT / ".venv.guard"
BROUGHT = ROOT / ".python"

PLATFORMS = {"Linux x86_64": "Linux on x86-64", "Darwin arm64": "macOS on Apple silicon"}
CONTAINER = (
    'docker run -it --platform linux/amd64 -v "$PWD":/seamline -w /seamline python:3.11 make demo'
)
NEEDED_GIB = 5
# Together these load every native library of the stack once.
CHECKED_IMPORTS = (
    "tfx.v1",
    "tensorflow_model_analysis",
    "tensorflow_serving.apis.prediction_service_pb2_grpc",
    "grpc_health.v1.health_pb2_grpc",
    "keras_tuner",
    "kfp",
    "pytest",
    "sklearn",
    "tensorboard",
    "typer",
)


@contextlib.contextmanager
def stage(title: str) -> Iterator[None]:
    """Prints a stage's name as it starts and its seconds when it is over."""
    print(f"environment: {title} ...", end=" ", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print(flush=True)
        raise
    print(f"{time.monotonic() - started:.1f} s", flush=True)


def check_platform() -> None:
    """Raises SetupFailure on a system that TFX has no wheels for, and says what would help."""
    system, machine = platform.system(), platform.machine()
    if f"{system} {machine}" not in PLATFORMS:
        help_there = (
            "work in WSL 2 (`wsl --install`)"
            if system == "Windows" and machine == "AMD64"
            else f"work in a container, such as `{CONTAINER}`"
        )
        raise SetupFailure(
            f"TFX 1.21 has wheels for {' and '.join(PLATFORMS.values())} and none for "
            f"{system} {machine}; {help_there}"
        )
    if system == "Linux":
        c_library.machine_glibc()


def check_machine() -> None:
    """Raises SetupFailure where the environment cannot be made, and says what would help."""
    compilers = filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++"))
    if not any(shutil.which(compiler.split()[0]) for compiler in compilers):
        raise SetupFailure(
            "no C++ compiler was found, and TFX needs pyfarmhash, which comes as source only; "
            "install g++ or clang and run it again"
        )
    free_gib = shutil.disk_usage(ROOT).free / 1024**3
    if free_gib < NEEDED_GIB:
        raise SetupFailure(
            f"the environment takes some {NEEDED_GIB} GiB and the disk of {ROOT} has "
            f"{free_gib:.1f} left; free some and run it again"
        )


def digest(*parts: str | bytes) -> str:
    """Returns a fingerprint that changes when any part does."""
    whole = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        whole.update(len(content).to_bytes(8, "big") + content)
    return whole.hexdigest()


def wanted_stamp() -> dict[str, str]:
    """Returns what an environment made now would be stamped with.

    `interpreter` covers what only a new environment can change, `packages` the rest.
    """
    scripts = [path.read_bytes() for path in sorted(BOOTSTRAP.parent.glob("*.py"))]
    return {
        "interpreter": digest(
            *(str(VENV), sys.version, str(interpreter.base_python())),
            *(BOOTSTRAP.read_bytes(), *scripts),
        ),
        "packages": digest(LOCK.read_bytes(), SETUP.read_bytes(), VERSION.read_bytes()),
    }


def read_stamp(path: Path) -> dict[str, str]:
    """Returns the stamp in `path`; an empty one where there is none or half of one."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Holds the guard file's lock; waits while another run, or a child it left, holds it."""
    # Not there on Windows, where this file still says what to do.
    import fcntl

    with open(GUARD, "w") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("environment: another run is making it; waiting for it", flush=True)
            fcntl.flock(guard, fcntl.LOCK_EX)
        os.set_inheritable(guard.fileno(), True)
        yield


def uv_variables(pip_config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Translates pip's configuration, which uv does not read, to variables for uv.

    Args:
        pip_config: What `pip config list` prints.
        environ: The variables that are set already; they win.
    """
    options: dict[str, str] = {}
    sections = ("global", "install", ":env:")
    lines = [line.partition("=") for line in pip_config.splitlines()]
    for section in sections:
        for key, _, value in lines:
            name, _, option = key.rpartition(".")
            if name == section:
                options[option] = ast.literal_eval(value)

    variables = {}
    if "index-url" in options and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & environ.keys():
        variables["UV_DEFAULT_INDEX"] = options["index-url"]
    if "extra-index-url" in options and not {"UV_INDEX", "UV_EXTRA_INDEX_URL"} & environ.keys():
        variables["UV_INDEX"] = " ".join(options["extra-index-url"].split())
        # pip looks in every index. The lock's hashes make that safe.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    for option, names in (
        ("cert", ["SSL_CERT_FILE"]),
        ("proxy", ["HTTP_PROXY", "HTTPS_PROXY"]),
        ("trusted-host", ["UV_INSECURE_HOST"]),
    ):
        if option in options:
            variables |= {name: " ".join(options[option].split()) for name in names}
    return {name: value for name, value in variables.items() if name not in environ}


def tool_variables(tools: Path) -> dict[str, str]:
    """Returns the variables that the uv in `tools` runs under on this machine."""
    variables = uv_variables(run([tools / "bin" / "pip", "config", "list"]), os.environ)
    # Containers often run as a user whose home is nobody's to write.
    if not os.access(Path.home(), os.W_OK) and "UV_CACHE_DIR" not in os.environ:
        variables["UV_CACHE_DIR"] = str(tools / "cache")
    return variables


def make_interpreter() -> None:
    """Makes an empty environment whose Python can load the stack's wheels, and uv beside it."""
    with stage("Python"):
        if VENV.exists():
            shutil.rmtree(VENV)
        run([interpreter.base_python(), "-m", "venv", "--copies", "--without-pip", VENV])
    with stage("uv"):
        interpreter.start_uv(TOOLS, BOOTSTRAP)
    if platform.system() == "Linux" and c_library.machine_glibc() < c_library.REQUIRED_GLIBC:
        with stage("C library"):
            c_library.fetch_runtime(RUNTIME)
            for python in (VENV / "bin").glob("python*"):
                if not python.is_symlink():
                    c_library.use_runtime(
                        python, runtime=RUNTIME, patchelf=TOOLS / "bin" / "patchelf"
                    )


def install_packages() -> None:
    """Makes the environment hold what the lock names, and Seamline itself as an editable."""
    uv: list[str | Path] = [TOOLS / "bin" / "uv", "pip"]
    at: list[str | Path] = ["--python", PYTHON, "--build-constraint", LOCK]
    variables = tool_variables(TOOLS)
    with stage("packages"):
        run([*uv, "sync", *at, "--require-hashes", LOCK], env=variables, cwd=ROOT)
    with stage("Seamline"):
        run([*uv, "install", *at, "--no-deps", "--editable", ROOT], env=variables, cwd=ROOT)
    with stage("first imports"):
        # Bytecode is written even where the machine's setting is not to: without it every
        # process that imports TensorFlow takes 10 seconds longer.
        run(
            [PYTHON, "-c", f"import {', '.join(CHECKED_IMPORTS)}"],
            env={"PYTHONDONTWRITEBYTECODE": ""},
        )


def create() -> None:
    """Makes the environment, or brings its packages up to date, unless it is as wanted."""
    wanted = wanted_stamp()
    if read_stamp(STAMP) == wanted:
        return
    with only_one():
        found = read_stamp(STAMP)
        if found == wanted:
            return
        started = time.monotonic()
        check_machine()
        STAMP.unlink(missing_ok=True)
        if found.get("interpreter") != wanted["interpreter"]:
            make_interpreter()
        install_packages()
        STAMP.write_text(json.dumps(wanted))
        print(f"environment: ready in {time.monotonic() - started:.0f} s", flush=True)


def write_locks() -> None:
    """Resolves setup.py's and bootstrap.in's needs anew and writes both lock files."""
    # A private index must not decide what everybody gets.
    private = ("UV_INDEX", "UV_INDEX_STRATEGY")
    variables = {
        name: value for name, value in tool_variables(TOOLS).items() if name not in private
    }
    compile_lock: list[str | Path] = [
        TOOLS / "bin" / "uv",
        "pip",
        "compile",
        "--quiet",
        "--upgrade",
    ]
    compile_lock += ["--universal", "--python-version", interpreter.VERSION]
    compile_lock += ["--generate-hashes", "--no-header", "--no-annotate"]
    for needs, lock in (
        ([BOOTSTRAP.with_suffix(".in")], BOOTSTRAP),
        ([SETUP, "--extra", "imagenet", "--extra", "test", "--extra", "docs"], LOCK),
    ):
        with stage(lock.name):
            run([*compile_lock, *needs, "--output-file", lock], env=variables, cwd=ROOT)


def other_python() -> Path | None:
    """Returns the Python to go on with in this one's place; None where this one will do.

    A virtual environment's is left for its origin: it may be the very one to be replaced, and it
    may run on another C library than the machine's. One that is not 3.11, or lacks something, is
    left for the one that uv brings.

    Raises:
        SetupFailure: There is none, and what would help.
    """
    if sys.prefix != sys.base_prefix:
        return interpreter.base_python()
    shortcoming = interpreter.shortcoming()
    if not shortcoming:
        return None
    if BROUGHT in Path(sys.executable).parents:
        raise SetupFailure(f"{shortcoming}; remove {BROUGHT} and run it again")
    if interpreter.brought(BROUGHT) is None:
        with only_one():
            return interpreter.brought(BROUGHT) or bring_python()
    return interpreter.brought(BROUGHT)


def bring_python() -> Path:
    """Lets uv, which this Python starts, bring the one that the environment needs."""
    tools = BROUGHT / ".tools"
    with stage(f"Python {interpreter.VERSION}, which uv brings"):
        uv = interpreter.start_uv(tools, BOOTSTRAP)
        python = interpreter.bring(uv, BROUGHT, tool_variables(tools))
        shutil.rmtree(tools)
    return python


def main() -> None:
    """Runs the command line; exits 1 with one sentence where the environment cannot be made."""
    parser = argparse.ArgumentParser(prog="environment.create", description=__doc__)
    parser.add_argument("--lock", action="store_true", help="remake the lock files as well")
    arguments = parser.parse_args()
    try:
        check_platform()
        python = other_python()
        if python is not None:
            os.execv(python, [str(python), "-m", "environment.create", *sys.argv[1:]])
        create()
        if arguments.lock:
            write_locks()
    except SetupFailure as failure:
        sys.exit(f"environment: {failure}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        sys.exit(f"environment: {error.strerror}: {error.filename}; make room or access there")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
