"""``firesteel import`` and ``firesteel.import_model``: model folders of foreign files, and what is said of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import firesteel
from firesteel.errors import ConfigError, FormatError, ModelError, RunError, StorageError
from firesteel.models.description import load_model, read_description
from firesteel.storage import Place
from tests.cli.test_cli import firesteel as command
from tests.cli.test_cli import refused

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"the real data is not at {DATA}")


class LeNet5(nn.Module):
    """The network of the LeNet-5 state dict that is in circulation."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.convnet = nn.Sequential()
        for name, layer in (
            ("c1", nn.Conv2d(1, 6, 5)), ("relu1", nn.ReLU()), ("s2", nn.MaxPool2d(2)), ("c3", nn.Conv2d(6, 16, 5)),
            ("relu3", nn.ReLU()), ("s4", nn.MaxPool2d(2)), ("c5", nn.Conv2d(16, 120, 5)), ("relu5", nn.ReLU()),
        ):  # fmt: skip
            self.convnet.add_module(name, layer)
        self.fc = nn.Sequential()
        for name, layer in (("f6", nn.Linear(120, 84)), ("relu6", nn.ReLU()), ("f7", nn.Linear(84, num_classes))):
            self.fc.add_module(name, layer)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.fc(self.convnet(features).flatten(1))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of the zoo's mlp for 3x4x4 and 5 classes."""
    from firesteel.models.mlp import Mlp

    torch.manual_seed(0)
    torch.save({"state_dict": Mlp((3, 4, 4), 5, hidden=(6,)).state_dict()}, tmp_path / "w.pt")
    return tmp_path / "w.pt"


