"""What is asked for: one TOML a recipe. Each compression method brings the type of its own settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Union
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, create_model, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from edgekit.config.quantize import RecipeQuantize
from edgekit.config.shipped import shipped_names
from edgekit.config.sounds import NewSound, SoundChanges
from edgekit.config.toml import Strict, Whole

__all__ = [
    "Accept",
    "Alpha",
    "Batch",
    "Calibration",
    "Data",
    "Draft",
    "Epochs",
    "Finetune",
    "LONGEST_INPUT",
    "LearningRate",
    "MethodSettings",
    "Model",
    "NewModel",
    "Precision",
    "Recipe",
    "RowSource",
    "SHORTEST_INPUT",
    "Temperature",
    "TrainingSettings",
    "UNASKED_LENGTH",
    "recipe_names",
    "recipe_of",
]

MOST_STEPS = 100
"""Compression steps of a recipe. Each is planned after all before it; nobody takes more than ten."""
Epochs = Annotated[int, Field(ge=1, le=10_000, description="Training epochs.")]
Batch = Annotated[int, Field(ge=1, le=65_536, description="Training batch size, in sequences.")]
LearningRate = Annotated[float, Field(gt=0, lt=1, description="Peak learning rate: linear warm-up, then linear decay to zero.")]
Precision = Annotated[
    Literal["fp32", "bf16"],
    Field(description="Number format of MatMuls in training: bf16 is up to twice as fast on hardware that has bf16 kernels."),
]
Temperature = Annotated[
    float, Field(gt=0, le=100, description="Softmax temperature of teacher and student in the soft-label loss.")
]
Alpha = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="Weight of the soft-label loss; the hard-label loss has 1 - alpha. 0: hard labels alone.",
    ),
]


class NewModel(Strict):
    """A model trained from random weights, with a vocabulary learned from the training rows: a BERT with WordPiece, or for
    text-generation a Llama with byte-level BPE; for audio-classification, without a vocabulary, an Audio Spectrogram Transformer."""

    layers: int = Field(4, ge=1, le=48)
    """Transformer layers."""
    width: int = Field(192, ge=16, le=2048)
    """Hidden size."""
    heads: int = Field(4, ge=1, le=64)
    """Attention heads of each layer; they divide the hidden size."""
    neurons: int = Field(768, ge=16, le=8192)
    """Intermediate size of each layer's feed-forward block."""
    vocabulary: int = Field(3000, ge=200, le=200_000)
    """Largest number of tokens in the vocabulary."""
    sound: NewSound | None = None
    """What a model of sounds reads."""
    changes: SoundChanges | None = None
    """How training sounds are changed."""
    epochs: Epochs = 10
    learning_rate: LearningRate = 8e-4
    batch: Batch = 64

    @model_validator(mode="after")
    def _even(self) -> NewModel:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Finetune(Strict):
    """Training of a new head and the encoder below it, on the labels of the rows. The epoch that is best on validation rows is kept."""

    epochs: Epochs = 3
    patience: int | None = Field(None, ge=1, le=10_000)
    """Stop after so many epochs in a row without a better one, before `epochs` are over."""
    learning_rate: LearningRate = 5e-5
    batch: Batch = 32
    precision: Precision = "fp32"


SHORTEST_INPUT, UNASKED_LENGTH, LONGEST_INPUT = 8, 128, 8192
"""Tokens at which inputs are cut: the fewest that a recipe may ask for, where neither it nor the model's files say it, and the most."""


class Model(Strict):
    """Where the original model comes from: exactly one of `id` and `new`."""

    id: str | None = None
    """A Hugging Face hub id, or a folder (relative to the recipe)."""
    revision: str | None = None
    """Hub revision; pin a commit for a reproducible run."""
    new: NewModel | None = None
    """Train the original model here, from random weights."""
    finetune: Finetune | None = None
    """Put a new head on the encoder `id` and train it here; for a model that was not trained for the task."""
    max_length: int = Field(UNASKED_LENGTH, ge=SHORTEST_INPUT, le=LONGEST_INPUT)
    """Longest input in tokens; longer text is truncated, as it was in training. Without it, what the files of the model `id` say, at most 512
    of an encoder and 2048 of a language model; 128 where they do not say or a model is trained from nothing."""
    licence: str = "unknown"
    """SPDX name of the weights' licence, for the model card."""

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        if (self.id is None) == (self.new is None):
            raise ValueError("give either `id` (a hub id or folder) or a [model.new] table, not both and not neither")
        if self.new is not None and self.finetune is not None:
            raise ValueError("`finetune` trains the model of `id`; a [model.new] table trains its own")
        return self


