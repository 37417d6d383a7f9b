"""Mixed precision: what is computed in 16 bits, and what happens where 16 bits are not enough."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from firesteel.errors import ConfigError
from firesteel.training.precision import Precision
from firesteel.training.regularization import Regularization
from firesteel.training.settings import check_precision
from firesteel.training.update import Update

CPU = torch.device("cpu")


def small_update(name: str, *, agree: bool = False) -> tuple[nn.Linear, Update]:
    """A linear layer with weights of 1, without bias; plain SGD, rate 0.5, decay 0.1."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    decay = Regularization(model.parameters(), 0.0, 0.0, 0.1)
    return model, Update(optimizer, regularization=decay, precision=Precision(name, CPU, agree=agree))


def backward(model: nn.Linear, update: Update, features: list[float]) -> None:
    """Gradients of a quarter of the features; times the scale of 65536, fp16 holds those of features below 4."""
    with update.autocast():
        loss = model(torch.tensor([features])).float().sum() / 4
    update.scaled(loss).backward()


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_the_forward_pass_is_in_16_bits_and_the_weights_are_not(name: str, dtype: torch.dtype) -> None:
    model, update = small_update(name)
    with update.autocast():
        outputs = model(torch.ones(1, 2))
        assert nn.functional.cross_entropy(outputs, torch.zeros(1, dtype=torch.long)).dtype == torch.float32
    assert outputs.dtype == dtype
    update.scaled(outputs.sum()).backward()
    assert model.weight.grad is not None
    assert model.weight.grad.dtype == torch.float32
    update.step(0)
    assert model.weight.dtype == torch.float32


def test_small_gradients_survive_in_fp16() -> None:
    """1e-8 is zero in fp16; multiplied by the scale it is not."""
    model, update = small_update("fp16")
    with update.autocast():
        loss = model(torch.ones(1, 2)).float().sum() * 1e-8
    update.scaled(loss).backward()
    assert update._precision is not None
    assert update._precision.unscale(update.optimizer)
    assert model.weight.grad is not None
    torch.testing.assert_close(model.weight.grad, torch.full((1, 2), 1e-8), rtol=0.01, atol=0)


def test_a_step_whose_gradients_overflow_is_skipped_whole() -> None:
    """Neither the optimizer nor the decay of weights moves anything, the scale is halved, and the next step is made."""
    model, update = small_update("fp16")
    assert update.loss_scale == 65536
    backward(model, update, [1.0, 8.0])
    update.step(0)
    assert torch.equal(model.weight, torch.ones(1, 2))
    assert (update.skipped_steps, update.loss_scale) == (1, 32768)
    assert model.weight.grad is None
    for _ in range(2):
        backward(model, update, [0.5, 1.0])
        update.step(1)
    assert (update.skipped_steps, update.loss_scale) == (1, 32768)
    moved = torch.tensor([[0.0625, 0.125]])
    torch.testing.assert_close(model.weight.detach(), (0.95 - moved) * 0.95 - moved)


def test_the_scale_is_restored() -> None:
    model, update = small_update("fp16")
    backward(model, update, [1.0, 8.0])
    update.step(0)
    state = json.loads(json.dumps(update.state()))
    model, again = small_update("fp16")
    again.load_state(state)
    assert (again.skipped_steps, again.loss_scale) == (1, 32768)
    backward(model, again, [0.5, 1.0])
    again.step(1)
    assert again.state()["precision"]["_growth_tracker"] == 1


def _overflow_on_rank_one(rank: int, folder: str, agree: bool) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model, update = small_update("fp16", agree=agree)
    for step, features in enumerate([[0.5, 8.0 if rank == 1 else 0.5], [0.5, 0.5]]):
        backward(model, update, features)
        update.step(step)
    found = [update.skipped_steps, update.loss_scale, model.weight.tolist()]
    Path(folder, f"{agree}-{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.mark.parametrize("agree", [True, False])
def test_ranks_with_gradients_of_their_own_skip_together(agree: bool, tmp_path: Path) -> None:
    """Where they agree, one rank's overflow is everyone's; the counter-proof is that they differ where they do not."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_overflow_on_rank_one, args=(rank, str(tmp_path), agree)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    first, second = (json.loads((tmp_path / f"{agree}-{rank}.json").read_text()) for rank in range(2))
    assert second[:2] == [1, 32768]
    assert (first == second) is agree


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(ConfigError, match="fp16 needs a GPU, got device cpu"):
        check_precision("fp16", "cpu")
    for precision, device in [("fp16", "cuda:0"), ("fp16", "auto"), ("bf16", "cpu"), ("fp32", "cpu")]:
        check_precision(precision, device)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_on_a_gpu(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3)).cuda()
    update = Update(torch.optim.Adam(model.parameters(), lr=0.01), precision=Precision(name, torch.device("cuda")))
    features, labels = torch.randn(60, 20).cuda(), (torch.arange(60) % 3).cuda()
    losses: list[Any] = []
    for step in range(60):
        with update.autocast():
            loss = nn.functional.cross_entropy(model(features), labels)
        update.scaled(loss).backward()
        update.step(step)
        losses.append(float(loss))
    assert losses[-1] < 0.1 * losses[0]
