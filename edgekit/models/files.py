"""The files of a checkpoint: which belong to it, what is refused before any is opened, and one digest of them all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput
from edgekit.models.anatomy import NOT_OF_TEXTS
from edgekit.models.complete import tensor_faults
from edgekit.models.configuration import config_faults
from edgekit.models.declared import FLOATS, number_format_faults, size_faults
from edgekit.models.documents import check_size, read_document
from edgekit.models.finite import hash_and_look
from edgekit.models.image_families import is_of_images, unserved_images
from edgekit.models.sentence import POOLING, sentence_files, transformer_folder
from edgekit.models.shards import INDEX, WHOLE, few, no_weights, tensor_shapes, tensor_types, weight_files
from edgekit.models.sound_families import SOUND_FAMILIES, is_of_sounds, unserved_sounds
from edgekit.runtime.bundle.names import CHAT_TEMPLATE, PREPROCESSOR
from edgekit.runtime.files import open_file
from edgekit.runtime.pixels import PIXEL_VALUES

__all__ = [
    "ADAPTED", "ADAPTER", "ADDITIONAL_TEMPLATES", "GENERATION_FILES", "LEGACY_TOKENS", "MERGES", "MODEL_FILES", "NO_TOKENIZER", "SHAPES",
    "SENTENCEPIECE", "TOKENIZER", "TOKENIZER_FILES", "VOCAB_JSON", "VOCAB_TXT", "check_files", "digest", "digest_files", "input_names",
    "merging", "read_json", "refuse_links_out", "sound_config", "vocabulary_of",
]  # fmt: skip

TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json")
VOCAB_TXT, VOCAB_JSON, MERGES = "vocab.txt", "vocab.json", "merges.txt"
SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model")
"""What a SentencePiece model is called by ALBERT and T5, XLM-RoBERTa, Llama, and DeBERTa."""
PROCESSOR = "processor_config.json"
"""Where transformers 5 keeps a feature extractor's settings where it is saved as a part of a processor, as speech models' are."""
NO_TOKENIZER = "write one into the folder: transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
"""What to do where a folder has no tokenizer.json."""
NO_PREPROCESSOR = "write one into the folder: transformers.{}.from_pretrained(ORIGINAL).save_pretrained(folder)"
"""What to do where a folder of a model of images or sounds does not say how it reads them, by transformers' class."""
GENERATION_FILES = (CHAT_TEMPLATE, "generation_config.json")
"""Files that a decoder's folder may have besides: how chat turns are written, and which tokens end an answer."""
ADDITIONAL_TEMPLATES = "additional_chat_templates"
"""Folder of a decoder's chat templates that have names."""
LEGACY_TOKENS = ("special_tokens_map.json", "added_tokens.json")
"""What older releases of transformers kept special tokens in, and newer ones still read."""
SHAPES = "edgekit.json"
"""What a checkpoint whose layers were cut here says of the shape of each."""
MODEL_FILES = ("config.json", SHAPES, *TOKENIZER_FILES, *LEGACY_TOKENS, *GENERATION_FILES, PREPROCESSOR)
"""The files of a checkpoint besides its weights and those of sentence-transformers and of slow tokenizers."""
ADAPTER = "adapter_config.json"
"""What peft writes beside an adapter's weights, which alone are no model."""
ADAPTED = {
    "SEQ_CLS": "ForSequenceClassification", "TOKEN_CLS": "ForTokenClassification", "QUESTION_ANS": "ForQuestionAnswering",
    "CAUSAL_LM": "ForCausalLM", "FEATURE_EXTRACTION": "ForFeatureExtraction",
}  # fmt: skip
"""What an adapter's configuration calls its task -> end of the name of peft's class that loads it with its base."""
PACKED = (
    ".qweight",
    ".qzeros",
    ".g_idx",
    ".absmax",
    ".quant_map",
    ".SCB",
    ".weight_packed",
    ".weight_scale",
    ".weight_scale_inv",
)
"""What the names of tensors end in where weights are quantized already: GPTQ and AWQ, bitsandbytes, compressed-tensors, fp8."""
LIBRARIES_READ = (*MODEL_FILES, PROCESSOR, ADAPTER, WHOLE, INDEX, VOCAB_TXT, VOCAB_JSON, MERGES, *SENTENCEPIECE)
"""Files of a checkpoint's folder that transformers, tokenizers or safetensors open by themselves."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from `path`.

    Raises:
        BadInput: missing, unreadable, or not an object.
    """
    document = read_document(path)
    if not isinstance(document, dict):
        raise BadInput("holds no JSON object", where=str(path))
    return document


