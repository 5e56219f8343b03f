"""Target `tensorrt` through the pipeline on a machine without it: a bundle that is scored, packed, and refused where it cannot run."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnxruntime
import pytest

import edgekit as ek
from edgekit.pack.bundle import write_manifest
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.errors import NotPossibleHere
from edgekit.runtime.providers.names import TENSORRT

pytestmark = pytest.mark.skipif(
    TENSORRT in onnxruntime.get_available_providers(), reason="tests/cuda has the bundle where it runs"
)
RECIPE = """schema = 1
task = "text-classification"
[model]
id = "{model}"
max_length = 32
[data]
train = "{data}/train.jsonl"
validation = "{data}/validation.jsonl"
test = "{data}/test.jsonl"
"""


@pytest.fixture(scope="module")
def made(tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorrt-bundle")
    (folder / "tiny.toml").write_text(RECIPE.format(model=tiny_model, data=tiny_data))
    return ek.export(str(folder / "tiny.toml"), target="tensorrt", build=folder / "build").path


def test_the_bundle_is_made_and_says_whose_kernels_scored_it(made: Path) -> None:
    block = json.loads((made / "bundle" / "manifest.json").read_text())["edgekit"]
    assert block["target"]["provider"] == TENSORRT and block["quality"]["scored_on"] == "CPUExecutionProvider"
    assert block["quality"]["bundle"] >= block["quality"]["original"] - 0.1
    assert {node.domain for node in onnx.load(made / "bundle" / "model.onnx").graph.node} == {""}
    audit = json.loads((made / "bundle" / "audit.json").read_text())
    assert audit["ok"] and audit["matmuls_integer"] == audit["matmuls_constant"] > 10
    page = (made / "report.md").read_text()
    assert (
        "Audited and scored with the kernels of CPUExecutionProvider" in page and "this host is not the target tensorrt" in page
    )
    assert "was read and not built" in (made / "report.html").read_text()


def test_it_is_refused_where_the_provider_is_not(made: Path) -> None:
    with pytest.raises(NotPossibleHere, match=f"{TENSORRT} is not in this onnxruntime") as fault:
        verify(made / "bundle")
    assert fault.value.exit_code == 3


def test_its_golden_inputs_hold_with_the_kernels_that_stood_in(made: Path, tmp_path: Path) -> None:
    import shutil

    here = tmp_path / "bundle"
    shutil.copytree(made / "bundle", here)
    document = json.loads((here / "manifest.json").read_text().replace(TENSORRT, "CPUExecutionProvider"))
    document["components"]["model"]["variants"]["tensorrt"]["session_options"]["config"] = {"session.disable_quant_qdq": "1"}
    write_manifest(here, document)
    verdict = verify(here)
    assert verdict["ok"] and verdict["difference"] < 1e-4
