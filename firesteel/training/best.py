"""The best model of a run on storage.

::

    RUN/best/step-00000400/    a model folder: predict and evaluate take it as it is
    RUN/best/current.json      which one, with its score; written when the folder is whole
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from firesteel.models.description import DESCRIPTION_NAME, WEIGHTS_NAME, ModelDescription, model_state, save_state
from firesteel.storage import Place
from firesteel.training.checkpoint import folder_name
from firesteel.training.checkpoint_writer import CheckpointWriter
from firesteel.training.conditions import Evaluated
from firesteel.training.scores import Score

BEST_FOLDER = "best"
_CURRENT_NAME = "current.json"


class BestModel:
    """Keeps the best model, on rank 0.

    Args:
        run: its directory.
        describe: the description of the model after so many epochs and steps.
        writer: in whose thread it is written; None writes it at once.
        whole: the state that is saved, of that of the network which was trained.
    """

    def __init__(
        self,
        run: Place,
        describe: Callable[[int, int], ModelDescription],
        writer: CheckpointWriter | None,
        whole: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda state: state,
    ):
        self._folder, self._describe, self._writer, self._whole = run / BEST_FOLDER, describe, writer, whole

    def keep(self, model: nn.Module, evaluated: Evaluated, score: Score) -> None:
        """Copy the model as it is now, and write the copy in place of the one before."""
        state = {name: tensor.clone() for name, tensor in model_state(model).items()}
        description = self._describe(evaluated.epochs, evaluated.step)
        about = {
            "folder": folder_name(evaluated.step), "step": evaluated.step, "epoch": evaluated.epoch,
            "score": score.key, "value": evaluated.scores[score.key], "scores": dict(evaluated.scores),
        }  # fmt: skip

        def write() -> None:
            self._write(state, description, about)

        if self._writer is None:
            write()
        else:
            self._writer.also(write, f"the best model, of step {evaluated.step},")

    def _write(self, state: Mapping[str, Tensor], description: ModelDescription, about: dict[str, Any]) -> None:
        save_state(self._folder / about["folder"], self._whole(dict(state)), description)
        (self._folder / _CURRENT_NAME).write_text(json.dumps(about, indent=1))
        for name in self._folder.folders():
            if name != about["folder"]:
                (self._folder / name).delete()


def best_of_run(run: Place) -> tuple[Place, dict[str, Any]] | None:
    """The folder of the best model and what is known of it; None if there is none."""
    path = run / BEST_FOLDER / _CURRENT_NAME
    if not path.exists():
        return None
    about = json.loads(path.read_text())
    return run / BEST_FOLDER / folder_name(int(about["step"])), about


def copy_model(source: Place, target: Place) -> None:
    """Copy a model folder; its description goes last, which makes the target a model."""
    for name in (WEIGHTS_NAME, DESCRIPTION_NAME):
        (target / name).write_bytes((source / name).read_bytes())
