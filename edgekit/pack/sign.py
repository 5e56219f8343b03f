"""Signatures of bundles with a key of one's own, in the format of the OpenSSF's model-signing; no network is asked.

The library also knows Sigstore's keyless way; that one needs its servers and is left to the library's own command. A signature here
holds the sha256 of every file, so `model_signing verify key` checks it without edgekit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.errors import BadInput, CheckFailed, NotPossibleHere

__all__ = ["check_key", "check_signature", "sign"]


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
    if not signature.is_file():
        fix = "name it with --signature, or leave out --verify-key for a bundle that is not signed"
        raise BadInput("no signature here", where=str(signature), fix=fix)
    try:
        verifier = module.Config().use_elliptic_key_verifier(public_key=key)
    except (ValueError, TypeError, OSError, AttributeError) as fault:
        raise BadInput(f"not a public elliptic-curve key in PEM form: {_first(fault)}", where=str(key)) from None
    try:
        verifier.verify(folder, signature)
    except Exception as fault:  # of what the library meets in a made-up signature, half is no ValueError
        raise CheckFailed(
            f"its signature does not hold: {_first(fault)}", where=str(folder), fix="do not use it; fetch the bundle again from who signed it"
        ) from None  # fmt: skip


def _signer(key: Path) -> Any:
    module = _library("signing")
    try:
        return module.Config().use_elliptic_key_signer(private_key=key)
    except (ValueError, TypeError, OSError, AttributeError) as fault:
        fix = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout -out key.pub"
        raise BadInput(
            f"not an unencrypted elliptic-curve private key in PEM form: {_first(fault)}", where=str(key), fix=fix
        ) from None


def _library(part: str) -> Any:
    try:
        import importlib

        return importlib.import_module(f"model_signing.{part}")
    except ModuleNotFoundError as fault:
        raise NotPossibleHere(f"{fault.name} is not installed", where="signatures", fix="pip install 'edgekit[sign]'") from None


def _first(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:300]
