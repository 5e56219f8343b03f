"""Texts drawn with a cache: what the model without one would say, as often as it would, ended where it ends them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgekit.compress.distillation.completions import complete, ends_of, feed_of
from edgekit.models.checkpoint import load
from tests.compress.decoder_rows import FAMILIES
from tests.tiny_decoders import checkpoint

CAUSAL = "AutoModelForCausalLM"
PROMPTS = torch.randint(3, 300, (5, 6), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2", "opt"])
def test_the_coldest_draw_is_the_likeliest_token(family: str, tmp_path: Path) -> None:
    model = load(checkpoint(family, tmp_path / "model"), CAUSAL)
    ids, lengths = complete(model, PROMPTS, 12, temperature=1e-4, ends=[], pad=0, seed=1)
    assert ids.shape == (5, 18) and lengths.tolist() == [18] * 5 and torch.equal(ids[:, :6], PROMPTS)
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids, use_cache=False).logits[:, 5:-1].argmax(dim=-1), ids[:, 6:])


def test_draws_are_as_frequent_as_they_are_likely(tmp_path: Path) -> None:
    model = load(checkpoint("llama", tmp_path / "model"), CAUSAL)
    count = 20_000
    ids, _ = complete(model, PROMPTS[:1].expand(count, -1), 1, temperature=0.7, ends=[], pad=0, seed=1)
    with torch.no_grad():
        chances = torch.softmax(model(input_ids=PROMPTS[:1]).logits[0, -1] / 0.7, dim=-1)
    found = torch.bincount(ids[:, -1], minlength=300)
    assert ((found - count * chances).square() / (count * chances)).sum() < 400  # chi-squared, 299 degrees: p about 1e-4


def test_the_seed_alone_decides(tmp_path: Path) -> None:
    model = load(checkpoint("qwen3", tmp_path / "model"), CAUSAL).train()
    first, again, other = (complete(model, PROMPTS, 8, temperature=1.0, ends=[], pad=0, seed=seed)[0] for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other) and model.training


def test_a_text_ends_with_its_end_and_nothing_follows(tmp_path: Path) -> None:
    model = load(checkpoint("llama", tmp_path / "model"), CAUSAL)
    free, _ = complete(model, PROMPTS, 8, temperature=1e-4, ends=[], pad=0, seed=1)
    end = int(free[2, 8])
    ids, lengths = complete(model, PROMPTS, 8, temperature=1e-4, ends=[end], pad=0, seed=1)
    assert lengths[2] == 9 and ids[2, 8] == end and not ids[2, 9:].any() and lengths.max() <= 14
    feed, labels = feed_of(ids, lengths, 6)
    assert feed["attention_mask"].sum(dim=1).tolist() == lengths.tolist()
    assert (
        labels[2].tolist()[:5] == [-1] * 5 and labels[2, 5:8].tolist() == ids[2, 6:9].tolist() and (labels[2, 8:] == -1).all()
    )
    assert ends_of(model.config) == [2]
