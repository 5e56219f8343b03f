"""What the bundle is for: one TOML a target, each value with its reason beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from edgekit.config.shipped import shipped_file, shipped_names
from edgekit.config.toml import Strict, load_toml
from edgekit.errors import BadInput
from edgekit.runtime.providers.names import CPU, DISABLE_QDQ, FASTMATH, SESSION_KEYS, TENSORRT, Provider

if TYPE_CHECKING:
    from edgekit.host import Host

__all__ = [
    "Audit",
    "Quantize",
    "Session",
    "Target",
    "best_target",
    "load_target",
    "target_names",
]


class Quantize(Strict):
    """How numbers are stored and multiplied on this target."""

    format: Literal["int8", "int8-weights", "int4-weights", "float16", "bf16", "float32"] = "int8"
    """Number format of the constant-weight MatMuls; the two "-weights" leave activations in float32."""
    mode: Literal["dynamic", "static", "measure"] = "dynamic"
    """Activation ranges found at run time, from calibration, or whichever of the two measures better."""
    activations: Literal["uint8", "int8"] = "uint8"
    """Signedness of quantized activations."""
    weights: Literal["uint8", "int8"] = "int8"
    """Signedness of quantized weights."""
    per_channel: bool = True
    """One scale for each output column of a weight instead of one a tensor."""
    reduce_range: bool = False
    """7-bit weights, for chips whose 16-bit accumulation saturates (VPMADDUBSW)."""
    embeddings: Literal["int8", "int4", "float32"] = "int8"
    """Storage of the embedding tables."""
    block: Literal[32, 64, 128] = 32
    """Rows of a weight column that share a scale, in the two "-weights" formats."""
    rounding: Literal["clip", "hqq", "gptq"] = "clip"
    """How the "-weights" formats round: each block's best clipping, HQQ's zero points, or GPTQ on calibration rows."""
    accuracy_level: Literal[0, 4] = 4
    """What MatMulNBits multiplies in, in the two "-weights" formats: 0 float32, 4 integers, where each block of activations is
    rounded to 8 bits. A recipe that does not say it leaves it to the target."""
    cache: Literal["float32", "float16", "int8"] = "float32"
    """Storage of a language model's keys and values, in the two "-weights" formats; int8 by scales from calibration rows."""
    smooth: float | None = Field(None, ge=0, le=1)
    """SmoothQuant's alpha: how much of the activations' differences between channels moves into the weights. None: nothing."""
    correct_bias: bool = False
    """Take the mean error of rounded weights, over calibration rows, off the biases."""
    mixed: bool = False
    """Leave the most sensitive products in float32 until the quality floor holds on validation rows."""

    @property
    def bits(self) -> int:
        """Width of a stored weight."""
        return {"int8": 8, "int8-weights": 8, "int4-weights": 4, "float16": 16, "bf16": 16, "float32": 32}[self.format]

    @property
    def weight_only(self) -> bool:
        """Whether weights alone are in integers."""
        return self.format in {"int8-weights", "int4-weights"}

    @model_validator(mode="after")
    def _applicable(self) -> Quantize:
        faults = []
        if self.smooth is not None and self.format != "int8":
            faults.append(f'smooth makes 8-bit activations easier, and format = "{self.format}" has none; leave it out')
        for name in ("correct_bias", "mixed"):
            if getattr(self, name) and self.format in {"float16", "bf16", "float32"}:
                faults.append(f'{name} has nothing to work on with format = "{self.format}"; leave it out')
        if self.mixed and self.format == "int8" and self.mode == "measure":
            faults.append('mixed needs to know what it mixes with: set mode = "dynamic" or "static"')
        if self.cache != "float32" and not self.weight_only:
            faults.append(
                f'cache = "{self.cache}" goes with "int8-weights" and "int4-weights", not with format = "{self.format}"'
            )
        if faults:
            raise ValueError("; ".join(faults))
        return self


