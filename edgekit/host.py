"""What this machine is: architecture, instruction sets, cores that a process may use, memory, providers, emulation."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, fields
from functools import cache
from importlib import metadata
from pathlib import Path

from edgekit.runtime.children import finish, start
from edgekit.runtime.chip import Cpuinfo, emulation, machine, parse_cpuinfo, read_text, usable_cores
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.names import TENSORRT
from edgekit.runtime.providers.tensorrt import libraries_load

__all__ = ["CHROMIUM", "ENGINES", "NODE", "Cpuinfo", "Gpu", "Host", "detect", "engine_program", "parse_cpuinfo", "parse_gpus"]

CHROMIUM, NODE = "Chromium", "Node"
ENGINES = {
    CHROMIUM: ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    NODE: ("node", "nodejs"),
}
"""What runs WebAssembly here, the one that pages are for first, and names of its program."""
GPU_QUERY = ("name", "memory.total", "compute_cap", "driver_version")


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU. Memory in MB (10^6 bytes)."""

    name: str
    memory_mb: int
    compute: str
    """Compute capability, such as "8.7"."""
    driver: str


@dataclass(frozen=True)
class Host:
    """This machine, as targets see it. Memory in MB (10^6 bytes)."""

    arch: str
    """x86_64 or aarch64, as the process sees it."""
    cpu: str
    isa: frozenset[str]
    """Instruction sets in edgekit's names."""
    cores_physical: int
    cores_usable: int
    """The least of physical cores, affinity and control-group quota."""
    memory_mb: int
    memory_available_mb: int
    system: str
    libc: str
    python: str
    onnxruntime: str
    emulated: bool
    """Instructions are translated by software (qemu-user): right results, meaningless times."""
    evidence: str | None
    """What gives the emulation away."""
    virtualised: bool
    """A hypervisor shares the hardware: times are real, and noisy."""
    gpus: tuple[Gpu, ...] = ()
    engines: tuple[str, ...] = ()
    """Those of ENGINES that are installed."""
    offers: tuple[str, ...] | None = None
    """Execution providers where they are known already; None asks onnxruntime when somebody reads `providers`."""

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers of the installed onnxruntime, which is imported by the first reading of this."""
        return _providers() if self.offers is None else self.offers

    def document(self) -> JsonObject:
        """For JSON: plain lists, sorted."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "offers"}
        return {
            **plain,
            "isa": sorted(self.isa),
            "engines": list(self.engines),
            "gpus": [vars(gpu) for gpu in self.gpus],
            "providers": list(self.providers),
        }


@cache
def detect() -> Host:
    """Look at this machine once."""
    seen = parse_cpuinfo(read_text(Path("/proc/cpuinfo")))
    physical = seen.physical or _cores_of_topology(Path("/sys/devices/system/cpu")) or os.cpu_count() or 1
    sign = emulation()
    return Host(
        arch=machine(),
        cpu=seen.model,
        isa=seen.isa,
        cores_physical=physical,
        cores_usable=usable_cores(physical),
        memory_mb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000,
        memory_available_mb=_available_mb(read_text(Path("/proc/meminfo"))),
        system=f"{platform.system()} {platform.release()}",
        libc=" ".join(platform.libc_ver()),
        python=platform.python_version(),
        onnxruntime=_version("onnxruntime") or _version("onnxruntime-gpu") or "not installed",
        emulated=sign is not None,
        evidence=sign,
        virtualised=seen.virtualised,
        gpus=_gpus(),
        engines=tuple(engine for engine in ENGINES if engine_program(engine)),
    )


def engine_program(engine: str) -> str | None:
    """Path of the program of one of ENGINES; None where it is not installed."""
    return next((path for name in ENGINES[engine] if (path := shutil.which(name))), None)


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """GPUs in what nvidia-smi prints for GPU_QUERY as csv,noheader,nounits; lines of another shape are passed over."""
    found = []
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) == len(GPU_QUERY) and words[1].isdigit():
            found.append(Gpu(words[0], int(words[1]) * 1_048_576 // 1_000_000, words[2], words[3]))
    return tuple(found)


def _gpus() -> tuple[Gpu, ...]:
    if not shutil.which("nvidia-smi"):
        return ()
    command = ["nvidia-smi", f"--query-gpu={','.join(GPU_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = finish(start(command, stdout=subprocess.PIPE), 10)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_gpus(done.output.decode("utf-8", "replace")) if done.code == 0 else ()


def _cores_of_topology(folder: Path) -> int:
    """Distinct cores below /sys/devices/system/cpu; 0 where the system does not say."""
    cores = set()
    for topology in folder.glob("cpu[0-9]*/topology"):
        core = read_text(topology / "core_id").strip()
        if core:
            cores.add((read_text(topology / "physical_package_id").strip(), read_text(topology / "cluster_id").strip(), core))
    return len(cores)


def _available_mb(meminfo: str) -> int:
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 // 1_000_000
    return 0


@cache
def _providers() -> tuple[str, ...]:
    try:
        from edgekit.runtime.providers.ort import onnxruntime
    except ImportError:
        return ()
    found = onnxruntime.get_available_providers()
    if TENSORRT in found and not libraries_load(Path(onnxruntime.__file__).parent / "capi"):
        found.remove(TENSORRT)
    return tuple(found)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
