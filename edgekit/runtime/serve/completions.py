"""/v1/completions and /v1/chat/completions of OpenAI's API: requests, and responses as one document or as server-sent events.

Defaults are OpenAI's (temperature 1, 16 tokens of a completion), not those of `run`. Fields that are not supported are refused
unless they hold their neutral value.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.generate.answer import Ids, Piece
from edgekit.runtime.generate.calls import Event, Said
from edgekit.runtime.generate.chat import JINJA, Conversation, Message
from edgekit.runtime.generate.constraint import KINDS, Constraint
from edgekit.runtime.generate.model import LanguageModel, Prompt
from edgekit.runtime.generate.sample import RANGES, Sampling, parse_sampling
from edgekit.runtime.generate.tools import Tools, parse_tools
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.serve.forms import FORMS, parse_form
from edgekit.runtime.serve.likelihoods import Told, chat_logprobs, completion_logprobs, told
from edgekit.runtime.serve.message import Refusal, check_names
from edgekit.runtime.serve.together import Streams
from edgekit.runtime.serve.tool_calls import called_message, deltas
from edgekit.runtime.serve.worker import Job, Steps

__all__ = [
    "CompletionRequest",
    "PromptPiece",
    "document",
    "events",
    "generate",
    "form_of",
    "parse_chat",
    "parse_completion",
    "prepare",
]

SAMPLED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop", "stop_token_ids", "logit_bias")
"""Fields of Sampling with the same name; top_k, min_p, repetition_penalty and stop_token_ids are not OpenAI's (clients send them by `extra_body`)."""
NEUTRAL: dict[str, tuple[JsonValue, ...]] = {
    "presence_penalty": (0,), "frequency_penalty": (0,),
}  # fmt: skip
"""Fields that are not supported -> the values that change nothing, which are accepted, as null is."""
NEUTRAL_COMPLETION: dict[str, tuple[JsonValue, ...]] = {**NEUTRAL, "best_of": (1,), "echo": (False,), "suffix": ("",)}
NEUTRAL_CHAT: dict[str, tuple[JsonValue, ...]] = {
    **NEUTRAL,
    "functions": ([],), "function_call": ("none", "auto"), "modalities": (["text"],), "store": (False,), "reasoning_effort": ("none",),
    "service_tier": ("auto", "default"), "verbosity": ("medium",),
}  # fmt: skip
IGNORED = ("user", "metadata", "prompt_cache_key", "safety_identifier", "guided_decoding_backend")
"""Fields whose value changes no answer here."""
BOTH = ("model", "max_tokens", "n", "logprobs", "stream", "stream_options", *SAMPLED, *FORMS, *IGNORED)
KEYS = ("prompt", *BOTH, *NEUTRAL_COMPLETION)
TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
CHAT_KEYS = ("messages", *TOOLS, "max_completion_tokens", "top_logprobs", *BOTH, *NEUTRAL_CHAT)
MOST_LOGPROBS = RANGES["logprobs"][2]
LARGEST_SEED = 2**63
ENDED = {"stop": "stop", "length": "length", "context": "length", "interrupted": "stop"}


@dataclass(frozen=True)
class CompletionRequest:
    """A request, parsed."""

    id: str
    model: str
    chat: bool
    created: int
    """Seconds since 1970."""
    prompts: list[Prompt]
    n: int
    """Answers to each prompt; the one of index i is drawn with the seed + i."""
    sampling: Sampling
    form: str
    """The field that asks for the answer's form; "tools" where no other does."""
    tools: Tools | None
    """Those that the answer may call."""
    stream: bool
    usage: bool
    """Whether a stream ends with the count of tokens."""


class PromptPiece(NamedTuple):
    """A piece of an answer to one prompt of a request."""

    prompt: int
    """Index of the prompt."""
    choice: int
    """Index of the answer among all of the request."""
    piece: Piece
    prompt_tokens: int
    likely: Told | None = None
    """What it tells of its token, where that was asked for and it is part of the answer."""
    events: tuple[Event, ...] = ()
    """What it adds to a message: text, and calls of tools."""
    called: bool = False
    """Whether the answer holds a complete call."""