def check_files(folder: Path) -> dict[str, Any]:
    """The configuration of checkpoint `folder`, after refusing what must not be loaded.

    Raises:
        BadInput: an adapter, a pickle checkpoint, missing weights, an index that cannot be used, weights that are quantized already,
            custom code, a configuration that no model can have or that the weights contradict, links that leave the folder, no tokenizer.
    """
    if not folder.is_dir():
        raise BadInput("no such model folder", where=str(folder))
    folder = transformer_folder(folder)
    if (folder / ADAPTER).is_file():
        _refuse_adapter(folder)
    inner = sorted(path.parent for path in folder.glob("*/config.json") if [*path.parent.glob("*.safetensors")])
    if inner and not (folder / "config.json").exists():
        raise BadInput(f"no model, but a folder of one: {inner[-1].name}", where=str(folder), fix=f"name {inner[-1]}")
    refuse_links_out(folder)
    for path in folder.iterdir():
        if path.name in LIBRARIES_READ or path.suffix == ".safetensors":
            check_size(path)
    config = read_json(folder / "config.json")
    if config.get("auto_map"):
        raise BadInput(
            "this model brings its own code (auto_map), which edgekit never runs",
            where=str(folder / "config.json"),
            fix="use a model whose architecture is part of transformers",
            see="pickles-and-code-of-a-model",
        )
    if not weight_files(folder):
        raise no_weights(folder)
    _refuse_quantized(folder, config)
    _refuse_unsound(config, folder)
    faults = number_format_faults(tensor_types(folder)) + size_faults(
        config, tensor_shapes(folder), cut=(folder / SHAPES).is_file()
    )
    if faults:
        raise BadInput(
            "its configuration and its weights do not belong together", where=str(folder), faults=few(faults),
            fix="use the config.json and the weights that were saved together",
        )  # fmt: skip
    if config.get("model_type") in NOT_OF_TEXTS:
        if not (folder / PREPROCESSOR).is_file() and not (is_of_sounds(config) and _within_processor(folder)):
            what, reader = ("images", "AutoImageProcessor") if is_of_images(config) else ("sounds", "AutoFeatureExtractor")
            raise BadInput(
                f"no {PREPROCESSOR}, which says how {what} become numbers",
                where=str(folder),
                fix=NO_PREPROCESSOR.format(reader),
            )
    elif not (folder / TOKENIZER).is_file() and vocabulary_of(folder) is None:
        raise BadInput(f"no {TOKENIZER}, and no vocabulary that transformers makes one of", where=str(folder), fix=NO_TOKENIZER)
    return config


def _within_processor(folder: Path) -> bool:
    """Whether the settings of a feature extractor stand in those of a processor."""
    path = folder / PROCESSOR
    return path.is_file() and isinstance(read_json(path).get("feature_extractor"), dict)


def sound_config(folder: Path) -> dict[str, Any]:
    """The configuration in `folder`, of a model that could be, whatever weights there are.

    Raises:
        BadInput: no such file, a link that leaves the folder, or a configuration that no model here can have.
    """
    refuse_links_out(folder)
    config = read_json(folder / "config.json")
    _refuse_unsound(config, folder)
    return config


def _refuse_unsound(config: Mapping[str, object], folder: Path) -> None:
    if faults := config_faults(config) + unserved_images(config) + unserved_sounds(config):
        raise BadInput(
            "a configuration that no model here can have", where=str(folder / "config.json"), faults=few(faults),
            fix="correct it, or use the config.json that was saved with these weights",
        )  # fmt: skip


def refuse_links_out(folder: Path) -> None:
    """Refuse links to what lies elsewhere: a downloaded folder could name any file of this machine. huggingface_hub's cache, whose
    snapshots are links to blobs beside them, is as it should be."""
    home = Path(os.path.realpath(folder))
    homes = [home, *([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])]
    for path in [
        *(folder / name for name in LIBRARIES_READ),
        *folder.glob("*.safetensors"),
        *folder.glob("*/*.json"),
        *folder.glob("*/*.safetensors"),
    ]:
        real = Path(os.path.realpath(path))
        if (path.is_symlink() or path.parent.is_symlink()) and not any(real.is_relative_to(home) for home in homes):
            raise BadInput(f"a link that leaves the folder, to {real}", where=str(path), fix="put the file itself there")


def vocabulary_of(folder: Path) -> str | None:
    """The file that holds the vocabulary of a folder without tokenizer.json, where transformers may make one of it; else None.

    Byte-level BPE needs its merges as well.
    """
    if (folder / TOKENIZER).is_file():
        return None
    whole = [VOCAB_TXT, *([VOCAB_JSON] if (folder / MERGES).is_file() else []), *SENTENCEPIECE]
    return next((name for name in whole if (folder / name).is_file()), None)


