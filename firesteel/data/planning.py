"""What a preparation will do: size and channels, classes, splits, copies. Decided on the driver, the same for every task."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from firesteel.data.augmentation.policy import Policy
from firesteel.data.balance import BalanceRule
from firesteel.data.index import ClassIndex
from firesteel.data.manifest import Feature, fingerprint_of
from firesteel.data.preparation import (
    DEFAULT_SPLIT,
    Engine,
    PrepareOptions,
    PreparePlan,
    SourceFacts,
)
from firesteel.data.sources import ArraySpec, Row
from firesteel.data.split import SplitRule
from firesteel.errors import ConfigError, DataError, FormatError
from firesteel.formats import images
from firesteel.formats.images import ImageSpec


@dataclass(frozen=True)
class Preparation:
    """All that is known before the rows are read.

    Attributes:
        facts: of the source.
        options: of the user.
        plan: for the tasks.
        index: of the classes.
        fingerprint: of source and options.
    """

    facts: SourceFacts
    options: PrepareOptions
    plan: PreparePlan
    index: ClassIndex
    fingerprint: str


def planned(
    facts: SourceFacts, engine: Engine, where: str, options: PrepareOptions, *, fingerprint: str, token: str = ""
) -> Preparation:
    """Decide size, channels, classes and splits.

    Args:
        facts: of the source, as known without an engine.
        engine: goes over the source.
        where: URI of the dataset's folder.
        options: of the user.
        fingerprint: of source and options.
        token: of the preparation, see :class:`PreparePlan`.

    Raises:
        DataError: if nothing usable is there.
        ConfigError: for an option that does not go with the source.
    """
    facts = engine.facts(facts)
    fractions = options.split or (None if facts.own_splits else DEFAULT_SPLIT)
    image = None
    if facts.array is None and options.table is None:
        image = guess_image(engine.sample(256), options)
    elif options.size is not None or options.channels is not None:
        image = _other_size(facts.array, options)
    known = None if options.table is not None else feature_of(image, facts.array, options.encoding)
    if options.balance is not None and (known is None or known.kind != "image"):
        holds = "the columns of a table" if known is None else f"arrays of shape {known.shape}"
        raise ConfigError(
            f"--balance generates pictures; this source holds {holds}. Train with"
            " --class-weights balanced or --sampling balanced instead."
        )
    if "train" not in (fractions or facts.own_splits):
        _check_evaluation_only(options)
    index = engine.index(options.seed, list(fractions.values()) if fractions else None, options.targets)
    kept, dropped = kept_and_dropped(index, facts.class_names, options.min_per_class, in_order=facts.in_order)
    if not kept:
        raise DataError(
            f"no class is left: the source has {len(dropped)} classes with"
            f" {sum(index.counts.values())} usable rows, and each kept class needs {options.min_per_class}."
        )
    boundaries = {name: index.boundaries[name] for name in kept if name in index.boundaries}
    rule = SplitRule(tuple(fractions), options.seed, boundaries) if fractions else None
    splits = tuple(fractions) if fractions else tuple(facts.own_splits)
    feature = engine.table_feature(rule) or known
    assert feature is not None
    plan = PreparePlan(
        where,
        feature,
        image,
        tuple(kept),
        frozenset(dropped),
        rule,
        splits,
        options.seed,
        options.shard_bytes,
        token,
        _balance_rule(index, kept, options),
        facts.array if image is not None else None,
    )
    return Preparation(facts, options, plan, index, fingerprint)


def _check_evaluation_only(options: PrepareOptions) -> None:
    """Raises:
    ConfigError: if options need a split train, which there is none of."""
    if options.table is not None:
        raise ConfigError("a table needs a split named train, of which its encoding is learnt.")
    for name in ("max_per_class", "balance"):
        if getattr(options, name) is not None:
            raise ConfigError(f"{name} is for the split train, and there is none: this dataset is for evaluation only.")


def _balance_rule(index: ClassIndex, kept: list[str], options: PrepareOptions) -> BalanceRule | None:
    if not options.targets:
        return None
    policy = None if options.balance is None else options.policy or Policy.of("default")
    return BalanceRule(options.seed, {name: index.quotas[name] for name in kept if name in index.quotas}, policy)


def _other_size(array: ArraySpec | None, options: PrepareOptions) -> ImageSpec:
    """What arrays that are pictures become.

    Raises:
        DataError: if they are none.
    """
    if array is None or not array.is_picture:
        held = "the columns of a table" if array is None else f"{array.dtype} arrays of shape {array.shape}"
        raise DataError(
            f"--size and --channels are for pictures; this source holds {held}."
            " Arrays are pictures if they are uint8 with 1 or 3 channels, (channels, height, width)."
        )
    channels, height, width = array.shape
    return ImageSpec(*(options.size or (height, width)), options.channels or channels)


def guess_image(samples: Iterable[Row], options: PrepareOptions) -> ImageSpec:
    """Size and channels of the dataset: as the options say, else as the sampled pictures agree.

    Raises:
        DataError: if no sampled picture can be read.
        ConfigError: if no size is given and the pictures do not agree on one.
    """
    if options.size is not None and options.channels is not None:
        return ImageSpec(*options.size, options.channels)
    seen: list[tuple[int, int, int]] = []
    failures: list[str] = []
    for row in samples:
        try:
            seen += [images.probe(row.data)] if row.problem is None else []
        except FormatError as error:
            failures.append(str(error))
    if not seen:
        raise DataError(
            f"none of the first {max(1, len(failures))} records sampled is a picture"
            + (f" (first: {failures[0]})." if failures else ".")
        )
    channels: Any = options.channels or (1 if all(found[2] == 1 for found in seen) else 3)
    if options.size is not None:
        return ImageSpec(*options.size, channels)
    (size, votes), *others = Counter(found[:2] for found in seen).most_common()
    if votes < 0.9 * len(seen):
        raise ConfigError(
            f"the pictures have different sizes ({size[0]}x{size[1]}, {others[0][0][0]}x{others[0][0][1]}, ...;"
            f" {len(others) + 1} in {len(seen)} sampled). A network needs one.\n"
            "Say it with --size HEIGHTxWIDTH, for example --size 32x32."
        )
    return ImageSpec(*size, channels)


def kept_and_dropped(
    index: ClassIndex, announced: Sequence[str], min_per_class: int, *, in_order: bool = False
) -> tuple[list[str], list[str]]:
    """Class names in label order, and those that have too few rows.

    The order is that of the announcement, if ``in_order``; else numbers by value, other names by name.
    """
    names = set(index.counts) | set(announced)
    place = {name: number for number, name in enumerate(announced)} if in_order else {}
    ordered = sorted(names, key=lambda name: (place.get(name, len(place)), _natural(name)))
    kept = [name for name in ordered if index.counts.get(name, 0) >= min_per_class]
    return kept, [name for name in ordered if name not in set(kept)]


def _natural(name: str) -> tuple[int, float, str]:
    try:
        number = float(name)
    except ValueError:
        return (1, 0.0, name)
    return (0, number, name) if math.isfinite(number) else (1, 0.0, name)


def feature_of(image: ImageSpec | None, array: ArraySpec | None, encoding: Literal["raw", "jpeg"]) -> Feature:
    """What a row of the dataset holds.

    Raises:
        ConfigError: if arrays are to be encoded as JPEG.
    """
    if image is not None:
        return Feature(dtype="uint8", shape=image.shape, encoding=encoding, kind="image")
    assert array is not None
    if encoding == "jpeg":
        raise ConfigError("encoding jpeg is for pictures; this source holds arrays. Use --encoding raw.")
    kind: Literal["image", "array"] = "image" if array.is_picture else "array"
    return Feature(dtype=array.dtype, shape=array.shape, encoding="raw", kind=kind)


def fingerprint_of_source(facts: SourceFacts, options: PrepareOptions) -> str:
    """Of what a source consists of and the options: the same again means the dataset is the same."""
    if facts.fingerprint_parts is None:
        return fingerprint_of(["never reused", os.urandom(16).hex()])
    # What came later and is not used is left out, so that datasets of earlier versions are reused.
    parameters = {
        name: value
        for name, value in options.model_dump(mode="json").items()
        if value is not None or name not in ("table", "max_per_class", "balance", "policy")
    }
    return fingerprint_of([facts.description, facts.fingerprint_parts, parameters])
