"""A mirror of what the shipped recipes fetch, made of a folder of conversions, for machines that reach no public server.

    python -m benchmarks.mirror ../shared build/mirror

The public files of CLINC150, STS-B and WNUT-17 are written again from their rows, byte for byte: each has the sha256 that its recipe asks for, or
this ends with 1. What cannot be so is marked in stands-in.json: SQuAD's development set, whose explorer's pages say no places of answers, and
MiniLM's weights, which the folder holds in float16.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import CheckFailed
from edgekit.fetch.mirror import STANDS_IN, write_index

__all__ = ["MINILM", "PUBLIC", "make_mirror"]

MINILM = "models/sentence-transformers/all-MiniLM-L6-v2@c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
PUBLIC = {
    "clinc/data_full.json": "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0",
    "stsb/stsb-en-train.csv": "e1e84fec60bbb598735552f54a35f4949904a484750fd2cb11e2720e49f63da6",
    "stsb/stsb-en-dev.csv": "d29586e96558c4eb52cf5ea5d14e9c24d3bf0e44f111b017caba43a5adc33226",
    "stsb/stsb-en-test.csv": "11523b625219e94e9ca05d2816b5f02cac1614c5894fe657376fa0806378d053",
    "wnut17/wnut17train.conll": "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
    "wnut17/emerging.dev.conll": "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
    "wnut17/emerging.test.annotated": "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
}
"""Path in the mirror -> sha256 of the public file, as the recipes have it."""
SQUAD, SQUAD_SHA256 = "squad/dev-v1.1.json", "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9"
Row = dict[str, Any]


def make_mirror(shared: Path, out: Path) -> None:
    """Write the mirror into `out`, from a folder of `data/` and `models/`.

    Raises:
        CheckFailed: a file does not come out as the public one.
    """
    data = shared / "data"
    made = {
        "clinc/data_full.json": clinc(_splits(data / "clinc150")),
        **{
            f"stsb/stsb-en-{name}.csv": stsb(rows)
            for name, rows in zip(("train", "dev", "test"), _splits(data / "stsb").values(), strict=True)
        },
        **dict(
            zip(
                ("wnut17/wnut17train.conll", "wnut17/emerging.dev.conll", "wnut17/emerging.test.annotated"),
                wnut17(_splits(data / "wnut17")),
                strict=True,
            )
        ),
    }
    for name, content in made.items():
        if hashlib.sha256(content).hexdigest() != PUBLIC[name]:
            raise CheckFailed("does not come out as the public file", where=name)
        _write(out / name, content)
    _write(out / SQUAD, squad(row for rows in _splits(data / "squad").values() for row in rows))
    shutil.copytree(shared / "models" / "minilm-l6", out / MINILM, dirs_exist_ok=True, copy_function=_copied)
    stands_in = {
        SQUAD: {
            "sha256": SQUAD_SHA256,
            "why": "SQuAD 1.1's development set as its explorer's pages show it; where a text occurs more than once, an answer begins at the first",
        },
        MINILM: {"why": "weights rounded to float16"},
    }
    _write(out / STANDS_IN, (json.dumps(stands_in, indent=1) + "\n").encode())
    write_index(out)


def clinc(splits: Mapping[str, list[Row]]) -> bytes:
    """data_full.json: each list of the 150 intents apart from its rows out of scope, which come last in a split."""
    names = {"train": "train", "val": "validation", "test": "test"}
    lists = {
        name: [[row["text"], row["label"]] for row in splits[split] if row["label"] != "oos"] for name, split in names.items()
    }
    lists |= {
        f"oos_{name}": [[row["text"], row["label"]] for row in splits[split] if row["label"] == "oos"]
        for name, split in names.items()
    }
    in_order = {name: lists[name] for name in ("oos_val", "val", "train", "oos_test", "test", "oos_train")}
    return json.dumps(in_order, indent=4, separators=(", ", ": ")).encode()


def stsb(rows: Iterable[Row]) -> bytes:
    """A table without a header."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows([row["sentence1"], row["sentence2"], row["score"]] for row in rows)
    return out.getvalue().encode()


def wnut17(splits: Mapping[str, list[Row]]) -> list[bytes]:
    """CoNLL; a tab stands in the blank lines after the 2,394 messages that WNUT 2016 trained on, the first of the training file."""
    tabbed = {"train": 2394}
    return [
        "".join(
            "".join(f"{token}\t{tag}\n" for token, tag in zip(row["tokens"], row["tags"], strict=True))
            + ("\t\n" if number < tabbed.get(split, 0) else "\n")
            for number, row in enumerate(rows)
        ).encode()
        for split, rows in splits.items()
    ]


def squad(rows: Iterable[Row]) -> bytes:
    """SQuAD's own form."""
    articles: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        answers = row["answers"]
        asked = {
            "answers": [
                {"answer_start": start, "text": text}
                for text, start in zip(answers["text"], answers["answer_start"], strict=True)
            ],
            "question": row["question"],
            "id": row["id"],
        }
        articles.setdefault(row["title"], {}).setdefault(row["context"], []).append(asked)
    data = [
        {"title": title, "paragraphs": [{"context": context, "qas": asked} for context, asked in articles[title].items()]}
        for title in sorted(articles)
    ]
    return json.dumps({"data": data, "version": "1.1"}).encode()


def _splits(folder: Path) -> dict[str, list[Row]]:
    found = {}
    for split in ("train", "validation", "test"):
        plain = folder / f"{split}.jsonl"
        text = (
            plain.read_text(encoding="utf-8")
            if plain.is_file()
            else gzip.decompress(plain.with_suffix(".jsonl.gz").read_bytes()).decode()
        )
        found[split] = [json.loads(line) for line in text.split("\n") if line]
    return found


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _copied(source: str, target: str) -> str:
    """A copy that may be written over, of a file that may not."""
    Path(target).unlink(missing_ok=True)
    return str(shutil.copyfile(source, target))


def main() -> int:
    """Make the mirror, unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shared", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    make_mirror(given.shared, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
