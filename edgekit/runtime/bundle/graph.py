"""What a bundle's graph may hold, checked before ONNX Runtime opens it: its constant folding runs what the graph says while it loads.

A graph of ours has operators of a known list, no subgraphs, the inputs and outputs that the manifest names, an embedding with a row for
every token id, and shapes that follow from the shapes of its inputs, never from their values. `OPERATORS` is the union of what the
exporters, fusions and quantizers write; `edgekit export` stops at a graph with another one, because what it packs is opened like this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from edgekit.runtime.bundle.manifest import Manifest, TensorFacts
from edgekit.runtime.bundle.onnx_file import GraphFile, Node, Tensor, Value, read_graph
from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.generation import Generation

__all__ = ["IR_VERSIONS", "MICROSOFT", "OPERATORS", "OPSETS", "check_graph_file", "graph_faults"]

MICROSOFT = "com.microsoft"
IR_VERSIONS = range(8, 11)
OPSETS: Mapping[str, range] = {"": range(17, 24), MICROSOFT: range(1, 2)}
"""Versions of each domain whose operators a graph may use."""
OPERATORS: Mapping[str, frozenset[str]] = {
    "": frozenset({
        "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Conv", "Cos", "CumSum", "DequantizeLinear", "Div",
        "DynamicQuantizeLinear", "Elu", "Equal", "Erf", "Exp", "Expand", "Floor", "Gather", "GatherElements",
        "GatherND", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "HardSwish", "Identity", "InstanceNormalization", "IsNaN",
        "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "MatMulInteger", "Max", "Min",
        "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceL2",
        "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Sign",
        "SimplifiedLayerNormalization", "Sin", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub",
        "Sum", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
    }),
    MICROSOFT: frozenset({
        "BiasGelu", "DynamicQuantizeMatMul", "FastGelu", "FusedGemm", "FusedMatMul", "GatherBlockQuantized", "Gelu",
        "GroupQueryAttention", "MatMulIntegerToFloat", "MatMulNBits", "MultiHeadAttention", "QAttention", "QuickGelu",
        "RotaryEmbedding", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
    }),
}  # fmt: skip
"""By domain; tests hold every graph that the suite exports against it."""
SIZED = {"Range": (0, 1, 2), "Expand": (1,), "Pad": (1,), "Tile": (1,)}
"""Operators that make more values than they read, and their inputs that say how many."""
MOST_PADDING = 2**12
"""Numbers that a convolution puts at either end of an axis, which it reads beside its input; else it makes no more than its weights do."""
LARGEST_SIZE = 2**24
"""Of one axis, where the graph's constants say it."""
MOST_NODES = 20_000
"""ONNX Runtime takes a second to open so many; a decoder of a hundred layers has less than half."""
MOST_FAULTS = 20


def check_graph_file(path: Path, manifest: Manifest) -> None:
    """Refuse a graph that no bundle of ours has. Values of initializers are not read, however many bytes they are.

    Raises:
        BadInput: as `read_graph`, or what is told by `graph_faults`.
    """
    faults = list(graph_faults(read_graph(path), manifest, path.parent))
    if faults:
        raise BadInput(
            "not a graph that a bundle can hold",
            where=str(path),
            faults=faults[:MOST_FAULTS],
            fix="export the model with this edgekit",
        )


def graph_faults(graph: GraphFile, manifest: Manifest, folder: Path) -> Iterator[str]:
    """What no graph of a bundle in `folder` with this `manifest` has."""
    if graph.ir_version not in IR_VERSIONS:
        yield f"IR version {graph.ir_version}, which is not {IR_VERSIONS.start} to {IR_VERSIONS.stop - 1}"
    yield from _opset_faults(graph, manifest)
    yield from _operator_faults(graph.nodes)
    yield from _external_faults(graph.initializers.values(), manifest)
    inputs, outputs = manifest.inputs, manifest.outputs
    if manifest.generation is not None:  # of which the manifest names the texts' alone
        inputs, outputs = _decoder_facts(graph, manifest.generation, manifest.vocabulary)
    yield from _signature_faults("input", graph.inputs, inputs)
    yield from _signature_faults("output", graph.outputs, outputs)
    faults = list(_order_faults(graph))
    yield from faults
    if not faults:
        yield from _size_faults(graph)
        yield from _embedding_faults(graph, manifest.vocabulary)


def _opset_faults(graph: GraphFile, manifest: Manifest) -> Iterator[str]:
    for domain, version in graph.opsets.items():
        if domain not in OPSETS:
            yield f"operators of domain {domain!r}, which no bundle has"
        elif version not in OPSETS[domain]:
            yield f"opset {version} of domain {domain or 'ai.onnx'!r}"
    if graph.opsets.get("") != manifest.opset:
        yield f"opset {graph.opsets.get('')} instead of the manifest's {manifest.opset}"


def _operator_faults(nodes: tuple[Node, ...]) -> Iterator[str]:
    if not 0 < len(nodes) <= MOST_NODES:
        yield f"{len(nodes):,} nodes"
    unknown: dict[tuple[str, str], str] = {}
    for node in nodes:
        if node.operator not in OPERATORS.get(node.domain, ()):
            unknown.setdefault((node.domain, node.operator), node.name)
    for (domain, operator), name in unknown.items():
        yield f"operator {operator or 'without a name'}{f' of {domain}' if domain else ''}, which no bundle has (node {name!r})"


def _external_faults(tensors: Iterable[Tensor], manifest: Manifest) -> Iterator[str]:
    for tensor in tensors:
        if tensor.file is None:
            continue
        asset = manifest.assets.get(tensor.file)
        if asset is None or tensor.file == manifest.variant.file:
            yield f"initializer {tensor.name!r} lies in {tensor.file!r}, which is not among the assets"
        elif tensor.end > asset.size:
            yield f"initializer {tensor.name!r} ends at byte {tensor.end:,} of {tensor.file}, which has {asset.size:,}"


