"""Decoders with weights in a few bits: what the file says, how far it is off, and the two ways of rounding beside clipping."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.config.quantize import WeightOnly
from edgekit.config.target import load_target
from edgekit.errors import BadInput
from edgekit.exporter.decoder_graph import write_graph
from edgekit.models.decoders import describe
from edgekit.onnx_graph.linear import linear_nodes
from edgekit.progress import silent
from edgekit.quantize import decoder, hessians
from edgekit.quantize import gptq as quantize_gptq
from edgekit.quantize.blocks import quantize_blocks
from edgekit.quantize.decoder import quantize_decoder
from edgekit.quantize.gptq import curvature, gptq
from edgekit.quantize.hessians import hessians_of
from edgekit.quantize.hqq import hqq
from edgekit.quantize.sensitivity import costliest, divergences
from edgekit.runtime.generate.generation import Generation
from edgekit.runtime.generate.graph import check_graph
from edgekit.runtime.providers.session import open_session
from tests.tiny_decoders import checkpoint

IDS = np.random.default_rng(3).integers(3, 290, (1, 24))


@pytest.fixture(scope="module", params=["llama, tied", "gpt2", "qwen2"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder")
    write_graph(describe(checkpoint(request.param, folder / "model", vocab_size=2048)), folder)
    return folder


def logits(folder: Path) -> np.ndarray:
    session = open_session(folder / "model.onnx")
    past = next(item for item in session.get_inputs() if item.name == "past.0.key")
    graph = check_graph(session, Generation(64, (2,), 1, 2, past.shape[1], past.shape[3], None))
    return graph.run(IDS, graph.empty(1, 64), keep=IDS.shape[1])


def test_every_product_and_the_embedding_shrink(exported: Path, tmp_path: Path) -> None:
    sizes = {}
    for wanted in ("int8-weights", "int4-weights"):
        out = tmp_path / wanted
        out.mkdir()
        made = quantize_decoder(exported, out, WeightOnly(format=wanted, embeddings="int8"))
        nodes = onnx.load(str(out / "model.onnx"), load_external_data=False).graph.node
        kinds = [node.op_type for node in nodes]
        assert made["embedding"] == kinds.count("GatherBlockQuantized") >= 1
        assert made["matmul"] == kinds.count("MatMulNBits") and not {"MatMul", "FusedMatMul"} & set(kinds)
        sizes[wanted] = (out / "model.onnx.data").stat().st_size
        whole, found = logits(exported), logits(out)
        error = float(np.linalg.norm(found - whole) / np.linalg.norm(whole))
        assert 0 < error < {"int8-weights": 0.03, "int4-weights": 0.3}[wanted]
    assert sizes["int4-weights"] < sizes["int8-weights"] < (exported / "model.onnx.data").stat().st_size / 2


def test_zero_points_and_hessians_reach_the_file(exported: Path, tmp_path: Path) -> None:
    hessians = hessians_of(exported, [IDS[0]], tmp_path / "scratch")
    for rounding in ("hqq", "gptq"):
        out = tmp_path / rounding
        out.mkdir()
        quantize_decoder(exported, out, WeightOnly(format="int4-weights", rounding=rounding), hessians=hessians)
        whole, found = logits(exported), logits(out)
        assert float(np.linalg.norm(found - whole) / np.linalg.norm(whole)) < 0.3


def test_hqq_restores_better_than_rounding_where_numbers_lie_to_one_side() -> None:
    weight = np.random.default_rng(0).gamma(2.0, size=(96, 40)).astype(np.float32)
    ours, plain = hqq(weight, 4, 32), quantize_blocks(weight, 4, 32)
    assert ours.zero is not None and ours.values.min() >= -8 and ours.values.max() <= 7
    assert np.abs(ours.restored() - weight).mean() < 0.7 * np.abs(plain.restored() - weight).mean()
    assert ours.restored().shape == weight.shape


@pytest.mark.parametrize("rows", [64, 50])
def test_gptq_loses_less_of_the_output_than_rounding(rows: int) -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(400, rows)) @ random.normal(size=(rows, rows))  # correlated, as real activations are
    weight = random.normal(size=(rows, 24)).astype(np.float32)
    hessian = inputs.T @ inputs

    def lost(restored: np.ndarray) -> float:
        return float(np.linalg.norm(inputs @ (restored - weight)))

    ours, plain = gptq(weight, 4, 16, curvature(hessian)), quantize_blocks(weight, 4, 16)
    assert lost(ours.restored()) < 0.8 * lost(plain.restored())
    assert ours.values.min() >= -8 and ours.values.max() <= 7


def test_gptq_without_correlation_rounds_to_nearest() -> None:
    weight = np.random.default_rng(2).normal(size=(32, 8)).astype(np.float32)
    ours, plain = gptq(weight, 8, 32, curvature(np.eye(32))), quantize_blocks(weight, 8, 32)
    assert np.abs(ours.restored() - weight).max() < 0.51 * np.abs(ours.scale).max()
    assert np.linalg.norm(ours.restored() - weight) <= np.linalg.norm(plain.restored() - weight)


@pytest.mark.parametrize(("rows", "bits"), [(64, 4), (50, 4), (64, 8)])
def test_after_gptq_scales_are_least_squares_and_whole_numbers_gain_by_moving(
    rows: int, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales are what numpy's own least squares say; each round lowers the error, and an input that says nothing, or a block of zeros, stays."""
    random = np.random.default_rng(5)
    inputs = random.normal(size=(300, rows)) @ random.normal(size=(rows, rows))
    inputs[:, 3] = 0
    weight = random.normal(size=(rows, 12)).astype(np.float32)
    weight[:16, 1] = 0
    about = curvature(inputs.T @ inputs)
    root = np.linalg.cholesky(about.hessian).T  # of the damped Hessian: |root d|^2 is what is lost
    lost = []
    for rounds in (0, 1, 2, 6):
        monkeypatch.setattr(quantize_gptq, "ROUNDS", rounds)
        made = gptq(weight, bits, 16, about)
        lost.append(float(np.linalg.norm(root @ (made.restored() - weight))))
        padded = np.pad(root, ((0, 0), (0, -rows % 16))).reshape(rows, -1, 16)
        for column in range(12):
            some = made.values[column].any(axis=1)
            wanted = np.linalg.lstsq(
                np.einsum("rbk,bk->rb", padded, made.values[column])[:, some], root @ weight[:, column], rcond=None
            )[0]
            assert np.allclose(made.scale[column][some], wanted, rtol=1e-4)
        assert not made.values[1, 0].any() and np.isfinite(made.scale).all()
    assert lost == sorted(lost, reverse=True) and (bits == 8 or lost[2] < 0.98 * lost[0])


