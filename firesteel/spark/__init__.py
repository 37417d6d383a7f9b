"""Everything that needs pyspark, and nothing else: sessions, data sources, preparation, launcher.

The rest of Firesteel never imports pyspark; ``pip install firesteel`` trains stand-alone without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firesteel.spark.barrier import SparkWorkers
    from firesteel.spark.session import open_session
    from firesteel.spark.sources import register
    from firesteel.spark.tables import read_table
    from firesteel.spark.transform import checked, filled, joined, schema_of, transformed

_PUBLIC = {
    "SparkWorkers": "firesteel.spark.barrier",
    "checked": "firesteel.spark.transform",
    "filled": "firesteel.spark.transform",
    "joined": "firesteel.spark.transform",
    "open_session": "firesteel.spark.session",
    "read_table": "firesteel.spark.tables",
    "register": "firesteel.spark.sources",
    "schema_of": "firesteel.spark.transform",
    "transformed": "firesteel.spark.transform",
}

__all__ = [
    "SparkWorkers",
    "checked",
    "filled",
    "joined",
    "open_session",
    "read_table",
    "register",
    "schema_of",
    "transformed",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        from firesteel.spark.settings import check_pyspark

        check_pyspark()
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'firesteel.spark' has no attribute {name!r}")
