"""One engine, one transaction a call, errors that name the server and the remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Row, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool

from lift_core.errors import ConflictError, LiftError, ServiceUnavailableError
from lift_core.settings import Settings

_MIGRATIONS = Path(__file__).with_name("migrations")
_CONNECTION = {
    "connect_timeout": 10,
    # A link that was cut says nothing: without these a call would wait a quarter of an hour for the kernel to
    # give up what it sent, and for ever for an answer.
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""libpq's parameters: seconds, and milliseconds for ``tcp_user_timeout``."""
_CONFLICTS = {"40001", "40P01", "55P03"}
"""SQLSTATEs of transactions that met: serialization failure, deadlock, a lock that was not to be had."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Database:
    """The registry's connection. Subclasses add what can be done with it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def from_settings(cls, settings: Settings, pool_size: int = 0, overflow: int | None = None) -> Self:
        """The registry at ``LIFT_DATABASE_URL``.

        Without a pool (0) every call opens a connection of its own: both sides of a fork may call. A server
        that answers requests wants a pool: ``pool_size`` connections are kept, ``overflow`` more are opened
        when all are in use (by default as many, -1 for any number), and whoever wants one more waits.

        Raises:
            ServiceUnavailableError: no database is named.
        """
        url = settings.database_url.get_secret_value()
        if not url:
            raise ServiceUnavailableError("no registry is named: run `lift up`, or set LIFT_DATABASE_URL")
        pool: dict[str, Any] = {"poolclass": NullPool}
        if pool_size:
            # A connection that the server closed meanwhile is replaced, not handed out.
            more = pool_size if overflow is None else overflow
            pool = {"pool_size": pool_size, "max_overflow": more, "pool_pre_ping": True}
        engine = create_engine(url, connect_args=_CONNECTION, **pool)
        return cls(engine)

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to a revision, by default the newest."""
        with self.transaction() as connection:
            # Two processes that start at once must not both create the tables.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('lift-migrations'))"))
            command.upgrade(_alembic(connection), revision)

    def downgrade(self, revision: str) -> None:
        """Take the schema back to an earlier revision (``base``: nothing is left)."""
        with self.transaction() as connection:
            command.downgrade(_alembic(connection), revision)

    def is_current(self) -> bool:
        """Whether the schema is this version's."""
        with self.transaction() as connection:
            there = MigrationContext.configure(connection).get_current_revision()
            return there == ScriptDirectory.from_config(_alembic(connection)).get_current_head()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back on any error.

        Raises:
            ServiceUnavailableError: the server is away or drops the connection.
            ConflictError: it met another one, and the server ended it: nothing was written, do it again.
        """
        with self._errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def alone(self, name: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the one lock of that name, after waiting for whoever has it; a process that dies frees it.

        Raises:
            ServiceUnavailableError: the server is away.
        """
        key = {"name": f"lift:{name}"}
        with self._errors():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with connection:
            with self._errors():
                query = "SELECT pg_try_advisory_lock(hashtext(:name))"
                if not connection.execute(text(query), key).scalar():
                    on_wait()
                    connection.execute(text("SELECT pg_advisory_lock(hashtext(:name))"), key)
            yield

    @contextmanager
    def _errors(self) -> Iterator[None]:
        url = self._engine.url
        try:
            yield
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) in _CONFLICTS:
                why = f"the registry ended this transaction ({_cause(error)}): try again"
                raise ConflictError(why) from error
            raise ServiceUnavailableError(_away(url.host, url.port, url.database, error)) from error
        except PoolTimeoutError as error:
            raise ServiceUnavailableError(
                f"all connections to the registry at {url.host}:{url.port}/{url.database} are in use: "
                "try again in a moment"
            ) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise ServiceUnavailableError(_away(url.host, url.port, url.database, error)) from error
            raise


def event(connection: Connection, kind: str, subject: str, **detail: Any) -> None:
    """Append one event."""
    connection.execute(
        text("INSERT INTO events (kind, subject, detail) VALUES (:kind, :subject, :detail)"),
        {"kind": kind, "subject": subject, "detail": json.dumps(detail, ensure_ascii=False)},
    )


def one(connection: Connection, query: str, **values: Any) -> Row[Any] | None:
    """The first row of a query, or None."""
    return connection.execute(text(query), _storable(values)).first()


def rows(connection: Connection, query: str, values: Mapping[str, Any] | None = None) -> list[Row[Any]]:
    """All rows of a query."""
    return list(connection.execute(text(query), _storable(values or {})))


def _storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they are, if PostgreSQL's text can hold them."""
    for name, value in values.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and _UNSTORABLE.search(each):
                raise LiftError(
                    f"the {name} has a character that cannot be stored (NUL or half a surrogate pair)"
                )
    return dict(values)


def _alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _away(host: str | None, port: int | None, database: str | None, error: DBAPIError) -> str:
    return (
        f"the registry at {host}:{port}/{database} does not answer ({_cause(error)}): "
        "is it up? see `lift status`, or check LIFT_DATABASE_URL"
    )


def _cause(error: DBAPIError) -> str:
    said = str(error.orig).strip()
    return said.splitlines()[0] if said else type(error).__name__
