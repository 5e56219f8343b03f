"""/v1/embeddings as OpenAI's clients ask for it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.runtime.serve.message import Refusal, check_names

__all__ = ["Texts", "embedding_document", "parse_embeddings"]

KEYS = ("input", "model", "encoding_format", "user", "dimensions")


@dataclass(frozen=True)
class Texts:
    """What is to be embedded."""

    items: list[str]
    base64: bool
    """Whether vectors are wanted as little-endian float32 in base64, which OpenAI's own client asks for."""


def parse_embeddings(document: dict[str, Any], batch: int) -> Texts:
    """The texts of a request's body.

    Raises:
        Refusal: 400 where anything in it cannot be used, 413 where it holds too many texts.
    """
    check_names(document, KEYS, "body")
    given = document.get("input")
    items = [given] if isinstance(given, str) else given
    if not isinstance(items, list) or not items or not all(isinstance(text, str) for text in items):
        raise Refusal(400, "no text and no list of texts", where="input", fix="send texts; token ids are not read")
    if len(items) > batch:
        raise Refusal(413, f"{len(items):,} texts are more than {batch}", where="input", fix="send several requests")
    form = document.get("encoding_format")
    if form not in (None, "float", "base64"):
        raise Refusal(400, f"{str(form)[:40]!r} is not 'float' or 'base64'", where="encoding_format")
    if document.get("dimensions") is not None:
        raise Refusal(400, "the width of this model's embeddings is fixed", where="dimensions", fix="leave it out")
    return Texts(items, form == "base64")


def embedding_document(name: str, asked: Texts, answers: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
    """The response's body; `tokens`: of all texts."""
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(answer["embedding"], asked.base64)}
        for index, answer in enumerate(answers)
    ]
    return {"object": "list", "model": name, "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _vector(values: list[float], as_base64: bool) -> list[float] | str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode() if as_base64 else values
