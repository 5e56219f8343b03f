"""Records beside a result and lists of devices are files from outside to the commands that read them: one message, exit 2, no traceback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli.app import main
from edgekit.pipeline.folder import BENCH, LINEAGE
from tests.report.made_up import write_result

DEEP, LONG = b"[" * 5000 + b"]" * 5000, b"1" * 5000
TEXTS: dict[str, bytes] = {
    "empty": b"", "NUL": b"\0" * 100, "deep": DEEP, "long": LONG, "NaN": b"NaN", "twice": b'{"a":1,"a":2}', "a list": b"[]", "a text": b'"x"',
    "a number": b"1", "null": b"null", "true": b"true", "half a pair": b'"\\ud800"', "BOM": b"\xef\xbb\xbf{}", "UTF-16": b"\xff\xfe{\0}\0",
    "an escape": b'{"\\u001b[31m":1}', "an object": b"{}", "infinity": b'{"a":1e999}', "cut off": b'{"a":',
}  # fmt: skip
WRONG: tuple[Any, ...] = (
    None,
    [],
    {},
    "x",
    -1,
    True,
    1e300,
    {"a": {}},
    [[[]]],
    "/etc/passwd",
    "../../../../etc",
    "a\x1b[31m\n",
)
DEVICES: dict[str, bytes] = {
    **TEXTS, "a list of none": b"device = []", "a list of numbers": b"device = [1]", "deep TOML": b"device = " + DEEP, "long TOML": b"a = " + LONG,
    "a table": b"[device]\nname='a'\nhost='h'", "one twice": b"[[device]]\nname='a'\nhost='h'\n" * 2,
    "a key twice": b"[[device]]\nname='a'\nname='b'",
    **{
        f"{field} {value[:30]!r}": f'[[device]]\nname = "a"\nhost = "h"\n{field} = {value}\n'.encode()
        for field, value in (
            ("port", "9" * 60), ("port", "nan"), ("port", "true"), ("port", "0"), ("port", '"22"'), ("user", '"-l"'), ("user", '"a b"'),
            ("user", '"a\\u0000"'), ("python", '"p;x"'), ("python", '"-c"'), ("python", '"$(x)"'), ("folder", '"a\\nb"'), ("folder", '""'),
            ("identity", '"a\\u0000b"'), ("identity", '"a\\u001b[31m"'), ("identity", '"~nobody-there/k"'), ("ssh_config", "[]"),
            ("host_key", '"ssh-ed25519 AAAA\\n* ssh-rsa BBB"'), ("bench_seconds", "inf"), ("connect_seconds", "-1"), ("unknown", "1"),
        )
    },
    **{f"host {host!r}": f'[[device]]\nname = "a"\nhost = "{host}"\n'.encode() for host in ("-oProxyCommand=x", "", "a b", "a\\u001b[31m", "h/../x")},
    **{f"name {name!r}": f'[[device]]\nname = "{name}"\nhost = "h"\n'.encode() for name in ("../a", "", "a\\u0000", "-a", "a" * 300)},
}  # fmt: skip
Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Called with a command that must be refused: what it says, which is one short message without a letter that moves a terminal."""

    def run(*arguments: str | Path) -> str:
        monkeypatch.setattr("sys.argv", ["edgekit", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, said = capsys.readouterr()
        assert left.value.code in (1, 2, 3), (arguments, out, said)
        assert said.count("edgekit: ") == 1 and "Traceback" not in said and "unforeseen" not in said, said
        assert len(said) < 4000 and all(letter.isprintable() or letter == "\n" for letter in said), said
        return said

    return run


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result that can be reported."""
    folder = tmp_path / "result"
    write_result(folder)
    return folder


def spoil(path: Path) -> list[Callable[[], None]]:
    """What may lie at `path` instead of a plain file."""
    return [
        lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), path.mkdir, lambda: (path.touch(), os.truncate(path, 2**36)),
    ]  # fmt: skip


@pytest.mark.parametrize("name", [LINEAGE, BENCH])
def test_a_record_that_is_none(refused: Refused, result: Path, name: str) -> None:
    path = result / name
    for text in TEXTS.values():
        path.write_bytes(text)
        assert name in refused("report", result)
    path.unlink()
    for make in spoil(path):
        make()
        refused("report", result)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize("name", [LINEAGE, BENCH])
def test_a_field_of_a_record_that_is_something_else(
    result: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page may leave out what it does not need; it never ends in a traceback, and shows no letter that moves a terminal."""
    path = result / name
    document = json.loads(path.read_text(encoding="utf-8"))
    for number, field in enumerate(document):
        wrong = WRONG[number % len(WRONG)]
        path.write_text(json.dumps({**document, field: wrong}), encoding="utf-8")
        monkeypatch.setattr("sys.argv", ["edgekit", "report", str(result)])
        with pytest.raises(SystemExit) as left:
            main()
        out, said = capsys.readouterr()
        assert left.value.code in (0, 1, 2, 3) and "Traceback" not in said and "unforeseen" not in said, (
            field,
            wrong,
            said,
        )
        assert "\x1b" not in out + said, (field, wrong)


def test_a_list_of_devices_that_is_none(refused: Refused, result: Path, tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    for text in DEVICES.values():
        path.write_bytes(text)
        refused("bench", result, "--inventory", path)
    path.unlink()
    for make in spoil(path):
        make()
        assert path.name in refused("bench", result, "--inventory", path)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
