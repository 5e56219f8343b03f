"""Texts of one length in one run: never another answer than alone, whatever the graph does, and only where it is faster."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.runtime import joined
from edgekit.runtime.bundle.onnx_file import GraphFile, Node, Value, read_graph
from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.joined import SIZE, TRIALS, Joined, may_be_joined
from edgekit.runtime.model import Model, load
from tests.runtime.serve.serving import make_bundle

ALONE, ROW = 10.0, {"faster": 4.0, "slower": 12.0}
"""Made-up seconds of a run of one text, and of each text of a joined run."""


def feeds(lengths: list[int]) -> list[dict[str, np.ndarray]]:
    draw = np.random.default_rng(0)
    return [{"input_ids": draw.integers(1, 100, (1, length)), "attention_mask": np.ones((1, length))} for length in lengths]


class Graph:
    """A graph that sums ids, by a made-up clock; `unlike`: with a range over all rows of a run."""

    def __init__(self, cost: float, unlike: bool = False) -> None:
        self.cost, self.unlike, self.sizes, self.now = cost, unlike, list[int](), 0.0

    def __call__(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        ids = feed["input_ids"]
        self.sizes.append(len(ids))
        self.now += ALONE if len(ids) == 1 else self.cost * len(ids)
        total: np.ndarray = ids.sum(axis=1, keepdims=True) * (ids.max() if self.unlike else 1)
        return total


@pytest.mark.parametrize("unlike", [False, True])
@pytest.mark.parametrize("speed", ["faster", "slower"])
def test_outputs_are_those_of_each_alone(speed: str, unlike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, known = Graph(ROW[speed], unlike), Joined()
    monkeypatch.setattr(joined.time, "thread_time", lambda: graph.now)
    given = feeds([5, 9] * 10 * SIZE + [7] * (SIZE - 1) + [5] * 3)
    wanted = [graph(feed) for feed in given]
    graph.sizes.clear()
    found = known.outputs(graph, given)
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))
    tried = 2 * (1 if unlike else TRIALS)
    assert graph.sizes.count(SIZE) == (2 * 10 if speed == "faster" and not unlike else tried)
    graph.sizes.clear()
    known.outputs(graph, feeds([9] * SIZE))
    assert graph.sizes == ([SIZE] if speed == "faster" and not unlike else [1] * SIZE), "it is known by now"


def file(operators: tuple[str, ...], batch: str | int) -> GraphFile:
    nodes = tuple(Node("", operator, (), ()) for operator in operators)
    return GraphFile(10, {"": 20}, (Value("input_ids", "int64", (batch, "length")),), (), nodes)


@pytest.mark.parametrize(
    ("operators", "batch", "may"),
    [
        (("QuantizeLinear", "MatMul"), "batch", True), (("MatMul",), 1, False), (("DynamicQuantizeLinear", "MatMulInteger"), "batch", False),
        (("DynamicQuantizeMatMul",), "", False),
    ],
)  # fmt: skip
def test_a_range_over_a_run_and_a_fixed_number_of_texts_are_never_joined(
    operators: tuple[str, ...], batch: str | int, may: bool
) -> None:
    assert may_be_joined(file(operators, batch)) == may


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_bundle(tmp_path_factory.mktemp("joined"), "text-classification"))


def items() -> list[Any]:
    words = ["is", "it", "on", "off", "the", "red", "light", "blue"]
    return [" ".join(order[: 3 + number % 3]) for number, order in zip(range(400), itertools.permutations(words), strict=False)]


def test_a_bundle_answers_many_texts_as_it_does_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the joined run is what is used: the clock says that it is free."""
    clock = itertools.cycle([0.0, 0.0, 1.0])
    monkeypatch.setattr(joined.time, "thread_time", lambda: next(clock))
    assert model.joined is not None and may_be_joined(read_graph(model.bundle.folder / "model.onnx"))
    sizes: list[int] = []
    run: Callable[..., Any] = model.session.run

    class Watched:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> Any:
            sizes.append(len(feed["input_ids"]))
            return run(names, feed)

        def get_outputs(self) -> Any:
            return model.session.get_outputs()

    watched = Model(model.bundle, Watched(), model.reader, joined=Joined())
    given = items()
    given[37] = ""
    wanted = [model(item) for item in given if item]
    found = list(watched.each(given, workers=1))
    assert [one for one in found if "error" not in one] == wanted and "empty" in found[37]["error"]
    assert sizes.count(SIZE) > 3 * TRIALS


def test_a_run_that_fails_fails_for_its_own_text_alone(model: Model) -> None:
    class Failing:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> Any:
            if len(feed["input_ids"]) > 1:
                raise RuntimeError("no room")
            return model.session.run(names, feed)

        def get_outputs(self) -> Any:
            return model.session.get_outputs()

    failing = Model(model.bundle, Failing(), model.reader, joined=Joined())
    given = items()[:64]
    assert failing(given) == [model(item) for item in given]
    assert not any(isinstance(one, CheckFailed) for one in failing.answer_all(given, 1))


def test_a_bundle_of_a_few_threads_joins_nothing(model: Model) -> None:
    assert model._like(2).joined is None
