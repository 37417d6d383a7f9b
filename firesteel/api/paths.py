"""What all commands take: places."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from firesteel.errors import ConfigError
from firesteel.storage import Place

if TYPE_CHECKING:
    from firesteel.data.sources import Source

Path = str | os.PathLike[str] | Place


def refuse_inside(place: Place, source: Source, what: str) -> None:
    """Refuse to write where the next run would read.

    Raises:
        ConfigError: if ``place`` lies inside the source, or is the dataset that is read.
    """
    from firesteel.data.sources import ImageFolderSource
    from firesteel.data.sources.dataset import DatasetSource

    if isinstance(source, DatasetSource) and (place.is_inside(source.place) or source.place.is_inside(place)):
        raise ConfigError(
            f"the {what} {place} would take the place of {source.place}, which it is made of. Choose another."
        )

    if isinstance(source, ImageFolderSource) and place.is_inside(source.place):
        raise ConfigError(
            f"the {what} {place} would lie inside its source {source.place}: the next time its files would be taken"
            " for pictures.\nChoose a folder beside the source."
        )
