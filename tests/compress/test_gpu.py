"""Forward passes and training on a GPU: the same checkpoints as on the CPU, no tensors mixed between the two, and the CPU where there is no room."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from edgekit.compress.calibration import calibration_batches
from edgekit.compress.method import Work
from edgekit.compress.methods import prune_oneshot
from edgekit.compress.pruning.fisher import gradients
from edgekit.compress.pruning.whole_layers import block_influence, drop_layers
from edgekit.compress.registry import find_method
from edgekit.models import device as devices
from edgekit.models.checkpoint import load
from edgekit.models.shapes import shapes_of
from edgekit.tasks import find_task
from edgekit.train import loop as training
from tests.compress.decoder_rows import work_on
from tests.compress.pretend_gpu import CPU, GPU, Accelerated, pretended

ZEROS = {"method": "prune-unstructured", "how": "magnitude", "sparsity": 0.5}
TAUGHT = {"method": "distill", "epochs": 1}
STEPS: dict[str, list[dict[str, Any]]] = {
    "heads and neurons": [{"method": "prune-structured", "keep": 0.5, "rows": 64, "multiple_of": 8}],
    "layers": [{"method": "prune-structured", "layers": 2, "rows": 32}],
    "one shot": [
        {"method": "prune-oneshot", "keep": 0.5, "rows": 64, "multiple_of": 8, "trials": 3, "search_rows": 32}
    ],
    "wanda": [{"method": "prune-unstructured", "how": "wanda", "sparsity": 0.5, "rows": 64}],
    "sparsegpt": [{"method": "prune-unstructured", "pattern": "2:4", "rows": 64}],
    "gradual structures": [{
        "method": "prune-gradual", "what": "structures", "sparsity": 0.5, "epochs": 1, "steps": 1, "rows": 32, "multiple_of": 8,
    }],
    "gradual weights": [{"method": "prune-gradual", "what": "weights", "sparsity": 0.5, "epochs": 1, "steps": 2}],
    "learned": [{"method": "prune-learned", "keep": 0.7, "epochs": 1, "multiple_of": 8}],
    "teacher": [{**TAUGHT, "layers": 1, "relations": "minilmv2"}],
    "narrow student": [{**TAUGHT, "width": 16, "hidden": "none"}],
    "zeros that recover": [ZEROS, TAUGHT],
    "zeros that recover by LoRA": [ZEROS, {**TAUGHT, "lora": 2}],
    "zeros that are trained in int8": [ZEROS, {"method": "quantize-aware", "epochs": 1}],
}  # fmt: skip
ON_CPU = {"zeros that recover by LoRA": 2 * 3 * 6}
"""Matrix multiplications that stay on the CPU: masked adapters are put in and folded there, one each for each linear module of the three layers."""


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[torch.device], None]:
    """Makes forward passes and training run on a given device, also where there is a real GPU."""

    def choose(device: torch.device) -> None:
        monkeypatch.setattr(devices, "fastest_device", lambda model: device)
        monkeypatch.setattr(training, "Accelerator", lambda: Accelerated(device))

    return choose


def made(model: Path, rows: Path, folder: Path, steps: list[dict[str, Any]]) -> bytes:
    """The weights that the last of `steps` writes."""
    source = model
    for number, step in enumerate(steps):
        out, scratch = folder / f"out-{number}", folder / f"scratch-{number}"
        out.mkdir(parents=True)
        scratch.mkdir()
        method = find_method(step["method"])
        work = Work(
            source=source, original=model, dense=model, rows=rows, out=out, scratch=scratch,
            task="text-classification", max_length=32, seed=7, progress=lambda done, total, text: None,
        )  # fmt: skip
        method.run(work, method.settings.model_validate(step))
        source = out
    return (source / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", STEPS)
def test_a_step_writes_the_same_with_its_forward_passes_on_a_gpu(
    name: str, tiny_model: Path, tiny_artifact: Path, tmp_path: Path, on: Callable[[torch.device], None]
) -> None:
    on(CPU)
    plain = made(tiny_model, tiny_artifact, tmp_path / "plain", STEPS[name])
    on(GPU)
    with pretended() as there:
        found = made(tiny_model, tiny_artifact, tmp_path / "gpu", STEPS[name])
    assert there.matmuls[GPU] > 0 and there.matmuls[CPU] == ON_CPU.get(name, 0)
    assert found == plain


@pytest.mark.parametrize("name", ["question-answering", "token-classification", "feature-extraction"])
def test_losses_of_every_task_are_of_one_device(name: str, tmp_path: Path, on: Callable[[torch.device], None]) -> None:
    task = find_task(name)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32, "vocab_size": 60}
    torch.manual_seed(0)
    model = getattr(transformers, task.auto).from_config(transformers.BertConfig(**shape, num_labels=2)).eval()
    ids = torch.randint(5, 60, (16, 9))
    mask = (torch.arange(9) < torch.randint(4, 10, (16, 1))).long()
    feeds = [{"input_ids": ids, "attention_mask": mask}] * 6
    settings = prune_oneshot.Settings(method="prune-oneshot", keep=0.5, multiple_of=8, trials=2, search_rows=32)

    def everything() -> tuple[list[int], list[list[float]], float]:
        kept = drop_layers(copy.deepcopy(model), task, 1, feeds, lambda *_: None)
        found = gradients(model, task, shapes_of(model), [(feed, None) for feed in feeds[:2]], 7, lambda done: None)
        _, summary = prune_oneshot.prune(model, task, feeds, settings, lambda *_: None, scratch=tmp_path)
        return kept, [part.tolist() for part in (*found.heads, *found.neurons)], summary.loss

    on(CPU)
    plain = everything()
    on(GPU)
    with pretended():
        assert everything() == plain


def test_blocks_of_a_decoder_are_looked_at_on_one_device(tmp_path: Path, on: Callable[[torch.device], None]) -> None:
    work = work_on("llama", tmp_path)
    model, feeds = load(work.source, "AutoModelForCausalLM"), calibration_batches(work, 12, 5)
    on(CPU)
    plain = block_influence(model, feeds)
    on(GPU)
    with pretended() as there:
        assert block_influence(model, feeds) == plain
    assert there.matmuls[GPU] > 0 and there.matmuls[CPU] == 0


@pytest.mark.parametrize(
    "mixed",
    [
        lambda one, other: one @ other,
        lambda one, other: one.add_(other),
        lambda one, other: torch.cat([one, other]),
        lambda one, other: one.numpy(),
        lambda one, other: one + torch.ones(3),
    ],
)
def test_the_pretended_gpu_notices_what_a_real_one_refuses(mixed: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
    with pretended():
        one, other = torch.ones(3, 3).to(GPU), torch.ones(3, 3)
        assert (one.device, other.device, (one @ one).device, one.cpu().device) == (GPU, other.device, GPU, other.device)
        with pytest.raises((AssertionError, TypeError), match="cuda:7"):
            mixed(one, other)


def test_a_model_is_put_back_where_it_was(tiny_model: Path, on: Callable[[torch.device], None]) -> None:
    model = load(tiny_model, "AutoModelForSequenceClassification")
    on(GPU)
    with pretended(), pytest.raises(KeyError), devices.on_fastest_device(model) as device:
        assert device == GPU and next(model.parameters()).device == GPU
        raise KeyError
    assert next(model.parameters()).device.type == "cpu"


def test_a_gpu_is_taken_where_it_has_room(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny_model, "AutoModelForSequenceClassification")
    size = sum(4 * parameter.numel() for parameter in model.parameters())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.fastest_device(model).type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for free, wanted in ((devices.ROOM * size + 1, "cuda"), (devices.ROOM * size, "cpu")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 10 * free))
        assert devices.fastest_device(model).type == wanted
