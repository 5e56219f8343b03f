"""A bundle of the tiny language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.pack.bundle import write_bundle
from edgekit.runtime.chip import machine
from tests.runtime.generate.tiny_decoder import CONTEXT, KV_HEADS, LAYERS, SIZE, TinyDecoder


def make_bundle(source: Path, decoder: TinyDecoder, folder: Path, **generation: Any) -> Path:
    """A bundle in the empty `folder`, with changes to its generation block."""
    block = {
        "version": "0", "task": "text-generation", "labels": [],
        "target": {"name": "here", "arch": machine(), "isa": [], "isa_any": [], "provider": "CPUExecutionProvider"},
        "tokenizer": {"file": "tokenizer.json", "max_length": CONTEXT, "pad_id": 0, "pad_token": "<unk>"},
        "inputs": [], "outputs": [], "vocabulary": decoder.vocabulary, "opset": 20, "onnxruntime": {}, "source": {}, "data": {},
        "calibration": {}, "recipe": {}, "quality": {}, "golden": {"file": "golden.json", "count": 1, "tolerance": 0.01},
        "licence": "", "tools": {},
        "generation": {
            "context": CONTEXT, "eos": [2], "bos": 1, "layers": LAYERS, "kv_heads": KV_HEADS, "head_size": SIZE,
            "chat_template": "chat_template.jinja", **generation,
        },
    }  # fmt: skip
    variant = {
        "file": "model.onnx", "execution_provider": "CPUExecutionProvider",
        "session_options": {"intra_op_num_threads": 1, "config": {}},
    }  # fmt: skip
    names = ("model.onnx", "model.onnx.data", "tokenizer.json", "chat_template.jinja")
    texts = {"golden.json": '{"rows": []}'}
    write_bundle(folder, name="tiny", files={name: source / name for name in names}, texts=texts, variant=variant, block=block)
    return folder
