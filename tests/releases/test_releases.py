"""Bundles that earlier releases made still load, verify, answer and are served."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from edgekit.errors import CheckFailed, NotPossibleHere
from edgekit.runtime.bundle.read import parse_manifest
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.main import main
from edgekit.runtime.model import load
from edgekit.runtime.providers.session import check_chip
from tests.runtime.serve.serving import TRANSPORTS, served

BUNDLES = sorted(Path(__file__).parent.glob("*/*.tar.gz"))
TEXTS = {
    "classifier": "turn on the red light in the hall",
    "tagger": "turn on the red lamp in the hall",
    "writer": "The import",
}


@pytest.fixture(params=BUNDLES, ids=lambda path: f"{path.parent.name}-{path.name.split('.')[0]}")
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The bundle's folder; skipped where this chip cannot run it."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    manifest = parse_manifest(tmp_path / "bundle")
    try:
        check_chip(manifest.target.arch, manifest.target.isa, manifest.target.isa_any, str(request.param))
    except NotPossibleHere as fault:
        pytest.skip(f"made for another chip: {fault.what}")
    return tmp_path / "bundle"


def name_of(bundle: Path) -> str:
    return parse_manifest(bundle).name.removesuffix("-x86-avx2")


def test_there_are_some() -> None:
    assert {path.name.split(".")[0] for path in BUNDLES} == TEXTS.keys()


def test_it_is_written_as_it_was_read(bundle: Path) -> None:
    assert parse_manifest(bundle).to_json() == json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))


def test_it_verifies_and_answers(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    document = verify(bundle)
    assert document["ok"] and document["golden"] >= 20
    assert "the manifest has no digest" in document["not_covered"] and not document["signed"]
    assert [record.message for record in caplog.records] == [f"{bundle}: {document['not_covered']}"], "told once"
    answer = load(bundle)(TEXTS[name_of(bundle)])
    if name_of(bundle) == "classifier":
        assert answer["label"] in load(bundle).bundle.manifest.labels and 0 < answer["score"] <= 1
    elif name_of(bundle) == "tagger":
        assert [(entity["label"], entity["text"]) for entity in answer["entities"]] == [("colour", "red"), ("room", "hall")]
    else:
        assert answer["text"] and answer["ended"] in ("length", "stop", "context")


def test_labels_that_were_swapped_are_noticed_without_a_digest(bundle: Path) -> None:
    document = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    labels = document["edgekit"]["labels"]
    if labels:
        labels[0], labels[1] = labels[1], labels[0]
        (bundle / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(CheckFailed, match=r"its labels are not those of config\.json"):
            load(bundle)


def test_the_runner_takes_it(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle)]) == 0
    assert main(["info", str(bundle), "--json"]) == 0
    assert main(["run", str(bundle), TEXTS[name_of(bundle)]]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("transport", sorted(TRANSPORTS))
def test_it_is_served(bundle: Path, transport: str) -> None:
    with served(bundle, transport) as server:
        status, document = server.infer([TEXTS[name_of(bundle)]])
        assert status == 200 and document["outputs"], document
        if name_of(bundle) == "writer":
            status, _, answer = server.ask(
                "POST", "/v1/completions", {"model": server.name, "prompt": TEXTS["writer"], "max_tokens": 4}
            )
            assert status == 200 and answer["choices"]
