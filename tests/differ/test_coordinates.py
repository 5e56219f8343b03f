"""Models whose inner values are other numbers for the same function: no false alarm, no false all-clear, and faults are named all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.diff.faults import faults
from benchmarks.diff.subjects import Subject, bundled, decoder
from edgekit.differ.compare import Difference, diff
from edgekit.differ.coordinates import APART
from edgekit.differ.find_coordinates import readers
from edgekit.differ.parts import Part, ranges
from edgekit.differ.show import explained, headline
from edgekit.models.checkpoint import load, save
from tests.conftest import tiny_rows
from tests.tiny_decoders import checkpoint

TEXTS = tuple(row["text"] for row in tiny_rows()["test"])
WORDS = tuple(" ".join(f"w{3 + (start * 37 + place * 11) % 290}" for place in range(5 + 5 * start)) for start in range(6))
FAULTS = {fault.name: fault for fault in faults(8, 3)}
EXACT = 1e-3


@pytest.fixture(scope="module")
def tiny(tiny_model: Path, tiny_export: Path) -> Subject:
    return Subject(tiny_model, tiny_export, TEXTS, 32, decodes=False)


@pytest.fixture(scope="module")
def exact(tiny: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled(tiny, tmp_path_factory.mktemp("exact"), rounds=False)


@pytest.fixture(scope="module")
def smoothed(tiny: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled(tiny, tmp_path_factory.mktemp("smoothed"), rounds=True, smoothed=True)


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A language model of two layers, and its bundle in float32."""
    folder = tmp_path_factory.mktemp("language")
    plain = checkpoint("llama", folder / "plain")

    def gains(model: Any) -> None:
        for name, tensor in model.named_parameters():
            if "norm" in name:
                tensor.copy_(torch.linspace(0.5, 2, len(tensor)))

    made = rewritten(plain, folder / "checkpoint", gains, "AutoModelForCausalLM")
    subject = decoder(made, folder / "export", WORDS, max_length=64)
    return made, bundled(subject, folder / "bundle", rounds=False)


def rewritten(
    source: Path, folder: Path, change: Callable[[Any], None], auto: str = "AutoModelForSequenceClassification"
) -> Path:
    """The checkpoint in `source` after `change`."""
    model = load(source, auto)
    with torch.no_grad():
        change(model)
    save(model, folder, tokenizer_files_from=source)
    return folder


def largest(found: Difference) -> float:
    return max(one.own.error for one in found.parts if one.own is not None)


def test_a_smoothed_bundle_is_told_by_the_numbers_that_its_values_stand_for(
    tiny: Subject, exact: Path, smoothed: Path, tmp_path: Path
) -> None:
    """`smooth = 0.5` gave parts of 58 to 400%: a false alarm beside the checkpoint, a false all-clear beside a bundle without it."""
    plain = bundled(tiny, tmp_path / "plain", rounds=True)
    for reference, other in (
        (tiny.checkpoint, smoothed),
        (exact, smoothed),
        (smoothed, plain),
        (plain, smoothed),
        (smoothed, smoothed),
    ):
        found = diff(reference, other)
        assert found.first is None and not found.too_little, headline(found)
        assert len([one for one in found.parts if one.own is not None]) == len(found.parts) == 15
        assert largest(found) < 0.12, explained(found)
    scaled = [line for line in explained(diff(tiny.checkpoint, smoothed)) if "factor for each channel" in line]
    assert scaled and "heads of layers 0, 1, 2" in scaled[0] and "out of layer 2" in scaled[0]


@pytest.mark.parametrize(
    "name",
    [
        "a damaged weight: the attention's last Linear", "ReLU for GELU", "heads in another order", "positions left out",
        "two rows of the embedding exchanged",
    ],
)  # fmt: skip
def test_a_fault_in_a_smoothed_bundle_is_named(tiny: Subject, tmp_path: Path, name: str) -> None:
    fault = FAULTS[name]
    found = diff(tiny.checkpoint, bundled(tiny, tmp_path, rounds=True, smoothed=True, before=fault.put))
    assert found.first is not None and found.first.part in fault.right, headline(found)


def _values_scaled(model: Any) -> None:
    """Values are other numbers, and the attention's last Linear takes the factors back."""
    factors = torch.linspace(0.3, 3, 32)
    attention = model.bert.encoder.layer[1].attention
    attention.self.value.weight.mul_(factors[:, None])
    attention.self.value.bias.mul_(factors)
    attention.output.dense.weight.div_(factors)


