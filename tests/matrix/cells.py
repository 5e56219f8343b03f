"""The cells of the matrix: each writes a checkpoint with rows and a recipe, and says whether it must be right or refused, and by which words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.matrix.made import CORPUS, DECODERS, ENCODERS, decoder, encoder, recipe, write_json, write_rows

__all__ = ["CELLS", "Cell"]

Make = Callable[[Path], Path]
"""(an empty folder) -> the recipe in it."""


@dataclass(frozen=True)
class Cell:
    """One model that somebody might bring."""

    name: str
    make: Make
    refused: str = ""
    """Words of the refusal; empty where answers must be the library's."""
    loaded: bool = False
    """Whether it is refused only once the weights are read, which no plan does."""


TASKS = {
    "text-classification": "AutoModelForSequenceClassification",
    "multi-label-classification": "AutoModelForSequenceClassification",
    "text-regression": "AutoModelForSequenceClassification",
    "text-ranking": "AutoModelForSequenceClassification",
    "zero-shot-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "feature-extraction": "AutoModel",
}
LABELS = ["Billing", "weather", "Other things"]
BIO = ["O", "B-LOC", "I-LOC"]
OUTPUTS = {
    "token-classification": BIO,
    "text-regression": ["LABEL_0"],
    "text-ranking": ["LABEL_0"],
    "zero-shot-classification": ["entailment", "neutral", "contradiction"],
}
"""Names of a model's outputs, where they are not `LABELS`."""


