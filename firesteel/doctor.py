"""Checks of this machine and of a cluster, each with what to do if it fails."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from firesteel._version import __version__
from firesteel.errors import FiresteelError
from firesteel.storage import Place
from firesteel.world import Meeting, World

_MIN_PYTHON = (3, 10)


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was looked at.
        status: ok, warning or failed.
        found: what was found.
        advice: what to do; empty if nothing.
    """

    name: str
    status: str
    found: str
    advice: str = ""


def checkup(master: str | None = None, place: str | None = None, *, debug: bool = False) -> Iterator[Check]:
    """Check this machine, and with a master (or a local one) the cluster, one after the other.

    Args:
        master: URL; None tries Spark on this machine, with two workers, if pyspark is there.
        place: a folder that is there and that all machines shall see.
        debug: let Spark log.
    """
    yield _python()
    yield from _packages()
    yield _devices()
    yield _scratch()
    yield _attempt("workers as local processes", lambda: _exchange(None))
    if place is not None:
        checks = list(_storage(place))
        yield from checks
        if any(check.status == "failed" for check in checks):
            place = None  # said once is enough
    spark_missing = _missing("pyspark")
    if spark_missing:
        yield Check("pyspark", "failed" if master else "warning", "not installed",
                    "Only --engine local works. For Spark: pip install 'firesteel[spark]'")  # fmt: skip
        return
    yield Check("pyspark", "ok", version("pyspark"))
    java = _java()
    yield java
    if java.status != "failed" or (master or "").startswith("sc://"):
        yield from _spark(master, place, debug)


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < _MIN_PYTHON:
        return Check("Python", "failed", found, "Firesteel needs Python 3.10 or newer.")
    return Check("Python", "ok", found)


def _packages() -> Iterator[Check]:
    wanted = ("torch", "numpy", "pyarrow", "fsspec", "pydantic", "pillow", "simplejpeg", "pymongo", "safetensors")
    missing = [name for name in wanted if _missing(name)]
    found = ", ".join(f"{name} {version(name)}" for name in ("torch", "pyarrow", "numpy") if name not in missing)
    if missing:
        yield Check("packages", "failed", f"missing: {', '.join(missing)}", "pip install firesteel")
    else:
        yield Check("packages", "ok", f"firesteel {__version__}, {found}")


