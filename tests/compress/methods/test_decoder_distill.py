"""distill-decoder: students of every family come nearer to their teacher by each source of text, resume, and stay as sparse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from edgekit.compress.method import Work
from edgekit.compress.methods import distill_decoder
from edgekit.errors import BadInput
from edgekit.models.checkpoint import load, save
from edgekit.models.stack import blocks_of, keep_blocks
from edgekit.tasks import find_task
from edgekit.tasks.encode import encode, read_split
from edgekit.train.evaluate import inverse_perplexity, quality_of
from tests.compress.decoder_rows import FAMILIES, LENGTH, work_on

TASK = find_task("text-generation")
WRITTEN = {"prompt": 6, "tokens": 12}


def settings(source: str, **more: Any) -> distill_decoder.Settings:
    asked = {"epochs": 2, "batch": 8, "learning_rate": 3e-3, **({} if source == "rows" else WRITTEN), **more}
    return distill_decoder.Settings(method="distill-decoder", source=source, **asked)


def halved(work: Work, folder: Path) -> Work:
    """The same work, its source without the last block."""
    model = load(work.source, TASK.auto)
    save(keep_blocks(model, [0]), folder, tokenizer_files_from=work.source)
    return replace(work, source=folder)


def distance(work: Work, student: Path) -> float:
    """KL of the teacher from a student over the validation rows, a token."""
    data = encode(work.source, read_split(work.rows, "validation"), TASK, LENGTH)
    feed = data.feed(torch.arange(len(data.windows)).numpy())
    mask = feed["attention_mask"].bool()
    with torch.no_grad():
        theirs, ours = (
            torch.log_softmax(load(folder, TASK.auto)(**feed).logits[mask], dim=-1) for folder in (work.original, student)
        )
    return float((theirs.exp() * (theirs - ours)).sum(dim=-1).mean())


@pytest.mark.parametrize("source", ["rows", "sequence", "on-policy"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_comes_nearer_to_its_teacher(family: str, source: str, tmp_path: Path) -> None:
    work = halved(work_on(family, tmp_path), tmp_path / "half")
    made = distill_decoder.run(work, settings(source, **({} if source == "on-policy" else {"alpha": 1.0})))
    assert distance(work, work.out) < 0.9 * distance(work, work.source)
    assert len(blocks_of(load(work.out, TASK.auto))) == 1 and len(made["history"]["quality"]) == 2


def test_labels_alone_teach_the_rows(tmp_path: Path) -> None:
    work = work_on("llama", tmp_path)
    (work.rows / "validation.jsonl").write_text((work.rows / "train.jsonl").read_text())
    made = distill_decoder.run(work, settings("rows", alpha=0.0, layers=1))
    assert made["validation"] > 1.2 * made["start"]


@pytest.mark.parametrize("source", ["sequence", "on-policy"])
def test_a_killed_run_ends_in_the_same_bytes(source: str, tmp_path: Path) -> None:
    work = halved(work_on("llama", tmp_path), tmp_path / "half")
    asked = settings(source, epochs=3)
    whole = distill_decoder.run(work, asked)
    expected = (work.out / "model.safetensors").read_bytes()

    def stop(done: float, total: float, text: str) -> None:
        if "epoch 2/3" in text:
            raise KeyboardInterrupt

    for name in ("again", "left"):
        (tmp_path / name).mkdir()
    killed = replace(work, out=tmp_path / "again", scratch=tmp_path / "left", progress=stop)
    with pytest.raises(KeyboardInterrupt):
        distill_decoder.run(killed, asked)
    if source == "sequence":
        assert list((tmp_path / "left" / "completions").glob("*.npy"))
    assert distill_decoder.run(replace(killed, progress=work.progress), asked) == whole
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_quality_is_the_tasks_own(family: str, tmp_path: Path) -> None:
    work = work_on(family, tmp_path)
    rows = read_split(work.rows, "validation")
    data, model = encode(work.source, rows, TASK, LENGTH), load(work.source, TASK.auto)
    assert inverse_perplexity(model, TASK, data, batch=3) == pytest.approx(quality_of(model, TASK, data, rows, []), rel=1e-5)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    work = work_on("llama", tmp_path)
    with pytest.raises(BadInput, match="more than max_length, 24"):
        distill_decoder.run(work, settings("sequence", tokens=19))
    with pytest.raises(BadInput, match="no training text has the 22 tokens"):
        distill_decoder.run(work, settings("on-policy", prompt=22, tokens=1))
    with pytest.raises(BadInput, match="a student of 3 layers"):
        distill_decoder.run(work, settings("rows", layers=3))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"source": "on-policy", "alpha": 0.5}, "no labels"),
        ({"source": "rows", "tokens": 9}, "leave out tokens"),
        ({"lora_targets": ["q_proj"]}, "go with `lora`"),
        ({"source": "off-policy"}, "on-policy"),
    ],
)
def test_settings_that_contradict_each_other(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        distill_decoder.Settings(method="distill-decoder", **more)
