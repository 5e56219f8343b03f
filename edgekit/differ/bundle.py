"""A bundle as one side of the comparison: its graph, in memory and with more outputs, run as the bundle runs.

Two scratch copies of the graph are made, and the bundle is never changed. In the first every part's value is an output as well: what the
bundle computes. In the second the parts are cut from one another: what a part reads is an input, which the other side's values are given
to, so that what leaves it differs by this part's own doing alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgekit.differ.bfloat16 import float32_for_bfloat16
from edgekit.differ.parts import Part
from edgekit.differ.row import Row, Values
from edgekit.differ.taps import Taps, decoder_taps, encoder_taps
from edgekit.errors import BadInput, CheckFailed
from edgekit.onnx_graph.initializers import array_of
from edgekit.onnx_graph.match import takes_tokens
from edgekit.runtime.bundle.golden import GoldenRow, parse_golden
from edgekit.runtime.bundle.names import CONFIG
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.generate.graph import TYPES
from edgekit.runtime.model import checked
from edgekit.runtime.processors import processor
from edgekit.runtime.providers.names import CPU, DISABLE_CPU_FALLBACK, FASTMATH
from edgekit.runtime.providers.session import plain_session, usable_threads
from edgekit.runtime.strict_json import read_json
from edgekit.runtime.tokenise import Window, load_tokeniser, read_tokenizer

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

__all__ = [
    "BundleSide",
    "Cut",
    "cut_apart",
    "embedded",
    "embeddings_alone",
    "open_side",
    "own_values",
    "rows_of",
    "token_rows",
    "values",
]

NORM_FIRST = ("modernbert",)
"""Encoders whose layers normalise what their blocks read."""
LONGEST = 256
"""Tokens of a text that a language model is run on, in two runs, the second of which reads the cache that the first one wrote."""
MOST_ROWS = 40
"""Runs of golden inputs that are compared, spread evenly over all."""
NUMPY = {**TYPES, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


@dataclass(frozen=True)
class BundleSide:
    """A bundle, and its graph with a tap after each part."""

    bundle: Bundle
    golden: tuple[GoldenRow, ...]
    layers: int | None
    """None where the bundle does not say how many it has."""
    tokenizer: Tokenizer
    session: InferenceSession
    taps: Mapping[Part, str]
    """The output that holds each part's value."""
    scales: Mapping[Part, np.ndarray]
    """What a part's value times which is the number that it stands for, as `Taps` has it."""
    rounds: bool
    """Whether anything in the graph is in fewer bits than float32."""
    few_bits: bool
    """Whether weights of its multiplications are in fewer than 8 bits."""
    provider: str
    notes: tuple[str, ...]

    chosen: int | None
    """The token that the head reads; None where it reads all, or which one depends on the input."""
    norm_first: bool
    """Whether what leaves a block is the sum that its norm reads, rather than the norm of it."""
    head_sizes: tuple[int, int] | None
    """(channels of a head in the graph, as many as the model has), where zeros fill them up for a kernel."""

    @property
    def decodes(self) -> bool:
        """Whether it is a language model."""
        return self.bundle.manifest.generation is not None

    @property
    def steps(self) -> tuple[str, ...]:
        """The methods of its recipe that changed the model before it was exported."""
        compress = self.bundle.manifest.recipe.get("compress")
        return tuple(
            str(step["method"])
            for step in (compress if isinstance(compress, list) else [])
            if isinstance(step, dict) and "method" in step
        )

    @property
    def smoothed(self) -> bool:
        """Whether its recipe smooths activations."""
        quantize = self.bundle.manifest.recipe.get("quantize")
        return isinstance(quantize, dict) and quantize.get("smooth") is not None


@dataclass(frozen=True)
class Cut:
    """The graph of a bundle in parts that do not read one another."""

    session: InferenceSession
    given: Mapping[Part, str]
    """The input that stands for what leaves each part, wherever it is read."""


