"""Networks of Keras against what Keras itself computes with the same files."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from firesteel.errors import FormatError, ModelError
from firesteel.models.graph import as_graph
from firesteel.models.importers.base import Imported
from firesteel.models.importers.keras import read_keras
from firesteel.storage import Place
from tests.conftest import real_data
from tests.models.importers.keras import nets

h5py = pytest.importorskip("h5py", reason="files of Keras are HDF5: pip install h5py")


def channels_first(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(rows, -1, 1).copy() if rows.ndim > 3 else rows)


def read(path: Path, weights: Path | None = None, **options: Any) -> Imported:
    return read_keras(Place.of(path), weights=None if weights is None else Place.of(weights), **options)


def outputs(imported: Imported, rows: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return imported.network(rows).numpy()


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("name", nets.names())
def test_networks_compute_what_keras_computes(name: str, ending: str, tmp_path: Path) -> None:
    new, old, rows, wanted = nets.recorded(name)
    (tmp_path / f"net{ending}").write_bytes(new if ending == ".keras" else old)
    imported = read(tmp_path / f"net{ending}")
    found = outputs(imported, channels_first(rows))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    assert imported.matching.initial == imported.matching.unused == ()


def test_every_recorded_network_is_one_that_can_be_recorded_again() -> None:
    assert nets.names() == sorted(nets.NETS)


def test_networks_train(tmp_path: Path) -> None:
    (tmp_path / "net.keras").write_bytes(nets.recorded("flatten")[0])
    imported = read(tmp_path / "net.keras")
    network = as_graph(imported.network, torch.zeros(2, *imported.input_shape))[0].train()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    rows, labels = torch.randn(32, 3, 6, 5), torch.arange(32) % 4
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(rows), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


OLD_CONFIG = {
    "class_name": "Sequential",
    "config": [
        {"class_name": "Conv2D", "config": {
            "name": "a/conv", "batch_input_shape": [None, 4, 3, 2], "filters": 2, "kernel_size": [1, 1], "padding": "valid",
            "data_format": "channels_last", "activation": "relu", "use_bias": False}},
        {"class_name": "Flatten", "config": {"name": "flat"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 2, "activation": "hard_sigmoid", "use_bias": True}},
    ],
}  # fmt: skip
"""As Keras before 2.2 wrote it: a bare list of layers."""


def write_h5(path: Path, arrays: dict[str, dict[str, np.ndarray]], config: dict[str, Any] | None = None) -> Path:
    """As Keras 2 does: a group a layer, names of weights as attributes."""
    with h5py.File(path, "w") as file:
        root = file if config is None else file.create_group("model_weights")
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
            file.attrs["keras_version"] = b"2.1.6"
        root.attrs["layer_names"] = [name.encode() for name in arrays]
        for layer, weights in arrays.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in weights]
            for name, value in weights.items():
                group.create_dataset(f"{layer}/{name}:0", data=value)
    return path


KERNEL = np.array([[[[1.0, -1.0], [0.5, 2.0]]]], np.float32)
DENSE = np.arange(48, dtype=np.float32).reshape(24, 2) / 100
ARRAYS = {
    "a/conv": {"kernel": KERNEL},
    "flat": {},
    "dense": {"kernel": DENSE, "bias": np.array([0.1, -0.2], np.float32)},
}


@pytest.mark.parametrize("apart", [False, True], ids=["h5", "json and h5"])
def test_files_of_keras_2_are_read(apart: bool, tmp_path: Path) -> None:
    rows = nets.rows((4, 3, 2))
    hidden = np.maximum(rows @ KERNEL[0, 0], 0).reshape(3, 24)
    wanted = np.clip(0.2 * (hidden @ DENSE + ARRAYS["dense"]["bias"]) + 0.5, 0, 1)
    if apart:
        (tmp_path / "net.json").write_text(json.dumps(OLD_CONFIG))
        imported = read(tmp_path / "net.json", write_h5(tmp_path / "w.h5", ARRAYS))
    else:
        imported = read(write_h5(tmp_path / "net.h5", ARRAYS, OLD_CONFIG))
    np.testing.assert_allclose(outputs(imported, channels_first(rows)), wanted, rtol=1e-5)
    assert list(imported.network.state_dict()) == ["a.conv.weight", "dense.weight", "dense.bias"]
    assert imported.matching.reshaped["dense.weight"] == "IO -> OI, inputs from 4x3x2 to channels first"
    assert imported.input_shape == (2, 4, 3)


def test_another_shape_of_as_many_values_is_brought_to_the_input(tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "Dense", "config": {"name": "d", "batch_input_shape": [None, 12], "units": 2}}]}}  # fmt: skip
    arrays = {"d": {"kernel": np.arange(24, dtype=np.float32).reshape(12, 2), "bias": np.zeros(2, np.float32)}}
    imported = read(write_h5(tmp_path / "net.h5", arrays, config), input_shape=(1, 3, 4))
    rows = nets.rows((1, 3, 4))
    np.testing.assert_allclose(
        outputs(imported, torch.from_numpy(rows)), rows.reshape(3, 12) @ arrays["d"]["kernel"], rtol=1e-5
    )
    with pytest.raises(ModelError, match="takes rows of 12"):
        read(tmp_path / "net.h5", input_shape=(1, 3, 5))


def test_weights_go_into_a_given_network_by_name(tmp_path: Path) -> None:
    network = nn.Sequential()
    network.add_module("dense", nn.Linear(24, 2))
    with pytest.raises(ModelError, match="not all that should"):
        read(write_h5(tmp_path / "net.h5", ARRAYS, OLD_CONFIG), into=network)
    found = read(tmp_path / "net.h5", into=network, match_all=False)
    assert found.matching.matched == ("dense.weight", "dense.bias")
    assert found.matching.unused == ("a.conv.weight",)


def test_a_layer_without_weights_in_the_file_is_an_error_or_begins_anew(tmp_path: Path) -> None:
    arrays = {"a/conv": ARRAYS["a/conv"], "other": ARRAYS["dense"]}
    path = write_h5(tmp_path / "net.h5", arrays, OLD_CONFIG)
    with pytest.raises(ModelError, match=r"no weights for 2 tensors.*dense\.weight"):
        read(path)
    found = read(path, match_all=False)
    assert found.matching.initial == ("dense.weight", "dense.bias")
    assert found.matching.unused == ("other/other/bias:0", "other/other/kernel:0")
    assert float(found.network.dense.weight.detach().abs().sum()) > 0


def changed(**options: Any) -> dict[str, Any]:
    """The old configuration with other options of its dense layer."""
    config = json.loads(json.dumps(OLD_CONFIG))
    kind = options.pop("class_name", None)
    config["config"][2]["config"].update(options)
    config["config"][2]["class_name"] = kind or "Dense"
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed(class_name="Lambda"), "holds code, which is not run"),
        (changed(class_name="Danse"), "no such layer here.*'Dense'"),
        (changed(activation="rellu"), "no activation 'rellu'.*'relu'"),
        (changed(units=3), "kernel has shape 24x2"),
        (changed(units=0), "units must be a number from 1"),
        (changed(units=10**9), "units must be a number from 1"),
        (changed(units=10**7), "kernel has shape 24x2 in the file, 240,000,000"),
        ({"class_name": "MyModel", "config": {}}, "class 'MyModel', whose code is not in the file"),
        ({"class_name": "Functional", "config": {"layers": 3}}, "not one of Keras"),
        ({"class_name": "Functional", "config": {"layers": [], "input_layers": [], "output_layers": []}}, "one input and one output"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_configuration_is_said(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((ModelError, FormatError), match=f"(?s){message}") as caught:
        read(write_h5(tmp_path / "net.h5", ARRAYS, config))
    assert 1 <= len(str(caught.value).splitlines()) <= 4


def called_with(keras: int, options: dict[str, Any]) -> dict[str, Any]:
    """A functional network whose dense layer is called with options, as Keras 2 or 3 writes it."""
    old, value = OLD_CONFIG["config"], {"class_name": "__keras_tensor__", "config": {"keras_history": ["flat", 0, 0]}}
    layers = [
        {
            "class_name": "InputLayer",
            "name": "in",
            "config": {"name": "in", "batch_shape": [None, 4, 3, 2]},
            "inbound_nodes": [],
        }
    ]
    for layer, taken in zip(old, ("in", "a/conv", "flat")):
        node = [[[taken, 0, 0, {}]]]
        if taken == "flat":
            node = [{"args": [value], "kwargs": options}] if keras == 3 else [[[taken, 0, 0, options]]]
        layers.append({**layer, "name": layer["config"]["name"], "inbound_nodes": node})
    return {"class_name": "Functional", "config": {
        "name": "f", "layers": layers, "input_layers": [["in", 0, 0]], "output_layers": [["dense", 0, 0]]}}  # fmt: skip


@pytest.mark.parametrize("keras", [2, 3])
def test_options_of_a_single_call_are_refused_unless_they_say_nothing(keras: int, tmp_path: Path) -> None:
    read(write_h5(tmp_path / "net.h5", ARRAYS, called_with(keras, {"mask": None, "training": False})))
    for options in ({"training": True}, {"mask": {"class_name": "__keras_tensor__"}}, {"initial_state": [0]}):
        with pytest.raises(
            ModelError, match=f"layer 'dense' is called with options of its own .*{next(iter(options))}"
        ):
            read(write_h5(tmp_path / "net.h5", ARRAYS, called_with(keras, options)))


def test_other_files_are_not_followed(tmp_path: Path) -> None:
    """An HDF5 file can name any file of the machine as its content."""
    (tmp_path / "secret.bin").write_bytes(DENSE.tobytes())
    arrays = {"a/conv": ARRAYS["a/conv"], "dense": {"bias": ARRAYS["dense"]["bias"]}}
    path = write_h5(tmp_path / "net.h5", arrays, OLD_CONFIG)
    with h5py.File(path, "a") as file:
        group = file["model_weights/dense"]
        group.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        group.create_dataset(
            "dense/kernel:0", DENSE.shape, "f4", external=[(str(tmp_path / "secret.bin"), 0, DENSE.nbytes)]
        )
    with pytest.raises(FormatError, match="lies in another file"):
        read(path)
    with h5py.File(path, "a") as file:
        del file["model_weights/dense/dense/kernel:0"]
        file["model_weights/dense/dense/kernel:0"] = h5py.ExternalLink("elsewhere.h5", "/x")
    with pytest.raises(FormatError, match="leads to another file"):
        read(path)


def test_announced_sizes_are_not_believed(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "net.h5", {"a/conv": ARRAYS["a/conv"]}, changed(units=1 << 24))
    with h5py.File(path, "a") as file:
        group = file.create_group("model_weights/dense")
        group.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        group.create_dataset("dense/kernel:0", (24, 1 << 24), "f4", chunks=(1, 1024))
        group.create_dataset("dense/bias:0", (1 << 24,), "f4", chunks=(1024,))
    with pytest.raises(FormatError, match=r"announces [0-9,]+ bytes and has 0"):
        read(path)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(200 << 20))
    (tmp_path / "bomb.keras").write_bytes(bomb.getvalue())
    with pytest.raises(FormatError, match="announces 209,715,200 bytes"):
        read(tmp_path / "bomb.keras")


def test_what_is_wrong_with_files_is_said(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(json.dumps(OLD_CONFIG))
    with pytest.raises(ModelError, match=r"without weights.*--weights"):
        read(tmp_path / "net.json")
    with pytest.raises(ModelError, match="weights without the network"):
        read(write_h5(tmp_path / "w.h5", ARRAYS))
    (tmp_path / "x.h5").write_bytes(b"nonsense")
    with pytest.raises(FormatError, match="no model of Keras"):
        read(tmp_path / "x.h5")
    cut = write_h5(tmp_path / "cut.h5", ARRAYS, OLD_CONFIG).read_bytes()
    (tmp_path / "cut.h5").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(FormatError, match="damaged HDF5"):
        read(tmp_path / "cut.h5")


def test_a_file_that_keeps_its_reader_busy_for_ever_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some damaged files do with libhdf5, in C, where Python cannot stop it."""
    from firesteel.models.importers.keras import files

    (tmp_path / "busy.py").write_text("while True: pass")
    monkeypatch.setattr(files, "_PROGRAM", tmp_path / "busy.py")
    monkeypatch.setattr(files, "_SECONDS", 1)
    with pytest.raises(FormatError, match="did not end within 1 s"):
        read(write_h5(tmp_path / "net.h5", ARRAYS, OLD_CONFIG))


def test_a_resnet_of_keras_2_is_right_for_8719_pictures_of_cifar10_as_in_keras() -> None:
    from PIL import Image

    imported = read(real_data("models/keras-cifar10-resnet8") / "pretrainedResnet.h5")
    right = 0
    with zipfile.ZipFile(real_data("cifar10") / "cifar10-png-test.zip") as archive:
        files = sorted(name for name in archive.namelist() if name.endswith(".png"))
        classes = sorted({name.split("/")[-2] for name in files})
        for first in range(0, len(files), 1000):
            part = files[first : first + 1000]
            pixels = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in part])
            found = outputs(imported, channels_first(pixels.astype(np.float32))).argmax(1)
            right += int((found == [classes.index(name.split("/")[-2]) for name in part]).sum())
    assert right == 8719
    assert len(imported.matching.matched) == 18 + 28 + 2
    assert "the optimizer's state is not read" in imported.notes
