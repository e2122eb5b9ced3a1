"""How often a stage was begun; which jobs missed their deadline."""

from alembic import op

revision = "0008"
down_revision = "0006"

SEEING = """
ALTER TABLE stages ADD COLUMN attempts integer NOT NULL DEFAULT 1 CHECK (attempts > 0);

-- One row a job, written with its event: a deadline is missed once. Notifiers are told afterwards; a row
-- without that time is one that they still have to be told of.
CREATE TABLE late_jobs (
    job_id bigint PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    noticed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    notified_at timestamptz
);
CREATE INDEX late_jobs_untold ON late_jobs (noticed_at) WHERE notified_at IS NULL;
"""


def upgrade() -> None:
    op.execute(SEEING)


def downgrade() -> None:
    op.execute("DROP TABLE late_jobs")
    op.execute("ALTER TABLE stages DROP COLUMN attempts")
