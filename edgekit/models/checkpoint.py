"""Loading and saving checkpoints: safetensors only, no remote code, every tensor accounted for.

A pruned checkpoint is a Hugging Face folder with one more file, `edgekit.json`, that holds the shape of each layer; the configuration
of one whose hidden size was reduced says what it was before (`built`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from edgekit.errors import BadInput, NotPossibleHere
from edgekit.models.anatomy import ENCODERS, NO_TEXT, NOT_OF_TEXTS, anatomy_named
from edgekit.models.decoders import decoder_types
from edgekit.models.decoders.weights import BUFFERS
from edgekit.models.embedding import NAME, load_embedding, save_embedding
from edgekit.models.files import (
    GENERATION_FILES,
    NO_TOKENIZER,
    SHAPES,
    TOKENIZER,
    TOKENIZER_FILES,
    check_files,
    read_json,
    vocabulary_of,
)
from edgekit.models.frame_mask import mask_by_frames
from edgekit.models.heads import CLASSIFIER, Head, HeadKind, head_of, labels_fault, mark_activation, mark_head
from edgekit.models.hub import fetch_checkpoint
from edgekit.models.image_families import IMAGE_FAMILIES, TOWERS, embedding_faults, is_of_images
from edgekit.models.image_tower import pools, tensors_of_tower, tower_of, with_own_indices, without_mask
from edgekit.models.narrow import build_sizes, narrow
from edgekit.models.sentence import read_sentence, transformer_folder
from edgekit.models.shapes import LayerShape, resize, shapes_of
from edgekit.models.shards import Tensors, open_tensors
from edgekit.models.sound_families import is_of_sounds, reads_samples
from edgekit.models.tensor_names import PRETRAINING_HEADS, RENAMED, named_now
from edgekit.models.tokens import cuts_left, token_ids, with_side
from edgekit.models.view import build_model, open_config
from edgekit.runtime.bundle.names import PREPROCESSOR

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["load", "parameters", "resolve", "save"]

NO_WEIGHTS = ("position_ids", "relative_position_index")
"""Ends of names of tensors that count positions, which modules do by themselves."""
LABELLED = (CLASSIFIER, "AutoModelForTokenClassification", "AutoModelForImageClassification", "AutoModelForAudioClassification")
"""Classes whose outputs have labels."""
OF_TRAINING = "masked_spec_embed"
"""End of the name of what some models of sounds put in the place of frames that are hidden at random while they are trained."""


def resolve(source: str | Path, revision: str | None = None) -> Path:
    """The local folder of a checkpoint: `source` itself, or a hub model's files, of the mirror or downloaded once by huggingface_hub.

    A hub id may end in its revision, as in owner/name@revision.

    Raises:
        BadInput: a hub model of files that must not be loaded, or an encoder whose tokenizer has tokens that its embedding lacks.
        NotPossibleHere: a hub id without a network.
    """
    if Path(source).is_dir():
        return Path(source)
    folder = fetch_checkpoint(str(source), revision)
    raw, inner = check_files(folder), transformer_folder(folder)
    settings = inner / "tokenizer_config.json"
    if raw.get("model_type") in NOT_OF_TEXTS:
        return folder
    if vocabulary_of(inner) is not None:  # of a folder it is compared over the rows
        raise BadInput(f"no {TOKENIZER}, only {vocabulary_of(inner)}", where=str(source), fix=f"download it and {NO_TOKENIZER}")
    ids = token_ids(read_json(inner / TOKENIZER), raw, read_json(settings) if settings.is_file() else {})
    if raw.get("model_type") in ENCODERS and ids is not None and ids.fault is not None:  # of a folder the plan says so
        raise BadInput(ids.fault, where=str(source))
    return folder


def load(
    source: str | Path,
    auto: str = CLASSIFIER,
    *,
    revision: str | None = None,
    new_head: Sequence[str] | None = None,
    head: HeadKind | None = None,
) -> PreTrainedModel:
    """The checkpoint as a model of transformers class `auto`, float32, in eval mode; pruned shapes are rebuilt.

    `new_head` asks for a newly initialised head, the same each time, with these labels (empty for models without label names):
    the head and the labels of the checkpoint are ignored. `head`: what a classification head's outputs must mean, or those of a new one
    do. Without `new_head` every tensor of the head must be there. A pooler that the
    class does not use is left out.

    Raises:
        BadInput: unsafe files, an unknown architecture, tensors missing, left over or not finite, labels missing or duplicate.
        NotPossibleHere: a hub id without a network, or an encoder of images or sounds with an older transformers.
    """
    import transformers

    whole = resolve(source, revision)
    raw, folder = check_files(whole), transformer_folder(whole)
    builder = getattr(transformers, auto)
    known = {config_class.model_type for config_class in builder._model_mapping}
    if raw.get("model_type") not in known:
        raise BadInput(
            f"unknown architecture {raw.get('model_type')!r}",
            where=str(folder / "config.json"),
            fix=f"use one that {auto} knows: {', '.join(sorted(known & {*ENCODERS, *NOT_OF_TEXTS})) or 'none of the encoders here'}",
        )
    config = open_config(whole)
    config.return_dict = True
    config.id2label = {number: str(name) for number, name in config.id2label.items()}  # files may name outputs by numbers
    if new_head:
        config.id2label = dict(enumerate(new_head))
        config.label2id = {label: number for number, label in enumerate(new_head)}
        _check_labels({str(number): label for number, label in enumerate(new_head)}, folder)
    elif auto in LABELLED:
        if new_head is not None:
            _check_labels({}, folder)
        # transformers leaves out the names of a two-label model that are its own defaults, LABEL_0 and LABEL_1.
        _check_labels(raw.get("id2label", {str(number): name for number, name in config.id2label.items()}), folder)
    if new_head is not None:
        mark_head(config, head or "classes")  # whatever the head before it was for
    elif head is not None and auto == CLASSIFIER:
        _check_head(head_of(raw, folder), head, config, folder)
    sentence, faults = read_sentence(whole) if auto == "AutoModel" else (None, ())
    if faults:
        raise BadInput("embeddings would differ from sentence-transformers' own", where=str(whole), faults=list(faults))
    tensors, images = open_tensors(folder), is_of_images(raw)
    if images and auto == "AutoModel":
        if faults := tuple(embedding_faults(raw)):
            raise BadInput("no model of images that gives embeddings", where=str(folder), faults=list(faults))
        config, builder = tower_of(config, tensors.shapes)
    if images and IMAGE_FAMILIES[raw["model_type"]].biased:
        config._attn_implementation = "eager"
    if is_of_sounds(raw):  # nothing is hidden or left out at random here, where numpy would draw it without a seed
        config.mask_time_prob = config.mask_feature_prob = config.layerdrop = 0.0
    kept = build_sizes(config, str(folder / "config.json"))
    with torch.random.fork_rng(devices=[], enabled=new_head is not None):
        if new_head is not None:
            torch.manual_seed(0)
        model = build_model(builder, config)
    kind = model.config.model_type
    if kind in NO_TEXT and not _has(model.base_model, NO_TEXT[kind].layers):
        raise NotPossibleHere(
            f"transformers {transformers.__version__} builds {kind} of other modules",
            fix="pip install 'transformers>=5.17'",
        )
    if auto == "AutoModel" and getattr(model, "pooler", None) is not None and not (images and pools(model, tensors.shapes)):
        model.pooler = None  # of texts, embeddings are pooled from token states; this one was for next-sentence prediction
    if reads_samples(raw):
        mask_by_frames(model)
    if (folder / SHAPES).is_file():
        resize(model, _read_shapes(folder / SHAPES))
    if kept is not None:
        narrow(model, kept)
    _fill(model, tensors, fresh=new_head is not None)
    if sentence is not None:
        load_embedding(model, sentence, whole)
    if images:
        without_mask(model)
        with_own_indices(model)
    model.config.name_or_path = str(folder)
    return model.eval()


def _has(module: torch.nn.Module, path: str) -> bool:
    try:
        attrgetter(path)(module)
    except AttributeError:
        return False
    return True


def _check_head(found: Head, wanted: HeadKind, config: PreTrainedConfig, folder: Path) -> None:
    """Check that a head is of the `wanted` kind, and have `config` say what is applied to one logit.

    Raises:
        BadInput: it is of another kind.
    """
    if faults := found.faults(wanted):
        raise BadInput("the model's head is not this task's", where=str(folder), faults=faults)
    if wanted in ("number", "score"):
        mark_activation(config, found.activation(wanted))


def save(model: PreTrainedModel, folder: Path, *, tokenizer_files_from: Path) -> None:
    """Write `model` in float32 with the tokenizer files of another checkpoint folder; the same model gives the same bytes.

    Of tied tensors the first is written. A decoder's chat template and generation settings are copied too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value for name, value in model.state_dict().items() if not name.startswith(f"{NAME}.")}
    tied = _tied(state)
    name_in_file = {inside: name for name, inside in RENAMED.get(model.config.model_type, {}).items()}
    stored = {
        name_in_file.get(name, name): value.detach().to(torch.float32).contiguous().clone()
        for name, value in sorted(state.items())
        if name not in tied
    }
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = {key: value for key, value in model.config.to_dict().items() if not key.startswith("_")}
    config["id2label"] = {str(number): name for number, name in model.config.id2label.items()}
    config |= {"architectures": [type(model).__name__], "dtype": "float32", "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if anatomy_named(model.config.model_type) is not None:
        shapes = [asdict(shape) for shape in shapes_of(model)]
        (folder / SHAPES).write_text(json.dumps({"schema_version": 1, "layers": shapes}, indent=1) + "\n", encoding="utf-8")
    of_texts = (
        () if is_of_images(model.config.to_dict()) else (*TOKENIZER_FILES, *GENERATION_FILES)
    )  # which CLIP's folder has too
    for name in (*of_texts, PREPROCESSOR):
        if (tokenizer_files_from / name).is_file():
            shutil.copyfile(tokenizer_files_from / name, folder / name)
    _say_side(folder)
    save_embedding(model, folder)


def _say_side(folder: Path) -> None:
    """Have tokenizer.json say itself which side of a long text is cut, where tokenizer_config.json says otherwise."""
    path, settings = folder / "tokenizer.json", folder / "tokenizer_config.json"
    document = read_json(path) if path.is_file() else {}
    left = cuts_left(document, read_json(settings) if settings.is_file() else {})
    if path.is_file() and left != cuts_left(document, {}):
        path.write_text(json.dumps(with_side(document, left=left), ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def parameters(model: PreTrainedModel) -> int:
    """Number of parameters of the model; of tied ones each counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _read_shapes(path: Path) -> list[LayerShape]:
    document = read_json(path)
    layers = document.get("layers")
    fields = {"heads", "head_size", "neurons"}
    if document.get("schema_version") != 1 or not isinstance(layers, list) or not layers:
        raise BadInput("not a list of layer shapes of schema version 1", where=str(path))
    for number, layer in enumerate(layers):
        sound = isinstance(layer, dict) and set(layer) == fields
        if not sound or not all(type(value) is int and 0 <= value < 1_000_000 for value in layer.values()):
            raise BadInput(f"layer {number} is not {sorted(fields)} in whole numbers", where=str(path))
    return [LayerShape(**layer) for layer in layers]


def _check_labels(names: object, folder: Path) -> None:
    if not names:
        raise BadInput(
            "names no labels (id2label)",
            where=str(folder / "config.json"),
            fix='write them into config.json, as {"0": "first label", "1": "second label"}',
        )
    if (fault := labels_fault(names)) is not None:
        raise BadInput(fault, where=str(folder / "config.json"))


def _tied(state: dict[str, torch.Tensor]) -> dict[str, str]:
    """Tensors that share their memory with an earlier one, such as a head that is the embedding: name -> that other's name."""
    first: dict[tuple[int, torch.Size], str] = {}
    tied: dict[str, str] = {}
    for name, value in state.items():
        if value.numel():
            other = first.setdefault((value.data_ptr(), value.shape), name)
            tied |= {name: other} if other != name else {}
    return tied


def _fill(model: PreTrainedModel, tensors: Tensors, *, fresh: bool) -> None:
    """Copy every tensor into `model`, one at a time, and refuse what transformers would initialise, ignore or accept silently.

    `stored_as`: name in the model -> name in the file.
    """
    base, state = model.base_model_prefix, model.state_dict()
    architecture = model.config.model_type
    stored_as = {
        named_now(name, architecture): name for name in tensors.shapes if not name.endswith((*NO_WEIGHTS, OF_TRAINING))
    }
    if architecture in decoder_types():
        if not any(name.startswith(f"{base}.") for name in stored_as):  # saved without its head, as the first GPT-2 was
            stored_as = {f"{base}.{name}" if f"{base}.{name}" in state else name: stored for name, stored in stored_as.items()}
        stored_as = {name: stored for name, stored in stored_as.items() if name in state or not BUFFERS.search(name)}
    if architecture in TOWERS.values():
        stored_as = tensors_of_tower(stored_as, state)
    bare = not any(name.startswith(f"{base}.") for name in state)
    if bare:  # an encoder without a head, which may have been saved with one
        prefix = f"{base}."
        encoder = {name.removeprefix(prefix): stored for name, stored in stored_as.items() if name.startswith(prefix)}
        stored_as = encoder or stored_as
    elif not fresh and not any(name.startswith(f"{base}.") for name in stored_as):  # its encoder saved as one without a head is
        stored_as = {f"{base}.{name}" if f"{base}.{name}" in state else name: stored for name, stored in stored_as.items()}
    if not any("pooler." in name for name in state):
        stored_as = {name: stored for name, stored in stored_as.items() if "pooler." not in name}
    parts = {name.partition(".")[0] for name in state}
    stored_as = {
        name: stored
        for name, stored in stored_as.items()
        if name.partition(".")[0] in parts or not name.startswith(PRETRAINING_HEADS)
    }
    absent: set[str] = set()  # tensors that need not be in the file
    if fresh and not bare:
        stored_as = _without_head(stored_as, base)
        absent = {name for name in state if _of_head(name, base) and name not in stored_as}
    tied = _tied(state)
    absent |= {name for name, other in tied.items() if name not in stored_as and other in stored_as}
    faults = [f"missing tensor {name}" for name in sorted(set(state) - set(stored_as) - absent)]
    faults += [f"unknown tensor {name}" for name in sorted(set(stored_as) - set(state))]
    for name in sorted(set(state) & set(stored_as)):
        shape = tensors.shapes[stored_as[name]]
        if state[name].shape != shape:
            faults.append(f"{name}: shape {shape}, the configuration asks for {tuple(state[name].shape)}")
            continue
        tensor = tensors.read(stored_as[name])
        if not torch.isfinite(tensor).all():
            faults.append(f"{name}: holds NaN or Inf")
        elif name in tied and tied[name] in stored_as and not tensor.equal(tensors.read(stored_as[tied[name]])):
            faults.append(f"{name}: the configuration ties it to {tied[name]}, but the file holds another")
        else:
            state[name].copy_(tensor)
    if faults:
        raise BadInput("weights that cannot be used", where=str(tensors.folder), faults=faults[:20])


def _of_head(name: str, base: str) -> bool:
    """Whether a tensor is outside the encoder. The pooler counts as head: language-model checkpoints have none."""
    return not name.startswith(f"{base}.") or name.startswith(f"{base}.pooler.")


def _without_head(stored_as: dict[str, str], base: str) -> dict[str, str]:
    """The encoder's tensors, and the pooler where there is one, by name; bare encoders name theirs without the prefix."""
    if not any(name.startswith(f"{base}.") for name in stored_as):
        stored_as = {f"{base}.{name}": stored for name, stored in stored_as.items()}
    return {name: stored for name, stored in stored_as.items() if name.startswith(f"{base}.")}
