"""Programs in Go that tests and benchmarks run, made once into the environment's `.tools`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_GO = ("/usr/local/go/bin", "/usr/lib/go/bin")
_SECONDS_TO_BUILD = 900


class NotHere(Exception):
    """What cannot be had on this machine, and why."""


def installed(module: str, version: str) -> Path:
    """The binary of a module's program, which Go makes once; some minutes on two cores.

    Args:
        module: Path of the package, whose last part is the program's name.
        version: Of the module, without the leading v.

    Raises:
        NotHere: there is no Go, or it cannot fetch or build the module.
    """
    name = module.rpartition("/")[2]
    binary = Path(sys.prefix, ".tools", "bin", f"{name}-{version}")
    if binary.is_file():
        return binary
    path = os.pathsep.join([os.environ.get("PATH", ""), *_GO])
    go = shutil.which("go", path=path)
    if not go:
        raise NotHere(f"Go, which makes {name}, is not installed")
    binary.parent.mkdir(parents=True, exist_ok=True)
    making = binary.with_name(f"{binary.name}.{os.getpid()}")
    # Without a package's read-only files, which `rm -r` refuses.
    environment = os.environ | {"GOBIN": str(making), "GOFLAGS": "-modcacherw", "PATH": path}
    try:
        done = subprocess.run(
            [go, "install", f"{module}@v{version}"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS_TO_BUILD,
        )
        if done.returncode:
            raise NotHere(f"Go cannot make {name}: {done.stderr.strip().splitlines()[-1]}")
        (making / name).replace(binary)
    except subprocess.TimeoutExpired as error:
        raise NotHere(f"Go did not make {name} within {_SECONDS_TO_BUILD} s") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return binary
