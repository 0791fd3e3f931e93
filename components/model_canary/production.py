"""Asks a SavedModel as TensorFlow Serving will: through C++, in a process of its own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from components.model_canary import c_session

_MOST_SECONDS = 600


class ProductionError(Exception):
    """Why TensorFlow Serving could not answer from a model, in words for a person."""


@dataclass(frozen=True)
class Call:
    """A question to a signature: a value for each of its inputs, text as bytes."""

    signature: str
    inputs: Mapping[str, Sequence[bytes]]


def ask(folder: Path, calls: Sequence[Call]) -> list[dict[str, np.ndarray] | str]:
    """Loads a SavedModel through C++ and asks it.

    Args:
        folder: Where the SavedModel is.
        calls: What to ask.

    Returns:
        For each call the signature's outputs by name, text as object arrays of bytes; or what it
        said when it refused.

    Raises:
        ProductionError: the model cannot be loaded, lacks a signature, or ended the process.
    """
    signatures = _signatures(folder / tf.saved_model.SAVED_MODEL_FILENAME_PB)
    if missing := {call.signature for call in calls} - signatures.keys():
        raise ProductionError(f"it has no signature {', '.join(sorted(missing))}")
    outputs = [sorted(signatures[call.signature].outputs) for call in calls]
    requests = {
        "libraries": _libraries(),
        "folder": str(folder),
        "calls": [
            {
                "feeds": [
                    (signatures[call.signature].inputs[name].name, np.array([*value], object))
                    for name, value in call.inputs.items()
                ],
                "fetches": [signatures[call.signature].outputs[name].name for name in names],
            }
            for call, names in zip(calls, outputs, strict=True)
        ],
    }
    try:
        process = subprocess.run(
            [sys.executable, "-m", c_session.__name__],
            input=pickle.dumps(requests),
            capture_output=True,
            timeout=_MOST_SECONDS,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    except subprocess.TimeoutExpired:
        raise ProductionError(f"it did not answer within {_MOST_SECONDS} s") from None
    if process.returncode:
        last = process.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ProductionError(
            f"TensorFlow's C++ loader ended with status {process.returncode}: {''.join(last)}"
        )
    answers = pickle.loads(process.stdout)
    if isinstance(answers, str):
        raise ProductionError(f"TensorFlow's C++ loader cannot load it ({answers})")
    return [
        answer if isinstance(answer, str) else dict(zip(names, answer, strict=True))
        for answer, names in zip(answers, outputs, strict=True)
    ]


def _signatures(file: Path) -> Mapping[str, meta_graph_pb2.SignatureDef]:
    try:
        description = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except OSError as error:
        raise ProductionError(f"{file} cannot be read: {error.strerror}") from error
    except message.DecodeError as error:
        raise ProductionError(f"{file} cannot be read: it is no SavedModel") from error
    for graph in description.meta_graphs:
        if c_session.SERVE in graph.meta_info_def.tags:
            return graph.signature_def
    raise ProductionError(f"{file} cannot be served: it has no graph with the tag `serve`")


def _libraries() -> list[str]:
    """TensorFlow's shared libraries, in the order in which they need one another."""
    folder = Path(tf.sysconfig.get_lib())
    suffixes = ("so.2", "2.dylib")
    found = [
        str(path)
        for name in ("libtensorflow_framework", "libtensorflow_cc")
        for path in (folder / f"{name}.{suffix}" for suffix in suffixes)
        if path.exists()
    ]
    if not found:
        raise ProductionError(f"TensorFlow's C library is not in {folder}")
    return found
