"""A search on real rows: two trials of a tiny model, of which the second is the first one again, and the points they leave."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import edgekit
from edgekit.cli.app import app
from edgekit.cli.tune import _ended_by_sigterm
from edgekit.config.target import load_target
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.plan.facts import original_facts
from edgekit.plan.recipes import load_recipe
from edgekit.progress import Show
from edgekit.tuner import run, trial
from edgekit.tuner.front import Bounds
from edgekit.tuner.page import render_study
from edgekit.tuner.run import Asked, search
from edgekit.tuner.space import drawn_recipe, space_of
from edgekit.tuner.starts import begun_with, measured_chains
from edgekit.tuner.trial import Given, Original, measure

ELSEWHERE = "arm64-dotprod" if detect().arch == "x86_64" else "x86-vnni"
"""A target that this machine is not."""


@pytest.fixture(scope="module")
def recipe(tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tuned") / "tiny.toml"
    rows = "".join(f'{split} = "{tiny_data / split}.jsonl"\n' for split in ("train", "validation", "test"))
    path.write_text(
        f'schema = 1\ntask = "text-classification"\n[model]\nid = "{tiny_model}"\nmax_length = 32\n[data]\n{rows}[calibration]\nrows = 8\n'
    )
    return path


def tuned(recipe: Path, *more: str) -> Any:
    build = recipe.parent / "build"
    return CliRunner().invoke(
        app, ["tune", str(recipe), "-t", ELSEWHERE, "--build", str(build), "--json", *more], catch_exceptions=False
    )


def test_a_search_leaves_points_that_are_bundles(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = run.begun_with
    monkeypatch.setattr(run, "begun_with", lambda *given: begun(*given)[:1] * 2)  # one recipe twice, as a draw may be
    monkeypatch.setattr(run, "MOST_AGAIN", 1)  # which counts for no trial
    done = tuned(recipe, "--trials", "2", "--lose", "50%")
    assert done.exit_code == 0
    study = json.loads(done.stdout)
    folder = recipe.parent / "build" / f"tiny-{ELSEWHERE}-study"
    assert json.loads((folder / "study.json").read_text()) == study
    first, second = study["trials"]
    (point,) = study["points"]
    assert (
        second["same_as"] == first["trial"] == point["trial"] == 1
        and first["state"] == second["state"] == "complete"
        and study["looked_at"] == 1
    )
    assert not study["timed"] and first["cost"] == 1 and first["quality"] == first["rungs"][-1]["quality"]
    assert point["test"]["n"] == 20 and point["kept_on_validation"] and point["missed"] == [] and study["tested"] == [1]
    assert point["validation"]["size_mb"] == pytest.approx(first["size_mb"])
    page = (folder / "study.html").read_text()
    assert f"is not {ELSEWHERE}" in page and "1 recipe was looked at" in page and point["recipe"] in page

    command = (folder / point["recipe"]).read_text().splitlines()[0].removeprefix("# edgekit ")
    exported = CliRunner().invoke(app, [*shlex.split(command), "--json"], catch_exceptions=False)
    assert json.loads(exported.stdout)[0]["up_to_date"], "what a point's recipe begins with finds everything made"
    assert f'id = "{load_recipe(str(recipe))[2].model.id}"' in (folder / point["recipe"]).read_text(), "an absolute path stays"

    other = folder / "tiny-point-000000.toml"  # of a budget before
    shutil.copytree(
        recipe.parent / "build" / f"{Path(point['recipe']).stem}-{ELSEWHERE}", folder.parent / f"{other.stem}-{ELSEWHERE}"
    )
    shutil.copy(folder / point["recipe"], other)
    again = json.loads(tuned(recipe, "--trials", "1", "--lose", "50%").stdout)
    assert again["trials"] == study["trials"], "nothing is tried or measured again"
    assert other.is_file() and again["earlier"] == [other.name] and other.name in (folder / "study.html").read_text()

    done = tuned(recipe, "--trials", "1", "--lose", "40%", "--smaller", "0.001MB")
    tighter = json.loads(done.stdout)
    assert tighter["trials"] == study["trials"] and tighter["budget"]["lose"] == 0.4, (
        "another budget is asked of the same trials"
    )
    assert (
        done.exit_code == 1 and not tighter["points"][0]["kept_on_validation"] and "what binds is size" in tighter["nearest"][0]
    )
    with pytest.raises(BadInput, match="another study"):
        search(Asked(str(recipe), ELSEWHERE, recipe.parent / "build", seed=8), Show(silent=True))


def test_a_search_begins_with_no_recipe_twice(recipe: Path) -> None:
    _, _, loaded = load_recipe(str(recipe))
    facts = original_facts(loaded, loaded.model.id)
    starts = measured_chains(facts, loaded.task, bf16=False)
    space = space_of(loaded, facts, load_target(ELSEWHERE).chosen(loaded.quantize), starts, bf16=False)
    drawn = begun_with(space, loaded, [*starts, *starts])
    steps = [[step.method for step in drawn_recipe(space, loaded, lambda name, one, of=of: of[name]).compress] for of in drawn]
    assert steps[0] == [] and steps.count([]) == 1 and len(drawn) == len(starts), "the number format alone, which costs seconds"
    assert steps[1] == ["distill", "prune-structured", "distill"], "what came furthest"
    assert steps[2] == ["distill"] and steps[-1] == ["prune-oneshot"], "from the most work to the least"


def test_what_cannot_keep_the_budget_is_not_trained(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size and multiplications are known before training, exactly where no score of the weights decides what goes."""
    begun = run.begun_with
    monkeypatch.setattr(
        run, "begun_with", lambda *given: begun(*given)[1:]
    )  # without the number format alone, which is no training
    path = recipe.with_name("taught.toml")
    path.write_text(recipe.read_text() + '[[compress]]\nmethod = "distill"\nlayers = 1\nepochs = 1\n')
    asked = ["tune", str(path), "-t", ELSEWHERE, "--build", str(recipe.parent / "build"), "--trials", "1", "--json"]
    done = CliRunner().invoke(app, [*asked, "--smaller", "0.01MB"], catch_exceptions=False)
    study = json.loads(done.stdout)
    (one,) = study["trials"]
    assert done.exit_code == 1 and one["state"] == "untrained" and "rungs" not in one and study["points"] == []
    assert "too large" in one["untrained"] and study["looked_at"] == 0
    size = one["foreseen"]["size_mb"]
    assert "what binds is size in 1 of 1 recipe; 1 was not trained" in study["nearest"][0]
    assert "whose quality nobody knows" in study["nearest"][1] and "distill" in study["nearest"][1]
    assert not list((recipe.parent / "build" / "store" / "distill").glob("*")), "nothing was trained"

    (option,) = re.findall(r"--smaller ([\d.]+MB)", study["nearest"][1])
    folder = recipe.parent / "build" / f"taught-{ELSEWHERE}-study"
    shutil.rmtree(folder)
    study = json.loads(CliRunner().invoke(app, [*asked, "--smaller", option], catch_exceptions=False).stdout)
    (one,) = study["trials"]
    assert one["state"] == "complete" and study["points"][0]["kept_on_validation"], "what is called the nearest is one"
    assert one["size_mb"] == size and one["cost"] == one["foreseen"]["multiplications"]


