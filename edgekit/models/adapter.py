"""An adapter of peft as a model: its folder holds low-rank changes of another model's weights (LoRA, Hu et al. 2021, arXiv 2106.09685),
which peft merges into them where that model, its base, is on this machine.

What peft would leave out in silence is refused: kinds that no weights can hold, settings that are not known here, tensors of modules that the
base does not have.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput
from edgekit.models.facts import ModelFacts, facts_of_checkpoint
from edgekit.models.files import (
    ADAPTED,
    ADAPTER,
    ADDITIONAL_TEMPLATES,
    GENERATION_FILES,
    LEGACY_TOKENS,
    MERGES,
    SENTENCEPIECE,
    TOKENIZER,
    TOKENIZER_FILES,
    VOCAB_JSON,
    VOCAB_TXT,
    check_files,
    digest,
    digest_files,
    merging,
    read_json,
    refuse_links_out,
    vocabulary_of,
)
from edgekit.models.hub import find_checkpoint
from edgekit.models.sentence import MODULES, sentence_files, transformer_folder
from edgekit.models.shards import file_shapes, tensor_shapes, weight_files
from edgekit.models.tensor_names import named_now
from edgekit.runtime.temporary import temporary_folder

__all__ = [
    "WEIGHTS", "Adapter", "adapter_faults", "copy_files", "digest_of_adapter", "facts_of_adapter", "read_adapter", "saved_shapes",
    "tokenizer_folder", "trained_as", "write_config",
]  # fmt: skip

WEIGHTS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"
CONFIG = "config.json"
GENERATION = "generation_config.json"
PREFIX = "base_model.model."
"""What peft puts before a module's path in the names of an adapter's tensors."""
LOW_RANK = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")
"""Parts of a tensor's name that end the path of the module that it changes."""
WRAPPED = ("base_layer", "modules_to_save")
"""Parts of a tensor's name that peft adds to the path of a module."""
MERGED_AS_THEY_ARE = (
    "IA3", "LOHA", "LOKR", "OFT", "BOFT", "HRA", "VERA", "FOURIERFT", "RANDLORA", "SHIRA", "C3A", "MISS", "BONE", "ADALORA", "LN_TUNING", "ROAD",
    "WAVEFT", "DELORA", "OSF", "PSOFT", "PVERA", "GRALORA", "TINYLORA", "HIRA", "LILY",
)  # fmt: skip
"""Kinds of adapters besides LoRA that peft merges itself."""
READ = (
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r", "target_modules",
    "exclude_modules", "lora_alpha", "lora_dropout", "fan_in_fan_out", "bias", "use_rslora", "modules_to_save", "init_lora_weights",
    "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "megatron_core", "trainable_token_indices", "loftq_config",
    "eva_config", "corda_config", "lora_ga_config", "use_dora", "velora_config", "qalora_group_size", "runtime_config", "lora_bias",
    "ensure_weight_tying",
)  # fmt: skip
"""Settings of LoRA that peft follows when it merges, or that say how the adapter was trained."""
UNSET = {
    "alora_invocation_tokens": "it is to act after some tokens alone", "arrow_config": "it chooses among adapters for every token",
    "kasa_config": "it is no change of low rank alone", "layer_replication": "its base has layers twice", "megatron_config": "it is Megatron's",
    "monteclora_config": "it is drawn at random", "target_parameters": "it changes parameters that are no modules",
    "use_bdlora": "its factors are in blocks", "use_qalora": "its base is quantized",
}  # fmt: skip
"""Settings that are refused where they are set: what they mean."""
STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""What `init_lora_weights` may say: starts that leave the base as it is."""
LABELLED = ("classifier.weight", "classifier.out_proj.weight", "score.weight", "qa_outputs.weight")
"""Ends of names of the matrix of a head that has one row for each output."""
LABELS = ("id2label", "label2id", "problem_type")
"""Keys of a configuration that say what the outputs of a head mean."""
MOST_SHOWN = 5


@dataclass(frozen=True)
class Adapter:
    """An adapter whose base is here."""

    folder: Path
    base: Path
    """The base's folder."""
    base_name: str
    """The hub id of the base, or its folder's name."""
    settings: Mapping[str, Any]
    """adapter_config.json."""


