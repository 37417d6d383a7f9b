"""What an analysis of pictures gives to its caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from firesteel.analysis.classes import Band, describe, size_bands
from firesteel.analysis.duplicates import NEAR_BITS, NEAR_CORRELATION, Found, Group, find_duplicates
from firesteel.analysis.pictures import GRID, PictureSummary
from firesteel.analysis.results import Analysis

_LISTED_GROUPS = 200
_LISTED_PICTURES = 50


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        id: as the source names it.
        label: its class; None if it has none.
        split: of it; None if there is none.
        place: (partition, position) where it can be read again.
    """

    id: str
    label: str | None
    split: str | None
    place: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"id": self.id, "label": self.label, "split": self.split}


@dataclass(frozen=True)
class DuplicateGroup:
    """Pictures that are duplicates of each other.

    Attributes:
        pictures: of the group; at most 50.
        distance: largest difference of their hashes in bits; None if all are the same bytes.
        size: how many pictures there are in it.
    """

    pictures: tuple[Picture, ...]
    distance: int | None
    size: int

    @property
    def across_classes(self) -> bool:
        """Whether they have different labels."""
        return len({picture.label for picture in self.pictures}) > 1

    @property
    def across_splits(self) -> bool:
        """Whether they are in different splits."""
        return len({picture.split for picture in self.pictures}) > 1

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "kind": "exact" if self.distance is None else "near",
            "distance": self.distance,
            "size": self.size,
            "across_classes": self.across_classes,
            "across_splits": self.across_splits,
            "images": [picture.to_json() for picture in self.pictures],
        }


@dataclass(frozen=True)
class Duplicates:
    """Pictures that are there more than once.

    Attributes:
        compared: pictures.
        share: of all pictures that were compared; below 1 they are a sample.
        exact, near: ``{"groups":, "images":, "across_classes":, "across_splits":}``, the last two in groups.
        flat: pictures of nearly one colour, which are compared by their bytes only.
        groups: at most 200: first those across classes or splits, then the most alike.
    """

    compared: int
    share: float
    exact: dict[str, int]
    near: dict[str, int]
    flat: int
    groups: tuple[DuplicateGroup, ...]

    @classmethod
    def of(cls, records: pa.Table, share: float) -> Duplicates:
        """Find them.

        Args:
            records: see :data:`firesteel.analysis.pictures.RECORDS`.
            share: of all pictures that these are.
        """
        records = records.combine_chunks()
        found = _found(records)
        codes = [_codes(records, name) for name in ("label", "split")]
        in_near = {member for group in found.near for member in group.members}
        shown = [group for group in found.exact if group.members[0] not in in_near] + found.near
        shown.sort(
            key=lambda group: (
                not any(_differ(of, group) for of in codes),
                -1 if group.distance is None else group.distance,
                group.members,
            )
        )
        return cls(
            records.num_rows, share, _counted(found.exact, codes), _counted(found.near, codes), found.flat,
            tuple(_listed(records, group) for group in shown[:_LISTED_GROUPS]),
        )  # fmt: skip

    def notes(self) -> list[str]:
        """What a person should do about them, in sentences."""
        across = {name: self.exact[name] + self.near[name] for name in ("across_classes", "across_splits")}
        found = []
        if across["across_classes"]:
            found.append(
                f"{_groups(across['across_classes'])} of duplicates in different classes: look which label is right"
            )
        if across["across_splits"]:
            found.append(
                f"{_groups(across['across_splits'])} of duplicates in different splits: a test on them measures what was"
                " learnt by heart"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "compared": self.compared,
            "share": self.share,
            "exact": self.exact,
            "near": self.near,
            "near_means": f"hashes differ in at most {NEAR_BITS} of 128 bits, thumbnails correlate with {NEAR_CORRELATION} or more",
            "flat": self.flat,
            "groups": [group.to_json() for group in self.groups],
        }


@dataclass(frozen=True)
class ClassCount:
    """One class: its pictures, in all and by split."""

    name: str
    images: int
    splits: Mapping[str, int]


