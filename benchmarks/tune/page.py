"""README.md of this folder, made from lookup.json and fronts/: `python -m benchmarks.tune.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import row

__all__ = ["HERE", "write_page"]

HERE = Path(__file__).parent

FRONTS = HERE / "fronts"
SHIPPED = ("clinc150", "stsb", "wnut17", "squad")
OTHERS = ("mr", "meaning", "article")
HEAD = """# How good the search of `edgekit tune` is

| asked | came out |
|---|---|
| clinc150, stsb, wnut17, squad from the plain model, at 1.5 times the recipe's compute: as good in all | **not reached**: {as_good} of 4, below |
| three data sets that no recipe was tuned on: 4 times off-the-shelf INT8 for a point at most | **not reached**, below |
| the hypervolume of random draws in at most half the trials, two tasks | **not reached** on recorded recipes, below; on trainings not measured |
| two workers against one, trials an hour | not measured: no machine with idle cores was there |
| distillation on two GPUs against one | not measured: one GPU was there; on two CPU processes it is (tests/train/test_spread.py) |
| a study killed 20 times at random ends with the trials of one that was not | yes: [kills.json](kills.json) |

## From the plain model, beside the shipped recipe

```console
$ python -m benchmarks.tune.fronts clinc150 --place build/fronts --out clinc150.json --minutes 8 --workers 2
```

The plain model is the recipe without its steps. Searched and exported side by side, on
{note}.
A trial took a minute or more there, so that few were made: what stands here is the beginning of a search, and says so. Quality is of
test rows, with the paired difference from the original and its 95% interval; times of ONNX Runtime fp32 of the original from text to
answer, in turns in one run where an interval stands, else as the search measured it on validation rows. Compute is seconds of all
stages, and of all workers' trials.

{fronts}

## Data sets that no recipe was tuned on

```console
$ python -m benchmarks.tune.untuned MR STSB SQUAD.json SETS
$ python -m benchmarks.tune.fronts SETS/mr/mr.toml --alone --place build/fronts --out mr.json --minutes 8
```

`mr` is sentiment of film snippets; `meaning` asks whether two texts of STS-b mean the same; `article` which of SQuAD's articles a question is
about. None was timed beside off-the-shelf INT8, which is 2.1 to 2.7 times fp32 in the runs above: no trial came to four times that. What was
tried was the number format, `prune-oneshot` and, once, a student of three layers.

