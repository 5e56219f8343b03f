"""Log-probabilities of tokens as OpenAI's API tells them, in the shape of conversations and in that of completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from edgekit.runtime.generate.token_bytes import token_bytes
from edgekit.runtime.jsontypes import JsonObject, JsonValue

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from edgekit.runtime.generate.answer import Piece

__all__ = ["Told", "chat_logprobs", "completion_logprobs", "told"]


class Told(NamedTuple):
    """A token as text and bytes, with the logarithm of its probability, and those of the most probable ones."""

    data: bytes
    logprob: float
    most: tuple[tuple[bytes, float], ...] = ()

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")

    @property
    def name(self) -> str:
        return _name(self.data)


def told(piece: Piece, tokenizer: Tokenizer) -> Told | None:
    """What `piece` tells of its token, if anything."""
    if piece.likely is None or piece.token is None:
        return None
    most = tuple((token_bytes(tokenizer, token), value) for token, value in piece.likely.most)
    return Told(token_bytes(tokenizer, piece.token), piece.likely.token, most)


def chat_logprobs(tokens: Sequence[Told]) -> JsonObject:
    """`logprobs` of a choice of a conversation."""

    def entry(data: bytes, value: float) -> JsonObject:
        return {"token": data.decode("utf-8", "replace"), "logprob": value, "bytes": [*data]}

    content: list[JsonValue] = [
        {**entry(one.data, one.logprob), "top_logprobs": [entry(data, value) for data, value in one.most]} for one in tokens
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[Told], start: int) -> JsonObject:
    """`logprobs` of a choice of a completion; `start`: characters of the answer before these tokens."""
    offsets: list[JsonValue] = []
    for one in tokens:
        offsets.append(start)
        start += len(one.text)
    most: list[JsonValue] = [{_name(data): value for data, value in one.most} for one in tokens]
    return {
        "tokens": [one.name for one in tokens],
        "token_logprobs": [one.logprob for one in tokens],
        "top_logprobs": most if any(one.most for one in tokens) else None,
        "text_offset": offsets,
    }


def _name(data: bytes) -> str:
    """A token as completions tell it: its text, or the bytes of one that is none, as OpenAI writes them, so that no two have one name."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{number:02x}" for number in data)
