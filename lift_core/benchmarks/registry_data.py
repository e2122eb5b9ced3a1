"""A registry full of made-up adapters, in a scratch database that is dropped again.

Everything is drawn from hashes of row numbers, so the same size gives the same rows. Words, states, tags
and scores are spread unevenly, as real ones are: for a planner, a filter that lets almost everything
through and one that lets almost nothing through are different questions.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from lift_core.errors import LiftError, ServiceUnavailableError
from lift_core.records import LoraRecipe, Recipe
from lift_core.registry import AdapterRegistry

ADAPTERS_PER_DOCUMENT = 5
BUCKET = "bench"
COMMON_BASE_MODEL = "common-8b"
RARE_BASE_MODEL = "rare-3b"
COMMON_WORD = "report"
_RECIPES = 20

# A die that always shows the same for the same name and number: 0 to sides - 1.
_ROLL = """
CREATE FUNCTION roll(name text, number bigint, sides integer) RETURNS integer LANGUAGE sql IMMUTABLE
PARALLEL SAFE AS $$ SELECT ((hashtextextended(name || number, 0) & 9007199254740991) % sides)::integer $$;

-- 8,000 words of three syllables; the lower the rank, the more often a title has the word.
CREATE FUNCTION word(rank integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT s[rank / 400 + 1] || s[rank / 20 % 20 + 1] || s[rank % 20 + 1]
    FROM (SELECT string_to_array('ba be bi bo bu da de di do du ka ke ki ko ku la le li lo lu', ' ') AS s) x
$$;
CREATE FUNCTION some_word(place text, document bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT word((power(roll(place, document, 1000000) / 1000000.0, 3) * 8000)::integer % 8000)
$$;
"""

# Each document's adapters come at five moments of three years, and ids follow the moments. `serves` is the
# number of the adapter that its document's aliases name: the newest, the one before it, or none.
_PLAN = f"""
CREATE UNLOGGED TABLE plan AS
SELECT row_number() OVER (ORDER BY at, document) AS id, document, at,
       row_number() OVER (PARTITION BY document ORDER BY at) AS number,
       CASE WHEN roll('serves', document, 100) < 85 THEN {ADAPTERS_PER_DOCUMENT}
            WHEN roll('serves', document, 100) < 95 THEN {ADAPTERS_PER_DOCUMENT - 1} ELSE 0 END AS serves,
       roll('stable', document, 100) < 10 AS has_stable
FROM (SELECT document, timestamptz '2023-01-01 00:00+00'
             + make_interval(secs => roll('at', document * 10 + k, 94608000)) AS at
      FROM generate_series(1, :documents) document,
           generate_series(1, {ADAPTERS_PER_DOCUMENT}) k) moments;

ALTER TABLE plan ADD COLUMN state text, ADD COLUMN recipe integer;
UPDATE plan SET
    state = CASE
        WHEN number = serves OR (has_stable AND number = serves - 1) THEN 'active'
        WHEN number > serves AND serves > 0 THEN
            (ARRAY['candidate', 'rejected', 'quarantined'])[1 + roll('newer', id, 3)]
        WHEN roll('older', id, 100) < 85 THEN 'superseded'
        WHEN roll('older', id, 100) < 90 THEN 'rejected'
        WHEN roll('older', id, 100) < 93 THEN 'quarantined'
        WHEN roll('older', id, 100) < 97 THEN 'archived'
        ELSE 'removed' END,
    recipe = CASE WHEN roll('rare', id, 2000) = 0 THEN {_RECIPES}
             ELSE 1 + (power(roll('recipe', id, 1000000) / 1000000.0, 2) * {_RECIPES - 1})::integer
                  % {_RECIPES - 1} END;
"""

_ROWS = {
    "documents": f"""
INSERT INTO documents (id, bucket, key, slug, title, adapter_count, created_at)
SELECT n, '{BUCKET}', 'folder-' || n % 100 || '/' || replace(title, ' ', '-') || '-' || n || '.md',
       lower(replace(title, ' ', '-')) || '-' || n, initcap(title), {ADAPTERS_PER_DOCUMENT},
       timestamptz '2023-01-01 00:00+00' + make_interval(secs => n)
FROM (SELECT n, some_word('a', n) || ' ' || some_word('b', n) || ' ' || some_word('c', n) || ' ' ||
             CASE WHEN roll('kind', n, 100) < 40 THEN '{COMMON_WORD}' WHEN roll('kind', n, 100) < 70
             THEN 'manual' WHEN roll('kind', n, 100) < 90 THEN 'contract' ELSE 'minutes' END AS title
      FROM generate_series(1, :documents) n) titles
""",
    "versions": f"""
INSERT INTO versions (id, document_id, number, etag, sha256, size, title, state, arrived_at)
SELECT p.id, p.document, p.number, md5(p.id::text), encode(sha256(p.id::text::bytea), 'hex'),
       1000 + roll('size', p.id, 100000), d.title,
       CASE WHEN p.number = {ADAPTERS_PER_DOCUMENT} THEN 'current' ELSE 'superseded' END, p.at
FROM plan p JOIN documents d ON d.id = p.document
""",
    "jobs": """
INSERT INTO jobs (id, version_id, recipe_digest, run_id, state, admitted_at, created_at, finished_at)
SELECT p.id, p.id, r.digest, d.slug || '-v' || p.number || '-' || left(r.digest, 8) || '-g1',
       CASE WHEN p.state = 'candidate' THEN 'running' ELSE 'done' END, p.at, p.at,
       CASE WHEN p.state <> 'candidate' THEN p.at + interval '20 minutes' END
FROM plan p JOIN documents d ON d.id = p.document JOIN bench_recipes r ON r.number = p.recipe
""",
    "adapters": """
INSERT INTO adapters (id, name, document_id, version_id, job_id, recipe_digest, base_model, base_revision,
                      state, prefix, files, created_at, proven_at, activated_at, title, provenance)
SELECT p.id, d.slug || '-v' || p.number, p.document, p.id, p.id, r.digest, r.base_model, '1', p.state,
       'jobs/' || p.id || '/adapter/',
       jsonb_build_object('adapter_model.safetensors', encode(sha256(p.id::text::bytea), 'hex'),
                          'adapter_config.json', encode(sha256(r.digest::bytea), 'hex')),
       p.at + interval '18 minutes',
       CASE WHEN p.state NOT IN ('candidate', 'rejected') THEN p.at + interval '19 minutes' END,
       CASE WHEN p.state NOT IN ('candidate', 'rejected') THEN p.at + interval '20 minutes' END,
       d.title, '{"code": "bench", "libraries": {"torch": "2"}, "hardware": {"gpu": null}}'
FROM plan p JOIN documents d ON d.id = p.document JOIN bench_recipes r ON r.number = p.recipe
ORDER BY p.id
""",
    "aliases": """
INSERT INTO aliases (name, adapter_id, document_id, slug, moved_at)
SELECT d.slug || label, p.id, p.document, d.slug, p.at + interval '20 minutes'
FROM plan p JOIN documents d ON d.id = p.document, unnest(ARRAY['', '@champion', '@stable']) label
WHERE p.state = 'active' AND (p.number = p.serves) = (label <> '@stable')
""",
    "scores": """
INSERT INTO scores (adapter_id, name, value, measured_at)
SELECT p.id, s.name, s.value, p.at + interval '19 minutes'
FROM plan p, LATERAL (VALUES
    ('train_loss', 0.1 + 2 * power(roll('loss', p.id, 1000000) / 1000000.0, 2)),
    ('train_seconds', 30 + roll('seconds', p.id, 100000) / 10.0),
    ('gain', -0.5 + 4 * roll('gain', p.id, 1000000) / 1000000.0),
    ('held_out_pairs', roll('pairs', p.id, 400))) s (name, value)
""",
    "tags": """
INSERT INTO tags (adapter_id, key, value)
SELECT p.id, t.key, t.value
FROM plan p, LATERAL (VALUES
    ('team', 'team-' || roll('team', p.id, 8), roll('has-team', p.id, 100) < 60),
    ('reviewed', 'yes', roll('reviewed', p.id, 100) < 30),
    ('approved', CASE WHEN roll('approved', p.id, 10000) = 0 THEN 'yes' ELSE 'no' END,
     roll('approved', p.id, 10000) < 3000),
    ('ticket', 'T-' || roll('ticket', p.id, 100), roll('has-ticket', p.id, 1000) = 0)) t (key, value, there)
WHERE t.there
""",
    "stages": """
INSERT INTO stages (job_id, stage, started_at, ended_at, detail)
SELECT p.id, s.stage, p.at, p.at + interval '15 minutes', '{"rejected": 7}'
FROM plan p, unnest(ARRAY['generate', 'train']) s (stage)
""",
    "stream_ends": """
INSERT INTO stream_ends (job_id, state, shard_count, pair_count, checksum)
SELECT p.id, 'complete', 12, 240, md5(p.id::text) FROM plan p
""",
}


@contextmanager
def scratch_database(url: str) -> Iterator[Engine]:
    """An engine on a new, empty database of the server at ``url``; it is dropped at the end.

    Raises:
        ServiceUnavailableError: the server does not answer.
        LiftError: the role of ``url`` may not create databases.
    """
    name = f"lift_bench_{secrets.token_hex(4)}"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        try:
            with server.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
        except OperationalError as error:
            raise ServiceUnavailableError(
                f"the server of {server.url!r} does not answer ({error.orig}); see `lift status`"
            ) from error
        except ProgrammingError as error:
            raise LiftError(
                f"the benchmark needs a database of its own on the server of {server.url!r} ({error.orig}): "
                f"ALTER ROLE {server.url.username} CREATEDB, or set LIFT_DATABASE_URL to a role that may"
            ) from error
        # With a pool, as the programs that answer requests have one.
        engine = create_engine(server.url.set(database=name), pool_size=1, pool_pre_ping=True)
        try:
            yield engine
        finally:
            engine.dispose()
            with server.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        server.dispose()


def load(engine: Engine, documents: int, on_progress: Callable[[str], None]) -> None:
    """Make the schema and fill it with ``documents`` documents and five adapters each."""
    AdapterRegistry(engine).upgrade()
    with engine.begin() as connection:
        # What the rows below would be checked for is checked by the tests; a crash loses a scratch database.
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        on_progress(f"planning {documents * ADAPTERS_PER_DOCUMENT:,} adapters")
        connection.execute(text(_ROLL))
        connection.execute(text(_PLAN), {"documents": documents})
        _add_recipes(connection)
        connection.execute(text("ANALYZE plan"))
        for table, statement in _ROWS.items():
            on_progress(f"loading {table}")
            connection.execute(text(statement), {"documents": documents} if ":documents" in statement else {})
        connection.execute(text("DROP TABLE plan, bench_recipes"))
    on_progress("vacuum and analyze")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # What autovacuum does sooner or later; without it the first minutes would be measured.
        connection.execute(text("VACUUM ANALYZE"))


def _add_recipes(connection: Connection) -> None:
    models = [COMMON_BASE_MODEL] * 12 + ["middle-14b"] * 5 + ["small-1b"] * 2 + [RARE_BASE_MODEL]
    connection.execute(text("CREATE TABLE bench_recipes (number integer, digest text, base_model text)"))
    for number, model in enumerate(models, start=1):
        recipe = Recipe(base_model=model, lora=LoraRecipe(rank=8 * number))
        connection.execute(
            text("INSERT INTO recipes (digest, body) VALUES (:digest, :body)"),
            {"digest": recipe.digest, "body": json.dumps(recipe.model_dump(mode="json"))},
        )
        connection.execute(
            text("INSERT INTO bench_recipes VALUES (:number, :digest, :model)"),
            {"number": number, "digest": recipe.digest, "model": model},
        )
