"""Sound models that faults are put into: a checkpoint, its float32 graph, and how a graph becomes a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

import edgekit
from edgekit.config.quantize import Int8, WeightOnly
from edgekit.exporter.decoder import export_decoder
from edgekit.exporter.encoder import FUSED, export
from edgekit.models.files import read_json
from edgekit.onnx_graph.rewrite import save, tidy
from edgekit.pack.bundle import write_bundle
from edgekit.pack.golden import make_golden, make_golden_texts, tolerance
from edgekit.progress import silent
from edgekit.quantize.decoder import quantize_decoder
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.quantize.smoothquant import smooth
from edgekit.quantize.unfuse import unfuse
from edgekit.runtime.bundle.manifest import (
    Calibration,
    Golden,
    Manifest,
    Source,
    TargetFacts,
    TensorFacts,
    TokenizerFacts,
    Variant,
    Versions,
)
from edgekit.runtime.bundle.names import GENERATION, MODEL, MODEL_DATA
from edgekit.runtime.bundle.quality import Quality
from edgekit.runtime.chip import machine
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.processors import Asked, processor
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.strict_json import read_json as read_strict
from edgekit.runtime.tokenise import load_tokeniser
from edgekit.tasks.encode import labels_of

__all__ = ["Change", "Subject", "bundled", "decoder", "encoder", "packed"]

Change = Callable[[ir.Model], None]
"""What is done to a graph, in place."""
SHARE = 0.15
"""Of the golden outputs' spread: the tolerance of the x86 targets."""


@dataclass(frozen=True)
class Subject:
    """A sound model."""

    checkpoint: Path
    graph: Path
    """The folder of its float32 graph."""
    texts: tuple[str, ...]
    max_length: int
    decodes: bool


def encoder(checkpoint: Path, work: Path, texts: Sequence[str], *, max_length: int) -> Subject:
    """A classifier, exported to `work`."""
    work.mkdir(parents=True, exist_ok=True)
    export(checkpoint, work, task="text-classification", max_length=max_length)
    return Subject(checkpoint, work, tuple(texts), max_length, decodes=False)


def decoder(checkpoint: Path, work: Path, texts: Sequence[str], *, max_length: int) -> Subject:
    """A language model, exported to `work`."""
    work.mkdir(parents=True, exist_ok=True)
    export_decoder(checkpoint, work, max_length=max_length, progress=silent)
    return Subject(checkpoint, work, tuple(texts), max_length, decodes=True)


def bundled(
    subject: Subject,
    folder: Path,
    *,
    rounds: bool,
    smoothed: bool = False,
    before: Change | None = None,
    after: Change | None = None,
) -> Path:
    """A bundle of `subject` in `folder`, in float32 or as its bits are cut by default (INT8, weights of a decoder in INT4).

    `smoothed`: an encoder's activations are, by half, before they are rounded. `before`: a fault that is put into the float32 graph, as a wrong
    export would; `after`: one into the graph that is packed.
    """
    work = folder / "work"
    work.mkdir(parents=True)
    model = ir.load(subject.graph / (MODEL if subject.decodes else FUSED))
    if before is not None:
        before(model)
    if subject.decodes:
        _save(model, work)
        if rounds:
            (work / "small").mkdir()
            quantize_decoder(work, work / "small", WeightOnly(format="int4-weights"))
            work = work / "small"
    else:
        if rounds:
            unfuse(model)
            tidy(model, microsoft=True)
            if smoothed:
                smooth(model, 0.5, _feeds(subject))
                tidy(model, microsoft=True)
            quantize_dynamic(model, Int8(format="int8"))
        save(model, work / MODEL, microsoft=True)
    if after is not None:
        model = ir.load(work / MODEL)
        after(model)
        (work / "faulty").mkdir()
        (_save if subject.decodes else _save_whole)(model, work / "faulty")
        work = work / "faulty"
    return packed(subject, work, folder / "bundle", {"quantize": {"smooth": 0.5}} if smoothed else {})


def _feeds(subject: Subject) -> list[dict[str, np.ndarray]]:
    """The texts as an encoder's graph reads them."""
    tokenise = load_tokeniser(subject.checkpoint / "tokenizer.json", subject.max_length)
    prepare = processor("text-classification").prepare
    ids = [window.ids[None] for text in subject.texts for window in prepare(tokenise, text)]
    return [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in ids]


def _save(model: ir.Model, folder: Path) -> None:
    ir.save(model, folder / MODEL, external_data=MODEL_DATA, size_threshold_bytes=4096)


def _save_whole(model: ir.Model, folder: Path) -> None:
    ir.save(model, folder / MODEL)


def packed(subject: Subject, work: Path, folder: Path, recipe: JsonObject | None = None) -> Path:
    """A bundle in `folder` of the graph in folder `work`, which `recipe` made."""
    tokenizer, generation = subject.checkpoint / "tokenizer.json", None
    labels = () if subject.decodes else tuple(labels_of(subject.checkpoint))
    if subject.decodes:
        generation = replace(parse_generation(read_strict(subject.graph / GENERATION)), chat_template=None)
        golden = make_golden_texts(work, tokenizer, generation, list(subject.texts))
        names = [MODEL, MODEL_DATA]
    else:
        golden = make_golden(
            work / MODEL,
            tokenizer,
            "text-classification",
            list(subject.texts),
            Asked(labels),
            max_length=subject.max_length,
            provider=CPU,
        )
        names = [MODEL]
    model = ir.load(work / MODEL)
    inputs, outputs = (
        () if subject.decodes else tuple(map(_facts, values)) for values in (model.graph.inputs, model.graph.outputs)
    )
    manifest = Manifest(
        name="subject", assets={}, variant=Variant(MODEL, CPU, 1), version=edgekit.__version__,
        task="text-generation" if subject.decodes else "text-classification", labels=labels, target=TargetFacts("here", machine(), (), (), CPU),
        tokenizer=TokenizerFacts("tokenizer.json", subject.max_length, 0, "[PAD]"), inputs=inputs, outputs=outputs,
        vocabulary=int(read_json(subject.checkpoint / "config.json")["vocab_size"]), opset=20, onnxruntime=Versions("1.30", "99.0"),
        source=Source("subject"), data={}, calibration=Calibration(), recipe=recipe or {}, quality=Quality("none", 1, 0.0, 0.0, 0.0, (0.0, 0.0)),
        golden=Golden("golden.json", len(golden["rows"]), tolerance(golden, SHARE)), licence="apache-2.0", tools={}, generation=generation,
    )  # fmt: skip
    files = {
        **{name: work / name for name in names},
        **{name: subject.checkpoint / name for name in ("tokenizer.json", "config.json")},
    }
    folder.mkdir()
    write_bundle(folder, manifest, files=files, texts={"golden.json": json.dumps(golden)})
    return folder


def _facts(value: ir.Value) -> TensorFacts:
    assert value.name is not None and value.shape is not None and value.dtype is not None
    axes = tuple(axis if isinstance(axis, int) else str(axis.value) for axis in value.shape)
    return TensorFacts(value.name, {"FLOAT": "float32", "INT64": "int64"}[value.dtype.name], axes)
