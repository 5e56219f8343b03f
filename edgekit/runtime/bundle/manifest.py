"""The bundle's manifest: one typed record that is written where bundles are packed and read, strictly, where they are opened.

The outer shape of the JSON follows ONNX Runtime's model package: components, their variants, assets by sha256; edgekit's own facts
are in the block `edgekit` beside them. A new fact is a field of `Manifest` or of one of its parts. Give it a default, so that bundles
of earlier releases are still read, and `metadata=OMITTED` where it should be left out when there is nothing to say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from edgekit.runtime.bundle.names import MANIFEST, MANIFEST_DIGEST
from edgekit.runtime.bundle.quality import Agreement, Quality
from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.generation import Generation
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.reader import Reads
from edgekit.runtime.records import OMITTED, as_json, matching, read_record, within

__all__ = [
    "Asset", "Calibration", "DraftFacts", "Embeddings", "Golden", "ImageFacts", "Manifest", "SoundFacts", "Source",
    "TargetFacts", "TensorFacts", "TokenizerFacts",
    "Variant", "Versions",
]  # fmt: skip

MOST_FAULTS = 20
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Asset:
    """Size in bytes and sha256 of one file."""

    size: int = field(metadata=within(0, 2**62))
    sha256: str = field(metadata=matching(HEX, "64 hex digits"))


@dataclass(frozen=True)
class Variant:
    """The model file and how ONNX Runtime opens it."""

    file: str
    provider: str
    """Execution provider."""
    threads: int = field(metadata=within(0, 1024))
    """Threads inside one operator; 0: as many as are fastest on the machine, which is found out there."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Session configuration entries."""


@dataclass(frozen=True)
class TargetFacts:
    """The kind of device that the bundle is for."""

    name: str
    arch: str
    """x86_64 or aarch64."""
    isa: tuple[str, ...]
    """Instruction sets that the chip must have."""
    isa_any: tuple[str, ...]
    """At least one of these too, where any is listed."""
    provider: str


@dataclass(frozen=True)
class TokenizerFacts:
    """How text becomes token ids."""

    file: str
    max_length: int = field(metadata=within(2, 1_000_000))
    """Longest input in tokens; longer text is truncated."""
    pad_id: int = field(metadata=within(0, 10_000_000))
    pad_token: str


@dataclass(frozen=True)
class ImageFacts:
    """How an image becomes pixel values."""

    file: str
    height: int = field(metadata=within(1, 8192))
    """Pixels that the model reads, whatever size an image has."""
    width: int = field(metadata=within(1, 8192))


@dataclass(frozen=True)
class SoundFacts:
    """How a sound becomes what the model reads."""

    file: str
    sampling_rate: int = field(metadata=within(2_000, 384_000))
    """Samples a second that the model reads, whatever a file has."""
    seconds: float = field(metadata=within(0.0, 600.0))
    """Of a sound, what the model reads at most."""


@dataclass(frozen=True)
class TensorFacts:
    """One input or output of the graph."""

    name: str
    dtype: str
    axes: tuple[str | int, ...]
    """Names of dynamic axes, sizes of fixed ones."""


@dataclass(frozen=True)
class Versions:
    """Releases of ONNX Runtime: the oldest that has the operators, and the one that the bundle was made with."""

    min: str = ""
    max: str = ""


@dataclass(frozen=True)
class Source:
    """Where the original model came from."""

    model: str = ""
    """Name of its folder or its hub id."""
    revision: str | None = None
    """Hub revision; None for a local model."""
    key: str = ""
    """Store key of the stage that loaded or trained it."""


@dataclass(frozen=True)
class Calibration:
    """The rows that activation ranges come from."""

    rows: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Golden:
    """Inputs with the outputs that they had where the bundle was made."""

    file: str
    count: int = field(metadata=within(1, 1_000_000))
    tolerance: float
    """Largest root mean square difference of one input's outputs."""


