"""From a source to a prepared dataset: options, the plan that travels to the tasks, their reports.

::

    plan    = make_plan(...)                on the driver: size and channels, classes, split rule
    reports = write_partition(plan, ...)    in many tasks: decode, resize, split, write shards
    commit(...)                             on the driver: add up, check, write the manifest

The task is in :mod:`firesteel.data.partition`, what the driver does around the tasks in :mod:`firesteel.data.commit`.

What runs the tasks (local processes or Spark) is an :class:`Engine`; this module knows neither.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from firesteel.data.augmentation.policy import Policy
from firesteel.data.balance import BalanceRule, Quota, Targets, quotas_of
from firesteel.data.manifest import Feature, Shard
from firesteel.data.shards import WrittenShard
from firesteel.data.sources import ArraySpec, Row, Source
from firesteel.data.split import SplitRule, boundaries_of, parse_fractions, split_key
from firesteel.data.statistics import ChannelSums
from firesteel.errors import ConfigError, DataError, FormatError
from firesteel.formats import images
from firesteel.formats.images import ImageSpec
from firesteel.tables.options import TableOptions

DEFAULT_SPLIT = {"train": 0.8, "test": 0.2}
PROGRESS_FOLDER = ".progress"


class PrepareOptions(BaseModel):
    """What a user may choose when a dataset is prepared.

    Attributes:
        format: of the source: auto, images, bson, idx, csv, tsv, json, parquet.
        format_options: of the format; for bson the names of the fields.
        size: (height, width) in pixels; None takes that of the pictures, if at least 9 of 10 agree.
        channels: 1 (grey), 3 (RGB) or None: 1 if all sampled pictures are grey, else 3.
        split: fractions by name; None keeps the split that the source brings, else train=0.8,test=0.2.
        min_per_class: classes with fewer usable rows in the source are dropped, and counted.
        max_per_class: so many rows of each class stay in the training split, chosen by the seed; the others are dropped,
            and counted. None keeps all.
        balance: pictures are generated from those of the training split until each class has so many rows in it; None
            generates none.
        policy: how, see :class:`firesteel.data.augmentation.Policy`: a name, a file or operations; None is ``default``.
        encoding: raw (fastest to train from) or jpeg (a tenth of the space; quality 95).
        seed: of the split and of the mixing.
        shard_bytes: size of a shard's features in bytes; larger means fewer files and more memory a task.
        table: of tables: how they are read and what their columns are; None for other sources.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = "auto"
    format_options: dict[str, str] = Field(default_factory=dict)
    size: tuple[int, int] | None = None
    channels: Literal[1, 3] | None = None
    split: dict[str, float] | None = None
    min_per_class: int = Field(default=1, ge=1)
    max_per_class: int | None = Field(default=None, ge=1)
    balance: int | None = Field(default=None, ge=1)
    policy: Policy | None = None
    encoding: Literal["raw", "jpeg"] = "raw"
    seed: int = Field(default=12345, ge=0)
    shard_bytes: int = Field(default=32 << 20, ge=1 << 10)
    table: TableOptions | None = None

    @field_validator("size", mode="before")
    @classmethod
    def _read_size(cls, value: Any) -> Any:
        return parse_size(value) if isinstance(value, str) else value

    @field_validator("size")
    @classmethod
    def _check_size(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not all(1 <= edge <= 4096 for edge in value):
            raise ValueError(f"height and width must be 1 to 4096 pixels, got {value[0]}x{value[1]}")
        return value

    @field_validator("split", mode="before")
    @classmethod
    def _read_split(cls, value: Any) -> Any:
        return None if value is None else parse_fractions(value)

    @field_validator("policy", mode="before")
    @classmethod
    def _read_policy(cls, value: Any) -> Any:
        return None if value is None else Policy.of(value)

    @model_validator(mode="after")
    def _check_balance(self) -> PrepareOptions:
        if self.policy is not None and self.balance is None:
            raise ValueError("a policy is for generated pictures, which --balance N asks for; got no balance")
        if self.balance is not None and self.max_per_class is not None and self.max_per_class < self.balance:
            raise ValueError(
                f"max_per_class must be at least balance, got {self.max_per_class} and {self.balance}: rows would be"
                " dropped and others generated in their place"
            )
        return self

    @property
    def targets(self) -> Targets:
        """What is wanted of every class."""
        return Targets(self.max_per_class, self.balance)


def parse_size(text: str) -> tuple[int, int]:
    """Read ``32x48`` (height x width) or ``32`` (a square).

    Raises:
        ConfigError: if it is something else.
    """
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.strip().isdigit() for part in parts):
        raise ConfigError(f"size must be HEIGHTxWIDTH in pixels, for example 32x32, got {text!r}.")
    return int(parts[0]), int(parts[-1])


