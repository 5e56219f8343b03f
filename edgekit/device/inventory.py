"""Devices that bundles are measured on: named on the command line as user@host, or described in an inventory file.

[[device]]
name = "pi4"
host = "192.168.1.20"
user = "pi"
identity = "~/.ssh/edge"                                 # a private key; default: what ssh itself tries
host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA…"       # of the device; default: your known_hosts
python = "venv/bin/python"                               # the one with onnxruntime, numpy and tokenizers
"""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from edgekit.config.toml import Strict, load_toml
from edgekit.errors import BadInput

__all__ = ["Device", "Inventory", "choose", "named"]

WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
HOST = rf"(?:{WORD}|[0-9A-Fa-f:]+(?:%[A-Za-z0-9.]+)?)"
SHOWN = re.compile(rf"(?:(?P<user>{WORD})@)?(?P<host>{WORD})(?::(?P<port>\d{{1,5}}))?")


def _word(pattern: str) -> StringConstraints:
    return StringConstraints(pattern=rf"^{pattern}$", max_length=255)


class Device(Strict):
    """One device and the way to it. Nothing of this ever reaches a shell but `python`, whose letters are limited."""

    name: Annotated[str, _word(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")]
    """How tables and result files call it."""
    host: Annotated[str, _word(HOST)]
    """Host name, address, or a name of your ssh configuration."""
    user: Annotated[str, _word(WORD)] | None = None
    """Account; default: what ssh takes."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    identity: str | None = None
    """File of a private key, used rather than the keys of an agent; default: what ssh tries."""
    host_key: str | None = None
    """The device's public host key, "type base64"; nothing else is trusted then. Default: your known_hosts."""
    ssh_config: str | None = None
    """An ssh configuration file in place of yours."""
    python: Annotated[str, _word(r"[A-Za-z0-9_./~+-]*[A-Za-z0-9]")] = "python3"
    """The device's Python that has onnxruntime, numpy and tokenizers: a name on its PATH, or a path."""
    folder: str | None = None
    """Folder on the device for what is sent; default: its cache folder."""
    connect_seconds: Annotated[int, Field(ge=1, le=600)] = 10
    """Longest wait for the connection."""
    bench_seconds: Annotated[int, Field(ge=1, le=86_400)] = 3600
    """Longest time for verifying, and for measuring."""

    @field_validator("host_key")
    @classmethod
    def _a_public_key(cls, text: str | None) -> str | None:
        if text is None:
            return None
        words = text.split()
        try:
            blob = base64.b64decode(words[1], validate=True)
        except (IndexError, binascii.Error):
            raise ValueError('not "type base64", as a line of ssh_host_*_key.pub begins') from None
        if blob[4 : 4 + int.from_bytes(blob[:4], "big")] != words[0].encode():
            raise ValueError("the type and the key do not belong together")
        return f"{words[0]} {words[1]}"

    @field_validator("identity", "ssh_config", "folder")
    @classmethod
    def _a_path(cls, text: str | None) -> str | None:
        if text is not None and (not text.strip() or not text.isprintable()):
            raise ValueError("not a path")
        return text

    @field_validator("python")
    @classmethod
    def _no_option(cls, text: str) -> str:
        if text.startswith("-"):
            raise ValueError("must not begin with -")
        return text

    def shown(self) -> str:
        """user@host:port, as people write it."""
        return (f"{self.user}@" if self.user else "") + self.host + (f":{self.port}" if self.port else "")


class Inventory(Strict):
    """The devices of one file."""

    device: Annotated[list[Device], Field(min_length=1)]

    @model_validator(mode="after")
    def _different_names(self) -> Inventory:
        counts = Counter(device.name for device in self.device)
        duplicates = sorted(name for name, count in counts.items() if count > 1)
        if duplicates:
            raise ValueError(f"two devices are called {', '.join(duplicates)}")
        return self


def named(text: str) -> Device:
    """The device of `user@host`, `host` or `user@host:port`; its host key must be in your known_hosts.

    Raises:
        BadInput: it is none of these.
    """
    found = SHOWN.fullmatch(text)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 1 <= port <= 65535):
        raise BadInput(
            f"{text!r} is not user@host or user@host:port",
            where="--device",
            fix="write it so, or describe the device in a file for --inventory",
        )
    return Device(name=re.sub(":", "-", text), host=found["host"], user=found["user"], port=port)


def choose(names: list[str], inventory: Path | None) -> list[Device]:
    """Devices to measure on: those named; with an inventory its devices of these names, or all of them.

    Raises:
        BadInput: an unsound inventory, a name that it does not have, or a device named twice.
    """
    if len(set(names)) != len(names):
        raise BadInput("a device is named twice", where="--device")
    if inventory is None:
        return [named(text) for text in names]
    known = {device.name: _absolute(device, inventory.parent) for device in load_toml(inventory, Inventory).device}
    faults = []
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            faults.append(f"no device {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"))
    if faults:
        raise BadInput("devices that the inventory does not have", where=str(inventory), faults=faults)
    return [known[name] for name in names] if names else list(known.values())


def _absolute(device: Device, base: Path) -> Device:
    """The device with its local files meant relative to the inventory."""
    given = {name: getattr(device, name) for name in ("identity", "ssh_config")}
    try:
        return device.model_copy(update={name: str(base / Path(text).expanduser()) for name, text in given.items() if text})
    except RuntimeError:  # ~NAME of no account here
        at = ", ".join(f"{name} = {text!r}" for name, text in given.items() if text)
        raise BadInput(
            f"no account here has such a home folder: {at}", where=f"device {device.name}", fix="write the whole path"
        ) from None
