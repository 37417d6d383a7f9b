"""How many rows each class has in the training split: rows that are left out, and copies that are generated.

The pass that finds the split also finds, for each class, two keys: rows of the training split whose key lies above the first
are dropped (``max_per_class``), and rows up to the second get one copy more than the others (``balance``). So each task
decides by itself, row by row, and the result does not depend on how the rows are shared between tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from firesteel.data.augmentation.policy import Policy
from firesteel.data.split import KEY_BITS, split_key

ALL_KEYS = (1 << KEY_BITS) - 1
"""No key is larger."""


@dataclass(frozen=True)
class Shares:
    """What the rows of one class get, by their rank in the order of their keys.

    Attributes:
        kept: rows that stay.
        copies: generated of every row that stays.
        extra: so many of the first rows get one copy more.
    """

    kept: int
    copies: int
    extra: int

    @property
    def generated(self) -> int:
        return self.kept * self.copies + self.extra


@dataclass(frozen=True)
class Targets:
    """What a user wants of every class.

    Attributes:
        max_per_class: training rows that stay at most; None keeps all.
        balance: training rows that each class is brought to by generating; None generates none.
    """

    max_per_class: int | None = None
    balance: int | None = None

    def __bool__(self) -> bool:
        return self.max_per_class is not None or self.balance is not None

    def shares(self, rows: int) -> Shares:
        """For a class with so many training rows."""
        kept = rows if self.max_per_class is None else min(rows, self.max_per_class)
        missing = max(0, self.balance - kept) if self.balance is not None and kept else 0
        copies, extra = divmod(missing, kept) if kept else (0, 0)
        return Shares(kept, copies, extra)


@dataclass(frozen=True)
class Quota:
    """The same for the tasks, by keys.

    Attributes:
        shares: by rank.
        last_key: rows with a larger key are dropped.
        extra_key: rows with at most this key get one copy more; -1 is none.
    """

    shares: Shares
    last_key: int
    extra_key: int

    def copies_of(self, key: int) -> int | None:
        """Copies to generate of the row with this key; None if the row is to be dropped."""
        return None if key > self.last_key else self.shares.copies + (key <= self.extra_key)


@dataclass(frozen=True)
class BalanceRule:
    """Decides what happens to a training row. Picklable; part of the plan.

    Attributes:
        seed: of the keys and of the generated pictures.
        quotas: by class name.
        policy: of the generated pictures; None if none are generated.
    """

    seed: int
    quotas: Mapping[str, Quota]
    policy: Policy | None

    def copies_of(self, label: str, row_id: str) -> int | None:
        """See :meth:`Quota.copies_of`. A class without a quota keeps its rows."""
        quota = self.quotas.get(label)
        return 0 if quota is None else quota.copies_of(split_key(self.seed, row_id))

    @property
    def generated(self) -> int:
        """Pictures of all classes, if no original turns out to be broken."""
        return sum(quota.shares.generated for quota in self.quotas.values())


def wanted_ranks(shares: Shares, rows: int) -> list[int]:
    """Ranks (from 0, in key order) of the rows whose keys :func:`quota_of` needs."""
    return [rank for rank in (shares.kept - 1 if shares.kept < rows else -1, shares.extra - 1) if rank >= 0]


def quota_of(shares: Shares, rows: int, key_at: Mapping[int, int]) -> Quota:
    """The quota of a class with so many training rows, of which the keys at some ranks are known."""
    last = key_at[shares.kept - 1] if 0 < shares.kept < rows else ALL_KEYS
    return Quota(shares, last, key_at[shares.extra - 1] if shares.extra else -1)


def quotas_of(keys: Mapping[str, np.ndarray], targets: Targets) -> dict[str, Quota]:
    """Quotas where the keys of all training rows are in memory.

    Args:
        keys: of each class, int64 of shape (rows,), in any order.
        targets: of the user.
    """
    quotas = {}
    for label, of in keys.items():
        shares, ordered = targets.shares(len(of)), np.sort(of)
        quotas[label] = quota_of(shares, len(of), {rank: int(ordered[rank]) for rank in wanted_ranks(shares, len(of))})
    return quotas


def shortages(rule: BalanceRule, labels: Sequence[str], rows: Sequence[int]) -> list[str]:
    """A sentence if classes have fewer training rows than planned.

    Args:
        rule: of the preparation.
        labels: class names.
        rows: training rows written of each class.
    """
    short = []
    for label, found in zip(labels, rows):
        quota = rule.quotas.get(label)
        wanted = quota.shares.kept + quota.shares.generated if quota else 0
        short += [f"{label!r} {found} of {wanted}"] if found < wanted else []
    if not short:
        return []
    classes = "1 class has" if len(short) == 1 else f"{len(short)} classes have"
    return [
        f"{classes} fewer training rows than planned ({', '.join(short[:3])}{', ...' * (len(short) > 3)}): pictures that were"
        " to stay or to be copied turned out to be broken. For full classes take them out of the source, and prepare again"
    ]
