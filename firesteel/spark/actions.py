"""Actions on DataFrames that Ctrl-C can stop."""

from __future__ import annotations

import contextlib
import secrets
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_SECONDS_TO_CANCEL = 20.0


def collected(frame: DataFrame) -> list[Any]:
    """The rows of a DataFrame.

    The action runs in a thread: an exception that a signal raises here does not cut the conversation with the JVM in
    the middle, after which nothing more could be said to it. The job is cancelled, and the exception goes on.
    """
    from pyspark import inheritable_thread_target

    spark, tag = frame.sparkSession, f"firesteel-{secrets.token_hex(8)}"
    rows: list[Any] = []
    failure: list[BaseException] = []

    def act() -> None:
        spark.addTag(tag)
        try:
            rows.extend(frame.collect())
        except BaseException as error:
            failure.append(error)
        finally:
            with contextlib.suppress(Exception):  # a session that is gone has no tags
                spark.removeTag(tag)

    thread = threading.Thread(target=inheritable_thread_target(spark)(act), name="firesteel-action", daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        with contextlib.suppress(Exception):  # the first exception is the one to report
            spark.interruptTag(tag)
            thread.join(_SECONDS_TO_CANCEL)
        raise
    if failure:
        raise failure[0]
    return rows
