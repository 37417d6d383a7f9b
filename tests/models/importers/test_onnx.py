"""ONNX: networks give what onnxruntime gives, and what is damaged or not supported is said."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from firesteel.errors import ConfigError, FiresteelError, FormatError, ModelError
from firesteel.models.importers.onnx import constants, read_onnx
from firesteel.storage import Place

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime, which results are compared with, is not installed")
helper = onnx.helper
GENERATOR = np.random.default_rng(0)


def weight(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=shape).astype(np.float32)


def model(
    nodes: list[Any],
    weights: dict[str, np.ndarray],
    shape: list[Any],
    opset: int = 17,
    outputs: int | None = 5,
    path: Path | None = None,
) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, outputs])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if path is not None:
        path.write_bytes(made.SerializeToString())
    return made


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), output.split(), **attributes)


def picture_network() -> tuple[list[Any], dict[str, np.ndarray], list[Any]]:
    """Asymmetric padding, batch norm, both pools, branches, a bias by Add, shapes that are computed, softmax."""
    nodes = [
        node(
            "Conv",
            "x c1.weight c1.bias",
            "a",
            auto_pad="SAME_UPPER",
            strides=[2, 2],
            kernel_shape=[3, 3],
            name="/c1/Conv",
        ),
        node("BatchNormalization", "a s b m v", "b1", name="bn"),
        node("Clip", "b1 zero six", "r"),
        node("MaxPool", "r", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
        node("AveragePool", "r", "q", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
        node("Concat", "p q", "cat", axis=1),
        node("Conv", "cat c2", "d", kernel_shape=[1, 1]),
        node("Add", "d d_bias", "e"),
        node("LeakyRelu", "e", "f", alpha=0.2),
        node("Shape", "f", "shape"),
        node("Gather", "shape zero_i", "rows", axis=0),
        node("Unsqueeze", "rows axes0", "rows1"),
        node("Concat", "rows1 minus", "target", axis=0),
        node("Reshape", "f target", "g"),
        node("MatMul", "g fc", "h"),
        node("Add", "h fc_bias", "i"),
        node("Softmax", "i", "y", axis=-1),
    ]
    weights = {
        "c1.weight": weight(4, 3, 3, 3), "c1.bias": weight(4), "s": weight(4), "b": weight(4), "m": weight(4),
        "v": np.abs(weight(4)) + 0.5, "zero": np.float32(0), "six": np.float32(6), "c2": weight(6, 8, 1, 1),
        "d_bias": weight(1, 6, 1, 1), "zero_i": np.int64(0), "axes0": np.array([0]), "minus": np.array([-1]),
        "fc": weight(54, 5), "fc_bias": weight(5),
    }  # fmt: skip
    return nodes, weights, ["N", 3, 10, 10]


def sequence_network() -> tuple[list[Any], dict[str, np.ndarray], list[Any]]:
    """LSTM in both directions and GRU, with transposes around them."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("LSTM", "t w r b", "l", hidden_size=3, direction="bidirectional"),
        node("Transpose", "l", "l1", perm=[0, 2, 1, 3]),
        node("Reshape", "l1 shape", "l2"),
        node("GRU", "l2 w2 r2 b2", "o h", hidden_size=3, linear_before_reset=1),
        node("Squeeze", "h axes", "h1"),
        node("Gemm", "h1 fc fc_bias", "y", transB=1, alpha=0.5, beta=2.0),
    ]
    weights = {
        "w": weight(2, 12, 4), "r": weight(2, 12, 3), "b": weight(2, 24), "shape": np.array([0, 0, 6]), "w2": weight(1, 9, 6),
        "r2": weight(1, 9, 3), "b2": weight(1, 18), "axes": np.array([0]), "fc": weight(5, 3), "fc_bias": weight(5),
    }  # fmt: skip
    return nodes, weights, ["N", 6, 4]


def attention_network() -> tuple[list[Any], dict[str, np.ndarray], list[Any]]:
    """One block of a transformer, as torch's exporter writes it."""
    nodes = [
        node("LayerNormalization", "x ls lb", "n", axis=-1, epsilon=1e-5),
        node("MatMul", "n qkv", "q0"),
        node("Split", "q0 sizes", "q k v", axis=2),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "s"),
        node("Div", "s scale", "s1"),
        node("Softmax", "s1", "a", axis=-1),
        node("MatMul", "a v", "o"),
        node("Add", "o x", "z"),
        node("Erf", "z", "ge"),
        node("Slice", "ge from to ax", "first"),
        node("ReduceMean", "first", "m", axes=[1], keepdims=0),
        node("Gemm", "m fc fc_bias", "y"),
    ]
    weights = {
        "ls": weight(4), "lb": weight(4), "qkv": weight(4, 12), "sizes": np.array([4, 4, 4]), "scale": np.float32(2),
        "from": np.array([0]), "to": np.array([3]), "ax": np.array([1]), "fc": weight(4, 5), "fc_bias": weight(5),
    }  # fmt: skip
    return nodes, weights, ["N", 6, 4]


