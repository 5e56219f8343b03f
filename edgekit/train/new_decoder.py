"""What a small language model is trained from: its own byte-level vocabulary, and a Llama of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.config.recipe import NewModel

__all__ = ["learn_bytes", "new_llama"]

START, END, PAD = "<s>", "</s>", "<pad>"


def learn_bytes(texts: list[str], size: int, out: Path) -> int:
    """Write a byte-level BPE `tokenizer.json` (Sennrich et al. 2016, over bytes) of at most `size` tokens; returns their number.

    Every text begins with <s>, so that its first token has one before it. Nothing is unknown: any byte is a token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, tokenizer.token_to_id(START))]),
        ]
    )
    tokenizer.save(str(out / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": START, "eos_token": END, "pad_token": PAD}
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
    return int(tokenizer.get_vocab_size())


def new_llama(new: NewModel, vocabulary: int, max_length: int) -> Any:
    """A LlamaForCausalLM of random weights with tied embeddings; draws from torch's generator."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=new.width,
        intermediate_size=new.neurons,
        num_hidden_layers=new.layers,
        num_attention_heads=new.heads,
        num_key_value_heads=new.heads,
        max_position_embeddings=max_length,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)
