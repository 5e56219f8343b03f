"""A recipe that names a language model's folder, in several files and with its head tied to its embedding, from end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import edgekit as ek
from edgekit.errors import BadInput, CheckFailed
from edgekit.models.shards import INDEX
from edgekit.runtime.bundle.graph import check_graph_file
from edgekit.runtime.bundle.read import read_manifest
from edgekit.runtime.bundle.verify import verify
from tests.short_measure import short_measure
from tests.tiny_decoders import checkpoint

RECIPE = """schema = 1
task = "text-generation"
[model]
id = "model"
max_length = 32
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[quantize]
format = "int8-weights"
[draft]
id = "draft"
"""


def test_a_tied_model_in_shards(tmp_path: Path) -> None:
    whole = checkpoint("llama, tied", tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(whole)
    (whole / "model.safetensors").unlink()
    model.save_pretrained(whole, max_shard_size="60KB")
    checkpoint("llama, tied", tmp_path / "draft", num_hidden_layers=1, max_position_embeddings=24)
    placed = json.loads((whole / INDEX).read_text())["weight_map"]
    assert len(set(placed.values())) > 2 and "lm_head.weight" not in placed
    draw = np.random.default_rng(0)
    for name, count in (("train", 20), ("validation", 6), ("test", 6)):
        texts = [" ".join(f"w{number}" for number in draw.integers(3, 300, 20)) for _ in range(count)]
        texts += ["w7"] if name == "test" else []  # one token, which nothing predicts
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "tied.toml").write_text(RECIPE)
    with short_measure(processes=1):
        made = ek.export(str(tmp_path / "tied.toml"), target="x86-avx2", build=tmp_path / "build").path
    assert made == tmp_path / "build" / "tied-x86-avx2", "the recipe's name, not the draft's"
    assert verify(made / "bundle")["ok"]
    _check_draft(made / "bundle")
    _check_guesses(made)
    lineage = json.loads((made / "lineage.json").read_text())
    scores = [stage["metrics"] for stage in lineage["stages"] if stage["stage"] == "score-decoder"]
    assert [(one["n"], one["skipped"]) for one in scores] == [(6, 1), (6, 1)]
    (original,) = (stage for stage in lineage["stages"] if stage["stage"] == "original")
    assert "lm_head.weight" not in load_file(made / original["path"] / "model.safetensors")
    answer = ek.load(made / "bundle")("w5 w9 w30")
    assert answer["prompt_tokens"] == 3 and answer["new_tokens"] > 0


def _check_draft(bundle: Path) -> None:
    """The small model lies in the bundle in its own format, guesses, and changes no token."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    draft = manifest["edgekit"]["draft"]
    assert (draft["name"], draft["format"], draft["generation"]["layers"], draft["generation"]["context"]) == (
        "draft",
        "int4-weights",
        1,
        24,
    )
    assert {"draft.onnx", "draft.onnx.data"} < manifest["assets"].keys()
    asked = ek.load(bundle), ek.load(bundle, speculate="off")
    speculation = asked[0].language.speculation
    assert speculation is not None and speculation.draft is not None and asked[1].language.speculation is None
    assert speculation.draft.graph.session.get_session_options().intra_op_num_threads == 1
    with pytest.raises(BadInput, match="not a graph that a bundle can hold"):  # one of two layers, where the draft has one
        check_graph_file(bundle / "model.onnx", read_manifest(bundle)[0].of_draft)
    spoilt = bundle.with_name("spoilt")
    shutil.copytree(bundle, spoilt)
    data = bytearray((spoilt / "draft.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (spoilt / "draft.onnx").write_bytes(data)
    with pytest.raises(CheckFailed) as refused:
        ek.load(spoilt)
    assert any("draft.onnx" in fault for fault in (refused.value.what, *refused.value.faults))
    said = [[model(text)["text"] for text in ("w5 w9 w30", "w7 w7 w7")] for model in asked]
    assert said[0] == said[1]


def _check_guesses(made: Path) -> None:
    """The report says what guesses gave on the test rows, and how large the draft is."""
    found = json.loads((made / "bench.json").read_text())["language"]["guesses"]
    size = sum((made / "bundle" / name).stat().st_size for name in ("draft.onnx", "draft.onnx.data"))
    assert found["draft"] == {"name": "draft", "format": "int4-weights", "mb": size / 1e6}
    assert found["prompts"] >= 4 and found["tokens"] > 40 and found["accepted"] <= found["drafted"] and found["off"] is None
    assert found["ci95"][0] <= found["faster_by"] <= found["ci95"][1]
    for page in ("report.md", "report.html"):
        text = (made / page).read_text()
        assert "Guesses of next tokens" in text and "the text so far, draft" in text
