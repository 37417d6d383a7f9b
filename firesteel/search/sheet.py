"""A contact sheet: pictures that were asked for, and what was found for each beside it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from firesteel.data.manifest import Dataset, Shard
from firesteel.data.shards import read_ids, read_slice
from firesteel.data.sources.dataset import raw_rows
from firesteel.errors import ConfigError, DataError
from firesteel.search.driver import Matches
from firesteel.storage import Place

_EDGE, _GAP, _LINE = 128, 6, 13
_LETTERS = 20
"""That fit under a picture in Pillow's own font."""
MOST_QUERIES, MOST_HITS = 100, 20
"""That are shown: the sheet is one picture, which somebody has to hold in memory."""

_Cell = tuple[np.ndarray | None, str, str]
"""A picture and the two lines below it."""


def write_sheet(place: Place, matches: Sequence[Matches], dataset: Dataset) -> None:
    """Write a PNG with a row for each picture: itself with the predicted class, then what is similar to it, up to 20.

    Raises:
        ConfigError: if the dataset holds no pictures.
        DataError: if there is no picture to show.
    """
    if dataset.feature.kind != "image" or dataset.feature.dtype != "uint8":
        raise ConfigError(f"a sheet shows pictures; {dataset.place} holds none.")
    shown = [each for each in matches if each.pixels is not None][:MOST_QUERIES]
    if not shown:
        raise DataError("there is no picture to show on a sheet: none could be used.")
    pictures = pictures_of(dataset, {(hit.split, hit.id) for each in shown for hit in each.similar[:MOST_HITS]})
    rows = []
    for each in shown:
        assert each.pixels is not None
        assert each.prediction is not None
        best = each.prediction
        cells: list[_Cell] = [
            (each.pixels, each.place.rpartition("/")[2], f"-> {best.label} {best.probabilities[0]:.2f}")
        ]
        for hit in each.similar[:MOST_HITS]:
            found = pictures.get((hit.split, hit.id))
            cells.append((found, hit.id.rpartition("/")[2], f"{hit.similarity:.3f} {hit.label}"))
        rows.append(cells)
    place.write_bytes(_drawn(rows))


def pictures_of(dataset: Dataset, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], np.ndarray]:
    """Rows of a dataset by split and id, (channels, height, width); those that are not there are left out."""
    left = set(wanted)
    found = {}
    for name in sorted({split for split, _ in left}):
        for shard in dataset.split(name).shards:
            for position, row_id in enumerate(read_ids(dataset.place, shard, 0, shard.rows)):
                if (name, row_id) in left:
                    left.remove((name, row_id))
                    found[name, row_id] = _row(dataset, shard, position)
    return found


def _row(dataset: Dataset, shard: Shard, position: int) -> np.ndarray:
    ((block, _),) = read_slice(dataset.place, shard, dataset.feature, position, position + 1)
    return block[0] if isinstance(block, np.ndarray) else raw_rows(block, dataset.feature)[0]


def _drawn(rows: Sequence[Sequence[_Cell]]) -> bytes:
    wide, high = _EDGE + _GAP, _EDGE + 2 * _LINE + _GAP
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * wide + 3 * _GAP, len(rows) * high + _GAP), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, (pixels, name, text) in enumerate(row):
            left, top = _GAP + x * wide + (2 * _GAP if x else 0), _GAP + y * high  # the query stands apart
            if pixels is not None:
                sheet.paste(_thumbnail(pixels), (left, top))
            pen.text((left, top + _EDGE + 1), _short(text), fill=(0, 0, 0))
            pen.text((left, top + _EDGE + 1 + _LINE), _short(name), fill=(110, 110, 110))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _thumbnail(pixels: np.ndarray) -> Image.Image:
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    scale = _EDGE / max(image.size)
    way = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), way)


def _short(text: str) -> str:
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return plain if len(plain) <= _LETTERS else plain[: _LETTERS - 2] + ".."


__all__ = ["MOST_QUERIES", "pictures_of", "write_sheet"]
