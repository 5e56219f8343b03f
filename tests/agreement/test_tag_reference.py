"""Words of a text beside transformers' pipeline, where one token of unknown letters goes over line ends and other space."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import XLMRobertaConfig, XLMRobertaForTokenClassification

from edgekit.runtime.processors import Asked, processor
from edgekit.runtime.tokenise import load_tokeniser
from edgekit.tasks.encoders.token_classification import tag_difference, tag_pipeline
from tests.tiny_word_tokenizers import MADE

LABELS = ["O", "B-A", "I-A", "B-B", "I-B"]
TEXTS = [
    "☃🙂☃\u00a0\t\r\nß¤. to", "\u3000\ufe0fß¤\tß¤\u00a0ß¤\u00a0", "電\ufe0f東京電☃\t電 to to", "we went\nto\n\nyork", "\r\nwe\u2028went", "ß¤\nß¤ we",
]  # fmt: skip


@pytest.mark.parametrize("name", ["Unigram", "WordPiece"])
def test_a_token_over_several_words_is_of_the_first(name: str, tmp_path: Path) -> None:
    tokenizer = MADE[name]()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "pad_token": "<pad>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=80, pad_token_id=3, id2label=dict(enumerate(LABELS)), label2id={name: n for n, name in enumerate(LABELS)},
    )  # fmt: skip
    model = XLMRobertaForTokenClassification(config).eval()
    model.classifier.weight.data *= 40
    model.save_pretrained(tmp_path)
    ask, tokenise = tag_pipeline(tmp_path, 64), load_tokeniser(tmp_path / "tokenizer.json", 64)
    for text in TEXTS:
        windows = processor("token-classification").prepare(tokenise, text)
        with torch.inference_mode():
            outputs = [model(input_ids=torch.from_numpy(window.ids[None])).logits.numpy() for window in windows]
        answer = processor("token-classification").answer(outputs, windows, Asked(LABELS))
        theirs = ask(text)
        assert isinstance(theirs, list) and tag_difference(answer, theirs) < 1e-3, text
