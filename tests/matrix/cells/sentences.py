"""Folders of sentence-transformers: poolings, modules after them, prompts, settings of every release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tests.matrix.cells.cell import Cell, Make, edited, rows_of
from tests.matrix.made import encoder, recipe, write_json, write_rows

__all__ = ["sentences"]


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
    without = lambda folder, width: [parts.Pooling(width, "mean", include_prompt=False)]  # noqa: E731
    yield Cell("a pooling that leaves prompts out, and no prompt", of_sentences(without))
    yield Cell(
        "a pooling that leaves prompts out, and a prompt",
        of_sentences(without, prompts={"query": "query: "}, default_prompt_name="query"),
        refused="include_prompt",
    )
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
