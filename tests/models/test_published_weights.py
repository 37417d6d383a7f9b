"""Published weights find their layers by name: state dicts as torchvision's, and real files of trained networks."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from firesteel.models import build_model, resolve_model
from tests.conftest import real_data

STATE_DICTS = json.loads((Path(__file__).parent / "torchvision_state_dicts.json").read_text())
"""Network -> "NAME SHAPE" of each tensor, in order: of torchvision 0.29's networks for 1,000 classes, listed with
``[f"{name} {'x'.join(map(str, t.shape))}" for name, t in torchvision.models.NAME().state_dict().items()]``."""


@pytest.mark.parametrize("spec", STATE_DICTS)
def test_state_dicts_are_those_of_torchvision(spec: str) -> None:
    with torch.device("meta"):
        network = build_model(resolve_model(spec), input_shape=(3, 224, 224), num_classes=1000)
    ours = [f"{name} {'x'.join(map(str, tensor.shape))}" for name, tensor in network.state_dict().items()]
    assert ours == STATE_DICTS[spec]


def test_names_of_the_small_residual_networks_are_those_in_use() -> None:
    network = build_model(resolve_model("resnet20"), input_shape=(3, 32, 32), num_classes=10)
    names = [name for name, _ in network.named_parameters()]
    assert names[:7] == [
        "conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias",
        "layer1.0.conv2.weight",
    ]  # fmt: skip
    assert names[-2:] == ["linear.weight", "linear.bias"]
    assert not [name for name in names if "shortcut" in name or "downsample" in name]


def test_shortcuts_of_option_a_keep_every_second_pixel_and_add_zeros() -> None:
    network = build_model(resolve_model("resnet20"), input_shape=(3, 8, 8), num_classes=10).eval()
    block = network.get_submodule("layer2.0")
    for norm in (block.bn1, block.bn2):
        torch.nn.init.zeros_(norm.weight)  # the convolutions add nothing
    maps = torch.rand(2, 16, 6, 6)
    expected = torch.cat([torch.zeros(2, 8, 3, 3), maps[:, :, ::2, ::2], torch.zeros(2, 8, 3, 3)], dim=1)
    torch.testing.assert_close(block(maps), expected)


def test_a_published_lenet_loads_by_name_and_reads_digits() -> None:
    """A state dict of someone else's; its author measured 0.991 on the MNIST test set."""
    path = real_data("models") / "torch-lenet-mnist" / "lenet_epoch12_acc0.991.pth"
    images, labels = _mnist_test(2_000)
    network = build_model(resolve_model("lenet:variant=lenet5"), input_shape=(1, 32, 32), num_classes=10).eval()
    network.load_state_dict(torch.load(path, weights_only=True))
    with torch.no_grad():
        predicted = network(F.interpolate(images, (32, 32), mode="bilinear")).argmax(1)
    assert (predicted == labels).float().mean() > 0.975  # the first 2,000 digits are harder than the rest


def _mnist_test(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    folder = real_data("mnist")
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        images = torch.frombuffer(bytearray(file.read()[16:]), dtype=torch.uint8).reshape(-1, 1, 28, 28)
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        labels = torch.frombuffer(bytearray(file.read()[8:]), dtype=torch.uint8)
    return images[:rows] / 255, labels[:rows].long()
