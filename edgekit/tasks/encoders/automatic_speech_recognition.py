"""automatic-speech-recognition: the words of speech, by a CTC head. In rows speech is the base64 text of its file, and `text` what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BadInput
from edgekit.runtime.processors.automatic_speech_recognition import heard
from edgekit.runtime.tokenise import Window
from edgekit.tasks.encoders.audio_classification import made
from edgekit.tasks.losses import draw_frames, hard_ctc, soft_frames
from edgekit.tasks.reference import Ask, Reference
from edgekit.tasks.task import EncoderTask

if TYPE_CHECKING:
    from edgekit.runtime.jsontypes import JsonObject, JsonValue
    from edgekit.runtime.model import Model

__all__ = ["TASK", "edits"]


def edits(said: Sequence[object], wanted: Sequence[object]) -> int:
    """The fewest insertions, deletions and substitutions that make `said` of `wanted` (Levenshtein 1966), row by row of the usual table."""
    row = list(range(len(said) + 1))
    for number, right in enumerate(wanted, 1):
        before, row[0] = row[0], number
        for place, word in enumerate(said, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != right))
    return row[-1]


def labels(row: JsonObject, windows: Sequence[Window], index: dict[str, int]) -> list[np.ndarray]:
    """int64 (1 + n,): the blank's number, then those of the tokens of the row's text.

    Raises:
        BadInput: the vocabulary has no letter of the text.
    """
    (window,), text = windows, str(row["text"])
    spelling = window.spelling
    assert spelling is not None, "the processor says how outputs are written"
    numbers = spelling.encoded(text)
    known = {spelling.numbers.get(spelling.unknown), spelling.numbers.get(spelling.delimiter or "")}
    if not {*numbers} - known:
        letters = ", ".join(repr(token) for token in spelling.tokens if len(token) == 1)[:80]
        raise BadInput(
            f"the model writes no letter of {text[:40]!r}", where="data", fix=f"write texts with what it writes: {letters}"
        )
    return [np.array([spelling.numbers[spelling.blank], *numbers], dtype=np.int64)]


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, labels: list[str]) -> list[float]:
    """Wrong words and words, wrong letters and letters."""
    said, wanted = heard(outputs, inputs[0]), str(row["text"])
    words = wanted.split()
    letters, right = " ".join(said.split()), " ".join(words)
    return [float(edits(said.split(), words)), float(len(words)), float(edits(letters, right)), float(len(right))]


def right_words(evidence: np.ndarray) -> float:
    """1 - WER over all rows, as the field counts it: less than 0 where more words are wrong than there are, so that a change is seen there too."""
    return 1.0 - float(evidence[:, 0].sum() / max(1.0, evidence[:, 1].sum()))


def rate(first: int) -> Any:
    """The error rate of words (0) or letters (2)."""
    return lambda evidence: float(evidence[:, first].sum() / max(1.0, evidence[:, first + 1].sum()))


def pipeline_of(folder: Path, longest: int) -> Ask:
    """transformers' automatic-speech-recognition pipeline over what its `load_audio` decodes: speech -> {"text", "log_probabilities", "decode"}."""
    import torch
    from transformers import AutoFeatureExtractor, AutoTokenizer, pipeline
    from transformers.audio_utils import load_audio

    reader, tokenizer = (
        kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        for kind in (AutoFeatureExtractor, AutoTokenizer)
    )
    model: Any = str(folder)
    hear: Any = pipeline(
        "automatic-speech-recognition",
        model=model,
        feature_extractor=reader,
        tokenizer=tokenizer,
        device="cpu",
        dtype=torch.float32,
    )

    def ask(item: JsonValue) -> dict[str, Any]:
        samples = load_audio(f"data:audio/wav;base64,{item}", sampling_rate=reader.sampling_rate, backend="soundfile")
        read = reader(samples, sampling_rate=reader.sampling_rate, return_tensors="pt")
        with torch.inference_mode():
            logits = hear.model(read["input_values"]).logits[0]
        found = {"text": hear(samples)["text"], "log_probabilities": logits.log_softmax(dim=-1).numpy()}
        return {**found, "decode": lambda best: tokenizer.decode(best, skip_special_tokens=False)}

    return ask


def with_outputs(model: Model, item: JsonValue) -> dict[str, Any]:
    """The answer of a loaded bundle, with its logits (frames, tokens)."""
    from edgekit.runtime.processors import processor

    windows = processor(TASK.name).prepare(model.reader, item)
    (logits,) = model.outputs(windows)
    return {"text": heard([logits], windows), "logits": logits[0]}


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """The largest distance of two log-probabilities; infinite where the library writes our likeliest tokens otherwise, or where its pipeline does
    not write its own likeliest ones. Where two tokens are as likely, either may be written."""
    logits = ours["logits"].astype(np.float64)
    known = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    if known.shape != theirs["log_probabilities"].shape:
        return float("inf")
    written = [theirs["decode"](best.argmax(axis=-1)) for best in (known, theirs["log_probabilities"])]
    if written != [ours["text"], theirs["text"]]:
        return float("inf")
    return float(np.abs(known - theirs["log_probabilities"]).max())


TASK = EncoderTask(
    name="automatic-speech-recognition",
    title="the words of speech",
    columns=("audio", "text"),
    metric="1 - word error rate",
    output="logits",
    auto="AutoModelForCTC",
    per_token=True,
    items=lambda row: [row["audio"]],
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_ctc,
    soft=soft_frames,
    draw=draw_frames,
    evidence=evidence,
    reduce=right_words,
    beside={"word error rate": rate(0), "character error rate": rate(2)},
    reference=Reference(
        "transformers' automatic-speech-recognition pipeline", pipeline_of, difference, with_outputs, inputs=made
    ),
    named=False,
    reads="sound",
)
