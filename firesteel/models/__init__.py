"""Networks by name: the zoo, and any factory of the user's own as ``MODULE:FACTORY``.

A factory is called with those of ``input_shape`` and ``num_classes`` that its signature has, and the options that the
caller gave. It returns a plain :class:`torch.nn.Module` that maps float32 of shape (B, *input_shape) to logits of shape
(B, num_classes).
"""

from firesteel.models.registry import ModelSource, build_model, count_parameters, resolve_model

__all__ = ["ModelSource", "build_model", "count_parameters", "resolve_model"]