@pytest.mark.parametrize("make", [picture_network, sequence_network, attention_network])
def test_outputs_are_those_of_onnxruntime(tmp_path: Path, make: Any) -> None:
    nodes, weights, shape = make()
    path = tmp_path / "n.onnx"
    model(nodes, weights, shape, path=path)
    imported = read_onnx(Place.of(path))
    session = ort.InferenceSession(str(path))
    for rows in (1, 5):
        batch = weight(rows, *shape[1:])
        expected = session.run(None, {"x": batch})[0]
        with torch.no_grad():
            got = imported.network(torch.from_numpy(batch))
        got = got.softmax(1) if make is picture_network else got
        assert np.abs(got.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()
    assert imported.matching.unused == ()


@pytest.mark.parametrize(
    ("shape", "is_bias"), [((5, 1, 1), True), ((1, 5, 1, 1), True), ((1, 1, 1), False), ((1, 1, 5), False)]
)
def test_only_a_number_for_each_channel_is_a_bias(tmp_path: Path, shape: tuple[int, ...], is_bias: bool) -> None:
    nodes = [
        node("Conv", "x w", "c"),
        node("Add", "c b", "s"),
        node("GlobalMaxPool", "s", "g"),
        node("Flatten", "g", "y"),
    ]
    path = tmp_path / "n.onnx"
    model(nodes, {"w": weight(5, 3, 2, 2), "b": weight(*shape)}, [5, 3, 6, 6], path=path)
    imported, batch = read_onnx(Place.of(path)), weight(5, 3, 6, 6)
    with torch.no_grad():
        got = imported.network(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(got, ort.InferenceSession(str(path)).run(None, {"x": batch})[0], rtol=1e-4, atol=1e-5)
    assert any(name.endswith(".bias") for name in imported.network.state_dict()) == is_bias


def test_what_is_added_to_the_rows_of_a_batch_is_no_bias(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "c"),
        node("Add", "c b", "s"),
        node("GlobalMaxPool", "s", "g"),
        node("Flatten", "g", "y"),
    ]
    model(nodes, {"w": weight(5, 3, 2, 2), "b": weight(5, 1, 1, 1)}, [5, 3, 6, 6], path=tmp_path / "n.onnx")
    with pytest.raises(ModelError, match="depends on values or on the batch"):
        read_onnx(Place.of(tmp_path / "n.onnx"))


def test_names_reshapes_and_training(tmp_path: Path) -> None:
    nodes, weights, shape = picture_network()
    model(nodes, weights | {"left": weight(3)}, shape, path=tmp_path / "n.onnx")
    imported = read_onnx(Place.of(tmp_path / "n.onnx"))
    matching, network = imported.matching, imported.network
    assert isinstance(network.get_submodule("c1"), nn.Conv2d)
    assert {"c1.weight", "bn.running_mean"} <= set(matching.matched)
    assert "54x5 -> 5x54" in matching.reshaped.values()
    assert matching.unused == ("left",)
    assert any("softmax" in note for note in imported.notes)
    network.train()
    loss = nn.functional.cross_entropy(network(torch.randn(8, 3, 10, 10)), torch.arange(8) % 5)
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_channels_last_and_a_fixed_batch(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w", "c"),
        node("Reshape", "c shape", "f"),
        node("MatMul", "f fc", "y"),
    ]
    weights = {"w": weight(2, 3, 3, 3), "shape": np.array([4, 72]), "fc": weight(72, 5)}
    path = tmp_path / "n.onnx"
    model(nodes, weights, [4, 8, 8, 3], path=path)
    imported = read_onnx(Place.of(path))
    assert imported.input_shape == (3, 8, 8)
    assert any("channels last" in note for note in imported.notes)
    batch = weight(7, 3, 8, 8)
    session = ort.InferenceSession(str(path))
    whole = np.concatenate([batch, batch[:1]]).transpose(0, 2, 3, 1)
    expected = np.concatenate([session.run(None, {"x": np.ascontiguousarray(part)})[0] for part in np.split(whole, 2)])[
        :7
    ]
    with torch.no_grad():
        np.testing.assert_allclose(imported.network(torch.from_numpy(batch)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_old_versions_of_operators(tmp_path: Path) -> None:
    nodes = [
        node("Clip", "x", "a", min=-0.5, max=0.5),
        node("Unsqueeze", "a", "b", axes=[1]),
        node("Pad", "b", "c", pads=[0, 0, 0, 1, 0, 0, 0, 0], mode="constant", value=0.25),
        node("Squeeze", "c", "d", axes=[1]),
        node("Slice", "d", "e", starts=[1], ends=[6], axes=[2]),
        node("ReduceSum", "e", "f", axes=[1], keepdims=0),
        node("Dropout", "f", "y", ratio=0.3),
    ]
    path = tmp_path / "n.onnx"
    model(nodes, {}, ["N", 3, 7], opset=7, path=path)
    batch = weight(3, 3, 7)
    expected = ort.InferenceSession(str(path)).run(None, {"x": batch})[0]
    with torch.no_grad():
        got = read_onnx(Place.of(path)).network(torch.from_numpy(batch))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "shape", "message"),
    [
        (
            [node("NonZero", "x", "y", name="n7")],
            ["N", 5],
            "ONNX node 'n7' has the operator 'NonZero', which is not supported",
        ),
        ([node("Relu", "x", "y")], ["N", 5, 5], "a classifier gives BxK"),
        ([node("Relu", "z", "y")], ["N", 5], "takes 'z', which no node before it gives"),
        ([node("Reshape", "x huge", "y")], ["N", 5], "cannot be done"),
        ([node("ConstantOfShape", "big", "c"), node("Add", "x c", "y")], ["N", 5], "makes a constant of 1,0"),
        ([node("Expand", "x big", "y")], ["N", 5], "makes 1,|cannot be done"),
        ([node("Mul", "column row", "c"), node("Add", "x c", "y")], ["N", 5], "a constant of 4,294,967,296 numbers"),
        (
            [node("Mul", "column row", "c"), node("Reshape", "x c", "y")],
            ["N", 5],
            "a constant of 4,294,967,296 numbers",
        ),
        ([node("Tile", "column times", "c"), node("Add", "x c", "y")], ["N", 5], "a constant of 4,294,901,760 numbers"),
        (
            [
                node("Shape", "x", "s"),
                node("Tile", "s wide", "t"),
                node("Unsqueeze", "t one", "u"),
                node("Mul", "t u", "y"),
            ],
            ["N", 5],
            "a constant of 4,294,967,296 numbers",
        ),
        ([node("Pad", "x far", "y")], ["N", 5], "makes 2,199,023,255,562 numbers"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, nodes: list[Any], shape: list[Any], message: str) -> None:
    weights = {
        "huge": np.array([1 << 40, 1 << 40]),
        "big": np.array([1 << 20, 1 << 20]),
        "far": np.array([0, 0, 0, 1 << 40]),
        "column": np.zeros((1 << 16, 1), np.int64),
        "row": np.zeros((1, 1 << 16), np.int64),
        "times": np.array([1, 65535]),
        "wide": np.array([1 << 15]),
        "one": np.array([1]),
    }
    model(nodes, weights, shape, path=tmp_path / "n.onnx")
    with pytest.raises(ModelError, match=message):
        read_onnx(Place.of(tmp_path / "n.onnx"))


def test_a_batch_is_limited_as_a_whole(tmp_path: Path) -> None:
    """Rows and the numbers of one are each well within what a network may have."""
    nodes = [node("GlobalMaxPool", "x", "p"), node("Flatten", "p", "y")]
    model(nodes, {}, [4096, 5, 1 << 12, 1 << 12], path=tmp_path / "n.onnx")
    with pytest.raises(ConfigError, match="takes 4,096 rows of 83,886,080 numbers at a time"):
        read_onnx(Place.of(tmp_path / "n.onnx"))


def test_constants_are_limited_all_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "_FREE", 1000)
    nodes = [node("Tile", "row times", f"c{number}") for number in range(3)]
    nodes += [node("Sum", "c0 c1 c2", "c"), node("ReduceSum", "c", "s", keepdims=0), node("Add", "x s", "y")]
    for count, message in ((40, None), (90, r"'tile_2' \(Tile\) makes a constant of 450 numbers; 1,000 are allowed")):
        weights = {"row": np.ones((1, 5), np.float32), "times": np.array([count, 1])}
        model(nodes, weights, ["N", 5], path=tmp_path / "n.onnx")
        if message is None:
            assert read_onnx(Place.of(tmp_path / "n.onnx")).network(torch.zeros(1, 5)).tolist() == [[600.0] * 5]
        else:
            with pytest.raises(ModelError, match=message):
                read_onnx(Place.of(tmp_path / "n.onnx"))


def test_open_sizes_must_be_given(tmp_path: Path) -> None:
    nodes = [node("GlobalAveragePool", "x", "a"), node("Flatten", "a", "y")]
    model(nodes, {}, ["N", 5, "H", "W"], path=tmp_path / "n.onnx")
    with pytest.raises(ConfigError, match=r"5x\?x\?.*\n.*--input-shape"):
        read_onnx(Place.of(tmp_path / "n.onnx"))
    given = read_onnx(Place.of(tmp_path / "n.onnx"), input_shape=(5, 6, 7))
    assert given.network(torch.zeros(2, 5, 6, 7)).shape == (2, 5)


@pytest.mark.parametrize("kind", ["UINT8", "INT64"])
def test_whole_numbers_are_refused_unless_they_are_cast(tmp_path: Path, kind: str) -> None:
    whole = getattr(onnx.TensorProto, kind)
    table = model(
        [node("Gather", "table x", "e"), node("ReduceMean", "e", "y", axes=[1], keepdims=0)],
        {"table": weight(9, 5)},
        ["N", 4],
    )
    table.graph.input[0].type.tensor_type.elem_type = whole
    (tmp_path / "n.onnx").write_bytes(table.SerializeToString())
    with pytest.raises(ModelError, match=rf"takes whole numbers \({kind.lower()}\)"):
        read_onnx(Place.of(tmp_path / "n.onnx"))
    value = weight(4, 5)
    made = model([node("Cast", "x", "f", to=1), node("MatMul", "f w", "y")], {"w": value}, ["N", 4])
    made.graph.input[0].type.tensor_type.elem_type = whole
    (tmp_path / "n.onnx").write_bytes(made.SerializeToString())
    batch = torch.arange(8.0).reshape(2, 4)
    with torch.no_grad():
        torch.testing.assert_close(
            read_onnx(Place.of(tmp_path / "n.onnx")).network(batch), batch @ torch.from_numpy(value)
        )


def test_tensors_are_as_large_as_they_say(tmp_path: Path) -> None:
    made = model([node("MatMul", "x w", "y")], {"w": weight(5, 5)}, ["N", 5])
    made.graph.initializer[0].dims[0] = 1 << 32
    (tmp_path / "n.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(FormatError, match=r"tensor 'w' of .* (is damaged|cannot have shape)"):
        read_onnx(Place.of(tmp_path / "n.onnx"))


def test_external_data_stays_in_its_folder(tmp_path: Path) -> None:
    value = weight(5, 5)
    made = model([node("MatMul", "x w", "y")], {"w": value}, ["N", 5])
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    (tmp_path / "n.onnx").write_bytes(made.SerializeToString())
    (tmp_path / "w.bin").write_bytes(value.tobytes())
    with torch.no_grad():
        assert torch.allclose(
            read_onnx(Place.of(tmp_path / "n.onnx")).network(torch.eye(5)), torch.from_numpy(value), atol=1e-6
        )
    for location, message in (("../w.bin", "outside"), ("/etc/passwd", "outside")):
        tensor.external_data[0].value = location
        (tmp_path / "n.onnx").write_bytes(made.SerializeToString())
        with pytest.raises(FormatError, match=message):
            read_onnx(Place.of(tmp_path / "n.onnx"))


def test_links_to_external_data_stay_in_the_folder(tmp_path: Path) -> None:
    made = model([node("MatMul", "x w", "y")], {"w": weight(5, 5)}, ["N", 5])
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    for name in ("blobs", "snapshot", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").write_bytes(bytes(100))
    (tmp_path / "blobs" / "model").write_bytes(made.SerializeToString())
    (tmp_path / "snapshot" / "n.onnx").symlink_to("../blobs/model")  # as caches of downloads have it
    link = tmp_path / "snapshot" / "w.bin"
    for target in ("../blobs/data", "data"):
        link.symlink_to(target)
        assert read_onnx(Place.of(tmp_path / "snapshot" / "n.onnx")).matching.matched
        link.unlink()
    link.symlink_to("../elsewhere/data")
    with pytest.raises(FormatError, match="a link that leads outside"):
        read_onnx(Place.of(tmp_path / "snapshot" / "n.onnx"))


def test_cut_and_mutated_files_are_refused_or_read(tmp_path: Path) -> None:
    nodes, weights, shape = picture_network()
    sound, generator = model(nodes, weights, shape).SerializeToString(), random.Random(0)
    for number in range(40):
        data = bytearray(sound)
        if number % 4 == 0:
            del data[generator.randrange(len(data)) :]
        for _ in range(3):
            if data:
                data[generator.randrange(len(data))] = generator.randrange(256)
        (tmp_path / "n.onnx").write_bytes(bytes(data))
        try:
            read_onnx(Place.of(tmp_path / "n.onnx"))
        except FiresteelError:
            continue
