"""Names of tensors: what files call otherwise than the modules of transformers do."""

from __future__ import annotations

import re

__all__ = ["PRETRAINING_HEADS", "RENAMED", "named_now"]

RENAMED = {"gpt_neox": {"embed_out.weight": "lm_head.weight"}}
"""By architecture: name in the file -> name in the module."""
LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Ends of names in checkpoints that began in TensorFlow, as bert-base-* did; transformers reads them too (conversion_mapping.py)."""
EARLIER_VIT = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(^|\.)encoder\.layer\.(\d+)\.", r"\1layers.\2."),
        (r"(layers\.\d+\.)attention\.attention\.(query|key|value)\.", lambda found: f"{found[1]}attention.{found[2][0]}_proj."),
        (r"(layers\.\d+\.)attention\.output\.dense\.", r"\1attention.o_proj."),
        (r"(layers\.\d+\.)intermediate\.dense\.", r"\1mlp.fc1."),
        (r"(layers\.\d+\.)output\.dense\.", r"\1mlp.fc2."),
    )
)
EARLIER_BEIT = (
    (re.compile(r"(^|\.)encoder\.relative_position_bias\."), r"\1shared_position_bias."),
    (re.compile(r"attention\.attention\.relative_position_bias\."), "relative_position_bias."),
    *EARLIER_VIT,
)
EARLIER_SWIN = (
    (re.compile(r"attention\.self\.(query|key|value)\."), lambda found: f"attention.{found[1][0]}_proj."),
    (
        re.compile(r"attention\.self\.relative_position_bias_table"),
        "attention.relative_position_bias.relative_position_bias_table",
    ),
    (re.compile(r"attention\.output\.dense\."), "attention.o_proj."),
    (re.compile(r"(blocks\.\d+\.)intermediate\.dense\."), r"\1mlp.fc1."),
    (re.compile(r"(blocks\.\d+\.)output\.dense\."), r"\1mlp.fc2."),
)
EARLIER_DINOV2 = (
    (
        re.compile(r"(layer\.\d+\.)attention\.attention\.(query|key|value)\."),
        lambda found: f"{found[1]}attention.{found[2][0]}_proj.",
    ),
    (re.compile(r"(layer\.\d+\.)attention\.output\.dense\."), r"\1attention.o_proj."),
)
EARLIER_WEIGHT_NORM = (
    (re.compile(r"(pos_conv_embed\.conv\.)weight_g$"), r"\1parametrizations.weight.original0"),
    (re.compile(r"(pos_conv_embed\.conv\.)weight_v$"), r"\1parametrizations.weight.original1"),
)
EARLIER = {
    "audio-spectrogram-transformer": EARLIER_VIT,
    "beit": EARLIER_BEIT, "deit": EARLIER_VIT, "dinov2": EARLIER_DINOV2, "dinov2_with_registers": EARLIER_DINOV2, "hubert": EARLIER_WEIGHT_NORM,
    "ijepa": EARLIER_VIT, "wav2vec2": EARLIER_WEIGHT_NORM, "wavlm": EARLIER_WEIGHT_NORM,
    "swin": EARLIER_SWIN, "vit": EARLIER_VIT, "vit_msn": ((re.compile(r"^(embeddings|encoder|layernorm|layers)\."), r"vit.\1."), *EARLIER_VIT),
}  # fmt: skip
"""By architecture: names in files of before transformers renamed the modules -> what they are now."""

PRETRAINING_HEADS = (
    "cls.", "lm_head.", "lm_predictions.", "mask_predictions.", "predictions.", "sop_classifier.", "discriminator_predictions.",
    "generator_predictions.", "generator_lm_head.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.",
    "quantizer.", "project_hid.", "project_q.",
)  # fmt: skip
"""What tensors of heads begin with that an encoder was pretrained with; transformers leaves them out of a model that has none."""


def named_now(name: str, architecture: str | None = None) -> str:
    """The name of the module's tensor that a file of a model of `architecture` calls `name`."""
    if architecture in EARLIER:
        for pattern, replacement in EARLIER[architecture]:
            name = pattern.sub(replacement, name)
    for old, new in LEGACY.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return RENAMED.get(architecture or "", {}).get(name, name)
