"""From a model, and rows where there are some, to a recipe, as the text of its file and a table of reasons. Only files are read here."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.config.recipe import TEXTS
from edgekit.config.toml import parse
from edgekit.data.formats import records
from edgekit.draft.fit import Table, as_text
from edgekit.draft.given import given
from edgekit.draft.lengths import length_of
from edgekit.draft.proven import Budget, Workload, choose
from edgekit.draft.seen import Choice, Seen, Unclear
from edgekit.draft.tasks import Candidate, candidates, without_rows
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.shards import tensor_shapes
from edgekit.plan.facts import known_length
from edgekit.plan.recipes import recipe_model
from edgekit.runtime.jsontypes import JsonValue
from edgekit.tasks.task import AGREEMENT, Task

__all__ = ["Asked", "Draft", "draft", "is_unedited"]

BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Instruction sets that train faster in bfloat16."""
TRAINED = 0.7
"""Share of the rows that is trained on."""
WORDS = 0.75
"""Words a token, about."""
HEAD = "# Drafted by edgekit, which writes over it as long as nobody edits it. To run it: edgekit export THIS_FILE. Draft "
SPLIT = Seen(
    "data.split",
    "70 / 15 / 15 %",
    "one file, split by the seed: each label in its share, the same text in one split; give rows that the model was not trained on",
)
SEEN_ROWS = 5000
"""Rows of a file that are looked at."""


