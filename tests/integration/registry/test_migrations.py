"""The schema goes up, down to nothing and up again, whole or not at all."""

import math
import subprocess
import sys
from datetime import UTC, datetime

import psycopg2
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import ProgrammingError

from lift_core.errors import LiftError
from lift_core.records import Checkpoint, Recipe

SHAPE = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
    "WHERE table_schema = 'public' ORDER BY 1, 2",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger "
    "WHERE NOT tgisinternal ORDER BY 1, 2",
)


STATES = ("candidate", "active", "rejected", "superseded", "quarantined", "archived")
RECIPE = Recipe()
# For each revision, what its tables can hold that the ones before could not. A new migration adds its own.
ROWS = {
    "0001": f"""
        INSERT INTO recipes (digest, body) VALUES ('{RECIPE.digest}', '{RECIPE.canonical()}');
        INSERT INTO documents (bucket, key, slug, title, adapter_count) VALUES
            ('inbox', 'a/report.md', 'report', 'The report', {len(STATES)}),
            ('inbox', 'bare.md', 'bare', NULL, 1), ('inbox', 'titled.md', 'titled', 'Of the document', 1),
            ('inbox', 'new.md', 'new', NULL, 0);
        INSERT INTO versions (document_id, number, etag, sha256, size, title, state, arrived_at)
            SELECT 1, n, 'e' || n, repeat(n::text, 64), 100, 'Title ' || n,
                CASE WHEN n = 6 THEN 'current' ELSE 'superseded' END, timestamptz '2026-01-01'
            FROM generate_series(1, 6) n
            UNION ALL SELECT d, 1, 'x' || d, NULL, 50, NULL, 'current', '2026-01-02'
            FROM generate_series(2, 4) d;
        INSERT INTO arrivals SELECT document_id, etag, id, arrived_at FROM versions;
        INSERT INTO jobs (version_id, recipe_digest, run_id, state, reason, admitted_at)
            SELECT id, '{RECIPE.digest}', 'run-' || id,
                CASE WHEN document_id = 4 THEN 'failed' ELSE 'done' END,
                CASE WHEN document_id = 4 THEN 'no pairs' END, '2026-01-03' FROM versions;
        INSERT INTO stages SELECT id, 'generate', '2026-01-03 10:00', '2026-01-03 11:00', '{{"rejected": 3}}'
            FROM jobs;
        INSERT INTO leases (job_id, role, token, holder) SELECT id, 'train', 2, 'host' FROM jobs;
        INSERT INTO shards (job_id, number, key, sha256, first_segment, last_segment, pair_count, token)
            SELECT id, 0, 'shard-' || id, repeat('a', 64), 0, 3, 7, 1 FROM jobs;
        INSERT INTO stream_ends SELECT id, 'complete', 1, 7, 'checksum', NULL FROM jobs;
        INSERT INTO adapters (name, document_id, version_id, job_id, recipe_digest, base_model, base_revision,
                state, prefix, files, scores, created_at, proven_at, activated_at)
            SELECT d.slug || '-v' || v.number, d.id, v.id, j.id, '{RECIPE.digest}', 'base', '1',
                CASE WHEN d.id = 1 THEN ('{{{",".join(STATES)}}}'::text[])[v.number] ELSE 'active' END,
                'jobs/' || j.id || '/', '{{"adapter_model.safetensors": "0"}}',
                CASE WHEN d.id = 1 THEN jsonb_build_object('gain', 0.5 * v.number, 'base_nll', 1e-7, 'n', 7)
                ELSE '{{}}'::jsonb END, '2026-02-01', '2026-02-02', '2026-02-03'
            FROM jobs j JOIN versions v ON v.id = j.version_id JOIN documents d ON d.id = v.document_id
            WHERE d.id < 4 ORDER BY j.id;
        INSERT INTO aliases (name, adapter_id, moved_at)
            SELECT d.slug || label, a.id, '2026-02-03'
            FROM adapters a JOIN documents d ON d.id = a.document_id,
                unnest('{{"", "@champion"}}'::text[]) label WHERE a.state = 'active';
        INSERT INTO events (kind, subject, detail) SELECT 'adapter.active', name, '{{"by": "hand"}}'
            FROM adapters WHERE state = 'active';
    """,
    "0002": """
        UPDATE adapters SET state = 'removed' WHERE state = 'rejected';
        INSERT INTO tags SELECT id, 'team', 'a' FROM adapters;
        INSERT INTO aliases (name, adapter_id, document_id, slug)
            SELECT 'report@stable', id, document_id, 'report' FROM adapters WHERE name = 'report-v2';
        INSERT INTO search_entries SELECT id, 3 FROM adapters WHERE state = 'active';
        INSERT INTO search_lexemes SELECT 'organ', adapter_id, 2 FROM search_entries;
        INSERT INTO webhooks (url, secret) VALUES ('https://example.org/hook', 'secret');
        INSERT INTO events (kind, subject) VALUES ('alias.moved', 'report@stable');
    """,
    "0003": """
        INSERT INTO evaluations (digest, conditions, adapter_id)
            SELECT repeat('a', 64), '{"task": "mmlu"}', id
            FROM (SELECT id FROM adapters UNION ALL SELECT NULL) models;
        INSERT INTO evaluation_shards (evaluation_id, first, count, key, sha256)
            SELECT id, n * 10, 10, 'results-' || id || '-' || n, repeat('b', 64)
            FROM evaluations, generate_series(0, 2) n;
        INSERT INTO verdicts (adapter_id, run, verdict, sentence, p_value, adjusted_p_value, alerted, family,
                subjects, signs, policy, action, report, created_at)
            SELECT id, 'run-1', 'regressed', 'Regressed.', 1e-7, 1e-6, true, 8, '{"mmlu": {}}', '{}',
                '{"fingerprint": "f1"}', 'alert', 'reports/run-1/' || name || '/', '2026-03-01' FROM adapters;
        INSERT INTO measurements (verdict_id, number, task, measure, n, base, adapter, difference, low, high,
                confidence, margin, p_value, verdict, deciding)
            SELECT id, 0, 'mmlu', 'log-likelihood', 30, -0.1, -0.3, -0.2, '-Infinity', -0.1, 0.99, 0.05, 1e-7,
                'regressed', 0 FROM verdicts;
        UPDATE adapters SET attempted_at = '2026-03-01';
        INSERT INTO scores (adapter_id, name, value) SELECT id, 'mmlu.log_likelihood', -0.3 FROM adapters;
    """,
    "0004": """
        INSERT INTO checkpoints (job_id, token, step, key, sha256, size, saved_at)
            SELECT id, 2, 40, 'checkpoint-' || id, repeat('c', 64), 1000, '2026-01-03' FROM jobs;
    """,
    "0005": "UPDATE stream_ends SET report = 'report-' || job_id;",
    "0007": "INSERT INTO leases (job_id, role, token, holder, ended_at, waiting_for) "
    "SELECT id, 'train', 2, 'host', NULL, NULL FROM jobs ON CONFLICT DO NOTHING;"
    "UPDATE leases SET waiting_for = 'S3 does not answer'; UPDATE jobs SET reruns = 1, rerun_at = now();",
    "0006": "UPDATE jobs SET priority = 7, asked_by = 'run-' || id;",
    "0008": """
        UPDATE stages SET attempts = 3;
        INSERT INTO late_jobs (job_id, noticed_at) SELECT id, '2026-01-04' FROM jobs;
    """,
}


