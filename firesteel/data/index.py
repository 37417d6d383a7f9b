"""The first pass over a source: usable rows by class, and where in the order of the keys each split begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from firesteel.data.balance import Quota, Targets, quotas_of
from firesteel.data.sources import Source
from firesteel.data.split import boundaries_of, split_key


@dataclass(frozen=True)
class ClassIndex:
    """Usable rows per class and, if the rows are to be split by us, where in key order each split begins.

    Attributes:
        counts: rows by class name.
        boundaries: see :class:`SplitRule`; empty if the source's own split is kept.
        quotas: see :class:`firesteel.data.balance.BalanceRule`; empty if nothing is wanted of the classes.
        training: of the counts, rows of the training split, before quotas.
    """

    counts: Mapping[str, int]
    boundaries: Mapping[str, tuple[int, ...]]
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    training: Mapping[str, int] = field(default_factory=dict)


def index_partition(source: Source, partition: Any, seed: int) -> pa.RecordBatch:
    """(label, key, row_key, training) of the usable rows of one partition, without their data.

    ``key`` is that of the row's group, ``row_key`` that of its id; ``training`` says whether the source itself puts the row
    into its training split.
    """
    labels, keys, row_keys, training = [], [], [], []
    for row_id, _, label, split, group, problem in source.rows_of(partition, with_data=False):
        if problem is not None or label is None:
            continue
        row_key = key = split_key(seed, row_id if group is None else group)
        if group is not None and group != row_id:
            row_key = split_key(seed, row_id)
        labels.append(label)
        keys.append(key)
        row_keys.append(row_key)
        training.append(split == "train")
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
        batches: see :func:`index_partition`; row_key is needed for targets only, training where the source's own split is kept.
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
        if not fractions:
            training_parts.append(batch.column("training").to_numpy(zero_copy_only=False))
        if targets:
            row_key_parts.append(batch.column("row_key").to_numpy())
    labels, keys = np.concatenate(label_parts), np.concatenate(key_parts)
    order = np.argsort(labels, kind="stable")
    edges = np.searchsorted(labels[order], np.arange(len(codes) + 1))
    rows_of = {name: order[edges[code] : edges[code + 1]] for name, code in codes.items()}
    boundaries = {}
    if fractions:
        common = boundaries_of(keys, fractions) if grouped else None
        boundaries = {name: common or boundaries_of(keys[rows], fractions) for name, rows in rows_of.items()}
    counts = {name: len(rows) for name, rows in rows_of.items()}
    training = np.zeros(len(labels), np.bool_) if fractions else np.concatenate(training_parts)
    for name, of in boundaries.items():
        training[rows_of[name]] = keys[rows_of[name]] <= of[0] if of else True
    trained = {name: rows[training[rows]] for name, rows in rows_of.items()}
    row_keys = np.concatenate(row_key_parts)
    quotas = quotas_of({name: row_keys[rows] for name, rows in trained.items()}, targets) if targets else {}
    return ClassIndex(counts, boundaries, quotas, {name: len(rows) for name, rows in trained.items()})
