"""What may go wrong on the way to a device and on it: each fault names the device, the step and what to do, and is survived."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.device import link, run
from edgekit.device.fleet import bench_on_devices
from edgekit.device.inventory import Device
from edgekit.device.link import Link
from edgekit.device.run import Job
from edgekit.errors import BadInput, CheckFailed, EdgekitError, NotPossibleHere
from edgekit.host import detect
from edgekit.progress import Show
from tests.device.loopback import QUICK, Server, drop_after, keygen, lock_is_free, make_bundle, stick_after
from tests.waiting import wait_for

SILENT = Show(silent=True)
pytestmark = pytest.mark.usefixtures("stand_in")


def fault_on(bundle: Path, device: Device, kind: type[EdgekitError], step: str) -> str:
    """Run, and give the text of the fault, which must be of this kind, and of this device and step."""
    (found,) = bench_on_devices(bundle, [device], show=SILENT, **QUICK)
    assert found.fault is not None and found.result is None
    text = found.fault.text()
    assert type(found.fault) is kind, text
    assert device.name in text and f", {step}:" in text
    assert not (bundle.parent / "devices" / f"{device.name}.json").exists()
    return text


def sent_on(bundle: Path, device: Device) -> int:
    """Run to the end, once the run before has noticed its own; how many bytes had to be sent."""
    wait_for(lambda: lock_is_free(Path(device.folder) / "edgekit" / "lock"))
    (found,) = bench_on_devices(bundle, [device], show=SILENT, **QUICK)
    assert found.fault is None, found.fault and found.fault.text()
    assert found.result is not None
    return int(found.result["sent_bytes"])


@pytest.fixture
def large(large_bundle: Path, tmp_path: Path) -> Path:
    """A link to the bundle of four megabytes, with devices/ beside it of one test alone."""
    shutil.copytree(large_bundle, tmp_path / "large" / "bundle")
    return tmp_path / "large" / "bundle"


def test_a_dropped_link_is_gone_on_with(sshd: Server, proxied: Callable[..., Device], large: Path) -> None:
    text = fault_on(
        large,
        proxied(drop_after(2_500_000, sshd.home / "drop/edgekit/*/bundle-ballast.bin.part"), "drop"),
        NotPossibleHere,
        "send",
    )
    assert "the link broke" in text and "resumes where this one ended" in text
    wait_for(lambda: len(sshd.left("drop")) == 1)
    sent = sent_on(large, sshd.device("drop"))
    assert 0 < sent < 3_900_000, "small files were whole, the large one goes on in its middle"
    assert sshd.left("drop") == []


def test_a_link_that_drops_while_measuring(sshd: Server, proxied: Callable[..., Device], bundle: Path, tmp_path: Path,
                                           stand_in: Callable[[str], None]) -> None:  # fmt: skip
    started = sshd.home / "measuring"
    stand_in(
        f"if verb == 'bench': pathlib.Path({f'{started}.new'!r}).write_text(str(os.getpid())); "
        f"os.rename({f'{started}.new'!r}, {str(started)!r}); time.sleep(60)"
    )
    dying = proxied("", "leave")
    program = Path(str(dying.ssh_config).replace(".conf", ".py"))
    program.write_text(
        program.read_text().replace(
            "sent = 0",
            f"def watch():\n    while not os.path.exists({str(started)!r}): time.sleep(0.02)\n    os._exit(1)\n"
            "threading.Thread(target=watch, daemon=True).start()\nsent = 0",
        )
    )
    assert "the link broke" in fault_on(bundle, dying, NotPossibleHere, "measure")
    wait_for(lambda: len(sshd.left("leave")) == 1, "the device did not notice, or did not remove its temporary folder")
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
    stand_in("")
    assert sent_on(bundle, sshd.device("leave")) > 0, "another runner is another job"


def test_a_link_that_carries_nothing_any_more(
    sshd: Server, proxied: Callable[..., Device], large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of this side runs fast once the link is stuck: nobody waits for it, and no busy machine looks like it."""
    stuck, part = tmp_path / "stuck", sshd.home / "stall/edgekit/*/bundle-ballast.bin.part"

    def clock() -> float:
        now = time.monotonic()
        return now + 1000 * max(0.0, time.time() - stuck.stat().st_mtime) if stuck.exists() else now

    monkeypatch.setattr(link, "monotonic", clock)
    # far from the end: ssh itself takes two megabytes that do not get through
    text = fault_on(large, proxied(stick_after(1_000_000, part, stuck), "stall"), NotPossibleHere, "send")
    assert "nothing got through for 60 s" in text
    stuck.unlink()
    assert sent_on(large, sshd.device("stall")) < 4_000_000


def test_a_link_that_changes_what_it_carries(proxied: Callable[..., Device], large: Path) -> None:
    flip = "if sent > 500_000: data = bytes([data[0] ^ 1]) + data[1:]"
    text = fault_on(large, proxied(flip, "flip"), NotPossibleHere, "send")
    assert "corrupts what it carries" in text or "the link broke" in text


