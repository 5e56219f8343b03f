"""Many inputs on several cores: the answers of one, in order, without reading on, losing the others, or leaving threads behind."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import edgekit as ek
from edgekit.pack.runner import write_runner
from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError
from edgekit.runtime.many import AHEAD, CHUNK_SECONDS, LARGEST_CHUNK, attempted, each_answered
from edgekit.runtime.model import Model, load
from edgekit.runtime.progress import silent
from edgekit.runtime.rows import LONGEST_ROW, answer_rows, input_of, parts_of
from tests.conftest import PYTHONPATH
from tests.interrupts import interruptible
from tests.runtime.serve.serving import make_bundle

TASKS = ("text-classification", "feature-extraction", "text-generation")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {task: make_bundle(tmp_path_factory.mktemp(task), task) for task in TASKS}


@pytest.fixture(scope="module")
def classifier(folders: dict[str, Path]) -> Model:
    return load(folders["text-classification"])


def each(answer: Callable[[Any, Any], Any]) -> Callable[[Any, Sequence[Any]], list[Any]]:
    """Several inputs answered one by one."""
    return lambda worker, items: [attempted(answer, worker, item) for item in items]


@each
def slow(worker: int, item: int) -> int:
    """A later item is done before an earlier one now and then."""
    time.sleep(0.002 if item % 7 == 0 else 0)
    if item % 10 == 9:
        raise (BadInput if item % 20 == 9 else CheckFailed)(f"no {item}")
    return item


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_in_order_whatever_fails(workers: int) -> None:
    found = list(each_answered(range(workers), slow, range(300)))
    assert [str(one) if isinstance(one, EdgekitError) else one for one in found] == [
        f"no {item}" if item % 10 == 9 else item for item in range(300)
    ]
    assert not list(each_answered(range(workers), slow, []))


def test_no_more_is_read_than_is_worked_on() -> None:
    """A generator without an end: how far it was read is bounded by the answers that were taken."""
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for read in itertools.count(1):  # noqa: B007
            yield 1

    wait = threading.Event()

    def work(worker: int, item: int) -> int:
        wait.wait(10)
        time.sleep(2 * CHUNK_SECONDS)  # longer than a chunk is to take: chunks stay at one
        return item

    with closing(each_answered(range(3), each(work), items())) as found:
        wait.set()
        for taken in range(1, 12):
            assert next(found) == 1
            assert read <= taken + AHEAD * 3
    assert not [one for one in threading.enumerate() if one.name.startswith("answers")]


@pytest.mark.parametrize("workers", [1, 2])
def test_no_input_is_held_after_its_answer(classifier: Model, workers: int) -> None:
    """Of a generator, in every way to answer many: few inputs are alive at once, however many there are."""

    class Text(str):
        """A text that can be watched."""

    alive: weakref.WeakSet[Text] = weakref.WeakSet()
    most = 0

    def items() -> Iterator[str]:
        nonlocal most
        for number in range(3000):
            text = Text(f"is it on {number}")
            alive.add(text)
            most = max(most, len(alive))
            yield text

    bound = (AHEAD * workers + 1) * LARGEST_CHUNK + 10
    assert len(classifier(items(), workers=workers)) == 3000 and most <= bound < 3000
    most = 0
    assert sum("error" not in answer for answer in classifier.each(items(), workers=workers)) == 3000 and most <= bound


def test_what_is_no_fault_of_an_input_ends_it() -> None:
    def broken(worker: int, item: int) -> int:
        return 1 // (item - 50)

    with pytest.raises(ZeroDivisionError):
        list(each_answered(range(2), each(broken), itertools.count()))

    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(each_answered(range(2), slow, items()))
    assert not [one for one in threading.enumerate() if one.name.startswith("answers")]


def test_what_was_read_is_answered_before_a_wait() -> None:
    """A caller who asks the next thing only when it has the answer to the last one."""
    asked, answered = 3, 0

    def items() -> Iterator[int]:
        for number in range(asked):
            assert answered == number, "it was read on before the answer was given"
            yield number

    for found in each_answered(range(2), slow, items(), ready=lambda: False):
        answered += 1
        assert found == answered - 1
    assert answered == asked


@pytest.mark.parametrize("task", TASKS)
def test_a_model_answers_as_it_does_alone(task: str, folders: dict[str, Path]) -> None:
    model = load(folders[task])
    texts = ["is it on", "turn off the red light in the hall", "Paint the garden!", "wörter", "a b " * 40]
    items: list[object] = [*texts]
    more = {"max_new_tokens": 3} if task == "text-generation" else {}
    if task == "text-generation":
        items = items[:4]
    wanted = [model(item, **more) for item in items]  # type: ignore[call-overload]
    for workers in (1, 2, 3, "auto"):
        assert model(items * 3, workers=workers, **more) == wanted * 3  # type: ignore[arg-type]
    assert list(model.each(iter([items[0], "", items[1]]), workers=2, **more)) == [
        wanted[0], {"error": model_fault(model)}, wanted[1],
    ]  # fmt: skip


def model_fault(model: Model) -> str:
    with pytest.raises(BadInput) as fault:
        model("")
    return fault.value.text()


def test_arguments(classifier: Model) -> None:
    for wrong in (0, -1, True, "2", 1.5, "all"):
        with pytest.raises(ek.BadInput, match="workers"):
            classifier("is it on", workers=wrong)  # type: ignore[call-overload]
        with pytest.raises(ek.BadInput, match="workers"):
            classifier.each(["is it on"], workers=wrong)  # type: ignore[arg-type]
    with pytest.raises(ek.BadInput, match="item 2 of 3"):
        classifier(["is it on", "", "is it off"], workers=2)
    with pytest.raises(ek.BadInput, match="item 2: "):
        classifier((text for text in ["is it on", ""]), workers=2)
    for alone in ("is it on", {"text": "is it on"}, 3):
        with pytest.raises(ek.BadInput, match="several"):
            classifier.each(alone)  # type: ignore[arg-type]


def test_workers_share_nothing_that_runs(classifier: Model) -> None:
    crew = classifier.crew(3)
    assert crew[0] is classifier and len({id(one.session) for one in crew}) == 3
    assert classifier.crew(None) == classifier.crew(1) == [classifier]


def rows(model: Model, data: bytes, workers: int = 2) -> tuple[list[object], EdgekitError | None]:
    out = io.StringIO()
    fault = answer_rows(model.crew(workers), each(lambda one, item: one(item)), parts_of(model), io.BytesIO(data), out, silent)
    return [json.loads(line) for line in out.getvalue().splitlines()], fault


@pytest.mark.parametrize("workers", [1, 2])
def test_rows(classifier: Model, workers: int) -> None:
    good = classifier("is it on")
    data = b'"is it on"\n\n{"id": 7, "text": "is it on", "label": "x"}\r\n  \n{"text": ""}\nis it on\n[1]\n{"id": 7}\n'
    data += b'{"text": "a", "text": "b"}\n\xff\n"' + b"a" * LONGEST_ROW + b'"\n' + b'"is it on"'
    found, fault = rows(classifier, data, workers)
    assert [found[0], found[1], found[-1]] == [good] * 3
    refused = found[2:-1]
    assert len(refused) == 7 and all(isinstance(row, dict) and list(row) == ["error"] for row in refused)
    for row, words in zip(
        refused, ("empty", "not sound JSON", "neither a text", 'without "text"', "twice", "UTF-8", "longer"), strict=True
    ):
        assert words in row["error"]  # type: ignore[index]
    assert isinstance(fault, BadInput) and "7 of 10 rows" in fault.text() and "row 9: row: longer" in fault.text()
    assert rows(classifier, b'"is it on"\n') == ([good], None)
    assert rows(classifier, b'\xef\xbb\xbf"is it on"\n') == ([good], None), "a byte order mark is no part of a row"
    assert isinstance(rows(classifier, b"\n \n")[1], BadInput)


def test_rows_whose_form_was_cut(classifier: Model) -> None:
    """Are answers, and the end says which."""
    made = iter([{"text": "1", "ended": "length", "complete": False}, {"text": "12", "ended": "stop", "complete": True}, {}])
    out = io.StringIO()
    answer = each(lambda _, item: next(made))
    fault = answer_rows([classifier], answer, parts_of(classifier), io.BytesIO(b'"a"\n' * 3), out, silent)
    assert len(out.getvalue().splitlines()) == 3 and '"text": "1"' in out.getvalue()
    assert isinstance(fault, CheckFailed) and fault.what == "1 of 3 answers were cut before their form was complete"
    assert fault.faults == ("row 1: cut at the token limit, before its form, or a call of a tool, was complete",)
    made = iter([{"text": "1", "ended": "length", "complete": False}])
    fault = answer_rows([classifier], answer, parts_of(classifier), io.BytesIO(b'"a"\n7\n'), io.StringIO(), silent)
    assert isinstance(fault, BadInput) and "1 of 2 rows have no answer; the others are answered, 1 of them cut" in fault.what


def test_a_fault_of_the_model_is_a_check_that_failed(classifier: Model) -> None:
    def answer(worker: Model, item: object) -> dict[str, str]:
        raise CheckFailed("NaN")

    out = io.StringIO()
    fault = answer_rows([classifier], each(answer), parts_of(classifier), io.BytesIO(b'"a"\n' * 30), out, silent)
    assert isinstance(fault, CheckFailed) and out.getvalue() == '{"error": "NaN"}\n' * 30
    assert "and 10 more" in fault.text()


def test_what_a_row_holds_beside_its_input_is_its_owners(folders: dict[str, Path]) -> None:
    tags = frozenset({"text", "words"})
    both = frozenset({"question", "context"})
    assert input_of({"question": "q", "context": "c", "id": 1}, both) == {"question": "q", "context": "c"}
    assert input_of({"words": ["a"], "tags": ["O"]}, tags) == {"words": ["a"]}
    assert input_of({"text": "a", "tags": ["O"]}, tags) == "a"
    assert input_of({"messages": [], "id": 1}, parts_of(load(folders["text-generation"]))) == {"messages": []}


@pytest.fixture(scope="module", params=["edgekit", "runner.pyz"])
def command(request: pytest.FixtureRequest, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if request.param == "edgekit":
        begin = [sys.executable, "-m", "edgekit"]
    else:
        runner = tmp_path_factory.mktemp("runner") / "runner.pyz"
        write_runner(runner)
        begin = [sys.executable, str(runner)]
    return [*begin, "run", str(folders["text-classification"]), "--jsonl"]


ENVIRONMENT = {**os.environ, "PYTHONPATH": PYTHONPATH}


def test_the_command(command: list[str], classifier: Model) -> None:
    """A caller who waits for each answer, a pipe that closes, and the exit code."""
    good = json.dumps(classifier("is it on")) + "\n"
    with subprocess.Popen(
        [*command, "--workers", "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        for _ in range(3):
            process.stdin.write('"is it on"\n')
            process.stdin.flush()
            assert process.stdout.readline() == good
        process.stdin.write("{}\n")
        process.stdin.close()
        assert "error" in json.loads(process.stdout.readline())
        said = process.stderr.read()
        assert process.wait(60) == 2
    assert "1 of 4 rows" in said and "\r" not in said and "Traceback" not in said


def test_ctrl_c_and_a_closed_pipe(command: list[str]) -> None:
    for end in ("interrupt", "close"):
        with interruptible(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
            assert process.stdin and process.stdout and process.stderr
            process.stdin.write('"is it on"\n' * 200)
            process.stdin.flush()
            assert process.stdout.readline()
            if end == "interrupt":
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 130
            else:
                process.stdout.close()
                with pytest.raises(BrokenPipeError):
                    for _ in range(10_000):
                        process.stdin.write('"is it on"\n' * 1000)
                        process.stdin.flush()
                assert process.wait(60) in (0, 1)
            said = process.stderr.read()
            with suppress(BrokenPipeError):
                process.stdin.close()
        assert "Traceback" not in said and "Exception" not in said, said
