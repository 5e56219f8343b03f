"""The page of a bundle: whole, its service worker knowing every file by its sha256, and refused with a reason where npm gives nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgekit.errors import NotPossibleHere
from edgekit.pack.artifacts import make_artifacts
from edgekit.web import vendor
from edgekit.web.vendor import MODULES, fetch_vendor, runner_folder, vendored_files
from tests.web.node import node, released

OWN = {"worker.js", "_headers"}
"""What the worker does not keep: itself, and what a host reads."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    node()
    result = tmp_path_factory.mktemp("page")
    released("classifier", result)
    make_artifacts(result, web=True)
    return result / "artifacts" / "web"


def test_the_worker_keeps_every_file_by_its_sha256(page: Path) -> None:
    worker = (page / "worker.js").read_text(encoding="utf-8")
    kept = json.loads(re.search(r"const FILES = (\{.*?\n\});", worker, re.DOTALL)[1])  # type: ignore[index]
    there = {path.relative_to(page).as_posix(): path for path in page.rglob("*") if path.is_file()}
    assert set(there) == set(kept) | OWN
    for name, digest in kept.items():
        assert base64.b64encode(hashlib.sha256(there[name].read_bytes()).digest()).decode() == digest
    assert "@VERSION@" not in worker


def test_nothing_is_inline_or_from_elsewhere(page: Path) -> None:
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Reader().feed((page / "index.html").read_text(encoding="utf-8"))
    links = [
        value
        for _, attributes in found
        for name, value in attributes.items()
        if name in ("src", "href") and value and value[0] != "#"
    ]
    assert links and all((page / link).is_file() for link in links)
    assert not [
        tag
        for tag, attributes in found
        if tag == "style" or "style" in attributes or any(name.startswith("on") for name in attributes)
    ]
    assert all("src" in attributes for tag, attributes in found if tag == "script")
    labelled = {attributes.get("aria-labelledby") for tag, attributes in found if tag == "section"}
    assert labelled <= {attributes.get("id") for tag, attributes in found if tag == "h2"}


def test_every_module_of_the_runner_is_shipped() -> None:
    there = {path.name for path in runner_folder().iterdir() if path.suffix in (".mjs", ".ts")}
    assert there == set(MODULES)
    imports = {
        name
        for module in there
        for name in re.findall(r'(?:from|import\() ?"\./([^"]+)"', (runner_folder() / module).read_text("utf-8"))
    }
    assert imports <= there
    assert all(re.fullmatch(r"[0-9a-f]{64}", one.sha256) for one in vendored_files().values())


def test_without_npm_it_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(vendor.shutil, "which", lambda name: None)
    with pytest.raises(NotPossibleHere, match=r"npm is not here.*onnxruntime-web@"):
        fetch_vendor()
