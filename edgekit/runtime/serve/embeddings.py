"""/v1/embeddings of OpenAI's API: its request and response."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.serve.message import Refusal, check_names

__all__ = ["EmbeddingRequest", "embedding_document", "parse_embeddings"]

KEYS = ("input", "model", "encoding_format", "user", "dimensions")


@dataclass(frozen=True)
class EmbeddingRequest:
    """A request, parsed."""

    texts: list[str]
    base64: bool
    """Whether vectors are returned as little-endian float32 in base64, the default of OpenAI's own client."""


def parse_embeddings(document: dict[str, object], batch: int) -> EmbeddingRequest:
    """The request in a body, of at most `batch` texts.

    Raises:
        Refusal: 400 where anything in it cannot be used, 413 where it holds too many texts.
    """
    check_names([key for key, value in document.items() if value is not None], KEYS, "body")
    value = document.get("input")
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refusal(400, "no text and no list of texts", where="input", fix="send texts; token ids are not read")
    if len(texts) > batch:
        raise Refusal(413, f"{len(texts):,} texts are more than {batch}", where="input", fix="send several requests")
    encoding = document.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise Refusal(400, f"{str(encoding)[:40]!r} is not 'float' or 'base64'", where="encoding_format")
    if document.get("dimensions") is not None:
        raise Refusal(400, "the size of this model's embeddings is fixed", where="dimensions", fix="leave it out")
    return EmbeddingRequest(texts, encoding == "base64")


def embedding_document(name: str, request: EmbeddingRequest, answers: list[JsonObject], tokens: int) -> JsonObject:
    """The response's body, from answers of the processor; `tokens`: of all texts."""
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(answer["embedding"], request.base64)}
        for index, answer in enumerate(answers)
    ]
    return {"object": "list", "model": name, "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _vector(values: JsonValue, as_base64: bool) -> JsonValue:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode() if as_base64 else values
