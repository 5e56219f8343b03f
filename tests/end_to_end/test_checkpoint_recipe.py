"""A recipe that names a language model's folder, in several files and with its head tied to its embedding, from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import edgekit as ek
from edgekit.models.shards import INDEX
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
"""


def test_a_tied_model_in_shards(tmp_path: Path) -> None:
    whole = checkpoint("llama, tied", tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(whole)
    (whole / "model.safetensors").unlink()
    model.save_pretrained(whole, max_shard_size="60KB")
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
    assert verify(made / "bundle")["ok"]
    lineage = json.loads((made / "lineage.json").read_text())
    scores = [stage["metrics"] for stage in lineage["stages"] if stage["stage"] == "score-decoder"]
    assert [(one["n"], one["skipped"]) for one in scores] == [(6, 1), (6, 1)]
    (original,) = (stage for stage in lineage["stages"] if stage["stage"] == "original")
    assert "lm_head.weight" not in load_file(made / original["path"] / "model.safetensors")
    answer = ek.load(made / "bundle")("w5 w9 w30")
    assert answer["prompt_tokens"] == 3 and answer["new_tokens"] > 0
