"""Networks of TensorFlow against what TensorFlow itself computes with the same files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from firesteel.errors import FormatError, ModelError
from firesteel.models.graph import as_graph
from firesteel.models.importers.base import Imported
from firesteel.models.importers.tensorflow import read_tensorflow
from firesteel.storage import Place
from tests.conftest import real_data
from tests.models.importers.caffe.files import field, varint
from tests.models.importers.tensorflow import nets


def read(path: Path, **options: Any) -> Imported:
    return read_tensorflow(Place.of(path), **options)


def outputs(imported: Imported, rows: np.ndarray) -> np.ndarray:
    first = np.ascontiguousarray(np.moveaxis(rows, -1, 1) if rows.ndim == 4 else rows)
    with torch.no_grad():
        return imported.network(torch.from_numpy(first)).numpy()


@pytest.mark.parametrize("kind", ["saved", "frozen"])
@pytest.mark.parametrize("name", ["cnn", "dense", "module"])
def test_networks_compute_what_tensorflow_computes(name: str, kind: str, tmp_path: Path) -> None:
    saved, frozen, rows, wanted = nets.unpack(name, tmp_path)
    options = {} if name != "module" else {"output": "logits" if kind == "saved" else last_matmul(frozen)}
    imported = read(saved if kind == "saved" else frozen, **options)
    found = outputs(imported, rows)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def last_matmul(frozen: Path) -> str:
    from firesteel.models.importers.tensorflow.messages import read_graph_def

    graph = read_graph_def(memoryview(frozen.read_bytes())).graph
    return next(node.name for node in reversed(graph.nodes.values()) if node.op == "MatMul")


def test_layers_have_the_names_of_their_variables(tmp_path: Path) -> None:
    network = read(nets.unpack("module", tmp_path)[0], output="logits").network
    names = dict(network.named_parameters())
    assert {"first.weight", "first.bias", "head.weight"} <= set(names)
    assert sum(parameter.numel() for parameter in names.values()) == 3 * 3 * 2 * 4 + 4 + 5 * 24 + 4 * 4


def test_networks_train(tmp_path: Path) -> None:
    imported = read(nets.unpack("cnn", tmp_path)[0])
    network = as_graph(imported.network, torch.zeros(2, *imported.input_shape))[0].train()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    rows, labels = torch.randn(16, 3, 9, 8), torch.arange(16) % 4
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(rows), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_weights_go_into_a_given_network_by_name(tmp_path: Path) -> None:
    network = nn.Sequential()
    network.add_module("head", nn.Linear(24, 5))
    found = read(nets.unpack("module", tmp_path)[0], output="logits", into=network, match_all=False)
    assert found.matching.matched == ("head.weight",)
    assert found.matching.initial == ("head.bias",)


def attribute(name: str, value: bytes) -> bytes:
    return field(5, field(1, name) + field(2, value))


def shape_of(*sizes: int) -> bytes:
    return b"".join(field(2, field(1, size)) for size in sizes)


def constant(name: str, value: np.ndarray) -> bytes:
    content = field(1, 1) + field(2, shape_of(*value.shape)) + field(4, value.astype("<f4").tobytes())
    return node("Const", name, [], attribute("value", field(8, content)))


def node(op: str, name: str, inputs: list[str], *attributes: bytes) -> bytes:
    return field(1, field(1, name) + field(2, op) + b"".join(field(3, each) for each in inputs) + b"".join(attributes))


def graph(op: str = "MatMul", *attributes: bytes, batch: int = 100) -> bytes:
    """One product of 4 values with a matrix, made for batches of 100."""
    placeholder = node("Placeholder", "x", [], attribute("shape", field(7, shape_of(batch, 4))))
    weights = constant("dense/w", np.arange(12, dtype=np.float32).reshape(4, 3))
    return placeholder + weights + node(op, "dense/out", ["x", "dense/w"], *attributes)


def written(folder: Path, data: bytes) -> Path:
    (folder / "net.pb").write_bytes(data)
    return folder / "net.pb"


def test_a_batch_that_was_fixed_is_any(tmp_path: Path) -> None:
    imported = read(written(tmp_path, graph()))
    rows = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    np.testing.assert_allclose(outputs(imported, rows), rows @ np.arange(12, dtype=np.float32).reshape(4, 3), rtol=1e-5)
    assert "the graph was made for batches of 100 rows; the network takes any" in imported.notes
    assert read(written(tmp_path, graph()), input_shape=(1, 2, 2)).input_shape == (1, 2, 2)


def test_of_several_ends_the_last_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    data = graph() + node("Relu", "one", ["dense/out"]) + node("Relu", "two", ["dense/out"])
    assert read(written(tmp_path, data)).notes[0] == "two is taken for the output; left out: one"
    assert not any("left out" in note for note in read(written(tmp_path, data), output="one").notes)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"", {}, "empty"),
        (b"nonsense", {}, "cannot be read as a network of TensorFlow"),
        (graph()[:-9], {}, "announced|cut"),
        (graph("PyFunc"), {}, "no such operation here"),
        (graph("Placeholder"), {}, "no operation that depends on an input|one Placeholder"),
        (graph(), {"output": "dens/out"}, "no operation 'dens/out'.*'dense/out'"),
        (graph(), {"output": "dense/w"}, "one Placeholder"),
        (graph(), {"input_shape": (1, 3, 3)}, "takes rows of 4"),
        (graph("MatMul", attribute("transpose_b", field(5, 1))), {}, "a matrix for 3 values does not go with 4"),
        (node("Relu", "a", ["b"]) + node("Relu", "b", ["a"]) + graph(), {"output": "a"}, "takes its own value"),
        (node("Placeholder", "x", []) + node("Relu", "y", ["x"]), {}, "leaves the shape of its input open"),
        (constant("c", np.ones(2)).replace(b"\x08\x02", b"\x08\x7f") + graph(), {}, "a tensor of 127 values"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(data: bytes, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((FormatError, ModelError), match=f"(?s){message}") as caught:
        read(written(tmp_path, data), **options)
    assert 1 <= len(str(caught.value).splitlines()) <= 4


def test_a_tensor_of_one_repeated_value_takes_no_memory_before_it_is_refused(tmp_path: Path) -> None:
    giant = field(1, 1) + field(2, shape_of(1 << 20, 1 << 20)) + field(5, b"\0\0\x80?")
    data = graph() + node("Const", "giant", [], attribute("value", field(8, giant)))
    with pytest.raises(FormatError, match="1,099,511,627,776 values"):
        read(written(tmp_path, data))
    sizes = (
        constant("a", np.ones((1 << 14, 1))) + constant("b", np.ones((1, 1 << 14))) + node("AddV2", "ab", ["a", "b"])
    )
    with pytest.raises(ModelError, match="a constant of 268,435,456 numbers"):
        read(written(tmp_path, graph() + sizes + node("Mul", "y", ["dense/out", "ab"])))


def numbers(name: str, *values: int) -> bytes:
    content = (
        field(1, 9)
        + field(2, shape_of(*[len(values)] * (len(values) > 1)))
        + field(4, np.array(values, "<i8").tobytes())
    )
    return node("Const", name, [], attribute("value", field(8, content)))


@pytest.mark.parametrize(
    ("operation", "size"),
    [
        (node("GatherV2", "big", ["column", "many", "one"]), "68,719,476,736"),
        (node("Pack", "big", ["c"] * 1025, attribute("axis", field(3, 0))), "67,174,400"),
        (node("ConcatV2", "big", [*["c"] * 1025, "zero"]), "67,174,400"),
        (node("MatMul", "big", ["column", "c"]), "4,294,967,296"),
        (node("MatMul", "big", ["c", "column"], attribute("transpose_a", field(5, 1)), attribute("transpose_b", field(5, 1))), "4,294,967,296"),
        (node("Fill", "big", ["wide", "zero"]), "1,099,511,627,776"),
        (node("Range", "big", ["zero", "far", "one"]), "1,099,511,627,776"),
        (b"".join(node("Neg", f"n{number}" if number < 1024 else "big", [f"n{number - 1}" if number else "c"]) for number in range(1025)), "65,536"),
    ],
    ids=["GatherV2", "Pack", "ConcatV2", "MatMul", "MatMul, turned", "Fill", "Range", "many"],
)  # fmt: skip
def test_what_is_computed_of_constants_is_limited_before(operation: bytes, size: str, tmp_path: Path) -> None:
    count = 1 << 16
    data = constant("c", np.zeros((1, count))) + numbers("zero", 0) + numbers("one", 1) + numbers("far", 1 << 40)
    data += constant("column", np.zeros((count, 1))) + numbers("wide", 1 << 20, 1 << 20)
    data += numbers("million", 1 << 10, 1 << 10) + node("Fill", "many", ["million", "zero"])
    with pytest.raises(ModelError, match=f"big' .*a constant of {size} numbers"):
        read(written(tmp_path, graph() + data + operation + node("Mul", "y", ["dense/out", "big"])))


def test_functions_that_call_themselves_end(tmp_path: Path) -> None:
    body = field(1, field(1, "f") + field(2, field(1, "x")) + field(3, field(1, "y")))
    call = field(1, "again") + field(2, "f") + field(3, "x")
    function = field(1, body + field(3, call) + field(4, field(1, "y") + field(2, "again:y:0")))
    with pytest.raises(FormatError, match="functions within functions"):
        read(written(tmp_path, graph() + field(2, function) + node("f", "z", ["dense/out"])))


def test_what_is_wrong_with_a_saved_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no saved_model\.pb"):
        read(tmp_path)
    saved = nets.unpack("module", tmp_path)[0]
    with pytest.raises(ModelError, match="several outputs: all, logits"):
        read(saved)
    with pytest.raises(ModelError, match=r"no output 'logit'.*'logits'"):
        read(saved, output="logit")
    index = saved / "variables" / "variables.index"
    good = index.read_bytes()
    index.write_bytes(good[:-1] + b"\0")
    with pytest.raises(FormatError, match="no table of variables"):
        read(saved, output="logits")
    index.write_bytes(good)
    data = next((saved / "variables").glob("variables.data*"))
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(FormatError, match="is not in its file of 100"):
        read(saved, output="logits")


def mnist() -> tuple[np.ndarray, np.ndarray]:
    folder = real_data("mnist")
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=skip)
        for name, skip in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return images.reshape(-1, 28, 28, 1).astype(np.float32) / np.float32(255), labels


@pytest.mark.parametrize(("name", "right"), [("tf-savedmodel-mnist", 9810), ("tf-frozen-mnist-mlp/mnist.pb", 8989)])
def test_as_many_pictures_of_mnist_are_right_as_in_tensorflow(name: str, right: int) -> None:
    rows, labels = mnist()
    imported = read(real_data(f"models/{name}"), input_shape=(1, 28, 28))
    assert (outputs(imported, rows).argmax(1) == labels).sum() == right
    assert imported.matching.unused == ()


def test_varints_of_the_writer_are_those_of_the_format() -> None:
    assert varint(300) == b"\xac\x02"
