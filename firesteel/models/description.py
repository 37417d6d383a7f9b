"""A model on storage: ``model.safetensors`` with the weights and ``model.json`` that says how to use them.

The folder stands by itself: it names the network and its options, the shape and the normalisation of its input and its
labels. ``evaluate``, ``predict`` and :class:`firesteel.Predictor` need nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from firesteel._version import __version__
from firesteel.data.manifest import Feature, Statistics
from firesteel.errors import ModelError, RunError
from firesteel.models.registry import ModelSource, build_model, is_trusted_factory, resolve_model
from firesteel.specs import Spec
from firesteel.storage import Place

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from firesteel.data.loader import Normalizer

FORMAT_VERSION = 1
DESCRIPTION_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"
_HASHED_AT_A_TIME = 1 << 22


class ModelDescription(BaseModel):
    """What ``model.json`` holds.

    Attributes:
        format_version: of this file.
        model: network and options.
        importable: False if the factory was a callable without a name; then it must be passed again to load the model.
        feature: dtype and shape of one raw input row.
        normalization: ``(value * scale - mean) / std`` per channel is what the network sees.
        channel_order: of pictures in the network: ``bgr`` turns the channels round, after they are normalised. Datasets and
            ``normalization`` hold RGB.
        labels: class names, in the order of the outputs.
        parameters: number of them.
        trained_on: dataset and run that it came from; free for other tools to add to.
        versions: of what wrote it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    model: Spec
    importable: bool = True
    feature: Feature
    normalization: Statistics
    channel_order: Literal["rgb", "bgr"] = "rgb"
    labels: list[str]
    parameters: int
    trained_on: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=lambda: {"firesteel": __version__})

    def normalizer(self, device: torch.device) -> Normalizer:
        """What makes raw rows, (B, *feature.shape), the network's input."""
        return normalizer_of(self.normalization, self.channel_order, len(self.feature.shape), device)


def normalizer_of(
    scaling: Statistics, channel_order: Literal["rgb", "bgr"], num_dims: int, device: torch.device
) -> Normalizer:
    """What makes raw rows with so many dimensions a network's input."""
    from firesteel.data.loader import Normalizer

    return Normalizer.of(scaling.mean, scaling.std, scaling.scale, num_dims, device, reverse=channel_order == "bgr")


def normalization_for(kind: str, statistics: Statistics) -> Statistics:
    """The normalisation that ``standardize``, ``scale`` or ``none`` asks for."""
    if kind == "standardize":
        return statistics
    channels = len(statistics.mean)
    return Statistics(mean=[0.0] * channels, std=[1.0] * channels, scale=statistics.scale if kind == "scale" else 1.0)


def save_model(folder: Place, model: nn.Module, description: ModelDescription) -> None:
    """Write the weights, then the description, which makes the folder a model."""
    save_state(folder, model_state(model), description)


def save_state(folder: Place, state: Mapping[str, Tensor], description: ModelDescription) -> None:
    """The same of weights by name, see :func:`model_state`."""
    import safetensors.torch

    with (folder / WEIGHTS_NAME).writing_path() as local:
        safetensors.torch.save_file(dict(state), local, metadata={"format": "pt"})
    (folder / DESCRIPTION_NAME).write_text(description.model_dump_json(indent=1))


def find_model_folder(where: str | Place) -> Place:
    """The model folder of a run, or the folder itself if it is one.

    Raises:
        RunError: if there is no model.
    """
    place = Place.of(where)
    for folder in (place / "model", place):
        if (folder / DESCRIPTION_NAME).exists():
            return folder
    if (place / "job.json").exists():
        raise RunError(f"{place} is a run that has not saved a model: it failed, was stopped, or is still training.")
    raise RunError(f"there is no run and no model at {place}: neither {place}/model/model.json nor {place}/model.json.")


def read_description(folder: Place) -> ModelDescription:
    """Read and check ``model.json``.

    Raises:
        RunError: if it is not readable by this version.
    """
    path = folder / DESCRIPTION_NAME
    try:
        raw = json.loads(path.read_text())
        if raw.get("format_version") != FORMAT_VERSION:
            raise RunError(f"{path} has version {raw.get('format_version')}; this Firesteel reads {FORMAT_VERSION}.")
        return ModelDescription.model_validate(raw)
    except (ValueError, ValidationError, AttributeError, RecursionError) as error:
        raise RunError(f"{path} is not a sound model description: {str(error).splitlines()[0]}") from error


