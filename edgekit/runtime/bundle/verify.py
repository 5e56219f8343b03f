"""Is this bundle whole, and does it answer here as it did where it was made?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.bundle.golden import parse_golden
from edgekit.runtime.bundle.names import SIGNATURE
from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.model import Model, checked, opened
from edgekit.runtime.processors import processor
from edgekit.runtime.providers.session import own_cores, usable_threads

__all__ = ["said", "shown", "signature_of", "verify"]


SAID, TOKENS = 3, 24
"""Golden inputs that are continued with a draft and without, and tokens of each."""


def verify(path: str | Path) -> dict[str, Any]:
    """Hash every file of the bundle at `path` and replay its golden inputs.

    Each golden input must give the stored token ids, outputs whose root-mean-square difference is within the bundle's tolerance
    and, where the outputs leave no doubt, the stored answer. The mean decides because a single output tells nothing: an activation
    that falls on the other side of a rounding step by float32's last bit moves some outputs far and the mean hardly.
    Returns what was checked, with the largest such difference and the largest one of a single output. Who made the bundle is not
    known from that: "signed" is false until a key is given (`edgekit verify --verify-key`).

    Raises:
        CheckFailed: a file or a golden input is not right; the message names each.
        BadInput, NotPossibleHere: as `load`.
    """
    bundle = checked(path)
    manifest = bundle.manifest
    golden = parse_golden(bundle.folder, manifest)
    model = opened(bundle, usable_threads(manifest.variant.threads or own_cores()))
    task = processor(manifest.task)
    faults, worst, largest = [], 0.0, 0.0
    for number, row in enumerate(golden):
        windows = task.prepare(model.reader, row.input)
        if [one.ids.tolist() for one in windows] != row.ids:
            faults.append(f"input {number}: other tokens than where the bundle was made")
            continue
        outputs = model.outputs(windows)
        difference, single = _differences(outputs, row.outputs)
        worst, largest = max(worst, difference), max(largest, single)
        answer = task.answer(outputs, windows, model.asked(row.input))
        if not difference <= manifest.golden.tolerance:
            faults.append(f"input {number}: its outputs differ by {difference:.3g}, more than {manifest.golden.tolerance:g}")
        elif row.margin is not None and row.margin > 2 * single and said(answer) != row.answer:
            faults.append(f"input {number}: answers {json.dumps(said(answer))} instead of {json.dumps(row.answer)}")
    if manifest.draft is not None and not faults:
        faults = _guessed_otherwise(model, [row.input for row in golden[:SAID]])
    if faults:
        raise CheckFailed(
            f"{len(faults)} of {len(golden)} golden inputs are not right",
            where=str(model.bundle.folder),
            faults=faults[:20],
            see="golden-inputs-are-not-right",
        )
    return {
        "bundle": manifest.name,
        "digest": model.bundle.digest,
        "not_covered": model.bundle.not_covered,
        "signed": False,
        "signature_beside": signature_of(Path(path), model.bundle.folder).is_file(),
        "files": len(manifest.assets),
        "golden": len(golden),
        "difference": worst,
        "largest_difference": largest,
        "tolerance": manifest.golden.tolerance,
        "ok": True,
    }


def _guessed_otherwise(model: Model, inputs: Sequence[Any]) -> list[str]:
    """For each of `inputs` that is continued with other tokens where the draft guesses, a fault."""
    from edgekit.runtime.generate.sample import Sampling  # here alone: encoders need nothing of it

    language = model.language
    assert language is not None, "a draft is a language model's"
    plain, sampling = replace(language, speculation=None), Sampling(max_new_tokens=TOKENS)
    return [
        f"input {number}: other tokens with the draft than without"
        for number, text in enumerate(inputs)
        if language.generate(str(text), sampling).tokens != plain.generate(str(text), sampling).tokens
    ]


def shown(document: Mapping[str, Any]) -> list[str]:
    """What `verify` found, for people."""
    unchecked = "its signature was not checked (--verify-key)" if document["signature_beside"] else "not signed"
    signed = "signed" if document["signed"] else unchecked
    return [
        f"{document['bundle']}: whole and right: {document['files']} files hashed, {document['golden']} golden inputs replayed; {signed}",
        f"digest sha256:{document['digest']}",
    ]


def signature_of(path: Path, folder: Path) -> Path:
    """Where the signature of the bundle that was named by `path`, and lies in `folder`, is looked for: beside its folder or archive."""
    return (path.parent if path.is_file() else folder.resolve().parent) / SIGNATURE


def _differences(outputs: list[np.ndarray], wanted: Sequence[np.ndarray]) -> tuple[float, float]:
    """(root mean square, largest) of the differences of one input; infinite where shapes differ or a number is not finite."""
    if [output.shape[1:] for output in outputs] != [array.shape for array in wanted]:
        return float("inf"), float("inf")
    found = np.concatenate([np.ravel(output[0] - array) for output, array in zip(outputs, wanted, strict=True)])
    worst = float(np.abs(found).max())
    return (float(np.sqrt(np.mean(np.square(found)))), worst) if np.isfinite(worst) else (float("inf"), float("inf"))


def said(answer: Mapping[str, Any]) -> Any:
    """An answer without its scores, which carry rounding: what must be the same everywhere."""
    if isinstance(answer.get("entities"), list):
        return [[entity["label"], entity["start"], entity["end"]] for entity in answer["entities"]]
    if isinstance(answer.get("labels"), list):
        return sorted(item["label"] for item in answer["labels"])
    return answer.get("label")
