"""Embeddings of images through the whole line: SigLIP with its texts' tower in the folder, and CLIP as its authors' folders are."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.preprocessing import made_images
from edgekit.plan.make import make_plan
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.main import main as runner
from tests.line_of_files import distilled_and_pruned, recipe
from tests.runtime.serve.serving import served
from tests.tiny_heads import Made, export
from tests.tiny_images import as_text, made_embedder, made_model, picture, rows_of, write_png

TASK = "image-feature-extraction"
STEPS = distilled_and_pruned("images = { flip = true, crop = 1 }\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = rows_of(tmp_path_factory.mktemp("features"))
    made_embedder(folder / "model", "siglip")
    return export(recipe(folder, TASK, STEPS))


def test_embeddings_are_what_get_image_features_gives(made: Made) -> None:
    source = made.folder.parents[1] / "model"
    model = transformers.SiglipModel.from_pretrained(source)
    reader = transformers.AutoImageProcessor.from_pretrained(source, backend="pil")
    for data in made_images(seed=3)[:8]:
        with Image.open(io.BytesIO(data)) as image, torch.no_grad():
            pixels = reader(transformers.image_utils.load_image(image), return_tensors="pt")["pixel_values"]
            wanted = model.get_image_features(pixel_values=pixels).pooler_output[0].numpy()
        ours = np.asarray(made.original(data)["embedding"])
        assert ours == pytest.approx(wanted, abs=1e-4 * float(np.linalg.norm(wanted)))


def test_the_bundle_is_whole_and_proved(made: Made) -> None:
    manifest = made.bundle.bundle.manifest
    assert (manifest.labels, manifest.embeddings, manifest.tokenizer) == ((), None, None) and manifest.image is not None
    assert manifest.agreement is not None and manifest.agreement.reference == "transformers' image features"
    assert manifest.quality.metric == "agreement with the original, no labels (cosine)"
    assert manifest.quality.original == pytest.approx(1) and 0 < manifest.quality.bundle < 1
    assert verify(made.folder)["ok"]
    audit = json.loads((made.folder / "bundle" / "audit.json").read_text())
    assert audit["ok"] and not audit["fallbacks"] and audit["matmuls_integer"] == audit["matmuls_constant"]
    rows = json.loads((made.folder / "bundle" / "golden.json").read_text())["rows"]
    assert len(rows) >= 8 and all(len(row["outputs"][0]) == 32 for row in rows)


def test_an_embedding_is_the_same_by_every_way_in(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_png(picture("red", np.random.default_rng(9)))
    (tmp_path / "image.png").write_bytes(data)
    wanted = made.bundle(data)
    assert len(wanted["embedding"]) == 32
    items = [as_text(data), tmp_path / "image.png", {"image": as_text(data)}]
    assert made.bundle(items) == [wanted] * 3
    assert runner(["run", str(made.folder), str(tmp_path / "image.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == wanted
    with served(made.folder, "plain") as server:
        status, found = server.infer([], inputs=[{"name": "image", "datatype": "BYTES", "shape": [1], "data": [as_text(data)]}])
        assert status == 200 and found["outputs"][0]["shape"] == [1, 32]
        assert found["outputs"][0]["data"] == pytest.approx(wanted["embedding"], abs=1e-6)


def planned(folder: Path, model: Path, more: str = "") -> None:
    rows_of(folder)
    (folder / "model").symlink_to(model)
    make_plan(str(recipe(folder, TASK, more)), ["x86-vnni"], detect())


def test_a_folder_of_clip_with_its_texts_is_no_model_of_long_texts(tmp_path: Path) -> None:
    """Its tokenizer's files say how long its texts are, which nobody reads."""
    model = made_embedder(tmp_path / "clip", "clip")
    (model / "tokenizer_config.json").write_text('{"model_max_length": 77, "truncation_side": "left"}')
    (tmp_path / "work").mkdir()
    planned(tmp_path / "work", model)


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("ijepa", "", 'model_type = "ijepa": transformers\' model of it gives no embedding'),
        ("texts", "", "no encoder of images of this architecture is known here"),
        ("vit", "[model.finetune]\nepochs = 1\n", "do not say what to learn"),
        ("vit", '[[compress]]\nmethod = "distill"\nwidth = 16\n', "width: not for images yet"),
        ("vit", '[[compress]]\nmethod = "quantize-aware"\n', "serves models that read texts, not images"),
        ("clip", '[[compress]]\nmethod = "prune-structured"\nkeep = 0.5\n', "those of clip keep theirs"),
        ("clip", '[[compress]]\nmethod = "prune-unstructured"\nsparsity = 0.5\n', "those of clip are not listed yet"),
    ],
)
def test_what_cannot_be_is_refused_by_name(model: str, more: str, said: str, tiny_model: Path, tmp_path: Path) -> None:
    made = {"vit": lambda: made_embedder(tmp_path / "m", "vit"), "clip": lambda: made_embedder(tmp_path / "m", "clip"),
            "ijepa": lambda: made_model(tmp_path / "m", "ijepa"), "texts": lambda: tiny_model}[model]()  # fmt: skip
    (tmp_path / "work").mkdir()
    with pytest.raises(BadInput) as fault:
        planned(tmp_path / "work", made, more)
    assert said in fault.value.text()
