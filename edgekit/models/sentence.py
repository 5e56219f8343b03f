"""sentence-transformers folders as data: what their module files say, and what of it is refused.

Read as sentence-transformers 6.2 reads them, files of its releases since 0.x included. A folder without modules.json is no such
folder: its other files say nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias, get_args

from edgekit.errors import BadInput
from edgekit.models.documents import read_document
from edgekit.models.shards import tensor_shapes

__all__ = [
    "ACTIVATIONS", "HOMES", "MODULES", "POOLING", "PROMPTS", "SIMILARITIES", "TRANSFORMER", "Dense", "LayerNorm", "Normalize", "Sentence",
    "SentenceModule", "read_sentence", "sentence_files", "transformer_folder", "with_lower_case",
]  # fmt: skip

MODULES, PROMPTS = "modules.json", "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"
TRANSFORMERS = (
    TRANSFORMER,
    *(f"sentence_{name}_config.json" for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")),
)
"""Names that the settings of a Transformer module have had; the first that holds any counts."""
POOLING = "1_Pooling/config.json"
PACKAGE = "sentence_transformers."
TAKEN = ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout")
"""Modules that are taken, by the last part of their type; the parts before it differ between releases."""
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Flag of the releases before 5.4 -> the pooling that it asks for, in the order in which several are concatenated."""
ACTIVATIONS = (
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid", "Mish", "ReLU",
    "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink",
)  # fmt: skip
"""Activations of a Dense module, classes of torch.nn without weights and with settings of their own; files name the class alone."""
HOMES = ("torch.nn", "torch.nn.modules.activation", "torch.nn.modules.linear")
Similarity: TypeAlias = Literal["cosine", "dot", "euclidean", "manhattan"]
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
HARMLESS = ("dtype", "torch_dtype", "attn_implementation", "add_pooling_layer", "low_cpu_mem_usage", "use_safetensors")
"""Arguments for transformers that change no answer beyond rounding: weights are read in float32."""
ARGUMENTS = ("model_args", "model_kwargs", "config_args", "config_kwargs", "tokenizer_args", "processor_kwargs")
SETTINGS = ("max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name", "unpad_inputs")
TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}
"""How a Transformer module gets the states of tokens."""


@dataclass(frozen=True)
class Dense:
    """A linear layer and an activation over the embedding."""

    path: str
    inputs: int
    outputs: int
    bias: bool
    activation: str
    """One of `ACTIVATIONS`."""
    residual: bool
    """Whether the input is added, through a matrix of its own where sizes differ."""

    @property
    def adds_itself(self) -> bool:
        """Whether the input is added as it is, so that input and output must be of one size."""
        return self.residual and self.inputs == self.outputs

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that its file holds."""
        shapes: dict[str, tuple[int, ...]] = {"linear.weight": (self.outputs, self.inputs)}
        shapes |= {"linear.bias": (self.outputs,)} if self.bias else {}
        return shapes | (
            {"residual.weight": (self.outputs, self.inputs)} if self.residual and self.inputs != self.outputs else {}
        )


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation of the embedding."""

    path: str
    inputs: int

    @property
    def outputs(self) -> int:
        """Numbers of its output."""
        return self.inputs

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that its file holds."""
        return {"norm.weight": (self.inputs,), "norm.bias": (self.inputs,)}


@dataclass(frozen=True)
class Normalize:
    """Length 1."""


SentenceModule: TypeAlias = Dense | LayerNorm | Normalize


@dataclass(frozen=True)
class Sentence:
    """What makes an embedding of the states of tokens, and of a text what the tokenizer reads."""

    poolings: tuple[str, ...] = ("mean",)
    """Values of `FLAGS`; several are concatenated."""
    modules: tuple[SentenceModule, ...] = (Normalize(),)
    """What follows the pooling, in order."""
    lower_case: bool = False
    """Whether texts are lower-cased before the tokenizer's own rules."""
    longest: int | None = None
    """Tokens that a text is cut to; None: as the tokenizer says."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What may be put before a text, by name."""
    default_prompt: str | None = None
    """Name of the prompt that is put before a text where none is asked for."""
    truncate: int | None = None
    """Numbers of the embedding that are kept, the first ones, after all modules."""
    similarity: Similarity = "cosine"
    """How two embeddings are compared; one of `SIMILARITIES`."""
    settings: str = TRANSFORMER
    """The file that says `longest` and `lower_case`; one of `TRANSFORMERS`."""

    @property
    def unit(self) -> bool:
        """Whether every embedding has length 1."""
        return bool(self.modules) and isinstance(self.modules[-1], Normalize) and self.truncate is None

    def size(self, hidden: int) -> int:
        """Numbers of an embedding, of a model whose states have `hidden`."""
        whole = next(
            (module.outputs for module in reversed(self.modules) if isinstance(module, Dense)), hidden * len(self.poolings)
        )
        return whole if self.truncate is None else min(whole, self.truncate)


