"""What heads mean, as transformers reads them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, TextClassificationPipeline

from edgekit.models.heads import head_of


@pytest.mark.parametrize(
    ("config", "kind", "decided"),
    [
        ({"id2label": {"0": "no", "1": "yes"}}, "classes", "no problem_type"),
        ({"id2label": {"0": "no", "1": "yes"}, "problem_type": "single_label_classification"}, "classes", "problem_type"),
        ({}, "classes", "no problem_type"),
        ({"id2label": {"0": "no", "1": "yes"}, "problem_type": "whatever"}, "classes", "problem_type"),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "multi_label_classification"}, "labels", "problem_type"),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "regression"}, "number", "problem_type"),
        ({"id2label": {"0": "LABEL_0"}}, "labels", "id2label"),
        ({"num_labels": 1}, "labels", "id2label"),
        ({"id2label": {"0": "LABEL_0"}, "problem_type": "regression"}, "number", "problem_type"),
    ],
)
def test_a_head_is_what_transformers_pipeline_makes_of_it(config: dict[str, object], kind: str, decided: str) -> None:
    head = head_of(config)
    assert head.kind == kind and "config.json" in head.decided and decided in head.decided
    function = {"classes": "softmax", "labels": "sigmoid", "number": "none"}[kind]
    assert applied_by_the_pipeline(config) == function
    for wanted in ("classes", "labels"):
        fault = head.fault(wanted)
        assert (fault is None) if wanted == kind else (fault is not None and fault.startswith(head.decided))


def test_what_transformers_refuses_is_refused() -> None:
    config = {"id2label": {"0": "LABEL_0"}, "problem_type": "single_label_classification"}
    with pytest.raises(ValueError, match="problem_type"):
        settings_of(config)
    fault = head_of(config).fault("classes")
    assert fault is not None and fault.startswith('config.json, problem_type = "single_label_classification"')


def settings_of(config: dict[str, Any]) -> BertConfig:
    names = config.get("id2label", {0: "LABEL_0"} if config.get("num_labels") == 1 else {0: "a", 1: "b"})
    return BertConfig(**{**config, "id2label": {int(number): name for number, name in names.items()}})


def applied_by_the_pipeline(config: dict[str, Any]) -> str:
    """What transformers' own pipeline does with logits of a model of `config`."""
    settings = settings_of(config)
    logits = torch.linspace(-1, 2, len(settings.id2label))[None]
    pipe = SimpleNamespace(model=SimpleNamespace(config=settings))
    scores = [one["score"] for one in TextClassificationPipeline.postprocess(pipe, {"logits": logits}, top_k=None)]
    functions = {"sigmoid": logits.sigmoid(), "softmax": logits.softmax(dim=-1), "none": logits}
    (found,) = (name for name, values in functions.items() if np.allclose(values[0], scores))
    return found
