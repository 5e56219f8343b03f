"""An encoder of images through the whole line, beside transformers' own pipeline."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoImageProcessor, pipeline

from edgekit.differ.bundle import open_side
from edgekit.errors import BadInput, CheckFailed
from edgekit.host import detect
from edgekit.models.preprocessing import made_images
from edgekit.pack.artifacts import make_artifacts
from edgekit.plan.make import make_plan
from edgekit.runtime.bench.lone import bench_bundle
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.main import main as runner
from edgekit.runtime.model import load
from tests.line_of_files import distilled_and_pruned, recipe
from tests.runtime.serve.serving import served
from tests.short_measure import short_measure
from tests.tiny_heads import Made, export
from tests.tiny_images import LABELS, as_text, made_model, picture, rows_of, write_png

TASK = "image-classification"
STEPS = distilled_and_pruned("images = { flip = true, crop = 1 }\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = rows_of(tmp_path_factory.mktemp("images"))
    made_model(folder / "model")
    return export(recipe(folder, TASK, STEPS))


def test_scores_are_the_pipelines(made: Made) -> None:
    model = made.folder.parents[1] / "model"
    reader = AutoImageProcessor.from_pretrained(model, backend="pil")
    reference = pipeline("image-classification", str(model), image_processor=reader, device="cpu")
    for data in made_images(seed=3):
        with Image.open(io.BytesIO(data)) as image:
            wanted = {one["label"]: one["score"] for one in reference(image, top_k=len(LABELS))}
        answer = made.original(data, top_k=len(LABELS))
        assert {one["label"]: one["score"] for one in answer["scores"]} == pytest.approx(wanted, abs=1e-3)


def test_the_bundle_is_whole_small_and_proved(made: Made) -> None:
    manifest = made.bundle.bundle.manifest
    assert manifest.image is not None and (manifest.image.height, manifest.image.width) == (12, 12)
    assert (manifest.tokenizer, manifest.vocabulary, manifest.labels) == (None, 0, LABELS)
    assert manifest.agreement is not None and manifest.agreement.reference.startswith("transformers' image-classification")
    assert verify(made.folder)["ok"]
    audit = json.loads((made.folder / "bundle" / "audit.json").read_text())
    assert audit["ok"] and not audit["fallbacks"] and audit["matmuls_integer"] == audit["matmuls_constant"]
    shapes = json.loads((made.folder / "lineage.json").read_text())["stages"]
    assert any(stage["stage"] == "prune-oneshot" for stage in shapes)


def test_the_patches_are_an_integer_matmul(made: Made) -> None:
    import onnx

    graph = onnx.load(str(made.folder / "bundle" / "model.onnx")).graph
    kinds = [node.op_type for node in graph.node]
    assert "Conv" not in kinds and "MatMul" not in kinds
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    assert (3 * 4 * 4, 32) in weights.values(), "the patches' weight"


def test_an_answer_is_the_same_by_every_way_in(made: Made, tmp_path: Path) -> None:
    data = write_png(picture("red", np.random.default_rng(9)))
    (tmp_path / "image.png").write_bytes(data)
    wanted = made.bundle(data)
    with Image.open(io.BytesIO(data)) as image:
        array = np.asarray(image)
    items = [data, as_text(data), tmp_path / "image.png", array, {"image": as_text(data)}]
    assert made.bundle(items) == [wanted] * len(items) and all(made.bundle(item) == wanted for item in items)
    command = [
        sys.executable,
        str(made.folder / "runner.pyz"),
        "run",
        str(made.folder / "bundle.tar.gz"),
        "image.png",
        "none.png",
        "--json",
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "no such file" in ran.stderr
    assert json.loads(ran.stdout)[0] == {"file": "image.png", **wanted}
    with served(made.folder, "plain") as server:
        status, found = server.infer([], inputs=[{"name": "image", "datatype": "BYTES", "shape": [1], "data": [as_text(data)]}])
        assert status == 200 and found["outputs"][0]["data"] == [wanted["label"]]
        status, found = server.infer([], inputs=[{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["no base64"]}])
        assert status == 400 and found["where"] == "image[0]"


def test_it_is_measured(made: Made) -> None:
    with short_measure(processes=1):
        found = bench_bundle(made.folder / "bundle", threads=1, processes=1, seconds=0.02, out=None)
    assert [one["name"] for one in found["variants"][0]["scenarios"]] == ["text", "real"]


def test_a_bundle_whose_preprocessing_was_changed_is_refused(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.folder / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"do_normalize": true', '"do_normalize": false'))
    with pytest.raises(CheckFailed, match="not what the manifest says"):
        load(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            '[[compress]]\nmethod = "prune-vocabulary"\nsize = 500\n',
            "prune-vocabulary: serves models that read texts, not images",
        ),
        ('[[compress]]\nmethod = "quantize-aware"\n', "quantize-aware: serves models that read texts, not images"),
        ('[[compress]]\nmethod = "distill"\naugment = 2\n', "augment: not for images yet"),
        ('[[compress]]\nmethod = "distill"\nwidth = 16\n', "width: not for images yet"),
    ],
)
def test_what_cannot_serve_images_is_refused_by_name(made: Made, tmp_path: Path, more: str, said: str) -> None:
    folder = made.folder.parents[1]
    for name in ("model", "train.jsonl", "validation.csv", "test.parquet", "photos"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises(BadInput) as fault:
        make_plan(str(recipe(tmp_path, TASK, more)), ["x86-vnni"], detect())
    assert said in fault.value.text()


def test_a_model_of_texts_is_no_model_of_images(made: Made, tiny_model: Path, tmp_path: Path) -> None:
    folder = made.folder.parents[1]
    for name in ("train.jsonl", "validation.csv", "test.parquet", "photos"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "model").symlink_to(tiny_model)
    with pytest.raises(BadInput, match="no encoder of images of this architecture"):
        make_plan(str(recipe(tmp_path, TASK)), ["x86-vnni"], detect())


def test_targets_that_cannot_run_them_yet_are_named(made: Made) -> None:
    with pytest.raises(BadInput, match="for CPUs yet"):
        make_plan(str(made.folder.parents[1] / "tiny.toml"), ["cuda"], detect())


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda folder: make_artifacts(folder, web=True), "browsers read no images yet"),
        (lambda folder: make_artifacts(folder, layouts=("transformers-js",)), "models of images are not laid out"),
        (lambda folder: open_side(folder / "bundle"), "reads images"),
    ],
)
def test_what_is_of_texts_yet_says_so(made: Made, ask: Any, said: str) -> None:
    with pytest.raises(BadInput) as fault:
        ask(made.folder)
    assert said in fault.value.text()


def test_golden_inputs_are_images(made: Made) -> None:
    rows = json.loads((made.folder / "bundle" / "golden.json").read_text())["rows"]
    assert len(rows) >= 8 and all(Image.open(io.BytesIO(base64.b64decode(row["input"]))).size for row in rows)


def test_a_folder_is_answered_as_a_camera(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(11)
    files = {f"frame-{number}.png": write_png(picture(LABELS[number % 3], draw)) for number in (2, 10, 9)}
    files["frame-3.png"] = b"no image"
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert runner(["run", str(made.folder), str(tmp_path), "--every", "60s", "--json"]) == 2
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["answered"], found["missed"], found["refused"], found["complete"]) == (3, 0, 1, True)
    assert [(one["at_s"], one["file"]) for one in found["answers"]] == [
        (60.0 * place, f"frame-{number}.png") for place, number in enumerate((2, 3, 9, 10))
    ]
    for one in found["answers"]:
        wanted = made.bundle(files[one["file"]]) if one["file"] != "frame-3.png" else {"error": one["error"]}
        assert {name: one[name] for name in wanted} == wanted and one["delay_ms"] > 0
    assert "1 of 4 pictures that were tried cannot be used" in told.err and "60.0 s, frame-3.png" in told.err
    (tmp_path / "frame-3.png").unlink()
    assert runner(["run", str(made.folder), str(tmp_path), "--every", "1ms"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].startswith("    0.000 s  frame-2.png  ") and "3 pictures, one every 0.001 s" in lines[3]
