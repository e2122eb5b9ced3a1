"""Jobs have a priority and say what asked for them; indexes for admission, slugs, arrival, removal."""

from alembic import op

revision = "0006"
down_revision = "0007"

UP = """
ALTER TABLE jobs ADD COLUMN priority integer NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100),
    -- Who asked for a rebuild: the same asker, tried again, must not get a second generation.
    ADD COLUMN asked_by text CHECK (asked_by <> '');
CREATE INDEX jobs_under_way ON jobs (admitted_at) WHERE state IN ('admitted', 'running');
CREATE INDEX jobs_waiting ON jobs (id) WHERE state = 'queued';

-- `report`, `report-2`, `report-3`: the taken ones are a range of this index.
CREATE INDEX documents_by_slug ON documents (slug text_pattern_ops);
CREATE INDEX versions_by_arrival ON versions (arrived_at) WHERE state = 'current';
CREATE INDEX versions_removed ON versions (document_id) WHERE state = 'removed';
"""

DOWN = """
DROP INDEX jobs_under_way, jobs_waiting, documents_by_slug, versions_by_arrival, versions_removed;
ALTER TABLE jobs DROP COLUMN priority, DROP COLUMN asked_by;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
