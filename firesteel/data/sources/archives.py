"""Pictures in archives, read in place."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from firesteel.data.sources.base import SPLIT_NAMES, even_slices, is_hidden, is_hidden_path
from firesteel.data.sources.labels import FolderLabels, has_own_split, make_labels, printable
from firesteel.data.sources.pictures import Item, PictureSource
from firesteel.errors import DataError, FormatError, StorageError
from firesteel.formats.archives import Archive, Member, archive_stem, is_archive_name, open_archive
from firesteel.storage import Entry, Place


class Listing(NamedTuple):
    """What one archive holds.

    Attributes:
        entry: the archive, its path below the place; empty if the place is the archive.
        members: of it, in its order.
        splittable: see :class:`Archive`.
    """

    entry: Entry
    members: list[Member]
    splittable: bool


class _Where(NamedTuple):
    archive: int
    member: Member


@dataclass(frozen=True)
class ArchiveSource(PictureSource):
    """A zip or tar archive with class folders in it, or a folder of such archives.

    Names of members are read as paths in a folder, less the folders at the top that all have in common; nothing is ever
    unpacked to disk. Of several archives, one called ``train.zip`` is the split ``train``, and one whose pictures lie
    in no folder is a class.

    Attributes:
        archives: paths of the archives below the place.
        streams: positions of those among them that can only be read from their beginning.
    """

    archives: tuple[Entry, ...] = ()
    streams: frozenset[int] = field(default=frozenset())

    @classmethod
    def open(cls, place: Place, listings: Sequence[Listing] | None = None, **options: str) -> ArchiveSource:
        """List the members.

        Args:
            place: an archive, or a folder of archives.
            listings: of :func:`list_archives`, if they are known already.
            options: see :func:`firesteel.data.sources.labels.make_labels`.

        Raises:
            DataError: if an archive cannot be read at all, or no member gets a label.
        """
        listings = list_archives(place) if listings is None else listings
        found, notes = _named(listings, by_folder=not (options.get("labels") or options.get("label_pattern")))
        paths = [each.path for each in found if each.path]
        labels = make_labels(options, paths, place, own_split=has_own_split(paths))
        if isinstance(labels, FolderLabels) and not any("/" in path for path in paths):
            raise DataError(
                f"{place} holds no class folders ({len(paths)} files lie in it directly).\n"
                "Labels that stand elsewhere: --labels FILE.csv or --label-pattern REGEX."
            )
        items = []
        for each in found:
            label, split, problem = labels.of(each.path) if each.path else (None, None, None)
            problem = each.where.member.problem or each.problem or problem
            items.append(Item(each.id, each.where, label, split, problem))
        entries = [listing.entry for listing in listings]
        parts = [[place.name if not e.path else e.path, e.size, e.modified] for e in entries] + [labels.fingerprint()]
        streams = frozenset(number for number, listing in enumerate(listings) if not listing.splittable)
        return cls(
            place, tuple(items), tuple(part for part in parts if part), sum(entry.size for entry in entries),
            tuple(sorted({item.label for item in items if item.label})), tuple(notes + _stream_note(listings) + labels.notes()),
            tuple(entries), streams,
        )  # fmt: skip

    def for_task(self) -> ArchiveSource:
        return replace(self, items=(), parts=(), announced=(), remarks=())

    def partitions(self, count: int) -> list[Sequence[Item]]:
        """Runs of members of one archive; what can only be streamed is one partition."""
        result: list[Sequence[Item]] = []
        for number, group in itertools.groupby(self.items, key=lambda item: item.where.archive):
            items = list(group)
            share = 1 if number in self.streams else max(1, round(count * len(items) / len(self.items)))
            result += [items[part] for part in even_slices(len(items), share)]
        return result

    def sample(self, count: int) -> Iterator:
        """Spread over the archive; of one that is compressed as a whole, the first members."""
        if not self.streams:
            yield from super().sample(count)
            return
        share = max(1, count // len(self.archives))
        for _, group in itertools.groupby(self.items, key=lambda item: item.where.archive):
            yield from self.rows_of(list(itertools.islice(group, share)))

    def _bytes_of(self, items: Sequence[Item]) -> Iterator[bytes | FormatError | StorageError]:
        for number, group in itertools.groupby(items, key=lambda item: item.where.archive):
            entry = self.archives[number]
            with contextlib.ExitStack() as stack:
                archive: Archive | FormatError | StorageError
                try:
                    file = stack.enter_context(_place_of(self.place, entry).open())
                    archive = open_archive(file, entry.size)
                except (FormatError, StorageError) as error:
                    archive = error
                for item in group:
                    yield _read(archive, item.where.member)


def _read(archive: Archive | FormatError | StorageError, member: Member) -> bytes | FormatError | StorageError:
    if not isinstance(archive, Archive):
        return archive
    try:
        return archive.read(member)
    except (FormatError, StorageError) as error:
        return error
    except OSError as error:
        return StorageError(f"cannot read member {member.name!r}: {error}")


def list_archives(place: Place) -> list[Listing]:
    """The members of an archive, or of all archives that lie in a folder.

    Raises:
        DataError: if there is no archive, or one is none at all.
    """
    entries = [entry for entry in place.files() if not is_hidden(entry.path or place.name)]
    if place.is_dir():
        entries = [entry for entry in entries if "/" not in entry.path and is_archive_name(entry.path)]
    if not entries:
        raise DataError(f"{place} holds no archives. Expected .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz.")
    listings = []
    for entry in entries:
        where = _place_of(place, entry)
        try:
            with where.open() as file:
                archive = open_archive(file, entry.size)
                listings.append(Listing(entry, list(archive.members()), archive.splittable))
        except FormatError as error:
            raise DataError(f"{where}: {error}") from error
    return listings


def _place_of(place: Place, entry: Entry) -> Place:
    return place / entry.path if entry.path else place


# -- names ----------------------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """A member under its path in the source; of a damaged region or an unsafe name the path is empty."""

    id: str
    path: str
    where: _Where
    problem: str | None = None


def _named(listings: Sequence[Listing], *, by_folder: bool) -> tuple[list[_Found], list[str]]:
    """All members that are not hidden, each with an id and a path of its own, and what a person should know."""
    several = len(listings) > 1
    stems = [archive_stem(listing.entry.path) for listing in listings]
    by_split = several and all(stem.lower() in SPLIT_NAMES for stem in stems)
    visible = [[member for member in listing.members if not is_hidden_path(member.name)] for listing in listings]
    hidden = sum(len(listing.members) for listing in listings) - sum(map(len, visible))
    least = 2 if by_folder else 1
    if by_split:
        tops = [_common_top(members, least, also=SPLIT_NAMES) for members in visible]
    else:
        tops = [_common_top([member for members in visible for member in members], least)] * len(listings)
    flat = by_folder and not any("/" in _path(m, top) for members, top in zip(visible, tops) for m in members)
    found = []
    for number, (members, stem, top) in enumerate(zip(visible, stems, tops)):
        archive = listings[number].entry.path
        for member in members:
            path = _path(member, top)
            own_id = f"{stem}/{path}" if several else path
            inside = f"{stem}/{path}" if path and several and (by_split or flat) else path
            where = _Where(number, member)
            if not path:
                own_id = f"{archive or 'archive'}@{member.offset} {member.name}".strip()
            found.append(_Found(printable(own_id), inside, where))
    notes = [f"the top folder {top!r} of the archive is left out of the names" for top in sorted(set(tops)) if top]
    if hidden:
        notes.append(f"{hidden} hidden members (names that begin with a dot, __MACOSX) were left alone")
    return _without_doubles(found), notes


def _path(member: Member, top: str) -> str:
    """The path in the source; empty where the name is none."""
    if not member.name or (member.problem or "").startswith("unsafe name"):
        return ""
    return member.name[len(top) + 1 :] if top else member.name


def _common_top(members: Sequence[Member], least: int, also: Sequence[str] | dict[str, str] = ()) -> str:
    """The folders that all paths begin with, as far as each keeps ``least`` parts and no split's folder is lost.

    Args:
        members: of one archive or of all.
        least: folders and name that the longest path keeps.
        also: names of splits that may be left out all the same, because the archive is called so itself.
    """
    paths = [path.split("/") for member in members if (path := _path(member, ""))]
    depth = 0
    while (
        paths
        and len({path[depth] if len(path) > depth + 1 else None for path in paths}) == 1
        and max(map(len, paths)) > depth + least
        and len(paths[0]) > depth + 1
        and (paths[0][depth].lower() not in SPLIT_NAMES or paths[0][depth].lower() in also)
    ):
        depth += 1
    return "/".join(paths[0][:depth]) if depth else ""


def _without_doubles(found: list[_Found]) -> list[_Found]:
    """Where a name comes several times, the last one counts, as it does for who unpacks; the others are set aside."""
    last = {each.id: position for position, each in enumerate(found)}
    if len(last) == len(found):
        return found
    return [
        each if last[each.id] == position else each._replace(
            id=f"{each.id}@{each.where.member.offset}", problem="name comes again later in the archive"
        )
        for position, each in enumerate(found)
    ]  # fmt: skip


def _stream_note(listings: Sequence[Listing]) -> list[str]:
    streams = [listing.entry.path for listing in listings if not listing.splittable]
    if not streams:
        return []
    what = "the archive is" if len(listings) == 1 else f"{len(streams)} of {len(listings)} archives are"
    return [
        f"{what} compressed as a whole: one task reads each from its beginning. A plain .tar or a .zip is read by many at once"
    ]
