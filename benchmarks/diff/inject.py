"""Put each fault into a sound model and ask `edgekit diff` where it is: `python -m benchmarks.diff.inject --encoder DIR --decoder DIR`.

The sound models are asked about too, in each form: what it names there is a false alarm.
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.diff.faults import Fault, decoder_faults, faults
from benchmarks.diff.subjects import Subject, bundled, decoder, encoder
from edgekit.differ.bundle import open_side
from edgekit.differ.compare import against
from edgekit.differ.reference import Reference, open_reference
from edgekit.differ.row import Row
from edgekit.models.files import read_json

__all__ = ["asked", "cases", "main"]

HERE = Path(__file__).resolve().parent
TEXTS = (
    "turn on the light in the kitchen", "what is the balance of my account", "how do i say good morning in french",
    "remind me to call my mother at seven", "book a flight from boston to denver next tuesday morning", "set an alarm for six",
    "is there a table for two at the italian place on main street tonight", "what song is this", "my card was declined at the store",
    "how many calories are in a bowl of rice and beans", "tell me a joke about computers", "the river rises in the mountains and flows to the sea",
    "she was born in the capital and studied law before she became a writer", "the album was released in may and reached the top of the charts",
    "in the second season the team won the league and lost the final of the cup by a single goal", "yes", "cancel it",
)  # fmt: skip


def cases(subject: Subject) -> list[Fault]:
    """The faults of a subject."""
    config = read_json(subject.checkpoint / "config.json")
    layers = int(config["num_hidden_layers"])
    if subject.decodes:
        return decoder_faults(layers)
    return faults(int(config["hidden_size"]) // int(config["num_attention_heads"]), layers)


def _remembered(reference: Reference) -> Reference:
    """`reference`, which answers what it was asked before from memory: it is the same for every fault."""

    def key(row: Row) -> tuple[bytes, int]:
        return row.ids.tobytes(), row.padding

    ran: dict[tuple[bytes, int], Any] = {}
    embedded: dict[tuple[bytes, int], Any] = {}

    def run(row: Row) -> Any:
        return ran[key(row)] if key(row) in ran else ran.setdefault(key(row), reference.run(row))

    def embed(row: Row) -> Any:
        return embedded[key(row)] if key(row) in embedded else embedded.setdefault(key(row), reference.embedded(row))

    return replace(reference, run=run, embedded=embed)


def asked(
    subject: Subject,
    fault: Fault | None,
    folder: Path,
    references: dict[Path, Reference],
    *,
    rounds: bool,
    smoothed: bool = False,
) -> dict[str, Any]:
    """What `edgekit diff` says of the subject with `fault`, or of the sound one, held against its checkpoint."""
    put = None if fault is None else fault.put
    before, after = (None, put) if fault is not None and fault.packed else (put, None)
    bundle = bundled(subject, folder, rounds=rounds, smoothed=smoothed, before=before, after=after)
    side = open_side(bundle)
    if subject.checkpoint not in references:
        references[subject.checkpoint] = _remembered(open_reference(subject.checkpoint, side))
    found = against(references[subject.checkpoint], side, bundle)
    first = found.first
    document: dict[str, Any] = {
        "fault": None if fault is None else fault.name,
        "model": "decoder" if subject.decodes else "encoder",
        "format": ("int4" if subject.decodes else "int8, smoothed" if smoothed else "int8") if rounds else "float32",
        "named": None if first is None else first.part.name,
        "why": None if first is None else first.why,
        "also": [one.part.name for one in found.verdicts[1:]],
    }
    if fault is not None:
        document |= {
            "right_answer": " or ".join(part.name for part in fault.right),
            "right": first is not None and first.part in fault.right,
            "right_layer": first is not None and first.part.layer in {part.layer for part in fault.right},
        }
    return document


def _results(subjects: list[Subject], work: Path) -> Iterator[dict[str, Any]]:
    references: dict[Path, Reference] = {}
    for rounds, smoothed in ((True, False), (True, True), (False, False)):
        for subject in subjects:
            if smoothed and subject.decodes:
                continue
            every: list[Fault | None] = [None, *(fault for fault in cases(subject) if rounds or not fault.rounded)]
            for number, fault in enumerate(every):
                place = work / f"{subject.decodes}-{rounds}-{smoothed}-{number}"
                result = asked(subject, fault, place, references, rounds=rounds, smoothed=smoothed)
                mark = "" if result.get("right", result["named"] is None) else "WRONG "
                print(
                    f"{mark}{result['format']}, {result['fault']}: {result['named'] or 'nothing'} ({result['why']})", flush=True
                )
                yield result


def _longest(checkpoint: Path, most: int) -> int:
    """`most` tokens, or as many as the model has positions for."""
    return min(most, int(read_json(checkpoint / "config.json")["max_position_embeddings"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, required=True, help="a BERT classifier's folder")
    parser.add_argument("--decoder", type=Path, required=True, help="a Llama's folder")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diff-") as temporary:
        work = Path(temporary)
        subjects = [
            encoder(given.encoder, work / "encoder", TEXTS, max_length=_longest(given.encoder, 64)),
            decoder(given.decoder, work / "decoder", TEXTS, max_length=_longest(given.decoder, 256)),
        ]
        results: list[dict[str, Any]] = []
        for result in _results(subjects, work):
            results.append(result)
            given.out.write_text(
                json.dumps(_document(results, given.encoder, given.decoder), indent=1) + "\n", encoding="utf-8"
            )


def _document(results: list[dict[str, Any]], encoder: Path, decoder: Path) -> dict[str, Any]:
    """The results so far, with their totals."""
    faulty = [one for one in results if one["fault"] is not None]
    sound = [one for one in results if one["fault"] is None]
    totals = {
        name: {
            "right": sum(one["right"] for one in chosen),
            "right_layer": sum(one["right_layer"] for one in chosen),
            "of": len(chosen),
        }
        for name, chosen in (
            ("rounded", [one for one in faulty if one["format"] in ("int8", "int4")]),
            ("smoothed", [one for one in faulty if one["format"] == "int8, smoothed"]),
            ("float32", [one for one in faulty if one["format"] == "float32"]),
        )
    }
    return {
        "command": shlex.join(["python", "-m", "benchmarks.diff.inject", "--encoder", str(encoder), "--decoder", str(decoder)]),
        "totals": {**totals, "false_alarms": sum(one["named"] is not None for one in sound), "sound": len(sound)},
        "results": results,
    }


if __name__ == "__main__":
    main()
