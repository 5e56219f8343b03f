"""Which lengths of prompts a language model's benchmark takes."""

from __future__ import annotations

from edgekit.runtime.errors import BadInput

__all__ = ["PROMPTS", "TOKENS", "main_prompt", "prompt_lengths", "prompts_that_fit", "scenario_names"]

PROMPTS = (16, 128, 512, 2048)
"""In tokens, as far as the context has room for them."""
MAIN_PROMPT = 128
"""A token after this prompt, or after the nearest length, is what `real` times."""
TOKENS = 16
"""Tokens made after each prompt."""


def prompt_lengths(text: str | None) -> tuple[int, ...] | None:
    """The lengths that "16,512" names; None of None.

    Raises:
        BadInput: something else than whole numbers from 1 on.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 9 and int(part) for part in parts):
        raise BadInput(f"{text!r} is no list of lengths in tokens", where="--prompts", fix="write it like 16,512")
    return tuple(int(part) for part in parts)


def prompts_that_fit(context: int, asked: tuple[int, ...] | None = None) -> list[int]:
    """Lengths of prompts to time: `asked`, else those of PROMPTS that leave room for TOKENS in `context`, or half of it.

    Raises:
        BadInput: one of `asked` leaves no room, or nothing does.
    """
    room = context - TOKENS
    if room < 1:
        raise BadInput(f"a context of {context} tokens has no room for a prompt and {TOKENS} after it", where="bench")
    if asked:
        wrong = [length for length in asked if length > room]
        if wrong:
            what = f"a prompt of {wrong[0]} tokens and {TOKENS} after it do not fit in the context of {context}"
            raise BadInput(what, where="--prompts", fix=f"name lengths from 1 to {room}")
        return sorted(set(asked))
    return [length for length in PROMPTS if length <= room] or [max(1, room // 2)]


def main_prompt(prompts: list[int]) -> int:
    """The prompt after which `real` times a token."""
    return min(prompts, key=lambda length: abs(length - MAIN_PROMPT))


def scenario_names(length: int) -> tuple[str, str]:
    """Names of the scenarios of a prompt of `length`: time to the first token, time of a token after it."""
    return f"first-{length}", f"token-{length}"
