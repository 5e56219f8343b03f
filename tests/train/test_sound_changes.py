"""Changes of training sounds: what each does, that they are drawn by the seed alone, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from edgekit.config.sounds import NewSound, SoundChanges
from edgekit.train.sound_changes import changed_sounds

SILENCE = -3.0


def drawn(count: int = 40) -> np.ndarray:
    """Features (b, 12, 6)."""
    return np.random.default_rng(0).normal(size=(count, 12, 6)).astype(np.float32)


def by_hand(sound: np.ndarray, shift: int) -> np.ndarray:
    """A sound (frames, bins) moved by `shift` frames."""
    moved = np.full_like(sound, SILENCE)
    for frame in range(len(sound)):
        if 0 <= frame + shift < len(sound):
            moved[frame + shift] = sound[frame]
    return moved


def test_a_shift_moves_frames_and_silence_comes_in() -> None:
    features = drawn()
    found = set()
    for sound, moved in zip(features, changed_sounds(features, SoundChanges(shift=3), SILENCE, (1,)), strict=True):
        shifts = [shift for shift in range(-3, 4) if np.array_equal(moved, by_hand(sound, shift))]
        assert len(shifts) == 1
        found.add(shifts[0])
    assert found == set(range(-3, 4))


def test_a_level_is_one_number_a_sound() -> None:
    features = drawn()
    difference = changed_sounds(features, SoundChanges(level=0.5), SILENCE, (1,)) - features
    assert np.ptp(difference, axis=(1, 2)).max() < 1e-5 and 0.3 < np.abs(difference).max() <= 0.5001


def test_noise_has_a_deviation_of_its_own_in_each_sound() -> None:
    features = np.zeros((60, 40, 20), dtype=np.float32)
    deviations = changed_sounds(features, SoundChanges(noise=0.2), SILENCE, (1,)).std(axis=(1, 2))
    assert deviations.max() < 0.21 and deviations.min() < 0.05 and 0.05 < deviations.mean() < 0.15


def test_masks_hide_stretches() -> None:
    features = np.ones((50, 12, 6), dtype=np.float32)
    hidden = changed_sounds(features, SoundChanges(mask_frames=4, mask_bins=2, masks=2), SILENCE, (1,)) == 0
    frames, bins = hidden.all(axis=2).sum(axis=1), hidden.all(axis=1).sum(axis=1)
    assert frames.max() > 4 and frames.max() <= 8 and bins.max() > 2 and bins.max() <= 4
    assert np.array_equal(hidden, hidden.all(axis=2)[:, :, None] | hidden.all(axis=1)[:, None]), "whole frames and bins"


def test_the_seed_alone_decides_and_nothing_given_is_changed() -> None:
    features, every = drawn(5), SoundChanges(shift=2, level=0.4, noise=0.1, mask_frames=3, mask_bins=2)
    kept = features.copy()
    first, again, other = (changed_sounds(features, every, SILENCE, (seed,)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other) and np.array_equal(features, kept)
    assert first.dtype == np.float32


def test_what_changes_nothing_or_fits_nowhere_is_refused() -> None:
    with pytest.raises(ValidationError, match="changes nothing"):
        SoundChanges()
    with pytest.raises(ValidationError, match="larger than 24 frames of 16 bins"):
        NewSound(frames=24, bins=16, patch=17)
