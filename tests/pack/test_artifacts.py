"""Everything to ship of a result: complete, the same bytes each time, whole or not at all, and in the formats others read."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from edgekit.cli.app import app
from edgekit.pack import artifacts as room
from edgekit.pack import wheelhouse
from edgekit.pack.artifacts import Artifacts, make_artifacts
from edgekit.pack.bom import TOOL_LICENCES, write_bom
from edgekit.pack.card import write_card
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.bundle.quality import Greedy, Interval, Quality, SamePrefix, SameTokens
from edgekit.runtime.bundle.read import parse_manifest
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.children import Ended
from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError, NotPossibleHere
from edgekit.runtime.generate.generation import Generation
from tests.pack.conftest import AUDIT


@pytest.fixture
def result(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "result" / "bundle")
    return tmp_path / "result"


@pytest.fixture(scope="module")
def made(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Made once, read by many tests."""
    folder = tmp_path_factory.mktemp("artifacts")
    shutil.copytree(bundle, folder / "bundle")
    return make_artifacts(folder, oci=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_is_there_and_verifies(made: Artifacts) -> None:
    names = {name for name, _, _ in made.files if not name.startswith("oci/blobs/")}
    inside = {
        f"bundle/{name}"
        for name in (
            "README.md",
            "config.json",
            "golden.json",
            "manifest.json",
            "manifest.json.sha256",
            "model.onnx",
            "tokenizer.json",
        )
    }
    alone = {"README.md", "SHA256SUMS", "bom.cdx.json", "bundle.tar.gz", "runner.pyz", "oci/index.json", "oci/oci-layout"}
    assert names == inside | alone
    assert {name: hashlib.sha256(data).hexdigest() for name, data in contents(made.folder).items()} == {
        name: digest for name, _, digest in made.files
    }
    for path in (made.folder, made.folder / "bundle", made.folder / "bundle.tar.gz"):
        assert verify(path)["ok"]


def test_sha256sum_accepts_the_sums_and_finds_a_change(made: Artifacts, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "copy")

    def check() -> int:
        return subprocess.run(
            ["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path / "copy", capture_output=True, check=False
        ).returncode  # fmt: skip

    assert check() == 0
    listed = {line.split("  ")[1] for line in (made.folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {name for name, _, _ in made.files} - {"SHA256SUMS"}
    (tmp_path / "copy" / "bom.cdx.json").write_text("{}")
    assert check() == 1


def test_made_again_it_is_the_same_and_replaces_what_was_there(made: Artifacts, result: Path) -> None:
    make_artifacts(result)
    assert not (result / "artifacts" / "oci").exists()
    again = make_artifacts(result, oci=True)
    assert contents(again.folder) == contents(made.folder)
    assert {path.name for path in result.iterdir()} == {"bundle", "artifacts"}


@pytest.mark.parametrize("step", ["write_bom", "write_layout", "write_runner"])
def test_an_interruption_leaves_what_was_there(result: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    make_artifacts(result)
    before = contents(result)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(room, step, stop)
    with pytest.raises(KeyboardInterrupt):
        make_artifacts(result, oci=True)
    assert contents(result) == before


def test_what_cannot_be_shipped(result: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no result folder"):
        make_artifacts(tmp_path)
    with pytest.raises(BadInput, match="no Python version"):
        make_artifacts(result, wheelhouse="3.11; rm")
    (result / "bundle" / "model.onnx").write_bytes(b"other")
    with pytest.raises(CheckFailed, match=r"model\.onnx"):
        make_artifacts(result)
    assert not (result / "artifacts").exists()


def test_no_wheelhouse_for_a_gpu(result: Path) -> None:
    from edgekit.pack.wheelhouse import check_wheelhouse

    for arch, provider in (("x86_64", "CUDAExecutionProvider"), ("riscv64", "CPUExecutionProvider")):
        with pytest.raises(NotPossibleHere, match="no wheelhouse"):
            check_wheelhouse("3.11", arch, provider)


def test_the_command(result: Path, tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(app, ["artifacts", str(result), "--oci", "--json"])
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document[0]["oci_digest"].startswith("sha256:") and document[0]["folder"] == str(result / "artifacts")
    shown = run.invoke(app, ["artifacts", str(result)])
    assert shown.exit_code == 0 and "bom.cdx.json" in shown.stdout and "SHA256SUMS" in shown.stdout
    wrong = run.invoke(app, ["artifacts", str(tmp_path)])
    assert isinstance(wrong.exception, EdgekitError) and wrong.exception.exit_code == 2


# The bill of materials.


def bill(made: Artifacts) -> dict[str, Any]:
    return json.loads((made.folder / "bom.cdx.json").read_text())  # type: ignore[no-any-return]


def faults(document: Any) -> Any:
    """What the official schema of CycloneDX 1.6 says; None where it holds."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))


def test_the_bill_is_valid_by_the_official_schema(made: Artifacts) -> None:
    assert faults(bill(made)) is None
    assert faults(bill(made) | {"serialNumber": "none"}) is not None, "the validator must see what is wrong"


def test_the_bill_says_what_the_bundle_is(made: Artifacts) -> None:
    document, bundle = bill(made), open_bundle(made.folder / "bundle")
    model = document["metadata"]["component"]
    hashes = {part["name"]: part["hashes"][0]["content"] for part in model["components"]}
    assert hashes == {name: digest for name, _, digest in made.files if name.startswith("bundle/")}
    assert model["type"] == "machine-learning-model" and model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [float(metric["value"]) for metric in metrics] == [0.9, 0.925, -0.025]
    assert metrics[2]["confidenceInterval"] == {"lowerBound": "-0.1", "upperBound": "0.05"}
    known = {part["bom-ref"]: part for part in document["components"]}
    for reference in model["modelCard"]["modelParameters"]["datasets"]:
        split = reference["ref"].removeprefix("data:")
        assert known[reference["ref"]]["hashes"][0]["content"] == bundle.manifest.data[split]
    needed = document["dependencies"][0]["dependsOn"]
    assert {known[ref]["name"] for ref in needed} == {"numpy", "onnxruntime", "tokenizers"}
    assert all(known[ref]["licenses"] and known[ref]["version"] == metadata.version(known[ref]["name"]) for ref in needed)
    assert "timestamp" not in document["metadata"]


def test_the_serial_number_is_the_contents(made: Artifacts, tmp_path: Path) -> None:
    bundle = open_bundle(made.folder / "bundle")
    serials = []
    for number, digest in enumerate(("1" * 64, "1" * 64, "2" * 64)):
        write_bom(replace(bundle, digest=digest), tmp_path / f"{number}.json", epoch="1700000000")
        serials.append(json.loads((tmp_path / f"{number}.json").read_text())["serialNumber"])
    assert serials[0] == serials[1] != serials[2]
    document = json.loads((tmp_path / "0.json").read_text())
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20Z" and faults(document) is None
    with pytest.raises(BadInput, match="SOURCE_DATE_EPOCH"):
        write_bom(bundle, tmp_path / "x.json", epoch="yesterday")


@pytest.mark.parametrize("licence", ["PSF-2.0", "cc-by-sa-4.0", "unknown", "a licence of our own", "MIT AND Apache-2.0"])
def test_every_licence_makes_a_valid_bill_and_card(bundle: Path, tmp_path: Path, licence: str) -> None:
    opened = open_bundle(bundle)
    opened = replace(opened, manifest=replace(opened.manifest, name="name: with a colon", licence=licence))
    write_bom(opened, tmp_path / "bom.json", epoch=None)
    assert faults(json.loads((tmp_path / "bom.json").read_text())) is None
    card = ModelCard(write_card(opened.manifest, AUDIT))
    hub = card.data.to_dict()
    assert licence in (hub["license"], hub.get("license_name")) and hub["license"] == hub["license"].lower()


def test_a_language_model_is_told_as_perplexity(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    quality = Quality(
        "1/perplexity", 80, original=0.082, bundle=0.08, difference=-0.002, ci95=(-0.003, -0.001), ratio=Interval(0.08 / 0.082, (0.97, 0.98)),
        greedy=Greedy(SameTokens(0.912, (0.9, 0.92), 5000), SamePrefix(11.9, (6.5, 18.1), 16, 64)),
    )  # fmt: skip
    opened = replace(opened, manifest=replace(opened.manifest, quality=quality))
    write_bom(opened, tmp_path / "bom.json", epoch=None)
    document = json.loads((tmp_path / "bom.json").read_text())
    assert faults(document) is None
    metrics = document["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [float(metric["value"]) for metric in metrics] == pytest.approx([12.5, 1 / 0.082, 0.025, 0.912, 11.9])
    assert metrics[2]["type"].startswith("perplexity, relative")
    assert float(metrics[2]["confidenceInterval"]["lowerBound"]) == pytest.approx(1 / 0.98 - 1)
    card = write_card(opened.manifest, AUDIT)
    for words in (
        "Perplexity on 80 test rows: 12.5; the original has 12.2.", "Change +2.50% (paired 95% interval +2.04% to +3.09%).",
        "the original's in 91.2% (95% interval 90.0% to 92.0%) of 5,000 positions.",
        "the same 11.9 (95% interval 6.5 to 18.1) of 64 tokens, over 16 prompts.",
    ):  # fmt: skip
        assert words in card


def test_the_licences_are_what_the_packages_declare() -> None:
    for package, licence in TOOL_LICENCES.items():
        facts = metadata.metadata(package)
        said = [facts.get("License-Expression"), facts.get("License"), *(facts.get_all("Classifier") or [])]
        words = {"Apache-2.0": "apache", "MIT": "mit"}
        if facts.get("License-Expression"):
            assert facts.get("License-Expression") == licence, package
        else:
            assert any(words[licence] in (text or "").lower() for text in said), package


# The model card.


def test_the_hub_reads_the_card(made: Artifacts) -> None:
    data = ModelCard.load(made.folder / "README.md").data
    assert (data.license, data.pipeline_tag, data.library_name) == ("apache-2.0", "text-classification", "edgekit")
    assert data.base_model is None, "without a revision, a name is no model of the hub's"


def test_a_pinned_original_is_named_as_on_the_hub(bundle: Path) -> None:
    manifest = parse_manifest(bundle)
    pinned = replace(manifest, source=replace(manifest.source, revision="a" * 40))
    assert ModelCard(write_card(pinned, AUDIT)).data.base_model == "owner/tiny"


# The image layout.


def test_the_layout_holds_every_file_under_its_digest(made: Artifacts) -> None:
    layout = made.folder / "oci"
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    for blob in (layout / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name

    def blob_of(descriptor: dict[str, Any]) -> bytes:
        data = (layout / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
        assert len(data) == descriptor["size"]
        return data

    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert entry["digest"] == made.oci_digest and entry["annotations"]["org.opencontainers.image.ref.name"] == "tiny-here"
    manifest = json.loads(blob_of(entry))
    assert manifest["artifactType"] == "application/vnd.edgekit.bundle.v1" and blob_of(manifest["config"]) == b"{}"
    files = {layer["annotations"]["org.opencontainers.image.title"]: blob_of(layer) for layer in manifest["layers"]}
    shipped = contents(made.folder)
    assert files == {name: shipped[name] for name in files}
    assert {"runner.pyz", "bom.cdx.json", "bundle/manifest.json", "bundle/model.onnx"} <= files.keys()


def test_a_bundle_that_writes_conversations_says_what_it_needs(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, asked = parse_manifest(bundle), []
    chat = replace(manifest, generation=Generation(64, (2,), 1, 2, 2, 16, "chat_template.jinja"))
    assert "`pip install 'jinja2>=3.1.6'`" in write_card(chat, AUDIT) and "jinja2" not in write_card(manifest, AUDIT)

    monkeypatch.setattr(wheelhouse, "start", lambda command, **options: asked.append(command))
    monkeypatch.setattr(wheelhouse, "finish", lambda child, seconds: Ended(0, b"", b""))
    for number, one in enumerate((manifest, chat)):
        wheelhouse.write_wheelhouse(tmp_path / str(number), python="3.12", arch="aarch64", versions={}, chat=one.has_template)
        assert ("jinja2>=3.1.6" in asked[-1]) == (one is chat)
