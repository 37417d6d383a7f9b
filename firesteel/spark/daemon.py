"""Spark's Python daemon with the expensive imports done before it forks the workers.

Spark starts one daemon a host, which forks a process for each task. Imports done here are shared by all of them and
paid once: torch and pyarrow cost each worker 1.5 s otherwise, two workers on two cores twice as much.
"""

from __future__ import annotations


def warm_up() -> None:
    """Import what tasks will need. Nothing here may start a thread: the process forks afterwards."""
    import pandas  # noqa: F401  (pyspark imports it in every worker)
    import torch
    import torch.distributed
    import torch.nn.parallel  # noqa: F401

    import firesteel.data.preparation
    import firesteel.spark.tasks
    import firesteel.training.worker  # noqa: F401


if __name__ == "__main__":
    import contextlib

    with contextlib.suppress(Exception):  # a task that misses a package says so better than a daemon that dies
        warm_up()
    from pyspark.daemon import manager

    manager()
