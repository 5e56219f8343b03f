"""`run --every`: what a device would answer to a camera or a microphone as it goes on, without waiting for it.

Pictures are the image files of a folder, in the order of their names and the numbers in them; the first is there at 0 s, each further one `every`
seconds later. The clock of the stream is made of these times and of how long each answer really took here, from the file on: while an answer
takes longer than until the next picture, the device goes on with the newest one, and those before it are missed, as with a camera whose buffer
holds one picture. The first picture is answered once before the stream begins, as a device that runs has answered others.

Of a sound file the model is given, every so many seconds and at its end, the newest stretch of what has been heard until then, as long as it reads.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, TextIO

from edgekit.runtime.errors import BadInput
from edgekit.runtime.items import of_file, terminal_line
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.many import attempted
from edgekit.runtime.model import Model
from edgekit.runtime.processors import processor
from edgekit.runtime.shown import visible
from edgekit.runtime.sound import SoundReader
from edgekit.runtime.waveform import decoded, sound_file

__all__ = ["Moment", "answers_in_time", "check_live_flags", "frames", "heard", "parse_every", "run_live"]

SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0}
LEAST, MOST = 0.001, 86_400.0
"""Seconds between two inputs."""
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Of files that are pictures; all others are passed over."""
MOST_FRAMES = 1_000_000
LONGEST_STREAM = 3600.0
"""Seconds of a sound file."""
TOLD = 20
"""Faults that the end names; every input has its own line."""
NO_ROWS = "--every: pictures come from a folder, sounds from a file, one at a time"


@dataclass(frozen=True)
class Moment:
    """One input of a stream."""

    at: float
    """Seconds after the stream's beginning at which it is there."""
    item: Any
    """What the model is called with."""
    name: str
    """Of its file."""


def parse_every(written: str) -> float:
    """Seconds, of a number with ms, s or nothing behind it.

    Raises:
        BadInput: anything else, or less than a millisecond or more than a day.
    """
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(ms|s|)", written.strip())
    seconds = float(found[1]) * SECONDS[found[2]] if found else math.nan
    if not LEAST <= seconds <= MOST:
        raise BadInput(
            f"{written[:40]!r} is no time between inputs", where="--every", fix="give seconds from 0.001 on, as 0.5s or 40ms"
        )
    return seconds


def check_live_flags(*, jsonl: bool, workers: str | None, texts: Sequence[str] | None) -> Path:
    """The one path that is given beside --every.

    Raises:
        BadInput: none or several, or a flag of rows.
    """
    if jsonl or workers is not None:
        raise BadInput(NO_ROWS, fix="leave --jsonl and --workers out")
    if not texts or len(texts) != 1:
        raise BadInput(f"--every: {len(texts or ())} inputs", fix="name one folder of pictures, or one sound file")
    return Path(texts[0])


def frames(folder: Path, every: float) -> list[Moment]:
    """The pictures of `folder`, one every so many seconds; numbers within names count as numbers.

    Raises:
        BadInput: no folder, or one without pictures or with too many.
    """
    try:
        with os.scandir(folder) as entries:
            names = list(islice((entry.name for entry in entries if entry.name.lower().endswith(ENDINGS)), MOST_FRAMES + 1))
    except NotADirectoryError:
        raise BadInput(
            "is a file, and a camera gives many pictures", where=str(folder), fix="name a folder, or leave --every out"
        ) from None
    except (OSError, ValueError) as fault:
        what = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise BadInput(f"no folder that can be read: {what}", where=str(folder), fix="name a folder of pictures") from None
    names = [name for name in names if not name.startswith(".")]
    if not names:
        raise BadInput(
            "no picture in it; folders within it are not read",
            where=str(folder),
            fix=f"name a folder with files of {', '.join(ENDINGS)}",
        )
    if len(names) > MOST_FRAMES:
        raise BadInput(f"more than {MOST_FRAMES:,} pictures", where=str(folder), fix="share them out to several folders")
    return [Moment(number * every, folder / name, name) for number, name in enumerate(sorted(names, key=_by_numbers))]


