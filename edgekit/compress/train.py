"""An original model from nothing: a small BERT with its own WordPiece vocabulary, trained on the recipe's rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.compress.method import Progress
from edgekit.recipe import NewModel

__all__ = ["VERSION", "learn_vocabulary", "train"]

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
    """Learn a vocabulary, then train the model from random weights; writes a checkpoint to `out`, returns the history."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from edgekit.compress.training import Plan, fit, quality_of
    from edgekit.models.checkpoint import parameters, save
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import encode, read_split, texts_of

    kind = find_task(task)
    data = {split: read_split(rows, split) for split in ("train", "validation")}
    labels = json.loads((rows / "data.json").read_text(encoding="utf-8"))["labels"]
    size = learn_vocabulary(
        [text for row in data["train"] for item in kind.items(row) for text in texts_of(item)], new.vocabulary, scratch
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=size,
        hidden_size=new.width,
        num_hidden_layers=new.layers,
        num_attention_heads=new.heads,
        intermediate_size=new.neurons,
        max_position_embeddings=max_length,
        type_vocab_size=1,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    model = BertForSequenceClassification(config)
    model.config.to_json_file(scratch / "config.json")
    encoded = {split: encode(scratch, data[split], kind, max_length) for split in data}

    def loss(model: Any, _: Any, feed: Any, passes: Any) -> Any:
        mask = feed["attention_mask"]
        wanted = encoded["train"].wanted(passes).to(mask.device)
        return kind.hard(kind.tensor(model, model(**feed), mask), wanted, mask).mean()

    def evaluate(model: Any) -> float:
        return quality_of(model, kind, encoded["validation"], data["validation"], labels)

    plan = Plan(new.epochs, new.batch, new.learning_rate)
    history = fit(
        model, encoded["train"], loss, evaluate, plan, seed=seed, scratch=scratch / "epochs", progress=progress, label="train"
    )
    save(model, out, tokenizer_files_from=scratch)
    return {"parameters": parameters(model), "validation": history["quality"][history["best_epoch"] - 1], "history": history}
