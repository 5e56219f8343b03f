"""Pairs of texts, from their rows to the answer on a device: which columns, which tokens, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.compress.distillation.augment import augmented_rows
from edgekit.compress.distillation.unlabelled import unlabelled_rows
from edgekit.data.columns import identity
from edgekit.data.sources import Place, Sources
from edgekit.data.splits import columns_there, prepare
from edgekit.errors import BadInput
from edgekit.runtime.processors.text_classification import prepare as passes_of
from edgekit.runtime.tokenise import Tokeniser, load_tokeniser
from edgekit.tasks import find_task

STATES, ROOMS = ["on", "off"], ["kitchen", "hall", "bedroom", "garden", "office", "cellar", "attic", "garage"]
COLUMNS = ("text", "label", "text_pair")
RECIPE = """schema = 1
task = "text-classification"
[model]
max_length = 32
[model.new]
layers = 2
width = 32
heads = 4
neurons = 64
vocabulary = 200
epochs = 9
learning_rate = 3e-3
batch = 8
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[data.columns]
text = "premise"
text_pair = "hypothesis"
[calibration]
rows = 16
[quantize]
mode = "static"
reduce_range = true
"""


def rows() -> dict[str, list[dict[str, Any]]]:
    """192 pairs whose label is in the second text alone, while the first says as much of its own."""
    every = [
        {"text": f"the {room} light is {mine}", "text_pair": f"the {other} light is {state}", "label": f"it is {state}"}
        for room in ROOMS for other in ROOMS for mine in STATES for state in STATES if room != other
    ]  # fmt: skip
    order = np.random.default_rng(0).permutation(len(every))[:192]
    mixed = [every[index] for index in order]
    return {"train": mixed[:128], "validation": mixed[128:160], "test": mixed[160:]}


def write(folder: Path, splits: dict[str, list[dict[str, Any]]], names: dict[str, str] | None = None) -> Sources:
    """The rows as files, their columns renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, given in splits.items():
        lines = [json.dumps({(names or {}).get(key, key): value for key, value in row.items()}) for row in given]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return Sources(**{split: Place(str(folder / f"{split}.jsonl")) for split in splits})


@pytest.fixture(scope="module")
def tokenise(tmp_path_factory: pytest.TempPathFactory) -> Tokeniser:
    from edgekit.train.from_scratch import learn_wordpiece

    folder = tmp_path_factory.mktemp("tokenizer")
    learn_wordpiece([row["text"] for row in rows()["train"]], 200, folder)
    return load_tokeniser(folder / "tokenizer.json", 16, segments=True)


def test_a_recipe_ends_in_a_bundle_that_reads_pairs(tmp_path: Path) -> None:
    from edgekit.config.target import best_target
    from edgekit.host import detect
    from edgekit.pipeline.run import run_recipe
    from edgekit.progress import Show
    from edgekit.runtime.bundle.verify import verify
    from edgekit.runtime.main import main
    from edgekit.runtime.model import load

    write(tmp_path, rows(), {"text": "premise", "text_pair": "hypothesis"})
    (tmp_path / "pairs.toml").write_text(RECIPE)
    target = best_target(detect()).name
    (made,) = run_recipe(str(tmp_path / "pairs.toml"), [target], tmp_path / "build", measure=False, show=Show(silent=True))
    manifest = json.loads((made.path / "bundle" / "manifest.json").read_text())["edgekit"]
    assert [item["name"] for item in manifest["inputs"]] == ["input_ids", "attention_mask", "token_type_ids"]
    assert manifest["quality"]["original"] >= 0.9 and manifest["quality"]["bundle"] >= 0.9
    golden = json.loads((made.path / "bundle" / "golden.json").read_text())["rows"]
    assert all(set(row["input"]) == {"text", "text_pair"} for row in golden)
    assert verify(made.path)["ok"]
    model = load(made.path)
    for row in rows()["test"][:4]:
        assert model({key: row[key] for key in ("text", "text_pair")})["label"] == row["label"]
    with pytest.raises(BadInput, match="compares two texts"):
        model("the hall light is on")
    with pytest.raises(BadInput, match="not a pair of texts: 'text', 'context'"):
        model({"text": "the hall light is on", "context": "no"})
    with pytest.raises(BadInput, match="empty"):
        model({"text": "the hall light is on", "text_pair": " "})
    assert model({"text": "light " * 90, "text_pair": "the hall light is off"})["truncated"] is True
    assert main(["run", str(made.path), '{"text": "the hall light is on", "text_pair": "the attic light is off"}']) == 0
    assert main(["run", str(made.path), "the hall light is on"]) == 2


def test_rows_with_a_second_text_are_seen_when_the_plan_is_made(tmp_path: Path) -> None:
    task = find_task("text-classification")
    single = [{"text": "a", "label": "b"}]
    assert columns_there(write(tmp_path / "two", rows()), task.columns, task.optional) == COLUMNS
    assert columns_there(write(tmp_path / "one", {"train": single}), task.columns, task.optional) == task.columns
    hub = Sources(train=Place("hub:owner/name"), columns={"text_pair": "hypothesis"})
    assert columns_there(hub, task.columns, task.optional) == COLUMNS
    assert columns_there(Sources(train=Place(str(tmp_path / "no.jsonl"))), task.columns, task.optional) == task.columns


