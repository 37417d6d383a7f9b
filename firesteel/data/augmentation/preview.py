"""A contact sheet: what a policy does to a few pictures, to be looked at."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from firesteel.data.augmentation.generate import Original, generate
from firesteel.data.augmentation.policy import Policy
from firesteel.data.manifest import Dataset, Feature
from firesteel.data.preparation import parse_size
from firesteel.data.shards import read_ids, read_slice
from firesteel.data.sources import open_source
from firesteel.errors import ConfigError, DataError, FormatError
from firesteel.formats import images
from firesteel.formats.images import ImageSpec
from firesteel.storage import Place

_COPY = re.compile(r"\+\d+$")
_LEAST_EDGE, _MOST_EDGE = 96, 256
_GAP = 4
_LINE = 14


def write_sheet(
    source: str | Place,
    sheet: str | Place,
    *,
    policy: Any = "default",
    pictures: int = 6,
    copies: int = 10,
    each: bool = False,
    size: str | tuple[int, int] | None = None,
    seed: int = 12345,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a contact sheet of a policy; the arguments are those of ``firesteel augment``.

    Returns:
        sheet, pictures and copies: what was written.

    Raises:
        ConfigError: for a wrong option, or if the file is there already.
        DataError: if the source holds no picture.
    """
    place, chosen = Place.of(sheet), Policy.of(policy)
    if not place.name.lower().endswith(".png"):
        raise ConfigError(f"the sheet is a PNG file, got {place}. Give a name that ends with .png.")
    if place.exists() and not overwrite:
        raise ConfigError(f"{place} is there already. Choose another name, or pass --overwrite.")
    if not (1 <= pictures <= 100 and 1 <= copies <= 100):
        raise ConfigError(f"pictures and copies must be 1 to 100, got {pictures} and {copies}.")
    found = samples_of(source, pictures, parse_size(size) if isinstance(size, str) else size)
    place.write_bytes(contact_sheet(chosen, found, copies=copies, seed=seed, each=each))
    return {"sheet": place.uri, "pictures": len(found), "copies": copies}


def contact_sheet(policy: Policy, samples: Sequence[Original], *, copies: int, seed: int, each: bool = False) -> bytes:
    """A PNG with a row for each picture: the picture, then its generated copies 1, 2, ...

    Args:
        policy: that is shown.
        samples: pictures of one shape.
        copies: columns besides the original.
        seed: of the random numbers; with that of a preparation the copies are those that it generates.
        each: show on every picture the operations one by one instead, each with probability 1.
    """
    policies = [policy] * len(samples)
    titles = [sample.id for sample in samples]
    if each:
        alone = [operation.model_copy(update={"probability": 1.0}) for operation in policy.operations]
        policies = [policy.model_copy(update={"operations": (operation,)}) for operation in alone] * len(samples)
        titles = [f"{sample.id}: {_title(operation)}" for sample in samples for operation in alone]
        samples = [sample for sample in samples for _ in alone]
    rows = [
        [sample.pixels, *generate(shown, [(sample, number) for number in range(1, copies + 1)], seed)]
        for shown, sample in zip(policies, samples)
    ]
    return _drawn(titles, rows)


def samples_of(where: str | Place, count: int, size: tuple[int, int] | None = None) -> list[Original]:
    """A few pictures of a prepared dataset's training split, or of a source.

    Args:
        where: dataset or source.
        count: of the pictures.
        size: (height, width) to bring them to; None is that of the dataset, or of the first picture of a source, at most 256.

    Raises:
        ConfigError: if the dataset holds no pictures, or a size is given for it.
        DataError: if there is none.
    """
    place = Place.of(where)
    if (place / "manifest.json").exists():
        if size is not None:
            raise ConfigError("size is for a source; the pictures of a prepared dataset have one already.")
        found = list(itertools.islice(_of_dataset(Dataset.open(place)), count))
    else:
        found = list(_of_source(place, count, size))
    if not found:
        raise DataError(f"there is no picture in {place} that can be read.")
    return found


def _of_dataset(dataset: Dataset) -> Iterator[Original]:
    feature = dataset.feature
    if feature.kind != "image":
        raise ConfigError(f"augmentation is for pictures; {dataset.place} holds arrays of shape {feature.shape}.")
    for shard in dataset.split("train").shards:
        ids = read_ids(dataset.place, shard, 0, shard.rows)
        blocks = list(read_slice(dataset.place, shard, feature, 0, shard.rows))
        for row_id, row in zip(ids, (row for block, _ in blocks for row in block)):
            if not (dataset.manifest.counts.generated and _COPY.search(row_id)):
                yield Original(row_id, _pixels(row, feature))


def _pixels(row: Any, feature: Feature) -> np.ndarray:
    if feature.encoding == "jpeg":
        spec = ImageSpec(feature.shape[1], feature.shape[2], 1 if feature.shape[0] == 1 else 3)
        row = images.decode(row, spec).pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(row)


def _of_source(place: Place, count: int, size: tuple[int, int] | None) -> Iterator[Original]:
    source = open_source(place)
    rows = source.sample(count) if source.array is None else source.rows_of(source.partitions(1)[0])
    for row in itertools.islice(rows, count):
        if source.array is not None:
            if source.array.dtype != "uint8" or len(source.array.shape) != 3 or source.array.shape[0] not in (1, 3):
                raise ConfigError(f"augmentation is for pictures; {place} holds arrays of shape {source.array.shape}.")
            yield Original(row.id, np.frombuffer(row.data, np.uint8).reshape(source.array.shape))
            continue
        if row.problem is not None:
            continue
        try:
            size = size or _shown_size(*images.probe(row.data)[:2])
            yield Original(row.id, images.decode(row.data, ImageSpec(*size, 3)).pixels.transpose(2, 0, 1))
        except FormatError:
            continue


def _shown_size(height: int, width: int) -> tuple[int, int]:
    """The size of a picture, or less where a sheet of them would be giant."""
    scale = min(1.0, _MOST_EDGE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _title(operation: object) -> str:
    values = operation.model_dump(exclude={"name", "probability"})  # type: ignore[attr-defined]
    return f"{operation.name} " + ", ".join(f"{key} {value}" for key, value in values.items())  # type: ignore[attr-defined]


def _drawn(titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]]) -> bytes:
    height, width = rows[0][0].shape[1:]
    scale = max(1, -(-_LEAST_EDGE // min(height, width)))
    high, wide = height * scale, width * scale
    sheet = Image.new(
        "RGB", (len(rows[0]) * (wide + _GAP) + _GAP, len(rows) * (high + _LINE + _GAP) + _GAP), (255, 255, 255)
    )
    pen = ImageDraw.Draw(sheet)
    for y, (title, row) in enumerate(zip(titles, rows)):
        top = _GAP + y * (high + _LINE + _GAP)
        pen.text((_GAP, top), "".join(c if c.isascii() and c.isprintable() else "?" for c in title), fill=(0, 0, 0))
        for x, pixels in enumerate(row):
            shown = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
            shown = shown.resize((wide, high), Image.Resampling.NEAREST)
            sheet.paste(shown, (_GAP + x * (wide + _GAP), top + _LINE))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


__all__ = ["contact_sheet", "samples_of", "write_sheet"]
