"""Embeddings of sentence-transformers folders: each pooling and module through export and the bundle's runtime, against the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as st

from edgekit.models.checkpoint import load
from edgekit.models.embedding import Embedding, embedding_of
from edgekit.models.files import digest
from edgekit.models.sentence import ACTIVATIONS, FLAGS, Dense, Sentence, read_sentence
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.errors import BadInput
from edgekit.runtime.model import Model
from tests.tiny_sentences import (
    HIDDEN,
    TEXTS,
    as_before_2,
    bundled,
    differences,
    edited,
    imported,
    reference,
    write_sentences,
    write_transformer,
)

MODES = tuple(FLAGS.values())
PROMPTS = {"query": "query: ", "document": "", "cased": "The CAT "}


@pytest.fixture(scope="session")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_transformer(tmp_path_factory.mktemp("sentences") / "base")


@pytest.fixture(scope="session")
def everything(transformer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six poolings, four modules, prompts, lower case, fewer numbers."""
    torch.manual_seed(1)
    return write_sentences(
        transformer, tmp_path_factory.mktemp("everything") / "model",
        [
            st.Pooling(HIDDEN, list(MODES)), st.Dense(6 * HIDDEN, 24, activation_function=torch.nn.Tanh()), st.LayerNorm(24),
            st.Dense(24, 24, bias=False, activation_function=torch.nn.GELU(), use_residual=True), st.Dropout(0.5),
            st.Dense(24, 16, activation_function=torch.nn.Identity(), use_residual=True), st.Normalize(),
        ],
        prompts=PROMPTS, default_prompt_name="cased", do_lower_case=True, truncate_dim=12, similarity_fn_name="dot",
    )  # fmt: skip


