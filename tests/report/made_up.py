"""A result folder with MADE-UP figures: the report is developed and tested against it. Nothing in it was measured.

tests/end_to_end/test_encoder.py holds its fields against those of a real result.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.bench.statistics import ratio_interval, summary
from edgekit.runtime.bundle.manifest import Asset, Source
from edgekit.runtime.bundle.quality import Agreement, Quality
from edgekit.runtime.jsontypes import JsonObject
from tests.tiny_manifest import tiny_manifest

N = 5500
LONG = [("text", 1.04), ("real", 1.0), ("16", 1.15), ("64", 3.6), ("128", 7.9)]
# name, title, MB of the model, MB of the tokenizer, accuracy, half interval, ms, MB at the peak
VARIANTS = [
    ("eager-fp32", "PyTorch eager fp32 of the original", 90.6, 0.71, 0.8480, 0.0, 8.42, 688.0),
    ("ort-fp32", "ONNX Runtime fp32 of the original", 90.7, 0.71, 0.8480, 0.0, 2.31, 214.0),
    ("ort-int8-stock", "off-the-shelf dynamic INT8 of the original", 22.9, 0.71, 0.8452, 0.0022, 1.74, 121.0),
    ("after-0-none", "the original, not compressed", 23.2, 0.71, 0.8473, 0.0018, 0.98, 117.0),
    ("after-1-prune-structured", "after 1: prune-structured", 14.9, 0.71, 0.7821, 0.0070, 0.684, 104.0),
    ("after-2-distill", "after 2: distill", 14.9, 0.71, 0.8455, 0.0046, 0.681, 104.0),
    ("bundle", "the bundle", 5.94, 0.16, 0.8440, 0.0048, 0.679, 83.0),
]
CHAIN = [("original", "load and check the original", 22_713_216, 2.9), ("prune-structured", "compress 1: prune-structured", 14_204_112, 96.4),
         ("distill", "compress 2: distill", 14_204_112, 812.0), ("prune-vocabulary", "compress 3: prune-vocabulary", 5_212_400, 1.3)]  # fmt: skip


def write_result(
    folder: Path, *, recipe: str = "made-up", measured: bool = True, quick: bool = False, stable: bool = True
) -> Path:
    """Fill `folder` with lineage.json, bundle/manifest.json, bundle/audit.json and, where `measured`, bench.json."""
    (folder / "bundle").mkdir(parents=True)
    documents = {
        "lineage.json": _lineage(recipe, measured),
        "bundle/manifest.json": _manifest(recipe),
        "bundle/audit.json": _audit(),
    }
    if measured:
        documents["bench.json"] = _bench(recipe, quick, stable)
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1), encoding="utf-8")
    return folder


def _quality(value: float, half: float) -> dict[str, Any]:
    difference = value - 0.8480
    return {
        "metric": "accuracy",
        "value": value,
        "n": N,
        "difference": difference,
        "ci95": [difference - half, difference + half],
    }


def _recipe(name: str) -> dict[str, Any]:
    return {
        "name": name, "task": "text-classification", "seed": 7,
        "compress": [
            {"method": "prune-structured", "layers": 3, "keep": 0.5}, {"method": "distill", "epochs": 6, "learning_rate": 0.0005},
            {"method": "prune-vocabulary", "size": 8000},
        ],
        "accept": {"max_quality_drop": 0.01, "min_speedup": 3.0, "max_size_mb": 8.0, "max_latency_ms": None},
    }  # fmt: skip


def _lineage(recipe: str, measured: bool) -> dict[str, Any]:
    keys = [f"{number:064x}" for number in range(1, 5)]
    stages = [
        _stage(name, title, key, seconds, {"parameters": parameters})
        for (name, title, parameters, seconds), key in zip(CHAIN, keys, strict=True)
    ]
    stages.insert(0, _stage("rows", "read and check the rows", "a" * 64, 0.4, {}))
    for number, (name, title, size, *_) in enumerate(VARIANTS[3:]):
        stages.append(_stage("export", f"export after {number}: {name}", f"b{number}" * 32, 9.0 + number, {"bytes": 1000}))
        stages.append(_stage("quantize", f"quantize for x86-vnni: {title}", f"c{number}" * 32, 0.3, {"bytes": int(size * 1e6)}))
        stages.append(_stage("score", f"score: {title}", f"d{number}" * 32, 7.5, {"quality": 0.8, "n": N}))
    stages.append(_stage("audit", "audit what the runtime executes", "e" * 64, 0.2, {"casts": 1}))
    for stage in stages:
        stage["hit"] = stage["stage"] in {"rows", "original", "prune-structured"}
    return {
        "schema_version": 1, "recipe": _recipe(recipe),
        "target": {"name": "x86-vnni", "title": "x86-64 CPU with VNNI (made up)", "arch": "x86_64"},
        "timed_here": measured, "lacks": [] if measured else ["architecture x86_64 (this machine is aarch64)"],
        "chain": keys, "stages": stages,
        "variants": {
            name: {"kind": "onnx", "title": title, "folder": "/nowhere", "file": "model.onnx", "quality": _quality(value, half)}
            for name, title, _, _, value, half, *_ in VARIANTS
        },
    }  # fmt: skip


def _stage(stage: str, title: str, key: str, seconds: float, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": stage,
        "title": title,
        "key": key,
        "path": "/nowhere",
        "hit": False,
        "seconds": seconds,
        "metrics": metrics,
    }


def _manifest(recipe: str) -> JsonObject:
    """As `Manifest` writes it."""
    quality = _quality(0.8440, 0.0048)
    low, high = quality["ci95"]
    made = tiny_manifest(
        labels=["lights on", "lights off"],
        vocabulary=8000,
        golden=32,
        name=f"{recipe}-x86-vnni",
        assets={"model.onnx": Asset(5_940_000, "f" * 64), "tokenizer.json": Asset(160_000, "0" * 64)},
        source=Source("made-up-minilm-l6"),
        quality=Quality("accuracy", N, original=0.8480, bundle=0.8440, difference=quality["difference"], ci95=(low, high)),
        tools={"onnxruntime": "1.32.0", "torch": "2.13.0"},
        agreement=Agreement("transformers' text-classification pipeline", 62, 2, 2.7e-6),
    )
    return made.to_json()


def _audit() -> dict[str, Any]:
    return {
        "schema_version": 1, "target": "x86-vnni", "observed_on": {"arch": "x86_64", "isa": ["avx2", "avx512_vnni"]}, "kernels_observed": True,
        "matmuls_constant": 20, "matmuls_integer": 20, "matmuls_weight_only": 0,
        "kept_float": [], "matmuls_activation": 6, "fallbacks": [], "stray_qdq": 0, "casts": 1,
        "fused": {"BiasGelu": 3, "QAttention": 3, "SkipLayerNormalization": 7}, "nodes": {"file": 33, "optimised": 33},
        "requirements": [
            {"name": "at least 100% of constant-weight MatMuls in integer kernels", "holds": True, "found": "20 of 20"},
            {"name": "at most 0 stray Quantize/Dequantize nodes", "holds": True, "found": "0"},
            {"name": "at most 1 Casts", "holds": True, "found": "1: key_padding"},
            {"name": "integer kernels seen running in a profile", "holds": True, "found": "DynamicQuantizeMatMul, QAttention"},
        ],
        "ok": True, "notes": ["attention scores and their weighted sums multiply activations with activations; they stay in float32"],
    }  # fmt: skip


@cache
def _timed(quick: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(variants, ratios) from made-up runs; computed once, since statistics take their time."""
    generator = np.random.default_rng(3)
    processes = 3 if quick else 10
    drift = generator.normal(0, 0.02, processes)
    scenarios = LONG[:2] if quick else LONG
    runs = {
        (name, scenario): [
            list(ms * factor * np.exp(drift[turn] + generator.normal(0, 0.012) + np.abs(generator.normal(0, 0.05, 120))))
            for turn in range(processes)
        ]
        for name, *_, ms, _ in VARIANTS
        for scenario, factor in scenarios
    }
    variants = [
        {
            "name": name, "title": title, "file_mb": size, "total_mb": size + tokenizer, "sha256": "1" * 64, "quality": _quality(value, half),
            "scenarios": [{"name": scenario, **summary(runs[name, scenario], 7)} for scenario, _ in scenarios],
            "phases": {
                "interpreter_ms": 18.2, "import_ms": 61.0, "session_ms": 3300.0 if name.startswith("eager") else 4 + size * 0.8,
                "first_run_ms": ms * 2, "tokenise_ms": 0.02, "postprocess_ms": 0.012, "first_answer_ms": 85 + size * 0.9,
            },
            "memory": {"baseline_mb": 45.4, "peak_mb": peak, "above_baseline_mb": peak - 45.4},
        }
        for name, title, size, tokenizer, value, half, ms, peak in VARIANTS
    ]  # fmt: skip
    ratios = [
        {
            "of": "bundle",
            "against": name,
            "scenario": scenario,
            **ratio_interval(runs[name, scenario], runs["bundle", scenario], 7),
        }
        for name, *_ in VARIANTS[:-1]
        for scenario, _ in scenarios
    ]
    return variants, ratios


