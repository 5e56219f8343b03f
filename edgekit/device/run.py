"""One bundle on one device: look, send, verify, measure, fetch, clean up."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.device.faults import died, refused
from edgekit.device.inventory import Device
from edgekit.device.link import Link
from edgekit.device.parts import Part, key_of, offsets, stream
from edgekit.device.preflight import Facts, instructions, notes, unfit
from edgekit.device.ssh import command
from edgekit.errors import CheckFailed, EdgekitError, NotPossibleHere
from edgekit.runtime.bench.measured import is_of_bundle
from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.temporary import temporary_folder

__all__ = ["Job", "Report", "headline", "job_of", "run_on", "sound"]

Report = Callable[[str, float], None]
"""(the step that a device is at, the share of it that is done)."""
LOOK_SECONDS = 60.0
"""Longest wait for the first answer after connecting: the device hashes what it holds already."""
SETTLE_SECONDS = 600.0
"""Longest wait after the last byte was sent: ssh and the network hold some megabytes that a slow line has yet to carry."""


@dataclass(frozen=True)
class Job:
    """What is to be done on every device."""

    manifest: Manifest
    parts: list[Part]
    options: tuple[str, ...]
    """Of `runner.pyz bench`."""
    key: str
    """sha256 of all that is sent and asked: results of the same key are results of the same measurement."""


class _Held(BaseModel):
    """What the device holds of one file."""

    model_config = ConfigDict(strict=True, extra="forbid")
    size: int
    sha256: str


class _Look(BaseModel):
    """The agent's first answer."""

    model_config = ConfigDict(strict=True, extra="ignore")
    facts: Facts
    have: dict[str, _Held]
    result: str | None


def job_of(manifest: Manifest, parts: list[Part], options: tuple[str, ...]) -> Job:
    """The job of measuring this bundle with these options."""
    key = hashlib.sha256(json.dumps([key_of(parts), list(options)]).encode()).hexdigest()
    return Job(manifest, parts, options, key)


def run_on(device: Device, job: Job, stop: threading.Event, report: Report) -> dict[str, Any]:
    """The result of `job` on `device`: {"facts", "notes", "sent_bytes", "verify", "bench"}.

    What was sent is removed from the device at the end, and after a fault of the device's or the bundle's; after a broken link or an
    interruption it stays (7 days at most), and the same job resumes with it.

    Raises:
        EdgekitError: any fault, with the device and the step.
        Stopped: interrupted here.
    """
    where = device.name if device.name == device.shown() else f"{device.name} ({device.shown()})"
    with temporary_folder(where) as aside, Link(command(device, aside), where, stop) as link:
        report("connect", 0.0)
        result = f"result-{job.key}.json"
        request = {"do": "open", "key": key_of(job.parts), "folder": device.folder, "result": result,
                 "files": [part.name for part in job.parts]}  # fmt: skip
        look = _looked(where, link.ask("connect", request, seconds=device.connect_seconds + LOOK_SECONDS))
        try:
            return _measure_over(link, where, device, job, look, report)
        except (CheckFailed, NotPossibleHere) as fault:
            if link.in_step:
                with suppress(EdgekitError):  # the fault that came first is the one to tell
                    _remove(link)
            raise fault


