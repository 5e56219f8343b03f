"""Mixed precision: the right groups, the worst reverted first and no more than needed, and an audit that accepts it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.audit.audit import audit
from edgekit.config.recipe import Calibration
from edgekit.config.target import load_target
from edgekit.errors import CheckFailed
from edgekit.onnx_graph.initializers import add_initializer
from edgekit.onnx_graph.linear import linear_nodes
from edgekit.onnx_graph.metadata import KEPT
from edgekit.progress import silent
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.quantize.encoder import QuantizeWork, quantize_encoder
from edgekit.quantize.mixed_precision import groups_of, revert
from edgekit.quantize.observe import Feed
from edgekit.quantize.selection import Evidence
from tests.quantize.files import outputs, rewritten

VNNI = load_target("x86-vnni")
ISA = frozenset({"avx2", "fma", "avx512_vnni", "avx_vnni"})


def quiet(done: float, total: float, text: str) -> None:
    pass


def test_groups_follow_layers_and_kinds(tiny_export: Path) -> None:
    found = groups_of(ir.load(tiny_export / "fused.onnx").graph)
    layer = "model.bert.encoder.layer"
    assert list(found)[:4] == [
        f"{layer}.0.attention.self", f"{layer}.0.attention.output.dense",
        f"{layer}.0.intermediate.dense", f"{layer}.0.output.dense",
    ]  # fmt: skip
    assert [len(names) for names in found.values()] == [3, 1, 1, 1] * 3 + [1, 1]
    assert list(found)[-2:] == ["model.bert.pooler.dense", "model.classifier"]


@settings(max_examples=80, deadline=None)
@given(costs=st.lists(st.integers(0, 20), min_size=1, max_size=8), floor=st.integers(0, 40))
def test_additive_losses_are_reverted_worst_first_and_no_further(costs: list[int], floor: int) -> None:
    """A metric that each quantized group lowers by its cost: the fewest groups that satisfy the floor, worst first."""
    found = {f"g{index}": [f"p{index}"] for index in range(len(costs))}
    asked: list[frozenset[str]] = []

    def made(keep: frozenset[str]) -> list[np.ndarray]:
        asked.append(keep)
        return [np.array([sum(cost for index, cost in enumerate(costs) if f"p{index}" not in keep)], dtype=np.float32)]

    chosen = revert(found, made, lambda rows: -float(rows[0][0]), [np.zeros(1, dtype=np.float32)], floor, quiet)
    order = sorted(range(len(costs)), key=lambda index: -costs[index])
    needed = next(n for n in range(len(costs) + 1) if sum(costs) - sum(costs[index] for index in order[:n]) <= floor)
    assert len(chosen.keep) == len(chosen.document["reverted"]) == needed
    assert sum(costs[int(name[1:])] for name in chosen.keep) == sum(costs[index] for index in order[:needed])
    assert len(asked) <= 2 * len(costs) + 2
    assert needed > 0 or len(asked) == 1, "nothing is ranked where nothing needs to be reverted"


def test_equal_metrics_are_ordered_by_the_outputs() -> None:
    """Only "b" moves the outputs, and the metric of either alone is the same."""

    def made(keep: frozenset[str]) -> list[np.ndarray]:
        return [np.array([0.0 if keep else 1.0, 0.0 if "b" in keep else 5.0])]

    chosen = revert({"a": ["a"], "b": ["b"]}, made, lambda rows: -float(rows[0][0]), [np.zeros(2)], 0.5, quiet)
    assert chosen.keep == {"b"}


def test_a_floor_that_the_embeddings_break_is_said() -> None:
    with pytest.raises(CheckFailed, match="every linear layer in float32"):
        revert({"a": ["a"]}, lambda keep: [np.ones(1)], lambda rows: -float(rows[0][0]), [np.zeros(1)], 0.5, quiet)


@pytest.fixture
def fragile(tiny_export: Path, tmp_path: Path) -> tuple[Path, str]:
    """The tiny model with one weight that 8 bits ruin, and its product's name: the classifier reads a channel that is always
    zero with weights of 4000, whose scale leaves nothing to the other channels.
    """
    model = ir.load(tiny_export / "fused.onnx")
    node = linear_nodes(model.graph)[-1].node
    weight = linear_nodes(model.graph)[-1].weight.T.copy()
    noise = np.zeros_like(weight)
    noise[:, 0] = 4000.0
    before = node.inputs[0]
    assert before is not None
    mask = np.ones(32, dtype=np.float32)
    mask[0] = 0
    silent = ir.node("Mul", [before, add_initializer(model.graph, "silent", mask)])
    model.graph.insert_before(node, silent)
    node.replace_input_with(0, silent.outputs[0])
    node.replace_input_with(1, add_initializer(model.graph, "fragile", (weight * mask + noise).astype(np.float32)))
    ir.save(model, tmp_path / "fragile.onnx")
    return tmp_path / "fragile.onnx", str(node.name)


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_only_the_fragile_product_is_reverted_and_the_audit_accepts_it(
    fragile: tuple[Path, str], train_feeds: list[Feed], test_feeds: list[Feed], tmp_path: Path, mode: str
) -> None:
    source, name = fragile
    wanted = outputs(source, test_feeds).argmax(axis=1)

    def agreement(rows: list[np.ndarray]) -> float:
        return float((np.concatenate(rows).argmax(axis=1) == wanted).mean())

    quantize = VNNI.quantize.model_copy(update={"mixed": True, "mode": mode})
    evidence = Evidence(test_feeds, agreement, 0.05, timed=False)
    document = quantize_encoder(
        quantize,
        QuantizeWork(
            source=source,
            out=tmp_path,
            session=VNNI.session,
            calibration=Calibration(method="minmax"),
            feeds=train_feeds,
            evidence=evidence,
            progress=silent,
        ),
    )
    assert document["mixed"]["quality"]["all quantized"] < 0.6
    assert document["mixed"]["quality"]["mixed"] >= 0.95
    assert len(document["mixed"]["reverted"]) == 1
    assert json.loads({item.key: item.value for item in onnx.load(tmp_path / "model.onnx").metadata_props}[KEPT]) == ["fragile"]
    seen = audit(tmp_path / "model.onnx", VNNI.model_copy(update={"quantize": quantize}), host_isa=ISA, host_arch="x86_64")
    assert seen["kept_float"] == [name] and seen["fallbacks"] == []
    assert seen["matmuls_integer"] == seen["matmuls_constant"] - 1
    assert seen["ok"], seen["requirements"]
    assert any(name in note for note in seen["notes"])
    strict = audit(tmp_path / "model.onnx", VNNI, host_isa=ISA, host_arch="x86_64")
    assert not strict["ok"], "a target that asked for no mixing takes no float product"


def test_an_attention_with_a_kept_projection_keeps_working(tiny_export: Path, test_feeds: list[Feed], tmp_path: Path) -> None:
    source = tiny_export / "fused.onnx"
    names = [linear.name for linear in linear_nodes(ir.load(source).graph)]
    rewritten(source, tmp_path / "one.onnx", quantize_dynamic, VNNI.quantize, keep={names[0]})
    counts = rewritten(
        source, tmp_path / "all.onnx", quantize_dynamic, VNNI.quantize.model_copy(update={"embeddings": "float32"}), keep=names
    )
    assert counts == {"attention": 0, "matmul": 0, "embedding": 0}
    whole = outputs(source, test_feeds)
    assert np.array_equal(outputs(tmp_path / "all.onnx", test_feeds), whole)
    assert (outputs(tmp_path / "one.onnx", test_feeds).argmax(1) == whole.argmax(1)).mean() >= 0.95
