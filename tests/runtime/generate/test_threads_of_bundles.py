"""Bundles whose target leaves the number of threads to the device."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.runtime import model as runtime_model
from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.bundle.trials import trials_file
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.errors import BadInput
from edgekit.runtime.model import load
from edgekit.runtime.providers.session import own_cores
from tests.runtime.generate.tiny_decoder import TinyDecoder
from tests.runtime.generate.tiny_language_bundle import make_bundle


@pytest.fixture
def left_open(tiny_folder: Path, decoder: TinyDecoder, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    return make_bundle(tiny_folder, decoder, folder, threads=0)


def test_it_is_found_out_at_the_first_load_and_changes_no_answer(left_open: Path) -> None:
    digest = open_bundle(left_open).digest
    model = load(left_open)
    assert 1 <= model.threads <= own_cores()
    assert model("the cat", max_new_tokens=8) == load(left_open, threads=1)("the cat", max_new_tokens=8)
    assert open_bundle(left_open).digest == digest


def test_what_was_found_out_is_used_by_the_next_load_of_folder_result_or_archive(
    left_open: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def known(bundle: object, begin: object) -> int:
        asked.append(trials_file(bundle).name)  # type: ignore[arg-type]
        return 1

    monkeypatch.setattr(runtime_model, "best_threads", known)
    assert load(left_open).threads == load(left_open.parent).threads == 1
    monkeypatch.chdir(left_open)
    load(".")
    assert asked == ["bundle.threads.json"] * 3
    assert load(left_open, threads=1).threads == 1 and len(asked) == 3, "a number that is given is not found out"


def test_checks_find_nothing_out(left_open: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_model, "best_threads", lambda *_: pytest.fail("it tried"))
    with pytest.raises(
        BadInput, match="the text is empty"
    ):  # the golden input of a bundle that is never shipped: it was replayed
        verify(left_open)


def test_the_manifest_says_it_as_onnxruntime_does(left_open: Path) -> None:
    manifest = open_bundle(left_open).manifest
    document = manifest.to_json()
    assert '"intra_op_num_threads": 0' in (left_open / "manifest.json").read_text().replace('":', '": ')
    assert Manifest.from_json(document) == manifest
