"""What the bundle is for: one TOML a target, each value with its reason beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from edgekit.config.quantize import Bfloat16, Float16, Int8, Quantize, WeightOnly, own_settings
from edgekit.config.shipped import shipped_file, shipped_names
from edgekit.config.toml import Strict, Whole, load_toml
from edgekit.errors import BadInput
from edgekit.runtime.chip import INSTRUCTION_SETS
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.names import AUTO, CPU, DISABLE_QDQ, FASTMATH, SESSION_KEYS, TENSORRT, Provider

if TYPE_CHECKING:
    from edgekit.host import Host

__all__ = [
    "Audit",
    "Session",
    "Target",
    "WASM",
    "ThreadsOf",
    "best_target",
    "load_target",
    "recorded_target",
    "target_names",
]

MOST_THREADS = 256
WASM = "wasm32"
"""The architecture that no machine has, and every machine with a browser or Node."""


def _a_count(value: object) -> object:
    if value != AUTO and (type(value) is not int or not 1 <= value <= MOST_THREADS):
        raise PydanticCustomError("threads", f'input should be a whole number from 1 to {MOST_THREADS}, or "{AUTO}"')
    return value


Count = Annotated[Annotated[int, Field(ge=1, le=MOST_THREADS)] | Literal["auto"], BeforeValidator(_a_count)]
"""A number of threads; "auto": as many as are fastest on the device, which it finds out by itself when it first loads the bundle."""


class ThreadsOf(Strict):
    """Threads inside one operator, by kind of model; `threads = 4` in `[session]` is for both."""

    encoder: Count = 1
    """Of a model that answers in one run: with 1, each of several texts at once has a core of its own."""
    decoder: Count = AUTO
    """Of a language model, each of whose tokens reads all weights: more cores read them sooner."""


def _of_both(value: object) -> object:
    return value if isinstance(value, dict | ThreadsOf) else {"encoder": _a_count(value), "decoder": value}


class Session(Strict):
    """How ONNX Runtime is opened."""

    threads: Annotated[ThreadsOf, BeforeValidator(_of_both, json_schema_input_type=Count | ThreadsOf)] = ThreadsOf()
    """Threads inside one operator, one value for every model or one a kind; never more than the cores a process may use."""
    config: dict[str, str] = Field(default_factory=dict)
    """Session configuration entries, checked against an allow-list."""

    @model_validator(mode="after")
    def _known_keys(self) -> Session:
        unknown = sorted(set(self.config) - SESSION_KEYS)
        if unknown:
            raise ValueError(
                f"unknown session keys {unknown}; ONNX Runtime would ignore them in silence (known: {sorted(SESSION_KEYS)})"
            )
        return self


class Audit(Strict):
    """What must hold of the graph the runtime really executes."""

    integer_matmuls: float = Field(1.0, ge=0, le=1)
    """Smallest share of constant-weight MatMuls in integer kernels."""
    stray_qdq: int = Field(0, ge=0)
    """Largest number of Quantize/Dequantize nodes left around no integer kernel."""
    casts: int = Field(4, ge=0)
    """Largest number of Cast nodes in the optimised graph."""


class Target(Strict):
    """One kind of device."""

    schema_: Annotated[Literal[1], Whole] = Field(alias="schema")
    """Version of this file format."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    """Name on the command line; equals the file's name."""
    title: str
    """What a person calls it."""
    arch: Literal["x86_64", "aarch64", "wasm32"]
    """Machine architecture, in Linux's words; wasm32 is no machine's: it runs in browsers and in Node."""
    isa: tuple[str, ...] = Field((), strict=False)
    """Instruction-set flags the chip must have, in edgekit's names (`edgekit doctor` prints them)."""
    isa_any: tuple[str, ...] = Field((), strict=False)
    """At least one of these flags is needed too, when any is listed."""
    rank: int = Field(ge=0)
    """Of the targets a host matches, the highest rank is its best."""
    provider: Provider = CPU
    """The ONNX Runtime execution provider."""
    quantize: Quantize = Int8()
    session: Session = Session()
    audit: Audit = Audit()
    tolerance: float = Field(0.15, gt=0, le=1)
    """How far a golden input's outputs may be from the stored ones on another chip of this kind: root mean square of their
    differences, as a share of the golden outputs' standard deviation."""

    @model_validator(mode="after")
    def _sound(self) -> Target:
        faults = self._unknown_instruction_sets() + self.unsound(self.quantize)
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def chosen(self, asked: Quantize | None) -> Quantize:
        """The recipe's `asked`, with the target's `accuracy_level` where it says none; without it, the target's own."""
        if asked is None or "accuracy_level" in asked.model_fields_set:
            return asked or self.quantize
        return asked.model_copy(update={"accuracy_level": self.quantize.accuracy_level})

    def unsound(self, quantize: Quantize) -> list[str]:
        """Reasons why `quantize` cannot work on this target; empty when it can."""
        if self.provider == TENSORRT:
            return _unsound_for_tensorrt(quantize)
        faults = []
        match quantize:
            case Int8():
                faults = self._unsound_int8(quantize)
            case WeightOnly():
                faults = self._unsound_cache(quantize)
            case Float16() if self.provider == CPU:
                faults = ["float16 on the CPU provider inserts Casts around every kernel and is no faster; use int8 or float32"]
            case Bfloat16() if self.provider == CPU:
                return self._unsound_bfloat16()
        if self._fastmath:
            faults.append(
                f'the session key {FASTMATH} goes with format = "bf16", the CPU provider and "bf16" in `isa`, or rounds what is float32'
            )
        return faults

    def _unknown_instruction_sets(self) -> list[str]:
        """A word that is none of the architecture's would match no machine."""
        known = INSTRUCTION_SETS[self.arch]
        unknown = sorted({*self.isa, *self.isa_any} - known)
        return (
            [f"no instruction sets of {self.arch}: {', '.join(unknown)} (known: {', '.join(sorted(known))})"] if unknown else []
        )

    def _unsound_int8(self, quantize: Int8) -> list[str]:
        faults = []
        if self.provider != CPU:
            faults.append("the CUDA provider has no integer MatMul kernels, INT8 QDQ runs slower than FP32 on it; use float16")
        if self.arch == "x86_64" and quantize.activations == "int8":
            faults.append("signed activations have no fast x86 kernel (S8S8 stays in fp32); use uint8 activations")
        return faults

    def _unsound_cache(self, quantize: WeightOnly) -> list[str]:
        if self.provider != CPU and quantize.cache != "float32":
            return [f'cache = "{quantize.cache}": the CUDA provider\'s cache is as wide as its activations; leave it out']
        if quantize.cache == "float16":
            fault = (
                'cache = "float16": the CPU kernel of attention takes it with float16 activations alone, so ONNX Runtime converts the '
                "whole cache to float32 and back for every token (4.6x slower at 8,192 tokens); use int8 or float32"
            )
            return [fault]
        return []

    def _unsound_bfloat16(self) -> list[str]:
        if self.arch != "aarch64":
            return ["bf16 has no kernels on the CPU provider of x86, which multiplies no bfloat16; use int8 or float32"]
        if "bf16" not in self.isa:
            return ['bf16 needs the chip\'s bf16 instructions, which `isa` here does not ask for; use the target "arm64-bf16"']
        if not self._fastmath:
            return [f'bf16 MatMuls are switched on by the session key {FASTMATH} = "1", which is not set here']
        return []

    @property
    def _fastmath(self) -> bool:
        return self.session.config.get(FASTMATH) == "1"

    @property
    def stand_in(self) -> dict[str, str]:
        """Session entries with which the CPU provider computes what this target's file says, where it stands in for another.

        TensorRT's sums do not saturate; the CPU's integer kernels do on chips without VNNI, so pairs are multiplied in float32.
        """
        return {DISABLE_QDQ: "1"} if self.provider == TENSORRT else {}

    def lacks(self, host: Host) -> list[str]:
        """What `host` lacks to run this target, in words; empty when nothing."""
        missing = []
        if self.arch == WASM:
            return [] if host.engines else ["Chromium, or Node 20 or later (neither is installed here)"]
        if host.arch != self.arch:
            missing.append(f"architecture {self.arch} (this machine is {host.arch})")
            return missing
        flags = sorted(set(self.isa) - set(host.isa))
        if flags:
            missing.append(f"instruction set {', '.join(flags)}")
        if self.isa_any and not set(self.isa_any) & set(host.isa):
            missing.append(f"one of the instruction sets {', '.join(self.isa_any)}")
        if self.provider != CPU and self.provider not in host.providers:
            missing.append(f"{self.provider} in onnxruntime (it offers {', '.join(host.providers) or 'none'})")
        return missing

    def matches(self, host: Host) -> bool:
        """Whether this target may be measured on `host`: it has everything, and is no emulator."""
        return not self.lacks(host) and not host.emulated


