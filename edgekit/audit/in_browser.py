"""What ONNX Runtime's WebAssembly makes of a graph: the kernels of its own profile, and whether small weights are multiplied as integers there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import NotPossibleHere
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.temporary import temporary_folder
from edgekit.web.kernels import Seen, run_in_engine

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["InBrowser", "seen_in_browser"]

WEIGHT_ONLY = "MatMulNBits"


@dataclass(frozen=True)
class InBrowser:
    """What was seen there; where nothing could be run, `why`."""

    kernels: Counter[str]
    others: dict[str, str]
    """Nodes asked for that did not run as what the graph has -> what ran instead, or "nothing"."""
    notes: list[str]
    why: str | None = None


def seen_in_browser(
    path: Path, feeds: Sequence[Mapping[str, np.ndarray]], optimised: ModelProto, operators: Collection[str]
) -> InBrowser:
    """Run the graph in file `path` on `feeds` in Node, or in Chromium, and see how nodes of `operators` of its `optimised` graph ran.

    Raises:
        CheckFailed: it does not run there, or npm gives another file than is pinned.
    """
    try:
        seen = run_in_engine(path, feeds)
    except NotPossibleHere as fault:
        return InBrowser(Counter(), {}, [f"the kernels of WebAssembly were not seen: {fault.what}"], fault.what)
    ran = {event["name"].removesuffix("_kernel_time"): event["args"]["op_name"] for event in seen.events}
    wanted = {node.name: node.op_type for node in optimised.graph.node if node.op_type in operators}
    others = {name: ran.get(name, "nothing") for name, kind in wanted.items() if ran.get(name) != kind}
    notes = [f"the kernels that ran were seen in {seen.engine}, by its own profile"]
    if any(kind != WEIGHT_ONLY for kind in wanted.values()):
        notes.append(
            "8-bit MatMuls multiply pairs of 16 bits there, eight an instruction (i32x4.dot_i16x8_s): its SIMD has none for bytes"
        )
    if number := sum(kind == WEIGHT_ONLY for kind in wanted.values()):
        notes.append(_of_small_weights(path, feeds, seen, number))
    return InBrowser(Counter(event["args"]["op_name"] for event in seen.events), others, notes)


def _of_small_weights(path: Path, feeds: Sequence[Mapping[str, np.ndarray]], seen: Seen, number: int) -> str:
    """Whether activations are rounded to 8 bits for `number` MatMuls with small weights, told by whether accuracy_level changes a bit."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    levels = [
        entry
        for node in model.graph.node
        if node.op_type == WEIGHT_ONLY
        for entry in node.attribute
        if entry.name == "accuracy_level"
    ]
    asked = {entry.i for entry in levels}
    if asked != {4}:
        return f"{number} MatMuls unpack small weights to float32 and multiply in float32, as accuracy_level asks"
    for entry in levels:
        entry.i = 0
    with temporary_folder("audit") as folder:
        onnx.save(model, str(folder / MODEL))
        if (data := path.with_name(MODEL_DATA)).is_file():
            (folder / MODEL_DATA).symlink_to(data.resolve())
        plain = run_in_engine(folder / MODEL, feeds, profile=False)
    if plain.outputs == seen.outputs:
        return (
            f"the {number} MatMuls with small weights do NOT multiply in integers there: weights are unpacked and multiplied in float32, "
            "as outputs have the same bits with accuracy_level 0 and 4; where a CPU's kernel rounds activations to 8 bits, as it was "
            "scored, answers that are nearly even may differ"
        )
    return f"the {number} MatMuls with small weights round activations to 8 bits there (outputs differ between accuracy_level 0 and 4)"
