"""Files beside a result, within a bundle, and lists of devices come from outside: one message, exit 1 to 3, no traceback."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli.app import main
from edgekit.pipeline.folder import BENCH, LINEAGE
from edgekit.runtime.bundle.known import KNOWN
from edgekit.runtime.bundle.names import MANIFEST, MANIFEST_DIGEST
from edgekit.runtime.bundle.proof import PROOF
from edgekit.runtime.canonical import canonical
from edgekit.runtime.digest import digest_line
from edgekit.store import Stage, find, produce
from tests.device.loopback import make_bundle
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


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound bundle that nobody loaded before, and that is not proven in a child: what is tried here is refused before that."""
    monkeypatch.setenv(KNOWN, str(tmp_path / "known"))
    monkeypatch.setenv(PROOF, "never")
    return make_bundle(tmp_path / "made")


def repack(bundle: Path, golden: bytes) -> None:
    """Put other golden inputs into `bundle`, as who packs one may: under its manifest's hash and digest."""
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    manifest["assets"]["golden.json"] = {"size": len(golden), "sha256": hashlib.sha256(golden).hexdigest()}
    data = canonical(manifest)
    (bundle / "golden.json").write_bytes(golden)
    (bundle / MANIFEST).write_bytes(data)
    (bundle / MANIFEST_DIGEST).write_bytes(digest_line(MANIFEST, data))


def test_golden_inputs_that_are_none(refused: Refused, bundle: Path) -> None:
    document = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))
    rows = document["rows"]
    wrong = [
        *TEXTS.values(),
        *(json.dumps(one).encode() for one in ({"rows": value} for value in WRONG)),
        *(json.dumps({"rows": [value, *rows[1:]]}).encode() for value in WRONG),
        json.dumps({"rows": rows[1:]}).encode(), json.dumps({"rows": rows * 2}).encode(), json.dumps({**document, "more": 1}).encode(),
        json.dumps({"rows": [{**rows[0], "more": 1}, *rows[1:]]}).encode(),
    ]  # fmt: skip
    for golden in wrong:
        repack(bundle, golden)
        assert "golden.json" in refused("run", bundle, "turn it on")
        assert "golden.json" in refused("verify", bundle)


def test_a_golden_input_of_which_something_is_else(refused: Refused, bundle: Path) -> None:
    """Whatever stands in a field is refused as no golden input, or as one that the model does not answer so; none is passed over."""
    rows = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))["rows"]
    others: dict[str, tuple[Any, ...]] = {
        "input": (*WRONG, "another text"), "input_ids": (*WRONG, [[2**70]], [[-1]], [[True]], [[0.5]], [[]]),
        "outputs": (*WRONG, [[1], [1, 2]], [[True]], ["1"], [[1e300]]), "answer": ({}, -1, True, 1e300), "margin": ([], {}, "x", True),
    }  # fmt: skip
    for field, values in others.items():
        for value in values:
            repack(bundle, json.dumps({"rows": [rows[0], {**rows[1], field: value}, *rows[2:]]}).encode())
            refused("verify", bundle)


def test_a_file_of_a_bundle_that_is_no_plain_file(refused: Refused, bundle: Path) -> None:
    for name in ("golden.json", "model.onnx", "tokenizer.json", MANIFEST, MANIFEST_DIGEST):
        path = bundle / name
        kept = path.read_bytes()
        for make in spoil(path):
            path.unlink()
            make()
            refused("run", bundle, "turn it on")
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            path.write_bytes(kept)


def a_stage() -> Stage:
    """A stage of one file."""
    return Stage("write", "write", lambda context: {"length": (context.out / "a.txt").write_text("hello")})


@pytest.mark.parametrize("name", ["stage.json", "timing.json"])
def test_a_record_of_the_store_that_is_none_is_made_again(tmp_path: Path, name: str) -> None:
    """With the digest that belongs to it, as who means harm would write: it is corrupt, with one reason, and the stage runs again."""
    made = produce(tmp_path, a_stage(), {}, lambda *told: None)
    path, beside = made.path / name, made.path / f"{name}.sha256"
    document = json.loads(path.read_text(encoding="utf-8"))
    texts = [
        *TEXTS.values(), *(json.dumps({**document, field: value}).encode() for field in document for value in WRONG if value != {}),
        *(json.dumps({**document, "files": {file: document.get("files", {}).get("a.txt")}}).encode() for file in ("../a", "/etc/passwd", "a\0", "")),
        json.dumps({**document, "more": 1}).encode(),
    ]  # fmt: skip
    for text in texts:
        path.write_bytes(text)
        beside.write_bytes(digest_line(name, text))
        found, why = find(tmp_path, a_stage())
        if found is not None:  # a stage may have had any metrics, and taken any time
            assert {field: value for field, value in json.loads(text).items() if field not in ("metrics", "seconds")} == {
                field: value for field, value in document.items() if field not in ("metrics", "seconds")
            }
            continue
        assert why is not None and len(why) < 2000 and "Traceback" not in why
        made = produce(tmp_path, a_stage(), {}, lambda *told: None)
        assert made.metrics == {"length": 5} and find(tmp_path, a_stage())[1] is None
    for make in spoil(path):
        path.unlink()
        make()
        assert find(tmp_path, a_stage())[1] is not None
        assert produce(tmp_path, a_stage(), {}, lambda *told: None).metrics == {"length": 5}
