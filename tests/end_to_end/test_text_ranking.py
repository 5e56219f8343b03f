"""A cross-encoder through the whole line, beside sentence-transformers' CrossEncoder; and its server beside the clients' own forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from sklearn.metrics import ndcg_score

from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.plan.make import make_plan
from edgekit.runtime.bundle.verify import verify
from edgekit.tasks import encoder_task
from tests.runtime.serve.serving import served
from tests.tiny_heads import MAX_LENGTH, SHRUNK, TEXTS, eager_answers, export, made_model, recipe, sentence, write_rows

IDENTITY = "torch.nn.modules.linear.Identity"
QUERIES: list[Any] = [{"query": text, "passages": [other for other in TEXTS if other != text]} for text in TEXTS]


def ranked_rows(count: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        passages = [sentence(draw) for _ in range(5)]
        rows.append({"query": sentence(draw, 3), "passages": passages, "relevance": draw.integers(0, 3, 5).tolist()})
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("ranking")
    made_model(folder / "model", ["LABEL_0"], sbert_ce_default_activation_function=IDENTITY)
    write_rows(folder, ranked_rows(36))
    return export(recipe(folder, "text-ranking", SHRUNK))


def test_scores_and_order_are_the_cross_encoders(made: Any) -> None:
    reference = CrossEncoder(str(made.folder.parents[1] / "model"), max_length=MAX_LENGTH, device="cpu")
    for item in QUERIES:
        ranked = reference.rank(item["query"], item["passages"], show_progress_bar=False)
        answer = made.original(item)
        assert answer["order"] == [one["corpus_id"] for one in ranked]
        assert [answer["scores"][place] for place in answer["order"]] == pytest.approx(
            [float(one["score"]) for one in ranked], rel=1e-3, abs=1e-3
        )
    assert made.bundle.bundle.manifest.activation == "identity"
    assert verify(made.folder)["ok"]


def test_quality_is_scikit_learns(made: Any) -> None:
    rows = [json.loads(line) for line in (made.folder.parents[1] / "test.jsonl").read_text().splitlines()]
    gains, places = [], []
    for row in rows:
        answer = made.bundle({"query": row["query"], "passages": row["passages"]})
        gains.append(ndcg_score([row["relevance"]], [answer["scores"]], k=10))
        hits = [place for place, index in enumerate(answer["order"], 1) if row["relevance"][index] > 0]
        places.append(1 / hits[0] if hits else 0.0)
    quality = made.bundle.bundle.manifest.quality
    assert quality.metric == "nDCG@10" and quality.bundle == pytest.approx(np.mean(gains), abs=1e-6)
    assert quality.beside["MRR"].value == pytest.approx(np.mean(places))


@pytest.mark.parametrize(
    "config",
    [{}, {"problem_type": "regression"}, {"sentence_transformers": {"activation_fn": IDENTITY, "version": "4.1.0"}}],
)
def test_the_activation_is_the_cross_encoders(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = made_model(tmp_path / "model", ["LABEL_0"], **config)
    reference = CrossEncoder(str(folder), max_length=MAX_LENGTH, device="cpu")
    activation = "identity" if "sentence_transformers" in config else "sigmoid"
    for item, answer in zip(QUERIES, eager_answers(folder, "text-ranking", QUERIES, activation=activation), strict=True):
        wanted = reference.predict([(item["query"], passage) for passage in item["passages"]], show_progress_bar=False)
        assert answer["scores"] == pytest.approx(wanted.tolist(), rel=1e-3, abs=1e-3)


def test_a_saved_cross_encoder_of_this_release(tmp_path: Path) -> None:
    """As sentence-transformers 6 writes it: the activation stands beside config.json."""
    source = made_model(tmp_path / "source", ["LABEL_0"])
    CrossEncoder(str(source), device="cpu", activation_fn=torch.nn.Identity()).save_pretrained(str(tmp_path / "model"))
    item = QUERIES[0]
    reference = CrossEncoder(str(tmp_path / "model"), max_length=MAX_LENGTH, device="cpu")
    wanted = reference.predict([(item["query"], passage) for passage in item["passages"]], show_progress_bar=False)
    (answer,) = eager_answers(tmp_path / "model", "text-ranking", [item], activation="identity")
    assert answer["scores"] == pytest.approx(wanted.tolist(), rel=1e-3, abs=1e-3) and min(answer["scores"]) < 0


def test_a_model_of_classes_is_refused_by_name(tmp_path: Path) -> None:
    made_model(tmp_path / "model", ["no", "yes"])
    write_rows(tmp_path, ranked_rows(24))
    with pytest.raises(BadInput) as caught:
        make_plan(str(recipe(tmp_path, "text-ranking")), ["x86-vnni"], detect())
    assert "config.json, id2label: 2 outputs" in caught.value.text()


def test_evidence_where_nothing_is_relevant() -> None:
    task = encoder_task("text-ranking")
    outputs = [np.array([[score]], dtype=np.float32) for score in (0.1, 0.9)]
    assert task.evidence(outputs, [], {"relevance": [0, 0]}, []) == [0.0, 0.0]
    assert task.evidence(outputs, [], {"relevance": [1, 0]}, []) == pytest.approx([1 / np.log2(3), 0.5])


def test_rerank_over_http(made: Any) -> None:
    bundle = made.bundle
    item = {"query": TEXTS[0], "passages": TEXTS[1:4]}
    wanted = bundle(item)
    with served(made.folder, "plain") as server:
        asked = {"model": server.name, "query": item["query"], "documents": item["passages"]}
        status, _, found = server.ask("POST", "/v1/rerank", asked)  # as Jina's clients do
        assert status == 200 and [one["index"] for one in found["results"]] == wanted["order"]
        assert [one["relevance_score"] for one in found["results"]] == pytest.approx(
            [wanted["scores"][n] for n in wanted["order"]]
        )
        assert found["usage"]["total_tokens"] > 0 and "document" not in found["results"][0]
        documents = [{"text": text} for text in item["passages"]]
        more = {**asked, "documents": documents, "top_n": 2, "return_documents": True, "max_tokens_per_doc": 4096}
        status, _, found = server.ask("POST", "/v2/rerank", more)  # as Cohere's do
        assert status == 200
        assert [one["document"]["text"] for one in found["results"]] == [item["passages"][n] for n in wanted["order"][:2]]
        for change, where in (
            ({"query": " "}, "query"), ({"documents": []}, "documents"), ({"documents": ["a", 3]}, "documents[1]"),
            ({"documents": ["a", " "]}, "documents[1]"), ({"top_n": 0}, "top_n"), ({"return_documents": "yes"}, "return_documents"),
            ({"docs": ["a"]}, "body"),
        ):  # fmt: skip
            status, _, found = server.ask("POST", "/v1/rerank", {**asked, **change})
            assert (status, found["error"]["param"]) == (400, where)
            said = found["error"]["message"]
            status, _, found = server.ask("POST", "/v2/rerank", {**asked, **change})  # Cohere's client shows `message`
            assert (status, found["message"], found["where"]) == (400, said, where)
        assert server.ask("POST", "/v1/rerank", {**asked, "documents": ["a"] * 5})[0] == 413
        tensors = [{"name": name, "datatype": "BYTES", "shape": [3], "data": data}
                   for name, data in (("query", [item["query"]] * 3), ("passages", item["passages"]))]  # fmt: skip
        status, _, found = server.ask("POST", f"/v2/models/{server.name}/infer", {"inputs": tensors})
        assert status == 200 and found["outputs"][0]["data"] == pytest.approx(wanted["scores"])
        for tensor, data in zip(tensors, (item["query"], json.dumps(item["passages"])), strict=True):
            tensor |= {"shape": [1], "data": [data]}
        status, _, found = server.ask("POST", f"/v2/models/{server.name}/infer", {"inputs": tensors})
        assert status == 200 and found["outputs"][0]["data"] == pytest.approx(wanted["scores"])
        _, _, document = server.ask("GET", "/openapi.json")
        faults = [document["paths"][f"/v{version}/rerank"]["post"]["responses"]["400"] for version in (1, 2)]
        assert faults[0] != faults[1]
        assert {"/v1/rerank", "/v2/rerank"} <= set(document["paths"])


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("a", "an object"),
        ({"query": "a"}, "an object"),
        ({"query": "a", "passages": []}, "no list"),
        ({"query": "a", "passages": [3]}, "int"),
    ],
)
def test_inputs_that_cannot_be_ranked(made: Any, item: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        made.bundle(item)
