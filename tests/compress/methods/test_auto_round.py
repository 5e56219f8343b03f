"""auto-round: what the package found is what is stored."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from edgekit.compress.methods.auto_round import Settings, run
from edgekit.compress.quantization.fake_blocks import fake_blocks, start_of
from edgekit.errors import BadInput
from edgekit.models.stack import blocks_of, layer_linears
from edgekit.quantize.blocks import quantize_blocks
from tests.compress.decoder_rows import work_on
from tests.compress.methods.test_decoder_distill import distance
from tests.compress.methods.test_quantize_aware_decoder import rounded, weights


class Pretend:
    """The package's class as auto-round 0.16.1 leaves a model: weights in bfloat16, scales of either sign in float16."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, **options: Any) -> None:
        self.model, self.options = model, options
        assert all(ids.shape == (1, options["seqlen"]) for ids in options["dataset"]) and options["nsamples"] == len(
            options["dataset"]
        )

    def quantize(self) -> tuple[PreTrainedModel, dict[str, Any]]:
        for layer in layer_linears(blocks_of(self.model)):
            for module in layer.values():
                turned = not isinstance(module, torch.nn.Linear)
                weight = (module.weight.T if turned else module.weight).detach()
                scale = start_of(weight, self.options["group_size"]).half()
                found = fake_blocks(weight, scale.float(), self.options["group_size"]).bfloat16()
                module.weight.data, module.scale = (found.T if turned else found), scale
        return self.model, {}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_it_found_is_what_is_stored(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "auto_round", SimpleNamespace(AutoRound=Pretend))
    work = work_on(family, tmp_path)
    made = run(work, Settings(method="auto-round", length=24, texts=12))
    assert made == {"layers": len(weights(work.out)), "windows": 12}
    for before, weight in zip(weights(work.source), weights(work.out), strict=True):
        assert np.allclose(quantize_blocks(np.ascontiguousarray(weight), 4, 32).restored(), weight, rtol=1e-5, atol=1e-9)
        assert 0 < np.linalg.norm(weight - before) < 0.15 * np.linalg.norm(before)


def test_too_little_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "auto_round", SimpleNamespace(AutoRound=Pretend))
    work = work_on("llama", tmp_path)
    (work.rows / "train.jsonl").write_text('{"text": "w3 w4 w5"}\n')
    with pytest.raises(BadInput, match="fewer than a window of 24"):
        run(work, Settings(method="auto-round"))


@pytest.mark.slow
def test_the_package_itself_is_nearer_than_rounding(tmp_path: Path) -> None:
    pytest.importorskip("auto_round")
    work = work_on("llama", tmp_path)
    made = run(work, Settings(method="auto-round", iterations=20, length=24))
    assert made["layers"] == len(weights(work.out)) and made["windows"] > 8
    for weight in weights(work.out):
        assert np.allclose(quantize_blocks(np.ascontiguousarray(weight), 4, 32).restored(), weight, rtol=1e-5, atol=1e-9)
    assert distance(work, work.out) < distance(work, rounded(work.source, tmp_path / "plain"))
