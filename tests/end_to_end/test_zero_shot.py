"""An entailment model and labels of one's own through the whole line, beside transformers' zero-shot pipeline."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.heads import head_of
from edgekit.plan.make import make_plan
from edgekit.runtime.bench.measure import measure
from edgekit.runtime.bundle.verify import verify
from tests.runtime.serve.serving import served
from tests.tiny_heads import MAX_LENGTH, SHRUNK, TEXTS, eager_answers, export, made_model, recipe, sentence, write_rows

NLI = ["contradiction", "neutral", "entailment"]
LABELS = ["food", "Paris and London", "ada"]


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"labels": LABELS, **more, "text": text}


INPUTS = [
    *map(asked, TEXTS), *(asked(text, multi_label=True) for text in TEXTS), asked(TEXTS[1], labels=["food"]),
    asked(TEXTS[1], template="We went: {}"), asked(TEXTS[1], labels="food, ada , "),
]  # fmt: skip


@cache
def reference(folder: Path) -> Any:
    made = pipeline("zero-shot-classification", str(folder), device="cpu")
    made.tokenizer.model_max_length = MAX_LENGTH
    return made


def wanted(folder: Path, item: dict[str, Any]) -> dict[str, float]:
    found = reference(folder)(
        item["text"], candidate_labels=item["labels"], hypothesis_template=item.get("template", "This example is {}."),
        multi_label=item.get("multi_label", False),
    )  # fmt: skip
    return dict(zip(found["labels"], found["scores"], strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("zero-shot")
    made_model(folder / "model", NLI)
    draw = np.random.default_rng(0)
    write_rows(folder, [{"text": sentence(draw), "label": LABELS[draw.integers(3)]} for _ in range(48)])
    return export(recipe(folder, "zero-shot-classification", SHRUNK))


def test_scores_are_the_pipelines(made: Any) -> None:
    folder = made.folder.parents[1] / "model"
    for item in INPUTS:
        answer, scores = made.original(item), wanted(folder, item)
        assert {one["label"]: one["score"] for one in answer["scores"]} == pytest.approx(scores, abs=1e-3)
        assert scores[answer["label"]] == pytest.approx(max(scores.values()), abs=1e-3)
    assert verify(made.folder)["ok"]


def test_candidates_are_the_labels_of_all_rows(made: Any) -> None:
    rows = [json.loads(line) for line in (made.folder.parents[1] / "test.jsonl").read_text().splitlines()]
    right = [made.bundle(asked(row["text"], labels=sorted(LABELS)))["label"] == row["label"] for row in rows]
    quality = made.bundle.bundle.manifest.quality
    assert quality.metric == "accuracy" and quality.bundle == pytest.approx(np.mean(right))


def test_an_entailment_that_comes_first(tmp_path: Path) -> None:
    """transformers takes the last output for contradiction then."""
    folder = made_model(tmp_path / "model", ["ENTAILMENT", "neutral", "contradiction"])
    for item in (asked(TEXTS[0]), asked(TEXTS[0], multi_label=True)):
        (answer,) = eager_answers(folder, "zero-shot-classification", [item], labels=["ENTAILMENT", "neutral", "contradiction"])
        assert {one["label"]: one["score"] for one in answer["scores"]} == pytest.approx(wanted(folder, item), abs=1e-3)


@pytest.mark.parametrize(
    ("labels", "numbers", "says"),
    [
        (["no", "yes"], None, "id2label: 0 of the labels 'no', 'yes'"),
        (["entailment", "entail_more"], None, "id2label: 2 of the labels"),
        (["entailment"], None, "id2label"),
        (["no", "entailment"], {"no": 1, "entailment": 0}, "label2id"),
    ],
)
def test_a_model_without_entailment_is_refused(labels: list[str], numbers: dict[str, int] | None, says: str) -> None:
    names = {str(number): name for number, name in enumerate(labels)}
    config = {"id2label": names, "label2id": numbers or {name: number for number, name in enumerate(labels)}}
    (fault,) = head_of(config).faults("entailment")
    assert fault.startswith("config.json, ") and says in fault


def test_the_plan_refuses_it_by_name(tmp_path: Path) -> None:
    made_model(tmp_path / "model", ["no", "yes"])
    write_rows(tmp_path, [{"text": f"a {number}", "label": "food"} for number in range(24)])
    with pytest.raises(BadInput) as caught:
        make_plan(str(recipe(tmp_path, "zero-shot-classification")), ["x86-vnni"], detect())
    assert "begin with entail" in caught.value.text()
    tuned = recipe(tmp_path, "zero-shot-classification", "[model.finetune]\nepochs = 1\n")
    with pytest.raises(BadInput, match="finetune: rows of zero-shot-classification do not say") as caught:
        make_plan(str(tuned), ["x86-vnni"], detect())


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("a", "an object"), ({"text": "a"}, "an object"), (asked("a", labels=[]), "no list of labels"),
        (asked("a", labels=[3]), "labels[0]: a text must be a string, not int"),
        (asked("a", labels='["food", "ada"]'), "labels: a text that begins as a list"),
        (asked("a", template="no place"), "one {}"), (asked("a", template="{} {}"), "one {}"), (asked("a", template="{:>9999}"), "one {}"),
        (asked("a", multi_label="yes"), "true or false"), (asked("a", labels=["food " * 40]), "no room"), (asked(""), "empty"),
    ],
)  # fmt: skip
def test_inputs_that_cannot_be_asked(made: Any, item: Any, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        made.bundle(item)
    assert says in caught.value.text()


def test_it_can_be_measured(made: Any, tmp_path: Path) -> None:
    """A benchmark's process knows no names of outputs, and an answer wants one of entailment."""
    items = tmp_path / "items.jsonl"
    items.write_text("".join(json.dumps(asked(text)) + "\n" for text in TEXTS[:4]))
    spec = {
        "kind": "onnx", "folder": str(made.folder / "variants" / "bundle"), "model": "model.onnx", "items": str(items),
        "task": "zero-shot-classification", "max_length": MAX_LENGTH, "provider": "CPUExecutionProvider", "threads": 1,
        "session_config": {}, "seconds": 0.01, "min_runs": 5, "max_warmup_seconds": 0.01, "seed": 7, "scenarios": ["real"],
    }  # fmt: skip
    assert measure(spec)["phases"]["postprocess_ms"] > 0


