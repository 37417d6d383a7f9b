"""Averaging in shared memory: the same bits as through the process group, and the tensors stay what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from firesteel.sync.flat import FlatBuffers, floating_tensors
from firesteel.sync.shared_memory import SharedTensors
from firesteel.world import World
from tests.sync.small import in_group

WEIGHTS = (0.2, 0.5, 0.3)


def tensors(rank: int) -> list[Tensor]:
    """Several types, layouts and sizes, larger than a block; other values on each rank."""
    generator = torch.Generator().manual_seed(rank)
    shapes = [(300, 257), (1,), (2, 3, 5, 7), (17,)]
    made = [torch.randn(*shape, generator=generator) for shape in shapes]
    made.append(torch.randn(4, 3, 5, 5, generator=generator).to(memory_format=torch.channels_last))
    made.append(torch.randn(9, 11, generator=generator).t())
    made.append(torch.randn(33, generator=generator).double())
    made.append(torch.randn(70, generator=generator).bfloat16())
    return made


def bits(values: list[Tensor]) -> str:
    return "".join(each.contiguous().view(torch.uint8).numpy().tobytes().hex() for each in values)


def _both(payload: None, world: World) -> dict[str, Any]:
    shared, sent = tensors(world.rank), tensors(world.rank)
    strides = [each.stride() for each in shared]
    exchange = SharedTensors.of(shared, world)
    assert exchange is not None
    ones = [torch.full((5,), float(world.rank + 1))]
    simple = SharedTensors.of(ones, world)
    assert simple is not None
    simple.weighted_sum(WEIGHTS[world.rank])
    moved = bits(shared) == bits(sent)
    buffers = FlatBuffers(sent)
    for _ in range(3):
        exchange.weighted_sum(WEIGHTS[world.rank])
        buffers.weighted_sum(WEIGHTS[world.rank])
        for each in [*shared, *sent]:
            each.mul_(1.0 + world.rank)
    return {
        "moved": moved, "same": bits(shared) == bits(sent), "strides": strides == [each.stride() for each in shared],
        "aligned": all(each.data_ptr() % 64 == 0 for each in shared), "bytes": exchange.num_bytes, "sum": ones[0].tolist(),
        "storages": len({each.untyped_storage().data_ptr() for each in shared}) == len(shared),
    }  # fmt: skip


@pytest.mark.parametrize("workers", [2, 3])
def test_the_sum_has_the_bits_of_one_through_the_process_group(workers: int) -> None:
    for found in in_group(_both, None, workers=workers):
        assert found.pop("bytes") == sum(each.numel() * each.element_size() for each in tensors(0))
        expected = sum(weight * (rank + 1) for rank, weight in enumerate(WEIGHTS[:workers]))
        assert found.pop("sum") == pytest.approx([expected] * 5)
        assert all(found.values()), found


CASES = ("overlap", "expanded", "hosts", "blind")


def _impossible(payload: None, world: World) -> list[bool]:
    return [_refused(case, world) for case in CASES]


def _refused(case: str, world: World) -> bool:
    given = [torch.ones(4), torch.ones(3)]
    if case == "overlap":
        given[1] = given[0][1:]
    if case == "expanded" and world.rank == 1:
        given[1] = torch.ones(1).expand(3)
    if case == "hosts":
        world = World(world.rank, world.world_size, 0, 1)
    if case == "blind" and world.rank == 1:
        from firesteel.sync import shared_memory

        shared_memory._opened = lambda *_: None  # another container: the path leads nowhere
    before = [each.data_ptr() for each in given]
    none = SharedTensors.of(given, world) is None
    return none and before == [each.data_ptr() for each in given]


def test_where_memory_cannot_be_shared_nothing_is_moved() -> None:
    """All workers must decide alike, also where one only cannot."""
    assert in_group(_impossible, None) == [[True] * len(CASES)] * 2


def test_what_stands_in_a_file_of_another_is_not_taken_for_the_memory(tmp_path: Path) -> None:
    from firesteel.sync.shared_memory import _opened

    other = tmp_path / "other"
    other.write_bytes(bytes(4096))
    assert _opened(str(other), 4096, mark=77) is None
    assert _opened(str(tmp_path / "none"), 4096, mark=77) is None
    assert other.read_bytes() == bytes(4096)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.second.weight = self.first.weight

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.norm(self.second(self.first(features)))
        return out


def _trains_on(payload: None, world: World) -> dict[str, Any]:
    """Tied weights, gradients, optimizer and files go on working when the tensors have been moved."""
    import safetensors.torch

    from firesteel.models.description import model_state

    torch.manual_seed(0)
    model = Tied()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    exchange = SharedTensors.of(floating_tensors(model), world)
    assert exchange is not None
    torch.manual_seed(world.rank)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    exchange.weighted_sum(0.5)
    state = safetensors.torch.load(safetensors.torch.save(model_state(model)))
    return {
        "tied": model.second.weight is model.first.weight, "names": sorted(state),
        "equal": bool(torch.equal(state["first.weight"], model.first.weight)), "values": model.first.weight.flatten().tolist(),
    }  # fmt: skip


def test_a_network_goes_on_where_its_tensors_have_been_moved() -> None:
    first, second = in_group(_trains_on, None)
    assert first == second
    assert first["tied"]
    assert first["equal"]
    assert "second.weight" not in first["names"]
