"""The drivers behind URIs: fsspec's file systems, how each writes a whole file, and what to do when one is missing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Any

from firesteel.errors import StorageError

DRIVER_PACKAGES = frozenset(
    (
        "botocore",
        "aiobotocore",
        "s3fs",
        "gcsfs",
        "google",
        "azure",
        "adlfs",
        "aiohttp",
        "requests",
        "urllib3",
        "hdfs_native",
    )
)
"""Packages of drivers whose exceptions are about the storage, and are no OSError."""


_OBJECT_STORES = frozenset(("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "hf"))
"""Protocols of fsspec's drivers for stores that show a file only when it is complete."""


def filesystem_and_path(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and its path there.

    Raises:
        StorageError: if its driver is missing, or cannot reach it.
    """
    import fsspec  # costs 50 ms and is not needed for local paths

    try:
        # Other processes write as well: a listing from before would hide what they wrote.
        filesystem, path = fsspec.core.url_to_fs(uri, use_listings_cache=False, **_driver_options(uri))
    except (ImportError, ValueError) as error:
        raise StorageError(f"cannot use {uri}: {first_line(error)}") from error
    except OSError as error:
        raise StorageError(f"cannot use {uri}: {first_line(error)}.{_hdfs_advice(uri, str(error))}") from error
    return filesystem, path


def _driver_options(uri: str) -> dict[str, Any]:
    """What a driver does not look for by itself: AWS_REGION, which every tool but botocore reads."""
    region = os.environ.get("AWS_REGION")
    if uri.startswith(("s3://", "s3a://")) and region and not os.environ.get("AWS_DEFAULT_REGION"):
        return {"client_kwargs": {"region_name": region}}
    return {}


def advice_for(uri: str, error: Exception) -> str:
    """What to do about the common errors of drivers; empty if nothing is known."""
    if uri.startswith(("s3://", "s3a://")) and "credentials" in str(error).lower():
        return "\nSet AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL, if it is not Amazon's) on every machine."
    return ""


def _hdfs_advice(uri: str, problem: str) -> str:
    """What is missing for ``hdfs://``, which pyarrow reaches through Hadoop's own library and a JVM."""
    if not uri.startswith(("hdfs://", "viewfs://")):
        return ""
    if "libjvm" in problem:
        return "\nSet JAVA_HOME to the Java that Hadoop uses, on every machine."
    if "libhdfs" in problem:
        return (
            "\nHadoop's client library is not found. Set HADOOP_HOME, or ARROW_LIBHDFS_DIR to the folder of libhdfs.so, and"
            "\nCLASSPATH to what `hadoop classpath --glob` prints, on every machine. Without Hadoop there: pip install hdfs-native"
        )
    return "\nIs CLASSPATH set to what `hadoop classpath --glob` prints, and does the name node answer?"


def first_line(error: Exception) -> str:
    """What an exception says, without the pages behind it."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextlib.contextmanager
def replacing_remote(filesystem: Any, path: str) -> Iterator[IO[bytes]]:
    """A file that appears under its name only if the block ends well."""
    # Object stores show a file only when its upload is complete, and a move there is a copy: write in place.
    # Other file systems (hdfs, smb, memory) show the growing file and rename cheaply: write aside and move.
    renames = not is_object_store(filesystem)
    target = f"{path}.tmp-{os.urandom(4).hex()}" if renames else path
    make_dirs(filesystem, path.rpartition("/")[0])
    file = filesystem.open(target, "wb")
    try:
        yield file
        file.close()
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to report
            file.discard() if hasattr(file, "discard") else file.close()
            if renames:
                filesystem.rm(target)
        raise
    if renames:
        filesystem.mv(target, path)


def make_dirs(filesystem: Any, path: str) -> None:
    """Make a folder, where the storage has folders."""
    # Object stores have no folders, and drivers make a bucket instead: one whose name was misspelt.
    if not is_object_store(filesystem):
        filesystem.makedirs(path, exist_ok=True)


def is_object_store(filesystem: Any) -> bool:
    """Whether folders are only parts of names there, and renaming is copying."""
    return not _OBJECT_STORES.isdisjoint(_protocols(filesystem))


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