@dataclass(frozen=True)
class Embeddings:
    """What a model of embeddings says of them, as sentence-transformers keeps it."""

    prompts: Prompts
    similarity: Literal["cosine", "dot", "euclidean", "manhattan"]
    """How two of them are compared."""
    normalised: bool
    """Whether each has length 1."""
    nested: bool
    """Whether the first numbers of one are an embedding too (`truncate_dim`: Kusupati et al. 2022, Matryoshka representations)."""


@dataclass(frozen=True)
class DraftFacts:
    """A small model of the same vocabulary that guesses a language model's next tokens."""

    file: str
    """Its graph, which ONNX Runtime opens as the variant's."""
    name: str
    """Name of its folder or its hub id."""
    format: str
    """Number format of its weights."""
    vocabulary: int = field(metadata=within(1, 10_000_000))
    """Rows of its embedding, which may pad it otherwise than the model's."""
    generation: Generation
    """Of its graph: context and cache."""


@dataclass(frozen=True)
class Manifest:
    """All that a bundle says of itself. Fields after `variant` are the `edgekit` block of the JSON, name by name."""

    name: str
    assets: Mapping[str, Asset]
    """Every file of the bundle but the manifest and its digest, by name."""
    variant: Variant
    version: str
    """edgekit's own."""
    task: str
    labels: tuple[str, ...]
    """Names of the outputs, in order; empty for tasks whose outputs have none."""
    target: TargetFacts
    tokenizer: TokenizerFacts | None
    """None of a model that reads images or sounds."""
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    vocabulary: int = field(metadata=within(0, 10_000_000))
    """Rows of the embedding: token ids are below it; 0 of a model that reads images or sounds."""
    opset: int
    onnxruntime: Versions
    source: Source
    data: Mapping[str, str]
    """sha256 of each split."""
    calibration: Calibration
    recipe: JsonObject
    quality: Quality
    golden: Golden
    licence: str
    """SPDX name of the weights' licence."""
    tools: Mapping[str, str]
    """Versions of the packages that made it."""
    agreement: Agreement | None = field(default=None, metadata=OMITTED)
    """None where no library answers for such a model, and in bundles of releases before 0.2."""
    image: ImageFacts | None = field(default=None, metadata=OMITTED)
    """None of a model that reads something else."""
    sound: SoundFacts | None = field(default=None, metadata=OMITTED)
    """None of a model that reads something else."""
    generation: Generation | None = field(default=None, metadata=OMITTED)
    """What a language model's answers need; None for every other task."""
    threshold: float | None = field(default=None, metadata={**OMITTED, **within(0.0, 1.0)})
    """Score from which a label applies, where each has a score of its own; None for every other task."""
    embeddings: Embeddings | None = field(default=None, metadata=OMITTED)
    """None for every other task than feature-extraction, and for a model without files of sentence-transformers."""
    activation: Literal["sigmoid", "identity"] | None = field(default=None, metadata=OMITTED)
    """What makes a passage's score of its logit; None for every task but text-ranking."""
    not_made: Mapping[str, str] | None = field(default=None, metadata=OMITTED)
    """Models that it would have been compared with and that could not be made: title and why; None where all could."""
    draft: DraftFacts | None = field(default=None, metadata=OMITTED)
    """None where nothing but the text itself guesses."""
    digest_file: Literal["manifest.json.sha256"] | None = field(default=None, metadata=OMITTED)
    """The file that holds the digest of the manifest; None in bundles of releases before 0.2, whose manifests have none."""

    @property
    def files(self) -> list[str]:
        """Names of all files of the bundle."""
        return [MANIFEST, *([] if self.digest_file is None else [self.digest_file]), *self.assets]

    @property
    def text(self) -> TokenizerFacts:
        """How text becomes token ids, asked of a bundle that reads texts."""
        assert self.tokenizer is not None, "a bundle without a tokenizer reads no text"
        return self.tokenizer

    @property
    def reads(self) -> Reads:
        """What its inputs are."""
        return "image" if self.image is not None else "sound" if self.sound is not None else "text"

    @property
    def reader_file(self) -> str:
        """The file that says how its inputs are read."""
        return (self.image or self.sound or self.text).file

    @property
    def max_length(self) -> int:
        """Tokens of the longest input; 0 of a model that reads images or sounds."""
        return 0 if self.tokenizer is None else self.tokenizer.max_length

    @property
    def segments(self) -> bool:
        """Whether the model takes token_type_ids."""
        return any(tensor.name == "token_type_ids" for tensor in self.inputs)

    @property
    def prompts(self) -> Prompts:
        """What may be put before a text."""
        return Prompts() if self.embeddings is None else self.embeddings.prompts

    @property
    def has_template(self) -> bool:
        """Whether it is a language model that writes conversations by a chat template, for which a device needs jinja2."""
        return self.generation is not None and self.generation.chat_template is not None

    @property
    def of_draft(self) -> Manifest:
        """The same of the draft in the model's place: what its graph is checked against."""
        assert self.draft is not None, "asked of a bundle with a draft"
        return replace(
            self, variant=replace(self.variant, file=self.draft.file), generation=self.draft.generation,
            vocabulary=self.draft.vocabulary, draft=None,
        )  # fmt: skip

    @property
    def steps(self) -> list[str]:
        """Names of the compression methods that made it, in order."""
        steps = self.recipe.get("compress", [])
        return [str(step["method"]) for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else []

    @property
    def base_model(self) -> str | None:
        """The folder or hub id that the recipe names as the original model; None where the recipe trained it."""
        model = self.recipe.get("model")
        name = model.get("id") if isinstance(model, Mapping) else None
        return name if isinstance(name, str) else None

    def to_json(self) -> dict[str, JsonValue]:
        """The document, with `schema_version` 1."""
        variant: JsonObject = {
            "file": self.variant.file,
            "execution_provider": self.variant.provider,
            "session_options": {"intra_op_num_threads": self.variant.threads, "config": dict(self.variant.config)},
        }
        document = as_json(self)
        return {
            "schema_version": 1,
            "name": self.name,
            "components": {"model": {"variants": {self.target.name: variant}}},
            "assets": document["assets"],
            "edgekit": {name: value for name, value in document.items() if name not in _OUTER},
        }

    @classmethod
    def from_json(cls, document: object) -> Manifest:
        """The manifest that `document` holds.

        Raises:
            BadInput: a field that is missing, unknown or not what it must be; up to 20 of them, all at once.
        """
        faults: list[str] = []
        manifest = _read(document, faults)
        if manifest is not None:
            faults += _contradictions(manifest)
        if faults or manifest is None:
            raise BadInput("a manifest that cannot be trusted", faults=faults[:MOST_FAULTS])
        return manifest


_OUTER = ("name", "assets", "variant")
"""Fields that stand outside the `edgekit` block."""


def _read(document: object, faults: list[str]) -> Manifest | None:
    """The record, field by field; what fields say of one another is checked once all are there."""
    shape = {"schema_version": int, "name": str, "components": dict, "assets": dict, "edgekit": dict}
    if not isinstance(document, dict):
        faults.append("the whole is not an object")
        return None
    for name, kind in shape.items():
        if type(document.get(name)) is not kind:
            what = f"{type(document[name]).__name__} instead of {kind.__name__}" if name in document else "missing"
            faults.append(f"{name}: {what}")
    faults += [f"{name}: unknown" for name in document if name not in shape]
    if faults:
        return None
    if document["schema_version"] != 1:
        faults.append(f"schema_version {document['schema_version']} is not 1: a newer edgekit made it")
        return None
    block = document["edgekit"]
    faults += [f"edgekit.{name}: unknown" for name in _OUTER if name in block]
    target = block["target"].get("name") if isinstance(block.get("target"), dict) else None
    variant = _variant(document["components"], target, faults)
    if faults:
        return None
    flat = {**block, "name": document["name"], "assets": document["assets"], "variant": variant}
    manifest = read_record(Manifest, flat, "", faults)
    faults[:] = [fault if fault.startswith(_OUTER) else f"edgekit.{fault}" for fault in faults]
    return manifest


def _variant(components: dict[str, Any], target: object, faults: list[str]) -> dict[str, object]:
    """The fields of `Variant` from the one variant there is, which is the target's."""
    try:
        ((model, component),) = components.items()
        ((kind, variants),) = component.items()
        ((name, variant),) = variants.items()
        options = variant["session_options"]
        fields = (variant["file"], variant["execution_provider"], options["intra_op_num_threads"], options["config"])
    except (AttributeError, KeyError, TypeError, ValueError):
        faults.append("components: no single and complete variant of the model")
        return {}
    if (model, kind, name) != ("model", "variants", target) or len(variant) != 3 or len(options) != 2:
        faults.append("components: not model.variants with the target's name, or an unknown field in it")
    return dict(zip(("file", "provider", "threads", "config"), fields, strict=True))


def _contradictions(manifest: Manifest) -> Iterator[str]:
    """What is out of range, or at odds with another field."""
    golden = manifest.golden
    if [manifest.tokenizer, manifest.image, manifest.sound].count(None) != 2:
        yield "edgekit.tokenizer, edgekit.image, edgekit.sound: not one of them, which says how inputs are read"
        return
    if (manifest.vocabulary == 0) != (manifest.tokenizer is None):
        yield f"edgekit.vocabulary: {manifest.vocabulary}, which is for images and sounds alone 0"
    if manifest.reads != "text" and (manifest.generation, manifest.embeddings) != (None, None):
        yield f"edgekit.{manifest.reads}: of a task that reads texts"
    folded = Counter(name.casefold() for name in manifest.assets)
    for name in manifest.assets:
        if not SAFE_NAME.fullmatch(name) or name in (MANIFEST, MANIFEST_DIGEST) or folded[name.casefold()] > 1:
            yield f"assets: {name!r} is not a plain file name of its own"
    if not manifest.name.isprintable():
        yield f"name: {manifest.name!r} is not one line of text"
    for label, name in (("model", manifest.variant.file), ("reader's", manifest.reader_file), ("golden", golden.file)):
        if name not in manifest.assets:
            yield f"the {label} file {name!r} is not among the assets"
    if len(set(manifest.labels)) != len(manifest.labels):
        yield "edgekit.labels: not a list of different names"
    if not 0 < golden.tolerance < 100:
        yield f"edgekit.golden.tolerance: {golden.tolerance} is out of range"
    if manifest.variant.provider != manifest.target.provider:
        yield "the variant's provider is not the target's"
    if (manifest.generation is not None) != (manifest.task == "text-generation"):
        yield f"edgekit.generation: {'unknown' if manifest.generation else 'missing'} for the task {manifest.task!r}"
    if (draft := manifest.draft) is not None:
        if manifest.generation is None or manifest.variant.provider != CPU:
            yield "edgekit.draft: of a language model on the CPU alone"
        if draft.file not in manifest.assets or draft.file == manifest.variant.file:
            yield f"the draft's file {draft.file!r} is not an asset of its own"
        if draft.generation.chat_template is not None:
            yield "edgekit.draft.generation: a draft writes no conversations"
    if (manifest.threshold is not None) != (manifest.task == "multi-label-classification"):
        yield f"edgekit.threshold: {'missing' if manifest.threshold is None else 'unknown'} for the task {manifest.task!r}"
    if (embeddings := manifest.embeddings) is not None:
        if manifest.task != "feature-extraction":
            yield f"edgekit.embeddings: unknown for the task {manifest.task!r}"
        if embeddings.prompts.default is not None and embeddings.prompts.default not in embeddings.prompts.texts:
            yield f"edgekit.embeddings.prompts: the default {embeddings.prompts.default!r} is not among them"
    if (manifest.activation is not None) != (manifest.task == "text-ranking"):
        yield f"edgekit.activation: {'missing' if manifest.activation is None else 'unknown'} for the task {manifest.task!r}"
    if (generation := manifest.generation) is not None:
        ids = [number for number in (*generation.eos, generation.bos) if number is not None]
        if any(number >= manifest.vocabulary for number in ids):
            yield f"edgekit.generation: eos or bos leaves the vocabulary of {manifest.vocabulary}"
        if generation.chat_template is not None and generation.chat_template not in manifest.assets:
            yield f"the chat template {generation.chat_template!r} is not among the assets"