class Session(Strict):
    """How ONNX Runtime is opened."""

    threads: int = Field(1, ge=1, le=256)
    """Threads inside one operator; capped by the cores a process may use."""
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

    schema_: Literal[1] = Field(alias="schema")
    """Version of this file format."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    """Name on the command line; equals the file's name."""
    title: str
    """What a person calls it."""
    arch: Literal["x86_64", "aarch64"]
    """Machine architecture, in Linux's words."""
    isa: tuple[str, ...] = Field((), strict=False)
    """Instruction-set flags the chip must have, in edgekit's names (`edgekit doctor` prints them)."""
    isa_any: tuple[str, ...] = Field((), strict=False)
    """At least one of these flags is needed too, when any is listed."""
    rank: int = Field(ge=0)
    """Of the targets a host matches, the highest rank is its best."""
    provider: Provider = CPU
    """The ONNX Runtime execution provider."""
    quantize: Quantize = Quantize()
    session: Session = Session()
    audit: Audit = Audit()
    tolerance: float = Field(0.15, gt=0, le=1)
    """How far a golden input's outputs may be from the stored ones on another chip of this kind: root mean square of their
    differences, as a share of the golden outputs' standard deviation."""

    @model_validator(mode="after")
    def _sound(self) -> Target:
        faults = self.unsound(self.quantize)
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
        cpu = self.provider == CPU
        if quantize.format == "float16" and cpu:
            faults.append("float16 on the CPU provider inserts Casts around every kernel and is no faster; use int8 or float32")
        if quantize.format == "int8" and not cpu:
            faults.append("the CUDA provider has no integer MatMul kernels, INT8 QDQ runs slower than FP32 on it; use float16")
        if quantize.format == "int8" and self.arch == "x86_64" and quantize.activations == "int8":
            faults.append("signed activations have no fast x86 kernel (S8S8 stays in fp32); use uint8 activations")
        if quantize.cache == "float16" and cpu:
            faults.append(
                'cache = "float16": the CPU kernel of attention takes it with float16 activations alone, so ONNX Runtime converts the '
                "whole cache to float32 and back for every token (4.6x slower at 8,192 tokens); use int8 or float32"
            )
        if quantize.cache != "float32" and not cpu:
            faults.append(f'cache = "{quantize.cache}": the CUDA provider\'s cache is as wide as its activations; leave it out')
        fast = self.session.config.get(FASTMATH) == "1"
        if quantize.format == "bf16" and cpu and self.arch != "aarch64":
            faults.append("bf16 has no kernels on the CPU provider of x86, which multiplies no bfloat16; use int8 or float32")
        elif quantize.format == "bf16" and cpu and "bf16" not in self.isa:
            faults.append(
                'bf16 needs the chip\'s bf16 instructions, which `isa` here does not ask for; use the target "arm64-bf16"'
            )
        elif quantize.format == "bf16" and cpu and not fast:
            faults.append(f'bf16 products are switched on by the session key {FASTMATH} = "1", which is not set here')
        elif fast and (quantize.format != "bf16" or not cpu or "bf16" not in self.isa):
            faults.append(
                f'the session key {FASTMATH} goes with format = "bf16", the CPU provider and "bf16" in `isa`, or rounds what is float32'
            )
        return faults

    @property
    def stand_in(self) -> dict[str, str]:
        """Session entries with which the CPU provider computes what this target's file says, where it stands in for another.

        TensorRT's sums do not saturate; the CPU's integer kernels do on chips without VNNI, so pairs are multiplied in float32.
        """
        return {DISABLE_QDQ: "1"} if self.provider == TENSORRT else {}

    def lacks(self, host: Host) -> list[str]:
        """What `host` lacks to run this target, in words; empty when nothing."""
        missing = []
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
    wanted = {
        "format": ("int8", 'this target is INT8; the target "cuda" takes float16 and weights in a few bits'),
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


def best_target(host: Host) -> Target:
    """The highest-ranked shipped target that `host` can run; float32-capable fallbacks rank lowest."""
    fitting = [target for target in map(load_target, target_names()) if not target.lacks(host)]
    if not fitting:
        raise BadInput(
            f"no shipped target fits this {host.arch} machine", fix="write a target file and pass its path with --target"
        )
    return max(fitting, key=lambda target: target.rank)
