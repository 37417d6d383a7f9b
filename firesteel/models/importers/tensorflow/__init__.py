"""Networks of TensorFlow: SavedModels and frozen graphs."""

from firesteel.models.importers.tensorflow.reading import read_tensorflow

__all__ = ["read_tensorflow"]
