"""Sources of readings, from made-up /sys trees: each gives a number with its unit, or the reason why not, whatever lies there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.runtime.health import clock, heat, ina3221, nvml, rapl, throttle
from edgekit.runtime.health.meter import Meter
from edgekit.runtime.health.reading import Reading

CPU = "sys/devices/system/cpu/cpu0"
HWMON = "sys/class/hwmon/hwmon1"
SOURCES: dict[str, tuple[Callable[[Path], Reading], dict[str, str], float, str]] = {
    "clock": (clock.frequency, {f"{CPU}/cpufreq/scaling_cur_freq": "1800000"}, 1800.0, "MHz"),
    "clock of x86": (clock.frequency, {"proc/cpuinfo": "cpu MHz\t\t: 2450.5\ncpu MHz : 2400\n"}, 2450.5, "MHz"),
    "limit": (clock.limit, {f"{CPU}/cpufreq/scaling_max_freq": "2400000"}, 2400.0, "MHz"),
    "heat": (heat.hottest, {"sys/class/thermal/thermal_zone0/temp": "54321", "sys/class/thermal/thermal_zone1/temp": "61000"}, 61.0, "°C"),
    "x86 counters": (
        throttle.heat_counts, {f"{CPU}/thermal_throttle/core_throttle_count": "3", f"{CPU}/thermal_throttle/package_throttle_count": "4"}, 7,
        "times since boot",
    ),
    "cooling": (
        throttle.cooling, {"sys/class/thermal/cooling_device0/type": "cpufreq-cpu0", "sys/class/thermal/cooling_device0/cur_state": "2"}, 2, "steps"
    ),
    "jetson": (throttle.jetson_events, {f"{HWMON}/oc1_event_cnt": "5", f"{HWMON}/oc3_event_cnt": "1"}, 6, "times since boot"),
    "pi": (throttle.pi_flags, {throttle.PI_FILES[0]: "50005\n"}, 0x50005, "flags"),
}  # fmt: skip
METERS: dict[str, tuple[Callable[[Path], tuple[list[Meter], str | None]], dict[str, str], list[float]]] = {
    "rapl": (
        rapl.meters,
        {"sys/class/powercap/intel-rapl:0/energy_uj": "1500000", "sys/class/powercap/intel-rapl:1/energy_uj": "500000",
         "sys/class/powercap/intel-rapl:0:0/energy_uj": "900000"}, [1.5, 0.5],
    ),
    "ina3221": (
        ina3221.meters,
        {f"{HWMON}/name": "ina3221", f"{HWMON}/in1_label": "VDD_IN", f"{HWMON}/in1_input": "19000", f"{HWMON}/curr1_input": "500",
         f"{HWMON}/in2_label": "NC", f"{HWMON}/in2_input": "99999", f"{HWMON}/curr2_input": "99999"}, [9.5],
    ),
}  # fmt: skip


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_is_there(name: str, tmp_path: Path) -> None:
    read, files, value, unit = SOURCES[name]
    found = read(tree(tmp_path, dict(files)))
    assert (found.value, found.unit, found.reason) == (value, unit, None)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_is_not_there_says_why(name: str, tmp_path: Path) -> None:
    found = SOURCES[name][0](tmp_path)
    assert found.value is None and found.unit == SOURCES[name][3]
    assert found.reason and len(found.reason) > 15


ODD = st.one_of(
    st.binary(max_size=12), st.sampled_from([b"", b"-1", b"nan", b"inf", b"0x", b"\xff", b"12 34", b"1e999", b"disabled"])
)


@pytest.mark.parametrize("name", SOURCES)
def test_a_value_or_a_reason_whatever_the_files_hold(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    read, files, _, _ = SOURCES[name]

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.fixed_dictionaries({}, optional=dict.fromkeys(files, ODD)))
    def check(texts: dict[str, Any]) -> None:
        found = read(tree(tmp_path_factory.mktemp("sys"), texts))
        assert (found.value is None) is (found.reason is not None)
        assert found.unit and found.source
        assert found.value is None or found.value == found.value, "a number, not NaN"

    check()


@pytest.mark.parametrize("name", METERS)
def test_meters_that_are_there_and_the_reason_where_none_is(name: str, tmp_path: Path) -> None:
    meters, files, values = METERS[name]
    found, reason = meters(tree(tmp_path / "there", dict(files)))
    assert ([meter.read() for meter in found], reason) == (values, None)
    found, reason = meters(tmp_path / "nothing")
    assert found == [] and reason and len(reason) > 15


@pytest.mark.parametrize("name", METERS)
def test_meters_read_a_number_or_nothing_whatever_the_files_hold(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    meters, files, _ = METERS[name]

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.fixed_dictionaries({}, optional=dict.fromkeys(files, ODD)))
    def check(texts: dict[str, Any]) -> None:
        found, reason = meters(tree(tmp_path_factory.mktemp("sys"), texts))
        assert bool(found) is (reason is None)
        assert all(value is None or value == value for value in (meter.read() for meter in found)), "a number, not NaN"

    check()


def test_what_is_not_read(tmp_path: Path) -> None:
    fan = {"sys/class/thermal/cooling_device0/type": "pwm-fan", "sys/class/thermal/cooling_device0/cur_state": "4"}
    assert throttle.cooling(tree(tmp_path / "fan", dict(fan))).value is None, "a fan does not slow the processor down"
    off = {"sys/class/thermal/thermal_zone0/temp": "-274000", "sys/class/thermal/thermal_zone0/type": "off"}
    assert "give no number" in str(heat.hottest(tree(tmp_path / "off", dict(off))).reason)
    (tmp_path / "closed/sys/class/powercap/intel-rapl:0/energy_uj").mkdir(parents=True)
    assert "not readable by this user" in str(rapl.meters(tmp_path / "closed")[1])


def test_governor(tmp_path: Path) -> None:
    assert clock.governor(tmp_path) is None
    assert clock.governor(tree(tmp_path, {f"{CPU}/cpufreq/scaling_governor": "schedutil\n"})) == "schedutil"


def test_rapl_meters_know_where_they_wrap(tmp_path: Path) -> None:
    folder = "sys/class/powercap/intel-rapl:0"
    tree(
        tmp_path,
        {f"{folder}/energy_uj": "7000000", f"{folder}/max_energy_range_uj": "262143328850", f"{folder}/name": "package-0\n"},
    )
    (meter,), reason = rapl.meters(tmp_path)
    assert reason is None and meter.name == "intel-rapl:0 package-0" and meter.counts
    assert meter.read() == 7.0 and meter.wraps_joules == pytest.approx(262143.32885)


def test_ina3221_has_a_meter_a_rail(tmp_path: Path) -> None:
    rails = {f"{HWMON}/name": "ina3221"}
    for channel, (label, volts, amperes) in enumerate((("VDD_IN", 5000, 2000), ("VDD_CPU_GPU_CV", 5000, 800)), 1):
        rails |= {
            f"{HWMON}/in{channel}_label": label,
            f"{HWMON}/in{channel}_input": str(volts),
            f"{HWMON}/curr{channel}_input": str(amperes),
        }
    found, reason = ina3221.meters(tree(tmp_path, dict(rails)))
    assert reason is None and [(meter.name, meter.read(), meter.counts) for meter in found] == [
        ("ina3221 VDD_IN", 10.0, False), ("ina3221 VDD_CPU_GPU_CV", 4.0, False),
    ]  # fmt: skip


def test_gpus_or_the_reason() -> None:
    found, reason = nvml.gpus()
    assert bool(found) is (reason is None)
    meters, without = nvml.meters()
    assert bool(meters) is (without is None)
    for gpu in found:
        assert gpu.name and gpu.celsius is not None and 0 < gpu.celsius < 120
    assert (
        nvml.slowed(0x4 | 0x1) == []
        and nvml.slowed(None) == []
        and nvml.slowed(0x48) == ["hardware slowdown", "hardware slowdown for heat"]
    )
