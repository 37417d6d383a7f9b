"""What ``firesteel predict`` prints: a line a picture or row for people, JSON for programs, files of vectors."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firesteel.cli.output import note, print_json, print_json_list, say
from firesteel.errors import ConfigError, DataError, StorageError
from firesteel.inference.pictures import STANDARD_INPUT, Pictures, names_from

if TYPE_CHECKING:
    from firesteel.inference.outcomes import Prediction
    from firesteel.inference.predictor import Predictor

Answer = dict[str, Any]


@dataclass(frozen=True)
class PredictOptions:
    """What the user gave; see ``firesteel predict --help``."""

    files: list[str]
    files_from: str | None
    top: int
    embed: str | None
    pool: str
    out: str | None
    workers: int | None
    as_json: bool
    json_lines: bool
    reading: dict[str, Any]

    def __post_init__(self) -> None:
        if self.as_json and self.json_lines:
            raise ConfigError("--json prints one object, --jsonl one a line. Give one of them.")
        if self.embed is None and (self.out is not None or self.pool != "auto"):
            raise ConfigError("--out and --pool go with --embed LAYER.")
        if self.out is not None and (self.as_json or self.json_lines):
            raise ConfigError("--out writes the vectors to a file; --json and --jsonl print them. Give one of them.")


def run_predict(run: str, options: PredictOptions, **loading: Any) -> int:
    """Predict, print or write the answers as they come, and return how many are errors.

    Args:
        run: a run or a model folder.
        options: of the user.
        loading: see :class:`Predictor`.
    """
    from firesteel.inference.predictor import Predictor

    names = names_of(options.files, options.files_from)
    predictor = Predictor(run, **loading)
    if options.embed is None:
        found = predictions(predictor, names, options.top, options.workers, **options.reading)
    else:
        found = vectors(predictor, names, options.embed, options.pool, options.workers)
    with contextlib.closing(found):  # type: ignore[type-var]
        if options.out is not None:
            return write_vectors(options.out, found)
        return show_answers(run, found, "json" if options.as_json else "jsonl" if options.json_lines else "text")


def names_of(files: list[str], files_from: str | None) -> Iterable[str]:
    """What is to be predicted: the arguments, then the names of the list.

    Raises:
        ConfigError: if there is neither, or standard input is meant twice.
    """
    if not files and files_from is None:
        raise ConfigError("there is nothing to predict. Give files, folders, archives, - or --files-from LIST.")
    if [*files, files_from].count(STANDARD_INPUT) > 1:
        raise ConfigError("standard input (-) can be read once: as one input, or as the list of --files-from.")
    return [*files] if files_from is None else _chained(files, names_from(files_from))


def _chained(files: list[str], listed: Iterator[str]) -> Iterator[str]:
    yield from files
    yield from listed


def predictions(
    predictor: Predictor, names: Iterable[str], top: int, workers: int | None, **reading: Any
) -> Iterator[Answer]:
    """One answer a picture or row, in order, with its most probable classes or the error.

    Args:
        predictor: of a model of pictures or tables.
        names: see :class:`Pictures`; of tables files.
        top: classes each.
        workers: threads, for pictures.
        reading: of tables, see :meth:`Predictor.predict_table`.
    """
    if predictor.takes_rows:
        yield from _of_tables(predictor, names, top, **reading)
        return
    given = {name for name, value in reading.items() if value not in (None, "auto")}
    if given:
        raise ConfigError(f"--{min(given)} is for tables; this model takes pictures.")
    pictures = Pictures(names)
    for outcome in predictor.predict_each(pictures, top=top, workers=workers):
        if outcome.prediction is None:
            yield {"file": outcome.place, "error": outcome.problem}
        else:
            yield {"file": outcome.place, "label": outcome.prediction.label, "top": _best(outcome.prediction)}
    _say_left_alone(pictures)


def vectors(predictor: Predictor, names: Iterable[str], layer: str, pool: str, workers: int | None) -> Iterator[Answer]:
    """One answer a picture, in order, with its feature vector or the error."""
    pictures = Pictures(names)
    wanted = None if layer == "default" else layer
    for found in predictor.embed_each(pictures, wanted, pool=pool, workers=workers):  # type: ignore[arg-type]
        yield {"file": found.place} | (
            {"vector": found.vector} if found.vector is not None else {"error": found.problem}
        )
    _say_left_alone(pictures)


def show_answers(run: str, answers: Iterable[Answer], form: str) -> int:
    """Print answers as they come: ``text``, ``json`` (one object) or ``jsonl`` (one a line); returns how many are errors."""
    failed = 0

    def counted() -> Iterator[Answer]:
        nonlocal failed
        for answer in answers:
            failed += "error" in answer
            yield answer | ({"vector": answer["vector"].tolist()} if "vector" in answer else {})

    if form == "json":
        print_json_list({"run": run}, "predictions", counted(), lambda: {"failed": failed})
        return failed
    for answer in counted():
        if form == "jsonl":
            print_json(answer, at_once=True)
        else:
            show_answer(answer)
    return failed


def write_vectors(file: str, answers: Iterable[Answer]) -> int:
    """Write vectors to FILE.npy or FILE.parquet; returns how many pictures have none."""
    from firesteel.inference.vector_files import vector_writer

    failed = 0
    with vector_writer(file) as writer:
        for answer in answers:
            if "error" in answer:
                failed += 1
                show_answer(answer)
            else:
                writer.add(answer["file"], answer["vector"])
        count = writer.count
    say(f"Wrote {count:,} vectors to {file}.")
    return failed


def show_answer(answer: Answer) -> None:
    """One picture or row in a line."""
    place = answer["file"] + (f":{answer['row']}" if "row" in answer else "")
    if "error" in answer:
        note(f"{place}: {answer['error']}")
    elif "vector" in answer:
        say(f"{place}  {' '.join(f'{value:.6g}' for value in answer['vector'])}", at_once=True)
    else:
        shown = "  ".join(f"{each['label']} {each['probability']:.3f}" for each in answer["top"])
        say(f"{place}  {shown}", at_once=True)


def _of_tables(predictor: Predictor, names: Iterable[str], top: int, **reading: Any) -> Iterator[Answer]:
    for name in names:
        with _table(name, reading["format"]) as file:
            try:
                for outcome in predictor.predict_table(file, top=top, **reading):
                    row = {"file": name, "row": outcome.place.rpartition(":")[2]}
                    if outcome.prediction is None:
                        yield row | {"error": outcome.problem}
                    else:
                        best = _best(outcome.prediction)
                        yield row | {"label": outcome.prediction.label, "top": best}
            except (DataError, StorageError) as error:
                yield {"file": name, "error": str(error).replace(str(file), name)}


@contextlib.contextmanager
def _table(name: str, format: str) -> Iterator[str]:
    """The file of a table: of standard input a copy, because files are read more than once."""
    if name != STANDARD_INPUT:
        yield name
        return
    with tempfile.TemporaryDirectory(prefix="firesteel-") as folder:
        file = Path(folder) / f"input.{'csv' if format == 'auto' else format}"
        with file.open("wb") as copy:
            while data := sys.stdin.buffer.read(1 << 20):
                copy.write(data)
        yield str(file)


def _best(prediction: Prediction) -> list[dict[str, Any]]:
    return [
        {"label": label, "probability": probability}
        for label, probability in zip(prediction.labels, prediction.probabilities)
    ]


def _say_left_alone(pictures: Pictures) -> None:
    if pictures.left_alone:
        note(f"note: {pictures.left_alone:,} files in folders and archives were left alone: no pictures by their names")
