"""The schema goes up, down to nothing and up again, whole or not at all."""

import subprocess
import sys

import psycopg2
import pytest
from sqlalchemy.exc import ProgrammingError

from lift_core.errors import LiftError

SHAPE = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
    "WHERE table_schema = 'public' ORDER BY 1, 2",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger "
    "WHERE NOT tgisinternal ORDER BY 1, 2",
)


@pytest.fixture
def tables(sql):
    """Names of the tables, without the note in which Alembic keeps the revision."""

    def read():
        found = sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        return [name for (name,) in found if name != "alembic_version"]

    return read


def test_down_to_base_leaves_nothing_and_up_again_is_the_same(registry, work, sql, tables, store, settings):
    claim = work.claim()
    writer = work.writer(claim, store, settings.work_bucket)
    writer.append(0, 0, work.pairs(0))
    writer.complete()
    registry.stage_started(claim.job_id, "train")
    work.finish(claim)
    for table in tables():
        assert sql(f"SELECT count(*) FROM {table}") != [(0,)], f"{table} holds nothing to lose"
    assert registry.is_current()
    before = [sql(query) for query in SHAPE]

    registry.downgrade("base")
    assert not registry.is_current()
    assert tables() == []
    assert sql("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == []
    assert (
        sql(
            "SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace "
            "AND typname NOT IN ('alembic_version', '_alembic_version')"
        )
        == []
    )
    assert sql("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'") == []

    registry.upgrade()
    assert registry.is_current()
    assert [sql(query) for query in SHAPE] == before
    assert registry.documents() == []
    assert work.active().name == "report-v1"


def test_an_upgrade_of_a_current_schema_keeps_what_is_there(registry, work, contents):
    work.active()
    before = contents()
    registry.upgrade()
    assert contents() == before


def test_two_programs_that_upgrade_at_once_both_end_well(registry, environment):
    registry.downgrade("base")
    words = [sys.executable, "-m", "lift_core.cli", "registry", "upgrade"]
    running = [
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [each.communicate(timeout=60)[0] for each in running]
    assert [each.returncode for each in running] == [0, 0], said
    assert registry.is_current()


def test_an_upgrade_that_fails_half_way_leaves_nothing_of_it(registry, sql, tables):
    registry.downgrade("base")
    # The last table of the first migration is taken by something else.
    sql("CREATE TABLE events (theirs int)")
    try:
        with pytest.raises((ProgrammingError, LiftError), match="events"):
            registry.upgrade()
        assert tables() == ["events"]
        assert not registry.is_current()
    finally:
        sql("DROP TABLE events")
    registry.upgrade()
    assert registry.is_current()


def test_what_the_tables_forbid_is_refused_by_the_database(registry, work, sql):
    work.arrive()
    with pytest.raises(psycopg2.errors.UniqueViolation):
        sql("INSERT INTO documents (bucket, key, slug) SELECT bucket, key, 'other' FROM documents")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        sql("INSERT INTO documents (bucket, key, slug) VALUES ('inbox', 'other.md', 'report')")
    with pytest.raises(psycopg2.errors.CheckViolation):
        sql("INSERT INTO documents (bucket, key, slug) VALUES ('inbox', 'other.md', 'other-v1')")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        sql(
            "INSERT INTO versions (document_id, number, etag, size, state, arrived_at) "
            "SELECT document_id, 2, 'e2', 1, 'current', arrived_at FROM versions"
        )
    with pytest.raises(psycopg2.IntegrityError, match="versions"):
        sql("DELETE FROM documents")
