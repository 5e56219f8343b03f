"""What makes an embedding of an image: CLIP's and SigLIP's image tower without its texts', every other encoder without the head of its labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from edgekit.models.image_families import TOWERS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import ModelOutput

__all__ = ["image_embedding", "pools", "tensors_of_tower", "tower_of", "with_own_indices", "without_mask"]

TOWER, PROJECTION = "vision_model.", "visual_projection."
"""What the tensors of an image tower begin with in files, and those of CLIP's map into the space that it shares with texts."""


def tower_of(config: PreTrainedConfig, stored: Collection[str]) -> tuple[PreTrainedConfig, Any]:
    """(the configuration of what embeds images, the class that builds it) of a model of images with tensors called `stored`.

    Of CLIP with its projection where the tensors are there, as `get_image_features` and CLIPVisionModelWithProjection have it.
    """
    import transformers

    if config.model_type in TOWERS:
        whole, config = config, config.vision_config
        config.name_or_path, config.return_dict = whole.name_or_path, True
        config.id2label = whole.id2label
        if hasattr(whole, "projection_dim"):
            config.projection_dim = whole.projection_dim
    if config.model_type == TOWERS["clip"] and any(name.startswith(PROJECTION) for name in stored):
        return config, SimpleNamespace(from_config=transformers.CLIPVisionModelWithProjection._from_config)
    return config, transformers.AutoModel


def without_mask(model: PreTrainedModel) -> None:
    """Have an image tower leave out the mask of ones that training gives models of all kinds: it would be added to its attention."""

    def dropped(
        module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return given, {name: value for name, value in named.items() if name != "attention_mask"}

    if model.config.model_type in TOWERS.values():
        model.register_forward_pre_hook(dropped, with_kwargs=True)


def with_own_indices(model: PreTrainedModel) -> None:
    """Have BEiT's biases of positions copy the indices that transformers keeps for all models of a process: those that a run without gradients
    made first could not be trained with."""

    def copied(kept: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        return lambda window: kept(window).clone()

    for module in model.modules():
        kept = getattr(module, "generate_relative_position_index", None)
        if kept is not None:
            module.generate_relative_position_index = copied(kept)


def pools(model: PreTrainedModel, stored: Collection[str]) -> bool:
    """Whether the pooler of `model` can be filled from tensors called `stored`; a classifier's file has none, and it reads the class token."""
    return not list(model.pooler.parameters()) or any("pooler." in name for name in stored)


def tensors_of_tower(stored_as: Mapping[str, str], state: Collection[str]) -> dict[str, str]:
    """Those of `stored_as`, name in the model -> name in the file, that are of the image tower, by the names of module tensors `state`.

    Files of CLIP and SigLIP hold texts' tensors as well, and begin an image tower's with its name, which some classes do not.
    """
    kept = {name: stored for name, stored in stored_as.items() if name.startswith((TOWER, PROJECTION))} or dict(stored_as)
    if any(name.startswith(TOWER) for name in state):
        return kept
    return {name.removeprefix(TOWER): stored for name, stored in kept.items()}


def image_embedding(model: PreTrainedModel, output: ModelOutput, mask: torch.Tensor) -> torch.Tensor:
    """Embeddings (b, k): CLIP's projected ones, else the pooler's output, or where the weights have no pooler the class token, which is the
    first after the last normalisation."""
    found: torch.Tensor | None = output.get("image_embeds")
    if found is None:
        found = output.get("pooler_output")
    if found is None:
        states: torch.Tensor = output.last_hidden_state
        found = states[:, 0]
    return found