def transformer_folder(folder: Path) -> Path:
    """Where the transformer of checkpoint `folder` and its tokenizer lie: in it, or where modules.json says, as releases before 2.0 wrote."""
    for kind, path in _listed(_read(folder / MODULES)):
        if kind == "Transformer":
            return folder / path if path and _inside(path) and (folder / path / "config.json").is_file() else folder
    return folder


def sentence_files(folder: Path) -> list[Path]:
    """The files of a sentence-transformers folder that decide its answers, beside those of its transformer."""
    found = [folder / MODULES, folder / PROMPTS, *(transformer_folder(folder) / name for name in TRANSFORMERS)]
    for kind, path in _listed(_read(folder / MODULES)):
        if kind != "Transformer" and path and _inside(path):
            found += [folder / path / "config.json", folder / path / "model.safetensors"]
    return [path for path in found if path.is_file()]


def with_lower_case(tokenizer: Mapping[str, object]) -> dict[str, object]:
    """A tokenizer.json that lower-cases first, as sentence-transformers' `do_lower_case` makes it; one that does so already as it is."""
    rules = tokenizer.get("normalizer")
    kind = rules.get("type") if isinstance(rules, dict) else None
    several = rules.get("normalizers") if isinstance(rules, dict) and kind == "Sequence" else None
    every = several if isinstance(several, list) else [rules] if rules is not None else []
    if any(isinstance(rule, dict) and rule.get("type") == "Lowercase" for rule in every):
        return dict(tokenizer)
    return {**tokenizer, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *every]}}


def read_sentence(folder: Path) -> tuple[Sentence | None, tuple[str, ...]]:
    """(what the module files of checkpoint `folder` say, why its embeddings would differ from sentence-transformers' own).

    Each fault names the file and key that says so. None: there is no modules.json, or there are faults.
    """
    if not (folder / MODULES).is_file():
        return None, tuple(_alone(folder))
    faults: list[str] = []
    listed = _listed(_read(folder / MODULES, faults))
    kinds = [kind for kind, _ in listed]
    if not faults and (kinds[:2] != ["Transformer", "Pooling"] or len({"Transformer", "Pooling"} & set(kinds[2:]))):
        faults.append(
            f"{MODULES}: its modules are {', '.join(kinds) or 'none'}; taken are a Transformer, a Pooling and, after it, any of "
            f"{', '.join(TAKEN[2:])}"
        )
    faults += [f"{MODULES}: its module {kind} ({path}) is not computed; taken are {', '.join(TAKEN)} of sentence-transformers"
               for kind, path in listed if kind not in TAKEN]  # fmt: skip
    faults += [f"{MODULES}: the path {path!r} leaves the folder" for _, path in listed if not _inside(path)]
    if faults:
        return None, tuple(faults)
    inner = transformer_folder(folder)
    config = _read(inner / "config.json")
    hidden = next((size for key in ("hidden_size", "dim") if isinstance(size := config.get(key), int)), None)
    poolings, excludes = _pooling(folder, listed[1][1], faults)
    width = None if hidden is None or not poolings else hidden * len(poolings)
    modules = []
    for kind, path in listed[2:]:
        module = _module(folder, kind, path, width, faults)
        modules += [module] if module is not None else []
        width = module.outputs if isinstance(module, Dense | LayerNorm) else width
    lower, longest, named = _transformer(inner, faults)
    prompts, default, truncate, similarity = _settings(folder, faults)
    if excludes and any(prompts.values()):
        faults.append(
            f"{listed[1][1]}/config.json, include_prompt: the tokens of a prompt are left out of the pooling, which the graph cannot tell "
            f"apart; take the prompts out of {PROMPTS} where you need none"
        )
    if faults:
        return None, tuple(faults)
    return Sentence(poolings, tuple(modules), lower, longest, prompts, default, truncate, similarity, named), ()


