"""Encoders of images that are served: what their tensors are called, and which positions an image has in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = [
    "IMAGE_FAMILIES",
    "TEXT_TOWER",
    "TOWERS",
    "ImageFamily",
    "embedding_faults",
    "families_for",
    "image_faults",
    "is_of_images",
    "patches_of",
    "positions_read",
    "size_read",
    "unserved_images",
    "vision_of",
]


@dataclass(frozen=True)
class ImageFamily:
    """One family, by the names that transformers gives its tensors."""

    patches: str = "embeddings.patch_embeddings.projection.weight"
    """(hidden, channels, patch, patch): what makes an embedding of each patch."""
    positions: str = "embeddings.position_embeddings"
    """(…, positions, hidden): the table of learned positions."""
    tokens: tuple[str, ...] = ("embeddings.cls_token",)
    """Tokens beside the patches that have a position, each one row."""
    registers: bool = False
    """Whether there are further tokens, without positions, as many as `num_register_tokens` says."""
    always: bool = True
    """Whether every model of it has a table of positions."""
    patch: int = 16
    """Pixels of a side of a patch, where a configuration leaves it out, as transformers' class has it; images then have 224."""
    biased: bool = False
    """Whether its attention adds a bias, which torch exports of transformers' eager attention alone."""
    interpolated: bool = False
    """Whether transformers brings the table to the size of the image, whatever size the configuration states."""


_VIT = ImageFamily()
_BEIT = replace(_VIT, always=False, biased=True)
_CLIP = ImageFamily(
    "embeddings.patch_embedding.weight", "embeddings.position_embedding.weight", ("embeddings.class_embedding",), patch=32
)
_SIGLIP = ImageFamily("embeddings.patch_embedding.weight", "embeddings.position_embedding.weight", ())
IMAGE_FAMILIES: Mapping[str, ImageFamily] = {
    "beit": _BEIT,
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "data2vec-vision": _BEIT,
    "deit": replace(_VIT, tokens=("embeddings.cls_token", "embeddings.distillation_token")),
    "dinov2": replace(_VIT, patch=14, interpolated=True),
    "dinov2_with_registers": replace(_VIT, registers=True, patch=14, interpolated=True),
    "ijepa": replace(_VIT, tokens=()),
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "swin": replace(_VIT, tokens=(), always=False, patch=4, biased=True),
    "vit": _VIT,
    "vit_msn": _VIT,
}  # fmt: skip
"""`model_type` -> the family; of CLIP and SigLIP their image tower."""
TOWERS: Mapping[str, str] = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
"""Models of images and texts -> what transformers calls their image tower alone, which makes embeddings of images and has no labels."""
TEXT_TOWER = "text_model."
"""What the tensors of CLIP's and SigLIP's other tower begin with."""
UNPOOLED = ("data2vec-vision", "ijepa")
"""Families that answer with labels, and of which transformers gives no embedding of a whole image."""
OTHERS: Mapping[str, str] = {
    "siglip2": "it reads images of any size as a list of patches, with a mask; use a SigLIP model, or a SigLIP 2 one of a fixed size, whose "
    'model_type is "siglip"',
    "swinv2": "its attention compares directions, which no graph here does; use a Swin model",
    "dinov3_vit": "its positions are rotations of both axes, which no graph here has; use a DINOv2 model",
}
"""Families that are known by name and not served: why, and what to use."""


def families_for(auto: str) -> list[str]:
    """`model_type` of the models that transformers' class `auto` builds for a task of images."""
    without = UNPOOLED if auto == "AutoModel" else TOWERS.values()
    return [family for family in IMAGE_FAMILIES if family not in without]


def embedding_faults(config: Mapping[str, Any]) -> list[str]:
    """Why a model of images gives no embedding of an image that transformers would give."""
    kind = str(config.get("model_type"))
    if kind in UNPOOLED:
        why = "transformers' model of it gives no embedding of a whole image (pooler_output), and none of its tokens is trained to be one"
        return [f'config.json, model_type = "{kind}": {why}; use one of {", ".join(families_for("AutoModel"))}']
    if kind in ("siglip", TOWERS["siglip"]) and vision_of(config).get("vision_use_head") is False:
        return [
            "config.json, vision_use_head: without the head that pools its patches it gives no embedding; use a model that has it"
        ]
    return []


def is_of_images(config: Mapping[str, object]) -> bool:
    """Whether a model of this configuration reads images."""
    return str(config.get("model_type")) in IMAGE_FAMILIES


