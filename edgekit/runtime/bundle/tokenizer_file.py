"""What a bundle's tokenizer.json may hold, checked before the tokenizers library reads it.

The library panics on some files, and obeys others at any cost: a normalizer that doubles a letter thirty-four times, a pattern that
backtracks for years, a WordPiece without an unknown token that fails on the first unknown word. Here its parts are of a known set,
each with the values that it needs; what they make of a text is bounded by a multiple of its length; and every token id is known.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.bundle.patterns import narrowest, pattern_fault
from edgekit.runtime.errors import BadInput
from edgekit.runtime.strict_json import read_json

__all__ = ["LARGEST", "check_tokenizer_file", "patterns_in", "tokenizer_faults"]

LARGEST = 64 * 1024**2
"""Bytes; the largest published ones have 33 million."""
MOST_PARTS = 64
LONGEST = 1000
"""Characters of a token, a replacement, or any other text."""
LARGEST_GROWTH = 64
"""Characters that normalizing may make of one; Unicode's own longest decomposition has 18."""
LONGEST_WORD = 1000
"""Characters of a word that WordPiece splits, in a time that is their square."""
MOST_SPECIAL = 32
"""Tokens that are put around a text."""
MOST_FAULTS = 20

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _letter(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 1


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LONGEST


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _option(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _token(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _text(value[0]) and _id(value[1])


def _parts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST_PARTS


def _pattern(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and (_text(value.get("String")) or _text(value.get("Regex")))


def _behaviour(value: Any) -> bool:
    return value in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")


def _list(value: Any) -> bool:
    return isinstance(value, list)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _charsmap(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 4_000_000


BYTE_LEVEL: Mapping[str, Check] = {"add_prefix_space": _flag, "trim_offsets": _flag, "use_regex": _flag}
METASPACE: Mapping[str, Check] = {
    "replacement": _letter, "prepend_scheme": lambda value: value in ("always", "first", "never"), "split": _flag,
    "add_prefix_space": _flag, "str_rep": _text,
}  # fmt: skip
REPLACE: Mapping[str, Check] = {"pattern": _pattern, "content": _text}
WORD_PIECE: Mapping[str, Check] = {"prefix": _text, "cleanup": _flag}
AROUND: Mapping[str, Check] = {"sep": _token, "cls": _token}
COMPONENTS: Mapping[str, Mapping[str, Mapping[str, Check]]] = {
    "normalizer": {
        "BertNormalizer": {"clean_text": _flag, "handle_chinese_chars": _flag, "strip_accents": _option, "lowercase": _flag},
        "ByteLevel": {}, "Lowercase": {}, "NFC": {}, "NFD": {}, "NFKC": {}, "NFKD": {}, "Nmt": {}, "StripAccents": {},
        "Precompiled": {"precompiled_charsmap": _charsmap}, "Prepend": {"prepend": _text}, "Replace": REPLACE,
        "Sequence": {"normalizers": _parts}, "Strip": {"strip_left": _flag, "strip_right": _flag},
    },
    "pre_tokenizer": {
        "BertPreTokenizer": {}, "ByteLevel": BYTE_LEVEL, "CharDelimiterSplit": {"delimiter": _letter}, "Digits": {"individual_digits": _flag},
        "Metaspace": METASPACE, "Punctuation": {"behavior": _behaviour}, "Sequence": {"pretokenizers": _parts},
        "Split": {"pattern": _pattern, "behavior": _behaviour, "invert": _flag}, "UnicodeScripts": {}, "Whitespace": {}, "WhitespaceSplit": {},
    },
    "post_processor": {
        "BertProcessing": AROUND, "ByteLevel": BYTE_LEVEL, "RobertaProcessing": {**AROUND, "trim_offsets": _flag, "add_prefix_space": _flag},
        "Sequence": {"processors": _parts}, "TemplateProcessing": {"single": _list, "pair": _list, "special_tokens": _object},
    },
    "decoder": {
        "BPEDecoder": {"suffix": _text}, "ByteFallback": {}, "ByteLevel": BYTE_LEVEL, "Fuse": {}, "Metaspace": METASPACE,
        "CTC": {"pad_token": _text, "word_delimiter_token": _text, "cleanup": _flag}, "Replace": REPLACE, "Sequence": {"decoders": _parts},
        "Strip": {"content": _letter, "start": _count, "stop": _count}, "WordPiece": WORD_PIECE,
    },
}  # fmt: skip
"""Of each kind of part: those that a tokenizer may have, with their values; a further value may be there where it is a plain one."""
INNER = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "post_processor": "processors", "decoder": "decoders"}
ADDED: Mapping[str, Check] = {
    "id": _id, "content": _text, "single_word": _flag, "lstrip": _flag, "rstrip": _flag, "normalized": _flag, "special": _flag
}  # fmt: skip
KEYS = ("version", "truncation", "padding", "added_tokens", *COMPONENTS, "model")


def check_tokenizer_file(path: Path, manifest: Manifest) -> None:
    """Refuse a tokenizer that no bundle of ours has.

    Raises:
        BadInput: as `read_json`, or what is told by `tokenizer_faults`.
    """
    rows = manifest.vocabulary if manifest.generation is None else None
    faults = list(tokenizer_faults(read_json(path, most=LARGEST), rows))
    if faults:
        raise BadInput(
            "not a tokenizer that a bundle can hold", where=str(path), faults=faults[:MOST_FAULTS],
            fix="export the model with this edgekit",
        )  # fmt: skip


def patterns_in(document: Any) -> Iterator[str]:
    """The regular expressions of a tokenizer without faults."""
    if isinstance(document, dict):
        if isinstance(pattern := document.get("Regex"), str):
            yield pattern
        for kind in ("pattern", *COMPONENTS, *INNER.values()):
            yield from patterns_in(document.get(kind))
    elif isinstance(document, list):
        for part in document:
            yield from patterns_in(part)


def tokenizer_faults(document: Any, rows: int | None) -> Iterator[str]:
    """What no tokenizer of a bundle has. `rows`: of the model's embedding, which has one for every id; None where the runtime
    refuses ids beyond it, as of language models."""
    if not isinstance(document, dict):
        yield "not an object"
        return
    yield from (f"{key[:60]}: unknown" for key in document if key not in KEYS)
    added = document.get("added_tokens") or []
    model = document.get("model")
    if not isinstance(added, list) or not isinstance(model, dict):
        yield "added_tokens or model: missing, or of another type"
        return
    ids: list[Any] = []
    for number, token in enumerate(added):
        wrong = not isinstance(token, dict) or any(
            not check(token[name]) if name in token else name in ("id", "content") for name, check in ADDED.items()
        )
        if wrong:
            yield f"added_tokens[{number}]: not a token with its id and its settings"
            return
        ids.append(token["id"])
    yield from _model_faults(model, ids)
    if rows is not None and not any(type(number) is not int for number in ids) and max(ids, default=0) >= rows:
        yield f"token id {max(ids):,} is beyond the model's vocabulary of {rows:,}"
    counts = [0]
    for kind in COMPONENTS:
        if document.get(kind) is not None:
            yield from _component_faults(kind, document[kind], kind, counts)
            if kind != "post_processor" and _growth(kind, document[kind]) > LARGEST_GROWTH:
                yield f"{kind}: makes more than {LARGEST_GROWTH} characters of one"
    if counts[0] > MOST_PARTS:
        yield f"more than {MOST_PARTS} parts"


def _model_faults(model: dict[str, Any], ids: list[Any]) -> Iterator[str]:
    """The model's own values; adds its token ids to `ids`."""
    kind, vocabulary = model.get("type"), model.get("vocab")
    if kind == "Unigram":
        pairs = isinstance(vocabulary, list) and all(
            isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) and type(one[1]) in (int, float)
            for one in vocabulary
        )
        if not pairs or not vocabulary:
            yield "model.vocab: not a list of tokens with their scores"
            return
        ids.append(len(vocabulary) - 1)
        unknown = model.get("unk_id")
        if type(unknown) is not int or not 0 <= unknown < len(vocabulary):
            yield f"model.unk_id: {_shown(unknown)} is not among its {len(vocabulary):,} tokens"
        return
    if kind is None and isinstance(model.get("merges"), list):
        kind = "BPE"
    if kind not in ("WordPiece", "BPE", "WordLevel"):
        yield f"model: {_shown(kind)} is of no known kind"
        return
    if not isinstance(vocabulary, dict) or not vocabulary or not all(_id(one) for one in vocabulary.values()):
        yield "model.vocab: not an object of tokens with their ids"
        return
    if len(set(vocabulary.values())) != len(vocabulary):
        yield "model.vocab: two tokens have one id"
    ids.append(max(vocabulary.values()))
    unknown = model.get("unk_token")
    if not (unknown in vocabulary if isinstance(unknown, str) else kind == "BPE" and unknown is None):
        yield f"model.unk_token: {_shown(unknown)} is not in its vocabulary"
    longest = model.get("max_input_chars_per_word", 1)
    if kind == "WordPiece" and not (type(longest) is int and 1 <= longest <= LONGEST_WORD):
        yield f"model.max_input_chars_per_word: {_shown(longest)} is not within 1 to {LONGEST_WORD:,}"
    if kind == "BPE" and model.get("dropout"):
        yield "model.dropout: a text would have other tokens each time"
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if not (model.get(name) is None or _text(model[name])):
            yield f"model.{name}: not a short text"
    prefix, merges = model.get("continuing_subword_prefix"), model.get("merges")
    if kind == "BPE" and prefix and isinstance(prefix, str) and isinstance(merges, list):
        # The library cuts the prefix off every second part unseen, and ends the process where it is not there.
        parts = [
            merge.rpartition(" ")[2] if isinstance(merge, str) else (merge or [""])[-1]
            for merge in merges
            if isinstance(merge, str | list)
        ]
        if not all(isinstance(part, str) and part.startswith(prefix) for part in parts):
            yield f"model.merges: second parts that do not begin with {_shown(prefix)}, the prefix of what continues a word"


def _component_faults(kind: str, given: Any, where: str, counts: list[int], depth: int = 0) -> Iterator[str]:
    """One part and those within it."""
    counts[0] += 1
    name = given.get("type") if isinstance(given, dict) else None
    known = COMPONENTS[kind].get(name) if isinstance(name, str) else None
    if known is None or depth > 8:
        yield f"{where}: {_shown(name)} is of no known kind, or within too many others"
        return
    for field, value in given.items():
        if field == "type":
            continue
        plain = value is None or isinstance(value, bool | int | float) or _text(value)
        if not (known[field](value) if field in known else plain):
            yield f"{where}.{field[:60]}: not what {name} takes"
    if name == "Sequence":
        inner = given.get(INNER[kind])
        if not _parts(inner):
            yield f"{where}.{INNER[kind]}: not a list of parts"
            return
        for number, one in enumerate(inner):
            if counts[0] <= MOST_PARTS:
                yield from _component_faults(kind, one, f"{where}.{INNER[kind]}[{number}]", counts, depth + 1)
    elif name in ("Replace", "Split"):
        pattern: dict[str, str] = given.get("pattern") or {}
        if not _pattern(pattern):
            yield f"{where}.pattern: missing"
        elif "Regex" in pattern and (fault := pattern_fault(pattern["Regex"])) is not None:
            yield f"{where}.pattern: {_shown(pattern['Regex'])} may take forever: {fault}"
        elif pattern.get("String") == "":
            yield f"{where}.pattern: matches everywhere"
    elif name == "TemplateProcessing":
        yield from _template_faults(given, where)
    elif name == "Precompiled" and _longest_replacement(given.get("precompiled_charsmap")) is None:
        yield f"{where}.precompiled_charsmap: not one of SentencePiece"


def _template_faults(given: dict[str, Any], where: str) -> Iterator[str]:
    """A text once, two texts once each, and special tokens that are there."""
    special = given.get("special_tokens")
    names = set()
    for name, token in special.items() if isinstance(special, dict) else ():
        ids, tokens = (token.get("ids"), token.get("tokens")) if isinstance(token, dict) else (None, None)
        if (
            not isinstance(ids, list)
            or not isinstance(tokens, list)
            or not 0 < len(ids) == len(tokens) <= MOST_SPECIAL
            or not all(map(_id, ids))
        ):
            yield f"{where}.special_tokens: {_shown(name)} has no ids"
        names.add(name)
    for field, texts in (("single", ["A"]), ("pair", ["A", "B"])):
        pieces = given.get(field)
        found = []
        if not isinstance(pieces, list) or len(pieces) > MOST_SPECIAL:
            yield f"{where}.{field}: not a list of at most {MOST_SPECIAL} pieces"
            continue
        for piece in pieces:
            what, value = next(iter(piece.items())) if isinstance(piece, dict) and len(piece) == 1 else ("", {})
            sound = isinstance(value, dict) and type(value.get("type_id")) is int and 0 <= value["type_id"] < 16
            if sound and what == "Sequence" and value.get("id") in ("A", "B"):
                found.append(value["id"])
            elif not (sound and what == "SpecialToken" and isinstance(value.get("id"), str) and value["id"] in names):
                yield f"{where}.{field}: a piece that is neither a text nor a known special token"
                break
        else:
            if sorted(found) != texts and not (field == "pair" and not pieces):
                yield f"{where}.{field}: not {' and '.join(texts)} once"


def _growth(kind: str, given: Any) -> float:
    """Characters that one may become, at most, but for Unicode's own forms and spaces around letters, which do not multiply."""
    if not isinstance(given, dict):
        return 1
    name = given.get("type")
    if name == "Sequence":
        total = 1.0
        inner = given.get(INNER[kind])
        for one in inner if isinstance(inner, list) else ():
            total *= _growth(kind, one)
        return total
    if name == "ByteLevel" and kind != "decoder":
        return 4  # bytes of a character, each a character then
    if name == "Precompiled":
        return _longest_replacement(given.get("precompiled_charsmap")) or 1
    if name == "Replace" and _pattern(given.get("pattern")) and _text(given.get("content")):
        pattern, content = given["pattern"], given["content"]
        if pattern.get("String"):
            return max(1.0, len(content) / len(pattern["String"]))
        least = 0 if pattern_fault(pattern.get("Regex", "")) else narrowest(pattern["Regex"])
        return max(1.0, len(content) / least) if least else len(content) + 1  # put between all characters
    return 1


def _longest_replacement(charsmap: Any) -> int | None:
    """Characters of the longest replacement of SentencePiece's compiled rules: bytes of a trie, the trie, then texts that end in NUL."""
    try:
        data = base64.b64decode(charsmap, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return None
    size = int.from_bytes(data[:4], "little")
    if len(data) < 8 or size % 4 or not 4 <= size <= len(data) - 4:
        return None
    try:
        return max(map(len, data[4 + size :].decode("utf-8").split("\0")))
    except UnicodeDecodeError:
        return None


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
