"""What is known of a model before anything is loaded: read once off its configuration, tokenizer and the headers of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgekit.config.recipe import NewModel
from edgekit.errors import BadInput
from edgekit.models.complete import head_fault
from edgekit.models.conversations import template_fault
from edgekit.models.declared import SIZES
from edgekit.models.decoders import decoder_types, unserved
from edgekit.models.documents import read_document
from edgekit.models.ends import SETTINGS, ends_of, generation_faults
from edgekit.models.files import LEGACY_TOKENS, TOKENIZER_FILES, read_json, vocabulary_of
from edgekit.models.heads import Head, head_of, labels_fault
from edgekit.models.image_families import embedding_faults, is_of_images, vision_of
from edgekit.models.positions import positions_of, short_positions
from edgekit.models.sentence import Sentence, read_sentence, transformer_folder
from edgekit.models.shards import tensor_shapes
from edgekit.models.slow_tokenizer import numbered_tokens
from edgekit.models.spelling import spelling_faults
from edgekit.models.tokens import TokenIds, cuts_left, longest_of, token_ids

__all__ = ["HEADS", "ModelFacts", "cut_to", "facts_of_checkpoint", "facts_of_new"]

MASK_HEADS = (
    "cls.predictions.", "lm_predictions.", "lm_head.", "vocab_transform.", "generator_predictions.", "predictions.", "decoder.",
)  # fmt: skip
"""What the tensors of a masked language model's head begin with."""
HEADS = ("classifier", "classifier.dense", "classifier.out_proj", "pre_classifier", "qa_outputs", "pooler.dense")
"""Linear modules that training a new head may put on an encoder."""
LABELLED = ("ForSequenceClassification", "ForTokenClassification")
"""Ends of names of transformers' classes whose outputs have labels."""
BERT_LINEARS = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "intermediate.dense",
    "output.dense",
)  # fmt: skip
AST_LINEARS = ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2")


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model; None is not known, as of a hub model before it is downloaded."""

    checkpoint: str | None = None
    """Folder or hub id of the checkpoint that it is, or was made from; None where the recipe trains it from nothing."""
    architecture: str | None = None
    """`model_type`, as transformers calls it."""
    layers: int | None = None
    hidden_size: int | None = None
    heads: int | None = None
    """Query heads of a layer; the most that any layer has where `uniform` is False."""
    kv_heads: int | None = None
    """Heads of keys and values of a layer, likewise."""
    intermediate_size: int | None = None
    """Neurons of a layer's feed-forward block, likewise."""
    uniform: bool = True
    """Whether all layers have exactly `heads` and `intermediate_size`."""
    unread: tuple[str, ...] = ()
    """What its files ask for and nothing here computes, with file and key."""
    own_form: bool = False
    """Whether it has shapes that transformers cannot read, as a checkpoint that was pruned here has."""
    positions: int | None = None
    """Tokens that it has positions for."""
    short_positions: int | None = None
    """Of a model of LongRoPE: tokens of the longest text that it reads with its short factors."""
    longest: int | None = None
    """Tokens that transformers' tokenizer cuts a text to."""
    token_ids: TokenIds | None = None
    """The tokenizer's ids beside the embedding's rows; None where a step has changed them."""
    cuts_left: bool = False
    """Whether a text that is too long loses its beginning."""
    unreadable: tuple[str, ...] = ()
    """Files of it that cannot be read, with why."""
    unserved: tuple[str, ...] = ()
    """Options of a decoder that no graph here has, with file and key."""
    labels_fault: str | None = None
    """Why its `id2label` does not name its outputs."""
    odd_ends: tuple[str, ...] = ()
    """What its files call the end or the beginning of a text and is no token id."""
    template_fault: str | None = None
    """Why it is not known how its conversations are written."""
    tokenizer: str | None = None
    """Kind of the tokenizer's model, as `tokenizer.json` names it: WordPiece, Unigram, BPE."""
    vocabulary: Mapping[str, object] | None = None
    """Tokens, as `tokenizer.json` numbers them; None where a step has changed them."""
    vocabulary_alone: bool = False
    """Whether its folder has a vocabulary, of which transformers makes the tokenizer, and no tokenizer.json."""
    token_changes: tuple[str, ...] = ()
    """Methods that have changed the tokens since `checkpoint`, in order."""
    labels: tuple[str, ...] | None = None
    """Names of the outputs, in order."""
    head: Head | None = None
    """What the outputs of its classification head mean."""
    sentence: Sentence | None = None
    """What sentence-transformers makes of it; None for a model of no such folder."""
    sentence_faults: tuple[str, ...] = ()
    """What sentence-transformers computes of it and the graph does not."""
    embedding_faults: tuple[str, ...] = ()
    """Why a model of images gives no embedding of an image."""
    modules: tuple[str, ...] | None = None
    """Paths of the modules that have a weight matrix."""
    fills_masks: bool | None = None
    """Whether its weights have the head of a masked language model."""
    pruned: bool = False
    """Whether a step of the recipe has pruned it."""

    @property
    def embedding_size(self) -> int | None:
        """Numbers of an embedding that it gives."""
        if self.hidden_size is None:
            return None
        return self.hidden_size if self.sentence is None else self.sentence.size(self.hidden_size)


