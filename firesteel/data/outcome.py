"""From the reports of tasks to a manifest: sums that must add up, and what a person should know."""

from __future__ import annotations

from collections import Counter

from firesteel.data.balance import shortages
from firesteel.data.index import ClassIndex
from firesteel.data.manifest import (
    Counts,
    Manifest,
    Quarantine,
    Shard,
    Split,
    Statistics,
)
from firesteel.data.planning import Preparation
from firesteel.data.preparation import (
    DEFAULT_SPLIT,
    PrepareOptions,
    PreparePlan,
    Report,
    SourceFacts,
)
from firesteel.errors import DataError

_MAX_REASONS = 50


def manifest_of(done: Preparation, report: Report) -> Manifest:
    """The manifest of what tasks have done.

    Args:
        done: as it was planned.
        report: of all tasks together.

    Raises:
        DataError: if no training row is left.
    """
    facts, options, plan, index = done.facts, done.options, done.plan, done.index
    if report.read + report.generated != report.written + report.dropped + report.quarantined:
        raise AssertionError(f"rows do not add up: {report}")
    splits = {name: _split(name, len(plan.labels), report) for name in plan.splits}
    measured = splits[plan.measured].rows if plan.measured else report.written
    if not measured:
        reason = report.reasons.most_common(1)
        raise DataError(
            f"no {'training ' * bool(plan.measured)}row is left: {report.read} read, {report.dropped} dropped, {report.quarantined} unusable"
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
        fingerprint=done.fingerprint,
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
    if not plan.measured:
        warnings.append(
            "there is no split train: this dataset is for evaluation only, and its statistics are those of all rows"
        )
    train = splits["train"].rows_per_class if plan.measured else []
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