def test_a_second_text_changes_the_keys_of_rows_and_original() -> None:
    from edgekit.plan.recipes import recipe_model
    from edgekit.plan.stages import original_stage, rows_stage

    files = {"train": "a.jsonl", "validation": "b.jsonl", "test": "c.jsonl"}
    asked = {"schema": 1, "task": "text-classification", "model": {"id": "m"}, "data": files}
    recipe = recipe_model().model_validate(asked)
    one, again, more = (
        rows_stage(recipe, columns, {}, files, "0", None) for columns in (("text", "label"), ("text", "label"), COLUMNS)
    )
    assert one.key == again.key != more.key
    alone, paired = (original_stage(recipe, one, "m", "0", pairs=pairs) for pairs in (False, True))
    assert alone.key != paired.key and paired.identity["settings"]["pairs"] is True


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda row: {key: row[key] for key in ("text", "label")}, "'text_pair' is missing"),
        (lambda row: {**row, "text_pair": None}, "'text_pair' is null"),
        (lambda row: {**row, "text_pair": "  "}, "'text_pair' is empty"),
        (lambda row: {**row, "text": ""}, "'text' is empty"),
    ],
)
def test_a_pair_that_misses_one_side(tmp_path: Path, spoil: Any, words: str) -> None:
    splits = rows()
    splits["validation"][3] = spoil(splits["validation"][3])
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInput, match=f"validation.jsonl:4: {words}"):
        prepare(write(tmp_path, splits), COLUMNS, tmp_path / "out")


def test_mixed_rows(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    splits = rows()
    splits["test"] = [{key: row[key] for key in ("text", "label")} for row in splits["test"]]
    with pytest.raises(BadInput, match=r"test.jsonl:1: a column is missing[^\0]*no column 'text_pair'"):
        prepare(write(tmp_path, splits), COLUMNS, tmp_path / "out")
    splits = rows()
    splits["train"][0].pop("text_pair")
    with pytest.raises(BadInput, match="has a 'text_pair', which neither"):
        prepare(write(tmp_path, {**splits}), ("text", "label"), tmp_path / "out", ("text_pair",))


def test_a_pair_is_the_same_row_only_with_both_texts(tmp_path: Path) -> None:
    splits = rows()
    first = splits["test"][0]
    splits["train"] += [first, {**first, "text": "the shed light is on"}, {**first, "text_pair": "the shed light is on"}]
    (tmp_path / "out").mkdir()
    made = prepare(write(tmp_path, splits), COLUMNS, tmp_path / "out")
    assert made["duplicates_removed"]["train_in_test"] == 1 and made["splits"]["train"]["rows"] == 130
    assert identity(first) == f"{first['text']} {first['text_pair']}"


def test_augmented_rows_keep_their_second_text(tmp_path: Path) -> None:
    given = rows()["train"][:5]
    made = augmented_rows(given, 2, seed=1)
    assert [row["text_pair"] for row in made] == [row["text_pair"] for row in given] * 2
    assert all(row["label"] is None for row in made)
    assert [row["text"] for row in made] != [row["text"] for row in given] * 2
    (tmp_path / "unlabelled.jsonl").write_text('{"text": "alone"}\n')
    with pytest.raises(BadInput, match="no pair of texts"):
        unlabelled_rows(tmp_path, given[0], 1)


@pytest.mark.parametrize("counts", [(1, 1), (6, 6), (6, 7), (7, 6), (3, 40), (40, 3), (20, 20), (20, 30), (30, 20), (7, 7)])
@pytest.mark.parametrize("limit", [16, 17])
def test_the_longer_text_is_cut_as_the_library_does(tokenise: Tokeniser, counts: tuple[int, int], limit: int) -> None:
    whole = Tokeniser(tokenise.tokenizer, limit, segments=True)
    first, second = (" ".join(["light"] * count) for count in counts)
    theirs = type(tokenise.tokenizer).from_str(tokenise.tokenizer.to_str())
    theirs.enable_truncation(limit)
    wanted = theirs.encode(first, second)
    found = whole.both(first, second)
    assert found.ids.tolist() == wanted.ids
    assert found.types is not None and found.types.tolist() == wanted.type_ids
    assert found.truncated == (sum(counts) + 3 > limit)


def test_two_endless_texts_are_cut_at_once(tokenise: Tokeniser) -> None:
    found = tokenise.both("a " * 200_000, "b " * 200_000)
    assert len(found.ids) == 16 and found.truncated
    assert not passes_of(tokenise, {"text": "the hall", "text_pair": "light"})[0].truncated


def test_text_that_the_tokenizer_leaves_nothing_of(tmp_path: Path, tokenise: Tokeniser) -> None:
    tokenise.tokenizer.save(str(tmp_path / "tokenizer.json"))
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "bare.json").write_text(json.dumps({**document, "post_processor": None}))
    bare = load_tokeniser(tmp_path / "bare.json", 16)
    assert len(bare.text("light").ids) > 0
    with pytest.raises(BadInput, match=r"no token is left of '\\x07\\x08'"):
        bare.text("\x07\x08")
