"""Features of training sounds changed at random: moved in time, louder or softer, noisier, with stretches hidden. numpy alone, so that they
are the same on every device.

Hidden stretches: SpecAugment (Park et al. 2019, arXiv 1904.08779, section 2), without its time warping, which it finds to matter least.
"""

from __future__ import annotations

import numpy as np

from edgekit.config.sounds import SoundChanges

__all__ = ["changed_sounds"]


def changed_sounds(features: np.ndarray, changes: SoundChanges, silence: float, seed: tuple[int, ...]) -> np.ndarray:
    """Normalised features (b, frames, bins), float32, in another state; `silence`: what stands where nothing is.

    The same for the same `seed`; `features` are left as they are.
    """
    draw, (count, frames, bins) = np.random.default_rng(seed), features.shape
    places = np.arange(frames) - draw.integers(-changes.shift, changes.shift + 1, (count, 1))
    moved = features[np.arange(count)[:, None], places.clip(0, frames - 1)]
    made = np.where(((places >= 0) & (places < frames))[:, :, None], moved, np.float32(silence))
    made = made + draw.uniform(-changes.level, changes.level, (count, 1, 1)).astype(np.float32)
    if changes.noise:
        deviation = changes.noise * draw.random((count, 1, 1), dtype=np.float32)
        made = made + deviation * draw.standard_normal(made.shape, dtype=np.float32)
    for _ in range(changes.masks):
        hidden = (
            _stretches(count, frames, changes.mask_frames, draw)[:, :, None]
            | _stretches(count, bins, changes.mask_bins, draw)[:, None]
        )
        made = np.where(hidden, np.float32(0), made)
    return made


def _stretches(count: int, size: int, longest: int, draw: np.random.Generator) -> np.ndarray:
    """bool (count, size): in each row one stretch of up to `longest`."""
    lengths = draw.integers(0, min(longest, size) + 1, count)
    starts = draw.integers(0, size - lengths + 1)
    place = np.arange(size)
    inside: np.ndarray = (place >= starts[:, None]) & (place < (starts + lengths)[:, None])
    return inside
