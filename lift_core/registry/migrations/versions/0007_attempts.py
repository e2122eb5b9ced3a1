"""Attempts: every step has a lease, which shows whether its holder lives."""

from alembic import op

revision = "0007"
down_revision = "0005"

UP = """
ALTER TABLE leases DROP CONSTRAINT leases_role_check;
ALTER TABLE leases ADD CONSTRAINT leases_role_check
    CHECK (role IN ('claim', 'split', 'generate', 'train', 'prove', 'activate'));
ALTER TABLE leases
    ADD COLUMN beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN progress_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN ended_at timestamptz,
    ADD COLUMN waiting_for text CHECK (waiting_for <> '');
-- Attempts of before gave no signs of life: whichever of them still works does so at its next commit.
UPDATE leases SET beat_at = acquired_at, progress_at = acquired_at, ended_at = acquired_at;
CREATE INDEX leases_that_live ON leases (beat_at) WHERE ended_at IS NULL;
ALTER TABLE jobs ADD COLUMN reruns integer NOT NULL DEFAULT 0 CHECK (reruns >= 0);
ALTER TABLE jobs ADD COLUMN rerun_at timestamptz;
CREATE INDEX jobs_to_look_at ON jobs (id) WHERE state IN ('admitted', 'running')
    OR (state = 'failed' AND NOT permanent);
"""

DOWN = """
DROP INDEX jobs_to_look_at;
ALTER TABLE jobs DROP COLUMN reruns, DROP COLUMN rerun_at;
DROP INDEX leases_that_live;
ALTER TABLE leases DROP COLUMN beat_at, DROP COLUMN progress_at, DROP COLUMN ended_at,
    DROP COLUMN waiting_for;
DELETE FROM leases WHERE role IN ('claim', 'split', 'activate');
ALTER TABLE leases DROP CONSTRAINT leases_role_check;
ALTER TABLE leases ADD CONSTRAINT leases_role_check CHECK (role IN ('generate', 'train', 'prove'));
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
