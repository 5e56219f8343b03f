"""README.md of this folder, from its JSON files, samplers.json and workers.json if they are there: `python -m benchmarks.tune.page`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.pages import row
from edgekit.report.format import plural
from edgekit.tuner.front import Values

__all__ = ["HERE", "hypervolume", "sampled", "side_by_side", "write_page"]

HERE = Path(__file__).parent
TO_BUDGET = "recipes to the first in budget"

FRONTS = HERE / "fronts"
SHIPPED = ("clinc150", "stsb", "wnut17", "squad")
OTHERS = ("mr", "meaning", "article")
HEAD = """# How good the search of `edgekit tune` is

| asked | came out |
|---|---|
| clinc150, stsb, wnut17, squad from the plain model, at 1.5 times the recipe's compute: as good in all | {as_good} of 4, by its first trial: below |
| three data sets that no recipe was tuned on: 4 times off-the-shelf INT8 for a point at most | **not reached**, below |
| the hypervolume of random draws in at most half the trials, two tasks | {sampled} |
| two workers against one, trials an hour | {workers} |
| distillation on two GPUs against one | the same student within noise, no sooner: 0.93 times the rows/s, [there](../cuda/README.md) |
| a study killed 20 times at random has the trials of one that was not | yes: [pretended](kills.json), [trained](../../tests/kills/results.json) |

## From the plain model, beside the shipped recipe

```console
$ python -m benchmarks.tune.fronts clinc150 --place build/fronts --out clinc150.json --minutes 19 --workers 1
```

The plain model is the recipe without its steps. Searched and exported side by side, on
{note}.
A search begins with the steps that came furthest on the task, which are those of the shipped recipe of that task: its first trial is as good as the
recipe **because it is the recipe**, found without anybody writing it. The compute allowed one to four trials more, which added points of more
quality on validation rows, and none that is better in all three. The draws after the first ones were those of `tpe`, before `gp` took its place.
Quality is of test rows, with the paired difference from the original and its 95% interval; times of ONNX Runtime fp32 of the original from text to
answer, in turns in one run where an interval stands, else as the search measured it on validation rows. Compute is seconds of all
stages, and of all workers' trials.

{fronts}

## Data sets that no recipe was tuned on

```console
$ python -m benchmarks.tune.untuned MR STSB SQUAD.json SETS
$ python -m benchmarks.tune.fronts SETS/mr/mr.toml --alone --place build/fronts --out mr.json --minutes 11
```

`mr` is sentiment of film snippets; `meaning` asks whether two texts of STS-b mean the same; `article` which of SQuAD's articles a question is
about. Two or three trials each were what 8 minutes of search allowed. onnxruntime 1.30 of that machine could not make off-the-shelf INT8 of them, so
that what is shown is times fp32, of which off-the-shelf INT8 was 1.7 to 3.2 in the runs above: `mr` comes near four times that for less than a
point; `meaning` and `article` do not for a point, as the recipes that are fast enough lost 1.7 and 4.3.

{others}

## The sampler against random draws, over recorded recipes

```console
$ {command}
```

Nothing is trained. A draw is a cell of the [grid of methods](../methods/README.md): its family of steps first, its settings then. It comes
to what was recorded of it: quality on test rows, milliseconds from text to answer (their logarithm), megabytes, each from the worst to the
best of the task's cells. `gp` sees the recipe of each cell, as `edgekit tune` does. The volume is what a front dominates, as a share of what
the front of all cells does. A budget is what a cell of the front keeps, with half a point and 5% of room, where no proven chain keeps it; in
brackets how often one was kept. A recipe that is drawn again costs `edgekit tune` nothing and counts as no trial. Means over {seeds} seeds.
Optuna {optuna}.