def parse_completion(document: dict[str, object], name: str, batch: int) -> CompletionRequest:
    """A request to complete texts or token ids, at most `batch` prompts, of the model called `name`.

    Raises:
        Refusal: 400 where anything in it cannot be used, 413 where it holds too many prompts.
    """
    document = _given(document)
    check_names(document, KEYS, "body")
    value = document.get("prompt")
    is_ids = isinstance(value, list) and bool(value) and all(_is_number(item) for item in value)
    prompts = [value] if isinstance(value, str) or is_ids else value
    if not isinstance(prompts, list) or not prompts:
        what = (
            f"{type(prompts).__name__} is no prompt" if prompts is not None and not isinstance(prompts, list) else "no prompt"
        )
        raise Refusal(400, what, where="prompt", fix="send a text, a list of texts, or token ids")
    if len(prompts) > batch:
        raise Refusal(413, f"{len(prompts):,} prompts are more than {batch}", where="prompt", fix="send several requests")
    parsed = [_prompt(item, number) for number, item in enumerate(prompts)]
    return _completion(document, name, parsed, "cmpl-", max_tokens=16, batch=batch)


def parse_chat(document: dict[str, object], name: str, context: int, batch: int) -> CompletionRequest:
    """A request for the next message of a conversation; without max_tokens, `context` is the limit, and at most `batch` answers.

    Raises:
        Refusal: 400 where anything in it cannot be used, 413 where it asks for too many answers.
    """
    document = _given(document)
    check_names(document, CHAT_KEYS, "body")
    value = document.get("messages")
    if not isinstance(value, list) or not value:
        raise Refusal(400, "no messages", where="messages", fix='send [{"role": "user", "content": "..."}]')
    messages = [_message(item, f"messages[{number}]") for number, item in enumerate(value)]
    faults: list[str] = []
    tools = parse_tools(document.get("tools"), document.get("tool_choice"), document.get("parallel_tool_calls"), faults)
    if tools is not None and any(document.get(name) not in (None, {"type": "text"}) for name in FORMS):
        faults.append("tools: an answer that may call them has no other form; send tool_choice none, or no form")
    if faults:
        raise Refusal(400, "fields that cannot be used", where="body", faults=faults)
    limits = [document[key] for key in ("max_completion_tokens", "max_tokens") if key in document]
    if len(limits) == 2 and limits[0] != limits[1]:
        raise Refusal(
            400, "another than max_completion_tokens, which means the same", where="max_tokens", fix="send one of them"
        )
    fields = {**document, "max_tokens": limits[0] if limits else None}
    talk = Conversation(messages, tools)
    return replace(_completion(fields, name, [talk], "chatcmpl-", max_tokens=context, batch=batch), tools=tools)


def form_of(language: LanguageModel, request: CompletionRequest) -> Constraint | None:
    """What the answers must be: of the form that was asked for, or text and calls of tools.

    Raises:
        Refusal: 400 where the model's template writes no calls that are known, or arguments cannot be kept; 501 as `prepare`.
    """
    if request.tools is None:
        return request.sampling.constraint
    try:
        return language.calls(request.tools)[0]
    except BadInput as fault:
        raise Refusal(400, fault.what, where="tools", fix=fault.fix) from None
    except NotPossibleHere as fault:
        raise _not_rendered(fault) from None


def prepare(language: LanguageModel, request: CompletionRequest) -> list[Ids]:
    """The prompts as the model reads them; any thread may do it.

    Raises:
        Refusal: 400 for a prompt that cannot be used, 501 where conversations cannot be written here.
    """
    found = []
    for number, prompt in enumerate(request.prompts):
        with _refusing(language, request, number):
            found.append(_prepared(language, prompt))
    return found


