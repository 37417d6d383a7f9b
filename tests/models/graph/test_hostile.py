"""A graph comes from a file that anybody may have written: it computes, or it is refused."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from firesteel.errors import FiresteelError, ModelError
from firesteel.inference.predictor import Predictor
from firesteel.models.graph import Graph, graph_options
from tests.models.graph.networks import ALL, CLASSES, SHAPE

X = {"value": "input"}


def step(op: str, *inputs: Any, **options: Any) -> dict[str, Any]:
    return {"name": "y", "op": op, "inputs": list(inputs), "options": options}


def build(steps: list[dict[str, Any]], output: str = "y", **more: Any) -> Graph:
    with torch.device("meta"):
        return Graph(SHAPE, CLASSES, steps=steps, output=output, **more)


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        (step("aten.from_file.default", "/etc/passwd"), "none that a graph may use"),
        (step("aten.empty.memory_format", [2, 5]), "none that a graph may use"),
        (step("aten.as_strided.default", X, [2, 5], [1, 1], 10**6), "none that a graph may use"),
        (step("aten.relu_.default", X), "none that a graph may use"),
        (step("aten.add.out", X, X, out=X), "writes to its inputs"),
        (step("os.system", "id"), "none that a graph may use"),
        (step("python.__import__", "os"), "none that a graph may use"),
        (step("prims.add.default", X, X), "none that a graph may use"),
        (step("aten.add.str", "a", "b"), "gives no tensors"),
        (step("aten.to.dtype", X, (1 << 63) - 1), "has the dtype 9223372036854775807, which is none"),
        (step("aten.zeros.default", [2, 5], device={"dtype": "int8"}), "where its result lies"),
        (step("aten.zeros.default", [2, 1 << 39]), "numbers of one row"),
        (step("aten.constant_pad_nd.default", X, [1 << 26, 1 << 26]), "numbers of one row"),
        (step("aten.expand.default", X, [1 << 20, 1 << 20, -1, -1, -1, -1]), "numbers of one row|fails"),
        (step("aten.tensor_split.sections", X, 1 << 39), "splits into more than"),
        (step("aten.zeros.default", [2, 1 << 45]), "beyond what a network needs"),
        (step("aten.add.Tensor", X, {"value": "later"}), "no step before it"),
        (step("aten.add.Tensor", X, {"tensor": "forward"}), "the graph does not have"),
        (step("aten.add.Tensor", X, {"tensor": "__class__"}), "the graph does not have"),
        (step("aten.add.Tensor", X, {"code": "x"}), "not known"),
        (step("aten.add.Tensor", X, [[[[[[1]]]]]]), "lists in lists"),
        (step("aten.relu.default", X), r"gives \(2, 3, 8, 8\) for 2 rows; \(2, 5\) is needed"),
        ({"name": "y", "layer": "x", "inputs": [X]}, "calls a layer 'x'"),
        ({"name": "y", "inputs": [X]}, "either a layer or an op"),
        ({"name": "input", "op": "aten.relu.default", "inputs": [X]}, "two steps"),
        ({"name": "y", "op": "aten.relu.default", "inputs": "abc"}, "not sound"),
    ],
)
def test_steps_that_are_no_network_are_refused(hostile: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build([hostile])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"name": "a", "type": "Module"}, "none that a graph may have"),
        ({"name": "a", "type": "DataParallel", "options": {"module": 1}}, "none that a graph may have"),
        ({"name": "a", "type": "Linear", "options": {"in_features": -1, "out_features": 2}}, "cannot be made"),
        ({"name": "a", "type": "Linear", "options": {"in_features": 2, "out_features": 2, "device": "cuda"}}, "device"),
        (
            {"name": "a", "type": "LSTM", "options": {"input_size": 2, "hidden_size": 2, "num_layers": 1 << 39}},
            "beyond",
        ),
        ({"name": "forward", "type": "ReLU"}, "cannot be the name"),
        ({"name": "a..b", "type": "ReLU"}, "cannot be the name"),
        ({"name": "", "type": "ReLU"}, "cannot be the name"),
    ],
)
def test_layers_that_are_none_are_refused(layer: dict[str, Any], message: str) -> None:
    with pytest.raises(FiresteelError, match=message):
        build([step("aten.relu.default", X)], layers=[layer])


def test_sizes_cannot_grow_without_end() -> None:
    steps = [{"name": "n0", "op": "aten.sym_size.int", "inputs": [X, 1]}]
    steps += [
        {"name": f"n{i + 1}", "op": "python.mul", "inputs": [{"value": f"n{i}"}, {"value": f"n{i}"}]} for i in range(40)
    ]
    with pytest.raises(ModelError, match="beyond what a network needs"):
        build([*steps, step("aten.relu.default", X)])


def test_a_description_of_terabytes_takes_no_memory(tmp_path: Path) -> None:
    """Declared sizes are compared with the weights that are there before memory is taken."""
    layer = {"name": "a", "type": "Linear", "options": {"in_features": 192, "out_features": 1 << 34}}
    end = {"name": "a2", "type": "Linear", "options": {"in_features": 1 << 34, "out_features": CLASSES}}
    steps = [
        {"name": "f", "op": "aten.flatten.using_ints", "inputs": [X, 1]},
        {"name": "h", "layer": "a", "inputs": [{"value": "f"}]},
        {"name": "y", "layer": "a2", "inputs": [{"value": "h"}]},
    ]
    options = {"layers": [layer, end], "tensors": [], "steps": steps, "output": "y"}
    description = {
        "format_version": 1, "model": {"name": "graph", "options": options},
        "feature": {"dtype": "uint8", "shape": list(SHAPE)},
        "normalization": {"mean": [0.0] * 3, "std": [1.0] * 3, "scale": 1.0},
        "labels": list("abcde"), "parameters": 1,
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps(description))
    save_file({"a.weight": torch.zeros(4, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="numbers of one row"):
        Predictor(tmp_path)
    layer["options"]["out_features"] = end["options"]["in_features"] = 1 << 26  # 51 GB of weights, small results
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(ModelError, match="does not fit model graph"):
        Predictor(tmp_path)


def test_mutated_descriptions_are_refused_or_compute() -> None:
    options, refused = graph_options(ALL["residual"](), torch.zeros(2, *SHAPE)), 0
    generator = random.Random(1)
    odd = [0, -1, 1 << 31, (1 << 63) - 1, 1.5, None, True, "x", [], {"value": "input"}, {"dtype": "int8"}]
    for _ in range(250):
        mutated = copy.deepcopy(options)
        place: Any = generator.choice(mutated["layers"] + mutated["steps"])
        while isinstance(place, dict | list) and place:
            key = generator.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[key], dict | list) or not place[key]:
                place[key] = generator.choice(odd)
                break
            place = place[key]
        try:
            with torch.device("meta"):
                Graph(SHAPE, CLASSES, **mutated)
        except FiresteelError:
            refused += 1
    assert 150 < refused < 250
