"""The networks of the zoo: the sizes that their sources state, any input they promise, and equal results of layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from firesteel.errors import ConfigError
from firesteel.models import build_model, count_parameters, resolve_model


def build(spec: str, shape: tuple[int, ...], num_classes: int) -> Any:
    return build_model(resolve_model(spec), input_shape=shape, num_classes=num_classes, seed=0)


@pytest.mark.parametrize(
    ("spec", "shape", "num_classes", "parameters"),
    [
        # 20, 50 and 100 maps of 5x5, 1,600 inputs to 1,000, 128 and 143 neurons
        ("cnn", (3, 32, 32), 143, 1_520 + 25_050 + 125_100 + 1_601_000 + 128_128 + 18_447),
        ("mlp:hidden=[3,3]", (4,), 3, 39),
        ("mlp:hidden=[]", (1, 28, 28), 10, 7_850),
        # four gates with two biases each, as torch counts
        ("lstm", (1, 28, 28), 10, 4 * 128 * (28 + 128 + 2) + 128 * 10 + 10),
    ],
)
def test_a_network_has_the_size_that_its_source_states(
    spec: str, shape: tuple[int, ...], num_classes: int, parameters: int
) -> None:
    assert count_parameters(build(spec, shape, num_classes)) == parameters


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
    ],
)
@pytest.mark.parametrize("rows", [1, 5])
def test_a_network_takes_what_it_promises(spec: str, shape: tuple[int, ...], rows: int) -> None:
    model = build(spec, shape, 10)
    logits = model(torch.randn(rows, *shape))
    assert logits.shape == (rows, 10)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_rows_of_a_sequence_are_the_steps_of_the_lstm() -> None:
    """The last row of a picture is the last that the network sees; columns and channels are one step's values."""
    model = build("lstm:hidden=4", (2, 5, 3), 3).eval()
    picture = torch.randn(1, 2, 5, 3)
    states, _ = model.lstm(torch.cat([picture[0, :, row].reshape(1, 1, 6) for row in range(5)], dim=1))
    torch.testing.assert_close(model(picture), model.head(states[:, -1]))


def test_the_layout_of_the_cnn_changes_no_number() -> None:
    model = build("cnn", (3, 32, 32), 10).double()
    plain = build("cnn", (3, 32, 32), 10).double()
    for parameter in plain.parameters():
        parameter.data = parameter.data.contiguous()
    features = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    assert model.layers[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(features), plain.layers(features))


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("cnn", (16,), "needs pictures of shape"),
        ("cnn", (3, 7, 40), "7x40 is too small.*--size 8x8"),
        ("lstm", (16,), r"needs \(channels, height, width\) or \(steps, values\)"),
        ("mlp:hiden=[3]", (4,), "hidden"),
        ("cnn:maps=3,depth=2", (3, 32, 32), "depth"),
    ],
)
def test_what_a_network_cannot_take_is_said(spec: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(spec, shape, 10)
