"""Many tensors as one: collectives cost by the call, so parameters travel as one flat tensor a dtype."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from firesteel.models.transfer.freezing import still_norms


def floating_state(model: nn.Module) -> list[Tensor]:
    """Trainable parameters and floating buffers (batch-norm statistics), each once. Integer buffers are counters, equal anyway.

    What is frozen is the same everywhere: a mean of it would cost bytes, and may round.
    """
    return [tensor.data for tensor in floating_tensors(model)]


def floating_tensors(model: nn.Module) -> list[Tensor]:
    """The same as the model has them, with their gradients."""
    still = {id(buffer) for module in still_norms(model) for buffer in module.buffers()}
    tensors: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
    tensors += [buffer for buffer in model.buffers() if id(buffer) not in still]
    return list({id(tensor): tensor for tensor in tensors if tensor.is_floating_point()}.values())


class FlatBuffers:
    """A fixed list of tensors and, for each dtype among them, one buffer that holds them one behind the other.

    Made by all ranks together, inside a process group.
    """

    def __init__(self, tensors: Iterable[Tensor]):
        self._groups: list[tuple[Tensor, list[Tensor], list[Tensor]]] = []
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for dtype, group in by_dtype.items():
            sizes = [tensor.numel() for tensor in group]
            used, world_size = sum(sizes), dist.get_world_size()
            flat = torch.zeros(-(-used // world_size) * world_size, dtype=dtype, device=group[0].device)
            views = [piece.view_as(tensor) for piece, tensor in zip(flat[:used].split(sizes), group, strict=True)]
            self._groups.append((flat, views, group))

    @property
    def num_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for _, _, tensors in self._groups for tensor in tensors)

    def weighted_sum(self, weight: float) -> None:
        """Replace each tensor on every rank by the sum over ranks of ``weight * tensor``; on CPUs in the ranks' order."""
        for flat, views, tensors in self._groups:
            torch._foreach_copy_(views, tensors)
            _sum_over_ranks(flat.mul_(weight))
            torch._foreach_copy_(tensors, views)

    def broadcast(self) -> None:
        """Replace each tensor by rank 0's."""
        for flat, views, tensors in self._groups:
            torch._foreach_copy_(views, tensors)
            dist.broadcast(flat, src=0)
            torch._foreach_copy_(tensors, views)


def _sum_over_ranks(flat: Tensor) -> None:
    """Replace a vector, whose length the number of ranks divides, by the sum over ranks.

    On CPUs its bits follow from the values alone: gloo's all-reduce adds up in an order that depends on where an element lies, and
    workers of one host add without gloo. Each rank adds up its share: as many bytes travel as in an all-reduce.
    """
    world_size = dist.get_world_size()
    if world_size <= 2 or flat.device.type != "cpu":  # the sum of two numbers has no order
        dist.all_reduce(flat)
        return
    parts = torch.empty_like(flat)
    dist.all_to_all_single(parts, flat)
    first, *others = parts.view(world_size, -1)
    for part in others:
        first.add_(part)
    dist.all_gather(list(flat.view(world_size, -1)), first)


class FlatVector:
    """A fixed list of tensors as one vector: float32, or float64 if one of them is.

    Attributes:
        values: of shape (n,), on the device of the tensors; what :meth:`read` and :meth:`write` go through.
    """

    def __init__(self, tensors: Iterable[Tensor]):
        self._tensors = list(tensors)
        dtype = torch.float64 if any(t.dtype == torch.float64 for t in self._tensors) else torch.float32
        sizes = [tensor.numel() for tensor in self._tensors]
        device = self._tensors[0].device if self._tensors else None
        self.values = torch.zeros(sum(sizes), dtype=dtype, device=device)
        self._views = [piece.view_as(t) for piece, t in zip(self.values.split(sizes), self._tensors, strict=True)]

    def read(self) -> Tensor:
        """The values that the tensors have now."""
        if self._tensors:
            torch._foreach_copy_(self._views, self._tensors)
        return self.values

    def write(self, values: Tensor | None = None) -> None:
        """Give the tensors these values, or those of :attr:`values`; types with fewer bits round them."""
        if values is not None:
            self.values.copy_(values)
        if self._tensors:
            torch._foreach_copy_(self._tensors, self._views)


def broadcast_model(model: nn.Module) -> None:
    """Give every rank rank 0's parameters and buffers."""
    tensors = [tensor.data for tensor in [*model.parameters(), *model.buffers()] if tensor.numel()]
    FlatBuffers({id(tensor): tensor for tensor in tensors}.values()).broadcast()
