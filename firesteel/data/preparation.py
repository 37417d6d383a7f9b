"""From a source to a prepared dataset: options, the plan that travels to the tasks, their reports.

::

    plan    = planned(...).plan             on the driver: size and channels, classes, split rule
    reports = write_partition(plan, ...)    in many tasks: decode, resize, split, write shards
    commit(...)                             on the driver: add up, check, write the manifest

The task is in :mod:`firesteel.data.partition`, what the driver does around the tasks in :mod:`firesteel.data.commit`.

What runs the tasks (local processes or Spark) is an :class:`Engine`; this module knows neither.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from firesteel.data.augmentation.policy import Policy
from firesteel.data.balance import BalanceRule, Targets
from firesteel.data.index import ClassIndex
from firesteel.data.manifest import Feature, Shard
from firesteel.data.shards import WrittenShard
from firesteel.data.sources import ArraySpec, Row
from firesteel.data.split import SplitRule, parse_fractions
from firesteel.data.statistics import ChannelSums
from firesteel.errors import ConfigError
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
        pixels: set if the pictures come as arrays, not encoded, and get another size or other channels.
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
    pixels: ArraySpec | None = None

    @property
    def measured(self) -> str | None:
        """The split that statistics are of: train, or None for all rows where there is no such split."""
        return "train" if "train" in self.splits else None


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