"""
TAIL = """
Of what `edgekit tune` does: {verdict}.
Few settings stand in each of the many families, so that `tpe`, which learns each value by itself, learns little of one cell from another, and draws
again what did well; what is left of the volume is mostly one cell of a family whose others are poor (a student half as wide). `gp` knows before
a trial about what share of the model a recipe leaves, which its steps declare, and expects cost and size in a line with that; it tries nothing
twice, and chooses what is expected to add most volume. Five are drawn at random, or are the chains, before the first that is chosen.
The space that `edgekit tune` draws from is not this one: it has ranges where these have a handful of values.
"""


def write_page(results: Path, out: Path) -> None:
    """Write the page of the results in `results`, and of the fronts."""
    document = json.loads(results.read_text(encoding="utf-8"))
    studies, workers = (_read(results.with_name(f"{name}.json")) for name in ("samplers", "workers"))
    read = None if studies is None else sampled(studies)
    beside = None if workers is None else side_by_side(workers)
    modelled = json.loads(results.with_name("modelled.json").read_text(encoding="utf-8"))
    found = {name: json.loads((FRONTS / f"{name}.json").read_text(encoding="utf-8")) for name in (*SHIPPED, *OTHERS)}
    head = HEAD.format(
        **{name: document[name] for name in ("command", "seeds", "optuna")},
        as_good=sum(_as_good(found[name]) for name in SHIPPED), note=found[SHIPPED[0]]["note"],
        sampled=_sampled_in_short(read, document, modelled), workers=_workers_in_short(beside),
        fronts="\n".join(_fronts(name, found[name]) for name in SHIPPED), others="\n".join(_fronts(name, found[name]) for name in OTHERS),
    )  # fmt: skip
    lines = [head]
    for name, task in document["tasks"].items():
        at = sorted(next(iter(task["ways"].values()))["share"], key=int)
        lines += [
            f"### {name}: {task['cells']} cells in {task['families']} families\n",
            row(["", *(f"after {count} recipes" for count in at), f"seeds that reach random draws' {task['goal']:.1%}", TO_BUDGET]),
            f"|---|{'---:|' * (len(at) + 2)}",
            *(_way(way, one, at, _to_budget(task["to_budget"], way, document["recipes"])) for way, one in task["ways"].items()), "",
        ]  # fmt: skip
    text = "\n".join(lines).rstrip("\n") + "\n" + TAIL.format(verdict=_verdict(document["tasks"]))
    for title, document, body in (
        ("The sampler against random draws, over a formula", modelled, _modelled_lines(modelled)),
        ("The sampler against random draws, on trainings", studies, read and _sampled_lines(read)),
        ("Two workers beside one", workers, workers and beside and _workers_lines(workers, beside)),
    ):
        if document is not None and body:
            text += "\n".join([f"\n## {title}\n", "```console", f"$ {document['command']}", "```\n", *body, ""])
    out.write_text(text, encoding="utf-8")


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def hypervolume(values: Sequence[Values]) -> float:
    """The volume that these points leave worse than themselves, of the cube from the worst of all to the best of all."""
    points = sorted(((1 - quality, cost, size) for quality, cost, size in values), key=lambda one: one[2])
    total = 0.0
    for number, (_, _, low) in enumerate(points):
        high = points[number + 1][2] if number + 1 < len(points) else 1.0
        area, left = 0.0, 1.0
        for lost, cost in sorted({(one[0], one[1]) for one in points[: number + 1]}, key=lambda one: one[1]):
            # strips of rising cost: each point covers what no cheaper one had covered
            if lost < left:
                area += (left - lost) * (1 - cost)
                left = lost
        total += area * (high - low)
    return total


def sampled(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Task -> how far each sampler came, as the median of its seeds after each trial that cost something, up to as many as every study has.

    Quality, the logarithm of the multiplications and size go from 0 to 1 between the worst and the best of the task's trials. A recipe that was
    refused, or that was tried before, is no trial; one that was stopped early is, and adds nothing.
    """
    found: dict[str, dict[str, Any]] = {}
    for task in sorted({name.rsplit("-", 2)[0] for name in document["studies"]}):
        studies = {
            tuple(name.rsplit("-", 2)[1:]): [trial for trial in trials if _cost_something(trial)]
            for name, trials in document["studies"].items()
            if name.rsplit("-", 2)[0] == task
        }
        every = [_figures(trial) for trials in studies.values() for trial in trials if trial["values"]]
        if not every:
            continue
        ends = [(min(figures), max(figures)) for figures in zip(*every, strict=True)]
        whole = hypervolume([_scaled(one, ends) for one in every])
        count = min(map(len, studies.values()))
        curves: dict[str, list[list[float]]] = {}
        for (sampler, _), trials in sorted(studies.items()):
            values = [_scaled(_figures(trial), ends) if trial["values"] else None for trial in trials[:count]]
            volumes = [hypervolume([one for one in values[:number] if one is not None]) for number in range(1, count + 1)]
            curves.setdefault(sampler, []).append([volume / whole if whole else 1.0 for volume in volumes])
        middle = {sampler: [median(at) for at in zip(*several, strict=True)] for sampler, several in curves.items()}
        goal = middle["random"][-1] if count and "random" in middle else None
        found[task] = {
            "trials": count, "seeds": max(map(len, curves.values())), "middle": middle, "goal": goal,
            "to_goal": {
                sampler: None if goal is None else next((number for number, share in enumerate(curve, 1) if share >= goal), None)
                for sampler, curve in middle.items()
            },
        }  # fmt: skip
    return found


def _cost_something(trial: Mapping[str, Any]) -> bool:
    said = trial["said"]
    return "refused" not in said and "same_as" not in said


def _figures(trial: Mapping[str, Any]) -> Values:
    quality, cost, size = trial["values"]
    return quality, math.log(cost), size


