"""A SavedModel through TensorFlow's C interface, as a program: what TensorFlow Serving will do.

    python -m components.model_canary.c_session < requests > answers

Loads with C++ `LoadSavedModel` and runs a Session, both in the library that the TensorFlow wheel
brings; no Python of TensorFlow's takes part, so that nothing is forgiven that production does not
forgive. A process of its own, because what fails in C++ may end the process.

The requests are a pickled dict: `libraries`, paths to load in this order; `folder` of the
SavedModel; `calls`, each a dict with `feeds`, a list of (tensor name, array), and `fetches`, tensor
names. Text is in object arrays of bytes. The answers are a pickled list with, for each call, its
list of arrays or the text of its error; where the model cannot be loaded, the error's text alone.
"""

from __future__ import annotations

import ctypes
import math
import pickle
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

SERVE = "serve"
"""The tag of the graph that is for serving."""

_STRING = 7
_TYPES = {
    np.dtype(np.float32): 1,
    np.dtype(np.float64): 2,
    np.dtype(np.int32): 3,
    np.dtype(np.uint8): 4,
    np.dtype(np.int16): 5,
    np.dtype(np.int8): 6,
    np.dtype(object): _STRING,
    np.dtype(np.int64): 9,
    np.dtype(np.bool_): 10,
}
_STRING_BYTES = 24
"""Size of TensorFlow's `TF_TString`."""


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class CError(Exception):
    """What TensorFlow's C interface answered in place of a result."""


class CSession:
    """A SavedModel's graph with the tag `SERVE`, in a Session.

    Args:
        libraries: Paths of TensorFlow's shared libraries, in the order in which to load them.
        folder: Where the SavedModel is.

    Raises:
        CError: it cannot be loaded.
    """

    def __init__(self, libraries: Sequence[str], folder: str):
        for library in libraries:
            self._c = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        for name in (
            *("TF_NewStatus", "TF_NewSessionOptions", "TF_NewGraph", "TF_AllocateTensor"),
            *("TF_LoadSessionFromSavedModel", "TF_GraphOperationByName", "TF_TensorData"),
            "TF_StringGetDataPointer",
        ):
            getattr(self._c, name).restype = ctypes.c_void_p
        for name in ("TF_Message",):
            getattr(self._c, name).restype = ctypes.c_char_p
        for name in ("TF_TensorByteSize", "TF_StringGetSize"):
            getattr(self._c, name).restype = ctypes.c_size_t
        self._c.TF_Dim.restype = ctypes.c_int64
        self._status = ctypes.c_void_p(self._c.TF_NewStatus())
        self._graph = ctypes.c_void_p(self._c.TF_NewGraph())
        tags = (ctypes.c_char_p * 1)(SERVE.encode())
        self._session = ctypes.c_void_p(
            self._c.TF_LoadSessionFromSavedModel(
                ctypes.c_void_p(self._c.TF_NewSessionOptions()),
                None,
                folder.encode(),
                tags,
                1,
                self._graph,
                None,
                self._status,
            )
        )
        self._raise_if_failed()

    def run(
        self, feeds: Sequence[tuple[str, np.ndarray]], fetches: Sequence[str]
    ) -> list[np.ndarray]:
        """Computes tensors.

        Args:
            feeds: Names of tensors (`serving_default_image_bytes:0`), each with its value.
            fetches: Names of the tensors wanted.

        Raises:
            CError: the graph refuses.
        """
        inputs = (_Output * len(feeds))(*(self._output(name) for name, _ in feeds))
        outputs = (_Output * len(fetches))(*map(self._output, fetches))
        given = (ctypes.c_void_p * len(feeds))(*(self._tensor(value) for _, value in feeds))
        found = (ctypes.c_void_p * len(fetches))()
        self._c.TF_SessionRun(
            self._session,
            *(None, inputs, given, len(feeds), outputs, found, len(fetches), None, 0, None),
            self._status,
        )
        self._raise_if_failed()
        return [self._array(ctypes.c_void_p(tensor)) for tensor in found]

    def _raise_if_failed(self) -> None:
        if self._c.TF_GetCode(self._status):
            message = self._c.TF_Message(self._status)
            raise CError(
                f"code {self._c.TF_GetCode(self._status)}: {message.decode(errors='replace')}"
            )

    def _output(self, tensor: str) -> _Output:
        operation, _, index = tensor.partition(":")
        found = self._c.TF_GraphOperationByName(self._graph, operation.encode())
        if not found:
            raise CError(f"the graph has no operation {operation}")
        return _Output(found, int(index))

    def _tensor(self, value: np.ndarray) -> int:
        value = np.asarray(value, order="C")
        sides = (ctypes.c_int64 * value.ndim)(*value.shape)
        text = value.dtype == object
        size = _STRING_BYTES * value.size if text else value.nbytes
        tensor = self._c.TF_AllocateTensor(
            _TYPES[value.dtype], sides, value.ndim, ctypes.c_size_t(size)
        )
        data = self._c.TF_TensorData(ctypes.c_void_p(tensor))
        if text:
            for i, content in enumerate(value.ravel()):
                place = ctypes.c_void_p(data + i * _STRING_BYTES)
                self._c.TF_StringInit(place)
                self._c.TF_StringCopy(place, content, ctypes.c_size_t(len(content)))
        else:
            ctypes.memmove(data, value.ctypes.data, value.nbytes)
        return tensor

    def _array(self, tensor: ctypes.c_void_p) -> np.ndarray:
        shape = [self._c.TF_Dim(tensor, i) for i in range(self._c.TF_NumDims(tensor))]
        count, kind = math.prod(shape), self._c.TF_TensorType(tensor)
        data = self._c.TF_TensorData(tensor)
        if kind == _STRING:
            array = np.empty(count, dtype=object)
            for i in range(count):
                place = ctypes.c_void_p(data + i * _STRING_BYTES)
                array[i] = ctypes.string_at(
                    self._c.TF_StringGetDataPointer(place), self._c.TF_StringGetSize(place)
                )
            return array.reshape(shape)
        dtype: Any = next(dtype for dtype, number in _TYPES.items() if number == kind)
        content = ctypes.string_at(data, self._c.TF_TensorByteSize(tensor)) if count else b""
        return np.frombuffer(content, dtype).reshape(shape)


def main() -> None:
    """Answers the requests on standard input."""
    requests = pickle.load(sys.stdin.buffer)
    answers: Any = []
    try:
        session = CSession(requests["libraries"], requests["folder"])
    except CError as error:
        answers = str(error)
    else:
        for call in requests["calls"]:
            try:
                answers.append(session.run(call["feeds"], call["fetches"]))
            except CError as error:
                answers.append(str(error))
    pickle.dump(answers, sys.stdout.buffer)


if __name__ == "__main__":
    main()
