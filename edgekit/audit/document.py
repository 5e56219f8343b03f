"""What an audit says, as `audit.json` has it, and the demand that it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from edgekit.errors import CheckFailed

__all__ = ["AuditDocument", "Fallback", "NodeCounts", "ObservedOn", "Requirement", "require", "requirements_of"]


class ObservedOn(TypedDict):
    """The machine that the audit was made on."""

    arch: str
    isa: list[str]


class Fallback(TypedDict):
    """A MatMul with a constant weight that is multiplied in floating point."""

    node: str
    why: str


class NodeCounts(TypedDict):
    """Nodes of the file, and of the graph that ONNX Runtime makes of it."""

    file: int
    optimised: int


class Requirement(TypedDict):
    """What the target's [audit] asks for, whether it holds, and what was found."""

    name: str
    holds: bool
    found: str


class AuditDocument(TypedDict):
    """`audit.json`."""

    schema_version: int
    target: str
    observed_on: ObservedOn
    kernels_observed: bool
    """Whether the kernels that ran are the target's own."""
    providers: list[str]
    matmuls_constant: int
    """MatMuls of an activation with a constant weight: all of the four counts that follow, fallbacks included."""
    matmuls_integer: int
    matmuls_weight_only: int
    kept_float: list[str]
    """Nodes that are in float32 on purpose."""
    fallbacks: list[Fallback]
    matmuls_activation: int
    """MatMuls of two activations."""
    counted: NotRequired[str]
    """What `matmuls_integer` counts, where it is not kernels."""
    stray_qdq: int
    casts: int
    fused: dict[str, int]
    """Fused operators of the optimised graph, and how many of each."""
    nodes: NodeCounts
    kernels_run: dict[str, int]
    """Operators whose kernels ran, and how often."""
    notes: list[str]
    stand_in: NotRequired[str]
    """The provider that stood in for the target's, which this machine has not."""
    requirements: list[Requirement]
    ok: bool


def requirements_of(items: Sequence[tuple[str, bool, str]]) -> list[Requirement]:
    """Requirements from (name, whether it holds, what was found)."""
    return [{"name": name, "holds": bool(holds), "found": found} for name, holds, found in items]


def require(document: AuditDocument) -> None:
    """Raise CheckFailed with the node names where a requirement of the target does not hold."""
    broken = [item for item in document["requirements"] if not item["holds"]]
    if broken:
        raise CheckFailed(
            f"the graph that runs is not what target {document['target']} asks for",
            where="audit",
            faults=[f"{item['name']}: {item['found']}" for item in broken],
            fix="change the target's or the recipe's [quantize], or what [audit] of the target asks for",
            see="the-graph-that-runs-is-not-what-the-target-asks-for",
        )
