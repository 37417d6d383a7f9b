"""Mixed precision: the forward pass in 16 bits, weights, gradients and optimizer in 32."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer


class Precision:
    """What the loop does differently in 16 bits.

    ``bf16`` has the range of float32 and needs nothing but autocast. ``fp16`` has little range: the loss is multiplied by
    a scale, so that small gradients do not vanish; where a gradient overflows the step is skipped and the scale halved,
    after 2,000 steps without that it is doubled (Micikevicius et al., "Mixed precision training", ICLR 2018).

    Args:
        name: fp32, bf16 or fp16.
        device: of the model.
        agree: reduce the word whether a gradient has overflowed over all ranks, so that all skip or none. Needed where
            gradients are local (parameter averaging): a rank that skips alone would fall behind in its optimizer's state
            and come to another scale. Where gradients are reduced, all ranks see the same overflow anyway.

    Attributes:
        skipped: steps that were skipped.
    """

    def __init__(self, name: str, device: torch.device, *, agree: bool = False):
        self._autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
        if name != "fp32":
            dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
            self._autocast = lambda: torch.autocast(device.type, dtype=dtype)
        self._scaler = GradScaler(device.type) if name == "fp16" else None
        self._device, self._agree = device, agree
        self.skipped = 0

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Around the forward pass and the loss."""
        return self._autocast()

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to differentiate."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def unscale(self, optimizer: Optimizer) -> bool:
        """Bring the gradients back to their own scale in place; False if they overflowed and must not be used.

        Called once a step, on every rank.
        """
        scaler = self._scaler
        if scaler is None:
            return True
        scaler.unscale_(optimizer)
        overflows = list(scaler._found_inf_per_device(optimizer).values())
        if self._agree:
            for overflow in overflows:  # where the scaler keeps it: its scale then follows from the common word
                dist.all_reduce(overflow, dist.ReduceOp.MAX)
        usable = not any(float(overflow) for overflow in overflows)
        scaler.update()
        self.skipped += not usable
        return usable

    @property
    def scale(self) -> float | None:
        """By which the loss is multiplied at present; None but for fp16."""
        return None if self._scaler is None else self._scaler.get_scale()

    def state(self) -> dict[str, Any]:
        """What the next steps depend on, as JSON values."""
        return {} if self._scaler is None else {**self._scaler.state_dict(), "skipped": self.skipped}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        if self._scaler is not None:
            self.skipped = state["skipped"]
            self._scaler.load_state_dict(state)