def revisions():
    """All revisions, the oldest first."""
    config = Config()
    config.set_main_option("script_location", "lift_core:registry/migrations")
    return [each.revision for each in reversed([*ScriptDirectory.from_config(config).walk_revisions()])]


@pytest.fixture
def filled(registry, sql):
    """Bring the empty schema to a revision, with rows in every table as each revision before left them."""

    def fill(revision):
        registry.downgrade("base")
        for each in revisions():
            registry.upgrade(each)
            sql(ROWS[each])
            if each == revision:
                return

    return fill


@pytest.fixture
def table_names(sql):
    """Names of the tables, without the note in which Alembic keeps the revision."""

    def read():
        found = sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        return [name for (name,) in found if name != "alembic_version"]

    return read


def test_down_to_base_leaves_nothing_and_up_again_is_the_same(registry, work, sql, table_names, filled):
    filled(revisions()[-1])
    for table in table_names():
        assert sql(f"SELECT count(*) FROM {table}") != [(0,)], f"{table} holds nothing to lose"
    assert registry.is_current()
    before = [sql(query) for query in SHAPE]

    registry.downgrade("base")
    assert not registry.is_current()
    assert table_names() == []
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


def test_every_revision_has_rows_to_test_it_with():
    assert [*ROWS] == revisions()


@pytest.fixture
def contents(sql, table_names):
    """All rows of all tables by column names: a column that was dropped comes back as the last one."""
    return lambda: {
        name: [row for (row,) in sql(f"SELECT to_jsonb(t) AS row FROM {name} t ORDER BY row")]
        for name in table_names()
    }


@pytest.mark.parametrize("revision", revisions())
def test_an_upgrade_from_any_revision_and_back_keeps_every_row(registry, contents, filled, sql, revision):
    filled(revision)
    before, shape = contents(), [sql(query) for query in SHAPE]
    registry.upgrade()
    assert registry.is_current()
    up = contents()
    registry.downgrade(revision)
    assert contents() == before
    assert [sql(query) for query in SHAPE] == shape
    registry.upgrade()
    assert contents() == up


