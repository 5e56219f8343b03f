"""A whole bundle of the tiny model, made by the packing room itself."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from edgekit.config.quantize import Int8
from edgekit.host import detect
from edgekit.pack.bundle import write_bundle
from edgekit.pack.card import write_card
from edgekit.pack.golden import make_golden
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.tasks.encode import labels_of, read_split


def block(labels: list[str], vocabulary: int, count: int) -> dict[str, Any]:
    return {
        "version": "0.1.0", "task": "text-classification", "labels": labels,
        "target": {"name": "here", "arch": detect().arch, "isa": [], "isa_any": [], "provider": "CPUExecutionProvider"},
        "tokenizer": {"file": "tokenizer.json", "max_length": 32, "pad_id": 0, "pad_token": "[PAD]"},
        "inputs": [], "outputs": [], "vocabulary": vocabulary, "opset": 20, "onnxruntime": {"min": "1.30", "max": "1.32"},
        "source": {"model": "tiny", "revision": None},
        "data": {"train": "1" * 64, "test": "2" * 64}, "calibration": {"rows": 8, "sha256": "3" * 64},
        "recipe": {"compress": [{"method": "distill"}], "model": {"id": "owner/tiny"}},
        "quality": {"metric": "accuracy", "n": 40, "bundle": 0.9, "original": 0.925, "difference": -0.025, "ci95": [-0.1, 0.05]},
        "golden": {"file": "golden.json", "count": count, "tolerance": 0.1}, "licence": "apache-2.0",
        "tools": {tool: metadata.version(tool) for tool in ("numpy", "onnx", "onnxruntime", "tokenizers", "torch")},
    }  # fmt: skip


@pytest.fixture(scope="session")
def bundle(tiny_model: Path, tiny_export: Path, tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("packing")
    quantize_dynamic(tiny_export / "fused.onnx", work / "model.onnx", Int8())
    labels = labels_of(tiny_model)
    texts = [row["text"] for row in read_split(tiny_artifact, "train")]
    golden = make_golden(
        work / "model.onnx",
        tiny_model / "tokenizer.json",
        "text-classification",
        texts,
        labels,
        max_length=32,
        provider="CPUExecutionProvider",
    )
    vocabulary = json.loads((tiny_model / "config.json").read_text())["vocab_size"]
    facts = block(labels, vocabulary, len(golden["rows"]))
    audit = {
        "matmuls_integer": 18, "matmuls_constant": 18, "matmuls_weight_only": 0, "fallbacks": [], "kept_float": [],
        "kernels_observed": True, "notes": [],
    }  # fmt: skip
    folder = work / "bundle"
    folder.mkdir()
    write_bundle(
        folder,
        name="tiny-here",
        files={"model.onnx": work / "model.onnx", "tokenizer.json": tiny_model / "tokenizer.json"},
        texts={"golden.json": json.dumps(golden), "README.md": write_card("tiny-here", facts, audit)},
        variant={
            "file": "model.onnx",
            "execution_provider": "CPUExecutionProvider",
            "session_options": {"intra_op_num_threads": 1, "config": {"session.intra_op.allow_spinning": "0"}},
        },
        block=facts,
    )
    return folder