@dataclass(frozen=True)
class Asked:
    """What the user said; the rest is seen in the files."""

    model: str
    """A folder, or a hub id."""
    data: str | None = None
    """A file of rows; None: texts that edgekit ships, which have no labels."""
    task: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the task -> its name in the file."""
    group: str | None = None
    """Column whose values keep rows in one split."""
    max_length: int | None = None
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True)
class Draft:
    """A recipe that nobody wrote."""

    text: str
    """Its file."""
    seen: tuple[Seen, ...]


def draft(asked: Asked, folder: Path | None) -> Draft:
    """The recipe for `asked`, as a file in `folder`, to which its paths are relative where they lie near; None: its paths hold anywhere.

    Raises:
        BadInput: files that cannot be read, no task that fits, no column that could be a label.
        NotPossibleHere: a hub id without a network.
        Unclear: the files leave open which of several tasks is meant.
    """
    model = given(asked.model)
    facts = model.facts
    rows = () if asked.data is None else _rows(Path(asked.data))
    found_tasks = without_rows(model, asked.task) if asked.data is None else candidates(model, rows, asked.columns, asked.task)
    chosen = _one(found_tasks, asked)
    task, said = chosen.task, [Seen("task", chosen.task.name, chosen.reason if asked.task is None else "as you said")]
    if chosen.finetune:
        said.append(Seen("model.finetune", "3 epochs", chosen.reason))
    columns = chosen.fit.columns
    said += [Seen(f"column {column}", name, chosen.fit.reasons[column]) for column, name in columns.items()]
    length = asked.max_length
    if length is not None:
        said.append(Seen("model.max_length", str(length), "as you said"))
    elif (
        rows
        and task.kind == "encoder"
        and (note := length_of(model.tokenizer, rows, columns, known_length(task, facts))) is not None
    ):
        said.append(note)
    if asked.group is not None:
        said.append(Seen("data.split.group", asked.group, "as you said: rows with the same value there stay in one split"))
    said.append(_shipped(task) if asked.data is None else SPLIT)
    steps: list[dict[str, JsonValue]] = []
    if asked.budget.chooses:
        work = _workload(model.weights, rows, columns, asked)
        proven, why = choose(asked.budget, task, work)
        steps = proven.steps(facts.layers, "bf16" if BF16 & detect().isa else "fp32")
        said.append(why)
        if steps:
            minutes = work.seconds(proven, matrix_speed()) / 60
            said.append(
                Seen(
                    "time",
                    f"about {max(1, round(minutes))} min",
                    "of compression, by how fast this machine multiplies matrices now; a GPU is faster",
                )
            )
    text = _toml(asked, chosen, length, steps, folder)
    _check(text)
    return Draft(text, tuple(said))


def _shipped(task: Task) -> Seen:
    """What quality is where no rows are given."""
    quality = AGREEMENT if task.kind == "encoder" else "perplexity"
    return Seen(
        "data.builtin",
        TEXTS,
        f"no --data: ranges are set on texts that edgekit ships, and quality is {quality}, on those; rows of your own say more",
    )


def _rows(path: Path) -> Table:
    """The first sound rows of a file."""
    sound = (record.values for record in records(path, lines=True) if record.fault is None)
    rows = list(itertools.islice(sound, SEEN_ROWS))
    if not rows:
        raise BadInput("holds no rows", where=str(path))
    return rows


def _one(found: list[Candidate], asked: Asked) -> Candidate:
    if len(found) == 1:
        return found[0]
    choices = [
        Choice(one.task.name, one.task.title + (f", of {_shown(one.fit.columns)}" if one.fit.columns else "")) for one in found
    ]
    raise Unclear(
        f"{asked.model}{f' and {Path(asked.data).name}' if asked.data is not None else ''} fit several tasks", choices
    )


def _shown(columns: Mapping[str, str]) -> str:
    return ", ".join(column if column == name else f"{column} ({name!r})" for column, name in columns.items())


def _toml(asked: Asked, chosen: Candidate, length: int | None, steps: list[dict[str, JsonValue]], folder: Path | None) -> str:
    """The recipe as a file."""
    lines = [
        "schema = 1",
        f"task = {json.dumps(chosen.task.name)}",
        "",
        "[model]",
        f"id = {_string(_near(asked.model, folder))}",
    ]
    lines += [f"max_length = {length}"] if length is not None else []
    lines += ["", "[model.finetune]", "# A new head, trained on the rows."] if chosen.finetune else []
    lines += ["", "[data]"]
    lines += [f"builtin = {_string(TEXTS)}"] if asked.data is None else [f"file = {_string(_near(asked.data, folder))}"]
    renamed = {column: name for column, name in chosen.fit.columns.items() if column != name}
    if renamed:
        lines.append("columns = { " + ", ".join(f"{column} = {_string(name)}" for column, name in renamed.items()) + " }")
    if asked.group is not None:
        lines.append(f"split = {{ group = {_string(asked.group)} }}")
    for step in steps:
        lines += ["", "[[compress]]", *(f"{name} = {json.dumps(value)}" for name, value in step.items())]
    budget = {"max_quality_drop": asked.budget.lose, "min_speedup": asked.budget.faster, "max_size_mb": asked.budget.smaller}
    bounds = [f"{name} = {value}" for name, value in budget.items() if value is not None]
    lines += ["", "[accept]", *bounds] if bounds else []
    return _signed("\n".join(lines) + "\n")


def _signed(text: str) -> str:
    """`text` under a line that says by its sha256 whether anybody has edited it since."""
    return f"{HEAD}{hashlib.sha256(text.encode()).hexdigest()[:16]}\n{text}"


def is_unedited(text: str) -> bool:
    """Whether `text` is a draft as it was written."""
    head, _, rest = text.partition("\n")
    return head.startswith(HEAD) and text == _signed(rest)


def _workload(model: Path, rows: Table, columns: Mapping[str, str], asked: Asked) -> Workload:
    """What training has to do, by the weights' headers and by words of the rows, of which a token is about three quarters."""
    shapes = tensor_shapes(model)
    weights = {name: math.prod(shape) for name, shape in shapes.items()}
    inner = sum(size for name, size in weights.items() if "embedding" not in name)
    if asked.data is None:
        return Workload(0, 0.0, inner, 4 * sum(weights.values()) / 1e6)
    words = [len(" ".join(as_text(row.get(name)) for name in columns.values()).split()) for row in rows]
    count = int(TRAINED * _count(Path(asked.data), len(rows)))
    return Workload(count, sum(words) / len(words) / WORDS, inner, 4 * sum(weights.values()) / 1e6)


def _count(path: Path, seen: int) -> int:
    """Rows of the file."""
    return seen if seen < SEEN_ROWS else sum(1 for _ in records(path, lines=True))


def matrix_speed() -> float:
    """Operations a second of a float32 matrix product on this machine, the best of a few."""
    import time

    import numpy as np

    size = 512
    one = np.ones((size, size), np.float32)
    best = math.inf
    for _ in range(50):
        start = time.perf_counter()
        one @ one
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _string(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for those of control characters that JSON leaves as they are."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _near(name: str, folder: Path | None) -> str:
    """A path as seen from `folder` where it lies near, else from the root; a hub id stays."""
    path = Path(name)
    if not path.exists():
        return name
    if folder is None:
        return str(path.resolve())
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return str(path.resolve()) if relative.startswith("../../..") else relative


def _check(text: str) -> None:
    """The recipe is one that the parser takes: a fault here is a fault of what the user said."""
    import tomllib

    parse(tomllib.loads(text), recipe_model(), where="the drafted recipe", text=text)
