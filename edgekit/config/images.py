"""How a recipe says that training images are to be changed."""

from __future__ import annotations

from pydantic import Field, model_validator

from edgekit.config.toml import Strict

__all__ = ["ImageChanges"]


class ImageChanges(Strict):
    """Changes of training images, drawn anew in every step; those of validation, test and calibration stay as they are."""

    flip: bool = False
    """Mirror every second image, left to right; not for text, digits and whatever else has a side."""
    crop: int = Field(0, ge=0, le=512)
    """Move each image by up to so many of the model's pixels to every side; black comes in from there."""
    colour: float = Field(0.0, ge=0, le=1)
    """Multiply brightness, contrast and saturation by factors between 1 - colour and 1 + colour."""
    mixup: float = Field(0.0, ge=0, le=10)
    """Mix every image with another of its batch, in a share drawn from Beta(mixup, mixup); it needs `alpha = 1`, as a mixture has no one label."""

    @model_validator(mode="after")
    def _changes(self) -> ImageChanges:
        if not (self.flip or self.crop or self.colour or self.mixup):
            raise ValueError("changes nothing: give some of `flip`, `crop`, `colour` and `mixup`, or leave it out")
        return self