def generate(
    language: LanguageModel, request: CompletionRequest, prompts: Sequence[Ids], stream: Streams
) -> Steps[PromptPiece]:
    """The worker's steps: answers to the `prompts` of `request`, one after another, a piece a step, as `stream` gives them.

    Raises:
        Refusal: 400 for settings that cannot be used.
    """
    ends = {*language.generation.eos, *request.sampling.stop_token_ids}
    for number, prompt in enumerate(prompts):
        with _refusing(language, request, number):
            for sample in range(request.n):
                sampling = replace(request.sampling, seed=(request.sampling.seed + sample) % LARGEST_SEED)
                reader = None if request.tools is None else language.reader(request.tools)
                for piece in stream(prompt, sampling):
                    if piece is None:
                        yield None
                        continue
                    likely = None if piece.ended and piece.token in ends else told(piece, language.tokenizer)
                    events: list[Event] = [Said(piece.text)] if reader is None else reader.push(piece.text)
                    events += reader.finish() if reader is not None and piece.ended else []
                    called = reader is not None and reader.complete > 0
                    if (
                        reader is not None and reader.cut and piece.ended == "stop"
                    ):  # by a stop text, and no call is complete that is cut
                        piece = replace(piece, ended="length")
                    choice, count = number * request.n + sample, len(prompt.ids)
                    yield PromptPiece(number, choice, piece, count, likely, tuple(events), called)


@contextmanager
def _refusing(language: LanguageModel, request: CompletionRequest, number: int) -> Iterator[None]:
    """What cannot be used of the prompt `number` of `request` is refused with 400, at its place in the request."""
    try:
        yield
    except BadInput as fault:
        where, fix = fault.where or ("messages" if request.chat else f"prompt[{number}]"), fault.fix
        if where in KINDS:
            where = request.form
        if language.template is not None and where == language.template.where:  # a file of the server
            where, fix = "messages", "send messages that the model's chat template takes, or a prompt to /v1/completions"
        raise Refusal(400, fault.what, where=where, fix=fix, faults=fault.faults) from None


def _prepared(language: LanguageModel, prompt: Prompt) -> Ids:
    try:
        return language.prepare(prompt)
    except NotPossibleHere as fault:  # of a conversation alone
        raise _not_rendered(fault) from None


def _not_rendered(fault: NotPossibleHere) -> Refusal:
    """The machine lacks what renders the model's chat template."""
    fix = f"have the server's owner pip install '{JINJA}', or send a prompt to /v1/completions"
    return Refusal(501, fault.what, where="messages", fix=fix)


def document(request: CompletionRequest, pieces: list[PromptPiece]) -> JsonObject:
    """The response's body."""
    choices: list[JsonValue] = []
    for number in range(len(request.prompts) * request.n):
        own = [made for made in pieces if made.choice == number]
        said = [event for made in own for event in made.events]
        message = called_message(said, request.id, number) if request.chat else None
        content: JsonObject = {"text": "".join(made.piece.text for made in own)} if message is None else {"message": message}
        choices.append(_choice(number, content, _finish(own[-1]), _logprobs(request, own)))
    return {
        **_head(request, "chat.completion" if request.chat else "text_completion"),
        "choices": choices,
        "usage": usage(pieces),
    }


async def events(request: CompletionRequest, first: PromptPiece, job: Job[PromptPiece]) -> AsyncGenerator[bytes, None]:
    """Server-sent events of the pieces, `first` and then the job's, up to the closing `[DONE]`.

    An error after the first piece is sent as an event, since the status has been sent already.
    """
    kind = "chat.completion.chunk" if request.chat else "text_completion"
    head: JsonObject = {**_head(request, kind), **({"usage": None} if request.usage else {})}
    pieces = [first]
    start = 0
    async for made in _with_first(first, job):
        new = made is first or made.choice != pieces[-1].choice
        start = 0 if new else start
        if made is not first:
            pieces.append(made)
        if new and request.chat:
            yield event({**head, "choices": [_choice(made.choice, {"delta": {"role": "assistant", "content": ""}}, None)]})
        told = _logprobs(request, [made], start)
        contents: list[JsonObject] = [{"text": made.piece.text}]
        silent = not made.piece.text
        if request.chat:
            said = deltas(made.events, request.id, made.choice)
            silent = silent or not said  # a token within the head of a call
            contents = [{"delta": delta} for delta in said or [{"content": ""}]]
        if made is first or not silent or made.piece.ended or made.likely is not None:
            for number, content in enumerate(contents):
                finish = _finish(made) if number == len(contents) - 1 else None
                yield event({**head, "choices": [_choice(made.choice, content, finish, told if number == 0 else None)]})
        start += 0 if made.likely is None else len(made.likely.text)
    if request.usage:
        yield event({**head, "choices": [], "usage": usage(pieces)})
    yield b"data: [DONE]\n\n"


