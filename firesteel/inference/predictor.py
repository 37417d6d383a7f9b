"""Load a model once; arrays, pictures, rows of tables or files in, probabilities out."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from firesteel.errors import ConfigError, FormatError
from firesteel.formats import images
from firesteel.formats.images import ImageSpec
from firesteel.models.description import find_model_folder, load_model, read_description
from firesteel.storage import Place
from firesteel.tables.encoding import Encoded, TableEncoding
from firesteel.tables.files import read_file, records_of
from firesteel.tables.records import Records
from firesteel.world import World

if TYPE_CHECKING:
    from firesteel.spark.transform_rows import RowTransformer


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one row, the most probable first.

    Attributes:
        labels: class names.
        probabilities: of the same classes.
    """

    labels: list[str]
    probabilities: list[float]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.labels[0]


@dataclass(frozen=True)
class RowOutcome:
    """What became of one row of a table.

    Attributes:
        place: ``rows.csv:12`` (the number of the line, from 1), ``rows.parquet:row 12``, or ``row 12``.
        prediction: None if the row cannot be used.
        problem: why it cannot; else None.
    """

    place: str
    prediction: Prediction | None
    problem: str | None


class Predictor:
    """A trained model, ready for rows.

    Args:
        run: a run directory or a model folder.
        device: auto, cpu or cuda.
        batch_size: rows a forward pass.
        model: the factory or its name, for models whose description alone may not be followed.

    Raises:
        RunError: if there is no model.
        ModelError: if it cannot be built or its weights do not fit.

    Example:
        >>> predictor = Predictor("runs/digits")            # doctest: +SKIP
        >>> predictor.predict_files(["three.png"])[0].label  # doctest: +SKIP
        '3'
    """

    def __init__(
        self, run: str | os.PathLike[str] | Place, *, device: str = "auto", batch_size: int = 256, model: Any = None
    ):
        folder = find_model_folder(Place.of(run))
        self.description = read_description(folder)
        self._world = World().on_device(device)
        self._batch_size = batch_size
        self._model = load_model(folder, self.description, model).to(self._world.torch_device)
        self._normalize = self.description.normalizer(self._world.torch_device)

    @property
    def labels(self) -> list[str]:
        """Class names, in the order of the probabilities."""
        return self.description.labels

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one raw row; pictures are (channels, height, width)."""
        return tuple(self.description.feature.shape)

    @torch.inference_mode()
    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probabilities of every class.

        Args:
            features: of shape (N, *input_shape), raw as in the dataset (pictures: 0 to 255); not normalised.

        Returns:
            float32 of shape (N, K).

        Raises:
            ConfigError: if the shape does not fit.
        """
        features = np.asarray(features)
        if features.shape[1:] != self.input_shape:
            raise ConfigError(
                f"features must have shape (N, {', '.join(map(str, self.input_shape))}), got {features.shape}."
            )
        parts = [np.zeros((0, len(self.labels)), dtype=np.float32)]
        for start in range(0, len(features), self._batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(features[start : start + self._batch_size]))
            logits = self._model(self._normalize(batch.to(self._world.torch_device)))
            parts.append(logits.float().softmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    def predict(self, features: np.ndarray, *, top: int = 1) -> list[Prediction]:
        """The ``top`` most probable classes of each row of ``features`` (see :meth:`probabilities`)."""
        if top < 1:
            raise ConfigError(f"top must be at least 1, got {top}.")
        probabilities = self.probabilities(features)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        return [
            Prediction([self.labels[i] for i in row], [float(values[i]) for i in row])
            for row, values in zip(order, probabilities)
        ]

    def decode(self, picture: bytes) -> np.ndarray:
        """An encoded picture as a raw row of shape :attr:`input_shape`, prepared as the dataset's pictures were.

        Raises:
            FormatError: if the bytes are not a picture.
            ConfigError: if this model does not take pictures.
        """
        feature = self.description.feature
        if feature.table is not None:
            raise ConfigError(
                "this model takes rows of a table, not pictures. Use predict_rows(rows) or predict_table(file)."
            )
        if feature.kind != "image":
            raise ConfigError(
                f"this model takes arrays of shape {self.input_shape}, not pictures. Use predict(arrays)."
            )
        channels, height, width = feature.shape
        return images.decode(picture, ImageSpec(height, width, channels)).pixels.transpose(2, 0, 1)

    def predict_pictures(self, pictures: Iterable[bytes], *, top: int = 1) -> list[Prediction]:
        """The ``top`` most probable classes of encoded pictures."""
        rows = [self.decode(picture) for picture in pictures]
        return self.predict(np.stack(rows), top=top) if rows else []

    def predict_files(self, files: Sequence[str | os.PathLike[str]], *, top: int = 1) -> list[Prediction]:
        """The ``top`` most probable classes of picture files; nothing is predicted if one of them cannot be.

        Raises:
            FormatError: naming the file that is no picture.
            StorageError: naming the file that cannot be read.
        """
        return self.predict_pictures((self._read(file) for file in files), top=top)

    # -- rows of tables ----------------------------------------------------------------------------------------------

    @property
    def takes_rows(self) -> bool:
        """Whether rows of a table go in."""
        return self.description.feature.table is not None

    def predict_rows(self, rows: Any, *, top: int = 1) -> list[Prediction]:
        """The ``top`` most probable classes of rows of a table; nothing is predicted if one of them cannot be.

        Args:
            rows: a list of dicts, a pandas DataFrame, or an Arrow table; columns are found by name, others are left out.
            top: classes a row.

        Raises:
            FormatError: naming the rows that cannot be used, and why.
            DataError: if a column is missing.
        """
        outcomes = list(self._outcomes(records_of(rows, self._read_as()), top))
        failed = [f"{outcome.place}: {outcome.problem}" for outcome in outcomes if outcome.problem is not None]
        if failed:
            more = f"\n... and {len(failed) - 3} more" if len(failed) > 3 else ""
            raise FormatError("\n".join(failed[:3]) + more)
        return [outcome.prediction for outcome in outcomes if outcome.prediction is not None]

    def predict_table(
        self,
        file: str | os.PathLike[str] | Place,
        *,
        top: int = 1,
        format: str = "auto",
        header: bool | None = None,
        delimiter: str | None = None,
    ) -> Iterator[RowOutcome]:
        """The ``top`` most probable classes of each row of a CSV, TSV, JSON lines or Parquet file, batch by batch.

        A row that cannot be used is an outcome with a problem; the others are still predicted. The file is read as the
        dataset's source was, unless the other arguments say differently: see :func:`firesteel.tables.files.read_file`.

        Raises:
            DataError: if a column is missing.
            FormatError: if the file is cut or not of its format.
            StorageError: if it cannot be read.
        """
        for records in read_file(Place.of(file), self._read_as(), format=format, header=header, delimiter=delimiter):
            yield from self._outcomes(records, top)

    def _table(self) -> TableEncoding:
        table = self.description.feature.table
        if table is None:
            raise ConfigError("this model takes no rows of a table. Use predict(arrays) or predict_files(pictures).")
        return table

    @cached_property
    def _transformer(self) -> RowTransformer | None:
        """What applies the transform process that the dataset was prepared with; None if there was none."""
        table = self._table()
        if table.process is None:
            return None
        from firesteel.spark.transform_rows import RowTransformer
        from firesteel.tables.process import TransformProcess

        wanted = [each.column.name for each in table.columns]
        transformer = RowTransformer(TransformProcess.of(table.process), wanted, table.dialect.null_values)
        weakref.finalize(self, transformer.close)
        return transformer

    def _read_as(self) -> TableEncoding:
        """Which columns come in, and how their text is read."""
        table = self._table()
        return table if self._transformer is None else table.of_source(self._transformer.columns)

    def _vectors(self, records: Records) -> Encoded:
        if self._transformer is None:
            return self._table().vectors(records.columns)
        columns, problems = self._transformer(records.columns)
        encoded = self._table().vectors(columns)
        return Encoded(encoded.values, encoded.problems | problems)

    def _outcomes(self, records: Records, top: int) -> Iterator[RowOutcome]:
        encoded = self._vectors(records) if records.count else None
        problems = {} if encoded is None else encoded.problems | records.problems
        sound = [row for row in range(records.count) if row not in problems]
        found = iter(self.predict(encoded.values[sound], top=top) if encoded is not None and sound else ())
        for row in range(records.count):
            problem = problems.get(row)
            yield RowOutcome(records.place(row), next(found) if problem is None else None, problem)

    def _read(self, file: str | os.PathLike[str]) -> bytes:
        place = Place.of(file)
        data = place.read_bytes()
        try:
            self.decode(data)
        except FormatError as error:
            raise FormatError(f"{place}: {error}") from error
        return data
