"""The object that a training asks whether it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from firesteel.specs import Spec
from firesteel.training.conditions import Condition, Evaluated, FiniteLoss, Moment, Record
from firesteel.training.scores import SCORES, Score


@dataclass(frozen=True)
class StopReason:
    """Why a training ended before its last epoch.

    Attributes:
        condition: its spec, as text.
        sentence: for people.
    """

    condition: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


class Stopping:
    """Asked by a training whether it ends here; remembers all evaluations.

    ::

        at each synchronisation     on_check(record)
        after each evaluation       on_evaluation(record with its evaluation)

    What it answers follows from the record and the evaluations before alone, and those are its state: a run that goes on
    from a state ends where it would have ended. Where several workers train, all must ask with the same record, or one
    asks and tells the others: a time is another on each host.

    Attributes:
        conditions: in the order in which they are asked.
        score: that says which model is the best.
        scores: of each evaluation that are kept: those of SCORES, and the others that something here looks at.
        history: of all evaluations, the oldest first.
        best: the evaluation with the best score, the first of equal ones; None before the first that is a number.
    """

    def __init__(self, conditions: Sequence[Condition], score: Score):
        self.conditions, self.score = tuple(conditions), score
        wanted = [score, *(condition.score for condition in conditions if condition.score is not None)]
        self.scores = tuple({each.key: each for each in [*SCORES.values(), *wanted]}.values())
        self.history: tuple[Evaluated, ...] = ()
        self.best: Evaluated | None = None

    @property
    def specs(self) -> tuple[Spec, ...]:
        """The conditions as they stand in a job: read again, they are the same."""
        specs = tuple(condition.spec for condition in self.conditions)
        if any(isinstance(condition, FiniteLoss) for condition in self.conditions):
            return specs
        return (*specs, Spec(name="bounds", options={"finite": False}))

    @property
    def is_best(self) -> bool:
        """Whether the last evaluation is the best one so far: its model is the one to keep."""
        return bool(self.history) and self.best is self.history[-1]

    def on_evaluation(self, record: Record) -> StopReason | None:
        """Remember an evaluation; whether the training ends here because of it.

        Raises:
            ConfigError: if a metric or a condition of the user's own raises or returns what it must not.
        """
        assert record.evaluation is not None, "on_evaluation wants a record with an evaluation"
        scores = {score.key: score.of(record.evaluation) for score in self.scores}
        self._remember(Evaluated(**{each.name: getattr(record, each.name) for each in fields(Moment)}, scores=scores))
        return self._ask(record, "evaluation")

    def on_check(self, record: Record) -> StopReason | None:
        """Whether the training ends here, whatever the last evaluation was.

        Raises:
            ConfigError: if a condition of the user's own raises or returns what it must not.
        """
        return self._ask(record, "check")

    def state(self) -> dict[str, Any]:
        """The evaluations so far, in JSON values."""
        return {"history": [_to_json(entry) for entry in self.history]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; also one of other conditions."""
        self.history, self.best = (), None
        for entry in state["history"]:
            self._remember(_from_json(entry))

    def travelling(self) -> Stopping:
        """A new one without a history, as it can travel to workers elsewhere, with metrics and conditions by value."""
        return Stopping([condition.travelling() for condition in self.conditions], self.score.travelling())

    def _remember(self, entry: Evaluated) -> None:
        self.history = (*self.history, entry)
        value = entry.scores.get(self.score.key)  # None: evaluated before a resumption that looks at another score
        if value is not None and self.score.better(value, self.best.scores[self.score.key] if self.best else None):
            self.best = entry

    def _ask(self, record: Record, now: str) -> StopReason | None:
        record = replace(record, history=self.history)
        for condition in self.conditions:
            if condition.asked in (now, "both"):
                sentence = condition.reason(record)
                if sentence:
                    return StopReason(str(condition.spec), sentence)
        return None


def _to_json(entry: Evaluated) -> dict[str, Any]:
    """JSON has no NaN and no infinity: they stand there as texts."""
    scores = {key: _plain(value) for key, value in entry.scores.items()}
    return {each.name: _plain(getattr(entry, each.name)) for each in fields(Moment)} | {"scores": scores}


def _from_json(entry: Mapping[str, Any]) -> Evaluated:
    loss = entry["training_loss"]
    scores = {key: float(value) for key, value in entry["scores"].items()}
    return Evaluated(**dict(entry) | {"training_loss": None if loss is None else float(loss), "scores": scores})


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


__all__ = ["StopReason", "Stopping"]
