"""feature-extraction: sentence embeddings; pooling, and what the model has after it, are inside the graph.

Pairs of sentences with a person's score are judged by Spearman correlation of the model's own similarity with it. Texts alone are judged
by the mean cosine between an embedding and the original's own of the same text, which stands in the row (see
`edgekit.train.reference_outputs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from edgekit.errors import BadInput
from edgekit.tasks.losses import draw_direction, hard_direction, soft_direction
from edgekit.tasks.reference import Ask, Reference
from edgekit.tasks.task import Alone, EncoderTask

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import BaseModelOutput

    from edgekit.runtime.jsontypes import JsonObject, JsonValue
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK", "answer", "cosine_to_original", "vector_difference"]


Compare: TypeAlias = "Callable[[np.ndarray, np.ndarray], float]"


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / max(np.linalg.norm(first) * np.linalg.norm(second), 1e-12))


def tensor(model: PreTrainedModel, output: BaseModelOutput, mask: torch.Tensor) -> torch.Tensor:
    """Embeddings (b, k), as the model's modules make them (`edgekit.models.embedding`)."""
    from edgekit.models.embedding import embedding_of

    embedded: torch.Tensor = embedding_of(model)(output.last_hidden_state, mask)
    return embedded


def evidence(
    outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str], compare: Compare = _cosine
) -> list[float]:
    """The similarity of the two sentences, and the score a person gave them; of a text alone, the cosine to the original's embedding.

    Raises:
        BadInput: the original's embedding has another size.
    """
    if "embedding" not in row:
        first, second = (output[0].astype(np.float64) for output in outputs)
        return [compare(first, second), cast("float", row["score"])]
    return cosine_to_original(
        outputs[0][0], row, fix="keep the size of the original's embeddings, or give rows of sentence1, sentence2 and score"
    )


def cosine_to_original(output: np.ndarray, row: JsonObject, fix: str) -> list[float]:
    """The cosine between an embedding (k,) and the original's of the same input, which stands in the row.

    Raises:
        BadInput: the original's embedding has another size; `fix` says what to do.
    """
    embedding, original = output.astype(np.float64), np.asarray(row["embedding"], dtype=np.float64)
    if embedding.shape != original.shape:
        raise BadInput(
            f"an embedding of {len(embedding)} numbers has no cosine to the original's of {len(original)}",
            where="quality without labels",
            fix=fix,
        )
    return [1.0 if np.array_equal(embedding, original) else _cosine(embedding, original)]  # a vector of zeros has no direction


DIGITS = 7
"""Decimals of each number of a unit vector: float32 has no more."""


def answer(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> JsonObject:
    """The embedding."""
    return {"embedding": [round(float(value), DIGITS) for value in outputs[0][0]]}


SIMILARITIES: dict[str, Compare] = {
    "dot": lambda first, second: float(first @ second),
    "euclidean": lambda first, second: -float(np.linalg.norm(first - second)),
    "manhattan": lambda first, second: -float(np.abs(first - second).sum()),
}
"""sentence-transformers' other names (`similarity_fn_name`) -> what is higher the more alike two vectors are."""


def quality(evidence: np.ndarray) -> float:
    """Spearman correlation of the two columns of (rows, 2), or the mean of (rows, 1)."""
    return spearman(evidence) if evidence.shape[1] == 2 else float(evidence.mean())


def spearman(evidence: np.ndarray) -> float:
    """Rank correlation of the two columns of (rows, 2), ties by their mean rank; 0 where one of them never varies, 1 where neither does: they
    agree that all are alike."""
    cosines, scores = (_ranks(column) for column in evidence.T)
    spread = float(cosines.std() * scores.std())
    if not spread:
        return float(np.array_equal(cosines, scores))
    return float(((cosines - cosines.mean()) * (scores - scores.mean())).mean() / spread)


def _ranks(values: np.ndarray) -> np.ndarray:
    _, position, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: np.ndarray = ((last - count + last - 1) / 2)[position]
    return ranks


def sentence_encoder(folder: Path, longest: int) -> Ask:
    """sentence-transformers' own `encode`: a text -> its embedding, float32 (size,); of length 1 where the folder is a transformer alone."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32})
    model.max_seq_length = longest
    alone = not (folder / "modules.json").is_file()

    def ask(item: JsonValue) -> np.ndarray:
        return np.asarray(model.encode(str(item), show_progress_bar=False, normalize_embeddings=alone))

    return ask


def vector_difference(ours: Mapping[str, Any], theirs: np.ndarray) -> float:
    """Largest difference of two numbers, in units of the vector's length where that is above 1."""
    vector = np.asarray(ours["embedding"])
    if vector.shape != theirs.shape:
        return float("inf")
    return float(np.abs(vector - theirs).max() / max(1.0, float(np.linalg.norm(theirs))))


TASK = EncoderTask(
    name="feature-extraction",
    title="an embedding of a text",
    columns=("sentence1", "sentence2", "score"),
    metric="Spearman",
    output="sentence_embedding",
    auto="AutoModel",
    per_token=False,
    items=lambda row: [row["text"]] if "text" in row else [row["sentence1"], row["sentence2"]],
    labels=lambda row, windows, index: [-1] * len(windows),
    tensor=tensor,
    hard=hard_direction,
    soft=soft_direction,
    draw=draw_direction,
    evidence=evidence,
    similarities={name: partial(evidence, compare=compare) for name, compare in SIMILARITIES.items()},
    reduce=quality,
    named=False,
    supervised=False,
    alone=Alone("cosine", answer, unanswered={}, seen=True),
    reference=Reference(
        "sentence-transformers' encode",
        sentence_encoder,
        vector_difference,
        inputs=lambda texts, pairs: [*texts],
    ),
)