def test_bytes_that_change_behind_the_link(sshd: Server, large: Path) -> None:
    """ssh guards the line; memory and disk of the device are guarded by the files' sha256."""
    flip = sshd.home / "flip.py"
    flip.write_text(
        "import os, subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\nseen = 0\n"
        "while data := os.read(0, 65536):\n"
        "    if seen <= 1_000_000 < seen + len(data):\n"
        "        at = 1_000_000 - seen\n        data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]\n"
        "    seen += len(data)\n"
        "    try:\n        child.stdin.write(data)\n        child.stdin.flush()\n"
        "    except OSError:\n        break\n"
    )
    bad = sshd.python("bad", f'exec "$PYTHON" \'{flip}\' "$PYTHON" "$@"')
    text = fault_on(large, sshd.device("memory", python=bad), CheckFailed, "send")
    assert "arrived changed: bundle/ballast.bin" in text
    sent = sent_on(large, sshd.device("memory"))
    assert 4_000_000 <= sent < 4_010_000, "what arrived wrong is sent anew, and nothing else"


def test_a_file_that_changed_on_the_device_meanwhile(sshd: Server, proxied: Callable[..., Device], large: Path) -> None:
    fault_on(
        large,
        proxied(drop_after(2_500_000, sshd.home / "rot/edgekit/*/bundle-ballast.bin.part"), "rot"),
        NotPossibleHere,
        "send",
    )
    (part,) = (sshd.home / "rot").rglob("*.part")
    whole = next((sshd.home / "rot").rglob("tokenizer.json"))
    for path in (part, whole):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert sent_on(large, sshd.device("rot")) > 4_000_000


def test_a_disk_that_is_too_small_is_seen_before(sshd: Server, large: Path, tmp_path: Path) -> None:
    small = sshd.home / "tmpfs"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        text = fault_on(large, sshd.device("small", folder=str(small)), NotPossibleHere, "preflight")
        assert "MB of disk are free" in text and "another folder" in text
        assert [path.name for path in (small / "edgekit").iterdir()] == ["lock"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_disk_that_fills_while_it_is_sent(sshd: Server, large: Path) -> None:
    """A limit on the size of files stands for the disk: it fails in the same place, and needs no root."""
    full = sshd.python("full", 'ulimit -f 2000\nexec "$PYTHON" "$@"')  # blocks of 512 bytes
    text = fault_on(large, sshd.device("full", python=full), NotPossibleHere, "send")
    assert "file size limit reached" in text and "free some space" in text
    assert sshd.left("full") == []
    assert sent_on(large, sshd.device("full")) > 4_000_000


def test_all_that_does_not_fit_is_told_at_once(sshd: Server, tmp_path: Path) -> None:
    other = "aarch64" if detect().arch == "x86_64" else "x86_64"
    bundle = make_bundle(tmp_path, arch=other, least="98.0")
    bare = sshd.python("bare", 'exec "$PYTHON" -S "$@"')
    text = fault_on(bundle, sshd.device("unfit", python=bare), NotPossibleHere, "preflight")
    assert f"the bundle is for {other}, the device is {detect().arch}" in text
    for name in ("numpy", "onnxruntime>=98.0", "tokenizers"):
        assert f"pip install '{name}" in text
    assert sshd.left("unfit") == []
    old = fault_on(bundle, sshd.device("unfit"), NotPossibleHere, "preflight")
    assert "is too old: pip install --upgrade 'onnxruntime>=98.0'" in old


def test_a_chip_without_the_instructions(sshd: Server, tmp_path: Path) -> None:
    text = fault_on(make_bundle(tmp_path, isa=["avx9000"]), sshd.device("chip"), NotPossibleHere, "preflight")
    assert "its chip lacks avx9000" in text


def test_another_host_key_than_the_pinned_one(sshd: Server, bundle: Path, tmp_path: Path) -> None:
    key = " ".join(keygen(tmp_path / "other").with_suffix(".pub").read_text().split()[:2])
    text = fault_on(bundle, sshd.device("changed", host_key=key), BadInput, "connect")
    assert "not the pinned one" in text and "read the device's key at the device itself" in text


def test_an_unknown_host_is_not_trusted(sshd: Server, bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"UserKnownHostsFile {tmp_path}/none\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking no\n")
    text = fault_on(bundle, sshd.device("unknown", host_key=None, ssh_config=str(config)), BadInput, "connect")
    assert "not known" in text and "host_key" in text
    assert not (tmp_path / "none").exists(), "a configuration that trusts everybody has no say"


def test_a_key_that_the_device_does_not_know(sshd: Server, bundle: Path, tmp_path: Path) -> None:
    stranger = sshd.device("stranger", identity=str(keygen(tmp_path / "stranger")))
    assert "accepts none of the offered keys" in fault_on(bundle, stranger, BadInput, "connect")


@pytest.fixture
def mute() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_host_that_does_not_answer(sshd: Server, bundle: Path, mute: int) -> None:
    text = fault_on(bundle, sshd.device("mute", port=mute, connect_seconds=1), NotPossibleHere, "connect")
    assert "does not answer" in text


def test_no_such_host(sshd: Server, bundle: Path) -> None:
    assert "no such host" in fault_on(bundle, sshd.device("nowhere", host="nowhere.invalid"), BadInput, "connect")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "no Python there"),
        ('exec "$PYTHON" -c \'import sys; sys.version_info = (3, 9, 2); exec(sys.argv[2])\' "$@"', "its Python is 3.9"),
    ],
)
def test_a_device_without_a_right_python(sshd: Server, bundle: Path, script: str | None, words: str) -> None:
    name = sshd.python("odd", script) if script else "python9.9"
    text = fault_on(bundle, sshd.device("python", python=name), NotPossibleHere, "connect")
    assert words in text and "python in the inventory" in text


