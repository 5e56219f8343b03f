"""Machines from the text of their /proc/cpuinfo, and this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.config.target import load_target
from edgekit.host import detect, parse_cpuinfo, parse_gpus
from edgekit.runtime.chip import KNOWN, emulation, quota, usable_cores


def x86(model: str, flags: str, cores: int = 2, threads: int = 1) -> str:
    blocks = []
    for number in range(cores * threads):
        blocks.append(
            f"processor\t: {number}\nvendor_id\t: GenuineIntel\nmodel\t\t: 85\nmodel name\t: {model}\ncpu MHz\t\t: 2400.000\n"
            f"physical id\t: 0\ncore id\t\t: {number % cores}\nflags\t\t: fpu sse sse2 {flags}\nbugs\t\t: spectre_v1\n"
        )
    return "\n".join(blocks)


def arm(parts: list[str], features: str, implementer: str = "0x41", tail: str = "") -> str:
    blocks = [
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid {features}\n"
        f"CPU implementer\t: {implementer}\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n"
        for number, part in enumerate(parts)
    ]
    return "\n".join(blocks) + tail


HASWELL = x86(
    "Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz", "pni ssse3 fma sse4_1 sse4_2 avx f16c avx2 bmi2", cores=12, threads=2
)
SKYLAKE_X = x86(
    "Intel(R) Core(TM) i9-7900X CPU @ 3.30GHz", "fma sse4_2 avx f16c avx2 avx512f avx512dq avx512cd avx512bw avx512vl", 10, 2
)
ICE_LAKE = x86(
    "Intel(R) Xeon(R) Platinum 8375C CPU", "hypervisor fma avx avx2 f16c avx512f avx512bw avx512vl avx512_vnni gfni", 4
)
ZEN_5 = x86("AMD EPYC 9755", "hypervisor fma avx avx2 f16c avx512f avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni", 2)
ALDER_LAKE = x86("12th Gen Intel(R) Core(TM) i5-12400", "fma avx avx2 f16c avx_vnni gfni", 6, 2)
PI_4 = arm(["0xd08"] * 4, "", tail="\nHardware\t: BCM2835\nRevision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n")
PI_5 = arm(["0xd0b"] * 4, "atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp")
NEOVERSE_V1 = arm(["0xd40"] * 4, "fphp asimdhp asimddp sha512 sve asimdfhm i8mm bf16 svei8mm svebf16")
BIG_LITTLE = arm(["0xd05"] * 4 + ["0xd0b"] * 2, "asimdhp asimddp")


@pytest.mark.parametrize(
    ("text", "arch", "model", "physical", "has", "lacks"),
    [
        (HASWELL, "x86_64", "E5-2680", 12, {"avx2", "fma", "f16c", "sse3"}, {"avx512f", "avx512_vnni"}),
        (SKYLAKE_X, "x86_64", "7900X", 10, {"avx512f", "avx512bw"}, {"avx512_vnni", "avx_vnni"}),
        (ICE_LAKE, "x86_64", "8375C", 4, {"avx512_vnni"}, {"avx_vnni", "amx_int8"}),
        (ZEN_5, "x86_64", "9755", 2, {"avx512_vnni", "avx_vnni", "avx512_bf16"}, {"amx_int8", "avx_vnni_int8"}),
        (ALDER_LAKE, "x86_64", "12400", 6, {"avx_vnni"}, {"avx512f"}),
        (PI_4, "aarch64", "Cortex-A72 (Raspberry Pi 4 Model B Rev 1.4)", 0, {"asimd"}, {"dotprod", "i8mm", "fp16"}),
        (PI_5, "aarch64", "Cortex-A76", 0, {"asimd", "dotprod", "fp16"}, {"i8mm", "bf16"}),
        (NEOVERSE_V1, "aarch64", "Neoverse V1", 0, {"dotprod", "i8mm", "bf16", "sve"}, {"sve2"}),
        (BIG_LITTLE, "aarch64", "Cortex-A55 + Cortex-A76", 0, {"dotprod"}, {"i8mm"}),
        (arm(["0x001"], "", implementer="0x61"), "aarch64", "ARM core 0x61/0x001", 0, {"asimd"}, set()),
    ],
)
def test_known_machines(text: str, arch: str, model: str, physical: int, has: set[str], lacks: set[str]) -> None:
    found = parse_cpuinfo(text)
    assert found.arch == arch and model in found.model and found.physical == physical
    assert has <= found.isa and not lacks & found.isa and found.isa <= KNOWN
    assert found.virtualised is ("hypervisor" in text)


def test_a_flag_counts_only_where_every_core_has_it() -> None:
    mixed = arm(["0xd05"], "asimddp") + "\n" + arm(["0xd08"], "")
    assert "dotprod" not in parse_cpuinfo(mixed).isa


@pytest.mark.parametrize("text", ["", "\n\n", "nonsense", "flags", "flags:", ": : :", "\x00\xff"])
def test_any_text_is_survived(text: str) -> None:
    found = parse_cpuinfo(text)
    assert found.model == "unknown" and found.isa == frozenset() and found.physical == 0


@pytest.mark.parametrize(
    ("text", "fitting"),
    [
        (HASWELL, {"x86-avx2"}),
        (SKYLAKE_X, {"x86-avx2"}),
        (ICE_LAKE, {"x86-avx2", "x86-vnni"}),
        (ALDER_LAKE, {"x86-avx2", "x86-vnni"}),
        (PI_4, {"arm64-neon"}),
        (PI_5, {"arm64-neon", "arm64-dotprod"}),
        (NEOVERSE_V1, {"arm64-neon", "arm64-dotprod", "arm64-i8mm"}),
    ],
)
def test_targets_fit_machines(text: str, fitting: set[str]) -> None:
    seen = parse_cpuinfo(text)
    host = replace(detect(), arch=seen.arch, isa=seen.isa, offers=("CPUExecutionProvider",), emulated=False)
    names = ("x86-avx2", "x86-vnni", "arm64-neon", "arm64-dotprod", "arm64-i8mm")
    assert {name for name in names if load_target(name).matches(host)} == fitting
    assert not any(load_target(name).matches(replace(host, emulated=True)) for name in names)


def test_this_machine() -> None:
    host = detect()
    assert host.cores_usable >= 1 and host.memory_mb > host.memory_available_mb > 0
    assert host.isa <= KNOWN
    document = host.document()
    assert "CPUExecutionProvider" in document["providers"] and "offers" not in document
    assert document["isa"] == sorted(document["isa"])
    assert host.emulated is (host.evidence is not None)


def test_detecting_imports_no_onnxruntime() -> None:
    code = "import sys; from edgekit.host import detect; detect(); print('onnxruntime' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def process(
    root: Path, *, kernel: str = "/usr/bin/python3", own: str = "/usr/bin/python3", maps: str = "", cpuinfo: str = ""
) -> Path:
    for name, target in (("thread-self", kernel), ("self", own)):
        folder = root / "proc" / name
        folder.mkdir(parents=True)
        (folder / "exe").symlink_to(target)
    (root / "proc/thread-self/maps").write_text(maps)
    (root / "proc/cpuinfo").write_text(cpuinfo)
    return root


def test_emulation_is_seen_and_virtualisation_is_not_emulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.runtime.chip.machine", lambda: "x86_64")
    assert emulation(process(tmp_path / "plain", cpuinfo=HASWELL)) is None
    assert emulation(process(tmp_path / "guest", cpuinfo=ZEN_5)) is None
    hidden = emulation(process(tmp_path / "qemu", kernel="/opt/any-name", cpuinfo=HASWELL))
    assert hidden is not None and "/opt/any-name" in hidden
    assert "rosetta" in str(emulation(process(tmp_path / "mac", maps="7f00-7f01 r-xp 0 00:00 0 /run/rosetta/rosetta\n")))
    assert "TCG" in str(emulation(process(tmp_path / "tcg", cpuinfo=x86("QEMU TCG CPU version 2.5+", "hypervisor avx2"))))
    assert "aarch64" in str(emulation(process(tmp_path / "cross", cpuinfo=PI_5)))
    assert emulation(tmp_path / "nothing") is None


def test_quotas_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)))

    def machine(name: str, groups: str, **files: str) -> Path:
        root = tmp_path / name
        for path, text in {"proc/self/cgroup": groups, **files}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return root

    free = machine("free", "0::/\n", **{"sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert quota(free) is None and usable_cores(8, free) == 8 and usable_cores(32, free) == 16
    nested = machine(
        "nested", "0::/a/b\n", **{"sys/fs/cgroup/a/cpu.max": "150000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}
    )
    assert quota(nested) == 1.5 and usable_cores(8, nested) == 1
    first = {"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "400000\n", "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n"}
    old = machine("old", "4:memory:/x\n3:cpu,cpuacct:/x\n", **first)
    assert quota(old) == 4 and usable_cores(8, old) == 4
    unlimited = {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}
    assert quota(machine("unlimited", "3:cpu:/\n", **unlimited)) is None
    assert quota(tmp_path / "nothing") is None
    starved = machine("starved", "0::/\n", **{"sys/fs/cgroup/cpu.max": "20000 100000\n"})
    assert usable_cores(8, starved) == 1


def test_gpus_are_read_from_nvidia_smi() -> None:
    found = parse_gpus("NVIDIA H200, 143771, 9.0, 580.65.06\nOrin, [N/A], 8.7, 540.4.0\n\nbroken\n")
    assert [(gpu.name, gpu.memory_mb, gpu.compute) for gpu in found] == [("NVIDIA H200", 150754, "9.0")]


def test_a_process_held_to_one_core_uses_one() -> None:
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{core}}}); from edgekit.runtime.providers.session import own_cores; print(own_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"
