"""feature-extraction: sentence embeddings, pooled and normalised inside the graph.

Pairs of sentences with a person's score are judged by Spearman correlation. Texts alone are judged by the mean cosine between
an embedding and the original's own of the same text, which stands in the row (see `edgekit.compress.distillation.answers`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BadInput
from edgekit.tasks import Task
from edgekit.tasks.losses import draw_direction, hard_direction, soft_direction

if TYPE_CHECKING:
    import torch

    from edgekit.runtime.tokenise import Pass

__all__ = ["TASK"]


def tensor(model: Any, output: Any, mask: torch.Tensor) -> torch.Tensor:
    """Unit vectors (b, width): the mean over real tokens, or the first token, as the model's `pooling` says.

    Reimers and Gurevych 2019 (Sentence-BERT), section 3.
    """
    import torch

    states = output.last_hidden_state
    if getattr(model.config, "pooling", "mean") == "cls":
        pooled = states[:, 0]
    else:
        shown = mask[:, :, None].to(states.dtype)
        pooled = (states * shown).sum(dim=1) / shown.sum(dim=1).clamp(min=1e-9)
    return torch.nn.functional.normalize(pooled, dim=-1)


def evidence(outputs: list[np.ndarray], inputs: list[list[Pass]], row: dict[str, Any], names: list[str]) -> list[float]:
    """The cosine of the two sentences, and the score a person gave them; of a text alone, the cosine to the original.

    Raises:
        BadInput: the original's embedding has another width.
    """
    if "embedding" not in row:
        one, other = (output[0].astype(np.float64) for output in outputs)
        return [_cosine(one, other), row["score"]]
    one, other = outputs[0][0].astype(np.float64), np.asarray(row["embedding"], dtype=np.float64)
    if one.shape != other.shape:
        raise BadInput(
            f"an embedding of {len(one)} numbers has no cosine to the original's of {len(other)}",
            where="quality of texts alone",
            fix="keep the original's width, or give rows of sentence1, sentence2 and score",
        )
    return [_cosine(one, other)]


def quality(found: np.ndarray) -> float:
    """Spearman correlation of the two columns of (rows, 2), or the mean of (rows, 1)."""
    return spearman(found) if found.shape[1] == 2 else float(found.mean())


def spearman(found: np.ndarray) -> float:
    """Rank correlation of the two columns of (rows, 2), ties by their mean rank; 0 where one of them never varies."""
    one, other = (_ranks(column) for column in found.T)
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread else 0.0


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-12))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: np.ndarray = ((last - count + last - 1) / 2)[place]
    return ranks


TASK = Task(
    name="feature-extraction",
    title="an embedding of a text",
    columns=("sentence1", "sentence2", "score"),
    metric="Spearman",
    outputs=("sentence_embedding",),
    auto="AutoModel",
    per_token=False,
    items=lambda row: [row["text"]] if "text" in row else [row["sentence1"], row["sentence2"]],
    labels=lambda row, passes, index: [-1] * len(passes),
    tensor=tensor,
    hard=hard_direction,
    soft=soft_direction,
    draw=draw_direction,
    evidence=evidence,
    reduce=quality,
    named=False,
    supervised=False,
    alone="cosine to the original",
)
