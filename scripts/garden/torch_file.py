"""Reads the tensors of a PyTorch weights file without PyTorch, and runs nothing that is in it.

A pickle can call any function. This one resolves only the four names that a plain dictionary of
tensors needs, to stand-ins of our own; any other name is refused. Format: the sequence that
``torch.save`` wrote before 1.6 (``torch/serialization.py``, "legacy"): magic number, protocol,
system information, the pickled object, the list of storage keys, then each storage as a 64-bit
count and its elements, little-endian.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from console import InputError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    elements: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in elements


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which weights have no use for")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _device, elements, view = pid
        if kind != "storage" or view is not None or storage_type not in _DTYPES:
            raise pickle.UnpicklingError("it refers to something that is not a plain storage")
        return _Storage(str(key), _DTYPES[storage_type], int(elements))


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor in it has no storage")
    tensor = _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride))
    numbers = (tensor.offset, *tensor.shape, *tensor.stride)
    if len(tensor.shape) != len(tensor.stride) or min(numbers) < 0:
        raise pickle.UnpicklingError("a tensor in it has no sensible shape")
    if tensor.offset + last >= storage.elements:
        raise pickle.UnpicklingError("a tensor in it reaches beyond its storage")
    return tensor


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The named tensors of a weights file, as arrays of their stored shape (float32 or int64).

    Raises InputError for a file in any other form, and for one that asks for more than data.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise InputError(f"cannot read the weights {path}: {error.strerror}") from error
    except (pickle.UnpicklingError, ValueError, TypeError, KeyError, EOFError) as error:
        raise InputError(f"{path} is not a plain PyTorch weights file: {error}") from error
    except (AttributeError, IndexError, OverflowError, MemoryError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
        raise ValueError("it does not begin like one")
    if not _Unpickler(file).load()["little_endian"]:
        raise ValueError("it is big-endian")
    entries = _Unpickler(file).load()
    keys = _Unpickler(file).load()
    if not isinstance(entries, OrderedDict):
        raise ValueError("it does not hold a dictionary of tensors")
    tensors = {name: value for name, value in entries.items() if isinstance(value, _Tensor)}
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    elements = {tensor.storage.key: tensor.storage.elements for tensor in tensors.values()}
    contents = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        if count != elements[key]:
            raise ValueError("a storage in it has another size than announced")
        contents[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key], count)
    return {name: _array(contents[tensor.storage.key], tensor) for name, tensor in tensors.items()}


def _array(content: np.ndarray, tensor: _Tensor) -> np.ndarray:
    strides = tuple(step * content.itemsize for step in tensor.stride)
    # _rebuild has made sure that this stays inside the storage.
    return np.lib.stride_tricks.as_strided(content[tensor.offset :], tensor.shape, strides).copy()