def _alone(folder: Path) -> list[str]:
    """A pooling that says something and that sentence-transformers does not read without modules.json."""
    if not (folder / POOLING).is_file():
        return []
    faults: list[str] = []
    poolings, _ = _pooling(folder, POOLING.partition("/")[0], faults)
    if faults or poolings == ("mean",):
        return faults
    fault = (
        f"{POOLING}: it asks for {', '.join(poolings)}, and without {MODULES} sentence-transformers takes the mean; copy {MODULES} and "
        "all that it names into the folder, or delete the folder 1_Pooling"
    )
    return [fault]


def _pooling(folder: Path, path: str, faults: list[str]) -> tuple[tuple[str, ...], bool]:
    """(poolings of a Pooling module, whether the tokens of a prompt are left out)."""
    where = f"{path}/config.json"
    document = _read(folder / where, faults, needed=True)
    mode, known = document.get("pooling_mode"), set(FLAGS.values())
    if mode is None:
        found = [name for flag, name in FLAGS.items() if document.get(flag)] or ["mean"]
        unknown = [key for key, value in document.items() if key.startswith("pooling_mode_") and value and key not in FLAGS]
    else:
        found = [str(one) for one in mode] if isinstance(mode, list) else [str(mode)]
        unknown = [name for name in found if name not in known]
    faults += [f"{where}: pooling by {name!r}; known are {', '.join(sorted(known))}" for name in unknown]
    if not found:
        faults.append(f"{where}, pooling_mode: no pooling at all")
    return tuple(found), document.get("include_prompt") is False


def _module(folder: Path, kind: str, path: str, width: int | None, faults: list[str]) -> SentenceModule | None:
    """A module after the pooling, whose input has `width` numbers; None for one that changes nothing when a model answers."""
    where = f"{path}/config.json"
    document = _read(folder / where, faults, needed=kind in ("Dense", "LayerNorm"))
    for key in ("module_input_name", "module_output_name"):
        if kind in ("Dense", "Normalize") and document.get(key) not in (None, "sentence_embedding"):
            faults.append(f"{where}, {key}: {document[key]!r} is not computed; the graph has the sentence_embedding alone")
    if kind == "Normalize":
        return Normalize()
    if kind == "Dropout" or not document:
        return None
    module = _dense(document, path, faults) if kind == "Dense" else _layer_norm(document, path, faults)
    if module is None:
        return None
    if width is not None and module.inputs != width:
        faults.append(f"{where}: it reads {module.inputs} numbers, and is given {width}")
    try:
        shapes = tensor_shapes(folder / path)
    except BadInput as fault:
        pickled = " (pytorch_model.bin is a pickle, which can run code when it is opened)"
        faults.append(
            f"{path}: {fault.what}{pickled if (folder / path / 'pytorch_model.bin').is_file() else ''}; save the model again with "
            "sentence-transformers 2.3 or later, on a machine that you can lose"
        )
        return module
    if shapes != module.shapes:
        faults.append(
            f"{path}/model.safetensors: it holds {_shown(shapes)}, and its config.json asks for {_shown(module.shapes)}"
        )
    return module


def _dense(document: Mapping[str, object], path: str, faults: list[str]) -> Dense | None:
    where = f"{path}/config.json"
    named = document.get("activation_function", "torch.nn.Tanh")
    home, _, activation = str(named).rpartition(".")
    if home not in HOMES or activation not in ACTIVATIONS:
        faults.append(f"{where}, activation_function: {named!r} is not computed; known are torch.nn's {', '.join(ACTIVATIONS)}")
    sizes = [document.get(key) for key in ("in_features", "out_features")]
    flags = [document.get(key, default) for key, default in (("bias", True), ("use_residual", False))]
    if any(type(size) is not int or size < 1 for size in sizes) or any(type(flag) is not bool for flag in flags):
        faults.append(
            f"{where}: in_features and out_features are no whole numbers, or bias or use_residual is not true or false"
        )
        return None
    inputs, outputs = (int(str(size)) for size in sizes)
    return Dense(path, inputs, outputs, bool(flags[0]), activation, bool(flags[1]))


def _layer_norm(document: Mapping[str, object], path: str, faults: list[str]) -> LayerNorm | None:
    size = document.get("dimension")
    if type(size) is not int or size < 1:
        faults.append(f"{path}/config.json, dimension: {size!r} is no whole number")
        return None
    return LayerNorm(path, size)


