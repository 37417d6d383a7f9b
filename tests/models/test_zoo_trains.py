"""Each network of the zoo learns from a few real pictures (drawn ones where the real ones are missing), and is saved."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from firesteel.data.manifest import Feature, Statistics
from firesteel.models import build_model, count_parameters, resolve_model
from firesteel.models.description import ModelDescription, load_model, save_model
from firesteel.models.zoo import ENTRIES
from firesteel.specs import parse_spec
from firesteel.storage import Place
from tests.conftest import DATA

CLASSES = 2
SIZES = {"landscape": 66, "alexnet": 63, "lenet": 28, "lstm": 28, "resnet101": 64, "resnet152": 64}
"""Height and width where 32 pixels are too few, or too many for the network's own data."""
STEPS = {"mlp": 30, "cnn": 10, "alexnet": 3}
LEARNING_RATES = {"mlp": 0.03, "lstm": 0.01, "cnn": 0.0001, "resnet152": 0.0001}


def pictures(size: int, channels: int, rows: int = 8) -> tuple[Tensor, Tensor]:
    """Standardised pictures (rows, channels, size, size) of aeroplanes and frogs in turns, and their labels."""
    archive = DATA / "cifar10" / "cifar10-png-train-15000.zip"
    values = _real_pictures(archive, rows) if archive.exists() else _drawn_pictures(rows)
    features = F.interpolate(values, (size, size), mode="bilinear").mean(1, keepdim=True).expand(-1, channels, -1, -1)
    return ((features - features.mean()) / features.std()).contiguous(), torch.arange(rows) % CLASSES


def _real_pictures(archive: Path, rows: int) -> Tensor:
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".png"))
        chosen = [[name for name in names if f"/{label}/" in name] for label in ("airplane", "frog")]
        read = [file.read(chosen[row % CLASSES][row]) for row in range(rows)]
    return torch.stack([_pixels(data) for data in read])


def _pixels(data: bytes) -> Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1).float()


def _drawn_pictures(rows: int) -> Tensor:
    """Stripes of many widths, upright in one class and level in the other."""
    wave = torch.stack([torch.sin(torch.arange(32) * (0.5 + row / 10)) for row in range(rows)])[:, None, None]
    level = wave.transpose(2, 3).expand(-1, 3, 32, 32)
    return torch.where((torch.arange(rows) % CLASSES).bool()[:, None, None, None], wave.expand(-1, 3, 32, 32), level)


def build(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    if name == "mlp":
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(30) % CLASSES
        features = torch.randn(30, 4, generator=generator) + labels[:, None]
    else:
        features, labels = pictures(SIZES.get(name, 32), 1 if name in ("lenet", "lstm") else 3)
    shape = tuple(features.shape[1:])
    return build_model(resolve_model(name), input_shape=shape, num_classes=CLASSES, seed=1), features, labels


@pytest.mark.parametrize("name", ENTRIES)
def test_a_few_steps_reduce_the_loss(name: str) -> None:
    network, features, labels = build(name)
    if ENTRIES[name].parameters > 100_000_000:  # Adam's moments would take another gigabyte
        optimizer: torch.optim.Optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        steps = 3
    else:
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATES.get(name, 0.0003))
        steps = STEPS.get(name, 6)
    losses = []
    for _ in range(steps):
        torch.manual_seed(0)  # the same dropout at every step: losses differ by the weights alone
        loss = F.cross_entropy(network(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-2:]) < 0.85 * losses[0], losses


@pytest.mark.parametrize("name", [name for name in ENTRIES if ENTRIES[name].parameters < 12_000_000])
def test_a_saved_network_computes_the_same(name: str, tmp_path: Path) -> None:
    network, features, _ = build(name)
    network(features)  # statistics of batch norms are no longer those of the beginning
    channels = features.shape[1]
    description = ModelDescription(
        model=parse_spec(name),
        feature=Feature(dtype="float32", shape=tuple(features.shape[1:]), kind="array"),
        normalization=Statistics(mean=[0.0] * channels, std=[1.0] * channels, scale=1.0),
        labels=["airplane", "frog"],
        parameters=count_parameters(network),
    )
    save_model(Place.of(tmp_path), network, description)
    with torch.no_grad():
        torch.testing.assert_close(load_model(Place.of(tmp_path), description)(features), network.eval()(features))
