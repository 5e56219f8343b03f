"""Bundles measured through a real sshd: the course that all hope for, many devices at once, and what is not done twice."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgekit.cli.app import app
from edgekit.device import fleet
from edgekit.device.fleet import Outcome, bench_on_devices
from edgekit.device.inventory import Device
from edgekit.device.parts import key_of, parts_of
from edgekit.errors import NotPossibleHere
from edgekit.progress import Show
from edgekit.runtime.bundle.open import open_bundle
from tests.device.loopback import QUICK, Server, make_bundle, write_stand_in
from tests.interrupts import interruptible
from tests.waiting import PATIENCE_SECONDS, wait_for

SILENT = Show(silent=True)


def right(outcomes: list[Outcome]) -> list[Outcome]:
    assert not [outcome.fault.text() for outcome in outcomes if outcome.fault]
    return outcomes


def inventory(path: Path, *devices: Device) -> Path:
    """The devices as a file that people could have written."""
    blocks = ["[[device]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in device.model_dump(exclude_none=True).items())
              for device in devices]  # fmt: skip
    path.write_text("\n".join(blocks))
    return path


def test_a_device_is_measured_and_left_clean(sshd: Server, bundle: Path) -> None:
    (found,) = right(bench_on_devices(bundle, [sshd.device()], show=SILENT, **QUICK))
    assert found.result is not None and found.result["verify"]["ok"] and found.result["verify"]["golden"] == 32
    assert found.result["bench"]["variants"][0]["scenarios"][0]["p50_ms"] > 0
    assert found.result["facts"]["packages"]["numpy"] and "cpuinfo" not in found.result["facts"]
    assert json.loads((bundle.parent / "devices" / "here.json").read_text()) == found.result
    assert sshd.left() == []


@pytest.mark.usefixtures("stand_in")
def test_many_devices_at_once_and_one_that_is_not_there(sshd: Server, bundle: Path, tmp_path: Path) -> None:
    good = [sshd.device(f"good{number}") for number in range(3)]
    file = inventory(tmp_path / "devices.toml", *good, sshd.device("gone", port=1))
    command = ["bench", str(bundle), "--inventory", str(file), "--processes", "1", "--seconds", "0.05"]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 3, done.output
    found = {item["device"]: item for item in json.loads(done.stdout)["devices"]}
    assert [found[device.name]["state"] for device in good] == ["measured"] * 3
    assert found["gone"]["state"] == "failed" and "gone" in found["gone"]["error"] and "connect" in found["gone"]["error"]
    again = CliRunner().invoke(app, [*command, "--device", "good1", "--device", "good2"])
    assert again.exit_code == 0, again.output
    assert again.output.count("(--again") == 2 and "good0" not in again.output


def test_a_throttled_result_is_marked(sshd: Server, bundle: Path, tmp_path: Path, stand_in: Callable[[str], None]) -> None:
    stand_in("if verb == 'bench': document['validity'] = {'stable': False, 'throttled': True, 'reasons': ['the clock fell']}")
    file = inventory(tmp_path / "devices.toml", sshd.device("hot"))
    done = CliRunner().invoke(app, ["bench", str(bundle), "--inventory", str(file)])
    assert done.exit_code == 0 and "INVALID" in done.output and "hot: the clock fell" in done.output, done.output
    assert CliRunner().invoke(app, ["bench", str(bundle), "--inventory", str(file), "--strict"]).exit_code == 1


@pytest.mark.usefixtures("stand_in")
def test_a_finished_device_is_asked_again_only_for_something_else(sshd: Server, bundle: Path) -> None:
    device = [sshd.device()]
    (first,) = right(bench_on_devices(bundle, device, show=SILENT, **QUICK))
    (kept,) = right(bench_on_devices(bundle, device, show=SILENT, **QUICK))
    assert kept.kept and kept.result == first.result
    (other,) = right(bench_on_devices(bundle, device, show=SILENT, **{**QUICK, "seed": 8}))
    assert not other.kept
    (anew,) = right(bench_on_devices(bundle, device, show=SILENT, **{**QUICK, "seed": 8, "again": True}))
    assert not anew.kept and other.result is not None and anew.result is not None
    assert anew.result["bench"]["token"] != other.result["bench"]["token"]


def test_a_result_that_could_not_be_fetched_is_fetched_by_the_next_run(
    sshd: Server, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = write_stand_in(bundle.parent / "runner.pyz")
    monkeypatch.setattr(fleet, "write_runner", lambda path: path.write_bytes(runner.read_bytes()))
    (first,) = right(bench_on_devices(bundle, [sshd.device("fetched")], show=SILENT, **QUICK))
    assert first.result is not None
    folder = sshd.home / "fetched" / "edgekit" / key_of(parts_of(open_bundle(bundle), runner))
    for whole in (True, False):
        folder.mkdir()
        left = {**first.result["bench"], "complete": whole, "created": "some time ago"}
        (folder / f"result-{first.result['key']}.json").write_text(json.dumps(left))
        (second,) = right(bench_on_devices(bundle, [sshd.device("fetched")], show=SILENT, **{**QUICK, "again": True}))
        assert second.result is not None
        assert (second.result["bench"] == left) is whole, "an interrupted measurement is no result"
        assert sshd.left("fetched") == []


@pytest.mark.usefixtures("stand_in")
def test_a_talkative_shell_does_not_disturb(sshd: Server, bundle: Path) -> None:
    name = sshd.python("chatty", 'echo "Welcome! {}"; echo "motd" >&2; exec "$PYTHON" "$@"')
    right(bench_on_devices(bundle, [sshd.device("chatty", python=name)], show=SILENT, **QUICK))


@pytest.mark.usefixtures("stand_in")
def test_a_link_through_a_slow_line(proxied: Callable[..., Device], tmp_path: Path) -> None:
    said: list[str] = []

    class Heard(Show):
        def stage(self, title: str) -> Any:
            return nullcontext(lambda done, total, text: said.append(text))

    bundle = make_bundle(tmp_path / "slow", ballast=3_000_000)
    slow = proxied("if sent > 500_000: time.sleep(len(data) / 4e6)", "slow")
    (found,) = right(bench_on_devices(bundle, [slow], show=Heard(silent=True), **QUICK))
    assert found.result is not None and found.result["sent_bytes"] > 3_000_000
    assert any(line.startswith("slow: send ") and line.endswith("%") for line in said)


@pytest.mark.usefixtures("stand_in")
def test_a_device_in_use_is_left_alone(sshd: Server, bundle: Path) -> None:
    base = sshd.home / "busy" / "edgekit"
    base.mkdir(parents=True)
    base.chmod(0o700)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (found,) = bench_on_devices(bundle, [sshd.device("busy")], show=SILENT, **QUICK)
        assert isinstance(found.fault, NotPossibleHere) and "in use" in found.fault.text()
    right(bench_on_devices(bundle, [sshd.device("busy")], show=SILENT, **QUICK))


@pytest.mark.usefixtures("stand_in")
def test_what_nobody_came_back_to_is_removed(sshd: Server, bundle: Path) -> None:
    old, young = (sshd.home / "stale" / "edgekit" / (letter * 64) for letter in "ab")
    for folder in (old, young):
        folder.mkdir(parents=True)
        folder.parent.chmod(0o700)
    os.utime(old, (1e9, 1e9))
    right(bench_on_devices(bundle, [sshd.device("stale")], show=SILENT, **QUICK))
    assert sshd.left("stale") == [young.name]


def processes_in(folder: Path) -> list[str]:
    """Command lines of running processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def test_ctrl_c_ends_everything_on_the_device_too(sshd: Server, bundle: Path, tmp_path: Path) -> None:
    file = inventory(tmp_path / "devices.toml", sshd.device("stopped"))
    base = sshd.home / "stopped" / "edgekit"
    command = [sys.executable, "-m", "edgekit", "bench", str(bundle), "--inventory", str(file), "--processes", "500"]
    with interruptible(command, stderr=subprocess.PIPE) as parent:
        wait_for(lambda: any("\0bench\0" in words for words in processes_in(base)), "the runner does not measure on the device")
        parent.send_signal(signal.SIGINT)
        output, errors = parent.communicate(timeout=PATIENCE_SECONDS)
    assert parent.returncode == 130, output + errors
    assert "Traceback" not in errors
    wait_for(lambda: not processes_in(base), "something runs on")
    wait_for(lambda: len(sshd.left("stopped")) == 1, "what arrived stays for the next run, the temporary folder does not")
    (found,) = right(bench_on_devices(bundle, [sshd.device("stopped")], show=SILENT, **QUICK))
    assert found.result is not None and found.result["sent_bytes"] == 0
    assert sshd.left("stopped") == []


@pytest.mark.parametrize("flags", [["--again"], ["--inventory", "none.toml"], ["--device", "no good"]])
def test_flags_that_cannot_be_meant(bundle: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from edgekit.cli import app as cli

    argv, sys.argv = sys.argv, ["edgekit", "bench", str(bundle), *flags]
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        sys.argv = argv
    assert ended.value.code == 2, capsys.readouterr().err