def vision_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration that is of images: of CLIP and SigLIP that of their image tower."""
    part = config.get("vision_config")
    return part if isinstance(part, Mapping) else config


def positions_read(config: Mapping[str, Any]) -> int:
    """Positions of one image in a model with configuration `config`: its patches, and the tokens beside them."""
    family = IMAGE_FAMILIES[str(config["model_type"])]
    registers = int(config.get("num_register_tokens", 4)) if family.registers else 0
    return patches_of(config) + len(family.tokens) + registers


def unserved_images(config: Mapping[str, Any]) -> list[str]:
    """What a model of images has that no graph here computes, with what to use."""
    kind = str(config.get("model_type"))
    if kind in OTHERS:
        return [f'model_type = "{kind}": {OTHERS[kind]}']
    if is_of_images(config) and config.get("use_swiglu_ffn"):
        return [
            "use_swiglu_ffn: gated neurons, which layers of images here do not have; use a model without them (small, base or large)"
        ]
    return _padding_faults(config) if kind == "swin" else []


def _padding_faults(config: Mapping[str, Any]) -> list[str]:
    """Stages of a Swin whose windows do not divide what they read, which transformers pads and no bundle does."""
    window, patch, depths = config.get("window_size", 7), config.get("patch_size", 4), config.get("depths", [2, 2, 6, 2])
    if not all(type(one) is int and one > 0 for one in (window, patch)) or not isinstance(depths, list):
        return ["window_size, patch_size and depths: not two whole numbers and a list of them"]
    for side in size_read(config):
        for stage in range(len(depths)):
            step = patch << stage
            if side % step or (side // step) % min(window, side // step):
                where = f"the {side} / {step} positions of stage {stage + 1}"
                how = "which transformers pads and no graph here does; use a model whose windows divide its image, as 224 pixels and windows of 7"
                return [f"image_size: windows of {window} do not divide {where}, {how}"]
    return []


def image_faults(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], *, cut: bool) -> list[str]:
    """Sizes of an encoder of images that the tensors of these shapes do not have.

    `cut`: its layers have shapes of their own.
    """
    kind = str(config.get("model_type"))
    family = IMAGE_FAMILIES.get(kind)
    if family is None:
        return []
    faults, vision = [], vision_of(config)
    table = next((shape for name, shape in shapes.items() if name.endswith(family.positions)), None)
    patches = next((shape for name, shape in shapes.items() if name.endswith(family.patches)), None)
    if table is None and family.always:
        faults.append(f"no {family.positions}")
    if patches is None:
        faults.append(f"no {family.patches}")
    faults += [f"no {token}" for token in family.tokens if not any(name.endswith(token) for name in shapes)]
    if patches is not None and len(patches) == 4:
        stated = (
            {"num_channels": patches[1], "patch_size": patches[2], "embed_dim": patches[0]} if patches[2] == patches[3] else {}
        )
        faults += [
            f"{key} = {vision[key]:,}, but {family.patches} is {patches}"
            for key, found in stated.items()
            if type(vision.get(key)) is int and vision[key] != found and (key != "embed_dim" or kind == "swin")
        ]
    if table is not None and not faults and (positions := patches_of(config) + len(family.tokens)) != table[-2]:
        faults.append(
            f"image_size and patch_size make {positions:,} positions, but those of {family.positions} are {table[-2]:,}"
        )
    up, ratio = (
        next((shape for name, shape in shapes.items() if name.endswith("mlp.fc1.weight")), None),
        config.get("mlp_ratio"),
    )
    if (
        up is not None
        and not cut
        and isinstance(ratio, int | float)
        and "intermediate_size" not in config
        and int(up[1] * ratio) != up[0]
    ):
        faults.append(f"mlp_ratio = {ratio:g}, but mlp.fc1.weight is {up}")
    return faults + (_window_faults(config, shapes) if kind == "swin" and not faults else [])


def _window_faults(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Sizes of Swin's stages, which its tensors state as well: blocks of each, heads of each, windows."""
    depths, heads, window = config.get("depths"), config.get("num_heads"), config.get("window_size")
    tables = {name: shape for name, shape in shapes.items() if name.endswith("relative_position_bias_table")}
    faults = []
    if not isinstance(depths, list) or not isinstance(heads, list) or len(depths) != len(heads) or sum(depths) != len(tables):
        return [f"depths and num_heads: not of the {len(tables):,} blocks whose tensors are there"]
    stages = iter(number for number, depth in enumerate(depths) for _ in range(depth))
    for name, shape in sorted(tables.items(), key=lambda one: [int(part) for part in one[0].split(".") if part.isdigit()]):
        if type(window) is int and shape != ((2 * window - 1) ** 2, heads[next(stages)]):
            faults.append(f"window_size and num_heads, but {name} is {shape}")
    return faults


def size_read(config: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of the images that a model with a sound configuration is made for."""
    size = vision_of(config).get("image_size")
    height, width = (224, 224) if size is None else size if isinstance(size, list | tuple) else (size, size)
    return int(height), int(width)


def patches_of(config: Mapping[str, Any]) -> int:
    """Patches of such an image."""
    patch = vision_of(config).get("patch_size") or IMAGE_FAMILIES[str(config["model_type"])].patch
    height, width = size_read(config)
    return (height // patch) * (width // patch)
