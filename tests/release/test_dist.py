"""The attestation of edgekit's own release: of the very files, in the forms that in-toto and SLSA have."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from release import dist
from release.lock import LOCK


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(dist, "BACKEND", "numpy")  # any package that is installed
    for name in ("edgekit-1-py3-none-any.whl", "edgekit-1.tar.gz"):
        (tmp_path / name).write_text(name)
    document = dist.statement(sorted(tmp_path.iterdir()), commit="c" * 40, epoch=1)
    (tmp_path / dist.STATEMENT).write_text(json.dumps(document))
    return tmp_path


def test_the_statement_names_what_was_built_and_of_what(built: Path) -> None:
    document = json.loads((built / dist.STATEMENT).read_text())
    assert (document["_type"], document["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    wanted = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built.glob("edgekit*")}
    assert {subject["name"]: subject["digest"]["sha256"] for subject in document["subject"]} == wanted
    predicate = document["predicate"]
    assert set(predicate) == {"buildDefinition", "runDetails"} and predicate["runDetails"]["builder"]["id"].startswith("urn:")
    source, lock, *tools = predicate["buildDefinition"]["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": "c" * 40} == predicate["buildDefinition"]["externalParameters"]["source"]["digest"]
    assert lock["digest"]["sha256"] == hashlib.sha256(LOCK.read_bytes()).hexdigest()
    assert [tool["uri"].partition("@")[0] for tool in tools] == ["pkg:pypi/numpy"]


def test_what_is_not_what_was_built_is_told(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dist.main([str(built), "--check"]) == 0
    (built / "edgekit-1.tar.gz").write_text("other")
    (built / "edgekit-1-py3-none-any.whl").rename(built / "edgekit-2-py3-none-any.whl")
    assert dist.main([str(built), "--check"]) == 1
    told = capsys.readouterr().err
    assert (
        "edgekit-1.tar.gz: another file" in told
        and "edgekit-1-py3-none-any.whl: missing" in told
        and "edgekit-2-py3-none-any.whl: not named" in told
    )
    (built / dist.STATEMENT).unlink()
    assert dist.main([str(built), "--check"]) == 2


def test_a_folder_that_is_not_empty_is_refused(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dist.main([str(built)]) == 2