class Split(Strict):
    """How the rows of one file become training, validation and test rows: by a drawing of `seed`, each label in its shares."""

    validation: float = Field(0.15, gt=0, lt=1)
    """Share of the rows that best epochs and number formats are chosen on."""
    test: float = Field(0.15, gt=0, lt=1)
    """Share of the rows that are scored and never trained on."""
    group: str | None = None
    """Name of a column in the file; rows with the same value there (a customer, a document) stay in one split."""
    column: str | None = None
    """Name of a column in the `file` that says which split each row is of: train, validation (or valid, val, dev, eval) or test. One of the last
    two that no row names is drawn from the training rows."""
    names: dict[str, Literal["train", "validation", "test", "none"]] | None = None
    """What values of `column` mean that are no name of a split, as in { holdout = "test" }; rows of "none" are left out."""

    @model_validator(mode="after")
    def _some_left(self) -> Split:
        if self.column is not None and self.group is not None:
            raise ValueError("give either `column`, which says each row's split, or `group`")
        if self.names and self.column is None:
            raise ValueError("`names` says what values of `column` mean, which is not given")
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave no rows to train on; together they must be below 1")
        return self


SHA256 = re.compile(r"[0-9a-f]{64}")
HUB = "hub:"
"""What the name of a hub data set begins with."""


class RowSource(Strict):
    """Where rows lie and how they are read. A plain text is the `path`, of unlabelled text if wanted with its `column` behind a #."""

    path: str | None = None
    """A file (relative to the recipe), several that a pattern names, as in parts/*.csv, or a hub data set as hub:owner/name@revision."""
    url: str | None = None
    """Address of a public file, https, which is fetched before the first stage."""
    sha256: str | None = None
    """Of the file: what has another is refused. Needed with `url`."""
    format: str | None = None
    """What kind of file it is, where its name does not say so: an ending without its dot, as in "csv", "json.gz", "squad" or "conll"."""
    names: list[str] | None = None
    """Names of the columns of a file that has none: a table without a header, JSON lists, CoNLL."""
    members: list[str] | None = None
    """Of a JSON document, the names of the lists that hold the rows."""
    column: str | None = None
    """Of unlabelled text, the name of its column, where that is not `text`."""

    @model_validator(mode="after")
    def _sound(self) -> RowSource:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either `path` (a file or hub data set) or `url`, not both and not neither")
        if self.url is not None:
            parts = urlsplit(self.url)
            if parts.scheme != "https" or not parts.hostname or not PurePosixPath(parts.path).name:
                raise ValueError(f"{self.url!r} is no https address of a file")
            if parts.username is not None or parts.password is not None:
                raise ValueError("an address holds no name and password; what is fetched so is public")
            if self.sha256 is None:
                raise ValueError("a `url` needs the `sha256` of its file, so that everybody reads the same rows")
        if self.sha256 is not None and not SHA256.fullmatch(self.sha256):
            raise ValueError("a sha256 is 64 digits of 0-9 and a-f")
        if self.on_hub and self.model_fields_set - {"path", "column"}:
            raise ValueError("a hub data set says itself how it is read; leave the other keys out")
        for key in ("names", "members"):
            given = getattr(self, key)
            if given is not None and (not given or not all(given) or len(set(given)) < len(given)):
                raise ValueError(f"`{key}` is a list of different names")
        return self

    @model_serializer(mode="wrap")
    def _shortest(self, as_table: Any) -> Any:
        if self.model_fields_set <= {"path", "column"}:
            return f"{self.path}#{self.column}" if self.column else self.path
        return {name: value for name, value in as_table(self).items() if value is not None}

    @property
    def on_hub(self) -> bool:
        """Whether it is a hub data set."""
        return self.path is not None and self.path.startswith(HUB)

    @property
    def file_name(self) -> str:
        """The file's name, or the hub data set's."""
        if self.on_hub:
            return str(self.path)
        return (
            PurePosixPath(unquote(urlsplit(self.url).path)).name if self.url is not None else PurePosixPath(str(self.path)).name
        )


