"""Lengths of prompts of a language model's benchmark."""

from __future__ import annotations

import pytest

from edgekit.runtime.bench.prompts import PROMPTS, TOKENS, main_prompt, prompt_lengths, prompts_that_fit
from edgekit.runtime.errors import BadInput


def test_lengths_as_people_write_them() -> None:
    assert prompt_lengths("16, 512") == (16, 512) and prompt_lengths(None) is None
    for text in ("", "0", "-1", "16,", "a", "1e3", "16 32", "\u0663", "9" * 30):
        with pytest.raises(BadInput, match="write it like 16,512"):
            prompt_lengths(text)


def test_only_what_fits_is_asked() -> None:
    assert prompts_that_fit(100_000) == list(PROMPTS)
    assert prompts_that_fit(128 + TOKENS) == [16, 128] and prompts_that_fit(127 + TOKENS) == [16]
    assert prompts_that_fit(TOKENS + 10) == [5] and prompts_that_fit(TOKENS + 1) == [1]
    assert prompts_that_fit(64, (32, 8, 8)) == [8, 32]
    for context, asked in ((64, (49,)), (TOKENS, None), (1, (1,))):
        with pytest.raises(BadInput, match="context"):
            prompts_that_fit(context, asked)


def test_the_main_prompt_is_the_nearest_to_128() -> None:
    assert main_prompt([16, 128, 512]) == 128 and main_prompt([2048]) == 2048 and main_prompt([100, 512]) == 100
