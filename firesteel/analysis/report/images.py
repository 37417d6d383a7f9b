"""The page of pictures."""

from __future__ import annotations

import base64

from firesteel.analysis import sheet
from firesteel.analysis.images import DuplicateGroup, ImageAnalysis, Picture
from firesteel.analysis.report.charts import bars, histogram, parts, ranked
from firesteel.analysis.report.elements import Child, Element, element
from firesteel.analysis.report.page import card, figures, page, section, table
from firesteel.analysis.report.wording import counted, number, share, size

_BARS = 40
_ENDS = 10


def image_page(analysis: ImageAnalysis) -> str:
    """The page as text."""
    name = analysis.source.rstrip("/").rpartition("/")[2] or analysis.source
    found = analysis.duplicates
    doubled = found.exact["groups"] + found.near["groups"]
    splits = ", ".join(f"{split} {count:,}" for split, count in analysis.splits.items())
    tiles = [
        (f"{analysis.images:,}", f"pictures: {splits}" if splits else "pictures", False),
        (f"{len(analysis.classes):,}", "classes", False),
        (size(analysis.figures["bytes"]["total"]), "in all", False),
        (f"{analysis.unreadable:,}", "unreadable", analysis.unreadable > 0),
        (f"{doubled:,}", "groups of duplicates", doubled > 0),
    ]
    sections = [
        _classes(analysis),
        _pictures(analysis) if analysis.images else None,
        _duplicates(analysis),
        _unreadable(analysis) if analysis.unreadable else None,
        _examples(analysis) if analysis.examples else None,
    ]
    return page(f"Analysis of {name}", analysis.source, tiles, sections, notes=analysis.notes, seconds=analysis.seconds)


# -- classes --------------------------------------------------------------------------------------------------------


def _classes(analysis: ImageAnalysis) -> Element:
    classes = analysis.classes
    bands = [(str(band), band.classes, f"{band.images:,} pictures") for band in analysis.bands]
    describe = figures((_DESCRIBED.get(name, name), number(value)) for name, value in analysis.per_class.items())
    many = len(classes) > _BARS
    chart: list[Child]
    if many:
        sizes = [each.images for each in classes]
        chart = [card("Pictures a class", ranked(sizes, "classes"))]
        ends = element(
            "div",
            card("Largest", _class_bars(analysis, 0, _ENDS)),
            card("Smallest", _class_bars(analysis, len(classes) - _ENDS, len(classes))),
            class_="two",
            style="margin-top:12px",
        )
        chart.append(ends)
    else:
        chart = [card("Pictures a class", _class_bars(analysis, 0, len(classes)))]
    below = element(
        "div",
        card("Over the classes", describe),
        card("Classes by size", parts(bands)),
        class_="two",
        style="margin-top:12px",
    )
    return section("Classes", chart, below, _by_split(analysis))  # fmt: skip


_DESCRIBED = {"count": "classes", "std": "standard deviation"}


def _class_bars(analysis: ImageAnalysis, start: int, stop: int) -> Element:
    shown = analysis.classes[max(0, start) : stop]
    return bars([(each.name or "(no class)", each.images, f"{each.images:,}") for each in shown])


def _by_split(analysis: ImageAnalysis) -> Element | None:
    """Pictures of each class in each split, if there are several splits."""
    splits = list(analysis.splits)
    if len(splits) < 2:
        return None
    rows = [
        [each.name, *(f"{each.splits.get(split, 0):,}" for split in splits), f"{each.images:,}"]
        for each in analysis.classes[:1000]
    ]
    box = element(
        "details",
        element("summary", "classes by split"),
        table(["class", *splits, "all"], rows, numbers=len(splits) + 1, tall=True),
    )
    return element("div", box, class_="card", style="margin-top:12px")  # fmt: skip


# -- figures of the pictures ----------------------------------------------------------------------------------------


_FIGURES = {
    "height": "Height, pixels", "width": "Width, pixels", "aspect": "Aspect, width / height", "bytes": "File size",
    "brightness": "Brightness, 0 to 1", "contrast": "Contrast, 0 to 0.5",
}  # fmt: skip


def _pictures(analysis: ImageAnalysis) -> Element:
    cards = [
        _number_card(words, analysis.figures[name], size if name == "bytes" else number)
        for name, words in _FIGURES.items()
    ]
    sizes = [(each["value"], each["count"], f"{each['count']:,}") for each in analysis.sizes]
    title = f"Sizes, height x width ({counted(analysis.number_of_sizes, 'different one')})"
    cards.append(card(title, bars(sizes)))
    kinds = [
        (name, count, f"{count:,}") for group in (analysis.formats, analysis.modes) for name, count in group.items()
    ]
    animated = element(
        "p", f"{counted(analysis.animated, 'picture')} of several frames; the first is analysed.", class_="soft small"
    )
    cards.append(card("File formats and colour modes", bars(kinds), animated if analysis.animated else None))
    if analysis.channels is not None:
        cards.append(_channel_card(analysis.channels))
    return section("Pictures", element("div", cards, class_="cards"))