def _path_alone(value: object) -> object:
    if isinstance(value, str) and value:
        return {"path": value}
    if isinstance(value, dict | RowSource):
        return value
    raise PydanticCustomError("rows", "input should be a file, hub:owner/name, or a table with `path` or `url`")


def _texts(value: object) -> object:
    """One source of unlabelled text or several, each a table, or a path that may end in the name of its column."""
    return [_with_column(one) for one in (value if isinstance(value, list) else [value])]


def _with_column(value: object) -> object:
    before, mark, after = value.rpartition("#") if isinstance(value, str) else ("", "", "")
    return {"path": before, "column": after} if mark else _path_alone(value)


OneSource = Annotated[RowSource, BeforeValidator(_path_alone, json_schema_input_type=str | RowSource)]
SeveralSources = Annotated[
    list[RowSource], BeforeValidator(_texts, json_schema_input_type=str | RowSource | list[str | RowSource])
]

TEXTS = "texts"
"""Name of the built-in corpus of texts without labels."""


class Data(Strict):
    """Where rows come from: three files or hub splits, one that is split here, or a built-in corpus."""

    file: OneSource | None = None
    """All rows: a file (relative to the recipe), a hub data set as hub:owner/name, or a table that says more; it is split as [data.split]
    says. Rows with the same text stay in one split."""
    split: Split = Split()

    train: OneSource | None = None
    """Training rows: a file (relative to the recipe), a split of a hub data set as hub:owner/name, or a table that says more."""
    validation: OneSource | None = None
    """Validation rows, likewise: best epochs and number formats are chosen on them. Left out, they are drawn from the training rows, as
    [data.split] says; so is `test`, where `validation` is there."""
    test: OneSource | None = None
    """Test rows, likewise: they are scored and never trained on."""
    unlabelled: SeveralSources | None = None
    """More text without labels, which the teacher labels in distillation: one source or several, each read from its `text` column, or
    from another, named as in "rows.jsonl#question"."""
    builtin: str | None = None
    """Name of a built-in corpus: "texts", which has no labels (see `answers`), "intents" or "python-reference"."""
    answers: Literal["rows", "original"] = "rows"
    """Who says what is right: the rows' own labels, or, for rows of texts alone, what the original answers to them. Quality is agreement with
    the original then. "texts" are such rows."""
    rows: int | None = Field(None, ge=100)
    """Rows to generate, for a built-in corpus."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Task column -> name in the files, where they differ."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Label in the files -> name of the model's output that it means, where they differ."""
    on_overlap: Literal["drop", "refuse"] = "drop"
    """What to do with training rows that are in validation or test too."""

    @property
    def without_labels(self) -> bool:
        """Whether the original says what is right."""
        return self.answers == "original" or self.builtin == TEXTS

    @model_validator(mode="after")
    def _one_source(self) -> Data:
        files = [name for name in ("train", "validation", "test") if getattr(self, name)]
        if (self.builtin is not None) + (self.file is not None) + bool(files) > 1:
            raise ValueError("give one of `file`, train/validation/test and `builtin`, not both")
        drawn = len(files) == 2 and "train" in files
        if self.file is None and not drawn and "split" in self.model_fields_set:
            raise ValueError("`split` says how `file` is split, which is not given")
        if self.file is None and self.split.column is not None:
            raise ValueError("split, column: of the rows of `file`, which is not given")
        if self.builtin and self.labels:
            raise ValueError("a built-in corpus has labels of its own; leave `labels` out")
        if not self.builtin and not self.file and len(files) < 3 and not drawn:
            missing = sorted({"train", "validation", "test"} - set(files))
            raise ValueError(
                f"{', '.join(missing)} missing: three splits are needed, or train and one other, or one `file` to be split, or `builtin`"
            )
        for name in ("file", "train", "validation", "test"):
            source: RowSource | None = getattr(self, name)
            if source is not None and source.column is not None:
                raise ValueError(f"{name}, column: goes with `unlabelled` text; the names of other columns are in `columns`")
        return self


