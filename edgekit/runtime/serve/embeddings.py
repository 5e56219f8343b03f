"""/v1/embeddings of OpenAI's API: its request and response."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from edgekit.runtime.errors import BadInput
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.model import Model
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.serve.message import Refusal, check_names

__all__ = ["EmbeddingRequest", "embedding_document", "parse_embeddings", "sizes_of"]

KEYS = ("input", "model", "encoding_format", "user", "dimensions", "prompt_name")


@dataclass(frozen=True)
class EmbeddingRequest:
    """A request, parsed."""

    texts: list[str]
    base64: bool
    """Whether vectors are returned as little-endian float32 in base64, the default of OpenAI's own client."""
    dimensions: int | None = None
    """How many numbers of each vector are returned, the first ones; None for all."""
    prompt: str | None = None
    """Name of the prompt that is put before the texts; None for the model's default."""

    @property
    def items(self) -> list[object]:
        """The inputs of the task."""
        return [*self.texts] if self.prompt is None else [{"text": text, "prompt_name": self.prompt} for text in self.texts]


def sizes_of(model: Model, *, any_dimensions: bool) -> tuple[int, int]:
    """(fewest, most) numbers that a vector can be asked for with, as `dimensions`.

    Fewer than all where the model was trained for it, which its `truncate_dim` says, or where the server was started with
    `any_dimensions`.
    """
    width = int(model.session.get_outputs()[0].shape[-1])
    embeddings = model.bundle.manifest.embeddings
    return (1 if any_dimensions or (embeddings is not None and embeddings.nested) else width), width


def parse_embeddings(document: dict[str, object], batch: int, sizes: tuple[int, int], prompts: Prompts) -> EmbeddingRequest:
    """The request in a body, of at most `batch` texts. `sizes`: as `sizes_of`; `prompts`: the model's.

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
    return EmbeddingRequest(
        texts, encoding == "base64", _dimensions(document.get("dimensions"), sizes), _prompt(document, prompts)
    )


def _dimensions(asked: object, sizes: tuple[int, int]) -> int | None:
    fewest, most = sizes
    if asked is None:
        return None
    if not isinstance(asked, int) or isinstance(asked, bool) or not 1 <= asked <= most:
        raise Refusal(400, f"{str(asked)[:40]} is not a whole number from 1 to {most}", where="dimensions")
    if asked < fewest:
        raise Refusal(
            400, f"the size of this model's embeddings is fixed: nothing says that their first {asked} numbers are one",
            where="dimensions",
            fix=f"leave it out; where the model was trained so, export it with truncate_dim = {asked} or more in "
            "config_sentence_transformers.json, or start the server with --any-dimensions",
        )  # fmt: skip
    return asked


def _prompt(document: dict[str, object], prompts: Prompts) -> str | None:
    name = document.get("prompt_name")
    if name is None:
        return None
    try:
        prompts.before(name)
    except BadInput as fault:
        raise Refusal(400, fault.what, where="prompt_name", fix=fault.fix) from None
    return str(name)


def embedding_document(name: str, request: EmbeddingRequest, answers: list[JsonObject], tokens: int) -> JsonObject:
    """The response's body, from answers of the processor; `tokens`: of all texts. A text that was cut has `"truncated": true`."""
    data: list[JsonValue] = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _vector(answer["embedding"], request),
            **({"truncated": True} if answer.get("truncated") else {}),
        }
        for index, answer in enumerate(answers)
    ]
    return {"object": "list", "model": name, "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _vector(values: JsonValue, request: EmbeddingRequest) -> JsonValue:
    """The first numbers as they are: what sentence-transformers' `encode` gives with `truncate_dim`, which does not normalise again."""
    assert isinstance(values, list), "an embedding is a list of numbers"
    kept = values[: request.dimensions]
    return base64.b64encode(np.asarray(kept, dtype="<f4").tobytes()).decode() if request.base64 else kept
