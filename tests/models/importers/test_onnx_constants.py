"""What an ONNX file computes of its own constants is what onnxruntime computes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from firesteel.models.importers.onnx import read_onnx
from firesteel.storage import Place
from tests.models.importers.test_onnx import helper, model, node, ort, weight

REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")


def assert_as_onnxruntime(
    path: Path, nodes: list[Any], constants: dict[str, np.ndarray], results: list[str], opset: int = 18
) -> None:
    """The results, all constants, stand side by side in what the network gives for a row."""
    nodes = [*nodes, *(node("Cast", each, f"{each}.float", to=1) for each in results)]
    nodes += [node("Reshape", f"{each}.float row", f"{each}.row") for each in results]
    nodes += [helper.make_node("Concat", [f"{each}.row" for each in results], ["all"], axis=1)]
    nodes += [
        node("ReduceMean", "x", "mean", keepdims=1),
        node("Mul", "mean zero", "nothing"),
        node("Add", "nothing all", "y"),
    ]
    constants = constants | {"row": np.array([1, -1]), "zero": np.float32(0)}
    model(nodes, constants, [1, 5], opset, outputs=None, path=path)
    expected = ort.InferenceSession(str(path)).run(None, {"x": weight(1, 5)})[0]
    with torch.no_grad():
        got = read_onnx(Place.of(path)).network(torch.zeros(1, 5))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_reductions_go_over_their_axes(tmp_path: Path, dtype: type) -> None:
    value = (np.arange(24) % 3 + 1).reshape(2, 3, 4).astype(dtype)
    kinds = [kind for kind in REDUCTIONS if dtype is np.float32 or not kind.startswith("Log")]
    nodes = [
        node(f"Reduce{kind}", f"c {axes}".strip(), f"{kind}{axes}{keep}", keepdims=keep)
        for kind in kinds for axes in ("one", "two", "") for keep in (0, 1)
    ]  # fmt: skip
    constants = {"c": value, "one": np.array([-2]), "two": np.array([0, 2])}
    assert_as_onnxruntime(tmp_path / "n.onnx", nodes, constants, [each.output[0] for each in nodes])


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_division_and_remainders_of_negative_numbers(tmp_path: Path, dtype: type) -> None:
    values = {"a": np.array([-7, -7, 7, 7, -6], dtype), "b": np.array([2, -2, 2, -2, 3], dtype)}
    kinds = [("Div", {}), ("Mod", {"fmod": 1}), *([("Mod", {"fmod": 0})] if dtype is np.int64 else [])]
    nodes = [node(kind, "a b", f"r{number}", **options) for number, (kind, options) in enumerate(kinds)]
    assert_as_onnxruntime(tmp_path / "n.onnx", nodes, values, [each.output[0] for each in nodes])


def test_an_axis_says_where_the_second_of_two_constants_begins(tmp_path: Path) -> None:
    nodes = [
        node("Add", "a b", "c", axis=0, broadcast=1),
        node("Reshape", "c flat", "d"),
        node("Add", "x d", "y", broadcast=1),
    ]
    constants = {"a": np.zeros((2, 2), np.float32), "b": np.array([1, 2], np.float32), "flat": np.array([4])}
    model(nodes, constants, ["N", 4], 6, outputs=4, path=tmp_path / "n.onnx")
    got = read_onnx(Place.of(tmp_path / "n.onnx")).network(torch.zeros(2, 4))
    assert got.tolist() == [[1, 1, 2, 2]] * 2


def test_slices_of_constants_that_go_to_the_end(tmp_path: Path) -> None:
    """Exporters write the least and the largest number of 64 bits for the ends."""
    nodes = [node("Slice", "c first last axis step", "a"), node("Slice", "c last first axis back", "b")]
    constants = {
        "c": np.arange(6, dtype=np.int64), "first": np.array([-(1 << 63)]), "last": np.array([(1 << 63) - 1]),
        "axis": np.array([0]), "step": np.array([2]), "back": np.array([-1]),
    }  # fmt: skip
    assert_as_onnxruntime(tmp_path / "n.onnx", nodes, constants, ["a", "b"])
