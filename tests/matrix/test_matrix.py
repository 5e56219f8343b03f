"""Models that people bring, each down the whole line: what a bundle answers is what the model's own library answers, or the plan refuses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edgekit as ek
from edgekit.errors import BadInput
from edgekit.pipeline.explain import explain
from edgekit.runtime.bundle.names import MANIFEST
from edgekit.runtime.bundle.verify import verify
from tests.matrix.cells import CELLS, Cell

pytestmark = pytest.mark.matrix
TARGET = "x86-avx2"


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_right_or_refused_by_the_plan(cell: Cell, tmp_path: Path) -> None:
    recipe = cell.make(tmp_path)
    if cell.refused:
        with pytest.raises(BadInput, match=cell.refused):
            explain(str(recipe), [TARGET], tmp_path / "build")
            if cell.loaded:
                ek.export(str(recipe), target=TARGET, build=tmp_path / "build", measure=False)
        return
    made = ek.export(str(recipe), target=TARGET, build=tmp_path / "build", measure=False)
    found = json.loads((made.bundle / MANIFEST).read_text())["edgekit"]["agreement"]
    assert found["inputs"] >= 32 and found["largest"] <= 1e-3
    assert verify(made.bundle)["ok"]
