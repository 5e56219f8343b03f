"""Inputs of a command line: lines of standard input end at line feeds alone, and JSON is told from text."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.items import answered, numbered, read_items, read_texts, split_lines, terminal_line
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.tokenise import checked

ENDS_OF_PYTHON = ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
"""Where `str.splitlines` splits beside line feeds and carriage returns."""


def given_on_stdin(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


@pytest.mark.parametrize("letter", ENDS_OF_PYTHON)
def test_characters_that_end_no_line(letter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(f"a{letter}b".splitlines()) == 2
    given_on_stdin(f"Once{letter}upon\r\n\na{letter}time".encode(), monkeypatch)
    assert read_texts() == [f"Once{letter}upon", f"a{letter}time"]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)))
def test_lines_come_back(lines: list[str]) -> None:
    for end in ("\n", "\r\n"):
        assert split_lines("".join(line + end for line in lines)) == lines
        assert split_lines(end.join(lines)) == lines


def test_a_byte_order_mark_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    given_on_stdin(b"\xef\xbb\xbfOnce\n", monkeypatch)
    assert read_texts() == ["Once"]


def test_standard_input_without_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for data, words in ((b"\n \n", "no text given"), ("\ufeffon\n".encode("utf-16-le"), "is UTF-16")):
        given_on_stdin(data, monkeypatch)
        with pytest.raises(BadInput, match=words):
            read_texts()
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(BadInput, match="standard input is closed"):
        read_texts()


def test_a_line_that_is_not_utf8_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given_on_stdin(b"one\ncaf\xe9\nthree\n", monkeypatch)

    def answer(text: str) -> JsonObject:
        return {"text": checked(text)}

    first, second, third = answered(read_texts(), answer)
    assert (first, third) == ({"text": "one"}, {"text": "three"})
    assert "item 2 of 3" in str(second["error"]) and "not UTF-8: byte 0xe9 behind 3 characters" in str(second["error"])


def test_standard_input_holds_names_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    given_on_stdin(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", monkeypatch)
    with pytest.raises(BadInput, match="standard input: holds bytes of a file, where names of image files are read"):
        read_texts("image")
    given_on_stdin(b"a.wav\nb.wav\n", monkeypatch)
    assert read_texts("sound") == ["a.wav", "b.wav"]
    given_on_stdin(b"a\0b", monkeypatch)
    assert read_texts() == ["a\0b"], "a text may hold it"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    for reads, said in (("image", "--every 0.5s"), ("sound", f"name its files, as {tmp_path}/*")):
        with pytest.raises(BadInput, match="is a folder, not a file") as fault:
            list(answered([str(tmp_path)], lambda text: {}, reads=reads))  # type: ignore[arg-type]
        assert fault.value.where == str(tmp_path) and said in str(fault.value.fix)
    assert list(answered([str(tmp_path)], lambda text: {"text": text})) == [{"text": str(tmp_path)}], "a text may be its name"


def test_json_and_text() -> None:
    assert read_items(["{a}", "[1]", ' {"text": "a"}']) == ["{a}", "[1]", {"text": "a"}]
    with pytest.raises(BadInput, match="begins as a JSON object"):
        read_items(['{"name": "Tom", "age":'])


def test_a_fault_says_which_item_it_is_of() -> None:
    for count, where in ((1, "words[1]"), (3, "item 2 of 3, words[1]")):
        with pytest.raises(BadInput) as fault, numbered(1, count):
            raise BadInput("the text is empty", where="words[1]", fix="give at least one word")
        assert (fault.value.where, fault.value.fix) == (where, "give at least one word")
    with pytest.raises(BadInput) as fault, numbered(0, 2):
        raise BadInput("the text is empty")
    assert fault.value.where == "item 1 of 2"


def test_standard_input_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of it is read than the limit."""
    monkeypatch.setattr("edgekit.runtime.items.LARGEST", 1000)
    stream = io.TextIOWrapper(io.BytesIO(b"a" * 5000))
    monkeypatch.setattr("sys.stdin", stream)
    with pytest.raises(BadInput, match="more than 1,000 bytes"):
        read_texts()
    assert stream.buffer.tell() == 1001


def test_a_file_is_named_in_its_answer_and_in_every_fault() -> None:
    def answer(text: str) -> JsonObject:
        if text.endswith("no.png"):
            raise BadInput("no such file", where="no.png")
        if text == "lib.flac":
            raise NotPossibleHere("soundfile is not installed", see="something-is-not-installed")
        if text == "bad.png":
            raise BadInput("no image", fix="give one")
        return {"label": "a"}

    found = list(answered(["a.png", "bad.png", "./no.png", '{"image": "R0lG"}'], answer, reads="image"))
    assert found[0] == {"file": "a.png", "label": "a"} and found[3] == {"label": "a"}
    assert found[1] == {"file": "bad.png", "error": "item 2 of 4, bad.png: no image\n  fix: give one"}
    assert found[2]["file"] == "./no.png" and str(found[2]["error"]).startswith("item 3 of 4, ./no.png: no such file")
    assert list(answered(["a.png"], answer, reads="image")) == [{"label": "a"}], "one alone is what it was"
    assert "file" not in next(answered(["a.png", "b.png"], answer)), "a text is no file"
    for file, kind in (("bad.png", BadInput), ("lib.flac", NotPossibleHere)):
        with pytest.raises(kind) as fault:
            list(answered([file], answer, reads="sound"))
        assert fault.value.where == file
    assert fault.value.see == "something-is-not-installed"
    assert terminal_line(found[0], lambda answer: str(answer["label"])) == "a.png  a"
    assert terminal_line(found[1], str) == "bad.png  (item 2 of 4, bad.png: no image)"


def test_a_line_says_that_its_text_was_cut_or_why_it_was_refused() -> None:
    def line(answer: JsonObject) -> str:
        return str(answer["label"])

    assert terminal_line({"label": "on"}, line) == "on"
    assert terminal_line({"label": "on", "truncated": True}, line).startswith("on  (the input is longer")
    assert terminal_line({"error": "is empty\nfix: write something"}, line) == "(is empty)"
