"""The servers asked by clients that others wrote, from the package registry: OpenAI's, Triton's, and a fuzzer that reads the schema."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.serve.limits import Limits
from tests.runtime.serve.serving import LIMITS, Server, served
from tests.waiting import wait_for

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
CONSTRAINTS = HERE.parents[2] / "constraints.txt"
CLIENTS = ("openai", "tritonclient[http]", "schemathesis")


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of the programs of an environment that holds the clients and nothing of edgekit; EDGEKIT_CLIENTS names a ready one."""
    if "EDGEKIT_CLIENTS" in os.environ:
        yield Path(os.environ["EDGEKIT_CLIENTS"]) / "bin"
        return
    venv = tmp_path_factory.mktemp("clients") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(CONSTRAINTS), *CLIENTS], check=True)
    yield venv / "bin"
    shutil.rmtree(venv)  # 250 MB, which pytest would keep


@pytest.fixture(scope="session")
def ask(clients: Path) -> Callable[..., Any]:
    """Runs one of the scripts beside this file and gives what it prints."""

    def asked(script: str, *words: str) -> Any:
        command = [str(clients / "python"), str(HERE / script), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return asked


def test_openais_client_completes(writing: Server, ask: Callable[..., Any]) -> None:
    found = ask("ask_openai.py", f"http://localhost:{writing.port}", writing.name, "write")
    language = writing.app.model.language
    assert language is not None
    wanted = language.generate("the end", Sampling(max_new_tokens=12))
    said = language.generate([[{"role": "user", "content": "the end"}]], Sampling(max_new_tokens=12))[0]
    assert found["models"] == [writing.name]
    assert found["text"] == found["streamed"] == wanted.text
    assert found["ended"] == wanted.ended
    assert found["usage"] == found["stream_usage"] == len(wanted.tokens)
    assert found["message"] == found["message_streamed"] == said.text
    assert found["formed"] == found["formed streamed"] and found["formed"]["n"] in (1, 22)
    assert found["chosen"] in ("he", "she") and found["several"] == [0, 1, 2]
    assert found["likely"] and all(value <= 0 and most == 2 for value, most in found["likely"])
    assert found["likely before"] and found["likely before"][0] == found["likely before"][1] > 0
    kinds = {name: refusal[:2] for name, refusal in found["refusals"].items()}
    assert kinds == {name: ["BadRequestError", 400] for name in ("unknown field", "not a number", "tools")}
    assert "did you mean 'temperature'" in found["refusals"]["unknown field"][2]
    wait_for(lambda: writing.metric("edgekit_in_flight_requests") == 1)


def test_openais_client_calls_tools(calling: Server, ask: Callable[..., Any]) -> None:
    found = ask("ask_openai.py", f"http://localhost:{calling.port}", calling.name, "tools")
    ((number, name, arguments),) = found["called"]
    assert len(number) == 9 and name == "weather" and json.loads(arguments)["city"] in ("Oslo", "Rome")
    assert found["finish"] == found["streamed finish"] == "tool_calls" and found["content"] is None
    assert [call[1:] for call in found["streamed"]] == [[name, arguments]]
    assert isinstance(found["after"], str) and found["cut"] == "length"
    assert found["refusals"]["unknown tool"][:2] == ["BadRequestError", 400]


def test_openais_client_embeds(embedding: Server, ask: Callable[..., Any]) -> None:
    found = ask("ask_openai.py", f"http://localhost:{embedding.port}", embedding.name, "embed")
    wanted = [embedding.app.model(text)["embedding"] for text in ("turn on the light", "is it on")]
    assert found["vectors"] == [pytest.approx(vector) for vector in wanted]
    assert found["tokens"] == 11
    kinds = {name: refusal[:2] for name, refusal in found["refusals"].items()}
    assert kinds == {
        "unknown model": ["NotFoundError", 404], "too many": ["APIStatusError", 413], "other task": ["NotFoundError", 404]
    }  # fmt: skip


def test_tritons_client_infers(classifying: Server, ask: Callable[..., Any]) -> None:
    found = ask("ask_triton.py", f"localhost:{classifying.port}", classifying.name, "label")
    wanted = [[answer["label"]] for answer in classifying.app.model(["turn on the light", "ünïcode 🙂"])]
    assert [found[name] for name in ("live", "ready", "model ready", "other ready")] == [True, True, True, False]
    assert found["server"]["extensions"] == ["binary_tensor_data"]
    assert found["metadata"]["name"] == classifying.name
    for way in ("default", "json in", "all json", "chosen", "version", "asynchronous"):
        assert found[way] == wanted, way
    assert "[404]" in found["no model"]
    assert "send text" in found["no input"]
    assert "uncompressed" in found["compressed"]
    assert "'classification': unknown" in found["class count"]


@pytest.mark.parametrize("task", ["classifier", "embedder", "writer"])
def test_a_fuzzer_finds_nothing(
    request: pytest.FixtureRequest, clients: Path, transport: str, task: str, tmp_path: Path
) -> None:
    limits = Limits(batch=LIMITS.batch, queue=8, linger_seconds=0.5)
    with served(request.getfixturevalue(task), transport, limits) as server:
        words = ["--config-file", str(HERE / "schemathesis.toml"), "run", f"http://localhost:{server.port}/openapi.json",
                 "--checks", "all", "--max-examples", "60", "--seed", "1"]  # fmt: skip
        done = subprocess.run(
            [str(clients / "schemathesis"), *words], capture_output=True, text=True, check=False, timeout=400, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "Tested: " in done.stdout
        assert server.ask("GET", "/v2/health/ready")[0] == 200
