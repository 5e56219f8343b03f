"""The calibration set: real training rows at their own length distribution, hashed, none of them a row of an evaluation split."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from edgekit.data.splits import check_disjoint
from edgekit.errors import BadInput
from edgekit.runtime.jsontypes import JsonValue
from edgekit.tasks.encode import read_split

__all__ = ["FILE", "choose_rows"]

FILE = "calibration.jsonl"


def choose_rows(rows: Path, out: Path, count: int, seed: int) -> dict[str, JsonValue]:
    """Write `count` training rows to `out`, drawn at random without replacement; returns their number and sha256.

    A plain random sample keeps the length distribution. Validation and test rows are proven absent.

    Raises:
        BadInput: no rows to draw from, or a row that is also in an evaluation split.
    """
    train = read_split(rows, "train")
    if not train:
        raise BadInput("no training rows to calibrate with", where=str(rows))
    picked = np.random.default_rng(seed).choice(len(train), size=min(count, len(train)), replace=False)
    chosen = [train[index] for index in sorted(picked)]
    for split in ("validation", "test"):
        check_disjoint(chosen, read_split(rows, split))
    lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in chosen)
    (out / FILE).write_text(lines, encoding="utf-8")
    return {"rows": len(chosen), "sha256": hashlib.sha256(lines.encode()).hexdigest()}
