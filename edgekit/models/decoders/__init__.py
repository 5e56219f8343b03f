"""Decoders: what each family's checkpoint says, in one description that a graph is built from.

One file a family, in `families/`: `TYPES`, the `model_type`s of transformers it reads, `unserved(config)`, the options of a config.json that the
graph does not have, and `describe(config, weights) -> Decoder` of a checkpoint without any.
Shapes come from the tensors, so a pruned checkpoint describes itself. No weight is read before it is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from edgekit.errors import BadInput
from edgekit.models.decoders.description import Attention, Decoder, Layer, Linear, Mlp, Norm, Rotary
from edgekit.models.decoders.weights import open_weights

__all__ = ["Attention", "Decoder", "Layer", "Linear", "Mlp", "Norm", "Rotary", "decoder_types", "describe", "unserved"]


@cache
def _families() -> dict[str, ModuleType]:
    """The family that reads it, by `model_type`."""
    package = importlib.import_module(f"{__name__}.families")
    found: dict[str, ModuleType] = {}
    for file in pkgutil.iter_modules(package.__path__):
        family = importlib.import_module(f"{package.__name__}.{file.name}")
        found |= dict.fromkeys(family.TYPES, family)
    return found


def decoder_types() -> list[str]:
    """Every `model_type` that can be described."""
    return sorted(_families())


def unserved(config: Mapping[str, object]) -> list[str]:
    """Options of a decoder's configuration that no graph here has, with file and key; none of an architecture that is not known."""
    family = _families().get(str(config.get("model_type")))
    return [] if family is None else list(family.unserved(config))


def describe(folder: Path) -> Decoder:
    """The decoder of a checkpoint folder; every tensor of it is used, or the checkpoint is refused.

    Raises:
        BadInput: an unknown family, an option of it that is not served, tensors missing or left over.
    """
    from edgekit.models.files import check_files
    from edgekit.models.view import open_config

    model_type = check_files(folder).get("model_type")
    families = _families()
    if model_type not in families:
        raise BadInput(
            f"no decoder of architecture {model_type!r} is known here",
            where=str(folder / "config.json"),
            fix=f"use one of {', '.join(sorted(families))}",
        )
    config = open_config(folder)
    if faults := unserved(config.to_dict()):
        raise BadInput("options that no graph here has", where=str(folder / "config.json"), faults=faults)
    weights = open_weights(folder)
    decoder: Decoder = families[model_type].describe(config, weights)
    unused = weights.unused()
    if unused:
        raise BadInput(
            "tensors that this family does not have",
            where=str(folder),
            faults=[f"unknown tensor {name}" for name in unused[:20]],
        )
    return decoder
