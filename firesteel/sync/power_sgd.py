"""Low-rank gradients: torch's PowerSGD hook, with what it needs on a slow CPU cluster and for going on from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from firesteel.errors import ConfigError

# A column of zeros (a dead unit's gradient) must not become a division by zero.
_EPSILON = 1e-8


class PowerSGD:
    """Gradient matrices M (n, m) travel as P (n, r) and Q (m, r) with M ~ P Q^T; what that misses is added to the next M.

    Source: Vogels et al., "PowerSGD: Practical Low-Rank Gradient Compression", arXiv 1905.13727, by torch's hook, with
    error feedback and warm start. Differs from registering that hook: each bucket is finished before the next begins.
    The hook's three messages are sent by callbacks of gloo's two threads, where several buckets in flight could wait
    for each other, or pair their messages differently on two ranks.

    Args:
        rank: r, columns of P and Q. More sends more and is closer.
        start: steps with whole gradients before the first compressed one, 2 or more.
        min_compression: matrices that would not shrink by this factor travel whole, as vectors do.
    """

    def __init__(self, rank: int, start: int, min_compression: float):
        self._state = PowerSGDState(
            None,
            matrix_approximation_rank=rank,
            start_powerSGD_iter=start,
            min_compression_rate=min_compression,
            orthogonalization_epsilon=_EPSILON,
        )

    def register(self, module: DistributedDataParallel) -> None:
        """Let the module exchange its gradients this way.

        Raises:
            ConfigError: if a parameter has no dimension: the hook takes matrices and vectors.
        """
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and parameter.dim() == 0:
                raise ConfigError(
                    f"allreduce:powersgd cannot send parameter {name.removeprefix('module.model.')!r}, which has no dimension."
                    " Give it the shape (1,), or use communication=bf16."
                )
        # DDP reads annotations, and refuses those that are strings. A lambda has none.
        module.register_comm_hook(self._state, lambda state, bucket: _one_bucket_at_a_time(state, bucket))

    def payload_bytes(self, parameters: Iterable[nn.Parameter]) -> int:
        """What one compressed step sends."""
        return sum(self._numbers_sent(p) * p.element_size() for p in parameters)

    @property
    def last_was_compressed(self) -> bool:
        """Whether the last exchange was; the hook counts them."""
        return self._state.iter > self._state.start_powerSGD_iter

    def state(self) -> dict[str, Any]:
        """Tensors and JSON values by name."""
        state = self._state
        random = state.rng.get_state(legacy=False)["state"]
        held = {"error": state.error_dict, "p": state.p_memory_dict, "q": state.q_memory_dict}
        return {
            "powersgd.iteration": state.iter,
            "powersgd.random_key": torch.from_numpy(random["key"].astype(np.int64)),
            "powersgd.random_position": int(random["pos"]),
            **{f"powersgd.{name}.{bucket}": value for name, each in held.items() for bucket, value in each.items()},
        }

    def load_state(self, saved: dict[str, Any], device: torch.device) -> None:
        state = self._state
        state.iter = saved["powersgd.iteration"]
        key = saved["powersgd.random_key"].cpu().numpy().astype(np.uint32)
        state.rng.set_state(("MT19937", key, saved["powersgd.random_position"], 0, 0.0))
        for name, held in [("error", state.error_dict), ("p", state.p_memory_dict), ("q", state.q_memory_dict)]:
            prefix = f"powersgd.{name}."
            held.clear()
            for key, value in saved.items():
                if key.startswith(prefix):
                    held[int(key.removeprefix(prefix))] = value.to(device, copy=True)

    def _numbers_sent(self, parameter: nn.Parameter) -> int:
        state = self._state
        n = parameter.shape[0]
        m = parameter.numel() // n if n else 0
        rank = min(n, m, state.matrix_approximation_rank)
        factors = (n + m) * rank
        return factors if factors * state.min_compression_rate < n * m else n * m


def _one_bucket_at_a_time(state: PowerSGDState, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    future = powerSGD_hook(state, bucket)
    future.wait()
    return future
