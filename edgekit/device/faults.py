"""Faults of devices as messages: which device, at which step, what to do."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

from edgekit.errors import BadInput, CheckFailed, EdgekitError, NotPossibleHere

__all__ = ["died", "ended", "plain", "refused"]

LAST_LINES = 6
KILLED = {code: number for number in (signal.SIGILL, signal.SIGKILL) for code in (128 + number, -number)}
"""Exit codes of what a signal ended, as a shell gives them and as Python does."""
RETRY = "the same command resumes where this one ended"
FETCH_KEY = "read the device's key at the device itself (/etc/ssh/ssh_host_ed25519_key.pub)"
SSH: tuple[tuple[str, type[EdgekitError], str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        BadInput,
        "its host key is not the pinned one: another machine answers, or the device was set up anew",
        f"{FETCH_KEY}, and only if it is the new one put it in place of the old (host_key in the inventory, or known_hosts)",
    ),
    (
        r"host key is known for|Host key verification failed",
        BadInput,
        "its host key is not known, and no unknown host is trusted",
        f"{FETCH_KEY} and put it in the inventory as host_key, or in your known_hosts",
    ),
    (
        r"Permission denied \(|Too many authentication failures",
        BadInput,
        "it accepts none of the offered keys for this account",
        "name the account and a key that it knows (user and identity in the inventory)",
    ),
    (
        r"Could not resolve hostname|Name or service not known",
        BadInput,
        "no such host",
        "check the name or give the address",
    ),
    (r"no such identity|Load key .{1,300}:", BadInput, "the private key cannot be read", "check identity in the inventory"),
    (r"Connection refused", NotPossibleHere, "nothing listens on its ssh port", "start sshd there, or give the right port"),
    (
        r"message authentication code incorrect|Corrupted MAC|Bad packet length",
        NotPossibleHere,
        "the link corrupts what it carries",
        f"check cable and power supply; {RETRY}",
    ),
    (
        r"[Cc]onnection timed out|Operation timed out|during banner exchange|No route to host|Network is unreachable",
        NotPossibleHere,
        "it does not answer",
        "see that it is up and reachable, or give it longer (connect_seconds in the inventory)",
    ),
)  # fmt: skip
"""Signs in what OpenSSH prints when it ends with 255, the most serious first."""


def ended(where: str, step: str, code: int, errors: str) -> EdgekitError:
    """The fault to report when ssh ended with exit code `code` before the agent answered."""
    location = f"{where}, {step}"
    old = re.search(r"EDGEKIT-OLD (\d+\.\d+)", errors)
    if old:
        return NotPossibleHere(
            f"its Python is {old[1]}, the runner needs 3.11 or later",
            where=location,
            fix="name a later one (python in the inventory)",
            see="the-device-refuses",
        )
    if code in (126, 127):
        return NotPossibleHere(
            "no Python there under this name",
            where=location,
            faults=plain(errors),
            fix="install it, or name it (python in the inventory)",
            see="the-device-refuses",
        )
    if code == 255:
        for sign, kind, what, fix in SSH:
            if re.search(sign, errors):
                faults = [] if kind is BadInput and "key" in what else plain(errors)
                return kind(what, where=location, faults=faults, fix=fix, see="the-device-refuses")
        return NotPossibleHere("the link broke", where=location, faults=plain(errors), fix=RETRY)
    if code in KILLED:
        return _killed(location, KILLED[code])
    return CheckFailed(f"the device's Python ended with exit code {code}", where=location, faults=plain(errors))


def died(where: str, step: str, answer: dict[str, Any], isa: str = "") -> EdgekitError:
    """The fault to report when the runner on the device exited with something other than 0, or not in time.

    `isa`: the sentence on instruction sets that a SIGILL is reported with.
    """
    location = f"{where}, {step}"
    code = answer["code"]
    if answer["late"]:
        fix = "give it longer (bench_seconds in the inventory) or ask for less (--quick)"
        return NotPossibleHere("it took too long", where=location, faults=plain(answer["stderr"]), fix=fix)
    if code in KILLED:
        return _killed(location, KILLED[code], isa)
    try:
        lines = [line.strip() for line in json.loads(answer["stdout"])["error"].splitlines()]
        lines = [line.removeprefix("- ") for line in lines]
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = answer["stderr"].strip().splitlines()
    if re.search(r"instruction set|Illegal instruction", " ".join(lines)) and code == 3:
        return _killed(location, signal.SIGILL, isa)
    if re.search(r"out of memory|MemoryError|bad_alloc", " ".join(lines)):
        return _killed(location, signal.SIGKILL)
    kind = {2: BadInput, 3: NotPossibleHere}.get(code, CheckFailed)
    return kind(f"the runner ended with exit code {code}", where=location, faults=plain("\n".join(lines), most=20))


def refused(where: str, step: str, answer: dict[str, Any]) -> EdgekitError:
    """The fault behind a request that the agent refused."""
    kind, location = str(answer["refused"]), f"{where}, {step}"
    what = " ".join(plain(str(answer.get("what", ""))))
    if kind == "full":
        return NotPossibleHere(
            what, where=location, fix="free some space there, or name another folder (folder in the inventory)"
        )
    if kind == "corrupt":
        return CheckFailed(f"arrived changed: {what}", where=location, fix=f"check the device's memory and disk; {RETRY}")
    if kind == "busy":
        return NotPossibleHere(f"the device is in use: {what}", where=location, fix="wait for the other run to end")
    fix = "see that the account may write there, or name another folder (folder in the inventory)" if kind == "system" else None
    return NotPossibleHere(what or "the request was refused", where=location, fix=fix)


def plain(text: str, most: int = LAST_LINES) -> list[str]:
    """The last lines of a device's text without control characters."""
    lines = ["".join(letter for letter in line if letter.isprintable())[:300].strip() for line in text.splitlines()]
    return [line for line in lines if line][-most:]


def _killed(location: str, number: int, isa: str = "") -> NotPossibleHere:
    if number == signal.SIGILL:
        return NotPossibleHere(
            "killed by SIGILL (132): this onnxruntime wheel needs a newer ISA than the chip has",
            where=location, faults=plain(isa),
            fix="install an onnxruntime that was built for this chip, or export for a target whose instruction sets it has",
        )  # fmt: skip
    return NotPossibleHere(
        "killed (137), most likely out of memory",
        where=location, fix="end other programs there, or make a smaller bundle",
    )  # fmt: skip
