"""A child that is forked takes nothing of its parent's with it when it ends, and gives its own right answers."""

from __future__ import annotations

import os
import tarfile
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from edgekit.runtime.forks import at_exit_here
from edgekit.runtime.generate.chat import Template
from edgekit.runtime.model import load
from tests.runtime.serve.serving import make_bundle

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
TALK = [{"role": "user", "content": "a hat"}]


def in_child(work: Callable[[], object], seconds: int = 20) -> int:
    """The status with which a forked child ends that does `work` and then leaves as Python does, its exit handlers run."""
    code = os.fork()
    if code == 0:
        import signal

        signal.alarm(seconds)
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            weakref.finalize._exitfunc()  # type: ignore[attr-defined]  # what Python does at the end of a process
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(code, 0)[1])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    bundle = make_bundle(folder, "text-generation")
    with tarfile.open(folder / "bundle.tar.gz", "w:gz") as tar:
        for path in sorted(bundle.iterdir()):
            tar.add(path, f"bundle/{path.name}")
    return folder / "bundle.tar.gz"


def test_a_child_leaves_the_unpacked_bundle_and_answers_itself(archive: Path) -> None:
    held = [load(archive)]
    folder, wanted = held[0].bundle.folder, held[0]({"messages": TALK})

    def answers() -> bool:
        return bool(held[0]({"messages": TALK}) == wanted)

    assert in_child(answers) == 0
    assert folder.exists() and answers()
    assert in_child(lambda: in_child(answers) == 0) == 0, "a child's child too"
    assert folder.exists()
    held.clear()
    assert not folder.exists(), "it goes with the parent's model"


def test_parent_and_child_render_at_the_same_time_each_by_a_process_of_its_own() -> None:
    template = Template("{% for m in messages %}{{ m.content }}{% endfor %}", {})
    assert template.render(TALK) == "a hat"
    process = template.child.process
    assert process is not None
    reading, writing = os.pipe()

    def child() -> bool:
        os.close(reading)
        os.write(writing, b".")
        return all(template.render([{"role": "user", "content": f"child {turn}"}]) == f"child {turn}" for turn in range(50))

    found: list[int] = []
    thread = Thread(target=lambda: found.append(in_child(child)))
    thread.start()
    os.read(reading, 1)
    for turn in range(50):
        assert template.render([{"role": "user", "content": f"parent {turn}"}]) == f"parent {turn}"
    thread.join()
    os.close(reading)
    os.close(writing)
    assert found == [0]
    assert template.child.process is process and process.poll() is None, "the parent's goes on"


def test_a_lock_that_another_thread_holds_at_the_fork_is_free_in_the_child(archive: Path) -> None:
    model = load(archive)
    language = model.language
    assert language is not None and language.template is not None
    wanted = model({"messages": TALK})
    with language.template.child._lock, language.prefixes._lock:  # as another thread would, in the middle of an answer
        assert in_child(lambda: model({"messages": TALK}) == wanted) == 0


def test_what_a_parent_does_at_its_end_is_not_done_by_its_child() -> None:
    class Held:
        pass

    done, held = [], Held()
    at_exit_here(held, done.append, os.getpid())
    assert in_child(lambda: not done) == 0
    assert not done
    del held
    assert done == [os.getpid()]
