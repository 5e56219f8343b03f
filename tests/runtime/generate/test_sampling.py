"""Sampling against transformers' logits processors and plain properties; its parsing; seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.generate.sample import Sampler, Sampling, kept_tokens, parse_sampling

ALL = np.arange(0)


def logits(seed: int, size: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3, size=size).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("top_k", [0, 1, 7, 500])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 1e-6])
@pytest.mark.parametrize("min_p", [0.0, 0.1, 1.0])
def test_the_same_tokens_and_probabilities_as_transformers(temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    torch = pytest.importorskip("torch")
    process = pytest.importorskip("transformers.generation.logits_process")
    chain = [process.TemperatureLogitsWarper(temperature)]
    chain += [process.TopKLogitsWarper(top_k)] if top_k else []
    chain += [process.TopPLogitsWarper(top_p)] if top_p < 1 else []
    chain += [process.MinPLogitsWarper(min_p)] if min_p else []
    for seed in range(5):
        scores = torch.from_numpy(logits(seed)).double()[None]
        for one in chain:
            scores = one(None, scores)
        wanted = torch.softmax(scores, -1)[0].numpy()
        kept, probabilities = kept_tokens(logits(seed), Sampling(temperature, top_k, top_p, min_p))
        assert kept.tolist() == np.flatnonzero(wanted).tolist()
        np.testing.assert_allclose(probabilities, wanted[kept], rtol=1e-9)


def test_the_repetition_penalty_is_that_of_transformers() -> None:
    torch = pytest.importorskip("torch")
    process = pytest.importorskip("transformers.generation.logits_process")
    for seed in range(20):
        scores = logits(seed)
        order = np.argsort(-scores)
        prompt = order[:10].copy()
        for penalty in (0.5, 1.3, 4.0):
            wanted = process.RepetitionPenaltyLogitsProcessor(penalty)(
                torch.from_numpy(prompt)[None], torch.from_numpy(scores)[None]
            )
            sampler = Sampler(Sampling(repetition_penalty=penalty), prompt, len(scores))
            assert sampler.choose(scores) == int(wanted.argmax())
    assert np.array_equal(scores, logits(19)), "the model's output is not written to"


def test_an_answers_own_tokens_are_penalised_too() -> None:
    scores = np.array([1.0, 3.0, 2.0], dtype=np.float32)
    sampler = Sampler(Sampling(repetition_penalty=2.0), ALL, 3)
    assert [sampler.choose(scores) for _ in range(3)] == [1, 2, 1]


def test_top_p_has_its_mass_and_not_a_token_more() -> None:
    for seed in range(200):
        scores = logits(seed, 1 + seed)
        kept, _ = kept_tokens(scores, Sampling(1.0, top_p=0.8))
        whole = np.exp(scores.astype(np.float64))
        whole /= whole.sum()
        inside = np.sort(whole[kept])
        assert inside.sum() >= 0.8 - 1e-12 and inside[1:].sum() < 0.8
        assert not len(np.setdiff1d(np.flatnonzero(whole > inside[0]), kept)), "none outside is likelier than one inside"


def test_the_edges_of_the_ranges() -> None:
    assert kept_tokens(logits(0), Sampling(1e-300))[1].max() == 1.0
    assert kept_tokens(np.zeros(7, dtype=np.float32), Sampling(1.0, top_p=1e-17))[0].tolist() == [0]
    assert kept_tokens(np.zeros(7, dtype=np.float32), Sampling(100.0, top_k=3))[0].tolist() == list(range(7))
    assert kept_tokens(np.zeros(1, dtype=np.float32), Sampling(1.0, 1, 0.5, 1.0))[1].tolist() == [1.0]


def test_the_draws_follow_the_probabilities() -> None:
    scores = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))
    sampler = Sampler(Sampling(temperature=1.0), ALL, 4)
    counts = np.bincount([sampler.choose(scores) for _ in range(20_000)], minlength=4)
    np.testing.assert_allclose(counts / 20_000, [0.5, 0.3, 0.15, 0.05], atol=0.012)


def test_seeds() -> None:
    def drawn(seed: int, row: int) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.0, seed=seed), ALL, 200, row)
        return [sampler.choose(logits(step)) for step in range(30)]

    assert drawn(0, 0) == drawn(0, 0)
    assert len({tuple(drawn(seed, row)) for seed in (0, 1) for row in (0, 1)}) == 4


def test_ids_that_no_token_has_are_never_chosen() -> None:
    scores = np.array([0.0, 1.0, 50.0], dtype=np.float32)
    assert Sampler(Sampling(), np.array([2]), 2).choose(scores) == 1
    assert {Sampler(Sampling(temperature=5.0, seed=seed), ALL, 2).choose(scores) for seed in range(50)} == {0, 1}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers(bad: float, temperature: float) -> None:
    scores = logits(0)
    scores[77] = bad
    with pytest.raises(CheckFailed, match="NaN or Inf"):
        Sampler(Sampling(temperature), ALL, 200).choose(scores)
    with pytest.raises(CheckFailed, match="NaN or Inf"):
        Sampler(Sampling(temperature), ALL, 200).choose(np.full(200, -np.inf, dtype=np.float32))
    scores[77] = -np.inf
    assert Sampler(Sampling(temperature), ALL, 200).choose(scores) != 77


def test_parsing() -> None:
    assert parse_sampling({}) == Sampling()
    given = {"temperature": 1, "top_k": 40, "top_p": 0.9, "stop": "\n", "max_new_tokens": 5, "seed": 3}
    assert parse_sampling(given) == Sampling(1, 40, 0.9, seed=3, max_new_tokens=5, stop=("\n",))
    assert parse_sampling({"stop": ["a", "b"]}).stop == ("a", "b")
    assert parse_sampling({"stop_token_ids": [7, 2]}).stop_token_ids == (7, 2)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([7, 2, 7], "stop_token_ids: 7 is given twice"), ([-1], "-1 is not a token id"), ([True], "True is not a token id"),
        (["7"], "'7' is not a token id"), ([2**40], "is not a token id"), (7, "not at most 64 token ids"), ([*range(65)], "not at most 64"),
    ],
)  # fmt: skip
def test_stop_tokens_that_are_none(ids: Any, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_sampling({"stop_token_ids": ids})
    assert words in caught.value.text()


def test_all_faults_of_a_request_at_once() -> None:
    given = {"temprature": 1, "zzz": 1, "top_p": 0, "top_k": -1, "min_p": "x", "stop": [""], "seed": True, "max_new_tokens": 0}
    with pytest.raises(BadInput) as caught:
        parse_sampling(given)
    text = caught.value.text()
    assert "temprature: unknown; did you mean temperature?" in text and "zzz: unknown; known are temperature" in text
    assert len(caught.value.faults) == 8


@pytest.mark.parametrize(
    "given",
    [
        None, [], {"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"temperature": None},
        {"top_p": 1.1}, {"top_p": -1}, {"min_p": 2}, {"top_k": 1.0}, {"top_k": True}, {"repetition_penalty": 0},
        {"seed": -1}, {"seed": 2**63}, {"max_new_tokens": 2**40}, {"stop": 3}, {"stop": ["a"] * 17}, {"stop": ["a" * 257]},
        {"stop": [3]}, {3: 3},
    ],
)  # fmt: skip
def test_values_out_of_range(given: Any) -> None:
    with pytest.raises(BadInput, match="sampling"):
        parse_sampling(given)
