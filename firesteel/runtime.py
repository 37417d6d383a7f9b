"""What runs the workers of a command: Spark with which session, or this machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from firesteel.errors import ConfigError
from firesteel.launch import InProcess, Launcher, Question
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from firesteel.spark.ahead import DaemonAhead

Watch = Callable[[Place], "contextlib.AbstractContextManager[Any]"]
"""Shows the progress of what is being written to a place, while the context lasts."""


@dataclass(frozen=True)
class Runtime:
    """What runs the workers.

    Attributes:
        engine: ``spark`` or ``local``; None is spark if a master or session is given or configured, else local.
        master: URL of the Spark master.
        spark: a session to use; it stays open.
        conf: Spark settings for a new session.
        debug: let Spark log.
        bring: rows that Spark brings to the workers, see :class:`firesteel.spark.barrier.SparkWorkers`.
    """

    engine: Literal["spark", "local"] | None = None
    master: str | None = None
    spark: Any = None
    conf: Mapping[str, str] | None = None
    debug: bool = False
    bring: Callable[[int], DataFrame] | None = None

    @property
    def uses_spark(self) -> bool:
        """Whether Spark runs the workers.

        Raises:
            ConfigError: if what is given contradicts itself.
        """
        if self.engine not in (None, "spark", "local"):
            raise ConfigError(f"engine must be spark or local, got {self.engine!r}.")
        if self.engine == "local" and (self.master or self.spark is not None):
            raise ConfigError("engine local takes no Spark master or session. Leave one of them out.")
        if self.engine is not None:
            return self.engine == "spark"
        if self.master or self.spark is not None:
            return True
        from firesteel.spark.settings import master_in_environment

        return master_in_environment() is not None

    @contextlib.contextmanager
    def session(self, ahead: DaemonAhead | None = None) -> Iterator[SparkSession]:
        """The session that was given, else the active one, else a new one."""
        if self.spark is not None:
            yield self.spark
            return
        from firesteel.spark.session import open_session

        with open_session(self.master, conf=self.conf, debug=self.debug, ahead=ahead) as spark:
            yield spark

    @contextlib.contextmanager
    def launcher(self, workers: int, question: Question | None = None) -> Iterator[Launcher]:
        """What starts the workers.

        Args:
            workers: how many there will be.
            question: is asked before a Spark job runs, while the session starts: what is known to fail must not cost
                a cluster. Workers on this machine start as fast as they would answer; they are not asked.

        Raises:
            FiresteelError: that the question's function raised.
        """
        if not self.uses_spark:
            yield local_launcher(workers)
            return
        from firesteel.spark.barrier import SparkWorkers

        with contextlib.ExitStack() as stack:
            ahead = None
            if self.spark is None:
                from firesteel.spark.ahead import started_ahead

                asked = question if question is not None and question.forkable else None
                ahead = stack.enter_context(started_ahead(self.master, self.conf or {}, asked))
            started = stack.enter_context(_started_aside(self.session(ahead)))
            if question is not None:
                _answer(question, ahead)
            yield SparkWorkers(started(), bring=self.bring)

    def default_workers(self) -> int:
        """Workers if nobody says how many: the slots of a local master, else 1."""
        return self.slots() or 1

    def slots(self) -> int | None:
        """Workers that can run at the same time, where that is known before anything starts: with a local master."""
        if not self.uses_spark or not self.master:
            return None
        from firesteel.spark.settings import slots_of

        return slots_of(self.master)

    def check(self, workers: int) -> None:
        """Refuse what cannot run before anything starts."""
        if self.uses_spark and self.spark is None:
            from firesteel.spark.settings import check_java, check_master, check_pyspark, check_slots, is_remote

            check_pyspark()
            check_master(self.master)
            check_slots(self.master, workers)
            if not is_remote(self.master):
                check_java()


def local_launcher(workers: int) -> Launcher:
    """What starts workers on this machine: one in this process, more as processes."""
    if workers == 1:
        return InProcess()
    from firesteel.local import LocalProcesses

    return LocalProcesses()


def _answer(question: Question, ahead: DaemonAhead | None) -> None:
    if ahead is not None and question.forkable:
        with contextlib.suppress(EOFError):  # that process has died, whatever the reason: ask here
            ahead.answer()
            return
    question.ask()


@contextlib.contextmanager
def _started_aside(context: contextlib.AbstractContextManager[Any]) -> Iterator[Callable[[], Any]]:
    """Enter a context in a thread; the block gets a function that waits for its value."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        began = time.monotonic()
        entering = pool.submit(context.__enter__)
        try:
            yield entering.result
        finally:
            # Also if the block failed at once: what has been started must be stopped.
            with contextlib.suppress(Exception):
                entering.result(timeout=max(1.0, 120 - (time.monotonic() - began)))
                context.__exit__(None, None, None)
