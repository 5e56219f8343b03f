"""Parts of the server by themselves: bodies made to be slow to refuse, the queue, the page of metrics, and names of tasks."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.runtime.errors import BadInput
from edgekit.runtime.model import Model
from edgekit.runtime.processors import processor
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.serve.completions import event
from edgekit.runtime.serve.guard import check_request
from edgekit.runtime.serve.inference import model_metadata
from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.serve.message import Refusal, Request, check_names, parse_json
from edgekit.runtime.serve.metrics import Metrics
from edgekit.runtime.serve.tasks import Input, columns, inputs_of, items_of, outputs_of
from edgekit.runtime.serve.tensors import Column, write_columns
from edgekit.runtime.serve.worker import Worker
from tests.waiting import PATIENCE_SECONDS

MANY = 200_000
"""So many that work with the square of it would never end."""


def test_a_duplicate_key_among_very_many_is_found_in_linear_time() -> None:
    pairs = [f'"{number}":0' for number in range(MANY)]
    with pytest.raises(Refusal, match="not sound JSON: duplicate key '199999'"):
        parse_json(("{" + ",".join([*pairs, pairs[-1]]) + "}").encode())


def test_very_many_unknown_names_are_refused_by_the_first_of_them() -> None:
    with pytest.raises(Refusal) as refusal:
        check_names({f"temperatur{number}" * 9: 0 for number in range(MANY)}, ("temperature", "top_p"), "body")
    assert len(refusal.value.fault.faults) == 20
    assert len(refusal.value.fault.text()) < 5000


def test_an_event_is_one_line_for_every_client() -> None:
    """`requests` reads a stream without a charset as Latin-1 and splits at U+0085, httpx splits at U+2028."""
    document = {"text": "\u2705 \x85 \u2028 \u2029 \n \x0c \U0001f600 \u00e9"}
    sent = event(document)
    for coding in ("utf-8", "latin-1"):
        lines = sent.decode(coding).splitlines()
        assert len(lines) == 2 and json.loads(lines[0].removeprefix("data: ")) == document


@pytest.mark.parametrize("name", ["127.0.1.1", "device.lan", "DEVICE.lan.", "localhost"])
def test_the_name_that_the_server_was_started_under(name: str) -> None:
    request = Request("GET", "/v2", {"host": f"{name}:8000"})
    check_request(request, ("GET",), local=True, names={"device.lan"})
    if name.lower().startswith("device"):
        with pytest.raises(Refusal, match="does not answer to"):
            check_request(request, ("GET",), local=True)


def test_jobs_are_done_in_their_order_and_one_fault_harms_no_other() -> None:
    done: list[str] = []

    def work(name: str) -> Iterator[str]:
        done.append(name)
        if name == "b":
            raise BadInput("b")
        yield name

    async def all_of_them() -> list[Any]:
        jobs = [worker.submit(work(name)) for name in "abc"]  # type: ignore[arg-type]
        return await asyncio.gather(*(anext(job) for job in jobs), return_exceptions=True)

    worker = Worker(3)
    found = asyncio.run(all_of_them())
    assert done == ["a", "b", "c"]
    assert (found[0], str(found[1]), found[2]) == ("a", "b", "c")
    assert worker.close(PATIENCE_SECONDS)


def test_a_job_that_is_given_up_stops_after_its_step_and_cleans_up() -> None:
    steps: list[int] = []
    cleaned, gone = threading.Event(), threading.Event()

    def work() -> Iterator[int]:
        try:
            for number in range(1000):
                steps.append(number)
                yield number
                gone.wait(PATIENCE_SECONDS)
        finally:
            cleaned.set()

    async def ask() -> None:
        job = worker.submit(work())  # type: ignore[arg-type]
        assert await anext(job) == 0
        job.cancel()
        gone.set()

    worker = Worker(1)
    asyncio.run(ask())
    assert cleaned.wait(PATIENCE_SECONDS)
    assert len(steps) <= 2
    assert worker.close(PATIENCE_SECONDS)


def test_who_is_refused_is_told_when_to_come_again() -> None:
    free = threading.Event()

    def work() -> Iterator[int]:
        free.wait(PATIENCE_SECONDS)
        yield 1

    async def fill() -> Refusal:
        for _ in range(9):
            try:
                worker.submit(work())  # type: ignore[arg-type]
            except Refusal as refusal:
                return refusal
        raise AssertionError("it took nine")

    worker = Worker(2)
    refusal = asyncio.run(fill())
    free.set()
    assert (refusal.status, refusal.headers) == (503, {"retry-after": "1"})
    assert worker.close(PATIENCE_SECONDS)


def test_the_page_of_metrics_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.001, 0.3, 99.0):
        metrics.begin()
        metrics.end("infer", 200, seconds)
    lines = metrics.text(model={"name": 'a"b\\c'}, ready=True, waiting=1, capacity=2).splitlines()
    assert 'edgekit_model_info{name="a\\"b\\\\c"} 1' in lines
    buckets = [line for line in lines if line.startswith("edgekit_request_seconds_bucket")]
    counts = [int(line.rsplit(" ", 1)[1]) for line in buckets]
    assert counts == sorted(counts)
    assert counts[0] == 2  # a bound belongs to its bucket
    assert counts[-1] == 4
    assert buckets[-1].startswith('edgekit_request_seconds_bucket{route="infer",le="+Inf"}')
    for name in {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")}:
        family = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        assert f"# TYPE {family} " in "\n".join(lines)


def test_columns_of_every_task_come_from_its_own_answers() -> None:
    answers: dict[str, list[dict[str, Any]]] = {
        "text-classification": [{"label": "on", "score": 0.5}],
        "token-classification": [{"entities": [{"text": "Bonn", "label": "LOC", "start": 0, "end": 4, "score": 0.9}]}],
        "question-answering": [{"text": "Bonn", "start": 3, "end": 7, "score": 0.9, "truncated": True}],
        "feature-extraction": [{"embedding": [0.5, -0.5]}],
        "text-generation": [{"text": "a", "ended": "stop", "prompt_tokens": 2, "new_tokens": 1}],
    }
    for task, given in answers.items():
        assert processor(task)
        made = columns(task, given)
        assert [column.name for column in made] == [output.name for output in outputs_of(task)]
        documents, _ = write_columns(made, set())
        assert json.loads(json.dumps(documents)) == documents
        _, blob = write_columns(made, {column.name for column in made})
        assert len(blob) == sum(len(column.binary()) for column in made)
    (entities, *_) = columns("token-classification", answers["token-classification"])
    assert json.loads(entities.data[0])[0]["text"] == "Bonn"
    assert Column("start", "INT64", (1,), [3]).binary() == b"\x03" + b"\0" * 7
    with pytest.raises(BadInput, match="this runtime has no task"):
        outputs_of("depth-estimation")


def test_named_texts_become_items() -> None:
    assert items_of({"text": ["a", "b"]}, [Input("text")], {}) == ["a", "b"]
    both = {"question": ["who", "what"], "context": ["x", "y"]}
    known = [Input("question"), Input("context")]
    assert items_of(both, known, {}) == [{"question": "who", "context": "x"}, {"question": "what", "context": "y"}]


@pytest.mark.parametrize(
    ("task", "prompts", "wanted"),
    [
        ("token-classification", {}, [Input("text"), Input("words", needed=False, listed=True, instead_of="text")]),
        ("feature-extraction", {"query": "query: "}, [Input("text"), Input("prompt_name", needed=False)]),
        ("feature-extraction", {}, [Input("text")]),
        ("text-ranking", {}, [Input("query"), Input("passages", listed=True, alone=True)]),
    ],
)
def test_inputs_that_may_be_left_out_are_listed(task: str, prompts: dict[str, str], wanted: list[Input]) -> None:
    bundle: Any = SimpleNamespace(manifest=SimpleNamespace(task=task, name="tiny"))
    tokenise: Any = SimpleNamespace(pairs=None, prompts=Prompts(prompts))
    model = Model(bundle, None, tokenise)
    assert [*inputs_of(model)] == wanted
    given = model_metadata(model)["inputs"]
    assert isinstance(given, list)
    assert [(one["name"], one.get("optional", False)) for one in given if isinstance(one, dict)] == [
        (one.name, not one.needed) for one in wanted
    ]


def test_lists_are_json_and_one_text_may_stand_alone() -> None:
    known = [Input("text"), Input("labels", listed=True), Input("passages", listed=True, alone=True)]
    assert items_of({"text": ["a"], "labels": [b'["x, y", "z"]']}, known, {"multi_label": True}) == [
        {"text": "a", "labels": ["x, y", "z"], "multi_label": True}
    ]
    assert items_of({"passages": ['["a", "b"]', "[1] a, b"]}, known, {}) == [{"passages": ["a", "b"]}, {"passages": "[1] a, b"}]
    for odd in ("x, y", "[x, y]", '{"a": 1}', '"x"'):
        with pytest.raises(Refusal, match="not a JSON list of labels") as refusal:
            items_of({"labels": ['["x"]', odd]}, known, {})
        assert refusal.value.fault.where == "labels[1]"


def test_every_limit_must_be_above_nothing() -> None:
    with pytest.raises(BadInput) as fault:
        Limits(body=0, queue=-1)
    assert len(fault.value.faults) == 2
