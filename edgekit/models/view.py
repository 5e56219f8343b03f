"""A checkpoint's folder as other libraries get to see it: no code, no pickles, no archives, and a configuration that was parsed here.

transformers and sentence-transformers read folders by themselves. What they are given is a folder of links to the files that a checkpoint
needs, chosen by their endings, so that nothing else is there to be opened: no `.bin`, no `.pt` or `.pt2` archive, no Python. Settings that
name files elsewhere are left out; the files themselves lie beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import BadInput
from edgekit.models.configuration import passed_on
from edgekit.models.files import read_json, sound_config
from edgekit.models.sentence import transformer_folder
from edgekit.runtime.temporary import temporary_folder

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["build_model", "open_config", "view"]

ENDINGS = (".json", ".safetensors", ".txt", ".jinja", ".model")
"""Of the files that are seen: settings and vocabularies, weights, templates, SentencePiece models."""
PLACES = (
    "tokenizer_file",
    "vocab_file",
    "merges_file",
    "special_tokens_map_file",
    "spm_file",
    "sp_model_file",
    "name_or_path",
    "auto_map",
)
"""Keys of tokenizer_config.json that name a place or code. Folders saved by older releases hold paths of the machine that saved them."""


@contextmanager
def view(folder: Path) -> Iterator[Path]:
    """Checkpoint `folder` as other libraries may read it; it is gone afterwards.

    Raises:
        BadInput: as `sound_config`.
    """
    inner = transformer_folder(folder)
    config = sound_config(inner)
    with temporary_folder(folder) as seen:
        for path in sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern)):
            part = path.relative_to(folder)
            if path.is_file() and path.suffix in ENDINGS and not any(name.startswith(".") for name in part.parts):
                (seen / part).parent.mkdir(parents=True, exist_ok=True)
                (seen / part).symlink_to(path.resolve())
        here = seen / inner.relative_to(folder)
        _replace(here / "config.json", passed_on(config, _reserved(config.get("model_type"))))
        if (settings := here / "tokenizer_config.json").is_file():
            _replace(settings, {key: value for key, value in read_json(settings).items() if key not in PLACES})
        yield seen


def open_config(folder: Path) -> PreTrainedConfig:
    """transformers' configuration of checkpoint `folder`.

    Raises:
        BadInput: as `sound_config`, or a configuration that transformers' own class refuses.
    """
    from transformers import AutoConfig

    with view(folder) as seen:
        try:
            config = AutoConfig.from_pretrained(transformer_folder(seen), local_files_only=True, trust_remote_code=False)
        except Exception as fault:  # a class of its own for each check, and whatever its own code raises of a value
            said = " ".join(str(fault).split())[:200]
            raise BadInput(
                f"transformers refuses this configuration: {said or type(fault).__name__}", where=str(folder / "config.json")
            ) from None
    config.name_or_path = str(folder)
    return config


def build_model(builder: Any, config: PreTrainedConfig) -> PreTrainedModel:
    """The model of a sound configuration, whose weights are whatever transformers draws, float32. `builder`: an Auto class of transformers.

    Raises:
        BadInput: transformers cannot build it.
    """
    import torch

    try:
        model: PreTrainedModel = builder.from_config(config, dtype=torch.float32)
    except Exception as fault:  # whatever its modules raise of a value, or of two that do not go together
        said = " ".join(str(fault).split())[:200]
        raise BadInput(
            f"transformers cannot build a model of this configuration: {type(fault).__name__}: {said}",
            where=str(Path(config.name_or_path) / "config.json"), fix="use the config.json that was saved with these weights",
        ) from fault  # fmt: skip
    return model


def _reserved(model_type: object) -> list[str]:
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    known = isinstance(model_type, str) and model_type in CONFIG_MAPPING
    return dir(CONFIG_MAPPING[model_type] if known else PreTrainedConfig)


def _replace(link: Path, document: Mapping[str, Any]) -> None:
    link.unlink()
    link.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
