"""Exported files, read by what others read them with, give what the predictor gives."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import firesteel
from firesteel.cli.main import app
from firesteel.data.manifest import Feature, Statistics
from firesteel.errors import ConfigError, DataError, FiresteelError, ModelError
from firesteel.inference.exporters.checking import compare
from firesteel.inference.exporters.network import WholeNetwork
from firesteel.inference.exporters.rows import Rows, random_rows, rows_of
from firesteel.models import build_model, resolve_model
from firesteel.models.description import ModelDescription, load_model, read_description, save_model
from firesteel.specs import Spec
from firesteel.storage import Place
from tests.conftest import picture

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

LABELS = ["dark", "grey", "white"]
SUFFIX = {"onnx": ".onnx", "torchscript": ".pt", "torch-export": ".pt2", "safetensors": ".safetensors"}


def write(place: Path, spec: str, shape: tuple[int, ...] = (3, 16, 16)) -> Path:
    """An untrained network; channels are scaled so differently that their order matters."""
    source = resolve_model(spec)
    network = build_model(source, input_shape=shape, num_classes=3, seed=0)
    channels = {1: slice(1), 3: slice(3)}[shape[0]]
    scaling = Statistics(mean=[0.1, 0.5, 0.9][channels], std=[0.2, 0.4, 1.6][channels], scale=1 / 255)
    description = ModelDescription(
        model=source.spec, feature=Feature(dtype="uint8", shape=shape), normalization=scaling, labels=LABELS, parameters=1,
        channel_order="rgb" if shape[0] == 1 else "bgr",
    )  # fmt: skip
    save_model(Place.of(place), network, description)
    return place


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model"), "cnn:maps=[4,6],dense=[8]")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16)).astype(np.uint8)


def run_onnx(path: Path, rows: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": rows})[0]


def run(path: Path, rows: np.ndarray) -> np.ndarray:
    if path.suffix == ".onnx":
        return run_onnx(path, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(str(path)) if path.suffix == ".pt" else torch.export.load(str(path)).module()
    with torch.no_grad():
        return module(torch.from_numpy(rows)).numpy()


@pytest.mark.parametrize("to", ["onnx", "torchscript", "torch-export"])
def test_raw_pixels_go_in_and_probabilities_come_out(to: str, model: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"net{SUFFIX[to]}"
    found = firesteel.export_model(model, path, to=to)
    for rows in (1, 2, 5):
        expected = firesteel.Predictor(model).probabilities(pixels[:rows])
        np.testing.assert_allclose(run(path, pixels[:rows].astype(np.float32)), expected, atol=1e-5)
    assert found.check.agreement == 1.0
    assert any("rows without meaning" in note for note in found.notes)


def test_safetensors_hold_the_weights_by_name(model: Path, tmp_path: Path) -> None:
    firesteel.export_model(model, tmp_path / "net.safetensors", to="safetensors")
    network = load_model(Place.of(model), read_description(Place.of(model)))
    state = safetensors.torch.load_file(tmp_path / "net.safetensors")
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("to", ["onnx", "torch-export"])
def test_bytes_as_they_are_decoded_may_go_in(to: str, model: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"net{SUFFIX[to]}"
    firesteel.export_model(model, path, to=to, input_dtype="uint8", output="logits")
    logits = torch.from_numpy(run(path, pixels))
    assert float(logits.sum(1).sub(1).abs().max()) > 0.01  # no probabilities
    np.testing.assert_allclose(logits.softmax(1).numpy(), firesteel.Predictor(model).probabilities(pixels), atol=1e-5)


def test_without_preprocessing_the_network_takes_what_it_was_trained_on(
    model: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    firesteel.export_model(model, tmp_path / "net.onnx", to="onnx", preprocessing=False)
    normal = read_description(Place.of(model)).normalizer(torch.device("cpu"))(torch.from_numpy(pixels)).numpy()
    expected = firesteel.Predictor(model).probabilities(pixels)
    np.testing.assert_allclose(run_onnx(tmp_path / "net.onnx", normal), expected, atol=1e-5)


def test_the_file_and_what_lies_beside_it_say_what_goes_in(model: Path, tmp_path: Path) -> None:
    import onnx

    firesteel.export_model(model, tmp_path / "net.onnx", to="onnx", opset=19)
    proto = onnx.load(tmp_path / "net.onnx")
    held = {each.key: each.value for each in proto.metadata_props}
    beside = json.loads((tmp_path / "net.onnx.json").read_text())
    assert json.loads(held["labels"]) == beside["labels"] == LABELS
    assert (tmp_path / "net.onnx.labels.txt").read_text().split() == LABELS
    about = json.loads(held["firesteel"])
    assert about["input"] == beside["input"]
    assert about["input"]["shape"] == ["rows", 3, 16, 16]
    assert about["normalization"]["channel_order"] == "bgr"
    assert proto.opset_import[0].version == 19
    assert not any(
        node.metadata_props or node.doc_string for node in proto.graph.node
    )  # torch notes source files there
    assert str(Path(torch.__file__).parent).encode() not in (tmp_path / "net.onnx").read_bytes()
    firesteel.export_model(model, tmp_path / "net.pt", to="torchscript")
    inside = {"firesteel.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(tmp_path / "net.pt", _extra_files=inside)
    assert json.loads(inside["firesteel.json"])["labels"] == LABELS


@pytest.mark.parametrize("spec", ["cnn:maps=[4,6],dense=[8]", "resnet20", "squeezenet", "vit:layers=1,dim=16"])
def test_exported_and_imported_again_it_predicts_the_same(spec: str, tmp_path: Path) -> None:
    size = (3, 64, 64) if spec == "squeezenet" else (3, 32, 32)
    model = write(tmp_path / "model", spec, size)
    firesteel.export_model(model, tmp_path / "net.onnx", to="onnx")
    firesteel.import_model(tmp_path / "net.onnx", tmp_path / "again")
    rows = np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.uint8)
    again = firesteel.Predictor(tmp_path / "again")
    assert again.labels == LABELS
    expected = firesteel.Predictor(model).probabilities(rows)
    np.testing.assert_allclose(again.probabilities(rows), expected, atol=1e-4)


def test_a_number_of_rows_in_the_code_is_no_number_in_the_file(tmp_path: Path) -> None:
    """A vision transformer repeats its class token ``len(features)`` times; a trace of TorchScript cannot know that."""
    model = write(tmp_path / "model", "vit:layers=1,dim=8,heads=2,mlp_dim=8", (3, 8, 8))
    found = firesteel.export_model(model, tmp_path / "net.pt2", to="torch-export")
    assert found.notes[0].startswith("written as a graph of its layers, since tracing failed")
    rows = np.random.default_rng(0).integers(0, 256, (7, 3, 8, 8)).astype(np.uint8)
    expected = firesteel.Predictor(model).probabilities(rows)
    np.testing.assert_allclose(run(tmp_path / "net.pt2", rows.astype(np.float32)), expected, atol=1e-5)
    with pytest.raises(ModelError, match="the exported file cannot take 1 rows"):
        firesteel.export_model(model, tmp_path / "net.pt", to="torchscript")
    assert not (tmp_path / "net.pt").exists()


class Moody(nn.Module):
    """Does something else with bright pictures, which a trace of a dark one does not see."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int):
        super().__init__()
        self.fc = nn.Linear(int(np.prod(input_shape)), num_classes)

    def forward(self, features: Tensor) -> Tensor:
        result = self.fc(features.flatten(1))
        return result if features.mean() > 0.5 else -result


