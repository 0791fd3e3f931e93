"""Makes `.venv` from requirements.lock on a machine that has nothing but Python 3.11.

    python3.11 -m environment.create            make it, or see at once that it is there
    python3.11 -m environment.create --lock     the same, then remake the lock files

The stamp is written last: an environment without one was interrupted and is made anew.
"""

import argparse
import ast
import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from environment import c_library
from environment.commands import SetupFailure, run

ROOT = Path(__file__).resolve().parent.parent
SETUP = ROOT / "setup.py"
LOCK = ROOT / "requirements.lock"
BOOTSTRAP = ROOT / "environment" / "bootstrap.lock"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
TOOLS = VENV / ".tools"
RUNTIME = VENV / ".runtime"
STAMP = VENV / ".stamp.json"
GUARD = ROOT / ".venv.guard"

PYTHON_VERSION = (3, 11)
PLATFORMS = ("Linux x86_64", "Darwin arm64")
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


def base_python() -> Path:
    """Returns the Python that this one comes from: itself, or a virtual environment's origin."""
    if sys.prefix == sys.base_prefix:
        return Path(sys.executable)
    major, minor = sys.version_info[:2]
    return Path(sys.base_prefix, "bin", f"python{major}.{minor}")


def check_machine() -> None:
    """Raises SetupFailure where the environment cannot be made, and says what would help."""
    version = platform.python_version()
    if sys.version_info[:2] != PYTHON_VERSION:
        raise SetupFailure(
            f"Python 3.11 is needed and this is {version}; install python3.11, python3.11-venv "
            "and python3.11-dev, or `pyenv install 3.11`, and run it again"
        )
    machine = f"{platform.system()} {platform.machine()}"
    if machine not in PLATFORMS:
        raise SetupFailure(
            f"TFX 1.21 has wheels for {' and '.join(PLATFORMS)} and none for {machine}; "
            "use such a machine, or a linux/amd64 container"
        )
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupFailure(
            "this Python cannot make virtual environments (it has no ensurepip); "
            "install python3.11-venv and run it again"
        )
    compilers = filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++"))
    if not any(shutil.which(compiler.split()[0]) for compiler in compilers):
        raise SetupFailure(
            "no C++ compiler was found, and TFX needs pyfarmhash, which comes as source only; "
            "install g++ or clang and run it again"
        )
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise SetupFailure(
            "Python.h was not found, and TFX needs pyfarmhash, which comes as source only; "
            "install python3.11-dev and run it again"
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
            str(VENV), sys.version, str(base_python()), BOOTSTRAP.read_bytes(), *scripts
        ),
        "packages": digest(LOCK.read_bytes(), SETUP.read_bytes()),
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


def tool_variables() -> dict[str, str]:
    """Returns the variables that uv runs under on this machine."""
    variables = uv_variables(run([TOOLS / "bin" / "pip", "config", "list"]), os.environ)
    # Containers often run as a user whose home is nobody's to write.
    if not os.access(Path.home(), os.W_OK) and "UV_CACHE_DIR" not in os.environ:
        variables["UV_CACHE_DIR"] = str(TOOLS / "cache")
    return variables


def make_interpreter() -> None:
    """Makes an empty environment whose Python can load the stack's wheels, and uv beside it."""
    with stage("Python"):
        if VENV.exists():
            shutil.rmtree(VENV)
        run([base_python(), "-m", "venv", "--copies", "--without-pip", VENV])
    with stage("uv"):
        run([base_python(), "-m", "venv", TOOLS])
        run([TOOLS / "bin" / "pip", "install", "--require-hashes", "-r", BOOTSTRAP])
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
    uv = [TOOLS / "bin" / "uv", "pip"]
    at = ["--python", PYTHON, "--build-constraint", LOCK]
    variables = tool_variables()
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
    variables = {name: value for name, value in tool_variables().items() if name not in private}
    compile_lock = [TOOLS / "bin" / "uv", "pip", "compile", "--quiet", "--upgrade"]
    compile_lock += ["--universal", "--python-version", ".".join(map(str, PYTHON_VERSION))]
    compile_lock += ["--generate-hashes", "--no-header", "--no-annotate"]
    for needs, lock in (
        ([BOOTSTRAP.with_suffix(".in")], BOOTSTRAP),
        ([SETUP, "--extra", "imagenet", "--extra", "test"], LOCK),
    ):
        with stage(lock.name):
            run([*compile_lock, *needs, "--output-file", lock], env=variables, cwd=ROOT)


def main() -> None:
    """Runs the command line; exits 1 with one sentence where the environment cannot be made."""
    parser = argparse.ArgumentParser(prog="environment.create", description=__doc__)
    parser.add_argument("--lock", action="store_true", help="remake the lock files as well")
    arguments = parser.parse_args()
    if sys.prefix != sys.base_prefix:
        # An activated environment's Python may be the very one to be replaced, and it may run on
        # another C library than the machine's.
        os.execv(base_python(), [base_python(), "-m", "environment.create", *sys.argv[1:]])
    try:
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
