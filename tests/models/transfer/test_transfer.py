"""From a trained network to one for other classes: in one training, and through features that are computed once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import firesteel
from firesteel.errors import ConfigError, DatasetError, FiresteelError, ModelError, RunError
from firesteel.models.description import load_model, read_description
from firesteel.models.registry import ModelSource
from firesteel.models.transfer.cutting import _cut, cut
from firesteel.models.transfer.pretrained import begin_with, load_pretrained
from firesteel.specs import Spec
from firesteel.storage import Place
from tests.conftest import picture

BLOCKS = "tests.models.transfer.networks:Blocks"
QUIET: dict[str, Any] = {"engine": "local", "threads": 1, "checkpoint_every": "never"}


def folder_of(root: Path, classes: str, rows: int = 12) -> Path:
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(rows):
            (root / name / f"{i}.png").write_bytes(picture(40 * number, (12, 10), format="PNG", seed=100 * number + i))
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three classes, a network trained on it, and a dataset of five others."""
    root = tmp_path_factory.mktemp("transfer")
    firesteel.prepare(folder_of(root / "old-source", "abc"), root / "old", engine="local")
    firesteel.prepare(
        folder_of(root / "new-source", "uvwxy"), root / "new", engine="local", split={"train": 0.5, "test": 0.5}
    )
    firesteel.train(root / "old", root / "base", model=BLOCKS, epochs=2, batch_size=8, normalize="scale", **QUIET)
    return root


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_a_new_head_learns_and_what_is_frozen_stays(place: Path, tmp_path: Path) -> None:
    """Statistics of batch norms, too; the input is normalised as before."""
    result = firesteel.train(
        place / "new", tmp_path / "run", from_model=place / "base", freeze_until="norm", epochs=2, batch_size=8, **QUIET
    )
    before, after = weights(place / "base"), weights(tmp_path / "run")
    assert after["head.weight"].shape == (5, 8)
    frozen = [name for name in before if name.startswith(("first", "second", "norm"))]
    assert len(frozen) == 14
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["fc.weight"], after["fc.weight"])
    description = read_description(Place.of(tmp_path / "run" / "model"))
    assert description.normalization == read_description(Place.of(place / "base" / "model")).normalization
    assert (description.labels, description.parameters) == (list("uvwxy"), result.parameters)
    assert firesteel.evaluate(tmp_path / "run", place / "new").rows == 30


def test_the_same_classes_keep_their_head(place: Path, tmp_path: Path) -> None:
    """One epoch at a rate that changes nothing gives the same network."""
    firesteel.train(
        place / "old", tmp_path / "run", from_model=place / "base", train_only="head", epochs=1, learning_rate=1e-30,
        optimizer="sgd", **QUIET,
    )  # fmt: skip
    before, after = weights(place / "base"), weights(tmp_path / "run")
    assert all(torch.equal(before[name], after[name]) for name in before)
    firesteel.train(
        place / "old", tmp_path / "anew", from_model=place / "base", replace_head="head", epochs=1, learning_rate=1e-30,
        optimizer="sgd", **QUIET,
    )  # fmt: skip
    assert not torch.equal(weights(tmp_path / "anew")["head.weight"], before["head.weight"])


def test_workers_exchange_nothing_that_is_frozen(place: Path, tmp_path: Path) -> None:
    """Averages of what is the same everywhere might round."""
    both = {
        "from_model": place / "base",
        "epochs": 2,
        "batch_size": 3,
        "workers": 3,
        "sync": "average:every=2",
        **QUIET,
    }
    result = firesteel.train(place / "new", tmp_path / "run", freeze_until="norm", **both)
    whole = firesteel.train(place / "new", tmp_path / "all", **both)
    before, after = weights(place / "base"), weights(tmp_path / "run")
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith(("first", "second", "norm")))
    assert 0 < result.bytes_sent < whole.bytes_sent / 3


def test_a_run_that_goes_on_has_the_same_bits(place: Path, tmp_path: Path) -> None:
    options = {
        **QUIET,
        "from_model": place / "base",
        "freeze_until": "norm",
        "batch_size": 8,
        "checkpoint_every": "1 epoch",
    }
    firesteel.train(place / "new", tmp_path / "whole", epochs=4, **options)
    firesteel.train(place / "new", tmp_path / "parts", epochs=2, **options)
    firesteel.train(place / "new", tmp_path / "parts", resume=True, epochs=4)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with pytest.raises(ConfigError, match="a run keeps its freeze_until"):
        firesteel.train(place / "new", tmp_path / "parts", resume=True, epochs=6, freeze_until="second")


