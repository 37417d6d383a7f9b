"""Networks of Caffe against what OpenCV computes with the same files, and against mathematics where it has no such layer."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from firesteel.errors import FormatError, ModelError
from firesteel.models.importers.base import Imported
from firesteel.models.importers.caffe import read_caffe
from firesteel.models.importers.caffe.assembly import BATCH
from firesteel.models.importers.caffe.prototxt import parse_prototxt
from firesteel.models.importers.caffe.shapes import output_shapes
from firesteel.storage import Place
from tests.conftest import real_data
from tests.models.importers.caffe.files import encode, field, vgg16_prototxt, write_weights
from tests.models.importers.caffe.nets import NETS, RECORDED, SmallNet

REFERENCE = np.load(RECORDED)


def read(weights: Path, text: Path | None = None, **options: object) -> Imported:
    return read_caffe(Place.of(weights), prototxt=None if text is None else Place.of(text), **options)  # type: ignore[arg-type]


def outputs(imported: Imported, rows: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return imported.network(torch.from_numpy(rows)).numpy()


@pytest.mark.parametrize("name", [name for name in NETS if name in REFERENCE])
def test_networks_compute_what_opencv_computes(name: str, tmp_path: Path) -> None:
    net = NETS[name]
    imported = read(*net.write(tmp_path))
    found, wanted = outputs(imported, net.rows()), REFERENCE[name]
    np.testing.assert_allclose(found, wanted.reshape(len(wanted), -1), rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    assert imported.matching.initial == imported.matching.unused == ()


def windows_of_channels(x: np.ndarray) -> np.ndarray:
    """Sums over three channels around each."""
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]


ALONE: dict[str, Callable[[SmallNet, np.ndarray], np.ndarray]] = {
    "bias": lambda net, x: x + net.weights()["l1"][0].reshape(4, 1, 1),
    "tile": lambda net, x: np.tile(x, (1, 3, 1, 1)),
    "lrn-k": lambda net, x: x / (2 + 0.5 / 3 * windows_of_channels(x * x)) ** 0.75,
    "log": lambda net, x: np.log10(1 + 2 * x),
    "reduction-sum": lambda net, x: 0.5 * x.sum((1, 2, 3)),
}
"""Layers that OpenCV does not have, as caffe.proto describes them."""


@pytest.mark.parametrize("name", [name for name in NETS if name not in REFERENCE])
def test_what_opencv_lacks_is_done_as_caffe_documents_it(name: str, tmp_path: Path) -> None:
    net = NETS[name]
    wanted = ALONE[name](net, net.rows())
    np.testing.assert_allclose(outputs(read(*net.write(tmp_path)), net.rows()), wanted.reshape(2, -1), rtol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_shapes_are_worked_out_as_torch_computes_them(name: str, tmp_path: Path) -> None:
    network = read(*NETS[name].write(tmp_path)).network
    shapes: list[tuple[nn.Module, list[tuple[int, ...]], list[tuple[int, ...]]]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], given: Tensor | tuple[Tensor, ...]) -> None:
        outs = given if isinstance(given, tuple) else (given,)
        shapes.append((module, [tuple(x.shape) for x in inputs], [tuple(y.shape) for y in outs]))

    for step in network.steps:
        network.get_submodule(step.layer).register_forward_hook(note)
    network(torch.from_numpy(np.resize(NETS[name].rows(), (BATCH, *NETS[name].rows().shape[1:]))))
    for module, inputs, given in shapes:
        assert output_shapes(module, inputs) == given, module


@pytest.mark.parametrize("style", ["packed", "old", "tagged", "double"])
def test_blobs_of_all_times_are_read(style: str, tmp_path: Path) -> None:
    net = NETS["inner-product"]
    imported = read(*net.write(tmp_path, style))
    np.testing.assert_allclose(outputs(imported, net.rows()), REFERENCE["inner-product"], rtol=1e-4, atol=1e-5)
    assert imported.matching.reshaped == (
        {"l1.weight": "1x1x5x168 -> 5x168", "l1.bias": "1x1x1x5 -> 5"} if style == "old" else {}
    )


def test_networks_train_with_any_batch(tmp_path: Path) -> None:
    imported = read(*NETS["batch-norm-scale"].write(tmp_path))
    network = imported.network.train()
    network(torch.randn(5, *imported.input_shape)).square().sum().backward()
    assert isinstance(network.l1, nn.BatchNorm2d)
    assert {name for name, p in network.named_parameters() if p.grad is not None} == {"l1.weight", "l1.bias"}


DEPLOY = """
name: "two" # a comment
input: 'data' input_shape { dim: 10 dim: 1 dim: 4 dim: 4 }
layer { name: "group/conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: [3] weight_filler < type: "xavier" > } }
layer { name: "group/relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc8" type: "InnerProduct" bottom: "conv" top: "fc8" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""
WEIGHTS = {
    "group/conv": [np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3), np.ones(2, np.float32)],
    "fc8": [np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8), np.zeros(3, np.float32)],
}
KINDS = {"group/conv": "Convolution", "fc8": "InnerProduct"}
OLD = """
layers { name: "data" type: DATA top: "data" top: "label" data_param { source: "x" batch_size: 3 }
  transform_param { scale: 0.5 mean_value: 104 crop_size: 4 } include: { phase: TRAIN } }
layers { name: "group/conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 2 kernel_size: 3 } }
layers { name: "group/relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "drop" type: DROPOUT bottom: "conv" top: "conv" include { phase: TRAIN } }
layers { name: "fc8" type: INNER_PRODUCT bottom: "conv" top: "fc8" inner_product_param { num_output: 3 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc8" bottom: "label" }
layers { name: "accuracy" type: ACCURACY bottom: "fc8" bottom: "label" top: "accuracy" include { phase: TEST } }
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "two.caffemodel", WEIGHTS, KINDS)


def written(folder: Path, text: str) -> Path:
    (folder / "net.prototxt").write_text(text)
    return folder / "net.prototxt"


def test_a_deploy_and_a_training_text_of_the_old_format_give_the_same_network(weights: Path, tmp_path: Path) -> None:
    new = read(weights, written(tmp_path, DEPLOY))
    old = read(weights, written(tmp_path, OLD), input_shape=(1, 4, 4))
    rows = np.random.default_rng(0).normal(size=(7, 1, 4, 4)).astype(np.float32)
    softmax = torch.from_numpy(outputs(old, rows)).softmax(1).numpy()
    np.testing.assert_allclose(outputs(new, rows), softmax, rtol=1e-6)
    assert list(new.network.state_dict()) == ["group.conv.weight", "group.conv.bias", "fc8.weight", "fc8.bias"]
    assert new.input_shape == (1, 4, 4)
    assert any("scale 0.5 and mean 104 and a crop of 4x4" in note for note in old.notes)
    assert any("loss, accuracy" in note for note in old.notes)


@pytest.mark.parametrize("text", [DEPLOY, OLD], ids=["layer", "layers"])
def test_a_caffemodel_with_its_structure_needs_no_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "whole.caffemodel").write_bytes(encode(parse_prototxt(text.encode(), "text"), WEIGHTS))
    imported = read(tmp_path / "whole.caffemodel", input_shape=(1, 4, 4))
    x = torch.randn(2, 1, 4, 4)
    conv = torch.relu(nn.functional.conv2d(x, *map(torch.from_numpy, WEIGHTS["group/conv"])))
    wanted = nn.functional.linear(conv.flatten(1), torch.from_numpy(WEIGHTS["fc8"][0]))
    torch.testing.assert_close(imported.network(x), wanted.softmax(1) if text is DEPLOY else wanted)


def test_the_loss_says_which_end_is_the_output(weights: Path, tmp_path: Path) -> None:
    text = DEPLOY.replace('layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }', "") + (
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss" }'
        'layer { name: "extra" type: "Power" bottom: "conv" top: "extra" }'
    )
    imported = read(weights, written(tmp_path, text))
    rows = np.zeros((2, 1, 4, 4), np.float32)
    assert outputs(imported, rows).shape == (2, 3)
    assert any("left out: extra" in note for note in imported.notes)
    extra = read(weights, written(tmp_path, text), output="extra", input_shape=(1, 3, 3))
    assert outputs(extra, rows[..., :3, :3]).shape == (2, 2)


def test_shared_weights_are_one_tensor(tmp_path: Path) -> None:
    def dense(name: str, bottom: str) -> str:
        return (
            f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}"'
            ' param { name: "w" } param { name: "b" } inner_product_param { num_output: 4 } }'
        )

    text = 'input: "data" input_shape { dim: 1 dim: 4 }' + dense("a", "data") + dense("b", "a")
    blobs = [np.eye(4, dtype=np.float32) * 2, np.ones(4, np.float32)]
    file = write_weights(tmp_path / "s.caffemodel", {"a": blobs}, {"a": "InnerProduct"})
    imported = read(file, written(tmp_path, text))
    assert imported.network.a.weight is imported.network.b.weight
    np.testing.assert_array_equal(outputs(imported, np.ones((1, 4), np.float32)), np.full((1, 4), 7.0))


class Given(nn.Module):
    """A network of the caller's own, with a head of another name."""

    def __init__(self, head: str = "fc8"):
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("group_conv", nn.Conv2d(1, 2, 3))
        self.add_module(head, nn.Linear(8, 3))
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.head)(torch.relu(self.features(x)).flatten(1))


