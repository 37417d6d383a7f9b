"""One preparation from start to end: is the dataset there already, may we write here, run, add up, commit."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from firesteel._version import __version__
from firesteel.data.augmentation.policy import Policy
from firesteel.data.balance import BalanceRule, shortages
from firesteel.data.manifest import (
    MANIFEST_NAME,
    Counts,
    Dataset,
    Manifest,
    Quarantine,
    Shard,
    Split,
    Statistics,
    fingerprint_of,
)
from firesteel.data.marker import is_leftover, remove_marker, revoke_marker, set_marker
from firesteel.data.preparation import (
    DEFAULT_SPLIT,
    PROGRESS_FOLDER,
    ClassIndex,
    Engine,
    PrepareOptions,
    PreparePlan,
    Report,
    SourceFacts,
    feature_of,
    guess_image,
    kept_and_dropped,
)
from firesteel.data.progress import announce_rows
from firesteel.data.split import SplitRule
from firesteel.errors import ConfigError, DataError, DatasetError
from firesteel.storage import Place

_MAX_REASONS = 50


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
    fingerprint = _fingerprint(facts, options)
    existing = find_reusable(place, fingerprint, overwrite=overwrite)
    if existing is not None:
        return Prepared(existing, reused=True)
    with _marked(place, fingerprint) as token:
        made = engine() if callable(engine) else engine
        facts = made.facts(facts)
        plan, index = make_plan(facts, made, place, options, token)
        generated = plan.balance.generated if plan.balance else 0
        announce_rows(place / PROGRESS_FOLDER, sum(index.counts.values()) + generated)
        with watching(place) if watching else contextlib.nullcontext():
            reports = made.write(plan)
        manifest = _manifest(facts, options, plan, index, sum(reports, Report()), fingerprint)
        manifest = manifest.model_copy(update={"created": _created(time.monotonic() - began)})
        commit(place, manifest)
    return Prepared(Dataset(place, manifest), reused=False)


def make_plan(
    facts: SourceFacts, engine: Engine, place: Place, options: PrepareOptions, token: str
) -> tuple[PreparePlan, ClassIndex]:
    """Decide size, channels, classes and splits."""
    fractions = options.split or (None if facts.own_splits else DEFAULT_SPLIT)
    image = None
    if facts.array is None and options.table is None:
        image = guess_image(engine.sample(256), options)
    elif options.size is not None or options.channels is not None:
        raise DataError("--size and --channels are for encoded pictures; this source holds arrays of fixed shape.")
    known = None if options.table is not None else feature_of(image, facts.array, options.encoding)
    if options.balance is not None and (known is None or known.kind != "image"):
        holds = "the columns of a table" if known is None else f"arrays of shape {known.shape}"
        raise ConfigError(
            f"--balance generates pictures; this source holds {holds}. Train with"
            " --class-weights balanced or --sampling balanced instead."
        )
    index = engine.index(options.seed, list(fractions.values()) if fractions else None, options.targets)
    kept, dropped = kept_and_dropped(index, facts.class_names, options.min_per_class, in_order=facts.in_order)
    if not kept:
        raise DataError(
            f"no class is left: the source has {len(dropped)} classes with"
            f" {sum(index.counts.values())} usable rows, and each kept class needs {options.min_per_class}."
        )
    boundaries = {name: index.boundaries[name] for name in kept if name in index.boundaries}
    rule = SplitRule(tuple(fractions), options.seed, boundaries) if fractions else None
    splits = tuple(fractions) if fractions else tuple(facts.own_splits)
    feature = engine.table_feature(rule) or known
    assert feature is not None
    plan = PreparePlan(
        place.uri,
        feature,
        image,
        tuple(kept),
        frozenset(dropped),
        rule,
        splits,
        options.seed,
        options.shard_bytes,
        token,
        _balance_rule(index, kept, options),
    )
    return plan, index


def _balance_rule(index: ClassIndex, kept: list[str], options: PrepareOptions) -> BalanceRule | None:
    if not options.targets:
        return None
    policy = None if options.balance is None else options.policy or Policy.of("default")
    return BalanceRule(options.seed, {name: index.quotas[name] for name in kept if name in index.quotas}, policy)


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


def _fingerprint(facts: SourceFacts, options: PrepareOptions) -> str:
    if facts.fingerprint_parts is None:
        return fingerprint_of(["never reused", os.urandom(16).hex()])
    # Sources that are no tables have the fingerprint that they had before tables were sources.
    parameters = options.model_dump(mode="json", exclude=None if options.table else {"table"})
    return fingerprint_of([facts.description, facts.fingerprint_parts, parameters])


def _manifest(
    facts: SourceFacts, options: PrepareOptions, plan: PreparePlan, index: ClassIndex, report: Report, fingerprint: str
) -> Manifest:
    if report.read + report.generated != report.written + report.dropped + report.quarantined:
        raise AssertionError(f"rows do not add up: {report}")
    splits = {name: _split(name, len(plan.labels), report) for name in plan.splits}
    if not splits.get("train") or not splits["train"].rows:
        reason = report.reasons.most_common(1)
        raise DataError(
            f"no training row is left: {report.read} read, {report.dropped} dropped, {report.quarantined} unusable"
            + (f" (most often: {reason[0][0]}, {reason[0][1]} times)." if reason else ".")
            + "\nThe dataset was not written."
        )
    assert report.sums is not None
    scale = 1 / 255 if plan.feature.dtype == "uint8" else 1.0
    mean, std = report.sums.mean_and_std(scale)
    resolved = options.model_dump(mode="json") | {
        "size": [plan.image.height, plan.image.width] if plan.image else None,
        "channels": plan.image.channels if plan.image else None,
        "split": options.split or (None if plan.rule is None else DEFAULT_SPLIT),
        "policy": plan.balance.policy.model_dump(mode="json") if plan.balance and plan.balance.policy else None,
    }
    return Manifest(
        fingerprint=fingerprint,
        source=facts.description,
        parameters=resolved,
        feature=plan.feature,
        labels=list(plan.labels),
        splits=splits,
        statistics=Statistics(mean=mean, std=std, scale=scale),
        counts=Counts(
            read=report.read,
            written=report.written,
            dropped=report.dropped,
            generated=report.generated,
            quarantined=report.quarantined,
        ),
        quarantine=Quarantine(reasons=_top_reasons(report.reasons), shards=report.quarantine),
        warnings=_warnings(facts, options, plan, index, report, splits),
    )


def _split(name: str, num_classes: int, report: Report) -> Split:
    rows_per_class = [0] * num_classes
    shards: list[Shard] = []
    for split, written in report.shards:
        if split == name:
            shards.append(written.shard)
            for label, rows in written.rows_per_class.items():
                rows_per_class[label] += rows
    return Split(rows=sum(rows_per_class), rows_per_class=rows_per_class, shards=shards)


def _top_reasons(reasons: Counter[str]) -> dict[str, int]:
    ordered = reasons.most_common()
    top = dict(ordered[:_MAX_REASONS])
    rest = sum(count for _, count in ordered[_MAX_REASONS:])
    return top | ({"other reasons": rest} if rest else {})


def _warnings(
    facts: SourceFacts,
    options: PrepareOptions,
    plan: PreparePlan,
    index: ClassIndex,
    report: Report,
    splits: dict[str, Split],
) -> list[str]:
    warnings = list(facts.notes)
    if len(plan.labels) == 1:
        warnings.append(
            f"there is only one class ({plan.labels[0]!r}); give the folder that holds the class folders directly"
        )
    train = splits["train"].rows_per_class
    totals = [sum(rows) for rows in zip(*(split.rows_per_class for split in splits.values()))]
    empty = sorted(name for name in plan.dropped if not index.counts.get(name))
    few = sorted(plan.dropped - set(empty))
    if few:
        warnings.append(
            f"{_classes(few, 'was', 'were')} dropped for having fewer than {options.min_per_class}"
            f" row{'s' * (options.min_per_class > 1)} ({_some(few)}): {report.dropped - report.surplus} rows"
        )
    if report.surplus:
        warnings.append(
            f"{report.surplus} training rows were dropped: their classes have {options.max_per_class} others each"
        )
    warnings += shortages(plan.balance, plan.labels, train) if plan.balance else []
    if empty:
        warnings.append(f"{_classes(empty, 'has no row and is', 'have no row and are')} left out ({_some(empty)})")
    unseen = [name for name, rows, total in zip(plan.labels, train, totals) if total and not rows]
    if unseen:
        warnings.append(f"{_classes(unseen, 'has', 'have')} no training row ({_some(unseen)}): no network can learn it")
    broken = [name for name, total in zip(plan.labels, totals) if not total]
    if broken:
        warnings.append(
            f"{_classes(broken, 'has', 'have')} no row that can be read ({_some(broken)}), but stay in the list of"
            " classes; to leave them out, take them out of the source and prepare again"
        )
    lost = [name for name, total in zip(plan.labels, totals) if 0 < total < options.min_per_class]
    if lost:
        warnings.append(
            f"{_classes(lost, 'has', 'have')} fewer than {options.min_per_class} rows after the broken ones were set"
            f" aside ({_some(lost)})"
        )
    for name, split in splits.items():
        missing = [
            label for label, rows, all_rows in zip(plan.labels, split.rows_per_class, totals) if all_rows and not rows
        ]
        if name != "train" and missing:
            warnings.append(f"{_classes(missing, 'has', 'have')} no row in split {name} ({_some(missing)})")
    if report.resized and plan.image and options.size is None:
        warnings.append(
            f"{report.resized} pictures of another size were resized to {plan.image.height}x{plan.image.width}"
        )
    if report.recolored and options.channels is None:
        warnings.append(f"{report.recolored} colour pictures were turned into grey ones; --channels 3 keeps colours")
    if report.quarantined:
        warnings.append(f"{report.quarantined} records could not be used; they are listed in quarantine/")
    return warnings


def _classes(names: list[str], one: str, many: str) -> str:
    return f"1 class {one}" if len(names) == 1 else f"{len(names)} classes {many}"


def _some(names: list[str], most: int = 3) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (", ..." if len(names) > most else "")


def _created(seconds: float) -> dict[str, Any]:
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "seconds": round(seconds, 3),
        "firesteel": __version__,
        "python": platform.python_version(),
    }
