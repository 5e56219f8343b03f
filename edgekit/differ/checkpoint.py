"""A checkpoint as the reference: transformers runs it in float32, and hooks on its own modules say what leaves each part.

Nothing of the exporter is read here: which module belongs to which part is said by the anatomy of encoders and by the names that
transformers gives the modules of decoders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.differ.parts import Kind, Part
from edgekit.differ.row import Row
from edgekit.errors import BadInput
from edgekit.models.anatomy import KNOWN, Anatomy
from edgekit.models.files import check_files

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

    from edgekit.tasks import Task

__all__ = ["CheckpointSide", "is_checkpoint", "open_checkpoint"]

ALBERT = Anatomy(
    layers="encoder.albert_layer_groups.0.albert_layers", attention="attention", query="attention.query", key="attention.key",
    value="attention.value", attention_out="attention.dense", up="ffn", down="ffn_output", attention_norm="attention.LayerNorm",
    output_norm="full_layer_layer_norm",
)  # fmt: skip
"""One layer that is run many times."""
ATTENTION_OUT = {"gpt2": "attn.c_proj", "gpt_neox": "attention.dense", "opt": "self_attn.out_proj", "phi": "self_attn.dense"}
"""From a decoder's layer to the last Linear of its attention; elsewhere as in Llama."""
MLP_NORM = {
    "gpt2": "ln_2", "opt": "final_layer_norm", "gpt_neox": "post_attention_layernorm", "gemma2": "pre_feedforward_layernorm",
    "gemma3_text": "pre_feedforward_layernorm",
}  # fmt: skip
"""From a decoder's layer to the norm that reads the stream after its attention; elsewhere as in Llama."""


@dataclass(frozen=True)
class CheckpointSide:
    """A checkpoint that is run by transformers."""

    folder: Path
    model: PreTrainedModel
    task: Task
    layers: int
    tokenizer: Tokenizer

    @property
    def vocabulary(self) -> int:
        """Rows of its embedding."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def values(self, row: Row) -> dict[Part, np.ndarray]:
        """What leaves each part for `row`, float32 (tokens, channels).

        Raises:
            BadInput: transformers cannot run it.
        """
        from edgekit.models.quiet import quiet
        from edgekit.tasks.task import EncoderTask

        try:
            with quiet(), _recorded(self.model, decodes=self.task.kind == "decoder") as record:
                if isinstance(self.task, EncoderTask):
                    return _encoder_values(self.model, self.task, row, record, self.layers)
                return _decoder_values(self.model, row, record)
        except (IndexError, RuntimeError, ValueError) as fault:
            raise BadInput(
                f"transformers cannot run it on {len(row.ids):,} tokens of a golden input: {str(fault)[:200]}", where=str(self.folder),
                fix="name the checkpoint that the bundle was made of, or another one that reads texts as long as its",
            ) from None  # fmt: skip

    def embedded(self, row: Row) -> np.ndarray | None:
        """What leaves the embeddings for `row`, float32 (n, channels); nothing behind them is run."""
        from edgekit.models.quiet import quiet
        from edgekit.tasks.task import EncoderTask

        with (
            quiet(),
            _recorded(self.model, decodes=self.task.kind == "decoder", embeddings_alone=True) as record,
            suppress(_Enough),
        ):
            if isinstance(self.task, EncoderTask):
                _encoder_values(self.model, self.task, row, record, self.layers)
            else:
                _decoder_values(self.model, row, record)
        return _flat(record["embeddings"][0]) if "embeddings" in record else None


class _Enough(Exception):
    """The embeddings were seen: what would come next is not needed."""


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is a folder with a model's configuration and weights rather than a bundle."""
    return ((path / "config.json").is_file() and not (path / "manifest.json").is_file()) or (path / "modules.json").is_file()


def open_checkpoint(folder: Path, task: Task) -> CheckpointSide:
    """The checkpoint in `folder` as a model of `task`.

    Raises:
        BadInput: no such model, or a head that is not this task's.
    """
    from tokenizers import Tokenizer

    from edgekit.models.checkpoint import load
    from edgekit.models.sentence import transformer_folder

    inner = transformer_folder(folder)
    check_files(folder)
    if not (inner / "tokenizer.json").is_file():
        raise BadInput(
            "no tokenizer.json", where=str(inner),
            fix="give the checkpoint as edgekit keeps it: the stage `load` or `train` in build/store, whose path lineage.json has",
        )  # fmt: skip
    model = load(folder, task.auto)
    config = model.config
    layers = int(getattr(config, "num_hidden_layers", 0) or getattr(config, "n_layers", 0))
    return CheckpointSide(folder, model, task, layers, Tokenizer.from_file(str(inner / "tokenizer.json")))


Record = dict[Kind, list["torch.Tensor"]]
"""What was seen of each kind of part, in the order of its calls, which is that of the layers."""


