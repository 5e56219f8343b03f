"""The bytes of single tokens, which need not be whole characters."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["token_bytes"]

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""What SentencePiece writes for a space."""


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """The bytes that `token` stands for within a text; of an added token, such as a control token, its name; of an unknown one none."""
    name = tokenizer.id_to_token(token)
    if name is None:
        return b""
    if token in _added(tokenizer):
        return bytes(name.encode())
    if "ByteLevel" in repr(tokenizer.decoder):
        return bytes(_letters()[letter] for letter in name if letter in _letters())
    if (byte := BYTE.fullmatch(name)) is not None:
        return bytes([int(byte[1], 16)])
    return bytes(name.replace(SPACE, " ").encode())


@lru_cache(maxsize=4)
def _added(tokenizer: Tokenizer) -> frozenset[int]:
    return frozenset(tokenizer.get_added_tokens_decoder())


@cache
def _letters() -> dict[str, int]:
    """GPT-2's letter for each byte: printable ones stand for themselves, the others for letters from U+0100 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + number): byte for number, byte in enumerate(others)}
