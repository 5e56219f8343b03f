"""The command line as a stranger meets it: help, lists, JSON, exit codes, messages; a fault of each kind of many in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli.app import main
from tests import command_line
from tests.conftest import PYTHONPATH


def edgekit(*arguments: str, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "edgekit", *arguments]
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, **environment},
    )


def document(*arguments: str) -> Any:
    """What a command prints with --json; in this process, as `refusal`."""
    done = command_line.edgekit(*arguments, "--json", cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Called with a command that must end with 2: what it says. Run in this process, for a start takes longer than a refusal."""

    def refused(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["edgekit", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr().err
        assert left.value.code == 2, said
        assert "Traceback" not in said
        return said

    return refused


def test_help_imports_nothing_heavy() -> None:
    probe = "import sys; sys.argv = ['edgekit', '--help']\nimport edgekit.cli.app\ntry: edgekit.cli.app.main()\nexcept SystemExit: pass\n"
    probe += "print([name for name in ('torch', 'transformers', 'onnxruntime', 'numpy', 'scipy', 'matplotlib') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": PYTHONPATH}
    )
    assert done.stdout.strip().endswith("[]")
    for word in ("export", "plan", "bench", "verify", "report", "run", "ls", "doctor", "schema", "Exit codes"):
        assert word in done.stdout


def test_lists() -> None:
    lists = {what: document("ls", what) for what in ("targets", "methods", "recipes", "tasks")}
    names = {what: {row["name"] for row in listed} for what, listed in lists.items()}
    assert {"x86-avx2", "x86-vnni", "arm64-neon", "arm64-dotprod", "arm64-i8mm", "cuda"} <= names["targets"]
    assert {"distill", "prune-structured", "prune-vocabulary"} <= names["methods"]
    assert {"intents", "clinc150"} <= names["recipes"]
    assert all(row["title"] for listed in lists.values() for row in listed)


def test_doctor_names_a_best_target() -> None:
    found = document("doctor")
    assert found["best"] in {row["name"] for row in found["targets"] if row["runs"]}
    assert found["host"]["cores_usable"] >= 1


@pytest.mark.parametrize("what", ["recipe", "target"])
def test_schemas_describe_every_field(what: str) -> None:
    done = command_line.edgekit("schema", what, cwd=Path.cwd())
    schema = json.loads(done.stdout)
    assert schema["additionalProperties"] is False
    assert "schema" in schema["properties"]


def test_plan_runs_nothing_and_names_keys(tmp_path: Path) -> None:
    found = document("plan", "intents", "--target", "x86-vnni", "--target", "arm64-dotprod", "--build", str(tmp_path / "build"))
    assert not (tmp_path / "build").exists()
    names = [stage["stage"] for stage in found["stages"]]
    assert names.count("train") == 1 and names.count("distill") == 2, "targets share compress"
    assert names.count("export") == 5, "targets share export"
    assert names.count("pack") == 2
    assert len({stage["key"] for stage in found["stages"]}) == len(found["stages"])
    assert {stage["state"] for stage in found["stages"]} == {"to run"}


