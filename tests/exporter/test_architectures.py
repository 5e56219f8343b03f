"""Every architecture down the line: eager, plain ONNX, fused ONNX, dynamic INT8; and what the exporter says of each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
import transformers

from edgekit.config.quantize import Int8
from edgekit.errors import BadInput
from edgekit.exporter.architectures import exporter_config, supported
from edgekit.exporter.encoder import to_onnx
from edgekit.exporter.fusions.fuse import fuse
from edgekit.exporter.parity import check_parity
from edgekit.models.anatomy import ENCODERS, REFUSED
from edgekit.models.positions import first_position, positions_of
from edgekit.models.shapes import cut
from edgekit.onnx_graph.linear import linear_nodes, module_path
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.runtime.bundle.graph import MICROSOFT, OPERATORS
from edgekit.tasks import find_task, task_names
from edgekit.tasks.graph import Graph
from edgekit.tasks.masking import arguments_for, mask_for
from tests.quantize.files import rewritten

LAYERS, LIMIT = 2, 30
COMMON = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 40, "num_labels": 3,
}  # fmt: skip
RELATIVE = {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "position_biased_input": False}
DEBERTA = {**RELATIVE, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
OWN: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "camembert": {"type_vocab_size": 1},
    "data2vec-text": {"type_vocab_size": 1},
    "deberta-v2": {**DEBERTA, "share_att_key": True},
    "distilbert": {"hidden_dim": 48},
    "electra": {"embedding_size": 16},
    "ernie": {"use_task_id": True},
    "modernbert": {
        "local_attention": 6, "pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "roberta": {"type_vocab_size": 1},
    "xlm-roberta": {"type_vocab_size": 1},
}  # fmt: skip
NAMES = ("input_ids", "attention_mask")

ENCODER_TASKS = [name for name in task_names() if find_task(name).kind == "encoder" and find_task(name).reads == "text"]


def build(family: str, **more: Any) -> Any:
    """A random classifier whose outputs depend on every part of it."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **COMMON | OWN.get(family, {}) | more)
    model = transformers.AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2)
            else:
                parameter.uniform_(0.5, 1.5)
    return model