@dataclass(frozen=True)
class ImageAnalysis(Analysis):
    """Figures of pictures.

    Attributes:
        source, notes, seconds: see :class:`Analysis`.
        images: that can be read.
        unreadable: how many cannot.
        reasons: unreadable ones by reason.
        broken: (id, reason) of some of them.
        classes: the largest first.
        splits: pictures by split; empty if the source names none.
        per_class: of pictures a class: count, mean, std, min, 25%, 50%, 75%, max.
        bands: classes by size.
        figures: of height, width, aspect (width / height), bytes, brightness and contrast (mean and standard deviation of
            the grey values, in [0, 1]): as for a column of numbers.
        sizes: ``[{"value": "HEIGHTxWIDTH", "count":}]``, the most frequent; number_of_sizes: how many there are.
        modes, formats: pictures by colour mode and by file format, by Pillow's names.
        animated: pictures of more than one frame; the first one is analysed.
        channels: mean and standard deviation of all pixels in [0, 1]; None without pictures.
        duplicates: found.
        thumbnails: JPEG bytes of the pictures that the page shows, by (partition, position).
        examples: pictures of some classes, for the page.
    """

    source: str
    images: int
    unreadable: int
    reasons: dict[str, int]
    broken: list[tuple[str, str]]
    classes: tuple[ClassCount, ...]
    splits: dict[str, int]
    figures: dict[str, dict[str, Any]]
    sizes: list[dict[str, Any]]
    number_of_sizes: int
    modes: dict[str, int]
    formats: dict[str, int]
    animated: int
    channels: dict[str, list[float]] | None
    duplicates: Duplicates
    thumbnails: Mapping[tuple[int, int], bytes] = field(default_factory=dict, repr=False)
    examples: Mapping[str, tuple[Picture, ...]] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    kind = "images"

    @property
    def per_class(self) -> dict[str, float | None]:
        """Of pictures a class."""
        return describe([each.images for each in self.classes])

    @property
    def bands(self) -> list[Band]:
        """Classes by size."""
        return size_bands([each.images for each in self.classes])

    @classmethod
    def of(cls, summary: PictureSummary, source: str, share: float, announced: list[str]) -> ImageAnalysis:
        """The figures of a summary.

        Args:
            summary: of all pictures.
            source: in words.
            share: of the pictures that were compared with each other.
            announced: classes that the source names, also those without a picture.
        """
        return cls(
            source, sum(summary.classes.values()), sum(summary.reasons.values()), dict(summary.reasons.most_common()),
            summary.unreadable, _class_counts(summary.classes, announced), _split_counts(summary.classes),
            {name: each.figures() for name, each in summary.figures.items()}, summary.sizes.most_frequent(10),
            summary.sizes.unique, dict(summary.modes.most_common()), dict(summary.formats.most_common()), summary.animated,
            summary.channels(), Duplicates.of(summary.records, share),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "images",
            "source": self.source,
            "images": self.images,
            "unreadable": {
                "images": self.unreadable,
                "reasons": self.reasons,
                "examples": [list(each) for each in self.broken],
            },
            "classes": len(self.classes),
            "images_per_class": self.per_class,
            "class_sizes": {each.name: each.images for each in self.classes},
            "size_bands": [vars(band) for band in self.bands],
            "splits": self.splits,
            "class_sizes_by_split": {each.name: dict(each.splits) for each in self.classes} if self.splits else {},
            **self.figures,
            "sizes": {"different": self.number_of_sizes, "most_frequent": self.sizes},
            "modes": self.modes,
            "formats": self.formats,
            "animated": self.animated,
            "channels": self.channels,
            "duplicates": self.duplicates.to_json(),
            "notes": self.notes,
            "seconds": self.seconds,
        }

    def to_html(self) -> str:
        from firesteel.analysis.report.images import image_page

        return image_page(self)


def _groups(count: int) -> str:
    return f"{count:,} group{'s' * (count != 1)}"


def _class_counts(counts: Counter[tuple[str, str | None]], announced: list[str]) -> tuple[ClassCount, ...]:
    by_class: dict[str, dict[str, int]] = {name: {} for name in announced}
    for (label, split), count in counts.items():
        of = by_class.setdefault(label, {})
        of[split or ""] = of.get(split or "", 0) + count
    classes = [ClassCount(name, sum(of.values()), dict(sorted(of.items()))) for name, of in by_class.items()]
    return tuple(sorted(classes, key=lambda each: (-each.images, each.name)))


def _split_counts(counts: Counter[tuple[str, str | None]]) -> dict[str, int]:
    splits: Counter[str] = Counter()
    for (_, split), count in counts.items():
        if split is not None:
            splits[split] += count
    return dict(splits.most_common())


def _found(records: pa.Table) -> Found:
    if not records.num_rows:
        return Found([], [], 0)
    grids = np.frombuffer(b"".join(records["grid"].to_pylist()), np.uint8).reshape(-1, GRID, GRID)
    return find_duplicates(records["content"].to_numpy(), grids)


def _codes(records: pa.Table, name: str) -> np.ndarray:
    column = records[name].combine_chunks()
    array = column.chunk(0) if isinstance(column, pa.ChunkedArray) and column.num_chunks else column
    if not records.num_rows:
        return np.zeros(0, np.int64)
    return array.indices.fill_null(-1).to_numpy(zero_copy_only=False)


def _differ(codes: np.ndarray, group: Group) -> bool:
    of = codes[list(group.members)]
    return bool((of != of[0]).any())


def _counted(groups: list[Group], codes: list[np.ndarray]) -> dict[str, int]:
    labels, splits = codes
    return {
        "groups": len(groups),
        "images": sum(len(group.members) for group in groups),
        "across_classes": sum(_differ(labels, group) for group in groups),
        "across_splits": sum(_differ(splits, group) for group in groups),
    }


def _listed(records: pa.Table, group: Group) -> DuplicateGroup:
    pictures = tuple(_picture(records, number) for number in group.members[:_LISTED_PICTURES])
    return DuplicateGroup(pictures, group.distance, len(group.members))


def _picture(records: pa.Table, number: int) -> Picture:
    row = records.slice(number, 1).to_pylist()[0]
    return Picture(row["id"], row["label"], row["split"], (row["partition"], row["position"]))
