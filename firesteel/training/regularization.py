"""L1 and L2 penalties, which enter through the gradient, and decoupled weight decay, which does not."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Regularization:
    """Adds penalties to gradients and shrinks parameters, in place.

    Args:
        parameters: that are regularised.
        l1: adds ``l1 * sign(w)`` to the gradient: the penalty ``l1 * sum(|w|)``.
        l2: adds ``l2 * w`` to the gradient: the penalty ``l2 / 2 * sum(w²)``, as Caffe's weight_decay, torch's of SGD and
            Deeplearning4j's l2.
        weight_decay: ``w`` is multiplied by ``1 - learning_rate * weight_decay`` before the step of the optimizer, with
            the learning rate of that parameter at that step: Loshchilov and Hutter, "Decoupled weight decay
            regularization", ICLR 2019, as torch's AdamW, for every optimizer.

    The penalties are no part of the loss that is reported.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], l1: float, l2: float, weight_decay: float):
        self._parameters = list(parameters)
        self._ids = {id(parameter) for parameter in self._parameters}
        self._l1, self._l2, self._weight_decay = l1, l2, weight_decay

    @torch.no_grad()
    def __call__(self, optimizer: Optimizer) -> None:
        """Called between the clipping of the gradients and the step of the optimizer."""
        if self._l1 or self._l2:
            moved: list[Tensor] = [parameter for parameter in self._parameters if parameter.grad is not None]
            gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
            if self._l2:
                torch._foreach_add_(gradients, moved, alpha=self._l2)
            if self._l1:
                torch._foreach_add_(gradients, torch._foreach_sign(moved), alpha=self._l1)
        if self._weight_decay:
            for group in optimizer.param_groups:
                decayed: list[Tensor] = [p for p in group["params"] if id(p) in self._ids and p.grad is not None]
                if decayed:
                    torch._foreach_mul_(decayed, 1 - group["lr"] * self._weight_decay)
