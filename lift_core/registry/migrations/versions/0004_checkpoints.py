"""The newest checkpoint of each training."""

from alembic import op

revision = "0004"
down_revision = "0003"

CHECKPOINTS = """
-- Only the newest one counts: one row a job, without which an object in the store is no checkpoint.
CREATE TABLE checkpoints (
    job_id bigint PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    token integer NOT NULL CHECK (token > 0),
    step integer NOT NULL CHECK (step >= 0),
    key text NOT NULL UNIQUE CHECK (key <> ''),
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size bigint NOT NULL CHECK (size >= 0),
    saved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION check_checkpoint_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.job_id <> OLD.job_id OR (NEW.token, NEW.step) < (OLD.token, OLD.step) THEN
        RAISE EXCEPTION 'the checkpoint of job % cannot go back from attempt %, step % to attempt %, step %',
            OLD.job_id, OLD.token, OLD.step, NEW.token, NEW.step;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER checkpoints_never_go_back BEFORE UPDATE ON checkpoints
    FOR EACH ROW EXECUTE FUNCTION check_checkpoint_move();
"""


def upgrade() -> None:
    op.execute(CHECKPOINTS)


def downgrade() -> None:
    op.execute("DROP TABLE checkpoints")
    op.execute("DROP FUNCTION check_checkpoint_move")
