"""Bundles of tiny decoders of every family, with a tokenizer and golden texts that other runtimes read too."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer

from edgekit.exporter.decoder_graph import write_graph
from edgekit.exporter.head_padding import pad_heads
from edgekit.models.decoders import describe
from edgekit.pack.bundle import write_bundle
from edgekit.runtime.bundle.manifest import Variant
from edgekit.runtime.generate.generation import Generation
from edgekit.runtime.providers.names import CPU
from tests.runtime.generate.tiny_tokenizers import CHAT, TEXTS, byte_level
from tests.tiny_decoders import checkpoint
from tests.tiny_manifest import tiny_manifest

VOCABULARY = 340
"""A few rows beyond the tokenizer's tokens."""
SCORED = {"outputs": [[-1.0]], "answer": None, "margin": None}
"""What golden rows hold beside texts; nobody scores them here."""


def speaker(name: str, folder: Path) -> Path:
    """A bundle of the family `name` with a byte-level tokenizer and a chat template, in `folder`/bundle."""
    decoder = describe(checkpoint(name, folder / "model", vocab_size=VOCABULARY))
    write_graph(decoder, folder)
    byte_level().save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(CHAT)
    attention = pad_heads(decoder).layers[0].attention
    generation = Generation(
        96, (1,), 0, len(decoder.layers), attention.kv_heads, attention.head_size, "chat_template.jinja",
        {"bos_token": "<s>", "eos_token": "</s>"},
    )  # fmt: skip
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = [{"input": text, "input_ids": [tokenizer.encode(text).ids], **SCORED} for text in TEXTS]
    manifest = tiny_manifest(
        name="tiny", task="text-generation", labels=(), vocabulary=VOCABULARY, golden=len(rows), max_length=96, tolerance=0.01,
        variant=Variant("model.onnx", CPU, 1), generation=generation,
    )  # fmt: skip
    names = ("model.onnx", "model.onnx.data", "tokenizer.json", "chat_template.jinja")
    (folder / "bundle").mkdir()
    write_bundle(
        folder / "bundle", manifest, files={name: folder / name for name in names}, texts={"golden.json": json.dumps({"rows": rows})}
    )  # fmt: skip
    return folder
