"""Evaluations and their results, verdicts of the forgetting guard and their measurements, views."""

from alembic import op

revision = "0003"
down_revision = "0002"

EVALUATIONS = """
CREATE TABLE evaluations (
    id bigserial PRIMARY KEY,
    digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    conditions jsonb NOT NULL CHECK (jsonb_typeof(conditions) = 'object'),
    -- None: the base model itself. It too has one evaluation under one set of conditions.
    adapter_id bigint REFERENCES adapters ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE NULLS NOT DISTINCT (digest, adapter_id)
);
CREATE INDEX evaluations_of_adapter ON evaluations (adapter_id, id);

-- Each piece begins at 0 or where another one ends, no two begin or end at the same item, and none is empty:
-- so the pieces of an evaluation are one chain, without a gap and without an overlap.
CREATE TABLE evaluation_shards (
    evaluation_id bigint NOT NULL REFERENCES evaluations ON DELETE CASCADE,
    first integer NOT NULL CHECK (first >= 0),
    count integer NOT NULL CHECK (count > 0),
    follows integer GENERATED ALWAYS AS (nullif(first, 0)) STORED,
    next integer GENERATED ALWAYS AS (first + count) STORED,
    key text NOT NULL UNIQUE,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (evaluation_id, first),
    UNIQUE (evaluation_id, next),
    FOREIGN KEY (evaluation_id, follows) REFERENCES evaluation_shards (evaluation_id, next)
);
"""

VERDICTS = """
CREATE TABLE verdicts (
    id bigserial PRIMARY KEY,
    adapter_id bigint NOT NULL REFERENCES adapters ON DELETE CASCADE,
    run text NOT NULL CHECK (run <> ''),
    verdict text NOT NULL CHECK (verdict IN ('pass', 'regressed', 'undecided', 'uninformative')),
    sentence text NOT NULL CHECK (sentence <> ''),
    p_value double precision NOT NULL CHECK (p_value BETWEEN 0 AND 1),
    adjusted_p_value double precision NOT NULL CHECK (adjusted_p_value BETWEEN 0 AND 1),
    alerted boolean NOT NULL,
    family integer NOT NULL CHECK (family > 0),
    subjects jsonb NOT NULL CHECK (jsonb_typeof(subjects) = 'object'),
    signs jsonb NOT NULL CHECK (jsonb_typeof(signs) = 'object'),
    policy jsonb NOT NULL CHECK (jsonb_typeof(policy) = 'object'),
    action text NOT NULL CHECK (action IN ('none', 'alert', 'quarantine', 'retrain')),
    report text CHECK (report ~ '/$'),
    created_at timestamptz NOT NULL,
    UNIQUE (adapter_id, run)
);
CREATE INDEX verdicts_of_adapter ON verdicts (adapter_id, created_at, id);
CREATE INDEX verdicts_of_run ON verdicts (run);
CREATE INDEX verdicts_by_report ON verdicts (report);

-- NaN is above infinity for PostgreSQL: every bound from above refuses it.
CREATE TABLE measurements (
    verdict_id bigint NOT NULL REFERENCES verdicts ON DELETE CASCADE,
    number integer NOT NULL CHECK (number >= 0),
    task text NOT NULL CHECK (task <> ''),
    measure text NOT NULL CHECK (measure IN ('accuracy', 'log-likelihood')),
    n integer NOT NULL CHECK (n > 0),
    base double precision NOT NULL CHECK (base > '-Infinity' AND base < 'Infinity'),
    -- NULL: the base alone shows that the measure is uninformative, and the adapter was not asked.
    adapter double precision CHECK (adapter > '-Infinity' AND adapter < 'Infinity'),
    difference double precision CHECK (difference > '-Infinity' AND difference < 'Infinity'),
    low double precision CHECK (low < 'Infinity'),
    high double precision CHECK (high > '-Infinity' AND high <= 'Infinity'),
    confidence double precision NOT NULL CHECK (confidence > 0 AND confidence < 1),
    margin double precision NOT NULL CHECK (margin > 0 AND margin < 'Infinity'),
    p_value double precision NOT NULL CHECK (p_value BETWEEN 0 AND 1),
    mcnemar_p_value double precision CHECK (mcnemar_p_value BETWEEN 0 AND 1),
    verdict text NOT NULL CHECK (verdict IN ('pass', 'regressed', 'undecided', 'uninformative')),
    -- Its place among those that brought the adapter's verdict about; NULL: it is not one of them.
    deciding integer CHECK (deciding >= 0),
    PRIMARY KEY (verdict_id, number),
    UNIQUE (verdict_id, task, measure),
    UNIQUE (verdict_id, deciding),
    CHECK (low <= high),
    CHECK (num_nulls(adapter, difference, low, high) = 0 OR (verdict = 'uninformative'
        AND num_nulls(adapter, difference, low, high, mcnemar_p_value) = 5)),
    CHECK (measure <> 'accuracy' OR (base BETWEEN 0 AND 1 AND adapter BETWEEN 0 AND 1)),
    CHECK (measure = 'accuracy' OR mcnemar_p_value IS NULL)
);

CREATE TRIGGER evaluations_never_change BEFORE UPDATE ON evaluations
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER evaluation_shards_never_change BEFORE UPDATE ON evaluation_shards
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER verdicts_never_change BEFORE UPDATE ON verdicts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER measurements_never_change BEFORE UPDATE ON measurements
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- When the guard last tried an adapter, whatever came of it: who waits longest is at the index's beginning.
ALTER TABLE adapters ADD COLUMN attempted_at timestamptz;
CREATE INDEX adapters_by_attempt ON adapters (attempted_at NULLS FIRST, id) WHERE state = 'active';

-- A measure's score bears its task's name: mmlu.accuracy. Tasks are named by whoever defines them.
ALTER TABLE scores DROP CONSTRAINT scores_name_check;
ALTER TABLE scores ADD CONSTRAINT scores_name_check CHECK (name ~ '^[A-Za-z0-9._-]+$');
"""

