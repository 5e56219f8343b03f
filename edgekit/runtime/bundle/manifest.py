"""The bundle's manifest, parsed as what it is: a file from outside. Every fault is reported at once.

The outer shape follows ONNX Runtime's model package: components, their variants, assets by sha256; edgekit's own facts
stand in one block beside them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.generation import Generation, parse_generation

__all__ = ["NAME", "Asset", "Manifest", "parse_manifest"]

NAME = "manifest.json"
LARGEST = 4_000_000
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
HEX = re.compile(r"[0-9a-f]{64}")
BLOCK: dict[str, Any] = {
    "version": str, "task": str, "labels": list, "target": dict, "tokenizer": dict, "inputs": list, "outputs": list, "vocabulary": int,
    "opset": int, "onnxruntime": dict, "source": dict, "data": dict, "calibration": dict, "recipe": dict, "quality": dict, "golden": dict,
    "licence": str, "tools": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Asset:
    """Size in bytes and sha256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a runtime reads of a manifest; `document` is the whole of it."""

    name: str
    assets: dict[str, Asset]
    model_file: str
    provider: str
    threads: int
    session_config: dict[str, str]
    task: str
    labels: list[str]
    arch: str
    isa: list[str]
    isa_any: list[str]
    tokenizer_file: str
    max_length: int
    pad_id: int
    segments: bool
    """Whether the model takes token_type_ids."""
    vocabulary: int
    tolerance: float
    golden_count: int
    generation: Generation | None
    """What a language model's answers need; None for every other task."""
    document: dict[str, Any]


