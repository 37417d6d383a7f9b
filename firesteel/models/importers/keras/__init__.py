"""Networks of Keras: ``.h5``, ``.keras``, and JSON with weights."""

from firesteel.models.importers.keras.reading import read_keras

__all__ = ["read_keras"]
