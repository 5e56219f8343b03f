"""A loaded bundle that answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from edgekit.runtime.bundle import Bundle, open_bundle
from edgekit.runtime.decode import decoder
from edgekit.runtime.session import check_chip, check_ids, open_session
from edgekit.runtime.tokenise import Tokeniser, Tokens, load_tokeniser

__all__ = ["Model", "load"]


@dataclass(frozen=True)
class Model:
    """Call it with a text for an answer, or with a list of texts for a list of answers."""

    bundle: Bundle
    session: Any
    tokenise: Tokeniser

    @overload
    def __call__(self, texts: str, *, top_k: int = 1) -> dict[str, Any]: ...
    @overload
    def __call__(self, texts: list[str], *, top_k: int = 1) -> list[dict[str, Any]]: ...
    def __call__(self, texts: str | list[str], *, top_k: int = 1) -> Any:
        """The answer to each text, each run by itself, exactly as it was scored and timed.

        Dynamic INT8 finds one activation range for a whole batch, so an answer would depend on its neighbours.

        Raises:
            BadInput: a text that cannot be used.
            CheckFailed: the model gave no finite output.
        """
        several = [texts] if isinstance(texts, str | bytes) else list(texts)
        decode = decoder(self.bundle.manifest.task)
        answers = []
        for text in several:
            tokens = self.tokenise([text])
            (answer,) = decode(self.outputs(tokens), self.bundle.manifest.labels, top_k)
            answers.append({**answer, "truncated": True} if tokens.truncated[0] else answer)
        return answers[0] if isinstance(texts, str | bytes) else answers

    def outputs(self, tokens: Tokens) -> np.ndarray:
        """The graph's first output for a batch of tokens."""
        check_ids(tokens.ids, self.bundle.manifest.vocabulary, self.bundle.manifest.max_length)
        result: np.ndarray = self.session.run(None, {"input_ids": tokens.ids, "attention_mask": tokens.mask})[0]
        return result


def load(path: str | Path, *, threads: int | None = None) -> Model:
    """Open the bundle at `path`, with every file hashed again and the chip checked.

    Raises:
        BadInput: no sound bundle there.
        CheckFailed: a file is not what the manifest says.
        NotPossibleHere: the chip or the provider is not what the bundle needs.
    """
    bundle = open_bundle(path)
    manifest = bundle.manifest
    check_chip(manifest.arch, manifest.isa, manifest.isa_any, str(bundle.folder))
    session = open_session(
        bundle.folder / manifest.model_file,
        provider=manifest.provider,
        threads=threads or manifest.threads,
        config=manifest.session_config,
    )
    tokenise = load_tokeniser(bundle.folder / manifest.tokenizer_file, manifest.max_length, manifest.pad_id)
    return Model(bundle, session, tokenise)
