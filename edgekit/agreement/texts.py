"""Made texts on which a runtime and a library are likely to differ: how text is cut into tokens and where answers stand in it."""

from __future__ import annotations

__all__ = ["made_texts"]

TEXTS = (
    "the cat sat on the mat",
    "The Cat Runs In PARIS And New York City",
    "Mr. Smith's e-mail is a_b.c@d.org, isn't it?",
    "He paid $1,000.50 (about 3.5%) on 12/31/1999.",
    "Angela Merkel met Barack Obama in Berlin; Apple Inc. paid.",
    "Füg Müsli zur Einkaufsliste hinzu, Straße Ångström",
    "cafe\u0301 nai\u0308ve de\u0301ja\u0300 vu",  # combining accents
    "İstanbul'da ILIK ıslak",
    "Привет, мир! Москва и Париж",
    "Ελληνικά ΚΑΛΗΜΕΡΑ κόσμε",
    "支付我的账单 北京",
    "東京は日本の首都です。カタカナ",
    "안녕하세요 서울",
    "สวัสดีชาวโลก",
    "أشعل الضوء في المطبخ",
    "שלום עולם",
    "नमस्ते दुनिया",
    "🙂",
    "turn on the light 🙏🏽 please 👩‍👩‍👧 ok",
    "a\u200bb c\u200dd \u200b e",  # zero-width space and joiner
    "\ufe0f variation \u2764\ufe0f selector",
    "\u200d went to London",
    "  two spaces before and  between ",
    "tabs\tand\nlines\r\nof text",
    "non\u00a0breaking\u3000spaces\u2028here",
    "a <pad> of [PAD] the <mask> [MASK] </s> <s> <unk> word",
    "a",
    "?!",
    "supercalifragilisticexpialidocious zzzzqqqq",
    "https://example.org/a?b=1&c=%20#d",
    "ﬁne ½ ² … “quoted” — dash",
)
"""Cased, accents, other scripts, emoji, zero-width characters, leading and double spaces, one word, one letter."""


def made_texts(longest: int) -> list[str]:
    """32 texts; the last has more tokens than the limit of `longest`, whatever the tokenizer."""
    return [*TEXTS, "one two three four five. " * (longest // 4 + 1)]
