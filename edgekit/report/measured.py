"""What bench.json says: timings, ratios, memory, and under which protocol, on which machine, how validly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.report.fields import Fields
from edgekit.runtime.bench.words import GRAPH
from edgekit.runtime.jsontypes import JsonObject

__all__ = [
    "Energy",
    "Guesses",
    "Measurement",
    "Ratio",
    "LanguageTimes",
    "MeasuredVariant",
    "PromptTimes",
    "Read",
    "Timing",
    "read_measurement",
]


WIDE = 2.0
"""An interval of a time or a ratio whose ends are further apart than this many times says nothing of its size."""


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

    @property
    def tells(self) -> bool:
        """Whether the interval says about how long it takes."""
        return self.high <= WIDE * self.low


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

    @property
    def tells(self) -> bool:
        """Whether the interval says about how large it is."""
        return self.high <= WIDE * self.low


@dataclass(frozen=True)
class MeasuredVariant:
    """What was measured of one variant. Sizes and memory in MB (10^6 bytes); None where the document does not say."""

    timings: Mapping[str, Timing]
    """By scenario: TEXT, GRAPH, or a number of tokens."""
    phases: Mapping[str, float]
    """Milliseconds of each phase of a process."""
    peak_mb: float | None
    above_baseline_mb: float | None
    file_mb: float | None
    total_mb: float | None


@dataclass(frozen=True)
class Energy:
    """What one answer takes, read off one meter."""

    millijoules: float
    above_idle: float | None
    """Without what the machine takes idle, mJ."""


@dataclass(frozen=True)
class PromptTimes:
    """A decoder at one prompt length."""

    tokens: int
    prompt_tokens_per_second: float
    new_tokens_per_second: float
    bandwidth_share: float | None
    """Share of the memory bandwidth that reading weights and cache for a token takes; None where the bytes are not known."""


@dataclass(frozen=True)
class Guesses:
    """What guesses of next tokens gave on the recipe's own rows."""

    prompts: int
    tokens: int
    """Made after them, the first one of each aside."""
    drafted: int
    """Guesses that were read."""
    accepted: int
    """Those that were right, a run saved each."""
    plain_per_second: float
    per_second: float
    faster_by: float
    low: float
    high: float
    """95% interval over prompts."""
    draft: str
    """The small model that guesses beside the text so far; "" where there is none."""
    draft_mb: float | None


@dataclass(frozen=True)
class LanguageTimes:
    """What is measured of decoders alone."""

    memory_gb_s: float
    main_prompt: int
    """Prompt length, in tokens, after which scenario `real` times a token."""
    tokens: int
    """Generated after each prompt."""
    variants: Mapping[str, tuple[PromptTimes, ...]]
    guesses: Guesses | None = None
    """None where they were not measured, or none may be read."""


@dataclass(frozen=True)
class Measurement:
    """How, where and how validly the times were taken."""

    target: str
    created: str
    command: str
    ratios: tuple[Ratio, ...]
    protocol: JsonObject
    quick: bool
    host: JsonObject
    runtime: JsonObject
    before: JsonObject
    after: JsonObject
    stable: bool
    throttled: bool
    reasons: tuple[str, ...]
    energy_reason: str
    energy: Mapping[str, Mapping[str, Energy]]
    """Of each variant with the real rows, by meter."""
    left_out: Mapping[str, str]
    """Variants that were not timed, and why."""
    language: LanguageTimes | None = None
    """None where no decoder was measured."""


@dataclass(frozen=True)
class Read:
    """A parsed bench.json: the measurement, what it adds to each variant, and the SHA-256 of the model that was timed."""

    measurement: Measurement
    variants: Mapping[str, MeasuredVariant]
    artifact_sha256: str


