"""Bundles: right ones answer and verify; every tampering with a file, a manifest field or an archive is caught."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.pack.archive import write_archive
from edgekit.pack.runner import write_runner
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.canonical import canonical
from edgekit.runtime.digest import digest_line
from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError, NotPossibleHere
from edgekit.runtime.model import load
from edgekit.runtime.providers.session import check_ids, open_session
from tests.tiny_manifest import rewrite_manifest


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_right_bundle_verifies_and_answers(bundle: Path) -> None:
    found = verify(bundle)
    assert found["ok"] and found["golden"] == 32 and found["files"] == 5
    model = load(bundle)
    one = model("turn off the green light in the office")
    assert one["label"] == "off" and 0 < one["score"] <= 1
    assert model(["turn off the green light in the office"]) == [one]
    top = model("paint the hall blue", top_k=3)
    assert len(top["scores"]) == 3 and top["scores"][0]["label"] == top["label"]
    assert sum(item["score"] for item in model("paint the hall blue", top_k=99)["scores"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("text", ["", " \n", "\ud800", b"\xff\xfe", 7, None, "x" * 4_000_001])
def test_texts_that_cannot_be_used(bundle: Path, text: Any) -> None:
    with pytest.raises(BadInput):
        load(bundle)(text if not isinstance(text, int | None) else [text])


@pytest.mark.parametrize("text", ["🙂🙏🏽", "أشعل الضوء", "word " * 200_000, "a\0b", "支付", "xylophone 42"])
def test_texts_that_are_odd_but_fine(bundle: Path, text: str) -> None:
    answer = load(bundle)(text)
    assert answer["label"] in {"on", "off", "ask", "paint"}
    assert answer.get("truncated", False) == (len(text) > 10_000)


def test_an_answer_does_not_depend_on_its_neighbours(bundle: Path) -> None:
    model = load(bundle)
    texts = ["paint the hall blue", "turn on the red light in the kitchen " * 5]
    assert model(texts)[0] == model(texts[:1])[0]


@pytest.mark.parametrize(
    "ids",
    [
        np.array([[-1, 2]]),
        np.array([[2, 10_000]]),
        np.array([[2, 3]], dtype=np.int32),
        np.zeros((0, 4), dtype=np.int64),
        np.zeros((1, 33), dtype=np.int64),
        np.array([2, 3]),
    ],
)
def test_token_ids_that_cannot_be_looked_up(ids: np.ndarray) -> None:
    with pytest.raises(BadInput):
        check_ids(ids, vocabulary=100, max_length=32)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden.json"])
def test_a_changed_file(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    with pytest.raises(CheckFailed, match=name):
        open_bundle(copy)


def change(document: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for key in parents:
        document = document[key]
    document[last] = value


FIELDS: list[tuple[str, Any]] = [
    ("schema_version", 2), ("schema_version", "1"), ("name", 3), ("extra", 1), ("assets/model.onnx/sha256", "0" * 64),
    ("assets/model.onnx/size", 3), ("assets/model.onnx/size", -1), ("assets/model.onnx/sha256", "zz"),
    ("assets/../evil", {"size": 1, "sha256": "0" * 64}),
    ("assets/.hidden", {"size": 1, "sha256": "0" * 64}), ("assets/MODEL.onnx", {"size": 1, "sha256": "0" * 64}),
    ("assets/more.bin", {"size": 1, "sha256": "0" * 64}), ("components", {}), ("components/model/variants/here/file", "other.onnx"),
    ("components/model/variants/here/session_options/intra_op_num_threads", -1),
    ("components/model/variants/here/session_options/intra_op_num_threads", "auto"),
    ("components/model/variants/here/session_options/config", {"session.made_up": "1"}), ("edgekit/labels", []), ("edgekit/labels", ["a", "a"]),
    ("edgekit/task", "no-such-task"), ("edgekit/task", "../evil"), ("edgekit/vocabulary", 0), ("edgekit/vocabulary", "9"),
    ("edgekit/tokenizer/max_length", 0), ("edgekit/tokenizer/pad_id", -1), ("edgekit/tokenizer/file", "missing.json"),
    ("edgekit/golden/tolerance", 0), ("edgekit/golden/count", 31), ("edgekit/surprise", 1), ("edgekit/target/arch", "riscv64"),
    ("edgekit/target/isa", ["made_up_isa"]), ("edgekit/target/provider", "CUDAExecutionProvider"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_a_changed_manifest_field(copy: Path, field: str, value: Any) -> None:
    def changed(document: dict[str, Any]) -> None:
        if field == "assets/../evil" or (field.startswith("assets/") and field.count("/") != 2):
            document["assets"][field.removeprefix("assets/")] = value
        else:
            change(document, field, value)

    rewrite_manifest(copy, changed)
    with pytest.raises(EdgekitError):
        verify(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1, "a": 2}', '{"schema_version": NaN}', "[" * 100_000])
def test_a_manifest_that_is_no_manifest(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(CheckFailed, match=r"is not the file that manifest\.json\.sha256 is of"):
        open_bundle(copy)
    (copy / "manifest.json.sha256").write_bytes(digest_line("manifest.json", text.encode()))
    with pytest.raises(BadInput):
        open_bundle(copy)


def test_the_digest_is_that_of_every_field_of_the_manifest(bundle: Path) -> None:
    opened, data = open_bundle(bundle), (bundle / "manifest.json").read_bytes()
    assert opened.digest == hashlib.sha256(data).hexdigest() == verify(bundle)["digest"]
    assert canonical(json.loads(data)) == data == canonical(opened.manifest.to_json())
    assert (bundle / "manifest.json.sha256").read_text() == f"{opened.digest}  manifest.json\n"
    assert opened.not_covered is None


def test_a_digest_that_is_missing_or_of_another_manifest(copy: Path) -> None:
    path = copy / "manifest.json.sha256"
    digest = path.read_text()
    for text in ("", digest.upper(), digest.replace("  ", " *"), digest + "\n", digest.replace("manifest", "Manifest")):
        path.write_text(text)
        with pytest.raises(CheckFailed, match=r"is not the file that manifest\.json\.sha256 is of|no readable digest beside"):
            open_bundle(copy)
    path.unlink()
    with pytest.raises(CheckFailed, match="its digest is missing"):
        open_bundle(copy)
    path.mkdir()
    with pytest.raises(CheckFailed, match=r"is not the file that manifest\.json\.sha256 is of|no readable digest beside"):
        open_bundle(copy)


def test_a_manifest_that_is_not_written_in_the_one_form(copy: Path) -> None:
    data = json.dumps(json.loads((copy / "manifest.json").read_text()), indent=1).encode()
    (copy / "manifest.json").write_bytes(data)
    (copy / "manifest.json.sha256").write_bytes(digest_line("manifest.json", data))
    with pytest.raises(BadInput, match="canonical JSON"):
        open_bundle(copy)


def test_labels_that_are_not_those_of_the_configuration(copy: Path) -> None:
    rewrite_manifest(copy, lambda document: document["edgekit"]["labels"].reverse())
    with pytest.raises(CheckFailed, match=r"its labels are not those of config\.json") as fault:
        load(copy)
    assert len(fault.value.faults) == 4 and fault.value.faults[0].startswith("output 0: ")
    (copy / "config.json").write_text('{"id2label": {"0": "on", "2": "off"}}')
    rewrite_manifest(copy)
    with pytest.raises(BadInput, match="id2label: not names of the outputs"):
        load(copy)


def test_missing_extra_and_linked_files(copy: Path, tmp_path: Path) -> None:
    (copy / "more.txt").write_text("x")
    (copy / "golden.json").rename(tmp_path / "golden.json")
    with pytest.raises(CheckFailed) as fault:
        open_bundle(copy)
    assert "golden.json: missing" in fault.value.text() and "more.txt: not in the manifest" in fault.value.text()
    (copy / "more.txt").unlink()
    (copy / "golden.json").symlink_to(tmp_path / "golden.json")
    with pytest.raises(CheckFailed, match="not a plain file"):
        open_bundle(copy)
    (copy / "golden.json").unlink()
    os.link(tmp_path / "golden.json", copy / "golden.json")
    with pytest.raises(CheckFailed, match="not a plain file"):
        open_bundle(copy)


def test_a_golden_output_that_differs(copy: Path) -> None:
    path = copy / "golden.json"
    document = json.loads(path.read_text())
    document["rows"][3]["outputs"][0][0] += 1.0
    path.write_text(json.dumps(document))
    rewrite_manifest(copy)
    with pytest.raises(CheckFailed, match="input 3: its outputs differ"):
        verify(copy)


def test_the_archive_opens_and_is_reproducible(bundle: Path, tmp_path: Path) -> None:
    for name in ("a.tar.gz", "b.tar.gz"):
        write_archive(bundle, tmp_path / name)
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert verify(tmp_path / "a.tar.gz")["ok"]


def test_the_runner_is_reproducible_and_holds_the_runtime_alone(tmp_path: Path) -> None:
    for name in ("a.pyz", "b.pyz"):
        write_runner(tmp_path / name)
    assert (tmp_path / "a.pyz").read_bytes() == (tmp_path / "b.pyz").read_bytes()
    names = zipfile.ZipFile(tmp_path / "a.pyz").namelist()
    assert all(name in {"__main__.py", "edgekit/__init__.py"} or name.startswith("edgekit/runtime/") for name in names)


def test_sessions_refuse_what_onnxruntime_takes_in_silence(bundle: Path) -> None:
    with pytest.raises(BadInput, match="unknown session keys"):
        open_session(bundle / "model.onnx", config={"session.made_up": "1"})
    with pytest.raises(NotPossibleHere, match="is not in this onnxruntime"):
        open_session(bundle / "model.onnx", provider="TensorrtExecutionProvider")
    with pytest.raises(BadInput, match="cannot load"):
        open_session(bundle / "tokenizer.json")


def test_no_telemetry_is_left_behind(bundle: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = f"import edgekit; print(edgekit.load({str(bundle)!r})('paint the hall blue')['label'])"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "paint"
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in left} <= {tmp_path / ".cache" / "edgekit" / "known"}, (
        "what is known of bundles, and nothing else"
    )
    assert all(path.stat().st_size == 0 for path in left)