def test_an_upgrade_from_the_first_revision_loses_nothing_that_can_be_asked(registry, filled):
    filled("0001")
    registry.upgrade()
    page = registry.adapters().adapters
    assert {each.name: each.state for each in page} == {
        **{f"report-v{number}": state for number, state in enumerate(STATES, start=1)},
        **{"bare-v1": "active", "titled-v1": "active"},
    }
    for number in range(1, len(STATES) + 1):
        found = registry.adapter(f"report-v{number}")
        assert found.scores == {"gain": 0.5 * number, "base_nll": 1e-7, "n": 7.0}
        assert found.title == f"Title {number}"
        assert (found.version, found.tags, found.files) == (number, {}, {"adapter_model.safetensors": "0"})
    assert registry.adapter("bare-v1").title == "bare"
    assert registry.adapter("titled-v1").title == "Of the document"
    for slug, name in {"report": "report-v2", "bare": "bare-v1", "titled": "titled-v1"}.items():
        assert registry.resolve(slug).name == registry.resolve(f"{slug}@champion").name == name
        assert registry.adapter(name).aliases == (slug, f"{slug}@champion")
        assert [event.detail for event in registry.events(name)] == [{"by": "hand"}]
    lineage = registry.lineage("report")
    assert lineage.pairs == {"kept": 7, "rejected": 3, "shards": 1, "sha256": "checksum"}
    assert (lineage.recipe["digest"], lineage.provenance) == (RECIPE.digest, {})
    assert {each.slug: each.state for each in registry.documents()} == {
        **dict.fromkeys(("report", "bare", "titled"), "ready"),
        "new": "failed",
    }
    # What was there before moves as what is made today.
    registry.quarantine("report-v2", "it lies")
    assert registry.resolve("report").name == "report-v4"


def test_what_the_first_revision_cannot_say_is_said_as_well_as_it_can(registry, filled, sql):
    filled("0002")
    registry.downgrade("0001")
    # There was no state for it; its files may be gone, so it must never serve.
    assert sql("SELECT state FROM adapters WHERE name = 'report-v3'") == [("archived",)]
    assert ("report@stable",) in sql("SELECT name FROM aliases")
    registry.upgrade()
    assert registry.adapter("report-v3").state == "archived"
    assert registry.resolve("report@stable").name == "report-v2"
    assert registry.adapter("report").scores["gain"] == 1.0


def test_a_downgrade_keeps_what_was_done_since(registry, work, sql):
    registry.quarantine(work.active(etag="e1").name, "it lies")
    work.active(etag="e2")
    registry.remove(work.candidate(work.claim(etag="e3")).name)
    registry.downgrade("0001")
    assert sql("SELECT name, state, scores->'train_loss' FROM adapters ORDER BY 1") == [
        ("report-v1", "quarantined", 0.5),
        ("report-v2", "active", 0.5),
        ("report-v3", "archived", 0.5),
    ]
    registry.upgrade()
    assert registry.resolve("report").name == "report-v2"
    assert work.active(etag="e4").name == "report-v4"


def test_verdicts_survive_no_downgrade_but_the_adapters_and_their_other_scores_do(registry, filled):
    filled("0003")
    assert registry.verdicts("report-v2")[0].measurements[0].low == -math.inf
    assert registry.adapter("report-v2").scores["mmlu.log_likelihood"] == -0.3
    registry.downgrade("0002")
    registry.upgrade()
    assert registry.verdicts("report-v2") == registry.evaluations_of(None) == ()
    assert registry.adapter("report-v2").scores == {"gain": 1.0, "base_nll": 1e-7, "n": 7.0}
    due = registry.due_adapters(measured_before=datetime.now(UTC), fingerprint="f1", limit=10)
    assert {(each.name, each.reason) for each in due} == {
        (name, "never measured") for name in ("report-v2", "bare-v1", "titled-v1")
    }


def test_checkpoints_survive_no_downgrade_and_their_trainings_may_begin_anew(registry, filled):
    filled("0004")
    assert (registry.checkpoint(1).token, registry.checkpoint(1).step) == (2, 40)
    registry.downgrade("0003")
    registry.upgrade()
    lease = registry.acquire(1, "train", "test")
    assert registry.checkpoint(1) is None
    first = Checkpoint(token=lease.token, step=1, key="k", sha256="0" * 64, size=1)
    registry.save_checkpoint(lease, first)
    assert registry.checkpoint(1) == first


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


def test_an_upgrade_that_fails_half_way_leaves_nothing_of_it(registry, sql, table_names):
    registry.downgrade("base")
    # The last table of the first migration is taken by something else.
    sql("CREATE TABLE events (theirs int)")
    try:
        with pytest.raises((ProgrammingError, LiftError), match="events"):
            registry.upgrade()
        assert table_names() == ["events"]
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
