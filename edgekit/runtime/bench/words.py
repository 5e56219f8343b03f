"""What variants and scenarios of a benchmark are called where a person reads of them: tables, progress, reasons for doubt."""

from __future__ import annotations

__all__ = ["GRAPH", "TEXT", "in_engine", "scenario_words", "variant_words"]

TEXT, GRAPH = "text", "real"
"""Scenarios of the rows themselves: from text to answer, which is what a user waits for, and the graph alone."""
VARIANTS = {
    "eager-fp32": "PyTorch eager fp32",
    "ort-fp32": "ONNX Runtime fp32",
    "ort-int8-stock": "off-the-shelf INT8",
    "after-0-none": "INT8 only",
    "bundle": "the bundle",
    "bundle-in-node": "the bundle in Node",
    "memory-reading": "reading memory",
}
SCENARIOS = {TEXT: "from text to answer", GRAPH: "the graph alone"}


def in_engine(variant: str, engine: str) -> str:
    """Name of a variant that is timed in a second engine too: bundle-in-node."""
    return f"{variant}-in-{engine.lower()}"


def variant_words(name: str) -> str:
    """A variant by its name in a result: the bundle, after 1: distill."""
    if name in VARIANTS:
        return VARIANTS[name]
    _, number, *method = [*name.split("-", 2), ""]
    return f"after {number}: {method[0]}" if name.startswith("after-") and number.isdigit() else name


def scenario_words(name: str) -> str:
    """A scenario by its name in a result: from text to answer, an input of 16 tokens."""
    kind, _, length = name.rpartition("-")
    if length.isdigit():
        before = {"": "an input of", "first": "the first token after a prompt of", "token": "a token after a prompt of"}
        if kind in before:
            return f"{before[kind]} {length}" + " tokens" * (kind == "")
    return SCENARIOS.get(name, name)
