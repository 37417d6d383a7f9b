"""Actions on DataFrames that Ctrl-C can stop."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_Result = TypeVar("_Result")

_SECONDS_TO_CANCEL = 20.0


def collected(frame: DataFrame) -> list[Any]:
    """The rows of a DataFrame; see :func:`interruptible`."""
    return interruptible(frame.sparkSession, frame.collect)


def interruptible(spark: SparkSession, action: Callable[[], _Result]) -> _Result:
    """What an action gives that runs Spark jobs.

    The action runs in a thread: an exception that a signal raises here does not cut the conversation with the JVM in
    the middle, after which nothing more could be said to it. The jobs are cancelled, and the exception goes on.
    """
    from pyspark import inheritable_thread_target

    tag = f"firesteel-{secrets.token_hex(8)}"
    results: list[_Result] = []
    failure: list[BaseException] = []

    def act() -> None:
        spark.addTag(tag)
        try:
            results.append(action())
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
    return results[0]
