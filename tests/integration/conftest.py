"""One embedded PostgreSQL and one S3 for all integration tests; tables and buckets are empty for each."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Connection

from lift_core.records import (
    AdapterRecord,
    AdmittedJob,
    Arrival,
    Claim,
    JudgedPair,
    Lease,
    QAPair,
    Recipe,
)
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings
from lift_core.stack import down, up
from lift_core.stack.processes import wait_until
from lift_core.steps import Steps
from lift_core.store import ObjectStore
from lift_core.stream import ShardWriter

PATIENCE_SECONDS = 120

# Workers that run side by side would choose the same free ports at the same moment.
PORT_OFFSET = 50 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def port_offset() -> int:
    """How far the ports of this worker's services lie above the defaults."""
    return PORT_OFFSET


@pytest.fixture(scope="session")
def stack_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a stack of PostgreSQL and S3 that lives as long as the tests do."""
    home = tmp_path_factory.mktemp("stack") / "home"
    with pytest.MonkeyPatch.context() as patch:
        _forget_own_settings(patch)
        patch.setenv("LIFT_PORT_OFFSET", str(PORT_OFFSET))
        try:
            up(home, lambda _: None, with_airflow=False, with_vllm=False)
        except BaseException:
            # Its supervisor would go on trying after the tests.
            down(home, lambda _: None)
            raise
    yield home
    down(home, lambda _: None)


@pytest.fixture(scope="session")
def settings(stack_home: Path) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        _forget_own_settings(patch)
        return Settings(home=stack_home, _env_file=stack_home / "stack.env")


@pytest.fixture(scope="session")
def environment(stack_home: Path) -> dict[str, str]:
    """What a program of its own is started with: it finds the stack by LIFT_HOME alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LIFT_")}
    return kept | {"LIFT_HOME": str(stack_home)}


class Tables:
    """The registry's tables: emptied as long as they are those that the migrations made, else made anew."""

    _OBJECTS = """
        SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT oid FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT t.oid FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
            WHERE c.relnamespace = 'public'::regnamespace
        UNION ALL SELECT count(*)::oid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped
    """
    _NAMES = """
        SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    """

    def __init__(self) -> None:
        self._made: list[int] = []

    def clear(self, registry: AdapterRegistry) -> None:
        with registry.transaction() as connection:
            if self._made and self._objects(connection) == self._made:
                names = connection.exec_driver_sql(self._NAMES).scalars().all()
                # Tables that are append-only refuse to be emptied otherwise.
                for name in names:
                    connection.exec_driver_sql(f"ALTER TABLE {name} DISABLE TRIGGER USER")
                connection.exec_driver_sql(f"TRUNCATE {', '.join(names)} RESTART IDENTITY")
                for name in names:
                    connection.exec_driver_sql(f"ALTER TABLE {name} ENABLE TRIGGER USER")
                return
        registry.downgrade("base")
        registry.upgrade()
        with registry.transaction() as connection:
            self._made = self._objects(connection)

    def _objects(self, connection: Connection) -> list[int]:
        return sorted(connection.exec_driver_sql(self._OBJECTS).scalars())


@pytest.fixture(scope="session")
def tables() -> Tables:
    return Tables()


@pytest.fixture
def registry(settings: Settings, tables: Tables) -> AdapterRegistry:
    """The registry with empty tables."""
    registry = AdapterRegistry.from_settings(settings)
    tables.clear(registry)
    return registry


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    """The object store with empty buckets."""
    store = ObjectStore.from_settings(settings)
    for bucket in (settings.documents_bucket, settings.work_bucket, settings.adapters_bucket):
        for found in list(store.list(bucket)):
            store.remove(bucket, found.key)
    return store


@pytest.fixture(scope="module")
def tiny_model(stack_home: Path) -> Iterator[None]:
    """The random-weights model that the `smoke` recipe trains."""
    import torch

    from lift_core.training.tiny_model import make_tiny_model

    # The model is so small that threads only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    make_tiny_model(stack_home / "models" / "tiny-random")
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def steps(registry: AdapterRegistry, store: ObjectStore, settings: Settings) -> Steps:
    return Steps(registry, store, settings.model_copy(update={"recipe": "smoke"}))


@pytest.fixture(scope="session")
def boto3_client(settings: Settings) -> Any:
    """Another S3 client than LIFT's own."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://{settings.s3_endpoint}",
        aws_access_key_id=settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
        region_name=settings.s3_region,
    )


@pytest.fixture
def background() -> Iterator[Callable[..., Any]]:
    """Call a function in a thread; returns its future."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


# --- SQL ----------------------------------------------------------------------------------