def test_a_child_that_meets_an_unknown_instruction_is_told_with_both_sides_flags(
    sshd: Server, tmp_path: Path, stand_in: Callable[[str], None]
) -> None:
    """The bundle's flags are all there, so that the preflight passes; the process that measures dies all the same."""
    flag = sorted(detect().isa)[0]
    stand_in(
        "if verb == 'bench': print(json.dumps({'error': 'bench: bundle: this onnxruntime wheel needs a newer instruction set than "
        "this chip has', 'exit_code': 3})); sys.exit(3)"
    )
    text = fault_on(make_bundle(tmp_path, isa=[flag]), sshd.device("sigill"), NotPossibleHere, "measure")
    assert "killed by SIGILL" in text and f"target here needs {flag}; the device (" in text
    assert all(each in text.partition(" has ")[2] for each in sorted(detect().isa))
    assert sshd.left("sigill") == []


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", NotPossibleHere, "out of memory"),
        ("os.kill(os.getpid(), signal.SIGILL)", NotPossibleHere, "needs a newer ISA"),
        ("os.kill(os.getpid(), signal.SIGILL)", NotPossibleHere, "target here needs none; the device ("),
        ("print('no document'); sys.exit(0)", CheckFailed, "printed no JSON"),
        ("document['artifact_sha256'] = '0' * 64", CheckFailed, "no result of this bundle"),
    ],
)
def test_a_runner_that_dies_or_lies(
    sshd: Server, bundle: Path, stand_in: Callable[[str], None], body: str, kind: type[EdgekitError], words: str
) -> None:
    stand_in(f"if verb == 'bench': {body}")
    step = "fetch" if "document[" in body else "measure"
    text = fault_on(bundle, sshd.device("dies"), kind, step)
    assert words in text
    assert sshd.left("dies") == []


def test_golden_inputs_that_are_not_right_are_not_measured(sshd: Server, bundle: Path, stand_in: Callable[[str], None]) -> None:
    stand_in("if verb == 'verify': print(json.dumps({'error': 'input 3: other tokens', 'exit_code': 1})); sys.exit(1)")
    assert "input 3: other tokens" in fault_on(bundle, sshd.device("wrong"), CheckFailed, "verify")


def test_a_runner_that_never_ends(
    sshd: Server, bundle: Path, stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("if verb == 'bench': time.sleep(600)")
    real = run._run

    def hurried(link: Link, where: str, device: Device, job: Job, step: str, *more: Any) -> dict[str, Any]:
        """A second for what never ends alone, not for the start of a process on a busy machine."""
        return real(
            link, where, device.model_copy(update={"bench_seconds": 1}) if step == "measure" else device, job, step, *more
        )

    monkeypatch.setattr(run, "_run", hurried)
    text = fault_on(bundle, sshd.device("endless"), NotPossibleHere, "measure")
    assert "took too long" in text and "bench_seconds" in text
    assert sshd.left("endless") == []


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("[1, 2]", "is no JSON object"),
        ('{"facts": {"python": 3}, "have": {}, "folder": "", "result": null}', "facts are not sound"),
    ],
)
def test_a_device_that_talks_nonsense(sshd: Server, bundle: Path, says: str, words: str) -> None:
    name = sshd.python("nonsense", f"echo 'EDGEKIT {says}'; while read line; do :; done")
    assert words in fault_on(bundle, sshd.device("nonsense", python=name), NotPossibleHere, "connect")


def test_a_folder_that_cannot_be_made(sshd: Server, bundle: Path) -> None:
    (sshd.home / "file").write_text("in the way")
    text = fault_on(bundle, sshd.device("file", folder=str(sshd.home / "file")), NotPossibleHere, "connect")
    assert "file" in text and "folder in the inventory" in text
