"""The CycloneDX machine-learning bill of materials of a bundle: what is in it, what it came from, what it needs.

CycloneDX 1.6 (ECMA-424). The document is built as plain JSON: the schema's own Python library has no model card. It depends on
the bundle alone, so that the same bundle has the same bill, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from pathlib import Path
from typing import Any

from edgekit.data.texts import quality_limit, scored_rows
from edgekit.errors import BadInput
from edgekit.runtime.bundle.manifest import Manifest, TensorFacts
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.bundle.quality import Interval, Quality

__all__ = ["TOOL_LICENCES", "write_bom"]

RUNTIME = ("numpy", "onnxruntime", "tokenizers")
TOOL_LICENCES = {
    "numpy": "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", "onnx": "Apache-2.0", "onnxruntime": "MIT", "onnxscript": "MIT",
    "tokenizers": "Apache-2.0", "torch": "Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSD-2-Clause AND BSD-3-Clause AND BSL-1.0 AND MIT",
    "transformers": "Apache-2.0",
}  # fmt: skip
"""SPDX expressions, as the packages declare them; a table, because a bill must not depend on what is installed where it is made."""
SPDX = {
    name.casefold(): name
    for name in ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0",
                 "CC-BY-NC-SA-4.0", "PSF-2.0", "GPL-3.0-only", "LGPL-3.0-only", "AGPL-3.0-only", "MPL-2.0", "Unlicense", "ISC")
}  # fmt: skip
"""Model hubs write SPDX names in lower case; CycloneDX takes them only as SPDX spells them."""
PART = "bundle/"


def write_bom(bundle: Bundle, out: Path, *, epoch: str | None) -> None:
    """Write the bill of `bundle` to `out`.

    Version and serial number derive from the digest of the manifest, which names every other file. `epoch` is SOURCE_DATE_EPOCH in
    seconds since 1970; without it the bill has no time.

    Raises:
        BadInput: `epoch` is no number of seconds.
    """
    manifest = bundle.manifest
    name, files = manifest.name, manifest.assets
    paths = {file: bundle.folder / file for file in manifest.files}
    digests = {
        file: files[file].sha256 if file in files else hashlib.sha256(path.read_bytes()).hexdigest()
        for file, path in paths.items()
    }
    model: dict[str, Any] = {
        "type": "machine-learning-model", "bom-ref": "model", "name": name, "version": bundle.digest[:16],
        "description": f"{manifest.task} for {manifest.target.name} ({manifest.target.arch})",
        "hashes": _hashes(digests[manifest.variant.file]), "licenses": _licence(manifest.licence),
        "pedigree": _pedigree(manifest), "modelCard": _card(manifest),
        "components": [
            {"type": "file", "bom-ref": f"file:{file}", "name": f"{PART}{file}", "hashes": _hashes(digests[file]),
             "properties": _properties({"edgekit:bytes": paths[file].stat().st_size})}
            for file in sorted(digests)
        ],
    }  # fmt: skip
    metadata: dict[str, Any] = {"component": model, "tools": {"components": _tools(manifest)}}
    if epoch is not None:
        metadata["timestamp"] = _time(epoch)
    needed = [_library(tool, manifest.tools[tool]) for tool in RUNTIME if tool in manifest.tools]
    data = [_data(f"data:{split}", split, digest) for split, digest in sorted(manifest.data.items())]
    if calibration := manifest.calibration.sha256:
        data.append(_data("data:calibration", f"calibration, {manifest.calibration.rows} rows", calibration))
    libraries = [component["bom-ref"] for component in needed]
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, bundle.digest)}",
        "metadata": metadata, "components": [*needed, *data],
        "dependencies": [{"ref": "model", "dependsOn": libraries}, *({"ref": ref} for ref in libraries)],
    }  # fmt: skip
    out.write_text(json.dumps(bom, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _card(manifest: Manifest) -> dict[str, Any]:
    """The model card: what it computes, on which data it was measured, its metrics, what it cannot do."""
    target, image = manifest.target, manifest.image
    limit = (
        f"Reads at most {manifest.max_length} tokens of a text."
        if manifest.reads == "text"
        else f"Reads at most {manifest.sound.seconds:g} seconds of a sound, at {manifest.sound.sampling_rate:,} samples a second."
        if manifest.sound is not None
        else "Reads images."
        if image is None
        else f"Reads images as {image.width} x {image.height} pixels, whatever size they have."
    )
    return {
        "modelParameters": {
            "task": manifest.task,
            "architectureFamily": "transformer",
            "datasets": [{"ref": f"data:{split}"} for split in sorted(manifest.data)],
            "inputs": [{"format": _tensor(item)} for item in manifest.inputs],
            "outputs": [{"format": _tensor(item)} for item in manifest.outputs],
        },
        "quantitativeAnalysis": {"performanceMetrics": _metrics(manifest.quality, scored_rows(manifest.recipe))},
        "considerations": {
            "technicalLimitations": [
                limit,
                f"Quality was measured on {quality_limit(manifest.recipe)}.",
                f"Made for {target.arch} with {', '.join([*target.isa, ' or '.join(target.isa_any)]).strip(', ') or 'any instruction set'}.",
            ]
        },
        "properties": _properties(
            {
                "edgekit:compress": ", ".join(manifest.steps) or "none",
                "edgekit:labels": len(manifest.labels),
                "edgekit:opset": manifest.opset,
                "edgekit:onnxruntime": f">={manifest.onnxruntime.min}, tested to {manifest.onnxruntime.max}",
                "edgekit:target": target.name,
                "edgekit:golden-inputs": manifest.golden.count,
            }
        ),
    }


def _metrics(quality: Quality, called: str) -> list[dict[str, Any]]:
    rows = f"{quality.n} {called}"
    if quality.metric == "1/perplexity" and quality.ratio is not None:
        return _perplexity(quality, quality.ratio, rows)
    low, high = quality.ci95
    return [
        {"type": quality.metric, "value": repr(quality.bundle), "slice": rows},
        {"type": f"{quality.metric} of the original in float32", "value": repr(quality.original), "slice": rows},
        {"type": f"{quality.metric}, difference from the original (paired, 95%)", "value": repr(quality.difference), "slice": rows,
         "confidenceInterval": {"lowerBound": repr(low), "upperBound": repr(high)}},
    ]  # fmt: skip


def _perplexity(quality: Quality, ratio: Interval, rows: str) -> list[dict[str, Any]]:
    value, low, high = (1 / share - 1 for share in (ratio.value, *reversed(ratio.ci95)))
    change = ("perplexity, relative change from the original (paired, 95%)", value, low, high, rows)
    found = [
        {"type": "perplexity", "value": repr(1 / quality.bundle), "slice": rows},
        {"type": "perplexity of the original in float32", "value": repr(1 / quality.original), "slice": rows},
    ]
    same = []
    if quality.greedy is not None:
        tokens, prefix = quality.greedy.agreement, quality.greedy.prefix
        start = "tokens from the start of a greedy answer that are the original's (95%)"
        same = [
            ("share of next tokens that are the original's (95%)", tokens.value, *tokens.ci95, rows),
            (start, prefix.value, *prefix.ci95, "beginnings of test rows"),
        ]
    return found + [
        {"type": what, "value": repr(middle), "slice": where, "confidenceInterval": {"lowerBound": repr(least), "upperBound": repr(most)}}
        for what, middle, least, most, where in (change, *same)
    ]  # fmt: skip


def _pedigree(manifest: Manifest) -> dict[str, Any]:
    source = manifest.source
    ancestor: dict[str, Any] = {"type": "machine-learning-model", "bom-ref": "source", "name": source.model}
    if source.revision:
        ancestor["version"] = source.revision
    if manifest.base_model:
        ancestor["licenses"] = _licence(manifest.licence)
    return {
        "ancestors": [ancestor],
        "notes": f"{', '.join(manifest.steps) or 'no compression'}; exported to ONNX and quantized.",
    }


def _tools(manifest: Manifest) -> list[dict[str, Any]]:
    own = {"type": "application", "bom-ref": "tool:edgekit", "name": "edgekit", "version": manifest.version,
           "licenses": [{"license": {"id": "Apache-2.0"}}]}  # fmt: skip
    made = [_library(tool, version) | {"bom-ref": f"tool:{tool}"} for tool, version in sorted(manifest.tools.items())]
    return [own, *made]


def _library(package: str, version: str) -> dict[str, Any]:
    """A Python package as a component. The local part of a version (`+cpu`) is no release of the registry's."""
    found: dict[str, Any] = {
        "type": "library", "bom-ref": f"pkg:pypi/{package}@{version.partition('+')[0]}", "name": package, "version": version,
        "purl": f"pkg:pypi/{package}@{version.partition('+')[0]}",
    }  # fmt: skip
    if package in TOOL_LICENCES:
        found["licenses"] = _licence(TOOL_LICENCES[package])
    return found


def _data(ref: str, name: str, digest: str) -> dict[str, Any]:
    """A data set, known by the digest of its rows."""
    return {
        "type": "data",
        "bom-ref": ref,
        "name": name,
        "hashes": _hashes(digest),
        "data": [{"type": "dataset", "name": name}],
    }


def _licence(name: str) -> list[dict[str, Any]]:
    if " AND " in name or " OR " in name:
        return [{"expression": name}]
    known = SPDX.get(name.casefold())
    return [{"license": {"id": known} if known else {"name": name}}]


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _properties(facts: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in sorted(facts.items())]


def _tensor(tensor: TensorFacts) -> str:
    return f"{tensor.name}: {tensor.dtype}[{', '.join(map(str, tensor.axes))}]"


def _time(epoch: str) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch)))
    except (ValueError, OverflowError, OSError):
        raise BadInput(f"{epoch!r} is no number of seconds since 1970", where="SOURCE_DATE_EPOCH") from None
