"""What is read before and after, from made-up /proc and /sys trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.runtime.bench import environment
from edgekit.runtime.bench.environment import compare, snapshot


@pytest.fixture(autouse=True)
def _no_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "SPIN_SECONDS", 0.0)


def tree(root: Path, **files: str) -> Path:
    """Files below `root`; "__" in a name stands for "/"."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def machine(
    root: Path, *, mhz: int = 2000, steal: int = 0, ticks: int = 1000, swap_free: int = 1_000_000, heat: int = 0
) -> Path:
    return tree(
        root,
        proc__stat=f"cpu  {ticks} 0 0 0 0 0 0 {steal} 77 0\ncpu0 1 1\n",
        proc__loadavg="0.10 0.20 0.30 1/100 42\n",
        proc__meminfo=f"MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\nSwapTotal: 1000000 kB\nSwapFree: {swap_free} kB\nHugePages_Total: 0\n",
        sys__devices__system__cpu__cpu0__cpufreq__scaling_cur_freq=f"{mhz}000\n",
        sys__devices__system__cpu__cpu0__cpufreq__scaling_max_freq="2400000\n",
        sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="performance\n",
        sys__devices__system__cpu__cpu0__thermal_throttle__core_throttle_count=f"{heat}\n",
        sys__class__thermal__thermal_zone0__temp="54321\n",
        sys__class__thermal__thermal_zone0__type="x86_pkg_temp\n",
    )


def test_a_snapshot_reads_everything(tmp_path: Path) -> None:
    found = snapshot(machine(tmp_path))
    assert found["frequency_mhz"] == 2000 and found["frequency_limit_mhz"] == 2400 and found["governor"] == "performance"
    assert found["temperatures_c"] == [54.321] and found["thermal_zones"] == ["thermal_zone0 x86_pkg_temp"]
    assert found["total_ticks"] == 1000, "guest time is part of user time"
    assert found["swap_used_mb"] == 0 and found["memory_available_mb"] == 4096
    assert found["load"] == [0.1, 0.2, 0.3]


def test_a_machine_that_shows_nothing_gives_nulls(tmp_path: Path) -> None:
    found = snapshot(tmp_path)
    for name in ("frequency_mhz", "governor", "temperatures_c", "pi_throttled", "steal_ticks", "quota_waits"):
        assert found[name] is None
    assert set(found["reasons"]) >= {
        "frequency_mhz",
        "frequency_limit_mhz",
        "temperatures_c",
        "throttle_counts",
        "pi_throttled",
    }
    assert compare(found, found) == {"throttled": False, "reasons": []}


def test_this_machine_can_be_read() -> None:
    before = snapshot()
    assert before["total_ticks"] > 0 and before["memory_available_mb"] > 0
    assert set(compare(before, snapshot())) == {"throttled", "reasons"}


@pytest.mark.parametrize(
    ("changes", "throttled", "word"),
    [
        ({}, False, None),
        ({"mhz": 1700}, False, None),
        ({"mhz": 1500}, True, "clock fell"),
        ({"heat": 3}, True, "for heat 3 times"),
        ({"steal": 60, "ticks": 1940}, False, "took 6%"),
        ({"steal": 10, "ticks": 1990}, False, None),
        ({"swap_free": 900_000}, False, "swapped"),
    ],
)
def test_what_happened_in_between(tmp_path: Path, changes: dict[str, int], throttled: bool, word: str | None) -> None:
    before, after = snapshot(machine(tmp_path / "a")), snapshot(machine(tmp_path / "b", **changes))
    found = compare(before, after)
    assert found["throttled"] is throttled
    if word is None:
        assert found["reasons"] == []
    else:
        assert len(found["reasons"]) == 1 and word in found["reasons"][0]


@pytest.mark.parametrize(
    ("before", "after", "throttled"),
    [
        ("0x0", "0x0", False),
        ("0x0", "0x50005", True),
        ("0x0", "0x20000", True),
        ("0x20000", "0x20000", False),  # throttled once since boot, and not again as far as the board says
        ("0x20002", "0x20000", True),
        (None, None, False),
        ("nonsense", "0x1", False),
    ],
)
def test_a_raspberry_pi_says_so(tmp_path: Path, before: str | None, after: str | None, throttled: bool) -> None:
    one = snapshot(machine(tmp_path))
    assert compare({**one, "pi_throttled": before}, {**one, "pi_throttled": after})["throttled"] is throttled


def test_a_quota_and_a_busy_machine_are_named(tmp_path: Path) -> None:
    one = snapshot(
        tree(
            machine(tmp_path), sys__fs__cgroup__cpu__stat_="", **{"sys__fs__cgroup__cpu.stat": "nr_periods 9\nnr_throttled 4\n"}
        )
    )
    found = compare({**one, "load": [999.0, 1, 1]}, {**one, "quota_waits": 6})
    assert not found["throttled"]
    assert "quota stopped its processes 2 times" in found["reasons"][0]
    assert "busy" in found["reasons"][1]


@pytest.mark.parametrize(
    ("name", "one", "other", "word"),
    [
        ("cooling_steps", 0, 3, "the kernel slowed the processor down for heat (3 steps after)"),
        ("cooling_steps", 2, 0, "2 steps before"),
        ("cooling_steps", 0, 0, None),
        ("overcurrent_events", 4, 6, "over-current or under-voltage 2 times"),
        ("overcurrent_events", 4, 4, None),
    ],
)
def test_boards_that_slow_down(tmp_path: Path, name: str, one: int, other: int, word: str | None) -> None:
    before = snapshot(machine(tmp_path))
    found = compare({**before, name: one}, {**before, name: other})
    assert found["throttled"] is (word is not None)
    assert word is None or word in found["reasons"][0]


def test_a_slowed_gpu_counts_where_it_computes(tmp_path: Path) -> None:
    before = snapshot(machine(tmp_path))
    after = {**before, "gpus": [{"name": "A GPU", "slowed": ["hardware slowdown for heat"]}]}
    assert compare(before, after, on_gpu=True)["reasons"] == ["A GPU: hardware slowdown for heat (after)"]
    assert not compare(before, after)["throttled"]
