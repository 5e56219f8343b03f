"""What the runtime wrote once and reads again: a conversation that was saved, and how many threads were fastest."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

from edgekit.runtime.bundle.config import Config
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.bundle.trials import earlier_trial, trials_file
from edgekit.runtime.generate.talk import read_messages
from tests.fuzz.door import Door, Files
from tests.tiny_manifest import tiny_manifest

__all__ = ["DOORS"]

TALK, DIGEST, CHIP, CORES = "talk.json", "a" * 64, "Cortex-A76", 4


def talks() -> list[Files]:
    said = [{"role": "user", "content": "a hat"}, {"role": "assistant", "content": 'is\n"on"'}]
    told = [{"role": "system", "content": "be brief"}, *said, {"role": "user", "content": "über"}]
    return [{TALK: json.dumps(document).encode()} for document in ({"messages": told}, {"messages": said}, said)]


def enter_talk(folder: Path) -> None:
    system, messages = read_messages(folder / TALK)
    assert system is None or system["role"] == "system"
    assert [message["role"] for message in messages] == [("user", "assistant")[number % 2] for number in range(len(messages))]


def bundle(folder: Path) -> Bundle:
    return Bundle(folder, tiny_manifest(labels=["a"], vocabulary=9, golden=1), DIGEST, Config(), folder / "bundle")


def trials() -> list[Files]:
    trial = {"chip": CHIP, "cores": CORES, "threads": 2, "milliseconds": {"1": 4.0, "2": 2.5, "4": 2.4}}
    version = metadata.version("onnxruntime")
    document = {
        "schema_version": 1,
        "digest": DIGEST,
        "onnxruntime": version,
        "trials": [trial, {**trial, "chip": "Z80", "cores": 1, "threads": 1}],
    }
    return [{"bundle.threads.json": json.dumps(document, indent=1).encode()}]


def enter_trials(folder: Path) -> None:
    """A file that is none is never a fault."""
    assert trials_file(bundle(folder)) == folder.resolve() / "bundle.threads.json"
    found = earlier_trial(bundle(folder), CHIP, CORES)
    assert found is None or 1 <= found.threads <= 1024


DOORS = [Door("talk", enter_talk, talks), Door("trials", enter_trials, trials)]
