"""sentence-transformers folders: what their module files ask for, and what of it the exported graph does not compute.

The graph computes the transformer, pooling by the mean or the first token, and the normalisation (`edgekit.tasks.graph`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["SENTENCE_FILES", "pooling_fault", "pooling_of", "sentence_faults"]

MODULES, TRANSFORMER, PROMPTS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
SENTENCE_FILES = (MODULES, TRANSFORMER, PROMPTS)
COMPUTED = ("Transformer", "Pooling", "Normalize")
"""Modules that the graph computes, by the last part of their type; the part before it differs between releases."""
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "mean": "mean", "cls": "cls"}
"""Names in both forms of the file -> pooling in the graph."""


def pooling_of(document: Mapping[str, object]) -> str | None:
    """The pooling that a Pooling module's config.json asks for, "mean" or "cls"; None for any other, or several."""
    modes = _modes(document)
    return POOLINGS.get(modes[0]) if len(modes) == 1 else None


def pooling_fault(document: Mapping[str, object]) -> str | None:
    """What pooling is asked for that is not computed."""
    if pooling_of(document) is not None:
        return None
    return f"pooling by {', '.join(_modes(document)) or 'nothing'}: the graph pools by the mean or the first token (cls)"


def _modes(document: Mapping[str, object]) -> list[str]:
    """Names of the poolings asked for: the one `pooling_mode` of sentence-transformers 5.4 and later, or the flags of before."""
    mode = document.get("pooling_mode")
    if mode is not None:
        return [str(one) for one in mode] if isinstance(mode, list) else [str(mode)]
    return sorted(name for name, value in document.items() if name.startswith("pooling_mode_") and value is True)


def sentence_faults(folder: Path) -> list[str]:
    """Why the embeddings of `folder` would differ from sentence-transformers' own, each with the file and key that says so."""
    faults = []
    modules = _read(folder / MODULES)
    for module in modules if isinstance(modules, list) else []:
        kind = str(module.get("type", "")).rpartition(".")[2] if isinstance(module, dict) else ""
        path = str(module.get("path", "")) if isinstance(module, dict) else ""
        if kind not in COMPUTED:
            faults.append(
                f"{MODULES}: its module {kind or 'without a type'} ({path}) is not computed; those are {', '.join(COMPUTED)}"
            )
        pooling = _read(folder / path / "config.json") if kind == "Pooling" else None
        if isinstance(pooling, dict) and (fault := pooling_fault(pooling)) is not None:
            faults.append(f"{path}/config.json: {fault}")
    settings, prompts = _read(folder / TRANSFORMER), _read(folder / PROMPTS)
    if isinstance(settings, dict) and settings.get("do_lower_case") is True and not _lowers(_read(folder / "tokenizer.json")):
        faults.append(
            f"{TRANSFORMER}, do_lower_case: texts are lower-cased before its tokenizer, which keeps capitals itself; give the tokenizer a "
            "Lowercase normalizer, which tokenizer.json can hold"
        )
    name = prompts.get("default_prompt_name") if isinstance(prompts, dict) else None
    known = prompts.get("prompts") if isinstance(prompts, dict) else None
    if name and isinstance(known, dict) and known.get(name):
        faults.append(
            f"{PROMPTS}, default_prompt_name: sentence-transformers puts {known[name]!r} before every text, and a bundle does not; set "
            "it to null and put it before your texts yourself"
        )
    return faults


def _lowers(tokenizer: object) -> bool:
    """Whether a tokenizer.json lower-cases by itself."""
    text = json.dumps(tokenizer.get("normalizer")) if isinstance(tokenizer, dict) else ""
    return '"lowercase": true' in text or '"type": "Lowercase"' in text


def _read(path: Path) -> object:
    """A JSON file; None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
