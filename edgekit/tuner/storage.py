"""Where a study lies: a database, or a journal; and what is made of one that does not answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.config.address import without_password
from edgekit.errors import BadInput, NotPossibleHere

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

__all__ = ["answering", "open_storage"]

ANSWER_SECONDS = 10
REPLY_SECONDS = 60
"""For an answer to whatever is asked once there is a connection. A study of thousands of trials is read in a few."""
SAID_SECONDS = 5.0
"""Within which whoever makes a database's tables has made them."""
SERVERS: Mapping[str, tuple[Mapping[str, int], str]] = {
    "sqlite": ({"timeout": 60}, ""),
    "postgresql": (
        {
            "connect_timeout": ANSWER_SECONDS, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000,
        },
        "psycopg[binary]",
    ),
    "mysql": ({"connect_timeout": ANSWER_SECONDS, "read_timeout": REPLY_SECONDS, "write_timeout": REPLY_SECONDS}, "mysqlclient"),
}  # fmt: skip
"""Kind of database -> how long its driver waits, as this one calls it, for an answer and for a machine that is gone; the driver."""


@contextmanager
def answering(where: str) -> Iterator[None]:
    """Whatever a storage raises that does not answer, or whose disk is full, becomes a message; the study is as it was.

    Raises:
        NotPossibleHere: such a fault.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as fault:
        why = str(fault.__cause__ or fault)  # Optuna's own words are of invalid data, whatever the reason is
        raise NotPossibleHere(
            f"the study's storage does not answer: {why.splitlines()[0][:200]}", where=where,
            fix="see that it runs, that its disk has room, and that this address reaches it; the same command goes on then",
        ) from None  # fmt: skip


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    from optuna.storages import JournalStorage, RDBStorage
    from sqlalchemy.engine import URL, make_url

    from edgekit.tuner.journal import Journal

    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        url = URL.create("sqlite", database=str(folder.resolve() / "study.db")).render_as_string()  # of any name of a folder
    if "://" not in url:
        path = Path(url)
        if url.partition(":")[0] in SERVERS or (path.exists() and not path.is_file()) or not path.parent.is_dir():
            raise BadInput(
                "no file for a journal", where=url, fix="name a file in a folder that is there, or give a database's address"
            )
        return JournalStorage(Journal(path))
    kind = url.partition("://")[0].partition("+")[0]
    if kind not in SERVERS or (kind == "sqlite" and not url.partition(":///")[2]):
        raise BadInput(
            f"no storage of this kind: {kind}" if kind not in SERVERS else "a storage that nobody else sees, and that is gone with this worker",
            where=without_password(url), fix="give postgresql://…, mysql://…, sqlite:///FILE or the path of a journal",
        )  # fmt: skip
    waits, driver = SERVERS[kind]
    kwargs: dict[str, Any] = {"connect_args": dict(waits), "pool_pre_ping": kind != "sqlite"}
    try:  # a training takes hours, in which a server may be started anew: a connection is tried before it is used
        if (make_url(url).get_dialect().driver) == "psycopg":
            kwargs["creator"] = partial(_impatient, url, waits)
        return _made_by_one(partial(RDBStorage, url, engine_kwargs=kwargs))
    except ImportError as fault:
        raise NotPossibleHere(
            f"the driver for {kind} is not installed: {str(fault).splitlines()[0]}",
            where=without_password(url),
            fix=f'pip install "{driver}"',
        ) from None


def _made_by_one(make: Callable[[], BaseStorage]) -> BaseStorage:
    """What `make` makes; of workers that come to an empty database at once one makes its tables, and the others look again."""
    from sqlalchemy.exc import IntegrityError, SQLAlchemyError

    until = time.monotonic() + SAID_SECONDS
    while True:
        try:
            return make()
        except SQLAlchemyError as fault:
            if not (isinstance(fault, IntegrityError) or "already exists" in str(fault)) or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.05, 0.5))


class _NoAnswer(Exception):
    """A server has not answered in time."""


def _in_time(exchange: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """`exchange`, which psycopg drives as long as a server has not answered, ten times a second at least; raises `_NoAnswer` after too long."""
    until, ready = time.monotonic() + REPLY_SECONDS, None
    while True:
        try:
            asks = exchange.send(ready)
        except StopIteration as end:
            return end.value
        ready = yield asks
        if not ready and time.monotonic() > until:
            raise _NoAnswer(f"no answer for {REPLY_SECONDS} s")


def _impatient(url: str, waits: Mapping[str, int]) -> Any:
    """A connection of psycopg to the database at `url` that is closed where an answer does not come: libpq waits without end for a server that
    stands still while its machine acknowledges what is sent."""
    import psycopg
    from sqlalchemy.engine import make_url

    class Impatient(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, Any], *given: Any, **named: Any) -> Any:
            try:
                return super().wait(_in_time(gen), *given, **named)
            except _NoAnswer as fault:
                self.pgconn.finish()
                raise psycopg.OperationalError(str(fault)) from None

    place = make_url(url)
    arguments, options = place.get_dialect()().create_connect_args(place)
    connect: Callable[..., Any] = Impatient.connect
    return connect(*arguments, **{**waits, **options})