@dataclass(frozen=True)
class PreparePlan:
    """All that a task needs to know. Picklable; the same for every task.

    Attributes:
        dataset: URI of the dataset's folder.
        feature: what a row will hold.
        image: how pictures are decoded; None for arrays.
        labels: class names that are kept; the position is the label.
        dropped: class names that are dropped because they have too few rows.
        rule: of the split; None if the source's own is kept.
        splits: names of all splits.
        seed: of the mixing.
        shard_bytes: of a shard's features.
        token: of the preparation; a task writes only while the folder's marker has the same.
        balance: which training rows are dropped, and copied how often; None keeps each as it is.
    """

    dataset: str
    feature: Feature
    image: ImageSpec | None
    labels: tuple[str, ...]
    dropped: frozenset[str]
    rule: SplitRule | None
    splits: tuple[str, ...]
    seed: int
    shard_bytes: int
    token: str
    balance: BalanceRule | None = None


@dataclass
class Report:
    """What one task, or all of them together, did. Sums of tasks are reports again.

    Attributes:
        read, written, dropped, quarantined: rows; those written include those generated.
        generated: rows made from others.
        surplus: rows dropped because their class had enough.
        reasons: quarantined rows by reason.
        shards: (split, shard) in order.
        quarantine: shards of quarantined records.
        sums: of the training rows, by channel; None where there were none.
        resized: pictures that had another size.
        recolored: colour pictures that were turned into grey ones.
    """

    read: int = 0
    written: int = 0
    dropped: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    shards: list[tuple[str, WrittenShard]] = field(default_factory=list)
    quarantine: list[Shard] = field(default_factory=list)
    sums: ChannelSums | None = None
    resized: int = 0
    recolored: int = 0
    generated: int = 0
    surplus: int = 0

    def __add__(self, other: Report) -> Report:
        sums = self.sums + other.sums if self.sums and other.sums else self.sums or other.sums
        return Report(
            self.read + other.read,
            self.written + other.written,
            self.dropped + other.dropped,
            self.quarantined + other.quarantined,
            self.reasons + other.reasons,
            self.shards + other.shards,
            self.quarantine + other.quarantine,
            sums,
            self.resized + other.resized,
            self.recolored + other.recolored,
            self.generated + other.generated,
            self.surplus + other.surplus,
        )


# -- the index: classes and split keys --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassIndex:
    """Usable rows per class and, if the rows are to be split by us, where in key order each split begins.

    Attributes:
        counts: rows by class name.
        boundaries: see :class:`SplitRule`; empty if the source's own split is kept.
        quotas: see :class:`firesteel.data.balance.BalanceRule`; empty if nothing is wanted of the classes.
    """

    counts: Mapping[str, int]
    boundaries: Mapping[str, tuple[int, ...]]
    quotas: Mapping[str, Quota] = field(default_factory=dict)


def index_partition(source: Source, partition: Any, seed: int) -> pa.RecordBatch:
    """(label, key, row_key, training) of the usable rows of one partition, without their data.

    ``key`` is that of the row's group, ``row_key`` that of its id; ``training`` says whether the source itself puts the row
    into its training split.
    """
    usable = [
        row for row in source.rows_of(partition, with_data=False) if row.problem is None and row.label is not None
    ]
    labels = [row.label for row in usable]
    keys = [split_key(seed, row.id if row.group is None else row.group) for row in usable]
    row_keys = [key if row.group in (None, row.id) else split_key(seed, row.id) for key, row in zip(keys, usable)]
    training = [row.split == "train" for row in usable]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(labels, pa.string()), pa.array(keys, pa.int64()), pa.array(row_keys, pa.int64()),
            pa.array(training, pa.bool_()),
        ],
        names=INDEX_COLUMNS,
    )  # fmt: skip


INDEX_COLUMNS = ["label", "key", "row_key", "training"]


