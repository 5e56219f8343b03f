"""Signatures: they hold for the bundle as it was signed, and for nothing else; no network is asked."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekit.cli.app import app
from edgekit.pack.artifacts import make_artifacts
from edgekit.pack.bundle import write_manifest
from edgekit.pack.sign import check_key, check_signature
from edgekit.pack.signed import verify_signed
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError

pytest.importorskip("model_signing", reason="model-signing is not installed (pip install 'edgekit[sign]')")
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.tiny_manifest import rewrite_manifest


def write_pair(folder: Path, name: str, key: Any = None, password: bytes | None = None) -> tuple[Path, Path]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    lock = forms.BestAvailableEncryption(password) if password else forms.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, lock))
    public.write_bytes(key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture(scope="module")
def signed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(signed artifacts, public key), made and checked without a network."""
    folder = tmp_path_factory.mktemp("signed")
    shutil.copytree(bundle, folder / "bundle")
    private, public = write_pair(folder, "key")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a network was asked"))
        made = make_artifacts(folder, key=private)
        verify_signed(made.folder, public)
    return made.folder, public


@pytest.fixture
def copy(signed: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(signed[0], tmp_path / "artifacts")
    return tmp_path / "artifacts"


@pytest.mark.parametrize("name", ["", "bundle", "bundle.tar.gz"])
def test_it_holds(signed: tuple[Path, Path], name: str) -> None:
    found = verify_signed(signed[0] / name, signed[1])
    assert found["ok"] and found["signed"]


def test_the_sums_are_signed_as_well(copy: Path, signed: tuple[Path, Path]) -> None:
    check_signature(copy / "SHA256SUMS", copy / "SHA256SUMS.sig", signed[1])
    text = (copy / "SHA256SUMS").read_text()
    assert "runner.pyz" in text and ".sig" not in text
    (copy / "SHA256SUMS").write_text(text.replace("0", "1", 1))
    with pytest.raises(CheckFailed, match="does not hold"):
        check_signature(copy / "SHA256SUMS", copy / "SHA256SUMS.sig", signed[1])


def test_another_key_did_not_sign_it(copy: Path, tmp_path: Path) -> None:
    _, public = write_pair(tmp_path, "other")
    with pytest.raises(CheckFailed, match="does not hold"):
        verify_signed(copy, public)


@pytest.mark.parametrize("name", ["README.md", "golden.json", "model.onnx", "tokenizer.json"])
def test_a_file_exchanged_together_with_its_hash(copy: Path, signed: tuple[Path, Path], name: str) -> None:
    """The manifest matches again, so that only the signature can tell."""
    path = copy / "bundle" / name
    path.write_bytes(path.read_bytes() + b"\n")
    rewrite_manifest(copy / "bundle")
    open_bundle(copy)
    with pytest.raises(CheckFailed, match="does not hold"):
        verify_signed(copy, signed[1])


def leaves(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    if isinstance(document, dict | list) and document:
        pairs = document.items() if isinstance(document, dict) else enumerate(document)
        return [leaf for key, value in pairs for leaf in leaves(value, (*path, key))]
    return [path]


def test_every_field_of_the_manifest(copy: Path, signed: tuple[Path, Path]) -> None:
    manifest = copy / "bundle" / "manifest.json"
    text = manifest.read_text()
    paths = leaves(json.loads(text))
    assert len(paths) > 50
    for *parents, last in paths:
        document = json.loads(text)
        part = document
        for key in parents:
            part = part[key]
        part[last] = {str: lambda v: v + "x", int: lambda v: v + 1, float: lambda v: v / 2}.get(
            type(part[last]), lambda _: "other"
        )(part[last])
        write_manifest(copy / "bundle", document)
        with pytest.raises(EdgekitError):
            open_bundle(copy)
            check_signature(copy / "bundle", copy / "bundle.sig", signed[1])
    write_manifest(copy / "bundle", json.loads(text))
    check_signature(copy / "bundle", copy / "bundle.sig", signed[1])


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_flipped_bits_are_all_caught(copy: Path, signed: tuple[Path, Path], count: int) -> None:
    generator = np.random.default_rng(count)
    files = sorted((copy / "bundle").iterdir())
    for number in range(count):
        path = files[generator.integers(len(files))]
        position, bit = flip(path, generator)
        with pytest.raises(EdgekitError):
            open_bundle(copy)
            check_signature(copy / "bundle", copy / "bundle.sig", signed[1])
            pytest.fail(f"flip {number}, bit {bit} of byte {position} of {path.name}, went unseen")
        flip(path, generator, position, bit)
    check_signature(copy / "bundle", copy / "bundle.sig", signed[1])


def test_flipped_bits_of_a_signature_never_vouch_for_another_bundle(copy: Path, signed: tuple[Path, Path]) -> None:
    """A flip in what it does not sign, such as the hint of a key, may pass for the right bundle; none for a changed one."""
    generator = np.random.default_rng(7)
    (copy / "bundle" / "README.md").write_text("changed")
    for _ in range(200):
        position, bit = flip(copy / "bundle.sig", generator)
        with pytest.raises(CheckFailed):
            check_signature(copy / "bundle", copy / "bundle.sig", signed[1])
        flip(copy / "bundle.sig", generator, position, bit)


def flip(path: Path, generator: np.random.Generator, position: int | None = None, bit: int = 0) -> tuple[int, int]:
    """Flip the given bit of a file, or one by chance; returns which."""
    data = bytearray(path.read_bytes())
    if position is None:
        position, bit = int(generator.integers(len(data))), 1 << int(generator.integers(8))
    data[position] ^= bit
    path.write_bytes(data)
    return position, bit


@pytest.mark.parametrize("kind", ["locked", "rsa", "public", "text", "missing"])
def test_keys_that_cannot_sign(bundle: Path, tmp_path: Path, kind: str) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    key = {
        "locked": lambda: write_pair(tmp_path, "k", password=b"secret")[0],
        "rsa": lambda: write_pair(tmp_path, "k", rsa.generate_private_key(65537, 2048))[0],
        "public": lambda: write_pair(tmp_path, "k")[1],
        "text": lambda: Path(__file__),
        "missing": lambda: tmp_path / "none.pem",
    }[kind]()
    with pytest.raises(BadInput, match=r"elliptic-curve private key|no such file"):
        make_artifacts(tmp_path, key=key)
    assert not (tmp_path / "artifacts").exists()


def test_signatures_and_keys_that_are_none(copy: Path, signed: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="public elliptic-curve key"):
        verify_signed(copy, Path(__file__))
    for text in ("", "{}", "[1]", "[" * 5000, '{"dsseEnvelope": {}}'):
        (copy / "bundle.sig").write_text(text)
        with pytest.raises(CheckFailed, match="does not hold"):
            verify_signed(copy, signed[1])
    (copy / "bundle.sig").unlink()
    with pytest.raises(BadInput, match="no signature here"):
        verify_signed(copy, signed[1])


def endless(folder: Path, kind: str) -> Path:
    """What must not be read whole: nobody writes to it, it has no end, or it is larger than the memory."""
    path = folder / f"{kind}.file"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 40_000_000_000)
    return path


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
def test_keys_and_signatures_without_an_end(copy: Path, signed: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    path = endless(tmp_path, kind)
    with pytest.raises(BadInput, match=r"not a file|larger than"):
        check_key(path)
    with pytest.raises(BadInput, match=r"not a file|larger than"):
        verify_signed(copy, path)
    with pytest.raises(BadInput, match=r"not a file|larger than"):
        verify_signed(copy, signed[1], path)


def test_the_private_key_is_not_the_one_to_verify_with(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="-pubout"):
        verify_signed(copy, write_pair(tmp_path, "k")[0])


def test_nothing_but_the_document_is_on_standard_output(
    copy: Path, signed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The library warns by print of a signature without the hint of its key, which anyone may take away."""
    document = json.loads((copy / "bundle.sig").read_text())
    del document["verificationMaterial"]["publicKey"]["hint"]
    (copy / "bundle.sig").write_text(json.dumps(document))
    verify_signed(copy, signed[1])
    written = capsys.readouterr()
    assert written.out == "" and "WARNING" in written.err


def test_the_key_in_the_folder_of_its_signatures_stays(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    private, _ = write_pair(tmp_path, "key")
    folder = make_artifacts(tmp_path, key=private).folder
    make_artifacts(tmp_path, key=private)  # what an earlier call wrote is replaced
    kept = private.rename(folder / "key.pem")
    with pytest.raises(BadInput, match="no earlier call of artifacts wrote"):
        make_artifacts(tmp_path, key=kept)
    assert kept.is_file()


def test_the_command(copy: Path, signed: tuple[Path, Path], tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(app, ["verify", str(copy), "--verify-key", str(signed[1])])
    assert done.exit_code == 0 and "whole and right" in done.stdout and "; signed\n" in done.stdout
    digest = hashlib.sha256((copy / "bundle" / "manifest.json").read_bytes()).hexdigest()
    assert f"digest sha256:{digest}\n" in done.stdout
    assert f"{digest}  bundle/manifest.json\n" in (copy / "SHA256SUMS").read_text()
    assert digest in base64.b64decode(json.loads((copy / "bundle.sig").read_text())["dsseEnvelope"]["payload"]).decode()
    assert "its signature was not checked (--verify-key)" in run.invoke(app, ["verify", str(copy)]).stdout
    (copy / "bundle.sig").rename(tmp_path / "elsewhere.sig")
    moved = ["verify", str(copy / "bundle"), "--verify-key", str(signed[1]), "--signature", str(tmp_path / "elsewhere.sig")]
    assert run.invoke(app, moved).exit_code == 0
    assert "; not signed\n" in run.invoke(app, ["verify", str(copy)]).stdout
    alone = run.invoke(app, ["verify", str(copy), "--signature", str(tmp_path / "elsewhere.sig")])
    assert isinstance(alone.exception, BadInput)
