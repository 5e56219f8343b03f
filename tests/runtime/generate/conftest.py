"""A tiny language model with each kind of tokenizer, and a bundle of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.providers.session import open_session
from tests.runtime.generate.tiny_decoder import TINY, TinyDecoder, make_decoder, write_decoder
from tests.runtime.generate.tiny_language_bundle import make_bundle
from tests.runtime.generate.tiny_tokenizers import CHAT, KINDS


@pytest.fixture(scope="session")
def decoder() -> TinyDecoder:
    """For the tokenizer with byte fallback, with three rows of padding; it says letters more than bytes."""
    made = make_decoder(vocabulary=KINDS["byte_fallback"]().get_vocab_size() + 3)
    made.weights["head"][:, 5:261] *= 0.4
    return made


@pytest.fixture(scope="session")
def tiny_folder(decoder: TinyDecoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.onnx, its data, tokenizer.json and chat_template.jinja."""
    folder = write_decoder(decoder, tmp_path_factory.mktemp("decoder"))
    KINDS["byte_fallback"]().save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(CHAT)
    return folder


@pytest.fixture(scope="session")
def session(tiny_folder: Path) -> Any:
    return open_session(tiny_folder / "model.onnx")


@pytest.fixture
def fresh(session: Any, tiny_folder: Path) -> Callable[..., LanguageModel]:
    """Makes language models that have read nothing yet; `chat`: with the template; `prefix_bytes` as `language_model`, `block` as `Graph`."""

    def make(*, chat: bool = False, block: int = 8, **options: Any) -> LanguageModel:
        template = tiny_folder / "chat_template.jinja" if chat else None
        made = language_model(session, TINY, tiny_folder / "tokenizer.json", template, **options)
        return replace(made, graph=replace(made.graph, block=block))

    return make


@pytest.fixture
def model(fresh: Callable[..., LanguageModel]) -> LanguageModel:
    return fresh()


@pytest.fixture(scope="session")
def tiny_bundle(tiny_folder: Path, decoder: TinyDecoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tiny_folder, decoder, tmp_path_factory.mktemp("bundle"))
