"""``NAME:key=value,...``: what is read is what was meant, and a slip says what is allowed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.errors import ConfigError
from firesteel.specs import Spec, check_options, did_you_mean, parse_spec


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("adam", "adam", {}),
        ("  adam ", "adam", {}),
        ("average:every=5", "average", {"every": 5}),
        ("average:every=5,optimizer_state=yes", "average", {"every": 5, "optimizer_state": True}),
        ("sgd:momentum=0.9,nesterov=False", "sgd", {"momentum": 0.9, "nesterov": False}),
        ("mlp:hidden=[64,32]", "mlp", {"hidden": [64, 32]}),
        ("mlp:hidden=[[1,2],[3]],dropout=1e-3", "mlp", {"hidden": [[1, 2], [3]], "dropout": 1e-3}),
        ('x:map={"a":1,"b":[2,3]},y=2', "x", {"map": {"a": 1, "b": [2, 3]}, "y": 2}),
        ("my_models:resnet", "my_models:resnet", {}),
        ("my_models:resnet:depth=18", "my_models:resnet", {"depth": 18}),
        ("package.module:make:path=s3://bucket/x", "package.module:make", {"path": "s3://bucket/x"}),
        ("x:path=http://host/?a=1", "x", {"path": "http://host/?a=1"}),
        ("x: a = 1 , b = text ", "x", {"a": 1, "b": "text"}),
        ("x:a=null", "x", {"a": None}),
        ("x:a=", "x", {"a": ""}),
        ('x:a="5"', "x", {"a": "5"}),
        ('x:a="yes"', "x", {"a": "yes"}),
        ('x:a="one, two",b=3', "x", {"a": "one, two", "b": 3}),
        ('x:a="k=v:w",b=3', "x", {"a": "k=v:w", "b": 3}),
    ],
)
def test_a_spec_is_read(text, name, options):
    """The name is what stands before the options; values are JSON where they can be, yes and no are booleans."""
    assert parse_spec(text) == Spec(name=name, options=options)


def test_a_spec_that_is_read_already_stays_as_it_is():
    """A Spec passes through unchanged."""
    spec = Spec(name="sgd", options={"momentum": 0.9})
    assert parse_spec(spec) is spec


@pytest.mark.parametrize("text", ["", "  ", ":", ":a=1", "adam:", "adam:lr=1,momentum", "adam:=1", "m:f:"])
def test_a_slip_is_a_config_error(text):
    """An empty name, an option without a value or without a name: the message shows what was given."""
    with pytest.raises(ConfigError, match=r"expected .*got"):
        parse_spec(text)


KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True)
TEXTS = st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@given(
    name=st.from_regex(r"[a-z.]{1,5}(:[a-z]{1,5})?", fullmatch=True), options=st.dictionaries(KEYS, VALUES, max_size=3)
)
def test_a_printed_spec_is_read_as_the_same(name, options):
    """Any name and JSON values, printed and read again, are the same: commands in logs can be repeated."""
    spec = Spec(name=name, options=options)
    assert parse_spec(str(spec)) == spec


@given(text=st.text(max_size=30) | st.text('ab:=,[]"{}1 ', max_size=15))
def test_any_text_is_a_spec_or_a_config_error(text):
    """Whatever is typed, nothing but ConfigError is raised."""
    with contextlib.suppress(ConfigError):
        assert parse_spec(text).name


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Spec(name="adam"), "adam"),
        (Spec(name="average", options={"every": 5, "optimizer_state": True}), "average:every=5,optimizer_state=yes"),
        (Spec(name="mlp", options={"hidden": [64, 32]}), "mlp:hidden=[64,32]"),
        (Spec(name="m:f", options={"kind": "deep"}), "m:f:kind=deep"),
    ],
)
def test_a_spec_is_printed_as_one_types_it(spec, text):
    """Words stand without quotes, booleans as yes and no, lists without blanks."""
    assert str(spec) == text


def test_an_unknown_option_is_named_with_a_suggestion():
    """The message says whose option it is, what there is, and the nearest name."""
    check_options("adam", {"lr": 1}, ["lr"])
    with pytest.raises(
        ConfigError, match=r"adam has no option 'momentun'. It has: lr, momentum. Did you mean 'momentum'\?"
    ):
        check_options("adam", {"lr": 1, "momentun": 2}, ["momentum", "lr"])
    with pytest.raises(ConfigError, match=r"It has: none\.$"):
        check_options("none", {"every": 1}, [])


def test_only_a_near_miss_is_suggested():
    """A word that resembles nothing gets no suggestion."""
    assert did_you_mean("tran", ["train", "test"]) == " Did you mean 'train'?"
    assert did_you_mean("quux", ["train", "test"]) == ""