def _measure_over(link: Link, where: str, device: Device, job: Job, look: _Look, report: Report) -> dict[str, Any]:
    begin = offsets(job.parts, {name: (held.size, held.sha256) for name, held in look.have.items()})
    whole = sum(part.size for part in job.parts)
    missing = [part for part in job.parts if begin[part.name] < part.size or part.name not in look.have]
    to_send = sum(part.size - begin[part.name] for part in missing)
    faults = unfit(look.facts, job.manifest, to_send=to_send, whole=whole)
    if faults:
        raise NotPossibleHere(
            "cannot run this bundle as it is", where=f"{where}, preflight", faults=faults, see="the-device-refuses"
        )
    facts = {"facts": look.facts.document(), "notes": notes(look.facts, job.manifest), "sent_bytes": to_send}
    if missing:
        files: list[JsonObject] = [
            {"name": part.name, "size": part.size, "sha256": part.sha256, "offset": begin[part.name]} for part in missing
        ]
        answer = link.ask(
            "send", {"do": "receive", "files": files}, stream(missing, begin), seconds=SETTLE_SECONDS,
            sent=lambda count: report("send", count / max(1, to_send)),
        )  # fmt: skip
        link.in_step &= "refused" not in answer  # an agent that refuses a file exits: the remaining bytes are no requests
        _accepted(where, "send", answer)
    report("verify", 0.0)
    isa = instructions(look.facts, job.manifest)
    verified = _run(link, where, device, job, "verify", ["verify", "{bundle}", "--json"], isa)
    kept = _kept(look.result)
    if kept is None:
        report("measure", 0.0)
        arguments = ["bench", "{bundle}", "--json", "--out", "{result}", *job.options]
        kept = _run(link, where, device, job, "measure", arguments, isa)
    if not sound(kept, job.manifest):
        raise CheckFailed("what came back is no result of this bundle", where=f"{where}, fetch", fix="run it again")
    report("clean up", 0.0)
    _remove(link)
    return {**facts, "verify": verified, "bench": kept}


def _looked(where: str, answer: dict[str, Any]) -> _Look:
    _accepted(where, "connect", answer)
    try:
        return _Look.model_validate(answer)
    except ValidationError as fault:
        first = fault.errors()[0]
        what = f"its facts are not sound: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise NotPossibleHere(what, where=f"{where}, connect") from None


def _accepted(where: str, step: str, answer: dict[str, Any]) -> None:
    if "refused" in answer:
        raise refused(where, step, answer)


def _run(link: Link, where: str, device: Device, job: Job, step: str, arguments: list[str], isa: str) -> dict[str, Any]:
    """Run the runner there and read the JSON document that it prints; `isa` tells the instruction sets of bundle and device."""
    request: JsonObject = {
        "do": "run",
        "arguments": arguments,
        "timeout": device.bench_seconds,
        "result": f"result-{job.key}.json",
    }
    answer = link.ask(step, request, seconds=device.bench_seconds + LOOK_SECONDS)
    _accepted(where, step, answer)
    if {name: type(answer.get(name)) for name in ("code", "late", "stdout", "stderr")} != {
        "code": int, "late": bool, "stdout": str, "stderr": str,
    }:  # fmt: skip
        raise NotPossibleHere("the device's answer is not one of a run", where=f"{where}, {step}")
    if answer["code"] != 0 or answer["late"]:
        raise died(where, step, answer, isa)
    document = _object(answer["stdout"])
    if document is None:
        raise CheckFailed("the runner printed no JSON object", where=f"{where}, {step}")
    return document


def _kept(text: str | None) -> dict[str, Any] | None:
    """A result that an earlier run of the same job left on the device whole, because its link broke before it could be fetched."""
    document = _object(text or "")
    return document if document is not None and document.get("complete") is True else None


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def sound(document: dict[str, Any], manifest: Manifest) -> bool:
    """Whether this is a result document, and one of this very model."""
    try:
        validity, variant = document["validity"], document["variants"][0]
        return (
            document["schema_version"] == 1
            and is_of_bundle(document, {name: asset.sha256 for name, asset in manifest.assets.items()})
            and isinstance(variant["memory"]["peak_mb"], int | float)
            and all(isinstance(validity[name], bool) for name in ("stable", "throttled"))
            and isinstance(validity["reasons"], list)
            and type(document["runtime"]["threads"]) is int
            and headline(variant) is not None
        )
    except (KeyError, IndexError, TypeError):
        return False


def headline(variant: dict[str, Any]) -> tuple[str, float, float, float] | None:
    """(scenario, p50, low and high end of its 95% interval) in milliseconds: the first scenario with such figures."""
    for scenario in variant["scenarios"]:
        figures = [scenario.get("p50_ms"), *(scenario.get("ci95_ms") or [])]
        if len(figures) == 3 and all(isinstance(figure, int | float) for figure in figures):
            return (str(scenario.get("name")), *figures)
    return None


def _remove(link: Link) -> None:
    link.ask("clean up", {"do": "remove"}, seconds=10.0)
