"""What stands in a JPEG before the picture: whether it has to be turned."""

from __future__ import annotations

import struct

JPEG_MAGIC = b"\xff\xd8\xff"
_OWN_SEGMENTS = frozenset(bytes([0xFF, marker]) for marker in (*range(0xE0, 0xF0), 0xFE))


def jpeg_may_be_turned(data: bytes) -> bool:
    """True if the EXIF block of a JPEG says another orientation than upright (a look at the segments before the picture)."""
    at = _exif_of(data)
    if at == -1:
        return False
    order = ">" if data[at + 6 : at + 8] == b"MM" else "<"
    tag = struct.pack(order + "HHI", 0x0112, 3, 1)
    found = data.find(tag, at, at + 65536)
    return found != -1 and struct.unpack_from(order + "H", data.ljust(found + 10, b"\0"), found + 8)[0] not in (0, 1)


def _exif_of(data: bytes) -> int:
    """Where the EXIF block of a JPEG begins; -1 if it has none.

    Cameras and programs put their own segments, APP0 to APP15 and comments, in front (ITU-T T.81, B.2.4.6).
    """
    at = 2
    while True:
        while data.startswith(b"\xff\xff", at):  # bytes that fill
            at += 1
        if data[at : at + 2] not in _OWN_SEGMENTS:
            return -1
        if data.startswith(b"\xff\xe1", at) and data.startswith(b"Exif\0\0", at + 4):
            return at + 4
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))


__all__ = ["JPEG_MAGIC", "jpeg_may_be_turned"]
