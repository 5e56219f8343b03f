"""How far outputs may be from the golden ones: a share of their own spread, root mean square over an input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.config.target import load_target, target_names
from edgekit.pack.golden import LEAST, tolerance
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.errors import CheckFailed
from tests.tiny_manifest import rewrite_manifest


def golden(values: np.ndarray) -> dict[str, Any]:
    return {"rows": [{"outputs": [row.tolist()]} for row in values]}


def test_it_goes_with_the_unit_of_the_outputs() -> None:
    values = np.random.default_rng(0).normal(size=(16, 40))
    assert tolerance(golden(values), 0.15) == pytest.approx(0.15, rel=0.1)
    assert tolerance(golden(values / 16), 0.15) == pytest.approx(tolerance(golden(values), 0.15) / 16)
    assert tolerance(golden(values + 100), 0.15) == pytest.approx(tolerance(golden(values), 0.15))
    assert tolerance(golden(np.ones((3, 4))), 0.15) == LEAST


def test_no_target_lets_through_what_says_nothing() -> None:
    """An output that has nothing to do with the golden one is off by about 1.4 times their spread."""
    assert all(load_target(name).tolerance <= 0.3 for name in target_names())


def changed(bundle: Path, folder: Path, change: Callable[[dict[str, Any], float], None]) -> Path:
    """A copy of the bundle with a share of 0.15, whose rows `change` has changed in place, and whose manifest agrees with that."""
    shutil.copytree(bundle, folder)
    document = json.loads((folder / "golden.json").read_text())
    limit = tolerance(document, 0.15)
    for row in document["rows"]:
        change(row, limit)
    text = json.dumps(document).encode()
    (folder / "golden.json").write_bytes(text)
    rewrite_manifest(folder, lambda manifest: manifest["edgekit"]["golden"].update(tolerance=limit))
    return folder


def moved_by(times: float, lowest_alone: bool = False) -> Callable[[dict[str, Any], float], None]:
    def change(row: dict[str, Any], limit: float) -> None:
        outputs = np.asarray(row["outputs"])
        row["outputs"] = np.where(lowest_alone & (outputs != outputs.min()), outputs, outputs - times * limit).tolist()

    return change


def test_outputs_within_it_pass_and_outputs_beyond_do_not(bundle: Path, tmp_path: Path) -> None:
    near = verify(changed(bundle, tmp_path / "near", moved_by(0.9)))
    assert near["ok"] and near["difference"] == pytest.approx(0.9 * near["tolerance"], rel=0.05)
    with pytest.raises(CheckFailed, match=r"32 of 32 golden inputs are not right\n.*its outputs differ by"):
        verify(changed(bundle, tmp_path / "far", moved_by(1.1)))


def test_one_output_far_off_is_rounding(bundle: Path, tmp_path: Path) -> None:
    found = verify(changed(bundle, tmp_path / "one", moved_by(1.5, lowest_alone=True)))
    assert found["ok"] and found["largest_difference"] > found["tolerance"] > found["difference"]


def test_an_answer_never_changes_without_outputs_that_explain_it(bundle: Path, tmp_path: Path) -> None:
    def change(row: dict[str, Any], limit: float) -> None:
        row["answer"] = "ask" if row["answer"] != "ask" else "on"

    with pytest.raises(CheckFailed, match='instead of "'):
        verify(changed(bundle, tmp_path / "answer", change))
