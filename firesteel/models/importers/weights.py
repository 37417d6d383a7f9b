"""Weights into a network by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from firesteel.errors import ModelError
from firesteel.models.importers.base import Matching
from firesteel.models.shapes import show_shape
from firesteel.specs import did_you_mean

WRAPPERS = ("module.", "model.", "network.", "net.", "backbone.", "_orig_mod.")
"""What wrappers (``DataParallel``, ``torch.compile``, training scripts) put before every name."""
COUNTERS = "num_batches_tracked"
"""Of batch norm: files before torch 0.4.1 lack it, and with a momentum it has no effect."""


def load_into(network: nn.Module, tensors: Mapping[str, Tensor], *, match_all: bool) -> Matching:
    """Give a network the weights of a file, by their names in its state dict. It is changed only if all is well.

    A shape may differ by dimensions of size 1 at its beginning and end: Caffe's old files have four of them. Values become of
    the network's type. What wrappers put before every name of the file is taken off, and what stands before every name of
    the network may be missing in the file.

    Args:
        network: its tensors are overwritten in place.
        tensors: name -> value.
        match_all: every tensor of the file and every one of the network must have its match (counters of batch norm and
            second names of shared tensors aside). If false, what has no match keeps its initial value or is not used, and
            is reported.

    Raises:
        ModelError: if something has no match and ``match_all`` is true; if nothing matches; if a name matches and the shape
            does not, for both: weights that were meant for a layer and do not fit it are a mistake that must be seen. To
            give a layer a new size, give it a new name (as ``fc8`` -> ``fc8_caltech256`` in BigDL); or import with the
            sizes of the file and replace the layer.
    """
    own = network.state_dict(keep_vars=True)
    names, notes = _matching_names(list(tensors), list(own))
    matched = [name for name in own if name in names]
    if not matched:
        raise ModelError(
            f"none of the file's {len(tensors)} tensors has the name of one of the network's {len(own)}.\n"
            f"The file has {_first(tensors)}; the network {_first(own)}."
        )
    reshaped = {}
    for name in matched:
        if change := _reshaping(name, tensors[names[name]], own[name], names[name]):
            reshaped[name] = change
    ids = {id(own[name]) for name in matched}
    initial = [name for name in own if name not in names and id(own[name]) not in ids and not _is_counter(name)]
    taken = {names[name] for name in matched}
    unused = [name for name in tensors if name not in taken and not _is_counter(name)]
    if match_all and (initial or unused):
        raise ModelError(_unmatched(matched, initial, unused))
    with torch.no_grad():
        for name in matched:
            own[name].copy_(tensors[names[name]].reshape(own[name].shape))
    notes += _broken(network, matched)
    return Matching(tuple(matched), tuple(initial), tuple(unused), reshaped, tuple(notes))


def _matching_names(theirs: list[str], ours: list[str]) -> tuple[dict[str, str], list[str]]:
    """Name of the network -> name in the file, under the prefix that matches most; and what was done, in words."""
    known = set(ours)
    best = {name: name for name in theirs if name in known}
    notes: list[str] = []
    for prefix in _prefixes(theirs):
        found = {name[len(prefix) :]: name for name in theirs if name.startswith(prefix)}
        found = {name: given for name, given in found.items() if name in known}
        if len(found) > len(best):
            best, notes = found, [f"names in the file begin with {prefix!r}, which was taken off"]
    for prefix in _common_prefixes(ours):
        found = {prefix + name: name for name in theirs if prefix + name in known}
        if len(found) > len(best):
            best, notes = found, [f"names in the network begin with {prefix!r}, those in the file do not"]
    return best, notes


def _prefixes(names: list[str]) -> list[str]:
    """What may stand before the names of a file: wrappers, one in the other, and what all names have in common."""
    found = _common_prefixes(names)
    for outer in ("", *WRAPPERS):
        for inner in WRAPPERS:
            prefix = outer + inner
            if prefix not in found and any(name.startswith(prefix) for name in names):
                found.append(prefix)
    return found


def _common_prefixes(names: list[str]) -> list[str]:
    """``a.``, ``a.b.``, ... as far as all names have them in common."""
    prefixes: list[str] = []
    if not names:
        return prefixes
    parts = names[0].split(".")[:-1]
    for end in range(1, len(parts) + 1):
        prefix = ".".join(parts[:end]) + "."
        if not all(name.startswith(prefix) for name in names):
            break
        prefixes.append(prefix)
    return prefixes


def _reshaping(name: str, given: Tensor, own: Tensor, given_name: str) -> str | None:
    """What must be done to a tensor so that it fits, in words; None if nothing.

    Raises:
        ModelError: if it cannot fit.
    """
    if own.is_floating_point() != given.is_floating_point() or given.is_complex() != own.is_complex():
        raise ModelError(
            f"tensor {given_name} of the file is {_dtype(given)}, {name} of the network {_dtype(own)}: quantized and"
            " complex weights are not read.\nExport the network with 32-bit weights."
        )
    if given.shape == own.shape:
        return None
    if _without_ones(given.shape) == _without_ones(own.shape):
        return f"{show_shape(given.shape)} -> {show_shape(own.shape)}"
    layer = name.rpartition(".")[0] or name
    raise ModelError(
        f"tensor {given_name} has shape {show_shape(given.shape)} in the file and {show_shape(own.shape)} in the network.\n"
        f"If {layer} shall begin anew, with another size: give it another name in the network, and leave match-all off;"
        " or import with the sizes of the file, and replace the layer afterwards."
    )


def _unmatched(matched: list[str], initial: list[str], unused: list[str]) -> str:
    lines = [f"{len(matched)} tensors match by name, and not all that should."]
    if initial:
        near = did_you_mean(initial[0], unused)
        lines.append(f"Without a match in the file: {len(initial)} of the network: {_first(initial)}.{near}")
    if unused:
        lines.append(f"Without a match in the network: {len(unused)} of the file: {_first(unused)}.")
    lines.append("With match-all off (--no-match-all) the first keep their initial values and the second are left out.")
    return "\n".join(lines)


def _broken(network: nn.Module, matched: list[str]) -> list[str]:
    own = network.state_dict()
    bad = [name for name in matched if own[name].is_floating_point() and not is_finite(own[name])]
    return [f"{len(bad)} tensors hold NaN or infinity: {_first(bad)}"] if bad else []


def is_finite(tensor: Tensor) -> bool:
    """True if there is no NaN and no infinity.

    Both show in the least and the largest value; ``torch.isfinite`` takes ten times as long and a tensor of truth values.
    """
    return not tensor.numel() or all(math.isfinite(value) for value in torch.aminmax(tensor.detach()))


def _without_ones(shape: torch.Size) -> tuple[int, ...]:
    sizes = list(shape)
    while sizes and sizes[0] == 1:
        del sizes[0]
    while sizes and sizes[-1] == 1:
        del sizes[-1]
    return tuple(sizes)


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == COUNTERS


def _first(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


__all__ = ["is_finite", "load_into"]
