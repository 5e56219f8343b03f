"""The files of a bundle, checked against its manifest and one another before any library reads them.

Hashes tell that a file is what was packed; they do not tell that whoever packed it meant well. What is read here is read strictly: a
bundle that passes holds a graph, a tokenizer and golden inputs such as edgekit packs, each within limits.
"""

from __future__ import annotations

from edgekit.runtime.bundle.known import is_known, remember
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.errors import BadInput
from edgekit.runtime.pixels import read_pixels
from edgekit.runtime.sound import read_sound

__all__ = ["check_contents"]


def check_contents(bundle: Bundle) -> None:
    """Check that the graph, the tokenizer and the golden inputs of `bundle` are such as bundles have; config.json is checked when it is opened.

    That is done once on a machine for bundles of one digest, as it stands for every byte of theirs: it takes tens of milliseconds.

    Raises:
        BadInput: one of them is not; the message says what.
        CheckFailed: not as many golden inputs as the manifest says.
    """
    if is_known(bundle.digest, "checked"):
        return
    from edgekit.runtime.bundle.golden import parse_golden  # here alone, as it is done once
    from edgekit.runtime.bundle.graph import check_graph_file
    from edgekit.runtime.bundle.tokenizer_file import check_tokenizer_file

    folder, manifest = bundle.folder, bundle.manifest
    check_graph_file(folder / manifest.variant.file, manifest)
    if manifest.draft is not None:
        check_graph_file(folder / manifest.draft.file, manifest.of_draft)
    if manifest.sound is not None:
        hearing = read_sound(folder / manifest.sound.file).settings
        if (hearing.sampling_rate, hearing.most_seconds) != (manifest.sound.sampling_rate, manifest.sound.seconds):
            raise BadInput(
                "reads sounds of another rate or length than its manifest says",
                where=str(folder / manifest.sound.file),
                fix="export the bundle again",
            )
    elif manifest.image is None:
        check_tokenizer_file(folder / manifest.text.file, manifest)
    elif read_pixels(folder / manifest.image.file).shape[1:] != (manifest.image.height, manifest.image.width):
        raise BadInput(
            "makes images of another size than its manifest says",
            where=str(folder / manifest.image.file),
            fix="export the bundle again",
        )
    parse_golden(folder, manifest)
    remember(bundle.digest, "checked")
