"""The command that reaches a device: the system's ssh with an argument vector, no questions, no unknown host, no tunnels."""

from __future__ import annotations

import shlex
from pathlib import Path

from edgekit.device.inventory import Device

__all__ = ["BOOT", "OLDEST", "command"]

OLDEST = (3, 11)
"""The runner's oldest Python."""
BOOT = (
    "import sys;b=sys.stdin.buffer;v=sys.version_info;"
    f"v<{OLDEST} and sys.exit(\"EDGEKIT-OLD %d.%d\"%v[:2]);"
    "exec(b.read(int(b.readline())))"
)  # fmt: skip
"""The one constant program that the device's shell sees: it reads a length, then so many bytes of program, and runs them."""
ALWAYS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "UpdateHostKeys": "no",
    "ServerAliveInterval": "10",  # a dead link is noticed after 30 s; a slow one answers in between
    "ServerAliveCountMax": "3",
    "ConnectionAttempts": "1",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "ControlMaster": "no",
    "ControlPath": "none",
    "EscapeChar": "none",
    "RequestTTY": "no",
    "LogLevel": "ERROR",
}
"""Given on the command line, where nothing in a configuration file overrides it."""


def command(device: Device, aside: Path) -> list[str]:
    """The argument vector for `device`; `aside` is a private folder for the file with its pinned host key."""
    options = {**ALWAYS, "ConnectTimeout": str(device.connect_seconds)}
    if device.host_key is not None:
        alias = f"edgekit-{device.name}"
        pinned = aside / "known_hosts"
        pinned.write_text(f"{alias} {device.host_key}\n", encoding="ascii")
        options |= {"HostKeyAlias": alias, "UserKnownHostsFile": _quoted(pinned), "GlobalKnownHostsFile": "/dev/null"}
    if device.identity is not None:
        options |= {"IdentitiesOnly": "yes", "IdentityFile": _quoted(Path(device.identity))}
    arguments = ["ssh", "-T", *(["-F", device.ssh_config] if device.ssh_config else [])]
    for name, value in options.items():
        arguments += ["-o", f"{name}={value}"]
    arguments += ["-p", str(device.port)] if device.port else []
    arguments += ["-l", device.user] if device.user else []
    return [*arguments, "--", device.host, f"{device.python} -c {shlex.quote(BOOT)}"]


def _quoted(path: Path) -> str:
    """A path as a value of ssh's configuration language, where spaces separate and percent signs are escapes."""
    return '"' + str(path).replace("%", "%%") + '"'