def _scaled(figures: Values, ends: Sequence[tuple[float, float]]) -> Values:
    quality, cost, size = (
        (one - low) / (high - low) if high > low else 0.0 for one, (low, high) in zip(figures, ends, strict=True)
    )
    return quality, cost, size


def _mean_curves(recorded: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Task -> way -> its volume after each recipe, the mean of seeds."""
    return {
        task: {way: [mean(at) for at in zip(*of["curves"], strict=True)] for way, of in one["ways"].items()}
        for task, one in recorded["tasks"].items()
    }


def _own(ways: Mapping[str, Any]) -> str:
    return next(way for way in ways if way.endswith("as `edgekit tune` does"))


def _to_goal(curve: Sequence[float], goal: float) -> int | None:
    """Recipes until a curve comes to `goal`."""
    return next((number for number, share in enumerate(curve, 1) if share >= goal), None)


def _in_half(one: Mapping[str, Any]) -> bool:
    reached = one["to_goal"].get("gp")
    return reached is not None and one["to_goal"]["random"] is not None and 2 * reached <= one["to_goal"]["random"]


def _sampled_in_short(
    read: Mapping[str, Mapping[str, Any]] | None, recorded: Mapping[str, Any], modelled: Mapping[str, Any]
) -> str:
    if not read:
        parts = []
        for where, curves in (("on recorded recipes", _mean_curves(recorded)), ("over a formula", modelled["tasks"])):
            after = [_to_goal(ways[_own(ways)], ways["random draws"][-1]) for ways in curves.values()]
            count = len(next(iter(next(iter(curves.values())).values())))
            half = all(one is not None and 2 * one <= count for one in after)
            words = " and ".join(str(one or "more") for one in after)
            parts.append(f"{where} {'yes' if half else '**not reached**'}, after {words} of {count}")
        return f"{'; '.join(parts)}; on trainings not measured"
    reached = sum(map(_in_half, read.values()))
    said = f"on trainings {'yes' if reached == len(read) else 'reached'} for {reached} of {plural(len(read), 'task')}, below"
    return said if reached == len(read) else f"**{said}**"


def _sampled_lines(read: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [
        "Real trainings on the first rows of data sets that no recipe was tuned on; nothing is timed, so that cost is multiplications. The volume is",
        "what a front dominates, as a share of what the front of all trials of the task does; quality, the logarithm of the multiplications and size",
        "each from the worst to the best of the task's trials. Medians of seeds. What was refused or tried before is no trial.\n",
    ]
    for task, one in read.items():
        at = sorted({number for number in (5, 10, 15, 20, 30, 40, 60, one["trials"]) if 0 < number <= one["trials"]})
        goal = "" if one["goal"] is None else f"trials to random draws' {one['goal']:.1%}"
        lines += [
            f"### {task}: {plural(one['trials'], 'trial')}, {plural(one['seeds'], 'seed')}\n",
            row(["", *(f"after {number}" for number in at), goal]), f"|---|{'---:|' * (len(at) + 1)}",
            *(
                row([{"random": "random draws", "gp": "gp, as `edgekit tune` does"}.get(sampler, sampler),
                     *(f"{curve[number - 1]:.1%}" for number in at), str(one["to_goal"][sampler] or "not reached")])
                for sampler, curve in one["middle"].items()
            ), "",
        ]  # fmt: skip
    return lines


def _modelled_lines(document: Mapping[str, Any]) -> list[str]:
    lines = [
        "The space is that of MiniLM from the plain model, chains and ranges and all; what a recipe comes to is a formula of assumed numbers",
        f"([modelled.py](modelled.py)), of {len(document['tasks'])} kinds. Medians of {document['seeds']} seeds; volume as a share of the cube.",
        "`gp` knows nothing of the formula but what the steps of a recipe declare of the shapes that they leave, which its cost and size follow,",
        "but for the cost of the last kind. Budgets: lose 6 to 12 points, and a bound of speed, size or both; in brackets how often one was kept.",
        f"{document.get('note', '')}\n",
    ]
    for task, ways in document["tasks"].items():
        at = [number for number in (5, 10, 15, 20, 24) if number <= document["recipes"]]
        goal = ways["random draws"][-1]
        lines += [
            f"### {task}\n",
            row(["", *(f"after {number} recipes" for number in at), f"recipes to random draws' {goal:.1%}", TO_BUDGET]),
            f"|---|{'---:|' * (len(at) + 2)}",
            *(
                row([way, *(f"{curve[number - 1]:.1%}" for number in at),
                     str(_to_goal(curve, goal) or "not reached"), _to_budget(document["to_budget"][task], way, document["recipes"])])
                for way, curve in ways.items()
            ), "",
        ]  # fmt: skip
    return lines


def side_by_side(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """What one worker and two came to; None where one of the two studies has no trial.

    `counts`: trials until the first of both studies ended, after `minutes`. `alike`: how many recipes both trained for as long,
    `alike_times`: twice the seconds that one worker took for these, by the seconds of the two's. `first`: how many recipes both came to the
    end of, `first_times`: how many times as soon two workers did.
    """
    one, two = (
        {trial["number"]: trial for trial in document["studies"][name] if _cost_something(trial)}
        for name in ("one", "first of two")
    )
    if not one or not two:
        return None
    began = min(_at(trial["began"]) for trial in (*one.values(), *two.values()))
    until = min(max(_at(trial["ended"]) for trial in study.values()) for study in (one, two))
    both = [number for number in sorted(one) if number in two and one[number]["drawn"] == two[number]["drawn"]]
    alike = [number for number in both if len(_rungs(one[number])) == len(_rungs(two[number]))]
    seconds = [sum(study[number]["said"]["seconds"] for number in alike) for study in (one, two)]
    waits = [max((_at(study[number]["ended"]) for number in both), default=began) - began for study in (one, two)]
    return {
        "counts": [sum(_at(trial["ended"]) <= until for trial in study.values()) for study in (one, two)],
        "minutes": (until - began).total_seconds() / 60,
        "alike": len(alike), "alike_times": 2 * seconds[0] / seconds[1] if alike else None,
        "first": len(both), "first_times": waits[0] / waits[1] if both else None,
    }  # fmt: skip


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _rungs(trial: Mapping[str, Any]) -> Sequence[Any]:
    rungs: Sequence[Any] = trial["said"].get("rungs", ())
    return rungs


def _workers_in_short(beside: Mapping[str, Any] | None) -> str:
    if beside is None or beside["alike_times"] is None:
        return "not measured: no machine with idle cores was there"
    return f"{'yes' if beside['alike_times'] >= 1.8 else '**not reached**'}: {beside['alike_times']:.2f} times on the same trials, below"


def _workers_lines(document: Mapping[str, Any], beside: Mapping[str, Any]) -> list[str]:
    one, two = beside["counts"]
    first, alike = plural(beside["first"], "recipe"), beside["alike"]
    lines = [
        f"The first {document['rows']:,} training rows of `{document['task']}`, recipes drawn at random by their number alone: both",
        "studies try the same; a core and a build folder for each worker, and a store that the two share; other jobs used the machine. In the same",
        f"{beside['minutes']:.0f} minutes one worker came to the end of {plural(one, 'trial')} and two of {two}.",
    ]
    if beside["alike_times"] is not None:
        lines += [
            f"Recipes cost unlike much, so that this says little: of the {first} that both tried, {alike} were trained",
            f"for as long in both, which two workers do {beside['alike_times']:.2f} times as fast. All {beside['first']} were done",
            f"{beside['first_times']:.2f} times as soon: whether a trial goes on is decided by those that had ended before it, which are fewer where",
            "two begin at once, so that two workers train some in full that one worker stops.",
        ]
    return lines


def _verdict(tasks: dict[str, Any]) -> str:
    """How what `edgekit tune` does stands beside draws at random, from the figures."""
    own = _own(next(iter(tasks.values()))["ways"])
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
    return any(
        point["trial"] in one["fronts"]["within"] and point["test"]["value"] >= shipped["test"]["value"]
        and point["size_mb"] <= shipped["size_mb"] and (_same_model(point, shipped) or _no_slower(timed.get(f"trial-{point['trial']}")))
        for point in one.get("points", ()) if "test" in point
    )  # fmt: skip


def _same_model(point: Mapping[str, Any], shipped: Mapping[str, Any]) -> bool:
    """Whether it answers and weighs as the shipped recipe's does, to the last digit: what is timed of it is noise."""
    return bool(point["test"] == shipped["test"] and point["size_mb"] == shipped["size_mb"])


def _no_slower(timed: Mapping[str, Any] | None) -> bool:
    """Whether the interval of its speed, against the shipped recipe's model, is not below 1."""
    return timed is not None and "shipped" in timed["times"] and timed["times"]["shipped"]["ci95"][0] >= 1


def _to_budget(found: Mapping[str, Sequence[int | None]], way: str, recipes: int) -> str:
    """Recipes to the first that keeps a budget, the mean of budgets and seeds; where none does, one more than there were."""
    if way not in found:
        return ""
    kept = [number for number in found[way] if number is not None]
    return f"{mean(recipes + 1 if number is None else number for number in found[way]):.1f} ({len(kept)} of {len(found[way])})"


def _way(way: str, one: dict[str, Any], at: list[str], to_budget: str) -> str:
    reached = [count for count in one["recipes_to_goal"] if count is not None]
    said = f"{len(reached)} of {len(one['recipes_to_goal'])}"
    return row([way, *(f"{one['share'][count]:.1%}" for count in at), said, to_budget])


if __name__ == "__main__":
    write_page(HERE / "lookup.json", HERE / "README.md")
