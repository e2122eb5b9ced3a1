"""The embedded PostgreSQL: TCP, passwords, two databases, recovery after a kill."""

import os
import signal
from contextlib import closing

import psutil
import psycopg2
import pytest

from lift_core.stack import postgres
from lift_core.stack.ports import HOST, choose_ports
from lift_core.stack.processes import start, wait_until
from lift_core.stack.service import Service
from lift_core.stack.state import ensure_secrets


@pytest.fixture(scope="module")
def server(tmp_path_factory, port_offset):
    home = tmp_path_factory.mktemp("pg")
    port = choose_ports({}, port_offset)[0]["postgres"]
    made = ensure_secrets(home)
    service = Service(
        name="postgres",
        command=tuple(postgres.command(home / "data", port)),
        environment=dict(os.environ),
        prepare=lambda: postgres.prepare(home / "data", made.postgres_password.get_secret_value()),
        stop_signal=postgres.STOP_SIGNAL,
        user=postgres.run_as,
        folder=home / "data",
    )

    def begin():
        service.prepare()
        process = start(service, home / "postgres.log")

        def answers():
            try:
                postgres.create_databases(port, made)
            except psycopg2.OperationalError:
                return False
            return True

        assert wait_until(answers, 30), (home / "postgres.log").read_text()
        return process

    process = begin()
    holder = {"process": process, "begin": begin, "port": port, "made": made, "home": home}
    yield holder
    holder["process"].send_signal(postgres.STOP_SIGNAL)
    holder["process"].wait(20)


def connect(server, user, password, database):
    return psycopg2.connect(host=HOST, port=server["port"], user=user, password=password, dbname=database)


def test_each_role_enters_its_own_database_only(server):
    made = server["made"]
    for user, other in (("lift", "airflow"), ("airflow", "lift")):
        password = getattr(made, f"{user}_db_password").get_secret_value()
        with closing(connect(server, user, password, user)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS t (x int); SELECT current_user")
            assert cursor.fetchone() == (user,)
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            connect(server, user, password, other)


def test_a_wrong_password_is_refused(server):
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        connect(server, "lift", "guess", "lift")


def test_it_never_runs_as_root_and_no_secret_is_visible(server):
    processes = [p.info for p in psutil.process_iter(["uids", "cmdline"]) if p.info["uids"]]
    lines = [(info["uids"].real, " ".join(info["cmdline"] or [])) for info in processes]
    own = [uid for uid, line in lines if str(server["home"] / "data") in line]
    assert own
    assert 0 not in own
    listing = "\n".join(line for _, line in lines)
    for name in type(server["made"]).model_fields:
        assert getattr(server["made"], name).get_secret_value() not in listing
    assert list(server["home"].glob(".initdb-*")) == []


def test_it_starts_again_after_a_kill_with_a_reused_pid(server):
    process = server["process"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    pid_file = server["home"] / "data" / "postmaster.pid"
    # The number in the file now belongs to this test: PostgreSQL alone would refuse to start.
    pid_file.write_text("\n".join([str(os.getpid()), *pid_file.read_text().splitlines()[1:]]) + "\n")
    server["process"] = server["begin"]()
    password = server["made"].lift_db_password.get_secret_value()
    connect(server, "lift", password, "lift").close()
