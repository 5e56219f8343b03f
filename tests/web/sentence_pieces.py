"""Tokenizers as SentencePiece makes them: its own compiled normal form, Unigram as XLM-RoBERTa's, and BPE with bytes as Llama 2's."""

from __future__ import annotations

import io
from functools import cache

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tests.tiny_word_tokenizers import CORPUS, SPECIAL, framed

__all__ = ["SENTENCE_PIECES", "compiled"]


@cache
def compiled(rule: str = "nmt_nfkc") -> bytes:
    """The normal form that SentencePiece compiles into a model."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=written,
        vocab_size=60,
        hard_vocab_limit=False,
        normalization_rule_name=rule,
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(written.getvalue())
    return bytes(model.normalizer_spec.precompiled_charsmap)


def _pieces() -> list[tuple[str, float]]:
    letters = sorted({letter for text in CORPUS for letter in text} - {" "})
    pieces = [
        *letters,
        *(f"▁{letter}" for letter in letters),
        "▁",
        "▁new",
        "▁lon",
        "don",
        "▁don",
        "▁york",
        "it",
        "▁it",
        "s",
        "ing",
        "ci",
        "ti",
        "▁the",
    ]
    return [(piece, -9.0 / len(piece) - place / 997) for place, piece in enumerate(dict.fromkeys(pieces))]


def xlm_roberta() -> Tokenizer:
    """As transformers converts XLM-RoBERTa's."""
    tokenizer = Tokenizer(models.Unigram([*((token, 0.0) for token in SPECIAL), *_pieces()], 0))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(compiled()), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*SPECIAL, AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


def t5() -> Tokenizer:
    """As T5's: bytes are in the vocabulary for what no piece is, and its normal form is another."""
    every = [*((token, 0.0) for token in SPECIAL), *((f"<0x{byte:02X}>", -20.0) for byte in range(256)), *_pieces()]
    tokenizer = Tokenizer(models.Unigram(every, 0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Precompiled(compiled("nmt_nfkc_cf"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return framed(tokenizer)


def llama() -> Tokenizer:
    """As Llama 2's: BPE over whole texts, spaces as letters, and bytes for what no piece is."""
    letters = [*dict.fromkeys(letter for piece, _ in _pieces() for letter in piece)]
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges = [("n", "e"), ("ne", "w"), ("▁", "new"), ("i", "t"), ("▁", "it"), ("o", "n"), ("l", "on"), ("▁", "lon")]
    tokens = [*dict.fromkeys([*tokens, *(one + other for one, other in merges)])]
    model = models.BPE(
        {token: place for place, token in enumerate(tokens)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return framed(tokenizer)


SENTENCE_PIECES = {"XLM-RoBERTa": xlm_roberta, "T5": t5, "Llama 2": llama}
