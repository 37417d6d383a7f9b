"""One preparation from start to end: is the dataset there already, may we write here, run, add up, commit."""

from __future__ import annotations

import contextlib
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from firesteel._version import __version__
from firesteel.data.manifest import (
    MANIFEST_NAME,
    Dataset,
    Manifest,
)
from firesteel.data.marker import is_leftover, remove_marker, revoke_marker, set_marker
from firesteel.data.outcome import manifest_of
from firesteel.data.planning import fingerprint_of_source, planned
from firesteel.data.preparation import (
    PROGRESS_FOLDER,
    Engine,
    PrepareOptions,
    Report,
    SourceFacts,
)
from firesteel.data.progress import announce_rows
from firesteel.errors import DatasetError
from firesteel.storage import Place


@dataclass(frozen=True)
class Prepared:
    """The result of a preparation.

    Attributes:
        dataset: open for use.
        reused: True if it was there already and nothing was done.
    """

    dataset: Dataset
    reused: bool


def find_reusable(place: Place, fingerprint: str, *, overwrite: bool = False) -> Dataset | None:
    """The dataset that is there already, if it is the one wanted.

    Raises:
        DatasetError: if something else is there, and ``overwrite`` does not allow to replace it.
    """
    if (place / MANIFEST_NAME).exists():
        try:
            dataset = Dataset.open(place)
        except DatasetError:
            if not overwrite:
                raise
            if b'"format_version"' not in (place / MANIFEST_NAME).read_bytes():
                raise DatasetError(
                    f"{place} holds a {MANIFEST_NAME} that is not of a prepared dataset. Nothing was changed.\n"
                    "Choose an empty or new folder."
                ) from None
            return None
        if dataset.manifest.fingerprint == fingerprint:
            return dataset
        if overwrite:
            return None
        raise DatasetError(
            f"{place} holds another dataset, prepared {dataset.manifest.created.get('date', 'earlier')} from"
            f" {dataset.manifest.source.get('uri')} with other contents or parameters.\n"
            "Choose another folder, or pass --overwrite to replace it."
        )
    _refuse_foreign_folder(place)
    return None


def _refuse_foreign_folder(place: Place) -> None:
    if place.exists() and not place.is_dir():
        raise DatasetError(f"{place} is a file. Choose a folder for the dataset.")
    if is_leftover(place):
        return  # its files are in no manifest, and go when the new one is committed
    if not place.is_empty_or_missing():
        raise DatasetError(
            f"{place} is not empty and is not a prepared dataset. Nothing was changed.\nChoose an empty or new folder."
        )


def prepare_dataset(
    facts: SourceFacts,
    engine: Engine | Callable[[], Engine],
    where: str | Place,
    options: PrepareOptions,
    *,
    overwrite: bool = False,
    watching: Callable[[Place], contextlib.AbstractContextManager[Any]] | None = None,
) -> Prepared:
    """Make the dataset, or find that it is there.

    Args:
        facts: of the source.
        engine: runs the tasks; as a function, it is made only if there is something to do.
        where: folder of the dataset.
        options: of the user.
        overwrite: replace another dataset that lies there; it stays whole until the new one is committed.
        watching: a context that shows the progress while the tasks run.

    Raises:
        DataError: if no row could be used.
        DatasetError: if the folder holds something else.
    """
    place, began = Place.of(where), time.monotonic()
    fingerprint = fingerprint_of_source(facts, options)
    existing = find_reusable(place, fingerprint, overwrite=overwrite)
    if existing is not None:
        return Prepared(existing, reused=True)
    with _marked(place, fingerprint) as token:
        made = engine() if callable(engine) else engine
        preparation = planned(facts, made, place.uri, options, fingerprint=fingerprint, token=token)
        plan = preparation.plan
        generated = plan.balance.generated if plan.balance else 0
        announce_rows(place / PROGRESS_FOLDER, sum(preparation.index.counts.values()) + generated)
        with watching(place) if watching else contextlib.nullcontext():
            reports = made.write(plan)
        manifest = manifest_of(preparation, sum(reports, Report()))
        manifest = manifest.model_copy(update={"created": _created(time.monotonic() - began)})
        commit(place, manifest)
    return Prepared(Dataset(place, manifest), reused=False)


def commit(place: Place, manifest: Manifest) -> None:
    """Write the manifest, then remove the files that are not part of the dataset."""
    (place / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1))
    named = {shard.path for split in manifest.splits.values() for shard in split.shards}
    named |= {shard.path for shard in manifest.quarantine.shards}
    for entry in list(place.files()):
        folder, _, name = entry.path.partition("/")
        ours = name and name.startswith((".part-", "part-")) and entry.path not in named
        if ours or folder == PROGRESS_FOLDER:
            (place / entry.path).delete()
    (place / PROGRESS_FOLDER).delete()


@contextlib.contextmanager
def _marked(place: Place, fingerprint: str) -> Iterator[str]:
    """Mark the folder as being written; on failure remove what is part of no committed dataset."""
    token = set_marker(place, fingerprint)
    try:
        with _terminated_as_interrupt():
            yield token
    except BaseException:
        with contextlib.suppress(OSError, DatasetError):  # the first error is the one to report
            revoke_marker(place)
        with contextlib.suppress(OSError, DatasetError):
            if (place / MANIFEST_NAME).exists():
                commit(place, Dataset.open(place).manifest)
            else:
                for folder in place.folders():
                    (place / folder).delete()
        raise
    finally:
        with contextlib.suppress(OSError):
            remove_marker(place)


@contextlib.contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that nothing half-written is left."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    # Another handler sees to it itself; only the main thread may set one.
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _created(seconds: float) -> dict[str, Any]:
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "seconds": round(seconds, 3),
        "firesteel": __version__,
        "python": platform.python_version(),
    }
