"""A recipe from a model and one file: what is seen, what is asked, what is refused, and that the line ends in a plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgekit.cli.app import app
from edgekit.cli.drafting import Options, asked_of, chosen, drafted, recipe_name, unwritten, write_recipe
from edgekit.config.quantize import WeightOnly
from edgekit.data import formats
from edgekit.data.labels import check_labels
from edgekit.data.partition import partition
from edgekit.draft import Asked, Budget, Draft, Unclear, draft, told_apart
from edgekit.draft.labels import guessed, meaning_of, what_labels_mean
from edgekit.draft.seen import Choice
from edgekit.errors import BadInput
from edgekit.pipeline.explain import explain
from edgekit.plan.decoder import DEFAULT
from tests import command_line
from tests.conftest import PYTHONPATH, tiny_rows
from tests.tiny_heads import made_model, sentence

ROWS = [row for rows in tiny_rows().values() for row in rows]


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def seen(made: Draft) -> dict[str, str]:
    return {one.setting: one.value for one in made.seen}


def renamed(**names: str) -> list[dict[str, Any]]:
    return [{names.get(column, column): value for column, value in row.items()} for row in ROWS]


@pytest.fixture(scope="module")
def draws() -> Any:
    import numpy as np

    return np.random.default_rng(0)


def test_task_columns_and_length_are_seen(tiny_model: Path, tmp_path: Path) -> None:
    made = draft(Asked(str(tiny_model), str(written(tmp_path / "rows.jsonl", ROWS))), tmp_path)
    assert seen(made) | {"model.max_length": "", "data.split": ""} == {
        "task": "text-classification", "column text": "text", "column label": "label", "model.max_length": "", "data.split": "",
        "text direction": "left to right", "time": seen(made)["time"],
    }  # fmt: skip
    assert f"id = {json.dumps(str(tiny_model))}" in made.text or "id = " in made.text
    assert 'file = "rows.jsonl"' in made.text and "columns" not in made.text
    assert all(one.reason for one in made.seen)


@pytest.mark.parametrize(
    "rows",
    [
        renamed(text="utterance", label="intent"),
        renamed(text="a", label="b"),
        [{"id": number, "room": "hall", **row} for number, row in enumerate(renamed(text="zzz", label="yyy"))],
    ],
    ids=["names that data sets use", "by the values alone", "beside columns that are neither"],
)
def test_columns_by_name_and_labels_by_what_the_model_knows(
    rows: list[dict[str, Any]], tiny_model: Path, tmp_path: Path
) -> None:
    made = draft(Asked(str(tiny_model), str(written(tmp_path / "rows.jsonl", rows))), tmp_path)
    text, label = (next(name for name in rows[0] if rows[0][name] == ROWS[0][column]) for column in ("text", "label"))
    assert (seen(made)["column text"], seen(made)["column label"]) == (text, label)
    assert (
        f'columns = {{ text = "{text}", label = "{label}" }}' in made.text
        or f'columns = {{ label = "{label}", text = "{text}" }}' in made.text
    )


def test_a_column_of_splits_is_seen(tiny_model: Path, tmp_path: Path) -> None:
    for words, value in (
        (("train", "dev", "test"), "30 / 10 / 10"),
        (("train", "test"), "40 / 10"),
        (("one", "fold"), "70 / 15 / 15 %"),
    ):
        rows = [{**row, "set": words[max(0, number - 20) // 10 % len(words)]} for number, row in enumerate(ROWS[:50])]
        made = draft(Asked(str(tiny_model), str(written(tmp_path / "rows.jsonl", rows))), tmp_path)
        by_column = "fold" not in words
        assert ('split = { column = "set" }' in made.text) == by_column
        assert seen(made)["data, splits" if by_column else "data.split"] == value
        assert (seen(made)["column text"], seen(made)["column label"]) == ("text", "label")


def test_a_split_that_nobody_knows_is_asked_for_and_what_is_offered_works(tiny_model: Path, tmp_path: Path) -> None:
    """Such a column was passed over, and all rows were drawn anew without a word."""
    few = ROWS[:60]
    for names, offered in (
        (("train", "dev", "holdout"), "--split holdout=test"),
        (("holdout", "train", "test"), "--split holdout=validation"),
    ):
        path = written(tmp_path / "r.jsonl", [{**row, "split": names[number // 20]} for number, row in enumerate(few)])
        with pytest.raises(Unclear) as question:
            draft(Asked(str(tiny_model), str(path)), tmp_path)
        told = question.value.told
        assert (
            told is not None
            and "'holdout': 20 of 60 rows" in told.text()
            and "validation (validation, valid, val, dev," in told.text()
        )
        assert question.value.choices[0].options == offered and offered in told.text()
    for options, wanted in (
        (["holdout=validation"], {"column": "split", "names": {"holdout": "validation"}}),
        (["holdout=none", "split"], {"column": "split", "names": {"holdout": "none"}}),
        (["none"], None),
    ):
        asked = asked_of(str(tiny_model), str(path), Options(*[None] * 9, split=options))
        made = draft(asked, tmp_path)
        assert tomllib.loads(made.text)["data"].get("split") == wanted
    for options, said in (
        (["holdot=test"], "no row has 'holdot' in column 'split'"), (["other"], "--split other: no column has this name"),
        (["holdout=exam"], "write train, validation, test, or none"), (["a", "b"], "one column says it"),
    ):  # fmt: skip
        with pytest.raises(BadInput) as fault:
            draft(asked_of(str(tiny_model), str(path), Options(*[None] * 9, split=options)), tmp_path)
        assert said in fault.value.text()
    with pytest.raises(BadInput, match="options that do not fit") as fault:
        draft(Asked(str(tiny_model), str(path), columns={"split": "split"}), tmp_path)
    assert "is said by --split split" in fault.value.text()
    rows = [
        {**row, "split": "train" if number % 2 else "test", "subset": "test" if number % 3 else "train"}
        for number, row in enumerate(few)
    ]
    with pytest.raises(Unclear, match="several columns say which split") as question:
        draft(Asked(str(tiny_model), str(written(path, rows))), tmp_path)
    assert [choice.options for choice in question.value.choices] == ["--split split", "--split subset", "--split none"]


@pytest.mark.parametrize(
    ("positions", "words", "wanted", "reason"),
    [
        (64, 40, "64", "as the model's files say; the longest of 30 rows has 42 tokens"),
        (64, 90, "64", "as the model's files say; the longest of 30 rows has 92 tokens; 1 are longer and are cut"),
        (2048, 40, "512", "as the model's files say; the longest of 30 rows has 42 tokens"),
        (2048, 700, "704", "room for the longest of 30 rows, which has 702 tokens; unasked it would be 512"),
        (
            640,
            700,
            "640",
            "room for the longest of 30 rows, which has 702 tokens; unasked it would be 512; 1 are longer and are cut",
        ),
    ],
)
def test_how_long_inputs_are_is_seen_from_the_rows(
    positions: int, words: int, wanted: str, reason: str, tmp_path: Path
) -> None:
    """By the model's own tokenizer, never below what the model reads unasked; written where the rows ask for more."""
    model = made_model(tmp_path / "m", ["a", "b"], max_position_embeddings=positions)
    rows = [{"text": "ada " * (words if number == 7 else 5), "label": "ab"[number % 2]} for number in range(30)]
    made = draft(Asked(str(model), str(written(tmp_path / "r.jsonl", rows))), tmp_path)
    (length,) = (one for one in made.seen if one.setting == "model.max_length")
    assert (length.value, length.reason) == (wanted, reason)
    assert (f"max_length = {wanted}" in made.text) == (int(wanted) > min(positions, 512))
    said = draft(Asked(str(model), str(tmp_path / "r.jsonl"), max_length=16), tmp_path)
    assert seen(said)["model.max_length"] == "16" and "max_length = 16" in said.text


