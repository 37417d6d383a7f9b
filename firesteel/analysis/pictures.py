"""Figures of pictures: sizes, colours, brightness, formats, classes, and what is needed to find duplicates."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from firesteel.analysis.frequencies import Frequencies
from firesteel.analysis.numbers import NumberSummary
from firesteel.data.sources import ArraySpec, Row
from firesteel.data.statistics import ChannelSums
from firesteel.errors import FormatError
from firesteel.formats.inspection import Inspected, inspect, inspect_array

GRID = 9
"""Of each picture a grey thumbnail of GRID x GRID is kept: duplicates are found by it."""

FIGURES = {"height": True, "width": True, "aspect": False, "bytes": True, "brightness": False, "contrast": False}
"""Numbers of each picture -> whether they are whole."""

_EXAMPLES = 20
_FLUSH_PICTURES = 2048

RECORDS = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.dictionary(pa.int32(), pa.string())),
        ("split", pa.dictionary(pa.int32(), pa.string())),
        ("content", pa.uint64()),  # hash of the encoded picture, or of the array
        ("grid", pa.binary(GRID * GRID)),
        ("partition", pa.int32()),  # where it can be read again
        ("position", pa.int32()),
    ]
)
"""What is kept of each picture that is compared with the others."""


class PictureSummary:
    """Of the pictures of a source, or of a part of it. Picklable.

    Args:
        array: set if rows are arrays, uint8 of shape (1 or 3, height, width), and not encoded pictures.
        keep: share of the pictures that are compared with each other; those with the lowest hashes, so that of identical
            pictures either all are kept or none.
    """

    def __init__(self, array: ArraySpec | None = None, keep: float = 1.0):
        self._array, self._keep = array, keep
        self.read = self.animated = 0
        self.classes: Counter[tuple[str, str | None]] = Counter()
        self.reasons: Counter[str] = Counter()
        self.unreadable: list[tuple[str, str]] = []
        self.modes: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()
        self.sizes = Frequencies()
        self.figures = {name: NumberSummary(whole=whole) for name, whole in FIGURES.items()}
        self.grey: ChannelSums | None = None
        self.colour: ChannelSums | None = None
        self.records = RECORDS.empty_table()
        self._waiting: dict[str, list[Any]] = {name: [] for name in FIGURES}
        self._waiting_records: list[dict[str, Any]] = []

    def add(self, row: Row, partition: int, position: int) -> None:
        """Take in a picture.

        Args:
            row: of a source.
            partition, position: where it can be read again.
        """
        self.read += 1
        try:
            if row.problem is not None:
                raise FormatError(row.problem)
            found = self._inspected(row.data)
        except FormatError as error:
            self._set_aside(row.id, str(error))
            return
        grey = found.image if found.image.mode == "L" else found.image.convert("L")
        self._measure(row, found, grey)
        content = int.from_bytes(hashlib.blake2b(row.data, digest_size=8).digest(), "big")
        if content < self._keep * 2.0**64:
            grid = grey.resize((GRID, GRID), Image.Resampling.BILINEAR).tobytes()
            values = (row.id, row.label, row.split, content, grid, partition, position)
            self._waiting_records.append(dict(zip(RECORDS.names, values)))
        if len(self._waiting["height"]) >= _FLUSH_PICTURES:
            self._flush()

    def _inspected(self, data: bytes) -> Inspected:
        if self._array is None:
            return inspect(data)
        return inspect_array(np.frombuffer(data, np.uint8).reshape(self._array.shape))

    def _measure(self, row: Row, found: Inspected, grey: Image.Image) -> None:
        self.classes[row.label or "", row.split] += 1
        self.modes[found.mode] += 1
        self.formats[found.format] += 1
        self.animated += found.frames > 1
        sums = _channel_sums(found.image)
        if found.image.mode == "L":
            self.grey = sums if self.grey is None else self.grey + sums
        else:
            self.colour = sums if self.colour is None else self.colour + sums
        (brightness,), (contrast,) = (sums if found.image.mode == "L" else _channel_sums(grey)).mean_and_std(1 / 255)
        values = (found.height, found.width, found.width / found.height, len(row.data), brightness, contrast)
        for name, value in zip(FIGURES, values):
            self._waiting[name].append(value)

    def _set_aside(self, where: str, reason: str) -> None:
        self.reasons[reason.partition(":")[0].partition(" (")[0][:100]] += 1
        self.unreadable = sorted([*self.unreadable, (where, reason)])[:_EXAMPLES]

    def _flush(self) -> None:
        """Take in the numbers that wait."""
        heights, widths = self._waiting["height"], self._waiting["width"]
        sizes = Counter(f"{height}x{width}" for height, width in zip(heights, widths))
        self.sizes.add(list(sizes), list(sizes.values()))
        for name, summary in self.figures.items():
            summary.add_numbers(np.asarray(self._waiting[name], np.int64 if FIGURES[name] else np.float64))
            self._waiting[name] = []
        if self._waiting_records:
            self.records = _joined([self.records, pa.Table.from_pylist(self._waiting_records, RECORDS)])
            self._waiting_records = []

    def close(self) -> PictureSummary:
        """This summary, when all pictures have been added."""
        self._flush()
        return self

    def merge(self, other: PictureSummary) -> None:
        """Take in what another closed summary holds; that one is not used any more afterwards."""
        for name in ("read", "animated", "classes", "reasons", "modes", "formats"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("grey", "colour"):
            own, its = getattr(self, name), getattr(other, name)
            setattr(self, name, own + its if own and its else own or its)
        self.unreadable = sorted(self.unreadable + other.unreadable)[:_EXAMPLES]
        self.sizes.merge(other.sizes)
        for name, summary in self.figures.items():
            summary.merge(other.figures[name])
        self.records = _joined([self.records, other.records])

    def channels(self) -> dict[str, list[float]] | None:
        """Mean and standard deviation of all pixels in [0, 1], one a channel; None if there are none.

        One channel if all pictures are grey; else red, green and blue, grey pictures counting as having them equal.
        """
        sums = self.colour
        if sums is None:
            sums = self.grey
        elif self.grey is not None:
            grey = self.grey
            sums = sums + ChannelSums(grey.count, [*grey.total * 3], [*grey.squares * 3])
        if sums is None:
            return None
        mean, std = sums.mean_and_std(1 / 255)
        return {"mean": mean, "std": std}


_LEVELS = np.arange(256, dtype=np.int64)


def _channel_sums(image: Image.Image) -> ChannelSums:
    """Of one picture, exact: by how often each of the 256 values occurs."""
    counts = np.asarray(image.histogram(), np.int64).reshape(-1, 256)
    return ChannelSums(image.height * image.width, (counts @ _LEVELS).tolist(), (counts @ (_LEVELS * _LEVELS)).tolist())


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries()


def thumbnail(data: bytes, array: ArraySpec | None, edge: int) -> bytes:
    """A picture as a JPEG that fits into a square of ``edge`` pixels; small pictures are enlarged without smoothing.

    Raises:
        FormatError: if it is not a picture.
    """
    import io

    image = (
        inspect(data) if array is None else inspect_array(np.frombuffer(data, np.uint8).reshape(array.shape))
    ).image
    scale = min(edge / image.width, edge / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.NEAREST)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()