def _unsound_for_tensorrt(quantize: Quantize) -> list[str]:
    if not isinstance(quantize, Int8):
        return [
            f'format = "{quantize.format}": this target is INT8; the target "cuda" takes float16 and weights in a few bits; use "int8"'
        ]
    wanted = {
        "mode": ("static", "TensorRT has no operator that finds ranges at run time"),
        "activations": ("int8", "TensorRT quantizes symmetrically, around 0"),
        "weights": ("int8", "TensorRT quantizes symmetrically, around 0"),
        "embeddings": ("float32", "8-bit lookup is an operator of ONNX Runtime's own, which TensorRT does not know"),
    }
    return [
        f'{name} = "{getattr(quantize, name)}": {why}; use "{value}"'
        for name, (value, why) in wanted.items()
        if getattr(quantize, name) != value
    ]


def target_names() -> list[str]:
    """Names of the shipped targets."""
    return shipped_names("targets")


def load_target(name_or_path: str) -> Target:
    """A shipped target by name, or any `.toml` file by path.

    Raises:
        BadInput: unknown name, or a file with faults.
    """
    path = shipped_file("targets", name_or_path)
    target = load_toml(path, Target)
    if target.name != path.stem:
        raise BadInput(
            f"is named {target.name!r}, which is not its file's name", where=str(path), fix=f"set name = {path.stem!r}"
        )
    return target


def recorded_target(document: JsonObject) -> Target:
    """The target that a result's lineage.json holds.

    Results that were written before each format had a record of its own hold the settings of every format in `quantize`: those that
    the format in use has not are left out.

    Raises:
        ValidationError: it is no sound target.
    """
    quantize = document.get("quantize")
    if isinstance(quantize, Mapping):
        document = {**document, "quantize": own_settings(quantize)}
    return Target.model_validate_json(json.dumps(document))


def best_target(host: Host) -> Target:
    """The highest-ranked shipped target that `host` can run; float32-capable fallbacks rank lowest."""
    fitting = [target for target in map(load_target, target_names()) if target.arch == host.arch and not target.lacks(host)]
    if not fitting:
        raise BadInput(
            f"no shipped target fits this {host.arch} machine", fix="write a target file and pass its path with --target"
        )
    return max(fitting, key=lambda target: target.rank)
