"""From gradient to parameter: everything that happens in a step after the backward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from firesteel.specs import Spec
from firesteel.training.clipping import make_clip
from firesteel.training.optimizers import make_optimizer
from firesteel.training.parameters import parameter_groups, regularized
from firesteel.training.precision import Precision
from firesteel.training.regularization import Regularization
from firesteel.training.schedules import Constant, Schedule, Timing, WarmUp, make_schedule, warm_up_steps
from firesteel.training.settings import UpdateSettings, check_precision
from firesteel.world import World


class Update:
    """One step of the optimizer, with all that belongs to it.

    ::

        with update.autocast():
            loss = loss_function(module(features), labels)
        update.scaled(loss).backward()
        update.step(steps_made)     unscale, clip, regularise, set the learning rates, optimizer.step(), zero_grad()

    At :meth:`step` gradients are those of the global batch where they are reduced (all-reduce), else local (averaging):
    clipping and renormalisation then apply to each worker's own.

    Args:
        optimizer: whose groups hold their learning rates at a factor of 1.
        learning_rate: that of the job, at a factor of 1, for reports; None is that of the first group.
        schedule: the factor by step.
        clip: changes the gradients in place; None for no clipping.
        regularization: adds penalties, decays weights; None for none.
        precision: 16 bits and the scale of the loss; None is fp32.

    Attributes:
        optimizer: its ``param_groups`` are as torch's, and may be read and restored by anyone between two steps.
        schedule: where it ``wants_score``, call :meth:`Schedule.add_score` at the end of each epoch.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        learning_rate: float | None = None,
        schedule: Schedule | None = None,
        clip: Callable[[], None] | None = None,
        regularization: Regularization | None = None,
        precision: Precision | None = None,
    ):
        self.optimizer = optimizer
        self.schedule = schedule or Constant()
        self._rates = [float(group["lr"]) for group in optimizer.param_groups]
        self._base_rate = self._rates[0] if learning_rate is None else learning_rate
        self._clip, self._regularization = clip, regularization
        self._precision = precision
        self._factor = 1.0

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Around the forward pass and the loss."""
        return _NOTHING if self._precision is None else self._precision.autocast()

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to differentiate."""
        return loss if self._precision is None else self._precision.scaled(loss)

    def step(self, steps_made: int) -> None:
        """Move the parameters, unless fp16 gradients have overflowed, and forget the gradients.

        Args:
            steps_made: since the start of the run, this one not counted; the schedule follows it.
        """
        optimizer = self.optimizer
        self._factor = self.schedule.factor(steps_made)
        # At every step, not only where it changes: a restored optimizer brings the rates of its checkpoint along.
        for group, rate in zip(optimizer.param_groups, self._rates):
            group["lr"] = rate * self._factor
        if self._precision is None or self._precision.unscale(optimizer):
            if self._clip is not None:
                self._clip()
            if self._regularization is not None:
                self._regularization(optimizer)
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @property
    def learning_rate(self) -> float:
        """Of the last step, for parameters that have no rate of their own; before the first step that of the job."""
        return self._base_rate * self._factor

    @property
    def loss_scale(self) -> float | None:
        """By which the loss is multiplied at present; None but for fp16. On a GPU this waits for the queue."""
        return None if self._precision is None else self._precision.scale

    @property
    def skipped_steps(self) -> int:
        """Steps whose gradients had overflowed in fp16."""
        return 0 if self._precision is None else self._precision.skipped

    def state(self) -> dict[str, Any]:
        """What the next steps depend on besides model, optimizer and step, as JSON values by name."""
        return {"schedule": self.schedule.state(), "precision": self._precision.state() if self._precision else {}}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`. The learning rates are those of this job, not of the one that was stopped.

        A part that the stopped run did not have (fp16 after bf16, a plateau after a constant rate) starts anew.
        """
        if state["schedule"] and self.schedule.wants_score:
            self.schedule.load_state(state["schedule"])
        if state["precision"] and self._precision is not None:
            self._precision.load_state(state["precision"])


def make_update(
    settings: UpdateSettings,
    model: nn.Module,
    timing: Timing,
    world: World,
    *,
    model_name: str,
    gradients_agree: bool = True,
    more_is_better: bool = False,
) -> Update:
    """Build the update of a job; parameters with a learning rate of 0 are frozen.

    Args:
        settings: of the job, see :func:`firesteel.training.settings.check_settings`.
        model: on its device.
        timing: of the run.
        world: whose device and size are taken.
        model_name: for messages.
        gradients_agree: whether all ranks have the same gradients at a step; if not, fp16 exchanges a word at each step.
        more_is_better: direction of the score that a ``plateau`` schedule is fed with.

    Raises:
        ConfigError: for an option that does not go with this model or device.
    """
    check_precision(settings.precision, world.device)
    optimizer = build_optimizer(settings, model, model_name)
    schedule = make_schedule(settings.schedule, timing, more_is_better=more_is_better)
    warm_up = warm_up_steps(settings.warmup, timing)
    if warm_up:
        schedule = WarmUp(schedule, warm_up, None if settings.worker_factor == 1 else 1 / settings.worker_factor)
    regularization = None
    if settings.l1 or settings.l2 or settings.weight_decay:
        regularization = Regularization(
            regularized(model, settings.regularize), settings.l1, settings.l2, settings.weight_decay or 0.0
        )
    precision = None
    if settings.precision != "fp32":
        agree = world.world_size > 1 and not gradients_agree
        precision = Precision(settings.precision, world.torch_device, agree=agree)
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return Update(
        optimizer,
        learning_rate=settings.learning_rate * settings.worker_factor,
        schedule=schedule,
        clip=make_clip(settings.clip, trainable),
        regularization=regularization,
        precision=precision,
    )


def build_optimizer(settings: UpdateSettings, model: nn.Module, model_name: str) -> Optimizer:
    """The optimizer of a job, with a group of parameters for each learning rate.

    Raises:
        ConfigError: if it refuses its options, a pattern matches nothing, or nothing is left to train.
    """
    spec = settings.optimizer
    if settings.weight_decay is not None and spec.name == "adamw":
        spec = Spec(
            name=spec.name, options={**spec.options, "weight_decay": 0.0}
        )  # ours takes the place of its default
    return make_optimizer(spec, parameter_groups(model, settings, model_name), settings.learning_rate)


_NOTHING: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
