"""What the terminal says of runs: before, after, and while they are watched."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

from firesteel.cli.output import note, say
from firesteel.cli.report import accounting
from firesteel.models.registry import is_trusted_factory
from firesteel.monitoring.events import read_events
from firesteel.monitoring.state import RunState
from firesteel.storage import Place

if TYPE_CHECKING:
    from firesteel.runtime import Watch
    from firesteel.training.driver import TrainResult


def announcing_training(watching: Watch) -> Watch:
    """Say what is about to happen, with the quantities that follow from the options, once they have been checked."""

    def watch(run: Place) -> contextlib.AbstractContextManager[Any]:
        from firesteel.training.run import RunDirectory
        from firesteel.training.settings import learning_rate_line

        job = RunDirectory(run).job()
        events = read_events(run)
        launch = [event for event in events if event["event"] == "launch"][-1]
        where = f"Spark ({launch['master'] or 'as configured'})" if launch["engine"] == "spark" else "this machine"
        note(
            f"Training {job.model.shown} on {'about ' * launch['direct']}{launch['rows']:,} rows: {launch['workers']} worker{'s' * (launch['workers'] > 1)} on {where},"
            f" global batch {job.global_batch_size}, {launch['steps_per_epoch']:,} steps an epoch,"
            f" {job.epochs} epoch{'s' * (job.epochs > 1)}."
        )
        note(f"  {learning_rate_line(job)}")
        for event in events:
            if event["event"] == "warning" and event["time"] >= launch["time"]:
                note(f"  {event['message']}")
        return watching(run)

    return watch


def stopped_training(run: str) -> str:
    """What a run that was stopped has left, and what to do with it."""
    from firesteel.training.checkpoint import find_checkpoint
    from firesteel.training.run import JOB_NAME, REPLACED_FOLDER

    place = Place.of(run)
    if not (place / JOB_NAME).exists():
        return "Stopped before the first step. Nothing was written."
    kept = " The run that it was to replace is kept in it." if (place / REPLACED_FOLDER).exists() else ""
    checkpoint = find_checkpoint(place)
    if checkpoint is None:
        return f"Stopped. {run} holds the log of the run and no checkpoint.{kept} --overwrite starts it anew."
    return f"Stopped. {run} has a checkpoint of step {checkpoint.info.step:,}: the same command with --resume goes on.{kept}"


def show_trained(result: TrainResult, dataset: str) -> None:
    """The run in a few lines, and what to do next.

    Args:
        result: of the training.
        dataset: as the user called it.
    """
    from firesteel.training.run import RunDirectory

    say(
        f"Trained {result.epochs} epoch{'s' * (result.epochs != 1)}, {result.steps:,} steps in {result.seconds:.1f} s:"
        f" {result.rows_per_second:,.0f} rows/s, {result.parameters:,} parameters."
    )
    if result.stop is not None:
        say(f"  stopped       {result.stop}")
    if result.restarts:
        say(f"  restarts      {result.restarts}: a worker was lost; all rows count once")
    best = result.best
    if "name" in best:
        say(f"  training loss {_loss(result.score)} in the last epoch")
        say(f"  best {best['name']} {best['score']:.4f} in epoch {best['epoch']} (step {best['step']:,})")
    else:
        say(
            f"  training loss {_loss(result.score)} in the last epoch; lowest {_loss(best['score'])} in epoch {best['epoch']}"
        )
    directory = RunDirectory(Place.of(result.run))
    manifest = directory.manifest()
    if manifest is not None:
        say(f"  records       {accounting(manifest.counts)}")
        for text in manifest.warnings:
            note(f"  note: {text}")
    say(f"  run           {result.run}")
    if not math.isfinite(result.score):
        note("The training has diverged: the loss is no number, and neither are the weights. Lower --learning-rate.")
        return
    name = directory.job().model.name
    confirmed = "" if is_trusted_factory(name) else f" --model {name}"
    if manifest is None:
        note(f"Next: firesteel evaluate {result.run} {dataset}{confirmed}")
    else:
        note(f"Next: firesteel predict {result.run} FILE...{confirmed}")
    if confirmed:
        note(f"      (--model, because {name} does not declare to return a torch.nn.Module)")


def _loss(value: float) -> str:
    """Four decimals, or four digits where that would be many or none."""
    return f"{value:.4f}" if 0.001 <= abs(value) < 10_000 else f"{value:.4g}"


def run_state_as_json(state: RunState) -> dict[str, Any]:
    """The object that ``firesteel watch --json`` prints."""
    return {
        "status": state.status,
        "epoch": state.epoch + 1 if state.total_steps else 0,
        "epochs": state.epochs,
        "step": state.step,
        "steps": state.total_steps,
        "score": state.score,
        "rows_per_second": state.rows_per_second,
        "seconds_left": state.seconds_left,
        "epoch_scores": {str(epoch + 1): score for epoch, score in sorted(state.epoch_scores.items())},
        "workers": [
            {
                "rank": rank,
                "host": worker.host,
                "device": worker.device,
                "status": worker.status,
                "step": worker.step,
                "rows": worker.rows,
                "score": worker.score,
                "rows_per_second": worker.rows_per_second,
            }
            for rank, worker in sorted(state.by_rank.items())
        ],
        "restarts": state.restarts,
        "checkpoint": state.checkpoint,
        "evaluation": _evaluation_as_json(state.evaluation),
        "best": _evaluation_as_json(state.best_evaluation),
        "warnings": state.warnings,
        "message": state.message,
    }


def _evaluation_as_json(event: dict[str, Any] | None) -> dict[str, Any] | None:
    return event and {name: event[name] for name in ("step", "epoch", "score", "scores")}
