"""Every pinned package has the hashes of its files, and nothing else of it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from release import lock
from release.advisories import floors

ROOT = Path(__file__).resolve().parents[2]
LOCK = lock.read_lock((ROOT / "constraints.lock").read_text())
PINNED = lock.pinned((ROOT / "constraints.txt").read_text())


def plan(name: str, version: str, digest: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "version": version},
        "download_info": {"url": "https://x/y.whl", "archive_info": {"hashes": {"sha256": digest}}},
    }


def test_the_lock_is_of_the_constraints() -> None:
    assert {name: version for name, (version, _) in LOCK.items()} == PINNED, "run `make lock`"
    assert all(digests for _, digests in LOCK.values())


def test_only_files_that_were_pinned_are_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version, digests = LOCK["numpy"]
    itself = {
        "metadata": {"name": "edgekit", "version": "1"},
        "download_info": {"url": "file:///x", "dir_info": {"editable": True}},
    }
    built = plan("torch", f"{PINNED['torch']}+cpu", "1" * 64)
    report = tmp_path / "plan.json"
    report.write_text(json.dumps({"install": [itself, plan("NumPy", version, min(digests)), built]}))
    assert lock.main([str(report)]) == 0
    out, err = capsys.readouterr()
    assert (
        out
        == f"numpy=={version} --hash=sha256:{min(digests)}\ntorch=={built['metadata']['version']} --hash=sha256:{'1' * 64}\n"
    )
    assert err.startswith("not in constraints.lock, taken as it is: torch")
    report.write_text(json.dumps({"install": [plan("numpy", version, "2" * 64)]}))
    assert lock.main([str(report)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and f"numpy=={version}: sha256 2222" in err


def test_floors_are_the_lower_bounds_of_the_project() -> None:
    found = floors(
        {
            "dependencies": ["numpy>=1.26", "A_b==2"],
            "optional-dependencies": {"x": ["pkg[extra]>=1.0.1,<3", "edgekit[cli]", "free"]},
        }
    )
    assert found == {"numpy": "1.26", "a-b": "2", "pkg": "1.0.1"}
