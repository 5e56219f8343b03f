"""The first load of a bundle from outside runs in a child with limits; who made it, or loaded it before, starts none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.errors import CheckFailed, EdgekitError
from edgekit.pack.bundle import write_bundle
from edgekit.pack.manifest import NOT_SCORED
from edgekit.runtime.bundle import proof
from edgekit.runtime.bundle.known import KNOWN, is_known
from edgekit.runtime.bundle.read import read_manifest
from edgekit.runtime.model import load
from tests.conftest import PYTHONPATH
from tests.tiny_manifest import rewrite_manifest, signature, tiny_manifest
from tests.tiny_onnx import LABELS, WORDS, write_variant

Change = Callable[[onnx.ModelProto], object]


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], Path]:
    """A bundle from outside, whose graph a test changes: nobody here made it or loaded it before."""
    monkeypatch.delenv(proof.PROOF)

    def make(change: Change = lambda model: None) -> Path:
        source = write_variant(tmp_path / "source")
        model = onnx.load_model(source / "model.onnx")
        change(model)
        onnx.save_model(model, source / "model.onnx")
        manifest = tiny_manifest(labels=LABELS, vocabulary=len(WORDS), golden=1, **signature(source / "model.onnx"))
        golden = {"rows": [{**NOT_SCORED, "input": "turn it on", "input_ids": [[1]], "outputs": [[0.0]]}]}
        files = {name: source / name for name in ("model.onnx", "tokenizer.json")}
        folder = tmp_path / "bundle"
        folder.mkdir()
        write_bundle(folder, manifest, files=files, texts={"golden.json": json.dumps(golden)})
        monkeypatch.setenv(KNOWN, str(tmp_path / "known"))
        return folder

    return make


def children(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The command of every child that is started from now on."""
    started: list[Any] = []
    start = subprocess.Popen.__init__

    def init(self: Any, command: Any, *arguments: Any, **settings: Any) -> None:
        started.append(command)
        start(self, command, *arguments, **settings)

    monkeypatch.setattr(subprocess.Popen, "__init__", init)
    return started


def before(*nodes: Any, **tensors: Any) -> Change:
    """Nodes ahead of those that are there; the last one's output "bomb" is added to the graph's output."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer.extend([numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()])
        there = list(model.graph.node)
        last = there[-1]
        name = last.output[0]
        last.output[0] = "calm"
        zero = numpy_helper.from_array(np.zeros(1, np.float32), "nought")
        model.graph.initializer.append(zero)
        ends = [
            helper.make_node("ReduceMax", ["bomb"], ["top"], keepdims=0), helper.make_node("Mul", ["top", "nought"], ["none"]),
            helper.make_node("Add", ["calm", "none"], [name]),
        ]  # fmt: skip
        del model.graph.node[:]
        model.graph.node.extend([*nodes, *there, *ends])

    return change


def doubled(times: int, first: str) -> list[Any]:
    names = [first, *(f"d{number}" for number in range(times - 1)), "bomb"]
    return [helper.make_node("Concat", [one, one], [other], axis=0) for one, other in pairwise(names)]


def multiplied(times: int) -> list[Any]:
    """Products that are not folded away, as they depend on the text."""
    start = [helper.make_node("Cast", ["input_ids"], ["floats"], to=1), helper.make_node("ReduceMax", ["floats"], ["one"], keepdims=0),
             helper.make_node("Mul", ["one", "square"], ["m0"])]  # fmt: skip
    names = [*(f"m{number}" for number in range(times)), "bomb"]
    return start + [helper.make_node("MatMul", [one, one], [other]) for one, other in pairwise(names)]


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


BOMBS: dict[str, Callable[[], Change]] = {
    "doubled forty times": lambda: before(*doubled(40, "few"), few=floats(16)),
    "a sum of a row and a column": lambda: before(helper.make_node("Add", ["row",
    "column"], ["bomb"]), row=floats(1, 2**18), column=floats(2**18, 1)),
    "an outer product": lambda: before(helper.make_node("MatMul", ["column", "row"], ["bomb"]), row=floats(1, 2**18), column=floats(2**18, 1)),
    "gathered again and again": lambda: before(
        helper.make_node("Gather", ["few", "index"], ["g0"]), helper.make_node("Gather", ["g0", "index"], ["g1"]),
        helper.make_node("Gather", ["g1", "index"], ["g2"]), helper.make_node("Gather", ["g2", "index"], ["bomb"]),
        few=floats(1), index=np.zeros((1, 1000), np.int64)),
    "widened": lambda: before(helper.make_node("Expand", ["few", "shape"], ["bomb"]), few=floats(1), shape=np.array([2**20, 2**20])),
    "tiled": lambda: before(
        helper.make_node("Tile", ["few", "times"], ["once"]), helper.make_node("Tile", ["once", "times"], ["bomb"]), few=floats(1),
        times=np.array([2**20])),
    "counted": lambda: before(
        helper.make_node("Range", ["begin", "end", "step"], ["bomb"]), begin=np.float32(0), end=np.float32(1e12), step=np.float32(1)),
    "products without end": lambda: before(*multiplied(4000), square=floats(512, 512)),
    "two tables joined": lambda: before(
        helper.make_node("Add", ["a", "b"], ["ab"]), helper.make_node("Add", ["ab", "c"], ["bomb"]), a=floats(2048, 1, 1), b=floats(1, 2048, 1),
        c=floats(1, 1, 2048)),
}  # fmt: skip


WORDS_OF_BOMBS = re.compile("far more (time|memory)|asks for more than|ONNX Runtime cannot (load|run) it")


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_the_childs(foreign: Callable[..., Path], name: str) -> None:
    """One message, and this process still has its memory; what has passed no proof is not remembered."""
    folder = foreign(BOMBS[name]())
    with pytest.raises(EdgekitError) as fault:
        load(folder)
    assert not is_known(read_manifest(folder)[1], "proven")
    assert WORDS_OF_BOMBS.search(str(fault.value)) and len(str(fault.value)) < 2000


@pytest.mark.parametrize("pattern", ["(?:zq)+(?:zq)+[0-9]", "[а-я]+!"])
def test_a_pattern_that_is_slow_on_some_text(foreign: Callable[..., Path], pattern: str) -> None:
    """The cube of the length of a text, of words that the pattern names, or the square: a text of 100,000 letters would hold a server for 12 s."""
    folder = foreign()
    document = json.loads((folder / "tokenizer.json").read_text())
    document["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "Whitespace"},
        ],
    }
    (folder / "tokenizer.json").write_text(json.dumps(document))
    rewrite_manifest(folder)
    with pytest.raises(CheckFailed, match="far more time"):
        load(folder)


def test_what_is_known_starts_no_child(foreign: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first load proves, and is remembered by the digest; a bundle of another digest is proven again."""
    folder, started = foreign(), children(monkeypatch)
    model = load(folder)
    assert len(started) == 1 and "edgekit.runtime.bundle.first_load" in started[0]
    assert model("turn it on") == load(folder)("turn it on") and len(started) == 1
    rewrite_manifest(folder, lambda document: document.update(name="renamed"))
    load(folder)
    assert len(started) == 2
    monkeypatch.setenv(proof.PROOF, "never")
    rewrite_manifest(folder, lambda document: document.update(name="again"))
    load(folder)
    assert len(started) == 2


