"""An original model trained on the labels of the recipe's rows: a small BERT or Llama from nothing, or a new head on an encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.config.recipe import Finetune, NewModel
from edgekit.errors import BadInput
from edgekit.progress import Progress
from edgekit.tasks import Task, find_task
from edgekit.tasks.encode import encode, labels_of, read_split, texts_of

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["VERSION", "finetune", "labels_in", "learn_vocabulary", "mark_pairs", "pairs_in", "train"]

VERSION = 2
LETTERS = "".join(map(chr, range(33, 127)))
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def learn_vocabulary(texts: list[str], size: int, out: Path) -> int:
    """Write a WordPiece `tokenizer.json` with at most `size` pieces learned from `texts`; returns the number of pieces."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    # The trainer numbers inner pieces ("##a") in the order of a hash map, which differs from process to process, and breaks
    # ties by these numbers. Naming them all beforehand fixes the order; it also keeps letters that no text has inside a word.
    letters = sorted({letter for text in texts for letter in tokenizer.normalizer.normalize_str(text)} | set(LETTERS))
    inner = [f"##{letter}" for letter in letters if not letter.isspace()]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[*SPECIALS, *inner], initial_alphabet=list(LETTERS), show_progress=False
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] in SPECIALS]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    tokenizer.save(str(out / "tokenizer.json"))
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "unk_token": "[UNK]", "sep_token": "[SEP]"}
    config |= {"pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
    return int(tokenizer.get_vocab_size())


def train(
    rows: Path, out: Path, scratch: Path, *, task: str, new: NewModel, max_length: int, seed: int, progress: Progress
) -> dict[str, Any]:
    """Learn a vocabulary, then train the model from random weights; writes a checkpoint to `out`, returns the history.

    Raises:
        BadInput: the task's rows do not say what to learn.
    """
    import torch
    import transformers

    from edgekit.models.checkpoint import save

    kind = _supervised(task, "new")
    labels = labels_in(rows)
    texts = [text for row in read_split(rows, "train") for item in kind.items(row) for text in texts_of(item)]
    plan = {"epochs": new.epochs, "batch": new.batch, "learning_rate": new.learning_rate}
    if kind.kind == "decoder":
        from edgekit.train.new_decoder import learn_bytes, new_llama

        size = learn_bytes(texts, new.vocabulary, scratch)
        torch.manual_seed(seed)
        llama = new_llama(new, size, max_length)
        save(llama, scratch / "start", tokenizer_files_from=scratch)
        return _fit(llama, kind, scratch / "start", rows, out, scratch, plan, max_length, seed, progress)
    size = learn_vocabulary(texts, new.vocabulary, scratch)
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=size,
        hidden_size=new.width,
        num_hidden_layers=new.layers,
        num_attention_heads=new.heads,
        intermediate_size=new.neurons,
        max_position_embeddings=max_length,
        type_vocab_size=2 if kind.pairs or pairs_in(rows) else 1,
        **(
            {"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}
            if kind.named
            else {}
        ),
    )
    mark_pairs(config, pairs_in(rows))
    model = getattr(transformers, kind.auto).from_config(config)
    save(model, scratch / "start", tokenizer_files_from=scratch)
    return _fit(model, kind, scratch / "start", rows, out, scratch, plan, max_length, seed, progress)


def finetune(
    source: str | Path, rows: Path, out: Path, scratch: Path, *, task: str, settings: Finetune, max_length: int, seed: int,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Put a fresh head on the encoder `source` and train all of it; writes a checkpoint to `out`, returns the history.

    Raises:
        BadInput: the task's rows do not say what to learn, or the encoder cannot be used.
    """
    from edgekit.models.checkpoint import load, save

    kind = _supervised(task, "finetune")
    model = load(source, kind.auto, new_head=labels_in(rows) if kind.named else [])
    mark_pairs(model.config, pairs_in(rows))
    save(model, scratch / "start", tokenizer_files_from=Path(model.config.name_or_path))
    return _fit(model, kind, scratch / "start", rows, out, scratch, settings.model_dump(), max_length, seed, progress)


def labels_in(rows: Path) -> list[str]:
    """Labels of a rows artifact, sorted; none where the task has none."""
    found: list[str] = json.loads((rows / "data.json").read_text(encoding="utf-8")).get("labels", [])
    return found


def pairs_in(rows: Path) -> bool:
    """Whether rows of a rows artifact have a second text."""
    return "text_pair" in json.loads((rows / "data.json").read_text(encoding="utf-8")).get("columns", [])


def mark_pairs(config: Any, pairs: bool) -> None:
    """Say in a model's configuration whether it reads pairs of texts; one that never did says nothing."""
    if pairs or hasattr(config, "text_pairs"):
        config.text_pairs = pairs


def _supervised(task: str, table: str) -> Task:
    kind = find_task(task)
    if not kind.supervised:
        raise BadInput(
            f"rows of {task} do not say what to learn", where=f"model, {table}", fix="name a trained model with `id`"
        )
    return kind


def _fit(
    model: Any, kind: Task, start: Path, rows: Path, out: Path, scratch: Path, plan: dict[str, Any], max_length: int, seed: int,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip

    from edgekit.models.checkpoint import parameters, save
    from edgekit.train.loop import Plan, fit, quality_of

    data = {split: read_split(rows, split) for split in ("train", "validation")}
    encoded = {split: encode(start, data[split], kind, max_length) for split in data}
    labels = labels_of(start) if kind.named else []

    def loss(model: Any, _: Any, feed: dict[str, torch.Tensor], passes: np.ndarray) -> torch.Tensor:
        mask = feed["attention_mask"]
        wanted = encoded["train"].wanted(passes).to(mask.device)
        return kind.hard(kind.tensor(model, model(**feed), mask).float(), wanted, mask).mean()

    def evaluate(model: Any) -> float:
        return quality_of(model, kind, encoded["validation"], data["validation"], labels)

    history = fit(
        model, encoded["train"], loss, evaluate, Plan(**plan),
        seed=seed, scratch=scratch / "epochs", progress=progress, label="train",
    )  # fmt: skip
    save(model, out, tokenizer_files_from=start)
    return {"parameters": parameters(model), "validation": history["quality"][history["best_epoch"] - 1], "history": history}
