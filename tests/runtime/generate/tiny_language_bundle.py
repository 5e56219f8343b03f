"""A bundle of the tiny language model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.pack.bundle import write_bundle
from edgekit.pack.manifest import NOT_SCORED
from edgekit.runtime.bundle.manifest import Variant
from edgekit.runtime.providers.names import CPU
from tests.runtime.generate.tiny_decoder import CONTEXT, TINY, TinyDecoder
from tests.tiny_manifest import tiny_manifest


def make_bundle(source: Path, decoder: TinyDecoder, folder: Path, *, threads: int = 1, **generation: Any) -> Path:
    """A bundle in the empty `folder` for so many threads (0: auto), with changes to its generation block."""
    manifest = tiny_manifest(
        name="tiny", task="text-generation", labels=(), vocabulary=decoder.vocabulary, golden=1, max_length=CONTEXT, tolerance=0.01,
        variant=Variant("model.onnx", CPU, threads), generation=replace(TINY, **{"chat_template": "chat_template.jinja", **generation}),
    )  # fmt: skip
    names = ("model.onnx", "model.onnx.data", "tokenizer.json", "chat_template.jinja")
    write_bundle(
        folder,
        manifest,
        files={name: source / name for name in names},
        texts={"golden.json": json.dumps({"rows": [NOT_SCORED]})},
    )
    return folder