def rows(model: Any, batch: int, length: int) -> dict[str, torch.Tensor]:
    """Ids that are no padding, and padding of the model's own id on the right of all rows but the first."""
    ids = torch.randint(5, 60, (batch, length), generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(ids)
    for row in range(1, batch):
        mask[row, length - row * length // (batch + 1) :] = 0
    return {"input_ids": ids.where(mask == 1, torch.tensor(model.config.pad_token_id)), "attention_mask": mask}


def export_graphs(model: Any, folder: Path) -> torch.nn.Module:
    """Write `model.onnx` and `fused.onnx`; returns the module they come from."""
    module = Graph(model, lambda model, output, mask: output.logits).eval()
    exported = to_onnx(module, rows(model, 2, 9), "logits", LIMIT)
    ir.save(exported, folder / "model.onnx")
    fuse(exported, LIMIT)
    ir.save(exported, folder / "fused.onnx")
    return module


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


def run(path: Path, feed: dict[str, torch.Tensor]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {name: value.numpy() for name, value in feed.items()})[0]
    return found


EVERY_LAYER = {"MultiHeadAttention": LAYERS, "SkipLayerNormalization": 2 * LAYERS}
FUSED = {
    "albert": EVERY_LAYER,
    "camembert": EVERY_LAYER | {"CumSum": 1, "Reshape": 0},
    "data2vec-text": EVERY_LAYER | {"CumSum": 1, "Reshape": 0},
    # Its scores have two terms that gather by distance, which no operator computes.
    "deberta-v2": {"MultiHeadAttention": 0, "FusedMatMul": 2 * LAYERS, "Softmax": LAYERS, "Log": 0, "Sign": 0},
    "modernbert": EVERY_LAYER | {"RotaryEmbedding": 2 * LAYERS, "Sin": 0, "Slice": 0, "Transpose": 0, "Reshape": 0},
    "mpnet": EVERY_LAYER | {"Softmax": 0, "Log": 0, "Reshape": 0, "CumSum": 1},
    "roberta": EVERY_LAYER | {"CumSum": 1, "Reshape": 0},
    "xlm-roberta": EVERY_LAYER | {"CumSum": 1, "Reshape": 0},
}  # fmt: skip
"""Operator counts of the fused graph, where there is more to say than EVERY_LAYER."""


OWN_PASSES = {
    "deberta-v2": {"fold-constant-norms", "look-up-distances"},
    "modernbert": {"rotary-embeddings", "look-up-distances"},
    "mpnet": {"biased-attention", "look-up-distances"},
}
"""Passes that change a family's graph and no other's, but for the lookup of distances."""


COUNTED = {"camembert", "data2vec-text", "mpnet", "roberta", "xlm-roberta"}
"""Families that count positions over the tokens that are not padding."""
TYPED = {"albert", "bert", "electra", "ernie"}
"""Families whose tokens have types where a text comes beside another."""
SAME_CODE = {"bert", "camembert", "data2vec-text", "electra", "ernie", "xlm-roberta"}
"""Families whose layers are word for word another's; bert has its own tests in test_export.py."""
LINE = [pytest.param(family, marks=[pytest.mark.slow] if family in SAME_CODE else []) for family in ENCODERS]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", LINE)
def test_the_whole_line(family: str, tmp_path: Path) -> None:
    """With heads that differ by layer, but for the one family that cannot have them."""
    model = build(family)
    if family not in REFUSED:
        cut(model, [[0, 3], [0, 1, 2]], [range(40), range(7)])
    module = export_graphs(model, tmp_path)
    for name in ("model.onnx", "fused.onnx"):
        check_parity(module, tmp_path / name, NAMES, model.config, LIMIT, 1e-4, per_token=False)
    found = operators(tmp_path / "fused.onnx")
    for operator, count in FUSED.get(family, EVERY_LAYER).items():
        assert found[operator] >= count if operator == "SkipLayerNormalization" else found[operator] == count, operator
    assert all(module_path(linear.node) for linear in linear_nodes(ir.load(tmp_path / "fused.onnx").graph)), (
        "each says its module"
    )
    changed = set(fuse(ir.load(tmp_path / "model.onnx"), LIMIT))
    assert changed & set().union(*OWN_PASSES.values()) == OWN_PASSES.get(family, set())
    rewritten(tmp_path / "fused.onnx", tmp_path / "int8.onnx", quantize_dynamic, Int8())
    between_activations = {"MatMul"} if family == "deberta-v2" else set()  # probabilities times values
    assert {"MatMul", "Gemm"} & set(operators(tmp_path / "int8.onnx")) == between_activations
    for batch, length in ((1, 9), (3, 17), (2, LIMIT)):
        feed = rows(model, batch, length)
        with torch.no_grad():
            wanted = model(**feed).logits.numpy()
        assert run(tmp_path / "fused.onnx", feed) == pytest.approx(wanted, abs=1e-4)
        assert cosine(run(tmp_path / "int8.onnx", feed), wanted) > 0.99


@pytest.mark.filterwarnings("ignore")
def test_a_layer_of_a_model_without_biases_that_has_nothing_left(tmp_path: Path) -> None:
    model = build("modernbert")
    cut(model, [[], [0, 1, 2]], [range(40), []])
    module = export_graphs(model, tmp_path)
    check_parity(module, tmp_path / "fused.onnx", NAMES, model.config, LIMIT, 1e-4, per_token=False)
    assert set(operators(tmp_path / "fused.onnx")) <= OPERATORS[""] | OPERATORS[MICROSOFT], "a bundle holds each"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_empty_layers_of_a_model_with_a_shared_position_bias(tmp_path: Path) -> None:
    model = build("mpnet", num_hidden_layers=3)
    cut(model, [[3], [], [0, 1, 2]], [[], range(48), [7, 3]])
    module = export_graphs(model, tmp_path)
    check_parity(module, tmp_path / "fused.onnx", NAMES, model.config, LIMIT, 1e-4, per_token=False)
    rewritten(tmp_path / "fused.onnx", tmp_path / "int8.onnx", quantize_dynamic, Int8())
    feed = rows(model, 3, 17)
    with torch.no_grad():
        assert cosine(run(tmp_path / "int8.onnx", feed), model(**feed).logits.numpy()) > 0.99


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sum(one * other) / (np.linalg.norm(one) * np.linalg.norm(other)))


@pytest.mark.parametrize(
    "more",
    [{"conv_kernel_size": 3}, {"share_att_key": False}, {"position_biased_input": True}, {"pos_att_type": ["c2p"]}],
    ids=str,
)
def test_forms_of_deberta_take_their_mask(more: dict[str, Any]) -> None:
    same_answers(build("deberta-v2", **more))


@pytest.mark.parametrize("more", [{"classifier_pooling": "mean"}, {"layer_types": ["sliding_attention"] * 2}], ids=str)
def test_forms_of_modernbert_take_their_mask(more: dict[str, Any]) -> None:
    same_answers(build("modernbert", **more))


def same_answers(model: Any) -> None:
    """The ready-made arguments give what ids and mask give, and padding changes nothing."""
    feed = rows(model, 3, 17)
    with torch.no_grad():
        wanted = model(**feed).logits
        found = model(**arguments_for(model.config)(feed["input_ids"], feed["attention_mask"])).logits
        alone = model(input_ids=feed["input_ids"][:1], attention_mask=feed["attention_mask"][:1]).logits
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.allclose(alone, wanted[:1], atol=1e-5)


@pytest.mark.parametrize("family", sorted(COUNTED))
def test_a_padding_token_inside_a_text_is_counted_as_transformers_counts_it(family: str) -> None:
    model = build(family, pad_token_id=1)
    ids = torch.tensor([[5, 7, 1, 1, 9, 11, 1, 8]])
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        wanted = model(input_ids=ids, attention_mask=mask).logits
        found = model(**arguments_for(model.config)(ids, mask)).logits
    assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("family", ENCODERS)
def test_masks_and_positions_by_family(family: str) -> None:
    config = build(family).config
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    found = mask_for(config)(mask)
    assert (first_position(config) is not None) == (family in COUNTED)
    if isinstance(found, dict):
        assert found["full_attention"].shape == (2, 1, 1, 5)
        shown = found["sliding_attention"] == 0
        place = np.arange(5)
        near = np.abs(place[:, None] - place) <= 3
        assert shown[:, 0].numpy().tolist() == (near & mask[:, None].bool().numpy()).tolist()
    else:
        assert found.shape == (2, 1, 1, 5)
        assert ((found == 0) == (mask[:, None, None] == (0 if family == "deberta-v2" else 1))).all()


@pytest.mark.parametrize("family", ENCODERS)
def test_the_longest_input_runs_and_one_token_more_has_no_position(family: str) -> None:
    model = build(family)
    longest = positions_of(model.config)
    if family == "deberta-v2":  # relative positions alone: no table that could end
        assert longest is None
        longest = 60
    else:
        assert longest == 40 - (2 if family in COUNTED else 0)
    with torch.no_grad():
        assert model(**rows(model, 1, longest)).logits.isfinite().all()
        assert longest is not None
        if family not in {"deberta-v2", "modernbert"}:  # relative and rotary positions have no end
            with pytest.raises((IndexError, RuntimeError)):
                model(**rows(model, 1, longest + 1))


def test_token_types_are_an_input_only_where_they_count() -> None:
    for family in ENCODERS:
        config = build(family, **({"type_vocab_size": 2} if family in TYPED else {})).config
        for task in ENCODER_TASKS:
            wanted = {"token_type_ids"} if task == "question-answering" and family in TYPED else set()
            assert set(exporter_config(config, task).inputs) == {*NAMES, *wanted}


def test_every_family_is_there_for_every_task_and_others_are_refused() -> None:
    for task in ENCODER_TASKS:
        assert supported(task) == sorted(ENCODERS)
    with pytest.raises(BadInput, match="'gpt2' cannot be exported"):
        exporter_config(transformers.GPT2Config(), "text-classification")
    with pytest.raises(BadInput, match="no task named 'no-such-task'"):
        supported("no-such-task")
