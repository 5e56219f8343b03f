"""The files of a bundle, checked against its manifest and one another before any library reads them.

Hashes tell that a file is what was packed; they do not tell that whoever packed it meant well. What is read here is read strictly: a
bundle that passes holds a graph, a tokenizer and golden inputs such as edgekit packs, each within limits.
"""

from __future__ import annotations

from edgekit.runtime.bundle.golden import GoldenRow, parse_golden
from edgekit.runtime.bundle.graph import check_graph_file
from edgekit.runtime.bundle.known import is_known, remember
from edgekit.runtime.bundle.open import Bundle

__all__ = ["check_contents"]


def check_contents(bundle: Bundle) -> tuple[GoldenRow, ...]:
    """The golden inputs of `bundle`, once its graph and its tokenizer are such as bundles have; config.json is checked when it is opened.

    Raises:
        BadInput: one of them is not; the message says what.
        CheckFailed: not as many golden inputs as the manifest says.
    """
    folder, manifest = bundle.folder, bundle.manifest
    check_graph_file(folder / manifest.variant.file, manifest)
    if not is_known(bundle.digest, "checked"):  # tens of milliseconds for tens of thousands of tokens
        from edgekit.runtime.bundle.tokenizer_file import check_tokenizer_file  # here alone, as it is done once

        check_tokenizer_file(folder / manifest.tokenizer.file, manifest)
        remember(bundle.digest, "checked")
    return parse_golden(folder, manifest)