def test_what_moves_next_tokens_most_for_its_size_gets_8_bits(exported: Path, tmp_path: Path) -> None:
    errors, sizes = [], []
    for share in (None, 0.3, 0.99):
        out = tmp_path / str(share)
        out.mkdir()
        settings = WeightOnly(format="int4-weights", eight_bits=share)
        made = quantize_decoder(exported, out, settings, texts=[IDS[0]], scratch=tmp_path / "scratch")
        nodes = [
            node
            for node in onnx.load(str(out / "model.onnx"), load_external_data=False).graph.node
            if node.op_type == "MatMulNBits"
        ]
        bits = {node.name: next(item.i for item in node.attribute if item.name == "bits") for node in nodes}
        raised = {name for name, count in bits.items() if count == 8}
        assert ("eight_bits" in made) == (share is not None)
        stated = {f"{name}.int8" for name in made.get("eight_bits", ())}
        assert stated == raised or raised - stated == {"head.int8"}  # a head that is its table, in 8 bits in any case
        sizes.append((out / "model.onnx.data").stat().st_size)
        errors.append(float(np.linalg.norm(logits(out) - logits(exported))))
    assert errors == sorted(errors, reverse=True) and sizes == sorted(sizes)
    with pytest.raises(BadInput, match="no calibration rows"):
        quantize_decoder(exported, tmp_path, settings, texts=[], scratch=tmp_path / "scratch")