def test_weights_go_into_a_given_network_by_the_names_of_layers(weights: Path) -> None:
    imported = read(weights, into=Given(), input_shape=(1, 4, 4))
    assert imported.matching.matched == (
        "features.group_conv.weight",
        "features.group_conv.bias",
        "fc8.weight",
        "fc8.bias",
    )
    np.testing.assert_array_equal(imported.network.fc8.weight.detach().numpy(), WEIGHTS["fc8"][0])


def test_a_renamed_head_keeps_its_initial_values_with_match_all_off(weights: Path, tmp_path: Path) -> None:
    network = Given("fc8_mine")
    before = network.fc8_mine.weight.detach().clone()
    with pytest.raises(ModelError, match="fc8_mine"):
        read(weights, into=network, input_shape=(1, 4, 4))
    found = read(weights, into=network, input_shape=(1, 4, 4), match_all=False).matching
    assert found.initial == ("fc8_mine.weight", "fc8_mine.bias")
    assert found.unused == ("fc8.weight", "fc8.bias")
    assert torch.equal(network.fc8_mine.weight, before)

    text = written(tmp_path, DEPLOY.replace('"fc8"', '"fc8_mine"').replace("num_output: 3 }", "num_output: 9 }"))
    with pytest.raises(ModelError, match=r"no weights for 2 tensors.*fc8_mine"):
        read(weights, text)
    built = read(weights, text, match_all=False)
    assert built.matching.initial == ("fc8_mine.weight", "fc8_mine.bias")
    assert built.matching.unused == ("fc8.weight", "fc8.bias")
    assert outputs(built, np.zeros((1, 1, 4, 4), np.float32)).shape == (1, 9)
    assert built.network.fc8_mine.weight.abs().sum() > 0


