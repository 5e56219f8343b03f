"""A cache in 8 bits: every family's graph takes it, reads back what it wrote, in place, and loses little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgekit.config.quantize import WeightOnly
from edgekit.config.target import load_target
from edgekit.errors import BadInput
from edgekit.exporter.decoder_graph import write_graph
from edgekit.models.decoders import describe
from edgekit.quantize.decoder import quantize_decoder
from edgekit.quantize.kv_cache import cache_ranges, quantize_cache
from edgekit.runtime.generate.generation import Generation
from edgekit.runtime.generate.graph import Graph, check_graph
from edgekit.runtime.providers.session import open_session
from tests.tiny_decoders import checkpoint

IDS = np.random.default_rng(3).integers(3, 290, (1, 40))
OTHERS = [np.random.default_rng(seed).integers(3, 290, 40) for seed in range(5, 13)]


def opened(folder: Path, cache: str | None = None) -> Graph:
    session = open_session(folder / "model.onnx")
    past = next(item for item in session.get_inputs() if item.name == "past.0.key")
    return check_graph(session, Generation(64, (2,), 1, 2, past.shape[1], past.shape[3], None, cache=cache))


def logits(graph: Graph, steps: list[int]) -> np.ndarray:
    cache, found, start = graph.empty(1, 64), [], 0
    for count in steps:
        found.append(graph.run(IDS[:, start : start + count], cache, keep=count))
        start += count
    return np.concatenate(found, axis=1)


def off(found: np.ndarray, whole: np.ndarray) -> float:
    return float(np.linalg.norm(found - whole) / np.linalg.norm(whole))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama, heads of 8", {}), ("mistral, window", {}), ("qwen3", {}), ("gemma2", {"attn_logit_softcapping": 0.5}), ("gpt2", {}),
        ("gpt_neox", {}), ("opt", {}),
    ],
)  # fmt: skip
def test_every_kind_of_attention_takes_it(name: str, changes: dict[str, float], tmp_path: Path) -> None:
    """Without its cap the fourth one's logits would be off by 0.31."""
    write_graph(describe(checkpoint(name, tmp_path / "model", **changes)), tmp_path)
    ranges = cache_ranges(tmp_path / "model.onnx", OTHERS)
    out = tmp_path / "int8"
    out.mkdir()
    model = ir.load(tmp_path / "model.onnx")
    assert quantize_cache(model.graph, ranges) == 2
    ir.save(model, out / "model.onnx", external_data="model.onnx.data")
    wide, narrow = opened(tmp_path), opened(out, "int8")
    assert narrow.dtype == np.int8 and narrow.shapes == wide.shapes
    whole = logits(wide, [40])
    for steps in ([40], [16, 16, *[1] * 8]):
        assert 0 < off(logits(narrow, steps), whole) < 0.03


def test_the_recipe_s_form_holds_a_quarter_of_the_bytes_and_clips_nothing_it_has_seen(tmp_path: Path) -> None:
    write_graph(describe(checkpoint("llama, tied", tmp_path / "model")), tmp_path)
    ranges = cache_ranges(tmp_path / "model.onnx", [IDS[0]])
    for name, cache in (("wide", "float32"), ("narrow", "int8")):
        (tmp_path / name).mkdir()
        settings = WeightOnly(format="int8-weights", cache=cache, accuracy_level=0)
        made = quantize_decoder(tmp_path, tmp_path / name, settings, cache=ranges)
        assert made["cache"] == (2 if cache == "int8" else 0)
    wide, narrow = opened(tmp_path / "wide"), opened(tmp_path / "narrow")
    held = [graph.empty(1, 64) for graph in (wide, narrow)]
    for graph, cache in zip((wide, narrow), held, strict=True):
        graph.run(IDS, cache)
    assert held[0].held == 4 * held[1].held
    for number in range(2):
        for part, floats, integers in (("key", held[0].keys, held[1].keys), ("value", held[0].values, held[1].values)):
            scale = ranges[f"past.{number}.{part}"][:, None, :] / 127
            restored = integers[number][0, :, :40] * scale
            drift = np.abs(restored - floats[number][0, :, :40])
            assert (drift <= scale * 0.5 + 0.05 * np.abs(floats[number]).max()).all() and np.abs(integers[number]).max() == 127
    with pytest.raises(BadInput, match=r"a cache of tensor\(int8\) instead of float32"):
        opened(tmp_path / "narrow", "float32")


def test_ranges_need_texts(tmp_path: Path) -> None:
    write_graph(describe(checkpoint("llama, tied", tmp_path / "model")), tmp_path)
    with pytest.raises(BadInput, match="no calibration rows"):
        cache_ranges(tmp_path / "model.onnx", [])


def test_why_float16_is_refused_on_a_cpu(tmp_path: Path) -> None:
    """The runtime converts the whole cache there and back: two Casts for every key and value of every layer."""
    write_graph(describe(checkpoint("llama, tied", tmp_path / "model")), tmp_path)
    model = ir.load(tmp_path / "model.onnx")
    for value in (*model.graph.inputs, *model.graph.outputs):
        if str(value.name).startswith(("past.", "present.")):
            value.dtype = ir.DataType.FLOAT16
    (tmp_path / "half").mkdir()
    ir.save(model, tmp_path / "half" / "model.onnx", external_data="model.onnx.data")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "half" / "seen.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(tmp_path / "half" / "model.onnx"), options, providers=["CPUExecutionProvider"])
    casts = [node for node in ir.load(tmp_path / "half" / "seen.onnx").graph if node.op_type == "Cast"]
    assert len(casts) >= 2 * 2 * 2
    faults = load_target("x86-avx2").unsound(WeightOnly(format="int4-weights", cache="float16"))
    assert len(faults) == 1 and "converts the whole cache to float32 and back for every token" in faults[0]
    assert not load_target("x86-avx2").unsound(WeightOnly(format="int4-weights", cache="int8"))
    assert "as wide as its activations" in load_target("cuda").unsound(WeightOnly(format="int4-weights", cache="int8"))[0]
