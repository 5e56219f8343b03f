"""A few of the changes that `python -m tests.tampering` makes by the thousand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.pack.archive import write_archive
from edgekit.pack.bundle import write_bundle
from edgekit.pack.golden import make_golden
from edgekit.runtime.model import load
from edgekit.runtime.processors import Asked
from edgekit.runtime.providers.names import CPU
from tests.tampering.tamper import KINDS, tamper
from tests.tiny_manifest import signature, tiny_manifest
from tests.tiny_onnx import LABELS, WORDS, write_variant


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("tampering")
    variant = write_variant(work / "variant")
    texts = [" ".join(WORDS[4 + number % 5 :][: 1 + number % 4]) for number in range(40)]
    golden = make_golden(
        variant / "model.onnx",
        variant / "tokenizer.json",
        "text-classification",
        texts,
        Asked(LABELS),
        max_length=16,
        provider=CPU,
    )
    manifest = tiny_manifest(
        labels=LABELS, vocabulary=len(WORDS), golden=len(golden["rows"]), max_length=16, **signature(variant / "model.onnx")
    )
    (work / "bundle").mkdir()
    files = {path.name: path for path in variant.iterdir()}
    write_bundle(work / "bundle", manifest, files=files, texts={"golden.json": json.dumps(golden)})
    return work / "bundle"


@pytest.mark.parametrize("kind", [*KINDS, "files swapped"])
def test_no_change_of_a_bundle_goes_unnoticed(folder: Path, kind: str) -> None:
    load(folder)
    tally, unnoticed = tamper(folder, kind, 60, seed=len(kind))
    assert not unnoticed and tally.total() >= 50
    load(folder)


@pytest.mark.parametrize("kind", ["flipped bit", "bytes deleted", "bytes inserted"])
def test_no_change_of_an_archive_goes_unnoticed(folder: Path, tmp_path: Path, kind: str) -> None:
    write_archive(folder, tmp_path / "bundle.tar.gz")
    tally, unnoticed = tamper(tmp_path / "bundle.tar.gz", kind, 60, seed=len(kind))
    assert not unnoticed and tally.total() >= 50
