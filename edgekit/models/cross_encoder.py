"""sentence-transformers' cross-encoders: what their files say of the score, and what the graph does not compute of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import BadInput
from edgekit.models.documents import read_document

__all__ = ["CrossEncoder", "cross_encoder_of", "is_cross_encoder"]

MODULES, TRANSFORMER, SETTINGS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"


@dataclass(frozen=True)
class CrossEncoder:
    """What the files say."""

    activation: str | None = None
    """Path of the function of the logits, as Python imports it; None where they name none."""
    decided: str = ""
    """The file and key that name it."""
    left_out: tuple[str, ...] = ()
    """What would be computed beside the model, each with the file and key that ask for it."""


def cross_encoder_of(config: Mapping[str, object], folder: Path | None) -> CrossEncoder:
    """What `config`, a model's config.json, and the files beside it in `folder` say.

    The order is sentence-transformers' own: `config_sentence_transformers.json` of release 5, then config.json as release 4 wrote it,
    then as those before did.
    """
    settings, nested = _read(folder, SETTINGS), config.get("sentence_transformers")
    stated = (
        (settings.get("activation_fn"), f"{SETTINGS}, activation_fn"),
        (nested.get("activation_fn") if isinstance(nested, dict) else None, "config.json, sentence_transformers.activation_fn"),
        (config.get("sbert_ce_default_activation_function"), "config.json, sbert_ce_default_activation_function"),
    )
    activation, decided = next(((str(value), key) for value, key in stated if value is not None), (None, ""))
    return CrossEncoder(activation, decided, tuple(_left_out(settings, folder)))


def is_cross_encoder(folder: Path) -> bool:
    """Whether sentence-transformers' CrossEncoder saved `folder`: from release 5.4 on such a folder has a modules.json, as those of embeddings
    have."""
    task = _read(folder, TRANSFORMER).get("transformer_task")
    return _read(folder, SETTINGS).get("model_type") == "CrossEncoder" or task == "sequence-classification"


def _left_out(settings: Mapping[str, object], folder: Path | None) -> list[str]:
    faults = []
    modules = _document(folder, MODULES)
    for module in modules if isinstance(modules, list) else []:
        home, _, kind = (str(module.get("type", "")) if isinstance(module, dict) else "").rpartition(".")
        if kind != "Transformer" or home.partition(".")[0] != "sentence_transformers":
            faults.append(f"{MODULES}: its module {kind or 'without a type'} is not computed for a score; only Transformer is")
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    if name and isinstance(prompts, dict) and prompts.get(name):
        faults.append(
            f"{SETTINGS}, default_prompt_name: sentence-transformers puts {prompts[name]!r} before the texts, and a bundle does not; set "
            "it to null and put it before your texts yourself"
        )
    normalizer = json.dumps(_read(folder, "tokenizer.json").get("normalizer"))
    lowers = '"lowercase": true' in normalizer or '"type": "Lowercase"' in normalizer
    if _read(folder, TRANSFORMER).get("do_lower_case") is True and not lowers:
        faults.append(
            f"{TRANSFORMER}, do_lower_case: texts are lower-cased before its tokenizer, which keeps capitals itself; give the tokenizer a "
            "Lowercase normalizer, which tokenizer.json can hold"
        )
    return faults


def _read(folder: Path | None, name: str) -> dict[str, object]:
    """A JSON object of the folder; an empty one where there is none that can be read."""
    document = _document(folder, name)
    return document if isinstance(document, dict) else {}


def _document(folder: Path | None, name: str) -> object:
    try:
        return None if folder is None else read_document(folder / name)
    except BadInput:
        return None
