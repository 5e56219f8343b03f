"""Rows of made sounds for the lanes, and what the small model that is trained on them reads."""

from __future__ import annotations

import base64
from itertools import product
from typing import Any

import numpy as np

__all__ = ["HEARD", "sound_rows"]

RATE = 8000
HEARD = f"sampling_rate = {RATE}\nframes = 26\nbins = 18\npatch = 6\ntime_stride = 5\nfrequency_stride = 6\n"
"""The body of [model.new.sound]: half a second, of which patches overlap in time; 15 of them, and two tokens more."""
TONES = {"low": 300.0, "high": 2500.0, "hiss": 0.0}
"""Label -> the tone in Hz; none of noise alone."""


def sound_rows() -> list[dict[str, Any]]:
    """144 distinct sounds as WAV files in base64: a tone, or none, under noise, a third to three quarters of a second long."""
    from edgekit.models.sounds import write_wav

    draw, rows = np.random.default_rng(0), []
    for (label, tone), level, part in product(TONES.items(), (0.1, 0.2, 0.3, 0.5), range(12)):
        count = RATE // 3 + part * RATE // 28
        samples = draw.normal(0, 0.02, count)
        if tone:
            samples += level * np.sin(2 * np.pi * tone * np.arange(count) / RATE)
        rows.append({"audio": base64.b64encode(write_wav(samples, RATE)).decode(), "label": label})
    return rows