def open_side(path: Path) -> BundleSide:
    """The bundle at `path`, checked as for any use of it.

    Raises:
        BadInput, CheckFailed, NotPossibleHere: as `edgekit.runtime.model.load`.
    """
    from edgekit.runtime.providers.ort import onnxruntime

    bundle = checked(path)
    manifest, notes = bundle.manifest, []
    if manifest.reads != "text":
        raise BadInput(
            f"reads {manifest.reads}s, and parts of models of texts alone are known yet",
            where=str(path),
            fix="compare bundles of texts",
        )
    golden = parse_golden(bundle.folder, manifest)
    provider = manifest.variant.provider
    if provider not in onnxruntime.get_available_providers():
        notes.append(f"this machine has no {provider}: the CPU's kernels stood in, whose sums may round otherwise")
        provider = CPU
    model, rounds = _model(bundle, provider)
    if rounds:
        notes.append(
            f"{manifest.name}: the CPU computes nothing in bfloat16: its weights as they are rounded, and float32 between them, stood in"
        )
    layers, taps = _taps(bundle, model.graph)
    if taps.missing:
        notes.append(f"{manifest.name}: its layers cannot be told apart, only outputs are compared: {taps.missing}")
    names = _add_outputs(model.graph, taps)
    scales = {part: np.asarray(array_of(value), dtype=np.float32) for part, value in taps.scales.items()}
    return BundleSide(
        bundle, golden, layers, read_tokenizer(bundle.folder / manifest.text.file), _session(model, bundle, provider), names, scales,
        rounds or _rounds(model.graph) or manifest.variant.config.get(FASTMATH) == "1",
        any(node.op_type == "MatMulNBits" and node.attributes.get_int("bits", 4) < 8 for node in model.graph), provider, tuple(notes),
        _chosen_token(model.graph), _norms_first(bundle), _head_sizes(bundle),
    )  # fmt: skip


def _model(bundle: Bundle, provider: str) -> tuple[ir.Model, bool]:
    """(the graph of a bundle as `provider` can run it, whether float32 stands in for its bfloat16)."""
    model = ir.load(bundle.folder / bundle.manifest.variant.file)
    return model, provider == CPU and float32_for_bfloat16(model.graph)


def _taps(bundle: Bundle, graph: ir.Graph) -> tuple[int | None, Taps]:
    """(number of layers, where each part's value is)."""
    generation = bundle.manifest.generation
    if generation is not None:
        return generation.layers, decoder_taps(graph, generation.layers)
    config = read_json(bundle.folder / CONFIG) if CONFIG in bundle.manifest.assets else {}
    counts = [config.get(name) for name in ("num_hidden_layers", "n_layers")] if isinstance(config, dict) else []
    layers = next((count for count in counts if type(count) is int), None)
    if layers is None or not isinstance(config, dict):
        return None, Taps({Part("output"): graph.outputs[0]}, {}, f"no {CONFIG} says how many it has")
    return layers, encoder_taps(graph, layers, norm_first=_norms_first(bundle))


def _chosen_token(graph: ir.Graph) -> int | None:
    """The token of all that a Gather along the tokens takes."""
    for node in graph:
        index = array_of(node.inputs[1]) if takes_tokens(node) else None
        if index is not None and index.ndim == 0:
            return int(index)
    return None


def _norms_first(bundle: Bundle) -> bool:
    """Whether layers normalise what their blocks read, as decoders do."""
    if bundle.manifest.generation is not None:
        return True
    config = read_json(bundle.folder / CONFIG) if CONFIG in bundle.manifest.assets else {}
    return isinstance(config, dict) and config.get("model_type") in NORM_FIRST


def _add_outputs(graph: ir.Graph, taps: Taps) -> dict[Part, str]:
    """Make every tap an output in float32; returns their names. Keys and values are outputs already."""
    names = {}
    for part, value in taps.values.items():
        if part.kind in ("keys", "values") or value.is_graph_output():
            names[part] = str(value.name)
            continue
        names[part] = f"diff.{part.name}"
        cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=names[part])
        cast.outputs[0].name, cast.outputs[0].dtype = names[part], ir.DataType.FLOAT
        graph.append(cast)
        graph.outputs.append(cast.outputs[0])
    return names


