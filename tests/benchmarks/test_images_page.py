"""The pages of images and of sounds are written from their committed results."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.images import times as images
from benchmarks.images.times import quality_shown, training_of, trainings
from benchmarks.sounds import times as sounds


@pytest.mark.parametrize("times", [images, sounds])
def test_the_page_is_of_the_result(times: ModuleType) -> None:
    document = json.loads((times.HERE / "times.json").read_text())
    assert (times.HERE / "README.md").read_text() == times.page(document), f"run python -m {times.__name__}"
    document["contenders"]["ort-fp32"]["p50_ms"] += 10
    assert times.page(document) != (times.HERE / "README.md").read_text()


def test_trainings_are_shown_as_their_mean_and_range(tmp_path: Path) -> None:
    changes = {7: 0.01, 8: 0.03, 9: 0.02}
    for seed, change in changes.items():
        (tmp_path / str(seed)).mkdir()
        quality = {"value": 0.75 + change, "difference": change}
        lineage = {"recipe": {"seed": seed, "task": "image-classification"}, "variants": {"bundle": {"quality": quality}}}
        (tmp_path / str(seed) / "lineage.json").write_text(json.dumps(lineage))
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "lineage.json").write_text(json.dumps({"recipe": {"seed": 7, "task": "other"}, "variants": {}}))
    plain, together = trainings([tmp_path / name for name in ("plain", "7", "8", "9")])
    assert [result.name for result in plain] == ["plain"] and [result.name for result in together] == ["7", "8", "9"]
    one = {"ci95": [0.0, 0.0], "difference": 0.01, "accuracy": 0.76, "trainings": [training_of(result) for result in together]}
    assert quality_shown(one) == ("77.00% (76.00 to 78.00, 3 seeds)", "+2.00 (+1.00 to +3.00)")