def event(body: JsonObject) -> bytes:
    """`body` as one server-sent event, in ASCII alone: some clients split at U+0085 or U+2028, or take the stream for Latin-1."""
    return b"data: " + json.dumps(body, separators=(",", ":")).encode("ascii") + b"\n\n"


def usage(pieces: list[PromptPiece]) -> JsonObject:
    """Tokens of the prompts and of the answers, and guesses of the next ones, which OpenAI counts for predicted outputs."""
    read = sum({made.prompt: made.prompt_tokens for made in pieces}.values())
    generated = sum(made.piece.token is not None for made in pieces)
    drafted, accepted = sum(made.piece.drafted for made in pieces), sum(made.piece.accepted for made in pieces)
    guesses: JsonObject = {"accepted_prediction_tokens": accepted, "rejected_prediction_tokens": drafted - accepted}
    counts: JsonObject = {"prompt_tokens": read, "completion_tokens": generated, "total_tokens": read + generated}
    return {**counts, "completion_tokens_details": guesses}


def _completion(
    given: dict[str, object], name: str, prompts: list[Prompt], prefix: str, *, max_tokens: int, batch: int
) -> CompletionRequest:
    """The request with the fields that both routes share; `max_tokens`: the default, `batch`: most answers."""
    faults: list[str] = []
    n = given.get("n", 1)
    if type(n) is not int or n < 1:
        faults.append(f"n: {str(n)[:40]} is not a whole number from 1")
    elif len(prompts) * n > batch:
        raise Refusal(413, f"{len(prompts) * n:,} answers are more than {batch}", where="n", fix="send several requests")
    form = parse_form(given, faults)
    logprobs = _asked_logprobs(given, faults, chat=prefix == "chatcmpl-")
    for key, neutral in (NEUTRAL_CHAT if prefix == "chatcmpl-" else NEUTRAL_COMPLETION).items():
        value = given.get(key)
        if value is not None and not any(type(value) in (type(one), float) and value == one for one in neutral):
            faults.append(f"{key}: {str(value)[:40]} is not supported, only {' or '.join(map(repr, neutral))}")
    options = given.get("stream_options")
    for key, value in (("stream", given.get("stream")), ("stream_options.include_usage", _included(options))):
        if value is not None and not isinstance(value, bool):
            faults.append(f"{key}: {str(value)[:40]!r} is not true or false")
    if isinstance(options, dict):
        options = _given(options)
        check_names(options, ("include_usage", "include_obfuscation"), "stream_options")
        if options.get("include_obfuscation", False) is not False:
            faults.append("stream_options.include_obfuscation: only false is supported")
    elif options is not None:
        faults.append("stream_options: not an object")
    sampled = {key: given[key] for key in SAMPLED if given.get(key) is not None}
    limit = given.get("max_tokens")
    try:
        sampling = parse_sampling(
            {
                "temperature": 1.0,
                "seed": secrets.randbits(62),
                "max_new_tokens": max_tokens if limit is None else limit,
                "logprobs": logprobs,
                **sampled,
                **({} if form is None else form.settings),
            }
        )
    except BadInput as fault:
        faults += [text.replace("max_new_tokens", "max_tokens") for text in fault.faults]
    if faults:
        raise Refusal(400, "fields that cannot be used", where="body", faults=faults)
    assert isinstance(n, int), "anything else is a fault"
    return CompletionRequest(
        prefix + secrets.token_hex(12), name, prefix == "chatcmpl-", int(time.time()), prompts, n, sampling,
        "tools" if form is None else form.field, None, bool(given.get("stream")), bool(_included(options)),
    )  # fmt: skip


