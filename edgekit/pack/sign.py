"""Signatures of bundles with a key of one's own, in the format of the OpenSSF's model-signing; no network is asked.

The library also knows Sigstore's keyless way; that one needs its servers and is left to the library's own command. A signature here
holds the sha256 of every file, so `model_signing verify key` checks it without edgekit.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.runtime.files import check_file

__all__ = ["check_key", "check_signature", "sign"]

LARGEST_KEY = 100_000
LARGEST_SIGNATURE = 8_000_000
"""Bytes: each file that is signed takes some 250, and a manifest names no more than a few ten thousand."""
MAKE_KEYS = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout -out key.pub"
UNREADABLE = (ValueError, TypeError, OSError, AttributeError)
"""What the library raises for keys of other kinds."""


def check_key(key: Path) -> None:
    """Refuse what cannot sign, before any work is done.

    Raises:
        BadInput: no unencrypted elliptic-curve private key in PEM form at `key`.
        NotPossibleHere: model-signing is not installed.
    """
    _signer(key)


def sign(what: Path, key: Path, out: Path) -> None:
    """Sign the file or every file of the folder `what` with the private `key`; the signature goes to `out`.

    An ECDSA signature holds a random number: it differs each time, and each is as good.

    Raises:
        BadInput, NotPossibleHere: as `check_key`.
    """
    _signer(key).sign(what, out)


def check_signature(folder: Path, signature: Path, key: Path) -> None:
    """Check that `signature` of the public `key` is over exactly the files of `folder` as they are now.

    Raises:
        CheckFailed: another key signed it, or files changed, came or went; the message says which.
        BadInput: no readable signature or public key.
        NotPossibleHere: model-signing is not installed.
    """
    module = _library("verifying")
    if not signature.exists():
        fix = "name it with --signature, or leave out --verify-key for a bundle that is not signed"
        raise BadInput("no signature here", where=str(signature), fix=fix)
    check_file(signature, LARGEST_SIGNATURE)
    check_file(key, LARGEST_KEY)
    try:
        verifier = module.Config().use_elliptic_key_verifier(public_key=key)
    except UNREADABLE as fault:
        fix = "give the public key of the pair, which is made from the private one so: openssl ec -in key.pem -pubout -out key.pub"
        raise BadInput(f"not a public elliptic-curve key in PEM form: {_first(fault)}", where=str(key), fix=fix) from None
    try:
        with redirect_stdout(sys.stderr):  # where the library warns of signatures that older releases of it made
            verifier.verify(folder, signature)
    except Exception as fault:  # of what the library meets in a made-up signature, half is no ValueError
        raise CheckFailed(
            f"its signature does not hold: {_first(fault)}", where=str(folder), fix="do not use it; fetch the bundle again from who signed it",
            see="its-signature-does-not-hold",
        ) from None  # fmt: skip


def _signer(key: Path) -> Any:
    module = _library("signing")
    check_file(key, LARGEST_KEY, fix=MAKE_KEYS)
    try:
        return module.Config().use_elliptic_key_signer(private_key=key)
    except UNREADABLE as fault:
        raise BadInput(
            f"not an unencrypted elliptic-curve private key in PEM form: {_first(fault)}", where=str(key), fix=MAKE_KEYS
        ) from None


def _library(part: str) -> Any:
    try:
        import importlib

        return importlib.import_module(f"model_signing.{part}")
    except ModuleNotFoundError as fault:
        raise NotPossibleHere(
            f"{fault.name} is not installed",
            where="signatures",
            fix="pip install 'edgekit[sign]'",
            see="something-is-not-installed",
        ) from None


def _first(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:300]
