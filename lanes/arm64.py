"""The ARM lane: every task's bundles for 64-bit ARM, verified on four emulated CPUs.

What is shown: golden inputs give the stored outputs; the kernels that run are those of the bundle's audit; the CPU really
has and lacks the instructions that it should, and ONNX Runtime picks its kernels by them; a bundle for more than a CPU has
is refused; no time is reported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgekit.config.target import load_target
from edgekit.errors import CheckFailed
from edgekit.progress import Show
from lanes.bundles import CASES, WITHOUT_TEXT, make_bundles
from lanes.emulator import EmulatedCPU, ended_well, run, stop
from lanes.userland import Place, Say

__all__ = ["BF16", "CPUS", "TARGETS", "check_cpus", "make", "cpus"]

TARGETS = ("arm64-neon", "arm64-dotprod", "arm64-i8mm")
"""What every case is made for."""
BF16 = "arm64-bf16"
"""What one case is made for, whose float32 products are rounded to bfloat16 while they run."""
CPUS = {
    "cortex-a72": frozenset({"asimd"}),
    "cortex-a76": frozenset({"asimd", "dotprod"}),
    "neoverse-v1": frozenset({"asimd", "dotprod", "i8mm", "bf16"}),
    "max": frozenset({"asimd", "dotprod", "i8mm", "bf16", "sme"}),
}
"""qemu's name -> what it has of the instruction sets that byte kernels are chosen by."""
PROBES = {"dotprod": 0x6E829420, "i8mm": 0x6E82A420}
"""An instruction of each set: udot and ummla v0.4s, v1.16b, v2.16b."""
KERNELS = {
    "cortex-a72": ("sadalp",),
    "cortex-a76": ("udot",),
    "neoverse-v1": ("ummla", "bfmmla"),
    "max": ("ummla", "bfmmla", "smopa"),
}
"""Instructions that ONNX Runtime's byte kernels for a CPU are made of; smopa is SME's, which rounds each token by its own range."""
NEWER = {"cortex-a72": ("udot", "sdot", "ummla", "smmla", "bfmmla"), "cortex-a76": ("ummla", "smmla", "bfmmla")}
"""Instructions that must not come up."""
PROBE = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(({word}).to_bytes(4, "little") + (0xD65F03C0).to_bytes(4, "little"))
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""


def make(build: Path, show: Show) -> dict[tuple[str, str], Path]:
    """The bundles: every case for the integer targets, one for bfloat16."""
    return make_bundles(build, TARGETS, show, (*CASES, *WITHOUT_TEXT)) | make_bundles(build, [BF16], show, CASES[:1])


def cpus(qemu: Place, root: Place) -> list[EmulatedCPU]:
    """The four, on the aarch64 Python of `root`."""
    here = root.path.resolve()
    python = here / "root/usr/bin/python3.11"
    return [
        EmulatedCPU(cpu, "aarch64", qemu.path.resolve() / "qemu-aarch64", python, here / "root", here / "site") for cpu in CPUS
    ]


def check_cpus(
    every: Sequence[EmulatedCPU], bundles: dict[tuple[str, str], Path], runner: Path, say: Say
) -> list[dict[str, Any]]:
    """What each CPU made of all `bundles`, by (case, target); two are emulated at a time.

    Raises:
        CheckFailed: something that should hold does not; all faults of all CPUs at once.
    """
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(check_cpu, one, bundles, runner, say) for one in every]
        try:
            found = [one.result() for one in waiting]
        except BaseException:
            for left in waiting:
                left.cancel()
            stop()
            raise
    faults = [f"{one['cpu']}: {fault}" for one in found for fault in one["faults"]]
    if faults:
        raise CheckFailed(f"{len(faults)} things are not as they should be", where="arm64 lane", faults=faults)
    return found


def check_cpu(one: EmulatedCPU, bundles: dict[tuple[str, str], Path], runner: Path, say: Say) -> dict[str, Any]:
    """What one CPU made of all `bundles`; what is not as it should be is listed in `faults`."""
    faults = [fault for name, word in PROBES.items() if (fault := _probe(one, name, word))]
    names = {str(path / "bundle"): key for key, path in bundles.items()}
    script = Path(__file__).with_name("inside.py")
    seen: list[dict[str, Any]] = []

    def line(text: str) -> None:
        seen.append(json.loads(text))
        say(f"{one.cpu}: {len(seen)} of {len(names)} bundles")

    ended = ended_well(run(one, [str(script), str(runner), *names], watch=True, line=line), one)
    cells, kernels = [], dict[str, dict[str, int]]()
    for document in seen:
        case, target = names[document.pop("bundle_path")]
        faults += [f"{case} for {target}: {fault}" for fault in _faults(document, one.cpu, target, bundles[case, target])]
        kernels[case] = document.pop("kernels_run", None) or kernels.get(case, {})
        if "text" in document:
            document["text"] = document["text"].splitlines()[0].rpartition(": ")[2]  # without this machine's paths
        cells.append({"case": case, "target": target, **document})
    faults += _kernel_faults(one.cpu, ended.met)
    faults += _clock_faults(one, runner, next(iter(names)))
    return {"cpu": one.cpu, "cells": cells, "kernels": kernels, "instructions": ended.met, "faults": faults}


def _probe(one: EmulatedCPU, name: str, word: int) -> str | None:
    """Run one instruction: it must work where the CPU has it, and end the process where not."""
    ended = run(one, ["-c", PROBE.format(word=word)])
    wanted = 0 if name in CPUS[one.cpu] else 128 + 4
    return None if ended.code == wanted else f"an instruction of {name} ended with {ended.code} instead of {wanted}"


def _faults(document: dict[str, Any], cpu: str, target: str, result: Path) -> list[str]:
    """What is wrong with the runner's answer about one bundle."""
    if not set(load_target(target).isa) <= CPUS[cpu]:
        refused = document["exit_code"] == 3 and "this chip lacks" in document["text"]
        return [] if refused else [f"not refused: {document.get('text', 'verified')}"]
    if document["exit_code"]:
        return [document["text"]]
    audit = json.loads((result / "bundle" / "audit.json").read_text(encoding="utf-8"))
    if document["kernels_run"] != audit["kernels_run"]:
        return [f"kernels {document['kernels_run']} instead of the audit's {audit['kernels_run']}"]
    return []


def _kernel_faults(cpu: str, met: dict[str, int]) -> list[str]:
    missing = [name for name in KERNELS[cpu] if not met.get(name)]
    newer = [name for name in NEWER.get(cpu, ()) if met.get(name)]
    return [f"no {name} came up" for name in missing] + [f"{name} came up, which this CPU lacks" for name in newer]


def _clock_faults(one: EmulatedCPU, runner: Path, bundle: str) -> list[str]:
    """`bench` must refuse: an emulated time says nothing about the chip."""
    ended = run(one, [str(runner), "bench", bundle])
    refused = ended.code == 3 and "emulated" in ended.err and not ended.out.strip()
    return [] if refused else [f"bench ended with {ended.code} and {ended.err.strip() or ended.out.strip()}"]