def read_adapter(folder: Path, beside: Path) -> Adapter | None:
    """The adapter in checkpoint `folder`; None for a folder of another kind. `beside`: the recipe's folder.

    Its base is a folder (absolute, or relative to the adapter's or the recipe's) or in the hub's cache; nothing is downloaded.

    Raises:
        BadInput: an adapter that cannot be merged into a base, or whose base is not here: all faults at once.
    """
    if not (folder / ADAPTER).is_file():
        return None
    refuse_links_out(folder)
    settings = read_json(folder / ADAPTER)
    faults = _setting_faults(settings)
    if weight_files(folder):
        faults.append(
            f"the folder holds a whole model's weights too ({weight_files(folder)[0].name}), and libraries differ in which they take; "
            f"move them or {ADAPTER} away"
        )
    if not (folder / WEIGHTS).is_file():
        pickled = f"{PICKLED} is a pickle, which can run code when it is opened; " if (folder / PICKLED).is_file() else ""
        faults.append(f"no {WEIGHTS}: {pickled}save it with peft's save_pretrained, which writes one")
    named, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    base = None
    if not isinstance(named, str) or not named:
        faults.append(
            "base_model_name_or_path: names no base; write the folder or the hub id of the model that it was trained on"
        )
    else:
        base = _base_folder(named, revision if isinstance(revision, str) else None, (folder, beside))
        if base is None:
            faults.append(
                f"base_model_name_or_path: its base {named} is no folder here and not in the hub's cache; download it "
                f"(hf download {named}), or write where it lies, as a path or relative to this folder"
            )
    if faults or base is None or not isinstance(named, str):
        raise BadInput(
            "this adapter cannot be merged into its base",
            where=str(folder / ADAPTER),
            faults=faults,
            fix=f"or {merging(settings)}",
        )
    return Adapter(folder, base, Path(named).name if Path(named).is_absolute() or named.startswith(".") else named, settings)


def adapter_faults(adapter: Adapter, auto: str, task: str, *, new_head: bool) -> list[str]:
    """What the files of adapter and base do not have in common, or not with a recipe for `task`, whose models are of class `auto`.

    `new_head`: the recipe trains a head of its own.

    Raises:
        BadInput: the base is no checkpoint that can be read.
    """
    config = check_files(adapter.base)
    inner = transformer_folder(adapter.base)
    faults = []
    own = _own_config(adapter)
    if own is not None and own.get("model_type") != config.get("model_type"):
        faults.append(
            f'config.json, model_type = "{own.get("model_type")}": its base {adapter.base_name} is "{config.get("model_type")}"; name the base '
            f"that it was trained on in {ADAPTER}"
        )
    if (inner / "edgekit.json").is_file() or "built" in config:
        faults.append(f"base_model_name_or_path: {adapter.base_name} was saved by edgekit, in a form that peft does not read")
    kind = adapter.settings.get("task_type")
    if kind is not None and trained_as(adapter, auto) != auto and not new_head:
        faults.append(
            f'{ADAPTER}, task_type = "{kind}": it was trained for another task than {task}; say that task in the recipe'
        )
    shapes, saved, base = file_shapes(adapter.folder / WEIGHTS), saved_shapes(adapter), _base_shapes(inner)
    if not any(part in LOW_RANK for name in shapes for part in name.split(".")):
        faults.append(f"{WEIGHTS}: holds no tensors of LoRA")
    strangers, misfits = [], []
    for name, shape in shapes.items():
        module, part = _module_of(name)
        if part is None:
            continue
        found = _of_base(f"{module}.weight", base)
        if found is None:
            if f"{module}.weight" not in saved:
                strangers.append(name)
        elif not _fits(part, shape, found):
            misfits.append(f"{name} of {_text(shape)} on weights of {_text(found)}")
    for name, shape in saved.items():
        if (found := _of_base(name, base)) is not None and found[1:] != shape[1:]:
            misfits.append(f"{name} of {_text(shape)} for {_text(found)}")
    if strangers:
        faults.append(
            f"{WEIGHTS}: {len(strangers)} tensors are of modules that {adapter.base_name} does not have, such as {strangers[0]}; name the base "
            f"that it was trained on in {ADAPTER}"
        )
    if misfits:
        shown = ", ".join(misfits[:MOST_SHOWN])
        faults.append(
            f"{WEIGHTS}: does not fit {adapter.base_name}: {shown}; name the base that it was trained on in {ADAPTER}"
        )
    return faults


