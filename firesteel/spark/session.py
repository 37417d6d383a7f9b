"""A Spark session that suits Firesteel."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from firesteel.errors import ResourceError
from firesteel.spark import class_archive, daemon
from firesteel.spark.ahead import DaemonAhead, started_ahead
from firesteel.spark.settings import SHARES_HOST, check_java, check_pyspark, is_remote, master_in_environment
from firesteel.stderr import quiet_jvm

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOG_OPTION = "-Dlog4j2.configurationFile=file:" + os.path.join(os.path.dirname(__file__), "log4j2.properties")


@contextlib.contextmanager
def open_session(
    master: str | None = None,
    *,
    conf: Mapping[str, str] | None = None,
    debug: bool = False,
    name: str = "firesteel",
    ahead: DaemonAhead | None = None,
) -> Iterator[SparkSession]:
    """The active session if there is one (it stays open), else a new one (it is stopped at the end).

    Args:
        master: URL; None leaves it to Spark's own configuration, else ``local[*]``.
        conf: Spark settings; they win over Firesteel's.
        debug: let Spark log.
        name: of the application.
        ahead: the process that will be Spark's Python daemon; None starts one where that is possible.

    Raises:
        ResourceError: if pyspark or Java is missing, or Spark does not start.
    """
    check_pyspark()
    active = running_session()
    if active is not None:
        yield active
        return
    remote = is_remote(master)
    conf = dict(conf or {})
    with contextlib.ExitStack() as stack:
        if not remote:
            check_java()
            master = master or master_in_environment() or "local[*]"
            ahead = ahead or stack.enter_context(started_ahead(master, conf))
        session = _start(master, conf, debug, name, remote, ahead)
        stack.callback(session.stop)
        yield session


def running_session() -> SparkSession | None:
    """The session of this process, also where another thread has started it; None if there is none."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()  # of this thread
    if active is None and SparkContext._active_spark_context is not None:
        active = SparkSession.builder.getOrCreate()
    return active


def _start(
    master: str | None, conf: dict[str, str], debug: bool, name: str, remote: bool, ahead: DaemonAhead | None
) -> SparkSession:
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name)
    if remote:
        builder = builder.remote(master) if master else builder
    else:
        assert master is not None
        builder = builder.master(master)
        conf = _settings(master, debug) | conf
        if ahead is not None:
            conf[f"spark.executorEnv.{daemon.ADDRESS}"] = ahead.address
    for key, value in conf.items():
        builder = builder.config(key, value)
    try:
        with contextlib.nullcontext() if debug else quiet_jvm():
            return _undisturbed(builder.getOrCreate)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ResourceError(
            f"Spark did not start with master {master}: {lines[0] if lines else type(error).__name__}\n"
            "Check the URL and that the cluster runs; --debug shows Spark's own log."
        ) from error


def _undisturbed(start: Callable[[], SparkSession]) -> SparkSession:
    """Start a session in a thread, where Ctrl-C cannot cut the launch of the JVM, which would then never end.

    Nor does pyspark replace what Ctrl-C does: its own handler speaks to the JVM in the middle of another call.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        starting = pool.submit(start)
        try:
            return starting.result()
        except BaseException:
            with contextlib.suppress(Exception):  # the first exception is the one to report
                starting.result().stop()
            raise


def _settings(master: str, debug: bool) -> dict[str, str]:
    settings = {
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1024",
        # A worker that is lost in the middle ends the run: its stage must not start again from the beginning by itself.
        "spark.stage.maxConsecutiveAttempts": "1",
        # Spark asks for the free slots again and again, 10 minutes by default, before it says that they are too few. An
        # executor that was lost takes some seconds to come back: the run goes on as soon as it is there.
        "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "40",
        "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "1s",
        # It imports torch once a host, and the workers are forked from it: a run goes on within a second or two.
        "spark.python.daemon.module": daemon.__name__,
    }
    if not master.startswith("local"):
        return settings if debug else settings | {"spark.driver.extraJavaOptions": _LOG_OPTION}
    if not master.startswith("local-cluster"):
        settings[f"spark.executorEnv.{SHARES_HOST}"] = "1"
    # Nothing listens that need not.
    java = local_java_options(debug=debug)
    return settings | {
        "spark.driver.extraJavaOptions": f"{java} {class_archive.java_options()}".strip(),
        "spark.executor.extraJavaOptions": java,
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "8",
        "spark.sql.catalogImplementation": "in-memory",
    }


def local_java_options(*, debug: bool) -> str:
    """Java options of a local session."""
    return class_archive.JVM_OPTIONS + ("" if debug else f" {_LOG_OPTION}")


def end_gateway() -> None:
    """End the JVM of this process's sessions; the next session starts a new one."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is None:
        return
    gateway.shutdown()
    process = getattr(gateway, "proc", None)
    if process is not None:
        process.stdin.close()
        process.wait(timeout=120)
    SparkContext._gateway = SparkContext._jvm = None
