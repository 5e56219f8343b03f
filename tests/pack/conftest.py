"""A whole bundle of the tiny model, made by the packing room itself."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from edgekit.config.quantize import Int8
from edgekit.pack.bundle import write_bundle
from edgekit.pack.card import write_card
from edgekit.pack.golden import make_golden
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.runtime.bundle.manifest import Versions
from edgekit.runtime.processors import Asked
from edgekit.tasks.encode import labels_of, read_split
from tests.pack.speaking import speaker
from tests.quantize.files import rewritten
from tests.tiny_manifest import signature, tiny_manifest

TOOLS = ("numpy", "onnx", "onnxruntime", "tokenizers", "torch")
AUDIT = {
    "matmuls_integer": 18, "matmuls_constant": 18, "matmuls_weight_only": 0, "fallbacks": [], "kept_float": [], "kernels_observed": True,
    "notes": [],
}  # fmt: skip


@pytest.fixture(scope="session")
def bundle(tiny_model: Path, tiny_export: Path, tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("packing")
    rewritten(tiny_export / "fused.onnx", work / "model.onnx", quantize_dynamic, Int8())
    labels = labels_of(tiny_model)
    texts = [row["text"] for row in read_split(tiny_artifact, "train")]
    golden = make_golden(
        work / "model.onnx",
        tiny_model / "tokenizer.json",
        "text-classification",
        texts,
        Asked(labels),
        max_length=32,
        provider="CPUExecutionProvider",
    )
    vocabulary = json.loads((tiny_model / "config.json").read_text())["vocab_size"]
    manifest = tiny_manifest(
        labels=labels, vocabulary=vocabulary, golden=len(golden["rows"]), onnxruntime=Versions("1.30", "1.32"),
        tools={tool: metadata.version(tool) for tool in TOOLS}, **signature(work / "model.onnx"),
    )  # fmt: skip
    folder = work / "bundle"
    folder.mkdir()
    files = {"model.onnx": work / "model.onnx", **{name: tiny_model / name for name in ("tokenizer.json", "config.json")}}
    write_bundle(
        folder, manifest, files=files, texts={"golden.json": json.dumps(golden), "README.md": write_card(manifest, AUDIT)}
    )
    return folder


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `bundle` is a language model's."""
    return speaker("llama, tied", tmp_path_factory.mktemp("spoken"))
