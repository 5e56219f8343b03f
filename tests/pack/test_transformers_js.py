"""The layout of transformers.js: its own package, in Node, reads the golden inputs as the bundle does and computes what the bundle computes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.pack.layouts import find_layouts, transformers_js
from edgekit.runtime.bundle.manifest import Embeddings
from edgekit.runtime.bundle.open import Bundle, open_bundle
from edgekit.runtime.errors import BadInput
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.providers.session import open_session
from lanes.web.transformers_js import golden_faults, module


def written(bundle: Bundle, folder: Path) -> Path:
    (layout,) = find_layouts(["transformers-js"], bundle)
    folder.mkdir()
    layout.write(bundle, folder)
    return folder


def test_golden_inputs_in_node(bundle: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not module().is_file():
        pytest.skip("no node here, or not @huggingface/transformers; `make test-web` fetches it")
    faults, compared = golden_faults(node, open_bundle(bundle), tmp_path / "layout")
    assert faults == [] and compared > 20


def test_files_and_what_they_say(bundle: Path, tmp_path: Path) -> None:
    folder = written(open_bundle(bundle), tmp_path / "layout")
    assert (folder / "onnx" / "model_quantized.onnx").read_bytes() == (bundle / "model.onnx").read_bytes()
    config, tokenizer = (json.loads((folder / name).read_text()) for name in ("config.json", "tokenizer_config.json"))
    assert config["transformers.js_config"] == {"dtype": "q8"}
    assert config["id2label"] == json.loads((bundle / "config.json").read_text())["id2label"]
    assert tokenizer == {
        "cls_token": "[CLS]", "model_max_length": open_bundle(bundle).manifest.tokenizer.max_length, "pad_token": "[PAD]", "sep_token": "[SEP]",
        "tokenizer_class": "PreTrainedTokenizer",
    }  # fmt: skip


def test_spans_are_two_outputs(tmp_path: Path) -> None:
    spans = helper.make_tensor_value_info("span_logits", TensorProto.FLOAT, ["batch", "sequence", 2])
    given = helper.make_tensor_value_info("given", TensorProto.FLOAT, ["batch", "sequence", 2])
    graph = helper.make_graph([helper.make_node("Identity", ["given"], ["span_logits"])], "spans", [given], [spans])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "model.onnx")
    transformers_js._split_spans(tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")
    assert [output.name for output in session.get_outputs()] == ["start_logits", "end_logits"]
    values = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    starts, ends = session.run(None, {"given": values})
    assert (starts == values[..., 0]).all() and (ends == values[..., 1]).all()


@pytest.mark.parametrize(
    ("processor", "ends"),
    [
        ({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}, ["[CLS]", "[SEP]"]),
        ({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}, ["<s>", "</s>"]),
        ({"type": "ByteLevel"}, []),
        (
            {
                "type": "Sequence",
                "processors": [{"type": "ByteLevel"}, {"type": "BertProcessing", "sep": ["b", 1], "cls": ["a", 0]}],
            },
            ["a", "b"],
        ),
        ({}, []),
    ],
)
def test_special_tokens_by_their_part(processor: dict[str, object], ends: list[str]) -> None:
    assert transformers_js._ends(processor) == ends


def test_models_that_it_would_answer_otherwise_with_are_refused(bundle: Path) -> None:
    opened = open_bundle(bundle)
    prompted = Embeddings(Prompts({"query": "search: "}, "query"), "cosine", normalised=True, nested=False)
    manifest = replace(opened.manifest, task="feature-extraction", embeddings=prompted)
    with pytest.raises(BadInput) as refused:
        find_layouts(["transformers-js"], replace(opened, manifest=manifest))
    assert "'search: '" in refused.value.faults[0]