def _bench(recipe: str, quick: bool, stable: bool) -> dict[str, Any]:
    variants, ratios = _timed(quick)
    snapshot = {
        "frequency_mhz": None,
        "governor": None,
        "load": [0.31, 0.4, 0.5],
        "swap_used_mb": 0,
        "memory_available_mb": 23512,
    }
    return {
        "schema_version": 1, "command": f"edgekit bench build/{recipe}-x86-vnni", "created": "2001-01-01T00:00:00+00:00", "recipe": recipe,
        "target": {
            "requested": "x86-vnni",
            "detected": {
                "arch": "x86_64", "cpu": "Imaginary Processor 9000 (made up)", "isa": ["avx2", "avx512_vnni", "fma"], "cores_physical": 2,
                "cores_usable": 2,
                "memory_mb": 25276, "system": "Linux 6.1", "libc": "glibc 2.36", "python": "3.11.7", "onnxruntime": "1.32.0", "virtualised": True,
            },
        },
        "artifact_sha256": "f" * 64,
        "runtime": {
            "onnxruntime": "1.32.0", "provider": "CPUExecutionProvider",
            "session": {"threads": 1, "config": {"session.force_spinning_stop": "1"}},
        },
        "environment": {"before": snapshot, "after": {**snapshot, "load": [1.02, 0.6, 0.5]}},
        "protocol": {
            "processes": 3 if quick else 10, "seconds": 0.4 if quick else 1.0, "min_runs": 100, "interleaved": True,
            "seed": 7, "quick": quick, "batch": 1,
            "threads": 1, "rows": "test rows at their real lengths", "warm_file": True,
        },
        "variants": variants, "left_out": {},
        "ratios": ratios,
        "energy": None, "energy_reason": "this machine shows no energy counter (RAPL)",
        "validity": {"stable": stable, "throttled": False, "reasons": [] if stable else ["processes of ort-fp32 differ by 31%"]},
    }  # fmt: skip
