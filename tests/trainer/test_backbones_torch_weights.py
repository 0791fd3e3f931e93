"""Weights are read out of PyTorch's pickles, and nothing else that a pickle can do is done."""

import io
import os
import pickle
import struct
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

from schema.errors import UserError
from trainer.backbones.torch_weights import read_torch_weights

MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@pytest.fixture
def torch(monkeypatch):
    """The names that PyTorch's pickles hold, importable while one is written, and no PyTorch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for module, name in [
        (torch, "FloatStorage"),
        (torch, "LongStorage"),
        (utils, "_rebuild_tensor_v2"),
    ]:
        setattr(module, name, type(name, (), {"__module__": module.__name__}))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    torch._utils = utils
    return torch


class Storage:
    def __init__(self, kind, key, numbers):
        self.kind, self.key, self.numbers = kind, key, numbers


class Tensor:
    """A view of a storage, strides in numbers."""

    def __init__(self, storage, offset, shape, strides):
        self.view = storage, offset, shape, strides, False, OrderedDict()

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.view


class TorchPickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return "storage", obj.kind, obj.key, "cpu", len(obj.numbers), None
        return None


def write(path, state, storages=()):
    """Writes what `torch.save` wrote before PyTorch 1.6."""
    file = io.BytesIO()
    word_sizes = {"short": 2, "int": 4, "long": 4}
    for part in (
        MAGIC_NUMBER,
        PROTOCOL,
        {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": word_sizes},
        state,
        [storage.key for storage in storages],
    ):
        TorchPickler(file, protocol=2).dump(part)
    for storage in storages:
        file.write(struct.pack("<q", len(storage.numbers)) + storage.numbers.tobytes())
    path.write_bytes(file.getvalue())
    return path


def test_arrays_come_with_their_names_shapes_and_values(torch, tmp_path):
    kernels = Storage(torch.FloatStorage, "7", np.arange(10, dtype="<f4"))
    steps = Storage(torch.LongStorage, "3", np.array([12345678901], "<i8"))
    state = OrderedDict(
        kernel=Tensor(kernels, 4, (2, 3), (3, 1)),
        transposed=Tensor(kernels, 0, (2, 3), (1, 2)),
        steps=Tensor(steps, 0, (), ()),
    )
    arrays = read_torch_weights(write(tmp_path / "weights.pth", state, [steps, kernels]))
    assert list(arrays) == ["kernel", "transposed", "steps"]
    np.testing.assert_array_equal(arrays["kernel"], [[4, 5, 6], [7, 8, 9]])
    np.testing.assert_array_equal(arrays["transposed"], [[0, 2, 4], [1, 3, 5]])
    assert arrays["kernel"].dtype == np.float32
    assert arrays["steps"] == 12345678901


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "posix.system"), (eval, "builtins.eval"), (getattr, "builtins.getattr")],
)
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(function, name, tmp_path):
    trace = tmp_path / "trace"
    path = write(tmp_path / "attack.pth", {"kernel": Attack(function, f"touch {trace}")})
    with pytest.raises(UserError, match=rf"attack\.pth.*names \S*{name.split('.')[1]}"):
        read_torch_weights(path)
    assert not trace.exists()
    if function is os.system:
        with open(path, "rb") as file:
            for _ in range(4):
                pickle.load(file)
        assert trace.exists(), "the attack would not have run anywhere, so nothing was tested"


def test_a_view_outside_its_storage_is_refused(torch, tmp_path):
    storage = Storage(torch.FloatStorage, "0", np.zeros(4, "<f4"))
    state = OrderedDict(kernel=Tensor(storage, 2, (4,), (1,)))
    with pytest.raises(UserError, match="out of bounds"):
        read_torch_weights(write(tmp_path / "forged.pth", state, [storage]))


def test_half_a_file_is_refused(torch, tmp_path):
    storage = Storage(torch.FloatStorage, "0", np.zeros(4, "<f4"))
    state = OrderedDict(kernel=Tensor(storage, 0, (4,), (1,)))
    path = write(tmp_path / "half.pth", state, [storage])
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"half\.pth.*as its makers published"):
        read_torch_weights(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 the newer format", pickle.dumps(1, 2) * 5])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"other\.pth.*format before 1\.6"):
        read_torch_weights(path)