def heard(path: Path, every: float, reader: SoundReader) -> list[Moment]:
    """What a microphone has heard of the sound file `path`, every so many seconds and at its end: the newest samples, as many as the model reads,
    from where there are enough for an answer.

    Raises:
        BadInput: no such file, one beyond the limits, or one that ends before there is anything to answer.
    """
    with of_file(str(path)):
        samples, rate, cut = decoded(sound_file(path), LONGEST_STREAM)
    if cut:
        raise BadInput(f"a sound of more than {LONGEST_STREAM:,.0f} seconds", where=str(path), fix="cut it")
    hearing = reader.settings
    window, fewest = int(hearing.most_seconds * rate), math.ceil(hearing.fewest_samples * rate / hearing.sampling_rate)
    ends = [round(number * every * rate) for number in range(1, min(int(len(samples) / (every * rate)), MOST_FRAMES + 1) + 1)]
    ends = [end for end in (*(end for end in ends if end < len(samples)), len(samples)) if end >= fewest]
    if not ends:
        raise BadInput(
            f"ends after {len(samples) / rate:.3g} s, before there is anything to answer",
            where=str(path),
            fix="give a longer sound",
        )
    if len(ends) > MOST_FRAMES:
        raise BadInput(f"more than {MOST_FRAMES:,} answers", where=str(path), fix="give a longer time with --every")
    return [
        Moment(end / rate, {"array": samples[max(0, end - window) : end], "sampling_rate": rate}, path.name) for end in ends
    ]


