"""Made checkpoints with random weights and real tokenizers, and rows for them: what a cell of the matrix is built from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

__all__ = ["CORPUS", "DECODERS", "ENCODERS", "TAGGED", "decoder", "encoder", "recipe", "tokenizer", "write_json", "write_rows"]

CORPUS = [
    "the cat sat on the mat in paris", "Turn ON the red light in the hall", "he paid 3.50 for two cups of tea", "is it going to rain in London",
    "Mr. Smith's e-mail isn't a_b.c@d.org", "what a good film that was, really", "ada went to new york city", "bob hates awful food",
    "Füg Müsli zur Einkaufsliste hinzu", "Привет мир", "支付我的账单 北京", "the weather is nice today and tomorrow", "play some jazz, please",
    "my order never arrived", "cancel the subscription now", "who wrote the old book", "a", "it was neither here nor there",
    "set an alarm for seven", "the quick brown fox jumps over the lazy dog",
]  # fmt: skip
"""Texts that tokenizers are trained on and rows are made of."""
LONGEST = 24
VOCABULARY = 300
SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip
RELATIVE: dict[str, Any] = {
    "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0, "share_att_key": True,
}  # fmt: skip
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("wordpiece", {}),
    "distilbert": ("wordpiece", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}),
    "electra": ("wordpiece", {"embedding_size": 16}),
    "mpnet": ("mpnet", {}),
    "roberta": ("bytes", {"type_vocab_size": 1}),
    "xlm-roberta": ("unigram", {"type_vocab_size": 1}),
    "camembert": ("unigram", {"type_vocab_size": 1}),
    "data2vec-text": ("bytes", {"type_vocab_size": 1}),
    "ernie": ("wordpiece", {"use_task_id": True}),
    "deberta-v2": ("deberta", RELATIVE),
    "albert": ("albert", {"embedding_size": 16}),
    "modernbert": ("modernbert", {"local_attention": 8, "layer_types": ["full_attention", "sliding_attention"]}),
}
"""model_type -> (kind of tokenizer, settings)."""
BASE: dict[str, Any] = {**SMALL, "num_key_value_heads": 2}
TABLE: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
WIDE: dict[str, Any] = {**BASE, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("sentencepiece", BASE),
    "mistral": ("sentencepiece", {**BASE, "sliding_window": 16, "head_dim": 8}),
    "qwen2": ("qwen", BASE),
    "qwen3": ("qwen", {**BASE, "head_dim": 16}),
    "phi3": ("sentencepiece", BASE),
    "smollm3": ("bytes-lm", BASE),
    "gemma": ("sentencepiece", {**BASE, "head_dim": 8}),
    "gemma2": ("sentencepiece", {**BASE, "head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 8}),
    "gemma3_text": ("sentencepiece", {**BASE, "head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 8}),
    "gpt2": ("bytes-lm", TABLE),
    "gpt_neox": ("bytes-lm", {**WIDE, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}),
    "opt": ("bytes-lm", {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64,
                         "word_embed_proj_dim": 32}),
    "phi": ("bytes-lm", WIDE),
}  # fmt: skip
"""model_type -> (kind of tokenizer, settings)."""
TAGGED = [(text.split(), [number % 3 for number, _ in enumerate(text.split())]) for text in CORPUS]
"""Words, and a number for each that a scheme turns into a tag: 0 is outside, 1 begins, 2 goes on."""


def write_json(path: Path, document: object) -> None:
    """JSON, with the folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def tokenizer(kind: str, folder: Path, **settings: Any) -> int:
    """Write a tokenizer of `kind`, trained on the corpus, to `folder`; `settings` go to tokenizer_config.json. Returns its size."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    roberta = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    config: dict[str, Any]
    if kind in ("wordpiece", "cased"):
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(lowercase=kind == "wordpiece")
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.train_from_iterator(
            CORPUS, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
        )
        made.post_processor = _template(made, "[CLS]", "[SEP]")
        made.decoder = decoders.WordPiece()
        config = {"tokenizer_class": "BertTokenizer", "do_lower_case": kind == "wordpiece"}
        names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    elif kind == "mpnet":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        own = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
        made.train_from_iterator(
            CORPUS, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=own, show_progress=False)
        )
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        config = {"tokenizer_class": "MPNetTokenizer", "do_lower_case": True}
        names = {
            "bos_token": "<s>",
            "cls_token": "<s>",
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "unk_token": "[UNK]",
            "mask_token": "<mask>",
        }
    elif kind in ("bytes", "bytes-prefix", "modernbert", "bytes-lm", "qwen"):
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "bytes-prefix")
        made.decoder = decoders.ByteLevel()
        own = {
            "modernbert": special,
            "bytes-lm": ["<|endoftext|>"],
            "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        }.get(kind, roberta)
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY + 60,
            special_tokens=own,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        made.train_from_iterator(CORPUS, trainer)
        if kind in ("bytes", "bytes-prefix"):
            made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=kind == "bytes-prefix")
            config = {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": kind == "bytes-prefix"}
            names = {
                "bos_token": "<s>",
                "cls_token": "<s>",
                "pad_token": "<pad>",
                "eos_token": "</s>",
                "sep_token": "</s>",
                "unk_token": "<unk>",
                "mask_token": "<mask>",
            }
        elif kind == "modernbert":
            made.normalizer = normalizers.NFC()
            made.post_processor = _template(made, "[CLS]", "[SEP]")
            config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
            names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
        else:
            config = {"tokenizer_class": {"bytes-lm": "GPT2Tokenizer", "qwen": "Qwen2Tokenizer"}[kind]}
            names = {"eos_token": own[-1], "pad_token": own[0]} | ({"bos_token": own[0]} if kind == "bytes-lm" else {})
    elif kind in ("unigram", "albert", "deberta"):
        own = {
            "unigram": roberta,
            "albert": ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"],
            "deberta": ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"],
        }[kind]
        unknown = next(token for token in own if "unk" in token.lower())
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.Sequence([normalizers.NFKC(), *([normalizers.Lowercase()] if kind == "albert" else [])])
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        made.train_from_iterator(
            CORPUS * 4,
            trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=own, unk_token=unknown, show_progress=False),
        )
        first, last = ("<s>", "</s>") if kind == "unigram" else ("[CLS]", "[SEP]")
        made.post_processor = _template(made, first, last, types=kind != "unigram")
        config = {"tokenizer_class": "PreTrainedTokenizerFast"}
        if kind == "unigram":
            config["model_input_names"] = ["input_ids", "attention_mask"]
        names = {
            "pad_token": next(token for token in own if "pad" in token.lower()),
            "unk_token": unknown,
            "cls_token": first,
            "sep_token": last,
            "mask_token": own[-1],
        }
    elif kind == "sentencepiece":
        own = ["<unk>", "<s>", "</s>"]
        made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        alphabet = [f"<0x{number:02X}>" for number in range(256)]
        made.train_from_iterator(
            CORPUS, trainers.BpeTrainer(vocab_size=VOCABULARY + 300, special_tokens=[*own, *alphabet], show_progress=False)
        )
        document = json.loads(made.to_str())
        document["added_tokens"] = document["added_tokens"][:3]
        made = Tokenizer.from_str(json.dumps(document))
        made.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
        config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False}
        names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    else:
        raise ValueError(kind)
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {**config, **names, **settings})
    return int(made.get_vocab_size())


def _template(made: Tokenizer, first: str, last: str, *, types: bool = True) -> processors.TemplateProcessing:
    second = ":1" if types else ""
    return processors.TemplateProcessing(
        f"{first} $A {last}",
        f"{first} $A {last} $B{second} {last}{second}",
        [(token, made.token_to_id(token)) for token in (first, last)],
    )


def encoder(
    family: str, folder: Path, *, auto: str = "AutoModelForSequenceClassification", tokens: str | None = None, labels: Iterable[str] = (),
    tokenizer_settings: dict[str, Any] | None = None, **config: Any,
) -> Path:  # fmt: skip
    """A checkpoint of an encoder with random weights large enough that answers differ from input to input."""
    kind, own = ENCODERS[family]
    size = tokenizer(tokens or kind, folder, **tokenizer_settings or {})
    names = json.loads((folder / "tokenizer_config.json").read_text())
    known = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = {
        f"{name}_token_id": known.token_to_id(names[f"{name}_token"])
        for name in ("pad", "bos", "eos", "cls", "sep")
        if f"{name}_token" in names
    }
    labels = list(labels)
    if labels:
        config |= {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}
    settings = transformers.AutoConfig.for_model(family, **{**SMALL, **own, "vocab_size": size, **ids, **config})
    return _saved(getattr(transformers, auto).from_config(settings, dtype=torch.float32), folder)


def decoder(
    family: str, folder: Path, *, tokens: str | None = None, tokenizer_settings: dict[str, Any] | None = None, **config: Any
) -> Path:
    """A checkpoint of a language model."""
    kind, own = DECODERS[family]
    size = tokenizer(tokens or kind, folder, **tokenizer_settings or {})
    ids = {
        "sentencepiece": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        "qwen": {"eos_token_id": 2, "pad_token_id": 0},
    }
    asked = {
        **own,
        "vocab_size": size,
        **ids.get(tokens or kind, {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}),
        **config,
    }
    return _saved(
        transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(family, **asked), dtype=torch.float32),
        folder,
    )


def _saved(model: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    for name, parameter in sorted(model.named_parameters()):
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0, std=0.25)
    model.save_pretrained(folder)
    return folder


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Train, validation and test rows as JSON lines; the same rows would be duplicates, so the corpus is numbered."""
    for split, start in (("train", 0), ("validation", 1), ("test", 2)):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows[start::3]]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe(folder: Path, task: str, *, more: str = "", longest: int = LONGEST) -> Path:
    """A recipe for the checkpoint in `folder`/model and the rows beside it, without compression."""
    path = folder / "cell.toml"
    path.write_text(
        f'schema = 1\ntask = "{task}"\n[model]\nid = "model"\nmax_length = {longest}\n[data]\ntrain = "train.jsonl"\n'
        f'validation = "validation.jsonl"\ntest = "test.jsonl"\n[calibration]\nrows = 8\n{more}\n'
    )
    return path
