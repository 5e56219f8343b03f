"""/v1/completions and /v1/chat/completions: what is asked, and the answer, whole or as server-sent events.

Defaults are OpenAI's (temperature 1, 16 tokens of a completion), not those of `run`. Fields that would change the answer and
are not supported are refused unless they hold the value that changes nothing.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.model import LanguageModel, Prompt
from edgekit.runtime.generate.sample import Sampling, parse_sampling
from edgekit.runtime.serve.message import Refusal, check_names
from edgekit.runtime.serve.worker import Job, Steps

__all__ = ["Completion", "document", "events", "generate", "parse_chat", "parse_completion"]

SAMPLED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop")
"""Fields that Sampling has by the same name; top_k, min_p and repetition_penalty are not OpenAI's (`extra_body` sends them)."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "echo": (False,), "logprobs": (False,), "presence_penalty": (0,), "frequency_penalty": (0,),
    "logit_bias": ({},), "suffix": ("",),
}  # fmt: skip
"""Fields that are read only where they change nothing; null never does."""
KEYS = ("model", "prompt", "max_tokens", "stream", "stream_options", "user", *SAMPLED, *NEUTRAL)
CHAT_KEYS = ("messages", "max_completion_tokens", *(key for key in KEYS if key not in ("prompt", "best_of", "echo", "suffix")))
ENDED = {"stop": "stop", "length": "length", "context": "length", "interrupted": "stop"}


@dataclass(frozen=True)
class Completion:
    """What is to be generated."""

    id: str
    model: str
    chat: bool
    created: int
    """Seconds since 1970."""
    prompts: list[Prompt]
    sampling: Sampling
    stream: bool
    usage: bool
    """Whether a stream ends with the count of tokens."""


def parse_completion(document: dict[str, Any], name: str, batch: int) -> Completion:
    """A completion of texts or token ids.

    Raises:
        Refusal: 400 where anything in it cannot be used, 413 where it holds too many prompts.
    """
    check_names(document, KEYS, "body")
    given = document.get("prompt")
    single = isinstance(given, str) or (isinstance(given, list) and bool(given) and all(_is_number(one) for one in given))
    prompts = [given] if single else given
    if not isinstance(prompts, list) or not prompts:
        raise Refusal(400, "no prompt", where="prompt", fix="send a text, a list of texts, or token ids")
    if len(prompts) > batch:
        raise Refusal(413, f"{len(prompts):,} prompts are more than {batch}", where="prompt", fix="send several requests")
    return _completion(document, name, [_prompt(one, number) for number, one in enumerate(prompts)], "cmpl-", most=16)


def parse_chat(document: dict[str, Any], name: str, context: int) -> Completion:
    """The next message of a conversation; without max_tokens as long as the `context` lets it be.

    Raises:
        Refusal: 400 where anything in it cannot be used.
    """
    check_names(document, CHAT_KEYS, "body")
    given = document.get("messages")
    if not isinstance(given, list) or not given:
        raise Refusal(400, "no messages", where="messages", fix='send [{"role": "user", "content": "..."}]')
    messages = [_message(one, f"messages[{number}]") for number, one in enumerate(given)]
    limits = [document[key] for key in ("max_completion_tokens", "max_tokens") if document.get(key) is not None]
    if len(limits) > 1:
        raise Refusal(
            400, "stands beside max_completion_tokens, which means the same", where="max_tokens", fix="send one of them"
        )
    asked = {**document, "max_tokens": limits[0] if limits else None}
    return _completion(asked, name, [messages], "chatcmpl-", most=context)


def generate(language: LanguageModel, asked: Completion) -> Steps:
    """Work for the worker: yields (number of the prompt, Piece, tokens of the prompt) one by one.

    Raises:
        Refusal: 400 for a prompt that cannot be used.
    """
    for number, prompt in enumerate(asked.prompts):
        try:
            # A text, once encoded, is ids; a conversation is rendered twice, so that its answer stays a text of its own.
            count = len(language.encode(prompt))
            for piece in language.stream(prompt, asked.sampling):
                yield number, piece, count
        except BadInput as fault:
            where = "messages" if asked.chat else f"prompt[{number}]"
            raise Refusal(400, fault.what, where=where, fix=fault.fix, faults=fault.faults) from None


def document(asked: Completion, pieces: list[tuple[int, Any, int]]) -> dict[str, Any]:
    """The response's body."""
    choices = []
    for number in range(len(asked.prompts)):
        own = [piece for place, piece, _ in pieces if place == number]
        text = "".join(piece.text for piece in own)
        said = {"message": {"role": "assistant", "content": text}} if asked.chat else {"text": text}
        choices.append({"index": number, **said, "logprobs": None, "finish_reason": ENDED[own[-1].ended]})
    return {**_head(asked, "chat.completion" if asked.chat else "text_completion"), "choices": choices, "usage": usage(pieces)}


