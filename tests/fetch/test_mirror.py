"""A mirror is looked up first, gives what its index says and nothing else, and says what stands in for what."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mirror import MINILM, PUBLIC, make_mirror
from edgekit.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.fetch.https import cached_file
from edgekit.fetch.mirror import find_file, find_folder, write_index
from edgekit.pipeline.explain import explain
from edgekit.plan import needs
from edgekit.plan.needs import check_disk, needs_of
from edgekit.plan.recipes import load_recipe

ROWS = b"on,a\noff,b\n"
SHA256 = hashlib.sha256(ROWS).hexdigest()
OTHER = "0" * 64


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "rows.csv").write_bytes(ROWS)
    model = folder / "models" / "owner" / "name@main"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    monkeypatch.setenv("EDGEKIT_MIRROR", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_index(folder)
    return folder


def test_files_by_sha256_and_folders_by_name_and_revision(mirror: Path) -> None:
    found = find_file(SHA256)
    assert found is not None and (found.path.read_bytes(), found.stands_in) == (ROWS, "")
    assert find_file(OTHER) is None and find_folder("datasets", "owner/name", None) is None
    for revision in ("main", None):
        model = find_folder("models", "owner/name", revision)
        assert model is not None and model.path == mirror / "models" / "owner" / "name@main"
    assert find_folder("models", "owner/name", "v2") is None


def test_what_stands_in_for_another_is_said(mirror: Path) -> None:
    (mirror / "stands-in.json").write_text(json.dumps({"deep/rows.csv": {"sha256": OTHER, "why": "without the header"}}))
    write_index(mirror)
    found = find_file(OTHER)
    assert found is not None and found.stands_in.endswith("in the place of the public file: without the header")
    (mirror / "stands-in.json").write_text(json.dumps({"deep/none.csv": {"sha256": OTHER, "why": "x"}}))
    with pytest.raises(BadInput, match="no such file or hub folder"):
        write_index(mirror)


def test_another_file_than_the_index_says_is_refused_by_name(mirror: Path) -> None:
    (mirror / "deep" / "rows.csv").write_bytes(ROWS.replace(b"on", b"no"))
    with pytest.raises(CheckFailed, match=r"rows\.csv: has sha256 .* that the mirror's index says") as caught:
        find_file(SHA256)
    assert caught.value.exit_code == 1
    (mirror / "deep" / "rows.csv").unlink()
    with pytest.raises(CheckFailed, match="it is not there"):
        find_file(SHA256)
    (mirror / "models" / "owner" / "name@main" / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckFailed, match=r"tokenizer\.json is not in the mirror's index"):
        find_folder("models", "owner/name", None)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a//b", "."])
def test_no_path_leads_out_of_a_mirror(mirror: Path, path: str) -> None:
    document = json.loads((mirror / "mirror.json").read_text())
    document["files"][0]["path"] = path
    (mirror / "mirror.json").write_text(json.dumps(document))
    with pytest.raises(BadInput, match="no path within the mirror"):
        find_file(SHA256)


def test_no_link_leads_out_of_a_mirror(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(ROWS)
    (mirror / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(BadInput, match="a link that leaves the mirror"):
        write_index(mirror)


def test_a_folder_without_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_MIRROR", str(tmp_path))
    with pytest.raises(BadInput, match=r"without mirror\.json") as caught:
        find_file(SHA256)
    assert "edgekit mirror" in str(caught.value.fix)


def recipe(folder: Path) -> Path:
    table = f'{{ url = "https://none.invalid/rows.csv", sha256 = "{SHA256}", names = ["text", "label"] }}'
    (folder / "r.toml").write_text(
        f'schema = 1\ntask = "text-classification"\n[model.new]\n[data]\ntrain = {table}\nvalidation = {table}\ntest = {table}\n'
    )
    return folder / "r.toml"


def test_where_each_need_is(tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mirror, then cache, then network; each once, however often it is named."""
    _, path, asked = load_recipe(str(recipe(tmp_path)))
    assert [need.origin for need in needs_of(asked, path.parent)] == ["mirror"]
    monkeypatch.delenv("EDGEKIT_MIRROR")
    assert [need.origin for need in needs_of(asked, path.parent)] == ["network"]
    cached_file(SHA256).parent.mkdir(parents=True)
    cached_file(SHA256).write_bytes(ROWS)
    assert [need.origin for need in needs_of(asked, path.parent)] == ["cache"]


def test_a_disk_that_is_too_small_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_MIRROR")
    monkeypatch.setattr(needs, "size_of", lambda url: 10**18)
    with pytest.raises(NotPossibleHere, match="have to be fetched, and the disk has"):
        explain(str(recipe(tmp_path)), ["x86-vnni"], tmp_path / "build")
    _, path, asked = load_recipe(str(recipe(tmp_path)))
    check_disk(needs_of(asked, path.parent))  # of sizes that nobody knows nothing is said


@pytest.mark.parametrize("name", ["clinc150", "intents", "reference-lm", "squad", "stsb", "wnut17"])
def test_every_shipped_recipe_by_a_mirror(
    shared: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Public files come out byte for byte; what cannot is marked, and the plan says so."""
    folder = tmp_path_factory.getbasetemp() / "made-mirror"
    if not (folder / "mirror.json").is_file():
        make_mirror(shared, folder)
    monkeypatch.setenv("EDGEKIT_MIRROR", str(folder))
    plan: Any = explain(name, ["x86-vnni"], tmp_path / "build")
    assert {need["origin"] for need in plan["needs"]} <= {"mirror"}
    of = {need["name"]: need["stands_in"] for need in plan["needs"]}
    assert all(bool(said) == ("SQuAD" in title or "MiniLM" in title) for title, said in of.items())
    assert (folder / MINILM).is_dir() and all(
        hashlib.sha256((folder / path).read_bytes()).hexdigest() == sha256 for path, sha256 in PUBLIC.items()
    )
