"""Archives for tests, made by Python's own writers."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
SUFFIXES = [".zip", *TAR_MODES]


def tar_bytes(files: Mapping[str, bytes], mode: str = "w", *, format: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=format) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def zip_bytes(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return out.getvalue()


def write_archive(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write an archive of the kind that its name says."""
    suffix = next(suffix for suffix in SUFFIXES if path.name.endswith(suffix))
    path.write_bytes(zip_bytes(files) if suffix == ".zip" else tar_bytes(files, TAR_MODES[suffix]))
    return path


def cifar10_files(rows: int = 20) -> dict[str, bytes]:
    """A small CIFAR-10: two training files of ``rows`` pictures and a test file of half as many."""
    generator = np.random.default_rng(0)

    def records(count: int) -> bytes:
        pictures = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        return b"".join(bytes([i % 10]) + picture.tobytes() for i, picture in enumerate(pictures))

    names = "\n".join(f"class {i}" for i in range(10)) + "\n\n"
    return {
        "batches.meta.txt": names.encode(),
        "data_batch_1.bin": records(rows),
        "data_batch_2.bin": records(rows),
        "test_batch.bin": records(rows // 2),
        "readme.html": b"<html>",
    }
