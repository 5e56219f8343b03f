"""A variant of a result as a bundle that runner.mjs loads: its graph and tokenizer, with the manifest of the result's bundle changed to fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.runtime.bundle.names import MANIFEST, MANIFEST_DIGEST, MODEL, MODEL_DATA

__all__ = ["lay_out_variant"]

TOKENIZER, GOLDEN = "tokenizer.json", "golden.json"


def lay_out_variant(spec: Mapping[str, Any], folder: Path) -> None:
    """Fill `folder`, which is made, with links to the files of a variant, and a manifest with which they load.

    `spec`: folder and model of the variant, max_length, prompt (before every text), generation (of a language model), and `facts`: what the
    manifest of the result's bundle says under "edgekit".
    """
    folder.mkdir()
    source = Path(spec["folder"])
    files = {MODEL: source / spec["model"], TOKENIZER: source / TOKENIZER}
    if (data := (source / spec["model"]).with_name(f"{spec['model']}.data")).is_file():
        files[MODEL_DATA] = data
    for name, path in files.items():
        (folder / name).symlink_to(path.resolve())
    (folder / GOLDEN).write_text('{"rows": []}\n', encoding="utf-8")
    prompt = spec.get("prompt")
    facts = {
        **spec["facts"],
        "vocabulary": 2**31,  # each variant's own; ids are the tokenizer's
        "tokenizer": {"file": TOKENIZER, "max_length": spec["max_length"]},
        "golden": {"file": GOLDEN, "count": 0, "tolerance": 1.0},
        "embeddings": {"prompts": {"texts": {"": prompt}, "default": ""}} if prompt else None,
        "digest_file": MANIFEST_DIGEST,
    }
    if spec.get("generation"):
        facts["generation"] = {
            **facts["generation"],
            **{name: value for name, value in spec["generation"].items() if value is not None},
        }
    session = {"file": MODEL, "session_options": {"intra_op_num_threads": spec["threads"]}}
    manifest = {
        "schema_version": 1,
        "name": source.name,
        "assets": {name: _asset(folder / name) for name in (*files, GOLDEN)},
        "components": {"model": {"variants": {"web": session}}},
        "edgekit": facts,
    }
    text = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(text)
    (folder / MANIFEST_DIGEST).write_text(f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n", encoding="utf-8")


def _asset(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