def _by_numbers(name: str) -> tuple[list[tuple[int, str]], str]:
    """What sorts names as people number them: frame-2 before frame-10."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], name


def answers_in_time(
    moments: Iterable[Moment], answer: Callable[[Any], JsonObject], clock: Callable[[], float] = time.perf_counter
) -> Iterator[JsonObject]:
    """What becomes of each of `moments`: {"at_s", "file"} with the answer and its "delay_ms" after the input was there, or "missed", or "error".

    An input is missed where a newer one is there before the model is free for it.
    """
    free, waiting = 0.0, list[Moment]()
    for moment in moments:
        if waiting:
            made, free = _settled(waiting.pop(), moment.at, free, answer, clock)
            yield made
        waiting.append(moment)
    if waiting:
        yield _settled(waiting[0], math.inf, free, answer, clock)[0]


def _settled(
    moment: Moment, following: float, free: float, answer: Callable[[Any], JsonObject], clock: Callable[[], float]
) -> tuple[JsonObject, float]:
    """(what becomes of `moment`, when the model is free again), where it is `free` at a time and the next input is there at `following`."""
    told: JsonObject = {"at_s": round(moment.at, 6), "file": moment.name}
    begun = max(moment.at, free)
    if begun >= following:
        return {**told, "missed": True}, free
    started = clock()
    try:
        made = answer(moment.item)
    except BadInput as fault:
        made = {"error": fault.text()}
    free = begun + clock() - started
    return {**told, **made, "delay_ms": round((free - moment.at) * 1000, 3)}, free


def run_live(model: Model, path: Path, every: float, *, top_k: int | None, as_json: bool, out: TextIO) -> BadInput | None:
    """Answer the pictures of the folder `path`, or the sound of the file, on `out`, a line each as it is answered, or as one JSON document; what is
    returned says which of them could not be used.

    Raises:
        BadInput: another kind of model, or no such folder.
        KeyboardInterrupt: after what was answered has been written.
    """
    task = model.bundle.manifest.task
    if processor(task).reads == "text":
        raise BadInput(
            f"--every: a stream of pictures or of sound, and a model for {task} reads {processor(task).reads}s",
            fix="leave --every out",
        )
    line = processor(task).line
    moments = heard(path, every, model.reader) if isinstance(model.reader, SoundReader) else frames(path, every)
    model.asks(top_k)  # what cannot be asked of this model is told once

    def answer(item: Any) -> JsonObject:
        made: JsonObject = model(item, top_k=top_k)
        return made

    tally = Tally(every)
    if isinstance(model.reader, SoundReader):
        tally = Tally(every, "stretches of sound", moments[-1].at, model.reader.settings.most_seconds)
    attempted(answer, moments[0].item)
    stopped: KeyboardInterrupt | None = None
    try:
        for made in answers_in_time(moments, answer):
            tally.add(made, keep=as_json)
            if not as_json:
                out.write(visible(_shown(made, line)) + "\n")
                out.flush()
        tally.complete = True
    except KeyboardInterrupt as ended:
        stopped = ended
    out.write((json.dumps(tally.document(), indent=1, sort_keys=True) if as_json else tally.line()) + "\n")
    out.flush()
    if stopped is not None:
        raise stopped
    return tally.refused()


@dataclass
class Tally:
    """What became of the inputs so far."""

    every: float
    what: str = "pictures"
    end: float | None = None
    """Seconds after which a sound ends, where the last answer is due; None of pictures."""
    longest: float = math.inf
    """Seconds of sound that the model reads for one answer."""
    answers: list[JsonObject] = field(default_factory=list)
    """Those that are kept for a document."""
    delays: array[float] = field(default_factory=lambda: array("d"))
    """Milliseconds from where an input was there to its answer."""
    missed: int = 0
    refusals: int = 0
    faults: list[str] = field(default_factory=list)
    complete: bool = False
    """Whether the stream went to its end."""

    def add(self, made: JsonObject, *, keep: bool) -> None:
        """Count one of `answers_in_time`, and `keep` it."""
        if keep:
            self.answers.append(made)
        if "missed" in made:
            self.missed += 1
            return
        if "error" in made:
            self.refusals += 1
            if len(self.faults) < TOLD:
                self.faults.append(f"{made['at_s']} s, {made['file']}: {made['error']}")
            return
        delay = made["delay_ms"]
        assert isinstance(delay, float), "an answer has its delay"
        self.delays.append(delay)

    def document(self) -> JsonObject:
        """All of it."""
        counted: JsonObject = {"answered": len(self.delays), "missed": self.missed, "refused": self.refusals}
        delay: JsonObject | None = None
        if self.delays:
            delay = {"p50": round(median(self.delays), 3), "largest": max(self.delays)}
        return {"every_s": self.every, **counted, "delay_ms": delay, "complete": self.complete, "answers": self.answers}

    def line(self) -> str:
        """What a terminal shows at the end."""
        count = len(self.delays) + self.refusals + self.missed
        told = f"{count:,} {self.what}, one every {self.every:g} s"
        told += f" and one at the end, {self.end:.3f} s" if self.complete and self.end is not None else ""
        told += f", of each the newest {self.longest:.3g} s" if self.longest < self.every else ""
        told += f": {len(self.delays):,} answered, {self.missed:,} missed"
        told += f", {self.refusals:,} refused" if self.refusals else ""
        if not self.delays:
            return told
        return f"{told}; an answer comes {median(self.delays):.1f} ms after its input (median), {max(self.delays):.1f} at most"

    def refused(self) -> BadInput | None:
        """What is to be said at the end where inputs could not be used."""
        if not self.refusals:
            return None
        more = [f"and {self.refusals - TOLD:,} more"] if self.refusals > TOLD else []
        return BadInput(
            f"{self.refusals:,} of {self.refusals + len(self.delays):,} {self.what} that were tried cannot be used",
            faults=self.faults + more,
        )


def _shown(made: JsonObject, line: Callable[[JsonObject], str]) -> str:
    """The line of a terminal for one of `answers_in_time`."""
    what = f"{made['file']}  (missed: a newer one was there first)" if "missed" in made else terminal_line(made, line)
    delay = "" if "missed" in made else f"  {made['delay_ms']:.1f} ms"
    return f"{made['at_s']:>9.3f} s  {what}{delay}"
