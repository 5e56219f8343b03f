"""Inventories are read strictly, and nothing from one ever becomes an option or a shell's word."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.device.inventory import Device, Inventory, choose, named
from edgekit.device.ssh import ALWAYS, BOOT, command
from edgekit.errors import BadInput
from tests.bounded import grows_in_line
from tests.device.loopback import keygen

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEX4nVN0EDe4TzUSkvuBvRLXgNZ2UBVxbYgUn7wQDmBM"
GOOD = f"""
[[device]]
name = "pi4"
host = "192.168.1.20"
user = "pi"
identity = "keys/edge"
host_key = "{KEY} pi@raspberry"
python = "~/venv/bin/python"

[[device]]
name = "orin"
host = "fe80::1%eth0"
port = 2222
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_right_inventory(tmp_path: Path) -> None:
    file = written(tmp_path / "devices.toml", GOOD)
    pi, orin = choose([], file)
    assert pi.host_key == KEY and pi.identity == str(tmp_path / "keys/edge") and pi.shown() == "pi@192.168.1.20"
    assert orin.port == 2222 and orin.python == "python3" and orin.shown() == "fe80::1%eth0:2222"
    assert choose(["orin"], file) == [orin]


def test_all_faults_at_once_with_lines_and_nearest_names(tmp_path: Path) -> None:
    text = GOOD.replace("port = 2222", "prot = 2222\nconnect_seconds = 0").replace('user = "pi"', "user = 7")
    with pytest.raises(BadInput) as caught:
        choose([], written(tmp_path / "devices.toml", text))
    said = caught.value.text()
    assert (
        "3 faults" in said and "did you mean 'port'" in said and "connect_seconds" in said and "line 5, device.0.user" in said
    )
    assert "line 13, device.1.prot" in said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../x"), ("name", "-x"), ("name", ""), ("host", "-oProxyCommand=touch x"), ("host", "a b"), ("host", "a;b"), ("host", "a\n"),
        ("user", "-l"), ("user", "a b"), ("user", "$(id)"), ("python", "python3;id"), ("python", "python 3"), ("python", "-c"),
        ("python", "$(id)"), ("python", "a\nb"), ("identity", " "), ("identity", "a\nb"), ("folder", "\0"), ("host_key", "ssh-ed25519"),
        ("host_key", "ssh-rsa " + KEY.split()[1]), ("host_key", "ssh-ed25519 ????"), ("host_key", "* @cert-authority"), ("port", 0), ("port", 65536),
        ("port", "22"), ("connect_seconds", 0), ("bench_seconds", 1.5),
    ],
)  # fmt: skip
def test_values_that_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Device(**{"name": "a", "host": "b", field: value})


@pytest.mark.parametrize(
    "text", ["", "device = []", "[[device]]\nname = 'a'", GOOD.replace("orin", "pi4"), "[[devices]]\n", "device = 3"]
)
def test_files_that_are_no_inventory(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput):
        choose([], written(tmp_path / "devices.toml", text))


def test_names_the_inventory_does_not_have(tmp_path: Path) -> None:
    file = written(tmp_path / "devices.toml", GOOD)
    with pytest.raises(BadInput, match="did you mean 'pi4'"):
        choose(["pi"], file)
    with pytest.raises(BadInput, match="twice"):
        choose(["pi4", "pi4"], file)


def test_devices_named_on_the_command_line() -> None:
    one = named("pi@board.local:2200")
    assert (one.user, one.host, one.port, one.name) == ("pi", "board.local", 2200, "pi@board.local-2200")
    assert named("board").user is None
    for text in ("", "-oX", "a@b@c", "a b", "a:0", "a:99999", "@b", "a@", "a/b", "$(id)"):
        with pytest.raises(BadInput):
            named(text)


def test_the_argument_vector(tmp_path: Path) -> None:
    folder = tmp_path / 'a "b" 50%'
    folder.mkdir()
    words = command(Device(name="pi", host="board", user="me", port=2200, host_key=KEY, identity="/a b/key"), tmp_path)
    assert words[0] == "ssh" and words[-3:-1] == ["--", "board"] and words[words.index("-l") + 1] == "me"
    given = dict(word.split("=", 1) for word in words if "=" in word and " -c " not in word)
    assert ALWAYS.items() <= given.items()
    assert given["StrictHostKeyChecking"] == "yes" and given["BatchMode"] == "yes" and given["IdentityFile"] == '"/a b/key"'
    assert (tmp_path / "known_hosts").read_text() == f"edgekit-pi {KEY}\n"
    assert shlex.split(words[-1]) == ["python3", "-c", BOOT], "all that a device's shell ever sees"
    compile(BOOT, "boot", "exec")
    assert "UserKnownHostsFile" not in str(command(Device(name="pi", host="board"), tmp_path)), "without a pinned key: yours"


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen (Debian: openssh-client)")
def test_a_real_public_key_is_taken(tmp_path: Path) -> None:
    text = keygen(tmp_path / "key").with_suffix(".pub").read_text()
    assert Device(name="a", host="b", host_key=text).host_key == " ".join(text.split()[:2])


def test_many_devices_are_compared_in_line_with_their_number() -> None:
    def work(size: int) -> Callable[[], object]:
        devices = [{"name": f"a{number}", "host": "b"} for number in range(size)]
        return lambda: Inventory.model_validate({"device": devices})

    grows_in_line(work, 300)
