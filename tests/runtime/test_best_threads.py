"""The number of threads: the fewest that are clearly faster than fewer, found out once for a bundle and a chip, and remembered beside it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.runtime import threads
from edgekit.runtime.bundle.config import Config
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.bundle.trials import trials_file
from edgekit.runtime.errors import BadInput
from edgekit.runtime.threads import best_threads, parse_threads
from tests.tiny_manifest import tiny_manifest


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only work moves, four cores, and nobody else on them."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(threads, "usable_cores", lambda physical: 4)
    monkeypatch.setattr(threads, "_pushed_aside", lambda: 0)
    return now


def bundle(folder: Path, digest: str = "a" * 64) -> Bundle:
    (folder / "bundle").mkdir(exist_ok=True)
    return Bundle(folder / "bundle", tiny_manifest(labels=["a"], vocabulary=9, golden=1), digest, Config(), folder / "bundle")


def begun(now: list[float], seconds: Callable[[int], float], asked: list[int]) -> Callable[[int], Callable[[], object]]:
    def begin(count: int) -> Callable[[], object]:
        asked.append(count)

        def work() -> None:
            now[0] += seconds(count)

        return work

    return begin


def tried(now: list[float], folder: Path, seconds: Callable[[int], float], digest: str = "a" * 64) -> tuple[int, list[int]]:
    """(the number that is chosen, the numbers that were tried for it)."""
    asked: list[int] = []
    return best_threads(bundle(folder, digest), begun(now, seconds, asked)), asked


@pytest.mark.parametrize(
    ("seconds", "best", "asked"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.4}, 4, [1, 2, 4, 2, 4]),
        ({1: 1.0, 2: 0.51, 4: 0.5}, 2, [1, 2, 4, 1, 2]),
        ({1: 1.0, 2: 0.9, 4: 0.3}, 1, [1, 2]),
        ({1: 0.1, 2: 0.11, 4: 0.3}, 1, [1, 2]),
    ],
)
def test_the_fewest_of_which_twice_as_many_save_little(
    clock: list[float], tmp_path: Path, seconds: dict[int, float], best: int, asked: list[int]
) -> None:
    assert tried(clock, tmp_path, seconds.__getitem__) == (best, asked)
    assert tried(clock, tmp_path, seconds.__getitem__) == (best, []), "remembered"
    assert tried(clock, tmp_path, seconds.__getitem__, "b" * 64) == (best, asked), "of another bundle it is not"


def test_what_is_remembered_lies_beside_the_bundle_for_each_kind_of_chip(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chip in ("Cortex-A72", "Cortex-A76"):
        monkeypatch.setattr(threads, "read_text", lambda path, name=chip: f"processor : 0\nmodel name : {name}\n")
        assert tried(clock, tmp_path, {1: 0.004, 2: 0.002, 4: 0.001}.__getitem__)[1], chip
    document = json.loads((tmp_path / "bundle.threads.json").read_text())
    assert [(one["chip"], one["cores"], one["threads"]) for one in document["trials"]] == [
        ("Cortex-A72", 4, 4),
        ("Cortex-A76", 4, 4),
    ]
    assert document["trials"][0]["milliseconds"] == {"1": 4.0, "2": 2.0, "4": 1.0}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "bundle.threads.json"] and not any(
        (tmp_path / "bundle").iterdir()
    )


SPOILED = {
    "empty": "", "no JSON": "{", "no object": "[]", "huge": " " * 100_000, "of no schema": '{"schema_version": 2}', "nested": "[" * 10_000,
    "more threads than cores": ("threads", 8), "none": ("threads", 0), "a text": ("threads", "4"), "true": ("threads", True),
    "other cores": ("cores", 64), "another chip": ("chip", "Z80"), "a surprise": ("surprise", 1),
}  # fmt: skip


@pytest.mark.parametrize("spoiled", SPOILED)
def test_what_no_trial_can_have_left_is_found_out_again(clock: list[float], tmp_path: Path, spoiled: str) -> None:
    seconds = {1: 1.0, 2: 0.5, 4: 0.6}.__getitem__
    assert tried(clock, tmp_path, seconds)[0] == 2
    file, change = trials_file(bundle(tmp_path)), SPOILED[spoiled]
    document = json.loads(file.read_text())
    document["trials"][0] |= dict([change]) if isinstance(change, tuple) else {}
    file.write_text(json.dumps(document) if isinstance(change, tuple) else change)
    assert tried(clock, tmp_path, seconds) == (2, [1, 2, 4, 1, 2])
    assert tried(clock, tmp_path, seconds) == (2, []), "and mended"


def test_another_onnxruntime_is_tried_again(clock: list[float], tmp_path: Path) -> None:
    tried(clock, tmp_path, {1: 1, 2: 1}.__getitem__)
    file = trials_file(bundle(tmp_path))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"onnxruntime": "1.0"}))
    assert tried(clock, tmp_path, {1: 1, 2: 1}.__getitem__)[1]


def test_a_link_in_its_place_is_replaced_and_what_it_names_is_left(clock: list[float], tmp_path: Path) -> None:
    file, victim = trials_file(bundle(tmp_path)), tmp_path / "victim"
    victim.write_text("mine")
    file.symlink_to(victim)
    file.with_name(f".{file.name}.{os.getpid()}.tmp").symlink_to(victim)
    assert tried(clock, tmp_path, {1: 1, 2: 1}.__getitem__) == (1, [1, 2])
    assert victim.read_text() == "mine" and not file.is_symlink() and json.loads(file.read_text())


def test_where_nothing_can_be_written_it_is_found_out_each_time(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path, text: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("edgekit.runtime.bundle.trials.write_atomically", read_only)
    for _ in range(2):
        assert tried(clock, tmp_path, {1: 1.0, 2: 0.5, 4: 0.5}.__getitem__) == (2, [1, 2, 4, 1, 2])


def test_noise_makes_no_short_encoder_use_more(clock: list[float], tmp_path: Path) -> None:
    """A second thread gains nothing; one trial in three is up to 40% off, as neighbours make it: not one of 300 chooses more."""
    noise = np.random.default_rng(0)
    trial = {"off": 1.0}

    def seconds(count: int) -> float:
        return trial["off"] * (1 + 0.05 * noise.random())

    chosen = []
    for number in range(300):

        def begin(count: int) -> Callable[[], object]:
            trial["off"] = 1 + 0.4 * noise.random() if noise.random() < 1 / 3 else 1.0
            return begun(clock, seconds, [])(count)

        chosen.append(best_threads(bundle(tmp_path, f"{number:064x}"), begin))
    assert np.mean(np.array(chosen) > 1) <= 0.05
    assert set(chosen) <= {1, 2}


def test_what_neighbours_disturbed_is_used_and_not_remembered(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_pushed_aside", lambda: int(1000 * clock[0]))
    assert tried(clock, tmp_path, {1: 1.0, 2: 0.5, 4: 0.5}.__getitem__)[0] == 2
    assert not trials_file(bundle(tmp_path)).exists()


def test_a_gain_that_does_not_come_again_is_none(clock: list[float], tmp_path: Path) -> None:
    visits = iter([1.0, 0.5, 0.5, 0.6, 0.6])  # of 1, 2, 4, and again 1 and 2
    current = {"seconds": 0.0}

    def begin(count: int) -> Callable[[], object]:
        current["seconds"] = next(visits)
        return begun(clock, lambda _: current["seconds"], [])(count)

    assert best_threads(bundle(tmp_path), begin) == 1
    assert not trials_file(bundle(tmp_path)).exists()


def test_one_core_needs_no_trial(clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda physical: 1)
    assert best_threads(bundle(tmp_path), lambda count: pytest.fail("it tried")) == 1


def test_how_threads_are_written() -> None:
    assert [parse_threads(given, written=True) for given in (None, "auto", "3", 3)] == [None, "auto", 3, 3]
    for wrong in ("9" * 5000, "0", "-1", "many", "1.5", 0, -1, 1.5, True, ""):
        with pytest.raises(BadInput):
            parse_threads(wrong, written=True)
    with pytest.raises(BadInput, match="threads: '3'"):
        parse_threads("3")


def test_more_than_any_machine_has_use_for_is_refused_with_what_this_one_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert [parse_threads(32), parse_threads("1000", written=True, here=False)] == [32, 1000]
    with pytest.raises(BadInput, match="workers: 1,000 are of no use: this machine has 8 cores") as fault:
        parse_threads(1000, name="workers")
    assert "up to 32, of which more than 8 gain nothing" in str(fault.value.fix)
