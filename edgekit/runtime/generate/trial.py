"""The child process in which a grammar is compiled for the first time: llguidance bounds most of its work, but not all of it.

Measured with llguidance 1.9.1: an object of 10,000 properties takes 7 s, and {"multipleOf": 1234567} more than 25 s and no end. A tokenizer of
single bytes takes as long as one of many tokens. Run as `python -m edgekit.runtime.generate.trial`; it imports llguidance and the standard
library alone. The system limits its memory and CPU time, the parent its elapsed time, by ending it; see `edgekit.runtime.generate.guide`.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits
    from llguidance._lib import JsonCompileOptions

__all__ = ["MEMORY", "SECONDS", "fault_of", "limits", "main", "source"]

SECONDS = 5.0
"""For one grammar; those of real schemas take milliseconds."""
MEMORY = 1024**3
"""Bytes of address space of the process."""
JSON_FORM: JsonCompileOptions = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As Python's `json.dumps` writes documents: a small model that may put spaces anywhere puts them without end."""
TOKENS = re.compile(r"<\[[-,0-9]{1,200}\]>")
"""A token, or some, by number in a grammar."""
STRICT: JsonCompileOptions = {"lenient": False, "coerce_one_of": False}
"""A keyword that cannot be kept is refused, never passed over."""


def limits() -> LLParserLimits:
    """llguidance's limits, of what a token's mask may take above all: 40 ms where an object may have any of 1,500 properties next."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        max_items_in_row=6_000, initial_lexer_fuel=500_000, max_lexer_states=50_000, max_grammar_size=200_000,
        precompute_large_lexemes=False, verbose_errors=False,
    )  # fmt: skip


def source(kind: str, text: str) -> str:
    """The grammar, as llguidance reads it, of a `Constraint` of this kind and text.

    Raises:
        ValueError: it is no such thing.
    """
    from llguidance import LLMatcher

    if kind == "json_schema":
        return LLMatcher.grammar_from_json_schema(text, defaults=JSON_FORM, overrides=STRICT)
    if kind == "regex":
        return LLMatcher.grammar_from_regex(text)
    if kind == "choice":
        texts = " | ".join(json.dumps(one, ensure_ascii=False) for one in json.loads(text))
        return LLMatcher.grammar_from_lark(f"start: CHOICE\nCHOICE: {texts}")  # as rules there could be 2,000 at most
    return LLMatcher.grammar_from_lark(text)


def fault_of(matcher: LLMatcher) -> str:
    """What is wrong with a grammar that was compiled to `matcher`; empty where it can be used. The first token's mask shows that nothing fits."""
    if fault := matcher.get_error():
        return str(fault)
    matcher.compute_bitmask()
    fault = str(matcher.get_error())
    return "no text fits it" if fault.startswith("NoExtension") else fault


class _Bytes:
    """A tokenizer of single bytes, as llguidance takes one from Python."""

    eos_token_id, bos_token_id, special_token_ids = 256, None, (256,)
    tokens = (*(bytes([number]) for number in range(256)), b"<eos>")

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


def _reply(line: bytes, tokenizer: Any) -> dict[str, str]:
    """{"text"} or {"fault"}."""
    from llguidance import LLMatcher

    try:
        request = json.loads(line)
        # The model's tokens by number are those of another tokenizer here; whether it has them is told where they are
        text = TOKENS.sub("<[255]>", request["text"]) if request["kind"] == "grammar" else request["text"]
        matcher = LLMatcher(tokenizer, source(request["kind"], text), log_level=0, limits=limits())
        return {"fault": fault} if (fault := fault_of(matcher)) else {"text": ""}
    except MemoryError:
        return {"fault": f"it needs more than {MEMORY // 1024**2} MiB"}
    except BaseException as fault:  # a panic of llguidance is no Exception
        return {"fault": f"{type(fault).__name__}: {str(fault)[:500]}"}


def main() -> int:
    """Answer lines of standard input until it ends; the first line out says that the process is ready."""
    from llguidance import LLTokenizer, TokenizerWrapper

    tokenizer = LLTokenizer(TokenizerWrapper(_Bytes()))
    for limit, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(limit, (value, value))
    print(json.dumps({"text": ""}), flush=True)
    for line in sys.stdin.buffer:
        spent = resource.getrusage(resource.RUSAGE_SELF)
        # Should the parent be gone, the system ends an endless compilation.
        until = int(spent.ru_utime + spent.ru_stime + SECONDS) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
        sys.stdout.write(json.dumps(_reply(line, tokenizer)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
