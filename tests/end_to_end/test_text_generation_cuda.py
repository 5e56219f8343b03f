"""A language model for a GPU, made and checked where there is none: float16 throughout, and the product says whose kernels it was scored with."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnxruntime
import pytest

import edgekit as ek
from edgekit.data.reference import generate
from edgekit.errors import BadInput
from edgekit.pack.bundle import write_manifest
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.errors import NotPossibleHere
from edgekit.runtime.generate.device import DeviceGraph
from edgekit.runtime.providers.names import CUDA
from tests.tiny_decoders import checkpoint

RECIPE = """schema = 1
task = "text-generation"
[model]
{model}
max_length = 64
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[calibration]
rows = 8
{more}
"""
INT4 = '[quantize]\nformat = "int4-weights"\nrounding = "gptq"\n'
pytestmark = pytest.mark.skipif(
    CUDA in onnxruntime.get_available_providers(), reason="tests/cuda runs decoders where there is a GPU"
)


def write(folder: Path, name: str, model: str, more: str = "") -> Path:
    pieces = generate(7, None)
    for split, count in (("train", 60), ("validation", 8), ("test", 10)):
        lines = [json.dumps({"text": row["text"][:200]}) for row in pieces[split][:count]]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    path = folder / f"{name}.toml"
    path.write_text(RECIPE.format(model=model, more=more))
    return path


NEW = "[model.new]\nlayers = 2\nwidth = 32\nheads = 2\nneurons = 64\nvocabulary = 400\nepochs = 1\nbatch = 8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("language-cuda")


@pytest.fixture(scope="module", params=["float16", "int4"])
def made(request: pytest.FixtureRequest, folder: Path) -> Path:
    path = write(folder, request.param, "", (INT4 if request.param == "int4" else "") + NEW)
    return ek.export(str(path), target="cuda", build=folder / "build").path


def on_cpu(bundle: Path, out: Path) -> Path:
    """The bundle as one for the CPU provider: the same files, another provider in the manifest."""
    import shutil

    shutil.copytree(bundle, out)
    text = (out / "manifest.json").read_text()
    write_manifest(out, json.loads(text.replace(CUDA, "CPUExecutionProvider")))
    return out


def test_everything_but_weights_is_float16(made: Path) -> None:
    model = onnx.load(str(made / "bundle" / "model.onnx"), load_external_data=False)
    kinds = {item.name: item.type.tensor_type.elem_type for item in (*model.graph.input, *model.graph.output)}
    assert kinds["past.0.key"] == kinds["present.1.value"] == onnx.TensorProto.FLOAT16
    assert kinds["logits"] == onnx.TensorProto.FLOAT and "start" in kinds and "keep" not in kinds
    assert not [item.name for item in model.graph.initializer if item.data_type == onnx.TensorProto.FLOAT]
    nodes = [node.op_type for node in model.graph.node]
    few = "int4" in made.name
    assert ("MatMulNBits" in nodes) == few and ("MatMul" in nodes or "FusedMatMul" in nodes) != few
    levels = [item.i for node in model.graph.node for item in node.attribute if item.name == "accuracy_level"]
    assert levels == [0] * nodes.count("MatMulNBits")  # the CPU that scores must not round activations, as the GPU does not


def test_it_is_scored_and_says_with_whose_kernels(made: Path) -> None:
    lineage = json.loads((made / "lineage.json").read_text())
    original, bundle = (lineage["variants"][name]["quality"] for name in ("ort-fp32", "bundle"))
    assert 0 < abs(bundle["value"] / original["value"] - 1) < (0.2 if "int4" in made.name else 1e-3)
    block = json.loads((made / "bundle" / "manifest.json").read_text())["edgekit"]
    assert block["quality"]["scored_on"] == "CPUExecutionProvider"
    assert block["generation"]["cache"] == "float16"
    assert (
        f"Scored with the kernels of CPUExecutionProvider, not those of {CUDA}" in (made / "bundle" / "README.md").read_text()
    )
    assert "kernels stood in, here and where quality was scored" in (made / "report.html").read_text()
    assert "Audited and scored with the kernels of CPUExecutionProvider" in (made / "report.md").read_text()
    audit = json.loads((made / "bundle" / "audit.json").read_text())
    assert audit["ok"] and not audit["kernels_observed"] and audit["providers"] == ["CPUExecutionProvider"]
    if "int4" in made.name:
        assert audit["matmuls_weight_only"] == audit["matmuls_constant"] > 0
    (stage,) = (one for one in lineage["stages"] if one["stage"] == "quantize-decoder")
    assert 0 < stage["metrics"]["largest"] < 65_504 and stage["metrics"]["cache_bytes_per_token"] == 2 * 2 * 32 * 2


def test_golden_inputs_hold_on_the_cpu(made: Path, tmp_path: Path) -> None:
    with pytest.raises(NotPossibleHere, match=f"{CUDA} is not in this onnxruntime"):
        verify(made / "bundle")
    here = on_cpu(made / "bundle", tmp_path / "bundle")
    verdict = verify(here)
    assert verdict["ok"] and verdict["difference"] < 1e-4
    model = ek.load(here)
    assert model.language is not None and isinstance(model.language.graph, DeviceGraph)  # bound to memory, as on a GPU
    assert model("The statement")["text"]


def test_numbers_beyond_float16_are_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    place = checkpoint("llama", tmp_path / "model")
    weights = load_file(place / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"] *= 1e6
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ek.errors.CheckFailed, match=r"near float16's 65,504 or pass it") as fault:
        ek.export(str(write(tmp_path, "large", f'id = "{place}"')), target="cuda", build=tmp_path / "build")
    assert "layer.1.mlp.down" in fault.value.text()


def test_what_a_gpu_cannot_be_asked_for(tmp_path: Path) -> None:
    place = checkpoint("gpt2", tmp_path / "model")
    for more, says in (
        ("", "looks its positions up"),
        ('[quantize]\nformat = "int4-weights"\ncache = "int8"\n', "as wide as its activations"),
        ('[quantize]\nformat = "bf16"\n', 'on a GPU "float16"'),
    ):
        with pytest.raises(BadInput) as fault:
            ek.export(str(write(tmp_path, "asked", f'id = "{place}"', more)), target="cuda", build=tmp_path / "build")
        assert says in fault.value.text()
    with pytest.raises(BadInput, match="float16 on the CPU provider"):
        ek.export(
            str(write(tmp_path, "cpu", f'id = "{place}"', '[quantize]\nformat = "float16"\n')),
            target="x86-avx2",
            build=tmp_path / "build",
        )
