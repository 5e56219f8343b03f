"""Made adapters of made checkpoints, saved by peft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers.pytorch_utils import Conv1D

from edgekit.models.quiet import quiet
from tests.matrix.made import write_json

__all__ = ["TASK_TYPES", "adapter"]

TASK_TYPES = {
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForTokenClassification": "TOKEN_CLS",
    "AutoModelForQuestionAnswering": "QUESTION_ANS",
    "AutoModelForCausalLM": "CAUSAL_LM",
    "AutoModel": "FEATURE_EXTRACTION",
}
"""transformers' class of a base -> what peft calls its task."""


def adapter(
    base: Path, folder: Path, auto: str, *, named: str | None = None, labels: int | None = None, **settings: Any
) -> Any:
    """An adapter of the checkpoint in `base` with random factors, in `folder`; returns peft's model, not merged, with which it was made.

    `named`: what it calls its base. `labels`: as many outputs of a new head, which is saved with it.
    """
    torch.manual_seed(3)
    with quiet():
        more = {} if labels is None else {"num_labels": labels, "ignore_mismatched_sizes": True}
        model = getattr(transformers, auto).from_pretrained(base, dtype=torch.float32, **more)
        inside = [
            name
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear | Conv1D) and any(part.isdigit() for part in name.split("."))
        ]
        asked = {"r": 4, "lora_alpha": 6, "target_modules": inside, "task_type": TASK_TYPES[auto], **settings}
        changed = get_peft_model(model, LoraConfig(**asked))
        with torch.no_grad():
            for name, parameter in changed.named_parameters():
                if parameter.requires_grad:
                    scale = 0.05 if "lora" in name else 0.25
                    parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))) * scale)
        changed.save_pretrained(str(folder))
    path = folder / "adapter_config.json"
    write_json(path, {**json.loads(path.read_text()), "base_model_name_or_path": named or str(base)})
    return changed.eval()
