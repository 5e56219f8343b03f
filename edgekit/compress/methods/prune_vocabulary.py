"""prune-vocabulary: the tokenizer and the embedding shrink to what the corpus and a safety set need.

Half of a small encoder is its embedding table. WordPiece matches the longest piece first, so removing pieces that the
corpus never used cannot change how the corpus is cut; single characters and short continuations stay, so a word never
seen before is still cut into pieces and not lost to [UNK].
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from edgekit.compress.method import Method, StepContext, Work, share_left
from edgekit.config.recipe import MethodSettings
from edgekit.config.search import Choice, Integers, Ranges
from edgekit.errors import BadInput, CheckFailed
from edgekit.models.facts import ModelFacts
from edgekit.models.tokens import cuts_left
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    import torch

__all__ = ["METHOD", "Settings", "kept_pieces", "run", "shrink_tokenizer"]

NAME = "prune-vocabulary"
FEWEST = 200
"""Tokens of a vocabulary below which a search leaves it as it is."""
UNUSED = re.compile(r"\[unused\d+\]")
"""BERT's reserved pieces, which no text contains."""


class Settings(MethodSettings):
    """Keep the tokens that training and validation rows use, and a safety set."""

    method: Literal["prune-vocabulary"]
    min_count: int = Field(1, ge=1)
    """Tokens used less often are dropped, unless they are in the safety set. Above 1, words of the rows may be tokenized otherwise."""
    continuation_length: int = Field(2, ge=1, le=20)
    """Continuation tokens (##...) of up to this many characters are always kept."""
    size: int | None = Field(None, ge=100)
    """Fill up to this many tokens with the others of lowest id: learned vocabularies number frequent tokens first, so words that
    training lacks but the world uses keep their own embedding. As many as there are, or more, leave every token as it is: with `rows`
    only the embedding shrinks, and a step that compares tokens with a teacher's may follow and teach back what that cost."""
    rows: int | None = Field(None, ge=100)
    """Distinct embedding rows to keep, chosen like tokens; every other token shares the nearest row (Euclidean distance)."""


def check(settings: Settings, context: StepContext) -> list[str]:
    """A tokenizer of another kind than WordPiece."""
    return _unfit(context.model.tokenizer)


def _unfit(tokenizer: str | None) -> list[str]:
    if tokenizer in (None, "WordPiece"):
        return []
    return [f"the model's vocabulary is {tokenizer}, and only WordPiece can be pruned"]