def test_batch_norm_and_scale_go_into_one_module(tmp_path: Path) -> None:
    net = NETS["batch-norm-scale"]
    file, _ = net.write(tmp_path)
    network = nn.Sequential()
    network.add_module("l1", nn.BatchNorm2d(4))
    network.add_module("end", nn.Flatten())
    read(file, into=network, input_shape=(4, 7, 6))
    wanted = REFERENCE["batch-norm-scale"]
    np.testing.assert_allclose(network(torch.from_numpy(net.rows())).detach().numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_a_dense_layer_becomes_the_convolution_that_a_network_has_in_its_place(tmp_path: Path) -> None:
    net = NETS["inner-product"]
    file, _ = net.write(tmp_path)
    network = nn.Sequential()
    network.add_module("l1", nn.Conv2d(4, 5, (7, 6)))
    found = read(file, into=network, input_shape=(4, 7, 6))
    assert found.matching.reshaped == {"l1.weight": "5x168 -> 5x4x7x6"}
    np.testing.assert_allclose(
        network(torch.from_numpy(net.rows())).detach().numpy()[:, :, 0, 0],
        REFERENCE["inner-product"],
        rtol=1e-4,
        atol=1e-5,
    )


def test_vgg16_has_its_138_million_parameters_and_takes_no_memory_for_it(tmp_path: Path) -> None:
    """Without weights its 138,357,544 numbers are asked for and refused; nothing is allocated before."""
    file = write_weights(
        tmp_path / "v.caffemodel", {"conv1_1": [np.zeros((64, 3, 3, 3)), np.zeros(64)]}, {"conv1_1": "Convolution"}
    )
    with pytest.raises(ModelError, match="no weights for 30 tensors"):
        read(file, written(tmp_path, vgg16_prototxt()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("num_output: 3", "num_output: 4"), "weight is 3x8 in the file and 4x8"),
        (('type: "ReLU"', 'type: "RelU"'), "no such type.*'ReLU'"),
        (("kernel_size: [3]", "kernel_sise: 3"), "line 5: ConvolutionParameter has no field 'kernel_sise'.*kernel_size"),
        (("kernel_size: [3]", 'kernel_size: "3"'), "whole number, got '3'"),
        (("kernel_size: [3]", "kernel_size: 9"), "does not fit into 4x4"),
        (("kernel_size: [3]", "kernel_size: 0"), "kernel_size must be from 1"),
        (("num_output: 2", "num_output: 4000000000"), "num_output must be from 1"),
        (('bottom: "fc8"', 'bottom: "fc9"'), "takes 'fc9', which no layer before it gives.*'fc8'"),
        (("dim: 4 dim: 4 }", "dim: 4 dim: 4"), "the file ends|name is needed|has no field"),
        (("dim: 4 dim: 4", "dim: 40000 dim: 40000"), "cannot have the shape"),
        (("# a comment", "\x07"), "has no meaning here"),
        (('top: "fc8"', 'top: "fc8" top: "more"'), "gives 1 values, and 2 tops are named"),
        (("input:", "input"), "':' or '{' is needed behind input"),
    ],
    ids=lambda value: value[1][:20] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_what_is_wrong_in_a_text_is_said(change: tuple[str, str], message: str, weights: Path, tmp_path: Path) -> None:
    assert change[0] in DEPLOY
    with pytest.raises(ModelError, match=f"(?s){message}") as caught:
        read(weights, written(tmp_path, DEPLOY.replace(*change, 1)))
    assert 1 <= len(str(caught.value).splitlines()) <= 4


def test_what_is_wrong_with_files_is_said(weights: Path, tmp_path: Path) -> None:
    text = written(tmp_path, DEPLOY)
    with pytest.raises(ModelError, match=r"is a text.*--prototxt"):
        read(text, text)
    with pytest.raises(ModelError, match="is no text"):
        read(weights, weights)
    with pytest.raises(ModelError, match="holds weights without the network"):
        read(weights)
    with pytest.raises(ModelError, match="does not say what its input"):
        read(weights, written(tmp_path, OLD))
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(FormatError, match="empty"):
        read(tmp_path / "empty", text)
    (tmp_path / "v0").write_bytes(field(2, field(1, field(1, "conv"))))
    with pytest.raises(ModelError, match=r"\(V0\)"):
        read(tmp_path / "v0", text)
    with pytest.raises(ModelError, match="input-shape"):
        read(weights, into=Given())


def mnist_test_set() -> tuple[np.ndarray, np.ndarray]:
    folder = real_data("mnist")
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=skip)
        for name, skip in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return images.reshape(-1, 1, 28, 28), labels


@pytest.mark.parametrize("text", ["lenet.prototxt", "lenet_train_test.prototxt", None])
def test_lenet_is_right_for_9905_pictures_of_mnist_as_in_opencv(text: str | None) -> None:
    folder = real_data("models/caffe-lenet-mnist")
    pictures, labels = mnist_test_set()
    path = None if text is None else folder / text
    imported = read(folder / "lenet_iter_10000.caffemodel", path, input_shape=(1, 28, 28))
    found = outputs(imported, pictures.astype(np.float32) * np.float32(0.00390625))
    assert (found.argmax(1) == labels).sum() == 9905
