"""Processes that begin with everything imported, each of its own, as a container's is.

Importing TensorFlow and TFX takes a processor some ten seconds, which a cluster spends in every
pod, and a test of three runs would spend forty times.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_FORGE = """
import gc, importlib, json, os, runpy, sys, tempfile

gc.set_threshold(50_000)
importlib.import_module(sys.argv[1])
# `python -m` finds the module that it runs not yet imported.
del sys.modules[sys.argv[1]]
gc.freeze()
for line in sys.stdin:
    arguments, folder, environment, said = json.loads(line)
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
gc.unfreeze()
gc.set_threshold(700)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
os.dup2(1, 2)
os.chdir(folder)
os.environ.clear()
os.environ.update(environment)
tempfile.tempdir = None
sys.argv[1:] = arguments
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


class Forge:
    """Runs `python -m MODULE ...` as often as is asked for, with what it imports imported once.

    A process that has done nothing but import it is copied for every run. The copy has the
    arguments, the working folder and the environment that a new process would be given.

    Args:
        module: What is run.
        folder: Where the process works that is copied.
        environment: Its variables, of which Python has read those that are its own.
    """

    def __init__(self, module: str, folder: Path, environment: Mapping[str, str]):
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORGE, module],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Runs the module and waits for it; what it prints is in `stdout`, errors too."""
        said = folder / "said"
        asked = [[self._module, *arguments], str(folder), dict(environment), str(said)]
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        text = said.read_text(errors="replace")
        said.unlink()
        return subprocess.CompletedProcess(asked[0], status, text)

    def close(self) -> None:
        """Ends the process that was copied."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