async def events(asked: Completion, first: tuple[int, Any, int], job: Job) -> AsyncGenerator[bytes, None]:
    """Server-sent events of the pieces, `first` and then the job's, to the closing `[DONE]`.

    A fault after the first piece comes as an event of its own, since the status has been sent.
    """
    kind = "chat.completion.chunk" if asked.chat else "text_completion"
    head = _head(asked, kind) | ({"usage": None} if asked.usage else {})
    pieces = [first]
    if asked.chat:
        yield event({**head, "choices": [_choice(0, {"delta": {"role": "assistant", "content": ""}}, None)]})
    yield event({**head, "choices": [_piece(asked, *first[:2])]})
    async for number, piece, count in job:
        pieces.append((number, piece, count))
        if piece.text or piece.ended:
            yield event({**head, "choices": [_piece(asked, number, piece)]})
    if asked.usage:
        yield event({**head, "choices": [], "usage": usage(pieces)})
    yield b"data: [DONE]\n\n"


def event(body: dict[str, Any]) -> bytes:
    """`body` as one server-sent event."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n\n"


def usage(pieces: list[tuple[int, Any, int]]) -> dict[str, int]:
    """Tokens of the prompts and of the answers."""
    read = sum({number: count for number, _, count in pieces}.values())
    made = sum(piece.token is not None for _, piece, _ in pieces)
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}


def _completion(given: dict[str, Any], name: str, prompts: list[Prompt], prefix: str, *, most: int) -> Completion:
    faults = []
    for key, values in NEUTRAL.items():
        value = given.get(key)
        if value is not None and not any(type(value) in (type(one), float) and value == one for one in values):
            faults.append(f"{key}: {str(value)[:40]} is not supported, only {values[0]!r}")
    options = given.get("stream_options")
    for key, value in (("stream", given.get("stream")), ("stream_options.include_usage", _included(options))):
        if value is not None and not isinstance(value, bool):
            faults.append(f"{key}: {str(value)[:40]!r} is not true or false")
    if isinstance(options, dict):
        check_names(options, ("include_usage",), "stream_options")
    elif options is not None:
        faults.append("stream_options: not an object")
    sampled = {key: given[key] for key in SAMPLED if given.get(key) is not None}
    limit = given.get("max_tokens")
    try:
        sampling = parse_sampling(
            {"temperature": 1.0, "seed": secrets.randbits(62), "max_new_tokens": most if limit is None else limit, **sampled}
        )
    except BadInput as fault:
        faults += [text.replace("max_new_tokens", "max_tokens") for text in fault.faults]
    if faults:
        raise Refusal(400, "this cannot be done", where="body", faults=faults)
    return Completion(
        prefix + secrets.token_hex(12), name, prefix == "chatcmpl-", int(time.time()), prompts, sampling,
        bool(given.get("stream")), bool(_included(options)),
    )  # fmt: skip


def _included(options: Any) -> Any:
    return options.get("include_usage") if isinstance(options, dict) else None


def _prompt(one: Any, number: int) -> Prompt:
    if isinstance(one, str):
        return one
    if isinstance(one, list) and one and all(type(token) is int and 0 <= token < 2**31 for token in one):
        return np.asarray(one, dtype=np.int64)
    raise Refusal(400, "neither a text nor token ids", where=f"prompt[{number}]")


def _message(given: Any, where: str) -> dict[str, str]:
    if not isinstance(given, dict):
        raise Refusal(400, "not an object of role and content", where=where)
    check_names(given, ("role", "content"), where)
    role, content = given.get("role"), given.get("content")
    if isinstance(content, list):
        texts = [str(part["text"]) for part in content if _is_text(part)]
        if len(texts) != len(content):
            raise Refusal(400, "a part that is no text", where=f"{where}.content", fix="send text alone")
        content = "".join(texts)
    if not isinstance(role, str) or not isinstance(content, str):
        raise Refusal(400, "role and content must be texts", where=where)
    return {"role": role, "content": content}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and set(part) == {"type", "text"} and part["type"] == "text" and isinstance(part["text"], str)


def _head(asked: Completion, kind: str) -> dict[str, Any]:
    return {"id": asked.id, "object": kind, "created": asked.created, "model": asked.model}


def _piece(asked: Completion, number: int, piece: Any) -> dict[str, Any]:
    return _choice(number, {"delta": {"content": piece.text}} if asked.chat else {"text": piece.text}, piece.ended)


def _choice(number: int, said: dict[str, Any], ended: str | None) -> dict[str, Any]:
    return {"index": number, **said, "logprobs": None, "finish_reason": ENDED[ended] if ended else None}