def _missing(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return True
    return False


def _devices() -> Check:
    import torch

    from firesteel.data.cache import available_memory_bytes

    cores = len(os.sched_getaffinity(0))
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    memory = available_memory_bytes() / 2**30
    found = f"{cores} cores, {memory:.1f} GiB of memory free, {', '.join(gpus) or 'no GPU'}"
    if memory < 1:
        return Check("machine", "warning", found, "Each worker alone takes about 0.5 GiB.")
    return Check("machine", "ok", found)


def _scratch() -> Check:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 2**30
    advice = "Rows that do not fit into memory go there. Free space, or set TMPDIR or --scratch."
    return Check(
        "scratch folder", "ok" if free > 2 else "warning", f"{folder}, {free:.1f} GiB free", "" if free > 2 else advice
    )


def _storage(place: str) -> Iterator[Check]:
    def attempt() -> str:
        with _probe_file(place) as probe:
            Place.of(probe).read_bytes()
        return f"{Place.of(place)}: written, read and deleted a file"

    yield _attempt("storage", attempt)


@contextlib.contextmanager
def _probe_file(place: str) -> Iterator[str]:
    """A small file in a folder that is there; nothing else is made or left."""
    folder = Place.of(place)
    if folder.is_local and not folder.is_dir():  # object stores have no folders
        raise FiresteelError(
            f"there is no folder {folder}.\nMake it, or name the folder where datasets and runs will lie."
        )
    probe = folder / f"firesteel-doctor-{os.getpid()}"
    probe.write_text("seen")
    try:
        yield probe.uri
    finally:
        probe.delete()


def _java() -> Check:
    from firesteel.spark.settings import check_java, find_java, java_version

    try:
        check_java()
    except FiresteelError as error:
        return Check("Java", "failed", *str(error).rsplit(". ", 1))
    java = find_java() or ""
    return Check("Java", "ok", f"{java_version(java)} at {java}")


def _spark(master: str | None, place: str | None, debug: bool) -> Iterator[Check]:
    from firesteel.spark.session import open_session
    from firesteel.spark.settings import check_master, master_in_environment, slots_of

    chosen = master or master_in_environment() or "local[2]"
    try:
        check_master(chosen)
    except FiresteelError as error:
        yield _failed("Spark", error)
        return
    workers = min(2, slots_of(chosen) or 2)
    archive = _ClassArchive(chosen)
    began = time.monotonic()
    try:
        with open_session(chosen, conf=archive.settings(), debug=debug, name="firesteel doctor") as spark:
            seconds = time.monotonic() - began
            yield Check("Spark session", "ok", f"{spark.version} with master {chosen}, started in {seconds:.1f} s")
            yield _attempt(f"barrier stage with {workers} workers", lambda: _exchange(spark, place, workers))
    except FiresteelError as error:
        yield _failed("Spark", error)
        return
    yield from archive.outcome()


class _ClassArchive:
    """Makes the class archive with the session that is started anyway, where it is missing."""

    def __init__(self, master: str):
        self._wanted = master.startswith("local")
        self._made = False

    def settings(self) -> dict[str, str]:
        from firesteel.spark import class_archive
        from firesteel.spark.session import local_java_options

        if not self._wanted or class_archive.archive_path().exists():
            return {}
        options = class_archive.making_options()
        self._made = bool(options)
        return {"spark.driver.extraJavaOptions": f"{local_java_options(debug=False)} {options}"} if options else {}

    def outcome(self) -> Iterator[Check]:
        from firesteel.spark import class_archive
        from firesteel.spark.session import end_gateway

        if not self._wanted:
            return
        path = class_archive.archive_path()
        if self._made:
            end_gateway()  # the archive is written when the JVM ends
            class_archive.adopt(timeout_s=60)
        if path.exists():
            done = "made" if self._made else "there"
            yield Check("Java class archive", "ok", f"{done} at {path}: local sessions start about 2 s earlier")
        else:
            yield Check("Java class archive", "warning", "could not be made; local sessions start 2 s later",
                        f"It needs 1 GiB free in {path.parent}, and a path without spaces.")  # fmt: skip


def _attempt(name: str, action: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", action())
    except FiresteelError as error:
        return _failed(name, error)


def _failed(name: str, error: FiresteelError) -> Check:
    found, _, advice = str(error).partition("\n")
    return Check(name, "failed", found, advice)


def _exchange(spark: Any, place: str | None = None, workers: int = 2) -> str:
    """Let workers add up their ranks; compare their versions with ours."""
    if spark is None:
        from firesteel.local import LocalProcesses

        launcher: Any = LocalProcesses()
    else:
        from firesteel.spark.barrier import SparkWorkers

        launcher = SparkWorkers(spark)
    with _probe_file(place) if place else contextlib.nullcontext() as probe:
        reports = launcher.run(_probe_worker, probe, workers=workers, meet=True, timeout_s=60)
    here = _versions()
    for report in reports:
        for package, there in report["versions"].items():
            if there != here[package]:
                raise FiresteelError(
                    f"{report['host']} has {package} {there}, this machine has {here[package]}.\n"
                    "Install the same versions on all machines, and set PYSPARK_PYTHON to the Python that has them."
                )
        if place and not report["sees_place"]:
            raise FiresteelError(
                f"{report['host']} does not see {place}.\nDataset and run must lie on storage that all machines share."
            )
    total = workers * (workers - 1) / 2
    if any(report["sum"] != total for report in reports):
        raise FiresteelError(f"an all-reduce gave {[r['sum'] for r in reports]}, expected {total}.")
    hosts = sorted({report["host"] for report in reports})
    milliseconds = max(report["milliseconds"] for report in reports)
    seen = f"; all of them see {place}" if place else ""
    return f"{workers} workers on {', '.join(hosts)}; all-reduce of 8 MB in {milliseconds:.0f} ms{seen}"


def _probe_worker(payload: str | None, world: World, meeting: Meeting | None) -> dict[str, Any]:
    import torch
    import torch.distributed as dist

    total = torch.tensor([float(world.rank)])
    milliseconds = 0.0
    if meeting is not None:
        with meeting.process_group():
            dist.all_reduce(total)
            big = torch.ones(2_000_000)
            dist.all_reduce(big)  # the first one makes the connections
            began = time.perf_counter()
            dist.all_reduce(big)
            milliseconds = (time.perf_counter() - began) * 1000
    return {
        "host": socket.gethostname(),
        "versions": _versions(),
        "sum": float(total),
        "milliseconds": milliseconds,
        "sees_place": payload is None or Place.of(payload).exists(),
    }


def _versions() -> dict[str, str]:
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, "firesteel": __version__, "torch": version("torch").partition("+")[0]}
