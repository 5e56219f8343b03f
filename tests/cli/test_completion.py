"""What a shell is told when a person presses the tab key, asked as its script asks: through the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PYTHONPATH

PROGRAM = "import sys; sys.argv = ['edgekit']\nfrom edgekit.cli.app import main\nmain()"


def asked(**environment: str) -> str:
    """What the command answers to a shell's question."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def bash(line: str) -> list[str]:
    """The words that bash offers after `line`."""
    words = line.split(" ")
    return asked(_EDGEKIT_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1)).split()


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("edgekit exp", {"export"}),
        ("edgekit plan ", {"clinc150", "intents", "stsb"}),
        ("edgekit plan inte", {"intents"}),
        ("edgekit export --target arm64-", {"arm64-neon", "arm64-dotprod", "arm64-i8mm", "arm64-bf16"}),
        ("edgekit plan intents -t x86", {"x86-avx2", "x86-vnni"}),
        ("edgekit init --task zero", {"zero-shot-classification"}),
        ("edgekit ls t", {"targets", "tasks"}),
        ("edgekit schema ", {"recipe", "target"}),
        ("edgekit docs reference/", {"reference/recipe", "reference/target", "reference/commands"}),
        ("edgekit export --no-be", {"--no-bench"}),
    ],
)
def test_names_are_offered(line: str, offers: set[str]) -> None:
    found = bash(line)
    assert offers <= set(found)
    assert all(word.startswith(line.split(" ")[-1]) for word in found)


def test_a_path_is_offered_beside_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.cli import complete

    (tmp_path / "intents-mine.toml").touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "one.toml").touch()
    (tmp_path / "inner" / "two.json").touch()
    monkeypatch.chdir(tmp_path)
    assert [word for word, _ in complete.recipes("in")] == ["intents", "inner/", "intents-mine.toml"]
    assert [word for word, _ in complete.targets("inner/")] == ["inner/one.toml"]
    assert [word for word, _ in complete.targets(f"{tmp_path}/inner/o")] == [f"{tmp_path}/inner/one.toml"]
    assert complete.targets("no/such/folder/") == []


def test_zsh_is_told_what_a_target_is_for() -> None:
    told = asked(_EDGEKIT_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="edgekit plan --target arm64-n")
    assert '"arm64-neon":"64-bit ARM with NEON' in told


def test_the_script_of_a_shell_asks_for_this_command() -> None:
    assert "_EDGEKIT_COMPLETE=complete_bash" in asked(_EDGEKIT_COMPLETE="source_bash")
