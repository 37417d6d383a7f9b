"""Threads of torch, and devices."""

from __future__ import annotations

import pytest
import torch

from firesteel.errors import ResourceError
from firesteel.world import World, usable_gpus, using_threads


def test_threads_are_given_back_whoever_ends_first() -> None:
    """Iterators that compute with fewer threads may overlap, and end in any order."""
    before = torch.get_num_threads()
    with using_threads(7):
        one, two = using_threads(3), using_threads(2)
        one.__enter__()
        assert torch.get_num_threads() == 3
        two.__enter__()
        one.__exit__(None, None, None)
        assert torch.get_num_threads() == 2
        two.__exit__(None, None, None)
        assert torch.get_num_threads() == 7
        with using_threads(None):
            assert torch.get_num_threads() == 7
    assert torch.get_num_threads() == before


def test_workers_of_a_host_take_its_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [World(local_rank=i).on_device("auto").device for i in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert World(local_rank=1).on_device("cuda:0").device == "cuda:0"
    assert World().on_device("cpu").device == "cpu"
    assert (usable_gpus("auto"), usable_gpus("cpu")) == (2, 0)
    with pytest.raises(ResourceError, match="device 'cuda:2' is no GPU of localhost, which has 2"):
        World().on_device("cuda:2")


def test_without_a_gpu_only_who_insists_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert World().on_device("auto").device == "cpu"
    for wanted in ("cuda", "cuda:1"):
        with pytest.raises(ResourceError, match=f'device "{wanted}" needs a GPU'):
            World().on_device(wanted)
