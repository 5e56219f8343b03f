"""Embeddings of texts alone: no scores, no pairs; quality is the mean cosine to the original's own embedding of each text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edgekit as ek
from edgekit.data.alone import texts_alone
from edgekit.data.sources import Place, Sources
from edgekit.errors import BadInput
from edgekit.models.checkpoint import load
from edgekit.tasks import find_task
from edgekit.tasks.encode import read_split
from edgekit.train.reference_outputs import add_reference_outputs

TASK = find_task("feature-extraction")
METRIC = "agreement with the original, no labels (cosine)"
RECIPE = """schema = 1
task = "feature-extraction"
[model]
id = "tiny"
max_length = 24
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[quantize]
mode = "measure"
reduce_range = true
[[compress]]
method = "distill"
layers = 2
epochs = 3
batch = 8
learning_rate = 5e-3
augment = 1
[accept]
max_quality_drop = 0.3
"""


@pytest.fixture(scope="module")
def place(tiny_model: Path, tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    (folder / "tiny").symlink_to(tiny_model)
    for split in ("train", "validation", "test"):
        texts = [{"text": row["text"]} for row in read_split(tiny_artifact, split)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    (folder / "line.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def result(place: Path) -> Path:
    return ek.export(str(place / "line.toml"), target="x86-avx2", build=place / "build", measure=False).path


def test_every_variant_is_held_against_the_original(result: Path) -> None:
    variants = json.loads((result / "lineage.json").read_text())["variants"]
    qualities = {name: variant["quality"] for name, variant in variants.items()}
    assert {quality["metric"] for quality in qualities.values()} == {METRIC}
    assert {quality["n"] for quality in qualities.values()} == {20}
    for name in ("eager-fp32", "ort-fp32"):
        assert qualities[name]["value"] == pytest.approx(1, abs=1e-6) and qualities[name]["difference"] == 0
    bundle = qualities["bundle"]
    assert 0.7 < bundle["value"] < 1 and bundle["difference"] == pytest.approx(bundle["value"] - 1, abs=1e-6)
    assert bundle["ci95"][0] <= bundle["difference"] <= bundle["ci95"][1] < 0
    assert bundle["value"] < qualities["after-0-none"]["value"]


def test_the_pages_say_what_it_is(result: Path) -> None:
    for page in (result / "report.html", result / "report.md", result / "bundle" / "README.md"):
        assert METRIC in page.read_text() and "Spearman" not in page.read_text()
    assert "`original`" not in (result / "bundle" / "golden.json").read_text()


def test_the_bundles_cosine_is_that_of_its_answers(result: Path, place: Path) -> None:
    """Against the bundle's own answers, and PyTorch's for the original, in float64."""
    import torch
    from tokenizers import Tokenizer

    bundle, original = ek.load(result / "bundle"), load(place / "tiny", "AutoModel")
    tokenizer = Tokenizer.from_file(str(place / "tiny" / "tokenizer.json"))
    cosines = []
    for line in (place / "test.jsonl").read_text().splitlines():
        text = json.loads(line)["text"]
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            mean = original(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].double().mean(dim=0)
        one = np.array(bundle(text)["embedding"], dtype=np.float64)
        cosines.append(float(one @ mean.numpy() / np.linalg.norm(one) / np.linalg.norm(mean.numpy())))
    quality = json.loads((result / "bundle" / "manifest.json").read_text())["edgekit"]["quality"]
    assert quality["bundle"] == pytest.approx(np.mean(cosines), abs=1e-5)


def test_answers_leave_the_training_rows_and_the_record_alone(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    made = add_reference_outputs(
        tiny_model, tiny_artifact, tmp_path, task="feature-extraction", max_length=24, progress=lambda done, total, text: None
    )
    assert made == {"answered": {"validation": 20, "test": 20}}
    for name in ("train.jsonl", "data.json"):
        assert (tmp_path / name).read_bytes() == (tiny_artifact / name).read_bytes()
    (row, *_), (plain, *_) = (read_split(folder, "test") for folder in (tmp_path, tiny_artifact))
    assert row == plain | {"embedding": row["embedding"]}
    assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("row", "rename", "alone"),
    [
        ({"text": "a"}, {}, True),
        ({"text": "a", "id": 3}, {}, True),
        ({"utterance": "a"}, {"text": "utterance"}, True),
        ({"sentence1": "a", "sentence2": "b", "score": 1}, {}, False),
        ({"text": "a", "sentence1": "a", "sentence2": "b", "score": 1}, {}, False),
        ({"utterance": "a"}, {}, False),
        ({"one": "a", "two": "b", "score": 1}, {"sentence1": "one", "sentence2": "two"}, False),
    ],
)
def test_which_rows_are_alone(tmp_path: Path, row: dict[str, object], rename: dict[str, str], alone: bool) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    assert texts_alone(Sources(test=Place(str(tmp_path / "test.jsonl")), columns=rename), TASK.columns) is alone


def test_on_the_hub_the_columns_tell() -> None:
    assert not texts_alone(Sources(test=Place("hub:owner/pairs")), TASK.columns)
    assert texts_alone(Sources(test=Place("hub:owner/texts"), columns={"text": "line"}), TASK.columns)
    assert not texts_alone(Sources(builtin="intents"), TASK.columns)
    assert not texts_alone(Sources(test=Place("absent.jsonl")), TASK.columns)


def test_widths_have_no_cosine() -> None:
    with pytest.raises(BadInput, match="16 numbers has no cosine to the original's of 32"):
        TASK.evidence([np.ones((1, 16))], [], {"text": "a", "embedding": [1.0] * 32}, [])
