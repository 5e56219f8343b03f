"""README.md of this folder, made from lookup.json: `python -m benchmarks.tune.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import row

__all__ = ["HERE", "write_page"]

HERE = Path(__file__).parent

HEAD = """# How good the search of `edgekit tune` is

| asked | came out |
|---|---|
| the hypervolume of random draws in at most half the trials, two tasks | **not reached** on recorded recipes, below; on trainings not measured |
| two workers against one, trials an hour | not measured: no machine with two idle cores was there |
| a front for `intents` from 20 minutes of search against the shipped recipe | not measured, for the same reason |
| clinc150, stsb, wnut17, squad from the plain model, within 1.5 times the recipe's compute | not measured |
| a study killed 20 times at random ends with the trials of one that was not | yes: [kills.json](kills.json) |

## The sampler against random draws, over recorded recipes

```console
$ {command}
```

Nothing is trained. A draw is a cell of the [grid of methods](../methods/README.md): its family of steps first, its settings then. It comes
to what was recorded of it: quality on test rows, milliseconds from text to answer (their logarithm), megabytes, each from the worst to the
best of the task's cells. The volume is what a front dominates, as a share of what the front of all cells does. A recipe that is drawn again
costs `edgekit tune` nothing and counts as no trial. Means over {seeds} seeds. Optuna {optuna}.

"""
TAIL = """
Ten draws are at random in each way, and few settings stand in each of the many families, so that little can be learnt of one cell from
another: what is drawn by what did well is no better here than chance, and beginning with the proven chains gains nothing. It says nothing
about the space that `edgekit tune` draws from, which has ranges where these have a handful of values; there a trial costs minutes, and none was
run for this page.
"""


def write_page(results: Path, out: Path) -> None:
    """Write the page of the results in `results`."""
    document = json.loads(results.read_text(encoding="utf-8"))
    lines = [HEAD.format(**{name: document[name] for name in ("command", "seeds", "optuna")})]
    for name, task in document["tasks"].items():
        at = sorted(next(iter(task["ways"].values()))["share"], key=int)
        lines += [
            f"### {name}: {task['cells']} cells in {task['families']} families\n",
            row(["", *(f"after {count} recipes" for count in at), f"seeds that reach random draws' {task['goal']:.1%}"]),
            f"|---|{'---:|' * (len(at) + 1)}",
            *(_way(way, one, at) for way, one in task["ways"].items()), "",
        ]  # fmt: skip
    out.write_text("\n".join(lines).rstrip("\n") + "\n" + TAIL, encoding="utf-8")


def _way(way: str, one: dict[str, Any], at: list[str]) -> str:
    reached = [count for count in one["recipes_to_goal"] if count is not None]
    said = f"{len(reached)} of {len(one['recipes_to_goal'])}"
    return row([way, *(f"{one['share'][count]:.1%}" for count in at), said])


if __name__ == "__main__":
    write_page(HERE / "lookup.json", HERE / "README.md")