CalibrationMethod = Literal["minmax", "percentile", "entropy", "mse"]
"""How the range of an activation is chosen from its histogram over calibration rows (`edgekit.quantize.ranges`)."""


class Calibration(Strict):
    """Rows that set activation ranges; taken from training data, at its own length distribution."""

    rows: int = Field(256, ge=8, le=100_000)
    """Training rows to calibrate on."""
    method: CalibrationMethod = "mse"
    """How a range is found from the observed activations."""
    memory_mb: int = Field(512, ge=16)
    """Cap on the memory of the collected statistics."""


class Accept(Strict):
    """The budget: a run that misses one of these ends with exit code 1."""

    max_quality_drop: float | None = Field(None, ge=0, le=1)
    """Largest loss of the task's metric against the original, as a share of 1 (0.01 = one point); of a language model the
    largest relative rise of perplexity (0.04 = 4% more)."""
    min_speedup: float | None = Field(None, gt=0)
    """Smallest speed-up against ONNX Runtime fp32 of the original, from text to answer, on this target; of a language model that of a token."""
    max_size_mb: float | None = Field(None, gt=0)
    """Largest size of model and tokenizer together, in MB (10^6 bytes)."""
    max_latency_ms: float | None = Field(None, gt=0)
    """Largest median latency of one answer, from its text on (tokenising, the graph, reading its outputs), at the test rows' lengths; of a
    language model that of a token."""


class MethodSettings(Strict):
    """Settings of one compression step. Each method extends them by fields of its own."""

    method: str
    """Name of the method; `edgekit ls methods` lists them."""


class TrainingSettings(MethodSettings):
    """Settings of a compression step that trains all weights of a model, or low-rank adapters of them."""

    lora: int | None = Field(None, ge=1)
    """Train low-rank adapters of this rank, and the head of an encoder, instead of all weights; they are folded in at the end."""
    lora_alpha: float = Field(16.0, gt=0)
    """Scale of the adapters, in units of 1 / rank."""
    lora_targets: list[str] | None = None
    """Linear modules that get adapters, named by the end of their path; by default all inside the model's layers."""
    epochs: Epochs = 10
    batch: Batch = 32
    learning_rate: LearningRate = 3e-4
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's weight decay."""
    warmup: float = Field(0.1, ge=0, le=1)
    """Share of all training steps that the learning rate warms up in."""
    precision: Precision = "fp32"


class Draft(Strict):
    """A small language model with the tokenizer of the recipe's, packed beside it, whose guesses of next tokens make it faster and change none."""

    id: str
    """A folder (relative to the recipe) or a Hugging Face hub id, perhaps with its revision, as in owner/name@revision."""
    format: Literal["int4-weights", "int8-weights", "float32"] = "int4-weights"
    """Number format of its weights; what it gets wrong is not said, so that the smallest is the fastest."""


class Recipe(Strict):
    """One run: a model, its data, the compression steps and the budget."""

    schema_: Annotated[Literal[1], Whole] = Field(alias="schema")
    """Version of this file format."""
    task: str
    """What the model does; `edgekit ls tasks` lists them."""
    seed: int = Field(7, ge=0, lt=2**31)
    """One seed for everything random."""
    model: Model
    data: Data
    calibration: Calibration = Calibration()
    quantize: RecipeQuantize | None = None
    """Overrides the target's own [quantize] as a whole."""
    accept: Accept = Accept()
    draft: Draft | None = None
    """What guesses a language model's next tokens, on a CPU."""
    compress: list[MethodSettings] = Field(default_factory=list)
    """Compression steps, in order."""


def recipe_of(settings: Iterable[type[MethodSettings]]) -> type[Recipe]:
    """`Recipe` with steps of these settings alone, told apart by `method`: what a file is parsed with."""
    step: Any = Annotated[Union[tuple(settings)], Field(discriminator="method")]  # noqa: UP007 - the members are known at run time
    described = Recipe.model_fields["compress"].description
    steps: Any = (list[step], Field(default_factory=list, description=described, max_length=MOST_STEPS))
    return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, compress=steps)


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return shipped_names("recipes")