def _number_card(title: str, of: dict[str, object], show: object) -> Element:
    shown = show if callable(show) else number
    chart = of["histogram"]
    assert isinstance(chart, dict)
    quantiles = of["quantiles"]
    assert isinstance(quantiles, dict)
    median = ("median", shown(quantiles.get("0.5")))
    rows = [(name, shown(of[name])) for name in ("min", "mean", "max", "stdev")]
    rows.insert(1, median)
    ends = (shown(of["min"]), shown(of["max"]))
    return card(title, histogram(chart["edges"], chart["counts"], ends, shown), figures(rows))


def _channel_card(channels: dict[str, list[float]]) -> Element:
    names = ["red", "green", "blue"] if len(channels["mean"]) == 3 else ["grey"]
    rows = [[name, f"{mean:.4f}", f"{std:.4f}"] for name, mean, std in zip(names, channels["mean"], channels["std"])]
    return card("Channels, of all pixels", table(["channel", "mean", "std"], rows, numbers=2))


# -- duplicates -----------------------------------------------------------------------------------------------------


def _duplicates(analysis: ImageAnalysis) -> Element:
    found = analysis.duplicates
    rows = [
        [words, *(f"{of[name]:,}" for name in ("groups", "images", "across_classes", "across_splits"))]
        for words, of in (("the same bytes", found.exact), ("nearly the same picture", found.near))
    ]
    header = ["", "groups", "pictures", "groups across classes", "across splits"]
    means = found.to_json()["near_means"]
    words = f"{counted(found.compared, 'picture')} compared. Nearly the same: {means}."
    if found.flat:
        words += f" {counted(found.flat, 'picture')} of nearly one colour: compared by their bytes only."
    overview = element("div", table(header, rows, numbers=4), element("p", words, class_="soft small"), class_="card")
    shown = [_group(group, analysis) for group in found.groups[: sheet.GROUPS]]
    box = element("div", shown, class_="card", style="margin-top:12px") if shown else None
    return section("Duplicates", overview, box, _more_groups(found.groups[sheet.GROUPS :]))


def _group(group: DuplicateGroup, analysis: ImageAnalysis) -> Element:
    words = (
        "The same bytes"
        if group.distance is None
        else f"Nearly the same, {counted(group.distance, 'bit')} of 128 differ"
    )
    marks = [
        element("span", text, class_="badge warn")
        for text, on in (("different classes", group.across_classes), ("different splits", group.across_splits))
        if on
    ]
    shown = group.pictures[: sheet.PICTURES_A_GROUP]
    more = (
        element("p", f"and {group.size - len(shown):,} more", class_="soft small") if group.size > len(shown) else None
    )
    return element(
        "div",
        element("div", words, marks),
        element("div", [_shown(each, analysis, named=True) for each in shown], class_="pair"),
        more,
        class_="group",
    )


def _more_groups(groups: tuple[DuplicateGroup, ...]) -> Element | None:
    if not groups:
        return None
    rows = [
        [
            "same bytes" if group.distance is None else f"near, {counted(group.distance, 'bit')}",
            str(group.size),
            "; ".join(each.id for each in group.pictures[:6]) + (" ..." if group.size > 6 else ""),
        ]
        for group in groups
    ]
    box = element(
        "details",
        element("summary", f"{counted(len(groups), 'more group')}"),
        table(["kind", "pictures", "ids"], rows, names=3, tall=True),
    )
    return element("div", box, class_="card", style="margin-top:12px")


def _shown(picture: Picture, analysis: ImageAnalysis, *, named: bool) -> Element:
    data = analysis.thumbnails.get(picture.place)
    where = " · ".join(each for each in (picture.label, picture.split) if each)
    image = None
    if data is not None:
        image = element(
            "img", src="data:image/jpeg;base64," + base64.b64encode(data).decode(), alt=picture.id, title=picture.id
        )
    caption = element("figcaption", element("b", where), element("div", picture.id)) if named else None
    return element("figure", image, caption)


# -- the rest -------------------------------------------------------------------------------------------------------


def _unreadable(analysis: ImageAnalysis) -> Element:
    whole = analysis.images + analysis.unreadable
    reasons = card(
        f"Reasons, {share(analysis.unreadable, whole)} of all",
        bars([(reason, count, f"{count:,}") for reason, count in analysis.reasons.items()]),
    )
    broken = card(
        f"The first {len(analysis.broken)}", table(["picture", "reason"], analysis.broken, names=2, tall=True)
    )
    return section("Unreadable", element("div", reasons, broken, class_="two"))


def _examples(analysis: ImageAnalysis) -> Element:
    few = len(analysis.examples) < len(analysis.classes)
    words = (
        f"{len(analysis.examples)} of {len(analysis.classes):,} classes, from the largest to the smallest."
        if few
        else None
    )
    shown = [
        card(
            name or "(no class)",
            element("div", [_shown(each, analysis, named=False) for each in pictures], class_="sheet"),
        )
        for name, pictures in analysis.examples.items()
    ]
    return section(
        "Some pictures", element("p", words, class_="soft") if words else None, element("div", shown, class_="two")
    )
