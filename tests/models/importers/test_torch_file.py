"""Files of torch: every form gives the same tensors, and none of them runs anything."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import random
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from firesteel.errors import FiresteelError, FormatError, ModelError
from firesteel.models.importers import torch_pickle
from firesteel.models.importers.torch_file import num_outputs, read_weights
from firesteel.storage import Place


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(2, 2).bfloat16(), nn.Linear(2, 7).double())
    )


def checkpoint(model: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.Adam(model.parameters())
    return {
        "epoch": 3, "args": argparse.Namespace(lr=0.1), "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()
    }  # fmt: skip


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (lambda model: model.state_dict(), None),
        (checkpoint, "found under 'state_dict'"),
        (lambda model: model, "a whole object of torch.nn.modules.container.Sequential"),
    ],
)
def test_state_dicts_checkpoints_and_whole_modules(tmp_path: Path, is_zip: bool, wrap: Any, note: str | None) -> None:
    model, path = network(), tmp_path / "weights.pth"
    torch.save(wrap(model), path, _use_new_zipfile_serialization=is_zip)
    weights = read_weights(Place.of(path))
    expected = model.state_dict()
    assert set(weights.tensors) == set(expected)
    assert all(torch.equal(weights.tensors[name], value) for name, value in expected.items())
    assert all(weights.tensors[name].dtype == value.dtype for name, value in expected.items())
    assert (note is None and weights.notes == ()) or (note is not None and note in weights.notes[0])


def test_torchscript_gives_its_tensors_and_is_not_run(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch is giving TorchScript up; its files stay
        torch.jit.save(torch.jit.trace(nn.Sequential(model[0], model[1]).eval(), torch.zeros(1, 3, 4, 4)), path)
    weights = read_weights(Place.of(path))
    assert torch.equal(weights.tensors["0.weight"], model[0].weight)
    assert "its code was not run" in weights.notes[0]


def test_safetensors_and_views(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "x.safetensors")
    assert set(read_weights(Place.of(tmp_path / "x.safetensors")).tensors) == set(network().state_dict())
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"part": whole.t()[1:, 1:], "again": whole}, tmp_path / "x.pt")
    tensors = read_weights(Place.of(tmp_path / "x.pt")).tensors
    assert torch.equal(tensors["part"], whole.t()[1:, 1:])
    assert num_outputs(tensors) == 3


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_with_code_does_nothing(tmp_path: Path, is_zip: bool) -> None:
    evil = Evil()
    evil.path = tmp_path / "ran"  # type: ignore[attr-defined]
    torch.save({"a": torch.ones(2, 2), "b": evil}, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
    assert list(read_weights(Place.of(tmp_path / "x.pt")).tensors) == ["a"]
    assert not (tmp_path / "ran").exists()


def archive(path: Path, objects: bytes, data: dict[str, bytes], **options: Any) -> Place:
    with zipfile.ZipFile(path, "w", **options) as made:
        made.writestr("archive/data.pkl", objects)
        for key, value in data.items():
            made.writestr(f"archive/data/{key}", value)
    return Place.of(path)


def tensor_pickle(size: tuple[int, ...], stride: tuple[int, ...], numel: int = 4, offset: int = 0) -> bytes:
    """A state dict with one tensor, as torch pickles it."""
    stream = io.BytesIO()
    pickler = pickle._Pickler(stream, 2)  # type: ignore[attr-defined]
    pickler.proto = 2
    stream.write(b"\x80\x02}")
    pickler.save("w")
    stream.write(b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n")
    pickler.save("0")
    pickler.save("cpu")
    pickler.save(numel)
    stream.write(b"tQ")
    for value in (offset, size, stride, False, {}):
        pickler.save(value)
    stream.write(b"tRs.")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("size", "stride", "numel", "offset"),
    [
        ((5,), (1,), 4, 0), ((2,), (1,), 4, 3), ((1 << 40,), (0,), 4, 0), ((1 << 20, 1 << 20), (0, 0), 4, 0),
        ((2, 2), (2,), 4, 0), ((2,), (-1,), 4, 2), ((2,), (1,), 1 << 40, 0), ((2,), (1,), 4, -1), ((1 << 62, 4), (1, 1), 4, 0),
    ],
)  # fmt: skip
def test_tensors_lie_within_what_is_there(
    tmp_path: Path, size: tuple[int, ...], stride: tuple[int, ...], numel: int, offset: int
) -> None:
    sound = archive(tmp_path / "a.pt", tensor_pickle((2, 2), (2, 1)), {"0": struct.pack("<4f", 1, 2, 3, 4)})
    assert read_weights(sound).tensors["w"].tolist() == [[1, 2], [3, 4]]
    place = archive(tmp_path / "b.pt", tensor_pickle(size, stride, numel, offset), {"0": bytes(16)})
    with pytest.raises(FormatError):
        read_weights(place)


def test_bombs_are_refused(tmp_path: Path) -> None:
    place = archive(
        tmp_path / "a.pt",
        tensor_pickle((1 << 22,), (1,), 1 << 22),
        {"0": bytes(1 << 24)},
        compression=zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(FormatError, match="larger than the file"):
        read_weights(place)
    place = archive(tmp_path / "b.pt", b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x3f.", {})  # BYTEARRAY8 of 2^62
    with pytest.raises(FormatError, match="damaged"):
        read_weights(place)
    place = archive(tmp_path / "c.pt", b"\x80\x02}r\xff\xff\xff\x7f.", {})  # a memo of 2^31 places
    with pytest.raises(ModelError, match="no tensors"):
        read_weights(place)
    nested = (
        b"\x80\x02}"
        + b"".join(b"q%c}(X\x01\x00\x00\x00ah%cX\x01\x00\x00\x00bh%cu" % (i, i, i) for i in range(60))
        + b"."
    )
    with pytest.raises(ModelError, match="no tensors"):  # 2^60 ways through it
        read_weights(archive(tmp_path / "d.pt", nested, {}))


def test_memory_for_objects_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name of a class was a class of its own, of a thousand bytes and more."""
    count = 20_000
    made = b"\x80\x02](" + b"ca\nb\n)\x81" * count + b"e."
    tracemalloc.start()
    with pytest.raises(ModelError, match="no tensors"):
        read_weights(archive(tmp_path / "a.pt", made, {}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400 * count
    monkeypatch.setattr(torch_pickle, "_MOST_OPERATIONS", 3 * count)
    with pytest.raises(FormatError, match="more than 60,000 operations"):
        read_weights(archive(tmp_path / "b.pt", made, {}))


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", b"\x80\x02.", b"\xff" * 8 + b"{}", bytes(100)])
def test_other_files_are_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(FiresteelError, match=r"x\.pt"):
        read_weights(Place.of(tmp_path / "x.pt"))


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_cut_and_mutated_files_are_refused_or_read(tmp_path: Path, kind: str) -> None:
    path, tensors = tmp_path / "x.pt", {"a.weight": torch.ones(3, 2), "a.bias": torch.zeros(3)}
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    sound, generator = path.read_bytes(), random.Random(0)
    for number in range(300):
        data = bytearray(sound)
        if number % 3 == 0:
            del data[generator.randrange(1, len(data)) :]
        for _ in range(generator.randrange(1, 4)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(bytes(data))
        try:
            found = read_weights(Place.of(path)).tensors
        except FiresteelError:
            continue
        assert sum(tensor.numel() for tensor in found.values()) < 1 << 24
