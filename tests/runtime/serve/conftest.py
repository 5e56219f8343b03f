"""Bundles to serve, made once, and a server of each on both transports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.generate.tool_templates import MARKS, QWEN
from tests.runtime.serve.serving import IMPATIENT, TRANSPORTS, Server, make_bundle, served


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("classifier"), "text-classification")


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("embedder"), "feature-extraction")


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("writer"), "text-generation")


@pytest.fixture(scope="session")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose template reads tools, as Qwen's does."""
    return make_bundle(tmp_path_factory.mktemp("caller"), "text-generation", template=QWEN, marks=MARKS["qwen"], context=2048)


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def classifying(classifier: Path, transport: str) -> Iterator[Server]:
    with served(classifier, transport) as server:
        yield server


@pytest.fixture(scope="module")
def impatient(classifier: Path, transport: str) -> Iterator[Server]:
    """For tests of its limits of time; all other servers wait for as long as a busy machine makes its clients take."""
    with served(classifier, transport, IMPATIENT) as server:
        yield server


@pytest.fixture(scope="module")
def embedding(embedder: Path, transport: str) -> Iterator[Server]:
    with served(embedder, transport) as server:
        yield server


@pytest.fixture(scope="module")
def calling(caller: Path, transport: str) -> Iterator[Server]:
    with served(caller, transport) as server:
        yield server


@pytest.fixture(scope="module")
def writing(writer: Path, transport: str) -> Iterator[Server]:
    with served(writer, transport) as server:
        yield server