def facts_of_checkpoint(checkpoint: str, over: Mapping[str, tuple[int, ...]] = MappingProxyType({})) -> ModelFacts:
    """Facts of a folder, as far as its files tell; of a hub id, or what is no checkpoint, none. Nothing is refused here: the
    stage that loads the model says what is wrong with it. `over`: shapes of tensors that take the place of the folder's."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return ModelFacts(checkpoint)
    sentence, sentence_faults = read_sentence(folder)
    folder = transformer_folder(folder)
    config, shapes = _document(folder / "config.json"), _layer_shapes(folder)
    sizes = vision_of(config)
    size = {name: next((sizes[key] for key in keys if type(sizes.get(key)) is int), None) for name, keys in SIZES.items()}
    size_asked = dict(size)
    if shapes:  # written beside a checkpoint whose layers may have been cut; the configuration states the uncut sizes
        heads, neurons = (max(sizes) for sizes in zip(*shapes, strict=True))
        size |= {"layers": len(shapes), "heads": heads, "kv_heads": heads, "intermediate_size": neurons}
    architecture = config.get("model_type")
    document, settings = _document(folder / "tokenizer.json"), folder / SETTINGS
    generation = _document(settings) if settings.is_file() else None
    if (numbered := numbered_tokens(folder)) is not None:
        document = {"model": {"vocab": numbered}}
    named = _document(folder / "tokenizer_config.json")
    if is_of_images(config):  # CLIP's folder has the tokenizer of its texts as well, which nothing here reads
        document, named = {}, {}
    model = document.get("model")
    kind, vocabulary = (model.get("type"), model.get("vocab")) if isinstance(model, dict) else (None, None)
    tensors = _tensors(folder)
    matrices = None if tensors is None else [name for name, shape in tensors.items() if len(shape) == 2]
    return ModelFacts(
        checkpoint=checkpoint,
        architecture=architecture if isinstance(architecture, str) else None,
        layers=size["layers"],
        hidden_size=size["hidden_size"],
        heads=size["heads"],
        kv_heads=size["kv_heads"],
        intermediate_size=size["intermediate_size"],
        unread=(*_unread(config, named), *spelling_faults(folder, config)),
        uniform=len(set(shapes)) <= 1,
        own_form="built" in config or bool(set(shapes) - {(size_asked["heads"], size_asked["intermediate_size"])}),
        positions=positions_of(config),
        short_positions=short_positions(config),
        longest=longest_of(named),
        cuts_left=cuts_left(document, named),
        token_ids=token_ids(document, config, named),
        unreadable=_unreadable(folder),
        unserved=tuple(unserved(config)),
        labels_fault=(labels_fault(config["id2label"]) if config.get("id2label") else None)
        or head_fault(config, {**(tensors or {}), **over}),
        odd_ends=(*ends_of(config, generation).faults, *generation_faults(config, generation)),
        template_fault=template_fault(folder) if architecture in decoder_types() else None,
        tokenizer=kind if isinstance(kind, str) else None,
        vocabulary=_numbered(vocabulary),
        vocabulary_alone=vocabulary_of(folder) is not None,
        labels=_labels(config),
        head=head_of(config, folder) if isinstance(architecture, str) else None,
        sentence=sentence,
        sentence_faults=sentence_faults,
        embedding_faults=tuple(embedding_faults(config)),
        modules=None if matrices is None else tuple(name.removesuffix(".weight") for name in matrices),
        fills_masks=None if tensors is None else any(name.startswith(MASK_HEADS) for name in tensors),
    )


def facts_of_new(new: NewModel, *, decoder: bool) -> ModelFacts:
    """Facts of the model that a [model.new] table asks for: a Llama where it is to be a `decoder`, an AST where it reads sounds, else a BERT."""
    if new.sound is not None:
        linears = [
            f"audio_spectrogram_transformer.layers.{layer}.{name}" for layer in range(new.layers) for name in AST_LINEARS
        ]
        return ModelFacts(
            architecture="audio-spectrogram-transformer",
            layers=new.layers,
            hidden_size=new.width,
            heads=new.heads,
            kv_heads=new.heads,
            intermediate_size=new.neurons,
            modules=(*linears, "classifier.dense"),
        )
    layers = [f"bert.encoder.layer.{layer}.{name}" for layer in range(new.layers) for name in BERT_LINEARS]
    return ModelFacts(
        architecture="llama" if decoder else "bert",
        layers=new.layers,
        hidden_size=new.width,
        heads=new.heads,
        kv_heads=new.heads,
        intermediate_size=new.neurons,
        tokenizer="BPE" if decoder else "WordPiece",
        modules=None if decoder else (*layers, *HEADS),
    )


def _unread(config: Mapping[str, object], tokenizer: Mapping[str, object]) -> tuple[str, ...]:
    faults = []
    if config.get("is_decoder") is True:
        faults.append(
            "config.json, is_decoder: each token would see those before it alone, and encoders here see all; take it out if it is wrong"
        )
    if config.get("chunk_size_feed_forward"):
        faults.append(
            "config.json, chunk_size_feed_forward: with it transformers reads texts of some lengths alone; write 0, which gives the same"
        )
    if config.get("model_type") == "deberta-v2" and config.get("conv_kernel_size"):
        faults.append(
            "config.json, conv_kernel_size: a convolution beside the first layer, as in deberta-v2-xlarge, is not computed; use a model without it"
        )
    if tokenizer.get("split_special_tokens") is True:
        faults.append(
            "tokenizer_config.json, split_special_tokens: special tokens in a text are cut as text, which a bundle's tokenizer does not; take it out"
        )
    pad, rows = config.get("pad_token_id"), config.get("vocab_size")
    if type(pad) is int and type(rows) is int and pad >= rows:
        faults.append(
            f"config.json, pad_token_id: {pad} is beyond the embedding's {rows} rows; write the id of the padding token"
        )
    return tuple(faults)


def cut_to(have: int | None, asked: int | None) -> int | None:
    """How many of `have` layers, heads or neurons there are once `asked` were to stay; None for `asked` leaves them all."""
    if have is None or asked is None:
        return have if asked is None else asked
    return min(have, asked)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = read_document(path)
    except BadInput:
        return {}
    return document if isinstance(document, dict) else {}


def _unreadable(folder: Path) -> tuple[str, ...]:
    """Of the JSON files that a checkpoint may have, those that hold none."""
    faults = []
    for name in ("config.json", *TOKENIZER_FILES, *LEGACY_TOKENS, SETTINGS):
        if (folder / name).is_file():
            try:
                read_json(folder / name)
            except BadInput as fault:
                faults.append(f"{name}: {fault.what}; write it again, or take it out where it is not needed")
    return tuple(faults)


def _layer_shapes(folder: Path) -> list[tuple[int, int]]:
    """(heads, neurons) of each layer, where `edgekit.json` says so."""
    layers = _document(folder / "edgekit.json").get("layers")
    try:
        return [(int(layer["heads"]), int(layer["neurons"])) for layer in layers or []]
    except (KeyError, TypeError, ValueError):
        return []


def _numbered(vocabulary: object) -> Mapping[str, object] | None:
    """Unigram lists its tokens; the other kinds map them to ids."""
    if isinstance(vocabulary, list):
        vocabulary = {str(number): token for number, token in enumerate(vocabulary)}
    return vocabulary if isinstance(vocabulary, dict) and vocabulary else None


def _labels(config: Mapping[str, object]) -> tuple[str, ...] | None:
    """Names of the outputs in order; transformers leaves those of a two-label model out that are its own defaults."""
    names = config.get("id2label")
    if not isinstance(names, dict) or not names:
        built = config.get("architectures")
        labelled = isinstance(built, list) and any(str(name).endswith(LABELLED) for name in built)
        return ("LABEL_0", "LABEL_1") if labelled and config.get("num_labels", 2) == 2 else None
    return tuple(str(names[key]) for key in sorted(names, key=lambda key: (len(key), key)))


def _tensors(folder: Path) -> Mapping[str, tuple[int, ...]] | None:
    try:
        return tensor_shapes(folder)
    except BadInput:
        return None
