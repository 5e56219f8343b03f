"""Workers of two machines at one study in a real PostgreSQL: each has a build folder of its own, and one of them is killed amid a trial."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import NotPossibleHere
from edgekit.tuner import storage
from edgekit.tuner.storage import answering
from edgekit.tuner.study import open_study
from tests.conftest import ROOT
from tests.tuner.postgres import postgres_folder, running_postgres

pytest.importorskip("psycopg")
PROGRAMS = postgres_folder()


@pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed (Debian: postgresql)")
def test_two_workers_share_a_study_and_the_one_that_is_left_goes_on(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    with running_postgres(PROGRAMS) as url:
        done = subprocess.run(
            [sys.executable, "-m", "tests.tuner.pretend", str(tmp_path), "--trials", "8", "--storage", url], capture_output=True, text=True,
            check=True, cwd=ROOT, timeout=400,
        )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["finished"] >= found["runs"] == 8 and not found["waiting"]
    owners = Counter(found["owners"])
    assert len(owners) == 2 and found["given_back"] == 1, "the killed one had a trial, which the other one has now"
    assert len(set(found["keys"])) == 8, "each recipe was run once"


@pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed (Debian: postgresql)")
def test_a_database_that_was_started_anew_while_a_trial_ran(tmp_path: Path) -> None:
    import psycopg

    assert PROGRAMS is not None
    with running_postgres(PROGRAMS) as url:
        study = open_study(url, tmp_path, "one", {})
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname is not null"
            )
        study.set_user_attr("said", True)
        assert study.user_attrs["said"]
        database: Any = study._storage
        database.remove_session()
        database._backend.engine.dispose()


def stand(processes: list[int], still: signal.Signals) -> None:
    """Stop processes where they are, or have them go on; one may have ended by itself, and the others must go on all the same."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, still)


@pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed (Debian: postgresql)")
def test_a_database_that_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine acknowledges what is sent, and no answer comes: a worker waited for it without end."""
    import psycopg

    assert PROGRAMS is not None
    with running_postgres(PROGRAMS) as url:
        study = open_study(url, tmp_path, "one", {})
        database: Any = study._storage
        with psycopg.connect(url) as connection:
            asked = "select pid from pg_stat_activity where datname is not null and pid <> pg_backend_pid()"
            servers = [pid for (pid,) in connection.execute(asked)]
        monkeypatch.setattr(storage, "REPLY_SECONDS", 0.3)
        monkeypatch.setitem(storage.SERVERS["postgresql"][0], "connect_timeout", 2)  # type: ignore[arg-type]
        try:
            stand(servers, signal.SIGSTOP)
            study.set_user_attr("said", True)
            assert study.user_attrs["said"], "by another connection, where the server as a whole answers"
            servers += [int((next(Path(url.partition("host=")[2]).glob("data/postmaster.pid"))).read_text().split()[0])]
            with psycopg.connect(url) as connection:
                servers += [pid for (pid,) in connection.execute(asked)]
            stand(servers, signal.SIGSTOP)
            with pytest.raises(NotPossibleHere, match="does not answer"), answering(url):
                study.set_user_attr("said", False)
        finally:
            stand(servers, signal.SIGCONT)
        database.remove_session()
        database._backend.engine.dispose()


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(NotPossibleHere, match="does not answer"):
        open_study(f"postgresql://tuner@/postgres?host={tmp_path}", tmp_path, "one", {})
