"""sentence-transformers folders: poolings of both file forms are read, and what the graph does not compute is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.models.sentence import pooling_fault, pooling_of, sentence_faults

OLD, NEW = "sentence_transformers.models.", "sentence_transformers.sentence_transformer.modules.pooling."


def folder_of(place: Path, kinds: list[str], pooling: dict[str, Any] | None = None, **files: Any) -> Path:
    modules = [{"idx": number, "path": f"{number}_{kind}", "type": f"{OLD}{kind}"} for number, kind in enumerate(kinds)]
    (place / "modules.json").write_text(json.dumps(modules))
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {"pooling_mode_mean_tokens": True}))
    for name, document in files.items():
        (place / f"{name}.json").write_text(json.dumps(document))
    return place


@pytest.mark.parametrize(
    ("document", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode": "max"}, None),
        ({"pooling_mode": ["mean", "cls"]}, None),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, None),
        ({"pooling_mode_lasttoken": True}, None),
        ({}, None),
    ],
)
def test_pooling(document: dict[str, Any], pooling: str | None) -> None:
    assert pooling_of(document) == pooling and (pooling_fault(document) is None) == (pooling is not None)


def test_what_is_computed_has_no_fault(tmp_path: Path) -> None:
    settings, prompts = {"max_seq_length": 256, "do_lower_case": False}, {"prompts": {"query": ""}, "default_prompt_name": None}
    made = folder_of(
        tmp_path, ["Transformer", "Pooling", "Normalize"], sentence_bert_config=settings, config_sentence_transformers=prompts
    )
    assert sentence_faults(made) == [] and sentence_faults(tmp_path / "1_Pooling") == []


@pytest.mark.parametrize("kind", ["Dense", "LSTM", "CNN", "WeightedLayerPooling", "LayerNorm", "Router", "SpladePooling"])
def test_other_modules_are_named(tmp_path: Path, kind: str) -> None:
    (fault,) = sentence_faults(folder_of(tmp_path, ["Transformer", "Pooling", kind]))
    assert "modules.json" in fault and f"{kind} (2_{kind})" in fault


def test_poolings_prompts_and_lower_case_are_named(tmp_path: Path) -> None:
    made = folder_of(
        tmp_path, ["Transformer", "Pooling"], {"pooling_mode": "weightedmean"}, sentence_bert_config={"do_lower_case": True},
        tokenizer={"normalizer": {"type": "BertNormalizer", "lowercase": False}},
        config_sentence_transformers={"prompts": {"query": "query: "}, "default_prompt_name": "query"},
    )  # fmt: skip
    faults = sentence_faults(made)
    assert [fault.split(":")[0].split(",")[0] for fault in faults] == [
        "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json",
    ]  # fmt: skip
    assert "'query: '" in faults[2]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"normalizer": {"type": "BertNormalizer", "lowercase": True}}))
    assert len(sentence_faults(made)) == 2, "a tokenizer that lower-cases by itself does what is asked"
