"""Moves, tags, scores as rows, provenance, the index for `lift ask --any`, webhooks, views."""

from alembic import op

revision = "0002"
down_revision = "0001"

ADAPTERS = """
-- Deferred checks of rows that are changed below would stand in the way of changing their tables.
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE adapters ADD COLUMN title text, ADD COLUMN provenance jsonb NOT NULL DEFAULT '{}';
UPDATE adapters a SET title = coalesce(v.title, d.title, d.slug)
    FROM versions v, documents d WHERE v.id = a.version_id AND d.id = a.document_id;
ALTER TABLE adapters ALTER COLUMN title SET NOT NULL;

CREATE TABLE scores (
    adapter_id bigint NOT NULL REFERENCES adapters ON DELETE CASCADE,
    name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]*$'),
    value double precision NOT NULL,
    measured_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (adapter_id, name)
);
INSERT INTO scores (adapter_id, name, value, measured_at)
    SELECT a.id, s.key, s.value::double precision, coalesce(a.proven_at, a.created_at)
    FROM adapters a, jsonb_each_text(a.scores) s;
CREATE INDEX scores_by_value ON scores (name, value, adapter_id);
ALTER TABLE adapters DROP COLUMN scores;

ALTER TABLE adapters DROP CONSTRAINT adapters_state_check;
ALTER TABLE adapters ADD CONSTRAINT adapters_state_check CHECK (state IN
    ('candidate', 'active', 'rejected', 'superseded', 'quarantined', 'archived', 'removed'));
ALTER TABLE adapters DROP CONSTRAINT adapters_check;
ALTER TABLE adapters ADD CONSTRAINT adapters_serve_only_when_proven
    CHECK (state NOT IN ('active', 'superseded') OR proven_at IS NOT NULL);
ALTER TABLE adapters ADD CONSTRAINT adapters_id_document_id_key UNIQUE (id, document_id);

DROP INDEX adapters_of_document;
CREATE INDEX adapters_of_document ON adapters (document_id, id);
CREATE INDEX adapters_of_version ON adapters (version_id, id);
CREATE INDEX adapters_by_state ON adapters (state, id);
CREATE INDEX adapters_by_base_model ON adapters (base_model, id);
CREATE INDEX adapters_by_recipe ON adapters (recipe_digest text_pattern_ops, id);
CREATE INDEX adapters_by_time ON adapters (created_at, id);
CREATE INDEX adapters_by_title ON adapters USING gin (to_tsvector('simple', title));

CREATE TABLE tags (
    adapter_id bigint NOT NULL REFERENCES adapters ON DELETE CASCADE,
    key text NOT NULL CHECK (key ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$'),
    value text NOT NULL CHECK (length(value) <= 1000),
    PRIMARY KEY (adapter_id, key)
);
CREATE INDEX tags_by_value ON tags (key, value, adapter_id);

-- An alias belongs to one document, bears its slug, and points to one of its adapters.
ALTER TABLE documents ADD CONSTRAINT documents_id_slug_key UNIQUE (id, slug);
CREATE INDEX documents_by_key ON documents (key);
ALTER TABLE aliases ADD COLUMN document_id bigint, ADD COLUMN slug text;
UPDATE aliases l SET document_id = d.id, slug = d.slug
    FROM adapters a JOIN documents d ON d.id = a.document_id WHERE a.id = l.adapter_id;
ALTER TABLE aliases ALTER COLUMN document_id SET NOT NULL, ALTER COLUMN slug SET NOT NULL;
ALTER TABLE aliases
    ADD CONSTRAINT aliases_of_document FOREIGN KEY (document_id, slug) REFERENCES documents (id, slug),
    ADD CONSTRAINT aliases_stay_with_document FOREIGN KEY (adapter_id, document_id)
        REFERENCES adapters (id, document_id),
    ADD CONSTRAINT aliases_bear_the_slug
        CHECK (name = slug OR name ~ ('^' || slug || '@[a-z0-9]+(-[a-z0-9]+)*$'));
CREATE INDEX aliases_of_adapter ON aliases (adapter_id);

-- What `lift ask --any` looks in: the lexemes of an adapter's title and kept pairs.
CREATE TABLE search_entries (
    adapter_id bigint PRIMARY KEY REFERENCES adapters ON DELETE CASCADE,
    length integer NOT NULL CHECK (length >= 0)
);
CREATE TABLE search_lexemes (
    lexeme text NOT NULL,
    adapter_id bigint NOT NULL REFERENCES search_entries ON DELETE CASCADE,
    frequency integer NOT NULL CHECK (frequency > 0),
    -- The whole line is in the index: a search reads nothing else.
    PRIMARY KEY (lexeme, adapter_id) INCLUDE (frequency)
);
CREATE INDEX search_lexemes_of_adapter ON search_lexemes (adapter_id);
"""

