"""Answers that are generated together: whoever is beside it, and whenever they come and go, each has the bits that it has alone."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.config.quantize import WeightOnly
from edgekit.quantize.decoder import quantize_decoder
from edgekit.runtime.bundle.onnx_file import read_graph
from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.generate import batch as batches
from edgekit.runtime.generate.answer import Piece, whole
from edgekit.runtime.generate.batch import Batch
from edgekit.runtime.generate.graph import Graph
from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.generate.neighbours import PIECE, piece_end, same_in_pieces, unlike_beside, unlike_tried
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.generate.speculate import Kind, Speculation
from edgekit.runtime.providers.session import open_session
from tests.runtime.generate.tiny_decoder import CONTEXT, TINY, TinyDecoder, write_decoder

Fresh = Callable[..., LanguageModel]
WORDS = ["the", "inn", "hat", "and", "in", "a", "on", "light"]


class Eager(Speculation):
    """Reads guesses whenever there are any."""

    def ready(self, kind: Kind) -> bool:
        return self.fault is None

    def cost(self, width: int) -> float:
        return 0.5


def eager(model: LanguageModel) -> LanguageModel:
    return replace(model, speculation=Eager(model.graph))


def asked(draw: np.random.Generator, count: int) -> list[tuple[str, Sampling]]:
    """Prompts of all lengths, some of which begin alike, and settings of all kinds."""
    found = []
    for number in range(count):
        prompt = " ".join(draw.choice(WORDS, int(draw.integers(1, 22))))
        prompt = prompt if draw.random() < 0.5 else "the inn and the hat in the inn and the " + prompt
        sampling = Sampling(
            max_new_tokens=int(draw.integers(1, 60)), temperature=float(draw.choice([0.0, 1.1])), seed=number,
            repetition_penalty=float(draw.choice([1.0, 1.2])), logprobs=2 if draw.random() < 0.2 else None,
            stop=("hat",) if draw.random() < 0.3 else (),
        )  # fmt: skip
        found.append((prompt, sampling))
    return found


class Crowd:
    """Streams of a batch, with what each has given so far."""

    def __init__(self, batch: Batch, asked: Sequence[tuple[Any, Sampling]]) -> None:
        self.batch = batch
        self.streams: list[Generator[Piece | None, None, None]] = [batch.stream(*one) for one in asked]
        self.pieces: list[list[Piece]] = [[] for _ in asked]
        self.over = [False for _ in asked]

    def fetch(self, number: int, most: int = 1000) -> None:
        """Take what there is of one stream, `most` pieces."""
        for _ in range(most):
            piece = next(self.streams[number], Ellipsis)
            if piece is Ellipsis:
                self.over[number] = True
            if not isinstance(piece, Piece):
                return
            self.pieces[number].append(piece)

    def finish(self, draw: np.random.Generator, at_once: int) -> None:
        """Let at most `at_once` be worked on, which begin at any time, some of which are fetched late."""
        begun = 0
        while not all(self.over):
            if begun < len(self.over) and begun - sum(self.over) < at_once and draw.random() < 0.5:
                begun += 1
            for number in range(begun):
                if not self.over[number] and draw.random() < 0.9:
                    self.fetch(number, most=1 if draw.random() < 0.1 else 1000)
            self.batch.step()


@pytest.mark.parametrize("cache", ["FLOAT", "INT8"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("tokens", [10_000, 140])
def test_neighbours_change_no_piece(
    decoder: TinyDecoder, tmp_path: Path, tiny_folder: Path, cache: str, threads: int, tokens: int
) -> None:
    """With room for 140 tokens, answers that came late give their rows up again and again."""
    session = open_session(write_decoder(decoder, tmp_path, cache) / "model.onnx", threads=threads)
    plain = language_model(session, TINY, tiny_folder / "tokenizer.json", prefix_bytes=0)
    plain = replace(plain, graph=replace(plain.graph, block=24))
    model = eager(language_model(session, TINY, tiny_folder / "tokenizer.json"))
    batch = Batch(replace(model, graph=plain.graph), 5, tokens)
    assert batch.unlike_alone() is None
    draw = np.random.default_rng(threads)
    for _ in range(2):
        questions = asked(draw, 10)
        crowd = Crowd(batch, questions)
        crowd.finish(draw, at_once=7)
        assert crowd.pieces == [[*plain.stream(*one)] for one in questions]
        assert batch.held == 0


@pytest.mark.parametrize("family", ["llama, tied", "gemma2", "gpt2"])
def test_rows_have_the_bits_of_single_ones_in_every_format(tmp_path: Path, family: str) -> None:
    from edgekit.exporter.decoder_graph import write_graph
    from edgekit.models.decoders import describe
    from tests.tiny_decoders import checkpoint

    write_graph(describe(checkpoint(family, tmp_path / "model")), tmp_path)
    assert not rows_are_alone(tmp_path).even
    for scheme in (
        WeightOnly(format="int8-weights"), WeightOnly(format="int4-weights"), WeightOnly(format="int4-weights", block=64),
        WeightOnly(format="int8-weights", accuracy_level=0),
    ):  # fmt: skip
        (folder := tmp_path / f"{scheme.format}-{scheme.block}-{scheme.accuracy_level}").mkdir()
        quantize_decoder(tmp_path, folder, scheme)
        rows_are_alone(folder)


def rows_are_alone(folder: Path) -> Batch:
    """Whatever rows of the graph in `folder` are run together have the bits that each has alone, where need be beside an empty one."""
    session = open_session(folder / "model.onnx", threads=2)
    past = next(item for item in session.get_inputs() if item.name == "past.0.key")
    facts = replace(TINY, kv_heads=past.shape[1], head_size=past.shape[3])
    tokenizer = next(place / "model/tokenizer.json" for place in (folder, folder.parent) if (place / "model").is_dir())
    model = language_model(session, facts, tokenizer)
    graph = model.graph
    assert unlike_beside(read_graph(folder / "model.onnx"), graph) is None
    batch = Batch(model, 8, 1000)
    assert batch.unlike_alone() is None and same_in_pieces(graph)
    draw, cache, even = np.random.default_rng(0), graph.empty(8, 128), int(batch.even)
    lengths = [1, 2, 7, 31, 32, 33, 60, 90]
    prompts = [draw.integers(3, graph.vocabulary, length) for length in lengths]
    alone = [graph.empty(1 + even, 128) for _ in prompts]
    for prompt, own in zip(prompts, alone, strict=True):
        graph.read(prompt, own.rows(0, 1))
    said = draw.integers(3, graph.vocabulary, (4, 8, 1))
    wanted = [
        [graph.run(said[step, [number] * (1 + even)], own)[0, 0] for number, own in enumerate(alone)] for step in range(4)
    ]
    for _ in range(20):
        picked = draw.permutation(8)[: draw.integers(1, 5) * 2 - (1 - even) * draw.integers(0, 2)]
        rows = cache.rows(0, len(picked))
        for row, number in enumerate(picked):
            rows.take(row, alone[number], 0, lengths[number])
        for step in range(4):
            found = graph.run(said[step, picked], rows)[:, 0]
            assert found.tobytes() == np.stack([wanted[step][number] for number in picked]).tobytes()
    return batch


def test_where_rows_come_in_pairs_answers_do_not_depend_on_others(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with weights in 4 bits by blocks of 128: an answer alone is run beside an empty row, without guesses."""
    real, shapes = Graph.run, list[int]()

    def run(graph: Graph, ids: np.ndarray, cache: Any, keep: int = 1) -> np.ndarray:
        logits = real(graph, ids, cache, keep)
        shapes.append(len(ids))
        if ids.shape[1] == 1 and len(ids) % 2:
            logits[-1, -1, ::2] += 0.5
        return logits

    monkeypatch.setattr(Graph, "run", run)
    draw = np.random.default_rng(0)
    questions, batch = asked(draw, 8), Batch(eager(fresh(prefix_bytes=0)), 5, 1000)
    assert batch.unlike_alone() is None and batch.even
    shapes.clear()
    wanted = []
    for question in questions:
        crowd = Crowd(batch, [question])
        crowd.finish(draw, at_once=1)
        wanted += crowd.pieces
    assert any(wanted) and set(shapes) == {1, 2}
    crowd = Crowd(batch, questions)
    crowd.finish(draw, at_once=8)
    assert crowd.pieces == wanted and max(shapes) == 6


