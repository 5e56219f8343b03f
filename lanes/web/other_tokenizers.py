"""The lane's bundles with the tokenizers of other families, as XLM-RoBERTa (SentencePiece's Unigram) and RoBERTa (BPE of bytes) have them.

The graph stays: what a model has learned does not matter where numbers are compared with numbers, and its golden inputs are made anew.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from edgekit.pack.bundle import write_bundle
from edgekit.pack.golden import make_golden, tolerance
from edgekit.runtime.bundle.manifest import Golden
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.processors import Asked
from edgekit.runtime.providers.names import CPU
from edgekit.tasks import find_task
from lanes.rows import SPLITS, rows_of

__all__ = ["CASE", "MAKERS", "with_tokenizer"]

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
PAIR = processors.TemplateProcessing(
    single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
)
NEVER = {0xC0, 0xC1, *range(0xF5, 0x100)}
"""Bytes that no UTF-8 has."""
SHARE = 0.15
"""Of golden outputs' spread, as the target's tolerance."""


def sentence_pieces(texts: list[str], size: int) -> Tokenizer:
    """As transformers converts XLM-RoBERTa's: pieces and normal form are what SentencePiece makes of `texts`, `size` tokens at most."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=written, vocab_size=size - len(SPECIAL), hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc", model_type="unigram", minloglevel=2,
    )  # fmt: skip
    made = sentencepiece_model_pb2.ModelProto()
    made.ParseFromString(written.getvalue())
    pieces = [(piece.piece, piece.score) for piece in made.pieces if piece.type == 1]
    tokenizer = Tokenizer(models.Unigram([*((token, 0.0) for token in SPECIAL), *pieces], 1))
    form = normalizers.Precompiled(bytes(made.normalizer_spec.precompiled_charsmap))
    tokenizer.normalizer = normalizers.Sequence([form, normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    return _framed(tokenizer)


def bytes_pairs(texts: list[str], size: int) -> Tokenizer:
    """As RoBERTa's: BPE of bytes, `size` tokens at most."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    merges = size - len(SPECIAL) - (256 - len(NEVER))
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + merges, initial_alphabet=letters, show_progress=False)
    trained.train_from_iterator(texts, trainer)
    document = json.loads(trained.to_str())["model"]
    kept = [token for token in document["vocab"] if token not in _letters_of(NEVER)]
    tokenizer = Tokenizer(
        models.BPE(
            {token: place for place, token in enumerate([*SPECIAL, *kept])}, [tuple(pair) for pair in document["merges"]]
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    return _framed(tokenizer)


def _letters_of(numbers: set[int]) -> set[str]:
    """The letters that stand for bytes: printable ones for themselves, the others from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte) if byte in plain else chr(0x100 + others.index(byte)) for byte in numbers}


def _framed(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens([*SPECIAL])
    tokenizer.post_processor = PAIR
    return tokenizer


CASE = "token-classification"
"""The lane's bundle that is made again with each of MAKERS: its answers are places in the text, and it refuses few of the texts."""
MAKERS: dict[str, Callable[[list[str], int], Tokenizer]] = {"sentence pieces": sentence_pieces, "bytes": bytes_pairs}


def with_tokenizer(bundle: Path, folder: Path, make: Callable[[list[str], int], Tokenizer]) -> Path:
    """The encoder's `bundle` in the new `folder`, with a tokenizer that `make` makes of the lane's rows, no larger than its vocabulary."""
    opened = open_bundle(bundle)
    manifest = opened.manifest
    rows = rows_of(manifest.task)
    task = find_task(manifest.task)
    items = [item for row in rows[SPLITS["test"]] for item in task.items(row)]
    texts = [" ".join(map(str, row[name] if isinstance(row[name], list) else [row[name]])) for row in rows for name in row]
    tokenizer = make(texts, manifest.vocabulary)
    folder.mkdir()
    tokenizer.save(str(folder / manifest.text.file))
    golden = make_golden(
        bundle / MODEL, folder / manifest.text.file, manifest.task, items, Asked([*manifest.labels], manifest.threshold),
        max_length=manifest.text.max_length, provider=CPU,
    )  # fmt: skip
    facts = replace(manifest.text, pad_id=0, pad_token=SPECIAL[0])
    count = Golden(manifest.golden.file, len(golden["rows"]), tolerance(golden, SHARE))
    texts_of = {manifest.golden.file: json.dumps(golden, ensure_ascii=False) + "\n", manifest.text.file: tokenizer.to_str()}
    files = {name: bundle / name for name in manifest.assets if name not in texts_of}
    write_bundle(folder, replace(manifest, tokenizer=facts, golden=count), files=files, texts=texts_of)
    return folder