WEBHOOKS = """
CREATE TABLE webhooks (
    id bigserial PRIMARY KEY,
    url text NOT NULL UNIQUE CHECK (url ~ '^https?://'),
    secret text NOT NULL,
    kinds text[] NOT NULL DEFAULT '{}',
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Written in the transaction of the event itself: what was committed is delivered, nothing else.
CREATE TABLE deliveries (
    webhook_id bigint NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    event_id bigint NOT NULL REFERENCES events,
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at timestamptz,
    given_up_at timestamptz,
    last_error text,
    PRIMARY KEY (webhook_id, event_id)
);
CREATE INDEX deliveries_pending ON deliveries (webhook_id, event_id)
    WHERE delivered_at IS NULL AND given_up_at IS NULL;
CREATE INDEX deliveries_given_up ON deliveries (webhook_id) WHERE given_up_at IS NOT NULL;
CREATE INDEX deliveries_of_event ON deliveries (event_id);
CREATE INDEX events_by_kind ON events (kind, id);
"""

FUNCTIONS = """
CREATE FUNCTION queue_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deliveries (webhook_id, event_id) SELECT w.id, NEW.id FROM webhooks w
        WHERE w.active AND (w.kinds = '{}' OR NEW.kind = ANY (w.kinds)
            OR split_part(NEW.kind, '.', 1) || '.*' = ANY (w.kinds));
    RETURN NULL;
END $$;
CREATE TRIGGER events_are_delivered AFTER INSERT ON events
    FOR EACH ROW EXECUTE FUNCTION queue_deliveries();

CREATE OR REPLACE FUNCTION check_adapter_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.name, NEW.document_id, NEW.version_id, NEW.job_id, NEW.recipe_digest, NEW.base_model,
        NEW.base_revision, NEW.prefix, NEW.files, NEW.title, NEW.provenance, NEW.created_at)
       IS DISTINCT FROM
       (OLD.name, OLD.document_id, OLD.version_id, OLD.job_id, OLD.recipe_digest, OLD.base_model,
        OLD.base_revision, OLD.prefix, OLD.files, OLD.title, OLD.provenance, OLD.created_at) THEN
        RAISE EXCEPTION 'adapter % is immutable', OLD.name;
    END IF;
    IF NEW.state <> OLD.state AND NOT (OLD.state, NEW.state) IN (
        ('candidate', 'active'), ('candidate', 'rejected'), ('candidate', 'superseded'),
        ('candidate', 'removed'),
        ('active', 'superseded'), ('active', 'quarantined'), ('active', 'archived'),
        ('superseded', 'active'), ('superseded', 'quarantined'), ('superseded', 'archived'),
        ('superseded', 'removed'),
        ('quarantined', 'active'), ('quarantined', 'superseded'), ('quarantined', 'archived'),
        ('quarantined', 'removed'),
        ('archived', 'superseded'), ('archived', 'removed'), ('rejected', 'removed')
    ) THEN
        RAISE EXCEPTION 'adapter % cannot move from % to %', OLD.name, OLD.state, NEW.state;
    END IF;
    RETURN NEW;
END $$;
"""

