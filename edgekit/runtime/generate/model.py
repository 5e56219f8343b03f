"""Generation with a language model: prompts are read row by row, tokens generated for all rows together, text given as it comes."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError
from edgekit.runtime.generate.answer import Answer, Call, Ids, Piece, Row, whole
from edgekit.runtime.generate.cache import PREFIX_BYTES, Cache, Prefixes, common, rounded
from edgekit.runtime.generate.calls import CallReader, joined
from edgekit.runtime.generate.chat import Conversation, Message, Template, load_template
from edgekit.runtime.generate.constraint import Constraint
from edgekit.runtime.generate.generation import Generation
from edgekit.runtime.generate.graph import Graph, check_graph
from edgekit.runtime.generate.guide import Guides
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.generate.speculate import Reader, Speculation
from edgekit.runtime.generate.tools import Tools, constraint_of, parse_tools, texts_in
from edgekit.runtime.providers.cuda import Replayed
from edgekit.runtime.providers.session import Session
from edgekit.runtime.tokenise import checked, encoded, read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["LanguageModel", "Prompt", "as_prompt", "language_model"]

Prompt = str | Sequence[Message] | Conversation | np.ndarray
"""A text, a conversation for the model's chat template, with tools or without, or token ids int64 (n,)."""
GREEDY = Sampling()
PADDING = 1024
"""Most rows of an embedding beyond the tokenizer's tokens, which are padding; published models have up to 905."""
SCORE_BYTES = 32 * 1024**2
"""Bytes of the logits of one chunk when texts are scored."""


