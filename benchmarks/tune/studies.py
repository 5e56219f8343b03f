"""Studies of real trainings on few rows: samplers side by side, and two workers beside one: `python -m benchmarks.tune.studies samplers|workers`.

The rows are the first of two data sets (`mr`, `meaning` of untuned.py), so that a trial takes seconds. `samplers`: each sampler with each seed is
a study of its own, all begin with the same proven chains, and nothing is timed: cost is multiplications. `workers`: one worker, and
beside it two that share a study and a store and have a build folder each; draws at random depend on their number alone, so that both studies try the
same recipes in the same order.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

from benchmarks.pages import write_results
from benchmarks.tune.fronts import LONG, TARGET, end, machine, start, wait
from edgekit.progress import Show
from edgekit.runtime.outputs import write_atomically
from edgekit.tuner.journal import Journal
from edgekit.tuner.records import KEY, WORKER, finished
from edgekit.tuner.run import Asked, search

PARTS = {"train": 1, "validation": 4, "test": 10}
"""Split -> the training rows for each of its rows."""
UNTIMED = "arm64-dotprod"
"""A target that no machine with a GPU is: what is not timed."""
SAMPLERS = ("gp", "random")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("samplers", "workers", "worker"))
    parser.add_argument("sets", type=Path, help="folder that untuned.py wrote")
    parser.add_argument("--tasks", default="mr,meaning")
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--rows", type=int, default=2000, help="of training")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--cores", default="", help="numbers by comma, one for each process; by default any")
    for hidden in ("--build", "--store", "--storage", "--sampler", "--target"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.place.mkdir(parents=True, exist_ok=True)
    {"samplers": _samplers, "workers": _workers, "worker": _worker}[chosen.what](chosen)


def _few(chosen: argparse.Namespace, name: str) -> Path:
    """The recipe of a data set with its first rows; nothing may be lost of it, so that the whole front is searched."""
    folder: Path = chosen.place / "rows" / name
    if not (folder / f"{name}.toml").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for split, part in PARTS.items():
            lines = (chosen.sets / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            (folder / f"{split}.jsonl").write_text("".join(lines[: chosen.rows // part]), encoding="utf-8")
        text = (chosen.sets / name / f"{name}.toml").read_text(encoding="utf-8").partition("[accept]")[0]
        write_atomically(folder / f"{name}.toml", text)
    return folder / f"{name}.toml"


def _samplers(chosen: argparse.Namespace) -> None:
    for task in chosen.tasks.split(","):
        _few(chosen, task)
    cores = chosen.cores.split(",")
    started: dict[str, tuple[Popen[bytes], Path]] = {}
    for seed in chosen.seeds.split(","):
        for task in chosen.tasks.split(","):
            for sampler in chosen.samplers.split(","):
                name = f"{task}-{sampler}-{seed}"
                started[name] = _start(chosen, cores[len(started) % len(cores)], task, name, UNTIMED, sampler, seed, task)
    _gather(chosen, started, {"task": "first rows of each set", "samplers": chosen.samplers.split(",")})


def _workers(chosen: argparse.Namespace) -> None:
    cores, task = chosen.cores.split(","), chosen.tasks.split(",")[0]
    _few(chosen, task)
    store = ["--store", (chosen.place / "shared").resolve().as_uri()]
    started = {
        name: _start(chosen, cores[number % len(cores)], task, study, TARGET, "random", chosen.seeds.split(",")[0], name, *more)
        for number, (name, study, more) in enumerate(
            (("one", "one", []), ("first of two", "two", store), ("second of two", "two", store))
        )
    }
    _gather(chosen, started, {"task": task})


def _start(
    chosen: argparse.Namespace, core: str, task: str, study: str, target: str, sampler: str, seed: str, build: str, *more: str
) -> tuple[Popen[bytes], Path]:
    journal, folder = chosen.place / f"{study}.journal", chosen.place / f"build-{build}".replace(" ", "-")
    said = {
        "tasks": task, "place": chosen.place, "out": chosen.out, "minutes": LONG, "trials": chosen.trials, "rows": chosen.rows,
        "seeds": seed, "sampler": sampler, "target": target, "build": folder, "storage": journal,
    }  # fmt: skip
    options = [word for name, value in said.items() for word in (f"--{name}", str(value))]
    command = ["-m", "benchmarks.tune.studies", "worker", str(chosen.sets), *options, *more]
    return start(command, [int(core)] if core else [], folder.with_name(f"{study}-{folder.name}.log")), journal


def _gather(chosen: argparse.Namespace, started: dict[str, tuple[Popen[bytes], Path]], beside: dict[str, Any]) -> None:
    began, until = time.monotonic(), time.monotonic() + 60 * chosen.minutes
    document = {"command": f"python -m benchmarks.tune.studies {chosen.what} SETS --minutes {chosen.minutes:g}", "machine": machine(),
                "rows": chosen.rows, "minutes": chosen.minutes, **beside}  # fmt: skip

    def look() -> None:
        found = {name: _trials(journal) for name, (_, journal) in started.items() if journal.is_file()}
        write_results(chosen.out, {**document, "studies": found, "seconds": time.monotonic() - began})

    wait([child for child, _ in started.values()], until, look)
    end([child for child, _ in started.values()])
    look()


def _worker(chosen: argparse.Namespace) -> None:
    """One worker of one study."""
    asked = Asked(str(_few(chosen, chosen.tasks)), chosen.target, Path(chosen.build), minutes=chosen.minutes, trials=chosen.trials,
                  storage=chosen.storage, sampler=chosen.sampler, seed=int(chosen.seeds), store=chosen.store)  # fmt: skip
    search(asked, Show())


def _trials(journal: Path) -> list[dict[str, Any]]:
    """What a study holds of each trial that came to its end, as it is at this moment."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(Journal(journal))
    found = storage.get_all_studies()
    study = optuna.load_study(study_name=found[0].study_name, storage=storage) if found else None
    return [] if study is None else [
        {
            "number": trial.number, "state": trial.state.name.lower(), "drawn": trial.params, "values": trial.values,
            "said": {name: value for name, value in trial.user_attrs.items() if name not in (KEY, WORKER)},
            "worker": trial.user_attrs.get(WORKER), "began": str(trial.datetime_start), "ended": str(trial.datetime_complete),
        }
        for trial in finished(study)
    ]  # fmt: skip


if __name__ == "__main__":
    main()
