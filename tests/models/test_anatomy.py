"""Every architecture reshaped: cuts against zeroed columns, removed layers, round trips, and the one that refuses."""

from __future__ import annotations

import copy
from operator import attrgetter
from typing import Any

import pytest
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from edgekit.errors import BadInput
from edgekit.models.anatomy import KNOWN, REFUSED, anatomy_of, head_size_of, layers_of, sum_readers
from edgekit.models.shapes import LayerShape, cut, keep_layers, layer_count, resize, shapes_of

WIDTH, HEADS, SIZE, NEURONS, LAYERS = 32, 4, 8, 48, 4
COMMON = {
    "vocab_size": 60, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "intermediate_size": NEURONS, "max_position_embeddings": 40, "num_labels": 3,
}  # fmt: skip
RELATIVE = {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "position_biased_input": False}
OWN: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "deberta-v2": {**RELATIVE, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0, "conv_kernel_size": 3},
    "distilbert": {"hidden_dim": NEURONS},
    "electra": {"embedding_size": 16},
    "ernie": {"use_task_id": True},
    "modernbert": {
        "local_attention": 6,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "cls_token_id": 1,
        "eos_token_id": 2,
        "sep_token_id": 2,
    },
}
UNEVEN = ([[3, 0], [], [1], [2, 1]], [range(5), range(NEURONS), [], [7, 3]])
FAMILIES = sorted(KNOWN)


def build(family: str, auto: str = "AutoModelForSequenceClassification", **more: Any) -> Any:
    """A random model whose outputs depend on every part of it."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **COMMON | OWN.get(family, {}) | more)
    model = getattr(transformers, auto).from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2)
            else:
                parameter.uniform_(0.5, 1.5)
    return model


def states(model: Any) -> torch.Tensor:
    """Last hidden states of real tokens, (tokens, width)."""
    ids = torch.randint(5, 60, (3, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[-1, 5:] = 0
    ids = ids.where(mask == 1, torch.tensor(model.config.pad_token_id))
    with torch.no_grad():
        found: torch.Tensor = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    return found[mask.bool()]


def zeroed(model: Any, heads: Any, neurons: Any) -> Any:
    """The same model at full size, with the columns of what is not kept set to nothing."""
    anatomy = anatomy_of(model)
    for layer, kept_heads, kept_neurons in zip(layers_of(model), heads, neurons, strict=True):
        out, down = (attrgetter(path)(layer) for path in (anatomy.attention_out, anatomy.down))
        for head in set(range(HEADS)) - set(kept_heads):
            out.weight.data[:, head * SIZE : (head + 1) * SIZE] = 0
        down.weight.data[:, sorted(set(range(NEURONS)) - set(kept_neurons))] = 0
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_equals_zeroed_columns_and_loads_again(family: str) -> None:
    model = build(family)
    whole = states(model)
    cut(model, *UNEVEN)
    wanted = states(zeroed(build(family), *UNEVEN))
    assert torch.allclose(states(model), wanted, atol=1e-5)
    assert not torch.allclose(whole, wanted, atol=1e-2)
    assert [(shape.heads, shape.neurons) for shape in shapes_of(model)] == [(2, 5), (0, NEURONS), (1, 0), (2, 2)]
    again = build(family)
    resize(again, shapes_of(model))
    again.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    assert torch.equal(states(again), states(model))
    assert torch.equal(states(copy.deepcopy(again)), states(model))
    cut(model, [[1], [], [], [0]], [[0, 1], [4], [], [1]])
    twice = zeroed(build(family), [[3], [], [], [1]], [[0, 1], [4], [], [3]])
    assert torch.allclose(states(model), states(twice), atol=1e-5)


@pytest.mark.parametrize("kept", [[0, 2], [3, 1]])
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_that_stay_are_themselves_and_the_configuration_rebuilds_them(family: str, kept: list[int]) -> None:
    model, whole = build(family), build(family)
    keep_layers(model, kept)
    assert layer_count(model) == model.config.num_hidden_layers == 2
    down = attrgetter(anatomy_of(model).down)
    for layer, index in zip(layers_of(model), sorted(kept), strict=True):
        assert down(layer).weight.equal(down(layers_of(whole)[index]).weight)
    config = transformers.AutoConfig.for_model(**model.config.to_dict())
    again = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(states(again), states(model))


def test_modernbert_layers_keep_their_own_kind_of_attention() -> None:
    model, whole = build("modernbert"), build("modernbert")
    keep_layers(model, [0, 3])
    assert model.config.layer_types == [layer.attention_type for layer in layers_of(model)] == ["full_attention"] * 2
    keep_layers(whole, [1, 3])
    assert whole.config.layer_types == ["sliding_attention", "full_attention"]


@pytest.mark.parametrize("auto", ["AutoModel", "AutoModelForTokenClassification", "AutoModelForQuestionAnswering"])
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_found_with_any_head_and_without(family: str, auto: str) -> None:
    model = build(family, auto, num_labels=2)
    assert shapes_of(model) == [LayerShape(HEADS, SIZE, NEURONS)] * LAYERS
    cut(model, *UNEVEN)
    keep_layers(model, [0, 3])
    assert shapes_of(model) == [LayerShape(2, SIZE, 5), LayerShape(2, SIZE, 2)]
    assert head_size_of(model, layers_of(model)[0]) == SIZE
    assert states(model).isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_readers_of_a_sum_are_given_that_sum(family: str) -> None:
    """Adding to a projection's bias, or to its output where it has none, moves the reader's input by as much."""
    model = build(family, conv_kernel_size=0)
    anatomy = anatomy_of(model)
    for layer, readers in zip(layers_of(model), sum_readers(model), strict=True):
        for path, reader in zip((anatomy.attention_out, anatomy.down), readers, strict=True):
            seen: list[torch.Tensor] = []
            watch = reader.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
            states(model)
            push = attrgetter(path)(layer).register_forward_hook(lambda _, inputs, output: output + 0.5)
            states(model)
            watch.remove()
            push.remove()
            assert torch.allclose(seen[1] - seen[0], torch.tensor(0.5), atol=1e-5)


@pytest.mark.parametrize("family", sorted(set(REFUSED) & set(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)))
def test_architectures_that_cannot_be_reshaped_say_why(family: str) -> None:
    with pytest.raises(BadInput, match=REFUSED[family]):
        shapes_of(build(family))


def test_an_architecture_without_an_entry() -> None:
    model = transformers.AutoModel.from_config(transformers.GPT2Config(vocab_size=60, n_embd=32, n_layer=1, n_head=4))
    with pytest.raises(BadInput, match="'gpt2' cannot be reshaped yet"):
        layers_of(model)
