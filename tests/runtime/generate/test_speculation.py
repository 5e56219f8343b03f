"""Guesses of next tokens: they change no answer, whatever they are, and are read only where they pay."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from edgekit.runtime.bundle.onnx_file import Node, read_graph
from edgekit.runtime.errors import CheckFailed, NotPossibleHere
from edgekit.runtime.generate import shared as shared_memory
from edgekit.runtime.generate import speculate
from edgekit.runtime.generate.device import on_device
from edgekit.runtime.generate.draft import Draft, Drafter
from edgekit.runtime.generate.graph import Graph, check_graph
from edgekit.runtime.generate.lookup import Lookup
from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.generate.sample import Sampling, kept_tokens, parse_sampling
from edgekit.runtime.generate.shared import SharedCache
from edgekit.runtime.generate.speculate import WIDTHS, Kind, Speculation, unlike_alone
from edgekit.runtime.providers.session import open_session, own_cores
from tests.runtime.generate.tiny_decoder import CONTEXT, TINY, TinyDecoder, make_decoder, write_decoder

Fresh = Callable[..., LanguageModel]
LONG = Sampling(max_new_tokens=50)
WILD = Sampling(max_new_tokens=40, temperature=1.2)


class Eager(Speculation):
    """Reads guesses whenever there are any."""

    def ready(self, kind: Kind) -> bool:
        return self.fault is None

    def cost(self, width: int) -> float:
        return 0.5


Guess = Callable[[Sequence[int], int], list[int]]
"""(ids so far, how many) -> guesses."""


@pytest.fixture
def guessing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Guess], None]:
    """Has guesses made in another way."""

    def change(guess: Guess) -> None:
        monkeypatch.setattr(Lookup, "at", property(lambda self: 1, lambda self, value: None), raising=False)
        monkeypatch.setattr(Lookup, "follow", lambda self: [])
        monkeypatch.setattr(Lookup, "guess", lambda self, most: guess(self._ids, most))

    return change


def eager(model: LanguageModel) -> LanguageModel:
    return replace(model, speculation=Eager(model.graph))


def known(model: LanguageModel) -> Speculation:
    assert model.speculation is not None
    return model.speculation


@pytest.mark.parametrize("cache", ["FLOAT", "INT8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_over_one_memory_have_the_bits_of_single_runs(
    decoder: TinyDecoder, tmp_path: Path, tiny_folder: Path, cache: str, threads: int
) -> None:
    session = open_session(write_decoder(decoder, tmp_path, cache) / "model.onnx", threads=threads)
    graph = language_model(session, TINY, tiny_folder / "tokenizer.json").graph
    ids = np.random.default_rng(0).integers(3, 280, 60)
    alone, memory = graph.empty(1, 64), SharedCache(graph.shapes, graph.dtype, 64, max(WIDTHS))
    for width in WIDTHS:
        for start in (1, 9, 40):
            alone.lengths[0] = 0
            graph.read(ids[:start], alone)
            memory.rows(1).take(0, alone, 0, start)
            wanted = np.stack([graph.run(ids[None, at : at + 1], alone)[0, 0] for at in range(start, start + width)])
            rows = memory.rows(width)
            rows.lengths[:] = start + np.arange(width)
            found = graph.run(ids[start : start + width, None], rows)[:, 0]
            assert found.tobytes() == wanted.tobytes()
            for mine, theirs in zip((*rows.keys, *rows.values), (*alone.keys, *alone.values), strict=True):
                assert np.array_equal(mine[0, :, : start + width], theirs[0, :, : start + width])


def right(model: LanguageModel, sampling: Sampling, prompt: str) -> Guess:
    """Guesses that are all right."""
    whole = [*model.encode(prompt).tolist(), *model.generate(prompt, sampling).tokens]
    return lambda ids, most: [*whole[len(ids) :], *[7] * most][:most]


def wrong(ids: Sequence[int], most: int) -> list[int]:
    return [3 + (token + len(ids)) % 270 for token in range(most)]


@pytest.mark.parametrize(
    "sampling",
    [
        LONG, replace(LONG, repetition_penalty=1.3), WILD, replace(WILD, seed=3, top_k=20, repetition_penalty=1.2),
        replace(WILD, top_p=0.9, min_p=0.01), replace(LONG, stop=("a", "the")), replace(WILD, stop_token_ids=(7,)),
        replace(LONG, max_new_tokens=1), replace(LONG, max_new_tokens=3), Sampling(max_new_tokens=10_000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["lookup", "right", "wrong", "some"])
def test_guesses_change_no_answer(fresh: Fresh, guessing: Callable[[Guess], None], sampling: Sampling, kind: str) -> None:
    plain, prompt = fresh(prefix_bytes=0), "the inn and the hat in the inn and the"
    wanted, pieces = plain.generate(prompt, sampling), list(plain.stream(prompt, sampling))
    model = eager(fresh())
    if kind != "lookup":
        good, random = right(plain, sampling, prompt), np.random.default_rng(0)
        guessing(
            {"right": good, "wrong": wrong, "some": lambda ids, most: (good if random.random() < 0.6 else wrong)(ids, most)}[
                kind
            ]
        )
    for _ in range(2):  # the second goes on from the first one's cache
        found = model.generate(prompt, sampling)
        assert found == wanted and list(model.stream(prompt, sampling)) == pieces
        assert found.accepted <= found.drafted
        if kind == "wrong":
            assert not found.accepted
        if kind == "right" and len(wanted.tokens) > 12:
            assert found.accepted > len(wanted.tokens) / 2
    assert known(model).fault is None


@pytest.mark.parametrize("tells", [None, 2])
def test_answers_of_a_given_form(
    fresh: Fresh, guessing: Callable[[Guess], None], monkeypatch: pytest.MonkeyPatch, tells: int | None
) -> None:
    """Tokens that are certain are read together, guesses between them; what was read together is no proof of single runs."""
    pytest.importorskip("llguidance")
    plain, prompt, real, together = fresh(prefix_bytes=0), "the inn", Graph.run, list[int]()

    def run(graph: Graph, ids: np.ndarray, cache: Any, *rest: Any, **options: Any) -> np.ndarray:
        found = real(graph, ids, cache, *rest, **options)
        together.append(ids.shape[1])
        if ids.shape[1] > 1:  # as several tokens of one row may have other bits
            cache.keys[1][0, :, int(cache.lengths[0]) - 1] *= np.float32(1.001)
        return found

    monkeypatch.setattr(Graph, "run", run)
    word = {"type": "string", "pattern": "^[a-f]{4}$"}
    item = {"type": "object", "properties": {"is": word}, "required": ["is"], "additionalProperties": False}
    schema = {"type": "array", "items": item, "minItems": 8, "maxItems": 8}
    for seed in range(2):
        asked = {"json_schema": schema, "max_new_tokens": 90, "temperature": 0.9, "seed": seed, "logprobs": tells}
        sampling = parse_sampling({key: value for key, value in asked.items() if value is not None})
        wanted = plain.generate(prompt, sampling)
        for guess in (right(plain, sampling, prompt), wrong):
            guessing(guess)
            model = eager(fresh())
            assert [model.generate(prompt, sampling) for _ in range(2)] == [wanted] * 2
            assert known(model).fault is None and max(together[-20:]) > 1


def test_the_cache_is_as_if_nothing_had_been_guessed(
    fresh: Fresh, guessing: Callable[[Guess], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After wrong guesses, logits of plain runs have the bits that they have without."""
    logits: list[np.ndarray] = []
    real = Graph.run

    def run(graph: Graph, ids: np.ndarray, *rest: Any, **options: Any) -> np.ndarray:
        found = real(graph, ids, *rest, **options)
        logits.append(found.copy())
        return found

    monkeypatch.setattr(Graph, "run", run)
    fresh().generate("the inn", LONG)
    wanted = [one.tobytes() for one in logits[-40:]]
    guessing(wrong)
    model, reads = eager(fresh()), iter(range(1000))
    monkeypatch.setattr(Eager, "ready", lambda self, kind: next(reads) < 8)
    logits.clear()
    model.generate("the inn", LONG)
    assert sum(len(one) > 1 for one in logits[:-40]) > 4, "guesses were read"
    assert [one.tobytes() for one in logits[-40:]] == wanted


