"""A quantized decoder reads a prompt by runs of the same shapes whatever it has read before, so that an answer is the same to the bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from edgekit.config.quantize import WeightOnly
from edgekit.exporter.decoder import export_decoder
from edgekit.quantize.decoder import quantize_decoder
from edgekit.quantize.kv_cache import cache_ranges
from edgekit.runtime.bundle.onnx_file import read_graph
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.generate.graph import Graph
from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.generate.speculate import Kind, Speculation, unlike_alone
from edgekit.runtime.providers.session import open_session
from tests.tiny_decoders import checkpoint


def quiet(done: float, total: float, text: str) -> None:
    pass


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a sliding window, beyond which prompts go."""
    folder = tmp_path_factory.mktemp("mistral")
    checkpoint("mistral, window", folder / "model")
    (folder / "graph").mkdir()
    export_decoder(folder / "model", folder / "graph", max_length=128, progress=quiet)
    return folder


@pytest.mark.parametrize(("form", "cache"), [("int8-weights", "float32"), ("int4-weights", "int8")])
def test_logits_do_not_depend_on_earlier_prompts(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Literal["int8-weights", "int4-weights"],
    cache: Literal["float32", "int8"],
) -> None:  # fmt: skip
    graph, random = exported / "graph", np.random.default_rng(0)
    ranges = cache_ranges(graph / "model.onnx", [np.arange(40) + 5]) if cache == "int8" else None
    settings = WeightOnly(format=form, accuracy_level=4, cache=cache)
    quantize_decoder(graph, tmp_path, settings, hessians=None, cache=ranges, progress=quiet)
    generation = replace(parse_generation(json.loads((graph / "generation.json").read_text())), eos=())
    session, logits, real = open_session(tmp_path / "model.onnx", threads=2), [], Graph.run

    def run(*arguments: Any, **options: Any) -> np.ndarray:
        logits.append(real(*arguments, **options).copy())
        return logits[-1]

    def model(prefix_bytes: int) -> LanguageModel:
        made = language_model(session, generation, exported / "model" / "tokenizer.json", prefix_bytes=prefix_bytes)
        return replace(made, graph=replace(made.graph, block=16))

    monkeypatch.setattr(Graph, "run", run)
    warm, base = model(2**20), random.integers(3, 300, 90)
    for length in (17, 60, 33, 80, 60, 17, 81, 48, 49):
        ids = np.concatenate([base[:length], random.integers(3, 300, 3)]) if length % 2 else base[:length]
        found = []
        for one in (model(0), warm):
            one.generate(ids, Sampling(max_new_tokens=6))
            found.append(np.concatenate(logits[-6:]))
        assert np.array_equal(*found), length
    assert warm.prefixes._kept


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("form", "cache"), [("int8-weights", "float32"), ("int4-weights", "int8"), ("int4-weights", "float32")]
)
def test_guesses_change_no_bit(
    exported: Path,
    tmp_path: Path,
    form: Literal["int8-weights", "int4-weights"],
    cache: Literal["float32", "int8"],
    threads: int,
) -> None:
    """Each width that reads guesses is proved against single runs before; here it must pass, so that answers are read by it."""
    graph = exported / "graph"
    ranges = cache_ranges(graph / "model.onnx", [np.arange(40) + 5]) if cache == "int8" else None
    settings = WeightOnly(format=form, accuracy_level=4, cache=cache)
    quantize_decoder(graph, tmp_path, settings, hessians=None, cache=ranges, progress=quiet)
    generation = replace(parse_generation(json.loads((graph / "generation.json").read_text())), eos=())
    session = open_session(tmp_path / "model.onnx", threads=threads)
    plain = language_model(session, generation, exported / "model" / "tokenizer.json")
    assert unlike_alone(read_graph(tmp_path / "model.onnx"), plain.graph) is None
    model, sampling = replace(plain, speculation=Eager(plain.graph)), Sampling(max_new_tokens=70)
    drafted = 0
    for seed in range(3):
        ids = np.tile(np.random.default_rng(seed).integers(3, 300, 12), 3)
        for one in (sampling, replace(sampling, temperature=0.5, seed=seed)):
            answer = model.generate(ids, one)
            assert answer == plain.generate(ids, one)
            drafted += answer.drafted
    assert model.speculation is not None and model.speculation.fault is None
    assert drafted and model.speculation.proved


class Eager(Speculation):
    """Reads guesses whenever there are any."""

    def ready(self, kind: Kind) -> bool:
        return self.fault is None

    def cost(self, width: int) -> float:
        return 0.5