def test_a_weights_divergence_is_what_transformers_says(exported: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(exported / "model", dtype=torch.float32).requires_grad_(False)
    held = {}
    for linear in linear_nodes(ir.load(exported / "model.onnx").graph):
        for parameter in (one for one in model.parameters() if one.ndim == 2):
            for turned in (False, True):
                if _same(parameter.T if turned else parameter, linear.weight):
                    held[linear.name] = parameter, turned, quantize_blocks(linear.weight, 4, 32).restored()
    assert len(held) >= 4  # what is one product of several modules is none of them
    found = divergences(exported, [IDS[0]], {name: lambda it=it: it for name, (_, _, it) in held.items()}, tmp_path, silent)
    ids = torch.from_numpy(IDS)
    whole = model(ids).logits[0].double().log_softmax(-1)
    for name, (parameter, turned, new) in held.items():
        before = parameter.clone()
        parameter.copy_(torch.from_numpy(new.T if turned else new))
        mine = model(ids).logits[0].double().log_softmax(-1)
        parameter.copy_(before)
        wanted = float((whole.exp() * (whole - mine)).sum(-1).mean())
        assert wanted > 0 and found[name] == pytest.approx(wanted, rel=2e-2, abs=1e-7)


def _same(parameter: object, weight: np.ndarray) -> bool:
    held = np.asarray(parameter.detach())
    return held.shape == weight.shape and np.array_equal(held, weight)


def test_those_that_cost_most_for_their_size_come_first() -> None:
    cost, sizes = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 0.1}, {"a": 10, "b": 60, "c": 20, "d": 10}
    assert costliest(cost, sizes, 0.3) == ["a", "c"]
    assert costliest(cost, sizes, 0.45) == ["a", "c", "d"]  # b does not fit, which d does
    assert costliest(cost, sizes, 0.05) == []


@pytest.mark.parametrize("hessian", [np.zeros((32, 32)), np.full((32, 32), np.nan)])
def test_inputs_that_say_nothing(hessian: np.ndarray) -> None:
    with pytest.raises(BadInput, match="not finite or all zero"):
        curvature(hessian)


def test_no_texts(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no calibration rows"):
        hessians_of(exported, [], tmp_path)


def test_the_sums_are_of_what_products_read(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(str(exported / "model.onnx"), load_external_data=False)
    first = next(node for node in model.graph.node if node.op_type == "MatMul")
    find = hessians_of(exported, [IDS[0], IDS[0][:5]], tmp_path / "scratch")
    found = find(first.input[0])
    assert np.allclose(found, found.T) and np.linalg.eigvalsh(found).min() > -1e-6 * np.trace(found)
    once = hessians_of(exported, [IDS[0]], tmp_path / "once")(first.input[0])
    assert np.trace(found) > np.trace(once) > 0


def test_the_texts_are_read_once_for_all_products(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tied head, which is no product yet where the texts are read, was summed up in a walk of its own; the order of cores changes nothing."""
    walks: list[list[str]] = []
    summed = hessians._summed

    def counted(source: Path, names: list[str], texts: Sequence[np.ndarray], scratch: Path) -> dict[str, np.ndarray]:
        walks.append(names)
        return summed(source, names, texts, scratch)

    monkeypatch.setattr(hessians, "_summed", counted)
    made = []
    for cores in (1, 3):
        monkeypatch.setattr(decoder, "own_cores", lambda cores=cores: cores)
        out = tmp_path / str(cores)
        out.mkdir()
        settings = WeightOnly(format="int4-weights", rounding="gptq")
        quantize_decoder(exported, out, settings, hessians=hessians_of(exported, [IDS[0]], tmp_path / "scratch"))
        made.append([(out / name).read_bytes() for name in ("model.onnx", "model.onnx.data")])
    assert len(walks) == 2 and made[0] == made[1]


def test_the_target_says_what_products_are_made_in(tmp_path: Path) -> None:
    target = load_target("x86-vnni")
    exact = target.model_copy(update={"quantize": target.quantize.model_copy(update={"accuracy_level": 0})})
    asked = WeightOnly(format="int4-weights")
    assert target.chosen(None) is target.quantize and target.chosen(asked).accuracy_level == target.quantize.accuracy_level == 4
    assert exact.chosen(asked) == WeightOnly(format="int4-weights", accuracy_level=0)
    assert exact.chosen(WeightOnly(format="int4-weights", accuracy_level=4)).accuracy_level == 4
    write_graph(describe(checkpoint("qwen2", tmp_path / "model")), tmp_path)
    found = {}
    for level, settings in ((4, target.chosen(asked)), (0, exact.chosen(asked))):
        out = tmp_path / str(level)
        out.mkdir()
        quantize_decoder(tmp_path, out, settings)
        nodes = [
            node
            for node in onnx.load(str(out / "model.onnx"), load_external_data=False).graph.node
            if node.op_type == "MatMulNBits"
        ]
        said = [attribute.i for node in nodes for attribute in node.attribute if attribute.name == "accuracy_level"]
        assert said == [level] * len(nodes) and nodes
        found[level] = logits(out)
    difference = float(np.linalg.norm(found[4] - found[0]) / np.linalg.norm(found[0]))
    assert 0 < difference < 0.05  # activations rounded to 8 bits, or not
