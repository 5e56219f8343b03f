"""Names of tensors: what files call otherwise than the modules of transformers do."""

from __future__ import annotations

__all__ = ["PRETRAINING_HEADS", "RENAMED", "named_now"]

RENAMED = {"gpt_neox": {"embed_out.weight": "lm_head.weight"}}
"""By architecture: name in the file -> name in the module."""
LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Ends of names in checkpoints that began in TensorFlow, as bert-base-* did; transformers reads them too (conversion_mapping.py)."""

PRETRAINING_HEADS = (
    "cls.", "lm_head.", "lm_predictions.", "mask_predictions.", "predictions.", "sop_classifier.", "discriminator_predictions.",
    "generator_predictions.", "generator_lm_head.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.",
)  # fmt: skip
"""What tensors of heads begin with that an encoder was pretrained with; transformers leaves them out of a model that has none."""


def named_now(name: str, architecture: str | None = None) -> str:
    """The name of the module's tensor that a file of a model of `architecture` calls `name`."""
    for old, new in LEGACY.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return RENAMED.get(architecture or "", {}).get(name, name)