def transform(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """A model of other tokens, but where all are kept. It does not count as pruned: its layers are whole."""
    known = model.vocabulary
    if known is not None and _keeps_all(settings, len(known)) and set(known.values()) == set(range(len(known))):
        return model
    return replace(model, vocabulary=None, token_changes=(*model.token_changes, NAME))


def _keeps_all(settings: Settings, tokens: int) -> bool:
    """Whether a vocabulary of so many tokens, without those that were added to it, stays whole."""
    return settings.size is not None and settings.size >= tokens


def _tokens_of(document: dict[str, Any]) -> dict[str, int]:
    """Token -> id of a `tokenizer.json`: those of its model, and those that somebody added beyond them."""
    vocabulary: dict[str, int] = document["model"]["vocab"]
    return vocabulary | {token["content"]: token["id"] for token in document["added_tokens"]}


def kept_pieces(document: dict[str, Any], used: Iterable[tuple[str, int]], settings: Settings) -> list[str]:
    """Tokens to keep of a WordPiece `tokenizer.json`, in the order of their old ids.

    Specials and whatever else was added, single characters (digits among them), continuations up to the set length, and what was used
    often enough; all, BERT's reserved ones among them, where `size` leaves room for all.
    """
    tokens = _tokens_of(document)
    prefix = document["model"]["continuing_subword_prefix"]
    added = {token["content"] for token in document["added_tokens"]} | {document["model"]["unk_token"]}
    wanted = {piece for piece, count in used if count >= settings.min_count} | added

    def safe(piece: str) -> bool:
        if piece.startswith(prefix) and len(piece) > len(prefix):
            return len(piece) - len(prefix) <= settings.continuation_length
        return len(piece) == 1

    if _keeps_all(settings, len(document["model"]["vocab"])):
        return sorted(tokens, key=tokens.__getitem__)
    kept = {piece for piece in tokens if piece in wanted or safe(piece)}
    others = [piece for piece in sorted(tokens, key=tokens.__getitem__) if piece not in kept and not UNUSED.match(piece)]
    kept.update(others[: max(0, (settings.size or 0) - len(kept))])
    return sorted(kept, key=tokens.__getitem__)


def shrink_tokenizer(document: dict[str, Any], pieces: list[str]) -> dict[str, Any]:
    """A copy of a WordPiece `tokenizer.json` document with `pieces` as all of its tokens, renumbered from 0."""
    ids = {piece: number for number, piece in enumerate(pieces)}
    small: dict[str, Any] = json.loads(json.dumps(document))
    small["model"]["vocab"] = {piece: number for piece, number in ids.items() if piece in document["model"]["vocab"]}
    small["added_tokens"] = [{**token, "id": ids[token["content"]]} for token in small["added_tokens"]]
    small["truncation"], small["padding"] = small["truncation"] if cuts_left(small, {}) else None, None
    post = small.get("post_processor") or {}
    for name, entry in (post.get("special_tokens") or {}).items():
        entry["ids"] = [ids[name]]
    for side in ("sep", "cls"):
        if side in post:
            post[side] = [post[side][0], ids[post[side][0]]]
    return small


def run(work: Work, settings: Settings) -> JsonObject:
    """Write the checkpoint with the smaller tokenizer and embedding; returns the counts before and after.

    Raises:
        BadInput: the tokenizer is not WordPiece.
        CheckFailed: with min_count 1, a training row is cut differently than before.
    """
    import torch
    from tokenizers import Tokenizer

    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import prompts_of, read_split, texts_of

    path = work.source / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    if faults := _unfit(document["model"]["type"]):
        raise BadInput(faults[0], where=f"compress, {NAME}")
    task = find_task(work.task)
    rows_read = [row for split in ("train", "validation") for row in read_split(work.rows, split)]
    prompts = prompts_of(work.source, task)
    texts = [prompts.before() + text for row in rows_read for item in task.items(row) for text in texts_of(item)]
    before = Tokenizer.from_file(str(path))
    before.no_padding()
    before.no_truncation()
    cut = [encoding.tokens for encoding in before.encode_batch(texts)]
    used = Counter(piece for row in cut for piece in row)
    for prompt in before.encode_batch([*prompts.texts.values()]):  # any may be asked for
        used.update(dict.fromkeys(prompt.tokens, settings.min_count))
    pieces = kept_pieces(document, used.items(), settings)
    own = (
        set(kept_pieces(document, used.items(), settings.model_copy(update={"size": settings.rows})))
        if settings.rows
        else set(pieces)
    )
    small = shrink_tokenizer(document, pieces)
    after = Tokenizer.from_str(json.dumps(small))
    after.no_truncation()
    changed = sum(old != new.tokens for old, new in zip(cut, after.encode_batch(texts), strict=True))
    if changed and settings.min_count == 1:
        raise CheckFailed(f"{changed} rows are cut differently by the pruned tokenizer", where="compress, prune-vocabulary")

    model = load(work.source, task.auto)
    old = model.get_input_embeddings()
    numbers = _tokens_of(document)
    rows = torch.tensor([numbers[piece] for piece in pieces])
    embedding = torch.nn.Embedding(len(pieces), old.embedding_dim)
    embedding.weight.data.copy_(old.weight.data[rows])
    sharing = _share(embedding.weight.data, [number for number, piece in enumerate(pieces) if piece in own])
    renumbered = {number: new for new, number in enumerate(rows.tolist())}
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id"):
        number = getattr(model.config, name, None)
        if number is not None:
            setattr(model.config, name, renumbered.get(number))
    embedding.padding_idx = model.config.pad_token_id
    model.set_input_embeddings(embedding)
    model.config.vocab_size = len(pieces)
    save(model, work.out, tokenizer_files_from=work.source)
    _write(work.out / "tokenizer.json", small)
    return {
        "parameters": parameters(model),
        "vocabulary": {"before": len(numbers), "after": len(pieces)},
        "pieces_sharing_a_row": sharing,
        "rows_cut_differently": changed,
    }


def _share(table: torch.Tensor, own: list[int]) -> int:
    """Give every row of `table` (pieces, width) outside `own` the values of the nearest row inside, in place; returns how many."""
    import torch

    others = sorted(set(range(len(table))) - set(own))
    kept = table[own].clone()
    for start in range(0, len(others), 2000):
        part = others[start : start + 2000]
        table[part] = kept[torch.cdist(table[part], kept).argmin(dim=1)]
    return len(others)


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _tokens(model: ModelFacts) -> Ranges | None:
    """Tokens, and rows of the embedding that they share, of a WordPiece vocabulary of any size."""
    most = _most(model)
    return None if most is None else {"size": Integers(max(100, most // 8), most, log=True), "rows": _rows(most)}


def _shared(model: ModelFacts) -> Ranges | None:
    """Rows of the embedding that all tokens share, before a step that teaches back what that costs."""
    most = _most(model)
    return None if most is None else {"size": Choice((most,)), "rows": _rows(most)}


def _most(model: ModelFacts) -> int | None:
    known = model.vocabulary
    return len(known) if model.tokenizer == "WordPiece" and known is not None and len(known) >= FEWEST else None


def _rows(most: int) -> Integers:
    return Integers(max(100, most // 16), most, log=True)


def _leaves(settings: Settings, model: ModelFacts) -> tuple[float, float]:
    """The rows that are asked for, of which there are no more than tokens."""
    asked = [number for number in (settings.size, settings.rows) if number is not None]
    return 1.0, share_left(min(asked, default=None), None if model.vocabulary is None else len(model.vocabulary))


METHOD = Method(
    name=NAME, version=3, settings=Settings, serves=("encoder",), run=run, check=check, transform=transform,
    why="a language model has to be able to say every token",
    search={"rows": _shared, "tokens": _tokens}, leaves=_leaves,
)  # fmt: skip
