"""What a small model is trained from: a vocabulary learned from its training texts, and a BERT, Llama or AST of random weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.config.recipe import NewModel
from edgekit.config.sounds import NewSound
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.sound import AST, KALDI_FRAME

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["learn_bpe", "learn_wordpiece", "new_ast", "new_bert", "new_hearing", "new_llama"]

LETTERS = "".join(map(chr, range(33, 127)))
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
START, END, PAD = "<s>", "</s>", "<pad>"


def learn_wordpiece(texts: list[str], size: int, out: Path) -> int:
    """Write a WordPiece `tokenizer.json` with at most `size` pieces learned from `texts`; returns the number of pieces."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    # The trainer numbers inner pieces ("##a") in the order of a hash map, which differs from process to process, and breaks
    # ties by these numbers. Naming them all beforehand fixes the order; it also keeps letters that no text has inside a word.
    letters = sorted({letter for text in texts for letter in tokenizer.normalizer.normalize_str(text)} | set(LETTERS))
    inner = [f"##{letter}" for letter in letters if not letter.isspace()]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[*SPECIALS, *inner], initial_alphabet=list(LETTERS), show_progress=False
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] in SPECIALS]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    tokenizer.save(str(out / "tokenizer.json"))
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "unk_token": "[UNK]", "sep_token": "[SEP]"}
    config |= {"pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
    return int(tokenizer.get_vocab_size())


def learn_bpe(texts: list[str], size: int, out: Path) -> int:
    """Write a byte-level BPE `tokenizer.json` (Sennrich et al. 2016, over bytes) of at most `size` tokens; returns their number.

    Every text begins with <s>, so that its first token has a token before it. There is no unknown token: every byte is one.
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


def new_bert(
    auto: str, new: NewModel, vocabulary: int, max_length: int, *, labels: Sequence[str] | None, pairs: bool
) -> PreTrainedModel:
    """A BERT of random weights with the head of transformers class `auto`; draws from torch's generator.

    `labels`: names of the head's outputs, None where they have none. `pairs`: windows may hold two texts.
    """
    import transformers

    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=new.width,
        num_hidden_layers=new.layers,
        num_attention_heads=new.heads,
        intermediate_size=new.neurons,
        max_position_embeddings=max_length,
        type_vocab_size=2 if pairs else 1,
        **(
            {}
            if labels is None
            else {"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}
        ),
    )
    return getattr(transformers, auto).from_config(config)


def new_ast(new: NewModel, sound: NewSound, labels: Sequence[str]) -> PreTrainedModel:
    """An ASTForAudioClassification of random weights; draws from torch's generator."""
    from transformers import ASTConfig, ASTForAudioClassification

    config = ASTConfig(
        hidden_size=new.width,
        num_hidden_layers=new.layers,
        num_attention_heads=new.heads,
        intermediate_size=new.neurons,
        patch_size=sound.patch,
        frequency_stride=sound.frequency_stride,
        time_stride=sound.time_stride,
        max_length=sound.frames,
        num_mel_bins=sound.bins,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    return ASTForAudioClassification(config)


def new_hearing(sound: NewSound, mean: float, deviation: float) -> JsonObject:
    """preprocessor_config.json of a model that reads `sound`, whose features of training rows have this mean and deviation."""
    return {
        "feature_extractor_type": AST, "sampling_rate": sound.sampling_rate, "feature_size": 1, "padding_value": 0.0,
        "return_attention_mask": False, "fewest_samples": KALDI_FRAME, "num_mel_bins": sound.bins, "max_length": sound.frames,
        "do_normalize": True, "mean": mean, "std": deviation,
    }  # fmt: skip


def new_llama(new: NewModel, vocabulary: int, max_length: int) -> PreTrainedModel:
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
