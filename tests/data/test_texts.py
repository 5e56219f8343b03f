"""The texts that are shipped: how many, of what kinds, and that their splits are the same everywhere."""

from __future__ import annotations

import json
import subprocess
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from edgekit.data.disjoint import fold
from edgekit.data.sources import Sources
from edgekit.data.splits import prepare
from edgekit.data.texts import FILE, every_text, generate
from edgekit.errors import BadInput


def test_there_are_enough_of_many_kinds_languages_and_lengths() -> None:
    texts = every_text()
    words = [len(one["text"].split()) for one in texts]
    assert len(texts) >= 300 and min(words) == 1 and 100 <= max(words) <= 150
    assert len({fold(one["text"]) for one in texts}) == len(texts)
    assert {"command", "question", "review", "news", "chat", "technical", "address", "list"} <= {one["kind"] for one in texts}
    assert len({one["language"] for one in texts}) >= 12
    scripts = Counter(unicodedata.name(one["text"][len(one["text"]) // 2], "?").split()[0] for one in texts)
    assert {"LATIN", "CYRILLIC", "CJK", "ARABIC", "DEVANAGARI", "GREEK", "HEBREW", "HANGUL"} <= set(scripts)
    assert all(set(one) == {"kind", "language", "text"} and one["text"] == one["text"].strip() for one in texts)


def test_the_splits_are_the_same_for_every_seed_and_hold_every_text_once() -> None:
    one, other = generate(1, None), generate(2, None)
    assert one == other
    assert sum(map(len, one.values())) == len(every_text())
    assert min(map(len, one.values())) >= 60 and len(one["test"]) >= 120
    with pytest.raises(BadInput, match="length of its own"):
        generate(1, 100)


def test_a_tagger_gets_their_words(tmp_path: Path) -> None:
    prepare(Sources(builtin="texts"), ("tokens",), tmp_path, kinds={"tokens": "split"})
    rows = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [" ".join(row["tokens"]) for row in rows] == [" ".join(row["text"].split()) for row in generate(0, None)["test"]]
    assert all(set(row) == {"tokens"} for row in rows)


def test_git_has_the_file_so_that_wheel_and_source_archive_do() -> None:
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", f"edgekit/data/{FILE}"], cwd=folder, capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == f"edgekit/data/{FILE}"
