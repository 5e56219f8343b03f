"""Steps of a language model's recipe, one after the other: from TOML to a bundle that scores, and what is refused beforehand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import edgekit as ek
from edgekit.errors import BadInput
from edgekit.models.decoders import describe
from edgekit.plan.recipes import recipe_model
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.processors import processor
from edgekit.tasks import find_task
from edgekit.tasks.encode import encode, reader_of
from tests.plan.faults import faults_in

RECIPE = """schema = 1
task = "text-generation"
[model]
max_length = 64
[model.new]
layers = 3
width = 32
heads = 2
neurons = 96
vocabulary = 300
epochs = 3
batch = 8
learning_rate = 5e-3
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[quantize]
format = "int8-weights"
[[compress]]
method = "drop-blocks"
layers = 2
[[compress]]
method = "prune-width"
neurons = 64
kv_heads = 1
[[compress]]
method = "prune-unstructured"
how = "wanda"
sparsity = 0.3
[[compress]]
method = "distill-decoder"
source = "sequence"
prompt = 8
tokens = 12
rows = 40
[[compress]]
method = "distill-decoder"
source = "on-policy"
prompt = 8
tokens = 12
rows = 24
lora = 4
"""
WORDS = [
    "the",
    "of",
    "a",
    "list",
    "tuple",
    "name",
    "object",
    "value",
    "is",
    "are",
    "returned",
    "raised",
    "when",
    "it",
    "and",
    "or",
    "not",
    "with",
    "for",
    "each",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    folder, draw = tmp_path_factory.mktemp("line"), np.random.default_rng(0)
    for split, count in (("train", 80), ("validation", 10), ("test", 24)):
        texts = [" ".join(draw.choice(WORDS, draw.integers(20, 30))) for _ in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "line.toml").write_text(RECIPE)
    return ek.export(str(folder / "line.toml"), target="x86-avx2", build=folder / "build", measure=False).path


def test_every_step_is_scored_against_the_original(made: Path) -> None:
    lineage = json.loads((made / "lineage.json").read_text())
    names = [
        "after-0-none",
        "after-1-drop-blocks",
        "after-2-prune-width",
        "after-3-prune-unstructured",
        "after-4-distill-decoder",
    ]
    assert set(lineage["variants"]) == {"eager-fp32", "ort-fp32", *names, "bundle"} and len(lineage["chain"]) == 6
    for variant in lineage["variants"].values():
        assert variant["quality"]["metric"] == "1/perplexity" and 0 < variant["quality"]["value"] < 1
    sizes = {one["title"]: one["metrics"]["bytes"] for one in lineage["stages"] if one["stage"] == "quantize-decoder"}
    titled = {
        name: next(size for title, size in sizes.items() if title.endswith(f": {lineage['variants'][name]['title']}"))
        for name in [*names, "bundle"]
    }
    assert titled["after-0-none"] > titled["after-1-drop-blocks"] > titled["after-2-prune-width"] >= titled["bundle"]
    assert "distill-decoder" in (made / "report.html").read_text()


def test_the_bundle_speaks(made: Path) -> None:
    assert verify(made / "bundle")["ok"] and ek.load(made / "bundle")("the list")["text"]


def test_the_checkpoint_is_an_ordinary_one(made: Path) -> None:
    from transformers import AutoModelForCausalLM

    lineage = json.loads((made / "lineage.json").read_text())
    stages = {one["key"]: one for one in lineage["stages"]}
    last, third = (made / stages[lineage["chain"][place]]["path"] for place in (-1, 3))
    decoder = describe(last)
    assert len(decoder.layers) == 2 and {layer.mlp.down.weight.shape for layer in decoder.layers} == {(32, 64)}
    zeros = [(decoder.layers[0].mlp.down.weight.read() == 0).mean() for decoder in (describe(third), describe(last))]
    assert zeros[0] == zeros[1] > 0.25
    assert (made / "checkpoint").is_symlink() and (made / "checkpoint").resolve() == last.resolve(), (
        "for another recipe to name"
    )
    assert AutoModelForCausalLM.from_pretrained(last).config.num_hidden_layers == 2
    assert stages[lineage["chain"][4]]["metrics"]["validation"] > 0


def test_a_text_of_one_token_is_left_out_of_what_is_learned_from(made: Path, tmp_path: Path) -> None:
    """Where the tokenizer begins no text with a token of its own."""
    task, checkpoint = find_task("text-generation"), shutil.copytree((made / "checkpoint").resolve(), tmp_path / "plain")
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    (checkpoint / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))
    data = encode(checkpoint, [{"text": "the list"}, {"text": "a"}, {"text": "a name"}], task, 64)
    assert len(data.windows) == len(data.labels) == 2 and len(data.inputs) == 3
    with pytest.raises(BadInput, match="none of the texts has two tokens"):
        encode(checkpoint, [{"text": "a"}], task, 64)
    with pytest.raises(BadInput, match="a text of one token has none that could be predicted"):
        processor("text-generation").prepare(reader_of(checkpoint, task, 64), "a")


def asked(task: str, *steps: dict[str, Any]) -> Any:
    data = {"train": "a.jsonl", "validation": "b.jsonl", "test": "c.jsonl"}
    model = {"new": {"layers": 4, "width": 192, "neurons": 768}, "max_length": 64}
    return recipe_model().model_validate({"schema": 1, "task": task, "model": model, "data": data, "compress": list(steps)})


STUDENT = {"method": "distill-decoder"}


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([{"method": "distill"}], "distill: serves encoders, not language models; use distill-decoder"),
        ([{"method": "prune-vocabulary"}], "has to be able to say every token; leave it out; the methods for language models are auto-round, d"),
        ([{"method": "drop-blocks", "layers": 4}], "layers = 4 removes nothing from a model of 4"),
        ([{"method": "drop-blocks", "layers": 2}, {**STUDENT, "layers": 3}], "3 layers cannot start from a model of 2"),
        ([{**STUDENT, "source": "sequence", "tokens": 60}], "16 and 60 tokens after it are 76, more than max_length, 64"),
        ([{"method": "prune-width", "neurons": 768}], "removes nothing from blocks of 768"),
        ([{"method": "prune-width", "kv_heads": 4}], "kv_heads = 4 removes nothing from blocks of 4"),
        ([{"method": "prune-width", "neurons": 66}, {"method": "prune-unstructured", "pattern": "2:4"}], "not divide intermediate size of 66"),
    ],
)  # fmt: skip
def test_it_is_refused_before_anything_runs(steps: list[dict[str, Any]], says: str) -> None:
    (fault,) = faults_in(asked("text-generation", *steps))
    assert fault.startswith(f"compress {len(steps)}, ") and says in fault


def test_each_method_says_whom_it_serves() -> None:
    (fault,) = faults_in(asked("text-classification", {"method": "drop-blocks", "layers": 2}))
    assert fault == "compress 1, drop-blocks: serves language models, not encoders; use distill with `layers`"
    for method in ("distill-decoder", "prune-width"):
        given = {"method": method, **({"neurons": 64} if method == "prune-width" else {})}
        assert any("serves language models" in fault for fault in faults_in(asked("text-classification", given)))


def test_a_contradiction_is_found_in_the_file(tmp_path: Path) -> None:
    wrong = RECIPE.replace('source = "on-policy"', 'source = "on-policy"\nalpha = 0.5')
    (tmp_path / "line.toml").write_text(wrong)
    with pytest.raises(BadInput, match="no `alpha`"):
        ek.export(str(tmp_path / "line.toml"), target="x86-avx2", build=tmp_path / "build")
