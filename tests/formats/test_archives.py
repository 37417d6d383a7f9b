"""Archives: each member comes with its bytes, or with the reason why not; nothing is believed that is only announced."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.errors import FormatError
from firesteel.formats import archives, compression
from firesteel.formats.archives import Member, archive_stem, is_archive_name, open_archive
from tests.archives import TAR_MODES, tar_bytes, zip_bytes

FILES = {"a/1.bin": b"one", "a/b/2.bin": b"", f"{'deep/' * 30}3é.bin": bytes(range(256)) * 9, "4": b"4" * 512}


def members_of(data: bytes) -> list[Member]:
    return list(open_archive(io.BytesIO(data), len(data)).members())


def contents(data: bytes) -> dict[str, bytes | str]:
    """The bytes of each member, or what is wrong with it."""
    archive = open_archive(io.BytesIO(data), len(data))
    found: dict[str, bytes | str] = {}
    for member in members_of(data):
        try:
            found[member.name] = member.problem or archive.read(member)
        except FormatError as error:
            found[member.name] = str(error)
    return found


# -- what is whole --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", sorted(set(TAR_MODES.values())))
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_of_any_kind_gives_its_files(mode, format):
    """ustar, GNU long names and pax headers; plain or compressed."""
    data = tar_bytes(FILES, mode, format=format)

    assert contents(data) == FILES
    assert open_archive(io.BytesIO(data), len(data)).splittable == (mode == "w")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_gives_its_files(method):
    """Stored and deflated; also with something in front, as self-extracting archives have."""
    data = zip_bytes(FILES, method=method)

    assert contents(data) == FILES
    assert open_archive(io.BytesIO(data), len(data)).splittable
    assert contents(b"PK stub" + data) == FILES


def test_a_zip64_gives_its_files():
    """Sizes and offsets in the zip64 extra field are read."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("a/x.bin", "w", force_zip64=True) as member:
        member.write(b"hello")

    assert contents(out.getvalue()) == {"a/x.bin": b"hello"}


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0/\\"), min_size=1, max_size=120).filter(
            lambda name: name not in (".", "..") and name[1:2] != ":" and not name.endswith(" ")
        ),
        st.binary(max_size=2000),
        max_size=5,
        min_size=1,
    ),
    st.sampled_from(["zip", *sorted(set(TAR_MODES.values()))]),
)
def test_what_was_put_in_comes_out(files, kind):
    """Any names and any bytes."""
    files = {f"x/{name}": data for name, data in files.items()}
    data = zip_bytes(files) if kind == "zip" else tar_bytes(files, kind, format=tarfile.PAX_FORMAT)

    assert contents(data) == files


def test_tars_that_were_appended_to_each_other_are_read_to_the_end():
    """An end mark in the middle is not the end; the empty blocks that fill up a tape are nothing."""
    assert contents(tar_bytes({"a": b"1"}) + tar_bytes({"b": b"2"}) + bytes(5120)) == {"a": b"1", "b": b"2"}
    assert contents(gzip.compress(tar_bytes({"a": b"1"})) + gzip.compress(tar_bytes({"b": b"2"})) + bytes(100)) == {
        "a": b"1",
        "b": b"2",
    }


def test_folders_are_no_members():
    """Neither in a tar nor in a zip."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        folder = tarfile.TarInfo("a/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    assert members_of(out.getvalue()) == []
    assert contents(zip_bytes({"a/": b"", "a/1": b"x"})) == {"a/1": b"x"}


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.zip", "a"), ("a.TAR", "a"), ("a.b.tar.gz", "a.b"), ("a.tgz", "a"), ("a.tar.bz2", "a"), ("a.txz", "a")],
)
def test_archives_are_known_by_their_names(name, stem):
    assert is_archive_name(name)
    assert archive_stem(name) == stem
    assert not is_archive_name(stem + ".gz")


# -- what is hostile ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "a/../../x", "/etc/passwd", "C:/x", "..\\x"])
@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_a_name_that_leads_out_is_a_problem(name, make):
    """The member is listed with its reason, the others are read."""
    found = contents(make({name: b"evil", "a/1": b"good"}))

    assert found.pop("a/1") == b"good"
    assert [str(value)[:11] for value in found.values()] == ["unsafe name"]


def test_links_and_devices_in_a_tar_are_not_read():
    """A link's target is named nowhere; nothing outside of the archive is opened."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("f", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)

    problems = {member.name: (member.problem or "").partition(":")[0] for member in members_of(out.getvalue())}
    assert problems == {"s": "a link", "h": "a link", "f": "not a regular file"}


def test_a_link_in_a_zip_is_not_read():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("l")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")

    assert str(contents(out.getvalue())["l"]).startswith("a link")


