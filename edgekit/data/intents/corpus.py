"""Seeded generation: balanced over intents, split by frame and slot values, the same bytes on every machine.

An utterance is made from the inside out. A core comes from a frame. Some commands are joined with one that must not be
done ("lock the door rather than open the blinds", "play jazz no wait call mum"): both sides hold the same words, so only
their order tells which one counts. Politeness goes around, and a slip of the finger on top.

The split is a function of the core's frames and slot values: whatever a frame with the same values can become, by its
paraphrases, politeness and misspelling, lands in one split. Another frame may ask for the same thing in another split.
"""

from __future__ import annotations

import hashlib
from random import Random

from edgekit.data.intents.grammar import KINDS, Core, Grammar, Intent, choose, fill, load_grammar
from edgekit.data.intents.misspell import misspell
from edgekit.data.rows import Row
from edgekit.errors import BadInput

__all__ = ["SMALLEST", "VERSION", "generate"]

VERSION = "1"
"""Raise it with every change of frames or generator: it is part of the cache key."""
ROWS = 12_000
"""Where none are asked for."""
SMALLEST = 100
LARGEST = 200_000
"""Rows. Beyond, most rows would be one request in another dress."""
COMPOUND = 0.3
"""Share of commands that are joined with a rival."""
RIVAL = 0.75
"""Share of joined commands whose other half is a near miss, not just any command."""
POLITE = 0.45
SLIP = 0.08
TRIES = 400
"""Attempts per row before an intent is said to be exhausted."""
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def generate(seed: int, rows: int | None = None) -> dict[str, list[Row]]:
    """`rows` utterances, or 12,000, as {"train", "validation", "test"} of 80, 10 and 10 per cent, each row {"text", "label"}.

    No text occurs twice. Every label of validation and test occurs in training.

    Raises:
        BadInput: fewer than 100 rows, more than 200,000, or more of one intent than its frames can say.
    """
    rows = ROWS if rows is None else rows
    grammar = load_grammar()
    if not SMALLEST <= rows <= LARGEST:
        fix = f"ask for {SMALLEST:,} to {LARGEST:,}"
        raise BadInput(
            f"{rows:,} rows are too {'few' if rows < SMALLEST else 'many'} for this corpus", where="data, rows", fix=fix
        )
    random = Random(seed)
    vocabulary = _vocabulary(grammar)
    names = [name for name, intent in grammar.intents.items() for _ in range(intent.weight)]
    wanted = _quotas(names, rows)
    made: dict[str, list[Row]] = {split: [] for split in SHARES}
    seen: set[str] = set()
    for name in grammar.intents:
        left = {split: wanted[split].get(name, 0) for split in SHARES}
        for _ in range(TRIES * sum(left.values())):
            if not any(left.values()):
                break
            core = _core(grammar, grammar.intents[name], random)
            split = _split(core.key, seed)
            if not left[split]:
                continue
            text = misspell(core.text, random, vocabulary) if random.random() < SLIP else core.text
            if text not in seen:
                seen.add(text)
                left[split] -= 1
                made[split].append({"text": text, "label": name})
        if any(left.values()):
            raise BadInput(
                f"the frames of {name!r} cannot make so many different rows", where="data, rows", fix="ask for fewer rows"
            )
    return {split: _shuffled(rows, random) for split, rows in made.items()}


def _core(grammar: Grammar, intent: Intent, random: Random) -> Core:
    """One utterance, spelt right."""
    kind = choose(random, [kind for kind in KINDS for _ in intent.frames.get(kind, ())])
    core = fill(grammar, choose(random, intent.frames[kind]), random)
    if kind == "command" and intent.rivals and random.random() < COMPOUND:
        near = [name for name in intent.rivals if name in grammar.nameable]
        others = [name for name in grammar.nameable if name != intent.name]
        rival = grammar.intents[choose(random, near if random.random() < RIVAL else others)]
        other = fill(grammar, choose(random, rival.frames["command"]), random)
        form = choose(random, grammar.compounds)
        return Core(form.format(x=core.text, y=other.text), "|".join([form, core.key, other.key]))
    if random.random() < POLITE:
        return Core(choose(random, grammar.polite[kind]).format(x=core.text), core.key)
    return core


def _split(key: str, seed: int) -> str:
    """Where everything with this key goes."""
    place = int.from_bytes(hashlib.sha256(f"{seed}|{key}".encode()).digest()[:8], "big") / 2**64
    return "train" if place < SHARES["train"] else "validation" if place < SHARES["train"] + SHARES["validation"] else "test"


def _quotas(names: list[str], rows: int) -> dict[str, dict[str, int]]:
    """Rows of each intent in each split; they add up to `rows`."""
    sizes = {split: round(rows * SHARES[split]) for split in ("validation", "test")}
    sizes["train"] = rows - sum(sizes.values())
    quotas: dict[str, dict[str, int]] = {}
    for split, size in sizes.items():
        quotas[split] = {}
        for place, name in enumerate(names):
            quotas[split][name] = quotas[split].get(name, 0) + size // len(names) + (place < size % len(names))
    return quotas


def _vocabulary(grammar: Grammar) -> frozenset[str]:
    """Every word that a frame or slot can say."""
    lines = [line for intent in grammar.intents.values() for frames in intent.frames.values() for line in frames]
    lines += [value for values in grammar.slots.values() for value in values]
    return frozenset("".join(letter if letter.isalpha() else " " for letter in " ".join(lines)).split())


def _shuffled(rows: list[Row], random: Random) -> list[Row]:
    """Fisher-Yates, by the same promised stream."""
    for last in range(len(rows) - 1, 0, -1):
        other = int(random.random() * (last + 1))
        rows[last], rows[other] = rows[other], rows[last]
    return rows
