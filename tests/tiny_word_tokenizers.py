"""Tokenizers of every kind that tells words apart in its own way, small ones, and texts that they know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "we went to new york city", "Ada lives in London.", "it's small, don't swim (30 fishes)!", "we", "the old house , the new house .",
    "café 30 zq-x U.S. new york", "ada ada ada ada ada", "in 30 cities: london, york; new-york",
]  # fmt: skip
CORPUS = [*TEXTS, "dog cat 30 fishes", *(f"a {letter}" for letter in sorted(set("".join(TEXTS))))] * 3
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
WORDS = [
    "we",
    "went",
    "new",
    "york",
    "london",
    "it",
    "'s",
    "n't",
    ".",
    ",",
    "U.S.",
    "ada",
    "café",
    "30",
    "東京",
    "🙂",
    "zq-x",
    "(",
    "\u200b",
    "\ufe0f",
]


def bpe(before: Any, normal: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = before
    if normal is not None:
        tokenizer.normalizer = normal
    alphabet = [*pre_tokenizers.ByteLevel.alphabet(), "▁"]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return framed(tokenizer)


def framed(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return tokenizer


def roberta() -> Tokenizer:
    tokenizer = bpe(pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), trim_offsets=True, add_prefix_space=False)
    return tokenizer


def split_bytes() -> Tokenizer:
    """As the tokenizers of Llama 3 and Qwen: a pattern, then bytes without one."""
    split = pre_tokenizers.Split(
        Regex(r"(?i:'s|'t|n't)|[^\r\n\p{L}\p{N}]?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"), "isolated"
    )
    return bpe(pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))


def no_words() -> Tokenizer:
    """As the tokenizers of Llama 2 and Gemma: a space is a letter as any, and no token goes over one."""
    tokenizer = bpe(pre_tokenizers.Metaspace(prepend_scheme="never"), normalizers.Replace(" ", "▁"))
    tokenizer.pre_tokenizer = None  # type: ignore[assignment]
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    )
    return framed(tokenizer)


def unigram() -> Tokenizer:
    """As XLM-RoBERTa's. Every letter may begin a word: transformers takes a lone "▁" (or "Ġ") for a word of its own,
    which it is not to those who train: a word's label stands at its first token, that one."""
    letters = sorted({letter for text in [*CORPUS, *WORDS] for letter in text} - {" "})
    pieces = [*letters, *(f"▁{letter}" for letter in letters), "▁new", "▁lon", "don", "▁don", "▁york"]
    tokenizer = Tokenizer(
        models.Unigram([*((token, 0.0) for token in SPECIAL), *((piece, -9.0 / len(piece)) for piece in pieces)], 0)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return framed(tokenizer)


MADE: dict[str, Callable[[], Tokenizer]] = {
    "WordPiece": word_piece,
    "Unigram": unigram,
    "RoBERTa": roberta,
    "ModernBERT": lambda: bpe(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "byte-level with a prefix space": lambda: bpe(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "split, then bytes": split_bytes,
    "Metaspace that puts none": lambda: bpe(pre_tokenizers.Metaspace(prepend_scheme="never")),
    "no words at all": no_words,
}
