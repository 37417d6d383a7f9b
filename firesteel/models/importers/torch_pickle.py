"""Objects of torch's files, read without running anything: no class is imported, no function of the file called.

What ``torch.save`` and TorchScript write is a pickle that names classes and functions. Here a name leads to one of the few
functions below, or to an inert stand-in that keeps what it is given. So training checkpoints, whole pickled modules and
TorchScript archives give their tensors, which ``torch.load(weights_only=True)`` refuses as soon as one other class is in them.

The unpickler is Python's own in Python: the one in C takes memory for what a file merely announces (the memo), and so does one
opcode of this one (``BYTEARRAY8``), which is off. Sizes of tensors are compared with the storage that is there.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firesteel.errors import FormatError

_EXPANDED = 1 << 24
"""Elements that a tensor may have beyond its storage, where it repeats them."""
_MOST_OPERATIONS = 1 << 22
"""Of one pickle: a checkpoint has about a hundred a parameter, with those of its optimizer."""
_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool, "UntypedStorage": torch.uint8,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128,
}  # fmt: skip


class Inert:
    """Stands for an object of a class that is not looked at; it keeps its state.

    Attributes:
        name: of the class.
        state: what the object was built with.
        entries: what was put in it, if it is like a dictionary.
    """

    __slots__ = ("entries", "name", "state")

    def __init__(self, name: str):
        self.name = name
        self.state: Any = None
        self.entries: dict[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries = self.entries or {}
        self.entries[key] = value

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


class _Name:
    """Stands for a class or a function; to call it, or to ask it for a new object, gives an :class:`Inert`."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __new__(cls, *arguments: Any, **named: Any) -> Any:
        # The unpickler makes objects by cls.__new__(cls), where cls is what find_class gave: here one of our objects.
        return Inert(cls.name) if isinstance(cls, _Name) else object.__new__(cls)

    def __call__(self, *arguments: Any, **named: Any) -> Inert:
        return Inert(self.name)


class _Limited(dict[int, Callable[..., Any]]):
    """Operations of a pickle, of which so many may be done: most of them take a hundred times the memory of their byte."""

    left = 0

    def __getitem__(self, code: int) -> Callable[..., Any]:
        self.left -= 1
        if self.left < 0:
            raise FormatError(f"its list of objects has more than {_MOST_OPERATIONS:,} operations")
        return super().__getitem__(code)


class _Dictionary(dict[Any, Any]):
    """An ``OrderedDict``, whose attributes (``_metadata`` of a state dict) are left out."""

    def __setstate__(self, state: Any) -> None:
        pass


@dataclass(frozen=True)
class Storage:
    """A run of numbers of one type in a file.

    Attributes:
        key: its name in the file.
        dtype: of the numbers.
        numel: how many are announced.
    """

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor lies in a storage; made real by :meth:`read`."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def read(self, numbers: Tensor) -> Tensor:
        """The tensor as a view of its storage.

        Args:
            numbers: the storage, of one dimension.

        Raises:
            FormatError: if it does not lie within.
        """
        if self.dtype != numbers.dtype:
            if numbers.numel() * numbers.element_size() % self.dtype.itemsize:
                raise FormatError("a tensor has a type that does not fit its storage")
            numbers = numbers.view(self.dtype)
        if len(self.size) != len(self.stride) or min((self.offset, *self.size, *self.stride)) < 0:
            raise FormatError(f"a tensor has shape {self.size} with strides {self.stride}")
        count = math.prod(self.size)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.size, self.stride))
        if count and (last >= numbers.numel() or count > max(numbers.numel(), _EXPANDED)):
            raise FormatError(f"a tensor of shape {self.size} does not lie within its {numbers.numel()} numbers")
        return torch.as_strided(numbers, self.size, self.stride, self.offset) if count else numbers.new_zeros(self.size)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> TensorPlace:
    if not isinstance(storage, Storage):
        raise FormatError("a tensor without a storage")
    numbers = (offset, *size, *stride)
    if not all(isinstance(each, int) for each in numbers):
        raise FormatError("a tensor with a shape that is no whole numbers")
    dtype = next((each for each in rest if isinstance(each, torch.dtype)), storage.dtype)
    return TensorPlace(storage, offset, tuple(size), tuple(stride), dtype)


def _parameter(data: Any, *rest: Any) -> Any:
    return data


def _plain(values: Any = ()) -> Any:
    return values


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("collections", "OrderedDict"): _Dictionary,
    ("torch", "Size"): _plain,
    **{("torch.jit._pickle", f"build_{name}list"): _plain for name in ("int", "tensor", "double", "bool")},
    ("torch.jit._pickle", "restore_type_tag"): _parameter,
}


_OPERATIONS: dict[int, Callable[..., Any]] = {
    code: function
    for code, function in pickle._Unpickler.dispatch.items()
    if code not in (pickle.BYTEARRAY8[0], pickle.NEXT_BUFFER[0], pickle.READONLY_BUFFER[0])
}


class TensorUnpickler(pickle._Unpickler):
    """Reads one pickle of a file.

    Attributes:
        storages: those that it names, by key.
    """

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream, encoding="utf-8", errors="replace")
        self.dispatch = _Limited(_OPERATIONS)  # type: ignore[misc]  # of this one alone, because it counts
        self.dispatch.left = _MOST_OPERATIONS
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name; nothing is imported."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.storage", "torch.cuda") and name in _STORAGES:
            return _STORAGES[name]
        found = getattr(torch, name, None) if module == "torch" else None
        if isinstance(found, torch.dtype):
            return found
        return _Name(f"{module}.{name}"[:200])

    def persistent_load(self, identity: Any) -> Any:
        """A storage, or of modules saved whole their class."""
        if isinstance(identity, tuple) and identity and identity[0] == "module":
            return identity[1]
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise FormatError("a reference that is none to a storage")
        _, dtype, key, _, numel = identity[:5]
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str) or not isinstance(numel, int) or numel < 0:
            raise FormatError("a storage of a type or size that is not known")
        view = identity[5] if len(identity) > 5 else None
        if view is not None:
            raise FormatError("a storage that is part of another, as torch wrote them before 2017")
        storage = Storage(key, dtype, numel)
        if self.storages.setdefault(key, storage).dtype != dtype:
            storage = Storage(key, dtype, numel)
        return storage


def read_pickle(stream: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """The object of a pickle and the storages that it names.

    Raises:
        FormatError: if it is cut, or does what none of torch's files does.
    """
    unpickler = TensorUnpickler(stream)
    try:
        return unpickler.load(), unpickler.storages
    except FormatError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its opcodes stumble over
        raise FormatError(f"its list of objects is damaged ({type(error).__name__}: {str(error)[:80]})") from error


__all__ = ["Inert", "Storage", "TensorPlace", "read_pickle"]