def facts_of_adapter(adapter: Adapter) -> ModelFacts:
    """Facts of base and adapter together, as the checkpoint that merging will write has them."""
    with temporary_folder(adapter.folder) as out:
        write_config(adapter, out)
        copy_files(adapter, out)
        for path in weight_files(transformer_folder(adapter.base)):
            (out / path.name).symlink_to(path.resolve())
        saved = saved_shapes(adapter)
        facts = facts_of_checkpoint(str(out), saved)
    matrices = [name.removesuffix(".weight") for name, shape in saved.items() if len(shape) == 2 and name.endswith(".weight")]
    modules = None if facts.modules is None else tuple(dict.fromkeys([*facts.modules, *matrices]))
    return replace(facts, checkpoint=str(adapter.folder), modules=modules)


def digest_of_adapter(adapter: Adapter) -> str:
    """sha256 over the files of adapter and base that the merged model is made of.

    Raises:
        BadInput: as `digest` of the base.
    """
    folder = adapter.folder
    names = (ADAPTER, WEIGHTS, CONFIG, *_tokenizer_files(folder), *GENERATION_FILES)
    files = [
        *(folder / name for name in names),
        *sorted((folder / ADDITIONAL_TEMPLATES).glob("*.jinja")),
        *sentence_files(folder),
    ]
    return f"{digest_files(folder, files)}+{digest(adapter.base)}"


def _setting_faults(settings: Mapping[str, Any]) -> list[str]:
    """Why an adapter with these settings is not merged."""
    kind = settings.get("peft_type")
    if kind != "LORA":
        what = f'peft_type = "{kind}"' if isinstance(kind, str) else "no peft_type"
        if kind in MERGED_AS_THEY_ARE:
            return [f"{what}: it is merged by peft, not here, where LoRA alone is"]
        return [
            f"{what}: it is no change of the base's weights that they could hold; only LoRA is merged here, so train one instead"
        ]
    faults = [f"{name}: {why}, which merged weights do not hold" for name, why in UNSET.items() if settings.get(name)]
    faults += [
        f"{name}: not known here, so it may change what the adapter means; merge it with the release of peft that wrote it"
        for name, value in settings.items()
        if name not in READ and name not in UNSET and value
    ]
    if (start := settings.get("init_lora_weights", True)) not in STARTS:
        faults.append(
            f'init_lora_weights = "{start}": training changed the base as well; save the adapter as plain LoRA '
            "(save_pretrained with path_initial_model_for_weight_conversion)"
        )
    return faults


def _base_folder(named: str, revision: str | None, around: tuple[Path, ...]) -> Path | None:
    """The folder of the base that is `named`: itself, relative to one of `around`, or of that hub id in the mirror or the cache; None else."""
    for place in around:
        if (place / named).is_dir():
            return (place / named).resolve()
    found = find_checkpoint(named, revision)
    return None if found is None else found.path


def trained_as(adapter: Adapter, auto: str) -> str:
    """transformers' class of the model that the adapter was trained on; `auto` where it does not say."""
    end = ADAPTED.get(str(adapter.settings.get("task_type")))
    return auto if end is None else f"AutoModel{end.removeprefix('ForFeatureExtraction')}"


def _own_config(adapter: Adapter) -> dict[str, Any] | None:
    """The configuration beside the adapter, where there is one: that of the model it was trained as."""
    return read_json(adapter.folder / CONFIG) if (adapter.folder / CONFIG).is_file() else None