def test_what_the_head_means_decides_the_task(tmp_path: Path, draws: Any) -> None:
    numbers = written(tmp_path / "n.jsonl", [{"text": sentence(draws), "label": number / 10} for number in range(40)])
    several = written(tmp_path / "s.jsonl", [{"text": sentence(draws), "label": ["a"]} for _ in range(40)])
    ranked = written(
        tmp_path / "r.jsonl",
        [{"query": sentence(draws), "passages": [sentence(draws), sentence(draws)], "relevance": [1, 0]} for _ in range(40)],
    )
    one = made_model(tmp_path / "one", ["LABEL_0"], problem_type="regression")
    many = made_model(tmp_path / "many", ["a", "b"], problem_type="multi_label_classification")
    nli = made_model(tmp_path / "nli", ["contradiction", "neutral", "entailment"])
    topics = written(
        tmp_path / "t.jsonl", [{"text": sentence(draws), "label": "sport" if number % 2 else "film"} for number in range(40)]
    )
    pairs = written(
        tmp_path / "p.jsonl",
        [
            {"premise": sentence(draws), "hypothesis": sentence(draws), "label": ["neutral", "entailment"][number % 2]}
            for number in range(40)
        ],
    )
    cases = {
        (one, numbers): "text-regression", (one, ranked): "text-ranking", (many, several): "multi-label-classification",
        (nli, topics): "zero-shot-classification", (nli, pairs): "text-classification",
    }  # fmt: skip
    for (model, rows), task in cases.items():
        made = draft(Asked(str(model), str(rows)), tmp_path)
        assert seen(made)["task"] == task, (model.name, rows.name)
    assert 'columns = { text = "premise", text_pair = "hypothesis" }' in draft(Asked(str(nli), str(pairs)), tmp_path).text


def test_an_encoder_without_a_head_gets_one(tmp_path: Path, draws: Any) -> None:
    from transformers import BertModel

    folder = made_model(tmp_path / "head", ["a", "b"])
    BertModel.from_pretrained(folder).save_pretrained(folder)
    rows = written(
        tmp_path / "t.jsonl", [{"text": sentence(draws), "label": "sport" if number % 2 else "film"} for number in range(40)]
    )
    made = draft(Asked(str(folder), str(rows)), tmp_path)
    assert seen(made)["task"] == "text-classification" and "[model.finetune]" in made.text


def test_several_tasks_are_a_question(tmp_path: Path, draws: Any) -> None:
    folder = made_model(tmp_path / "sentences", ["a", "b"])
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}])
    )
    rows = written(
        tmp_path / "t.jsonl", [{"text": sentence(draws), "label": "sport" if number % 2 else "film"} for number in range(40)]
    )
    with pytest.raises(Unclear) as question:
        draft(Asked(str(folder), str(rows)), tmp_path)
    assert {choice.value for choice in question.value.choices} == {"feature-extraction", "text-classification"}
    assert seen(draft(Asked(str(folder), str(rows), task="feature-extraction"), tmp_path))["task"] == "feature-extraction"
    assert "task" in seen(draft(Asked(str(folder), str(rows), task="text-classification"), tmp_path))


def test_pairs_with_a_score_are_read_as_such_and_never_for_less(tmp_path: Path, draws: Any) -> None:
    folder = made_model(tmp_path / "sentences", ["a", "b"])
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}])
    )
    rows = [
        {"genre": ["x", "y"][number % 2], "text_a": sentence(draws), "text_b": sentence(draws), "similarity": number / 7}
        for number in range(40)
    ]
    path = written(tmp_path / "pairs.jsonl", rows)
    by_content = draft(Asked(str(folder), str(path)), tmp_path)
    said = draft(
        Asked(str(folder), str(path), columns={"sentence1": "text_a", "sentence2": "text_b", "score": "similarity"}), tmp_path
    )
    for made in (by_content, said):
        assert seen(made)["task"] == "feature-extraction"
        assert [seen(made)[f"column {one}"] for one in ("sentence1", "sentence2", "score")] == [
            "text_a",
            "text_b",
            "similarity",
        ]


def test_a_column_for_each_label_is_refused(tiny_model: Path, tmp_path: Path, draws: Any) -> None:
    rows = [{"sentence": sentence(draws), "money": number % 2, "travel": 1, "food": number % 3 == 0} for number in range(40)]
    with pytest.raises(BadInput, match="a column for each label") as fault:
        draft(Asked(str(tiny_model), str(written(tmp_path / "r.jsonl", rows))), tmp_path)
    assert '["money", "travel"]' in fault.value.text()
    model = made_model(tmp_path / "m", ["credit card", "insurance_change"])
    rows = [
        {"sentence": sentence(draws), "credit_card": number % 2, "Insurance Change": 1 - number % 2} for number in range(40)
    ]
    with pytest.raises(BadInput, match="a column for each label"):
        draft(Asked(str(model), str(written(tmp_path / "r.jsonl", rows))), tmp_path)


def test_what_nothing_speaks_for_is_not_the_answer_of_who_presses_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.cli import drafting

    given: list[str | None] = []

    def prompt(text: str, *, default: str | None) -> str:
        given.append(default)
        return "2"

    monkeypatch.setattr(drafting.typer, "prompt", prompt)
    for guess in ("NAME", "B-PER"):
        labels = {"PER": guess}
        choices = [Choice(f"PER = {name}", "", (("--label", "PER", name),)) for name in ("B-PER", "I-PER")]
        assert drafting._answer(Unclear("open", choices, labels=labels, known=("B-PER", "I-PER"))) is choices[1]
    assert given == [None, "1"]