def test_who_made_it_starts_no_child(foreign: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = foreign()
    monkeypatch.setenv(KNOWN, os.environ[KNOWN] + "-own")
    load_before = json.loads((folder / "manifest.json").read_text())
    made = children(monkeypatch)
    again = tmp_path / "again"
    again.mkdir()
    manifest = tiny_manifest(labels=LABELS, vocabulary=len(WORDS), golden=1, **signature(folder / "model.onnx"))
    files = {name: folder / name for name in load_before["assets"]}
    write_bundle(again, manifest, files=files, texts={})
    load(again)
    assert made == []


def test_a_folder_that_cannot_be_written_is_no_fault(
    foreign: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, started = foreign(), children(monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(KNOWN, str(tmp_path / "file" / "known"))
    load(folder)
    load(folder)
    assert len(started) == 2


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"), ("raise SystemExit(7)", "exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGPROF)", "more time"), ("print('{'); raise SystemExit(1)", "exit code 1"),
        ("print('[1]'); raise SystemExit(2)", "exit code 2"), ("import time; time.sleep(600)", "did not end within"),
        ("""print('{"what": "w", "where": null, "fix": null, "faults": ["f"]}'); raise SystemExit(1)""", "w\n  - f"),
    ],
)  # fmt: skip
def test_how_a_child_ends(foreign: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    folder = foreign()
    start = subprocess.Popen.__init__
    monkeypatch.setattr(
        subprocess.Popen, "__init__", lambda self, command, **settings: start(self, [sys.executable, "-c", script], **settings)
    )
    monkeypatch.setattr(proof, "PATIENCE", 1.0 if "sleep" in script else 20.0)
    with pytest.raises(CheckFailed) as fault:
        load(folder)
    assert words in str(fault.value)


def test_through_the_command(foreign: Callable[..., Path], tmp_path: Path) -> None:
    """One message, exit code 1, no traceback; a traceback in the file that is asked for."""
    folder, trace = foreign(BOMBS["doubled forty times"]()), tmp_path / "trace.txt"
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "EDGEKIT_TRACEBACK": str(trace)}
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "run", str(folder), "x"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2) and done.stderr.startswith("edgekit: ") and "Traceback" not in done.stderr
    assert trace.read_text().startswith("Traceback")
