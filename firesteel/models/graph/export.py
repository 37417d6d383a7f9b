"""From a built network to a stored graph, through ``torch.export``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from firesteel.errors import ModelError
from firesteel.models.graph.network import Graph
from firesteel.models.graph.nodes import single_output
from firesteel.models.graph.translation import Translation
from firesteel.models.shapes import MOST_ELEMENTS

_ROWS = 3
"""Of an example for a batch of any size: 0 and 1 are special sizes for torch.export, and 2 is the number of too many things."""
_MANY_ROWS = 97
"""A prime: sizes in a trace that are multiples of it are multiples of the number of rows."""
_TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest logit; other kernels may sum in another order."""


def graph_options(network: nn.Module, example: Tensor) -> dict[str, Any]:
    """What :class:`Graph` builds the same layers from; the weights are not in it. See :func:`as_graph`."""
    return as_graph(network, example)[0].options


def as_graph(network: nn.Module, example: Tensor) -> tuple[Graph, tuple[str, ...]]:
    """The same network as a graph, with the same weights under the same names.

    Weights share their memory with the network's, except those of four dimensions: convolutions compute faster where the
    channels lie last, so the graph has them in that order, unless the network had, too.

    Layers with weights and dropout become layers of ``torch.nn`` under their names; what else the network computes becomes steps.
    A softmax at its end, or a sigmoid of each class, is left out; one logistic output becomes two classes. The result, with
    that end again, is compared with the network on batches of several sizes before it is given back.

    Args:
        network: any module; it is traced in evaluation mode on the CPU, so branches that depend on values are not possible.
        example: (B, *input_shape), a batch that it takes. B matters only for networks into which a size is built.

    Returns:
        the graph, in evaluation mode, and what a person should know, a line each.

    Raises:
        ModelError: if the network cannot be traced, does something that a graph cannot, or gives no (B, K).
    """
    mode = network.training
    network.eval()
    try:
        errors = []
        for attempt in (_of_any_rows, _of_many_rows, _of_its_rows):
            try:
                return attempt(network, example)
            except ModelError as error:
                errors.append(error)
        first, last = str(errors[0]), str(errors[-1])
        raise ModelError(first if first == last else f"{first}\nWith its own batch: {last}") from errors[-1]
    finally:
        network.train(mode)


def _of_any_rows(network: nn.Module, example: Tensor) -> tuple[Graph, tuple[str, ...]]:
    rows = example[torch.arange(_ROWS) % len(example)]
    translation = Translation(network, _export(network, rows, any_rows=True))
    graph = translation.graph(rows)
    _compare(network, graph, translation.restore, rows, (2,))  # torch.export has found that the number of rows is free
    return graph, translation.notes


def _of_many_rows(network: nn.Module, example: Tensor) -> tuple[Graph, tuple[str, ...]]:
    """A network that takes any rows, but whose code makes plain numbers of their count (``len(features)``)."""
    if _MANY_ROWS * example[0].numel() > MOST_ELEMENTS:
        raise ModelError(f"{_MANY_ROWS} rows of {example[0].numel():,} numbers are too many to try the network with.")
    rows = example[torch.arange(_MANY_ROWS) % len(example)]
    translation = Translation(network, _export(network, rows, any_rows=False), generalize=_MANY_ROWS)
    graph = translation.graph(example)
    _compare(network, graph, translation.restore, example, (2, 1))
    return graph, translation.notes


def _of_its_rows(network: nn.Module, example: Tensor) -> tuple[Graph, tuple[str, ...]]:
    """A network whose sizes of batches are fixed: these become any size if that gives the same, else batches are cut."""
    exported = _export(network, example, any_rows=False)
    translation = Translation(network, exported, generalize=len(example))
    try:
        graph = translation.graph(example)
        _compare(network, graph, translation.restore, example, (len(example), 1, len(example) + 2))
        return graph, translation.notes
    except ModelError:
        translation = Translation(network, exported)
        graph = translation.graph(example, rows=len(example))
        _compare(network, graph, translation.restore, example, (len(example), 1, len(example) + 2))
        fixed = f"the network takes exactly {len(example)} rows at a time: batches are cut and filled up"
        return graph, (*translation.notes, fixed)


def _export(network: nn.Module, example: Tensor, *, any_rows: bool) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim("rows", min=1)},) if any_rows else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch speaks of its own deprecated parts
            return torch.export.export(network, (example,), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # whatever the network's own code and torch's tracing raise
        raise ModelError(f"the network cannot be traced by torch.export: {_first_line(error)}") from error


@torch.no_grad()
def _compare(
    network: nn.Module, graph: Graph, restore: Callable[[Tensor], Tensor], example: Tensor, sizes: tuple[int, ...]
) -> None:
    """``restore`` makes of the graph's logits what the network gives.

    Raises:
    ModelError: if the graph computes something else than the network, on batches of some size."""
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        batch = example[torch.arange(size) % len(example)]
        if batch.is_floating_point():
            batch = batch + torch.rand(batch.shape, generator=generator)
        expected = _as_logits(_expected(network, batch, len(example)))
        try:
            got = restore(graph(batch))
        except (RuntimeError, IndexError) as error:  # of torch: another size of batch is built in
            first = str(error).splitlines()[0][:200]
            raise ModelError(f"the network as a graph fails for a batch of {size}: {first}") from error
        same = (got == expected) | (got.isnan() & expected.isnan())  # damaged weights give NaN and infinity in both
        difference = float((got - expected).abs().masked_fill(same, 0).max())
        scale = max(float(expected.nan_to_num(0, 0, 0).abs().max()), 1e-6)
        if not difference <= _TOLERANCE * scale:
            raise ModelError(
                f"the network as a graph gives other results, by {difference / scale:.2g} of the largest,"
                f" for a batch of {size}: it changes tensors in place, or depends on values or on the batch."
            )


def _expected(network: nn.Module, batch: Tensor, rows: int) -> Tensor:
    """What the network gives; where it takes a fixed number of rows, in parts."""
    try:
        return single_output(network(batch))
    except ModelError:
        raise
    except Exception as whole:  # whatever the network's own code thinks of so many rows
        try:
            filled = torch.cat([batch, batch[:1].expand(-len(batch) % rows, *batch.shape[1:])])
            return torch.cat([single_output(network(part)) for part in filled.split(rows)])[: len(batch)]
        except Exception as error:
            raise ModelError(
                f"the network fails for a batch of {len(batch)}: {_first_line(whole)}\nand of {rows}: {_first_line(error)}"
            ) from error


def _first_line(error: Exception) -> str:
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}"


def _as_logits(output: Tensor) -> Tensor:
    return output.float().flatten(1) if output.dim() > 1 else output.float()[:, None]


__all__ = ["as_graph", "graph_options"]