def cut_apart(side: BundleSide, parts: Collection[Part]) -> Cut:
    """The graph of `side` in which what leaves each of `parts` is given wherever it is read."""
    model, _ = _model(side.bundle, side.provider)
    graph = model.graph
    _, taps = _taps(side.bundle, graph)
    given = {}
    for part, value in taps.values.items():
        if part not in parts or part.kind in ("keys", "values", "output") or value.is_graph_output():
            continue
        producer = value.producer()
        assert producer is not None, "a tap is made by a node"
        given[part] = f"given.{part.name}"
        read = list(value.uses())
        flat = ir.Value(name=given[part], type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([None] * 2))
        shape = ir.node("Shape", [value], name=f"{given[part]}.shape")
        shaped = ir.node("Reshape", [flat, shape.outputs[0]], name=f"{given[part]}.shaped")
        cast = ir.node("CastLike", [shaped.outputs[0], value], name=f"{given[part]}.cast")
        graph.insert_after(producer, [shape, shaped, cast])
        graph.inputs.append(flat)
        for node, index in read:
            node.replace_input_with(index, cast.outputs[0])
    _add_outputs(graph, taps)
    return Cut(_session(model, side.bundle, side.provider), given)


def embeddings_alone(side: BundleSide) -> InferenceSession | None:
    """The graph of `side` up to its embeddings; None where they cannot be told."""
    model, _ = _model(side.bundle, side.provider)
    _, taps = _taps(side.bundle, model.graph)
    if Part("embeddings") not in taps.values:
        return None
    model.graph.outputs.clear()
    _add_outputs(model.graph, Taps({Part("embeddings"): taps.values[Part("embeddings")]}, {}))
    RemoveUnusedNodesPass()(model)
    return _session(model, side.bundle, side.provider)


def embedded(side: BundleSide, alone: InferenceSession, row: Row) -> np.ndarray:
    """What leaves the embeddings for `row`, float32 (n, channels); `alone`: the graph up to them."""
    feed = {
        "input_ids": row.ids[None], "attention_mask": row.mask[None], "seqlens_k": np.array([len(row.ids) - 1], dtype=np.int32),
        "token_type_ids": (np.zeros_like(row.ids) if row.types is None else row.types)[None],
    }  # fmt: skip
    (found,) = _answered(alone, [alone.get_outputs()[0].name], _taken(alone, feed), side)
    return _as_meant(side, Part("embeddings"), _flat(found))


