"""What an end of ssh or of a runner means, without one: every sign has its own words, its exit code, and something to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgekit.device.faults import SSH, died, ended, plain, refused
from edgekit.errors import BadInput, CheckFailed, EdgekitError, NotPossibleHere


@pytest.mark.parametrize(
    ("code", "errors", "kind", "words"),
    [
        (
            255,
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            BadInput,
            "not the pinned one",
        ),
        (255, "No ED25519 host key is known for [h]:22 and you have requested strict checking.", BadInput, "is not known"),
        (255, "me@h: Permission denied (publickey).", BadInput, "none of the offered keys"),
        (255, "ssh: Could not resolve hostname h: Name or service not known", BadInput, "no such host"),
        (255, "ssh: connect to host h port 22: Connection refused", NotPossibleHere, "nothing listens"),
        (255, "ssh: connect to host h port 22: Connection timed out", NotPossibleHere, "does not answer"),
        (255, "Connection timed out during banner exchange", NotPossibleHere, "does not answer"),
        (255, "Timeout, server h not responding.", NotPossibleHere, "the link broke"),
        (255, "ssh_dispatch_run_fatal: message authentication code incorrect", NotPossibleHere, "corrupts"),
        (255, "client_loop: send disconnect: Broken pipe", NotPossibleHere, "the link broke"),
        (255, "", NotPossibleHere, "the link broke"),
        (127, "sh: 1: python3: not found", NotPossibleHere, "no Python"),
        (126, "python3: Permission denied", NotPossibleHere, "no Python"),
        (1, "EDGEKIT-OLD 3.8\n", NotPossibleHere, "its Python is 3.8"),
        (132, "", NotPossibleHere, "newer ISA"),
        (137, "", NotPossibleHere, "out of memory"),
        (1, "Traceback\nValueError: odd", CheckFailed, "exit code 1"),
    ],
)
def test_how_ssh_ended(code: int, errors: str, kind: type[EdgekitError], words: str) -> None:
    found = ended("pi4 (pi@h)", "send", code, errors)
    assert type(found) is kind and words in found.text() and found.where == "pi4 (pi@h), send"
    assert found.fix or found.faults or not errors


def test_every_sign_tells_what_to_do() -> None:
    assert all(what and fix for _, _, what, fix in SSH)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"code": 137}, NotPossibleHere, "out of memory"),
        ({"code": 132}, NotPossibleHere, "needs a newer ISA"),
        ({"code": -4}, NotPossibleHere, "target x86-vnni needs avx2; the device (A chip) has sse3"),
        ({"code": -9}, NotPossibleHere, "out of memory"),
        (
            {"code": 3, "stdout": json.dumps({"error": "bundle: this wheel needs a newer instruction set"})},
            NotPossibleHere,
            "newer ISA",
        ),
        (
            {"code": 3, "stdout": json.dumps({"error": "the process was killed, most likely out of memory"})},
            NotPossibleHere,
            "(137)",
        ),
        ({"code": 3, "stdout": json.dumps({"error": "bench: no\\n  - a finding"})}, NotPossibleHere, "a finding"),
        ({"code": 2, "stdout": json.dumps({"error": "bad"})}, BadInput, "bad"),
        ({"code": 1, "stderr": "Traceback\\nboom"}, CheckFailed, "boom"),
        ({"code": 1, "stdout": "[]", "stderr": "boom"}, CheckFailed, "boom"),
        ({"code": 1, "stdout": '{"error": 3}', "stderr": "boom"}, CheckFailed, "boom"),
        ({"code": 0, "late": True}, NotPossibleHere, "took too long"),
        ({"code": 1, "stderr": "numpy: MemoryError"}, NotPossibleHere, "out of memory"),
    ],
)
def test_how_a_runner_ended(changes: dict[str, Any], kind: type[EdgekitError], words: str) -> None:
    isa = "target x86-vnni needs avx2; the device (A chip) has sse3"
    found = died("pi4", "measure", {"code": 1, "late": False, "stdout": "", "stderr": "", **changes}, isa)
    assert type(found) is kind and words in found.text() and "pi4, measure" in found.text()


@pytest.mark.parametrize("kind", ["full", "corrupt", "busy"])
def test_what_a_device_refuses(kind: str) -> None:
    found = refused("pi4", "send", {"refused": kind, "what": "the \x1b[31mthing"})
    assert "thing" in found.text() and found.fix and "\x1b" not in found.text()
    assert refused("pi4", "send", {"refused": ["odd"]}).text()


def test_nothing_that_a_terminal_would_obey() -> None:
    assert plain("\x1b]0;owned\x07title\n\n  a\u202eb \x00c\n") == ["]0;ownedtitle", "ab c"]
    assert len(plain("x" * 5000)[0]) == 300 and len(plain("line\n" * 50)) == 6
