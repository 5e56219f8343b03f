"""Merging an adapter into its base: peft does it, in float32, and nothing of the adapter is left out or changed by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import BadInput
from edgekit.models.adapter import WEIGHTS, Adapter, copy_files, saved_shapes, trained_as, write_config
from edgekit.models.files import ADAPTER
from edgekit.models.quiet import quiet
from edgekit.models.sentence import transformer_folder
from edgekit.models.shards import file_shapes
from edgekit.models.view import open_config, view
from edgekit.runtime.temporary import temporary_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from edgekit.runtime.jsontypes import JsonObject

__all__ = ["merge_adapter"]

PROBED = 8
"""Tokens of a text that adapter and merged model are compared on."""
TOLERANCE = 1e-3
"""Largest difference of their outputs, in units of the largest output."""


def merge_adapter(adapter: Adapter, out: Path, *, auto: str) -> JsonObject:
    """Write to `out` the checkpoint that base and adapter make, merged by peft in float32, with the adapter's tokenizer where it has one.

    `auto`: transformers' class of the model, where the adapter does not say which it was trained on. Tensors that neither base nor adapter
    has, such as a head, are not written.

    Returns how many tensors the adapter has, and what base and adapter are called.

    Raises:
        BadInput: peft does not take the adapter, leaves part of it out, or computes something else once it is merged.
    """
    import torch
    import transformers
    from peft import PeftModel
    from safetensors import SafetensorError

    builder = getattr(transformers, trained_as(adapter, auto))
    write_config(adapter, out)
    config = open_config(out)
    with (
        quiet(), view(transformer_folder(adapter.base)) as base, _bare(adapter) as changes, torch.random.fork_rng(devices=[]),
    ):  # fmt: skip
        torch.manual_seed(0)
        try:
            model, loaded = builder.from_pretrained(
                base, config=config, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True,
                ignore_mismatched_sizes=True, output_loading_info=True,
            )  # fmt: skip
            absent = {*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])}
            changed = PeftModel.from_pretrained(model, str(changes), torch_device="cpu")
            result = changed.load_adapter(str(changes), "default", torch_device="cpu")
        except (ValueError, RuntimeError, KeyError, TypeError, SafetensorError, OSError) as fault:
            said = " ".join(str(fault).split())[:300]
            raise BadInput(
                f"peft cannot put it on its base: {said or type(fault).__name__}", where=str(adapter.folder),
                fix=f"name the base that it was trained on in {ADAPTER}",
            ) from fault  # fmt: skip
        left = [f"not taken: {name}" for name in sorted(result.unexpected_keys) if not _twice(name, adapter.folder / WEIGHTS)]
        left += [f"not there: {name}" for name in sorted(result.missing_keys)]
        if left:
            raise BadInput(
                "adapter and base are of different models: peft would leave tensors out", where=str(adapter.folder / WEIGHTS),
                faults=left[:20], fix=f"name the base that it was trained on in {ADAPTER}",
            )  # fmt: skip
        _untie(model)
        before = _probe(changed.eval(), config.vocab_size)
        merged = changed.merge_and_unload()
        distance = (_probe(merged.eval(), config.vocab_size) - before).abs().max().item() / max(1.0, before.abs().max().item())
        if not distance <= TOLERANCE:
            raise BadInput(
                f"merged it computes something else than beside its base (largest difference {distance:.2g} of the outputs)",
                where=str(adapter.folder), fix="it cannot be held by weights; train one on linear modules inside the layers",
            )  # fmt: skip
        state = merged.state_dict()
        drawn = absent - set(saved_shapes(adapter))  # at random
        merged.save_pretrained(out, state_dict={name: value for name, value in state.items() if name not in drawn})
    copy_files(adapter, out)
    return {"base": adapter.base_name, "adapter": adapter.folder.name, "tensors": len(file_shapes(adapter.folder / WEIGHTS))}


def _untie(model: PreTrainedModel) -> None:
    """Give the output layer weights of its own, where it shares them with the embedding and one of both is changed: peft adds the change to
    the shared weights, and so to both."""
    import torch
    from peft.tuners.lora import LoraLayer

    first: Any = model.get_input_embeddings()
    last: Any = model.get_output_embeddings()
    if last is None or not (isinstance(first, LoraLayer) or isinstance(last, LoraLayer)):
        return
    first, last = (module.get_base_layer() if isinstance(module, LoraLayer) else module for module in (first, last))
    if first.weight is last.weight:
        last.weight = torch.nn.Parameter(last.weight.detach().clone())
        model.config.tie_word_embeddings = False


def _probe(model: torch.nn.Module, rows: int) -> torch.Tensor:
    """What `model` computes of some tokens, of all over the vocabulary of `rows`."""
    import torch

    ids = torch.linspace(0, rows - 1, 2 * PROBED).long().view(2, PROBED)
    with torch.inference_mode():
        output: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
    return output


@contextmanager
def _bare(adapter: Adapter) -> Iterator[Path]:
    """A folder of what peft reads of the adapter, and of nothing else."""
    with temporary_folder(adapter.folder) as made:
        (made / ADAPTER).write_text(json.dumps(dict(adapter.settings)), encoding="utf-8")
        (made / WEIGHTS).symlink_to((adapter.folder / WEIGHTS).resolve())
        yield made


def _twice(name: str, weights: Path) -> bool:
    """Whether a tensor is in the file under another name too, as peft writes biases of saved modules with `bias = "all"`."""
    from safetensors.torch import load_file

    tensors, other = load_file(weights), name.replace(".modules_to_save.", ".")
    return other != name and other in tensors and tensors[other].equal(tensors[name])