def _refuse_adapter(folder: Path) -> None:
    """Say what an adapter's folder is, of what kind and whose. transformers would load its base even where whole weights lie beside it."""
    settings = read_json(folder / ADAPTER)
    base, kind = settings.get("base_model_name_or_path"), settings.get("peft_type")
    of = f" of {base}" if isinstance(base, str) and base else ""
    raise BadInput(
        f"an adapter{of} ({ADAPTER}{f', {kind}' if isinstance(kind, str) else ''}), which is no model by itself",
        where=str(folder),
        fix=f"name it as the [model] id of a recipe, which merges LoRA into a base that is here; or {merging(settings)}",
    )


def merging(settings: Mapping[str, object]) -> str:
    """How an adapter with these settings becomes a checkpoint, by peft."""
    auto = f"AutoPeftModel{ADAPTED.get(str(settings.get('task_type')), '')}"
    return (
        f"merge it into its base and name the folder that this writes: peft.{auto}.from_pretrained(folder).merge_and_unload()"
        ".save_pretrained(merged), and the tokenizer's files beside it"
    )


def _refuse_quantized(folder: Path, config: Mapping[str, object]) -> None:
    fix = "use the checkpoint that it was quantized from, in float32, float16 or bfloat16: edgekit quantizes for the target itself"
    settings = config.get("quantization_config")
    if settings not in (None, {}):
        method = settings.get("quant_method") if isinstance(settings, dict) else None
        raise BadInput(
            f"this model is quantized already (quantization_config, {method or 'of no method'})",
            where=str(folder / "config.json"),
            fix=f"{fix}; where the weights are whole, take quantization_config out of config.json",
        )
    for name, kind in tensor_types(folder).items():
        if name.endswith(PACKED) or (name.endswith(".weight") and kind not in FLOATS):
            raise BadInput(f"its weights are quantized already: {name} is {kind}", where=str(folder), fix=fix)


def input_names(folder: Path, *, pairs: bool) -> list[str]:
    """Inputs of the graph of checkpoint `folder`: of a model of images their pixel values, of sounds what is read of them; `token_type_ids`
    only where texts come in pairs, the model has several types, and its tokenizer gives them (`model_input_names` of tokenizer_config.json).

    Texts come in pairs where the task says so (`pairs`), or the checkpoint itself (`text_pairs` in its configuration).

    Raises:
        BadInput: no readable configuration.
    """
    config = read_json(folder / "config.json")
    if is_of_images(config):
        return [PIXEL_VALUES]
    if (family := SOUND_FAMILIES.get(str(config.get("model_type")))) is not None:
        return [family.input_name]
    path = folder / "tokenizer_config.json"
    named = (read_json(path) if path.is_file() else {}).get("model_input_names")
    if isinstance(named, list) and "token_type_ids" not in named:
        return ["input_ids", "attention_mask"]
    segments = (pairs or config.get("text_pairs") is True) and (config.get("type_vocab_size") or 0) > 1
    return ["input_ids", "attention_mask", *(["token_type_ids"] if segments else [])]


def digest(folder: Path) -> str:
    """sha256 over the names and contents of the files that make up the checkpoint.

    Raises:
        BadInput: as `check_files`; tensors that are missing or do not fit the others, or that hold NaN or Inf.
    """
    config, inner = check_files(folder), transformer_folder(folder)
    templates = sorted((folder / ADDITIONAL_TEMPLATES).glob("*.jinja"))
    files = [
        *weight_files(inner),
        *(inner / name for name in MODEL_FILES),
        folder / POOLING,
        *sentence_files(folder),
        *templates,
        *([inner / VOCAB_JSON, inner / PROCESSOR] if is_of_sounds(config) else []),
        *([] if vocabulary_of(inner) is None else [inner / name for name in (VOCAB_TXT, VOCAB_JSON, MERGES, *SENTENCEPIECE)]),
    ]
    return digest_files(folder, files, tensor_faults(config, tensor_shapes(inner), cut=(inner / SHAPES).is_file()))


def digest_files(folder: Path, files: Iterable[Path], faults: Sequence[str] = ()) -> str:
    """sha256 over the names and contents of those of `files`, all in `folder`, that are there.

    Raises:
        BadInput: `faults` of the weights, and tensors that hold NaN or Inf, which the same pass over the files shows.
    """
    total, wrong = hashlib.sha256(), [*faults]
    for path in dict.fromkeys(files):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            if path.suffix == ".safetensors":
                one, odd = hash_and_look(path)
                wrong += [f"{tensor}: holds NaN or Inf" for tensor in odd]
            else:
                with open_file(path) as file:
                    one = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{name} {one}\n".encode())
    if wrong:
        raise BadInput(
            "weights that cannot be used", where=str(folder), faults=few(wrong),
            fix="use files that were saved together and whole, before training went wrong where there is NaN or Inf",
        )  # fmt: skip
    return total.hexdigest()
