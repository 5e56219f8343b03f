"""What a device's facts mean for a bundle, and how the device's own part takes files and refuses what is none of its business."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.device import agent
from edgekit.device.parts import Part, offsets, parts_of, stream
from edgekit.device.preflight import FLOORS, Facts, notes, unfit
from edgekit.pack.runner import write_runner
from edgekit.runtime.bundle.manifest import Manifest, Versions
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.generate.generation import Generation
from tests.tiny_manifest import tiny_manifest

MB = 1_000_000
FINE: dict[str, Any] = {
    "python": "3.12.1", "machine": "x86_64", "glibc": "2.36", "cpuinfo": "flags : avx2 avx512_vnni\nmodel name : A chip",
    "memory_available": 900 * MB, "disk_free": 900 * MB, "packages": {"numpy": "2.1.0", "onnxruntime": "1.31.0", "tokenizers": "0.22"},
}  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tiny_bundle: Path) -> Manifest:
    manifest = open_bundle(tiny_bundle).manifest
    return replace(manifest, target=replace(manifest.target, arch="x86_64"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"machine": "AMD64"}, []),
        ({"python": "3.10.4"}, ["Python 3.10.4: the runner needs 3.11"]),
        ({"machine": "riscv64"}, ["the bundle is for x86_64, the device is riscv64"]),
        ({"packages": {**FINE["packages"], "numpy": None}}, ["numpy is not installed"]),
        ({"packages": {**FINE["packages"], "onnxruntime": "1.9.0"}}, ["onnxruntime 1.9.0 is too old"]),
        ({"packages": {**FINE["packages"], "tokenizers": "0.20.9rc1"}}, ["tokenizers 0.20.9rc1 is too old"]),
        ({"glibc": None}, []),
        (
            {"glibc": "2.17", "packages": {**FINE["packages"], "onnxruntime": None}},
            ["onnxruntime is not installed", "glibc 2.17"],
        ),
        ({"glibc": None, "packages": {**FINE["packages"], "onnxruntime": None}}, ["onnxruntime is not installed", "musl"]),
        ({"memory_available": 100 * MB}, ["100 MB of memory are free, about 110 MB are needed"]),
        ({"memory_available": None}, []),
        ({"disk_free": 20 * MB}, ["20 MB of disk are free, 28 MB are needed"]),
    ],
)
def test_what_keeps_a_device_from_running(manifest: Manifest, changes: dict[str, Any], words: list[str]) -> None:
    found = unfit(Facts(**{**FINE, **changes}), manifest, to_send=20 * MB, whole=20 * MB)
    assert len(found) == len(words), found
    assert all(word in fault for word, fault in zip(words, found, strict=True))


def test_instruction_sets(manifest: Manifest) -> None:
    facts = Facts(**FINE)
    for (isa, any_of), words in {(("avx2",), ("avx_vnni", "avx512_vnni")): "", (("avx2", "amx_int8"), ()): "amx_int8",
                                 (("avx2",), ("avx_vnni",)): "one of avx_vnni"}.items():  # fmt: skip
        found = unfit(facts, replace(manifest, target=replace(manifest.target, isa=isa, isa_any=any_of)), to_send=0, whole=0)
        assert bool(found) is bool(words) and words in "".join(found)
    assert facts.document()["isa"] == ["avx2", "avx512_vnni"] and facts.document()["cpu"] == "A chip"


def test_an_onnxruntime_newer_than_any_tried_is_told(manifest: Manifest) -> None:
    newer = replace(manifest, onnxruntime=Versions("1.30", "1.30"))
    assert "newer than any" in notes(Facts(**FINE), newer)[0]
    assert notes(Facts(**FINE), manifest) == []


def test_the_floors_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {f"{name}>={floor}" for name, floor in FLOORS.items()} == set(project["dependencies"])


def test_facts_of_this_machine_are_sound() -> None:
    found = Facts(**agent.facts(1))
    assert found.packages["numpy"] and found.document()["cpu"]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[agent.Workspace]:
    found = agent.Workspace({"folder": str(tmp_path), "key": "a" * 64})
    yield found
    found.close()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("trap", ["link", "open to all"])
def test_a_folder_that_others_may_fill_is_not_used(tmp_path: Path, trap: str) -> None:
    if trap == "link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "edgekit").symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "edgekit").mkdir()
        (tmp_path / "edgekit").chmod(0o777)
    with pytest.raises(agent.Refused, match="not this account's alone"):
        agent.Workspace({"folder": str(tmp_path), "key": "a" * 64})


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "bundle/../x", "bundle/a/b", "bundle/", "bundle/.x", "x", "runner.pyz/x", "bundle/a\0"]
)
def test_names_that_the_device_does_not_take(workspace: agent.Workspace, name: str) -> None:
    with pytest.raises(agent.Refused):
        workspace.receive([{"name": name, "size": 1, "sha256": sha(b"x"), "offset": 0}], io.BytesIO(b"x"))


def test_files_arrive_go_on_and_are_checked(workspace: agent.Workspace) -> None:
    data = bytes(range(256)) * 1000
    wanted = {"name": "bundle/model.onnx", "size": len(data), "sha256": sha(data), "offset": 0}
    with pytest.raises(agent.LinkLost):
        workspace.receive([wanted], io.BytesIO(data[:100_000]))
    look = {"files": ["bundle/model.onnx", "runner.pyz"], "result": "result-x.json"}
    assert workspace.look(look)["have"] == {"bundle/model.onnx": {"size": 100_000, "sha256": sha(data[:100_000])}}
    with pytest.raises(agent.Refused, match="sha256"):
        workspace.receive([{**wanted, "offset": 100_000}], io.BytesIO(data[100_001:] + b"x"))
    assert workspace.look(look)["have"] == {}, "what is wrong does not stay"
    source = io.BytesIO(data + b"rest")
    assert workspace.receive([wanted], source) == {"received": 1} and source.read() == b"rest"
    assert workspace.look(look)["have"]["bundle/model.onnx"] == {"size": len(data), "sha256": sha(data)}
    assert (workspace.folder / "bundle" / "model.onnx").read_bytes() == data


def test_only_a_right_beginning_is_gone_on_with(tmp_path: Path) -> None:
    data = b"0123456789" * 100
    (tmp_path / "f").write_bytes(data)
    part = Part(tmp_path / "f", "f", len(data), sha(data))
    there = {
        None: 0, (500, sha(data[:500])): 500, (500, sha(data[1:501])): 0, (1000, sha(data)): 1000,
        (2000, sha(data * 2)): 0, (0, sha(b"")): 0,
    }  # fmt: skip
    for have, offset in there.items():
        found = offsets([part], {"f": have} if have else {})
        assert found == {"f": offset}
        assert b"".join(stream([part], found)) == data[offset:]
    (tmp_path / "f").write_bytes(b"cut")
    assert len(b"".join(stream([part], {"f": 0}))) == len(data), "the announced size, whatever happens to the file"


def test_the_whole_bundle_is_sent_and_the_largest_last(tiny_bundle: Path, tmp_path: Path) -> None:
    write_runner(tmp_path / "runner.pyz")
    parts = parts_of(open_bundle(tiny_bundle), tmp_path / "runner.pyz")
    assert {part.name for part in parts} == {"runner.pyz"} | {f"bundle/{path.name}" for path in tiny_bundle.iterdir()}
    assert [part.size for part in parts] == sorted(part.size for part in parts)


def test_the_agent_answers_over_pipes(tmp_path: Path) -> None:
    requests = [
        {"do": "receive", "files": []},
        {"do": "open", "key": "no hash", "folder": str(tmp_path), "files": [], "result": "result-x.json"},
        {"do": "open", "key": "b" * 64, "folder": str(tmp_path), "files": ["../x"], "result": "result-x.json"},
        {"do": "remove"},
    ]  # fmt: skip
    sink = io.BytesIO()
    agent.serve(io.BytesIO("".join(json.dumps(item) + "\n" for item in requests[1:]).encode()), sink)
    answers = [json.loads(line.removeprefix(agent.MARK)) for line in sink.getvalue().splitlines()]
    assert [answer.get("refused") for answer in answers] == ["protocol", "protocol", None]
    assert [path.name for path in (tmp_path / "edgekit").iterdir()] == ["lock"]
    sink = io.BytesIO()
    agent.serve(io.BytesIO((json.dumps(requests[0]) + "\n").encode() + b"garbage"), sink)
    assert b'"refused": "protocol"' in sink.getvalue(), "bytes after a refused transfer are not read as requests"


def test_silence_is_the_end_of_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cable that was pulled tells nobody: the device lets go by itself."""
    monkeypatch.setattr(agent, "SILENCE_SECONDS", 1)
    before = signal.signal(signal.SIGALRM, agent._on_silence)
    reader, writer = os.pipe()
    try:
        with open(reader, "rb") as source:
            agent.serve(source, io.BytesIO())
    finally:
        os.close(writer)
        signal.signal(signal.SIGALRM, before)
    assert signal.alarm(0) == 0


def test_jinja2_is_named_where_a_bundle_writes_conversations() -> None:
    generation = Generation(64, (2,), 1, 2, 2, 16, "chat_template.jinja")
    manifest = tiny_manifest(task="text-generation", labels=(), vocabulary=100, golden=1, generation=generation)
    for version, words in ((None, "jinja2 is not installed"), ("3.1.4", "jinja2 3.1.4 is too old")):
        (note,) = notes(Facts.model_validate({**FINE, "packages": {**FINE["packages"], "jinja2": version}}), manifest)
        assert words in note and "pip install 'jinja2>=3.1.6'" in note
    fine = Facts.model_validate({**FINE, "packages": {**FINE["packages"], "jinja2": "3.1.6"}})
    assert notes(fine, manifest) == []
    assert notes(Facts.model_validate(FINE), replace(manifest, generation=replace(generation, chat_template=None))) == []
