"""Networks and weights of Caffe: ``.caffemodel`` and ``.prototxt``."""

from firesteel.models.importers.caffe.reading import read_caffe

__all__ = ["read_caffe"]
