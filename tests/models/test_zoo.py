"""The networks of the zoo: the sizes that their sources state, any input they promise, and equal results of layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from firesteel.errors import ConfigError
from firesteel.models import build_model, count_parameters, resolve_model
from firesteel.models.zoo import ENTRIES


def build(spec: str, shape: tuple[int, ...], num_classes: int) -> Any:
    return build_model(resolve_model(spec), input_shape=shape, num_classes=num_classes, seed=0)


def on_meta(spec: str, shape: tuple[int, ...], num_classes: int) -> nn.Module:
    with torch.device("meta"):
        return build(spec, shape, num_classes)


@pytest.mark.parametrize(
    ("spec", "shape", "num_classes", "parameters"),
    [
        # 20, 50 and 100 maps of 5x5, 1,600 inputs to 1,000, 128 and 143 neurons
        ("cnn", (3, 32, 32), 143, 1_520 + 25_050 + 125_100 + 1_601_000 + 128_128 + 18_447),
        ("mlp", (4,), 3, 39),
        ("mlp:hidden=[]", (1, 28, 28), 10, 7_850),
        # four gates with two biases each, as torch counts
        ("lstm", (1, 28, 28), 10, 4 * 128 * (28 + 128 + 2) + 128 * 10 + 10),
        # the thesis's table: 75 -> 36 -> 18 -> 14 -> 7 -> 3 -> 1 pixels
        ("landscape", (3, 75, 75), 4, 16 * 3 * 20 + 20 + 25 * 20 * 40 + 40 + 25 * 40 * 70 + 70 + 71 * 200 + 201 * 4),
        ("lenet", (1, 28, 28), 10, 431_080),
        ("lenet:variant=lenet5", (1, 32, 32), 10, 156 + 2_416 + 48_120 + 10_164 + 850),
        # table 6 of the paper: 0.27, 0.46, 0.66, 0.85 and 1.7 million
        ("resnet20", (3, 32, 32), 10, 269_722),
        ("resnet32", (3, 32, 32), 10, 464_154),
        ("resnet44", (3, 32, 32), 10, 658_586),
        ("resnet56", (3, 32, 32), 10, 853_018),
        ("resnet110", (3, 32, 32), 10, 1_727_962),
        # what torchvision's documentation says of its networks
        ("alexnet", (3, 224, 224), 1000, 61_100_840),
        ("vgg11", (3, 224, 224), 1000, 132_863_336),
        ("vgg13", (3, 224, 224), 1000, 133_047_848),
        ("vgg16", (3, 224, 224), 1000, 138_357_544),
        ("vgg19", (3, 224, 224), 1000, 143_667_240),
        ("vgg11:batch_norm=yes", (3, 224, 224), 1000, 132_868_840),
        ("vgg19:batch_norm=yes", (3, 224, 224), 1000, 143_678_248),
        ("squeezenet", (3, 224, 224), 1000, 1_248_424),
        ("squeezenet:version=1.1", (3, 224, 224), 1000, 1_235_496),
        ("resnet18", (3, 224, 224), 1000, 11_689_512),
        ("resnet34", (3, 224, 224), 1000, 21_797_672),
        ("resnet50", (3, 224, 224), 1000, 25_557_032),
        ("resnet101", (3, 224, 224), 1000, 44_549_160),
        ("resnet152", (3, 224, 224), 1000, 60_192_808),
        ("mobilenet", (3, 224, 224), 1000, 3_504_872),
        ("googlenet", (3, 224, 224), 1000, 6_624_904),
        ("vit:patch=16,dim=768,layers=12,heads=12,mlp_dim=3072", (3, 224, 224), 1000, 86_567_656),
    ],
)
def test_a_network_has_the_size_that_its_source_states(
    spec: str, shape: tuple[int, ...], num_classes: int, parameters: int
) -> None:
    assert count_parameters(on_meta(spec, shape, num_classes)) == parameters


@pytest.mark.parametrize("name", ENTRIES)
def test_the_table_of_the_zoo_is_true(name: str) -> None:
    entry = ENTRIES[name]
    network = on_meta(name, entry.input_shape, entry.num_classes)
    assert count_parameters(network) == entry.parameters
    assert network(torch.empty(2, *entry.input_shape, device="meta")).shape == (2, entry.num_classes)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("cnn", (1, 8, 8)),
        ("cnn", (3, 33, 70)),
        ("cnn:maps=[4],dense=[]", (3, 2, 2)),
        ("mlp", (7,)),
        ("mlp:hidden=[5,4,3]", (3, 9, 2)),
        ("lstm", (3, 10, 12)),
        ("lstm:hidden=5,layers=2", (6, 4)),
        ("lenet", (3, 16, 31)),
        ("lenet:variant=lenet5", (1, 28, 28)),
        ("lenet:variant=lenet5", (3, 33, 40)),
        ("landscape", (1, 66, 90)),
        ("resnet20", (1, 5, 9)),
        ("resnet18", (1, 7, 3)),
        ("resnet50:stem=cifar", (3, 8, 8)),
        ("mobilenet:width=0.35,dropout=0", (1, 32, 32)),
        ("squeezenet", (1, 21, 30)),
        ("squeezenet:version=1.1", (3, 17, 17)),
        ("googlenet", (1, 15, 20)),
        ("vit:patch=7,dim=16,layers=1,heads=2,mlp_dim=8,dropout=0.1", (1, 28, 14)),
    ],
)
@pytest.mark.parametrize("rows", [1, 5])
def test_a_network_takes_what_it_promises(spec: str, shape: tuple[int, ...], rows: int) -> None:
    model = build(spec, shape, 10).eval()  # a batch norm cannot train on one row of one pixel
    logits = model(torch.randn(rows, *shape))
    assert logits.shape == (rows, 10)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("spec", "smallest"),
    [
        ("alexnet", 63), ("vgg11", 32), ("vgg19:batch_norm=yes", 32), ("squeezenet", 21), ("squeezenet:version=1.1", 17),
        ("googlenet", 15), ("lenet", 16), ("lenet:variant=lenet5", 28), ("landscape", 66),
    ],
)  # fmt: skip
def test_the_smallest_picture_is_taken_and_a_smaller_one_refused(spec: str, smallest: int) -> None:
    small = torch.empty(2, 1, smallest, smallest, device="meta")
    assert on_meta(spec, (1, smallest, smallest), 7)(small).shape == (2, 7)
    shown = rf"takes pictures of {smallest}x{smallest} or more; {smallest}x{smallest - 1} is too small(.|\n)*--size"
    with pytest.raises(ConfigError, match=shown):
        on_meta(spec, (1, smallest, smallest - 1), 7)


@pytest.mark.parametrize("name", [name for name in ENTRIES if name not in ("mlp", "lstm")])
def test_networks_of_pictures_refuse_rows_of_a_table(name: str) -> None:
    with pytest.raises(ConfigError, match="needs pictures of shape"):
        on_meta(name, (16,), 3)


def test_rows_of_a_sequence_are_the_steps_of_the_lstm() -> None:
    """The last row of a picture is the last that the network sees; columns and channels are one step's values."""
    model = build("lstm:hidden=4", (2, 5, 3), 3).eval()
    picture = torch.randn(1, 2, 5, 3)
    states, _ = model.lstm(torch.cat([picture[0, :, row].reshape(1, 1, 6) for row in range(5)], dim=1))
    torch.testing.assert_close(model(picture), model.head(states[:, -1]))


