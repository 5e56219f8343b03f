"""Patterns of tokenizers: published ones are taken, those that backtrack without end are told."""

import pytest

from edgekit.runtime.bundle.patterns import narrowest, own_texts, pattern_fault

PUBLISHED = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",  # GPT-2
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",  # Llama 3
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",  # Qwen
    (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"),  # o200k
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lm}&&[^\p{Han}]]*[\p{Ll}\p{Lo}&&[^\p{Han}]]+(?i:'s|'t)?|\p{N}{1,3}",  # Kimi
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+""",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",  # BLOOM
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",  # CLIP
    r"[一-龥ࠀ-一가-퟿]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"\p{N}{1,3}", r" {2,}", r"[0-9][0-9][0-9]", r"(?=(\d{3})+(?!\d))",
    r"(?<=[A-Z])(?=[0-9])", r"\u0020+", r"\x{4E00}", r"(?:ab)+", r"[]a]+", r"[^]a]", r"a{,3}b{2}", r"x*+", r"x+?", r"\.", "^$",
]  # fmt: skip
BACKTRACK = {
    "(q+)+Z": "several ways", "(a|a)*b": "several ways", "(a|aa)+$": "several ways", "(a*)*": "several ways", "(?:a?){30}a{30}": "several ways",
    "((a+)b?)+": "several ways", "(.*)+x": "several ways", r"(\s*\w+)*$": "several ways", "(?:x+x+)+y": "several ways",
    "([a-z]+)*[0-9]": "several ways", "(?i:(a+)+)": "several ways", "(?=(a+)+b)": "several ways", "(a{1,99}){1,99}": "several ways",
    "a*a*a*a*b": "in a row", "a+.*b*c+d": "in a row", "x{17,}x{1,17}x{0,20}x{18}y*": "in a row", r"(a)\1": "reference",
    r"(?<x>a)\k<x>": "reference", r"\g<0>": "reference", "(?R)": "unknown kind", "(?(1)a|b)": "unknown kind", "(?~abc)": "unknown kind",
    "(?#note)a": "unknown kind", "(*FAIL)": "unknown kind", "a**": "repetition of a repetition", "a{2}{3}": "repetition of a repetition",
    "a{1001}": "more than 1,000", "a{1,9999999}": "too many", "(a": "not closed", "[a": "not closed", "a)": "too many", "*a": "repeats nothing",
    "(" * 40 + ")" * 40: "nested deeper", "a" * 5000: "5,000 characters", "": "0 characters", "\\": "unknown escape", r"\X+": "unknown escape",
}  # fmt: skip


@pytest.mark.parametrize("pattern", PUBLISHED)
def test_published(pattern: str) -> None:
    assert pattern_fault(pattern) is None


@pytest.mark.parametrize("pattern", BACKTRACK)
def test_told(pattern: str) -> None:
    assert BACKTRACK[pattern] in str(pattern_fault(pattern))


@pytest.mark.parametrize(
    ("pattern", "width"),
    [(" {2,}", 2), ("x*", 0), ("a|bc", 1), ("(?=abc)d", 1), (r"\bab?", 1), ("(?:ab){3}[cd]+", 7), ("^$", 0), ("(?i)a", 1)],
)
def test_narrowest(pattern: str, width: int) -> None:
    assert narrowest(pattern) == width


def test_texts_of_patterns() -> None:
    assert {"z", "Q", "é", "中", "😀", "ab"} <= set(own_texts([r"z*Q|\x{1F600}\xe9\u4E2D", "(?:ab)*c"]))
    assert own_texts([r"\x{D800}"]) == [] and len(own_texts(map(chr, range(0x4E00, 0x5000)))) == 48
