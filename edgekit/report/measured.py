"""What bench.json says: timings, ratios, memory, and under which protocol, on which machine, how validly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.report.parse import Node

__all__ = ["Energy", "Measurement", "Ratio", "Read", "Reading", "Speech", "Timing", "read_measurement"]


@dataclass(frozen=True)
class Timing:
    """One scenario of one variant, over all its processes. Milliseconds."""

    n: int
    p50: float
    """Median of the process medians."""
    low: float
    high: float
    """95% interval of `p50`."""
    p90: float | None
    p99: float | None
    children: tuple[float, ...]
    """Median of each process, in the order of the rounds; empty where not recorded."""


@dataclass(frozen=True)
class Ratio:
    """`of` is `speedup` times as fast as `against`."""

    of: str
    against: str
    scenario: str
    speedup: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "faster" or "slower" where the interval excludes 1, else "alike"."""
        return "faster" if self.low > 1 else "slower" if self.high < 1 else "alike"


@dataclass(frozen=True)
class Energy:
    """What one answer takes, read off one meter."""

    millijoules: float
    above_idle: float | None
    """Without what the machine takes idle, mJ."""


@dataclass(frozen=True)
class Reading:
    """A language model at one length of the prompt."""

    tokens: int
    read_per_second: float
    made_per_second: float
    share: float | None
    """Of the memory's speed, what weights and cache read for a token take; None where the bytes are not known."""


@dataclass(frozen=True)
class Speech:
    """What is measured of language models alone."""

    memory_gb_s: float
    main_prompt: int
    """After which the variants' `real` times a token."""
    tokens: int
    """Made after each prompt."""
    variants: Mapping[str, tuple[Reading, ...]]


@dataclass(frozen=True)
class Measurement:
    """How, where and how validly the times were taken."""

    target: str
    created: str
    command: str
    ratios: tuple[Ratio, ...]
    protocol: Mapping[str, Any]
    quick: bool
    host: Mapping[str, Any]
    runtime: Mapping[str, Any]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    stable: bool
    throttled: bool
    reasons: tuple[str, ...]
    energy_reason: str
    energy: Mapping[str, Mapping[str, Energy]]
    """Of each variant with the real rows, by meter."""
    left_out: Mapping[str, str]
    """Variants that were not timed, and why."""
    speech: Speech | None = None
    """None where no language model was measured."""


@dataclass(frozen=True)
class Read:
    """A parsed bench.json: the measurement, and what it adds to each variant (names of `Variant`'s fields)."""

    measurement: Measurement
    variants: Mapping[str, dict[str, Any]]
    artifact_sha256: str


def read_measurement(document: Node) -> Read:
    """Parse bench.json, of `edgekit bench` or of `runner.pyz bench`; faults are noted in `document`."""
    target, environment, validity = document.maybe("target"), document.node("environment"), document.node("validity")
    protocol = document.node("protocol")
    left_out = document.maybe("left_out")
    measurement = Measurement(
        target=target.text("requested") if target else "",
        created=document.text("created", ""),
        command=document.text("command", ""),
        ratios=tuple(_ratio(item) for item in document.nodes("ratios")) if document.has("ratios") else (),
        protocol=protocol.value,
        quick=protocol.flag("quick", False),
        host=target.node("detected").value if target else {},
        runtime=document.node("runtime").value if document.has("runtime") else {},
        before=environment.node("before").value,
        after=environment.node("after").value,
        stable=validity.flag("stable"),
        throttled=validity.flag("throttled"),
        reasons=validity.texts("reasons"),
        energy_reason=document.text("energy_reason", "") if document.value.get("energy") is None else "",
        energy=_energy(document.maybe("energy")),
        left_out={name: left_out.text(name) for name in left_out.value} if left_out else {},
        speech=_speech(document.maybe("language")),
    )
    return Read(
        measurement,
        {item.text("name"): _variant(item) for item in document.nodes("variants")},
        document.text("artifact_sha256"),
    )


def _energy(node: Node | None) -> dict[str, dict[str, Energy]]:
    if node is None:
        return {}
    return {
        variant: {
            meter: Energy(read.number("per_inference_mj"), read.number("above_idle_mj") if read.has("above_idle_mj") else None)
            for meter, read in scenarios.members("real").items()
        }
        for variant, scenarios in node.members("variants").items()
        if scenarios.has("real")
    }


def _speech(node: Node | None) -> Speech | None:
    if node is None:
        return None
    variants = {
        name: tuple(
            Reading(
                one.count("tokens"),
                one.number("read_per_second", above=0),
                one.number("made_per_second", above=0),
                one.number("share", above=0) if one.has("share") else None,
            )
            for one in variant.nodes("prompts")
        )
        for name, variant in node.members("variants").items()
    }
    speed = node.node("memory_gb_s").number("median", above=0)
    return Speech(speed, node.count("main_prompt"), node.count("tokens"), variants)


def _variant(node: Node) -> dict[str, Any]:
    """The measured fields of a variant; sizes only where the document has them."""
    memory = node.maybe("memory")
    phases = node.maybe("phases")
    sizes = {name: node.number(name, above=0) for name in ("file_mb", "total_mb") if node.has(name)}
    return {
        **sizes,
        "timings": {str(item.value.get("name")): _timing(item) for item in node.nodes("scenarios")},
        "phases": {name: phases.number(name, above=-1e-9) for name in phases.value} if phases else {},
        "peak_mb": memory.number("peak_mb", above=0) if memory else None,
        "above_baseline_mb": memory.maybe_number("above_baseline_mb") if memory else None,
    }


def _timing(node: Node) -> Timing:
    low, high = node.pair("ci95_ms", above=0)
    children: list[float] = []
    if node.has("children_p50_ms"):
        values = node.value["children_p50_ms"] if isinstance(node.value["children_p50_ms"], list) else [None]
        inner = Node({str(number): value for number, value in enumerate(values)}, f"{node.where}children_p50_ms.", node.faults)
        children = [inner.number(key, above=0) for key in inner.value]
    return Timing(
        n=node.count("n"),
        p50=node.number("p50_ms", above=0),
        low=low,
        high=high,
        p90=node.maybe_number("p90_ms", above=0),
        p99=node.maybe_number("p99_ms", above=0),
        children=tuple(children),
    )


def _ratio(node: Node) -> Ratio:
    low, high = node.pair("ci95", above=0)
    return Ratio(
        node.text("of"), node.text("against"), str(node.value.get("scenario")), node.number("speedup", above=0), low, high
    )