def test_features_are_those_of_the_network_and_train_the_rest_of_it(place: Path, tmp_path: Path) -> None:
    found = firesteel.compute_features(
        place / "base", place / "new", tmp_path / "features", freeze_until="norm", engine="local", workers=2
    )
    dataset = found.dataset
    assert (dataset.feature.shape, dataset.feature.dtype) == ((6,), "float32")  # behind the mean over the picture
    assert {name: split.rows for name, split in dataset.manifest.splits.items()} == {"train": 30, "test": 30}
    assert firesteel.compute_features(
        place / "base", place / "new", tmp_path / "features", freeze_until="norm", engine="local"
    ).reused
    result = firesteel.train(
        tmp_path / "features",
        tmp_path / "run",
        epochs=5,
        batch_size=8,
        validation_split="test",
        evaluate_every="1 epoch",
        **QUIET,
    )
    before, after = weights(place / "base"), weights(tmp_path / "run")
    assert after.keys() == before.keys()
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith(("first", "second", "norm")))
    assert not torch.equal(before["fc.weight"], after["fc.weight"])
    # The whole network takes pictures, and gives what the part gave in training.
    evaluation = firesteel.evaluate(tmp_path / "run", place / "new")
    assert result.best["score"] == pytest.approx(evaluation.accuracy)
    predictor = firesteel.Predictor(tmp_path / "run")
    assert predictor.description.model.name == BLOCKS
    assert predictor.predict_files([place / "new-source" / "u" / "0.png"])[0].label in "uvwxy"
    with pytest.raises(RunError, match="the model takes 3x12x10 uint8"):
        firesteel.evaluate(tmp_path / "run", tmp_path / "features")


def test_frozen_training_and_features_learn_the_same(place: Path, tmp_path: Path) -> None:
    """Without dropout the two are the same arithmetic, but for the order of the rows' shards: after one step on all rows."""
    options = {**QUIET, "epochs": 1, "batch_size": 30, "optimizer": "sgd", "learning_rate": 0.1, "init": "zero"}
    firesteel.train(place / "new", tmp_path / "a", from_model=place / "base", freeze_until="fc", **options)
    firesteel.compute_features(
        place / "base", place / "new", tmp_path / "f", freeze_until="fc", engine="local", workers=1
    )
    firesteel.train(tmp_path / "f", tmp_path / "b", **options)
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert torch.allclose(a["head.weight"], b["head.weight"], atol=1e-6)


