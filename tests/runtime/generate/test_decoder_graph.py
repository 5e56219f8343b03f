"""The graph over its cache against a plain float64 model: in place, in chunks, in batches, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.runtime.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.runtime.generate.cache import LEAST, empty_cache, rounded
from edgekit.runtime.generate.graph import Graph, check_graph
from edgekit.runtime.providers.session import open_session
from tests.runtime.generate.tiny_decoder import CONTEXT, KV_HEADS, SIZE, TINY, TinyDecoder, make_decoder, write_decoder
from tests.tiny_onnx import write_variant

NEAR = 5e-5


@pytest.fixture(scope="module")
def graph(session: Any) -> Graph:
    return check_graph(session, TINY)


@pytest.fixture(scope="module")
def ids(decoder: TinyDecoder) -> np.ndarray:
    return np.random.default_rng(1).integers(0, decoder.vocabulary, 60)


def test_every_position_in_one_run(graph: Graph, decoder: TinyDecoder, ids: np.ndarray) -> None:
    logits = graph.run(ids[None], graph.empty(1, 64), keep=len(ids))
    assert logits.shape == (1, 60, decoder.vocabulary) and logits.dtype == np.float32
    np.testing.assert_allclose(logits[0], decoder.logits(ids), atol=NEAR)


def test_the_cache_is_written_in_place_and_never_read_behind_its_length(
    graph: Graph, decoder: TinyDecoder, ids: np.ndarray
) -> None:
    cache = graph.empty(1, 64)
    for array in (*cache.keys, *cache.values):
        array.fill(np.nan)
    where = [array.ctypes.data for array in (*cache.keys, *cache.values)]
    graph.run(ids[None, :20], cache)
    logits = graph.run(ids[None, 20:21], cache)
    assert [array.ctypes.data for array in (*cache.keys, *cache.values)] == where
    assert cache.lengths.tolist() == [21]
    for array in (*cache.keys, *cache.values):
        assert np.isfinite(array[:, :, :21]).all() and np.isnan(array[:, :, 21:]).all()
    np.testing.assert_allclose(logits[0, 0], decoder.logits(ids[:21])[-1], atol=NEAR)


@pytest.mark.parametrize("block", [1, 7, 59, 60, 512])
def test_a_prompt_in_blocks(graph: Graph, decoder: TinyDecoder, ids: np.ndarray, block: int) -> None:
    graph = replace(graph, block=block)
    cache, whole = graph.empty(1, 64), graph.empty(1, 64)
    np.testing.assert_allclose(graph.read(ids, cache), decoder.logits(ids)[-1], atol=NEAR)
    graph.run(ids[None], whole)
    for mine, theirs in zip((*cache.keys, *cache.values), (*whole.keys, *whole.values), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=NEAR)


def test_rows_of_different_lengths_in_one_cache(graph: Graph, decoder: TinyDecoder, ids: np.ndarray) -> None:
    cache = graph.empty(3, 64)
    lengths = [5, 30, 17]
    for row, length in enumerate(lengths):
        graph.read(ids[:length], cache.rows(row, row + 1))
    assert cache.lengths.tolist() == lengths
    for step in range(3):
        logits = graph.run(ids[[length + step for length in lengths]][:, None], cache)
        for row, length in enumerate(lengths):
            np.testing.assert_allclose(logits[row, 0], decoder.logits(ids[: length + step + 1])[-1], atol=NEAR)


def test_going_back_is_setting_a_length(graph: Graph, decoder: TinyDecoder, ids: np.ndarray) -> None:
    cache = graph.empty(1, 64)
    graph.read(ids, cache)
    cache.lengths[0] = 10
    other = np.concatenate([ids[:10], ids[40:50]])
    np.testing.assert_allclose(graph.read(other, cache), decoder.logits(other)[-1], atol=NEAR)


@pytest.mark.parametrize(("cache", "kind", "near"), [("FLOAT16", np.float16, 0.05), ("INT8", np.int8, 0.5)])
def test_a_cache_of_fewer_bits(
    decoder: TinyDecoder, ids: np.ndarray, tmp_path: Path, cache: str, kind: type, near: float
) -> None:
    graph = check_graph(open_session(write_decoder(decoder, tmp_path, cache) / "model.onnx"), TINY)
    memory = graph.empty(2, 64)
    assert {array.dtype for array in (*memory.keys, *memory.values)} == {np.dtype(kind)}
    for row, length in enumerate((20, 33)):
        graph.read(ids[:length], memory.rows(row, row + 1))
    logits = graph.run(ids[[20, 33]][:, None], memory)
    for row, length in enumerate((21, 34)):
        wanted = decoder.logits(ids[:length])[-1]
        assert np.sqrt(np.mean((logits[row, 0] - wanted) ** 2)) < near * wanted.std()
    assert memory.keys[0][1, :, :34].any() and not memory.keys[0][1, :, 34:].any()


@pytest.mark.parametrize(
    ("ids", "rows", "words"),
    [
        ([[-1]], 1, "leave the vocabulary"),
        ([[10_000]], 1, "leave the vocabulary"),
        ([[]], 1, "shape"),
        ([[1] * 65], 1, "65 tokens do not fit in a cache of 64"),
        ([[1] * (CONTEXT + 1)], 1, "more than the bundle's 128"),
        ([[1, 2], [3, 4]], 2, "read the prompt of each row by itself"),
        ([[1], [3]], 1, "for 1 rows"),
    ],
)
def test_what_cannot_be_run_is_refused(graph: Graph, ids: list[list[int]], rows: int, words: str) -> None:
    cache = graph.empty(rows, 64)
    with pytest.raises(BadInput, match=words):
        graph.run(np.array(ids, dtype=np.int64), cache)
    assert not cache.lengths.any()


def test_a_full_cache_overflows_loudly(graph: Graph) -> None:
    cache = graph.empty(1, 64)
    cache.lengths[0] = 64
    with pytest.raises(BadInput, match="65 tokens do not fit"):
        graph.run(np.array([[1]]), cache)


def test_a_context_beyond_the_tables_of_positions_is_told(session: Any) -> None:
    graph = check_graph(session, replace(TINY, context=4 * CONTEXT))
    cache = graph.empty(1, 2 * CONTEXT)
    graph.run(np.ones((1, CONTEXT), dtype=np.int64), cache)
    with pytest.raises(CheckFailed, match=f"no position for token {CONTEXT + 1}, although the stated context is {4 * CONTEXT}"):
        graph.run(np.array([[1]]), cache)
    assert cache.lengths.tolist() == [CONTEXT]


def test_a_cache_beyond_memory_is_refused() -> None:
    with pytest.raises(NotPossibleHere, match="does not fit in memory"):
        empty_cache([(1024, 1024)] * 4, np.dtype(np.float32), 1 << 20, 1 << 20)


def test_other_graphs_are_refused(session: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"input keep(.|\n)*past\.0\.key") as caught:
        check_graph(open_session(write_variant(tmp_path / "variant") / "model.onnx"), TINY)
    assert len(caught.value.faults) > 5
    with pytest.raises(BadInput, match=f"past.0.key: {KV_HEADS} heads of {SIZE} instead of 3 of {SIZE}"):
        check_graph(session, replace(TINY, kv_heads=3))
    with pytest.raises(BadInput, match=r"past\.2\.key"):
        check_graph(session, replace(TINY, layers=3))
    with pytest.raises(BadInput, match="8 inputs instead of 6"):
        check_graph(session, replace(TINY, layers=1))


def test_capacities() -> None:
    assert [rounded(tokens, 1000) for tokens in (1, LEAST, LEAST + 1, 300, 513, 1000)] == [64, 64, 128, 512, 1000, 1000]


def test_the_reference_is_causal() -> None:
    decoder = make_decoder(50, seed=3)
    ids = np.arange(20)
    np.testing.assert_allclose(decoder.logits(ids)[:9], decoder.logits(ids[:9]), atol=1e-12)