BAD: list[tuple[list[str], str]] = [
    (["export", "nowhere.toml"], "no such file"),
    (["export", "intentz"], "did you mean 'intents'?"),
    (["plan", "intents", "--target", "x87"], "no target named 'x87'"),
    (["verify", "nowhere"], "no bundle here"),
    (["run", "nowhere", "hello"], "no bundle here"),
    (["bench", "nowhere"], "no bundle here"),
    (["report", "nowhere"], "no results"),
    (["ls", "colours"], "cannot list"),
    (["schema", "colours"], "no schema of"),
    (["frobnicate"], "No such command"),
    (["chat"], "Did you mean 'run'?"),
    (["export", "--colour"], "No such option"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD)
def test_bad_usage_has_a_message_and_a_code(arguments: list[str], says: str, refusal: Callable[..., str]) -> None:
    assert says in refusal(*arguments)


def test_words_that_are_no_command_lead_to_one_that_is() -> None:
    from edgekit.cli.app import COMMANDS
    from edgekit.cli.plain_help import MEANT

    assert set(MEANT.values()) <= {*COMMANDS, "--version", "--help"} and not set(MEANT) & set(COMMANDS)


def test_faults_are_json_where_json_is_asked_for() -> None:
    done = edgekit("verify", "nowhere", "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["exit_code"] == 2 and "no bundle here" in found["error"]


def recipe(folder: Path, tail: str = "", head: str = "") -> Path:
    path = folder / "mine.toml"
    data = "".join(f'{split} = "{split}.jsonl"\n' for split in ("train", "validation", "test"))
    path.write_text(f'schema = 1\ntask = "text-classification"\n{head}[model.new]\nlayers = 1\n[data]\n{data}{tail}')
    return path


def rows(folder: Path, **splits: list[Any]) -> None:
    for split in ("train", "validation", "test"):
        given = splits.get(split, [{"text": f"{split} {number}", "label": "ab"[number % 2]} for number in range(8)])
        (folder / f"{split}.jsonl").write_text(
            "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in given)
        )


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ({"train": ["{"]}, "train.jsonl"),
        ({"train": [{"utterance": "x", "label": "a"}]}, "'text'"),
        ({"train": [{"text": 3, "label": "a"}]}, "text"),
        ({"train": [{"text": " ", "label": "a"}, {"text": "x", "label": "a"}]}, "empty"),
        ({"test": []}, "test.jsonl"),
        ({"test": [{"text": "only one", "label": "a"}]}, "one row"),
        ({"test": [{"text": "x y", "label": "zzz"}, {"text": "x z", "label": "a"}]}, "zzz"),
    ],
)
def test_bad_rows(tmp_path: Path, splits: dict[str, list[Any]], says: str, refusal: Callable[..., str]) -> None:
    rows(tmp_path, **splits)
    assert says in refusal("export", str(recipe(tmp_path)), "--build", str(tmp_path / "build"))


def test_overlap_is_refused_where_asked(tmp_path: Path) -> None:
    same = [{"text": f"same {number}", "label": "ab"[number % 2]} for number in range(4)]
    rows(tmp_path, train=[*same, {"text": "other", "label": "a"}], test=same)
    arguments = ["export", str(recipe(tmp_path, 'on_overlap = "refuse"\n')), "--build", str(tmp_path / "build")]
    done = command_line.edgekit(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "same 0" in done.stderr


def test_missing_data_files_are_named_by_the_plan(tmp_path: Path) -> None:
    done = command_line.edgekit("plan", str(recipe(tmp_path)), cwd=tmp_path)
    assert done.returncode == 2
    assert all(f"{split}.jsonl" in done.stderr for split in ("train", "validation", "test"))


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        ('[[compress]]\nmethod = "prune-vocabulary"\n[[compress]]\nmethod = "distill"\n', "put prune-vocabulary last"),
        ('[quantize]\nformat = "float16"\n', "no faster"),
        ('[quantize]\nactivations = "int8"\n', "no fast x86 kernel"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    tmp_path: Path, tail: str, says: str, refusal: Callable[..., str]
) -> None:
    rows(tmp_path)
    assert says in refusal("export", str(recipe(tmp_path, tail)), "--target", "x86-vnni", "--build", str(tmp_path / "build"))
    assert not (tmp_path / "build").exists()


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys\nfrom edgekit.plan.make import make_plan\nfrom edgekit.host import detect\n"
        "make_plan('intents', ['x86-vnni', 'arm64-dotprod'], detect())\n"
        "print([name for name in ('torch', 'transformers', 'optimum', 'onnx') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_of_run_says_what_a_text_to_a_chat_model_is() -> None:
    from typing import get_args, get_type_hints

    from edgekit.cli.use import run

    (option,) = get_args(get_type_hints(run, include_extras=True)["chat"])[1:]
    assert "chat template wraps" in option.help and "as they are" in option.help
