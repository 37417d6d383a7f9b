"""Networks that others have trained: right answers of the original file in its own runtime, and of the imported folder.

The files and the data are those of the project's tests (see tests/conftest.py); a row whose runtime is missing has no original. Other
runtimes need other versions of numpy, so they may lie in an environment of their own (``pip install keras tensorflow-cpu
'opencv-python-headless<5'``). With ``--nodes`` the node tests of the package onnx are counted, too.

    python benchmarks/import_models.py --data ../shared/data --originals /path/to/other/python --nodes
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, note, print_table
from PIL import Image

import firesteel
from firesteel.errors import FiresteelError
from firesteel.formats.images import ImageSpec, decode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LENET5 = "tests.cli.test_import:LeNet5"
Rows = tuple[np.ndarray, np.ndarray]
"""Raw pictures, uint8 of shape (N, C, H, W), and the number of the class of each."""


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        title: for the table.
        files: below ``models``; the first is imported.
        data: name of the rows.
        runtime: of ``import_originals.py``; None if there is none.
        options: of ``import_model``.
        prepared: rows as the original takes them, of raw ones.
        arguments: of the runtime, behind the files.
    """

    title: str
    files: tuple[str, ...]
    data: str
    runtime: str | None
    options: dict[str, Any] = field(default_factory=dict)
    prepared: Callable[[np.ndarray], np.ndarray] = lambda rows: rows
    arguments: tuple[str, ...] = ()


def channels_last(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(rows, 1, -1))


def minus_caffes_mean(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows[:, ::-1] - np.array([104, 117, 123], np.float32).reshape(3, 1, 1))


SQUEEZE = "onnx-squeezenet-cifar10"
CASES = [
    Case("mnist-8.onnx", ("onnx-mnist/mnist-8.onnx",), "MNIST", "onnxruntime"),
    Case(
        "squeezenet_cifar10.onnx", (f"{SQUEEZE}/squeezenet_cifar10.onnx",), "CIFAR-10", "onnxruntime",
        {"scale": 1 / 256}, lambda rows: channels_last(rows) / np.float32(256),
    ),
    Case(
        "LeNet-5 .pth, torch's old format", ("torch-lenet-mnist/lenet_epoch12_acc0.991.pth",), "MNIST at 32x32", None,
        {"into": LENET5, "input_shape": (1, 32, 32), "scale": 1 / 255},
    ),
    Case(
        "LeNet .caffemodel", ("caffe-lenet-mnist/lenet_iter_10000.caffemodel", "caffe-lenet-mnist/lenet.prototxt"), "MNIST", "opencv",
        {"scale": 1 / 256}, lambda rows: rows / np.float32(256),
    ),
    Case(
        "SqueezeNet .caffemodel",
        ("caffe-squeezenet/squeezenet_v1.0_deepcompression_decoded.caffemodel", "caffe-squeezenet/deploy_v1.0.prototxt"),
        "Caltech-101", "opencv", {"channel_order": "bgr", "mean": (104, 117, 123)}, minus_caffes_mean,
    ),
    Case("ResNet-8 .h5 of Keras 2", ("keras-cifar10-resnet8/pretrainedResnet.h5",), "CIFAR-10", "keras", {}, channels_last),
    Case(
        "SqueezeNet .json and .h5 of Keras 2", (f"{SQUEEZE}/squeeze_net.json", f"{SQUEEZE}/squeeze_net.h5"), "CIFAR-10",
        "keras layers", {"scale": 1 / 256}, lambda rows: channels_last(rows) / np.float32(256),
    ),
    Case(
        "SavedModel of a Keras CNN", ("tf-savedmodel-mnist",), "MNIST", "tensorflow", {"scale": 1 / 255},
        lambda rows: channels_last(rows) / np.float32(255),
    ),
    Case(
        "frozen graph of 100 rows", ("tf-frozen-mnist-mlp/mnist.pb",), "MNIST", "tensorflow frozen",
        {"scale": 1 / 255, "input_shape": (1, 28, 28)}, lambda rows: rows.reshape(len(rows), -1) / np.float32(255),
        ("Placeholder", "softmax_linear/add"),
    ),
]  # fmt: skip


