"""Workers as the tasks of one Spark barrier stage."""

from __future__ import annotations

import json
import pickle
import re
import secrets
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from firesteel.errors import FiresteelError, ResourceError, TooFewSlots, WorkerFailed
from firesteel.launch import Launcher, Named, Report, WorkerFunction, results_or_raise
from firesteel.spark import tasks
from firesteel.spark.actions import collected

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


_DYNAMIC_ALLOCATION = (
    "Spark's dynamic allocation is on, and a barrier stage cannot run with it.\n"
    "Start Spark with --conf spark.dynamicAllocation.enabled=false and a fixed number of executors."
)


class SparkWorkers(Launcher):
    """One worker a task; all tasks at the same time, or the stage does not start.

    Args:
        spark: classic or Connect.
        profile: a ``pyspark.resource.ResourceProfile`` for the stage, for example to ask for one GPU a task.
        bring: rows for the workers: a DataFrame of as many partitions as it is given workers; partition ``i`` is for worker
            ``i``, who finds it in :attr:`World.brought`.
    """

    def __init__(self, spark: SparkSession, *, profile: Any = None, bring: Callable[[int], DataFrame] | None = None):
        self._spark, self._profile, self._bring = spark, profile, bring

    def run(
        self,
        function: WorkerFunction | Named,
        payload: Any,
        *,
        workers: int,
        meet: bool,
        timeout_s: float = 300.0,
    ) -> list[Any]:
        import cloudpickle

        _check_dynamic_allocation(self._spark)
        task = cloudpickle.dumps((function, payload))
        rows = _numbers(self._spark, workers) if self._bring is None else self._bring(workers)
        frame = rows.mapInArrow(
            partial(tasks.run_barrier_worker, task, secrets.token_hex(8), timeout_s, meet, self._bring is not None),
            tasks.RESULT_SCHEMA,
            barrier=True,
            profile=self._profile,
        )
        results = sorted(_collect(frame, workers), key=lambda row: row.number)
        return results_or_raise([Report(**json.loads(bytes(row.result))) for row in results])

    def slots(self) -> int | None:
        """All cores of the executors that are there now, by tasks; None with Connect, which does not say."""
        try:
            cores = self._spark.sparkContext.defaultParallelism
        except Exception:
            return None
        per_task = int(str(self._spark.conf.get("spark.task.cpus", "1")))
        # Spark says 2 also for one core and for none.
        return cores // per_task if cores > 2 else None


def map_tasks(spark: SparkSession, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run an importable function once per tuple of arguments, each in a task of its own that Spark may repeat.

    Returns:
        the results in the order of ``arguments``; of repeated tasks only one.
    """
    if not arguments:
        return []
    payloads = [zlib.compress(pickle.dumps((function, each)), 1) for each in arguments]
    frame = _numbers(spark, len(payloads)).mapInArrow(partial(tasks.run_task, payloads), tasks.RESULT_SCHEMA)
    return _results(frame, len(payloads))


def map_partitions(frame: DataFrame, function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Any]:
    """Run ``function(*arguments, partition_number, batches)`` over each partition of a DataFrame."""
    return _results(frame.mapInArrow(partial(tasks.run_stream, function, arguments), tasks.RESULT_SCHEMA), None)


def _numbers(spark: SparkSession, count: int) -> DataFrame:
    return spark.range(0, count, 1, count)


def _results(frame: DataFrame, expected: int | None) -> list[Any]:
    rows = sorted(_collect(frame, None), key=lambda row: row.number)
    assert expected is None or len(rows) == expected, f"{len(rows)} of {expected} tasks answered"
    return [pickle.loads(bytes(row.result)) for row in rows]  # from our own workers, through Spark


def _collect(frame: DataFrame, workers: int | None) -> list[Any]:
    try:
        return collected(frame)
    except Exception as error:
        raise explain(error, workers) from error


def _check_dynamic_allocation(spark: SparkSession) -> None:
    """Spark itself says so only when the first stage is submitted, after its check of the slots.

    Raises:
        ResourceError: if it is on.
    """
    if str(spark.conf.get("spark.dynamicAllocation.enabled", "false")).lower() == "true":
        raise ResourceError(_DYNAMIC_ALLOCATION)


def explain(error: Exception, workers: int | None) -> FiresteelError:
    """Turn an exception of Spark into one of ours: the cause stands in the middle of some 80 lines."""
    if isinstance(error, FiresteelError):
        return error
    text = str(error)
    if "SPARK-24819" in text or "BARRIER_JOB" in text or "more slots than" in text:
        return TooFewSlots(
            f"{workers} workers need {workers} task slots at the same time, and the cluster has fewer.\n"
            "Use fewer --workers, or give the application more executors or cores."
        )
    if "SPARK-24942" in text or ("dynamic" in text.lower() and "barrier" in text.lower()):
        return ResourceError(_DYNAMIC_ALLOCATION)
    if re.search(r"No module named '?firesteel", text):
        return ResourceError(
            "Firesteel is not installed on the cluster's nodes, for the Python that Spark's workers use there.\n"
            "Install it on every node, or ship an environment with it: --conf spark.archives=..., PYSPARK_PYTHON."
        )
    if "PYTHON_VERSION_MISMATCH" in text:
        versions = re.search(r"Python in worker has different version[^.]*(?:\.\d+)*[^.]*(?:\.\d+)*", text)
        return ResourceError(
            f"{versions[0] if versions else 'the workers run another Python than the driver'}.\n"
            "Install the same Python on every node and let PYSPARK_PYTHON name it."
        )
    if re.search(
        r"Python worker exited unexpectedly|ExecutorLostFailure|Executor heartbeat timed out|worker lost", text
    ):
        return _lost(text)
    python = _python_error(text)
    return WorkerFailed(
        f"a Spark task failed: {python or text.strip().splitlines()[0][:300]}\n--debug shows all.",
        worker_traceback=text,
    )


def _lost(text: str) -> WorkerFailed:
    """A worker or an executor that ended without a word. Workers that only lost a peer end well: they report it."""
    task = re.search(r"barrier task \w+\(\d+, (\d+)\) finished unsuccessfully", text)
    rank = int(task.group(1)) if task else None
    what = "its Python process ended" if "Python worker exited" in text else "its executor was lost"
    return WorkerFailed(
        f"{'a worker' if rank is None else f'worker {rank}'} was lost: {what} without a report.\n"
        "It was killed, perhaps for memory, or its machine is gone. The others were ended. --debug shows all.",
        rank=rank,
        worker_traceback=text,
    )


def _python_error(text: str) -> str | None:
    """The last line of the Python traceback inside a Java one."""
    if "Traceback (most recent call last)" not in text:
        return None
    after = text.rsplit("Traceback (most recent call last)", 1)[1]
    for line in after.splitlines()[1:]:
        if line and not line.startswith((" ", "\t")):
            return line.strip()[:300]
    return None
