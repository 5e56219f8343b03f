"""The files of a checkpoint: which belong to it, what is refused before any is opened, and one digest of them all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput
from edgekit.models.shards import WHOLE, weight_files
from edgekit.runtime.bundle.names import CHAT_TEMPLATE

__all__ = ["GENERATION_FILES", "MODEL_FILES", "POOLING", "TOKENIZER_FILES", "check_files", "digest", "input_names", "read_json"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
GENERATION_FILES = (CHAT_TEMPLATE, "generation_config.json")
"""Files that a decoder's folder may have besides: how chat turns are written, and which tokens end an answer."""
POOLING = "1_Pooling/config.json"
"""Where sentence-transformers says how token embeddings are pooled into one."""
MODEL_FILES = ("config.json", "edgekit.json", POOLING, *TOKENIZER_FILES, *GENERATION_FILES)
"""The files of a checkpoint besides its weights."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from `path`.

    Raises:
        BadInput: missing, unreadable, or not an object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput("no such file", where=str(path)) from None
    except (OSError, ValueError) as fault:
        raise BadInput(f"not readable JSON: {fault}", where=str(path)) from None
    if not isinstance(document, dict):
        raise BadInput("holds no JSON object", where=str(path))
    return document


def check_files(folder: Path) -> dict[str, Any]:
    """The configuration of checkpoint `folder`, after refusing what must not be loaded.

    Raises:
        BadInput: a pickle checkpoint, missing weights, an index that cannot be used, custom code, no fast tokenizer.
    """
    if not folder.is_dir():
        raise BadInput("no such model folder", where=str(folder))
    config = read_json(folder / "config.json")
    if "auto_map" in config:
        raise BadInput(
            "this model brings its own code (auto_map), which edgekit never runs",
            where=str(folder / "config.json"),
            fix="use a model whose architecture is part of transformers",
        )
    if not weight_files(folder):
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickles:
            raise BadInput(
                f"holds a pickle checkpoint ({pickles[0]}), which can run code when it is opened",
                where=str(folder),
                fix="convert it to model.safetensors on a machine that you can lose",
            )
        raise BadInput(f"no {WHOLE}", where=str(folder))
    if not (folder / "tokenizer.json").is_file():
        raise BadInput("no tokenizer.json", where=str(folder), fix="save the model's fast tokenizer into the folder")
    return config


def input_names(folder: Path, *, pairs: bool) -> list[str]:
    """Inputs of the graph of checkpoint `folder`; `token_type_ids` only where texts come in pairs and the model has several types.

    Texts come in pairs where the task says so (`pairs`), or the checkpoint itself (`text_pairs` in its configuration).

    Raises:
        BadInput: no readable configuration.
    """
    config = read_json(folder / "config.json")
    segments = (pairs or config.get("text_pairs") is True) and (config.get("type_vocab_size") or 0) > 1
    return ["input_ids", "attention_mask", *(["token_type_ids"] if segments else [])]


def digest(folder: Path) -> str:
    """sha256 over the names and contents of the files that make up the checkpoint.

    Raises:
        BadInput: as `check_files`.
    """
    check_files(folder)
    total = hashlib.sha256()
    for path in (*weight_files(folder), *(folder / name for name in MODEL_FILES)):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            with path.open("rb") as file:
                total.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
