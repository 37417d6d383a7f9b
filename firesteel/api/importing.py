"""``firesteel.import_model``: networks and weights of other frameworks as model folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from firesteel.api.paths import Path
from firesteel.errors import ConfigError
from firesteel.storage import Place

if TYPE_CHECKING:
    from torch import nn

    from firesteel.models.importers.folder import ImportResult


def import_model(
    source: Path,
    folder: Path,
    *,
    format: str = "auto",
    prototxt: Path | None = None,
    weights: Path | None = None,
    output: str | None = None,
    into: Any = None,
    match_all: bool = True,
    classes: int | None = None,
    labels: Sequence[str] | Path | None = None,
    input_shape: Sequence[int] | None = None,
    size: tuple[int, int] | None = None,
    mean: float | Sequence[float] | None = None,
    scale: float | None = None,
    std: float | Sequence[float] | None = None,
    channel_order: str = "rgb",
    overwrite: bool = False,
) -> ImportResult:
    """Make a model folder of a network, or of weights, that another framework has written.

    The folder stands wherever a trained model can: ``evaluate``, ``predict``, ``Predictor``. What the
    network sees of a picture is ``(pixel - mean) * scale / std``.

    Args:
        source: the file, or the folder of a SavedModel.
        folder: for the model; new or empty.
        format: caffe, keras, onnx, tensorflow, torch, safetensors, or auto, which goes by the name.
        prototxt: caffe: the network, where it is not in the file.
        weights: keras: of a network whose source is JSON.
        output: caffe, onnx, tensorflow: name of the result that is taken, where the network gives several; not with ``into``,
            but for tensorflow, where it says which weights there are.
        into: a model as ``train`` takes it, into which the weights go by name. None takes the network of the file; files of torch
            have none.
        match_all: every tensor must find its place. If false, layers whose names differ keep their initial weights.
        classes: of ``into``; None takes the number of labels, or what the file says.
        labels: names of the classes, in their order, or a place that holds them
            (:func:`firesteel.models.importers.labels.read_labels`). None takes those of the file, or numbers.
        input_shape: of one row, channels first; where the file leaves it open, or takes rows of as many numbers.
        size: height and width, for pictures of 3 channels, instead of ``input_shape``.
        mean: in pixels, one or one a channel, in the order of ``channel_order``.
        scale: see above; 1/255 for networks that take 0 to 1.
        std: see above.
        channel_order: in which the network takes the channels: rgb or bgr.
        overwrite: replace a model in that folder.

    Returns:
        what was matched, left as it was, not used and reshaped, and the rest that is known.

    Raises:
        ConfigError: for options that do not go together, or do not fit the network.
        FormatError: if the file is damaged.
        ModelError: if it holds what cannot be represented, or tensors do not match.
        ResourceError: if a package that reads the format is missing; it says how to install it.
        RunError: if the folder is occupied.
        StorageError: if there is no such file.
    """
    from firesteel.models.importers.folder import check_folder, write_folder
    from firesteel.models.importers.formats import find_format, reader_of
    from firesteel.models.importers.preprocessing import Preprocessing
    from firesteel.models.registry import resolve_model

    place, target = Place.of(source), Place.of(folder)
    name = find_format(place, format)
    preprocessing = Preprocessing.of(mean, scale, std, channel_order)
    shape = _input_shape(input_shape, size)
    names = _labels(labels)
    if classes is not None and into is None:
        raise ConfigError("--classes goes with --into: a network that is imported whole has the classes of its file.")
    if classes is not None and names is not None and classes != len(names):
        raise ConfigError(f"classes says {classes}, and there are {len(names)} labels. Give one of them.")
    check_folder(target, overwrite=overwrite)
    network = None if into is None else resolve_model(into)
    build = None if network is None or shape is None else _builder(network, shape)
    count = classes if classes is not None else len(names) if names is not None else None
    options = _reader_options(name, prototxt, weights, build, shape, match_all, count, output, into is not None)
    imported = reader_of(name)(place, **options)
    return write_folder(
        target, place, name, imported, into=network, input_shape=shape, labels=names, preprocessing=preprocessing
    )


def _reader_options(
    name: str,
    prototxt: Path | None,
    weights: Path | None,
    build: Callable[[int], nn.Module] | None,
    shape: tuple[int, ...] | None,
    match_all: bool,
    classes: int | None,
    output: str | None,
    is_into: bool,
) -> dict[str, Any]:
    """What the reader of a format takes.

    Raises:
        ConfigError: if an option is given that it has no use for.
    """
    given = {"prototxt": prototxt, "weights": weights, "output": output}
    for option, of in _OPTIONS_OF.items():
        if given[option] is not None and name not in of:
            raise ConfigError(f"--{option} is for {_listed(of)}; this is {name}.")
        if given[option] is not None and is_into and name in _UNUSED_INTO.get(option, ()):
            raise ConfigError(f"--{option} does not go with --into: weights are taken by name, whatever leads to them.")
    if not is_into and not match_all and prototxt is None and name != "keras":
        raise ConfigError(
            "--no-match-all goes with --into or --prototxt: a network that is imported whole has all its weights."
        )
    if is_into and build is None:
        raise ConfigError("--into needs the shape of a row: --input-shape CxHxW, or --size HxW for 3 channels.")
    options: dict[str, Any] = {"input_shape": shape, "match_all": match_all}
    if name in ("torch", "safetensors", "onnx"):
        options |= {"build": build, "num_classes": classes}
    else:
        options["into"] = None if build is None else build(_known(classes))
    if output is not None:
        options["output"] = output
    files = {"prototxt": prototxt, "weights": weights}
    return options | {option: Place.of(value) for option, value in files.items() if value is not None}


_OPTIONS_OF = {"prototxt": ("caffe",), "weights": ("keras",), "output": ("caffe", "onnx", "tensorflow")}
_UNUSED_INTO = {"prototxt": ("caffe",), "output": ("caffe", "onnx")}
"""Options that say what a file's own network is; of TensorFlow the output says which weights there are."""


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _known(classes: int | None) -> int:
    if classes is None:
        raise ConfigError("--into needs the number of classes for this format: --classes K, or --labels FILE.")
    return classes


def _builder(network: Any, shape: tuple[int, ...]) -> Callable[[int], nn.Module]:
    from firesteel.models.registry import build_model

    return lambda classes: build_model(network, input_shape=shape, num_classes=classes, seed=0)


def _input_shape(input_shape: Sequence[int] | None, size: tuple[int, int] | None) -> tuple[int, ...] | None:
    if input_shape is not None and size is not None:
        raise ConfigError("give either input_shape (CxHxW) or size (HxW, of pictures with 3 channels), not both.")
    given = input_shape if size is None else (3, *size)
    if given is None:
        return None
    shape = tuple(given)
    if not shape or not all(isinstance(each, int) and 0 < each <= 1 << 20 for each in shape):
        raise ConfigError(
            f"input_shape must be whole numbers above 0, channels first, got {given!r}. Example: 3x227x227"
        )
    return shape


def _labels(given: Sequence[str] | Path | None) -> list[str] | None:
    from firesteel.models.importers.labels import read_labels

    if given is None:
        return None
    if isinstance(given, list | tuple):
        labels = [str(each) for each in given]
        if not labels or len(set(labels)) != len(labels):
            raise ConfigError("labels must be names that differ, one a class.")
        return labels
    return read_labels(Place.of(given))  # type: ignore[arg-type]
