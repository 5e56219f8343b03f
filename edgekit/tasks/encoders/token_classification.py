"""token-classification: a tag for each word; F1 over whole entities, or the accuracy of plain tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgekit.runtime.processors.token_classification import first_tokens, word_tags
from edgekit.runtime.tags import read_scheme, scheme_fault, spans
from edgekit.tasks.losses import draw_class, hard_class, soft_class
from edgekit.tasks.reference import Ask, Reference, open_pipeline, without_space
from edgekit.tasks.task import Alone, EncoderTask

if TYPE_CHECKING:
    from edgekit.runtime.jsontypes import JsonObject, JsonValue
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK"]


def labels(row: JsonObject, windows: Sequence[Window], index: dict[str, int]) -> list[np.ndarray]:
    """A word's tag at its first token, -1 at the others: one label a word, as it is scored (Devlin et al. 2019, section 5.3)."""
    (window,) = windows
    indices = np.full(len(window.ids), -1, dtype=np.int64)
    tags = cast("list[str] | None", row["tags"])
    if tags is not None:
        wanted = np.asarray([index[tag] for tag in tags])
        first = first_tokens(window.words)
        indices[first] = wanted[window.words[first]]
    return [indices]


def rows_fault(rows: Sequence[JsonObject], labels: Sequence[str]) -> str | None:
    """Tags without the letters that end an entity, beside a model whose scheme wants them: each is known to it, and none is an entity."""
    used = sorted({tag for row in rows for tag in cast("list[str] | None", row["tags"]) or ()})
    scheme = read_scheme(labels)
    if not used or scheme.plain or scheme_fault(used) or (written := read_scheme(used)).name not in {"BIO", "IOE"}:
        return None
    if written.name == scheme.name or scheme.name == "BIO":
        return None
    return (
        f"the rows' tags are {written.name} ({', '.join(map(repr, used[:5]))}), and the model's labels are {scheme.name}, so that they hold no whole "
        f"entity; write them as {scheme.name}, or train a new head on them ([model] finetune)"
    )


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """Numbers of correct, of predicted and of true entities; of plain tags, of correct words and twice of all words.

    Words without a token (dropped by the tokenizer, or beyond the length limit) count as untagged.
    """
    ((window,),), true, scheme = inputs, cast("list[str]", row["tags"]), read_scheme(names)
    tags = word_tags(outputs[0][0], window, names, len(true))
    if scheme.plain:
        return [float(sum(map(str.__eq__, tags, true))), float(len(true)), float(len(true))]
    predicted, wanted = set(spans(tags, scheme)), set(spans(true, scheme))
    return [float(len(predicted & wanted)), float(len(predicted)), float(len(wanted))]


