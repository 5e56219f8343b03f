"""Tokenizers of the three kinds that language models use, made here: byte-level, byte fallback with ▁, and Metaspace."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "Once upon a time there was a little girl named Lily. She loved to play outside.",
    "Füg Müsli zur Einkaufsliste hinzu, señor! «Où est le café ?»",
    "支付我的账单 支付 账单 我的",
    "أشعل الضوء في المطبخ من فضلك",
    "🙂 🙏🏽 👩‍👩‍👧‍👦 emoji 🙂🙂🙂 and\n\nnew lines\tand tabs  and  spaces",
    "def f(x):\n    return x + 1  # comment",
]
CHAT = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_level() -> Any:
    """Like GPT-2's: every token is some bytes, also half a character."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=alphabet,
        special_tokens=["<s>", "</s>", "<|user|>", "<|assistant|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    return tokenizer


def byte_fallback() -> Any:
    """Like Llama 2's: letters, and a token a byte for all that is no letter; a space is put before a text and taken off again."""
    words = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", *(f"<0x{number:02X}>" for number in range(256)), "▁"]
    words += list("abcdefghijklmnopqrstuvwxyzO.,!L")
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("i", "n"), ("▁", "a"), ("▁", "▁")]
    words += [first + second for first, second in merges]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(words[:5])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def metaspace() -> Any:
    """Like T5's and XLM's: whole pieces of words, unknown letters lost, a space put before and taken off."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=260, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


KINDS = {"byte_level": byte_level, "byte_fallback": byte_fallback, "metaspace": metaspace}