def test_features_of_a_model_that_has_changed_are_refused(place: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("model.json", "model.safetensors"):
        (base / name).write_bytes((place / "base" / "model" / name).read_bytes())
    firesteel.compute_features(base, place / "new", tmp_path / "f", engine="local", workers=1)
    description = json.loads((base / "model.json").read_text())
    description["normalization"]["scale"] = 1.0
    (base / "model.json").write_text(json.dumps(description))
    with pytest.raises(DatasetError, match="which has changed since"):
        firesteel.train(tmp_path / "f", tmp_path / "run", **QUIET)


@pytest.mark.parametrize("freeze_until", ["first", "norm", "fc"])
def test_a_network_in_two_parts_gives_what_the_whole_gives(freeze_until: str, place: Path) -> None:
    description = read_description(Place.of(place / "base" / "model"))
    whole = load_model(Place.of(place / "base" / "model"), description)
    found = begin_with(place / "base", description.labels, description.feature)
    parts = cut(found.source, found.pretrained, (3, 12, 10), 3, freeze_until=freeze_until, train_only=())
    head = ModelSource(parts.head)
    from firesteel.models.registry import build_model

    built = build_model(head, input_shape=parts.shape, num_classes=3).eval()
    load_pretrained(built, found.pretrained, part=True)
    batch = torch.rand(5, 3, 12, 10)
    with torch.no_grad():
        features = parts.trunk(batch).reshape(5, *parts.shape)
        assert torch.allclose(built(features), whole(batch), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"freeze_until": "frist"}, ConfigError, "'frist' is no layer"),
        ({"replace_head": "haed"}, ConfigError, "no layer 'haed' with weights. Did you mean 'head'"),
        ({"init_from": "x"}, ConfigError, "Use one of them"),
        ({"model": "cnn"}, ModelError, "does not fit the network"),
        ({"from_model": "nowhere"}, RunError, "there is no run and no model"),
        ({"from_model": None, "replace_head": "head"}, ConfigError, "is for a network that was trained before"),
        ({"from_model": None, "normalize": "model"}, ConfigError, "normalize must be standardize, scale or none"),
        ({"freeze_until": "fc", "train_only": "fc"}, ConfigError, "use one of them"),
    ],
)
def test_mistakes_are_said_before_anything_runs(
    options: dict, error: type[Exception], message: str, place: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        firesteel.train(place / "new", tmp_path / "run", **{"from_model": place / "base", **QUIET, **options})
    assert not (tmp_path / "run" / "model").exists()


def test_known_classes_keep_their_head_in_features_too(place: Path, tmp_path: Path) -> None:
    firesteel.merge([place / "new", place / "old"], tmp_path / "both", engine="local", workers=1)
    firesteel.compute_features(place / "base", tmp_path / "both", tmp_path / "f", engine="local", workers=1)
    firesteel.train(tmp_path / "f", tmp_path / "run", epochs=1, learning_rate=1e-30, optimizer="sgd", **QUIET)
    before, after = weights(place / "base"), weights(tmp_path / "run")
    assert torch.equal(after["head.weight"][5:], before["head.weight"])
    with pytest.raises(ConfigError, match="features are taken as they are"):
        firesteel.train(tmp_path / "f", tmp_path / "no", normalize="standardize", **QUIET)


def test_known_classes_begin_anew_where_pictures_have_another_size(place: Path, tmp_path: Path) -> None:
    """A head behind a flattened map takes as many numbers as the map has."""
    firesteel.prepare(place / "new-source", tmp_path / "small", engine="local", size=(8, 8))
    firesteel.prepare(
        folder_of(tmp_path / "pictures", "uvwxyz", rows=4), tmp_path / "more", engine="local", size=(12, 12)
    )
    firesteel.train(tmp_path / "small", tmp_path / "base", model="mlp:hidden=[]", epochs=1, **QUIET)
    firesteel.train(tmp_path / "more", tmp_path / "run", from_model=tmp_path / "base", epochs=1, **QUIET)
    (name,) = [name for name in weights(tmp_path / "run") if name.endswith("weight")]
    assert weights(tmp_path / "run")[name].shape == (6, 3 * 12 * 12)


def test_damaged_weights_are_named(place: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.json").write_bytes((place / "base" / "model" / "model.json").read_bytes())
    (base / "model.safetensors").write_bytes((place / "base" / "model" / "model.safetensors").read_bytes()[:99])
    for option in ("from_model", "init_from"):
        with pytest.raises(FiresteelError, match=r"model\.safetensors is damaged"):
            firesteel.train(place / "old", tmp_path / option, model=BLOCKS, **{option: base}, **QUIET)


def test_a_network_of_a_fixed_number_of_rows_cannot_be_cut(place: Path) -> None:
    from firesteel.models.graph import Graph, as_graph

    description = read_description(Place.of(place / "base" / "model"))
    graph, _ = as_graph(load_model(Place.of(place / "base" / "model"), description), torch.rand(2, 3, 12, 10))
    fixed = Graph((3, 12, 10), 3, **{**graph.options, "rows": 4})
    with pytest.raises(ModelError, match="takes exactly 4 rows at a time"):
        _cut(fixed, [], (3, 12, 10))


@pytest.mark.parametrize("still", [True, False])
def test_a_recurrent_layer_with_dropout_is_the_same_each_time_only_if_it_is_still(still: bool) -> None:
    class Rows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(4, 5, num_layers=2, dropout=0.5, batch_first=True)
            self.head = torch.nn.Linear(5, 2)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.head(self.lstm(features)[0][:, -1])

    network = Rows().eval()
    for parameter in network.lstm.parameters():
        parameter.requires_grad_(False)
    if still:
        assert _cut(network, [network.lstm], (3, 4)).shape == (5,)
    else:
        with pytest.raises(ConfigError, match="first layer learns"):
            _cut(network, [], (3, 4))


def test_networks_that_cannot_be_taken_over(place: Path, tmp_path: Path) -> None:
    firesteel.train(place / "old", tmp_path / "fixed", model="tests.models.transfer.networks:Fixed", epochs=1, **QUIET)
    with pytest.raises((ModelError, ConfigError), match="5"):
        firesteel.train(place / "new", tmp_path / "run", from_model=tmp_path / "fixed", **QUIET)
    firesteel.prepare(place / "new-source", tmp_path / "grey", channels=1, engine="local")
    with pytest.raises(ConfigError, match="--channels 3"):
        firesteel.train(tmp_path / "grey", tmp_path / "run", from_model=place / "base", **QUIET)
    with pytest.raises(ConfigError, match="nothing says which layers are frozen"):
        firesteel.compute_features(place / "base", place / "old", tmp_path / "f", engine="local")
    with pytest.raises(ConfigError, match="device must be auto, cpu, cuda or cuda:N, got 'gpu'"):
        firesteel.compute_features(place / "base", place / "new", tmp_path / "f", engine="local", device="gpu")
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        firesteel.compute_features(place / "base", place / "old", tmp_path / "f", freeze_until="head", engine="local")
    with pytest.raises(ModelError, match="2 results of the frozen layers go to those that learn"):
        firesteel.compute_features(place / "base", place / "new", tmp_path / "f", freeze_until="second", engine="local")


def test_a_stored_graph_gets_a_new_head(place: Path, tmp_path: Path) -> None:
    """As an imported network: no class at hand, only layers and steps."""
    from firesteel.models.description import save_model
    from firesteel.models.graph import as_graph

    description = read_description(Place.of(place / "base" / "model"))
    graph, _ = as_graph(load_model(Place.of(place / "base" / "model"), description), torch.rand(2, 3, 12, 10))
    stored = description.model_copy(update={"model": Spec(name="graph", options=graph.options), "channel_order": "bgr"})
    save_model(Place.of(tmp_path / "graph"), graph, stored)
    firesteel.train(
        place / "new",
        tmp_path / "run",
        from_model=tmp_path / "graph",
        freeze_until="norm",
        epochs=1,
        batch_size=8,
        **QUIET,
    )
    found = read_description(Place.of(tmp_path / "run" / "model"))
    assert (found.channel_order, found.labels) == ("bgr", list("uvwxy"))
    firesteel.compute_features(
        tmp_path / "graph", place / "new", tmp_path / "f", freeze_until="norm", engine="local", workers=1
    )
    firesteel.train(tmp_path / "f", tmp_path / "run2", epochs=1, batch_size=8, **QUIET)
    whole = firesteel.Predictor(tmp_path / "run2")
    assert whole.description.channel_order == "bgr"
    rows = np.zeros((2, 3, 12, 10), np.uint8)
    assert whole.probabilities(rows).shape == (2, 5)


def test_old_and_new_classes_together_keep_what_the_head_knew(place: Path, tmp_path: Path) -> None:
    """Joint training: one head for all classes; those that the network knew begin as they were."""
    firesteel.merge([place / "new", place / "old"], tmp_path / "both", engine="local", workers=1)
    firesteel.train(
        tmp_path / "both", tmp_path / "run", from_model=place / "base", train_only="head", epochs=1, learning_rate=1e-30,
        optimizer="sgd", **QUIET,
    )  # fmt: skip
    before, after = weights(place / "base"), weights(tmp_path / "run")
    assert read_description(Place.of(tmp_path / "run" / "model")).labels == list("uvwxyabc")
    assert torch.equal(after["head.weight"][5:], before["head.weight"])
    assert torch.equal(after["head.bias"][5:], before["head.bias"])
    assert firesteel.evaluate(tmp_path / "run", place / "old").rows
    firesteel.train(
        tmp_path / "both", tmp_path / "anew", from_model=place / "base", replace_head="head", epochs=1, learning_rate=1e-30,
        optimizer="sgd", **QUIET,
    )  # fmt: skip
    assert not torch.equal(weights(tmp_path / "anew")["head.weight"][5:], before["head.weight"])