VIEWS = """
CREATE VIEW adapter_overview AS
SELECT a.name, a.state, a.title, d.bucket, d.key AS document, d.slug, v.number AS version,
       a.base_model, a.base_revision, a.recipe_digest AS recipe, j.run_id,
       array(SELECT l.name FROM aliases l WHERE l.adapter_id = a.id ORDER BY l.name) AS aliases,
       (SELECT coalesce(jsonb_object_agg(s.name, s.value), '{}') FROM scores s WHERE s.adapter_id = a.id)
           AS scores,
       (SELECT coalesce(jsonb_object_agg(t.key, t.value), '{}') FROM tags t WHERE t.adapter_id = a.id)
           AS tags,
       a.prefix, a.files, a.created_at, a.proven_at, a.activated_at
FROM adapters a JOIN documents d ON d.id = a.document_id JOIN versions v ON v.id = a.version_id
JOIN jobs j ON j.id = a.job_id;

CREATE VIEW adapter_scores AS
SELECT a.name AS adapter, d.slug AS document, a.base_model, a.state, s.name AS score, s.value, s.measured_at
FROM scores s JOIN adapters a ON a.id = s.adapter_id JOIN documents d ON d.id = a.document_id;

-- One line a document: its current version, or the newest one, and that one's newest job.
CREATE VIEW document_status AS
SELECT d.id, d.bucket, d.key, d.slug, coalesce(v.title, d.title, d.slug) AS title,
       v.number AS version, v.etag,
       CASE
           WHEN v.state <> 'current' THEN v.state
           WHEN j.state = 'done' THEN 'ready'
           WHEN j.state = 'failed' THEN 'failed'
           WHEN j.state IS DISTINCT FROM 'running' THEN 'queued'
           WHEN s.prove IS NOT NULL THEN 'proving'
           WHEN s.generate_ended IS NOT NULL THEN 'training'
           WHEN s.generate IS NOT NULL OR s.train IS NOT NULL THEN 'generating'
           ELSE 'splitting'
       END AS state,
       j.reason, j.run_id, a.name AS adapter, v.arrived_at,
       CASE WHEN j.state = 'done' THEN j.finished_at END AS ready_at
FROM documents d
JOIN LATERAL (SELECT * FROM versions v WHERE v.document_id = d.id
    ORDER BY v.state = 'current' DESC, v.number DESC LIMIT 1) v ON true
LEFT JOIN LATERAL (SELECT * FROM jobs j WHERE j.version_id = v.id ORDER BY j.id DESC LIMIT 1) j ON true
LEFT JOIN adapters a ON a.job_id = j.id AND a.state IN ('active', 'superseded')
LEFT JOIN LATERAL (
    SELECT min(started_at) FILTER (WHERE stage = 'prove') AS prove,
           min(started_at) FILTER (WHERE stage = 'generate') AS generate,
           min(ended_at) FILTER (WHERE stage = 'generate') AS generate_ended,
           min(started_at) FILTER (WHERE stage = 'train') AS train
    FROM stages WHERE job_id = j.id) s ON j.state = 'running';

COMMENT ON VIEW adapter_overview IS 'One line an adapter, with its aliases, scores and tags';
COMMENT ON VIEW adapter_scores IS 'One line a score of an adapter';
COMMENT ON VIEW document_status IS 'One line a document: state in words, reason, run and adapter';
"""

DOWN = """
SET CONSTRAINTS ALL IMMEDIATE;
DROP VIEW adapter_overview, adapter_scores, document_status;
DROP TRIGGER events_are_delivered ON events;
DROP FUNCTION queue_deliveries;
DROP TABLE deliveries, webhooks, search_lexemes, search_entries, tags;
DROP INDEX events_by_kind;
ALTER TABLE aliases DROP COLUMN document_id, DROP COLUMN slug;
DROP INDEX aliases_of_adapter;
ALTER TABLE documents DROP CONSTRAINT documents_id_slug_key;
DROP INDEX documents_by_key;
DROP INDEX adapters_of_document, adapters_of_version, adapters_by_state, adapters_by_base_model,
    adapters_by_recipe, adapters_by_time, adapters_by_title;
CREATE INDEX adapters_of_document ON adapters (document_id, state);
ALTER TABLE adapters DROP CONSTRAINT adapters_id_document_id_key;
ALTER TABLE adapters DROP CONSTRAINT adapters_serve_only_when_proven;
ALTER TABLE adapters ADD CONSTRAINT adapters_check CHECK (state <> 'active' OR proven_at IS NOT NULL);
ALTER TABLE adapters ADD COLUMN scores jsonb NOT NULL DEFAULT '{}';
UPDATE adapters a SET scores = s.scores FROM (
    SELECT adapter_id, jsonb_object_agg(name, value) AS scores FROM scores GROUP BY adapter_id) s
    WHERE s.adapter_id = a.id;
DROP TABLE scores;
CREATE OR REPLACE FUNCTION check_adapter_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.name, NEW.document_id, NEW.version_id, NEW.job_id, NEW.recipe_digest, NEW.base_model,
        NEW.base_revision, NEW.prefix, NEW.files) IS DISTINCT FROM
       (OLD.name, OLD.document_id, OLD.version_id, OLD.job_id, OLD.recipe_digest, OLD.base_model,
        OLD.base_revision, OLD.prefix, OLD.files) THEN
        RAISE EXCEPTION 'adapter % is immutable', OLD.name;
    END IF;
    RETURN NEW;
END $$;
-- The earlier schema knows no removed adapters; their files are gone all the same.
UPDATE adapters SET state = 'archived' WHERE state = 'removed';
ALTER TABLE adapters DROP CONSTRAINT adapters_state_check;
ALTER TABLE adapters ADD CONSTRAINT adapters_state_check CHECK (state IN
    ('candidate', 'active', 'rejected', 'superseded', 'quarantined', 'archived'));
ALTER TABLE adapters DROP COLUMN title, DROP COLUMN provenance;
"""


def upgrade() -> None:
    op.execute(ADAPTERS)
    op.execute(WEBHOOKS)
    op.execute(FUNCTIONS)
    op.execute(VIEWS)


def downgrade() -> None:
    op.execute(DOWN)
