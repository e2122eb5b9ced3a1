"""What the container of PostgreSQL runs at its first start, against a server without a container."""

import os
import re
import socket
import subprocess
from pathlib import Path

import psycopg2
import pytest
import yaml

from lift_core.stack import postgres
from lift_core.stack.ports import HOST
from lift_core.stack.processes import start, wait_until
from lift_core.stack.service import Service

DOCKER = Path(__file__).parents[3] / "docker"
SERVICES = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))["services"]
REFERENCE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


@pytest.fixture
def secrets(tmp_path):
    """What make-env.sh writes: name -> value."""
    file = tmp_path / ".env"
    subprocess.run([DOCKER / "make-env.sh", file], check=True, capture_output=True)
    lines = file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def server(tmp_path, free_port, secrets):
    """A PostgreSQL as the image starts it: empty, with the superuser's password."""
    data = tmp_path / "data"
    postgres.prepare(data, secrets["POSTGRES_PASSWORD"])
    service = Service(
        name="postgres",
        command=tuple(postgres.command(data, free_port)),
        environment=dict(os.environ),
        stop_signal=postgres.STOP_SIGNAL,
        user=postgres.run_as,
        folder=data,
    )
    process = start(service, tmp_path / "postgres.log")
    yield lambda user, password, database: psycopg2.connect(
        host=HOST, port=free_port, user=user, password=password, dbname=database
    )
    process.send_signal(postgres.STOP_SIGNAL)
    process.wait(20)


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def test_init_script_makes_two_databases_apart(server, free_port, secrets):
    def answers():
        try:
            server("postgres", secrets["POSTGRES_PASSWORD"], "postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    assert wait_until(answers, 30)
    environment = {
        "PATH": f"{postgres.binaries()}:{os.environ['PATH']}",
        "PGHOST": HOST,
        "PGPORT": str(free_port),
        "PGPASSWORD": secrets["POSTGRES_PASSWORD"],
    }
    for variable, value in SERVICES["postgres"]["environment"].items():
        environment[variable] = REFERENCE.sub(lambda found: secrets[found[1]], value)
    subprocess.run([DOCKER / "postgres/init.sh"], env=environment, check=True, capture_output=True)

    passwords = {"lift": secrets["REGISTRY_DB_PASSWORD"], "airflow": secrets["AIRFLOW_DB_PASSWORD"]}
    for role, password in passwords.items():
        with server(role, password, role) as own, own.cursor() as cursor:
            cursor.execute("CREATE TABLE mine (id int)")
        own.close()
    for role, other in (("lift", "airflow"), ("airflow", "lift")):
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            server(role, passwords[role], other)
        with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
            server(role, passwords[other], role)
