"""Whether a device can run a bundle, from its facts and before anything is sent: all faults at once."""

from __future__ import annotations

import re

from edgekit.config.toml import Strict
from edgekit.device.ssh import OLDEST
from edgekit.runtime.bench.measure_language import READ_BYTES, cache_tokens
from edgekit.runtime.bench.prompts import prompts_that_fit
from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.chip import parse_cpuinfo
from edgekit.runtime.generate.chat import JINJA
from edgekit.runtime.generate.render import OLDEST as JINJA_OLDEST
from edgekit.runtime.jsontypes import JsonValue

__all__ = ["FLOORS", "Facts", "instructions", "notes", "unfit"]

FLOORS = {"numpy": "1.26", "onnxruntime": "1.30", "tokenizers": "0.21"}
"""What the runtime needs at least; onnxruntime also what the bundle says."""
GLIBC = (2, 28)
"""Oldest glibc of the manylinux wheels of onnxruntime; musl has none at all."""
RUNTIME_BYTES = 90_000_000
"""Interpreter, numpy and onnxruntime with an empty session (measured: 89 MB at their peak)."""
SPARE_BYTES = 8_000_000
"""Disk for results and temporary files beside what is sent."""
NUMBER_BYTES = {"float32": 4, "float16": 2, "int8": 1}
"""Of one number of a language model's cache."""
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class Facts(Strict):
    """What a device says of itself. Bytes; None where it does not say, or where a package is not installed."""

    python: str
    machine: str
    glibc: str | None
    cpuinfo: str
    memory_available: int | None
    disk_free: int
    packages: dict[str, str | None]

    def document(self) -> dict[str, JsonValue]:
        """For JSON, with the chip's name and instruction sets instead of the text that holds them."""
        chip = parse_cpuinfo(self.cpuinfo)
        return {**self.model_dump(exclude={"cpuinfo"}), "cpu": chip.model, "isa": sorted(chip.isa)}


def unfit(facts: Facts, manifest: Manifest, *, to_send: int, whole: int) -> list[str]:
    """What keeps the device from running the bundle, each with what to do. `to_send` and `whole` are bytes of the files."""
    faults = []
    if _numbers(facts.python) < OLDEST:
        faults.append(f"Python {facts.python}: the runner needs {'.'.join(map(str, OLDEST))} or later")
    machine = MACHINES.get(facts.machine.lower(), facts.machine)
    isa = parse_cpuinfo(facts.cpuinfo).isa
    if machine != manifest.target.arch:
        faults.append(f"the bundle is for {manifest.target.arch}, the device is {machine}: export for a target of this device")
    else:
        missing = sorted(set(manifest.target.isa) - isa)
        if missing or (manifest.target.isa_any and not set(manifest.target.isa_any) & isa):
            lacks = ", ".join(missing) or f"one of {', '.join(manifest.target.isa_any)}"
            faults.append(f"its chip lacks {lacks}: export for a target that it matches")
    wanted = {**FLOORS, "onnxruntime": max(FLOORS["onnxruntime"], _least(manifest), key=_numbers)}
    for name, floor in wanted.items():
        version = facts.packages.get(name)
        if version is None:
            faults.append(f"{name} is not installed for this Python: pip install '{name}>={floor}'")
        elif _numbers(version) < _numbers(floor):
            faults.append(f"{name} {version} is too old: pip install --upgrade '{name}>={floor}'")
    if facts.packages.get("onnxruntime") is None and (facts.glibc is None or _numbers(facts.glibc) < GLIBC):
        least = ".".join(map(str, GLIBC))
        faults.append(f"glibc {facts.glibc or '(none: musl?)'}: onnxruntime's wheels need {least}, so it must be built there")
    needed = RUNTIME_BYTES + _held(manifest, whole, parse_cpuinfo(facts.cpuinfo).processors)
    if facts.memory_available is not None and facts.memory_available < needed:
        faults.append(f"{_mb(facts.memory_available)} of memory are free, about {_mb(needed)} are needed: end other programs")
    if facts.disk_free < to_send + SPARE_BYTES:
        faults.append(
            f"{_mb(facts.disk_free)} of disk are free, {_mb(to_send + SPARE_BYTES)} are needed: free some, or name another folder"
        )
    return faults


def notes(facts: Facts, manifest: Manifest) -> list[str]:
    """What a reader should know although it keeps nobody from running."""
    version, newest = facts.packages.get("onnxruntime"), manifest.onnxruntime.max
    found = []
    if version and newest and _numbers(version)[:2] > _numbers(newest)[:2]:
        found.append(f"onnxruntime {version} is newer than any the bundle was tried with ({newest})")
    jinja = facts.packages.get("jinja2")
    if manifest.has_template and (jinja is None or _numbers(jinja) < JINJA_OLDEST):
        have = "is not installed" if jinja is None else f"{jinja} is too old"
        found.append(f"jinja2 {have}: it is measured all the same, but conversations need it: pip install '{JINJA}'")
    return found


def instructions(facts: Facts, manifest: Manifest) -> str:
    """The instruction sets that the bundle's target needs and those that the device's chip has, as a sentence."""
    needed = [
        *sorted(manifest.target.isa),
        *([f"one of {', '.join(manifest.target.isa_any)}"] if manifest.target.isa_any else []),
    ]
    chip = parse_cpuinfo(facts.cpuinfo)
    target = manifest.target.name
    return f"target {target} needs {', '.join(needed) or 'none'}; the device ({chip.model}) has {', '.join(sorted(chip.isa)) or 'none'}"


def _held(manifest: Manifest, whole: int, cores: int) -> int:
    """Bytes of memory that a measurement takes beside the runtime: the files; of a language model also two caches, as one follows the other, or
    before that the arrays by which the memory's speed is read, one a thread: where the device finds out how many, of its `cores` at most."""
    model = manifest.generation
    if model is None:
        return whole
    each = NUMBER_BYTES[model.cache or "float32"] * 2 * model.layers * model.kv_heads * model.head_size
    caches = 2 * each * cache_tokens(prompts_that_fit(model.context), model.context)
    return max(whole + caches, READ_BYTES * (manifest.variant.threads or max(1, cores)))


def _least(manifest: Manifest) -> str:
    return manifest.onnxruntime.min or "0"


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparing: "1.30.0rc1" -> (1, 30, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