def test_a_member_that_is_too_large_is_not_unpacked(monkeypatch):
    """The announced size is looked at first; a member that lies about it is unpacked only so far."""
    data = zip_bytes({"big": bytes(100_000)})
    lying = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", lying, data.index(signature) + offset, 10)

    assert contents(bytes(lying))["big"] == "damaged member: 10 bytes announced, other than that unpacked"
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 99_999)
    for whole in (data, tar_bytes({"big": bytes(100_000)}), tar_bytes({"big": bytes(100_000)}, "w:gz")):
        assert str(contents(whole)["big"]).startswith("too large: 100000 bytes announced")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_decompression_bomb_ends(pack, monkeypatch):
    """A stream that becomes more than MAX_EXPANSION times its size is given up."""
    monkeypatch.setattr(compression, "FREE_BYTES", 1 << 20)
    data = pack(tar_bytes({"zeros": bytes(30 << 20), "behind": b"x"}))

    found = members_of(data)

    assert found[0].name == "zeros"
    assert "decompression bomb" in str(found[-1].problem)


def test_an_xz_that_asks_for_gigabytes_is_refused():
    """The size of the dictionary stands in the header, and memory for it is taken before a byte is unpacked."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    data = lzma.compress(tar_bytes({"a": b"1"}), filters=filters)

    with pytest.raises(FormatError, match="compressed data is damaged"):
        members_of(data)


def test_an_encrypted_member_and_an_unknown_method_are_problems():
    """Each for itself; the others are read."""
    data = bytearray(zip_bytes({"secret": b"x", "open": b"y"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1

    found = contents(bytes(data))

    assert found == {"secret": "encrypted member: passwords are not supported", "open": b"y"}
    lzma_zip = zip_bytes({"l": b"x" * 100}, method=zipfile.ZIP_LZMA)
    assert contents(lzma_zip)["l"] == "compression not read: method 14; stored and deflated members are"


# -- what is damaged ------------------------------------------------------------------------------------------------


def test_a_damaged_header_of_a_tar_costs_its_member_and_no_other():
    """The next sound header is looked for; Python's tarfile would end there and say nothing."""
    data = bytearray(tar_bytes({f"a/{i}": bytes([i]) * 600 for i in range(5)}))
    data[1536 * 2 : 1536 * 2 + 100] = random.Random(0).randbytes(100)

    found = members_of(bytes(data))

    assert [member.name for member in found] == ["a/0", "a/1", "", "a/3", "a/4"]
    assert found[2].problem == "damaged header (1536 bytes from byte 3072 on)"


def test_a_garbage_length_of_a_tar_swallows_nothing():
    """A header whose checksum is right but whose length reaches beyond the file."""
    data = bytearray(tar_bytes({f"a/{i}": bytes([i]) * 600 for i in range(3)}))
    data[124:136] = b"77777777777\0"
    data[148:156] = b"%06o\0 " % (256 + sum(data[:148]) + sum(data[156:512]))

    found = members_of(bytes(data))

    assert [member.name for member in found] == ["", "a/1", "a/2"]
    assert str(found[0].problem).startswith("garbage length: 8589934591 (1536 bytes")


def test_a_tar_that_is_cut_says_so():
    """In the data of a member, or in a header; plain or compressed."""
    data = tar_bytes({"a": b"1" * 600, "b": b"2" * 600})

    assert [str(m.problem)[:14] for m in members_of(data[:2200])] == ["None", "garbage length"]
    assert [str(m.problem)[:10] for m in members_of(data[: 1536 + 100])] == ["None", "cut at the"]
    packed = gzip.compress(tar_bytes({str(i): random.Random(i).randbytes(5000) for i in range(9)}))
    found = members_of(packed[: len(packed) // 2])
    assert [member.name for member in found[:4]] == ["0", "1", "2", "3"]
    assert "compressed data is cut" in str(found[-1].problem)


def test_a_damaged_member_of_a_zip_is_found_out():
    """By its checksum, its header, or its length."""
    data = zip_bytes({"a": b"first" * 100, "b": b"second"}, method=zipfile.ZIP_STORED)
    flipped = bytearray(data)
    flipped[40] ^= 1
    headless = bytearray(data)
    headless[0] = 0

    assert contents(bytes(flipped)) == {"a": "damaged member: its checksum is wrong", "b": b"second"}
    assert contents(bytes(headless)) == {"a": "damaged member: no header where the directory says", "b": b"second"}
    with pytest.raises(FormatError, match=r"not a sound zip archive: .*fetched whole"):
        members_of(data[:-30])


@pytest.mark.parametrize("data", [b"", b"x", b"hello" * 300, bytes(2048), gzip.compress(b"no tar"), b"\x1f\x8b\x08"])
def test_what_is_no_archive_is_refused(data):
    with pytest.raises(FormatError):
        members_of(data)