def read_rows(data: Path) -> dict[str, Rows]:
    """The test sets by name."""
    pictures, labels = (
        np.frombuffer(gzip.decompress((data / "mnist" / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=skip)
        for name, skip in (("images-idx3", 16), ("labels-idx1", 8))
    )
    mnist = pictures.reshape(-1, 28, 28).copy()  # which torch may write to
    large = [np.asarray(Image.fromarray(each).resize((32, 32), Image.Resampling.BILINEAR)) for each in mnist]
    with zipfile.ZipFile(data / "cifar10" / "cifar10-png-test.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        classes = sorted({name.split("/")[-2] for name in names})
        cifar = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names])
    numbers = np.array([classes.index(name.split("/")[-2]) for name in names])
    return {
        "MNIST": (mnist[:, None], labels), "MNIST at 32x32": (np.stack(large)[:, None], labels),
        "CIFAR-10": (cifar.transpose(0, 3, 1, 2), numbers), "Caltech-101": _caltech(data),
    }  # fmt: skip


def _caltech(data: Path) -> Rows:
    """Ten of each class, at 227x227; a class that ImageNet does not have by name is -1."""
    index = json.loads((data / "models" / "caffe-squeezenet" / "imagenet_class_index.json").read_text())
    known = {str(name).lower(): int(number) for number, (_, name) in index.items()}
    pictures, labels = [], []
    with zipfile.ZipFile(next((data / "caltech101").glob("*.zip"))) as archive:
        seen: Counter[str] = Counter()
        for name in sorted(each for each in archive.namelist() if each.endswith(".jpg")):
            label = name.split("/")[-2]
            seen[label] += 1
            if seen[label] <= 10:
                pictures.append(decode(archive.read(name), ImageSpec(227, 227, 3)).pixels.transpose(2, 0, 1))
                labels.append(known.get(label.lower(), -1))
    return np.stack(pictures), np.array(labels)


def original(case: Case, models: Path, rows: np.ndarray, python: str, folder: Path) -> np.ndarray | None:
    """Probabilities that a file gives in its own runtime; None if that is not there."""
    if case.runtime is None:
        return None
    np.save(folder / "in.npy", case.prepared(rows.astype(np.float32)))
    interpreter = sys.executable if case.runtime == "onnxruntime" else python
    script = Path(__file__).with_name("import_originals.py")
    files = [*(str(models / name) for name in case.files), *case.arguments]
    command = [interpreter, str(script), case.runtime, str(folder / "in.npy"), str(folder / "out.npy"), *files]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        note(f"{case.title}: no original: {' '.join(done.stderr.strip().splitlines()[-1:])}")
        return None
    found = np.load(folder / "out.npy").astype(np.float64)
    if found.min() >= 0 and np.allclose(found.sum(1), 1, atol=1e-3):
        return found
    powers = np.exp(found - found.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def imported(case: Case, models: Path, rows: np.ndarray, folder: Path) -> np.ndarray:
    """Probabilities of the model folder."""
    options = dict(case.options)
    if len(case.files) > 1:
        options["prototxt" if case.runtime == "opencv" else "weights"] = models / case.files[1]
    firesteel.import_model(models / case.files[0], folder, overwrite=True, **options)
    return firesteel.Predictor(folder).probabilities(rows)


def counts(found: np.ndarray, labels: np.ndarray) -> str:
    """Right answers; where there are many classes also those among the first five."""
    there = labels >= 0
    order = found[there].argsort(1)[:, ::-1]
    right = order[:, 0] == labels[there]
    if found.shape[1] < 100:
        return f"{right.sum():,} of {len(right):,}"
    five = (order[:, :5] == labels[there][:, None]).any(1)
    return f"{right.sum():,} and {five.sum():,} of {len(right):,}"


def compare(case: Case, models: Path, rows: Rows, python: str, folder: Path) -> list[str]:
    """A row of the table."""
    ours = imported(case, models, rows[0], folder / "model")
    theirs = original(case, models, rows[0], python, folder)
    line = [case.title, case.data, "", counts(ours, rows[1]), "", ""]
    if theirs is not None:
        line[2] = counts(theirs, rows[1])
        line[4] = f"{(ours.argmax(1) != theirs.argmax(1)).sum():,} of {len(ours):,}"
        line[5] = f"{np.abs(ours - theirs).max():.0e}"
    return line


def run_node_tests() -> Counter[str]:
    """What becomes of the node tests of ONNX whose operators are supported, and which take numbers."""
    import onnx
    from onnx.backend.test.case.node import collect_testcases

    from firesteel.models.importers.onnx.network import OPERATORS

    found: Counter[str] = Counter()
    for case in collect_testcases(None):
        operators = {node.op_type for node in case.model.graph.node} if case.model is not None else {""}
        foreign = any(node.domain not in ("", "ai.onnx") for node in case.model.graph.node) if case.model else True
        if foreign or not operators <= {*OPERATORS, "Constant"}:
            continue
        given, wanted = case.data_sets[0]
        arrays = [*given, *wanted]
        if given and all(isinstance(each, np.ndarray) for each in arrays) and given[0].dtype in (np.float32, np.int64):
            model = onnx.ModelProto()
            model.CopyFrom(case.model)
            for value, each in list(zip(given, model.graph.input))[1:]:
                model.graph.initializer.append(onnx.numpy_helper.from_array(value, each.name))
            found[_node_test(model, given[0], wanted[0])] += 1
    return found


def _node_test(model: Any, row: np.ndarray, wanted: np.ndarray) -> str:
    import torch

    from firesteel.models.importers.onnx.network import OnnxNetwork
    from firesteel.models.importers.onnx.reading import read_file
    from firesteel.storage import Place

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        Path(folder, "n.onnx").write_bytes(model.SerializeToString())
        try:
            file = read_file(Place.of(Path(folder, "n.onnx")))
            network = OnnxNetwork(torch.from_numpy(row.copy()), file.input_name, channels_last=False)
            network.build(file.nodes, file.constants, file.weights, file.outputs[0])
            got = network.eval()(torch.from_numpy(row.copy())).numpy()
        except FiresteelError:
            return "refused with a reason"
    same = got.shape == wanted.shape and np.allclose(got, wanted, rtol=1e-4, atol=1e-5, equal_nan=True)
    return "gives the result" if same else "gives another result"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data")
    parser.add_argument("--originals", default=sys.executable, metavar="PYTHON", help="interpreter with the runtimes")
    parser.add_argument("--nodes", action="store_true", help="count the node tests of ONNX")
    options = parser.parse_args()
    rows, lines = read_rows(options.data), []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            note(case.title)
            lines.append(compare(case, options.data / "models", rows[case.data], options.originals, Path(folder)))
    print_table(["file", "data", "original", "imported", "other answers", "largest difference of a probability"], lines)
    if options.nodes:
        warnings.simplefilter("ignore")  # of numpy, in the reference results
        found = run_node_tests()
        print(
            f"\nnode tests: {', '.join(f'{count} {name}' for name, count in sorted(found.items()))}; {found.total()} in all"
        )
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
