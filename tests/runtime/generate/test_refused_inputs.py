"""One input that cannot be used takes nothing from the others: they are answered, it is said by its number, and the exit code is 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.runtime.items import answered, refusals
from edgekit.runtime.main import main
from tests.runtime.serve.serving import make_bundle

Asks = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["edgekit", "runner"])
def ask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asks:
    """(exit code, standard output, standard error) of a command line's `run`."""
    from edgekit.cli import app as cli

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgekit", "run", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main() if request.param == "edgekit" else sys.exit(main(["run", *arguments]))
        shown = capsys.readouterr()
        return int(left.value.code or 0), shown.out, shown.err

    return call


@pytest.fixture(scope="module")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("classifier"), "text-classification")


BROKEN = '{"words": ["light",'


def test_an_encoder_answers_the_others(ask: Asks, tiny_classifier: Path) -> None:
    code, out, said = ask(str(tiny_classifier), "turn on", "  ", BROKEN, "paint the hall")
    lines = out.splitlines()
    assert code == 2 and len(lines) == 4
    assert lines[1] == "(item 2 of 4: the text is empty)" and lines[2].startswith("(item 3 of 4")
    assert not lines[0].startswith("(") and not lines[3].startswith("(")
    assert "2 of 4 inputs cannot be used" in said and "item 2 of 4: the text is empty" in said and "Traceback" not in said
    code, out, said = ask(str(tiny_classifier), "--json", "turn on", " ")
    good, bad = json.loads(out)
    assert code == 2 and "label" in good and bad == {"error": "item 2 of 2: the text is empty\n  fix: give at least one word"}
    code, out, said = ask(str(tiny_classifier), " ")
    assert (code, out) == (2, "") and "item" not in said


def test_a_language_model_answers_the_others(ask: Asks, tiny_bundle: Path) -> None:
    long = "w " * 2000
    code, out, said = ask(str(tiny_bundle), "--raw", "--max-new-tokens", "2", "a hat", " ", long, "the inn")
    assert code == 2 and "(item 2 of 4: the text is empty)" in out.splitlines() and "(item 3 of 4: the prompt" in out
    assert "2 of 4 inputs cannot be used" in said
    code, out, _ = ask(str(tiny_bundle), "--raw", "--max-new-tokens", "2", "--json", " ", "a hat")
    bad, good = json.loads(out)
    assert code == 2 and "error" in bad and good["new_tokens"] == 2


def test_all_may_be_refused_and_none() -> None:
    def fail(text: str) -> dict[str, str]:
        from edgekit.runtime.errors import BadInput

        raise BadInput(text)

    told = refusals(list(answered(["a", "b"], fail)))
    assert told is not None and told.faults == ("item 1 of 2: a", "item 2 of 2: b")
    assert refusals(list(answered(["a"], lambda text: {"label": text}))) is None
