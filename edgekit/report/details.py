"""The small print, as pairs and lists: protocol, machine, recipe, how to do it again, and what the figures do not show."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.report.facts import Facts
from edgekit.report.format import plural
from edgekit.report.measured import Energy, Measurement
from edgekit.runtime.jsontypes import JsonValue

__all__ = ["agreement", "environment", "limits", "protocol", "steps", "threads_of"]

CHOSEN = {
    "measured": ", found to be the fastest for the bundle on this machine", "asked": ", as was asked for", "target": ", as the target says",
}  # fmt: skip


def agreement(facts: Facts) -> str:
    """What the comparison with the model's own library found, in a sentence or two."""
    found = facts.agreement
    if found is None:
        return "Not compared: no library at hand answers for such a model, so that its answers are checked by edgekit's own code alone."
    refused = (
        f" {plural(found.refused, 'made text')} of which no token is left or that do not fit were left out."
        if found.refused
        else ""
    )
    return (
        f"The original's {found.inputs} answers to test rows and made texts, from raw text on, in float32 and before any compression, are those of "
        f"{found.reference}; the largest difference is {found.largest:.1g}.{refused}"
    )


def threads_of(measured: Measurement, *, why: bool = False) -> str:
    """How many threads each variant was timed with, in words; and `why` so many."""
    count = measured.protocol.get("threads")
    said = plural(count if isinstance(count, int) else 1, "thread")
    return f"{said} for every variant{CHOSEN.get(str(measured.protocol.get('threads_by')), '')}" if why else said


def protocol(facts: Facts) -> list[tuple[str, str]]:
    """How it was timed, as (what, value)."""
    measured = facts.measurement
    if measured is None:
        return [("timing", f"none: {facts.not_measured}")]
    settings = measured.protocol
    session = measured.runtime.get("session")
    config = session.get("config") if isinstance(session, Mapping) else None
    order = "interleaved in a seeded order" if settings.get("interleaved") else "one variant after the other"
    pairs = [
        ("processes", f"{settings.get('processes', '?')} fresh ones a variant, {order} (seed {settings.get('seed', '?')})"),
        (
            "each process",
            f"warm-up, then at least {settings.get('seconds', '?')} s and {settings.get('min_runs', '?')} runs a scenario",
        ),
        ("inputs", f"{settings.get('rows', '')}, batch {settings.get('batch', 1)}"),
        ("threads", threads_of(measured, why=True)),
        ("files", "in the page cache" if settings.get("warm_file") else ""),
        ("interval", "95%, hierarchical bootstrap over processes and runs; quality: paired bootstrap over rows"),
        ("runtime", " ".join(str(measured.runtime.get(key, "")) for key in ("onnxruntime", "provider")).strip()),
        ("session", ", ".join(f"{key} = {value}" for key, value in config.items()) if isinstance(config, Mapping) else ""),
        ("taken", measured.created),
        ("energy", f"not stated: {measured.energy_reason}" if measured.energy_reason else ""),
    ]
    for variant, meters in measured.energy.items():
        pairs.append(
            (f"energy, {variant}", "; ".join(f"{meter}: {_energy(read, facts.is_decoder)}" for meter, read in meters.items()))
        )
    return [(what, value) for what, value in pairs if value]


def environment(facts: Facts) -> list[tuple[str, str]]:
    """The machine, and its state before and after, as (what, value)."""
    measured = facts.measurement
    if measured is None:
        return []
    host = measured.host
    memory = host.get("memory_mb")
    virtual = "virtual machine" if host.get("virtualised") else ""
    pairs = [
        ("CPU", " · ".join(filter(None, [str(host.get("cpu", "")), str(host.get("arch", "")), virtual]))),
        ("instruction sets", _in_words(host.get("isa"))),
        ("cores", f"{host['cores_usable']} usable of {host.get('cores_physical', '?')}" if "cores_usable" in host else ""),
        ("memory", f"{memory / 1000:.1f} GB" if isinstance(memory, int | float) else ""),
        ("system", " · ".join(str(host[key]) for key in ("system", "libc") if host.get(key))),
        ("python", str(host.get("python", ""))),
    ]
    for key, what in (("load", "load"), ("frequency_mhz", "clock, MHz"), ("governor", "governor"), ("temperatures_c", "temperature, °C"),
                      ("swap_used_mb", "swap used, MB"), ("memory_available_mb", "memory free, MB")):  # fmt: skip
        before, after = _in_words(measured.before.get(key)), _in_words(measured.after.get(key))
        if before or after:
            pairs.append((what, before if before == after else f"{before or 'n/a'} before, {after or 'n/a'} after"))
    pairs.append(("tools", ", ".join(f"{name} {version}" for name, version in sorted(facts.tools.items()))))
    return [(what, value) for what, value in pairs if value]


def steps(facts: Facts) -> list[tuple[str, str]]:
    """The recipe's compression steps, as (method, settings)."""
    return [
        (
            str(step.get("method", "")),
            ", ".join(f"{key} = {_in_words(value)}" for key, value in step.items() if key != "method" and value is not None),
        )
        for step in facts.steps
    ]


def limits(facts: Facts) -> list[str]:
    """What a reader may not conclude from the figures."""
    found = [
        f"Quality is of {facts.quality.n:,} rows: {facts.quality_limit}.",
        "Its interval covers the choice of test rows. It does not cover another training seed.",
    ]
    measured = facts.measurement
    if measured is not None:
        found += [
            "The times are of one machine on one day. Their intervals cover differences between processes of this run, not between machines.",
            f"One answer at a time (batch 1), {threads_of(measured)}: this says nothing of load.",
            "The time is from text to answer, with tokenising and post-processing, which start-up lists apart too; the graph alone stands beside it."
            if facts.from_text
            else "The median of the model alone: tokenising and post-processing are listed apart, under start-up.",
        ]
        if measured.host.get("virtualised"):
            found.append("The machine is virtual: neighbours may have taken part of its time.")
        if measured.energy_reason:
            found.append("Energy was not measured, and it is not estimated.")
    if not facts.audit.observed:
        found.append(f"The audit was read on {facts.audit.arch}: which kernels the target itself runs was not observed.")
    return found


def _energy(read: Energy, is_decoder: bool) -> str:
    idle = "" if read.above_idle is None else f", {read.above_idle:.3g} above idle"
    return f"{read.millijoules:.3g} mJ {'a token' if is_decoder else 'an answer'}{idle}"


def _in_words(value: JsonValue) -> str:
    """A JSON value in plain words; "" for null."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_in_words(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_in_words(inner) for inner in value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)
