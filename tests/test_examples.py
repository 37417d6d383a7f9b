"""The settings of the recipes are settings that there are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from firesteel.models import build_model, resolve_model
from firesteel.sync import check_sync
from firesteel.training.resolving import check_options_early
from firesteel.training.settings_file import read_settings, spec_text

ROOT = Path(__file__).parents[1]
RECIPES = sorted(ROOT.glob("examples/*/train.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_a_recipe_can_be_trained(path: Path) -> None:
    settings = {
        name: spec_text(value) if isinstance(value, dict) else value for name, value in read_settings(path).items()
    }
    model, sync = settings.pop("model"), settings.pop("sync", None)
    check_options_early(model, settings)
    if sync is not None:
        check_sync(sync, 4)
    with torch.device("meta"):
        build_model(resolve_model(model), input_shape=(3, 96, 96), num_classes=4)


def test_every_recipe_has_a_page_that_the_documentation_links() -> None:
    linked = (ROOT / "docs/models.md").read_text() + (ROOT / "docs/transform-tables.md").read_text()
    names = [path.parent.name for path in ROOT.glob("examples/*/README.md")]
    assert len(names) >= 6
    assert [name for name in names if f"examples/{name}/" not in linked] == []
    assert len(RECIPES) >= 3
