"""A conversation at the terminal: what is said is answered with all before it, commands, Ctrl-C, and a context that is full."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.pack.runner import write_runner
from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.generate import talk as talking
from edgekit.runtime.generate.chat import Template
from edgekit.runtime.generate.graph import Graph
from edgekit.runtime.generate.model import LanguageModel
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.generate.talk import HINT, PLAIN, Talk, read_messages, talk
from edgekit.runtime.model import load
from edgekit.runtime.shown import visible
from tests.runtime.generate.terminal import Terminal

Fresh = Callable[..., LanguageModel]
TWELVE = Sampling(max_new_tokens=12)
TOOK = re.compile(r"\d+ tokens?: the first after \d+\.\d\d s(, then [\d,.]+ a second)?(; .*)?$|stopped before the first token$")


def messages(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]


def typed(monkeypatch: pytest.MonkeyPatch, *lines: Any) -> None:
    """Have these lines typed, exceptions raised, and then somebody leave."""
    left = [*lines, EOFError]

    def ask(prompt: str) -> str:
        line = left.pop(0)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", ask)


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed but for how long answers took, each of which says so."""
    return [line for line in capsys.readouterr().out.split("\n") if not TOOK.match(line)]


def test_all_that_was_said_is_read(fresh: Fresh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = fresh(chat=True)
    typed(monkeypatch, "a hat", "", "  ", "the inn", "x" * 500, "/clear", "the inn")
    talk(model, TWELVE, chat=True)
    first = model.generate([messages("a hat")], TWELVE)[0].text
    second = model.generate([messages("a hat", first, "the inn")], TWELVE)[0].text
    anew = model.answer("the inn", TWELVE).text
    shown = capsys.readouterr().out
    assert "tokens are more than the context of 128" in shown
    places = [shown.index(f"{text}\n") for text in (HINT, first, second)]
    assert places == sorted(places) and f"What was said is forgotten.\n{anew}\n" in shown and PLAIN not in shown


def test_without_a_template_one_text_goes_on(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = fresh()
    typed(monkeypatch, "a hat", "the inn", "/system be brief")
    talk(model, TWELVE, chat=False)
    first = model.generate("a hat", TWELVE).text
    second = model.generate(f"a hat{first}\nthe inn", TWELVE).text
    shown = capsys.readouterr().out
    assert shown.startswith(f"{HINT}\n{PLAIN}\n{first}\n") and f"\n{second}\n" in shown and shown.count(PLAIN) == 1
    assert "without a chat template there is no system message" in shown


def test_ctrl_c_stops_the_answer_and_keeps_the_talk(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, real, asked = fresh(chat=True), Graph.run, [0]

    def run(*arguments: Any, **options: Any) -> Any:
        asked[0] += 1
        if asked[0] == 4:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    typed(monkeypatch, "a hat", "the inn")
    with monkeypatch.context() as patch:
        patch.setattr(Graph, "run", run)
        talk(model, TWELVE, chat=True)
    shown = capsys.readouterr().out
    cut = model.answer("a hat", Sampling(max_new_tokens=3)).text
    assert f"{HINT}\n{cut}\n3 tokens: " in shown and "; stopped\n" in shown
    assert model.generate([messages("a hat", cut, "the inn")], TWELVE)[0].text in shown


def test_ctrl_c_before_the_first_token_leaves_no_trace(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    state = Talk(fresh(chat=True), TWELVE, chat=True)
    with monkeypatch.context() as patch:
        patch.setattr(Graph, "run", stop)
        state.say("a hat")
    assert state.messages == [] and "stopped before the first token" in capsys.readouterr().out
    state.retry()
    assert [message["content"] for message in state.messages] == ["a hat", state.model.answer("a hat", TWELVE).text]


def test_ctrl_c_before_the_model_begins_stops_too(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, asked = LanguageModel.encode, [0]

    def encode(own: LanguageModel, prompt: Any) -> Any:
        asked[0] += 1
        if asked[0] == 1:
            raise KeyboardInterrupt
        return real(own, prompt)

    monkeypatch.setattr(LanguageModel, "encode", encode)
    typed(monkeypatch, "a hat", "/retry")
    talk(model := fresh(chat=True), TWELVE, chat=True)
    shown = capsys.readouterr().out
    assert f"\n{talking.STOPPED}\n{model.answer('a hat', TWELVE).text}\n" in shown


def test_retry_answers_again_and_draws_anew(fresh: Fresh, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = Talk(fresh(chat=True), Sampling(max_new_tokens=12, temperature=5.0, seed=3), chat=True)
    with pytest.raises(BadInput, match="nothing was said"):
        drawn.retry()
    answers = []
    for act in (lambda: drawn.say("a hat"), drawn.retry, drawn.retry):
        act()
        assert len(drawn.messages) == 2 and drawn.messages[0] == messages("a hat")[0]
        answers.append(drawn.messages[1]["content"])
    assert len(set(answers)) == 3
    again = drawn.model.answer("a hat", Sampling(max_new_tokens=12, temperature=5.0, seed=4)).text
    assert answers[1] == again, "the seed is the next one"
    capsys.readouterr()
    greedy = Talk(drawn.model, TWELVE, chat=True)
    greedy.say("a hat")
    assert "nothing is drawn" not in capsys.readouterr().out
    greedy.retry()
    assert "nothing is drawn at temperature 0" in capsys.readouterr().out


def test_a_retry_that_fails_keeps_the_last_answer(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    state = Talk(fresh(chat=True), TWELVE, chat=True)
    state.say("a hat")
    before = list(state.messages)
    for raised in (KeyboardInterrupt, BadInput("no")):

        def fail(*arguments: Any, fault: Any = raised, **options: Any) -> Any:
            raise fault

        with monkeypatch.context() as patch:
            patch.setattr(Graph, "run", fail)
            try:
                state.retry()
            except BadInput as fault:
                assert fault is raised
        assert state.messages == before


def test_a_system_message_is_what_the_model_is_told_first(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh(chat=True)
    state = Talk(model, TWELVE, chat=True)
    state.tell("the sun")
    state.say("a hat")
    told = [{"role": "system", "content": "the sun"}, *messages("a hat")]
    assert state.messages[1]["content"] == model.generate([told], TWELVE)[0].text
    state.clear()
    assert state.system == told[0], "it stays"
    real = LanguageModel.encode

    def refuses(own: LanguageModel, prompt: Any) -> Any:
        if prompt[0]["role"] == "system":
            raise BadInput("System role not supported")
        return real(own, prompt)

    monkeypatch.setattr(LanguageModel, "encode", refuses)
    state.tell(None)
    with pytest.raises(BadInput, match="not supported"):
        state.tell("the sun")
    assert state.system is None, "a template that takes none refuses it at once, and the talk goes on"
    state.say("a hat")


def test_a_system_message_that_the_template_leaves_out_is_refused(fresh: Fresh) -> None:
    """The templates of some models write what user and assistant say, and pass over all else without a word."""
    model = fresh(chat=True)
    users = "{% for message in messages if message.role in ['user', 'assistant'] %}[{{ message.content }}]{% endfor %}"
    state = Talk(replace(model, template=Template(users, {})), TWELVE, chat=True)
    with pytest.raises(BadInput, match="leaves 'system' messages out"):
        state.tell("the sun")
    assert state.system is None


def test_a_full_context_leaves_the_beginning_out_and_says_so(fresh: Fresh, capsys: pytest.CaptureFixture[str]) -> None:
    model = fresh(chat=True)
    state = Talk(model, TWELVE, chat=True)
    for _ in range(8):
        state.say("the inn at the hat")
        prompt = state._with(state.messages[state.left_out : -2], "the inn at the hat")
        assert len(model.encode(prompt)) <= 128 - 12
    shown = capsys.readouterr().out
    assert len(state.messages) == 16 and state.left_out > 0 and state.left_out % 2 == 0
    assert shown.count("The context of 128 tokens is full: the first ") >= 1
    last = state._with(state.messages[state.left_out : -2], "the inn at the hat")
    assert state.messages[-1]["content"] == model.generate([last], TWELVE)[0].text


def test_saved_and_loaded(
    fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, file = fresh(chat=True), tmp_path / "a talk.json"
    monkeypatch.setenv("HOME", str(tmp_path))
    typed(monkeypatch, "/save none.json", "/system the sun", "a hat", "/save ~/a talk.json", "the inn", f"/save {file}")
    talk(model, TWELVE, chat=True)
    shown = capsys.readouterr().out
    assert "nothing was said yet" in shown and f"{file}: 3 messages written" in shown and f"{file}: 5 messages written" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a talk.json"], "no temporary file stays"
    saved = json.loads(file.read_text())["messages"]
    assert [message["role"] for message in saved] == ["system", "user", "assistant", "user", "assistant"]
    typed(monkeypatch, f"/load {file}", "an eel")
    talk(model, TWELVE, chat=True)
    shown = capsys.readouterr().out
    assert f"{file}: 5 messages read\n" in shown
    assert f"\n{model.generate([[*saved, *messages('an eel')]], TWELVE)[0].text}\n" in shown


def test_a_question_at_the_end_of_a_file_is_answered_by_retry(fresh: Fresh, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    file.write_text(json.dumps(messages("a hat", "is", "the inn")))
    model = fresh(chat=True)
    state = Talk(model, TWELVE, chat=True)
    state.load(file)
    state.retry()
    wanted = model.generate([messages("a hat", "is", "the inn")], TWELVE)[0].text
    assert state.messages == messages("a hat", "is", "the inn", wanted)


WRONG = {
    "no file": (None, "no such file"), "no JSON": ("{", "not "), "no list": ('{"messages": 1}', "a list of messages"),
    "nothing": ("[]", "a list of messages"), "no roles": ('[{"content": "a"}]', "not a conversation"),
    "the model first": ('[{"role": "assistant", "content": "a"}]', "message 0 is of 'assistant' where 'user' is next"),
    "twice the user": ('[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]', "message 1 is of 'user'"),
    "a late system": ('[{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]', "message 1 is of 'system'"),
    "a surrogate": ('[{"role": "user", "content": "\\ud800"}]', "surrogate"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_is_no_conversation_changes_nothing(fresh: Fresh, tmp_path: Path, what: str) -> None:
    text, says = WRONG[what]
    file = tmp_path / "talk.json"
    if text is not None:
        file.write_text(text)
    state = Talk(fresh(chat=True), TWELVE, chat=True)
    state.say("a hat")
    before = list(state.messages)
    with pytest.raises(BadInput, match=re.escape(says)) as fault:
        state.load(file)
    assert str(file) in fault.value.text() and state.messages == before


def test_what_is_no_conversation_is_not_overwritten(fresh: Fresh, tmp_path: Path) -> None:
    state = Talk(fresh(chat=True), TWELVE, chat=True)
    state.say("a hat")
    (tmp_path / "notes.txt").write_text("mine")
    for place, says in (("notes.txt", "something else"), ("", "is a folder"), ("none/talk.json", "no such folder")):
        with pytest.raises(BadInput, match=says):
            state.save(tmp_path / place)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    for name in ("a" * 300, "a" * 250, "\0"):  # the temporary file beside it has a longer one
        with pytest.raises(BadInput):
            state.save(tmp_path / name)
    with pytest.raises(BadInput, match="needs a chat template"):
        (tmp_path / "told.json").write_text('[{"role": "system", "content": "a"}]')
        Talk(state.model, TWELVE, chat=False).load(tmp_path / "told.json")


def test_commands_and_texts_that_begin_like_one(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Talk, "say", lambda own, text: said.append(text))
    typed(monkeypatch, "/help", "/halp", "/retry now", "/save", "/etc/hosts is", " /help", "/1 in 2", "/quit", "never")
    talk(fresh(chat=True), TWELVE, chat=True)
    shown = capsys.readouterr().out
    assert said == ["/etc/hosts is", " /help", "/1 in 2"]
    for words in ("/save FILE", "there is no command /halp", "/retry takes nothing after it", "/save needs the name of a file"):
        assert words in shown
    assert {command.split()[0] for command in talking.COMMANDS} == {
        "/help",
        "/system",
        "/retry",
        "/save",
        "/load",
        "/clear",
        "/quit",
    }


def test_ctrl_c_takes_back_a_line_and_leaves_the_second_time_at_an_empty_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Readline:
        @staticmethod
        def get_line_buffer() -> str:
            return "half a li"

    typed(monkeypatch, KeyboardInterrupt, KeyboardInterrupt, "a hat", KeyboardInterrupt, KeyboardInterrupt, "never said")
    monkeypatch.setattr(talking, "readline", Readline)
    assert talking._typed() == ""
    monkeypatch.setattr(talking, "readline", None)
    assert talking._typed() == "a hat", "a Ctrl-C that came just after an answer ends no talk"
    assert capsys.readouterr().out.count(talking.AGAIN) == 1
    assert talking._typed() is None


def test_a_template_that_cannot_be_rendered_here_is_told_before_anything_is_typed(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talking, "lacking", lambda: "chat templates need jinja2, which is not installed")
    with pytest.raises(NotPossibleHere, match="jinja2"):
        talk(fresh(chat=True), TWELVE, chat=True)


@pytest.mark.parametrize("leave", ["/quit\n", "\x04", "\x03"])
def test_from_the_archive_at_a_terminal(tiny_bundle: Path, tmp_path: Path, leave: str) -> None:
    write_runner(tmp_path / "runner.pyz")
    terminal = Terminal(["runner.pyz", "run", str(tiny_bundle), "--max-new-tokens", "8"], tmp_path)
    terminal.wait_for("else there is.")
    terminal.wait_for("> ")
    terminal.say("a hat\n")
    terminal.wait_for("a hat")
    model = load(tiny_bundle).language
    assert model is not None
    wanted = visible(model.answer("a hat", Sampling(max_new_tokens=8)).text)
    shown = terminal.wait_for("> ").replace("\r\n", "\n").strip("\n").split("\n")
    assert TOOK.match(shown[-1]) and "\n".join(shown[:-1]) == wanted.strip("\n")
    assert terminal.leave(leave) == 0


def test_keys_at_a_terminal(tiny_bundle: Path, tmp_path: Path) -> None:
    """With readline: Ctrl-C takes a half-typed line back, keys edit, the last line comes again, and what is saved is what was said."""
    terminal = Terminal(["-m", "edgekit", "run", str(tiny_bundle), "--max-new-tokens", "4"], tmp_path)
    terminal.wait_for("> ")
    terminal.say("never se")
    terminal.wait_for("never se")
    terminal.take_back()
    terminal.say("a hax\x7ft\n")
    terminal.wait_for("tokens: ")
    terminal.wait_for("> ")
    terminal.say("\x10\n")  # Ctrl-P: the line before
    terminal.wait_for("tokens: ")
    terminal.wait_for("> ")
    terminal.say("/save talk.json\n")
    terminal.wait_for("4 messages written")
    assert terminal.leave("/quit\n") == 0
    _, said = read_messages(tmp_path / "talk.json")
    assert [message["content"] for message in said[::2]] == ["a hat", "a hat"]


SLOWLY = """import sys, time
from edgekit.runtime.generate.graph import Graph
from edgekit.runtime.main import main
run = Graph.run
Graph.run = lambda *given, **named: (time.sleep(0.1), run(*given, **named))[1]
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_at_a_terminal_stops_an_answer_and_twice_leaves(tiny_bundle: Path, tmp_path: Path) -> None:
    terminal = Terminal(["-c", SLOWLY, "run", str(tiny_bundle), "--threads", "1", "--raw", "--max-new-tokens", "90"], tmp_path)
    model = load(tiny_bundle).language
    assert model is not None
    begins = visible(model.generate("a hat", TWELVE).text.strip())[:2]
    terminal.wait_for("> ")
    terminal.say("a hat\n")
    terminal.wait_for(begins)
    terminal.say("\x03")
    terminal.wait_for("; stopped")
    terminal.wait_for("> ")
    terminal.say("/retry\n")
    terminal.wait_for(begins)
    terminal.say("\x03")
    assert terminal.leave("\x03") == 0
