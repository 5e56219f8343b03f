"""Tiny sentence-transformers folders that the library itself writes, and the whole way of one from its files to a bundle's answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit.models.checkpoint import load, save
from edgekit.models.embedding import embedding_of
from edgekit.models.settle import settle
from edgekit.pack.bundle import write_bundle
from edgekit.pack.golden import make_golden
from edgekit.pack.manifest import embeddings_of
from edgekit.runtime.model import Model
from edgekit.runtime.model import load as load_bundle
from edgekit.runtime.processors import Asked
from edgekit.tasks import encoder_task
from edgekit.tasks.encode import prompts_of
from tests.tiny_manifest import signature, tiny_manifest

HIDDEN, LONGEST = 32, 24
WORDS = "the a cat dog runs sleeps in garden house Paris London paris london on red blue light very good query : we like it is".split()  # noqa: SIM905 - as text is easier to read
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *WORDS,
    *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?",
]
VOCABULARY += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"]
TEXTS = [
    "the cat runs in Paris", "The CAT Runs IN PARIS, very good!", "a", "  two  spaces\tand a tab ", "Élan naïve 🙂 你好", "dog " * 60,
    "it is on the red light in the garden of a very good house",
]  # fmt: skip
"""Lower and mixed case, one letter, white space, other scripts, far over the limit."""


def write_transformer(folder: Path) -> Path:
    """A BERT of 2 layers and width 32 with random weights, whose cased tokenizer knows `VOCABULARY`."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False, strip_accents=False, model_max_length=LONGEST)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=48, initializer_range=0.3,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).eval().save_pretrained(folder)
    return folder


def write_sentences(base: Path, folder: Path, modules: Sequence[Any], **settings: Any) -> Path:
    """What SentenceTransformer saves of the transformer in `base` and `modules` after it. `settings`: of its constructor.

    `do_lower_case` is written as releases before 5.4 did, which left the tokenizer as it was.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    lower = settings.pop("do_lower_case", False)
    model = SentenceTransformer(modules=[Transformer(str(base)), *modules], device="cpu", local_files_only=True, **settings)
    model.save(str(folder), create_model_card=False)
    if lower:
        edited(folder / "sentence_bert_config.json", lambda it: it.update(do_lower_case=True))
    return folder


@cache
def reference(folder: Path) -> Any:
    """The folder as sentence-transformers loads it."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def imported(source: Path, out: Path) -> Path:
    """The checkpoint that the stage `original` makes of a folder."""
    model = load(source, "AutoModel")
    folder = Path(model.config.name_or_path)
    save(model, out, tokenizer_files_from=folder)
    settle(folder, out, inputs=True, lower_case=embedding_of(model).sentence.lower_case)
    return out


def bundled(checkpoint: Path, out: Path, *, graph: str = "model.onnx") -> Model:
    """The bundle's own runtime over the float32 graph of `checkpoint`."""
    from edgekit.exporter.encoder import export

    exported = out / "exported"
    exported.mkdir(parents=True)
    export(checkpoint, exported, task="feature-extraction", max_length=LONGEST)
    prompts = prompts_of(checkpoint, encoder_task("feature-extraction"))
    golden = make_golden(
        exported / graph, checkpoint / "tokenizer.json", "feature-extraction", TEXTS, Asked(), max_length=LONGEST,
        provider="CPUExecutionProvider", prompts=prompts,
    )  # fmt: skip
    vocabulary = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    manifest = tiny_manifest(
        task="feature-extraction", labels=[], vocabulary=vocabulary, golden=len(golden["rows"]), max_length=LONGEST,
        embeddings=embeddings_of(checkpoint), **signature(exported / graph),
    )  # fmt: skip
    files = {"model.onnx": exported / graph, "tokenizer.json": checkpoint / "tokenizer.json"}
    (out / "bundle").mkdir()
    write_bundle(out / "bundle", manifest, files=files, texts={"golden.json": json.dumps(golden)})
    return load_bundle(out / "bundle")


def differences(answers: list[dict[str, Any]], wanted: np.ndarray) -> tuple[float, float]:
    """(smallest cosine, largest difference of a number)."""
    ours = np.asarray([answer["embedding"] for answer in answers], dtype=np.float64)
    assert ours.shape == wanted.shape
    cosines = (ours * wanted).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(wanted, axis=1)
    return float(cosines.min()), float(np.abs(ours - wanted).max())


def as_before_2(folder: Path, out: Path) -> Path:
    """The same model as sentence-transformers before 2.0 laid it out: the transformer in 0_Transformer, types and settings of then."""
    listed = json.loads((folder / "modules.json").read_text())
    inner = out / "0_Transformer"
    inner.mkdir(parents=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.copytree(path, out / path.name)
        elif path.name not in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
            shutil.copyfile(path, inner / path.name)
    settings = json.loads((folder / "sentence_bert_config.json").read_text())
    kept = {"max_seq_length": LONGEST, "do_lower_case": settings.get("do_lower_case", False)}
    (inner / "sentence_roberta_config.json").write_text(json.dumps(kept))
    (out / "config.json").write_text(json.dumps({"__version__": "0.3.9"}))
    for module in listed:
        module["type"] = "sentence_transformers.models." + module["type"].rpartition(".")[2]
        module["path"] = module["path"] or "0_Transformer"
    (out / "modules.json").write_text(json.dumps(listed))
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())["pooling_mode"]
    flags = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens"}
    old = {
        f"pooling_mode_{flag}": name in (pooling if isinstance(pooling, list) else [pooling]) for name, flag in flags.items()
    }
    (out / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": HIDDEN, **old}))
    for path in out.glob("*_Dense/config.json"):
        dense = json.loads(path.read_text())
        path.write_text(json.dumps({key: dense[key] for key in ("in_features", "out_features", "bias", "activation_function")}))
    for path in out.glob("*_Normalize/config.json"):
        path.unlink()
    return out


Edit = Callable[[dict[str, Any]], object]


def edited(path: Path, edit: Edit) -> None:
    """Change a JSON file in place."""
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
