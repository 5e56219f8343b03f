"""A search whose trials are timed on another machine: an sshd on loopback, with the real runner there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.config.target import load_target
from edgekit.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.host import detect
from edgekit.plan.recipes import load_recipe
from edgekit.progress import Show
from edgekit.tuner import on_device
from edgekit.tuner.front import Bounds
from edgekit.tuner.on_device import Figures, device_of, ratio_there, time_model
from edgekit.tuner.results import finish
from edgekit.tuner.run import Asked, search
from edgekit.tuner.trial import Given, Original, measure
from tests.device.loopback import Server
from tests.device.test_device_runs import inventory

SILENT = Show(silent=True)


@pytest.fixture
def given(tiny_model: Path, tiny_data: Path, tmp_path: Path, sshd: Server, monkeypatch: pytest.MonkeyPatch) -> Given:
    rows = "".join(f'{split} = "{tiny_data / split}.jsonl"\n' for split in ("train", "validation", "test"))
    path = tmp_path / "tiny.toml"
    path.write_text(f'schema = 1\ntask = "text-classification"\n[model]\nid = "{tiny_model}"\nmax_length = 32\n[data]\n{rows}')
    for name, value in (("PROCESSES", 1), ("SECONDS", 0.02)):
        monkeypatch.setattr(on_device, name, value)
    return Given(
        "tiny", path, load_recipe(str(path))[2], load_target("x86-avx2"), detect(), tmp_path, SILENT, None, sshd.device()
    )


def test_a_trial_is_timed_on_the_device(
    given: Given, sshd: Server, tiny_export: Path, tiny_model: Path, tiny_data: Path
) -> None:
    assert given.device is not None and given.timed
    there = time_model(
        given.device, given.recipe, given.target, tiny_data / "validation.jsonl", tiny_export, tiny_model, SILENT
    )
    assert 0 < there.low <= there.p50 <= there.high and sshd.left() == []
    original = Original(1.0, 20, 1.0, 1, tiny_export, tiny_model, tiny_data, there)
    found = measure(given, original, tiny_export, tiny_model)
    assert found["ci95"][0] <= found["times"] <= found["ci95"][1] and found["ms"] > 0


def test_points_are_timed_there_too(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.tuner.run.starts_of", lambda *_, **__: [[]])  # no step, which trains nothing
    asked = Asked(str(given.path), "x86-avx2", given.build, Bounds(faster=1000.0), trials=1, device=given.device)
    found = finish(search(asked, SILENT))
    (point,) = found.points
    assert point.test["times"]["value"] > 0 and point.test["ms"] > 0 and not (point.result / "bench.json").exists()
    (missed,) = point.missed
    assert "times fp32 on" in missed and "1000 asked for" in missed and found.kept == ()
    assert "Timed on " in found.page.read_text() and "--faster" in found.document["nearest"][1]


def test_what_a_device_answers_is_not_believed(
    given: Given, stand_in: Any, tiny_export: Path, tiny_model: Path, tiny_data: Path
) -> None:
    """The stand-in for the runner times the graph alone."""
    stand_in()
    assert given.device is not None
    with pytest.raises(CheckFailed, match="does not say how long a text takes"):
        time_model(given.device, given.recipe, given.target, tiny_data / "validation.jsonl", tiny_export, tiny_model, SILENT)
    gone = given.device.model_copy(update={"port": 1})
    with pytest.raises(NotPossibleHere, match="refused"):
        time_model(gone, given.recipe, given.target, tiny_data / "validation.jsonl", tiny_export, tiny_model, SILENT)


def test_one_device_is_meant(sshd: Server, tmp_path: Path) -> None:
    file = inventory(tmp_path / "devices.toml", sshd.device("one"), sshd.device("two"))
    assert device_of(None, None) is None and (device_of("two", file) or pytest.fail()).name == "two"
    with pytest.raises(BadInput, match="2 devices are in the inventory") as fault:
        device_of(None, file)
    assert "--device one" in str(fault.value.fix)


def test_a_ratio_spans_the_intervals_of_both() -> None:
    found = ratio_there(Figures(8.0, 7.0, 9.0), Figures(2.0, 1.0, 4.0))
    assert found == {"times": 4.0, "ci95": [7 / 4, 9.0], "ms": 2.0}