def _neurons_permuted(model: Any) -> None:
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    layer = model.bert.encoder.layer[1]
    layer.intermediate.dense.weight.copy_(layer.intermediate.dense.weight[order].clone())
    layer.intermediate.dense.bias.copy_(layer.intermediate.dense.bias[order].clone())
    layer.output.dense.weight.copy_(layer.output.dense.weight[:, order].clone())


def _heads_permuted(model: Any) -> None:
    order = torch.arange(32).reshape(4, 8)[[2, 0, 3, 1]].flatten()
    attention = model.bert.encoder.layer[0].attention
    for linear in (attention.self.query, attention.self.key, attention.self.value):
        linear.weight.copy_(linear.weight[order].clone())
        linear.bias.copy_(linear.bias[order].clone())
    attention.output.dense.weight.copy_(attention.output.dense.weight[:, order].clone())


def _values_rotated(model: Any) -> None:
    """Each head's values are rotated, and rotated back."""
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2)))
    whole = torch.block_diag(*[turn] * 4)
    attention = model.bert.encoder.layer[2].attention
    attention.self.value.weight.copy_(whole @ attention.self.value.weight)
    attention.self.value.bias.copy_(whole @ attention.self.value.bias)
    attention.output.dense.weight.copy_(attention.output.dense.weight @ whole.T)


def _pooler_permuted(model: Any) -> None:
    order = torch.randperm(32, generator=torch.Generator().manual_seed(3))
    pooler = model.bert.pooler.dense
    pooler.weight.copy_(pooler.weight[order].clone())
    pooler.bias.copy_(pooler.bias[order].clone())
    model.classifier.weight.copy_(model.classifier.weight[:, order].clone())


def _stream_permuted(model: Any) -> None:
    """All hidden channels in another order, everywhere."""
    order = torch.randperm(32, generator=torch.Generator().manual_seed(4))
    for name, tensor in model.named_parameters():
        if "embeddings." in name and tensor.ndim == 2:
            tensor.copy_(tensor[:, order].clone())
        elif "LayerNorm" in name or "output.dense" in name:
            tensor.copy_(tensor[order].clone())
        elif any(
            part in name
            for part in ("query.weight", "key.weight", "value.weight", "intermediate.dense.weight", "pooler.dense.weight")
        ):
            tensor.copy_(tensor[:, order].clone())


SAME_FUNCTION: dict[str, tuple[Callable[[Any], None], dict[Part, bool]]] = {
    "values scaled": (_values_scaled, {Part("heads", 1): True}),
    "neurons permuted": (_neurons_permuted, {Part("neurons", 1): False}),
    "heads permuted": (_heads_permuted, {Part("heads", 0): False}),
    "values rotated": (_values_rotated, {Part("heads", 2): False}),
    "pooler permuted": (_pooler_permuted, {Part("head"): False}),
    "stream permuted": (
        _stream_permuted,
        {Part("embeddings"): False, **{Part(kind, layer): False for kind in ("attention", "layer") for layer in range(3)}},  # type: ignore[arg-type]
    ),
}
"""Changes of a model that leave its function; the parts whose values are others then, and whether they can be compared over a factor."""


@pytest.mark.parametrize("name", SAME_FUNCTION)
def test_the_same_function_in_other_coordinates_is_no_fault(tiny: Subject, exact: Path, tmp_path: Path, name: str) -> None:
    change, parts = SAME_FUNCTION[name]
    found = diff(rewritten(tiny.checkpoint, tmp_path / "same", change), exact)
    assert found.first is None and not found.too_little, headline(found)
    assert largest(found) < EXACT, explained(found)
    assert {one.part for one in found.parts if one.why_not} == {part for part, compared in parts.items() if not compared}
    assert all(one.why_not in ("", APART) for one in found.parts)
    if any(parts.values()):
        assert any(f"taken off {ranges(parts)}," in line for line in explained(found))
    else:
        assert any(APART in line for line in explained(found))


