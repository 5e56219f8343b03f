"""text-generation: what comes next in a text.

The metric is 1/perplexity, the geometric mean of the probabilities that the model gave to the tokens that came. It is between 0
and 1, higher is better, and it is compared in points like every other metric here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from edgekit.runtime.errors import BadInput
from edgekit.tasks.losses import hard_class, soft_class
from edgekit.tasks.reference import Ask, Reference
from edgekit.tasks.task import DecoderTask

if TYPE_CHECKING:
    from edgekit.runtime.generate.chat import Message
    from edgekit.runtime.jsontypes import JsonObject, JsonValue
    from edgekit.runtime.model import Model
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK"]

CONTINUED = 4
"""Tokens that short texts are continued by when answers are compared with the library's."""
SHORT = 24
"""Characters of a text that is continued."""


def labels(row: JsonObject, windows: Sequence[Window], index: dict[str, int]) -> list[np.ndarray]:
    """The token after each token; -1 after the last."""
    return [np.append(window.ids[1:], -1) for window in windows]


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """Sum of the log-probabilities of a text's tokens after the first, and their number.

    `outputs` holds these log-probabilities (1, tokens - 1), as a device gives them, or a training model's logits
    (1, tokens, vocabulary).
    """
    ((window,),), (output,) = inputs, outputs
    if output.ndim == 3:
        logits = output[0, :-1].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        log_probabilities = logits[np.arange(len(logits)), window.ids[1:]] - np.log(np.exp(logits).sum(axis=-1))
    else:
        log_probabilities = output[0].astype(np.float64)
    return [float(log_probabilities.sum()), float(len(log_probabilities))]


def mean_probability(evidence: np.ndarray) -> float:
    """exp(sum of log-probabilities / tokens) over rows (rows, 2)."""
    total, tokens = evidence.sum(axis=0)
    return float(np.exp(total / tokens))


@dataclass(frozen=True)
class Read:
    """What a model makes of a text: its tokens, and what it thinks of them and of those that follow."""

    ids: list[int]
    log_probabilities: np.ndarray
    """Of each token after the first, float64 (n - 1,)."""
    following: list[int]
    """Greedy tokens after a short text."""
    logits: np.ndarray | None = None
    """Of each of these, float32 (tokens, vocabulary), after all that the model's files ask for; the library's alone."""


def causal_model(folder: Path, longest: int) -> Ask:
    """transformers' tokenizer, chat template, model and greedy `generate`: a text -> `Read`, a conversation -> its ids, None where
    there is no template or it refuses the conversation."""
    import torch
    from jinja2 import TemplateError, TemplateSyntaxError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32
    ).eval()
    greedy = GenerationConfig(
        do_sample=False, max_new_tokens=CONTINUED, eos_token_id=model.generation_config.eos_token_id, pad_token_id=0, output_scores=True,
        return_dict_in_generate=True,
    )  # fmt: skip

    def ask(item: JsonValue) -> Read | list[int] | None:
        if isinstance(item, dict):
            try:
                rendered = tokenizer.apply_chat_template(item["messages"], tokenize=False, add_generation_prompt=True)
            except TemplateSyntaxError:  # no conversation is written, and that is no answer
                raise
            except (TemplateError, ValueError):
                return None
            found: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
            return found
        ids = tokenizer(item, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            probable = torch.log_softmax(model(input_ids=ids).logits[0].double(), dim=-1)
        scores = probable[:-1].gather(1, ids[0, 1:, None])[:, 0].numpy()
        if len(str(item)) > SHORT:
            return Read(ids[0].tolist(), scores, [])
        with torch.inference_mode():
            made = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        following = made.sequences[0, ids.shape[1] :].tolist()
        return Read(ids[0].tolist(), scores, following, torch.cat(made.scores).float().numpy())

    return ask


def read_by(model: Model, item: JsonValue) -> Read | list[int] | None:
    """The same of a loaded bundle.

    Raises:
        BadInput: a text that cannot be used.
    """
    from edgekit.runtime.generate.sample import Sampling

    language = model.language
    assert language is not None, "a bundle of this task has a language model"
    if isinstance(item, dict):
        try:
            return [int(number) for number in language.encode(cast("list[Message]", item["messages"]))]
        except BadInput:
            return None
    ids = language.encode(str(item))
    scores = language.score(ids) if len(ids) > 1 else np.empty(0)
    short = len(str(item)) <= SHORT
    following = language.generate(str(item), Sampling(max_new_tokens=CONTINUED)).tokens if short else ()
    return Read(ids.tolist(), scores, list(following))


def reading_difference(ours: Read | list[int] | None, theirs: Read | list[int] | None) -> float:
    """Of log-probabilities; where another token follows, how much less the library thinks of it than of its own. Infinite for other ids."""
    if not isinstance(ours, Read) or not isinstance(theirs, Read):
        return 0.0 if ours == theirs else float("inf")
    if ours.ids != theirs.ids:
        return float("inf")
    largest = float(np.abs(ours.log_probabilities - theirs.log_probabilities).max(initial=0.0))
    for number, (mine, other) in enumerate(zip(ours.following, theirs.following, strict=False)):
        if mine != other:
            assert theirs.logits is not None, "what follows comes with its logits"
            return max(largest, float(theirs.logits[number].max() - theirs.logits[number, mine]))
    return largest


def texts_and_conversations(texts: Sequence[str], pairs: bool) -> list[JsonValue]:
    """The texts, and conversations of them: one question, an answer and another question, instructions before it."""
    first, answer, second = (
        {"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), texts, strict=False)
    )
    said = [[first], [first, answer, second], [{"role": "system", "content": texts[-1]}, first]]
    return [*texts, *({"messages": cast("JsonValue", messages)} for messages in said)]


TASK = DecoderTask(
    name="text-generation",
    title="the text that follows a text",
    columns=("text",),
    metric="1/perplexity",
    output="logits",
    auto="AutoModelForCausalLM",
    items=lambda row: [row["text"]],
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_class,
    soft=soft_class,
    evidence=evidence,
    reduce=mean_probability,
    reference=Reference(
        "transformers' tokenizer, model and greedy generate, and of its chat template where there is one",
        causal_model,
        reading_difference,
        read_by,
        texts_and_conversations,
    ),
)