def write_config(adapter: Adapter, out: Path) -> None:
    """The base's configuration, with the labels that the adapter's own has, and as many as the adapter's head has outputs."""
    config, own = read_json(transformer_folder(adapter.base) / CONFIG), _own_config(adapter)
    if own is not None:
        config = {key: value for key, value in config.items() if key not in LABELS}
        config |= {key: own[key] for key in LABELS if own.get(key) is not None}
    saved, base = saved_shapes(adapter), _base_shapes(transformer_folder(adapter.base))
    outputs = next((shape[0] for end in LABELLED for name, shape in saved.items() if name.endswith(end)), None)
    names = config.get("id2label")
    if outputs is not None and outputs != (len(names) if isinstance(names, dict) else 2):
        config["id2label"] = {str(number): f"LABEL_{number}" for number in range(outputs)}
        config["label2id"] = {f"LABEL_{number}": number for number in range(outputs)}
    for name, shape in saved.items():  # an embedding with rows for tokens that the base does not know
        if _of_base(name, base) == (config.get("vocab_size"), *shape[1:]) and len(shape) == 2 and not name.endswith(LABELLED):
            config["vocab_size"] = shape[0]
    (out / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def copy_files(adapter: Adapter, out: Path) -> None:
    """What a checkpoint has besides its weights and configuration: the adapter's own tokenizer and module files, else the base's tokenizer."""
    base = transformer_folder(adapter.base)
    home = tokenizer_folder(adapter)
    for name in (*_tokenizer_files(home), GENERATION_FILES[0]):
        if (home / name).is_file():
            shutil.copyfile(home / name, out / name)
    if (home / ADDITIONAL_TEMPLATES).is_dir():
        shutil.copytree(home / ADDITIONAL_TEMPLATES, out / ADDITIONAL_TEMPLATES, dirs_exist_ok=True)
    ends = [folder / GENERATION for folder in (adapter.folder, base) if (folder / GENERATION).is_file()]
    (out / GENERATION).unlink(missing_ok=True)  # transformers writes one of its own
    if ends:
        shutil.copyfile(ends[0], out / GENERATION)
    if (adapter.folder / MODULES).is_file():
        for path in sentence_files(adapter.folder):
            copy = out / path.relative_to(adapter.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def tokenizer_folder(adapter: Adapter) -> Path:
    """Where the tokenizer of the merged model is: beside the adapter, or else in its base."""
    own = (adapter.folder / TOKENIZER).is_file() or vocabulary_of(adapter.folder) is not None
    return adapter.folder if own else transformer_folder(adapter.base)


def _tokenizer_files(folder: Path) -> tuple[str, ...]:
    return (
        *TOKENIZER_FILES,
        *LEGACY_TOKENS,
        *(() if vocabulary_of(folder) is None else (VOCAB_TXT, VOCAB_JSON, MERGES, *SENTENCEPIECE)),
    )


def _module_of(name: str) -> tuple[str, str | None]:
    """(path of the module that an adapter's tensor is of, the part of LoRA that it is); None for a tensor that takes the place of another."""
    path = name.removeprefix(PREFIX).split(".")
    number = next((number for number, part in enumerate(path) if part in LOW_RANK), None)
    return (".".join(path), None) if number is None else (".".join(path[:number]), path[number])


def _base_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    config = read_json(folder / CONFIG)
    kind = config.get("model_type")
    return {named_now(name, kind if isinstance(kind, str) else None): shape for name, shape in tensor_shapes(folder).items()}


def _of_base(name: str, base: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Shape of the base's tensor `name`, whose file may have it with or without what the model's class puts before it."""
    if name in base:
        return base[name]
    shorter = name.partition(".")[2]
    return base.get(shorter) or next((shape for other, shape in base.items() if other.endswith(f".{name}")), None)


def saved_shapes(adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that take the place of the base's, such as a new head's, by their name in the model."""
    names = {name: shape for name, shape in file_shapes(adapter.folder / WEIGHTS).items() if _module_of(name)[1] is None}
    return {
        ".".join(part for part in name.removeprefix(PREFIX).split(".") if part not in WRAPPED): shape
        for name, shape in names.items()
        if "original_module" not in name.split(".")
    }


def _fits(part: str, shape: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    """Whether a factor of LoRA has a side of the weights that it changes; a Conv1D (GPT-2) holds them the other way round."""
    return (
        len(weight) != 2
        or (shape[0] if part in ("lora_B", "lora_embedding_B", "lora_magnitude_vector") else shape[-1]) in weight
    )


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
