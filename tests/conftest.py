"""What several tests share: small sources made of real bytes, and one Spark session."""

from __future__ import annotations

import gzip
import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# Times vary with what else the machine does; pytest-timeout ends what hangs.
settings.register_profile("firesteel", deadline=None)
settings.load_profile("firesteel")

DATA = Path(os.environ.get("FIRESTEEL_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
"""Real data sets; tests that need them are skipped where they are missing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes (pytest -n 2), those of one file stay together, and those that share a session of Spark."""
    for item in items:
        group = "spark" if "spark" in getattr(item, "fixturenames", ()) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


def real_data(name: str) -> Path:
    """A folder of real data, or skip the test."""
    if not (DATA / name).exists():
        pytest.skip(f"needs real data in {DATA / name} (set FIRESTEEL_TEST_DATA)")
    return DATA / name


def picture(
    value: int = 0,
    size: tuple[int, int] = (12, 10),
    *,
    mode: str = "RGB",
    format: str = "JPEG",
    seed: int | None = None,
) -> bytes:
    """An encoded picture of (height, width): plain, or noise around ``value`` with a seed."""
    height, width = size
    if seed is None:
        image = Image.new(mode, (width, height), value if mode == "L" else (value, value, value))
    else:
        noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3)) + value
        image = Image.fromarray(noise.clip(0, 255).astype(np.uint8)).convert(mode)
    out = io.BytesIO()
    image.save(out, format)
    return out.getvalue()


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Three classes of 20 pictures that a network can tell apart by their brightness."""
    root = tmp_path / "pictures"
    for number, name in enumerate(["dark", "grey", "white"]):
        (root / name).mkdir(parents=True)
        for i in range(20):
            (root / name / f"{i:03d}.png").write_bytes(picture(20 + 100 * number, (8, 8), format="PNG", seed=i))
    return root


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """A tiny MNIST: 120 training and 30 test pictures of 8x8, ten classes, gzip."""
    root = tmp_path / "idx"
    root.mkdir()
    generator = np.random.default_rng(0)
    for stem, rows in (("train", 120), ("t10k", 30)):
        labels = np.arange(rows) % 10
        images = (labels[:, None, None] * 20 + generator.integers(0, 20, (rows, 8, 8))).astype(np.uint8)
        write_idx(root / f"{stem}-images-idx3-ubyte.gz", images)
        write_idx(root / f"{stem}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    return root


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write uint8 values as an idx file, compressed if its name ends with .gz."""
    data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def dataset(idx_folder: Path, tmp_path: Path) -> Path:
    """A prepared dataset of 120 training and 30 test rows of shape 1x8x8, ten classes."""
    import firesteel

    firesteel.prepare(idx_folder, tmp_path / "dataset", engine="local", workers=1)
    return tmp_path / "dataset"


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """One Spark session in local[2] for all tests that want one."""
    pytest.importorskip("pyspark")
    from firesteel.errors import ResourceError
    from firesteel.spark.session import open_session

    try:
        context = open_session("local[2]", name="firesteel tests")
        session = context.__enter__()
    except ResourceError as error:
        pytest.skip(str(error))
    yield session
    context.__exit__(None, None, None)


@pytest.fixture
def weights() -> Callable[[Path], bytes]:
    """The saved weights of a run."""
    return lambda run: (run / "model" / "model.safetensors").read_bytes()
