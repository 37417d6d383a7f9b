"""Networks whose class nobody has at hand, stored as a list of layers and steps.

An imported network is a Python object made by somebody's library. Stored as ``graph``, it is data: layers of ``torch.nn`` by
name, and steps that call them or an operator of a fixed list. Loading needs torch alone, and runs no code from the file::

    {"layers": [{"name": "conv1", "type": "Conv2d", "options": {"in_channels": 3, ...}}, ...],
     "tensors": [{"name": "scale", "shape": [10], "dtype": "float32", "trainable": true}],
     "steps": [{"name": "conv2d", "layer": "conv1", "inputs": [{"value": "input"}]},
               {"name": "mul", "op": "aten.mul.Tensor", "inputs": [{"value": "conv2d"}, {"tensor": "scale"}]}, ...],
     "output": "mul"}
"""

from firesteel.models.graph.export import as_graph, graph_options
from firesteel.models.graph.network import Graph

__all__ = ["Graph", "as_graph", "graph_options"]