def _transformer(inner: Path, faults: list[str]) -> tuple[bool, int | None, str]:
    """(whether texts are lower-cased, tokens that they are cut to, the file that says so) of the Transformer module."""
    name = next((name for name in TRANSFORMERS if _read(inner / name)), TRANSFORMER)
    document = _read(inner / name, faults)
    longest, lower = document.get("max_seq_length"), document.get("do_lower_case", False)
    if longest is not None and (type(longest) is not int or longest < 1):
        faults.append(f"{name}, max_seq_length: {longest!r} is no whole number")
    if type(lower) is not bool:
        faults.append(f"{name}, do_lower_case: {lower!r} is not true or false")
    task, text = document.get("transformer_task", "feature-extraction"), document.get("modality_config", {"text": TEXT})
    if task != "feature-extraction":
        faults.append(
            f"{name}, transformer_task: {task!r} is not computed; the graph gives the states of tokens (feature-extraction)"
        )
    elif not isinstance(text, dict) or text.get("text") != TEXT or "message" in text:
        faults.append(
            f"{name}, modality_config: texts are not read as {json.dumps(TEXT)} says, which is what the graph computes"
        )
    elif document.get("module_output_name", "token_embeddings") != "token_embeddings":
        faults.append(
            f"{name}, module_output_name: {document['module_output_name']!r} is not computed; the graph has token_embeddings"
        )
    for key in ARGUMENTS:
        given = document.get(key) or {}
        odd = (
            [one for one in given if one not in HARMLESS and one != "trust_remote_code"] if isinstance(given, dict) else [given]
        )
        faults += [f"{name}, {key}: {one!r} is not read; save the model without it where it changes nothing" for one in odd]
    faults += [
        f"{name}, {key}: it is not computed; take it out where your texts do not need it"
        for key, value in document.items()
        if key not in (*SETTINGS, *ARGUMENTS) and value not in (None, {}, [])
    ]
    return lower is True, longest if type(longest) is int else None, name


def _settings(folder: Path, faults: list[str]) -> tuple[dict[str, str], str | None, int | None, Similarity]:
    """(prompts, name of the default one, numbers that are kept, similarity)."""
    document = _read(folder / PROMPTS, faults)
    kind = document.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        faults.append(f"{PROMPTS}, model_type: a {kind} is no SentenceTransformer, whose embeddings this task answers with")
    given = document.get("prompts") or {}
    if not isinstance(given, dict) or not all(isinstance(text, str | None) for text in given.values()):
        faults.append(f"{PROMPTS}, prompts: not texts by name")
        given = {}
    prompts = {"query": "", "document": ""} | {str(name): text or "" for name, text in given.items()}
    default = document.get("default_prompt_name")
    if default is not None and default not in prompts:
        faults.append(f"{PROMPTS}, default_prompt_name: {default!r} is not among its prompts, {', '.join(prompts)}")
    truncate, named = document.get("truncate_dim"), document.get("similarity_fn_name") or "cosine"
    similarity = next((known for known in SIMILARITIES if known == named), None)
    if truncate is not None and (type(truncate) is not int or truncate < 1):
        faults.append(f"{PROMPTS}, truncate_dim: {truncate!r} is no whole number")
    if similarity is None:
        faults.append(f"{PROMPTS}, similarity_fn_name: {named!r} is not computed; known are {', '.join(SIMILARITIES)}")
    return (
        prompts,
        default if isinstance(default, str) else None,
        truncate if type(truncate) is int else None,
        similarity or "cosine",
    )


def _listed(modules: object) -> list[tuple[str, str]]:
    """(kind, path) of each module of a modules.json; a type outside sentence-transformers is its own kind."""
    found = []
    every = modules.get("modules") if isinstance(modules, dict) else None
    for module in every if isinstance(every, list) else []:
        kind, path = (str(module.get(key, "")) for key in ("type", "path")) if isinstance(module, dict) else (str(module), "")
        found.append((kind.rpartition(".")[2] if kind.startswith(PACKAGE) else kind or "without a type", path))
    return found


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and "\\" not in path


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))


def _read(path: Path, faults: list[str] | None = None, *, needed: bool = False) -> dict[str, object]:
    """A JSON object, or under "modules" a list; empty where there is none, which is a fault where it is needed, or cannot be read."""
    where = f"{path.parent.name}/{path.name}" if path.name == "config.json" else path.name
    try:
        document = read_document(path)
    except BadInput as fault:
        if faults is not None and path.exists():
            faults.append(f"{where}: {fault.what}")
        elif faults is not None and needed:
            faults.append(f"{where}: no such file, and {MODULES} names it")
        return {}
    if isinstance(document, list if path.name == MODULES else dict):
        return {"modules": document} if isinstance(document, list) else document
    if faults is not None:
        faults.append(f"{where}: not {'a list of modules' if path.name == MODULES else 'a JSON object'}")
    return {}
