"""Golden inputs: texts with the ids, outputs and labels that the bundle gave where it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.session import open_session
from edgekit.runtime.tokenise import load_tokeniser

__all__ = ["COUNT", "make_golden"]

COUNT = 32
ODD = [
    "a",
    "?!",
    "🙂 please turn on the light 🙏🏽",
    "أشعل الضوء في المطبخ من فضلك",
    "Füg Müsli zur Einkaufsliste hinzu",
    "支付我的账单",
    "word " * 600,
    "supercalifragilisticexpialidocious zzzzqqqq",
]
"""One letter, no letters, emoji, right to left, accents, no spaces, far over the limit, words never seen."""


def make_golden(
    model: Path, tokenizer: Path, rows: list[str], labels: list[str], *, max_length: int, pad_id: int, provider: str
) -> dict[str, Any]:
    """The document `golden.json`: odd texts, then rows spread evenly over the lengths that occur; 32 in all.

    `margin` is the distance of the two highest outputs: a label may change elsewhere where it is within the tolerance.
    """
    by_length = sorted(set(rows), key=lambda text: (len(text), text))
    wanted = COUNT - len(ODD)
    picked = [by_length[index] for index in np.linspace(0, len(by_length) - 1, wanted).astype(int)]
    tokenise = load_tokeniser(tokenizer, max_length, pad_id)
    session = open_session(model, provider=provider)
    found = []
    for text in [*ODD, *picked]:
        tokens = tokenise([text])
        outputs = session.run(None, {"input_ids": tokens.ids, "attention_mask": tokens.mask})[0][0]
        top = np.sort(outputs)[-2:]
        found.append(
            {
                "text": text,
                "input_ids": tokens.ids[0].tolist(),
                "outputs": [round(float(value), 5) for value in outputs],
                "label": labels[int(outputs.argmax())],
                "margin": round(float(top[-1] - top[0]), 5),
            }
        )
    return {"rows": found}
