"""How a recipe says what a new model of sounds reads, and how training sounds are to be changed."""

from __future__ import annotations

from pydantic import Field, model_validator

from edgekit.config.toml import Strict

__all__ = ["NewSound", "SoundChanges"]


class NewSound(Strict):
    """What an Audio Spectrogram Transformer that is trained from nothing reads: frames of 400 samples, one every 160, in square patches."""

    sampling_rate: int = Field(16_000, ge=2_000, le=384_000)
    """Samples a second; sounds of another rate are resampled."""
    frames: int = Field(1024, ge=1, le=8192)
    """Of a sound, so many are read; longer ones are cut, shorter ones padded."""
    bins: int = Field(128, ge=4, le=256)
    """Mel bins of a frame."""
    patch: int = Field(16, ge=1, le=256)
    """Frames and bins of a patch."""
    time_stride: int = Field(10, ge=1, le=256)
    """Frames from one patch to the next."""
    frequency_stride: int = Field(10, ge=1, le=256)
    """Bins from one patch to the next."""

    @model_validator(mode="after")
    def _within(self) -> NewSound:
        if self.patch > min(self.frames, self.bins):
            raise ValueError(f"patch {self.patch} is larger than {self.frames} frames of {self.bins} bins")
        return self


class SoundChanges(Strict):
    """Changes of the features of training sounds, drawn anew in every step; those of validation, test and calibration stay as they are.

    Levels are in the unit of normalised features, whose deviation is 0.5.
    """

    shift: int = Field(0, ge=0, le=1024)
    """Move each sound by up to so many frames to either side."""
    level: float = Field(0.0, ge=0, le=10)
    """Make each sound louder or softer by up to so much."""
    noise: float = Field(0.0, ge=0, le=10)
    """Add noise of a deviation up to this one."""
    masks: int = Field(1, ge=1, le=10)
    """How many stretches of frames, and of bins, are hidden."""
    mask_frames: int = Field(0, ge=0, le=1024)
    """Longest hidden stretch of frames (SpecAugment)."""
    mask_bins: int = Field(0, ge=0, le=256)
    """Longest hidden stretch of bins."""

    @model_validator(mode="after")
    def _changes(self) -> SoundChanges:
        if not (self.shift or self.level or self.noise or self.mask_frames or self.mask_bins):
            raise ValueError(
                "changes nothing: give some of `shift`, `level`, `noise`, `mask_frames` and `mask_bins`, or leave it out"
            )
        return self
