"""Names of the files of a model as it is exported, quantized and packed."""

from __future__ import annotations

__all__ = ["CHAT_TEMPLATE", "GENERATION", "MANIFEST", "MODEL", "MODEL_DATA"]

MANIFEST = "manifest.json"
MODEL = "model.onnx"
MODEL_DATA = "model.onnx.data"
"""Weights of a decoder, which lie beside its graph."""
GENERATION = "generation.json"
"""What generating text with a decoder needs besides the graph; in a bundle it is a block of the manifest."""
CHAT_TEMPLATE = "chat_template.jinja"
