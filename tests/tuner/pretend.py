"""A search whose trials are pretended: the same recipe comes to the same at once, so that what is tried is the study's bookkeeping.

`python -m tests.tuner.pretend FOLDER --trials 30 --kills 20 --seed 1` kills it with -9 before or after
changes of the study that are drawn at random, and prints what came of it; with `--record FILE` it writes what can be said of it there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.pages import write_results
from edgekit.config.recipe import Recipe
from edgekit.progress import Show
from edgekit.tuner import attempt, run, workers
from edgekit.tuner.front import Bounds
from edgekit.tuner.records import given_back
from edgekit.tuner.run import Asked, Searched, search
from edgekit.tuner.trial import Given, Original, Rung, recipe_key

ORIGINAL = Original(0.95, 1000, 40.0, 1_000_000, Path(), Path(), Path())
RUNS = "runs.txt"
"""Each run of a recipe in full that came to its end."""


def pretended(share: float, recipe: Recipe) -> Rung:
    """More steps are smaller, faster and worse; a noise that depends on the recipe alone keeps any two apart."""
    noise = int(hashlib.sha256(recipe_key(recipe).encode()).hexdigest()[:8], 16) / 2**32
    steps = len(recipe.compress)
    return Rung(
        share, 0.95 - 0.02 * steps * noise - 0.05 * (1 - share), 1 / (1 + steps + noise), 20 / (1 + steps * noise), 1.0, 1.0
    )


def pretend(folder: Path) -> None:
    """Put pretended trials in the place of real ones."""

    def run_rung(given: Given, original: Original, share: float, recipe: Recipe) -> tuple[Rung, Path, Path]:
        rung = pretended(share, recipe)
        if share == 1:
            with (folder / RUNS).open("a") as file:
                file.write(hashlib.sha256(recipe_key(recipe).encode()).hexdigest()[:16] + "\n")
        return rung, Path(), Path()

    run.original_of = lambda given: ORIGINAL  # type: ignore[assignment]
    run._rows_of = lambda given, plan: {"validation": ORIGINAL.rows}  # type: ignore[assignment]
    attempt.run_rung = run_rung
    attempt.foresee = lambda given, original, recipe, bounds: None  # type: ignore[assignment]
    attempt.measure = lambda given, original, model, checkpoint: {"times": 4.0, "ci95": [3.9, 4.1], "ms": 1.0}  # type: ignore[assignment]
    Given.timed = False  # type: ignore[assignment,method-assign]


def asked(folder: Path, trials: int, **more: Any) -> Asked:
    return Asked("intents", "x86-vnni", folder, Bounds(lose=0.05), trials=trials, **more)


def said(searched: Searched) -> list[Any]:
    """What came of each trial, but for its number and what it took."""
    return [
        [trial.state.name, trial.values, sorted(trial.params.items()), *(trial.user_attrs.get(name) for name in ("key", "stopped"))]
        for trial in searched.trials
    ]  # fmt: skip


CHANGES = (
    "create_new_trial",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "set_study_user_attr",
)
"""Whatever changes a study goes through one of these."""


def at_every_change(do: Callable[[], None]) -> None:
    """Have something done before and after every change of a study in a database."""
    from optuna.storages import RDBStorage

    def wrapped(change: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*given: Any, **named: Any) -> Any:
            do()
            found = change(*given, **named)
            do()
            return found

        return changing

    for name in CHANGES:
        setattr(RDBStorage, name, wrapped(getattr(RDBStorage, name)))


def killed(folder: Path, trials: int, moments: list[int]) -> None:
    """Search in children, each of which kills itself at so many changes; the last one comes to its end."""
    for moment in [*moments, None]:
        child = os.fork()
        if child == 0:
            left = [moment or -1]

            def count_down(left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            at_every_change(count_down)
            try:
                search(asked(folder, trials), Show(silent=True))
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert (moment is None and status == 0) or (moment is not None and os.WIFSIGNALED(status)), (moment, status)


def shared(folder: Path, trials: int, storage: str) -> dict[str, Any]:
    """What came of a study of two workers: the first is killed while it runs its second trial, the second one begins then."""
    workers.BEAT_SECONDS, workers.GONE_SECONDS = 0.2, 2.0
    for name in ("first", "second"):
        (folder / name).mkdir(parents=True)
    child = os.fork()
    if child == 0:
        pretend(folder / "first")
        run_rung, begun = attempt.run_rung, [0]

        def killed_in_the_second(*given: Any) -> Any:
            begun[0] += given[2] == 1
            if begun[0] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return run_rung(*given)

        attempt.run_rung = killed_in_the_second
        search(asked(folder / "first", trials, storage=storage), Show(silent=True))
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    pretend(folder / "second")
    searched = search(asked(folder / "second", trials, storage=storage), Show(silent=True))
    runs = [line for name in ("first", "second") for line in (folder / name / RUNS).read_text().split()]
    tries = searched.study.trials
    return {
        "finished": len(searched.trials), "waiting": searched.waiting, "owners": [trial.user_attrs["worker"] for trial in searched.trials],
        "given_back": sum(given_back(trial) for trial in tries), "runs": len(runs), "keys": runs,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path)
    parser.add_argument(
        "--storage", help="instead: two workers share a study there, of which one is killed in the third trial it begins"
    )
    chosen = parser.parse_args()
    if chosen.storage is not None:
        print(json.dumps(shared(chosen.folder, chosen.trials, chosen.storage)))
        return
    folders: list[Path] = [chosen.folder / name for name in ("whole", "killed")]
    changes, found = [0], {}
    for folder in folders:
        folder.mkdir(parents=True)
    child = os.fork()  # no connection to a database is open when the next one is forked
    if child == 0:
        pretend(folders[0])
        at_every_change(lambda: changes.__setitem__(0, changes[0] + 1))
        search(asked(folders[0], chosen.trials), Show(silent=True))
        (folders[0] / "changes").write_text(str(changes[0]))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    total = int((folders[0] / "changes").read_text())
    pretend(folders[1])
    chance = random.Random(chosen.seed)
    killed(folders[1], chosen.trials, [chance.randint(1, max(2, int(0.9 * total / chosen.kills))) for _ in range(chosen.kills)])
    for folder in folders:
        pretend(folder)
        searched = search(asked(folder, chosen.trials), Show(silent=True))
        runs = (folder / RUNS).read_text().split()
        found[folder.name] = {
            "trials": said(searched), "front": [list(trial.values) for trial in searched.front], "tries": len(searched.study.trials),
            "repeated": len(runs) - len(set(runs)),
        }  # fmt: skip
    same = found["whole"]["trials"] == found["killed"]["trials"]
    document = {"kills": chosen.kills, "trials": chosen.trials, "changes": total, "same": same, **found}
    if chosen.record is not None:
        options = f"--trials {chosen.trials} --kills {chosen.kills} --seed {chosen.seed}"
        write_results(chosen.record, {"command": f"python -m tests.tuner.pretend FOLDER {options}", **_counts(document)})
    print(json.dumps(document, default=str))


def _counts(found: dict[str, Any]) -> dict[str, Any]:
    whole, killed = found["whole"], found["killed"]
    return {
        "kills": found["kills"], "trials": found["trials"], "changes_of_the_study": found["changes"], "same_finished_trials": found["same"],
        "finished": len(whole["trials"]), "tries": {"whole": whole["tries"], "killed": killed["tries"]},
        "runs_again_of_trials_that_had_not_ended": killed["repeated"],
    }  # fmt: skip


if __name__ == "__main__":
    main()
