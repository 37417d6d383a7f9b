"""``firesteel.build_index`` and ``firesteel.similar``: pictures that are like a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from firesteel.api.paths import Path
from firesteel.data.manifest import Dataset
from firesteel.errors import ConfigError
from firesteel.runtime import Runtime, Watch
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from firesteel.data.commit import Prepared
    from firesteel.inference.pictures import Pictures
    from firesteel.search.driver import Matches


def build_index(
    model: Path,
    dataset: Path | Dataset,
    index: Path,
    *,
    layer: str | None = None,
    pool: Literal["auto", "average", "flatten"] = "auto",
    factory: str | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    overwrite: bool = False,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    workers: int | None = None,
    watch: Watch | None = None,
    debug: bool = False,
) -> Prepared:
    """Compute the feature vector of every row of a dataset, on all workers, for :func:`similar` to search in.

    Args:
        model: a run or a model folder. It must stay where it is: searching asks it for the vector of each picture.
        dataset: prepared, with rows that the model takes; its classes may be others.
        index: folder for the vectors: a prepared dataset of float32 vectors of length 1.
        layer: that gives them, see :meth:`firesteel.Predictor.embed`; None is what goes into the last layer.
        pool: what becomes of feature maps.
        factory: of the network, where the model's description alone may not be followed.
        device: where the layers are computed.
        overwrite: replace another dataset in that folder.
        engine, master, spark, debug: see :class:`Runtime`.
        workers: processes of the local engine; None is one a GPU, else one a core. Spark takes as many tasks as it has slots.
        watch: shows the progress.

    Returns:
        the dataset, and whether it was there already.

    Raises:
        ConfigError: for a wrong option, or a layer that the network does not have.
        RunError: if there is no model, or it takes other rows.
    """
    from firesteel.api.opening import prepare_computed
    from firesteel.search.index import IndexSource

    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(Place.of(dataset))

    def source(threads: int | None) -> IndexSource:
        return IndexSource.of(
            opened, Place.of(model), factory=factory, layer=layer, pool=pool, device=device, threads=threads
        )

    return prepare_computed(
        source, Place.of(index), Runtime(engine, master, spark, debug=debug), workers, device,
        what="index", overwrite=overwrite, watch=watch,
    )  # fmt: skip


def similar(
    index: Path,
    pictures: Path | Sequence[Path] | Pictures,
    *,
    top: int = 10,
    splits: Sequence[str] = (),
    model: Path | None = None,
    factory: Any = None,
    device: str = "auto",
    sheet: Path | None = None,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    debug: bool = False,
) -> Iterator[Matches]:
    """The rows of an index that are most similar to pictures, and the class of each picture.

    The search is exact: every vector is compared. The result is the same on any engine.

    Args:
        index: made by :func:`build_index`.
        pictures: files, folders and archives.
        top: rows for each.
        splits: to search in; none is all.
        model: where the model of the index lies now; None is where it was.
        factory: of the network, where the model's description alone may not be followed.
        device: auto, cpu or cuda.
        sheet: PNG to write when all are found: the pictures, and what is similar to them (at most 100 pictures, with 20 each).
        engine, master, spark, debug: see :class:`Runtime`; with Spark each task searches a part of the index.

    Yields:
        one for each picture, in order; one that cannot be used has a problem.

    Raises:
        ConfigError: for a wrong option.
        DatasetError: if there is no index or no such split.
        RunError: if the model is gone, or has other weights.
    """
    from firesteel.inference.pictures import Pictures
    from firesteel.search.driver import similar_pictures
    from firesteel.search.index import VectorIndex

    if top < 1:
        raise ConfigError(f"top must be at least 1, got {top}.")
    if sheet is not None and not Place.of(sheet).name.lower().endswith(".png"):
        raise ConfigError(f"the sheet is a PNG file, got {sheet}. Give a name that ends with .png.")
    names = pictures if isinstance(pictures, Pictures) else Pictures(pictures)  # type: ignore[arg-type]
    opened = VectorIndex.open(Place.of(index))
    found = similar_pictures(
        opened, names, Runtime(engine, master, spark, debug=debug), top=top, splits=splits,
        model=None if model is None else Place.of(model), factory=factory, device=device,
    )  # fmt: skip
    return found if sheet is None else _with_sheet(found, Place.of(sheet), opened.about.uri)


def _with_sheet(found: Iterator[Matches], sheet: Place, dataset: str) -> Iterator[Matches]:
    from firesteel.search.sheet import MOST_QUERIES, write_sheet

    opened = Dataset.open(dataset)
    kept: list[Matches] = []
    for each in found:
        if len(kept) < MOST_QUERIES:
            kept.append(each)
        yield each
    write_sheet(sheet, kept, opened)