def test_an_adapter_is_seen_with_its_base(tmp_path: Path, draws: Any) -> None:
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification

    base = made_model(tmp_path / "base", ["a", "b"])
    settings = LoraConfig(task_type=TaskType.SEQ_CLS, r=2, target_modules=["query", "value"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for a property that it will lose
        get_peft_model(AutoModelForSequenceClassification.from_pretrained(base), settings).save_pretrained(tmp_path / "adapter")
    rows = written(tmp_path / "t.jsonl", [{"text": sentence(draws), "label": "ab"[number % 2]} for number in range(40)])
    made = draft(Asked(str(tmp_path / "adapter"), str(rows)), tmp_path)
    assert seen(made)["task"] == "text-classification" and seen(made)["model.max_length"] == "64"


def test_several_columns_that_could_be_the_label_are_a_question(tmp_path: Path, draws: Any) -> None:
    from transformers import BertModel

    folder = made_model(tmp_path / "bare", ["a", "b"])
    BertModel.from_pretrained(folder).save_pretrained(folder)
    rows = [
        {"utter": sentence(draws), "colour": "red" if number % 2 else "blue", "size": f"s{number % 3}"} for number in range(60)
    ]
    path = written(tmp_path / "t.jsonl", rows)
    with pytest.raises(Unclear) as question:
        draft(Asked(str(folder), str(path), task="text-classification"), tmp_path)
    assert {choice.value for choice in question.value.choices} == {"colour", "size"}
    assert question.value.choices[0].options == f"--column label={question.value.choices[0].value}"
    made = draft(Asked(str(folder), str(path), columns={"label": "colour"}, task="text-classification"), tmp_path)
    assert seen(made)["column label"] == "colour" and seen(made)["column text"] == "utter"


def test_dates_are_no_labels(tmp_path: Path, draws: Any) -> None:
    when = ("01.03.2025", "2025-03-01", "3/1/25", "2025-03-01T10:20:00Z", "10:20")
    rows = [{"what": sentence(draws, 6), "opened": when[number % 5], "kind": ("a", "b")[number % 2]} for number in range(60)]
    plain = made_model(tmp_path / "m", ("a", "b"))
    settings = json.loads((plain / "config.json").read_text())
    (plain / "config.json").write_text(json.dumps({**settings, "architectures": ["BertModel"]}))
    made = draft(Asked(str(plain), str(written(tmp_path / "r.jsonl", rows)), task="text-classification"), tmp_path)
    assert seen(made)["column label"] == "kind"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"number": number} for number in range(30)], "no column of the rows could be its text"),
        ([{"sum": 7 * number % 5} for number in range(30)], "the rows have 'sum', such as '0', '2', '4'"),
    ],
    ids=["what is lacking", "the file's own columns and values"],
)
def test_rows_that_no_task_fits(rows: list[dict[str, Any]], says: str, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as fault:
        draft(Asked(str(tiny_model), str(written(tmp_path / "rows.jsonl", rows))), tmp_path)
    assert "no task fits" in fault.value.text() and says in fault.value.text()


def edgekit(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "edgekit", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )


def test_the_line_is_looked_at_without_torch_and_writes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    written(tmp_path / "tickets.jsonl", renamed(text="utterance", label="intent"))
    done = edgekit(
        "export",
        "--model",
        str(tiny_model),
        "--data",
        "tickets.jsonl",
        "--lose",
        "1%",
        "--faster",
        "3x",
        "--dry-run",
        "--json",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout)
    assert (
        document["plan"]["task"] == "text-classification" and "max_quality_drop = 0.01\nmin_speedup = 3.0" in document["recipe"]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["tickets.jsonl"]
    assert "| torch\n" not in done.stderr and "| transformers\n" not in done.stderr


@pytest.mark.parametrize(
    ("line", "place", "says"),
    [
        (["export", "--build", "FILE", "--no-bench"], "--build", "is no folder"),
        (["export", "--build", "FILE/deep", "--no-bench"], "--build", "is no folder"),
        (["init", "--out", "FILE/rows.toml"], "--out", "is no folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_by_its_option(
    line: list[str], place: str, says: str, tiny_model: Path, tmp_path: Path
) -> None:
    data = written(tmp_path / "rows.jsonl", ROWS)
    line = [word.replace("FILE", str(data)) for word in line]
    done = CliRunner().invoke(app, [*line, "--model", str(tiny_model), "--data", str(data)], standalone_mode=False)
    assert isinstance(done.exception, BadInput) and str(done.exception.where).startswith(place)
    assert says in done.exception.text()


def test_a_fault_of_a_drafted_recipe_names_no_file_that_is_gone(tiny_model: Path, tmp_path: Path) -> None:
    asked = Asked(str(tiny_model), str(written(tmp_path / "rows.jsonl", ROWS)), max_length=8192)
    with pytest.raises(BadInput, match="8192 tokens, but") as fault, unwritten(asked, "tickets", ask=False) as (_, path):
        explain(str(path), ["x86-vnni"], tmp_path)
    assert fault.value.where == "the drafted recipe"


def test_the_plan_reads_no_row_again(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, ends = formats._made, []

    def counted(*given: Any) -> Any:
        yield from made(*given)
        ends.append(given)

    monkeypatch.setattr(formats, "_made", counted)
    asked = Asked(str(tiny_model), str(written(tmp_path / "rows.jsonl", ROWS)))
    with unwritten(asked, "tickets", ask=False) as (_, path):
        explain(str(path), ["x86-vnni"], tmp_path)
    assert len(ends) == 1


def test_init_writes_a_recipe_that_is_planned_and_never_over_anothers(tiny_model: Path, tmp_path: Path) -> None:
    written(tmp_path / "my tickets.jsonl", ROWS)
    done = command_line.edgekit("init", "--model", str(tiny_model), "--data", "my tickets.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    recipe = tmp_path / json.loads(done.stdout)["recipe"]
    assert recipe.name == f"{tiny_model.name}-my-tickets.toml"
    assert command_line.edgekit("plan", recipe.name, cwd=tmp_path).returncode == 0
    changed = command_line.edgekit(
        "init", "--model", str(tiny_model), "--data", "my tickets.jsonl", "--lose", "2%", cwd=tmp_path
    )
    assert changed.returncode == 0 and "max_quality_drop = 0.02" in recipe.read_text(), "nobody has edited it"
    mine = recipe.read_text().replace("0.02", "0.03")
    recipe.write_text(mine)
    again = command_line.edgekit("init", "--model", str(tiny_model), "--data", "my tickets.jsonl", cwd=tmp_path)
    assert again.returncode == 2 and "is there already" in again.stderr and recipe.read_text() == mine


def test_a_task_that_does_not_fit_is_told_with_those_that_do(tiny_model: Path, tmp_path: Path) -> None:
    rows = written(tmp_path / "rows.jsonl", ROWS)
    pairs = written(tmp_path / "pairs.jsonl", [{"number": number} for number in range(9)])
    for data, wanted, says in (
        (rows, "token-classification", "leave --task out, or say what fits: --task text-classification"),
        (rows, "text-ranking", "leave --task out, or say what fits: --task text-classification"),
        (None, "token-classification", "; or leave --task out, or say what fits: --task text-classification"),
        (pairs, "token-classification", "leave --task out, as the model is for 'text-classification'"),
    ):
        with pytest.raises(BadInput) as fault:
            draft(Asked(str(tiny_model), None if data is None else str(data), task=wanted), tmp_path)
        assert says in str(fault.value.fix), fault.value.fix


def test_another_line_of_the_same_name_overwrites_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """`--data photos` and `--data q/photos` are called alike; the very same line, also with another budget, goes on."""
    (tmp_path / "q").mkdir()
    first, second = (written(tmp_path / name / "tickets.jsonl", ROWS) for name in ("", "q"))
    path = tmp_path / "tickets.toml"

    def again(data: Path, **said: Any) -> str:
        write_recipe(draft(Asked(str(tiny_model), str(data), **said), tmp_path), path, "--name NAME")
        return path.read_text()

    there = again(first)
    assert again(first) == there and "[accept]" in again(first, budget=Budget(lose=0.02))
    there = path.read_text()
    with pytest.raises(BadInput) as fault:
        again(second)
    assert fault.value.faults == ("rows: there tickets.jsonl, here q/tickets.jsonl",) and "--name NAME" in str(fault.value.fix)
    assert path.read_text() == there
    for old, new, says in (
        ('task = "text-classification"', 'task = "embeddings"', "task: there text-classification, here embeddings"),
        (tiny_model.name, "other", "model: there "),
    ):
        assert told_apart(there, Draft(there.replace(old, new), (), str(first)), tmp_path)[0].startswith(says)
    for more in ([], ["--dry-run"]):
        done = command_line.edgekit(
            "export",
            "--model",
            str(tiny_model),
            "--data",
            str(second),
            "--build",
            ".",
            "--name",
            "tickets",
            *more,
            cwd=tmp_path,
        )
        assert done.returncode == 2 and "--name NAME" in done.stderr and path.read_text() == there
    anywhere = draft(Asked(str(tiny_model), str(first)), None)
    assert anywhere.text != there and told_apart(there, anywhere, tmp_path) == [], "a dry run's paths hold anywhere"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--data", "t.jsonl"], "give either a recipe, or --model"),
        (["intents", "--model", "MODEL", "--data", "t.jsonl"], "give either a recipe"),
        (["--task", "text-classification"], "goes with --model"),
        (["--name", "a", "--label", "a=b"], "--label, --name go with --model"),
        (["--model", "MODEL", "--data", "t.jsonl", "--label", "on"], "write LABEL=NAME"),
        (["--model", "MODEL", "--data", "t.jsonl", "--label", "on=a", "--label", "on=b"], "--label on: said twice"),
        (["--model", "MODEL", "--data", "t.jsonl", "--answers", "mine"], "write rows or original"),
        (["--model", "MODEL", "--data", "t.jsonl", "--name", "a/b"], "is no name"),
        (["--model", "MODEL", "--data", "t.jsonl", "--lose", "much"], "write a share from 0% to 100%"),
        (["--model", "MODEL", "--data", "t.jsonl", "--faster", "fast"], "write a number above 0, as in 4x"),
        (["--model", "MODEL", "--data", "t.jsonl", "--smaller", "0MB"], "write a number above 0, as in 8MB"),
        (["--model", "MODEL", "--data", "t.jsonl", "--faster", "50x"], "no proven recipe keeps this budget"),
        (["--model", "MODEL", "--data", "t.jsonl", "--column", "text"], "write COLUMN=NAME"),
        (["--model", "MODEL", "--data", "t.jsonl", "--max-length", "3"], "from 8 to 8192"),
        (["--model", "MODEL", "--data", "none.jsonl"], "no such file"),
        (["--model", "MODEL", "--data", "t.jsonl", "--task", "poetry"], "poetry"),
        (["--model", "MODEL", "--data", "t.jsonl", "--column", "text=nowhere"], "nowhere"),
        (["--model", "MODEL", "--data", "t.jsonl", "--group", "nowhere"], "nowhere"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used(options: list[str], says: str, tiny_model: Path, tmp_path: Path) -> None:
    written(tmp_path / "t.jsonl", ROWS)
    done = command_line.edgekit(
        "export", *(str(tiny_model) if option == "MODEL" else option for option in options), "--dry-run", cwd=tmp_path
    )
    assert done.returncode == 2 and says in done.stderr, done.stderr[-1500:]


def test_rows_split_as_the_recipe_says(tiny_model: Path) -> None:
    from edgekit.config.recipe import Split

    made = partition([dict(row) for row in ROWS], Split(), 7)
    assert {row["label"] for row in made["test"]} == {row["label"] for row in ROWS}


def labelled(labels: Sequence[object], **more: Any) -> list[dict[str, Any]]:
    return [
        {**{name: f"{value} {number}" for name, value in more.items()}, "label": label} for number, label in enumerate(labels)
    ]


def test_numbers_are_those_of_the_models_outputs_and_said(tmp_path: Path) -> None:
    model = made_model(tmp_path / "m", ["negative", "neutral", "positive"])
    texts = [f"the movie was good {number}" for number in range(60)]
    rows = [{"review": text, "stars": number % 3, "id": 7 * number} for number, text in enumerate(texts)]
    made = draft(Asked(str(model), str(written(tmp_path / "r.jsonl", rows))), tmp_path)
    assert (
        seen(made)["column label"] == "stars"
        and 'labels = { "0" = "negative", "1" = "neutral", "2" = "positive" }' in made.text
    )
    assert seen(made)["data.labels"] == "0: negative, 1: neutral, 2: positive"
    other = draft(Asked(str(model), str(tmp_path / "r.jsonl"), labels={"0": "positive", "2": "negative"}), tmp_path)
    assert 'labels = { "2" = "negative", "1" = "neutral", "0" = "positive" }' in other.text
    with pytest.raises(BadInput, match="the model has no 'best'"):
        draft(Asked(str(model), str(tmp_path / "r.jsonl"), labels={"0": "best"}), tmp_path)


def test_names_beside_numbers_say_what_these_are(tmp_path: Path) -> None:
    names = ["negative", "neutral", "positive"]
    model = made_model(tmp_path / "m", names)
    for order, fits in ((names, True), (names[::-1], False)):
        rows = [{"text": f"a film {number}", "label": number % 3, "label_text": order[number % 3]} for number in range(60)]
        asked = Asked(str(model), str(written(tmp_path / "r.jsonl", rows)))
        if fits:
            assert seen(draft(asked, tmp_path))["data.labels"] == "0: negative, 1: neutral, 2: positive"
            continue
        with pytest.raises(
            BadInput, match="column 'label' has 0 where 'label_text' has 'positive', and output 0 of the model is 'neg"
        ):
            draft(asked, tmp_path)
        named = draft(Asked(str(model), str(tmp_path / "r.jsonl"), columns={"label": "label_text"}), tmp_path)
        assert 'columns = { label = "label_text" }' in named.text and "labels" not in named.text


def test_numbered_tags_are_the_models_and_no_row_is_named_that_is_none(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForTokenClassification

    folder = made_model(tmp_path / "m", ["O", "B-person", "I-person"])
    config = BertConfig.from_pretrained(folder)
    config.architectures = ["BertForTokenClassification"]
    BertForTokenClassification(config).save_pretrained(folder)
    rows = [{"tokens": ["we", "like", "ada"], "ner_tags": [0, number % 2, 2 * (number % 2)]} for number in range(40)]
    made = draft(Asked(str(folder), str(written(tmp_path / "r.jsonl", rows))), tmp_path)
    assert 'labels = { "0" = "O", "1" = "B-person", "2" = "I-person" }' in made.text
    assert 'columns = { tags = "ner_tags" }' in made.text
    rows[30]["ner_tags"] = [0, 9, 9]
    with pytest.raises(Unclear) as question:
        draft(Asked(str(folder), str(written(tmp_path / "r.jsonl", rows))), tmp_path)
    told = question.value.told
    assert told is not None and "'9'" in told.text() and "--label 9=NAME" in told.text() and not question.value.choices
    check_labels([["a", "b"], ["b", "b", "c"]], ["a", "b", "c"])
    with pytest.raises(BadInput, match="'z' in row 2"):
        check_labels([["a"] * 50, ["b", "z", "z"]], ["a", "b"])


def test_labels_of_another_name_are_refused_with_what_each_may_mean(tmp_path: Path) -> None:
    model = made_model(tmp_path / "m", ["negative", "positive"])
    path = written(tmp_path / "r.jsonl", labelled(["pos", "neg"] * 20, text="the movie"))
    with pytest.raises(Unclear) as question:
        draft(Asked(str(model), str(path)), tmp_path)
    text = question.value.told.text() if question.value.told is not None else ""
    assert "--label pos=positive --label neg=negative" in text and "--column label=NAME" in text
    assert [choice.options for choice in question.value.choices] == [
        "--label pos=positive --label neg=negative",
        "--answers original",
    ]
    made = draft(Asked(str(model), str(path), labels={"pos": "positive", "neg": "negative"}), tmp_path)
    assert 'labels = { "pos" = "positive", "neg" = "negative" }' in made.text


def test_the_only_column_that_could_be_the_label_is_asked_about_and_one_answer_says_both(tmp_path: Path) -> None:
    model = made_model(tmp_path / "m", ["LABEL_0", "LABEL_1"])
    rows = [
        {"title": f"no {number}", "body": f"the movie was good {number}", "xx": "yn"[number % 2], "id": 7 * number}
        for number in range(40)
    ]
    path = str(written(tmp_path / "r.jsonl", rows))
    with pytest.raises(Unclear) as question:
        draft(Asked(str(model), path), tmp_path)
    assert [choice.options for choice in question.value.choices] == [
        "--label n=LABEL_0 --label y=LABEL_1", "--label y=LABEL_0 --label n=LABEL_1", "--answers original",
    ]  # fmt: skip
    made = draft(Asked(str(model), path, labels={"y": "LABEL_0"}), tmp_path)
    assert seen(made)["column label"] == "xx" and seen(made)["data.labels"] == "y: LABEL_0, n: LABEL_1"
    for number, row in enumerate(rows):
        row["lang"] = ["en", "de"][number % 3 > 0]
    with pytest.raises(Unclear, match="several columns could be the label") as question:
        draft(Asked(str(model), str(written(tmp_path / "s.jsonl", rows))), tmp_path)
    assert [choice.value for choice in question.value.choices] == ["xx", "lang", "none"]
    with_labels = draft(Asked(str(model), str(tmp_path / "s.jsonl"), labels={"y": "LABEL_0"}), tmp_path)
    assert seen(with_labels)["column label"] == "xx", "the column that holds the labels which were named"


def test_labels_that_are_many_are_asked_for_at_once_and_few_one_by_one() -> None:
    assert [choice.value for choice in what_labels_mean(["x", "y", "z"], ["LABEL_0", "LABEL_1", "LABEL_2"])] == [
        "x = LABEL_0", "x = LABEL_1", "x = LABEL_2", "none",
    ]  # fmt: skip
    many = what_labels_mean([*"dcbaef"], [f"LABEL_{number}" for number in range(6)])
    assert [choice.says[0] for choice in many] == [
        ("--label", "a", "LABEL_0"),
        ("--label", "d", "LABEL_0"),
        ("--answers", "", "original"),
    ]
    assert what_labels_mean([*"abcdef"], ["one", "two"]) == [], "nothing that a choice could say"


def test_of_two_columns_of_the_models_labels_one_is_asked_for_or_the_other_told(tmp_path: Path) -> None:
    """Of `intent` and `predicted` the one was taken, and the other not told."""
    model = made_model(tmp_path / "m", ["one", "two", "three"])
    names = ["one", "two", "three"] * 20

    def made(**columns: list[str]) -> Draft:
        values = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        rows = [{"text": f"please do so {number}", **row} for number, row in enumerate(values)]
        return draft(Asked(str(model), str(written(tmp_path / "r.jsonl", rows))), tmp_path)

    gaps = [name if number % 5 else "-" for number, name in enumerate(names[::-1])]
    for first, other in (("intent", names[::-1]), ("label", gaps), ("annotator_a", gaps)):
        told = made(**{first: names, "other": other})
        assert seen(told)["column label"] == first
        (why,) = (one.reason for one in told.seen if (one.setting, one.value) == ("not read", "other"))
        assert f"{first!r} is read" in why and "--column label=other" in why
    for columns in (("annotator_a", "annotator_b"), ("intent", "category")):
        with pytest.raises(Unclear, match="several columns could be the label"):
            made(**dict(zip(columns, (names, names[::-1]), strict=True)))
    assert seen(made(annotator_a=names, annotator_b=names))["column label"] == "annotator_a", "they say the same"


def test_columns_that_are_not_read_are_told_with_what_would_have_them_read(tiny_model: Path, tmp_path: Path) -> None:
    rows = [
        {**row, "title": "a light in the house of the owner and of all others", "id": number} for number, row in enumerate(ROWS)
    ]
    made = draft(Asked(str(tiny_model), str(written(tmp_path / "r.jsonl", rows))), tmp_path)
    unread = {one.value: one.reason for one in made.seen if one.setting == "not read"}
    assert (
        set(unread) == {"title", "id"}
        and "--column text=title; as the second text of a pair: --column text_pair=title" in unread["title"]
    )
    both = draft(Asked(str(tiny_model), str(tmp_path / "r.jsonl"), columns={"text_pair": "title"}, group="id"), tmp_path)
    assert seen(both)["column text_pair"] == "title" and "not read" not in seen(both)


def test_rows_without_a_label_are_compared_with_the_original(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"ticket": row["text"], "priority": ["high", "low"][number % 2]} for number, row in enumerate(ROWS)]
    path = written(tmp_path / "r.jsonl", rows)
    made = draft(Asked(str(tiny_model), str(path)), tmp_path)
    assert 'answers = "original"' in made.text and 'columns = { text = "ticket" }' in made.text
    (why,) = (one.reason for one in made.seen if one.setting == "data.answers")
    assert "priority ('high', 'low')" in why and "agreement with the original" in why
    with pytest.raises(BadInput) as fault:
        draft(Asked(str(tiny_model), str(path), answers="rows"), tmp_path)
    assert "no column of the rows could be its label" in fault.value.text() and "--column label=priority" in fault.value.text()
    labelled_rows = draft(Asked(str(tiny_model), str(written(tmp_path / "l.jsonl", ROWS)), answers="original"), tmp_path)
    assert 'answers = "original"' in labelled_rows.text and "column label" not in seen(labelled_rows)


def test_who_says_that_the_original_is_right_is_told_so(tiny_model: Path, tmp_path: Path) -> None:
    made = draft(Asked(str(tiny_model), str(written(tmp_path / "r.jsonl", ROWS)), answers="original"), tmp_path)
    assert next(one.reason for one in made.seen if one.setting == "data.answers").startswith("as you said")


def test_two_texts_by_names_that_belong_together_and_the_only_numbers(tmp_path: Path, draws: Any) -> None:
    model = made_model(tmp_path / "m", ["LABEL_0"], problem_type="regression")
    for first, second in (("first", "second"), ("text_a", "text_b"), ("q1", "q2"), ("Left", "right")):
        rows = [
            {"no": number, first: sentence(draws), second: sentence(draws), "closeness": number * 3 % 7} for number in range(30)
        ]
        made = draft(Asked(str(model), str(written(tmp_path / "r.jsonl", rows))), tmp_path)
        assert [seen(made)[f"column {one}"] for one in ("text", "text_pair", "label")] == [first, second, "closeness"]


def test_text_that_runs_from_right_to_left_is_said(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"text": f"שלום עולם {number}", "label": row["label"]} for number, row in enumerate(ROWS)]
    assert (
        seen(draft(Asked(str(tiny_model), str(written(tmp_path / "r.jsonl", rows))), tmp_path))["text direction"]
        == "right to left"
    )


def test_a_long_file_is_looked_at_over_its_whole_length(tiny_model: Path, tmp_path: Path) -> None:
    labels = sorted({row["label"] for row in ROWS})
    rows = [{"a": f"a text of words {label} {number}", "b": label} for label in labels for number in range(2600)]
    made = draft(Asked(str(tiny_model), str(written(tmp_path / "r.jsonl", rows))), tmp_path)
    assert seen(made)["column label"] == "b"


def test_a_revision_is_written_as_recipes_have_it() -> None:
    from edgekit.cli.drafting import recipe_name
    from edgekit.draft.draft import _model

    assert _model("owner/name@v1", None) == ['id = "owner/name"', 'revision = "v1"']
    assert recipe_name(Asked("owner/name@v1", "hub:owner/rows")) == "name-rows" and recipe_name(Asked("a/b"), "mine") == "mine"


def test_rows_of_rerankers_as_they_come(tmp_path: Path, draws: Any) -> None:
    model = made_model(tmp_path / "m", ["LABEL_0"])
    queries = [sentence(draws) for _ in range(20)]
    one_each = [
        {"search_query": query, "passage": sentence(draws, 12), "rel": number % 2} for query in queries for number in range(3)
    ]
    made = draft(Asked(str(model), str(written(tmp_path / "a.jsonl", one_each))), tmp_path)
    assert seen(made)["task"] == "text-ranking"
    assert 'columns = { query = "search_query", passages = "passage", relevance = "rel" }' in made.text
    several = [{"query": query, "positive": sentence(draws), "negatives": [sentence(draws)] * 2} for query in queries]
    made = draft(Asked(str(model), str(written(tmp_path / "b.jsonl", several))), tmp_path)
    assert seen(made)["task"] == "text-ranking" and "columns" not in made.text
    alone = [{"query": sentence(draws), "passage": sentence(draws), "label": number / 40} for number in range(40)]
    made = draft(Asked(str(model), str(written(tmp_path / "c.jsonl", alone))), tmp_path)
    assert seen(made)["task"] == "text-regression", "where no query has several passages there is nothing to put in order"


def test_a_cross_encoder_as_its_library_saves_it_is_no_model_of_embeddings(tmp_path: Path, draws: Any) -> None:
    model = made_model(tmp_path / "m", ["LABEL_0"])
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
    (model / "modules.json").write_text(json.dumps([module]))
    said = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity", "prompts": {"q": "Query: "}}
    (model / "config_sentence_transformers.json").write_text(json.dumps(said))
    rows = [{"query": sentence(draws), "passages": [sentence(draws), sentence(draws)], "relevance": [1, 0]} for _ in range(40)]
    data = str(written(tmp_path / "a.jsonl", rows))
    assert seen(draft(Asked(str(model), data), tmp_path))["task"] == "text-ranking"
    (model / "config_sentence_transformers.json").write_text(json.dumps({**said, "default_prompt_name": "q"}))
    with pytest.raises(BadInput, match="the rows are those of a task that this model is not for") as refused:
        draft(Asked(str(model), data), tmp_path)
    assert "default_prompt_name" in refused.value.faults[0]


def test_rows_of_language_models_as_they_come(tmp_path: Path) -> None:
    from edgekit.data.sources import sources_of
    from edgekit.plan.recipes import load_recipe
    from edgekit.plan.rows import row_check
    from tests.tiny_decoders import checkpoint

    model = checkpoint("llama", tmp_path / "m")
    settings = json.loads((model / "tokenizer_config.json").read_text()) if (model / "tokenizer_config.json").is_file() else {}
    template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    template += "{% if add_generation_prompt %}[assistant]{% endif %}"
    said = [{"role": "user", "content": "once upon a time"}, {"role": "assistant", "content": "there was"}]
    rows = [{"messages": [{**said[0], "content": f"once {number}"}, said[1]]} for number in range(40)]
    path = written(tmp_path / "r.jsonl", rows)
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": template}))
    made = draft(Asked(str(model), str(path)), tmp_path)
    assert seen(made)["task"] == "text-generation" and "columns" not in made.text
    (tmp_path / "r.toml").write_text(made.text)
    _, _, recipe = load_recipe(str(tmp_path / "r.toml"))
    check = row_check(recipe, str(model))
    assert check is not None and check.write is not None and sources_of(recipe.data, tmp_path, 7).file is not None
    text, fault = check.write(said, {})
    assert fault is None and text is not None and text.endswith("[user] once upon a time\n[assistant] there was\n")
    assert check.write(said[:1], {})[0] == text.replace(" there was\n", "")
    assert check.write([{**said[0], "id": 7}, said[1]], {"documents": ["x"]}) == (text, None), "notes that no template reads"
    asked = template.replace("{{ m.content }}", "{{ m.reasoning_content }}{{ m.content }}{{ tools }}{{ m.id }}")
    brief = [{"role": "developer", "content": "be brief"}, *said]
    for changed, row, beside, fault in (
        (
            template.replace("in messages", "in messages if m.role in ['user', 'assistant']"),
            brief,
            {},
            "leaves 'developer' messages out",
        ),
        (template, [said[0], {**said[1], "tool_calls": [{}]}], {}, "message 1 has 'tool_calls'"),
        (asked, [said[0], {**said[1], "reasoning_content": "hm"}], {}, "message 1 has 'reasoning_content'"),
        (asked, said, {"tools": [{}]}, "the row has 'tools'"),
    ):
        (model / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": changed}))
        check = row_check(recipe, str(model))
        assert check is not None and check.write is not None
        written_as, told = check.write(row, beside)
        assert written_as is None and told is not None and fault in told


def test_the_number_format_of_a_language_model(tmp_path: Path) -> None:
    """In the recipe whole, as edgekit rounds without a word; of an encoder refused, whose target says it."""
    from edgekit.plan.recipes import load_recipe
    from tests.tiny_decoders import checkpoint

    model = checkpoint("llama", tmp_path / "m")
    for asked, wanted in (("int4-weights", ("int4-weights", 32, "gptq")), ("int8-weights", ("int8-weights", 64, "clip"))):
        made = draft(Asked(str(model), format=asked), tmp_path)
        assert seen(made)["quantize.format"] == asked
        (tmp_path / "r.toml").write_text(made.text)
        quantize = load_recipe(str(tmp_path / "r.toml"))[2].quantize
        assert isinstance(quantize, WeightOnly) and (quantize.format, quantize.block, quantize.rounding) == wanted
        assert asked == "int4-weights" or quantize == DEFAULT
    assert "quantize" not in draft(Asked(str(model)), tmp_path).text
    assert recipe_name(Asked("a/b", "r.txt", format="int4-weights")) == "b-r-int4-weights", "beside the result in 8 bits"
    classifier = made_model(tmp_path / "c", ["a", "b"])
    with pytest.raises(BadInput, match="--format is for language models, and the task is text-classification"):
        draft(Asked(str(classifier), format="int4-weights"), tmp_path)


def test_several_columns_that_are_called_labels_are_asked_for(tmp_path: Path) -> None:
    """TREC's label-coarse and label-fine, gold and predicted labels: the name nearest to `label` was taken. Names of the numbers are no other."""
    model = made_model(tmp_path / "m", ["a", "b", "c"])

    def made(**columns: int) -> Draft:
        rows = [{"text": f"ada {number} bob", **{name: number % of for name, of in columns.items()}} for number in range(40)]
        return draft(Asked(str(model), str(written(tmp_path / "rows.jsonl", rows))), tmp_path)

    with pytest.raises(Unclear, match="several columns could be the label") as question:
        made(**{"label-coarse": 3, "label-fine": 2})
    assert [choice.value for choice in question.value.choices] == ["label-coarse", "label-fine", "none"]
    assert seen(made(**{"label-coarse": 3, "label-fine": 9}))["column label"] == "label-coarse", "the model has three outputs"
    assert seen(made(label_id=3, label_number=3))["column label"] == "label_id"


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        (("negative", "neutral", "positive"), False), (("POSITIVE", "NEGATIVE", "NEUTRAL"), True), (("NEG", "POS"), False),
        (("CONTRADICTION", "NEUTRAL", "ENTAILMENT"), True), (("entailment", "neutral", "contradiction"), False),
        (("entailment", "not_entailment"), False), (("not_entailment", "entailment"), True), (("yes", "no"), True),
        (("O", "B-MISC", "I-MISC", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"), True),
        (("not-hate", "hate"), False), (("hate", "not-hate"), True), (("sport", "politics", "film"), False),
    ],
)  # fmt: skip
def test_numbers_of_names_that_data_sets_number_otherwise_are_asked_for(known: tuple[str, ...], asked: bool) -> None:
    """0 of MNLI is entailment, and output 0 of roberta-large-mnli contradiction: it was scored with both the wrong way round."""
    found = meaning_of([str(number) for number in range(len(known))], known, {})
    assert bool(found.unknown) == asked and bool(found.table) != asked
    if asked:
        usual, stated, _ = what_labels_mean(found.unknown, known)
        assert (usual.what, stated.what) == (
            "as data sets number them",
            "in the order of config.json",
        ) and usual.says != stated.says
        assert [name for _, _, name in stated.says] == [*known]
    assert meaning_of(["0", "1"], ("POSITIVE", "NEGATIVE"), {"0": "NEGATIVE"}).table == {"1": "POSITIVE", "0": "NEGATIVE"}


@pytest.mark.parametrize(
    ("document", "more"),
    [
        ([{"text": "a b", "label": "on"}] * 3, None),
        ({"version": 1, "items": [{"text": "a b", "label": "on"}] * 3}, 'members = ["items"]'),
        ([["a b", "on"]] * 3, 'names = ["column 1", "column 2"]'),
        ({"items": [["a b", "on"]] * 3}, 'names = ["column 1", "column 2"], members = ["items"]'),
        ({"text": ["a b"] * 3, "label": ["on"] * 3}, None),
        ({"data": [{"title": "t", "paragraphs": [{"context": "a b", "qas": []}]}]}, 'format = "squad"'),
        (None, 'format = "jsonl"'),
    ],
    ids=["a list", "an object", "lists", "lists in an object", "columns", "SQuAD's", "a row a line"],
)
def test_json_is_read_as_it_is(document: Any, more: str | None, tmp_path: Path) -> None:
    from edgekit.draft.draft import _sources
    from edgekit.draft.rows import read_for_draft

    path = tmp_path / "r.json"
    row = {"question": "b", "id": "1", "answers": [{"text": "b", "answer_start": 2}]}
    if isinstance(document, dict) and "data" in document:
        document["data"][0]["paragraphs"][0]["qas"] = [row] * 3
    path.write_text(json.dumps(document) if document is not None else '{"text": "a b", "label": "on"}\n' * 3)
    rows = read_for_draft(str(path))
    assert rows.count == 3
    (line,) = _sources(rows, tmp_path)
    assert line == ('file = "r.json"' if more is None else f'file = {{ path = "r.json", {more} }}')


def test_a_model_of_a_kind_that_no_task_is_for_is_named(tmp_path: Path) -> None:
    model = made_model(tmp_path / "m", ["a", "b"])
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps({**config, "model_type": "speecht5", "architectures": ["SpeechT5ForSpeechToText"]})
    )
    for data in (None, str(written(tmp_path / "r.jsonl", ROWS))):
        with pytest.raises(BadInput, match="no task is for a model of this kind") as fault:
            draft(Asked(str(model), data), tmp_path)
        assert "SpeechT5ForSpeechToText" in fault.value.text()
    (model / "config.json").write_text(
        json.dumps({**config, "model_type": "vit", "architectures": ["ViTForImageClassification"]})
    )
    with pytest.raises(BadInput, match="is asked about images") as fault:
        draft(Asked(str(model), None), tmp_path)
    assert "--data FOLDER" in fault.value.text()


def test_what_a_head_is_not_for_is_not_told_where_columns_are_what_is_missing(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"body": f"a letter about thing {number}", "amount": number * 1.5} for number in range(40)]
    with pytest.raises(BadInput) as fault:
        draft(Asked(str(tiny_model), str(written(tmp_path / "r.jsonl", rows)), answers="rows"), tmp_path)
    assert "id2label" not in fault.value.text() and "as in --column label=NAME" in fault.value.text()


def test_a_person_is_asked_each_thing_once_and_little(tmp_path: Path, draws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.cli import drafting

    folder = made_model(tmp_path / "sentences", ["a", "b"])
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}])
    )
    rows = [{"utter": sentence(draws), "colour": ["red", "blue"][number % 2], "size": f"s{number % 3}"} for number in range(60)]
    asked: list[str] = []

    def answer(question: Unclear) -> Choice:
        asked.append(question.why)
        return next(choice for choice in question.choices if choice.value in ("text-classification", "colour"))

    monkeypatch.setattr(drafting, "_answer", answer)
    monkeypatch.setattr(drafting, "_at_a_terminal", lambda: True)
    made = drafting.drafted(Asked(str(folder), str(written(tmp_path / "r.jsonl", rows))), tmp_path, ask=True)
    assert seen(made)["column label"] == "colour" and len(asked) == len(set(asked)) <= 5

    def never(asked: Asked, folder: Path | None) -> Draft:
        raise Unclear("again", [Choice("x", "", (("--task", "", "x"),))])

    monkeypatch.setattr("edgekit.draft.draft", never)
    monkeypatch.setattr(drafting, "_answer", lambda question: asked.append("again") or question.choices[0])
    asked.clear()
    with pytest.raises(BadInput, match="again"):
        drafting.drafted(Asked("m"), tmp_path, ask=True)
    assert len(asked) == 5


def test_the_time_is_said_and_grows_with_what_is_computed(tiny_model: Path, tmp_path: Path) -> None:
    from edgekit.draft.duration import Machine, about, line_seconds
    from edgekit.draft.proven import Workload

    made = draft(Asked(str(tiny_model), str(written(tmp_path / "r.jsonl", ROWS))), tmp_path)
    assert seen(made)["time"].startswith("about ")
    here, small = Machine(1, 2e11, 2), Workload(100, 12, 10_000, 1, scored=20)
    seconds = line_seconds("encoder", small, here)
    assert line_seconds("encoder", small, Machine(3, 2e11, 2)) > 2.9 * seconds
    assert line_seconds("encoder", Workload(100, 12, 80_000_000, 400, scored=5000), here) > 2 * seconds
    assert [about(one) for one in (4, 34, 100, 500, 4000)] == [
        "about 10 s",
        "about 30 s",
        "about 2 min",
        "about 8 min",
        "about 1 h",
    ]


def tagger(folder: Path) -> Path:
    from transformers import BertConfig, BertForTokenClassification

    made_model(folder, ["O", "B-person", "I-person"])
    config = BertConfig.from_pretrained(folder)
    config.architectures = ["BertForTokenClassification"]
    BertForTokenClassification(config).save_pretrained(folder)
    return folder


def test_one_word_a_row_and_lists_that_pandas_wrote_are_words(tmp_path: Path) -> None:
    model = tagger(tmp_path / "m")
    words = [
        {"Sentence #": f"Sentence: {n // 3}" if n % 3 == 0 else "", "Word": "ada", "Tag": ["B-person", "O", "O"][n % 3]}
        for n in range(60)
    ]
    made = draft(Asked(str(model), str(written(tmp_path / "a.jsonl", words))), tmp_path)
    assert 'columns = { tokens = "Word", tags = "Tag" }' in made.text and seen(made)["task"] == "token-classification"
    lists = [{"tokens": "['we', 'like', 'ada']", "ner_tags": "['O', 'O', 'B-person']"} for _ in range(40)]
    made = draft(Asked(str(model), str(written(tmp_path / "b.jsonl", lists))), tmp_path)
    assert 'columns = { tags = "ner_tags" }' in made.text
    (length,) = (one.reason for one in made.seen if one.setting == "model.max_length")
    assert "the longest of 40 rows has 3 tokens" in length or "has 5 tokens" in length, length


def test_true_and_false_are_the_outputs_of_two_and_joined_labels_are_told(tmp_path: Path, draws: Any) -> None:
    two = made_model(tmp_path / "two", ["negative", "positive"])
    rows = [{"text": sentence(draws), "is_good": str(number % 2 == 0)} for number in range(40)]
    made = draft(Asked(str(two), str(written(tmp_path / "a.jsonl", rows))), tmp_path)
    assert 'labels = { "False" = "negative", "True" = "positive" }' in made.text
    many = made_model(tmp_path / "many", ["a", "b"], problem_type="multi_label_classification")
    rows = [{"text": sentence(draws), "topics": ["a|b", "b"][number % 2]} for number in range(40)]
    with pytest.raises(BadInput, match="'topics' holds several labels in one text") as fault:
        draft(Asked(str(many), str(written(tmp_path / "b.jsonl", rows))), tmp_path)
    assert '["a", "b"]' in fault.value.text()


def test_rows_of_any_kind_and_with_columns_missing_are_fitted_or_refused() -> None:
    import random

    from edgekit.draft.fit import Said, fit_columns
    from edgekit.draft.tasks import _in_a_form
    from edgekit.tasks import find_task, task_names

    chance = random.Random(5)
    names = [
        "query",
        "passages",
        "relevance",
        "positive",
        "negatives",
        "messages",
        "prompt",
        "completion",
        "text",
        "tokens",
        "tags",
        "label",
    ]
    values = [
        None,
        True,
        1,
        -2.5,
        "",
        " ",
        "a b",
        "['a' 'b']",
        "[1,",
        ["x", 1],
        {"text": "t"},
        [{"role": "user", "content": 1}],
    ]
    for _ in range(300):
        rows = [{name: chance.choice(values) for name in chance.sample(names, chance.randrange(1, 8))} for _ in range(4)]
        for task in map(find_task, task_names()):
            try:
                fit_columns(task.columns, task.optional, task.kinds, rows, chance.choice([None, ("a", "b")]), Said())
                _in_a_form(task, rows, Said())
            except (BadInput, Unclear):
                pass


@pytest.mark.parametrize(
    ("answer", "meant"),
    [("1", "category"), ("2", "label"), ("label", "label"), ("3", None), ("0", None), ("x", None), ("", None)],
)
def test_a_choice_is_said_by_its_number_or_its_name(answer: str, meant: str | None) -> None:
    assert chosen(answer, ["category", "label"]) == meant


def test_a_name_that_is_a_number_is_a_name() -> None:
    assert chosen("2", ["2", "1"]) == "2"


def test_every_choice_is_shown_as_typed() -> None:
    choices = [
        Choice("a b", "one", (("--column", "label", "a b"),)),
        Choice("c", "two", (("--task", "", "c"), ("--label", "d", "e"))),
    ]
    assert [choice.options for choice in choices] == ["--column 'label=a b'", "--task c --label d=e"]


@pytest.mark.parametrize(
    ("label", "name"), [("pos", "NAME"), ("neg", "NAME"), ("book_flights", "book_flight"), ("bal", "balance")]
)
def test_only_what_is_near_is_guessed(label: str, name: str) -> None:
    assert guessed([label], ["oos", "book_flight", "balance", "next_song"])[label] == name


@pytest.mark.parametrize(
    ("labels", "known", "wanted"),
    [
        (
            ["next", "international"],
            ["text", "international_visa"],
            ["NAME", "NAME"],
        ),  # coarse labels: like, and a word of a name
        (["Balances", "balance!"], ["balance", "oos"], ["NAME", "NAME"]),  # one name for two
        (["travl alert"], ["travel_alert", "travel_alerts"], ["NAME"]),
        (["Travel Alrt", "intent 3"], ["travel_alert", "intent_1", "intent_2"], ["travel_alert", "NAME"]),
        (["4", "neg"], ["4 stars", "5 stars", "negative"], ["4 stars", "negative"]),
        (["__label__neg", "__label__positive"], ["negative", "positive"], ["negative", "positive"]),
        (["sentiment/negative", "sentiment/positive"], ["positive", "negative"], ["negative", "positive"]),
        (["-1", "-2"], ["1", "2"], ["NAME", "NAME"]),
        (["S-PER", "PER-B", "LOC"], ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], ["NAME", "B-PER", "NAME"]),
        (["1", "3"], ["LABEL_0", "LABEL_1", "LABEL_2"], ["LABEL_0", "LABEL_2"]),  # counted from 1
        (["1", "3"], ["3 stars", "2 stars", "1 star"], ["1 star", "3 stars"]),
    ],
)
def test_a_name_that_is_one_of_several_or_for_several_is_not_guessed(
    labels: list[str], known: list[str], wanted: list[str]
) -> None:
    assert guessed(labels, known) == dict(zip(labels, wanted, strict=True))


def test_numbers_that_count_from_one_and_marks_of_no_label_are_asked_for(tmp_path: Path) -> None:
    """1 was read as LABEL_1, the second, and LABEL_0 offered for 3; and an output of the model for the - of SNLI."""
    for known in (["LABEL_0", "LABEL_1", "LABEL_2"], ["low", "middle", "high"]):
        assert set(meaning_of(["3", "1", "2"], known, {}).unknown) == {"1", "2", "3"}
        (first, *_) = what_labels_mean(["1", "2", "3"], known)
        assert first.options == " ".join(f"--label {number}={name}" for number, name in enumerate(known, 1))
    assert not meaning_of(["1", "2"], ["LABEL_0", "LABEL_1", "LABEL_2"], {}).unknown
    model = made_model(tmp_path / "m", ["no", "yes"])
    for mark, others in (("-", ["no", "yes"]), ("-1", ["no", "yes"]), ("N/A", ["No", "yes"])):
        path = written(tmp_path / "r.jsonl", labelled([*others * 20, mark], text="the movie was good"))
        with pytest.raises(Unclear) as question:
            draft(Asked(str(model), str(path)), tmp_path)
        assert question.value.told is not None and f"take the rows with {mark!r} out" in question.value.told.text()
        assert not question.value.choices
    german = ["wut", "angst", "freude", "liebe"]
    assert what_labels_mean(german, ["anger", "fear", "joy", "love"]) == [], "names are no order of the alphabet"


def test_many_labels_are_said_in_a_file_which_is_written_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{kind}_{what}" for kind in ("book", "cancel", "find") for what in ("flight", "hotel", "table", "taxi")]
    model, meant = made_model(tmp_path / "m", names), dict(zip("abcdefghijkl", names, strict=True))
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "r.jsonl", labelled([*meant] * 6, text="please do so"))
    options = Options(None, None, None, None, None, None, None, None, None)
    with pytest.raises(BadInput) as refused:
        drafted(asked_of(str(model), str(path), options), tmp_path, ask=False)
    assert "all 12 in one file: with --label @labels.toml" in refused.value.text()
    asked = asked_of(str(model), str(path), replace(options, label=["@labels.toml", "a=book_flight"]))
    with pytest.raises(BadInput, match="11 labels were written here, 11 of them with NAME"):
        drafted(asked, tmp_path, ask=False)
    text = (tmp_path / "labels.toml").read_text()
    assert tomllib.loads(text) == {"a": "book_flight"} | dict.fromkeys([*meant][1:], "NAME") and '#   "find_taxi"' in text
    with pytest.raises(BadInput, match="no 'NAME'"):
        drafted(asked_of(str(model), str(path), replace(options, label=["@labels.toml"])), tmp_path, ask=False)
    for label, name in meant.items():
        text = text.replace(f'"{label}" = "NAME"', f'"{label}" = "{name}"')
    (tmp_path / "labels.toml").write_text(text)
    made = drafted(asked_of(str(model), str(path), replace(options, label=["@labels.toml"])), tmp_path, ask=False)
    assert tomllib.loads(made.text)["data"]["labels"] == meant
    assert '\n[data.labels]\n"a" = "book_flight"\n"b" = ' in made.text, "a line each"
    with pytest.raises(BadInput, match="no such file, and no label is open"):
        drafted(asked_of(str(model), str(path), replace(options, label=["@labels.toml", "@other.toml"])), tmp_path, ask=False)
    (tmp_path / "odd.toml").write_text("a = 1\n")
    with pytest.raises(BadInput, match="'a' is no label with a name"):
        asked_of(str(model), str(path), replace(options, label=["@odd.toml"]))


@pytest.mark.parametrize("more", [("ticket_id", "created"), ("created",), ("ticket_id",), ()])
def test_what_one_task_leaves_open_is_not_asked_where_another_fits(tmp_path: Path, more: tuple[str, ...]) -> None:
    """A head called `classifier` may be of texts or of tokens; columns beside the label must not become a question about tags."""
    model = made_model(tmp_path / "model", [f"intent_{number}" for number in range(6)])
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    beside = {"ticket_id": lambda number: f"T{number % 17}", "created": lambda number: f"2026-01-0{number % 7 + 1}"}
    rows = [
        {
            **{name: beside[name](number) for name in more},
            "message": f"please help me with number {number}",
            "category": f"intent_{number % 6}",
        }
        for number in range(120)
    ]
    made = seen(draft(Asked(str(model), str(written(tmp_path / "tickets.jsonl", rows))), tmp_path))
    assert (made["task"], made["column label"], made["column text"]) == ("text-classification", "category", "message")
