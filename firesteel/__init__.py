"""Firesteel: PyTorch training on Apache Spark, from raw images and tables to an evaluated network.

>>> import firesteel                                                       # doctest: +SKIP
>>> firesteel.prepare("photos/", "dataset/", size=(32, 32))                # doctest: +SKIP
>>> firesteel.train("dataset/", "run/", model="cnn", workers=2)            # doctest: +SKIP
>>> firesteel.evaluate("run/", "dataset/").accuracy                        # doctest: +SKIP
>>> firesteel.Predictor("run/").predict_files(["photo.jpg"])[0].label      # doctest: +SKIP

Names are imported when they are first used: ``import firesteel`` costs no torch and needs no pyspark.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from firesteel._version import __version__

if TYPE_CHECKING:
    from firesteel.analysis.results import Analysis
    from firesteel.api import (
        analyze,
        build_index,
        compute_features,
        evaluate,
        export_images,
        export_model,
        import_model,
        merge,
        prepare,
        similar,
        summary,
        train,
        transform,
    )
    from firesteel.data.manifest import Dataset
    from firesteel.errors import FiresteelError
    from firesteel.evaluation.counts import Evaluation
    from firesteel.export.driver import ExportResult
    from firesteel.inference.predictor import Prediction, Predictor
    from firesteel.models.importers.folder import ImportResult
    from firesteel.models.summary import ModelSummary
    from firesteel.tables.join import Join
    from firesteel.tables.process import TransformProcess
    from firesteel.tables.schema import Schema
    from firesteel.training.driver import TrainResult

_PUBLIC = {
    "Analysis": "firesteel.analysis.results",
    "Dataset": "firesteel.data.manifest",
    "Evaluation": "firesteel.evaluation.counts",
    "ExportResult": "firesteel.export.driver",
    "FiresteelError": "firesteel.errors",
    "ImportResult": "firesteel.models.importers.folder",
    "Join": "firesteel.tables.join",
    "ModelSummary": "firesteel.models.summary",
    "Prediction": "firesteel.inference.predictor",
    "Predictor": "firesteel.inference.predictor",
    "Schema": "firesteel.tables.schema",
    "TrainResult": "firesteel.training.driver",
    "TransformProcess": "firesteel.tables.process",
    "analyze": "firesteel.api",
    "build_index": "firesteel.api",
    "compute_features": "firesteel.api",
    "evaluate": "firesteel.api",
    "export_images": "firesteel.api",
    "export_model": "firesteel.api",
    "import_model": "firesteel.api",
    "merge": "firesteel.api",
    "prepare": "firesteel.api",
    "summary": "firesteel.api",
    "similar": "firesteel.api",
    "train": "firesteel.api",
    "transform": "firesteel.api",
}

__all__ = [
    "Analysis",
    "Dataset",
    "Evaluation",
    "ExportResult",
    "FiresteelError",
    "ImportResult",
    "Join",
    "ModelSummary",
    "Prediction",
    "Predictor",
    "Schema",
    "TrainResult",
    "TransformProcess",
    "__version__",
    "analyze",
    "build_index",
    "compute_features",
    "evaluate",
    "export_images",
    "export_model",
    "import_model",
    "merge",
    "prepare",
    "similar",
    "summary",
    "train",
    "transform",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'firesteel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
