"""A variant folder made by hand, without torch: mean of embeddings, one MatMul, and a tokenizer of whole words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "turn", "on", "off", "the", "light", "red", "blue", "is", "it"]
LABELS = ["on", "off", "ask"]


def write_variant(folder: Path, *, width: int = 8, mask: bool = True, seed: int = 0) -> Path:
    """model.onnx, tokenizer.json and config.json in `folder`; logits (batch, 3)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(len(WORDS), width)).astype(np.float32)
    weight = generator.normal(size=(width, len(LABELS))).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceMean", ["rows", "axis"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
    ]
    shape = ["batch", "sequence"]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)]
    if mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT64, shape))
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])]
    constants = {"table": table, "weight": weight, "axis": np.array([1], dtype=np.int64)}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "model.onnx"))
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"id2label": {str(number): label for number, label in enumerate(LABELS)}, "vocab_size": len(WORDS)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_rows(path: Path, count: int = 30) -> Path:
    """Rows of three to eight words with labels."""
    generator = np.random.default_rng(0)
    rows = [
        {"text": " ".join(generator.choice(WORDS[4:], size=3 + number % 6)), "label": LABELS[number % 3]}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_items(path: Path) -> Path:
    """The texts of the rows, as a measuring process reads them."""
    texts = [json.loads(line)["text"] for line in write_rows(path).read_text().splitlines()]
    path.write_text("".join(json.dumps(text) + "\n" for text in texts))
    return path


def specification(folder: Path, items: Path, **changes: Any) -> dict[str, Any]:
    """What a measuring process is told, with tiny times."""
    return {
        "kind": "onnx",
        "folder": str(folder),
        "model": "model.onnx",
        "items": str(items),
        "task": "text-classification",
        "max_length": 32,
        "provider": "CPUExecutionProvider",
        "threads": 1,
        "session_config": {},
        "seconds": 0.01,
        "min_runs": 12,
        "max_warmup_seconds": 0.05,
        "seed": 1,
        "scenarios": ["text", "real", 16],
        **changes,
    }
