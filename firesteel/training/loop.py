"""The training loop, to be read in one sitting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from firesteel.data.loader import Batch, Loader
from firesteel.process import COMPUTES, POSITION, WAITS
from firesteel.sync.base import SyncStrategy
from firesteel.training.callbacks import Callback, Progress
from firesteel.training.update import Update
from firesteel.world import World

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, K), labels (B,)) -> mean loss, a scalar."""


def train(
    model: nn.Module,
    update: Update,
    loader: Loader,
    sync: SyncStrategy,
    world: World,
    *,
    epochs: int,
    loss_function: LossFunction,
    callbacks: Sequence[Callback] = (),
    begin: Callable[[], Progress] = Progress,
    still: Iterable[nn.Module] = (),
) -> Progress:
    """Train ``model`` in place.

    Args:
        model: on the device of ``world``.
        update: of its parameters.
        loader: of this worker's rows.
        sync: see :class:`firesteel.sync.SyncStrategy` for when it is asked.
        world: who this worker is.
        epochs: passes over the data.
        loss_function: mean over the rows of a batch.
        callbacks: watch the loop; each may set ``progress.stop`` to end it, on all ranks at the same step.
        begin: says where to begin, when the strategy has started; restores what goes on from there.
        still: layers that stay in evaluation mode.

    Returns:
        where it ended.
    """
    module = sync.on_start(model, update.optimizer, world)
    module.train()
    for layer in still:
        layer.eval()
    progress = begin()
    _each(callbacks, "on_train_begin", progress)
    while progress.epoch < epochs and progress.stop is None:
        if progress.step_in_epoch == 0:
            _each(callbacks, "on_epoch_begin", progress)
        _train_epoch(module, update, loader, sync, loss_function, callbacks, progress)
        before = time.perf_counter()
        POSITION.at(progress.step, WAITS)
        sync.on_epoch_end()  # also in the middle of an epoch: however it ends, the workers have one model
        progress.sync_s += time.perf_counter() - before
        if progress.stop is None:
            progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
            _each(callbacks, "on_epoch_end", progress)
    POSITION.at(progress.step, WAITS)
    _each(callbacks, "on_train_end", progress)
    return progress


def _train_epoch(
    module: nn.Module,
    update: Update,
    loader: Loader,
    sync: SyncStrategy,
    loss_function: LossFunction,
    callbacks: Sequence[Callback],
    progress: Progress,
) -> None:
    """The steps of an epoch that are left."""
    clock = time.perf_counter
    POSITION.at(progress.step, COMPUTES)
    before = clock()
    for batch in loader.epoch(progress.epoch, first_step=progress.step_in_epoch):
        fetched = clock()
        loss = _backward(module, batch, sync, update, loss_function)
        sync.after_backward(batch)
        POSITION.at(progress.step, COMPUTES)
        update.step(progress.step)
        computed = clock()
        POSITION.at(progress.step, WAITS)
        sync.after_step(batch)
        done = clock()
        progress.step += 1
        progress.step_in_epoch += 1
        progress.learning_rate = update.learning_rate
        progress.data_s += fetched - before
        progress.compute_s += computed - fetched
        progress.sync_s += done - computed
        for callback in callbacks:
            callback.on_step_end(progress, loss, batch)
        if progress.stop is not None:
            return
        POSITION.at(progress.step, COMPUTES)
        before = clock()


def _backward(
    module: nn.Module, batch: Batch, sync: SyncStrategy, update: Update, loss_function: LossFunction
) -> Tensor:
    """Gradients of the mean loss over the rows of a batch; returns that loss, detached."""
    *first, last = batch.parts(sync.accumulate)
    total = None
    for part in first:
        with sync.accumulating():
            with update.autocast():
                loss = loss_function(module(part.features), part.labels) * (part.rows / batch.rows)
            POSITION.moves += 1
            update.scaled(sync.before_backward(loss, batch)).backward()
        total = loss.detach() if total is None else total + loss.detach()
    with update.autocast():
        loss = loss_function(module(last.features), last.labels)
    POSITION.doing = WAITS  # all-reduce exchanges while it goes backward
    if total is None:
        update.scaled(sync.before_backward(loss, batch)).backward()
        return loss.detach()
    loss = loss * (last.rows / batch.rows)
    update.scaled(sync.before_backward(loss, batch)).backward()
    return total + loss.detach()


def _each(callbacks: Sequence[Callback], hook: str, progress: Progress) -> None:
    for callback in callbacks:
        getattr(callback, hook)(progress)
