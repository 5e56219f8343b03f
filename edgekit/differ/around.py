"""What stands around two graphs and decides what is answered: labels, tokenizers, lengths. No part is to blame for it, and so it is said beside."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from edgekit.differ.bundle import BundleSide
from edgekit.runtime.processors import processor
from edgekit.runtime.tokenise import load_tokeniser

__all__ = ["beside_bundle", "beside_labels"]


def beside_labels(ours: tuple[str, ...], theirs: tuple[str, ...]) -> list[str]:
    """Whether a checkpoint's labels are the bundle's in another order: other names for them may be meant."""
    if ours == theirs or sorted(ours) != sorted(theirs):
        return []
    return [_labels(ours, theirs)]


def beside_bundle(side: BundleSide, other: BundleSide) -> list[str]:
    """What `side` says of itself that the reference `other` does not, a sentence each."""
    one, two, said = side.bundle.manifest, other.bundle.manifest, []
    if one.labels != two.labels:
        said.append(_labels(one.labels, two.labels))
    if one.threshold != two.threshold:
        said.append(f"a label is given from {one.threshold:g} on, and by the reference from {two.threshold:g}")
    if one.text.max_length != two.text.max_length:
        said.append(f"texts are cut at {one.text.max_length:,} tokens, and by the reference at {two.text.max_length:,}")
    ours, theirs = _tokens(side), _tokens(other)
    cut = [golden.input for golden in side.golden if ours(golden.input) != theirs(golden.input)]
    if cut:
        text = (cut[0] if isinstance(cut[0], str) else json.dumps(cut[0], ensure_ascii=False))[:60]
        said.append(
            f"the two tokenizers cut {len(cut):,} of {len(side.golden):,} golden inputs into other tokens, first {text!r}: both were given the "
            "tokens of the second model, and the first one's own answers may be others"
        )
    return said


def _labels(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    at = next(
        (place for place, (one, two) in enumerate(zip(ours, theirs, strict=False)) if one != two), min(len(ours), len(theirs))
    )
    names = [repr(labels[at]) if at < len(labels) else "nothing" for labels in (ours, theirs)]
    return f"the labels are others: output {at} is {names[0]}, and of the reference {names[1]}, so that equal outputs are other answers"


def _tokens(side: BundleSide) -> Callable[[Any], list[list[str | None]]]:
    """What cuts an input into a bundle's tokens."""
    if side.decodes:
        return lambda item: (
            [list(side.tokenizer.encode(item, add_special_tokens=False).tokens)] if isinstance(item, str) else []
        )
    manifest = side.bundle.manifest
    prepare = processor(manifest.task).prepare
    tokenise = load_tokeniser(
        side.bundle.folder / manifest.text.file, manifest.text.max_length, segments=manifest.segments,
        pairs=side.bundle.config.text_pairs, prompts=manifest.prompts,
    )  # fmt: skip
    return lambda item: [
        [side.tokenizer.id_to_token(int(number)) for number in window.ids] for window in prepare(tokenise, item)
    ]
