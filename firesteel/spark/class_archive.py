"""A Java class archive of Spark, so that local sessions start 2 s earlier.

Most of a local session's start is Java loading and checking some ten thousand classes of Spark. Java can keep them in
an archive (class-data sharing, JEP 310 and 350) that fits one Java and one set of jars. ``firesteel doctor`` makes it,
in the user's cache folder; local sessions use it. A missing, stale or damaged archive is ignored by Java.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from importlib.metadata import version
from pathlib import Path

from firesteel.spark.settings import java_home

JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Of local sessions; an archive fits only these. Few, short Java methods run: the second compiler would only take the
cores."""

_QUIET = "-Xshare:auto -Xlog:cds=off -Xlog:cds+dynamic=off -Xlog:class+path=off"
_NEEDED_BYTES = 1 << 30


def java_options() -> str:
    """Options that make a JVM use the archive; empty if there is none."""
    archive = archive_path()
    return f"-XX:SharedArchiveFile={archive} {_QUIET}" if archive.exists() else ""


def making_options() -> str:
    """Options that make a JVM leave an archive behind when it ends; empty where there is no room for it."""
    archive = archive_path()
    archive.parent.mkdir(parents=True, exist_ok=True)
    if " " in str(archive) or shutil.disk_usage(archive.parent).free < _NEEDED_BYTES:
        return ""
    return f"-XX:ArchiveClassesAtExit={archive}.new {_QUIET}"


def adopt(*, timeout_s: float) -> Path | None:
    """Wait for the archive that an ended session's JVM writes, and take it over; None if it does not come."""
    archive = archive_path()
    new = Path(f"{archive}.new")
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if new.exists() and not _is_open(new) and new.stat().st_size > 0:
            return new.replace(archive)
        time.sleep(0.25)
    return None


def archive_path() -> Path:
    """Where the archive for this Java and this Spark lies."""
    return cache_folder() / f"spark-{_fingerprint()}.jsa"


def cache_folder() -> Path:
    """Where the archive lies: ``$XDG_CACHE_HOME/firesteel`` or ``~/.cache/firesteel``."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "firesteel"


def _is_open(file: Path) -> bool:
    """True if a process of this user has the file open (Linux); False where that cannot be known."""
    target = str(file.resolve())
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(descriptor) == target:
                return True
    return False


def _fingerprint() -> str:
    parts = [version("pyspark"), str(java_home()), JVM_OPTIONS, os.environ.get("SPARK_HOME", "")]
    release = Path(java_home() or "", "release")
    with contextlib.suppress(OSError):
        parts.append(release.read_text())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
