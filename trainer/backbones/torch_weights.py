"""Reads the weights in a file that PyTorch wrote, without PyTorch and without running the file.

Such a file is a pickle, and a pickle can call whatever it names. This reader knows the few names
that weights need, gives each a plain meaning of its own, and refuses every other.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from schema.errors import UserError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class _Storage(NamedTuple):
    """A run of numbers behind the pickles, of which tensors are views."""

    dtype: str
    key: str


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, strides, _requires_grad, _hooks) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


_MEANINGS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _MEANINGS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which weights never need")
        return _MEANINGS[module, name]

    def persistent_load(self, reference):
        _kind, dtype, key, _device, _count, _view = reference
        return _Storage(dtype, key)


def read_torch_weights(path: Path) -> dict[str, np.ndarray]:
    """Reads a PyTorch `state_dict` in the format that PyTorch wrote before 1.6.

    That is five pickles (a magic number, the protocol, the machine's word sizes, the tensors as
    views of storages, the storages' keys), and then each storage: its length and its numbers.

    Args:
        path: A file of float32 and int64 tensors, written on a little-endian machine.

    Returns:
        The arrays by name, in the file's order, in PyTorch's layouts.

    Raises:
        UserError: the file names anything that weights do not need, or is no such file.
    """
    try:
        return _read(path.read_bytes())
    except Exception as error:  # noqa: BLE001 - a forged or damaged file can raise anything
        raise UserError(
            f"The weights file {path} cannot be read safely as a PyTorch state_dict of the format "
            f"before 1.6: {error}. Use the file as its makers published it."
        ) from error


def _read(content: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(content)
    if (_Unpickler(file).load(), _Unpickler(file).load()) != (_MAGIC_NUMBER, _PROTOCOL):
        raise ValueError("it does not start with PyTorch's magic number and protocol")
    _word_sizes = _Unpickler(file).load()
    tensors = _Unpickler(file).load()
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    storages = {}
    for key in _Unpickler(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = np.frombuffer(content, dtypes[key], count, file.tell())
        file.seek(storages[key].nbytes, io.SEEK_CUR)
    return {name: _view(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _view(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    # Not as_strided: NumPy checks indices, so that a forged shape cannot read other memory.
    steps = (np.arange(n) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    return numbers[sum(np.ix_(*steps), start=tensor.offset)]
