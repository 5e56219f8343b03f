"""What a person is told where WebAssembly, memory or a file is missing, and where a server gives something else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgekit.web.vendor import vendor_folder, vendored_files
from tests.web.node import node, ran, released


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return released("classifier", tmp_path_factory.mktemp("classifier"))


def told(kind: str, bundle: Path, folder: Path) -> Any:
    return ran("bad.mjs", {"bundle": str(bundle), "kind": kind}, folder)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no WebAssembly", ["WebAssembly is not there", "lockdown mode"]),
        ("no SIMD", ["no SIMD", "Chrome 91"]),
        ("no memory", ["not enough memory", "close other pages"]),
    ],
)
def test_what_a_browser_lacks_is_named(kind: str, words: list[str], bundle: Path, tmp_path: Path) -> None:
    found = told(kind, bundle, tmp_path)
    assert found["error"] == "NotPossibleHere", found
    assert [word for word in words if word not in found["text"]] == []


@pytest.mark.parametrize("name", ["ort-wasm-simd-threaded.wasm", "tokenizers.min.mjs"])
def test_a_changed_library_is_named(name: str, bundle: Path, tmp_path: Path) -> None:
    node()
    shutil.copytree(vendor_folder(), tmp_path / "job.json.vendor")
    path = tmp_path / "job.json.vendor" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    found = told("a library changed", bundle, tmp_path)
    assert found["error"] == "CheckFailed", found
    assert name in found["text"] and vendored_files()[name].release in found["text"]


def test_what_a_server_gives_instead_is_told(bundle: Path, tmp_path: Path) -> None:
    found = told("servers", bundle, tmp_path)
    assert found.pop("whole") == "loaded"
    words = {
        "missing": ("BadInput", "tokenizer.json: cannot be fetched: 404"),
        "no bundle": ("BadInput", "manifest.json: cannot be fetched: 404"),
        "a page for all": ("BadInput", "manifest.json: the server gave a web page"),
        "a page for one": ("BadInput", "model.onnx: the server gave a web page"),
        "cut short": ("NotPossibleHere", "model.onnx: ended before it was whole"),
        "shortened": ("CheckFailed", "model.onnx: 500 bytes instead of"),
    }
    assert set(found) == set(words)
    for kind, (error, text) in words.items():
        assert found[kind]["error"] == error and text in found[kind]["text"], (kind, found[kind])