@pytest.mark.parametrize("by", ["lookup", "draft"])
def test_sampled_tokens_have_the_models_distribution(
    fresh: Fresh, guessing: Callable[[Guess], None], others: dict[str, Graph], by: str
) -> None:
    """Chi-square over the second and third token, of which a likely one is guessed: the rule must correct for what it refused."""
    plain, sampling, draws = fresh(), Sampling(max_new_tokens=3, temperature=0.7, top_k=4), 700
    ids = plain.encode("the inn")
    first = int(plain.graph.read(ids, plain.graph.empty(1, 64))[: plain.tokens].argmax())
    chances: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(3):
        further = {}
        for before, chance in chances.items():
            read = np.array([*ids, *before])
            kept, shares = kept_tokens(plain.graph.read(read, plain.graph.empty(1, 64))[: plain.tokens], sampling)
            further |= {(*before, int(token)): chance * share for token, share in zip(kept, shares, strict=True)}
        chances = further
    if by == "lookup":
        guessing(lambda said, most: [first, first][:most])
    model = eager(fresh()) if by == "lookup" else drafting(fresh(), others["near"])
    known(model).proved.update(WIDTHS)
    counts = dict.fromkeys(chances, 0)
    drafted = accepted = 0
    for seed in range(draws):
        answer = model.generate(ids, replace(sampling, seed=seed))
        drafted, accepted = drafted + answer.drafted, accepted + answer.accepted
        tokens = next(said for said in chances if said == answer.tokens[:3]) if len(answer.tokens) == 3 else None
        if tokens:
            counts[tokens] += 1
    assert 0 < accepted < drafted
    likely = [said for said, chance in chances.items() if chance * draws >= 5]
    wanted = np.array([chances[said] for said in likely] + [1 - sum(chances[said] for said in likely)]) * draws
    found = np.array([counts[said] for said in likely] + [draws - sum(counts[said] for said in likely)])
    statistic, freedom = float(((found - wanted) ** 2 / np.maximum(wanted, 1e-9)).sum()), len(likely)
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("width", [2, 4])
def test_a_machine_whose_rows_have_other_bits(fresh: Fresh, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """One bit of one logit is enough; nothing of that run is kept."""
    real, sampling = Graph.run, replace(LONG, max_new_tokens=80)
    wanted = fresh().generate("the inn", sampling)

    def run(graph: Graph, ids: np.ndarray, cache: Any, *rest: Any, **options: Any) -> np.ndarray:
        found = real(graph, ids, cache, *rest, **options)
        if len(ids) >= width:
            found[-1, 0, 5] = np.nextafter(found[-1, 0, 5], np.float32(np.inf))
            cache.keys[0][0, :, cache.lengths[0] - 1] += 1
        return found

    monkeypatch.setattr(Graph, "run", run)
    monkeypatch.setattr(speculate, "WIDTHS", (width,))
    model = eager(fresh())
    assert model.generate("the inn", sampling) == wanted
    assert known(model).fault == f"on this machine a run of {width} rows does not give the bits of {width} runs of one"
    answer = model.generate("the inn", sampling)
    assert answer == wanted and answer.drafted == 0


def test_what_does_not_pay_is_not_read(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh()
    model = replace(model, speculation=Speculation(model.graph))
    monkeypatch.setattr(Speculation, "cost", lambda self, width: float(width))  # as dear as single runs
    assert model.generate("the inn", replace(LONG, max_new_tokens=90)).drafted == 0
    assert not known(model).proved


def test_losses_are_bounded(fresh: Fresh, guessing: Callable[[Guess], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses that are always wrong, though they are thought to be worth it, cost a share of the time and a few tokens."""
    guessing(wrong)
    model = fresh()
    model = replace(model, speculation=Speculation(model.graph))
    monkeypatch.setattr(Speculation, "timed", lambda self, width, seconds: self._seconds[width].add(1.0) or float(width))
    monkeypatch.setattr(Speculation, "cost", lambda self, width: 0.5)
    monkeypatch.setattr(Speculation, "in_runs", lambda self, seconds: 0.0)
    tokens = drafted = 0
    for seed in range(12):
        answer = model.generate("the inn", replace(WILD, max_new_tokens=100, seed=seed))
        tokens, drafted = tokens + len(answer.tokens), drafted + answer.drafted
    proofs = sum(WIDTHS)
    assert 0 < drafted <= speculate.LEAST + speculate.SHARE * tokens + 2 * max(WIDTHS) + proofs


def test_memory_whose_pages_are_mapped_ends_no_guesses(
    fresh: Fresh, guessing: Callable[[Guess], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done once; copying a prompt into memory that is there is a loss of every answer."""
    model, prompt = fresh(), "the inn"
    guessing(right(model, LONG, prompt))
    model = replace(model, speculation=Speculation(model.graph))
    monkeypatch.setattr(Speculation, "cost", lambda self, width: 0.5)
    monkeypatch.setattr(Speculation, "in_runs", lambda self, seconds: 50.0)
    first, second = (model.generate(prompt, LONG) for _ in range(2))
    assert first == second and first.drafted > 10 > second.drafted > 0


def test_the_clock_of_a_busy_machine() -> None:
    """A run that another process interrupted moves the mean little; the first of each width, which warms up, not at all."""
    speculation = Speculation.__new__(Speculation)
    Speculation.__init__(speculation, None)  # type: ignore[arg-type]
    for seconds in (9.0, 1.0, 1.0, 80.0, 1.0):
        speculation.timed(1, seconds)
    assert speculation.cost(4) == 1 + 3 * speculate.GUESSED_COST, "until it was timed"
    for seconds in (50.0, 2.0, 2.0):
        speculation.timed(4, seconds)
    assert 1.4 < speculation.cost(4) <= 2.0
    assert speculation.timed(4, 1000.0) <= 3 * speculation.cost(4)


@pytest.mark.parametrize("seed", range(4))
def test_lookup_guesses_what_stood_there_before(seed: int) -> None:
    random = np.random.default_rng(seed)
    ids = random.integers(0, 4, 3).tolist()
    lookup = Lookup(ids)
    for _ in range(300):
        ids.append(int(random.integers(0, 4)))
        told = lookup.follow()
        assert len(told) <= 1
        if not lookup.at:
            assert not any(ids[at : at + 2] == ids[-2:] for at in range(len(ids) - 2))
            continue
        assert 2 <= lookup.same <= 16 and ids[lookup.at - lookup.same : lookup.at] == ids[-lookup.same :]
        known_ones = ids[lookup.at : lookup.at + 5]
        assert lookup.guess(5)[: len(known_ones)] == known_ones and len(lookup.guess(5)) == 5


def test_lookup_of_short_texts_and_repetitions() -> None:
    assert Lookup([5]).guess(3) == [] == Lookup([5, 6]).guess(3)
    assert Lookup([1, 2, 3, 1, 2, 3, 1, 2]).guess(7) == [3, 1, 2, 3, 1, 2, 3]
    assert Lookup([4, 4, 4]).guess(4) == [4, 4, 4, 4]


def test_any_number_of_threads(fresh: Fresh) -> None:
    plain, model = fresh(prefix_bytes=0), eager(fresh())
    asked = [("the inn and the inn", replace(WILD, seed=seed)) for seed in range(8)]
    wanted = [plain.generate(prompt, sampling) for prompt, sampling in asked]
    found: list[Any] = [None] * len(asked)

    def answer(number: int) -> None:
        found[number] = [model.generate(*asked[number]) for _ in range(3)]

    threads = [Thread(target=answer, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[answer] * 3 for answer in wanted]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_forked_child_goes_on_with_its_own_memory(fresh: Fresh, guessing: Callable[[Guess], None]) -> None:
    """Also after its parent has written other prompts into the memory that they shared."""
    plain, prompt, sampling = fresh(), "the inn", replace(WILD, max_new_tokens=90, temperature=0.3)
    wanted = plain.generate(prompt, sampling)
    assert len(wanted.tokens) == 90
    good = right(plain, sampling, prompt)
    guessing(lambda ids, most: good(ids, 1) + wrong(ids, most - 1))
    model = eager(fresh())
    stream: Iterator[Any] = model.stream(prompt, sampling)
    said = [next(stream).token for _ in range(30)]
    read, write = os.pipe()
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tell)  # so that it ends with a parent that fails
        os.read(hear, 1)
        rest = [piece.token for piece in stream]
        again = model.generate(prompt, sampling).tokens
        os.write(write, repr((said + rest, list(again))).encode())
        os._exit(0)
    parents = said + [piece.token for piece in stream]
    model.generate("once upon a time there was a hat", sampling)
    os.write(tell, b".")
    os.waitpid(child, 0)
    os.close(write)
    assert os.read(read, 100_000).decode() == repr((list(wanted.tokens), list(wanted.tokens)))
    for end in (read, hear, tell):
        os.close(end)
    assert parents == list(wanted.tokens) and known(model)._spare is not None


def test_a_child_has_what_was_there_at_the_fork() -> None:
    """Also where its parent writes on before the child runs."""
    memory = SharedCache(((2, 16),), np.dtype(np.float32), 64, 3)
    memory.rows(1).keys[0][:] = 1
    memory.copy()
    memory.rows(1).keys[0][:] = 2
    memory.renew()
    assert memory.width == 1 and (memory.rows(1).keys[0] == 1).all()


def test_nan_ends_an_answer_and_nothing_else(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    real, model = Graph.run, eager(fresh())
    wanted = model.generate("the inn", LONG)

    def run(graph: Graph, ids: np.ndarray, *rest: Any, **options: Any) -> np.ndarray:
        found = real(graph, ids, *rest, **options)
        return found if len(ids) == 1 else found * np.float32(np.nan)

    with monkeypatch.context() as patch:
        patch.setattr(Graph, "run", run)
        with pytest.raises(CheckFailed, match="NaN"):
            model.generate("the inn and the inn and the inn", replace(LONG, seed=1))
    assert model.generate("the inn", LONG) == wanted


def test_a_system_that_maps_no_memory_twice(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: Any) -> None:
        raise NotPossibleHere("memory can be mapped twice on Linux alone")

    monkeypatch.setattr(shared_memory, "_system", nothing)
    model, wanted = eager(fresh()), fresh().generate("the inn", LONG)
    answer = model.generate("the inn", LONG)
    assert answer == wanted and not answer.drafted
    assert known(model).told(answer) == {"drafted": 0, "accepted": 0, "off": "memory can be mapped twice on Linux alone"}


def test_graphs_whose_rows_are_not_alone(fresh: Fresh, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, file = fresh().graph, read_graph(tiny_folder / "model.onnx")
    assert unlike_alone(file, graph) is None

    def fault(change: Callable[[Node], Node]) -> str | None:
        nodes = tuple(change(node) if node.operator == "GroupQueryAttention" else node for node in file.nodes)
        return unlike_alone(replace(file, nodes=nodes), graph)

    for numbers in ({"softcap": 30.0}, {"smooth_softmax": 1}):
        assert "a cap, a sink" in str(fault(lambda node: replace(node, numbers={**node.numbers, **numbers})))  # noqa: B023
    assert "a cap, a sink" in str(
        fault(lambda node: replace(node, inputs=(*node.inputs, *[""] * (11 - len(node.inputs)), "sink")))
    )
    assert "a cap, a sink" in str(fault(lambda node: replace(node, outputs=(*node.outputs, "scores"))))
    assert "range over all rows" in str(fault(lambda node: replace(node, operator="DynamicQuantizeMatMul")))
    assert "1 heads is split between" not in str(fault(lambda node: node))
    if own_cores() < 2:
        return  # what follows is of two threads
    two = replace(graph, session=open_session(tiny_folder / "model.onnx", threads=2))
    nodes = tuple(replace(node, numbers={**node.numbers, "num_heads": 1}) for node in file.nodes)
    assert "1 heads is split between 2 threads" in str(unlike_alone(replace(file, nodes=nodes), two))
    assert "float16" in str(unlike_alone(file, replace(graph, dtype=np.dtype(np.float16))))
    assert "GPU" in str(unlike_alone(file, on_device(graph, "cpu")))
    from edgekit.runtime.providers.ort import onnxruntime

    monkeypatch.setattr(onnxruntime, "__version__", "1.31.2")
    assert "1.31.2 is older than 1.32" in str(unlike_alone(file, graph))


def test_memory_of_odd_sizes() -> None:
    """Views are whole pages apart, so a cache has some more room where tokens are no whole part of one."""
    memory = SharedCache([(3, 20), (2, 16)], np.dtype(np.float32), 100, 3)
    assert memory.capacity >= 100 and memory.rows(3).keys[0].shape == (3, 3, memory.capacity, 20)
    memory.rows(1).keys[0][0, 2, 7] = 5
    memory.rows(1).values[1][0, 1, memory.capacity - 1] = 6
    three = memory.rows(3)
    assert (three.keys[0][:, 2, 7] == 5).all() and (three.values[1][:, 1, -1] == 6).all()
    assert not three.keys[1].any() and three.keys[0].sum() == 3 * 5 * 20


def test_no_more_is_said_than_there_is_room_for(fresh: Fresh, guessing: Callable[[Guess], None]) -> None:
    ids, sampling = np.full(CONTEXT - 12, 7), Sampling(max_new_tokens=50)
    wanted = fresh().generate(ids, sampling)
    guessing(lambda said, most: ([*ids.tolist(), *wanted.tokens, *[9] * most])[len(said) : len(said) + most])
    found = eager(fresh()).generate(ids, sampling)
    assert found == wanted and found.ended == "context"


@pytest.fixture(scope="module")
def others(decoder: TinyDecoder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graph]:
    """Small models: the model itself, whose guesses are all right, one that is unlike it, and one that is a little so."""
    unlike = make_decoder(vocabulary=decoder.vocabulary, seed=9)
    near = TinyDecoder({**decoder.weights}, decoder.vocabulary)
    near.weights["head"] = decoder.weights["head"] + unlike.weights["head"] * np.float32(0.15)
    graphs = {}
    for name, made in {"itself": decoder, "unlike": unlike, "near": near}.items():
        session = open_session(write_decoder(made, tmp_path_factory.mktemp(name)) / "model.onnx")
        graphs[name] = replace(check_graph(session, TINY), block=8)
    return graphs


class Drafting(Eager):
    """Reads the small model's guesses whenever there are any, and looks nothing up."""

    def ready(self, kind: Kind) -> bool:
        return self.fault is None and kind in (self.likeliest[1], self.drawn[1])

    def in_runs(self, seconds: float) -> float:
        return 0.0


def drafting(model: LanguageModel, graph: Graph) -> LanguageModel:
    return replace(model, speculation=Drafting(model.graph, draft=Draft(graph, model.tokens)))


@pytest.mark.parametrize(
    "sampling", [LONG, replace(LONG, repetition_penalty=1.3), WILD, replace(WILD, seed=3, top_k=20), replace(LONG, max_new_tokens=2)]
)  # fmt: skip
@pytest.mark.parametrize("name", ["itself", "unlike", "near"])
def test_a_small_models_guesses_change_no_answer(fresh: Fresh, others: dict[str, Graph], sampling: Sampling, name: str) -> None:
    plain, prompt = fresh(prefix_bytes=0), "the inn and the hat"
    wanted, pieces = plain.generate(prompt, sampling), list(plain.stream(prompt, sampling))
    model = drafting(fresh(), others[name])
    for _ in range(2):  # the second goes on from what was kept of the first one's prompt
        found = model.generate(prompt, sampling)
        assert found == wanted and list(model.stream(prompt, sampling)) == pieces
    if name == "itself" and sampling == LONG:
        assert found.accepted == found.drafted > len(wanted.tokens) / 2
    assert known(model).fault is None


def test_a_small_model_forgets_what_was_not_said(others: dict[str, Graph]) -> None:
    """Its guess after any guesses before, right or wrong, is that of one that reads the same ids for the first time."""
    draft, random = Draft(others["itself"], 280, prefix_bytes=0), np.random.default_rng(0)
    ids = random.integers(3, 280, 20).tolist()
    drafter = Drafter(draft, ids, CONTEXT)
    while drafter.room() > 20:
        further: list[int] = []
        for _ in range(int(random.integers(0, 5))):
            further.append(drafter.guess(further)[0])
        said = int(random.integers(0, len(further) + 1))
        ids += [*further[:said], *random.integers(3, 280, int(random.integers(1, 5))).tolist()]
        token, chance = drafter.guess([])
        alone, chance_alone = Drafter(draft, list(ids), CONTEXT).guess([])
        assert token == alone and chance == pytest.approx(chance_alone, rel=1e-3)


def test_a_small_model_that_is_never_right_costs_little(
    fresh: Fresh, others: dict[str, Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guesses are made out of a share of all tokens' time, whatever the model expects of them."""
    made = list[int]()
    real = Drafter.guess

    def guess(self: Drafter, further: Sequence[int]) -> tuple[int, float]:
        made.append(len(further))
        return wrong(self._ids, 1)[0], real(self, further)[1]

    monkeypatch.setattr(Drafter, "guess", guess)
    monkeypatch.setattr(Speculation, "timed", lambda self, width, seconds: self._seconds[width].add(1.0) or float(width))
    monkeypatch.setattr(Speculation, "cost", lambda self, width: 0.5)
    monkeypatch.setattr(Speculation, "in_runs", lambda self, seconds: 0.5 if seconds else 0.0)
    monkeypatch.setattr(Lookup, "follow", lambda self: [])
    model = fresh()
    model = replace(model, speculation=Speculation(model.graph, draft=Draft(others["unlike"], model.tokens)))
    tokens = 0
    for seed in range(6):
        tokens += len(model.generate("the inn", replace(WILD, max_new_tokens=100, seed=seed)).tokens)
    assert 0 < len(made) <= 2 * (speculate.LEAST + speculate.SHARE * tokens) + 2 * max(WIDTHS)


def test_a_prompt_of_ids_that_the_small_model_lacks(fresh: Fresh, others: dict[str, Graph]) -> None:
    """Rows that pad the embedding: nothing is guessed, and nothing fails."""
    plain, model = fresh(prefix_bytes=0), drafting(fresh(), replace(others["itself"], vocabulary=fresh().tokens))
    prompt = np.array([5, 6, plain.graph.vocabulary - 1])
    assert plain.graph.vocabulary > plain.tokens
    found = model.generate(prompt, LONG)
    assert found == plain.generate(prompt, LONG) and not found.drafted


def test_a_context_that_is_shorter_than_the_models(fresh: Fresh, others: dict[str, Graph]) -> None:
    plain = fresh(prefix_bytes=0)
    model = drafting(fresh(), replace(others["itself"], context=32))
    assert model.generate("the inn and the hat", LONG) == plain.generate("the inn and the hat", LONG)
