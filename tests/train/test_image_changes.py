"""Training images in another state, beside Pillow and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from pydantic import ValidationError

from edgekit.config.images import ImageChanges
from edgekit.train.image_changes import changed


def drawn(seed: int, count: int = 12, height: int = 6, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, height, width), dtype=np.uint8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), most=st.integers(1, 9))
def test_each_image_is_moved_with_black_coming_in(seed: int, most: int) -> None:
    pixels = drawn(seed, count=3)
    for image, moved in zip(pixels, changed(pixels, ImageChanges(crop=most), (seed, 1)), strict=True):
        height, width = image.shape[1:]
        found = []
        for down in range(-most, most + 1):
            for right in range(-most, most + 1):
                wanted = np.zeros_like(image)
                for row in range(max(0, down), min(height, height + down)):
                    for column in range(max(0, right), min(width, width + right)):
                        wanted[:, row, column] = image[:, row - down, column - right]
                found.append(np.array_equal(wanted, moved))
        assert any(found)


def test_about_half_are_mirrored() -> None:
    pixels = drawn(0, count=200)
    made = changed(pixels, ImageChanges(flip=True), (3,))
    mirrored = [np.array_equal(one, other[..., ::-1]) for one, other in zip(made, pixels, strict=True)]
    same = [np.array_equal(one, other) for one, other in zip(made, pixels, strict=True)]
    assert all(one != other for one, other in zip(mirrored, same, strict=True)) and 60 < sum(mirrored) < 140


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), most=st.floats(0.05, 1))
def test_colours_are_pillows(seed: int, most: float) -> None:
    pixels = drawn(seed, count=4)
    factors = np.random.default_rng((seed, 2)).uniform(1 - most, 1 + most, (3, 4))  # in the order in which they are drawn
    made = changed(pixels, ImageChanges(colour=most), (seed, 2))
    for number, image in enumerate(pixels):
        wanted = Image.fromarray(image.transpose(1, 2, 0))
        for kind, factor in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors[:, number], strict=True
        ):
            wanted = kind(wanted).enhance(float(factor))
        assert np.abs(made[number].transpose(1, 2, 0) - np.asarray(wanted)).max() < 6  # it rounds after each of three


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), alpha=st.floats(0.05, 5))
def test_mixtures_are_of_two_images_of_the_batch(seed: int, alpha: float) -> None:
    pixels = np.zeros((6, 3, 1, 6), dtype=np.uint8)
    pixels[np.arange(6), :, 0, np.arange(6)] = 200  # which images a mixture has, and how much of each, is seen in its columns
    made = changed(pixels, ImageChanges(mixup=alpha), (seed,))[:, 0, 0] / 200
    assert np.allclose(made.sum(axis=0), 1, atol=1e-5) and np.allclose(made.sum(axis=1), 1, atol=1e-5)
    assert ((made > 0).sum(axis=1) <= 2).all()
    mixed = np.diag(made)[np.diag(made) < 1 - 1e-5]
    assert not len(mixed) or np.ptp(mixed) < 1e-4  # one share for all, but for an image that is mixed with itself


def test_the_seed_alone_decides_and_the_given_images_stay() -> None:
    pixels, every = drawn(5), ImageChanges(flip=True, crop=2, colour=0.4, mixup=0.5)
    kept = pixels.copy()
    first = changed(pixels, every, (7, 3, 0))
    assert np.array_equal(first, changed(pixels, every, (7, 3, 0))) and np.array_equal(pixels, kept)
    assert not np.array_equal(first, changed(pixels, every, (7, 4, 0)))
    assert first.dtype == np.float32 and changed(pixels, ImageChanges(flip=True, crop=2), (1,)).dtype == np.uint8


def test_nothing_to_change_is_said() -> None:
    with pytest.raises(ValidationError, match="changes nothing"):
        ImageChanges()