def parse_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json` in `folder`.

    Raises:
        BadInput: missing, too large, not JSON, double keys, or any field that is not what it must be (all at once).
    """
    path = folder / NAME
    try:
        if path.is_symlink():
            raise BadInput("is a link", where=str(path))
        data = path.read_bytes()
    except OSError as fault:
        raise BadInput(f"no readable bundle manifest: {fault.strerror}", where=str(path), fix="name a bundle folder") from None
    if len(data) > LARGEST:
        raise BadInput(f"larger than {LARGEST:,} bytes", where=str(path))
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_no_doubles, parse_constant=_no_constant)
    except (ValueError, RecursionError) as fault:
        raise BadInput(f"not sound JSON: {fault}", where=str(path)) from None
    faults: list[str] = []
    manifest = _read(document, faults)
    if faults or manifest is None:
        raise BadInput("a manifest that cannot be trusted", where=str(path), faults=faults[:20])
    return manifest


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _read(document: Any, faults: list[str]) -> Manifest | None:
    if not isinstance(document, dict):
        faults.append("the whole is not an object")
        return None
    expect = {"schema_version": int, "name": str, "components": dict, "assets": dict, "edgekit": dict}
    _fields(document, expect, "", faults)
    if faults:
        return None
    if document["schema_version"] != 1:
        faults.append(f"schema_version {document['schema_version']} is not 1: a newer edgekit made it")
        return None
    assets = _assets(document["assets"], faults)
    block = document["edgekit"]
    language = block.get("task") == "text-generation"
    _fields(block, BLOCK | {"generation": dict} if language else BLOCK, "edgekit.", faults)
    if faults:
        return None
    model_file, provider, threads, config = _variant(document["components"], block["target"].get("name"), faults)
    tokenizer, target, golden = block["tokenizer"], block["target"], block["golden"]
    _fields(tokenizer, {"file": str, "max_length": int, "pad_id": int, "pad_token": str}, "edgekit.tokenizer.", faults)
    _fields(target, {"name": str, "arch": str, "isa": list, "isa_any": list, "provider": str}, "edgekit.config.target.", faults)
    _fields(golden, {"file": str, "count": int, "tolerance": float}, "edgekit.golden.", faults)
    if faults:
        return None
    for label, name in (("model", model_file), ("tokenizer", tokenizer["file"]), ("golden", golden["file"])):
        if name not in assets:
            faults.append(f"the {label} file {name!r} is not among the assets")
    labels = block["labels"]
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) != len(labels):
        faults.append("edgekit.labels: not a list of different names")
    for field, low, high in (("max_length", 2, 1_000_000), ("pad_id", 0, 10_000_000)):
        if not low <= tokenizer[field] <= high:
            faults.append(f"edgekit.tokenizer.{field}: {tokenizer[field]} is out of range")
    if not 0 < golden["tolerance"] < 100 or golden["count"] < 1 or block["vocabulary"] < 1 or not 1 <= threads <= 1024:
        faults.append("a number is out of range: golden tolerance or count, vocabulary, or threads")
    if provider != target["provider"]:
        faults.append("the variant's provider is not the target's")
    if not all(isinstance(flag, str) for flag in [*target["isa"], *target["isa_any"]]):
        faults.append("edgekit.target: instruction sets are not names")
    generation = parse_generation(block["generation"], faults) if language else None
    if generation is not None:
        ids = [number for number in (*generation.eos, generation.bos) if number is not None]
        if any(number >= block["vocabulary"] for number in ids):
            faults.append(f"edgekit.generation: eos or bos leaves the vocabulary of {block['vocabulary']}")
        if generation.chat_template is not None and generation.chat_template not in assets:
            faults.append(f"the chat template {generation.chat_template!r} is not among the assets")
    return Manifest(
        name=document["name"], assets=assets, model_file=model_file, provider=provider, threads=threads, session_config=config,
        task=block["task"], labels=labels, arch=target["arch"], isa=target["isa"], isa_any=target["isa_any"],
        tokenizer_file=tokenizer["file"], max_length=tokenizer["max_length"], pad_id=tokenizer["pad_id"],
        segments=any(item.get("name") == "token_type_ids" for item in block["inputs"] if isinstance(item, dict)),
        vocabulary=block["vocabulary"], tolerance=golden["tolerance"], golden_count=golden["count"], generation=generation,
        document=document,
    )  # fmt: skip


def _fields(given: dict[str, Any], expected: dict[str, type], prefix: str, faults: list[str]) -> None:
    """Every expected field with its exact type, and no other."""
    for name, kind in expected.items():
        if name not in given:
            faults.append(f"{prefix}{name}: missing")
        elif type(given[name]) is not kind and not (kind is float and type(given[name]) is int):
            faults.append(f"{prefix}{name}: {type(given[name]).__name__} instead of {kind.__name__}")
    faults += [f"{prefix}{name}: unknown" for name in given if name not in expected]


def _assets(given: dict[str, Any], faults: list[str]) -> dict[str, Asset]:
    found = {}
    folded = [name.casefold() for name in given]
    for name, entry in given.items():
        if not SAFE_NAME.fullmatch(name) or name == NAME or folded.count(name.casefold()) > 1:
            faults.append(f"assets: {name!r} is not a plain file name of its own")
        elif (
            not isinstance(entry, dict)
            or set(entry) != {"size", "sha256"}
            or type(entry["size"]) is not int
            or entry["size"] < 0
        ):
            faults.append(f"assets.{name}: not a size and a sha256")
        elif not isinstance(entry["sha256"], str) or not HEX.fullmatch(entry["sha256"]):
            faults.append(f"assets.{name}: sha256 is not 64 hex digits")
        else:
            found[name] = Asset(entry["size"], entry["sha256"])
    return found


def _variant(components: dict[str, Any], target: Any, faults: list[str]) -> tuple[str, str, int, dict[str, str]]:
    """(file, provider, threads, session configuration) of the one variant."""
    try:
        variant = components["model"]["variants"][target]
        options = variant["session_options"]
        file, provider = variant["file"], variant["execution_provider"]
        threads, config = options["intra_op_num_threads"], options["config"]
    except (KeyError, TypeError):
        faults.append("components: no complete variant for the target")
        return "", "", 1, {}
    sound = isinstance(file, str) and isinstance(provider, str) and type(threads) is int and isinstance(config, dict)
    if not sound or not all(isinstance(item, str) for pair in config.items() for item in pair):
        faults.append("components: a variant field has the wrong type")
        return "", "", 1, {}
    return file, provider, threads, config
