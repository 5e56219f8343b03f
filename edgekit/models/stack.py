"""The blocks of a decoder as transformers holds them: where they are, and the same model with some of them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from transformers.pytorch_utils import Conv1D

from edgekit.errors import BadInput
from edgekit.models.anatomy import layers_of
from edgekit.models.decoders import decoder_types

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = [
    "LINEARS", "MlpPaths", "blocks_of", "layer_linears", "is_decoder", "keep_blocks", "keep_neurons",
    "mlp_of", "neurons_of", "prefix_of", "rebuilt", "stack_of",
]  # fmt: skip

LINEARS = (torch.nn.Linear, Conv1D)
"""Kinds of linear modules; a Conv1D (GPT-2) holds its weight as (in, out)."""
PATHS = {"gpt2": "h", "opt": "decoder.layers"}
"""From the model without its head to the list of its blocks, where it is not called `layers`."""


@dataclass(frozen=True)
class MlpPaths:
    """From a block to the linear modules of its MLP."""

    ups: tuple[str, ...]
    """Linear modules with one output for each neuron, or one for its gate and, after all gates, one for itself."""
    down: str
    """Linear module with one input for each neuron."""
    config: str
    """What the configuration calls their number."""


MLPS = {
    "gpt2": MlpPaths(("mlp.c_fc",), "mlp.c_proj", "n_inner"),
    "gpt_neox": MlpPaths(("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h", "intermediate_size"),
    "opt": MlpPaths(("fc1",), "fc2", "ffn_dim"),
    "phi": MlpPaths(("mlp.fc1",), "mlp.fc2", "intermediate_size"),
    "phi3": MlpPaths(("mlp.gate_up_proj",), "mlp.down_proj", "intermediate_size"),
}
"""All others have a gate, as Llama has."""
PER_BLOCK = ("layer_types", "no_rope_layers")
"""Lists of a configuration with an entry for each block."""


def is_decoder(model: PreTrainedModel) -> bool:
    """Whether `model` is of a family that `edgekit.models.decoders` describes."""
    return model.config.model_type in decoder_types()


def blocks_of(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The blocks of a transformers model of such a family, first to last."""
    blocks: torch.nn.ModuleList = attrgetter(_path(model))(model.base_model)
    return blocks


def stack_of(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The layers of an encoder or the blocks of a decoder, first to last.

    Raises:
        BadInput: an architecture that is neither, as far as is known here.
    """
    return blocks_of(model) if is_decoder(model) else layers_of(model)


def keep_blocks(model: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """A new model of the blocks numbered `kept`, in their order, with the weights of `model`; its configuration says so.

    It is built anew, so that each block knows its index in the cache.

    Raises:
        BadInput: a block that does not exist, none at all, or blocks whose number is part of what they compute.
    """
    count, order = len(blocks_of(model)), sorted(set(kept))
    wrong = [number for number in order if not 0 <= number < count]
    if wrong or not order:
        raise BadInput(f"blocks {wrong or 'none'} of a model with {count}", where="compress")
    if getattr(model.config, "scale_attn_by_inverse_layer_idx", False) and order != list(range(len(order))):
        raise BadInput(
            "this model divides attention by each block's number (scale_attn_by_inverse_layer_idx), which would change",
            where="compress",
            fix="use a checkpoint without it, or prune weights instead of blocks",
        )
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(order)
    for name in PER_BLOCK:
        entries = getattr(config, name, None)
        if entries is not None:
            setattr(config, name, [entries[number] for number in order])
    prefix = prefix_of(model)
    numbers = {str(old): str(new) for new, old in enumerate(order)}
    state = {}
    for name, value in model.state_dict().items():
        if not name.startswith(prefix):
            state[name] = value
            continue
        number, _, rest = name.removeprefix(prefix).partition(".")
        if number in numbers:
            state[f"{prefix}{numbers[number]}.{rest}"] = value
    return rebuilt(model, config, state)


def keep_neurons(model: PreTrainedModel, kept: Sequence[Sequence[int]]) -> PreTrainedModel:
    """A new model whose blocks have the MLP neurons numbered `kept` alone, as many in each; its configuration says so.

    Raises:
        BadInput: blocks with different numbers of neurons, none at all, or a neuron that does not exist.
    """
    shape, have = mlp_of(model), neurons_of(model)
    counts = {len(numbers) for numbers in kept}
    wrong = sorted({number for numbers in kept for number in numbers if not 0 <= number < have})
    if len(kept) != len(blocks_of(model)) or len(counts) != 1 or 0 in counts or wrong:
        raise BadInput(f"neurons {wrong or sorted(counts)} of blocks with {have} each", where="compress")
    config, state = copy.deepcopy(model.config), dict(model.state_dict())
    setattr(config, shape.config, counts.pop())
    for number, chosen in enumerate(kept):
        order = torch.tensor(sorted(chosen))
        prefix = f"{prefix_of(model)}{number}."
        transposed = isinstance(blocks_of(model)[number].get_submodule(shape.down), Conv1D)
        for path in shape.ups:
            parts = len(state[f"{prefix}{path}.weight"].T if transposed else state[f"{prefix}{path}.weight"]) // have
            rows = torch.cat([order + part * have for part in range(parts)])
            for name in (f"{prefix}{path}.weight", f"{prefix}{path}.bias"):
                if name in state:
                    state[name] = state[name][..., rows] if transposed else state[name][rows]
        down = f"{prefix}{shape.down}.weight"
        state[down] = state[down][order] if transposed else state[down][:, order]
    return rebuilt(model, config, state)


def mlp_of(model: PreTrainedModel) -> MlpPaths:
    """Where the linear modules of the MLP are in each block of a decoder."""
    return MLPS.get(model.config.model_type, MlpPaths(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj", "intermediate_size"))


def neurons_of(model: PreTrainedModel) -> int:
    """How many neurons the MLP of each block has."""
    down = blocks_of(model)[0].get_submodule(mlp_of(model).down)
    weight = down.get_parameter("weight")
    return int(weight.shape[0 if isinstance(down, Conv1D) else 1])


def prefix_of(model: PreTrainedModel) -> str:
    """Prefix of the names of all tensors of blocks; the block's number follows."""
    return f"{model.base_model_prefix}.{_path(model)}."


def rebuilt(model: PreTrainedModel, config: PreTrainedConfig, state: dict[str, torch.Tensor]) -> PreTrainedModel:
    """A model of the class of `model` by `config`, with the weights `state`, in the same mode (training or evaluation)."""
    with torch.random.fork_rng(devices=[]):  # the weights it starts with are all replaced
        new: PreTrainedModel = type(model)(config).to(torch.float32)
    new.load_state_dict(state)
    trained: PreTrainedModel = new.train(model.training)
    return trained


def _path(model: PreTrainedModel) -> str:
    return PATHS.get(model.config.model_type, "layers")


def layer_linears(layers: Iterable[torch.nn.Module]) -> list[dict[str, torch.nn.Linear | Conv1D]]:
    """The linear modules of each layer, by their paths in it; modules that several layers share are listed with the first only."""
    seen: set[int] = set()
    found: list[dict[str, torch.nn.Linear | Conv1D]] = []
    for layer in layers:
        found.append({})
        for name, module in layer.named_modules():
            if isinstance(module, LINEARS) and id(module) not in seen:
                seen.add(id(module))
                found[-1][name] = module
    return found