@pytest.mark.parametrize("spec", ["cnn", "lenet", "resnet20", "squeezenet"])
def test_the_layout_in_memory_changes_no_number(spec: str) -> None:
    model = build(spec, (3, 32, 32), 10).double().eval()
    plain = build(spec, (3, 32, 32), 10).double().eval()
    for parameter in plain.parameters():
        parameter.data = parameter.data.contiguous()
    kernels = [weight for weight in model.parameters() if weight.dim() == 4 and min(weight.shape[1:]) > 1]
    assert kernels
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)
    features = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(model(features), plain(features))


@pytest.mark.parametrize(
    ("spec", "layer", "std"),
    [
        ("vgg11", "features.3.weight", (2 / (9 * 128)) ** 0.5),  # He by fan out
        ("vgg11", "classifier.0.weight", 0.01),
        ("alexnet", "features.3.weight", (1 / (25 * 64) / 3) ** 0.5),  # uniform in ±1 / sqrt(fan in)
        ("resnet18", "layer2.0.conv2.weight", (2 / (9 * 128)) ** 0.5),
        ("resnet20", "layer3.0.conv1.weight", (2 / (9 * 32)) ** 0.5),  # He by fan in
        ("squeezenet", "features.3.expand3x3.weight", (2 / (9 * 16)) ** 0.5),
        ("squeezenet", "classifier.1.weight", 0.01),
        ("mobilenet", "features.18.0.weight", (2 / 1280) ** 0.5),
        ("googlenet", "fc.weight", 0.01),
        ("landscape", "features.conv2.weight", (2 / (25 * 20 + 25 * 40)) ** 0.5),  # Xavier
        ("lenet", "ip1.weight", (1 / 12_800) ** 0.5),
        ("vit", "encoder.pos_embedding", 0.02),
        ("vit", "conv_proj.weight", (1 / 48) ** 0.5),
        ("vit", "encoder.layers.encoder_layer_6.mlp.0.weight", (2 / (256 + 512)) ** 0.5),
    ],
)
def test_initial_weights_are_those_that_the_source_names(spec: str, layer: str, std: float) -> None:
    weight = build(spec, (3, 76, 76), 10).state_dict()[layer]
    assert weight.std().item() == pytest.approx(std, rel=0.05)
    assert abs(weight.mean().item()) < 0.1 * std


