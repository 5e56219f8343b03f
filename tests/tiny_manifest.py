"""The manifest of a tiny bundle for this machine; a test says what is special about its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx

from edgekit.pack.bundle import write_manifest
from edgekit.runtime.bundle.manifest import (
    Calibration,
    Golden,
    Manifest,
    Source,
    TargetFacts,
    TensorFacts,
    TokenizerFacts,
    Variant,
    Versions,
)
from edgekit.runtime.bundle.names import MANIFEST, MANIFEST_DIGEST, MODEL
from edgekit.runtime.bundle.quality import Quality
from edgekit.runtime.chip import machine
from edgekit.runtime.providers.names import CPU

QUALITY = Quality("accuracy", 40, original=0.925, bundle=0.9, difference=-0.025, ci95=(-0.1, 0.05))


def tiny_manifest(
    *,
    labels: Sequence[str],
    vocabulary: int,
    golden: int,
    arch: str | None = None,
    isa: Sequence[str] = (),
    max_length: int = 32,
    tolerance: float = 0.1,
    **more: Any,
) -> Manifest:
    """A manifest without assets, which `write_bundle` adds. `golden`: how many golden inputs there are; `more`: other fields."""
    fields: dict[str, Any] = {
        "name": "tiny-here", "assets": {}, "variant": Variant(MODEL, CPU, 1, {"session.force_spinning_stop": "1"}),
        "version": "0.1.0", "task": "text-classification", "labels": tuple(labels),
        "target": TargetFacts("here", arch or machine(), tuple(isa), (), CPU),
        "tokenizer": TokenizerFacts("tokenizer.json", max_length, 0, "[PAD]"), "inputs": (), "outputs": (), "vocabulary": vocabulary,
        "opset": 20, "onnxruntime": Versions("1.30", "99.0"), "source": Source("tiny"), "data": {"train": "1" * 64, "test": "2" * 64},
        "calibration": Calibration(8, "3" * 64), "recipe": {"compress": [{"method": "distill"}], "model": {"id": "owner/tiny"}},
        "quality": QUALITY, "golden": Golden("golden.json", golden, tolerance), "licence": "apache-2.0", "tools": {},
    }  # fmt: skip
    return Manifest(**fields | more)


def signature(graph: Path) -> dict[str, tuple[TensorFacts, ...]]:
    """`inputs` and `outputs` of a manifest, as the ONNX file `graph` has them."""
    names = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64"}

    def facts(given: Any) -> tuple[TensorFacts, ...]:
        kinds = [(one.name, one.type.tensor_type) for one in given]
        return tuple(
            TensorFacts(name, names[kind.elem_type], tuple(axis.dim_param or axis.dim_value for axis in kind.shape.dim))
            for name, kind in kinds
        )

    found = onnx.load_model(graph, load_external_data=False).graph
    return {"inputs": facts(found.input), "outputs": facts(found.output)}


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], object] = lambda document: None) -> None:
    """Let `change` change the manifest of a bundle, whose files are named as they are now, and write it with its digest as one who means it."""
    document = json.loads((folder / MANIFEST).read_text())
    for path in folder.iterdir():
        if path.is_file() and path.name not in (MANIFEST, MANIFEST_DIGEST):
            document["assets"][path.name] = {
                "size": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
    change(document)
    write_manifest(folder, document)
