"""No process that edgekit starts outlives the one that started it, whatever ended that one."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgekit.device import agent
from edgekit.pack.runner import MAIN
from edgekit.runtime import children
from tests.conftest import PYTHONPATH, ROOT
from tests.device.loopback import make_bundle
from tests.waiting import wait_for

ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
BUSY = "import re; re.match('(a|a)*b', 'a' * 60)"
"""Native code that keeps the interpreter for longer than any test runs: no thread of the child comes to its turn."""


def is_there(process: int) -> bool:
    """Whether it runs: one that has ended and that nobody has asked about is not there."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def started_by(process: int) -> list[int]:
    """Processes that it started, and those that they did."""
    found = []
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *started_by(int(child))]
    return found


@contextmanager
def parent(*command: str | Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process whose children are looked at, in a session of its own: a signal from a terminal does not end them all alike."""
    with subprocess.Popen(
        [sys.executable, *map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, **environment}, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # whoever runs the tests may ignore it, as nohup does
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def end_and_see(process: subprocess.Popen[str], ending: signal.Signals, family: list[int]) -> None:
    """End the parent, and wait until none of `family` is there."""
    assert family and all(map(is_there, family))
    process.send_signal(ending)
    process.wait()
    wait_for(lambda: not any(map(is_there, family)), "a child outlives its parent")


def test_processes_are_started_in_one_place() -> None:
    """`agent.py` is alone on a device, and ties what it starts by the same variable."""
    starters = {
        "subprocess": {"Popen", "run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"},
        "os": {"fork", "forkpty", "popen", "system", "posix_spawn", "posix_spawnp", "spawnl", "spawnv", "spawnvp"},
    }
    found = set()
    for path in (ROOT / "edgekit").rglob("*.py"):
        text = path.read_text()
        if not re.search(r"\b(subprocess|os|multiprocessing|concurrent)\b", text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                if node.func.attr in starters.get(node.func.value.id, ()):
                    found.add(str(path.relative_to(ROOT / "edgekit")))
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names = [part.name for part in node.names] + [getattr(node, "module", None) or ""]
                assert not any(name.startswith(("multiprocessing", "concurrent.futures.process")) for name in names), path
                if isinstance(node, ast.ImportFrom) and node.module in starters:
                    assert not {part.name for part in node.names} & starters[node.module], path
    assert found == {"runtime/children.py", "device/agent.py"}
    assert f'"{children.ENDS_WITH}"' in Path(agent.__file__).read_text()


@pytest.mark.parametrize("ending", ENDINGS)
def test_programs_and_modules_end_with_their_parent(ending: signal.Signals, tmp_path: Path) -> None:
    """A program that has started another, a module, and one that holds its interpreter; a fork of the parent, which goes on, changes nothing."""
    (tmp_path / "busy.py").write_text(f"print('on', flush=True)\n{BUSY}\n")
    code = """if True:
        import os, subprocess, sys, time
        from edgekit.runtime.children import start, start_module
        held = [start(["sh", "-c", "sleep 1000 & echo on; wait"], stdout=subprocess.PIPE)]
        held += [start_module("busy", stdout=subprocess.PIPE)]
        for child in held:
            child.stdout.readline()
        fork = os.fork()
        if not fork:
            time.sleep(1000)
        print(fork, flush=True)
        time.sleep(1000)
    """
    with parent("-c", code, PYTHONPATH=os.pathsep.join([PYTHONPATH, str(tmp_path)])) as process:
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        try:
            family = [child for child in started_by(process.pid) if child != fork]
            assert len(family) == 3
            end_and_see(process, ending, family)
            assert is_there(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


@pytest.mark.parametrize(
    ("verb", "ending"),
    [("bench", signal.SIGTERM), ("bench", signal.SIGKILL), ("run", signal.SIGHUP), ("run", signal.SIGKILL)],
)
def test_commands_leave_no_process_behind(verb: str, ending: signal.Signals, tmp_path: Path) -> None:
    """The process that measures, and the one of a bundle's first load."""
    bundle = make_bundle(tmp_path / "bundle")
    words = {"bench": ["--processes", "9", "--seconds", "60"], "run": ["x"]}[verb]
    proof = {"bench": "never", "run": ""}[verb]
    command = ["-m", "edgekit", verb, str(bundle), *words]
    with parent(*command, EDGEKIT_PROOF=proof, EDGEKIT_KNOWN=str(tmp_path / "known")) as process:
        family: list[int] = []

        def under_way() -> bool:
            family[:] = started_by(process.pid)
            return bool(family)

        wait_for(under_way)
        end_and_see(process, ending, family)


def test_the_end_of_a_thread_is_not_the_end_of_what_it_started() -> None:
    held: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(
        target=lambda: held.append(children.start(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    )
    thread.start()
    thread.join()
    output, _ = held[0].communicate(b"still here")
    assert (held[0].returncode, output) == (0, b"still here")


def test_what_nobody_holds_ends() -> None:
    process = children.start(["sleep", "1000"])
    number = process.pid
    process.returncode = 0  # so that Popen does not complain of a process that still runs
    del process
    wait_for(lambda: not is_there(number))
    os.waitpid(number, 0)


def test_a_module_whose_parent_has_gone_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "begun.py").write_text("print('begun')")
    held, mine = os.pipe()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([PYTHONPATH, str(tmp_path)]), children.ENDS_WITH: str(held)}
    command = [sys.executable, "-m", children.ENTRY, "begun"]

    def run() -> tuple[int, bytes]:
        done = subprocess.run(command, env=environment, pass_fds=(held,), capture_output=True, check=False)
        return done.returncode, done.stdout

    assert run() == (0, b"begun\n")
    os.close(mine)
    code, said = run()
    os.close(held)
    assert code != 0 and said == b""


def test_where_the_kernel_kills_nobody_a_thread_waits() -> None:
    code = (
        "import time\nfrom edgekit.runtime import children\nchildren._tie = lambda held, process: False\n"
        "children.end_with_parent()\nprint('there', flush=True)\ntime.sleep(1000)\n"
    )
    held, mine = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, pass_fds=(held,), start_new_session=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, children.ENDS_WITH: str(held)},
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == b"there\n"
        os.close(mine)
        assert process.wait() == -signal.SIGKILL
    os.close(held)


