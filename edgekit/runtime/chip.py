"""Which chip a process runs on: /proc/cpuinfo in edgekit's own words, cores that may be used, and signs of emulation."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "INSTRUCTION_SETS",
    "KNOWN",
    "Cpuinfo",
    "emulation",
    "machine",
    "parse_cpuinfo",
    "quota",
    "read_text",
    "usable_cores",
]

RENAMED = {"asimddp": "dotprod", "asimdhp": "fp16", "pni": "sse3"}
"""Linux's word -> edgekit's, where they differ."""
INSTRUCTION_SETS = {
    "x86_64": frozenset({
        "sse3", "ssse3", "sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
        "avx512_bf16", "avx512_fp16", "avx_vnni", "avx_vnni_int8", "amx_tile", "amx_int8", "amx_bf16",
    }),
    "aarch64": frozenset({"asimd", "dotprod", "i8mm", "bf16", "fp16", "sve", "sve2", "sme"}),
    "wasm32": frozenset({"simd128"}),
}  # fmt: skip
"""Instruction sets that decide which kernels run, by architecture; the rest of the flags is left out."""
KNOWN = INSTRUCTION_SETS["x86_64"] | INSTRUCTION_SETS["aarch64"]
ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse N1", "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse V1", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1", "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710", "0xd48": "Cortex-X2", "0xd49": "Neoverse N2", "0xd4d": "Cortex-A715", "0xd4f": "Neoverse V2",
    "0xd80": "Cortex-A520", "0xd81": "Cortex-A720", "0xd84": "Neoverse V3",
}  # fmt: skip
"""Parts of implementer 0x41 (Arm), from the Main ID Register: /proc/cpuinfo names ARM cores by number only."""
TRANSLATORS = ("rosetta", "box64", "fexinterpreter", "fex-emu")


@dataclass(frozen=True)
class Cpuinfo:
    """What the text of /proc/cpuinfo says."""

    arch: str
    """x86_64, aarch64, or "unknown"."""
    model: str
    isa: frozenset[str]
    """Flags that every core has, in edgekit's names, those in KNOWN."""
    physical: int
    """Cores without their hyper-threads; 0 where the text does not say (ARM)."""
    processors: int
    virtualised: bool
    """A hypervisor says that it is there (x86 only)."""


def parse_cpuinfo(text: str) -> Cpuinfo:
    """Parse the text of /proc/cpuinfo, of x86 or ARM; an unknown or empty text gives an empty answer, not an error."""
    flags: set[str] | None = None
    models: list[str] = []
    cores: set[tuple[str, str]] = set()
    arch, board, implementer, package, processors = "unknown", "", "", "", 0
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in {"flags", "Features"}:
            arch = "x86_64" if key == "flags" else "aarch64"
            flags = set(value.split()) if flags is None else flags & set(value.split())
        elif key == "processor":
            processors += 1
        elif key == "model name":
            models.append(value)
        elif key == "CPU implementer":
            implementer = value
        elif key == "CPU part":
            known = ARM_PARTS.get(value) if implementer == "0x41" else None
            models.append(known or f"ARM core {implementer}/{value}")
        elif key == "Model":
            board = value
        elif key == "physical id":
            package = value
        elif key == "core id":
            cores.add((package, value))
    model = " + ".join(dict.fromkeys(models)) or "unknown"
    found = flags or set()
    return Cpuinfo(
        arch=arch,
        model=f"{model} ({board})" if board else model,
        isa=frozenset({RENAMED.get(flag, flag) for flag in found} & KNOWN),
        physical=len(cores),
        processors=processors,
        virtualised="hypervisor" in found,
    )


def machine() -> str:
    """This process' architecture in Linux's words: x86_64, aarch64, or what the system calls it."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())


def emulation(root: Path = Path("/")) -> str | None:
    """The sign that software translates this process' instructions, in words; None where there is none.

    qemu-user answers /proc/self/{exe,maps} itself and passes every other path to the kernel, so that
    /proc/thread-self/exe names the emulator whatever its file is called (seen with qemu 7.2 and 10.0, x86 and ARM; for x86
    /proc/self/maps and /proc/cpuinfo show this machine's). A hypervisor is not emulation: its times are real.
    """
    real, shown = _link(root / "proc/thread-self/exe"), _link(root / "proc/self/exe")
    if real and shown and real != shown:
        return f"the kernel runs {real}, the process believes that it is {shown}"
    mapped = read_text(root / "proc/thread-self/maps").lower()
    for name in TRANSLATORS:
        if name in mapped:
            return f"{name} is mapped into the process"
    text = read_text(root / "proc/cpuinfo")
    seen = parse_cpuinfo(text)
    if "TCG" in seen.model or "VirtualApple" in seen.model:
        return f"the chip calls itself {seen.model}"
    if {seen.arch, machine()} == {"x86_64", "aarch64"}:
        return f"the chip is {seen.arch}, the process {machine()}"
    return None


def usable_cores(physical: int, root: Path = Path("/")) -> int:
    """Cores this process may really use: the least of physical cores, affinity and the control group's quota."""
    limits = [physical, len(os.sched_getaffinity(0))]
    share = quota(root)
    if share is not None:
        limits.append(int(share))
    return max(1, min(limits))


def quota(root: Path = Path("/")) -> float | None:
    """CPUs' worth of time that control groups (version 2 or 1) grant this process; None without a limit.

    A group's limit binds everything below it, so the least of all groups up to the root counts.
    """
    found = []
    for line in read_text(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("" if not controllers else "cpu")
        here = base / path.lstrip("/")
        for folder in (here, *here.parents):
            if not folder.is_relative_to(base):
                break
            share = _share(folder)
            if share is not None:
                found.append(share)
    return min(found, default=None)


def _share(folder: Path) -> float | None:
    words = read_text(folder / "cpu.max").split()
    if not words:
        words = [read_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None  # "max", or -1 in version 1
    return int(words[0]) / int(words[1])


def read_text(path: Path) -> str:
    """The text of a file of /proc or /sys; "" where it is not there or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
