"""Networks as files for other programs: ONNX, TorchScript, torch.export and safetensors.

What is exported takes raw rows and holds the preparation of its input inside (:mod:`firesteel.inference.exporters.network`); a
file gets its name only after what it gives has been compared with the network (:mod:`firesteel.inference.exporters.checking`).
"""
