"""Documents, versions, jobs, the stream's manifest, adapters, aliases, events."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE documents (
    id bigserial PRIMARY KEY,
    bucket text NOT NULL,
    key text NOT NULL,
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND slug !~ '-v[0-9]+$'),
    title text,
    adapter_count integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (bucket, key)
);

CREATE TABLE versions (
    id bigserial PRIMARY KEY,
    document_id bigint NOT NULL REFERENCES documents ON DELETE RESTRICT,
    number integer NOT NULL CHECK (number > 0),
    etag text NOT NULL,
    sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size bigint NOT NULL,
    title text,
    state text NOT NULL DEFAULT 'current' CHECK (state IN ('current', 'superseded', 'removed')),
    arrived_at timestamptz NOT NULL,
    UNIQUE (document_id, number),
    UNIQUE (document_id, sha256)
);
CREATE UNIQUE INDEX one_current_version ON versions (document_id) WHERE state = 'current';

-- The same bytes can arrive under several ETags: one put in parts has another one than a plain put.
CREATE TABLE arrivals (
    document_id bigint NOT NULL REFERENCES documents ON DELETE RESTRICT,
    etag text NOT NULL,
    version_id bigint NOT NULL REFERENCES versions ON DELETE RESTRICT,
    put_at timestamptz NOT NULL,
    PRIMARY KEY (document_id, etag)
);

CREATE TABLE recipes (
    digest text PRIMARY KEY CHECK (digest ~ '^[0-9a-f]{64}$'),
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE jobs (
    id bigserial PRIMARY KEY,
    version_id bigint NOT NULL REFERENCES versions ON DELETE RESTRICT,
    recipe_digest text NOT NULL REFERENCES recipes,
    generation integer NOT NULL DEFAULT 1 CHECK (generation > 0),
    run_id text NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'admitted', 'running', 'done', 'failed', 'cancelled')),
    reason text,
    permanent boolean NOT NULL DEFAULT false,
    admitted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    UNIQUE (version_id, recipe_digest, generation),
    CHECK (state <> 'failed' OR reason IS NOT NULL)
);
CREATE INDEX jobs_open ON jobs (created_at) WHERE state IN ('queued', 'admitted', 'running');

CREATE TABLE stages (
    job_id bigint NOT NULL REFERENCES jobs ON DELETE CASCADE,
    stage text NOT NULL CHECK (stage IN ('claim', 'split', 'generate', 'train', 'prove', 'activate')),
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    detail jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (job_id, stage)
);

CREATE TABLE leases (
    job_id bigint NOT NULL REFERENCES jobs ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('generate', 'train', 'prove')),
    token integer NOT NULL CHECK (token > 0),
    holder text NOT NULL,
    acquired_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, role)
);

CREATE TABLE shards (
    job_id bigint NOT NULL REFERENCES jobs ON DELETE CASCADE,
    number integer NOT NULL CHECK (number >= 0),
    key text NOT NULL UNIQUE,
    sha256 text NOT NULL,
    first_segment integer NOT NULL CHECK (first_segment >= 0),
    last_segment integer NOT NULL,
    pair_count integer NOT NULL CHECK (pair_count >= 0),
    token integer NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, number),
    CHECK (last_segment >= first_segment)
);

CREATE TABLE stream_ends (
    job_id bigint PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    state text NOT NULL CHECK (state IN ('complete', 'failed')),
    shard_count integer NOT NULL,
    pair_count integer NOT NULL,
    checksum text NOT NULL,
    reason text,
    CHECK (state = 'complete' OR reason IS NOT NULL)
);

CREATE TABLE adapters (
    id bigserial PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9]+(-[a-z0-9]+)*-v[0-9]+$'),
    document_id bigint NOT NULL REFERENCES documents ON DELETE RESTRICT,
    version_id bigint NOT NULL REFERENCES versions ON DELETE RESTRICT,
    job_id bigint NOT NULL UNIQUE REFERENCES jobs ON DELETE RESTRICT,
    recipe_digest text NOT NULL REFERENCES recipes,
    base_model text NOT NULL,
    base_revision text NOT NULL,
    state text NOT NULL DEFAULT 'candidate'
        CHECK (state IN ('candidate', 'active', 'rejected', 'superseded', 'quarantined', 'archived')),
    prefix text NOT NULL,
    files jsonb NOT NULL,
    scores jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    proven_at timestamptz,
    activated_at timestamptz,
    CHECK (state <> 'active' OR proven_at IS NOT NULL),
    UNIQUE (id, state)
);
CREATE INDEX adapters_of_document ON adapters (document_id, state);

-- An alias carries the state of what it points to, and that state can only be 'active': an adapter
-- that stops being active while an alias still points to it is refused by the foreign key.
CREATE TABLE aliases (
    name text PRIMARY KEY,
    adapter_id bigint NOT NULL,
    adapter_state text NOT NULL DEFAULT 'active' CHECK (adapter_state = 'active'),
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (adapter_id, adapter_state) REFERENCES adapters (id, state) DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE events (
    id bigserial PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX events_of_subject ON events (subject, id);
"""

TRIGGERS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_are_never_truncated BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION check_job_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND NOT (OLD.state, NEW.state) IN (
        ('queued', 'admitted'), ('queued', 'cancelled'), ('queued', 'failed'),
        ('admitted', 'running'), ('admitted', 'cancelled'), ('admitted', 'failed'),
        ('running', 'done'), ('running', 'failed'), ('running', 'cancelled'),
        ('failed', 'running'), ('failed', 'cancelled')
    ) THEN
        RAISE EXCEPTION 'job % cannot move from % to %', OLD.id, OLD.state, NEW.state;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER jobs_move_legally BEFORE UPDATE OF state ON jobs
    FOR EACH ROW EXECUTE FUNCTION check_job_move();

CREATE FUNCTION check_adapter_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.name, NEW.document_id, NEW.version_id, NEW.job_id, NEW.recipe_digest, NEW.base_model,
        NEW.base_revision, NEW.prefix, NEW.files) IS DISTINCT FROM
       (OLD.name, OLD.document_id, OLD.version_id, OLD.job_id, OLD.recipe_digest, OLD.base_model,
        OLD.base_revision, OLD.prefix, OLD.files) THEN
        RAISE EXCEPTION 'adapter % is immutable', OLD.name;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER adapters_are_immutable BEFORE UPDATE ON adapters
    FOR EACH ROW EXECUTE FUNCTION check_adapter_change();
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(TRIGGERS)


def downgrade() -> None:
    op.execute(
        "DROP TABLE aliases, adapters, stream_ends, shards, leases, stages, jobs, recipes, "
        "arrivals, versions, documents, events"
    )
    op.execute("DROP FUNCTION refuse_change, check_job_move, check_adapter_change")
