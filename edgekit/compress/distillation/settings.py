"""What a recipe may say of a `distill` step, and which layers of the current model its student starts from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgekit.compress.checks import too_many_layers
from edgekit.compress.distillation.layer_map import evenly_spaced
from edgekit.config.images import ImageChanges
from edgekit.config.recipe import Alpha, Temperature, TrainingSettings
from edgekit.errors import BadInput

__all__ = ["Settings", "layer_faults", "starting_layers"]


class Settings(TrainingSettings):
    """Distil the original model into a smaller student, or back into a pruned one."""

    method: Literal["distill"]
    layers: int | None = Field(None, ge=1)
    """Layers of the student, evenly spaced layers of the current model; by default all of them (recovery after pruning)."""
    take: list[int] | None = None
    """Layers to start from, counted from 0, instead of evenly spaced ones."""
    width: int | None = Field(None, ge=1)
    """Hidden size of the student: the most important dimensions stay (`edgekit.compress.pruning.importance`)."""
    heads: int | None = Field(None, ge=1)
    """Attention heads of each layer, the most important ones; a layer that earlier pruning left with fewer keeps those."""
    neurons: int | None = Field(None, ge=1)
    """Intermediate size of each layer's feed-forward block, the most important neurons; a layer left with fewer keeps those."""
    student: str | None = None
    """Checkpoint to start from, a folder or hub id, instead of the current model."""
    teacher: Literal["original", "dense", "none"] = "original"
    """The teacher: the uncompressed original, the dense model from before the first pruning, or none but `teachers`."""
    teachers: list[str] = Field(default_factory=list)
    """Further teachers, each a folder (relative to the recipe) or hub id (owner/name@revision); soft labels are the mean of all."""
    temperature: Temperature = 4.0
    alpha: Alpha = 0.9
    hidden: Literal["uniform", "skip", "last", "dynamic", "none"] = "uniform"
    """Which teacher layer each student layer follows in the hidden-state loss; dynamic: the nearest in each batch, in order."""
    hidden_weight: float = Field(1.0, ge=0)
    """Weight of the hidden-state loss."""
    relations: Literal["minilmv2", "attention", "none"] = "none"
    """Token relations of the student's last layer that are trained to follow the teacher's."""
    relation_heads: int | None = Field(None, ge=1)
    """MiniLMv2's relation heads; by default as many as the teacher has heads."""
    relation_layer: int | None = None
    """Teacher layer whose relations are followed, counted from 0; by default the last."""
    relations_weight: float = Field(1.0, ge=0)
    """Weight of the relations loss."""
    augment: int = Field(0, ge=0, le=100)
    """Texts made from each training row by dropping, exchanging and splicing words; the teacher labels them."""
    fill: int = Field(0, ge=0, le=100)
    """Texts made from each training row by masking words and sampling others from `fill_model`; the teacher labels them."""
    fill_model: str | None = None
    """Masked language model, a folder or hub id."""
    unlabelled: int = Field(0, ge=0)
    """How many rows of [data] unlabelled to train on too, from the first on."""
    images: ImageChanges | None = None
    """How training images are changed in each step. The teachers see the changed ones too, and are asked anew each time."""

    @model_validator(mode="after")
    def _taught(self) -> Settings:
        if self.teacher == "none" and not self.teachers:
            raise ValueError('teacher = "none" leaves nobody to teach; name `teachers`')
        if len(set(self.teachers)) < len(self.teachers):
            raise ValueError("duplicate teacher in `teachers`")
        return self

    @model_validator(mode="after")
    def _shaped(self) -> Settings:
        own = [name for name in ("layers", "take", "width", "heads", "neurons") if getattr(self, name) is not None]
        if self.student is not None and own:
            raise ValueError(f"a `student` comes in its own shape; leave out {', '.join(own)}")
        return self

    @model_validator(mode="after")
    def _filled(self) -> Settings:
        if (self.fill > 0) != (self.fill_model is not None):
            raise ValueError("`fill` copies need a `fill_model`, and a `fill_model` needs `fill` copies")
        return self

    @model_validator(mode="after")
    def _mixed(self) -> Settings:
        if self.images is not None and self.images.mixup and self.alpha < 1:
            raise ValueError(f"images mixed by `mixup` have no one label, which `alpha = {self.alpha:g}` weighs; set alpha = 1")
        return self

    @property
    def narrows(self) -> bool:
        """Whether layers change their shape."""
        return any(size is not None for size in (self.width, self.heads, self.neurons))

    @property
    def looks_inside(self) -> bool:
        """Whether tokens are compared with the first teacher's, and not answers alone."""
        hidden, relations = (self.hidden, self.hidden_weight), (self.relations, self.relations_weight)
        return any(kind != "none" and weight > 0 for kind, weight in (hidden, relations))


def layer_faults(settings: Settings, have: int | None) -> list[str]:
    """Layers to start from that a model of `have` layers lacks."""
    take = settings.take
    if take is None:
        return too_many_layers(settings.layers, have)
    faults = []
    wrong = [layer for layer in take if have is not None and not 0 <= layer < have]
    if wrong:
        faults.append(f"take = {take} names layers {wrong} of a model of {have}")
    if settings.layers is not None and settings.layers != len(take):
        faults.append(f"take = {take} names {len(take)} layers, and `layers` says {settings.layers}")
    return faults + too_many_layers(len(take), have)


def starting_layers(settings: Settings, have: int) -> list[int]:
    """Layers of the current model that the student starts from.

    Raises:
        BadInput: more layers than there are, or a layer that does not exist.
    """
    if faults := layer_faults(settings, have):
        raise BadInput(faults[0], where="compress, distill", fix=f"name layers from 0 to {have - 1}, as many as `layers` says")
    return evenly_spaced(settings.layers or have, have) if settings.take is None else sorted(settings.take)
