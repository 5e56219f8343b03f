"""A bundle's manifest is a plain file of bounded size, and reading it takes work in line with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import BadInput
from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.bundle.names import MANIFEST
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.processors import processor
from edgekit.runtime.providers.session import open_session
from tests.bounded import grows_in_line, refused
from tests.tiny_manifest import tiny_manifest

ASSET = {"size": 1, "sha256": "a" * 64}


def document() -> dict[str, Any]:
    """A sound manifest of no particular bundle."""
    return json.loads(json.dumps(tiny_manifest(labels=["a", "b"], vocabulary=9, golden=1).to_json()))


def read(manifest: object) -> Callable[[], None]:
    """Reads it, whether it is one or not."""

    def act() -> None:
        try:
            Manifest.from_json(manifest)
        except BadInput as fault:
            assert len(fault.text()) < 60_000

    return act


GROWING: dict[str, Callable[[dict[str, Any], int], object]] = {
    "assets": lambda it, size: it["assets"].update({f"a{number}": ASSET for number in range(size)}),
    "assets of one name": lambda it, size: it["assets"].update(
        {f"{'aA'[number % 2]}{number // 2}": ASSET for number in range(size)}
    ),
    "labels": lambda it, size: it["edgekit"].update(labels=[f"a{number}" for number in range(size)]),
    "the same label": lambda it, size: it["edgekit"].update(labels=["a"] * size),
    "faults": lambda it, size: it["edgekit"].update(inputs=[{}] * size),
    "unknown fields": lambda it, size: it["edgekit"].update({f"a{number}": 1 for number in range(size)}),
    "axes": lambda it, size: it["edgekit"].update(inputs=[{"name": "a", "dtype": "int64", "axes": ["a", 1] * size}]),
    "one long value": lambda it, size: it["assets"].update(a={"size": 1, "sha256": "x" * size * 20}),
}


@pytest.mark.parametrize("name", GROWING)
def test_work_is_in_line_with_size(name: str) -> None:
    def work(size: int) -> Callable[[], None]:
        manifest = document()
        GROWING[name](manifest, size)
        return read(manifest)

    grows_in_line(work, 1000)


def bundle(folder: Path) -> Path:
    folder.mkdir()
    return folder / MANIFEST


def test_no_file(tmp_path: Path) -> None:
    os.mkfifo(bundle(tmp_path / "pipe"))
    bundle(tmp_path / "folder").mkdir()
    bundle(tmp_path / "link").symlink_to("/dev/zero")
    with bundle(tmp_path / "sparse").open("wb") as file:
        file.truncate(40 * 1024**3)
    for name, says in (
        ("pipe", "a named pipe"),
        ("folder", "a folder"),
        ("link", "is a link"),
        ("sparse", "larger than 4,000,000"),
    ):
        with pytest.raises(BadInput, match=says):
            open_bundle(tmp_path / name)


def test_as_a_command(tmp_path: Path) -> None:
    """40,000 assets, each a fault: one message."""
    manifest = document()
    manifest["assets"] = {f"a{number}": ASSET for number in range(40_000)}
    manifest["edgekit"].pop("digest_file", None)
    bundle(tmp_path / "large").write_text(json.dumps(manifest, separators=(",", ":")))
    assert "manifest" in refused("-m", "edgekit", "verify", tmp_path / "large")


def test_assets_of_more_bytes_than_any_bundle(tmp_path: Path) -> None:
    """Told before any is read."""
    manifest = document()
    manifest["edgekit"].pop("digest_file", None)
    manifest["assets"] = {name: ASSET | {"size": 1024**4} for name in ("model.onnx", "tokenizer.json", "golden.json")}
    bundle(tmp_path / "large").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="assets of more than"):
        open_bundle(tmp_path / "large")


@pytest.mark.parametrize("name", ["a\nb: whole and right; signed", "a\x1b[2J", "a\u202eb"])
def test_a_name_is_one_line(name: str) -> None:
    with pytest.raises(BadInput, match="is not one line of text"):
        Manifest.from_json({**document(), "name": name})


@pytest.mark.parametrize("task", ["__init__", "--init--", "../../os", "os", ""])
def test_a_task_is_one_of_those_there_are(task: str) -> None:
    with pytest.raises(BadInput, match="has no task"):
        processor(task)


def test_a_session_value_that_onnxruntime_refuses(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"session key session\.intra_op\.allow_spinning: ") as fault:
        open_session(tmp_path / "model.onnx", config={"session.intra_op.allow_spinning": "9" * 100_000})
    assert len(fault.value.text()) < 1000