def read_measurement(document: Fields) -> Read:
    """Parse bench.json, of `edgekit bench` or of `runner.pyz bench`; faults are noted in `document`."""
    target, environment, validity = document.maybe_object("target"), document.object("environment"), document.object("validity")
    protocol = document.object("protocol")
    left_out = document.maybe_object("left_out")
    measurement = Measurement(
        target=target.text("requested") if target else "",
        created=document.text("created", ""),
        command=document.text("command", ""),
        ratios=tuple(_ratio(item) for item in document.objects("ratios")) if document.has("ratios") else (),
        protocol=protocol.value,
        quick=protocol.flag("quick", False),
        host=target.object("detected").value if target else {},
        runtime=document.object("runtime").value if document.has("runtime") else {},
        before=environment.object("before").value,
        after=environment.object("after").value,
        stable=validity.flag("stable"),
        throttled=validity.flag("throttled"),
        reasons=validity.texts("reasons"),
        energy_reason=document.text("energy_reason", "") if document.value.get("energy") is None else "",
        energy=_energy(document.maybe_object("energy")),
        left_out={name: left_out.text(name) for name in left_out.value} if left_out else {},
        language=_language(document.maybe_object("language")),
    )
    return Read(
        measurement,
        {item.text("name"): _variant(item) for item in document.objects("variants")},
        document.text("artifact_sha256"),
    )


def _energy(node: Fields | None) -> dict[str, dict[str, Energy]]:
    if node is None:
        return {}
    return {
        variant: {
            meter: Energy(read.number("per_inference_mj"), read.number("above_idle_mj") if read.has("above_idle_mj") else None)
            for meter, read in scenarios.members(GRAPH).items()
        }
        for variant, scenarios in node.members("variants").items()
        if scenarios.has(GRAPH)
    }


def _language(node: Fields | None) -> LanguageTimes | None:
    if node is None:
        return None
    variants = {
        name: tuple(
            PromptTimes(
                one.count("tokens"),
                one.number("read_per_second", above=0),
                one.number("made_per_second", above=0),
                one.number("share", above=0) if one.has("share") else None,
            )
            for one in variant.objects("prompts")
        )
        for name, variant in node.members("variants").items()
    }
    speed = node.object("memory_gb_s").number("median", above=0)
    guesses = _guesses(node.maybe_object("guesses"))
    return LanguageTimes(speed, node.count("main_prompt"), node.count("tokens"), variants, guesses)


def _guesses(node: Fields | None) -> Guesses | None:
    if node is None or not node.has("faster_by"):
        return None
    speeds, draft = node.object("per_second"), node.maybe_object("draft")
    low, high = node.pair("ci95", above=0)
    return Guesses(
        node.count("prompts"), node.count("tokens"), node.count("drafted"), node.count("accepted"),
        speeds.number("plain", above=0), speeds.number("guessed", above=0), node.number("faster_by", above=0), low, high,
        draft.text("name") if draft else "", draft.number("mb", above=0) if draft else None,
    )  # fmt: skip


def _variant(node: Fields) -> MeasuredVariant:
    memory = node.maybe_object("memory")
    phases = node.maybe_object("phases")
    return MeasuredVariant(
        timings={str(item.value.get("name")): _timing(item) for item in node.objects("scenarios")},
        phases={name: phases.number(name, above=-1e-9) for name in phases.value} if phases else {},
        peak_mb=memory.number("peak_mb", above=0) if memory else None,
        above_baseline_mb=memory.maybe_number("above_baseline_mb") if memory else None,
        file_mb=node.maybe_number("file_mb", above=0),
        total_mb=node.maybe_number("total_mb", above=0),
    )


def _timing(node: Fields) -> Timing:
    low, high = node.pair("ci95_ms", above=0)
    return Timing(
        n=node.count("n"),
        p50=node.number("p50_ms", above=0),
        low=low,
        high=high,
        p90=node.maybe_number("p90_ms", above=0),
        p99=node.maybe_number("p99_ms", above=0),
        children=node.numbers("children_p50_ms", above=0) if node.has("children_p50_ms") else (),
    )


def _ratio(node: Fields) -> Ratio:
    low, high = node.pair("ci95", above=0)
    return Ratio(
        node.text("of"), node.text("against"), str(node.value.get("scenario")), node.number("speedup", above=0), low, high
    )
