"""Names of the files of a model as it is exported, quantized and packed."""

from __future__ import annotations

from typing import Final

__all__ = [
    "CHAT_TEMPLATE",
    "CONFIG",
    "DRAFT",
    "DRAFT_DATA",
    "GENERATION",
    "LARGEST_BUNDLE",
    "MANIFEST",
    "MANIFEST_DIGEST",
    "MODEL",
    "MODEL_DATA",
    "PREPROCESSOR",
    "SIGNATURE",
    "TOKENIZER",
]

LARGEST_BUNDLE = 8 * 1024**3
"""Bytes of all files of a bundle at most, and of its archive."""
MANIFEST = "manifest.json"
MANIFEST_DIGEST: Final = "manifest.json.sha256"
"""The digest of the manifest, as `sha256sum` writes it."""
CONFIG = "config.json"
"""The checkpoint's configuration, whose labels are the manifest's."""
TOKENIZER = "tokenizer.json"
PREPROCESSOR = "preprocessor_config.json"
"""How images become pixel values; a bundle has this file or a tokenizer."""
MODEL = "model.onnx"
MODEL_DATA = "model.onnx.data"
"""Weights of a decoder, which lie beside its graph."""
DRAFT, DRAFT_DATA = "draft.onnx", "draft.onnx.data"
"""The graph of a small model that guesses what the model says, and its weights."""
GENERATION = "generation.json"
"""What generating text with a decoder needs besides the graph; in a bundle it is a block of the manifest."""
CHAT_TEMPLATE = "chat_template.jinja"
SIGNATURE = "bundle.sig"
"""A signature over all files of a bundle, beside its folder or archive."""
