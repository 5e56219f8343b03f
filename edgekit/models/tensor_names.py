"""Names of tensors: what files call otherwise than the modules of transformers do."""

from __future__ import annotations

__all__ = ["RENAMED", "named_now"]

RENAMED = {"gpt_neox": {"embed_out.weight": "lm_head.weight"}}
"""By architecture: name in the file -> name in the module."""
LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Ends of names in checkpoints that began in TensorFlow, as bert-base-* did; transformers reads them too (conversion_mapping.py)."""


def named_now(name: str, architecture: str | None = None) -> str:
    """The name of the module's tensor that a file of a model of `architecture` calls `name`."""
    for old, new in LEGACY.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return RENAMED.get(architecture or "", {}).get(name, name)
