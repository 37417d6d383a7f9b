"""Model folders of imported networks: what they compute, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import firesteel
from firesteel.errors import ConfigError

write_h5 = pytest.importorskip("tests.models.importers.keras.test_reading", reason="h5py is not installed").write_h5
KERNEL = np.linspace(-2, 2, 24, dtype=np.float32).reshape(8, 3)
ROWS = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)


def keras_file(folder: Path, *endings: str, kernel: np.ndarray = KERNEL) -> Path:
    """A dense layer ``head``, and activations behind it."""
    units = kernel.shape[1]
    layers: list[dict[str, Any]] = [
        {
            "class_name": "Dense",
            "config": {"name": "head", "batch_input_shape": [None, 8], "units": units, "use_bias": False},
        }
    ]
    layers += [
        {"class_name": "Activation", "config": {"name": f"end{number}", "activation": ending}}
        for number, ending in enumerate(endings)
    ]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    return write_h5(folder / "net.h5", {"head": {"kernel": kernel}}, config)


@pytest.mark.parametrize(
    ("endings", "note"),
    [
        (("softmax",), "the softmax at the end is left out: the loss and the predictor have it"),
        (("softmax", "softmax"), "the softmax at the end is left out: the loss and the predictor have it"),
        (
            ("sigmoid",),
            "the sigmoid of each class at the end is left out: the loss and the predictor have a softmax instead",
        ),
        ((), None),
    ],
)
def test_an_end_is_cut_off_once_and_said_once(endings: tuple[str, ...], note: str | None, tmp_path: Path) -> None:
    result = firesteel.import_model(keras_file(tmp_path, *endings), tmp_path / "m")
    assert result.notes == (() if note is None else (note,))
    logits = torch.from_numpy(ROWS @ KERNEL)
    wanted = logits.softmax(1).softmax(1) if len(endings) == 2 else logits.softmax(1)
    np.testing.assert_allclose(firesteel.Predictor(tmp_path / "m").probabilities(ROWS), wanted, rtol=1e-5)


class Other(nn.Module):
    """The layer of the file, and a head of its own."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.head, self.mine = nn.Linear(8, 3, bias=False), nn.Linear(3, num_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.mine(self.head(features))


def test_classes_are_those_of_the_network_that_is_built(tmp_path: Path) -> None:
    options = {"into": Other, "input_shape": (8,), "match_all": False}
    names = ["a", "b", "c", "d", "e"]
    result = firesteel.import_model(keras_file(tmp_path), tmp_path / "m", labels=names, **options)
    assert (result.labels, result.matching.initial) == (names, ("mine.weight", "mine.bias"))
    assert firesteel.import_model(keras_file(tmp_path), tmp_path / "n", classes=7, **options).labels[-1] == "6"
    options["into"] = lambda num_classes: Other(num_classes + 1)
    with pytest.raises(ConfigError, match="there are 5 labels and the network has 6 classes"):
        firesteel.import_model(keras_file(tmp_path), tmp_path / "o", labels=names, **options)


def test_what_is_wrong_with_weights_is_said_once(tmp_path: Path) -> None:
    kernel = KERNEL.copy()
    kernel[0, 0] = np.nan
    result = firesteel.import_model(keras_file(tmp_path, kernel=kernel), tmp_path / "m")
    assert result.notes == ("head.weight holds NaN or infinity",)
