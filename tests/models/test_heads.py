"""What heads mean, as transformers reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, TextClassificationPipeline

from edgekit.models.heads import head_of, labels_fault
from tests.bounded import grows_in_line


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
        faults = head.faults(wanted)
        assert (not faults) if wanted == kind else (len(faults) == 1 and faults[0].startswith(head.decided))


def test_what_transformers_refuses_is_refused() -> None:
    config = {"id2label": {"0": "LABEL_0"}, "problem_type": "single_label_classification"}
    with pytest.raises(ValueError, match="problem_type"):
        settings_of(config)
    for wanted in ("classes", "labels", "number", "score"):
        (fault,) = head_of(config).faults(wanted)
        assert fault.startswith('config.json, problem_type = "single_label_classification"')


SIGMOID, IDENTITY = "torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity"
ONE = {"id2label": {"0": "LABEL_0"}}


@pytest.mark.parametrize(
    ("config", "beside", "number", "score"),
    [
        (ONE, {}, "sigmoid", "sigmoid"),
        ({**ONE, "problem_type": "regression"}, {}, "identity", "sigmoid"),
        ({**ONE, "sbert_ce_default_activation_function": IDENTITY}, {}, "identity", "identity"),
        ({**ONE, "sentence_transformers": {"activation_fn": IDENTITY, "version": "4.0.0"}}, {}, "identity", "identity"),
        (ONE, {"activation_fn": IDENTITY}, "identity", "identity"),
        (ONE, {"activation_fn": SIGMOID}, "sigmoid", "sigmoid"),
        (ONE, {"activation_fn": None}, "sigmoid", "sigmoid"),
        ({**ONE, "sbert_ce_default_activation_function": SIGMOID}, {"activation_fn": IDENTITY}, "identity", "identity"),
        ({**ONE, "problem_type": "regression"}, {"activation_fn": SIGMOID}, "sigmoid", "sigmoid"),
        (ONE, {"activation_fn": "torch.nn.modules.activation.Tanh"}, None, None),
        (ONE, {"activation_fn": "my_package.Sigmoid"}, None, None),
    ],
)
def test_what_is_applied_to_one_logit(
    tmp_path: Path, config: dict[str, Any], beside: dict[str, Any], number: str | None, score: str | None
) -> None:
    if beside:
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "CrossEncoder", **beside}))
    head = head_of(config, tmp_path)
    assert (head.activation("number"), head.activation("score")) == (number, score)
    faults = head.faults("score")
    assert bool(faults) == (score is None) and all(
        "config_sentence_transformers.json, activation_fn" in fault for fault in faults
    )


@pytest.mark.parametrize(
    ("name", "document", "says"),
    [
        ("modules.json", [{"type": "sentence_transformers.base.modules.Transformer"}, {"type": "x.LogitScore"}], "LogitScore"),
        ("config_sentence_transformers.json", {"default_prompt_name": "web", "prompts": {"web": "search: "}}, "'search: '"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case"),
    ],
)
def test_what_a_cross_encoder_computes_besides_is_refused(tmp_path: Path, name: str, document: object, says: str) -> None:
    (tmp_path / name).write_text(json.dumps(document))
    (fault,) = head_of(ONE, tmp_path).faults("score")
    assert fault.startswith(name) and says in fault


def test_several_outputs_are_no_number() -> None:
    for config in ({"id2label": {"0": "a", "1": "b"}}, {"id2label": {"0": "a", "1": "b"}, "problem_type": "regression"}):
        (fault,) = head_of(config).faults("number")
        assert fault.startswith("config.json, id2label: 2 outputs")


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


def test_many_labels_are_compared_in_line_with_their_number() -> None:
    def work(size: int) -> Callable[[], object]:
        names = {str(number): f"a{number}" for number in range(size)}
        return lambda: labels_fault(names)

    grows_in_line(work, 500)
    assert "duplicate labels: b" in (labels_fault({"0": "b", "1": "a", "2": "b"}) or "")
