"""The model that a recipe is drafted for, as its files show it: a folder, an adapter's folder with its base, or a hub id once downloaded."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import BadInput
from edgekit.models.adapter import facts_of_adapter, read_adapter, tokenizer_folder
from edgekit.models.cross_encoder import is_cross_encoder
from edgekit.models.facts import ModelFacts, facts_of_checkpoint
from edgekit.models.files import read_json
from edgekit.models.hub import is_hub_id, no_such_folder
from edgekit.models.sentence import MODULES, transformer_folder

__all__ = ["Given", "given"]

ADAPTED = {
    "SEQ_CLS": "ForSequenceClassification",
    "TOKEN_CLS": "ForTokenClassification",
    "QUESTION_ANS": "ForQuestionAnswering",
    "CAUSAL_LM": "ForCausalLM",
}
"""peft's kind of a task -> end of the name of the class that it was trained as."""


@dataclass(frozen=True)
class Given:
    """A model's files."""

    folder: Path
    facts: ModelFacts
    architectures: tuple[str, ...]
    """Names, or ends of the names, of its transformers classes; several where its files leave open which is meant, none where they do not say."""
    tokenizer: Path
    """Folder of its tokenizer."""
    weights: Path
    """Folder of its weights; of an adapter the base's."""
    sentences: bool
    """Whether it is a folder of sentence-transformers for embeddings."""


def given(name: str) -> Given:
    """The model called `name`.

    Raises:
        BadInput: files that are no checkpoint, an adapter whose base is not there.
        NotPossibleHere: a hub id without a network.
    """
    folder = _folder(name)
    if (adapter := read_adapter(folder, Path.cwd())) is not None:
        kind = ADAPTED.get(str(adapter.settings.get("task_type")))
        inner = transformer_folder(adapter.base)
        sentences = any(map(_of_sentences, (folder, adapter.base)))
        return Given(
            folder,
            facts_of_adapter(adapter),
            _architectures(inner) if kind is None else (kind,),
            tokenizer_folder(adapter),
            inner,
            sentences,
        )
    inner = transformer_folder(folder)
    return Given(folder, facts_of_checkpoint(str(folder)), _architectures(inner), inner, inner, _of_sentences(folder))


def _of_sentences(folder: Path) -> bool:
    return (folder / MODULES).is_file() and not is_cross_encoder(folder)


def _architectures(folder: Path) -> tuple[str, ...]:
    named = read_json(folder / "config.json").get("architectures")
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str))) if isinstance(named, list) else ()


MODEL = ("config.json", "adapter_config.json", MODULES)
"""Files of which a model's folder has one."""
SHOWN = 5


def _check_models_folder(folder: Path) -> None:
    """Raises BadInput for a folder that is no model's, but may have those of models, as a Trainer's has of checkpoints."""
    if any((folder / name).exists() for name in MODEL):
        return
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and any((path / name).is_file() for name in MODEL))
    inner = [path for path in inner if [*path.glob("*.safetensors")]] or inner  # of a result its checkpoint, not its bundle
    if inner:
        newest = max(inner, key=lambda path: path.stat().st_mtime_ns)
        shown = ", ".join(path.name for path in inner[:SHOWN]) + (
            f" and {len(inner) - SHOWN} more" if len(inner) > SHOWN else ""
        )
        raise BadInput(
            f"no model, but folders of models: {shown}",
            where=str(folder),
            fix=f"name one of them, as in --model {shlex.quote(str(newest))}",
        )


def _folder(name: str) -> Path:
    """The model's folder; of a hub id, once it is downloaded.

    Raises:
        BadInput: neither a folder nor written as a hub id.
    """
    if Path(name).is_dir():
        _check_models_folder(Path(name))
        return Path(name)
    if not is_hub_id(name, Path.cwd()):
        raise no_such_folder(
            Path(name), "check --model: a folder with config.json and model.safetensors, or an id of the hub, owner/name"
        )
    from edgekit.models.checkpoint import resolve

    return resolve(name)
