"""Policies: as text, as files, and what is wrong with them."""

from __future__ import annotations

import json

import pytest

from firesteel.data.augmentation import BUILT_IN, Policy
from firesteel.data.augmentation.operations import OPERATIONS
from firesteel.errors import ConfigError


@pytest.mark.parametrize("policy", [*BUILT_IN, "all"])
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_policy_goes_through_a_file(policy, suffix, tmp_path):
    policy = Policy.of(list(OPERATIONS)) if policy == "all" else Policy.of(policy)
    file = tmp_path / f"policy{suffix}"
    file.write_text(policy.to_yaml() if suffix == ".yaml" else json.dumps(policy.model_dump(mode="json")))
    assert Policy.of(str(file)) == policy == Policy.of(file)
    assert Policy.model_validate(policy.model_dump(mode="json")) == policy


def test_default_is_the_nine_operations_of_the_report():
    """Names, probabilities and ranges of the report that they are from, in its order."""
    found = [(each.name, each.probability) for each in Policy.of("default").operations]
    assert found == [
        ("flip", 1.0), ("rotate90", 0.9), ("rotate90", 0.9), ("rotate90", 0.9), ("rotate", 0.5), ("rotate", 0.5),
        ("shear", 0.4), ("skew", 0.6), ("zoom", 0.4),
    ]  # fmt: skip
    operations = Policy.of("default").operations
    assert operations[1].degrees == (90, 180, 270)
    assert (operations[2].degrees, operations[3].degrees) == ((180,), (270,))
    assert (operations[4].degrees, operations[5].degrees) == ((-5, 10), (-10, 10))
    assert (operations[6].degrees, operations[8].factor) == ((-5, 5), (1.0, 1.6))


def test_operations_may_be_texts_or_mappings():
    assert Policy.of(["rotate:degrees=[-5,10],probability=0.5"]) == Policy.of(
        {"operations": [{"name": "rotate", "degrees": [-5, 10], "probability": 0.5}]}
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("defualt", "there is no policy 'defualt'. Did you mean 'default'?"),
        ("missing.yaml", "cannot read the policy"),
        ("policy.txt", ".yaml, .yml or .json"),
        ({}, "operations: field required"),
        ({"operations": []}, "expected a list of operations, got []"),
        ({"operations": "flip"}, "expected a list of operations, got 'flip'"),
        ({"operation": ["flip"]}, "Did you mean 'operations'?"),
        ({"operations": ["flip"], "interpolation": "linear"}, "interpolation: input should be"),
        (["flop"], "operation 1: there is no operation 'flop'. Did you mean 'flip'?"),
        (["flip", {"axis": "x"}], "operation 2: expected {name: rotate"),
        (["flip", "rotate:degree=[1,2]"], "operation 2, rotate, has no option 'degree'. It has: border, degrees"),
        (["rotate:degrees=[10,-5]"], "operation 1, rotate: degrees: must be [lowest, highest] within -180 and 180, got [10.0, -5.0]"),
        (["rotate:degrees=5"], "operation 1, rotate: degrees:"),
        (["zoom:factor=[0.5,2]"], "within 1 and 16"),
        (["flip:probability=1.5"], "probability: input should be less than or equal to 1"),
        (["flip:probability=nan"], "probability"),
        (["rotate90:degrees=[45]"], "degrees: input should be 90, 180 or 270"),
        (["rotate90:degrees=[]"], "degrees"),
        (7, "a policy is a name"),
        ([["flip"]], "operation 1: expected"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_policy_says_what_is_wrong(value, message):
    with pytest.raises(ConfigError) as caught:
        Policy.of(value)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_the_file_is_named(tmp_path):
    (tmp_path / "mine.yaml").write_text("operations:\n- {name: zoom, factor: [2, 1]}\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: operation 1, zoom: factor: must be"):
        Policy.of(tmp_path / "mine.yaml")
