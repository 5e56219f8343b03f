"""Rows of pairs are scored by the similarity that the model's files name, as sentence-transformers computes it."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers.util import SimilarityFunction

from edgekit.models.sentence import SIMILARITIES
from edgekit.runtime.tokenise import Window
from edgekit.tasks import encoder_task
from edgekit.tasks.encode import Encoded, score_of

TASK = encoder_task("feature-extraction")


@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarity(name: str) -> None:
    pairs = np.random.default_rng(0).normal(size=(6, 2, 9)).astype(np.float32)
    empty = np.zeros(0, dtype=np.int64)
    window = Window(ids=empty, types=None, offsets=empty, words=empty, text="")
    data = Encoded([[[window], [window]]] * 6, [window] * 12, [], 0, name)
    evidence = score_of(TASK, [vector[None] for pair in pairs for vector in pair], data, [{"score": 1.0}] * 6, [])
    wanted = SimilarityFunction.to_similarity_pairwise_fn(name)(pairs[:, 0], pairs[:, 1])
    assert np.allclose(evidence[:, 0], wanted.numpy(), atol=1e-5)
    assert set(evidence[:, 1]) == {1.0}
