"""How many tokens a configuration has positions for, as a file says it and as transformers reads it."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from edgekit.models.positions import first_position, positions_of


@pytest.mark.parametrize(
    ("document", "first", "longest"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, None, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 2, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 3}, 4, 510),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 2, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 3}, 2, 512),
        ({"model_type": "gpt2", "n_positions": 1024}, None, 1024),
    ],
    ids=str,
)
def test_positions_of_a_document_and_of_its_configuration(document: dict[str, Any], first: int | None, longest: int) -> None:
    configuration = transformers.AutoConfig.for_model(**document)
    for config in (document, configuration):
        assert first_position(config) == first
        assert positions_of(config) == longest


@pytest.mark.parametrize("document", [{}, {"model_type": "bert"}, {"max_position_embeddings": "512"}], ids=str)
def test_a_document_that_does_not_say(document: dict[str, Any]) -> None:
    assert positions_of(document) is None
    assert first_position(document) is None
