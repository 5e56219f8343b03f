"""More text for a teacher to label: words of the training rows masked, and filled by a masked language model.

Jiao et al. 2020 (TinyBERT, section 3.3 and algorithm 1): a replacement is drawn from the model's K = 15 most probable words. Here
all chosen words of a text are masked at once, so that a copy costs one forward pass, and the draw follows the model's probabilities.
Only tokens that are whole words are drawn, and never the word that was there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.compress.distillation.augment import new_rows
from edgekit.compress.distillation.words import characters
from edgekit.errors import BadInput
from edgekit.models.files import check_files, read_json
from edgekit.models.shards import open_tensors
from edgekit.models.tensor_names import named_now
from edgekit.models.view import build_model, open_config
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonValue
from edgekit.runtime.outputs import write_atomically
from edgekit.tasks.encode import batches

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

__all__ = ["filled", "filled_rows", "masked_language_model"]

CHANGED = 0.2
"""Probability that one word is masked; at least one of each text is."""
CANDIDATES = 15
WORD = re.compile(r"\w+(?:['’-]\w+)*")


def filled_rows(
    rows: list[dict[str, JsonValue]], copies: int, folder: Path, seed: int, max_length: int, scratch: Path, progress: Progress
) -> list[dict[str, JsonValue]]:
    """`copies` new unlabelled rows for each of `rows`, their texts filled by the model in `folder`; kept in `scratch`.

    Raises:
        BadInput: `folder` holds no masked language model.
    """

    def write(texts: list[str]) -> list[str]:
        kept = scratch / "filled.json"
        if not kept.is_file():
            scratch.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, json.dumps(filled(texts, copies, folder, seed, max_length, progress)))
        texts_written: list[str] = json.loads(kept.read_text(encoding="utf-8"))
        return texts_written

    return new_rows(rows, write)


def masked_language_model(folder: Path) -> PreTrainedModel:
    """The masked language model in `folder`, float32, in eval mode, with every tensor from its file.

    Raises:
        BadInput: unsafe files, an architecture without such a head, a head or other tensors that are not in the file.
    """
    import transformers

    raw, builder = check_files(folder), transformers.AutoModelForMaskedLM
    where, fix = "compress, distill, fill_model", "name a masked language model, such as the encoder that was pretrained"
    if raw.get("model_type") not in {config.model_type for config in builder._model_mapping}:
        raise BadInput(f"{folder}: architecture {raw.get('model_type')!r} fills no masks", where=where, fix=fix)
    config = open_config(folder)
    with torch.random.fork_rng(devices=[]):
        model = build_model(builder, config)
    tensors = open_tensors(folder)
    given = {named_now(name): tensors.read(name).to(torch.float32) for name in tensors.shapes}
    state = model.state_dict()
    wrong = [name for name in given if name in state and given[name].shape != state[name].shape]
    absent = model.load_state_dict(
        {name: value for name, value in given.items() if name not in wrong}, strict=False
    ).missing_keys
    loaded = {value.data_ptr() for name, value in state.items() if name not in absent}
    absent = sorted(name for name in absent if state[name].data_ptr() not in loaded)  # tied tensors stand in the file once
    if absent:
        raise BadInput(
            f"{folder} holds no head that fills masks; it would be random" if _head_alone(absent, model) else f"{folder}: missing tensors",
            where=where, faults=[f"missing tensor {name}" for name in absent[:10]], fix=fix,
        )  # fmt: skip
    return model.eval()


def filled(texts: list[str], copies: int, folder: Path, seed: int, max_length: int, progress: Progress) -> list[str]:
    """`copies` new texts for each of `texts`, copy after copy, the same for the same seed; a text without words stays as it is.

    Raises:
        BadInput: as `masked_language_model`; a tokenizer without a token for masks.
    """
    from tokenizers import Tokenizer

    model, tokenizer = masked_language_model(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    mask, number = _mask_of(folder, tokenizer)
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(max_length, (getattr(model.config, "max_position_embeddings", None) or max_length) - 2))
    generator = np.random.default_rng(seed)
    plain = [text.replace(mask, " ") for text in texts] * copies
    chosen = [_choose(text, generator) for text in plain]
    draws = [generator.random(len(spans)) for spans in chosen]
    masked = [_replaced(text, spans, [mask] * len(spans)) for text, spans in zip(plain, chosen, strict=True)]
    ids = [encoding.ids for encoding in tokenizer.encode_batch(masked)]
    expected = _expected(model, ids, number, _whole_words(tokenizer), progress)
    made = []
    for text, spans, own_draws, candidates in zip(plain, chosen, draws, expected, strict=True):
        shown = spans[: len(candidates)]  # masks beyond the longest input are not filled
        new = [_draw(text[slice(*span)], *words, draw) for span, words, draw in zip(shown, candidates, own_draws, strict=False)]
        made.append(_replaced(text, shown, new))
    return made


def _expected(
    model: PreTrainedModel, texts: list[list[int]], mask: int, words: dict[int, str], progress: Progress
) -> list[list[tuple[list[str], np.ndarray]]]:
    """For each text (token ids), for each of its masks in order: the most probable of `words` and their probabilities, float64."""
    allowed = torch.full((model.config.vocab_size,), -torch.inf)
    allowed[list(words)] = 0.0
    found: list[list[tuple[list[str], np.ndarray]]] = [[] for _ in texts]
    seen = 0
    with torch.inference_mode():
        for batch in batches([len(ids) for ids in texts], 64, None):
            longest = max(len(texts[number]) for number in batch)
            ids, shown = (torch.zeros(len(batch), longest, dtype=torch.int64) for _ in range(2))
            for row, number in enumerate(batch):
                ids[row, : len(texts[number])], shown[row, : len(texts[number])] = torch.tensor(texts[number]), 1
            rows, positions = ((ids == mask) & shown.bool()).nonzero(as_tuple=True)
            logits = model(input_ids=ids, attention_mask=shown).logits[rows, positions].float()
            best = (logits + allowed).topk(min(CANDIDATES + 1, len(words)), dim=-1)
            for row, numbers, probabilities in zip(
                rows.tolist(), best.indices.tolist(), best.values.double().softmax(-1), strict=True
            ):
                found[batch[row]].append(([words[number] for number in numbers], probabilities.numpy()))
            seen += len(batch)
            progress(seen, len(texts), f"distill: masks filled, {seen:,} of {len(texts):,} texts")
    return found


def _choose(text: str, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Spans of the words to mask, or of the characters of scripts without spaces, in order."""
    words = [(match.start(), characters(match[0])) for match in WORD.finditer(text)]
    spans = [(at + start, at + end) for at, parts in words for start, end in parts]
    if not spans:
        return []
    masked = generator.random(len(spans)) < CHANGED
    masked[generator.integers(len(spans))] = True
    return [span for span, is_masked in zip(spans, masked, strict=True) if is_masked]