@pytest.mark.parametrize("half", [_values_scaled, _neurons_permuted, _heads_permuted, _pooler_permuted])
def test_half_of_such_a_change_is_a_fault(tiny: Subject, exact: Path, tmp_path: Path, half: Callable[[Any], None]) -> None:
    """What makes the values was changed, and what reads them was not: the part that makes them is named."""

    def change(model: Any) -> None:
        kept = {
            name: tensor.clone() for name, tensor in model.named_parameters() if "output.dense" in name or "classifier" in name
        }
        half(model)
        for name, tensor in model.named_parameters():
            if name in kept:
                tensor.copy_(kept[name])

    found = diff(rewritten(tiny.checkpoint, tmp_path / "wrong", change), exact)
    (part,) = next(parts for made, parts in SAME_FUNCTION.values() if made is half)
    assert found.first is not None and found.first.part == part, headline(found)


def _norm_folded(model: Any) -> None:
    """RMSNorm's gains stand in the Linears that read it."""
    for layer in model.model.layers:
        for norm, linears in (
            (layer.input_layernorm, (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)),
            (layer.post_attention_layernorm, (layer.mlp.gate_proj, layer.mlp.up_proj)),
        ):
            for linear in linears:
                linear.weight.mul_(norm.weight)
            norm.weight.fill_(1.0)


def _up_scaled(model: Any) -> None:
    """Rows of the MLP's second Linear are equalised, and the last one takes it back."""
    factors = torch.linspace(0.2, 4, 96)
    mlp = model.model.layers[1].mlp
    mlp.up_proj.weight.mul_(factors[:, None])
    mlp.down_proj.weight.div_(factors)


def _stream_rotated(model: Any) -> None:
    """Folded norms, and the residual stream rotated (QuaRot, SpinQuant)."""
    _norm_folded(model)
    model.lm_head.weight.mul_(model.model.norm.weight)
    model.model.norm.weight.fill_(1.0)
    turn, _ = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(5)))
    for table in (model.model.embed_tokens.weight, model.lm_head.weight):
        table.copy_(table @ turn)
    for layer in model.model.layers:
        for linear in (
            layer.self_attn.q_proj,
            layer.self_attn.k_proj,
            layer.self_attn.v_proj,
            layer.mlp.gate_proj,
            layer.mlp.up_proj,
        ):
            linear.weight.copy_(linear.weight @ turn)
        for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
            linear.weight.copy_(turn.T @ linear.weight)


@pytest.mark.parametrize("change", [_norm_folded, _up_scaled, _stream_rotated])
def test_the_same_language_model_in_other_coordinates(
    language: tuple[Path, Path], tmp_path: Path, change: Callable[[Any], None]
) -> None:
    source, bundle = language
    found = diff(rewritten(source, tmp_path / "same", change, "AutoModelForCausalLM"), bundle)
    assert found.first is None and not found.too_little, headline(found)
    assert largest(found) < EXACT, explained(found)
    assert {one.part.kind for one in found.parts if one.why_not} == (
        {"embeddings", "attention", "layer", "head"} if change is _stream_rotated else set()
    )


def test_heads_that_are_padded_for_a_kernel_are_compared_without_the_zeros(tmp_path: Path) -> None:
    made = checkpoint("llama, heads of 8", tmp_path / "checkpoint")
    found = diff(made, bundled(decoder(made, tmp_path / "export", WORDS, max_length=64), tmp_path / "bundle", rounds=False))
    assert found.first is None and largest(found) < EXACT, headline(found)
    assert not [one.part for one in found.parts if one.own is None], "keys, values and heads were left out by their widths"


def test_who_reads_what() -> None:
    encoder = [
        Part("embeddings"),
        *(Part(kind, layer) for layer in (0, 1) for kind in ("heads", "attention", "neurons", "layer")),
    ]  # type: ignore[arg-type]
    read = readers([*encoder, Part("head"), Part("output")])
    assert read[Part("embeddings")] == [Part("heads", 0), Part("attention", 0)]
    assert read[Part("layer", 0)] == [Part("heads", 1), Part("attention", 1)]
    assert read[Part("layer", 1)] == [Part("head")] and read[Part("head")] == [Part("output")]
    assert read[Part("attention", 1)] == [Part("neurons", 1), Part("layer", 1)] and not read[Part("output")]
    side_by_side = [Part("embeddings"), Part("heads", 0), Part("neurons", 0), Part("layer", 0), Part("output")]
    read = readers(side_by_side)
    assert read[Part("embeddings")] == [Part("heads", 0), Part("neurons", 0), Part("layer", 0)]
    assert read[Part("heads", 0)] == [Part("layer", 0)] and read[Part("layer", 0)] == [Part("output")]
    assert np.all([part not in found for part, found in read.items()])