@pytest.fixture
def moody(tmp_path: Path) -> Path:
    network = Moody((3, 16, 16), 3)
    description = ModelDescription(
        model=Spec(name="tests.inference.exporters.test_exports:Moody"), feature=Feature(dtype="uint8", shape=(3, 16, 16)),
        normalization=Statistics(mean=[0.0] * 3, std=[1.0] * 3, scale=1 / 255), labels=LABELS, parameters=1,
    )  # fmt: skip
    save_model(Place.of(tmp_path / "moody"), network, description)
    return tmp_path / "moody"


@pytest.mark.parametrize("to", ["onnx", "torchscript", "torch-export"])
def test_a_file_that_computes_something_else_is_not_written(to: str, moody: Path, tmp_path: Path) -> None:
    for number, value in enumerate((10, 240, 20, 250)):
        (tmp_path / f"{number}.png").write_bytes(picture(value, (16, 16), format="PNG"))
    path = tmp_path / f"net{SUFFIX[to]}"
    path.write_text("the one before")
    files = sorted(tmp_path.glob("*.png"))
    message = "gives other results than the network" if to == "torchscript" else "cannot be exported as"
    with pytest.raises(ModelError, match=message) as caught:
        firesteel.export_model(moody, path, to=to, check=files, overwrite=True)
    assert len(str(caught.value).splitlines()) <= 4
    assert path.read_text() == "the one before"
    assert sorted(each.name for each in tmp_path.iterdir()) == [*(f"{n}.png" for n in range(4)), "moody", path.name]


