"""One loaded model asked by many threads, by tasks of an event loop, and in a forked child: each gets its own right answer."""

from __future__ import annotations

import asyncio
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit.runtime.processors as processors_package
from edgekit.runtime.bundle.config import Config
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.model import Model, load
from edgekit.runtime.processors import processor
from edgekit.runtime.providers.session import open_session
from edgekit.runtime.tokenise import Tokeniser, Window, load_tokeniser
from tests.runtime.generate.tiny_tokenizers import KINDS, TEXTS
from tests.runtime.serve.serving import make_bundle
from tests.runtime.test_forks import in_child
from tests.tiny_manifest import tiny_manifest

THREADS, TURNS, LIMIT = 8, 6, 40
LONG = [*TEXTS, " ".join(TEXTS), " ".join(reversed(TEXTS)), "light", "the inn and the hat " * 30]
WORDS = [text.split() for text in LONG]
QUESTIONS = [{"question": text[:20], "context": other} for text, other in zip(LONG, reversed(LONG), strict=True)]
PAIRS = [{"text": text, "text_pair": other} for text, other in zip(LONG, reversed(LONG), strict=True)]
RANKED = [{"query": text[:20], "passages": [other, text]} for text, other in zip(LONG, reversed(LONG), strict=True)]
ASKED = [{"text": text, "labels": ["the hat", "an inn"], "multi_label": len(text) % 2 == 0} for text in LONG]
TASKS: dict[str, tuple[int, bool, tuple[str, ...], list[Any]]] = {
    "text-classification": (3, False, ("a", "b", "c"), [*LONG, *PAIRS]),
    "multi-label-classification": (3, False, ("a", "b", "c"), [*LONG, *PAIRS]),
    "token-classification": (3, True, ("O", "B-x", "I-x"), [*LONG, *WORDS, *({"words": words} for words in WORDS)]),
    "question-answering": (2, True, (), QUESTIONS),
    "feature-extraction": (8, False, (), LONG),
    "text-regression": (1, False, (), [*LONG, *PAIRS]),
    "text-ranking": (1, False, (), RANKED),
    "zero-shot-classification": (3, False, ("entailment", "neutral", "contradiction"), ASKED),
}
"""Task -> (outputs, whether of each token, labels, inputs)."""


@pytest.fixture(autouse=True)
def hasty() -> Iterator[None]:
    """Threads take turns a hundred thousand times a second instead of 200 times."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def tokenise(tmp_path_factory: pytest.TempPathFactory) -> Tokeniser:
    from tokenizers import processors

    tokenizer = KINDS["byte_level"]()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.save(str(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"))
    return load_tokeniser(tmp_path_factory.getbasetemp() / "tokenizer0" / "tokenizer.json", LIMIT, segments=True)


def graph(path: Path, vocabulary: int, outputs: int, *, per_token: bool) -> Path:
    """A table with a row for each token, or the mean of its rows."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]
    if not per_token:
        nodes.append(helper.make_node("ReduceMean", ["rows", "axis"], ["mean"], keepdims=0))
    made = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    table = np.random.default_rng(0).normal(size=(vocabulary, outputs)).astype(np.float32)
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axis")]
    whole = helper.make_graph(nodes, "rows", inputs, [made], constants)
    onnx.save(helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def plain(found: Any) -> Any:
    """What can be compared."""
    if isinstance(found, Window):
        arrays = (found.ids, found.types, found.offsets, found.words)
        return [None if array is None else array.tolist() for array in arrays], found.text, found.truncated, found.ready
    return [plain(one) for one in found] if isinstance(found, list) else found


def hammered(ask: Callable[[Any], Any], items: Sequence[Any], wanted: Sequence[Any], turns: int = TURNS) -> bool:
    """Whether each of many threads gets the wanted answer to every item, whatever the others ask meanwhile."""

    def worker(number: int) -> bool:
        order = np.random.default_rng(number).permutation(np.repeat(np.arange(len(items)), turns))
        return all(plain(ask(items[index])) == wanted[index] for index in order)

    with ThreadPoolExecutor(THREADS) as pool:
        return all(pool.map(worker, range(THREADS)))


async def gathered(ask: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    return list(await asyncio.gather(*(asyncio.to_thread(ask, item) for item in items)))


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_model_of_every_task(tokenise: Tokeniser, tmp_path: Path, task: str) -> None:
    outputs, per_token, labels, items = TASKS[task]
    vocabulary = tokenise.tokenizer.get_vocab_size()
    session = open_session(graph(tmp_path / "model.onnx", vocabulary, outputs, per_token=per_token))
    more = {"threshold": 0.5} if task == "multi-label-classification" else {}
    manifest = tiny_manifest(task=task, labels=labels, vocabulary=vocabulary, golden=1, max_length=LIMIT, **more)
    model = Model(Bundle(tmp_path, manifest, "", Config(), tmp_path), session, tokenise)
    wanted = [model(item) if isinstance(item, str | dict) else model([item])[0] for item in items]
    assert any(answer.get("truncated") for answer in wanted) or task == "question-answering"

    def ask(item: Any) -> Any:
        return model([item])[0]

    assert hammered(ask, items, wanted)
    assert asyncio.run(gathered(ask, items)) == wanted
    if hasattr(os, "fork"):
        assert in_child(lambda: hammered(ask, items, wanted, turns=1)) == 0


def test_inputs_of_all_tasks_on_one_tokenizer(tokenise: Tokeniser) -> None:
    """Texts, words, pairs and windows at once: what one needs of the tokenizer is nothing that another finds changed."""
    found = [file.name.replace("_", "-") for file in pkgutil.iter_modules(processors_package.__path__)]
    without_text = {"image-classification", "image-feature-extraction", "audio-classification", "automatic-speech-recognition"}
    assert set(TASKS) | {"text-generation"} | without_text == set(found)
    items: list[tuple[str, Any]] = []
    for task in found:
        if task in TASKS:
            items += [(task, item) for item in TASKS[task][3]]
        elif processor(task).texts(None) == (("text",), ()):
            items += [(task, item) for item in LONG]

    def ask(item: tuple[str, Any]) -> Any:
        return processor(item[0]).prepare(tokenise, item[1])

    wanted = [plain(ask(item)) for item in items]
    before = tokenise.tokenizer.to_str()
    assert hammered(ask, items, wanted, turns=2)
    assert tokenise.tokenizer.to_str() == before and '"truncation":null' in before.replace(" ", "")


def test_a_language_model_with_its_template_and_its_prefixes(tmp_path: Path) -> None:
    model = load(make_bundle(tmp_path, "text-generation"))
    begin = "the inn and the hat in the attic and "
    items: list[Any] = [begin + "the hat", begin + "the inn", begin, "tint", {"messages": [{"role": "user", "content": begin}]}]
    wanted = [model(item) for item in items]
    assert hammered(model, items, wanted, turns=2)
    assert asyncio.run(gathered(model, items)) == wanted
    if hasattr(os, "fork"):
        assert in_child(lambda: hammered(model, items, wanted, turns=1)) == 0
