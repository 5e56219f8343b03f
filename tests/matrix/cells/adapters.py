"""Adapters of peft: merged into a base that is there, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.matrix.adapters import adapter
from tests.matrix.cells.cell import LABELS, OUTPUTS, TASKS, Cell, Make, edited, rows_of
from tests.matrix.made import CORPUS, DECODERS, decoder, encoder, recipe, write_json, write_rows

__all__ = ["adapters"]

CAUSAL = "AutoModelForCausalLM"


def of_adapter(
    family: str, task: str, *, base_labels: list[str] | None = None, labels: list[str] | None = None, named: str = "base",
    edit: Callable[[Path], None] | None = None, config: dict[str, Any] | None = None, **settings: Any,
) -> Make:  # fmt: skip
    """An adapter in the folder `model` of a base in the folder `base`, with rows for `task`.

    `base_labels`: of the base's head. `labels`: of the adapter's own, where it has others.
    """
    had = OUTPUTS.get(task, LABELS if "classification" in task else []) if base_labels is None else base_labels

    def make(folder: Path) -> Path:
        if family in DECODERS:
            decoder(family, folder / "base")
            rows: list[dict[str, Any]] = [{"text": f"{text} {number}"} for number, text in enumerate(CORPUS * 2)]
        else:
            encoder(family, folder / "base", auto=TASKS[task], labels=had, **config or {})
            rows = rows_of(task, labels or had or ["a"])
        auto = CAUSAL if family in DECODERS else TASKS[task]
        adapter(folder / "base", folder / "model", auto, named=named, labels=len(labels) if labels else None, **settings)
        if edit is not None:
            edit(folder / "model")
        write_rows(folder, rows)
        return recipe(folder, task, longest=48 if task in ("question-answering", "text-generation") else 24)

    return make


def of_sentences(folder: Path) -> Path:
    """sentence-transformers' own folder of a model with an adapter."""
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    encoder("bert", folder / "base", auto="AutoModel")
    model = SentenceTransformer(
        modules=[Transformer(str(folder / "base"), max_seq_length=24), Pooling(32, "cls"), Normalize()],
        prompts={"query": "query: "}, default_prompt_name="query", device="cpu",
    )  # fmt: skip
    model.add_adapter(LoraConfig(r=4, target_modules=["query", "dense"], init_lora_weights=False))
    model.save(str(folder / "model"), create_model_card=False)
    write_rows(folder, rows_of("feature-extraction", []))
    return recipe(folder, "feature-extraction")


def own_tokenizer(folder: Path) -> None:
    """The base's vocabulary, read as it is cased: a vocabulary that is trained anew may have a token more than the base's embedding."""
    document = json.loads((folder.parent / "base" / "tokenizer.json").read_text(encoding="utf-8"))
    document["normalizer"] |= {"lowercase": False, "strip_accents": False}
    write_json(folder / "tokenizer.json", document)
    edited("tokenizer_config.json", do_lower_case=False, strip_accents=False)(folder)


def whole(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder.parent / "base" / "model.safetensors").read_bytes())


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def of_a_wider_model(folder: Path) -> None:
    encoder("bert", folder.parent / "base", labels=LABELS, hidden_size=64)


def of_another(folder: Path) -> None:
    encoder("distilbert", folder.parent / "base", labels=LABELS)


def named(names: dict[str, Any]) -> Make:
    """Names of labels beside an adapter whose base has others, in a configuration of its own."""
    made = of_adapter("bert", "text-classification", base_labels=["a", "b", "c"], edit=edited("config.json", **names))

    def make(folder: Path) -> Path:
        path = made(folder)
        write_rows(folder, rows_of("text-classification", LABELS))
        return path

    return make


def adapters() -> Iterator[Cell]:
    task = "text-classification"
    for family in ("bert", "roberta", "distilbert", "deberta-v2", "modernbert", "albert"):
        yield Cell(f"adapter, {family}", of_adapter(family, task))
    for kind in ("multi-label-classification", "token-classification", "question-answering", "feature-extraction"):
        config = {"problem_type": "multi_label_classification"} if kind.startswith("multi") else {}
        yield Cell(f"adapter, {kind}", of_adapter("bert", kind, config=config))
    for family in ("llama", "gpt2", "qwen2", "gemma2"):
        yield Cell(f"adapter, {family}", of_adapter(family, "text-generation"))
    tied = of_adapter("gemma", "text-generation", target_modules=["embed_tokens", "q_proj"])
    yield Cell("adapter on an embedding that is the output layer too", tied)
    five = [f"LABEL_{number}" for number in range(5)]
    yield Cell("adapter with a head of its own", of_adapter("roberta", task, labels=five))
    yield Cell(
        "adapter with a head of its own for tags",
        of_adapter("bert", "token-classification", base_labels=LABELS[:2], labels=["LABEL_0", "LABEL_1", "LABEL_2"]),
    )
    names = {
        "id2label": dict(enumerate(LABELS)),
        "label2id": {name: number for number, name in enumerate(LABELS)},
        "model_type": "bert",
    }
    yield Cell("adapter with names for its labels", named(names))
    yield Cell("adapter with a tokenizer of its own", of_adapter("bert", task, edit=own_tokenizer))
    yield Cell("adapter beside its base", of_adapter("bert", task, named="../base"))
    yield Cell("adapter of sentence-transformers", of_sentences)
    more: dict[str, dict[str, Any]] = {
        "DoRA": {"use_dora": True}, "rsLoRA": {"use_rslora": True}, "all biases": {"bias": "all"}, "biases of its own": {"lora_bias": True},
        "ranks by module": {"rank_pattern": {"query": 2}, "alpha_pattern": {"value": 9}},
    }  # fmt: skip
    for name, settings in more.items():
        yield Cell(f"adapter, {name}", of_adapter("bert", task, **settings))
    yield Cell("adapter and a whole model", of_adapter("bert", task, edit=whole), refused="a whole model's weights too")
    yield Cell(
        "adapter without its base",
        of_adapter("bert", task, named="owner/not-here"),
        refused="its base owner/not-here is no folder here",
    )
    yield Cell("adapter as a pickle", of_adapter("bert", task, edit=pickled), refused="adapter_model.bin is a pickle")
    yield Cell("adapter of a wider model", of_adapter("bert", task, edit=of_a_wider_model), refused="does not fit base")
    yield Cell(
        "adapter of another architecture",
        of_adapter("bert", task, edit=of_another),
        refused="of modules that base does not have",
    )
    yield Cell(
        "adapter for another task",
        of_adapter("bert", task, edit=edited("adapter_config.json", task_type="CAUSAL_LM")),
        refused="CAUSAL_LM",
    )
    base = edited("../base/config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    yield Cell("adapter of a quantized base", of_adapter("bert", task, edit=base), refused="quantized already .*bitsandbytes")
    code = edited("../base/config.json", auto_map={"AutoModel": "modeling.Mine"})
    yield Cell("adapter of a base with code", of_adapter("bert", task, edit=code), refused="auto_map")
    for kind in ("IA3", "PREFIX_TUNING", "PROMPT_TUNING"):
        yield Cell(
            f"adapter of kind {kind}",
            of_adapter("bert", task, edit=edited("adapter_config.json", peft_type=kind)),
            refused=kind,
        )
    settings = {
        "alora_invocation_tokens": [1, 2],
        "layer_replication": [[0, 2], [1, 2]],
        "init_lora_weights": "pissa",
        "of_tomorrow": True,
    }
    for name, value in settings.items():
        yield Cell(
            f"adapter with {name}", of_adapter("bert", task, edit=edited("adapter_config.json", **{name: value})), refused=name
        )