def answer(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> JsonObject:
    """The tag of each word."""
    ((window,),) = inputs
    tags: list[JsonValue] = [*word_tags(outputs[0][0], window, names, len(cast("list[str]", row["tokens"])))]
    return {"tags": tags}


def span_f1(evidence: np.ndarray) -> float:
    """Micro F1 of entities, 2 correct / (predicted + true), over rows (rows, 3), as seqeval's; of plain tags it is their accuracy.

    Where nothing was to be found and nothing was, all is right (seqeval's `zero_division=1`).
    """
    correct, predicted, true = evidence.sum(axis=0)
    return float(2 * correct / (predicted + true)) if predicted + true else 1.0


def tag_pipeline(folder: Path, longest: int) -> Ask:
    """transformers' token-classification pipeline: a text, or ready-made words that it gets as a text with spaces between them, -> the
    entities or tagged words in order, {"label", "start", "end", "score"} each, in characters or words.

    The pipeline gives the tag of every token, and groups those of words into entities where they are of the BIO scheme or kinds alone, the only ones
    that it knows. Which tokens begin a word is what the tokenizer says, or for ready-made words where these stand in the text: the pipeline
    itself guesses it from the tokens' spelling. White space at the ends of an entity is left out.
    """
    tag = open_pipeline("token-classification", folder, aggregation_strategy="none", ignore_labels=[])
    tag.tokenizer.model_max_length = longest  # what the pipeline cuts at
    scheme = read_scheme([tag.model.config.id2label[number] for number in sorted(tag.model.config.id2label)])

    def words_of(text: str) -> list[dict[str, Any]]:
        """The first token of each word, ending where the word does: of the tokenizer's own words where it marks pieces that do not begin
        one, else of what stands between white space, as the pipeline has it too."""
        numbers = tag.tokenizer(text, truncation=True, max_length=longest).word_ids()
        marked = getattr(tag.tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
        words: dict[int, dict[str, Any]] = {}
        for token in tag(text):
            part = text[token["start"] : token["end"]]
            first = (
                token["start"] + len(part) - len(part.lstrip()) + 1
            )  # unknown letters of several words may be one token, of the first
            number = numbers[token["index"]] if marked else len(text[:first].split()) if part.strip() else None
            if number is not None:
                words.setdefault(number, dict(token))["end"] = token["end"]
        return [words[number] for number in sorted(words)]

    def given(words: Sequence[str]) -> list[dict[str, Any]]:
        """The first token of each of `words`, with the number of the word as its place; without tokens it is outside of entities."""
        tokens, found, end = tag(" ".join(words)), [], -1
        for number, word in enumerate(words):
            start, end = end + 1, end + 1 + len(word)
            nothing = {"entity": scheme.outside, "score": 0.0}
            first = next((token for token in tokens if token["start"] < end and start < token["end"]), nothing)
            found.append({"word": word, **first, "start": number, "end": number + 1})
        return found

    def grouped(words: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if scheme.plain:
            return [{**word, "entity_group": word["entity"]} for word in words]
        if scheme.name == "IO" or (
            scheme.name == "BIO" and all(name[:2] in ("B-", "I-") or name == "O" for name in scheme.tags)
        ):
            return [group for group in tag.group_entities(words) if group["entity_group"] != scheme.outside]
        return [
            {"entity_group": kind, "start": words[first]["start"], "end": words[last - 1]["end"],
             "score": np.mean([word["score"] for word in words[first:last]])}
            for kind, first, last in spans([word["entity"] for word in words], scheme)
        ]  # fmt: skip

    def ask(item: JsonValue) -> list[dict[str, Any]]:
        text = item if isinstance(item, str) else ""
        words = words_of(text) if text else given(cast("list[str]", item))
        found = []
        for group in grouped(words):
            low, high = without_space(text, group["start"], group["end"]) if text else (group["start"], group["end"])
            if low < high:
                found.append({"label": group["entity_group"], "start": low, "end": high, "score": float(group["score"])})
        return found

    return ask


def tag_difference(ours: Mapping[str, Any], theirs: list[dict[str, Any]]) -> float:
    """Of the scores of entities or tagged words; infinite where there are others."""
    found = ours["entities"] if "entities" in ours else ours["words"]
    if [_place(one) for one in found] != [_place(one) for one in theirs]:
        return float("inf")
    return max((abs(one["score"] - other["score"]) for one, other in zip(found, theirs, strict=True)), default=0.0)


def _place(entity: Mapping[str, Any]) -> tuple[str, int, int]:
    return entity["label"], entity["start"], entity["end"]


TASK = EncoderTask(
    name="token-classification",
    title="named entities with their positions in the text, or a tag for each word",
    columns=("tokens", "tags"),
    metric="span F1",
    output="logits",
    auto="AutoModelForTokenClassification",
    per_token=True,
    items=lambda row: [row["tokens"]],
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_class,
    soft=soft_class,
    draw=draw_class,
    evidence=evidence,
    reduce=span_f1,
    alone=Alone("F1", answer, columns=("tokens",), unanswered={"tags": None}, kinds={"tokens": "split"}),
    version=1,
    rows_fault=rows_fault,
    metric_of=lambda labels: "tag accuracy" if labels and read_scheme(labels).plain else None,
    reference=Reference(
        "transformers' token-classification pipeline (every tag, and entities of BIO)", tag_pipeline, tag_difference
    ),
)
