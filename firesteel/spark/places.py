"""Places as Spark calls them, and what it says of those that it cannot read, in our words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from firesteel.errors import ConfigError, DataError, FiresteelError, ResourceError
from firesteel.storage import Place


def spark_path(where: str, *, written: bool = False) -> str:
    """A place as Spark calls it: its connector for Amazon's storage is ``s3a``.

    Args:
        where: path or URI.
        written: whether it is written to; a path that is read is a pattern to Spark.
    """
    uri = Place.of(where).uri
    if uri.startswith("s3://"):
        return "s3a://" + uri.removeprefix("s3://")
    return uri if "://" in uri else "file://" + (uri if written else _escaped(uri))


def _escaped(path: str) -> str:
    """Spark takes some characters of a path for patterns."""
    return re.sub(r"([\\{}\[\]*?])", r"\\\1", path)


@contextlib.contextmanager
def explained(where: Any) -> Iterator[None]:
    """Turn what Spark says of a source into one of our errors."""
    try:
        yield
    except FiresteelError:
        raise
    except Exception as error:
        found = _explanation(where if isinstance(where, str) else "the DataFrame", str(error).strip())
        if found is None:
            raise
        raise found from error


def _explanation(where: str, text: str) -> FiresteelError | None:
    scheme = re.search(r'No FileSystem for scheme "?(\w+)"?|Class (\S*(?:S3A|Azure|Google)\S*) not found', text)
    if scheme:
        return ResourceError(
            f"this Spark session has no connector for {where} ({scheme[0]}).\n"
            "Start Spark with it, for example --conf spark.jars.packages=org.apache.hadoop:hadoop-aws:VERSION (of your Hadoop)"
            " for s3a, or copy the files to storage that it reads."
        )
    if "PATH_NOT_FOUND" in text:
        return DataError(f"there is no table at {where}. Check the path; on a cluster every worker must see it.")
    if "UNABLE_TO_INFER_SCHEMA" in text or "CANNOT_READ_FILE_FOOTER" in text or "FAILED_READ_FILE" in text:
        return DataError(f"{where} cannot be read: {_sentence(text)}")
    if "UnknownHostException" in text or "Connection refused" in text or "AccessDenied" in text:
        return ResourceError(f"{where} cannot be reached: {_sentence(text)}")
    condition = re.match(r"\[([A-Z_.]+)\]", text)
    if condition:
        return ConfigError(f"Spark refuses {where[:200]}: {_sentence(text)}")
    return None


def _sentence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = re.sub(r"^\[[A-Z_.0-9]+\]\s*|\s*SQLSTATE: \w+.*$", "", lines[0]) if lines else "no reason given"
    return first[:300]


__all__ = ["explained", "spark_path"]
