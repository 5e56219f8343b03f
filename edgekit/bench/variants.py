"""Which variants of a result can be measured here, and what each of them ships."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from edgekit.runtime.bench.measured import TIMED
from edgekit.runtime.bundle.names import MODEL, TOKENIZER
from edgekit.runtime.reader import READER_NAMES
from edgekit.store import NOT_MADE, sha256_file

__all__ = ["BUNDLE", "EAGER", "digests_of", "files_of", "is_eager", "seen_from_here", "specifications"]

BUNDLE = "bundle"
EAGER = "eager"
"""Kind of a variant that PyTorch runs. A lineage names a kind and never code: a file must not choose what is imported."""
EAGER_BEFORE = "edgekit.tasks:eager_predictor"
"""What a lineage of before called it."""


def seen_from_here(lineage: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The lineage of the result in `folder` with paths from here, for those from `folder` that the file holds."""
    variants = {name: {**variant, "folder": str(folder / variant["folder"])} for name, variant in lineage["variants"].items()}
    return {**lineage, "rows": str(folder / lineage["rows"]), "variants": variants}


def is_eager(variant: dict[str, Any]) -> bool:
    """Whether PyTorch runs it."""
    return variant["kind"] in {EAGER, EAGER_BEFORE}


def specifications(
    lineage: dict[str, Any], items: Path, common: dict[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """(what a measuring process is told of each variant, why the others are left out). `items`: the inputs, as JSON lines.

    `common` holds what all variants share: seconds, min_runs, max_warmup_seconds, threads, scenarios.
    """
    specs, left_out = {}, {}
    for name, variant in lineage["variants"].items():
        reason = _lacking(variant)
        if reason:
            left_out[name] = reason
            continue
        specs[name] = {
            "kind": EAGER if is_eager(variant) else "onnx",
            "program": "edgekit.bench.eager" if is_eager(variant) else "edgekit.runtime.bench.measure",
            "folder": variant["folder"],
            "model": _model(variant),
            "items": str(items),
            "task": lineage["recipe"]["task"],
            "max_length": lineage["max_length"],
            "prompt": variant.get("prompt", ""),
            "provider": lineage["target"]["provider"],
            "session_config": lineage["target"]["session"]["config"],
            **common,
        }
    return specs, left_out


def files_of(variant: dict[str, Any]) -> dict[str, Any]:
    """Sizes in MB (10^6 bytes) and sha256 of what a variant ships: its model, and model and tokenizer together."""
    model = Path(variant["folder"]) / _model(variant)
    beside = model.with_name(f"{model.name}.data")
    alone = model.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)
    both = alone + sum((model.parent / name).stat().st_size for name in READER_NAMES if (model.parent / name).is_file())
    return {"file_mb": alone / 1e6, "total_mb": both / 1e6, "sha256": sha256_file(model)}


def digests_of(variant: dict[str, Any]) -> dict[str, str]:
    """sha256 of the files that a variant's times depend on, by name."""
    paths = [Path(variant["folder"]) / name for name in TIMED]
    return {path.name: sha256_file(path) for path in paths if path.is_file()}


def _lacking(variant: dict[str, Any]) -> str | None:
    """Why a variant cannot be measured here; None where it can."""
    if NOT_MADE in variant:
        return f"it could not be made: {variant[NOT_MADE]}"
    if not is_eager(variant) and variant["kind"] != "onnx":
        return f"its kind {variant['kind']!r} is not one that edgekit measures"
    if is_eager(variant) and importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    folder = Path(variant["folder"])
    gone = [name for name in (_model(variant),) if not (folder / name).is_file()]
    gone += [] if any((folder / name).is_file() for name in READER_NAMES) else [TOKENIZER]
    return f"its files are gone: {', '.join(gone)} in {folder}" if gone else None


def _model(variant: dict[str, Any]) -> str:
    return str(variant.get("file") or ("model.safetensors" if is_eager(variant) else MODEL))
