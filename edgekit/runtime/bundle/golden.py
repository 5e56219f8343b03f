"""Golden inputs as they are read: inputs with the token ids, outputs and answers that they had where the bundle was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.strict_json import read_json

__all__ = ["GoldenRow", "parse_golden"]

LARGEST = 64 * 1024**2
"""Bytes of the file."""
FIELDS = {"input", "input_ids", "outputs", "answer", "margin"}
MOST_FAULTS = 20


@dataclass(frozen=True)
class GoldenRow:
    """One golden input."""

    input: Any
    """As the task takes it: a text, an object, or a list of words."""
    ids: list[list[int]]
    """Token ids of each window."""
    outputs: tuple[np.ndarray, ...]
    """The graph's first output for each window, float32, without the batch axis."""
    answer: Any
    """The answer without its scores; None where there is none to compare."""
    margin: float | None
    """How far the outputs may be from these, all of them, before the answer may be another; None where that is not known."""


def parse_golden(folder: Path, manifest: Manifest) -> tuple[GoldenRow, ...]:
    """The golden inputs of the bundle in `folder`.

    Raises:
        BadInput: not sound JSON, or rows that are not such inputs; the message names each.
        CheckFailed: not as many as the manifest says.
    """
    path = folder / manifest.golden.file
    document = read_json(path, most=LARGEST)
    rows = document.get("rows") if isinstance(document, dict) else None
    if not isinstance(rows, list) or len(document) != 1:
        raise BadInput("not an object of rows alone", where=str(path), fix="export the bundle again")
    if len(rows) != manifest.golden.count:
        raise CheckFailed(f"{len(rows)} golden inputs instead of {manifest.golden.count}", where=str(path))
    faults: list[str] = []
    found = [_row(row, number, faults) for number, row in enumerate(rows)]
    if faults:
        raise BadInput("not golden inputs", where=str(path), faults=faults[:MOST_FAULTS], fix="export the bundle again")
    return tuple(row for row in found if row is not None)


def _row(given: Any, number: int, faults: list[str]) -> GoldenRow | None:
    if not isinstance(given, dict) or set(given) != FIELDS:
        faults.append(f"rows[{number}]: not an object of {', '.join(sorted(FIELDS))}")
        return None
    windows, answer, margin = given["input_ids"], given["answer"], given["margin"]
    sound = {
        "input": isinstance(given["input"], str | dict | list),
        "input_ids": isinstance(windows, list)
        and all(isinstance(one, list) and all(type(i) is int for i in one) for one in windows),
        "answer": answer is None or isinstance(answer, str | list),
        "margin": margin is None or type(margin) in (int, float),
    }
    wrong = [name for name, right in sound.items() if not right]
    faults += [f"rows[{number}].{name}: {type(given[name]).__name__}, or something else within it" for name in wrong]
    outputs = given["outputs"] if isinstance(given["outputs"], list) else [given["outputs"]]
    arrays = [_array(one) for one in outputs]
    if any(array is None for array in arrays) or (not wrong and len(arrays) != len(windows)):
        faults.append(f"rows[{number}].outputs: not numbers of one shape for each window")
        return None
    return (
        None
        if wrong
        else GoldenRow(given["input"], windows, tuple(array for array in arrays if array is not None), answer, margin)
    )


def _array(given: Any) -> np.ndarray | None:
    """`given`, numbers or lists of as many numbers each, as float32 of one or two axes; None where it is anything else, or beyond float32."""
    try:
        array = np.asarray(given)
    except ValueError:  # lists of different lengths
        return None
    if array.dtype.kind not in "if" or array.ndim not in (1, 2):
        return None
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    return single if np.isfinite(single).all() else None