@pytest.mark.parametrize("words", ["", "x", "-1", "0", str(2**30), "9" * 40, "1" * 5000])
def test_a_variable_that_edgekit_did_not_set_changes_nothing(words: str) -> None:
    code = "from edgekit.runtime.children import end_with_parent; end_with_parent(); print('on')"
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, children.ENDS_WITH: words}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"on\n", b"")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_the_runner_ends_with_the_agent_of_a_device(ending: signal.Signals, tmp_path: Path) -> None:
    key = "0" * 64
    folder = tmp_path / "edgekit" / key
    (tmp_path / "edgekit").mkdir(mode=0o700)
    folder.mkdir()
    begun = tmp_path / "begun"
    start = MAIN.partition("    from edgekit.runtime.main")[0]
    body = f"    import pathlib, time\n    pathlib.Path({str(begun)!r}).touch()\n    time.sleep(1000)\nfinally:\n    pass\n"
    with zipfile.ZipFile(folder / "runner.pyz", "w") as archive:  # what a runner does before its imports, and then no end
        archive.writestr("__main__.py", start + body)
    requests = [
        {"do": "open", "folder": str(tmp_path), "key": key, "result": "result.json", "files": []},
        {"do": "run", "arguments": [], "result": "result.json", "timeout": 1000},
    ]
    with parent(agent.__file__) as process:
        assert process.stdin is not None and process.stdout is not None
        for request in requests:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        wait_for(begun.exists)
        end_and_see(process, ending, started_by(process.pid))
