"""Is this bundle whole, and does it answer here as it did where it was made?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.decode import decoder
from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.model import load

__all__ = ["verify"]


def verify(path: str | Path) -> dict[str, Any]:
    """Hash every file of the bundle at `path` and replay its golden inputs.

    Each golden text must give the stored token ids, the stored label, and outputs within the target's tolerance.
    Returns what was checked, with the largest difference of an output.

    Raises:
        CheckFailed: a file or a golden input is not right; the message names each.
        BadInput, NotPossibleHere: as `load`.
    """
    model = load(path)
    manifest = model.bundle.manifest
    name = manifest.document["edgekit"]["golden"]["file"]
    rows = json.loads((model.bundle.folder / name).read_text(encoding="utf-8"))["rows"]
    if len(rows) != manifest.golden_count:
        raise CheckFailed(f"{len(rows)} golden inputs instead of {manifest.golden_count}", where=name)
    decode = decoder(manifest.task)
    faults, worst = [], 0.0
    for number, row in enumerate(rows):
        tokens = model.tokenise([row["text"]])
        if tokens.ids[0].tolist() != row["input_ids"]:
            faults.append(f"input {number}: other tokens than where the bundle was made")
            continue
        outputs = model.outputs(tokens)
        difference = float(np.abs(outputs[0] - np.asarray(row["outputs"], dtype=np.float32)).max())
        worst = max(worst, difference)
        label = decode(outputs, manifest.labels)[0]["label"]
        if not difference <= manifest.tolerance:
            faults.append(f"input {number}: an output differs by {difference:.3g}, more than {manifest.tolerance:g}")
        elif label != row["label"] and row["margin"] > 2 * manifest.tolerance:
            faults.append(f"input {number}: answers {label!r} instead of {row['label']!r}")
    if faults:
        raise CheckFailed(
            f"{len(faults)} of {len(rows)} golden inputs are not right", where=str(model.bundle.folder), faults=faults[:20]
        )
    return {
        "bundle": manifest.name,
        "files": len(manifest.assets),
        "golden": len(rows),
        "largest_difference": worst,
        "tolerance": manifest.tolerance,
        "ok": True,
    }
