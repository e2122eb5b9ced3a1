"""The end of a stream names the report about its pairs."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # An object without its row is no report, as it is with shards; streams of before have none.
    op.execute("ALTER TABLE stream_ends ADD COLUMN report text UNIQUE CHECK (report <> '')")


def downgrade() -> None:
    op.execute("ALTER TABLE stream_ends DROP COLUMN report")