def test_too_few_rows_to_tell(recipe: Path, tmp_path: Path) -> None:
    few = shutil.copy(recipe, recipe.with_name("few.toml"))
    done = CliRunner().invoke(
        app, ["tune", str(few), "-t", ELSEWHERE, "--build", str(recipe.parent / "build"), "--lose", "1%", "--trials", "1"]
    )
    assert "20 validation rows cannot tell whether 1 point is lost: one row is 5.0" in str(done.exception)
    assert not (recipe.parent / "build" / f"few-{ELSEWHERE}-study").exists(), "it is told before anything else is made"
    rows, loaded = {"train": 140, "validation": 30, "test": 30}, load_recipe(str(recipe))[2]
    run._check_rows(rows, Bounds(lose=0.0), loaded, tmp_path)  # none of them may be lost
    one_file = loaded.model_copy(
        update={"data": loaded.data.model_copy(update={**dict.fromkeys(("train", "validation", "test")), "file": "rows.csv"})}
    )
    with pytest.raises(BadInput) as fault:
        run._check_rows(rows, Bounds(lose=0.01), one_file, tmp_path)
    assert "give 100 or more validation rows, which are some 667 rows of the one file, of whose 200 these 30 are" in str(
        fault.value.fix
    )


def test_a_refused_command_changes_no_recipe(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    """The draft of a search that is there was written anew before it was told that it is another one."""
    build, asked = (
        tmp_path / "build",
        ["tune", "--model", str(tiny_model), "--data", str(tiny_data / "train.jsonl"), "--lose", "0.1%"],
    )
    done = CliRunner().invoke(app, [*asked, "-t", ELSEWHERE, "--build", str(build), "--max-length", "16"])
    assert "validation rows cannot tell" in str(done.exception) and not list(build.glob("*.toml"))
    (build / f"{tiny_model.name}-train.toml").write_text("of somebody else")
    done = CliRunner().invoke(app, [*asked, "-t", ELSEWHERE, "--build", str(build)])
    assert "is no draft" in str(done.exception)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_search_hears_of_its_end_at_once(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), _ended_by_sigterm(Show()):
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert "it ends as soon as what runs now lets go" in capsys.readouterr().err and signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trials", "0", "--minutes", "inf"], "--minutes inf: above 0, up to 527,040\n  - --trials 0: from 1 to 1,000,000"),
        (["--minutes", "-1", "--sampler", "grid"], "--sampler grid: write gp, tpe, nsga2, random"),
        (["--faster", "fast"], "--faster fast"),
        (["intents", "--model", "m"], "either a recipe, or --model"),
        (["--data", "rows.csv"], "--data goes with --model"),
        ([], "say what to search around: a recipe, or a model"),
        (
            ["intents", "-t", "x86-vnni", "-t", "x86-avx2"],
            "--target x86-vnni and --target x86-avx2: a search is for one target",
        ),
        (["reference-lm"], "a search is for encoders"),
        (["--model", "LM", "--data", "no-such-file.csv"], "a search is for encoders, and this is a language model"),
        (["--model", "LM", "--task", "text-generation"], "a search is for encoders, and text-generation is of"),
    ],
)
def test_options_that_cannot_be_used(arguments: list[str], words: str, tmp_path: Path) -> None:
    if "LM" in arguments:  # before any row is looked at
        model = tmp_path / "lm"
        model.mkdir()
        (model / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
        arguments = [str(model) if one == "LM" else one for one in arguments]
    done = CliRunner().invoke(app, ["tune", *arguments, "--build", str(tmp_path)])
    fault: Any = done.exception
    assert words in "\n".join([str(fault), *getattr(fault, "faults", ())])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"lose": "1%"}, "lose 1%: a share from 0 to 1"),
        ({"lose": -0.1, "faster": 0}, "faster 0: a number above 0; lose -0.1: a share"),
        ({"smaller": float("nan"), "trials": 0}, "trials 0: from 1 to 1,000,000; smaller nan: a number above 0"),
        ({"minutes": -1.0, "trials": 2.5}, "minutes -1: above 0, up to 527,040; trials 2.5: from 1"),
    ],
)
def test_what_cannot_be_asked_for_from_python(asked: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as fault:
        edgekit.tune("intents", "x86-vnni", tmp_path, **asked)
    assert words in "; ".join(fault.value.faults)


def test_a_trial_is_measured_beside_the_original(
    recipe: Path, tiny_export: Path, tiny_model: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PROCESSES", 1), ("SECONDS", 0.02), ("RUNS", 2), ("WARM_UP", 0.01)):
        monkeypatch.setattr(trial, name, value)
    _, path, read = load_recipe(str(recipe))
    given = Given("tiny", path, read, load_target("x86-avx2"), detect(), recipe.parent, Show(silent=True))
    found = measure(given, Original(1.0, 20, 1.0, 1, tiny_export, tiny_model, tiny_artifact), tiny_export, tiny_model)
    assert found["times"] > 0 and found["ms"] > 0 and len(found["ci95"]) == 2


def a_study(results: int, points: int = 0, **more: Any) -> Any:
    """What study.json holds after as many results, of which as many are points."""
    trials = [
        {"trial": at + 1, "number": 2 * at, "state": "complete", "steps": f"step {at}", "quality": 0.9 - at / 100, "cost": 0.5 - at / 100,
         "size_mb": 3.0 + at, "seconds": 30.0, "rungs": [{"quality": 0.9, "size_mb": 3.0}]}
        for at in range(results)
    ]  # fmt: skip
    made = [
        {"trial": at + 1, "recipe": f"one-point-{at + 1}.toml", "steps": f"step {at}", "missed": [], "kept_on_validation": True, "kept": True,
         "validation": {"quality": 0.9 - at / 100, "cost": 0.5, "times": 2.0, "size_mb": 3.0 + at},
         "test": {"value": 0.9, "n": 200, "difference": -0.012, "ci95": [-0.02, 0.0]}}
        for at in range(points)
    ]  # fmt: skip
    return {
        "name": "one", "target": "x86-vnni", "timed": True, "device": None, "looked_at": results, "seconds": 61.0, "waiting": False, "over": True,
        "front": [trial["trial"] for trial in trials], "points": made, "tested": [point["trial"] for point in made], "importances": {},
        "written": {"at": "2026-11-29 20:00 UTC", "edgekit": "0.1.0", "cpu": "a chip", "cores": 2}, "earlier": [],
        "budget": {"lose": 0.01, "faster": None, "smaller": None}, "original": {"quality": 0.9, "rows": 200, "size_mb": 10.0},
        "metric": "accuracy", "cost": "share of the time", "nearest": [], "trials": trials, **more,
    }  # fmt: skip


def words_of(page: str) -> str:
    """The text of a page."""
    return html.unescape(" ".join(re.sub(r"<(svg|style).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL).split()))


@pytest.mark.parametrize(
    ("results", "points", "said"),
    [
        (0, 0, ["No recipe was trained or measured yet.", "asked for: lose at most 1.00 points", "no point was made yet", "No test row was read yet.",
                "so far none did"]),
        (1, 1, ["1 recipe was looked at in 1 min 1 s: 1 is on the front, and 1 was made in full.",
                "the one point keeps the budget", "of which one is 0.50%. Test rows were read for 1 recipe in all, once, after the search",
                "believe that figure, and its interval.", "so far 1 did"]),
        (2, 2, ["2 recipes were looked at", "2 are on the front, and 2 were made in full", "2 of 2 points keep the budget",
                "the best of 2 looks better there than it is. Test rows were read for 2 recipes in all, each once", "so far 2 did"]),
        (30, 6, ["30 recipes were looked at", "6 of 6 points keep", "No value that was drawn sets the 30 recipes apart"]),
    ],
)  # fmt: skip
def test_each_sentence_of_a_page_by_how_many_results_there_are(results: int, points: int, said: list[str]) -> None:
    page = words_of(render_study(a_study(results, points)))
    for words in said:
        assert words in page, page
    assert not re.search(
        r"\b1 (recipes|trials|points|are|were|keep)\b|\b(0|[2-9]|[1-9]\d+) (recipe|trial|is|was|keeps)\b", page
    )
    assert "What mattered" in page and ("<svg" in render_study(a_study(results))) == (results > 1)


def test_which_points_a_page_says_to_keep_the_budget() -> None:
    """On validation rows, by which they were chosen, and on test rows: one that kept it on the latter alone was called kept."""
    both, missed, by_chance, none = (a_study(2, 2) for _ in range(4))
    missed["points"][0]["missed"] = ["accuracy lost: +1.20 points"]
    for point in by_chance["points"]:
        point |= {"kept_on_validation": False, "validation": {**point["validation"], "quality": 0.87}}
    none["budget"] = dict.fromkeys(none["budget"])
    pages = [words_of(render_study(study)) for study in (both, missed, by_chance, none)]
    assert "2 of 2 points keep the budget" in pages[0] and "missed" not in pages[0]
    assert "1 of 2 points keeps the budget" in pages[1] and "missed accuracy lost: +1.20 points" in pages[1]
    assert "no point keeps the budget" in pages[2] and pages[2].count("missed on validation rows +3.00 points lost") == 2
    assert "asked for: the whole front no budget" in pages[3] and "kept" not in pages[3] and "plain lines" not in pages[3]
    untimed = a_study(1, 1, timed=False, budget={"lose": None, "faster": 90.0, "smaller": None})
    page = words_of(render_study(untimed))
    assert "speed was not timed" in page and "kept but for speed, which was not timed" in page
    assert "The search is not over. Other workers are still at this study, and the one" in render_study(
        a_study(1, over=False, waiting=True)
    )


def test_a_page_names_whatever_a_trial_came_to() -> None:
    study = a_study(2, nearest=["nothing keeps the budget: what binds is speed in 2 of 2 recipes"])
    study["trials"][0]["steps"] = "<b>"
    study["trials"] += [
        {"trial": 3, "state": "complete", "steps": "", "quality": 0.9, "cost": 0.6, "size_mb": 4.0, "seconds": 1.0, "same_as": 2},
        {"trial": 4, "state": "refused", "refused": "cannot work", "steps": "", "seconds": 0.0},
        {"trial": 5, "state": "untrained", "untrained": "too large", "steps": "", "foreseen": {"size_mb": 9.0}},
        {"trial": 6, "state": "stopped", "stopped": "others do better", "steps": ""},
        {"trial": 7, "state": "failed", "failed": "no parity", "steps": ""},
    ]  # fmt: skip
    study["trials"][-1] |= {
        "rungs": [{"share": 1 / 9, "quality": 0.7893, "size_mb": 3.0}],
        "foreseen": {"measured": {"times": 4.0}, "size_mb": 3.0},
    }
    page = render_study(study)
    assert "&lt;b&gt;" in page and "<b>" not in page and "what binds is speed" in page
    page = words_of(page)
    assert "78.93 a look at 11% of its training 0.250 of its shapes, untrained 3.00" in page
    assert (
        "Of 7 that were drawn, 2 recipes were looked at" in page
        and "Written 2026-11-29 20:00 UTC by edgekit 0.1.0 on a chip, 2 cores" in page
    )
    for said in ("as trial 2", "refused cannot work", "not trained too large", "dropped others do better", "failed no parity"):
        assert said in page
    late = next(trial for trial in study["trials"] if trial["state"] == "stopped")
    late |= {"needs_seconds": 60.0, "stopped": "no time"}
    assert "put off no time" in words_of(render_study(study))