@pytest.mark.parametrize("name", [name for name in ENTRIES if ENTRIES[name].parameters < 12_000_000])
def test_every_weight_is_set_and_depends_on_the_seed_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is taken before weights are drawn: none may keep what happened to lie there."""
    entry, taken, filled = ENTRIES[name], torch.nn.Module.to_empty, 0

    def with_something_in_it(self: torch.nn.Module, **options: Any) -> torch.nn.Module:
        nonlocal filled
        network = taken(self, **options)
        for tensor in [*network.parameters(), *network.buffers()]:
            if tensor.is_floating_point():
                tensor.data.fill_(float("nan"))
                filled += 1
        return network

    monkeypatch.setattr(torch.nn.Module, "to_empty", with_something_in_it)
    first, second = (build(name, entry.input_shape, 4).state_dict() for _ in range(2))
    assert all(torch.isfinite(tensor).all() for tensor in first.values())
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())
    assert filled or name in ("mlp", "lstm", "cnn")  # made in their place


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("cnn", (16,), "needs pictures of shape"),
        ("cnn", (3, 7, 40), "7x40 is too small.*--size 8x8"),
        ("lstm", (16,), r"needs \(channels, height, width\) or \(steps, values\)"),
        ("mlp:hiden=[3]", (4,), "hidden"),
        ("cnn:maps=3,depth=2", (3, 32, 32), "depth"),
        ("vgg16:batch_norm=1", (3, 32, 32), "batch_norm must be yes or no, got 1"),
        ("vgg16:dropout=1.5", (3, 32, 32), "dropout must be a number from 0 to below 1, got 1.5"),
        ("squeezenet:version=2", (3, 32, 32), "version must be 1.0 or 1.1, got 2"),
        ("resnet18:stem=small", (3, 32, 32), "stem must be imagenet or cifar, got 'small'"),
        ("lenet:variant=1998", (1, 32, 32), "variant must be caffe or lenet5"),
        ("mobilenet:width=0", (3, 32, 32), "width must be a number above 0"),
        ("vit:heads=3", (3, 32, 32), "dim=256 and heads=3"),
        ("vit:layers=0", (3, 32, 32), "layers must be a whole number of 1 or more, got 0"),
        ("vit:patch=16", (3, 40, 32), r"16x16 do not cover pictures of 40x32(.|\n)*--size 32x32, or take vit:patch=8"),
        ("cnn:maps=3", (3, 32, 32), r"maps must be a list, got 3. For example cnn:maps=\[64,32\]"),
        ("cnn:dense=[0]", (3, 32, 32), "dense must be a whole number of 1 or more, got 0"),
        ("mlp:hidden=[2.5]", (4,), "hidden must be a whole number of 1 or more, got 2.5"),
        ("lstm:layers=no", (6, 4), "layers must be a whole number of 1 or more, got False"),
    ],
)
def test_what_a_network_cannot_take_is_said(spec: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(spec, shape, 10)