def _taken(session: InferenceSession, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of `feed` that the session has inputs for. Inputs that nothing reads any more are still asked for."""
    names = {item.name: item for item in session.get_inputs()}
    empty = {
        name: np.zeros([size if isinstance(size, int) else 1 for size in item.shape], dtype=NUMPY[item.type])
        for name, item in names.items()
        if name not in feed
    }
    return {**{name: array for name, array in feed.items() if name in names}, **empty}


def _session(model: ir.Model, bundle: Bundle, provider: str) -> InferenceSession:
    variant = bundle.manifest.variant
    # A tap on another provider may leave a node that measures a shape to the CPU.
    config = {key: value for key, value in variant.config.items() if key != DISABLE_CPU_FALLBACK}
    try:
        return plain_session(
            ir.to_proto(model).SerializeToString(), threads=usable_threads(variant.threads or 1),
            config=config if provider == variant.provider else None, provider=provider, weights=bundle.folder,
        )  # fmt: skip
    except Exception as fault:  # onnxruntime's error classes share no base but this
        raise BadInput(
            f"ONNX Runtime cannot load it with more outputs: {str(fault)[:300]}", where=str(bundle.place),
            fix="please report it with the bundle's manifest",
        ) from None  # fmt: skip


def _rounds(graph: ir.Graph) -> bool:
    """Whether a weight or a multiplication is in fewer bits than float32."""
    stored = {value.dtype for value in graph.initializers.values()}
    small = {
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT4,
        ir.DataType.UINT4,
        ir.DataType.FLOAT16,
        ir.DataType.BFLOAT16,
    }
    return bool(stored & small) or any(node.op_type == "DynamicQuantizeLinear" for node in graph)


def rows_of(side: BundleSide) -> list[Row]:
    """The golden inputs as the bundle reads them: a row for each window.

    Raises:
        CheckFailed: the tokenizer cuts one into other tokens than where the bundle was made.
    """
    manifest, found = side.bundle.manifest, []
    tokenise = load_tokeniser(
        side.bundle.folder / manifest.text.file, manifest.text.max_length, segments=manifest.segments,
        pairs=side.bundle.config.text_pairs, prompts=manifest.prompts,
    )  # fmt: skip
    for golden in side.golden:
        text = golden.input if isinstance(golden.input, str) else json.dumps(golden.input, ensure_ascii=False)
        if side.decodes:
            windows = [Window(np.asarray(ids[:LONGEST], dtype=np.int64), None) for ids in golden.ids]
        else:
            windows = processor(manifest.task).prepare(tokenise, golden.input)
            if [one.ids.tolist() for one in windows] != golden.ids:
                raise CheckFailed(
                    f"its tokenizer cuts {text[:60]!r} into other tokens than where it was made",
                    where=str(side.bundle.place),
                    fix="run `edgekit verify` on it",
                )
        found += [Row(one.ids, one.types, text) for one in windows if len(one.ids)]
    if not found:
        raise BadInput("none of its golden inputs has a token", where=str(side.bundle.place), fix="export the bundle again")
    return [found[number] for number in sorted(set(np.linspace(0, len(found) - 1, min(MOST_ROWS, len(found))).astype(int)))]


def token_rows(rows: list[Row], source: Tokenizer, other: Tokenizer, vocabulary: int) -> list[Row | None]:
    """`rows` in the ids of another tokenizer, by the tokens themselves; None where it has not one of them, or its model of so many tokens has not."""
    known = {
        number: other.token_to_id(source.id_to_token(number) or "") for number in {int(i) for row in rows for i in row.ids}
    }
    found: list[Row | None] = []
    for row in rows:
        ids = [known[int(number)] for number in row.ids]
        whole = [number for number in ids if number is not None and number < vocabulary]
        found.append(Row(np.asarray(whole, dtype=np.int64), row.types, row.text) if len(whole) == len(ids) else None)
    return found


def values(side: BundleSide, row: Row) -> Values:
    """What leaves each part of the bundle for `row`.

    Raises:
        CheckFailed: ONNX Runtime fails.
    """
    return _run(side, side.session, row, {})


def own_values(side: BundleSide, cut: Cut, row: Row, given: Values) -> Values:
    """What leaves each part where what it reads is the other side's.

    Raises:
        CheckFailed: ONNX Runtime fails.
    """
    return _run(side, cut.session, row, {name: _as_stored(side, part, given[part]) for part, name in cut.given.items()})


def _as_stored(side: BundleSide, part: Part, numbers: np.ndarray) -> np.ndarray:
    """`numbers` as the graph has them where they leave `part`."""
    if side.head_sizes is not None and part.kind == "heads":
        size, own = side.head_sizes
        padded = np.zeros((len(numbers), numbers.shape[1] // own, size), dtype=np.float32)
        padded[..., _kept(size, own)] = numbers.reshape(len(numbers), -1, own)
        numbers = padded.reshape(len(numbers), -1)
    return numbers / side.scales[part] if part in side.scales else numbers


def _run(side: BundleSide, session: InferenceSession, row: Row, given: Mapping[str, np.ndarray]) -> dict[Part, np.ndarray]:
    names = list(side.taps.values())
    if not side.decodes:
        feed = {"input_ids": row.ids[None], "attention_mask": row.mask[None]}
        if side.bundle.manifest.segments:
            feed["token_type_ids"] = (np.zeros_like(row.ids) if row.types is None else row.types)[None]
        found = dict(zip(side.taps, _answered(session, names, {**feed, **given}, side), strict=True))
        return {part: _as_meant(side, part, _flat(array)) for part, array in found.items()}
    half = max(1, len(row.ids) // 2)
    spans = [(0, half), (half, len(row.ids))] if half < len(row.ids) else [(0, half)]
    pasts = [item for item in session.get_inputs() if item.name.startswith("past.")]
    cache = {item.name: np.zeros((1, item.shape[1], len(row.ids), item.shape[3]), dtype=TYPES[item.type]) for item in pasts}
    keep = {item.name for item in session.get_inputs()} & {"keep", "start"}
    wanted = [*names, *(name.replace("past", "present") for name in cache)]
    pieces: dict[Part, list[np.ndarray]] = {part: [] for part in side.taps}
    for start, end in spans:
        count = end - start
        feed = {
            "input_ids": row.ids[None, start:end], "seqlens_k": np.array([end - 1], dtype=np.int32),
            "total_sequence_length": np.array(end, dtype=np.int32), **{name: np.array([-count if name == "start" else count]) for name in keep},
        }  # fmt: skip
        outputs = _answered(
            session, wanted, {**feed, **cache, **{name: array[start:end] for name, array in given.items()}}, side
        )
        cache = dict(zip(cache, outputs[len(names) :], strict=True))
        for part, array in zip(side.taps, outputs, strict=False):
            pieces[part].append(array)
    found = {}
    for part, arrays in pieces.items():
        if part.kind in ("keys", "values"):
            heads = arrays[-1][0, :, : len(row.ids)].astype(np.float32)
            flat = heads.transpose(1, 0, 2).reshape(len(row.ids), -1)
        else:
            flat = np.concatenate([_flat(array) for array in arrays])
        found[part] = _as_meant(side, part, flat)
    return found


def _as_meant(side: BundleSide, part: Part, stored: np.ndarray) -> np.ndarray:
    """The numbers that the graph's values `stored`, float32 (tokens, channels), stand for."""
    meant = stored * side.scales[part] if part in side.scales else stored
    if side.head_sizes is None or part.kind not in ("keys", "values", "heads"):
        return meant
    size, own = side.head_sizes
    return np.ascontiguousarray(meant.reshape(len(meant), -1, size)[..., _kept(size, own)]).reshape(len(meant), -1)


def _kept(size: int, own: int) -> np.ndarray:
    """Which of `size` channels of a padded head are the model's own: of each half the first, as `edgekit.exporter.head_padding` pads them."""
    return np.concatenate([np.arange(own // 2), size // 2 + np.arange(own // 2)])


def _head_sizes(bundle: Bundle) -> tuple[int, int] | None:
    """(channels of a head in a language model's graph, as many as the model has); None where none was padded."""
    generation = bundle.manifest.generation
    config = read_json(bundle.folder / CONFIG) if generation is not None and CONFIG in bundle.manifest.assets else {}
    if generation is None or not isinstance(config, dict):
        return None
    heads, hidden = config.get("num_attention_heads", config.get("n_head")), config.get("hidden_size", config.get("n_embd"))
    own = config.get("head_dim")
    if type(own) is not int and type(heads) is int and type(hidden) is int and heads > 0:
        own = hidden // heads
    return (generation.head_size, own) if type(own) is int and 0 < own < generation.head_size and own % 2 == 0 else None


def _answered(
    session: InferenceSession, names: list[str], feed: Mapping[str, np.ndarray], side: BundleSide
) -> list[np.ndarray]:
    try:
        answers: list[np.ndarray] = session.run(names, dict(feed))
    except Exception as fault:  # onnxruntime's error classes share no base but this
        raise CheckFailed(f"ONNX Runtime cannot run it: {str(fault)[:300]}", where=str(side.bundle.place)) from None
    return answers


def _flat(array: np.ndarray) -> np.ndarray:
    """(1, tokens, channels), (1, channels) or (tokens, channels) as (tokens, channels)."""
    return np.ascontiguousarray(array, dtype=np.float32).reshape(-1, array.shape[-1])
