"""What a monitoring system is told: figures that are read from the tables at the moment of asking.

Nothing is counted beside the registry, so nothing is lost when a process dies. A counter only adds up rows
that stay as they are (events, committed shards, stages of jobs that are done): it never goes back.
"""

# ruff: noqa: S608 - the queries are put together of constants

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lift_core.registry.database import Database, rows

DONE_STAGES = "FROM stages s JOIN jobs j ON j.id = s.job_id WHERE j.state = 'done' AND s.ended_at IS NOT NULL"


@dataclass(frozen=True)
class Figure:
    """One metric. ``query`` gives its labels in their order, then the value (a summary: count, then sum)."""

    name: str
    kind: Literal["gauge", "counter", "summary"]
    help: str
    query: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """The values of one metric for one set of labels."""

    labels: tuple[str, ...]
    values: tuple[float, ...]


def _each(states: str) -> str:
    """These states, so that one that nothing is in is a 0 and not a gap."""
    return f"unnest('{{{states}}}'::text[]) state"


_JOBS = "queued,admitted,running,done,failed,cancelled"
_DOCUMENTS = "queued,splitting,generating,training,proving,ready,failed,superseded,removed"
_ADAPTERS = "candidate,active,rejected,superseded,quarantined,archived,removed"

FIGURES = (
    Figure(
        "lift_documents",
        "gauge",
        "Documents by the state that lift docs ls shows.",
        f"SELECT state, count(d.id) FROM {_each(_DOCUMENTS)} LEFT JOIN document_status d USING (state) "
        "GROUP BY 1",
        ("state",),
    ),
    Figure(
        "lift_jobs",
        "gauge",
        "Jobs by state; those queued are the depth of the queue.",
        f"SELECT state, count(j.id) FROM {_each(_JOBS)} LEFT JOIN jobs j USING (state) GROUP BY 1",
        ("state",),
    ),
    Figure(
        "lift_oldest_job_seconds",
        "gauge",
        "Age of the oldest job in each state that ends, since it was queued.",
        "SELECT state, coalesce(extract(epoch FROM clock_timestamp() - min(j.created_at)), 0) "
        f"FROM {_each('queued,admitted,running')} LEFT JOIN jobs j USING (state) GROUP BY 1",
        ("state",),
    ),
    Figure(
        "lift_late_jobs",
        "gauge",
        "Jobs that missed their deadline and have not ended.",
        "SELECT count(*) FROM late_jobs l JOIN jobs j ON j.id = l.job_id "
        "WHERE j.state IN ('queued', 'admitted', 'running')",
    ),
    Figure(
        "lift_jobs_ended",
        "counter",
        "Ends of jobs; reason says whether a failed one can only fail again (permanent) or not (transient).",
        """
        SELECT split_part(kind, '.', 2), CASE WHEN kind <> 'job.failed' THEN ''
            WHEN (detail ->> 'permanent')::boolean THEN 'permanent' ELSE 'transient' END, count(*)
        FROM events WHERE kind IN ('job.done', 'job.failed', 'job.cancelled') GROUP BY 1, 2
        """,
        ("state", "reason"),
    ),
    Figure(
        "lift_stage_seconds",
        "summary",
        "Time on the clock of each stage, from its first attempt's start to its end, of jobs that are done.",
        f"SELECT s.stage, count(*), sum(extract(epoch FROM s.ended_at - s.started_at)) {DONE_STAGES} "
        "GROUP BY 1",
        ("stage",),
    ),
    Figure(
        "lift_stage_attempts",
        "counter",
        "Attempts at each stage, of jobs that are done; more than its runs where some were killed or failed.",
        f"SELECT s.stage, sum(s.attempts) {DONE_STAGES} GROUP BY 1",
        ("stage",),
    ),
    Figure(
        "lift_pairs",
        "counter",
        "Question-answer pairs that passed the gate and were committed.",
        "SELECT coalesce(sum(pair_count), 0) FROM shards",
    ),
    Figure(
        "lift_generation_tokens",
        "counter",
        "Tokens of the requests that wrote pairs, of jobs that are done; prompts include the cached ones.",
        "SELECT kind, coalesce(sum((s.detail ->> (kind || '_tokens'))::double precision), 0) "
        "FROM unnest('{prompt,cached,completion}'::text[]) kind "
        f"LEFT JOIN (SELECT s.stage, s.detail {DONE_STAGES}) s ON s.stage = 'generate' GROUP BY 1",
        ("kind",),
    ),
    Figure(
        "lift_trained_tokens",
        "counter",
        "Tokens that trainings stepped over, in all epochs, of jobs that are done.",
        "SELECT coalesce(sum((s.detail ->> 'tokens')::double precision), 0) "
        f"{DONE_STAGES} AND s.stage = 'train'",
    ),
    Figure(
        "lift_gpu_seconds",
        "counter",
        "GPUs times seconds that trainings took, of jobs that are done.",
        "SELECT coalesce(sum((s.detail ->> 'gpu_seconds')::double precision), 0) "
        f"{DONE_STAGES} AND s.stage = 'train'",
    ),
    Figure(
        "lift_leases",
        "gauge",
        "Attempts that hold a lease and have not ended; waiting says whether a service is away.",
        """
        SELECT roles.role, waits.waiting::text, count(l.job_id)
        FROM unnest('{claim,split,generate,train,prove,activate}'::text[]) roles (role)
        CROSS JOIN unnest('{false,true}'::boolean[]) waits (waiting)
        LEFT JOIN (SELECT l.* FROM leases l JOIN jobs j ON j.id = l.job_id
            WHERE j.state = 'running' AND l.ended_at IS NULL) l
            ON l.role = roles.role AND (l.waiting_for IS NOT NULL) = waits.waiting
        GROUP BY 1, 2
        """,
        ("role", "waiting"),
    ),
    Figure(
        "lift_untrained_shards",
        "gauge",
        "Committed pieces of streams whose training has not ended.",
        "SELECT count(*) FROM shards s JOIN jobs j ON j.id = s.job_id WHERE j.state = 'running' "
        "AND NOT EXISTS (SELECT FROM adapters a WHERE a.job_id = j.id)",
    ),
    Figure(
        "lift_adapters",
        "gauge",
        "Adapters by state.",
        f"SELECT state, count(a.id) FROM {_each(_ADAPTERS)} LEFT JOIN adapters a USING (state) GROUP BY 1",
        ("state",),
    ),
    Figure(
        "lift_webhook_deliveries",
        "gauge",
        "Deliveries of events to webhooks that were not made: still to come, or given up.",
        "SELECT 'waiting', count(*) FROM deliveries WHERE delivered_at IS NULL AND given_up_at IS NULL "
        "UNION ALL SELECT 'given_up', count(*) FROM deliveries WHERE given_up_at IS NOT NULL",
        ("state",),
    ),
)


class Figures(Database):
    """Reading what the tables say about the whole."""

    def figures(self) -> list[tuple[Figure, list[Sample]]]:
        """Every figure with its values, all of the same moment; seconds are of the clock."""
        found = []
        with self.transaction() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for figure in FIGURES:
                count = len(figure.labels)
                samples = [
                    Sample(tuple(row[:count]), tuple(float(value) for value in row[count:]))
                    for row in rows(connection, figure.query)
                ]
                found.append((figure, sorted(samples, key=lambda sample: sample.labels)))
        return found