def _decoder_facts(
    graph: GraphFile, generation: Generation, vocabulary: int
) -> tuple[tuple[TensorFacts, ...], tuple[TensorFacts, ...]]:
    """Inputs and outputs of a decoder's graph (`generate.graph`), whose cache is of the type that it says itself."""
    types = {one.name: one.dtype for one in graph.inputs}
    cache = types.get("past.0.key", "float32")
    cache = cache if cache in ("float32", "float16", "int8") else "float32"
    last = "start" if "start" in types else "keep"  # lowered for a GPU, or not
    axes = ("batch", generation.kv_heads, "capacity", generation.head_size)
    layers = [f"{layer}.{part}" for layer in range(generation.layers) for part in ("key", "value")]
    inputs = (
        TensorFacts("input_ids", "int64", ("batch", "sequence")), TensorFacts("seqlens_k", "int32", ("batch",)),
        TensorFacts("total_sequence_length", "int32", ()), TensorFacts(last, "int64", ("rows",)),
        *(TensorFacts(f"past.{name}", cache, axes) for name in layers),
    )  # fmt: skip
    logits = TensorFacts("logits", "float32", ("batch", "keep", vocabulary))
    return inputs, (logits, *(TensorFacts(f"present.{name}", cache, axes) for name in layers))


def _signature_faults(kind: str, found: tuple[Value, ...], wanted: tuple[TensorFacts, ...]) -> Iterator[str]:
    """Names and types; sizes of axes where both say one."""
    facts = {one.name: one for one in wanted}
    names = [[one.name for one in listed] for listed in (found, wanted)]
    if sorted(names[0]) != sorted(names[1]):
        shown = [", ".join(some[:6]) + (f" and {len(some) - 6} more" if len(some) > 6 else "") or "none" for some in names]
        yield f"{kind}s {shown[0]} instead of {shown[1]}"
        return
    for here in found:
        there = facts[here.name]
        if here.dtype != there.dtype:
            yield f"{kind} {here.name}: {here.dtype} instead of {there.dtype}"
        if here.axes is not None and (
            len(here.axes) != len(there.axes)
            or any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(here.axes, there.axes, strict=True))
        ):
            yield f"{kind} {here.name}: of shape {list(here.axes)} instead of {list(there.axes)}"


def _order_faults(graph: GraphFile) -> Iterator[str]:
    """Every value is given once, and before it is used: there are no circles."""
    known = {one.name for one in graph.inputs}
    if len(known) != len(graph.inputs) or known & graph.initializers.keys():
        yield "an input that is given twice, or has a default"
    known |= graph.initializers.keys()
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in known:
                yield f"node {node.name!r} reads {name!r}, which nothing before it gives"
        for name in node.outputs:
            if name in known:
                yield f"value {name!r} is given twice"
            if name:
                known.add(name)
    for one in graph.outputs:
        if one.name not in known:
            yield f"output {one.name!r}, which nothing gives"


def _size_faults(graph: GraphFile) -> Iterator[str]:
    """How many values an operator makes follows from shapes and from constants of a sane size, not from what is in a text."""
    by_value = {one.name for one in graph.inputs}
    """Values that depend on the values of the graph's inputs, not on their shapes alone."""
    giver: dict[str, Node] = {}
    sized: list[tuple[Node, list[str]]] = []
    for node in graph.nodes:
        giver.update(dict.fromkeys(node.outputs, node))
        if node.operator != "Shape" and not by_value.isdisjoint(node.inputs):
            by_value.update(node.outputs)
        if node.operator == "Conv" and any(not 0 <= one <= MOST_PADDING for one in node.lists.get("pads", ())):
            yield f"node {node.name!r} (Conv): pads by more than {MOST_PADDING:,}"
        if node.operator in SIZED:
            sized.append((node, [node.inputs[index] for index in SIZED[node.operator] if index < len(node.inputs)]))
    by_value.discard("")
    seen: set[str] = set()
    for node, names in sized:
        if any(name in by_value for name in names):
            yield f"node {node.name!r} ({node.operator}): how many values it makes depends on the text"
            continue
        left = list(names)
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in giver:
                if giver[name].operator != "Shape":
                    left += giver[name].inputs[: 1 if giver[name].operator in ("Slice", "Gather") else None]
            elif name in graph.initializers and any(abs(one) > LARGEST_SIZE for one in graph.initializers[name].values or ()):
                yield f"node {node.name!r} ({node.operator}): {name!r} asks for more than {LARGEST_SIZE:,} values of an axis"


def _embedding_faults(graph: GraphFile, vocabulary: int) -> Iterator[str]:
    """Every token id below `vocabulary` has a row in what is looked up by token ids."""
    same = {"input_ids"}
    """The token ids, under every name that they have."""
    through: dict[str, str] = {}
    """Values that have as many rows as the initializer they come from."""
    for node in graph.nodes:
        first = node.inputs[0] if node.inputs else ""
        if node.operator in ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze") and first in same:
            same.update(node.outputs)
        if node.operator in ("Cast", "DequantizeLinear", "Identity"):
            through.update(dict.fromkeys(node.outputs, through.get(first, first)))
        if node.operator in ("Gather", "GatherBlockQuantized") and len(node.inputs) > 1 and node.inputs[1] in same:
            table = graph.initializers.get(through.get(first, first))
            if table is None or not table.shape or table.shape[0] < vocabulary:
                rows = "no known number of" if table is None or not table.shape else f"{table.shape[0]:,}"
                yield f"node {node.name!r} looks token ids below {vocabulary:,} up in {rows} rows"
