"""Training images changed at random: mirrored, moved, coloured otherwise, mixed. numpy alone, so that they are the same on every device.

Mirror and move: He et al. 2016 (arXiv 1512.03385, section 4.2, 4 pixels of 32); colour: brightness, then contrast, then saturation, as torchvision's
ColorJitter has them; mix: Zhang et al. 2018 (mixup, arXiv 1710.09412), one share for a batch.
"""

from __future__ import annotations

import numpy as np

from edgekit.config.images import ImageChanges

__all__ = ["changed"]

GREY = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)
"""Share of red, green and blue in what an eye takes for brightness (ITU-R BT.601), which Pillow and torchvision use."""
WHITE = 255.0


def changed(pixels: np.ndarray, changes: ImageChanges, seed: tuple[int, ...]) -> np.ndarray:
    """Images (b, 3, height, width), 0 to 255, in another state: uint8, or float32 where colours or mixtures are asked for.

    The same for the same `seed`; `pixels`, uint8, are left as they are.
    """
    draw, made = np.random.default_rng(seed), pixels
    if changes.flip:
        mirrored = draw.random(len(made)) < 0.5
        made = np.where(mirrored[:, None, None, None], made[..., ::-1], made)
    if changes.crop:
        made = _moved(made, changes.crop, draw)
    if changes.colour:
        made = _coloured(made.astype(np.float32), changes.colour, draw)
    if changes.mixup:
        share, partners = np.float32(draw.beta(changes.mixup, changes.mixup)), draw.permutation(len(made))
        made = share * made + (1 - share) * made[partners]
    return made


def _moved(pixels: np.ndarray, most: int, draw: np.random.Generator) -> np.ndarray:
    """Each image moved by up to `most` pixels down or up and right or left, with zeros where nothing was."""
    count, _, height, width = pixels.shape
    down, right = draw.integers(-most, most + 1, (2, count))
    padded = np.pad(pixels, ((0, 0), (0, 0), (most, most), (most, most)))
    rows = (most - down)[:, None] + np.arange(height)
    columns = (most - right)[:, None] + np.arange(width)
    each = np.arange(count)[:, None, None]
    picked: np.ndarray = padded[each, :, rows[:, :, None], columns[:, None, :]]  # (b, height, width, 3)
    return np.ascontiguousarray(picked.transpose(0, 3, 1, 2))


def _coloured(pixels: np.ndarray, most: float, draw: np.random.Generator) -> np.ndarray:
    """Images (b, 3, h, w) float32, each nearer to or further from black, its mean grey, and its grey image."""
    brightness, contrast, saturation = draw.uniform(1 - most, 1 + most, (3, len(pixels), 1, 1, 1)).astype(np.float32)
    made = np.clip(brightness * pixels, 0, WHITE)
    middle = _grey(made).mean(axis=(1, 2, 3), keepdims=True)
    made = np.clip(middle + contrast * (made - middle), 0, WHITE)
    grey = _grey(made)
    found: np.ndarray = np.clip(grey + saturation * (made - grey), 0, WHITE)
    return found


def _grey(pixels: np.ndarray) -> np.ndarray:
    """(b, 1, h, w)"""
    found: np.ndarray = np.einsum("bchw,c->bhw", pixels, GREY)[:, None]
    return found
