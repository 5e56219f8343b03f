"""What this machine is: architecture, instruction sets, cores that a process may use, memory, providers, emulation."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Host", "detect", "isa_flags", "usable_cores"]

NAMES = {
    # /proc/cpuinfo's word -> edgekit's word, where they differ; x86 "flags" and ARM "Features" lines
    "asimddp": "dotprod", "asimdhp": "fp16", "avx512_bf16": "avx512_bf16",
}  # fmt: skip
KNOWN = {
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx_vnni", "avx_vnni_int8",
    "amx_tile", "amx_int8", "amx_bf16", "asimd", "dotprod", "i8mm", "bf16", "fp16", "sve", "sve2",
}  # fmt: skip


@dataclass(frozen=True)
class Host:
    """This machine, as targets see it. Memory in MB (10^6 bytes)."""

    arch: str
    cpu: str
    isa: frozenset[str]
    cores_physical: int
    cores_usable: int
    memory_mb: int
    system: str
    libc: str
    python: str
    onnxruntime: str
    providers: tuple[str, ...]
    emulated: bool
    """Instructions are translated by software (qemu-user): right results, meaningless times."""
    virtualised: bool
    """A hypervisor shares the hardware: times are real, and noisy."""

    def document(self) -> dict[str, Any]:
        """For JSON: plain lists, sorted."""
        return {**asdict(self), "isa": sorted(self.isa), "providers": list(self.providers)}


@cache
def detect() -> Host:
    """Look at this machine once."""
    text = _read("/proc/cpuinfo")
    arch = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    facts = parse_cpuinfo(text)
    physical = facts["physical"] or os.cpu_count() or 1
    return Host(
        arch=arch,
        cpu=facts["model"],
        isa=isa_flags(text),
        cores_physical=physical,
        cores_usable=usable_cores(physical),
        memory_mb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000,
        system=f"{platform.system()} {platform.release()}",
        libc=" ".join(platform.libc_ver()),
        python=platform.python_version(),
        onnxruntime=_version("onnxruntime") or _version("onnxruntime-gpu") or "not installed",
        providers=_providers(),
        emulated=_is_emulated(arch, text),
        virtualised="hypervisor" in facts["flags"],
    )


def isa_flags(cpuinfo: str) -> frozenset[str]:
    """Instruction sets in edgekit's names, from the text of /proc/cpuinfo."""
    found = parse_cpuinfo(cpuinfo)["flags"]
    return frozenset({NAMES.get(flag, flag) for flag in found} & KNOWN)


def parse_cpuinfo(text: str) -> dict[str, Any]:
    """Model name, flags and physical cores in the text of /proc/cpuinfo (x86 or ARM)."""
    flags: set[str] = set()
    model, cores = "", set()
    package = ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in {"flags", "Features"}:
            flags |= set(value.split())
        elif key in {"model name", "Model"}:
            model = model or value
        elif key == "CPU part" and not model:
            model = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76", "0xd40": "Neoverse V1"}.get(value, "")
        elif key == "physical id":
            package = value
        elif key == "core id":
            cores.add((package, value))
    return {"model": model or "unknown", "flags": flags, "physical": len(cores)}


def usable_cores(physical: int) -> int:
    """Cores this process may really use: the least of physical cores, affinity and the control group's quota."""
    limits = [physical, len(os.sched_getaffinity(0))]
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        limits.append(max(1, int(quota[0]) // int(quota[1])))
    return max(1, min(limits))


def _providers() -> tuple[str, ...]:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        return ()
    return tuple(onnxruntime.get_available_providers())


def _is_emulated(arch: str, cpuinfo: str) -> bool:
    """qemu-user keeps the host's /proc/cpuinfo or names itself in the process' own mappings."""
    if "qemu-" in _read("/proc/self/maps") or "QEMU" in parse_cpuinfo(cpuinfo)["model"]:
        return True
    x86_text = "vendor_id" in cpuinfo
    return bool(cpuinfo) and (x86_text != (arch == "x86_64")) and arch in {"x86_64", "aarch64"}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
