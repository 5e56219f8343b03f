"""A checkpoint's files as far as a plan reads them: its configuration, its tokenizer's and generation's settings, the header of its weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

from edgekit.models.facts import facts_of_checkpoint
from edgekit.models.files import check_files, sound_config
from tests.fuzz.door import Door, Files
from tests.fuzz.edits import edit_file

__all__ = ["DOOR"]

CONFIG = {
    "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "vocab_size": 6, "max_position_embeddings": 16, "type_vocab_size": 2, "id2label": {"0": "no", "1": "yes"},
    "label2id": {"no": 0, "yes": 1}, "hidden_act": "gelu", "torch_dtype": "float32", "pad_token_id": 0,
}  # fmt: skip
DECODER = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "intermediate_size": 16, "vocab_size": 6, "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": [2], "tie_word_embeddings": True,
}  # fmt: skip
VOCABULARY = {word: number for number, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "on", "off"))}
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None, "decoder": None, "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
    "added_tokens": [{"id": 0, "content": "[PAD]", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}],
}  # fmt: skip
SETTINGS = {
    "tokenizer_class": "BertTokenizer",
    "model_max_length": 16,
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "do_lower_case": True,
}
SHAPES = {
    "bert.embeddings.word_embeddings.weight": [6, 8], "bert.encoder.layer.0.attention.self.query.weight": [8, 8],
    "bert.encoder.layer.0.intermediate.dense.weight": [16, 8], "classifier.weight": [2, 8],
}  # fmt: skip
WEIGHTS = "model.safetensors"


def weights() -> bytes:
    header, at = {}, 0
    for name, shape in SHAPES.items():
        size = 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(at)


@cache
def seeds() -> list[Files]:
    def written(*documents: tuple[str, object]) -> dict[str, bytes]:
        return {name: json.dumps(document).encode() for name, document in documents}

    both = (("tokenizer.json", TOKENIZER), ("tokenizer_config.json", SETTINGS))
    return [
        {**written(("config.json", CONFIG), *both), WEIGHTS: weights()},
        {
            **written(("config.json", DECODER), *both, ("generation_config.json", {"eos_token_id": 2, "max_length": 9})),
            WEIGHTS: weights(),
        },
    ]


def edit(files: Files, others: Sequence[Files], random: Random) -> Files:
    """One of the files; of the weights half the time the header, with the right length before it."""
    name = random.choice(sorted(files))
    data = files[name]
    if name == WEIGHTS and random.random() < 0.7:
        size = int.from_bytes(data[:8], "little")
        header = edit_file("header.json", data[8 : 8 + size], (), random)
        return {**files, name: len(header).to_bytes(8, "little") + header + data[8 + size :]}
    return {**files, name: edit_file(name, data, [other[name] for other in others if name in other], random)}


def enter(folder: Path) -> None:
    """What `edgekit plan` reads."""
    facts_of_checkpoint(str(folder))
    sound_config(folder)
    check_files(folder)


DOOR = Door("checkpoint", enter, seeds, edit)
