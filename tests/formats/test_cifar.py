"""CIFAR's binary files: records of labels and pixels, and nothing else."""

from __future__ import annotations

import io

import pytest

from firesteel.errors import FormatError
from firesteel.formats import cifar
from firesteel.formats.cifar import CIFAR10, CIFAR100


def record(labels: bytes, value: int) -> bytes:
    return labels + bytes([value]) * 3072


def test_records_are_labels_and_pixels():
    """CIFAR-10 has one label byte; CIFAR-100 the coarse one and then the fine one."""
    ten = io.BytesIO(record(b"\3", 1) + record(b"\4", 2) + record(b"\5", 3))
    hundred = io.BytesIO(record(b"\1\x63", 7))

    assert [(r.label, r.pixels[0]) for r in cifar.read_records(ten, CIFAR10, "fine", 1, 3)] == [(4, 2), (5, 3)]
    assert [r.label for r in cifar.read_records(hundred, CIFAR100, "fine", 0, 1)] == [99]
    assert [r.label for r in cifar.read_records(hundred, CIFAR100, "coarse", 0, 1)] == [1]


def test_more_than_a_block_is_read():
    stream = io.BytesIO(b"".join(record(bytes([i % 10]), i % 251) for i in range(600)))

    found = list(cifar.read_records(stream, CIFAR10, "fine", 0, 600))

    assert [(r.label, r.pixels[5]) for r in found] == [(i % 10, i % 251) for i in range(600)]


def test_a_cut_file_says_where():
    with pytest.raises(FormatError, match="it ends in record 1 of 2"):
        list(cifar.read_records(io.BytesIO(record(b"\0", 0) + b"x"), CIFAR10, "fine", 0, 2))


def test_the_variant_is_told_by_names():
    assert cifar.variant_of(["data_batch_1.bin", "x"]) is CIFAR10
    assert cifar.variant_of(["test_batch.bin"]) is CIFAR10
    assert cifar.variant_of(["train.bin", "fine_label_names.txt"]) is CIFAR100
    assert cifar.variant_of(["train.bin"]) is None
    assert cifar.variant_of(["photo.jpg"]) is None
    assert cifar.looks_pickled(["data_batch_1", "batches.meta"])
    assert cifar.looks_pickled(["train", "test", "meta"])
    assert not cifar.looks_pickled(["train", "test"])
    assert not cifar.looks_pickled(["data_batch_1.bin"])
