"""The commands as functions, one a file. The command line only parses and prints."""

from __future__ import annotations

from firesteel.api.analysis import analyze
from firesteel.api.evaluation import evaluate
from firesteel.api.export import export_images
from firesteel.api.features import compute_features
from firesteel.api.importing import import_model
from firesteel.api.merging import merge
from firesteel.api.model_export import export_model
from firesteel.api.networks import summary
from firesteel.api.preparation import prepare
from firesteel.api.search import build_index, similar
from firesteel.api.training import train
from firesteel.api.transformation import transform

__all__ = [
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
