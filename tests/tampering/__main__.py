"""`python -m tests.tampering BUNDLE`: change a copy of a bundle, and its archive, thousands of times; exit 1 where one went unnoticed."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgekit.pack.archive import write_archive
from edgekit.pack.bundle import write_manifest
from edgekit.runtime.bundle.names import MANIFEST_DIGEST
from edgekit.runtime.bundle.open import open_bundle
from tests.tampering.tamper import KINDS, tamper

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Print the counts as JSON, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.tampering", description="Every change of a bundle must be noticed.")
    parser.add_argument(
        "bundle", type=Path, help="its folder; a bundle of an earlier release gets the digest that it would have now"
    )
    parser.add_argument("--flips", type=int, default=3000, help="bits flipped, a quarter of them in the archive")
    parser.add_argument("--others", type=int, default=300, help="changes of each other kind")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as aside:
        folder, archive = Path(aside) / "bundle", Path(aside) / "bundle.tar.gz"
        given = open_bundle(asked.bundle)
        shutil.copytree(given.folder, folder, copy_function=shutil.copyfile)
        document: Any = given.manifest.to_json()
        write_manifest(folder, {**document, "edgekit": {**document["edgekit"], "digest_file": MANIFEST_DIGEST}})
        write_archive(folder, archive)
        found, unnoticed, began = {}, [], time.monotonic()
        for bundle, kinds in (
            (folder, (*KINDS, "files swapped")),
            (archive, ("flipped bit", "bytes deleted", "bytes inserted")),
        ):
            for kind in kinds:
                share = asked.flips // 4 if bundle is archive else asked.flips - asked.flips // 4
                tally, missed = tamper(bundle, kind, share if kind == "flipped bit" else asked.others, asked.seed)
                found[f"{bundle.name}: {kind}"] = dict(tally)
                unnoticed += missed
    document = {
        "bundle": given.manifest.name, "seed": asked.seed, "seconds": round(time.monotonic() - began, 1), "changes": found,
        "unnoticed": unnoticed,
    }  # fmt: skip
    print(json.dumps(document, indent=1))
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
