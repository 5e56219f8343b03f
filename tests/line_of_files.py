"""The whole line over rows of images or sounds: recipes for a checkpoint and the rows beside it."""

from __future__ import annotations

from pathlib import Path

DATA = '[data]\ntrain = "train.jsonl"\nvalidation = "validation.csv"\ntest = "test.parquet"\n'


def distilled_and_pruned(more: str = "") -> str:
    """Steps that teach a student of one layer, `more` being further settings of that, and prune it."""
    return f"""[[compress]]
method = "distill"
layers = 1
epochs = 1
batch = 8
{more}[[compress]]
method = "prune-oneshot"
keep = 0.6
rows = 16
trials = 2
search_rows = 8
multiple_of = 8
"""


def recipe(folder: Path, task: str, more: str = "") -> Path:
    """A recipe for the checkpoint `model` in `folder` and the rows beside it, in three formats."""
    path = folder / "tiny.toml"
    path.write_text(f'schema = 1\ntask = "{task}"\n[model]\nid = "model"\n{DATA}{more}')
    return path