def test_weights_into_a_network_of_the_zoo(weights: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9), (200, 100, 0)).save(tmp_path / "p.png")
    done = command(
        "import", weights, tmp_path / "m", "--into", "mlp:hidden=[6]", "--input-shape", "3x4x4", "--scale", 0.5,
        "--mean", "10,20,30", "--channel-order", "bgr", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["classes"] == 5
    assert len(result["matched"]) == 4
    assert result["notes"] == ["the weights were found under 'state_dict'"]
    description = read_description(Place.of(tmp_path / "m"))
    assert description.normalization.mean == [15.0, 10.0, 5.0]  # of red, green and blue, after scaling
    batch = torch.tensor([200.0, 100.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    seen = description.normalizer(torch.device("cpu"))(batch)
    assert seen[0, :, 0, 0].tolist() == [(0 - 10) * 0.5, (100 - 20) * 0.5, (200 - 30) * 0.5]
    shown = command("predict", tmp_path / "m", tmp_path / "p.png", "--json")
    assert json.loads(shown.stdout), shown.stderr


def test_what_is_printed(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\ndog\nelk\n")
    done = command(
        "import",
        weights,
        tmp_path / "m",
        "--into",
        "mlp:hidden=[6]",
        "--size",
        "4x4",
        "--labels",
        tmp_path / "names.txt",
    )
    assert "matched    4 tensors" in done.stdout
    assert "classes    5: ant, bee, cat, dog, ..." in done.stdout
    assert "  note: the weights were found under 'state_dict'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "holds weights and not what the network computes"),
        (["--into", "mlp"], 2, "--into needs the shape of a row"),
        (["--into", "mlpp", "--size", "4x4"], 1, "there is no model 'mlpp'"),
        (["--into", "mlp", "--size", "4"], 2, "--size must be whole numbers"),
        (["--into", "mlp:hidden=[7]", "--size", "4x4"], 1, "has shape 6x48 in the file and 7x48 in the network"),
        (["--into", "mlp:hidden=[6,6]", "--size", "4x4"], 1, "in the file and 6x6 in the network"),
        (["--into", "mlp:hidden=[6]", "--size", "4x4", "--mean", "1,2"], 2, "mean has 2 numbers"),
        (["--into", "mlp:hidden=[6]", "--size", "4x4", "--scale", "0"], 2, "scale must be a number other than 0"),
        (["--into", "mlp:hidden=[6]", "--size", "4x4", "--channel-order", "brg"], 2, "must be rgb or bgr"),
        (
            ["--into", "mlp:hidden=[6]", "--input-shape", "1x48", "--channel-order", "bgr"],
            2,
            "needs pictures of 3 channels",
        ),
        (["--format", "onxx"], 2, "there is no format 'onxx'"),
        (["--no-match-all"], 2, "goes with --into or --prototxt"),
        (["--prototxt", "x"], 2, "--prototxt is for caffe"),
        (["--into", "mlp", "--size", "4x4", "--output", "x"], 2, "--output is for caffe, onnx and tensorflow"),
    ],
)
def test_wrong_use_is_explained(weights: Path, tmp_path: Path, arguments: list[str], status: int, message: str) -> None:
    done = command("import", weights, tmp_path / "m", *arguments)
    assert message in refused(done, status)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("n.onnx", {"output": "y", "into": "mlp"}, "--output does not go with --into"),
        ("n.caffemodel", {"output": "y", "into": "mlp"}, "--output does not go with --into"),
        ("n.caffemodel", {"prototxt": "p", "into": "mlp"}, "--prototxt does not go with --into"),
        ("n.onnx", {"classes": 3}, "--classes goes with --into"),
        ("n.h5", {"weights": "w.h5"}, r"--weights belongs to a network in JSON; n\.h5 is none"),
        ("n.keras", {"weights": "w.h5"}, r"--weights belongs to a network in JSON; n\.keras is none"),
    ],
)
def test_options_that_nothing_would_be_done_with_are_refused(
    name: str, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04" if name.endswith("keras") else b"\x89HDF")
    with pytest.raises(ConfigError, match=message):
        firesteel.import_model(tmp_path / name, tmp_path / "m", input_shape=(3, 4, 4), **options)


def test_folders_and_files(weights: Path, tmp_path: Path) -> None:
    options = {"into": "mlp:hidden=[6]", "input_shape": (3, 4, 4)}
    firesteel.import_model(weights, tmp_path / "m", **options)
    with pytest.raises(RunError, match=r"holds a model.*overwrite"):
        firesteel.import_model(weights, tmp_path / "m", **options)
    firesteel.import_model(weights, tmp_path / "m", overwrite=True, **options)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    with pytest.raises(RunError, match="not empty and holds no model"):
        firesteel.import_model(weights, tmp_path / "other", overwrite=True, **options)
    with pytest.raises(StorageError, match="there is no file"):
        firesteel.import_model(tmp_path / "none.pt", tmp_path / "n", **options)
    (tmp_path / "what").write_bytes(b"something else")
    with pytest.raises(ConfigError, match="cannot tell the format"):
        firesteel.import_model(tmp_path / "what", tmp_path / "n", **options)
    with pytest.raises(FormatError):
        firesteel.import_model(tmp_path / "what", tmp_path / "n", format="torch", **options)


def test_labels(weights: Path, tmp_path: Path) -> None:
    options = {"into": "mlp:hidden=[6]", "input_shape": (3, 4, 4), "overwrite": True}
    index = tmp_path / "index.json"
    index.write_text(json.dumps({str(n): [f"n{n}", name] for n, name in enumerate(["a", "crane", "b", "crane", "c"])}))
    assert firesteel.import_model(weights, tmp_path / "m", labels=index, **options).labels == [
        "a", "crane", "b", "crane 2", "c"
    ]  # fmt: skip
    for content, message in (
        ("[1, 2", "holds no labels"),
        ('{"0": "a", "2": "b"}', "holds no labels"),
        ("\n", "holds no labels"),
    ):
        index.write_text(content)
        with pytest.raises(FormatError, match=message):
            firesteel.import_model(weights, tmp_path / "m", labels=index, **options)
    with pytest.raises(ModelError, match="5x6 in the file and 2x6 in the network"):
        firesteel.import_model(weights, tmp_path / "m", labels=["x", "y"], **options)
    with pytest.raises(ConfigError, match="classes says 3, and there are 2 labels"):
        firesteel.import_model(weights, tmp_path / "m", labels=["x", "y"], classes=3, **options)


def mnist_test() -> tuple[np.ndarray, np.ndarray]:
    pictures = gzip.decompress((DATA / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((DATA / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    return np.frombuffer(pictures, np.uint8).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8)


def correct(folder: Path, pictures: np.ndarray, labels: np.ndarray) -> int:
    """Right answers of a model folder on raw pictures (N, C, H, W)."""
    place = Place.of(folder)
    description = read_description(place)
    network, normalize = load_model(place, description), description.normalizer(torch.device("cpu"))
    with torch.no_grad():
        logits = torch.cat([network(normalize(part)) for part in torch.from_numpy(pictures.copy()).split(1000)])
    return int((logits.argmax(1).numpy() == labels).sum())


@needs_data
def test_the_mnist_network_of_onnx_is_right_as_often_as_in_its_own_runtime(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    firesteel.import_model(DATA / "models" / "onnx-mnist" / "mnist-8.onnx", tmp_path / "m")
    pictures, labels = mnist_test()
    assert correct(tmp_path / "m", pictures[:, None], labels) == 9891


@needs_data
def test_lenet5_in_the_old_format_of_torch_is_right_as_often_as_published(tmp_path: Path) -> None:
    firesteel.import_model(
        DATA / "models" / "torch-lenet-mnist" / "lenet_epoch12_acc0.991.pth", tmp_path / "m",
        into="tests.cli.test_import:LeNet5", input_shape=(1, 32, 32), scale=1 / 255,
    )  # fmt: skip
    pictures, labels = mnist_test()
    resized = np.stack(
        [np.asarray(Image.fromarray(each).resize((32, 32), Image.Resampling.BILINEAR)) for each in pictures]
    )
    assert correct(tmp_path / "m", resized[:, None], labels) == 9907


@needs_data
def test_squeezenet_of_onnx_gives_what_onnxruntime_gives_on_real_pictures(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime, which results are compared with, is not installed")
    import io
    import zipfile

    source = DATA / "models" / "onnx-squeezenet-cifar10" / "squeezenet_cifar10.onnx"
    with zipfile.ZipFile(DATA / "cifar10" / "cifar10-png-test.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")][::50]
        pictures = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names])
    expected = ort.InferenceSession(str(source)).run(None, {"input_1": pictures.astype(np.float32) / 256})[0]
    firesteel.import_model(source, tmp_path / "m", scale=1 / 256)
    got = firesteel.Predictor(tmp_path / "m").probabilities(pictures.transpose(0, 3, 1, 2))
    assert np.abs(got - expected).max() <= 1e-4
    assert (got.argmax(1) == expected.argmax(1)).all()