def test_over_http(made: Any) -> None:
    with served(made.folder, "plain") as server:

        def infer(labels: list[str], **parameters: Any) -> tuple[int, Any]:
            tensors = [
                {"name": name, "datatype": "BYTES", "shape": [2], "data": data}
                for name, data in (("text", TEXTS[:2]), ("labels", labels))
            ]
            status, _, found = server.ask(
                "POST", f"/v2/models/{server.name}/infer", {"inputs": tensors, "parameters": parameters}
            )
            return status, found

        labels = ["food, drink", "ada"]
        for more in ({}, {"multi_label": True}):
            status, found = infer([json.dumps(labels)] * 2, **more)
            first = made.bundle(asked(TEXTS[0], **more, labels=labels))
            assert status == 200 and found["outputs"][0]["shape"] == [2, 2]
            assert found["outputs"][0]["data"][:2] == [one["label"] for one in first["scores"]]
            assert found["outputs"][1]["data"][:2] == pytest.approx([one["score"] for one in first["scores"]])
        for given, says in (
            (['["food", "ada"]', '["food"]'], "different lengths"), (["food, ada"] * 2, "labels[0]: not a JSON list of labels"),
            (['["food"]', '["food", " "]'], "labels[1][1]: the text is empty"),
        ):  # fmt: skip
            status, found = infer(given)
            assert status == 400 and says in found["error"]
        status, found = infer(['["food"]'] * 2, multi_label="yes")
        assert status == 400 and "multi_label is not true or false" in found["error"]
        _, _, found = server.ask("GET", f"/v2/models/{server.name}")
        assert [(one["name"], one.get("optional", False)) for one in found["inputs"]] == [
            ("text", False), ("labels", False), ("template", True)
        ]  # fmt: skip
        _, _, document = server.ask("GET", "/openapi.json")
        schema = document["paths"][f"/v2/models/{server.name}/infer"]["post"]["requestBody"]["content"]["application/json"][
            "schema"
        ]
        assert schema["properties"]["parameters"]["properties"]["multi_label"] == {"type": "boolean"}
        assert schema["properties"]["inputs"]["items"]["properties"]["name"]["enum"] == ["text", "labels", "template"]
        assert schema["properties"]["inputs"]["minItems"] == 2