@dataclass(frozen=True)
class LanguageModel:
    """A decoder with its tokenizer.

    An answer depends on the prompt, the sampling settings and its row number, not on what was asked before. Other rows of its batch
    affect it by rounding alone, except in a graph with dynamic INT8, which finds its activation ranges over all tokens of a run.
    """

    graph: Graph
    tokenizer: Tokenizer
    tokens: int
    """Number of ids that tokenizer and model both have; ids from there on are never chosen."""
    generation: Generation
    guides: Guides
    template: Template | None = None
    prefixes: Prefixes = field(default_factory=Prefixes)
    speculation: Speculation | None = None
    """What reads guesses of the next tokens with each one, which changes no answer; None: nothing does."""

    def encode(self, prompt: Prompt) -> np.ndarray:
        """Token ids int64 (n,) of a prompt: a text with the tokenizer's own special tokens, a conversation with the template's.

        Raises:
            BadInput: an empty prompt, text that cannot be used, a conversation without a template, or ids out of range.
        """
        if isinstance(prompt, np.ndarray):
            if prompt.dtype != np.int64 or prompt.ndim != 1:
                raise BadInput(f"token ids must be int64 of shape (n,), not {prompt.dtype} {prompt.shape}")
            ids = prompt
        elif isinstance(prompt, list | tuple | Conversation):
            talk = prompt if isinstance(prompt, Conversation) else Conversation(prompt)
            ids = np.asarray(encoded(self.tokenizer, self._rendered(talk), add_special_tokens=False).ids, dtype=np.int64)
        else:
            ids = np.asarray(encoded(self.tokenizer, checked(prompt)).ids, dtype=np.int64)
        if not len(ids):
            raise BadInput("the prompt is empty: no tokens are left of it", fix="give at least one word")
        if ids.min() < 0 or ids.max() >= self.graph.vocabulary:
            token = self.tokenizer.id_to_token(int(ids.max())) if ids.max() > 0 else None
            raise BadInput(
                f"token ids from {ids.min()} to {ids.max()} leave the vocabulary of {self.graph.vocabulary}",
                fix=f"leave {token!r} out, which this model does not read" if token else "",
            )
        return ids

    def _rendered(self, talk: Conversation) -> str:
        if self.template is None:
            raise BadInput("this model has no chat template", fix="give a text (--raw)")
        prompt = self.template.prompt(talk.messages, tools=talk.tools)
        parts: list[tuple[str, object]] = [
            (f"message {number}", [message["role"], message.get("name", ""), message["content"], message.get("tool_calls", [])])
            for number, message in enumerate(talk.messages)
        ]
        parts += [("tools", [*talk.tools.documents])] if talk.tools is not None else []
        # In all texts at once: thousands of control tokens in thousands of messages would take minutes one by one
        whole = "\0".join(text for _, part in parts for text in texts_in(part))
        special = {token.content for token in self.tokenizer.get_added_tokens_decoder().values() if token.special}
        if told := {name for name in special if name in whole}:
            for where, part in parts:
                if held := sorted(name for name in told for text in texts_in(part) if name in text):
                    raise BadInput(f"{where} holds the control token {held[0]!r}, which the model would obey")
        return prompt

    def calls(self, tools: Tools) -> tuple[Constraint, CallReader]:
        """(what an answer must be that may, or must, call `tools`, what reads the calls out of it), in the form of the model's template.

        Raises:
            BadInput: a template that reads no tools, or another form of calls than those that are known; arguments that cannot be kept.
            NotPossibleHere: the template cannot be rendered here.
        """
        if self.template is None:
            raise BadInput("this model has no chat template", where="tools", fix="leave them out")
        return constraint_of(tools, self.template.form(), self.tokenizer), self.reader(tools)

    def reader(self, tools: Tools) -> CallReader:
        """What reads the calls out of an answer that may call `tools`.

        Raises:
            BadInput, NotPossibleHere: as `calls`, but of arguments.
        """
        if self.template is None:
            raise BadInput("this model has no chat template", where="tools", fix="leave them out")
        return CallReader(self.template.form(), tools.callable, auto=tools.choice == "auto")

    def stream(self, prompt: Prompt | Ids, sampling: Sampling = GREEDY) -> Generator[Piece, None, None]:
        """The answer, a piece a token: a continuation of a text or ids, or the next message of a conversation; `Ids` as `prepare` gives them.

        The last piece, and only it, says why the answer ended. Ctrl-C ends it as "interrupted".

        Raises:
            BadInput: a prompt that cannot be used or that leaves no room in the context.
            CheckFailed: the model gave NaN or Inf.
        """
        for _, piece in self._pieces([self.prepare(prompt)], sampling):
            yield piece

    @overload
    def generate(self, prompts: str | np.ndarray, sampling: Sampling = GREEDY) -> Answer: ...
    @overload
    def generate(self, prompts: list[Prompt], sampling: Sampling = GREEDY) -> list[Answer]: ...
    def generate(self, prompts: str | np.ndarray | list[Prompt], sampling: Sampling = GREEDY) -> Answer | list[Answer]:
        """The whole answer to a text or ids; for a list of prompts of any kind the list of answers, generated together.

        Raises:
            BadInput, CheckFailed: as `stream`; one prompt that cannot be used refuses the whole batch.
        """
        batch: list[Prompt] = prompts if isinstance(prompts, list) else [prompts]
        rows = [self.prepare(prompt) for prompt in batch]
        if not rows:
            raise BadInput("no prompt given")
        pieces: list[list[Piece]] = [[] for _ in rows]
        try:
            for number, piece in self._pieces(rows, sampling):
                pieces[number].append(piece)
        except KeyboardInterrupt:  # it came between two pieces; `whole` makes the answers "interrupted"
            pass
        answers = [whole(own, len(row.ids)) for own, row in zip(pieces, rows, strict=True)]
        return answers if isinstance(prompts, list) else answers[0]

    def answer(self, item: object, sampling: Sampling = GREEDY) -> Answer:
        """The answer to a text, taken as a user's message where there is a chat template, or to {"messages": [...]}.

        Raises:
            BadInput, CheckFailed: as `stream`.
        """
        prompt = as_prompt(item, chat=self.template is not None)
        (answer,) = self.generate([prompt], sampling)
        return self.with_calls(answer, prompt)

    def with_calls(self, answer: Answer, prompt: Prompt) -> Answer:
        """`answer` to `prompt`, with the calls of tools read out of its text."""
        if not isinstance(prompt, Conversation) or prompt.tools is None:
            return answer
        reader = self.reader(prompt.tools)
        text, calls = joined([*reader.push(answer.text), *reader.finish()])
        ended = "length" if reader.cut and answer.ended == "stop" else answer.ended  # a stop text that stands in a call cuts it
        return replace(answer, text=text, ended=ended, calls=tuple(Call(name, arguments) for name, arguments in calls))

    def score(self, ids: np.ndarray) -> np.ndarray:
        """Natural logarithm of the probability of each of `ids` int64 (n,) after the first, float64 (n - 1,), given those before.

        It starts with an empty cache, so that the result does not depend on earlier prompts.

        Raises:
            BadInput, CheckFailed: as `forced`.
        """
        return self.forced(ids)[0]

    def forced(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Teacher forcing: (`score` of `ids`, the most probable token at each of its positions, int64 (n - 1,)).

        Raises:
            BadInput: fewer than two ids, more than the context, or ids out of range.
            CheckFailed: the model gave NaN or Inf.
        """
        ids = self.encode(ids)
        self._fits(ids, 0)
        if len(ids) < 2:
            raise BadInput("one token has none before it that could predict it", fix="give at least two tokens")
        cache = self.graph.empty(1, len(ids))
        step = max(1, min(self.graph.block, SCORE_BYTES // (4 * self.graph.vocabulary)))
        values, likeliest = [], np.empty(len(ids) - 1, dtype=np.int64)
        for start in range(0, len(ids) - 1, step):
            read = ids[start : min(start + step, len(ids) - 1)]
            logits = self.graph.run(read[None], cache, keep=len(read))[0]
            wanted = ids[start + 1 : start + 1 + len(read)]
            values += [_log_probability(row, token) for row, token in zip(logits, wanted, strict=True)]
            likeliest[start : start + len(read)] = logits[:, : self.tokens].argmax(axis=-1)
        scores = np.asarray(values, dtype=np.float64)
        if not np.isfinite(scores).all():
            raise CheckFailed("the model gave NaN or Inf instead of logits")
        return scores, likeliest

    def prepare(self, prompt: Prompt | Ids) -> Ids:
        """`prompt` as the model reads it; any thread may call it.

        Raises:
            BadInput: as `encode`, or a prompt that leaves no room in the context, or tools that cannot be called.
        """
        if isinstance(prompt, Ids):
            return prompt
        ids = self.encode(prompt)
        self._fits(ids, 1)
        tools = prompt.tools if isinstance(prompt, Conversation) else None
        constraint = None if tools is None else self.calls(tools)[0]
        return Ids(ids, goes_on=not isinstance(prompt, list | tuple | Conversation), constraint=constraint)

    def row(self, prompt: Ids, sampling: Sampling, number: int = 0, *, context: int | None = None) -> Row:
        """The answer to `prompt` that is to be generated, row `number` of its batch; `context`: most tokens of both, the model's where it is None.

        Raises:
            BadInput, NotPossibleHere: settings or a constraint that cannot be used.
        """
        if not isinstance(sampling, Sampling):
            raise BadInput(
                f"sampling settings are no {type(sampling).__name__}",
                where="sampling",
                fix="give Sampling(temperature=0.8), or leave it out",
            )
        if prompt.constraint is not None and sampling.constraint is not None:
            what = "an answer that may call tools has no other form"
            raise BadInput(what, where=sampling.constraint.kind, fix="leave the form or the tools out")
        for name, ids in (("stop_token_ids", sampling.stop_token_ids), ("logit_bias", [key for key, _ in sampling.logit_bias])):
            if (unknown := max(ids, default=0)) >= self.tokens:
                raise BadInput(
                    f"{name}: {unknown} is not among the {self.tokens} token ids that the model can give", where="sampling"
                )
        generation = self.generation if context is None else replace(self.generation, context=context)
        return Row(
            number, prompt, sampling, tokenizer=self.tokenizer, tokens=self.tokens, generation=generation, guides=self.guides
        )

    def _fits(self, ids: np.ndarray, room: int) -> None:
        if len(ids) + room > self.generation.context:
            problem = "leave no room for an answer in" if len(ids) == self.generation.context else "are more than"
            raise BadInput(
                f"the prompt's {len(ids)} tokens {problem} the context of {self.generation.context}",
                fix=f"shorten it, to {self.generation.context - room} tokens at most"
                + (", or fewer, for a longer answer" if room else ""),
            )

    def _pieces(self, prompts: list[Ids], sampling: Sampling) -> Generator[tuple[int, Piece], None, None]:
        """(row, piece) as they are generated; rows that have ended leave the batch."""
        rows = [self.row(prompt, sampling, number) for number, prompt in enumerate(prompts)]
        cache = self._cache(rows)
        active = list(rows)
        reader: Reader | None = None
        try:
            logits = np.stack([self._read(prompts[: number + 1], cache) for number in range(len(rows))])
            if self.speculation is not None and self.speculation.fault is None and len(rows) == 1:
                reader = Reader(self.speculation, rows[0].ids, rows[0].limit, cache, drawn=rows[0].drawn)
            while True:
                for row, scores in zip(active, logits, strict=True):
                    piece = row.push(scores)
                    if reader is not None and (reader.drafted or reader.accepted):
                        piece = replace(piece, drafted=reader.drafted, accepted=reader.accepted)
                    yield row.number, piece
                for index in reversed([index for index, row in enumerate(active) if row.over]):
                    last = active.pop()
                    if index < len(active):  # the last row takes its index
                        active[index] = last
                        cache.take(index, cache, len(active), int(cache.lengths[len(active)]))
                if not active:
                    return
                cache = cache.rows(0, len(active))
                certain = active[0].certain if len(active) == 1 else []
                if not certain:
                    logits = reader.logits()[None] if reader is not None else self.graph.run(_last(active), cache)[:, 0]
                    continue
                row = active[0]  # what must come next is read in one run, which several tokens of one row can be
                keep = 1 + len(certain) if row.tells else 1
                tokens = np.array([[row.ids[-1], *certain]])
                read = (self.graph.run(tokens, cache, keep) if reader is None else reader.read(tokens, keep))[0]
                for position in range(len(certain)):
                    yield row.number, row.push(read[position] if row.tells else None)
                    if row.over:
                        return
                logits = read[-1:]
        except KeyboardInterrupt:
            for row in active:
                if not row.over:
                    yield row.number, row.interrupt()
        except EdgekitError:
            cache.lengths[:] = 0  # a cache after NaN or Inf is not kept
            raise
        finally:
            if reader is not None:
                reader.close()
            if len(rows) == 1:
                self.prefixes.keep(prompts[0].ids, cache, self.graph.block)

    def _cache(self, rows: list[Row]) -> Cache:
        """A cache with room for prompts and answers; for one prompt an earlier one whose tokens are a prefix of it, if there is any."""
        capacity = rounded(max(row.limit for row in rows), self.generation.context)
        claimed = self.prefixes.claim(np.array(rows[0].ids), capacity, self.graph.block) if len(rows) == 1 else None
        return claimed or self.graph.empty(len(rows), capacity)

    def _read(self, prompts: list[Ids], cache: Cache) -> np.ndarray:
        """Logits float32 (vocabulary,) after the last of `prompts`, which is read into its row of `cache` after its longest known prefix."""
        ids, number = prompts[-1].ids, len(prompts) - 1
        if not cache.lengths[number]:
            self.prefixes.begin(ids, cache, self.graph.block, number)
        for other, before in enumerate(prompts[:-1]):
            shared = self.graph.whole_blocks(min(common(before.ids, ids), len(ids) - 1))
            if shared > cache.lengths[number]:
                cache.take(number, cache, other, shared)
        return self.graph.read(ids, cache.rows(number, number + 1))


def language_model(
    session: Session, generation: Generation, tokenizer: Path, template: Path | None = None, *, prefix_bytes: int = PREFIX_BYTES
) -> LanguageModel:
    """The language model of an open session, a `tokenizer.json` and, for conversations, a chat template's file.

    `prefix_bytes`: bytes of caches of earlier prompts and answers that are kept for prompts with the same prefix.

    Raises:
        BadInput: a graph, a tokenizer or a template that cannot be used or belongs to another model.
    """
    graph = check_graph(session, generation)
    if any(item.name == "start" for item in session.get_inputs()):  # lowered for a GPU
        from edgekit.runtime.generate.device import on_device

        graph = on_device(graph, session.device if isinstance(session, Replayed) else "cpu")
    loaded = read_tokenizer(tokenizer)
    loaded.no_padding()
    loaded.no_truncation()
    size, vocabulary = max(loaded.get_vocab().values(), default=-1) + 1, graph.vocabulary
    if size + PADDING < vocabulary:
        raise BadInput(
            f"the model's vocabulary of {vocabulary} is far more than the tokenizer's {size} token ids", where=str(tokenizer),
            fix="use the tokenizer that the model was trained with",
        )  # fmt: skip
    known = min(size, vocabulary)  # a token beyond the embedding, as Gemma 3's for images, is refused where a prompt holds it
    unknown = [number for number in (*generation.eos, generation.bos) if number is not None and number >= known]
    if unknown:
        raise BadInput(
            f"eos or bos {unknown[0]} is not among the {known} token ids of tokenizer and model", where="edgekit.generation"
        )
    chat = load_template(template, _template_tokens(generation, loaded)) if template is not None else None
    guides = Guides(loaded, known, generation.eos)
    return LanguageModel(graph, loaded, known, generation, guides, chat, Prefixes(prefix_bytes))


def _template_tokens(generation: Generation, tokenizer: Tokenizer) -> Mapping[str, str]:
    """The tokens that a chat template may name."""
    if generation.special_tokens is not None:
        return generation.special_tokens
    names = {"bos_token": generation.bos, "eos_token": generation.eos[0] if generation.eos else None}
    return {name: str(tokenizer.id_to_token(number)) for name, number in names.items() if number is not None}


def as_prompt(item: object, *, chat: bool) -> Prompt:
    """The prompt in `item`: {"messages": [...]}, perhaps with tools, tool_choice and parallel_tool_calls as OpenAI's API has them, or a text, which
    is a user's message if `chat`.

    Raises:
        BadInput: another object.
    """
    if isinstance(item, dict):
        if "documents" in item:
            raise BadInput(
                "a conversation with documents, which this runtime does not read: answers would be others than the model's own",
                fix="leave them out, or render the prompt yourself and give it as a text (on the command line, --raw)",
            )
        if set(item) - {"tools", "tool_choice", "parallel_tool_calls"} != {"messages"}:
            raise BadInput(
                f"not a conversation: {', '.join(map(repr, item))}",
                fix='give {"messages": [...]}; on the command line, --raw takes it as text',
            )
        messages: list[Message] = item["messages"]
        faults: list[str] = []
        tools = parse_tools(item.get("tools"), item.get("tool_choice"), item.get("parallel_tool_calls"), faults)
        if faults:
            raise BadInput("tools that cannot be used", faults=faults)
        return messages if tools is None else Conversation(messages, tools)
    return [{"role": "user", "content": checked(item)}] if chat else checked(item)


def _last(rows: Sequence[Row]) -> np.ndarray:
    """The last id of each, int64 (rows, 1)."""
    return np.array([row.ids[-1:] for row in rows], dtype=np.int64)


def _log_probability(logits: np.ndarray, token: int) -> float:
    """Logarithm of the softmax of float32 `logits` at `token`: exponentials in float32, as the logits are, summed in float64."""
    top = logits.max()
    return float(np.float64(logits[token]) - np.float64(top) - np.log(np.exp(logits - top).sum(dtype=np.float64)))