def class_index(
    batches: Iterable[pa.RecordBatch],
    fractions: Sequence[float] | None,
    targets: Targets | None = None,
    *,
    grouped: bool = False,
) -> ClassIndex:
    """The index of rows whose keys fit into memory: 33 bytes a row and one string a class.

    Args:
        batches: see :func:`index_partition`; row_key and training are needed for targets only.
        fractions: of the splits; None keeps the source's own.
        targets: of the classes in the training split.
        grouped: whether rows of several classes may share a key. One boundary for all classes keeps them together.
    """
    codes: dict[str, int] = {}
    label_parts, key_parts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    row_key_parts, training_parts = [np.zeros(0, np.int64)], [np.zeros(0, np.bool_)]
    for batch in batches:
        encoded = batch.column("label").dictionary_encode()
        code_of = np.array([codes.setdefault(name, len(codes)) for name in encoded.dictionary.to_pylist()], np.int64)
        label_parts.append(code_of[encoded.indices.to_numpy()] if len(batch) else label_parts[0])
        key_parts.append(batch.column("key").to_numpy())
        if targets:
            row_key_parts.append(batch.column("row_key").to_numpy())
            training_parts.append(batch.column("training").to_numpy(zero_copy_only=False))
    labels, keys = np.concatenate(label_parts), np.concatenate(key_parts)
    order = np.argsort(labels, kind="stable")
    edges = np.searchsorted(labels[order], np.arange(len(codes) + 1))
    rows_of = {name: order[edges[code] : edges[code + 1]] for name, code in codes.items()}
    boundaries = {}
    if fractions:
        common = boundaries_of(keys, fractions) if grouped else None
        boundaries = {name: common or boundaries_of(keys[rows], fractions) for name, rows in rows_of.items()}
    counts = {name: len(rows) for name, rows in rows_of.items()}
    if not targets:
        return ClassIndex(counts, boundaries)
    row_keys, training = np.concatenate(row_key_parts), np.concatenate(training_parts)
    for name, of in boundaries.items():
        training[rows_of[name]] = keys[rows_of[name]] <= of[0] if of else True
    trained = {name: row_keys[rows[training[rows]]] for name, rows in rows_of.items()}
    return ClassIndex(counts, boundaries, quotas_of(trained, targets))


@dataclass(frozen=True)
class SourceFacts:
    """What the driver knows of a source without reading its pictures.

    Attributes:
        description: for the manifest (where it lies, its format).
        fingerprint_parts: see :meth:`Source.fingerprint_parts`; None if the source cannot be told from another
            (a DataFrame), so that a dataset made of it is never reused.
        array: set if the rows are arrays.
        class_names: that it announces.
        own_splits: names of the splits that it brings; empty if none.
        notes: what a person should know.
        in_order: whether the announced classes are numbered in the order in which they are announced.
    """

    description: dict[str, Any]
    fingerprint_parts: Any
    array: ArraySpec | None
    class_names: list[str]
    own_splits: list[str]
    notes: list[str]
    in_order: bool = False


class Engine(ABC):
    """What runs the tasks of a preparation.

    Contract: ``write`` returns one report for each partition that ended well, in the order of the partitions, and
    raises if one did not; a task may run more than once, but only one of its attempts is in the result.
    """

    @abstractmethod
    def index(self, seed: int, fractions: Sequence[float] | None, targets: Targets) -> ClassIndex:
        """Go once over the source without its pictures; ``fractions`` is None if the source's own split is kept."""

    @abstractmethod
    def write(self, plan: PreparePlan) -> list[Report]:
        """Go once over the source with its pictures and write all shards."""

    @abstractmethod
    def sample(self, count: int) -> Iterator[Row]:
        """A few rows, from which size and channels are guessed."""

    def facts(self, known: SourceFacts) -> SourceFacts:
        """What is known of the source, with what only the engine can find out."""
        return known

    def table_feature(self, rule: SplitRule | None) -> Feature | None:
        """What a row holds, where that has to be learnt from the rows of the training split; else None.

        Args:
            rule: of the split; None if the source's own is kept.
        """
        return None


# -- the plan -------------------------------------------------------------------------------------------------------


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
    picture = array.dtype == "uint8" and len(array.shape) == 3 and array.shape[0] in (1, 3)
    return Feature(dtype=array.dtype, shape=array.shape, encoding="raw", kind="image" if picture else "array")
