"""`run` with a language model: the runner's flags, answers as they come, and a conversation at a real terminal."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from edgekit.pack.runner import write_runner
from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate import command
from edgekit.runtime.generate.constraint import KINDS
from edgekit.runtime.generate.flags import FLAGS, given_flags
from edgekit.runtime.generate.model import LanguageModel
from edgekit.runtime.generate.sample import SETTINGS, Sampling
from edgekit.runtime.main import main
from edgekit.runtime.model import load

Fresh = Callable[..., LanguageModel]


def test_answers_as_json(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "run",
                str(tiny_bundle),
                "a hat",
                "the inn",
                "--json",
                "--max-new-tokens",
                "9",
                "--temperature",
                "0.7",
                "--seed",
                "4",
            ]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    model = load(tiny_bundle).language
    assert model is not None
    sampling = Sampling(max_new_tokens=9, temperature=0.7, seed=4)
    assert all(set(one.pop("speculation")) == {"drafted", "accepted"} for one in found)
    assert found == [model.answer(text, sampling).document() for text in ("a hat", "the inn")]


def test_answers_for_people(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tiny_bundle), "a hat", "the inn", "--raw", "--max-new-tokens", "9"]) == 0
    model = load(tiny_bundle).language
    assert model is not None
    wanted = [model.generate(text, Sampling(max_new_tokens=9)).text for text in ("a hat", "the inn")]
    assert capsys.readouterr().out == "\n".join(wanted) + "\n"


def test_the_command_line_says_the_same(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edgekit.cli.app import app

    flags = ["a hat", "--raw", "--max-new-tokens", "9", "--temperature", "0.9", "--top-k", "50", "--stop", "q", "--stop", "the"]
    for form in (["--json"], []):
        assert main(["run", str(tiny_bundle), *flags, *form]) == 0
        runner = capsys.readouterr().out
        app(["run", str(tiny_bundle), *flags, *form], standalone_mode=False)
        assert capsys.readouterr().out == runner
    with pytest.raises(BadInput, match="min_p"):
        app(["run", str(tiny_bundle), "a hat", "--min-p", "2"], standalone_mode=False)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--temperature", "-1"], "temperature: -1.0 is not a number from 0"),
        (["--top-p", "0", "--min-p", "2"], "min_p"),
        (["--top-k", "-3"], "top_k"),
        (["--stop", ""], "stop"),
        (["--max-new-tokens", "0"], "max_new_tokens"),
    ],
)
def test_flags_out_of_range(tiny_bundle: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str) -> None:
    assert main(["run", str(tiny_bundle), "a hat", *flags]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "order",
    [
        ["--json", "--raw", "--max-new-tokens", "3", "a hat", "the inn"],
        ["a hat", "--json", "--max-new-tokens", "3", "the inn", "--raw"],
        ["--json", "--raw", "--max-new-tokens", "3", "--", "a hat", "the inn"],
    ],
)
def test_flags_in_any_order(tiny_bundle: Path, capsys: pytest.CaptureFixture[str], order: list[str]) -> None:
    assert main(["run", str(tiny_bundle), "a hat", "the inn", "--raw", "--max-new-tokens", "3", "--json"]) == 0
    wanted = capsys.readouterr().out
    assert main(["run", str(tiny_bundle), *order]) == 0
    assert capsys.readouterr().out == wanted
    assert (
        main(["run", *order[:1], str(tiny_bundle), *order[1:]] if order[0] == "--json" else ["run", str(tiny_bundle), *order])
        == 0
    )
    assert capsys.readouterr().out == wanted


def test_flags_that_are_none(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["run", str(tiny_bundle), "a", "--sead", "3"], ["run"], ["walk"], []):
        assert main(wrong) == 2
        assert "usage: runner.pyz" in capsys.readouterr().err


@pytest.mark.parametrize("prompt", ['{"name": "Tom", "age":', '{"name": "Tom"}'])
def test_a_prompt_that_looks_like_json(tiny_bundle: Path, capsys: pytest.CaptureFixture[str], prompt: str) -> None:
    model = load(tiny_bundle).language
    assert model is not None and model.template is not None
    wanted = model.generate(prompt, Sampling(max_new_tokens=3)).document()
    assert main(["run", str(tiny_bundle), prompt, "--json", "--max-new-tokens", "3", "--raw"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found.pop("speculation")["accepted"] == 0
    assert found == wanted
    assert main(["run", str(tiny_bundle), prompt]) == 2
    assert "--raw" in capsys.readouterr().err


def test_every_sampling_field_has_its_flag(tiny_bundle: Path) -> None:
    """But for those that only a program asks for."""
    others = {"logit_bias", "logprobs"}
    assert {*FLAGS, "top_k", "stop", "stop_token_ids", *KINDS} | others == {*SETTINGS}


def test_the_form_of_an_answer(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On both command lines: a schema and a grammar in files, an expression and choices as they are."""
    from typer.testing import CliRunner

    from edgekit.cli.app import app

    schema, grammar = tmp_path / "schema.json", tmp_path / "grammar.lark"
    schema.write_text('{"enum": ["the", "in"]}')
    grammar.write_text('start: "a" /[bc]/')
    for flags, wanted in (
        (["--json-schema", str(schema)], {'"the"', '"in"'}),
        (["--grammar", str(grammar)], {"ab", "ac"}),
        (["--regex", "[a-c]{2}!"], {f"{first}{second}!" for first in "abc" for second in "abc"}),
        (["--choice", "he", "--choice", "she"], {"he", "she"}),
    ):
        words = ["run", str(tiny_bundle), "the inn", "--json", *flags]
        assert main(words) == 0
        (answer,) = json.loads(capsys.readouterr().out)
        assert answer["text"] in wanted and answer["ended"] == "stop"
        assert json.loads(CliRunner().invoke(app, words).stdout) == [answer]
    assert main(["run", str(tiny_bundle), "a", "--regex", "(", "--choice", "a"]) == 2
    assert "an answer has one form" in capsys.readouterr().err
    assert main(["run", str(tiny_bundle), "a", "--json-schema", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err
    schema.write_text("not JSON")
    assert main(["run", str(tiny_bundle), "a", "--json-schema", str(schema)]) == 2
    assert f"{schema}: not sound JSON" in capsys.readouterr().err
    assert main(["run", str(tiny_bundle), "a", "--regex", "[0-9"]) == 2
    assert "start:" not in capsys.readouterr().err, "what llguidance makes of it is no text of whoever asked"


def test_a_form_that_was_cut_is_said(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By both command lines, with what there is of the answer; where others are refused, both are said."""
    from typer.testing import CliRunner

    from edgekit.cli.app import app

    asked = ["run", str(tiny_bundle), "the inn", "--raw", "--regex", "[0-9]{9}", "--max-new-tokens", "3"]
    assert main(asked) == 1
    said = capsys.readouterr()
    assert re.fullmatch("[0-9]{3}\n", said.out)
    assert "runner: the answer was cut at the token limit, before its form" in said.err and "--max-new-tokens" in said.err
    assert main([*asked[:-2], "--regex", "[0-9]{900}", "--max-new-tokens", "1000"]) == 1
    assert "cut where the context is full" in (told := capsys.readouterr().err) and "a shorter prompt" in told
    typed = CliRunner().invoke(app, asked)
    assert (typed.exit_code, typed.stdout) == (1, said.out) and typed.stderr == said.err.replace("runner:", "edgekit:")
    assert main([*asked, "a", "\ud800", "--json"]) == 2
    said = capsys.readouterr()
    assert [answer.get("complete") for answer in json.loads(said.out)] == [False, False, None]
    assert "2 of 3 answers were cut" in said.err and "1 of 3 inputs cannot be used" in said.err
    assert main([*asked, "--regex", "[0-9]{1,3}"]) == 0, "what fits as it is was cut nowhere"
    assert capsys.readouterr().err == ""


def test_a_person_is_told_that_an_answer_was_cut(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script is not: its standard error has faults alone."""
    from edgekit.cli import use
    from edgekit.runtime import items
    from edgekit.runtime import main as runner

    asked = ["run", str(tiny_bundle), "the inn", "--raw", "--max-new-tokens", "3"]
    assert main(asked) == 0
    assert capsys.readouterr().err == ""
    for module in (items, runner):
        monkeypatch.setattr(module, "at_terminal", lambda stream: stream is sys.stderr)
    assert main(asked) == 0
    assert capsys.readouterr().err == "runner: the answer was cut at the token limit: give more (--max-new-tokens)\n"
    use.run(tiny_bundle, ["the inn"], chat=False, max_new_tokens=3)
    assert capsys.readouterr().err == "edgekit: the answer was cut at the token limit: give more (--max-new-tokens)\n"
    assert main([*asked, "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_both_command_lines_take_the_same_flags(tiny_bundle: Path) -> None:
    """Stop tokens by number, and every prompt read from its first token."""
    from typer.testing import CliRunner

    from edgekit.cli.app import app

    model = load(tiny_bundle).language
    assert model is not None
    said = model.generate("the inn", Sampling(max_new_tokens=9)).tokens
    asked = ["run", str(tiny_bundle), "the inn", "--raw", "--json", "--max-new-tokens", "9", "--no-prefix-cache"]
    asked += ["--stop-token-id", str(said[2]), "--stop-token-id", "2"]
    for arguments in (asked, [*asked, "--stop-token-id", "2"], [*asked, "--stop-token-id", "999"]):
        typed = CliRunner().invoke(app, arguments)
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            code = main(arguments)
        if arguments is asked:
            assert typed.exit_code == code == 0
            assert json.loads(typed.stdout) == json.loads(out.getvalue())
            assert json.loads(typed.stdout)[0]["new_tokens"] == said.index(said[2]) + 1
        else:
            assert code == 2 and "stop_token_ids: " in err.getvalue()
            assert isinstance(typed.exception, BadInput) and typed.exception.text() in err.getvalue()


def test_flags_of_other_tasks() -> None:
    for task in (
        "text-classification",
        "question-answering",
        "image-classification",
        "audio-classification",
        "text-generation",
    ):
        assert given_flags({"top_k": 3, "seed": None, "chat": None}, task) == {"top_k": 3}
    for task in ("automatic-speech-recognition", "feature-extraction", "text-ranking"):
        with pytest.raises(BadInput, match=f"--top-k: only for tasks that rank labels or answers, and this is {task}"):
            given_flags({"top_k": 3}, task)
    with pytest.raises(BadInput, match="--seed, --raw: only for language models, and this is text-classification"):
        given_flags({"seed": 1, "chat": False}, "text-classification")
    with pytest.raises(BadInput, match="--stop-token-id, --no-prefix-cache: only for language models"):
        given_flags({"stop_token_ids": [1], "prefix_cache": False}, "token-classification")


def test_chat_without_a_template(fresh: Fresh) -> None:
    with pytest.raises(BadInput, match="no chat template"):
        command.run_language(fresh(), ["a"], {"chat": True}, as_json=True)


def test_ctrl_c_keeps_the_text_so_far(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = fresh()
    real = LanguageModel.stream

    def stream(*arguments: Any) -> Iterator[Any]:
        for number, piece in enumerate(real(*arguments)):
            yield piece
            if number == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(LanguageModel, "stream", stream)
    (shown_answer,) = command.run_language(model, ["a hat", "the inn"], {}, as_json=False)
    shown = capsys.readouterr().out
    (answer,) = command.run_language(model, ["a hat", "the inn"], {}, as_json=True)
    assert answer["ended"] == "interrupted" and answer["new_tokens"] == 4 and answer == shown_answer
    assert shown == answer["text"], "the command line ends the line"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("name", ["edgekit", "runner"])
def test_both_command_lines_say_that_ctrl_c_was_heard(
    name: str, as_json: bool, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit.cli import app as cli

    def stream(*arguments: Any) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(LanguageModel, "stream", stream)
    asked = ["run", str(tiny_bundle), "a hat", "--raw", *(["--json"] if as_json else [])]
    monkeypatch.setattr(sys, "argv", ["edgekit", *asked])
    with pytest.raises(SystemExit) as left:
        cli.main() if name == "edgekit" else sys.exit(main(asked))
    said = capsys.readouterr()
    assert left.value.code == 130 and said.err == f"{name}: interrupted\n"
    if as_json:
        assert [answer["ended"] for answer in json.loads(said.out)] == ["interrupted"]
    else:
        assert said.out == "\n"


def test_the_archive_with_texts_from_a_pipe(tiny_bundle: Path, tmp_path: Path) -> None:
    write_runner(tmp_path / "runner.pyz")
    (tmp_path / "jinja2.py").write_text("raise SystemExit('the wrong jinja2')")
    done = subprocess.run(
        [sys.executable, "runner.pyz", "run", str(tiny_bundle), "--json", "--max-new-tokens", "4"],
        input=b'a hat\n{"messages": [{"role": "user", "content": "a hat"}]}\n', capture_output=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert set(first.pop("speculation")) == set(second.pop("speculation")) == {"drafted", "accepted"}
    assert first == second and first["new_tokens"] == 4


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_standard_streams_that_were_closed_before(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit.cli.use import run
    from edgekit.runtime.bench.lone import dots

    monkeypatch.setattr(sys, stream, None)
    code = main(["run", str(tiny_bundle), "the inn", "--raw", "--max-new-tokens", "2"])
    assert code == (2 if stream == "stdout" else 0), "an answer that goes nowhere is none"
    dots(1, 2, "")
    if stream == "stdin":
        assert main(["run", str(tiny_bundle)]) == 2
        assert "standard input is closed" in capsys.readouterr().err
        with pytest.raises(BadInput, match="standard input is closed"):
            run(tiny_bundle)
