"""Load a model once; arrays, pictures, rows of tables or files in, probabilities out."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from firesteel.errors import ConfigError, FormatError, StorageError
from firesteel.formats import images
from firesteel.formats.images import ImageSpec
from firesteel.inference.outcomes import Embedded, Outcome, Prediction
from firesteel.inference.parallel import DecodedBatch, Replicas, batches_of, decoded, map_in_order, worker_count
from firesteel.inference.pictures import Name, Picture, Pictures, read_picture
from firesteel.inference.table_vectors import TableVectors
from firesteel.models.description import find_model_folder, load_model, read_description
from firesteel.models.layer_output import LayerOutput, Pool
from firesteel.storage import Place
from firesteel.tables.files import read_file, records_of
from firesteel.tables.records import Records
from firesteel.world import World, check_device, using_threads

_BATCH_BYTES = {"cpu": 2 << 20, "cuda": 64 << 20}
"""Of rows in float32. On a CPU the memory that larger batches take, and give back after each, costs more than they save."""


class _Classes(nn.Module):
    """Probabilities, of a network that gives logits."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return self.network(features).float().softmax(dim=1)


class Predictor:
    """A trained model, ready for rows.

    Args:
        run: a run directory or a model folder.
        device: auto, cpu, cuda or, of several GPUs, cuda:N.
        batch_size: rows a forward pass; None is 4 to 256, by their size: about 2 MB of rows in float32
            on a CPU, 64 MB on a GPU.
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
        self,
        run: str | os.PathLike[str] | Place,
        *,
        device: str = "auto",
        batch_size: int | None = None,
        model: Any = None,
    ):
        check_device(device)
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
        folder = find_model_folder(Place.of(run))
        self.description = read_description(folder)
        self._world = World().on_device(device)
        most = _BATCH_BYTES[self._world.torch_device.type] // (4 * math.prod(self.input_shape))
        self._batch_size = batch_size or min(256, max(4, most))
        self._model = load_model(folder, self.description, model).to(self._world.torch_device)
        self._normalize = self.description.normalizer(self._world.torch_device)
        self._layer_outputs: dict[tuple[str | None, Pool], LayerOutput] = {}

    @property
    def labels(self) -> list[str]:
        """Class names, in the order of the probabilities."""
        return self.description.labels

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one raw row; pictures are (channels, height, width)."""
        return tuple(self.description.feature.shape)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probabilities of every class.

        Args:
            features: of shape (N, *input_shape), raw as in the dataset (pictures: 0 to 255); not normalised.

        Returns:
            float32 of shape (N, K).

        Raises:
            ConfigError: if the shape does not fit.
        """
        return self._computed(_Classes(self._model), features, len(self.labels))

    def embed(self, features: np.ndarray, layer: str | None = None, *, pool: Pool = "auto") -> np.ndarray:
        """What a layer gives for each row: a feature vector.

        Args:
            features: see :meth:`probabilities`.
            layer: name of a module or, of an imported network, of a step; None is what goes into the last layer.
            pool: what becomes of feature maps, see :class:`firesteel.models.layer_output.LayerOutput`.

        Returns:
            float32 of shape (N, F).

        Raises:
            ConfigError: if the shape does not fit, or there is no such layer; it names those that are.
        """
        network = self.layer_output(layer, pool)
        return self._computed(network, features, network.size)

    def layer_output(self, layer: str | None = None, pool: Pool = "auto") -> LayerOutput:
        """The network up to a layer, see :meth:`embed`; it takes normalised rows.

        Raises:
            ConfigError: if there is no such layer.
        """
        if (layer, pool) not in self._layer_outputs:  # to make one takes two runs of the network
            self._layer_outputs[layer, pool] = LayerOutput(self._model, self.input_shape, layer, pool)
        return self._layer_outputs[layer, pool]

    def _computed(self, network: nn.Module, features: np.ndarray, size: int) -> np.ndarray:
        features = np.asarray(features)
        if features.shape[1:] != self.input_shape:
            raise ConfigError(
                f"features must have shape (N, {', '.join(map(str, self.input_shape))}), got {features.shape}."
            )
        parts = [np.zeros((0, size), dtype=np.float32)]
        starts = range(0, len(features), self._batch_size)
        parts += [self._of_batch(network, features[start : start + self._batch_size]) for start in starts]
        return np.concatenate(parts)

    @torch.inference_mode()
    def _of_batch(self, network: nn.Module, rows: np.ndarray) -> np.ndarray:
        # torch warns of arrays that must not be written to, though nothing here does.
        batch = torch.from_numpy(np.require(rows, requirements=("C", "W"))).to(self._world.torch_device)
        return network(self._normalize(batch)).cpu().numpy()

    def predict(self, features: np.ndarray, *, top: int = 1) -> list[Prediction]:
        """The ``top`` most probable classes of each row of ``features`` (see :meth:`probabilities`)."""
        if top < 1:
            raise ConfigError(f"top must be at least 1, got {top}.")
        return self._best(self.probabilities(features), top)

    def _best(self, probabilities: np.ndarray, top: int) -> list[Prediction]:
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
        return images.decode(picture, self.image_spec()).pixels.transpose(2, 0, 1)

    def image_spec(self) -> ImageSpec:
        """Size and channels that pictures are brought to.

        Raises:
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
        return ImageSpec(height, width, channels)

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
        rows = [self._decoded(file) for file in files]
        return self.predict(np.stack(rows), top=top) if rows else []

    # -- many pictures -----------------------------------------------------------------------------------------------

    def predict_each(
        self, names: Iterable[Name] | Pictures, *, top: int = 1, workers: int | None = None
    ) -> Iterator[Outcome]:
        """The ``top`` most probable classes of many pictures, in order, while they are read.

        One that cannot be used is an outcome with a problem; the others are still predicted. Threads read, decode and
        compute ahead of the caller, and memory does not grow with the number of pictures.

        Args:
            names: files, folders and archives, see :class:`firesteel.inference.pictures.Pictures`.
            top: classes a picture.
            workers: threads, each with its own batch; None is one a core, 16 at most. With a batch size of 1 each picture is
                answered before the next is asked for, and there is one.

        Raises:
            ConfigError: if this model does not take pictures.
        """
        if top < 1:
            raise ConfigError(f"top must be at least 1, got {top}.")
        for batch, probabilities in self._each_batch(_Classes(self._model), names, workers):
            found = iter(self._best(probabilities, top))
            for position, name in enumerate(batch.names):
                problem = batch.problems.get(position)
                yield Outcome(name, next(found) if problem is None else None, problem)

    def embed_each(
        self,
        names: Iterable[Name] | Pictures,
        layer: str | None = None,
        *,
        pool: Pool = "auto",
        workers: int | None = None,
    ) -> Iterator[Embedded]:
        """The feature vectors of many pictures, as :meth:`predict_each` has their classes; see :meth:`embed`."""
        self.image_spec()
        for batch, vectors in self._each_batch(self.layer_output(layer, pool), names, workers):
            found = iter(vectors)
            for position, name in enumerate(batch.names):
                problem = batch.problems.get(position)
                yield Embedded(name, next(found) if problem is None else None, problem)

    def _each_batch(
        self, network: nn.Module, names: Iterable[Name] | Pictures, workers: int | None
    ) -> Iterator[tuple[DecodedBatch, np.ndarray]]:
        spec, count = self.image_spec(), worker_count(workers)
        count = 1 if self._batch_size == 1 else count
        replicas = Replicas(network, count)

        def compute(pictures: list[Picture]) -> tuple[DecodedBatch, np.ndarray]:
            batch = decoded(pictures, spec)
            if not len(batch.rows):
                return batch, np.zeros((0, 0), np.float32)
            with replicas.one() as free:
                return batch, self._of_batch(free, batch.rows)

        pictures = names if isinstance(names, Pictures) else Pictures(names)
        batches = batches_of(pictures, self._batch_size)
        # Threads that share a core's time wait for each other in torch: each has its share of the cores. The number is the
        # process's, so that what the caller computes between two pictures has no more.
        with using_threads(max(1, torch.get_num_threads() // count)):
            yield from map_in_order(compute, batches, count, ahead=self._batch_size > 1)

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
        outcomes = list(self._outcomes(records_of(rows, self._table.read_as), top))
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
    ) -> Iterator[Outcome]:
        """The ``top`` most probable classes of each row of a CSV, TSV, JSON lines or Parquet file, batch by batch.

        A row that cannot be used is an outcome with a problem; the others are still predicted. The file is read as the
        dataset's source was, unless the other arguments say differently: see :func:`firesteel.tables.files.read_file`.

        Raises:
            DataError: if a column is missing.
            FormatError: if the file is cut or not of its format.
            StorageError: if it cannot be read.
        """
        for records in read_file(
            Place.of(file), self._table.read_as, format=format, header=header, delimiter=delimiter
        ):
            yield from self._outcomes(records, top)

    @cached_property
    def _table(self) -> TableVectors:
        table = self.description.feature.table
        if table is None:
            raise ConfigError("this model takes no rows of a table. Use predict(arrays) or predict_files(pictures).")
        return TableVectors(table)

    def _outcomes(self, records: Records, top: int) -> Iterator[Outcome]:
        encoded = self._table.of(records) if records.count else None
        problems = {} if encoded is None else encoded.problems | records.problems
        sound = [row for row in range(records.count) if row not in problems]
        found = iter(self.predict(encoded.values[sound], top=top) if encoded is not None and sound else ())
        for row in range(records.count):
            problem = problems.get(row)
            yield Outcome(records.place(row), next(found) if problem is None else None, problem)

    def _decoded(self, file: str | os.PathLike[str]) -> np.ndarray:
        place = Place.of(file)
        try:
            return self.decode(read_picture(place))
        except (FormatError, StorageError) as error:
            raise type(error)(f"{place}: {str(error).removeprefix(f'{place}: ')}") from error
