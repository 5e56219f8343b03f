"""The fuzzer finds what it is for, and what it once found is refused; each door gets a few mutations of its own from Hypothesis."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import BadInput
from edgekit.runtime.bundle.known import KNOWN
from edgekit.runtime.bundle.proof import PROOF
from tests.fuzz.__main__ import main
from tests.fuzz.child import enter
from tests.fuzz.door import Door, Files, doors, write_files
from tests.fuzz.doors.requests import responses
from tests.fuzz.watch import Tally, fuzz_door
from tests.waiting import PATIENCE_SECONDS

FOUND = Path(__file__).parent / "found"
FINDS = sorted(path for path in FOUND.glob("*/*") if path.is_dir())
# The same mutations each time: `make fuzz` looks for new ones.
APART = {"tokenizer", "http-plain", "http-uvicorn"}
"""Doors behind which code of other languages reads, or threads are at work: mutations are never entered by the process of the tests itself."""
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def test_sound_inputs_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KNOWN, str(tmp_path / "known"))
    monkeypatch.setenv(PROOF, "never")
    refused = []
    for door in doors().values():
        for number, files in enumerate(door.seeds()[:1] if door.name == "bundle-first-load" else door.seeds()):
            folder = tmp_path / f"{door.name}-{number}"
            write_files(folder, files)
            if enter(door, folder) != (True, None):
                refused.append(folder.name)
    assert refused == []


@pytest.mark.parametrize("find", FINDS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once(find: Path) -> None:
    """Inputs of `found/DOOR/NAME`, each of which once brought down what reads it."""
    door = doors()[find.parent.name]
    files = {path.name: path.read_bytes() for path in find.iterdir()}
    tally = Tally()
    fixed = Door(door.name, door.enter, lambda: [files], lambda given, others, random: given, whole=door.whole)
    fuzz_door(fixed, 0, tally, find.parents[5] / "unused", left=1.0, most=1)
    assert (tally.executions, tally.marks) == (1, {})


@pytest.mark.parametrize("name", sorted(name for name, door in doors().items() if not door.whole and name not in APART))
def test_mutations(name: str, tmp_path: Path) -> None:
    door = doors()[name]

    @settings(max_examples=8 if name == "template" else 40, derandomize=True)
    @given(random=st.randoms(use_true_random=False))
    def mutated(random: Random) -> None:
        seeds = door.seeds()
        files = door.edit(random.choice(seeds), seeds, random)
        write_files(tmp_path / "input", files)
        assert enter(door, tmp_path / "input")[1] is None

    mutated()


@pytest.mark.parametrize("name", sorted(APART))
def test_mutations_in_a_child(name: str, tmp_path: Path) -> None:
    tally = Tally()
    fuzz_door(doors()[name], 5, tally, tmp_path, left=PATIENCE_SECONDS, most=40)
    assert (tally.executions, tally.marks) == (40, {})


@pytest.mark.parametrize(
    "data",
    [b"\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", b"HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 2",
     b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{"],
)  # fmt: skip
def test_half_a_response_is_none(data: bytes) -> None:
    with pytest.raises((AssertionError, ValueError)):
        responses(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("name", ["manifest", "config", "store"])
@settings(max_examples=30, derandomize=True)
@given(value=JSON, at=st.integers(0, 10_000))
def test_any_json_in_place_of_any_value(name: str, value: Any, at: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    door = doors()[name]
    files = dict(door.seeds()[0])
    file = next(file for file in files if file.endswith(".json"))
    document = json.loads(files[file])
    holders = [(holder, key) for holder in _objects(document) for key in holder]
    holder, key = holders[at % len(holders)]
    holder[key] = value
    folder = tmp_path_factory.getbasetemp() / f"json-{name}"
    write_files(folder, {**files, file: json.dumps(document).encode()})
    assert enter(door, folder)[1] is None


def _objects(value: Any) -> list[dict[str, Any]]:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return ([value] if isinstance(value, dict) else []) + [found for item in inner for found in _objects(item)]


def crash(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(folder: Path) -> None:
    while True:
        pass


def wait(folder: Path) -> None:
    time.sleep(3600)


def take_memory(folder: Path) -> None:
    bytearray(2 << 30)


def raise_error(folder: Path) -> None:
    data = (folder / "file.txt").read_bytes()
    if b"7" in data:
        raise KeyError("seven")
    raise BadInput("no seven")


def write_controls(folder: Path) -> None:
    fault = BadInput("x")
    fault.what = "\x1b[2J"
    raise fault


def litter(folder: Path) -> None:
    Path(os.environ["TMPDIR"], "left").touch()


@pytest.mark.parametrize(
    ("fault", "mark"),
    [(crash, "crash/signal SIGSEGV"), (hang, "hang/hang"), (take_memory, "memory/MemoryError"), (raise_error, "error/KeyError"),
     (write_controls, "message/a message with control characters"), (litter, "litter"), (sys.exit, "error/SystemExit")],
)  # fmt: skip
def test_what_the_fuzzer_finds(fault: Any, mark: str, tmp_path: Path) -> None:
    def edit(files: Files, others: object, random: Random) -> Files:
        return {"file.txt": random.randbytes(30) + b"1234567890" + random.randbytes(30)}

    door, tally = Door("made-up", fault, lambda: [{"file.txt": b""}], edit), Tally()
    fuzz_door(door, 1, tally, tmp_path, left=1.0, most=3, cpu_seconds=0.5)
    (found,) = tally.marks
    assert found.startswith(mark) and tally.executions >= 1 and tally.finds >= 1
    (about,) = tmp_path.glob("made-up/*.json")
    assert json.loads(about.read_text())["mark"] == found
    if fault is raise_error:
        assert (about.with_suffix("") / "file.txt").read_bytes() == b"7", "the smallest input that shows it"


def test_a_run_is_told_as_json_and_can_be_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "results.json"
    arguments = [
        "config",
        "target",
        "--executions",
        "30",
        "--seed",
        "5",
        "--out",
        str(tmp_path / "out"),
        "--record",
        str(record),
    ]
    codes = [main(arguments), main(arguments)]
    first, second = json.loads(record.read_text())
    assert "--seed 5" in capsys.readouterr().out and codes == [0, 0]
    assert first["mutations_of_parsers"] == 60 and first["mutations_of_bundles"] == first["crashes"] == first["hangs"] == 0
    for name, door in first["doors"].items():
        assert door["refused"] + door["loaded"] == 30 and door["refused"] > 0
        assert {**door, "seconds": 0} == {**second["doors"][name], "seconds": 0}
