"""The OCI layout: right by the image specification, and pushed and pulled by real clients through a registry on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.pack.artifacts import Artifacts, make_artifacts
from edgekit.pack.oci import write_layout
from edgekit.runtime.bundle.verify import verify
from tests.pack.loopback_registry import Registry, digest_of, started

MEDIA = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
"""RFC 6838, section 4.2."""
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
"""Of the distribution specification: stricter than what a layout's ref.name may hold."""
LARGEST_MANIFEST = 4_194_304
"""What every registry must take, by the distribution specification."""


@pytest.fixture(scope="module")
def made(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    folder = tmp_path_factory.mktemp("oci")
    shutil.copytree(bundle, folder / "bundle")
    return make_artifacts(folder, oci=True)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with started() as found:
        yield found


def faults(layout: Path) -> list[str]:
    """What of an image layout is not as the image specification 1.1 wants it."""
    found: list[str] = []
    blobs = layout / "blobs" / "sha256"
    met: set[str] = set()

    def check(holds: bool, what: str) -> None:
        found.extend([] if holds else [what])

    def read(one: dict[str, Any], where: str) -> bytes:
        """The blob of a descriptor, which is checked."""
        check(MEDIA.fullmatch(one.get("mediaType", "")) is not None, f"{where}: no media type")
        digest = one.get("digest", "")
        check(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is not None, f"{where}: no sha256 digest")
        check(type(one.get("size")) is int, f"{where}: no size")
        notes = one.get("annotations", {})
        check(all(isinstance(part, str) for pair in notes.items() for part in pair), f"{where}: annotations that are no text")
        unknown = set(one) - {"mediaType", "digest", "size", "annotations", "artifactType", "data", "urls", "platform"}
        check(not unknown, f"{where}: unknown {unknown}")
        path = blobs / digest.removeprefix("sha256:")
        if not path.is_file():
            found.append(f"{where}: {digest} is not there")
            return b"{}"
        data = path.read_bytes()
        met.add(path.name)
        check(len(data) == one.get("size"), f"{where}: another size")
        check(digest_of(data) == digest, f"{where}: another digest")
        check("data" not in one or base64.b64decode(one["data"], validate=True) == data, f"{where}: data that differs")
        return data

    check(json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}, "oci-layout: another version")
    check({path.name for path in layout.iterdir()} == {"blobs", "index.json", "oci-layout"}, "more than a layout has")
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    check(
        index["schemaVersion"] == 2 and index["mediaType"] == "application/vnd.oci.image.index.v1+json", "index: another kind"
    )
    for entry in index["manifests"]:
        data = read(entry, "index")
        check(len(data) <= LARGEST_MANIFEST, "manifest: too large")
        check(entry["mediaType"] == "application/vnd.oci.image.manifest.v1+json", "index: no image manifest")
        check(TAG.fullmatch(entry["annotations"]["org.opencontainers.image.ref.name"]) is not None, "index: no tag")
        manifest = json.loads(data)
        check(manifest["schemaVersion"] == 2 and manifest["mediaType"] == entry["mediaType"], "manifest: another kind")
        check(manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json", "manifest: a config that is not empty")
        check(MEDIA.fullmatch(manifest["artifactType"]) is not None, "manifest: an empty config wants an artifactType")
        check(manifest["artifactType"] == entry["artifactType"], "index: another artifactType")
        check(read(manifest["config"], "config") == b"{}", "config: not empty")
        check(bool(manifest["layers"]), "manifest: no layers")
        titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in manifest["layers"]]
        check(len(set(titles)) == len(titles), "manifest: a title twice")
        for layer, title in zip(manifest["layers"], titles, strict=True):
            read(layer, title)
            check(not Path(title).is_absolute() and ".." not in Path(title).parts, f"{title}: leads elsewhere")
    check(met == {path.name for path in blobs.iterdir()}, "blobs that nothing names")
    return found


def test_the_layout_is_right_by_the_specification(made: Artifacts) -> None:
    assert faults(made.folder / "oci") == []


@pytest.mark.parametrize("name", ["ein Modell/für Übung", "..", ".hidden", "", "x" * 300, 'quote"and\\slash', "-dash"])
def test_names_that_are_no_tags(tmp_path: Path, name: str) -> None:
    (tmp_path / "ä file.bin").write_bytes(b"1")
    write_layout(tmp_path, ["ä file.bin"], tmp_path / "oci", name=name, annotations={})
    assert faults(tmp_path / "oci") == []


def test_the_check_finds_what_is_wrong(made: Artifacts, tmp_path: Path) -> None:
    shutil.copytree(made.folder / "oci", tmp_path / "oci")
    model = hashlib.sha256((made.folder / "bundle" / "model.onnx").read_bytes()).hexdigest()
    path = tmp_path / "oci" / "blobs" / "sha256" / model
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert faults(tmp_path / "oci") == ["bundle/model.onnx: another digest"]
    path.unlink()
    (path.parent / ("0" * 64)).write_bytes(b"")
    assert faults(tmp_path / "oci") == [
        f"bundle/model.onnx: sha256:{model} is not there", "blobs that nothing names",
    ]  # fmt: skip


def test_skopeo_pushes_and_pulls_it(made: Artifacts, registry: Registry, tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("needs skopeo (Debian: skopeo)")
    address = f"docker://{registry.address('models/tiny', 'tiny-here')}"

    def copy(*words: str) -> None:
        done = subprocess.run(
            [skopeo, "--insecure-policy", "copy", "--preserve-digests", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    copy("--dest-tls-verify=false", f"oci:{made.folder / 'oci'}:tiny-here", address)
    assert set(registry.manifests) == {"tiny-here", made.oci_digest}, "a registry calls it what edgekit does"
    copy("--src-tls-verify=false", address, f"oci:{tmp_path / 'pulled'}:tiny-here")
    blobs = {path.name: path.read_bytes() for path in (made.folder / "oci" / "blobs" / "sha256").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "pulled" / "blobs" / "sha256").iterdir()} == blobs


def test_oras_restores_the_files_under_their_names(made: Artifacts, registry: Registry, tmp_path: Path) -> None:
    client = pytest.importorskip("oras.client", reason="oras is not installed (pip install oras)")
    layout = made.folder / "oci"
    registry.blobs |= {f"sha256:{path.name}": path.read_bytes() for path in (layout / "blobs" / "sha256").iterdir()}
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    registry.manifests["tiny-here"] = (entry["mediaType"], registry.blobs[entry["digest"]])
    client.OrasClient(insecure=True).pull(target=registry.address("models/tiny", "tiny-here"), outdir=str(tmp_path / "pulled"))
    shipped = {"README.md", "bom.cdx.json", "runner.pyz"}
    shipped |= {f"bundle/{path.name}" for path in (made.folder / "bundle").iterdir()}
    pulled = {
        path.relative_to(tmp_path / "pulled").as_posix(): path for path in (tmp_path / "pulled").rglob("*") if path.is_file()
    }
    assert set(pulled) == shipped
    assert all(path.read_bytes() == (made.folder / name).read_bytes() for name, path in pulled.items())
    assert verify(tmp_path / "pulled" / "bundle")["ok"]


def test_the_registry_of_these_tests_refuses(registry: Registry) -> None:
    """What it takes means something."""
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
    kind = "application/vnd.oci.image.manifest.v1+json"
    data = json.dumps({"mediaType": kind, "config": empty, "layers": []}).encode()
    assert "is not here" in (registry.fault(kind, data) or "")
    registry.blobs[empty["digest"]] = b"{}"
    assert registry.fault(kind, data) is None
    assert "calls itself" in (registry.fault("application/json", data) or "")