def _replaced(text: str, spans: list[tuple[int, int]], new: list[str]) -> str:
    for (start, end), word in zip(reversed(spans), reversed(new), strict=True):
        text = text[:start] + word + text[end:]
    return text


def _draw(old: str, candidates: list[str], probabilities: np.ndarray, draw: float) -> str:
    """The candidate at `draw` (0 to 1) of the cumulative probabilities, `old` left out; `old` where nothing else is left."""
    others = [index for index, word in enumerate(candidates) if word.casefold() != old.casefold()][:CANDIDATES]
    if not others:
        return old
    total = np.cumsum(probabilities[others])
    return candidates[others[min(int(np.searchsorted(total, draw * total[-1], side="right")), len(others) - 1)]]


def _whole_words(tokenizer: Tokenizer) -> dict[int, str]:
    """Tokens of a vocabulary that are a whole word, by id: those that begin a word and hold only letters and digits."""
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=False)
    marks = [mark for mark in ("Ġ", "▁") if sum(piece.startswith(mark) for piece in vocabulary) > len(vocabulary) // 10]
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    found = {}
    for piece, number in vocabulary.items():
        begins = piece.startswith(marks[0]) if marks else not piece.startswith("##")
        word = (tokenizer.decode([number]) if marks else piece).strip()
        if begins and word.isalnum() and piece not in special:
            found[number] = word
    return found


def _mask_of(folder: Path, tokenizer: Tokenizer) -> tuple[str, int]:
    """The mask token and its id."""
    path = folder / "tokenizer_config.json"
    given = read_json(path).get("mask_token") if path.is_file() else None
    mask = given["content"] if isinstance(given, dict) else given
    number = tokenizer.token_to_id(mask) if mask else None
    if number is None:
        raise BadInput(
            f"{folder}: its tokenizer names no mask_token", where="compress, distill, fill_model",
            fix="name a masked language model with its own tokenizer",
        )  # fmt: skip
    return str(mask), int(number)


def _head_alone(absent: list[str], model: PreTrainedModel) -> bool:
    return not any(name.startswith(f"{model.base_model_prefix}.") for name in absent)