@pytest.fixture(scope="session")
def served(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    place = tmp_path_factory.mktemp("served")
    return bundled(imported(everything, place / "checkpoint"), place, graph="fused.onnx")


def alike(answers: list[dict[str, Any]], wanted: np.ndarray) -> None:
    cosine, largest = differences(answers, wanted)
    assert cosine >= 0.99999 and largest <= 1e-4


def test_every_module_at_once(everything: Path, served: Model) -> None:
    alike(served(TEXTS), reference(everything).encode(TEXTS))
    embeddings = served.bundle.manifest.embeddings
    assert embeddings is not None and embeddings.nested and not embeddings.normalised and embeddings.similarity == "dot"
    assert verify(served.bundle.folder)["ok"]


def test_prompts_by_name(everything: Path, served: Model) -> None:
    for name in PROMPTS:
        answers = served([{"text": text, "prompt_name": name} for text in TEXTS])
        alike(answers, reference(everything).encode(TEXTS, prompt_name=name))
    for item in (
        {"text": "a", "prompt_name": "other"},
        {"text": "a", "prompt_name": 3},
        {"text": "a", "prompt": "b"},
        {"prompt_name": "query"},
    ):
        with pytest.raises(BadInput):
            served(item)


@pytest.fixture(scope="session")
def plain(transformer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six poolings and nothing after them: their own numbers, of any length."""
    return write_sentences(transformer, tmp_path_factory.mktemp("plain") / "model", [st.Pooling(HIDDEN, list(MODES))])


def test_every_pooling_unnormalised(plain: Path, tmp_path: Path) -> None:
    alike(bundled(imported(plain, tmp_path / "checkpoint"), tmp_path)(TEXTS), reference(plain).encode(TEXTS))


def eager(folder: Path, texts: list[str]) -> np.ndarray:
    """The embeddings of a folder by the module that is exported, in PyTorch."""
    from edgekit.tasks import encoder_task
    from edgekit.tasks.encode import encode
    from edgekit.train.evaluate import outputs_of

    task = encoder_task("feature-extraction")
    rows: list[Any] = [{"text": text} for text in texts]
    found = outputs_of(load(folder, task.auto), task, encode(folder, rows, task, 24))
    return np.concatenate(found)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["new", "old"])
def test_each_pooling_in_both_forms_of_its_file(plain: Path, tmp_path: Path, mode: str, form: str) -> None:
    import shutil

    folder = shutil.copytree(plain, tmp_path / "model")
    flags = {flag: name == mode for flag, name in FLAGS.items()}
    new = {"embedding_dimension": HIDDEN, "pooling_mode": mode, "include_prompt": True}
    edited(
        folder / "1_Pooling/config.json",
        lambda it: (it.clear(), it.update(new if form == "new" else {"word_embedding_dimension": HIDDEN, **flags})),
    )
    wanted = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    ours = eager(imported(folder, tmp_path / "checkpoint"), TEXTS)
    assert ours.shape == wanted.shape == (len(TEXTS), HIDDEN) and np.abs(ours - wanted).max() <= 1e-4


def test_each_activation(tmp_path: Path) -> None:
    """All of them in one graph, against the classes that sentence-transformers would make."""
    from onnx_ir import save as save_onnx
    from onnxruntime import InferenceSession

    from edgekit.exporter.encoder import to_onnx

    torch.manual_seed(0)
    parts = [Embedding(Sentence(("cls",), (Dense("d", 8, 6, True, name, False),))) for name in ACTIVATIONS]

    class Every(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(parts)
            self.states = torch.nn.Embedding(50, 8)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return torch.cat([part(2 * self.states(input_ids), attention_mask) for part in self.parts], dim=1)

    every = Every().eval()
    ids = torch.randint(0, 50, (2, 5))
    save_onnx(to_onnx(every, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, "out", 8), tmp_path / "m.onnx")
    (found,) = InferenceSession(str(tmp_path / "m.onnx")).run(
        None, {"input_ids": ids.numpy(), "attention_mask": np.ones((2, 5), np.int64)}
    )
    pooled = 2 * every.states(ids)[:, 0]
    wanted = [getattr(torch.nn, name)()(part.parts[0].linear(pooled)) for name, part in zip(ACTIVATIONS, parts, strict=True)]
    assert np.abs(found - torch.cat(wanted, dim=1).detach().numpy()).max() <= 1e-5


def test_releases_before_2(transformer: Path, tmp_path: Path) -> None:
    """The transformer in a folder of its own, flags for poolings, three kinds of modules."""
    torch.manual_seed(2)
    modules = [
        st.Pooling(HIDDEN, ["cls", "mean"]),
        st.Dense(2 * HIDDEN, 20, activation_function=torch.nn.ReLU()),
        st.Normalize(),
    ]
    old = as_before_2(write_sentences(transformer, tmp_path / "new", modules, do_lower_case=True), tmp_path / "old")
    sentence, _ = read_sentence(old)
    assert sentence is not None and sentence.settings == "sentence_roberta_config.json" and sentence.lower_case
    checkpoint = imported(old, tmp_path / "checkpoint")
    wanted = SentenceTransformer(str(old), device="cpu").encode(TEXTS)
    assert np.abs(eager(checkpoint, TEXTS) - wanted).max() <= 1e-4
    assert np.abs(SentenceTransformer(str(checkpoint), device="cpu").encode(TEXTS) - wanted).max() <= 1e-4, (
        "read by the library"
    )
    before = digest(old)
    edited(old / "0_Transformer/sentence_roberta_config.json", lambda it: it.update(do_lower_case=False))
    changed = digest(old)
    (old / "2_Dense/model.safetensors").write_bytes((old / "2_Dense/model.safetensors").read_bytes()[:-1] + b"\0")
    assert len({before, changed, digest(old)}) == 3, "all that decides is in the digest"


def test_a_checkpoint_keeps_its_modules(everything: Path, tmp_path: Path) -> None:
    """Every step loads and saves."""
    once = imported(everything, tmp_path / "once")
    twice = imported(once, tmp_path / "twice")
    (sentence, faults), (again, _) = read_sentence(once), read_sentence(twice)
    assert sentence == again and not faults
    assert {path.name: path.read_bytes() for path in once.rglob("*.*") if path.is_file()} == {
        path.name: path.read_bytes() for path in twice.rglob("*.*") if path.is_file()
    }
    wanted = reference(everything).encode(TEXTS)
    assert np.abs(SentenceTransformer(str(twice), device="cpu").encode(TEXTS) - wanted).max() <= 1e-4


def test_without_modules_json_the_mean_has_length_1(transformer: Path) -> None:
    model = load(transformer, "AutoModel")
    assert embedding_of(model).sentence == Sentence()
    embedded = embedding_of(model)(torch.randn(2, 5, HIDDEN), torch.ones(2, 5))
    assert torch.allclose(embedded.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    "value", [torch.full((20, 2 * HIDDEN), float("nan")), torch.ones((20, 2 * HIDDEN), dtype=torch.int8)], ids=str
)
def test_weights_that_cannot_be_used(transformer: Path, tmp_path: Path, value: torch.Tensor) -> None:
    folder = write_sentences(
        transformer, tmp_path / "model", [st.Pooling(HIDDEN, ["cls", "mean"]), st.Dense(2 * HIDDEN, 20, bias=False)]
    )
    save_file({"linear.weight": value}, folder / "2_Dense/model.safetensors")
    with pytest.raises(BadInput, match="weights that cannot be used") as caught:
        load(folder, "AutoModel")
    assert "linear.weight" in caught.value.text() and "2_Dense" in caught.value.text()


def test_the_command_line_and_the_card(served: Model, capsys: pytest.CaptureFixture[str]) -> None:
    from edgekit.pack.card import write_card
    from edgekit.runtime.main import main

    bundle = str(served.bundle.folder)
    assert main(["run", bundle, "--json", "--prompt-name", "query", "the cat"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer == served({"text": "the cat", "prompt_name": "query"}) != served("the cat")
    assert main(["run", bundle, "--prompt-name", "other", "the cat"]) == 2
    assert main(["run", bundle, "--prompt-name", "query", '{"text": "a", "prompt_name": "query"}']) == 2
    audit = {"fallbacks": [], "matmuls_integer": 0, "matmuls_constant": 0, "matmuls_weight_only": 0, "kept_float": [], "kernels_observed": True,
             "notes": []}  # fmt: skip
    card = write_card(served.bundle.manifest, audit)
    assert (
        "compared by dot; they are not brought to length 1" in card
        and '"The CAT " is put before every text' in card
        and "'query'" in card
    )