def test_answers_are_those_of_transformers(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from edgekit.exporter.decoder_graph import write_graph
    from edgekit.models.decoders import describe
    from tests.tiny_decoders import checkpoint

    source = checkpoint("llama", tmp_path / "model")
    write_graph(describe(source), tmp_path)
    session = open_session(tmp_path / "model.onnx")
    model = language_model(session, replace(TINY, eos=()), source / "tokenizer.json")
    eager = AutoModelForCausalLM.from_pretrained(source)
    draw = np.random.default_rng(0)
    prompts = [draw.integers(3, 300, length) for length in (1, 5, 40, 17, 3, 70)]
    batch = Batch(model, 4, 1000)
    crowd = Crowd(batch, [(prompt, Sampling(max_new_tokens=12)) for prompt in prompts])
    crowd.finish(draw, at_once=6)
    for prompt, pieces in zip(prompts, crowd.pieces, strict=True):
        ids = torch.tensor(prompt[None])
        wanted = eager.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        assert [piece.token for piece in pieces] == wanted[0, len(prompt) :].tolist()


@pytest.mark.parametrize("tokens", [10_000, 100])
def test_answers_of_a_given_form(fresh: Fresh, tokens: int) -> None:
    """Tokens that are certain are read in one run, as they are alone, also where they are read again."""
    pytest.importorskip("llguidance")
    plain, draw = fresh(prefix_bytes=0), np.random.default_rng(0)
    item = {"type": "object", "properties": {"is": {"type": "string", "pattern": "^[a-f]{4}$"}}, "required": ["is"]}
    questions: list[tuple[str, Sampling]] = []
    for number, (prompt, sampling) in enumerate(asked(draw, 9)):
        forms: list[dict[str, Any]] = [
            {},
            {"json_schema": {**item, "additionalProperties": False}},
            {"choice": ["an inn", "an island"]},
        ]
        from edgekit.runtime.generate.constraint import parse_constraint

        constraint = parse_constraint(forms[number % 3], [])
        questions.append((prompt, replace(sampling, constraint=constraint, stop=())))
    batch = Batch(eager(fresh()), 4, tokens)
    crowd = Crowd(batch, questions)
    crowd.finish(draw, at_once=5)
    assert crowd.pieces == [[*plain.stream(*one)] for one in questions]


def test_who_leaves_frees_its_row_and_changes_nothing(fresh: Fresh) -> None:
    plain, batch, draw = fresh(), Batch(eager(fresh()), 3, 1000), np.random.default_rng(0)
    questions = [(prompt, Sampling(max_new_tokens=40)) for prompt, _ in asked(draw, 8)]
    crowd = Crowd(batch, questions)
    for number in range(8):  # three have rows, five wait
        crowd.fetch(number)
    batch.step()
    held = batch.held
    crowd.streams[0].close()  # while its prompt is read
    assert batch.held < held
    for _ in range(6):
        batch.step()
        for number in range(1, 8):
            crowd.fetch(number)
    crowd.streams[1].close()  # within its answer
    crowd.streams[6].close()  # while it waits
    crowd.over[0] = crowd.over[1] = crowd.over[6] = True
    crowd.finish(draw, at_once=8)
    assert batch.held == 0 and not batch.step()
    for number, question in enumerate(questions):
        if number not in (0, 1, 6):
            assert crowd.pieces[number] == [*plain.stream(*question)]


def test_one_that_is_not_fetched_waits_and_holds_up_nobody(fresh: Fresh) -> None:
    plain, batch = fresh(), Batch(fresh(), 3, 1000)
    long = ("the inn and the hat", Sampling(max_new_tokens=60))
    crowd = Crowd(batch, [long, ("a hat", Sampling(max_new_tokens=30)), ("on", Sampling(max_new_tokens=30))])
    for _ in range(4):
        for number in range(3):
            crowd.fetch(number)
        batch.step()
    for _ in range(200):
        crowd.fetch(1)
        crowd.fetch(2)
        batch.step()
    assert crowd.over == [False, True, True] and not batch.step()  # nothing runs for one who does not read
    crowd.finish(np.random.default_rng(0), at_once=3)
    assert crowd.pieces[0] == [*plain.stream(*long)]


def test_new_prompts_take_turns_and_are_read_in_pieces_beside_others(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, real = list[tuple[int, ...]](), Graph.run

    def run(graph: Graph, ids: np.ndarray, cache: Any, keep: int = 1) -> np.ndarray:
        runs.append(ids.shape)
        return real(graph, ids, cache, keep)

    batch = Batch(fresh(block=64), 4, 1000)
    monkeypatch.setattr(Graph, "run", run)
    draw = np.random.default_rng(0)
    crowd = Crowd(batch, [(draw.integers(3, 200, size), Sampling(max_new_tokens=30)) for size in (50, 4, 100, 30)])
    crowd.fetch(0)
    batch.step()
    assert runs == [(1, 50)]  # nobody waits for tokens: a whole block
    for number in range(4):
        crowd.fetch(number)
    while not crowd.pieces[2]:
        batch.step()
        for number in range(4):
            crowd.fetch(number)
    prompts = [shape[1] for shape in runs if shape[1] > 1]
    assert prompts == [50, 4, 16, 16, 16, 14, 16, 16, 16, 16, 4]  # the short ones do not wait for the long one's end
    tokens = [shape[0] for shape in runs if shape[1] == 1]
    assert len(tokens) >= len(prompts) - 1 and max(tokens) == 4  # a token for the others beside every piece


@pytest.mark.parametrize("start", [0, 5, 120, 127, 128])
@pytest.mark.parametrize("end", [1, 16, 17, 18, 32, 33, 128, 129, 130, 145, 300])
def test_pieces_of_prompts(fresh: Fresh, start: int, end: int) -> None:
    graph = fresh(block=128).graph
    if start < end:
        stop = piece_end(graph, start, end)
        last = min(start // 128 * 128 + 128, end)
        assert start < stop <= last and stop - start <= PIECE + 1 and last - stop != 1


def test_a_prompt_without_room_is_refused_and_others_are_answered(fresh: Fresh) -> None:
    batch, draw = Batch(fresh(), 3, 64), np.random.default_rng(0)
    long, short = draw.integers(3, 200, 64), draw.integers(3, 200, 63)
    with pytest.raises(BadInput, match=r"64 tokens leave no room .* cache of 64"):
        next(batch.stream(long, Sampling()))
    crowd = Crowd(batch, [(short, Sampling(max_new_tokens=9)), ("a", Sampling(max_new_tokens=9))])
    crowd.finish(draw, at_once=2)
    assert [len(pieces) for pieces in crowd.pieces] == [1, 9] and crowd.pieces[0][-1].ended == "context"


def test_nan_ends_one_answer_alone(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, batch, real = fresh(), Batch(fresh(), 3, 1000), Graph.run
    questions = [(prompt, Sampling(max_new_tokens=9)) for prompt in ("the inn", "a hat", "on")]
    wanted = [[*plain.stream(*one)] for one in questions]
    crowd = Crowd(batch, questions)

    def run(graph: Graph, ids: np.ndarray, cache: Any, keep: int = 1) -> np.ndarray:
        logits = real(graph, ids, cache, keep)
        if len(ids) == 3:
            logits[1] = np.nan
        return logits

    monkeypatch.setattr(Graph, "run", run)
    with pytest.raises(CheckFailed, match="NaN"):
        crowd.finish(np.random.default_rng(0), at_once=3)
    crowd.over[1] = True
    crowd.finish(np.random.default_rng(0), at_once=3)
    assert [crowd.pieces[0], crowd.pieces[2]] == [wanted[0], wanted[2]]
    assert crowd.pieces[1] == wanted[1][: len(crowd.pieces[1])]


def test_a_run_that_fails_ends_those_that_it_was_for(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(fresh(), 3, 1000)
    crowd = Crowd(batch, [("the inn", Sampling(max_new_tokens=9)), ("a hat", Sampling(max_new_tokens=9))])
    for _ in range(3):
        crowd.fetch(0)
        crowd.fetch(1)
        batch.step()

    def run(*_: Any) -> np.ndarray:
        raise CheckFailed("ONNX Runtime cannot run it: out of memory")

    monkeypatch.setattr(Graph, "run", run)
    for number in (0, 1):
        crowd.fetch(number)
    batch.step()
    monkeypatch.undo()
    for number in (0, 1):
        with pytest.raises(CheckFailed, match="out of memory"):
            crowd.fetch(number)
    assert batch.held == 0
    assert whole([*filter(None, drained(batch, "on"))], 1).ended == "length"


def drained(batch: Batch, prompt: str) -> list[Piece | None]:
    """An answer of `batch` to one alone."""
    found = []
    for piece in batch.stream(prompt, Sampling(max_new_tokens=5)):
        found.append(piece)
        batch.step()
    return found


def test_what_was_read_of_a_prompt_is_kept_for_others(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh(block=16)
    batch, plain, ids = Batch(model, 3, 1000), fresh(block=16), np.random.default_rng(0).integers(3, 200, 60)
    runs, real = list[int](), Graph.run
    question = (ids, Sampling(max_new_tokens=5))
    wanted = [*plain.stream(*question)]

    def run(graph: Graph, ids: np.ndarray, *rest: Any) -> np.ndarray:
        runs.append(ids.shape[1])
        return real(graph, ids, *rest)

    monkeypatch.setattr(Graph, "run", run)
    for read in ([16, 16, 16, 12], [12]):
        runs.clear()
        crowd = Crowd(batch, [question])
        crowd.finish(np.random.default_rng(0), at_once=1)
        assert crowd.pieces == [wanted] and [count for count in runs if count > 1] == read
    monkeypatch.undo()
    assert [*model.stream(*question)] == wanted  # by one alone too
    assert sum(kept[1].held for kept in model.prefixes._kept) > 0


def test_rows_that_see_each_other_are_noticed(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, real = fresh().graph, Graph.run

    def wrong(graph: Graph, ids: np.ndarray, cache: Any, keep: int = 1) -> np.ndarray:
        logits = real(graph, ids, cache, keep)
        return np.nextafter(logits, np.float32(9e9)) if len(ids) == 3 else logits

    assert unlike_tried(graph, graph.empty(4, 64)) is None
    monkeypatch.setattr(Graph, "run", wrong)
    assert unlike_tried(graph, graph.empty(2, 64)) is None
    assert unlike_tried(graph, graph.empty(4, 64)) == "on this machine a row in a run of 3 has other bits than alone"

    pairs = itertools.count()

    def leaves(graph: Graph, ids: np.ndarray, cache: Any, keep: int = 1) -> np.ndarray:
        logits = real(graph, ids, cache, keep)
        if len(ids) == 2 and next(pairs) == 1:  # the last one that is tried
            cache.values[1][1, 0, int(cache.lengths[1]) - 1] += np.float32(0.001)
        return logits

    monkeypatch.setattr(Graph, "run", leaves)
    assert "leaves other bits" in str(unlike_tried(graph, graph.empty(2, 64)))

    def pieces(graph: Graph, ids: np.ndarray, cache: Any, keep: int = 1) -> np.ndarray:
        logits = real(graph, ids, cache, keep)
        cache.values[0][0, 0, 0] += np.float32(ids.shape[1] == PIECE)
        return logits

    monkeypatch.setattr(Graph, "run", pieces)
    larger = replace(graph, block=64)
    assert not same_in_pieces(larger) and not Batch(replace(fresh(), graph=larger), 2, 100)._in_pieces


def test_dynamic_int8_is_noticed_in_the_file_and_by_trying(tiny_folder: Path, tmp_path: Path) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization import quantize_dynamic

    options = {"DefaultTensorType": TensorProto.FLOAT}
    quantize_dynamic(tiny_folder / "model.onnx", tmp_path / "model.onnx", extra_options=options)
    model = language_model(open_session(tmp_path / "model.onnx"), TINY, tiny_folder / "tokenizer.json")
    assert "range over all rows" in str(unlike_beside(read_graph(tmp_path / "model.onnx"), model.graph))
    assert "has other bits than alone" in str(unlike_tried(model.graph, model.graph.empty(4, 64)))


def test_rows_give_their_memory_back(fresh: Fresh) -> None:
    cache = fresh().graph.empty(3, 128)
    for array in (*cache.keys, *cache.values):
        array[:] = 1.0
    cache.give_back(1)
    for array in (*cache.keys, *cache.values):
        assert array[0].min() == array[2].min() == 1.0  # not a byte of its neighbours


def test_no_answer_is_kept_by_a_batch(fresh: Fresh) -> None:
    batch = Batch(eager(fresh()), 2, 1000)
    crowd = Crowd(batch, [("the inn", Sampling(max_new_tokens=5))] * 5)
    crowd.fetch(0)
    (waiting,) = batch._waiting
    seen = weakref.ref(waiting)
    del waiting
    crowd.finish(np.random.default_rng(0), at_once=5)
    del crowd
    assert seen() is None and not batch._waiting and not batch._rows


def test_the_context_bounds_what_the_cache_may_hold(fresh: Fresh) -> None:
    assert Batch(fresh(), 2, 10_000).context == CONTEXT
    assert batches.token_bytes(fresh().graph) == 2 * 4 * 2 * 2 * 16
