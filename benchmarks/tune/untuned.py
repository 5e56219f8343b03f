"""Three data sets that no recipe was tuned on, as rows and a plain recipe each: `python -m benchmarks.tune.untuned MR STSB_CSV SQUAD_JSON OUT`.

`mr`: sentiment of film snippets, as it lies in the folder MR (train, validation and test as JSON lines). `meaning`: pairs of STS-b, of
which the score of people becomes a label: 3.5 or more of 5 is "same", 1.5 or less is "other", what lies between is left out; the texts of a
pair stand behind one another. `article`: which of SQuAD's articles a question is about, by those with 100 questions or more, a random
part of the questions for each split.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

SPLITS = ("train", "validation", "test")
SAME, OTHER = 3.5, 1.5
"""Scores from and up to which a pair's label is certain enough."""
LEAST_QUESTIONS = 100
RECIPE = """schema = 1
task = "text-classification"
seed = 7

[model]
id = "sentence-transformers/all-MiniLM-L6-v2"
revision = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
max_length = 128
licence = "apache-2.0"

[model.finetune]
epochs = 6
batch = 32
learning_rate = 2e-4
precision = "bf16"

[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"

[accept]
max_quality_drop = 0.01
"""
Row = tuple[str, str]


def main(mr: Path, stsb: Path, squad: Path, out: Path) -> None:
    """Write OUT/NAME/NAME.toml with its rows for each of the three."""
    for split in SPLITS:
        _folder(out, "mr")
        shutil.copyfile(mr / f"{split}.jsonl", out / "mr" / f"{split}.jsonl")
    for split, name in zip(SPLITS, ("train", "dev", "test"), strict=True):
        _write(_folder(out, "meaning") / f"{split}.jsonl", pairs(stsb / f"stsb-en-{name}.csv"))
    rows = questions(squad)
    random.Random(7).shuffle(rows)
    ends = (0, int(0.7 * len(rows)), int(0.82 * len(rows)), len(rows))
    for split, first, last in zip(SPLITS, ends, ends[1:], strict=False):
        _write(_folder(out, "article") / f"{split}.jsonl", rows[first:last])


def pairs(path: Path) -> list[Row]:
    """(both texts, whether they mean the same) of the pairs that people are sure of."""
    with path.open(encoding="utf-8", newline="") as file:
        scored = [(one, two, float(score)) for one, two, score in csv.reader(file)]
    return [(f"{one} | {two}", "same" if score >= SAME else "other") for one, two, score in scored if not OTHER < score < SAME]


def questions(path: Path) -> list[Row]:
    """(question, title of its article) of the articles with enough of them."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    rows = {one["title"]: [asked["question"] for part in one["paragraphs"] for asked in part["qas"]] for one in articles}
    return [(text, title) for title, texts in rows.items() if len(texts) >= LEAST_QUESTIONS for text in dict.fromkeys(texts)]


def _folder(out: Path, name: str) -> Path:
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(f"# edgekit tune {name}.toml\n{RECIPE}", encoding="utf-8")
    return folder


def _write(path: Path, rows: Iterable[Row] | Sequence[Row]) -> None:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
