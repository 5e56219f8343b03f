"""Kinds of tokenizers and what their settings ask for; settings of generation."""

from __future__ import annotations

from collections.abc import Iterator

from tests.matrix.cells.cell import Cell, of_language, of_task

__all__ = ["tokenizers"]


def tokenizers() -> Iterator[Cell]:
    task = "text-classification"
    for kind in ("wordpiece", "cased", "bytes", "bytes-prefix", "unigram", "deberta"):
        yield Cell(f"tokenizer {kind}", of_task("bert", task, tokens=kind, type_vocab_size=2))
    for settings in (
        {"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}, {"truncation_side": "left"}, {"padding_side": "left"},
        {"model_max_length": 24}, {"model_input_names": ["input_ids", "attention_mask"]}, {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"clean_up_tokenization_spaces": True}, {"model_max_length": int(1e30)},
    ):  # fmt: skip
        yield Cell(f"tokenizer_config {settings}", of_task("bert", task, tokenizer_settings=settings))
    yield Cell(
        "model_max_length below what is asked",
        of_task("bert", task, tokenizer_settings={"model_max_length": 16}),
        refused="model_max_length",
    )
    yield Cell(
        "truncation_side left, tags",
        of_task("bert", "token-classification", tokenizer_settings={"truncation_side": "left"}),
        refused="truncation_side",
    )
    for family, name in (("camembert", "CamembertTokenizer"), ("xlm-roberta", "XLMRobertaTokenizer")):
        yield Cell(f"tokenizer of the class {name}", of_task(family, task, tokenizer_settings={"tokenizer_class": name}))
    beyond = {"added_tokens_decoder": {"900": {"content": "[NEW]", "special": True}}}
    yield Cell("a token beyond the embedding", of_task("bert", task, tokenizer_settings=beyond), refused=r"\[NEW\]")
    yield Cell(
        "a tokenizer without token types",
        of_task("roberta", task, tokenizer_settings={"model_input_names": ["input_ids", "attention_mask"]}),
    )
    for family in ("llama", "gpt2", "qwen2"):
        yield Cell(f"language model, {family}, a token beyond the embedding", of_language(family, tokenizer_settings=beyond))
    for key, value, refused in (
        ("repetition_penalty", 1.3, ""),
        ("num_beams", 3, "num_beams"),
        ("suppress_tokens", [5, 6], "suppress_tokens"),
    ):
        yield Cell(f"language model with {key}", of_language("gpt2", generation={key: value}), refused=refused)
    yield Cell("no padding token, said by -1", of_task("bert", task, pad_token_id=-1))
    yield Cell("layers computed in chunks", of_task("bert", task, chunk_size_feed_forward=4), refused="chunk_size_feed_forward")
    yield Cell("an encoder that is a decoder", of_task("bert", task, is_decoder=True), refused="is_decoder")
    yield Cell(
        "special tokens cut as text",
        of_task("bert", task, tokenizer_settings={"split_special_tokens": True}),
        refused="split_special_tokens",
    )
    yield Cell("language model without a bos token", of_language("llama", tokenizer_settings={"add_bos_token": False}))
    yield Cell("language model with an eos token after texts", of_language("llama", tokenizer_settings={"add_eos_token": True}))
    chat = "{% for message in messages %}{{ bos_token }}[{{ message['role'] }}] {{ message['content'] }}{{ eos_token }}{% endfor %}[assistant]"
    named = [{"name": "default", "template": chat}, {"name": "rag", "template": "other"}]
    for name, template in (("", chat), (" by name", named)):
        yield Cell(
            f"language model with a chat template{name}", of_language("llama", tokenizer_settings={"chat_template": template})
        )