def _asked_logprobs(given: dict[str, object], faults: list[str], *, chat: bool) -> int | None:
    """How many of the most probable tokens are told beside each; None where nothing is."""
    asked, most = given.get("logprobs", False), given.get("top_logprobs", 0)
    if chat and not isinstance(asked, bool):
        faults.append(f"logprobs: {str(asked)[:40]} is not true or false; send how many in top_logprobs")
    count = most if chat else asked
    if asked is False:
        if chat and (type(most) is not int or most != 0):
            faults.append("top_logprobs: only where logprobs is true")
        return None
    if type(count) is not int or not 0 <= count <= MOST_LOGPROBS:
        faults.append(
            f"{'top_logprobs' if chat else 'logprobs'}: {str(count)[:40]} is not a whole number from 0 to {MOST_LOGPROBS:g}"
        )
        return None
    return count


def _finish(made: PromptPiece) -> str | None:
    """Why the answer ends with `made`: a call that was cut is none, its answer says "length"."""
    ended = made.piece.ended
    return None if ended is None else "tool_calls" if made.called and ended == "stop" else ENDED[ended]


def _logprobs(request: CompletionRequest, made: Sequence[PromptPiece], start: int = 0) -> JsonObject | None:
    """What `made`, of one answer, tells of its tokens; `start`: characters of the answer before them."""
    if request.sampling.logprobs is None:
        return None
    tokens = [one.likely for one in made if one.likely is not None]
    return chat_logprobs(tokens) if request.chat else completion_logprobs(tokens, start)


async def _with_first(first: PromptPiece, job: Job[PromptPiece]) -> AsyncGenerator[PromptPiece, None]:
    yield first
    async for made in job:
        yield made


def _given(document: dict[str, object]) -> dict[str, object]:
    """`document` without the fields that are null, which is the same as to leave them out."""
    return {key: value for key, value in document.items() if value is not None}


def _included(options: object) -> object:
    return options.get("include_usage") if isinstance(options, dict) else None


def _prompt(value: object, number: int) -> Prompt:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(type(token) is int and 0 <= token < 2**31 for token in value):
        return np.asarray(value, dtype=np.int64)
    raise Refusal(400, "neither a text nor token ids", where=f"prompt[{number}]")


def _message(given: object, where: str) -> Message:
    if not isinstance(given, dict):
        raise Refusal(400, "not an object of role and content", where=where)
    given = _given(given)
    # An answer of OpenAI's client, sent back with model_dump(), has annotations and tool_calls too
    empty = [key for key in ("annotations", "tool_calls") if given.get(key) == []]
    given = {key: value for key, value in given.items() if key not in empty}
    check_names(given, ("role", "content", "name", "tool_calls", "tool_call_id"), where)
    role, content = given.get("role"), given.get("content", "" if given.get("tool_calls") else None)
    further: dict[str, Any] = {key: given[key] for key in ("tool_calls", "tool_call_id") if key in given}
    if isinstance(content, list):
        texts = [str(part["text"]) for part in content if _is_text(part)]
        if not content or len(texts) != len(content):
            raise Refusal(
                400, "a part that is not text" if content else "no parts", where=f"{where}.content", fix="send text alone"
            )
        content = "".join(texts)
    if not isinstance(role, str) or not isinstance(content, str):
        raise Refusal(400, "role and content must be texts", where=where)
    name = given.get("name")
    if name is None:
        return {"role": role, "content": content, **further}
    if not isinstance(name, str):
        raise Refusal(400, "is not text", where=f"{where}.name")
    return {"role": role, "content": content, "name": name, **further}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and set(part) == {"type", "text"} and part["type"] == "text" and isinstance(part["text"], str)


def _head(request: CompletionRequest, kind: str) -> JsonObject:
    return {"id": request.id, "object": kind, "created": request.created, "model": request.model}


def _choice(number: int, content: JsonObject, finish: str | None, logprobs: JsonObject | None = None) -> JsonObject:
    return {"index": number, **content, "logprobs": logprobs, "finish_reason": finish}