@contextmanager
def _recorded(model: PreTrainedModel, *, decodes: bool, embeddings_alone: bool = False) -> Iterator[Record]:
    """Hooks on the modules of `model` for as long as the block lasts. `embeddings_alone`: its run ends behind them, with `_Enough`."""
    record: Record = {}
    handles: list[Any] = []

    def keep(kind: Kind, tensor: torch.Tensor) -> None:
        record.setdefault(kind, []).append(tensor.detach())
        if embeddings_alone and kind == "embeddings":
            raise _Enough

    def on_input(module: torch.nn.Module, kind: Kind) -> None:
        def hook(_: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            keep(kind, given[0] if given else named["hidden_states"])

        handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def on_output(module: torch.nn.Module, kind: Kind) -> None:
        def hook(_: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
            keep(kind, output[0] if isinstance(output, tuple) else output)

        handles.append(module.register_forward_hook(hook))

    try:
        (_hook_decoder if decodes else _hook_encoder)(model, on_input, on_output)
        yield record
    finally:
        for handle in handles:
            handle.remove()


Hook = Callable[["torch.nn.Module", Kind], None]


def _hook_encoder(model: PreTrainedModel, on_input: Hook, on_output: Hook) -> None:
    import torch

    anatomy = ALBERT if model.config.model_type == "albert" else KNOWN.get(model.config.model_type)
    if anatomy is None:
        return
    base = model.base_model
    embeddings = base.embeddings
    on_output(getattr(embeddings, "LayerNorm", None) or embeddings.norm, "embeddings")
    layers = attrgetter(anatomy.layers)(base)
    for layer in layers:
        on_input(attrgetter(anatomy.attention_out)(layer), "heads")
        on_input(attrgetter(anatomy.down)(layer), "neurons")
        if anatomy.output_norm:
            on_output(attrgetter(anatomy.attention_norm)(layer), "attention")
            on_output(attrgetter(anatomy.output_norm)(layer), "layer")
        else:
            on_input(attrgetter(anatomy.attention_norm)(layer), "attention")
            on_output(layer, "layer")
    inside = {id(module) for module in layers.modules()} | {id(module) for module in embeddings.modules()}
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and id(module) not in inside:
            on_input(module, "head")  # the last one that is called counts


def _hook_decoder(model: PreTrainedModel, on_input: Hook, on_output: Hook) -> None:
    from edgekit.models.stack import blocks_of, mlp_of

    kind, down = model.config.model_type, mlp_of(model).down
    blocks = blocks_of(model)
    on_input(blocks[0], "embeddings")
    side_by_side = kind == "phi" or (kind == "gpt_neox" and model.config.use_parallel_residual)
    for block in blocks:
        on_input(block.get_submodule(ATTENTION_OUT.get(kind, "self_attn.o_proj")), "heads")
        on_input(block.get_submodule(down), "neurons")
        on_output(block, "layer")
        if not side_by_side:
            on_input(block.get_submodule(MLP_NORM.get(kind, "post_attention_layernorm")), "attention")
    on_input(model.get_output_embeddings(), "head")


def _encoder_values(model: PreTrainedModel, task: Any, row: Row, record: Record, layers: int) -> dict[Part, np.ndarray]:
    import torch

    from edgekit.tasks.graph import graph_of

    given = [row.ids, row.mask, *([] if row.types is None else [row.types])]
    with torch.inference_mode():
        output = graph_of(task, model)(*(torch.from_numpy(array[None]) for array in given))
    found = _parts(record, layers)
    after = record.get("head", [])
    if after and _flat(after[-1]).shape[0] in (1, len(row.ids)) and not _same(after[-1], record.get("layer", [])):
        found[Part("head")] = _flat(after[-1])
    return {**found, Part("output"): _flat(output)}


def _decoder_values(model: PreTrainedModel, row: Row, record: Record) -> dict[Part, np.ndarray]:
    import torch

    with torch.inference_mode():
        output = model(input_ids=torch.from_numpy(row.ids[None]), use_cache=True)
    found = _parts(record, len(record["layer"]))
    found[Part("head")] = _flat(record["head"][-1])
    for number, layer in enumerate(getattr(output.past_key_values, "layers", ())):
        for kind, states in (("keys", layer.keys), ("values", layer.values)):
            if states.shape[2] == len(row.ids):  # a layer with a window keeps no more than that
                found[Part(kind, number)] = _flat(states.transpose(1, 2).flatten(2))  # type: ignore[arg-type]
    return {**found, Part("output"): _flat(output.logits)}


def _parts(record: Record, layers: int) -> dict[Part, np.ndarray]:
    """The record by part. A kind that some layers lack, as where all heads were pruned, cannot be told by its order and is left out."""
    found = {}
    for kind, tensors in record.items():
        if kind == "embeddings":
            found[Part(kind)] = _flat(tensors[0])
        elif kind != "head" and len(tensors) == layers:
            found |= {Part(kind, number): _flat(tensor) for number, tensor in enumerate(tensors)}
    return found


def _same(tensor: torch.Tensor, layers: list[torch.Tensor]) -> bool:
    """Whether `tensor` is what leaves the last layer."""
    return bool(layers) and tensor.shape == layers[-1].shape and bool((tensor == layers[-1]).all())


def _flat(tensor: torch.Tensor) -> np.ndarray:
    """(1, tokens, channels) or (1, channels) as float32 (tokens, channels)."""
    return np.ascontiguousarray(tensor.float().numpy().reshape(-1, tensor.shape[-1]))