VIEWS = """
CREATE VIEW adapter_verdicts AS
SELECT a.name AS adapter, d.slug AS document, a.base_model, a.state, v.verdict, v.sentence, v.action,
       v.alerted, v.p_value, v.adjusted_p_value, v.family, v.signs, v.policy, v.run, v.report,
       v.created_at AS judged_at
FROM adapters a JOIN documents d ON d.id = a.document_id
JOIN LATERAL (SELECT * FROM verdicts v WHERE v.adapter_id = a.id
    ORDER BY v.created_at DESC, v.id DESC LIMIT 1) v ON true;

CREATE VIEW verdict_trend AS
SELECT a.name AS adapter, d.slug AS document, a.base_model, v.run, v.created_at AS judged_at,
       m.task, m.measure, m.n, m.base AS base_value, m.adapter AS adapter_value, m.difference, m.low, m.high,
       m.confidence, m.margin, m.p_value, m.mcnemar_p_value, m.verdict, m.deciding IS NOT NULL AS decided,
       v.verdict AS adapter_verdict
FROM measurements m JOIN verdicts v ON v.id = m.verdict_id JOIN adapters a ON a.id = v.adapter_id
JOIN documents d ON d.id = a.document_id;

COMMENT ON VIEW adapter_verdicts IS 'One line an adapter that was judged: its newest verdict';
COMMENT ON VIEW verdict_trend IS 'One line a measure of a task in a verdict, over time';
"""

DOWN = """
DROP VIEW adapter_verdicts, verdict_trend;
DROP TABLE measurements, verdicts, evaluation_shards, evaluations;
DROP INDEX adapters_by_attempt;
ALTER TABLE adapters DROP COLUMN attempted_at;
-- The earlier schema has no such names; what they were measured from is gone with the tables above.
DELETE FROM scores WHERE name !~ '^[a-z][a-z0-9_]*$';
ALTER TABLE scores DROP CONSTRAINT scores_name_check;
ALTER TABLE scores ADD CONSTRAINT scores_name_check CHECK (name ~ '^[a-z][a-z0-9_]*$');
"""


def upgrade() -> None:
    op.execute(EVALUATIONS)
    op.execute(VERDICTS)
    op.execute(VIEWS)


def downgrade() -> None:
    op.execute(DOWN)
