"""The schedule that follows a score."""

from __future__ import annotations

import math
from typing import Any, Literal

from firesteel.errors import ConfigError
from firesteel.training.schedules.base import Schedule, Timing, check_count, check_number


class Plateau(Schedule):
    """Multiplied by ``factor`` where the score has not improved for more than ``patience`` epochs.

    Args:
        timing: of the run.
        factor: 0 < factor < 1.
        patience: epochs without an improvement that are borne.
        threshold: by which a score must be better than the best one.
        threshold_mode: rel, a part of the best score, or abs, in the unit of the score.
        cooldown: epochs after a reduction in which none is counted.
        min_factor: below which it never falls.
        more_is_better: True for an accuracy, False for a loss; decided by the score that is fed, no option of the user's.

    As torch's ReduceLROnPlateau, without its ``eps``. A score that is no number is no improvement.
    """

    wants_score = True

    def __init__(
        self,
        timing: Timing,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_factor: float = 0.0,
        *,
        more_is_better: bool = False,
    ):
        self._by_factor = check_number("plateau", "factor", factor, above=0)
        if self._by_factor >= 1:
            raise ConfigError(f"schedule plateau: factor must be below 1, got {factor!r}.")
        if threshold_mode not in ("rel", "abs"):
            raise ConfigError(f"schedule plateau: threshold_mode must be rel or abs, got {threshold_mode!r}.")
        self._patience = check_count("plateau", "patience", patience, least=0)
        self._threshold = check_number("plateau", "threshold", threshold, least=0)
        self._relative = threshold_mode == "rel"
        self._cooldown = check_count("plateau", "cooldown", cooldown, least=0)
        self._min_factor = check_number("plateau", "min_factor", min_factor, least=0)
        self._more_is_better = more_is_better
        self._factor, self._best, self._bad_epochs, self._cooling = 1.0, None, 0, 0

    _best: float | None

    def factor(self, step: int) -> float:
        return self._factor

    def add_score(self, score: float) -> None:
        if self._improves(score):
            self._best, self._bad_epochs = score, 0
        else:
            self._bad_epochs += 1
        if self._cooling:
            self._cooling, self._bad_epochs = self._cooling - 1, 0
        if self._bad_epochs > self._patience:
            self._factor = max(self._factor * self._by_factor, self._min_factor)
            self._cooling, self._bad_epochs = self._cooldown, 0

    def state(self) -> dict[str, Any]:
        return {
            "factor": self._factor, "best": self._best, "bad_epochs": self._bad_epochs, "cooling": self._cooling,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        self._factor, self._best = state["factor"], state["best"]
        self._bad_epochs, self._cooling = state["bad_epochs"], state["cooling"]

    def _improves(self, score: float) -> bool:
        if not math.isfinite(score):
            return False
        if self._best is None:
            return True
        # torch takes the part of the best score itself, with its sign: a negative score may then count as improved
        # where it is worse. The part of its magnitude is the same for scores above 0.
        margin = self._threshold * (abs(self._best) if self._relative else 1.0)
        return score > self._best + margin if self._more_is_better else score < self._best - margin


__all__ = ["Plateau"]