{others}

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
Few settings stand in each of the many families, so that little can be learnt of one cell from another. Five are drawn at random before
the first that is drawn by what came of others, where nothing else is said. Of what `edgekit tune` does: {verdict}. To draw five at
random and not ten, and to try the proven chains from the most work to the least, is ahead on squad and about as far behind or less on stsb, so
both are the default. The chains themselves cost volume: they are kept because a budget asks for one recipe that keeps it, not for a volume,
and that is not measured here. It says nothing about the space that `edgekit tune` draws from, which has ranges where these have a handful of
values.
"""


def write_page(results: Path, out: Path) -> None:
    """Write the page of the results in `results`, and of the fronts."""
    document = json.loads(results.read_text(encoding="utf-8"))
    found = {name: json.loads((FRONTS / f"{name}.json").read_text(encoding="utf-8")) for name in (*SHIPPED, *OTHERS)}
    head = HEAD.format(
        **{name: document[name] for name in ("command", "seeds", "optuna")},
        as_good=sum(_as_good(found[name]) for name in SHIPPED), note=found[SHIPPED[0]]["note"],
        fronts="\n".join(_fronts(name, found[name]) for name in SHIPPED), others="\n".join(_fronts(name, found[name]) for name in OTHERS),
    )  # fmt: skip
    lines = [head]
    for name, task in document["tasks"].items():
        at = sorted(next(iter(task["ways"].values()))["share"], key=int)
        lines += [
            f"### {name}: {task['cells']} cells in {task['families']} families\n",
            row(["", *(f"after {count} recipes" for count in at), f"seeds that reach random draws' {task['goal']:.1%}"]),
            f"|---|{'---:|' * (len(at) + 1)}",
            *(_way(way, one, at) for way, one in task["ways"].items()), "",
        ]  # fmt: skip
    out.write_text("\n".join(lines).rstrip("\n") + "\n" + TAIL.format(verdict=_verdict(document["tasks"])), encoding="utf-8")


def _verdict(tasks: dict[str, Any]) -> str:
    """How what `edgekit tune` does stands beside draws at random, from the figures."""
    own = next(way for way in next(iter(tasks.values()))["ways"] if way.endswith("as `edgekit tune` does"))
    parts = []
    for name, task in tasks.items():
        better = [
            count
            for count, share in sorted(task["ways"][own]["share"].items(), key=lambda one: int(one[0]))
            if share > task["ways"]["random draws"]["share"][count]
        ]
        parts.append(
            f"on {name} it is ahead of draws at random after {', '.join(better)} recipes"
            if better
            else f"on {name} it is never ahead of draws at random"
        )
    return "; ".join(parts)


def _fronts(name: str, one: dict[str, Any]) -> str:
    """A data set's table: the shipped recipe, and the points that were made in full or else what the search measured."""
    fronts, trials = one["fronts"], {trial["number"]: trial for trial in one["study"]["trials"]}
    compute = f"the recipe's {fronts['shipped_seconds']:,.0f} s, " if fronts["shipped_seconds"] else ""
    said = f"({compute}the original's {fronts['original_seconds']:,.0f} s, in all {fronts['all_seconds']:,.0f} s"
    within = f"; {fronts['trials_within']} of {len(trials)} trials within 1.5 times the recipe's" if compute else ""
    lines = [f"### {name} {said}{within})\n"]
    if why := one.get("why_no_point"):
        lines.append(f"No point was made: {why}.\n")
    lines += [row(["", "lost, points", "times fp32", "MB"]), "|---|---:|---:|---:|"]
    if "shipped" in one:
        lines.append(
            row(
                [
                    "the shipped recipe",
                    _lost(one["shipped"]["test"]),
                    _times(one, "shipped", None),
                    f"{one['shipped']['size_mb']:.2f}",
                ]
            )
        )
    made = {point["trial"]: point for point in one.get("points", ()) if "test" in point}
    for number in dict.fromkeys([*fronts["all"], *made]):
        trial = trials[number]
        lost = (
            _lost(made[number]["test"])
            if number in made
            else f"{100 * (one['study']['original']['quality'] - trial['quality']):+.2f} on validation rows"
        )
        steps = trial["steps"].partition("; mode")[0].replace(", precision bf16", "")
        lines.append(
            row(
                [f"trial {number + 1}: {steps}", lost, _times(one, f"trial-{number}", trial["cost"]), f"{trial['size_mb']:.2f}"]
            )
        )
    return "\n".join([*lines, ""])


def _lost(test: dict[str, Any]) -> str:
    low, high = (0.0 - 100 * end for end in reversed(test["ci95"]))
    return f"{0.0 - 100 * test['difference']:+.2f} ({low:+.2f} to {high:+.2f})"


def _times(one: dict[str, Any], name: str, cost: float | None) -> str:
    timed = one.get("timed", {}).get(name)
    if timed is None:
        return "" if cost is None else f"{1 / cost:.2f}"
    ratio = timed["times"]["ort-fp32"]
    return f"{ratio['speedup']:.2f} ({ratio['ci95'][0]:.2f} to {ratio['ci95'][1]:.2f})"


def _as_good(one: dict[str, Any]) -> bool:
    """Whether a point that the compute allowed is as good as the shipped recipe in quality, latency and size."""
    if "shipped" not in one:
        return False
    shipped, timed = one["shipped"], one.get("timed", {})
    most = timed["shipped"]["ms"] if "shipped" in timed else 0.0
    return any(
        point["trial"] in one["fronts"]["within"] and point["test"]["value"] >= shipped["test"]["value"]
        and point["size_mb"] <= shipped["size_mb"] and f"trial-{point['trial']}" in timed and timed[f"trial-{point['trial']}"]["ms"] <= most
        for point in one.get("points", ()) if "test" in point
    )  # fmt: skip


def _way(way: str, one: dict[str, Any], at: list[str]) -> str:
    reached = [count for count in one["recipes_to_goal"] if count is not None]
    said = f"{len(reached)} of {len(one['recipes_to_goal'])}"
    return row([way, *(f"{one['share'][count]:.1%}" for count in at), said])


if __name__ == "__main__":
    write_page(HERE / "lookup.json", HERE / "README.md")