def fingerprint_of_model(folder: Place) -> str:
    """SHA-256 of the weights, of the network, and of what is done to rows before it sees them, hexadecimal."""
    description = read_description(folder)
    about = description.model_dump(mode="json", include={"model", "feature", "normalization", "channel_order"})
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    with (folder / WEIGHTS_NAME).open() as file:
        while data := file.read(_HASHED_AT_A_TIME):
            found.update(data)
    return found.hexdigest()


def load_state(folder: Place) -> dict[str, Tensor]:
    """The weights of a model by name, on the CPU.

    Raises:
        ModelError: if the file is damaged.
        StorageError: if there is none.
    """
    import safetensors.torch

    path = folder / WEIGHTS_NAME
    data = path.read_bytes()
    try:
        return safetensors.torch.load(data)
    except Exception as error:  # safetensors raises its own type for damaged files, and others for odd headers
        raise ModelError(f"{path} is damaged: {_first_lines(error)}") from error


def load_model(folder: Place, description: ModelDescription, model: Any = None) -> nn.Module:
    """Build the network and load its weights, on the CPU, in evaluation mode.

    Args:
        folder: of the model.
        description: of the model.
        model: the factory, or its name: for models whose description alone may not be followed.

    Raises:
        ModelError: if the factory must be given and is not, or does not fit the weights.
    """
    source = source_for(description, model)
    stored = source.spec.name == "graph" and source.factory is None
    state = load_state(folder)
    network = _build(source, description, on_meta=stored)
    if stored:
        _check_types(folder / WEIGHTS_NAME, network, state)
    try:
        missing, unexpected = network.load_state_dict(state, strict=False, assign=stored)
    except Exception as error:  # RuntimeError for shapes
        raise ModelError(
            f"{folder / WEIGHTS_NAME} does not fit model {description.model.shown}: {_first_lines(error)}"
        ) from error
    missing = sorted(set(missing) - (set() if stored else shared_names(network)))
    if missing or unexpected:
        raise ModelError(
            f"{folder / WEIGHTS_NAME} does not fit model {description.model.shown}:"
            f" {len(missing)} tensors missing {missing[:3]}, {len(unexpected)} not known {unexpected[:3]}."
        )
    return network.eval()


def _build(source: ModelSource, description: ModelDescription, *, on_meta: bool) -> nn.Module:
    """The network; ``on_meta`` without memory, so that the sizes in a file take none before its weights are seen to fit."""
    import torch

    with torch.device("meta") if on_meta else contextlib.nullcontext():
        return build_model(source, input_shape=description.feature.shape, num_classes=len(description.labels), seed=0)


def _check_types(path: Place, network: nn.Module, state: Mapping[str, Tensor]) -> None:
    for name, tensor in network.state_dict().items():
        if name in state and state[name].dtype != tensor.dtype:
            raise ModelError(f"{path} does not fit its model: {name} is {state[name].dtype}, not {tensor.dtype}.")


def _first_lines(error: Exception) -> str:
    return " ".join([line for line in str(error).splitlines() if line.strip()][:2])[:300]


def allowed_source(description: ModelDescription) -> ModelSource:
    """How to make the model, if its description alone may be followed.

    Raises:
        ModelError: if not; it says what to pass.
    """
    name = description.model.name
    if not description.importable:
        raise ModelError(
            f"this model was trained from a function that no name leads to ({name}).\n"
            "Pass the function: Predictor(run, model=function), evaluate(run, dataset, model=function)."
        )
    if not is_trusted_factory(name):
        raise ModelError(
            f"{DESCRIPTION_NAME} names the function {name}, which does not declare to return a torch.nn.Module;"
            " it is not called on a file's word alone.\n"
            f"If you trust it, pass --model {name} (in Python: model={name!r}), or annotate it: -> torch.nn.Module."
        )
    return ModelSource(description.model)


def source_for(description: ModelDescription, model: Any = None) -> ModelSource:
    """How to make the model of a description, or the factory that was passed with the options on file.

    Raises:
        ModelError: if the description alone may not be followed.
    """
    if model is None:
        return allowed_source(description)
    given = resolve_model(model)
    if not given.spec.options:  # --model m:f confirms the name; the options are on file
        return ModelSource(Spec(name=given.spec.name, options=description.model.options), given.factory)
    return given


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """The state on the CPU, with each tensor once: safetensors stores no tensor under two names. Not a copy."""
    left_out = shared_names(model)
    return {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items() if name not in left_out
    }


def shared_names(model: nn.Module) -> set[str]:
    """Names in the state dict under which a tensor stands that has another name already."""
    seen: dict[tuple[int, tuple[int, ...], tuple[int, ...]], str] = {}
    shared = set()
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))
        if tensor.numel() and key in seen:
            shared.add(name)
        seen.setdefault(key, name)
    return shared
