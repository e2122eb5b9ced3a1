"""The generating and the training process are killed in the middle: one adapter, no pair twice."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path

import pytest
import sqlalchemy

from lift_core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 900


@pytest.fixture(scope="module")
def database(lift):
    settings = Settings(_env_file=lift.home / "stack.env")
    engine = sqlalchemy.create_engine(settings.database_url.get_secret_value())
    yield engine
    engine.dispose()


def holder(database, key: str, role: str) -> int | None:
    """Process id of the newest attempt of a role, as its lease names it (``host:pid:…``)."""
    query = """
        select l.holder from leases l join jobs j on j.id = l.job_id
        join versions v on v.id = j.version_id join documents d on d.id = v.document_id
        where d.key = :key and l.role = :role
    """
    with database.connect() as connection:
        found = connection.execute(sqlalchemy.text(query), {"key": key, "role": role}).scalar()
    return int(found.split(":")[1]) if found else None


def shards(database, key: str) -> int:
    query = """
        select count(*) from shards s join jobs j on j.id = s.job_id
        join versions v on v.id = j.version_id join documents d on d.id = v.document_id where d.key = :key
    """
    with database.connect() as connection:
        return int(connection.execute(sqlalchemy.text(query), {"key": key}).scalar() or 0)


def until(condition, what: str):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    pytest.fail(f"{what} did not happen within {PATIENCE_SECONDS} s")


def test_both_sides_killed_in_the_middle(lift, minio_client, services, database):
    key = "kill/both.md"
    sample = max((ROOT / "examples").glob("*.md"), key=lambda path: path.stat().st_size)
    # Long enough to be killed in the middle, short enough to be trained twice.
    opening = sample.read_text("utf-8")[:1400].rsplit(".", 1)[0]
    data = f"{opening}.\n\nThis copy is for the test of killed processes.\n".encode()
    minio_client.put_object(services["s3"]["bucket"], key, io.BytesIO(data), len(data))

    until(lambda: shards(database, key) >= 1, "the first shard")
    generating = holder(database, key, "generate")
    training = until(lambda: holder(database, key, "train"), "training")
    os.kill(generating, signal.SIGKILL)
    os.kill(training, signal.SIGKILL)
    until(lambda: holder(database, key, "generate") != generating, "a second generating attempt")
    until(lambda: holder(database, key, "train") != training, "a second training attempt")

    row = lift.wait({key})[key]
    assert row["state"] == "ready", row
    adapters = [a for a in lift.json("adapters", "ls") if a["name"] == row["adapter"]]
    assert len(adapters) == 1

    from lift_core.steps import Steps

    steps = Steps.connect(Settings(_env_file=lift.home / "stack.env"))
    with database.connect() as connection:
        job = connection.execute(
            sqlalchemy.text("select job_id from adapters where name = :name"), {"name": row["adapter"]}
        ).scalar()
    committed = steps.registry.shards(job)
    assert [s.first_segment for s in committed][1:] == [s.last_segment + 1 for s in committed][:-1]
    pairs = [(p.segment, p.question) for p in steps.committed_pairs(job)]
    assert len(pairs) == len(set(pairs))
    detail = next(s for s in lift.json("docs", "show", key)["stages"] if s["stage"] == "train")["detail"]
    assert detail["pairs"] == sum(not p.held_out for p in steps.committed_pairs(job))
