"""Reads the weights of a PyTorch file (`torch.save` of a state dict, both the old format and the zip) with numpy alone.

A file of PyTorch is a pickle, and a pickle can run code. Here it may name nothing but tensors and dictionaries: anything
else is refused before it is made.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
TYPES = {"FloatStorage": np.float32, "HalfStorage": np.float16, "DoubleStorage": np.float64, "LongStorage": np.int64, "IntStorage": np.int32}


class BrokenWeights(Exception):
    """The file is no state dict of plain tensors."""


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    length: int


@dataclass(frozen=True)
class _View:
    """A tensor: `shape` elements of a storage from `offset` on, `strides` elements apart."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _View(storage, offset, tuple(shape), tuple(strides))
        if module == "torch" and name in TYPES:
            return np.dtype(TYPES[name])
        raise BrokenWeights(f"it holds a {module}.{name}, which is no tensor")

    def persistent_load(self, reference):
        kind, dtype, key, _, length, *_ = reference
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise BrokenWeights(f"it refers to {reference!r}, which is no storage")
        return _Storage(str(key), dtype, int(length))


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name. Raises `BrokenWeights` when the file is something else."""
    try:
        views, storages = _read_zip(path) if zipfile.is_zipfile(path) else _read_old(path)
    except (pickle.UnpicklingError, EOFError, KeyError, IndexError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise BrokenWeights(f"it cannot be read as PyTorch weights: {error}") from error
    if not isinstance(views, dict) or not all(isinstance(view, _View) for view in views.values()):
        raise BrokenWeights("it is no dictionary of tensors")
    return {name: _tensor(name, view, storages) for name, view in views.items()}


def _tensor(name: str, view: _View, storages: dict[str, np.ndarray]) -> np.ndarray:
    data = storages.get(view.storage.key)
    last = view.offset + sum((size - 1) * stride for size, stride in zip(view.shape, view.strides))
    if data is None or min((view.offset, *view.strides)) < 0 or last >= len(data):
        raise BrokenWeights(f"tensor {name} lies outside its storage")
    strides = [stride * data.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(data[view.offset :], view.shape, strides).copy()


def _read_zip(path: Path):
    with zipfile.ZipFile(path) as archive:
        index = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        views = _Unpickler(io.BytesIO(archive.read(index))).load()
        folder = index.removesuffix("data.pkl") + "data/"
        found = {view.storage for view in views.values() if isinstance(view, _View)}
        return views, {storage.key: np.frombuffer(archive.read(folder + storage.key), storage.dtype) for storage in found}


def _read_old(path: Path):
    with open(path, "rb") as file:
        if _Unpickler(file).load() != MAGIC:
            raise BrokenWeights("it does not begin as a PyTorch file")
        _Unpickler(file).load()  # version of the format
        _Unpickler(file).load()  # the machine that wrote it
        views = _Unpickler(file).load()
        dtypes = {view.storage.key: view.storage.dtype for view in views.values() if isinstance(view, _View)}
        storages = {}
        for key in _Unpickler(file).load():
            length = int.from_bytes(file.read(8), "little")
            data = file.read(length * dtypes[key].itemsize)
            storages[key] = np.frombuffer(data, dtypes[key])
            if len(storages[key]) != length:
                raise BrokenWeights("the file is cut short")
        return views, storages
