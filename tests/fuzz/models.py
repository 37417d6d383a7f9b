"""Files of networks of other frameworks, for the fuzzer: sound ones, and what reads them."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from firesteel.errors import FiresteelError
from firesteel.storage import Place

SHAPE = (1, 4, 4)


@cache
def _caffe() -> tuple[bytes, bytes]:
    """A .caffemodel with its structure, and its prototxt."""
    from firesteel.models.importers.caffe.prototxt import parse_prototxt
    from tests.models.importers.caffe.files import encode
    from tests.models.importers.caffe.test_reading import DEPLOY, WEIGHTS

    return encode(parse_prototxt(DEPLOY.encode(), "text"), WEIGHTS), DEPLOY.encode()


def caffemodel() -> list[bytes]:
    from tests.models.importers.caffe.files import weights_layer

    tagged = [
        weights_layer("fc8", "InnerProduct", [np.ones((3, 8)), np.ones(3)], style)
        for style in ("tagged", "old", "double")
    ]
    return [_caffe()[0], *tagged]


def prototxt() -> list[bytes]:
    from tests.models.importers.caffe.nets import NETS
    from tests.models.importers.caffe.test_reading import DEPLOY, OLD

    return [DEPLOY.encode(), OLD.encode(), *(net.prototxt.encode() for net in NETS.values())]


def keras() -> list[bytes]:
    from tests.models.importers.keras import nets

    return [file for name in ("flatten", "norms", "branches") for file in nets.recorded(name)[:2]]


def keras_json() -> list[bytes]:
    from tests.models.importers.keras import nets

    found = []
    for name in nets.names():
        with zipfile.ZipFile(io.BytesIO(nets.recorded(name)[0])) as archive:
            found.append(json.dumps(json.loads(archive.read("config.json"))).encode())
    return found


def tensorflow() -> list[bytes]:
    from tests.models.importers.tensorflow import nets

    with tempfile.TemporaryDirectory() as folder:
        return [nets.unpack(name, Path(folder))[1].read_bytes() for name in nets.names()]


def saved_model() -> list[bytes]:
    """The tables of variables; graphs are those of the format before."""
    from tests.models.importers.tensorflow import nets

    with tempfile.TemporaryDirectory() as folder:
        return [(nets.unpack("cnn", Path(folder))[0] / "variables" / "variables.index").read_bytes()]


MODELS = {
    "caffemodel": caffemodel, "prototxt": prototxt, "keras": keras, "keras-json": keras_json, "tf-graph": tensorflow,
    "tf-variables": saved_model,
}  # fmt: skip


def read_model(format: str, data: bytes, work: Path) -> tuple[str, list[str]]:
    """Import one file: what became of it, and the reason."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / ("net.json" if format == "keras-json" else "net")
    path.write_bytes(data)
    try:
        _import(format, path, work)
    except FiresteelError as error:
        if len(str(error).splitlines()) not in range(1, 5):
            raise ValueError(f"an error of {len(str(error).splitlines())} lines") from error
        return "refused", [type(error).__name__]
    return "read", []


def _import(format: str, path: Path, work: Path) -> None:
    from firesteel.models.importers.caffe import read_caffe
    from firesteel.models.importers.keras import files, read_keras
    from firesteel.models.importers.tensorflow import read_tensorflow

    files._SECONDS = 5  # damaged HDF5 that keeps its reader busy is given up before the harness gives up
    if format == "caffemodel":
        read_caffe(Place.of(path), input_shape=SHAPE, match_all=False)
    elif format == "prototxt":
        (work / "weights").write_bytes(_caffe()[0])
        read_caffe(Place.of(work / "weights"), prototxt=Place.of(path), input_shape=SHAPE, match_all=False)
    elif format == "keras":
        read_keras(Place.of(path), match_all=False)
    elif format == "keras-json":
        read_keras(Place.of(path), weights=Place.of(_weights_of_keras(work)), match_all=False)
    elif format == "tf-graph":
        read_tensorflow(Place.of(path))
    else:
        shutil.copy(path, _saved(work) / "variables" / "variables.index")
        read_tensorflow(Place.of(_saved(work)))


def _weights_of_keras(work: Path) -> Path:
    from tests.models.importers.keras import nets

    path = work / "weights.h5"
    if not path.exists():
        path.write_bytes(nets.recorded("flatten")[1])
    return path


def _saved(work: Path) -> Path:
    from tests.models.importers.tensorflow import nets

    return work / "cnn" / "saved" if (work / "cnn").exists() else nets.unpack("cnn", work)[0]
