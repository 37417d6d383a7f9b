"""Learning-rate schedules: how the factor on every learning rate follows from the step.

A schedule is a pure function of the number of steps made, of the steps of an epoch and of those of the run; only
``plateau`` follows a score and has a state. Each counts its time ``t`` in steps or, with ``by=epoch``, in epochs
begun, from 0; ``T`` is the time of the whole run.

=============  ====================================================================  =========  ========================
name           factor at time t                                                      by         the same in torch, Caffe
=============  ====================================================================  =========  ========================
constant       1                                                                                ConstantLR(1), fixed
step           gamma ^ floor(t / every)                                              epoch      StepLR, step
multistep      gamma ^ (milestones of ``at`` that t has reached)                     epoch      MultiStepLR, multistep
map            the learning rate of the last key that t has reached                  step
exponential    gamma ^ t                                                             epoch      ExponentialLR, exp
polynomial     final + (1 - final) * (1 - t / T) ^ power                             step       PolynomialLR, poly
inverse        (1 + gamma * t) ^ -power                                              step       inv
sigmoid        1 / (1 + exp(-gamma * (t - center)))                                  step       sigmoid
cosine         final + (1 - final) * (1 + cos(pi * t / T)) / 2                       step       CosineAnnealingLR
one_cycle      from ``start`` up to 1 within ``rise`` of the run, then to ``final``  step       OneCycleLR, three_phase off
plateau        times ``factor`` where a score has not improved for ``patience``      epoch      ReduceLROnPlateau
=============  ====================================================================  =========  ========================

Sources: the learning-rate policies of Caffe's ``SGDSolver``; Deeplearning4j's ``ISchedule`` classes, whose formulas
are Caffe's; Loshchilov and Hutter, "SGDR", ICLR 2017 (cosine, without restarts); Smith and Topin, "Super-convergence",
2017 (one_cycle, without its cycle of the momentum).
"""

from __future__ import annotations

from firesteel.training.schedules.base import Schedule, Timing
from firesteel.training.schedules.curves import Constant, WarmUp, map_rates
from firesteel.training.schedules.specs import SCHEDULES, make_schedule, read_schedule, warm_up_steps

__all__ = [
    "SCHEDULES",
    "Constant",
    "Schedule",
    "Timing",
    "WarmUp",
    "make_schedule",
    "map_rates",
    "read_schedule",
    "warm_up_steps",
]