@pytest.fixture
def connect(settings: Settings, background: Any) -> Iterator[Callable[[], Any]]:
    """Open plain connections to the registry's database; all are closed at the end.

    They are closed before ``background`` waits for its threads, which may wait for their locks.
    """
    url = settings.database_url.get_secret_value().replace("+psycopg2", "")
    opened = []

    def open_one() -> Any:
        opened.append(psycopg2.connect(url))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def sql(settings: Settings) -> Callable[..., list[tuple[Any, ...]]]:
    """Run one statement in a transaction of its own; what the database refuses is raised."""
    url = settings.database_url.get_secret_value().replace("+psycopg2", "")

    def run(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def contents(registry: AdapterRegistry, sql: Any) -> Callable[[], dict[str, list[str]]]:
    """All rows of all tables, to compare before with after."""

    def read() -> dict[str, list[str]]:
        tables = [name for (name,) in sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        return {name: [row for (row,) in sql(f"SELECT t::text FROM {name} t ORDER BY 1")] for name in tables}

    return read


@pytest.fixture
def wait_for_blocked(sql: Any) -> Callable[[int], None]:
    """Wait until so many connections wait for a lock of another one."""

    def wait(count: int) -> None:
        def blocked() -> bool:
            found = sql(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return bool(found[0][0] >= count)

        assert wait_until(blocked, PATIENCE_SECONDS), f"{count} connections were expected to wait for a lock"

    return wait


# --- threads ------------------------------------------------------------------------------


@pytest.fixture
def together() -> Callable[[int, Callable[[int], Any]], list[Any]]:
    """Call a function with 0..n-1 in n threads that begin at once; the results, or the first error."""

    def run(count: int, call: Callable[[int], Any]) -> list[Any]:
        barrier = threading.Barrier(count)

        def one(number: int) -> Any:
            barrier.wait(PATIENCE_SECONDS)
            return call(number)

        with ThreadPoolExecutor(count) as pool:
            return [each.result() for each in [pool.submit(one, number) for number in range(count)]]

    return run


# --- documents, jobs, adapters --------------------------------------------------------------


class Work:
    """Documents, jobs and adapters, made as the steps make them but without models."""

    bucket = "inbox"
    recipe = Recipe()

    def __init__(self, registry: AdapterRegistry) -> None:
        self.registry = registry

    def arrival(self, key: str, etag: str, seconds: float = 0) -> Arrival:
        """An object as a listing shows it, ``seconds`` after a fixed moment."""
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        return Arrival(bucket=self.bucket, key=key, etag=etag, size=100, arrived_at=at)

    def arrive(self, key: str = "report.md", etag: str = "e1") -> AdmittedJob:
        """Record an object; the job of its current version."""
        self.registry.record_arrivals([self.arrival(key, etag)], self.recipe)
        return self.registry.newest_job(self.bucket, key, self.recipe.digest)

    def claim(self, key: str = "report.md", etag: str = "e1", text: str | None = None) -> Claim:
        """A job whose document arrived, was admitted, claimed and read; ``text`` are its bytes."""
        job = self.arrive(key, etag)
        self.registry.admit_job(job.job_id)
        claim = self.registry.claim(job.run_id)
        self.registry.settle(claim.job_id, self.sha256(text or etag), None)
        return claim

    def candidate(self, claim: Claim) -> AdapterRecord:
        lease = self.registry.acquire(claim.job_id, "train", "test")
        return self.registry.register_candidate(
            lease,
            f"jobs/{claim.job_id}/adapter/",
            {"adapter_model.safetensors": "0" * 64},
            {"train_loss": 0.5},
        )

    def proven(self, claim: Claim) -> AdapterRecord:
        candidate = self.candidate(claim)
        self.registry.record_proof(self.prover(claim), candidate.name, {"gain": 1.0})
        return candidate

    def prover(self, claim: Claim) -> Lease:
        """The right to say what came of the proof, under a new token."""
        return self.registry.acquire(claim.job_id, "prove", "test")

    def finish(self, claim: Claim) -> AdapterRecord:
        """End a claimed job with an active adapter."""
        return self.registry.activate(self.proven(claim).name)

    def active(self, key: str = "report.md", etag: str = "e1", text: str | None = None) -> AdapterRecord:
        return self.finish(self.claim(key, etag, text))

    @staticmethod
    def sha256(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    @staticmethod
    def pairs(segment: int, count: int = 2) -> list[JudgedPair]:
        """Kept pairs of a segment."""
        return [
            JudgedPair(
                pair=QAPair(segment=segment, question=f"Q{segment}.{n}?", answer=f"A{segment}.{n}"), kept=True
            )
            for n in range(count)
        ]

    def writer(self, claim: Claim, store: ObjectStore, bucket: str, holder: str = "test") -> ShardWriter:
        """A writer of the job's stream under a new token."""
        return ShardWriter(
            self.registry, store, self.registry.acquire(claim.job_id, "generate", holder), bucket
        )


@pytest.fixture
def work(registry: AdapterRegistry) -> Work:
    return Work(registry)


def _forget_own_settings(patch: pytest.MonkeyPatch) -> None:
    """No variable of the caller's may point the tests at services that hold real documents."""
    for name in list(os.environ):
        if name.startswith("LIFT_"):
            patch.delenv(name)