def rows_of(task: str, labels: list[str]) -> list[dict[str, Any]]:
    """Rows of the task over the corpus; labels are as good as any, since nothing is trained."""
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(CORPUS * 2):
        text = f"{text} {number}"
        if task == "token-classification":
            words = text.split()
            rows.append({"tokens": words, "tags": [labels[position % len(labels)] for position, _ in enumerate(words)]})
        elif task == "question-answering":
            rows.append(
                {"question": f"what is {number}", "context": text, "answers": {"text": [text[:3]], "answer_start": [0]}}
            )
        elif task == "feature-extraction":
            rows.append({"sentence1": text, "sentence2": CORPUS[number % 7], "score": float(number % 5)})
        elif task == "text-regression":
            rows.append({"text": text, "label": float(number % 5)})
        elif task == "text-ranking":
            passages = [CORPUS[number % 7], CORPUS[(number + 3) % 7]]
            rows.append({"query": text, "passages": passages, "relevance": [number % 2, 1]})
        elif task == "multi-label-classification":
            rows.append({"text": text, "label": labels[: number // 3 % (len(labels) + 1)]})
        else:
            rows.append({"text": text, "label": labels[number // 3 % len(labels)]})
    return rows


def of_task(family: str, task: str, *, labels: list[str] | None = None, more: str = "", **options: Any) -> Make:
    """An encoder with the task's head."""
    if labels is None:
        labels = OUTPUTS.get(task, LABELS if "classification" in task else [])
    if task == "multi-label-classification":
        options["problem_type"] = "multi_label_classification"
    if task == "text-regression":
        options["problem_type"] = "regression"

    def make(folder: Path) -> Path:
        encoder(family, folder / "model", auto=TASKS[task], labels=labels, **options)
        write_rows(folder, rows_of(task, labels or ["a"]))
        return recipe(folder, task, more=more, longest=48 if task in ("question-answering", "zero-shot-classification") else 24)

    return make


def of_language(family: str, *, generation: dict[str, Any] | None = None, **options: Any) -> Make:
    def make(folder: Path) -> Path:
        decoder(family, folder / "model", **options)
        path = folder / "model" / "generation_config.json"
        if generation:
            write_json(path, (json.loads(path.read_text()) if path.is_file() else {}) | generation)
        write_rows(folder, [{"text": f"{text} {number}"} for number, text in enumerate(CORPUS * 2)])
        return recipe(folder, "text-generation", longest=48)

    return make


def of_number(family: str, task: str, *, pairs: bool = False, activation: dict[str, Any] | None = None, **config: Any) -> Make:
    """A head of one logit: a regression, or a cross-encoder over pairs or ranked passages."""

    def make(folder: Path) -> Path:
        encoder(family, folder / "model", num_labels=1, **config)
        if activation:
            path = folder / "model" / "config.json"
            write_json(path, json.loads(path.read_text()) | activation)
        texts = [f"{text} {number}" for number, text in enumerate(CORPUS * 2)]
        if task == "text-ranking":
            rows: list[dict[str, Any]] = [
                {
                    "query": text,
                    "passages": texts[number : number + 3] or texts[:3],
                    "relevance": [1, 0, 0][: len(texts[number : number + 3]) or 3],
                }
                for number, text in enumerate(texts)
            ]
        else:
            rows = [
                {"text": text, "label": number / 10} | ({"text_pair": CORPUS[number % 5]} if pairs else {})
                for number, text in enumerate(texts)
            ]
        write_rows(folder, rows)
        return recipe(folder, task)

    return make


def of_pairs(family: str) -> Make:
    """A classifier of two texts."""

    def make(folder: Path) -> Path:
        encoder(family, folder / "model", labels=LABELS)
        rows = [{**row, "text_pair": CORPUS[number % 5]} for number, row in enumerate(rows_of("text-classification", LABELS))]
        write_rows(folder, rows)
        return recipe(folder, "text-classification")

    return make


def heads() -> Iterator[Cell]:
    yield Cell("two labels without names", of_task("bert", "text-classification", labels=["LABEL_0", "LABEL_1"]))
    yield Cell("nine labels", of_task("bert", "text-classification", labels=[f"kind {number}" for number in range(9)]))
    yield Cell(
        "single_label_classification said", of_task("bert", "text-classification", problem_type="single_label_classification")
    )
    for family in ("bert", "roberta", "deberta-v2"):
        yield Cell(f"pairs of texts, {family}", of_pairs(family))
    plain = of_task("bert", "text-classification")

    def as_labels(folder: Path) -> Path:
        path = plain(folder)
        write_rows(folder, rows_of("multi-label-classification", LABELS))
        path.write_text(path.read_text().replace('"text-classification"', '"multi-label-classification"'))
        return path

    yield Cell("classes, asked for multi-label", as_labels, refused="text-classification")

    def one_label(folder: Path) -> Path:
        path = of_number("bert", "text-regression")(folder)
        write_rows(folder, rows_of("multi-label-classification", ["LABEL_0"]))
        path.write_text(path.read_text().replace('"text-regression"', '"text-classification"'))
        return path

    yield Cell("one logit that transformers calls text-classification", one_label)

    def several(folder: Path) -> Path:
        path = of_task("roberta", "multi-label-classification")(folder)
        path.write_text(path.read_text().replace('"multi-label-classification"', '"text-classification"'))
        return path

    yield Cell("multi-label that transformers calls text-classification", several)
    yield Cell("regression said", of_number("bert", "text-regression", problem_type="regression"))
    yield Cell("regression said, distilbert", of_number("distilbert", "text-regression", problem_type="regression"))
    yield Cell("one logit", of_number("bert", "text-regression"))
    yield Cell("one logit of pairs", of_number("roberta", "text-regression", pairs=True))
    for family in ("bert", "roberta", "xlm-roberta", "electra", "modernbert"):
        yield Cell(f"cross-encoder, {family}", of_number(family, "text-ranking"))
    identity = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "5.0.0"}}
    yield Cell("cross-encoder of raw logits", of_number("bert", "text-ranking", activation=identity))
    sigmoid = {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}
    yield Cell("cross-encoder of an older release", of_number("bert", "text-ranking", activation=sigmoid))
    other = {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}
    yield Cell("cross-encoder of another function", of_number("bert", "text-ranking", activation=other), refused="Tanh")
    own = {"sentence_transformers": {"activation_fn": "my_package.Scale"}}
    yield Cell(
        "cross-encoder of its author's function", of_number("bert", "text-ranking", activation=own), refused="my_package.Scale"
    )


def of_sentences(
    modules: Callable[[Path, int], list[Any]],
    *,
    family: str = "bert",
    edit: Callable[[Path], None] | None = None,
    **options: Any,
) -> Make:
    """A sentence-transformers folder, saved by the library. `modules`: (transformer's folder, its width) -> what follows the transformer."""

    def make(folder: Path) -> Path:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Transformer

        encoder(family, folder / "transformer", auto="AutoModel")
        torch.manual_seed(1)
        transformer = Transformer(str(folder / "transformer"), max_seq_length=24)
        model = SentenceTransformer(modules=[transformer, *modules(folder, 32)], device="cpu", **options)
        model.save(str(folder / "model"), create_model_card=False)
        if edit is not None:
            edit(folder / "model")
        write_rows(folder, rows_of("feature-extraction", []))
        return recipe(folder, "feature-extraction")

    return make


def edited(name: str, **changes: Any) -> Callable[[Path], None]:
    """Keys of a JSON file of the folder, changed; None takes one out."""

    def edit(folder: Path) -> None:
        path = folder / name
        document = json.loads(path.read_text()) if path.is_file() else {}
        write_json(path, {key: value for key, value in {**document, **changes}.items() if value is not None})

    return edit


def sentences() -> Iterator[Cell]:
    from sentence_transformers.sentence_transformer import modules as parts

    poolings = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
    for pooling in poolings:
        yield Cell(f"pooling {pooling}", of_sentences(lambda folder, width, mode=pooling: [parts.Pooling(width, mode)]))
        flags = {
            f"pooling_mode_{name}": False
            for name in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
        }
        name = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "weightedmean": "weightedmean_tokens"}.get(
            pooling, pooling
        )
        old = edited("1_Pooling/config.json", embedding_dimension=None, pooling_mode=None, include_prompt=None, word_embedding_dimension=32,
                     **{**flags, f"pooling_mode_{name}": True})  # fmt: skip
        yield Cell(
            f"pooling {pooling}, flags of older releases",
            of_sentences(lambda folder, width: [parts.Pooling(width, "mean"), parts.Normalize()], edit=old),
        )
    yield Cell(
        "several poolings", of_sentences(lambda folder, width: [parts.Pooling(width, ("cls", "mean")), parts.Normalize()])
    )
    for family in ("distilbert", "roberta", "mpnet", "xlm-roberta", "modernbert", "deberta-v2"):
        yield Cell(
            f"mean and Normalize, {family}",
            of_sentences(lambda folder, width: [parts.Pooling(width, "mean"), parts.Normalize()], family=family),
        )
    for name, function in (
        ("tanh", torch.nn.Tanh()),
        ("identity", torch.nn.Identity()),
        ("gelu", torch.nn.GELU()),
        ("relu", torch.nn.ReLU()),
    ):
        yield Cell(
            f"Dense with {name}",
            of_sentences(
                lambda folder, width, act=function: [
                    parts.Pooling(width, "mean"),
                    parts.Dense(width, 16, activation_function=act),
                    parts.Normalize(),
                ]
            ),
        )
    yield Cell(
        "Dense without bias",
        of_sentences(lambda folder, width: [parts.Pooling(width, "cls"), parts.Dense(width, 48, bias=False)]),
    )
    yield Cell(
        "two Dense",
        of_sentences(lambda folder, width: [parts.Pooling(width, "mean"), parts.Dense(width, 40), parts.Dense(40, 12)]),
    )
    yield Cell("LayerNorm", of_sentences(lambda folder, width: [parts.Pooling(width, "mean"), parts.LayerNorm(width)]))
    yield Cell(
        "Dropout", of_sentences(lambda folder, width: [parts.Pooling(width, "mean"), parts.Dropout(0.2), parts.Normalize()])
    )
    mean = lambda folder, width: [parts.Pooling(width, "mean"), parts.Normalize()]  # noqa: E731 - one of many such
    yield Cell("do_lower_case", of_sentences(mean, edit=edited("sentence_bert_config.json", do_lower_case=True)))
    yield Cell(
        "max_seq_length shorter than asked for",
        of_sentences(mean, edit=edited("sentence_bert_config.json", max_seq_length=12)),
        refused="12",
    )
    yield Cell(
        "default prompt", of_sentences(mean, prompts={"query": "query: ", "passage": "passage: "}, default_prompt_name="query")
    )
    yield Cell("prompts without a default", of_sentences(mean, prompts={"query": "query: "}))
    yield Cell("truncate_dim", of_sentences(mean, truncate_dim=20))
    for name in ("dot", "euclidean", "manhattan"):
        yield Cell(f"similarity {name}", of_sentences(mean, similarity_fn_name=name))
    for kind in ("LSTM", "CNN", "WeightedLayerPooling", "Router", "StaticEmbedding", "CLIPModel"):
        listed = [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": f"1_{kind}", "type": f"sentence_transformers.models.{kind}"},
            {"idx": 2, "name": "2", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ]
        yield Cell(
            f"module {kind}",
            of_sentences(mean, edit=lambda folder, listed=listed: write_json(folder / "modules.json", listed)),
            refused=kind,
        )
    yield Cell("a module of its author's", of_sentences(mean, edit=lambda folder: write_json(
        folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "my_package.Encoder"}])), refused="my_package")  # fmt: skip


def tags() -> Iterator[Cell]:
    schemes = {
        "IO": ["O", "I-LOC", "I-PER"],
        "BIO": ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"],
        "IOE": ["O", "I-LOC", "E-LOC"],
        "BIOES": ["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"],
        "BILOU": ["O", "B-LOC", "I-LOC", "L-LOC", "U-LOC"],
        "BMES": ["O", "B-LOC", "M-LOC", "E-LOC", "S-LOC"],
        "lower case": ["O", "b-loc", "i-loc"],
        "underscore": ["O", "B_LOC", "I_LOC"],
        "suffix": ["O", "LOC-B", "LOC-I"],
        "parts of speech": ["NOUN", "VERB", "ADJ", "X"],
        "a kind with hyphens": ["O", "B-new-york", "I-new-york"],
    }
    for name, labels in schemes.items():
        for family in ("bert", "roberta", "xlm-roberta"):
            yield Cell(f"tags {name}, {family}", of_task(family, "token-classification", labels=labels))
    yield Cell(
        "tags of two schemes",
        of_task("bert", "token-classification", labels=["O", "B-LOC", "I-LOC", "LOC-B"]),
        refused="tags that cannot be read",
    )
    yield Cell(
        "tags without a kind",
        of_task("bert", "token-classification", labels=["O", "B", "I"]),
        refused="tags that cannot be read",
    )


def tokenizers() -> Iterator[Cell]:
    task = "text-classification"
    for kind in ("wordpiece", "cased", "bytes", "bytes-prefix", "unigram", "deberta"):
        yield Cell(f"tokenizer {kind}", of_task("bert", task, tokens=kind, type_vocab_size=2))
    for settings in (
        {"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}, {"truncation_side": "left"}, {"padding_side": "left"},
        {"model_max_length": 24}, {"model_input_names": ["input_ids", "attention_mask"]}, {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"clean_up_tokenization_spaces": True}, {"model_max_length": int(1e30)},
    ):  # fmt: skip
        yield Cell(f"tokenizer_config {settings}", of_task("bert", task, tokenizer_settings=settings))
    yield Cell(
        "model_max_length below what is asked",
        of_task("bert", task, tokenizer_settings={"model_max_length": 16}),
        refused="model_max_length",
    )
    yield Cell(
        "truncation_side left, tags",
        of_task("bert", "token-classification", tokenizer_settings={"truncation_side": "left"}),
        refused="truncation_side",
    )
    beyond = {"added_tokens_decoder": {"900": {"content": "[NEW]", "special": True}}}
    yield Cell("a token beyond the embedding", of_task("bert", task, tokenizer_settings=beyond), refused=r"\[NEW\]")
    yield Cell(
        "a tokenizer without token types",
        of_task("roberta", task, tokenizer_settings={"model_input_names": ["input_ids", "attention_mask"]}),
    )
    for family in ("llama", "gpt2", "qwen2"):
        yield Cell(f"language model, {family}, a token beyond the embedding", of_language(family, tokenizer_settings=beyond))
    for key, value, refused in (
        ("repetition_penalty", 1.3, ""),
        ("num_beams", 3, "num_beams"),
        ("suppress_tokens", [5, 6], "suppress_tokens"),
    ):
        yield Cell(f"language model with {key}", of_language("gpt2", generation={key: value}), refused=refused)
    yield Cell("no padding token, said by -1", of_task("bert", task, pad_token_id=-1))
    yield Cell("layers computed in chunks", of_task("bert", task, chunk_size_feed_forward=4), refused="chunk_size_feed_forward")
    yield Cell("an encoder that is a decoder", of_task("bert", task, is_decoder=True), refused="is_decoder")
    yield Cell(
        "special tokens cut as text",
        of_task("bert", task, tokenizer_settings={"split_special_tokens": True}),
        refused="split_special_tokens",
    )
    yield Cell("language model without a bos token", of_language("llama", tokenizer_settings={"add_bos_token": False}))
    yield Cell("language model with an eos token after texts", of_language("llama", tokenizer_settings={"add_eos_token": True}))
    chat = "{% for message in messages %}{{ bos_token }}[{{ message['role'] }}] {{ message['content'] }}{{ eos_token }}{% endfor %}[assistant]"
    named = [{"name": "default", "template": chat}, {"name": "rag", "template": "other"}]
    for name, template in (("", chat), (" by name", named)):
        yield Cell(
            f"language model with a chat template{name}", of_language("llama", tokenizer_settings={"chat_template": template})
        )


def saved_otherwise(family: str, task: str, change: Callable[[Path, dict[str, torch.Tensor]], None]) -> Make:
    """A checkpoint whose files are written again by `change`, which gets its folder and its tensors."""
    plain = of_task(family, task)

    def make(folder: Path) -> Path:
        path = plain(folder)
        weights = folder / "model" / "model.safetensors"
        tensors = load_file(weights)
        weights.unlink()
        change(folder / "model", tensors)
        return path

    return make


def whole(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def in_shards(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    names = sorted(tensors)
    parts = {f"model-0000{number + 1}-of-00002.safetensors": names[number::2] for number in (0, 1)}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    write_json(folder / "model.safetensors.index.json", {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": {name: file for file, part in parts.items() for name in part},
    })  # fmt: skip


def checkpoints() -> Iterator[Cell]:
    task = "text-classification"

    def gamma(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        whole(
            folder,
            {
                name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
                for name, value in tensors.items()
            },
        )

    yield Cell("norms named gamma and beta", saved_otherwise("bert", task, gamma))
    for dtype in (torch.float16, torch.bfloat16):

        def half(folder: Path, tensors: dict[str, torch.Tensor], dtype: torch.dtype = dtype) -> None:
            whole(folder, {name: value.to(dtype) for name, value in tensors.items()})
            edited("config.json", dtype=str(dtype).removeprefix("torch."), torch_dtype=None)(folder)

        yield Cell(f"weights in {dtype}", saved_otherwise("bert", task, half))
    yield Cell("weights in shards", saved_otherwise("bert", task, in_shards))
    other_head = {"cls.seq_relationship.bias": torch.zeros(2)}
    pooler = {"bert.pooler.dense.weight": torch.zeros(32, 32), "bert.pooler.dense.bias": torch.zeros(32)}
    ids = {"bert.embeddings.position_ids": torch.arange(64)[None]}
    more: dict[str, tuple[str, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], dict[str, Any]]] = {
        "position ids among the weights": (task, lambda own: {**own, **ids}, {}),
        "a pooler that is not needed": ("token-classification", lambda own: {**own, **pooler}, {}),
        "an encoder saved with another head": (
            "feature-extraction", lambda own: {f"bert.{name}": value for name, value in own.items()} | other_head, {},
        ),
        "a missing head": (
            task, lambda own: {name: value for name, value in own.items() if "classifier" not in name}, {"refused": f"no head for {task}"},
        ),
        "NaN among the weights": (
            task, lambda own: {**own, "classifier.weight": own["classifier.weight"] * float("nan")}, {"refused": "NaN", "loaded": True},
        ),
        "fp8 weights": (
            task, lambda own: {**own, "classifier.weight": own["classifier.weight"].to(torch.float8_e4m3fn)}, {"refused": "F8"},
        ),
    }  # fmt: skip
    for name, (kind, change, outcome) in more.items():
        make = saved_otherwise("bert", kind, lambda folder, tensors, change=change: whole(folder, change(tensors)))
        yield Cell(name, make, **outcome)

    def quantized(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        whole(folder, tensors)
        edited("config.json", quantization_config={"quant_method": "gptq", "bits": 4})(folder)

    yield Cell("a quantized checkpoint", saved_otherwise("bert", task, quantized), refused="gptq|quantized")

    def pickled(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        torch.save(tensors, folder / "pytorch_model.bin")

    yield Cell("pickled weights", saved_otherwise("bert", task, pickled), refused="safetensors")

    def code(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        whole(folder, tensors)
        edited("config.json", auto_map={"AutoModel": "modeling.Mine"})(folder)

    yield Cell("code in the folder", saved_otherwise("bert", task, code), refused="auto_map|code")
    for family in ("camembert", "funnel", "longformer", "nomic_bert"):

        def renamed(folder: Path, tensors: dict[str, torch.Tensor], family: str = family) -> None:
            whole(folder, tensors)
            edited("config.json", model_type=family)(folder)

        yield Cell(f"architecture {family}", saved_otherwise("roberta", task, renamed), refused=family)
    yield Cell("longer than its positions", of_task("bert", task, max_position_embeddings=16), refused="16")
    for length in (8, 15):

        def short(folder: Path, length: int = length) -> Path:
            path = of_task("bert", task)(folder)
            path.write_text(path.read_text().replace("max_length = 24", f"max_length = {length}"))
            return path

        yield Cell(f"max_length {length}", short)


def architectures() -> Iterator[Cell]:
    for family in ENCODERS:
        for task in TASKS:
            yield Cell(f"{family}, {task}", of_task(family, task))
    for family in DECODERS:
        yield Cell(f"{family}, text-generation", of_language(family))


CELLS = [*architectures(), *heads(), *sentences(), *tags(), *tokenizers(), *checkpoints()]
