"""Mixed precision by measured sensitivity: linear layers go back to float32, the worst first, until the quality floor holds.

The accuracy control of NNCF (Kozlov et al. 2020, arXiv 2002.08679), on the finished ONNX file: each group of layers is
quantized alone and scored on validation rows. The metric of a few hundred rows has ties, so equal losses are ordered by the
squared error of the outputs. Where everything quantized keeps the floor already, nothing is ranked and nothing reverted. The
floor holds on the rows that it was chosen by; that it holds on others is for the test rows to prove.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.errors import CheckFailed
from edgekit.onnx_graph.linear import linear_nodes, module_path
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["Reverted", "groups_of", "revert"]

Outputs = list[np.ndarray]


@dataclass(frozen=True)
class Reverted:
    """Names of the linear layers that stay in float32, and the document of why."""

    keep: frozenset[str]
    document: JsonObject


def groups_of(graph: ir.Graph) -> dict[str, list[str]]:
    """Names of the linear layers of fused float32 `graph` that go back together, by a label, in the graph's order.

    Query, key and value of an attention are one group, since they become one kernel; every other layer is its own. The
    label is the path of their layer in the checkpoint, or the layer's own name where the graph does not say it.
    """
    members: dict[int, list[tuple[str, str]]] = {}
    for linear in linear_nodes(graph):
        path = module_path(linear.node) or linear.name
        members.setdefault(id(_attention(linear.node) or linear.node), []).append((linear.name, path))
    found: dict[str, list[str]] = {}
    for group in members.values():
        label = _common([path.split(".") for _, path in group]) or " + ".join(name for name, _ in group)
        found[f"{label} ({group[0][0]})" if label in found else label] = [name for name, _ in group]
    return found


def _common(paths: list[list[str]]) -> str:
    """The leading parts that all of `paths` share."""
    shared = [parts[0] for parts in zip(*paths, strict=False) if len(set(parts)) == 1]
    return ".".join(shared)


def _attention(node: ir.Node) -> ir.Node | None:
    """The MultiHeadAttention that `node` feeds, straight or through its bias."""
    users = [user for user, _ in node.outputs[0].uses()]
    users += [behind for user in users if user.op_type == "Add" for behind, _ in user.outputs[0].uses()]
    return next((user for user in users if user.op_type == "MultiHeadAttention"), None)


def revert(
    groups: Mapping[str, Sequence[str]],
    outputs: Callable[[frozenset[str]], Outputs],
    score: Callable[[Outputs], float],
    whole: Outputs,
    floor: float,
    progress: Progress,
) -> Reverted:
    """Choose which of `groups` stay in float32.

    `outputs` gives the validation outputs of the model in which the named layers, and no others, stay float32; `whole` are
    the float32 model's own; `floor` is the largest loss of `score` against it. At most two scorings a group, and two more.

    Raises:
        CheckFailed: what is quantized besides the linear layers, the embeddings, loses more than the floor by itself.
    """
    every = frozenset(name for names in groups.values() for name in names)
    target = score(whole) - floor
    first = score(outputs(frozenset()))
    quality = {"float32": score(whole), "all quantized": first}
    if first >= target:
        return Reverted(frozenset(), {"reverted": [], "quality": quality})
    alone = score(outputs(every))
    if alone < target:
        raise CheckFailed(
            f"with every linear layer in float32 the metric is still {quality['float32'] - alone:.4f} below float32, and the floor "
            f"allows {floor:g}",
            where="quantize, mixed",
            fix='set embeddings = "float32" in [quantize], or allow a larger drop',
        )
    losses = []
    for done, (label, names) in enumerate(groups.items()):
        made = outputs(every - set(names))
        losses.append((alone - score(made), _squared_error(made, whole), label))
        progress(done, 2 * len(groups), f"sensitivity: {label}")
    ranking = sorted(losses, key=lambda item: (-item[0], -item[1]))
    keep: frozenset[str] = frozenset()
    reverted: list[str] = []
    reached = first
    for _, _, label in ranking:
        keep, reverted = keep | set(groups[label]), [*reverted, label]
        reached = score(outputs(keep))
        progress(len(groups) + len(reverted), 2 * len(groups), f"reverted to float32: {label}")
        if reached >= target:
            break
    sensitivity: list[JsonObject] = [{"group": label, "lost": lost, "squared_error": error} for lost, error, label in ranking]
    return Reverted(keep, {"reverted": reverted, "quality": quality | {"mixed": reached}, "sensitivity": sensitivity})


def _squared_error(made: Outputs, whole: Outputs) -> float:
    """Mean over all numbers of all rows."""
    total = sum(float(((a.astype(np.float64) - b) ** 2).sum()) for a, b in zip(made, whole, strict=True))
    return total / max(1, sum(item.size for item in whole))
