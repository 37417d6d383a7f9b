"""What a worker says of a network that does not fit its data."""

from __future__ import annotations

from pathlib import Path

import pytest

import firesteel
from firesteel.errors import ModelError


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("tests.networks:wrong_outputs", r"gives shape \(10, 11\) for a batch of shape \(10, 1, 8, 8\); .*\(10, 10\)"),
        ("tests.networks:wrong_input", r"wrong_input fails on its first batch, of shape \(10, 1, 8, 8\): RuntimeError"),
    ],
)
def test_a_network_that_does_not_fit_is_named(
    model: str, message: str, workers: int, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        firesteel.train(
            dataset, tmp_path / "run", model=model, epochs=1, batch_size=10, workers=workers, threads=1, engine="local"
        )
    assert caught.value.worker_traceback is not None
    assert not (tmp_path / "run").exists()