@pytest.fixture
def trained(image_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    data, run = tmp_path / "data", tmp_path / "run"
    firesteel.prepare(image_folder, data, engine="local", workers=1, size=(16, 16))
    firesteel.train(data, run, engine="local", model="cnn:maps=[8,8],dense=[64]", epochs=4, batch_size=16, threads=1)
    return data, run


def test_int8_says_what_it_loses(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = trained
    plain = firesteel.export_model(run, tmp_path / "net.onnx", to="onnx", check=data)
    small = firesteel.export_model(run, tmp_path / "int8.onnx", to="onnx", quantize="int8", check=data)
    assert plain.check.accuracy == firesteel.evaluate(run, data).accuracy
    assert small.quantized is not None
    assert small.bytes == (tmp_path / "int8.onnx").stat().st_size == small.quantized.bytes < plain.bytes
    assert "split train" in small.quantized.calibration
    assert "split test" in small.quantized.check.origin
    assert small.quantized.milliseconds > 0
    rows = rows_of([data], read_description(Place.of(run / "model")), 12, splits=("test",))
    assert rows.labels is not None
    found = run_onnx(tmp_path / "int8.onnx", rows.values.astype(np.float32)).argmax(1)
    assert (found == rows.labels).mean() == small.quantized.check.exported_accuracy
    beside = json.loads((tmp_path / "int8.onnx.json").read_text())
    assert beside["quantization"]["type"] == "int8"
    assert beside["quantized"]["check"]["accuracy"] == plain.check.accuracy


def test_rows_are_taken_from_every_shard(image_folder: Path, tmp_path: Path) -> None:
    firesteel.prepare(image_folder, tmp_path / "data", engine="local", workers=1, size=(16, 16), shard_bytes=4096)
    place = write(tmp_path / "model", "mlp", (3, 16, 16))
    description = read_description(Place.of(place))
    rows = rows_of([tmp_path / "data"], description, 20, splits=("none", "train"))
    assert (len(rows), rows.origin.split(" of ")[1]) == (20, "split train")
    assert rows.labels is not None
    assert set(rows.labels) == {0, 1, 2}
    assert len(rows_of([tmp_path / "data"], description, 10_000, splits=("train",))) == 48
    with pytest.raises(ConfigError, match="one prepared dataset, or pictures"):
        rows_of([tmp_path / "data", "a.png"], description, 5, splits=())
    with pytest.raises(DataError, match=r"First problem: gone\.png: there is no such file"):
        rows_of(["gone.png"], description, 5, splits=())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"to": "onx"},
            "to must be one of onnx, torchscript, torch-export, safetensors, got 'onx'. Did you mean 'onnx'",
        ),
        ({"to": "onnx", "output": "classes"}, "output must be one of probabilities, logits"),
        ({"to": "onnx", "opset": 9}, "opset is for onnx, 18 to 23; got 9 for onnx"),
        ({"to": "torchscript", "opset": 18}, "got 18 for torchscript"),
        ({"to": "onnx", "input_dtype": "int64"}, "input_dtype must be one of float32, uint8"),
        ({"to": "onnx", "input_dtype": "uint8", "preprocessing": False}, "needs the preprocessing inside"),
        ({"to": "torchscript", "quantize": "int8", "check": "x"}, "quantize is for onnx"),
        ({"to": "onnx", "quantize": "int4", "check": "x"}, "quantize must be one of int8"),
        ({"to": "onnx", "quantize": "int8"}, "needs real rows"),
        ({"to": "onnx", "calibrate": "x"}, "calibrate goes with quantize"),
        ({"to": "onnx", "check_rows": 0}, "check_rows must be at least 1"),
        ({"to": "safetensors", "output": "logits"}, "safetensors holds weights only"),
        ({"to": "safetensors", "preprocessing": False}, "safetensors holds weights only"),
        ({"to": "safetensors", "input_dtype": "uint8"}, "safetensors holds weights only"),
        ({"to": "torch-export"}, r"a file of torch-export is called NAME.pt2, got .*net.onnx"),
        ({"to": "onnx", "check": "nothing.png"}, "no picture that can be read"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(FiresteelError, match=message):
        firesteel.export_model(model, tmp_path / "net.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_numbers_are_not_cut_to_bytes(tmp_path: Path) -> None:
    model = write(tmp_path / "model", "mlp", (1, 4, 4))
    described = json.loads((model / "model.json").read_text())
    described["feature"]["dtype"] = "float32"
    (model / "model.json").write_text(json.dumps(described))
    with pytest.raises(ConfigError, match="input_dtype uint8 is for models of pictures; this one takes float32"):
        firesteel.export_model(model, tmp_path / "net.onnx", to="onnx", input_dtype="uint8")


def test_what_lies_beside_is_not_written_over(model: Path, tmp_path: Path) -> None:
    (tmp_path / "net.pt2.labels.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"net\.pt2\.labels\.txt is there already"):
        firesteel.export_model(model, tmp_path / "net.pt2", to="torch-export")
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2.labels.txt"]


def test_few_rows_are_tried_in_batches_of_every_size(model: Path) -> None:
    """A file made for one number of rows shall be found out with one picture, too."""
    description = read_description(Place.of(model))
    network = WholeNetwork(load_model(Place.of(model), description), description, output="logits", preprocessing=True)
    sizes = []

    def run(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        with torch.no_grad():
            return network(torch.from_numpy(batch)).numpy()

    rows = random_rows(description)
    check = compare(network, run, Rows(rows.values[:1], np.array([0]), "one"), "float32")
    assert (sizes, check.rows, check.difference, check.agreement) == ([1, 2, 32], 1, 0.0, 1.0)
    sizes.clear()
    compare(network, run, rows, "float32")
    assert sizes == [1, 2, 32, 29]


def test_the_command_prints_the_same_and_keeps_a_file_that_is_there(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(5, (16, 16), format="PNG"))
    arguments = [
        "export",
        str(model),
        str(tmp_path / "net.pt2"),
        "--to",
        "torch-export",
        "--check",
        str(tmp_path / "a.png"),
    ]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["format"], found["check"]["origin"]) == (0, "torch-export", "1 pictures")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "is there already" in done.stderr
    done = CliRunner().invoke(app, [*arguments, "--overwrite"])
    assert "same class for 100.00%" in done.stdout
