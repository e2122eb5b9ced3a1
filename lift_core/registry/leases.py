"""Attempts: who works at a step of a job, under which fencing token, and whether it still lives."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, text

from lift_core.errors import FencedError
from lift_core.records import Beat, Lease, LostAttempt, Stage, StageTime
from lift_core.registry.database import Database, event, one, rows

_WAITING_SECONDS = 120
"""A note that an attempt waits for a service counts for so long; it is written anew at each try."""


class Leases(Database):
    """Leases and stages. Every write of an attempt is made under its token."""

    def acquire(self, job_id: int, role: Stage, holder: str) -> Lease:
        """Become the one attempt of a role; whoever held it before is fenced from now on.

        A job that failed is under way again. A new claim fences the attempts of all other roles too: they
        belong to what was given up.
        """
        with self.transaction() as connection:
            found = one(
                connection,
                """
                INSERT INTO leases (job_id, role, token, holder) VALUES (:job, :role, 1, :holder)
                ON CONFLICT (job_id, role) DO UPDATE SET token = leases.token + 1,
                    holder = excluded.holder, acquired_at = clock_timestamp(),
                    beat_at = clock_timestamp(), progress_at = clock_timestamp(),
                    ended_at = NULL, waiting_for = NULL
                RETURNING token
                """,
                job=job_id,
                role=role,
                holder=holder,
            )
            if role == "claim":
                connection.execute(
                    text(
                        "UPDATE leases SET token = token + 1, holder = :holder, "
                        "ended_at = coalesce(ended_at, clock_timestamp()), waiting_for = NULL "
                        "WHERE job_id = :job AND role <> 'claim'"
                    ),
                    {"job": job_id, "holder": holder},
                )
            # After the lease's row, as everywhere: two that wait for each other would be ended.
            _take_up_again(connection, job_id, role)
        return Lease.model_validate({"job_id": job_id, "role": role, "token": found.token if found else 0})

    def acquire_free(self, job_id: int, role: Stage, holder: str) -> Lease | None:
        """Become the first attempt of a role; None where another one is or was before."""
        with self.transaction() as connection:
            found = one(
                connection,
                "INSERT INTO leases (job_id, role, token, holder) VALUES (:job, :role, 1, :holder) "
                "ON CONFLICT (job_id, role) DO NOTHING RETURNING token",
                job=job_id,
                role=role,
                holder=holder,
            )
        return found and Lease.model_validate({"job_id": job_id, "role": role, "token": found.token})

    def beat(self, lease: Lease) -> Beat:
        """Say that an attempt lives; how long it has, and how long it has committed nothing.

        Raises:
            FencedError: a newer attempt has the work.
        """
        with self.transaction() as connection:
            check_fence(connection, lease, progress=False)
            found = one(
                connection,
                "SELECT extract(epoch FROM beat_at - acquired_at) AS total, "
                "extract(epoch FROM beat_at - progress_at) AS idle FROM leases "
                "WHERE job_id = :job AND role = :role",
                job=lease.job_id,
                role=lease.role,
            )
        return Beat(seconds=float(found.total), idle_seconds=float(found.idle)) if found else Beat()

    def end_attempt(self, lease: Lease) -> None:
        """Say that an attempt has ended; nothing happens where it was replaced."""
        with self.transaction() as connection:
            connection.execute(
                text(
                    "UPDATE leases SET ended_at = clock_timestamp() "
                    "WHERE job_id = :job AND role = :role AND token = :token"
                ),
                {"job": lease.job_id, "role": lease.role, "token": lease.token},
            )

    def note_waiting(self, job_id: int, role: Stage, holder: str, service: str) -> None:
        """Say that the newest attempt of a role lives and waits for a service; nothing happens where
        another holder has the role."""
        with self.transaction() as connection:
            connection.execute(
                text(
                    "UPDATE leases SET waiting_for = :service, beat_at = clock_timestamp(), ended_at = NULL "
                    "WHERE job_id = :job AND role = :role AND holder = :holder"
                ),
                {"job": job_id, "role": role, "holder": holder, "service": service},
            )

    def waiting_for(self, job_id: int, role: Stage) -> str | None:
        """What a role's attempt says it waits for; None where it waits for nothing, or is gone."""
        with self.transaction() as connection:
            found = one(
                connection,
                "SELECT waiting_for FROM leases WHERE job_id = :job AND role = :role AND ended_at IS NULL "
                "AND beat_at > clock_timestamp() - make_interval(secs => :fresh)",
                job=job_id,
                role=role,
                fresh=_WAITING_SECONDS,
            )
        return found.waiting_for if found else None

    def end_lost_attempts(self, lease_seconds: float) -> list[LostAttempt]:
        """End the attempts that have given no sign of life for so long; each is one event. A token that is
        still the newest stays valid: an attempt that was only slow goes on."""
        with self.transaction() as connection:
            found = rows(
                connection,
                """
                UPDATE leases l SET ended_at = l.beat_at FROM jobs j
                WHERE j.id = l.job_id AND l.ended_at IS NULL
                  AND l.beat_at < clock_timestamp() - make_interval(secs => :seconds)
                RETURNING j.run_id, l.role, l.holder, l.beat_at
                """,
                {"seconds": lease_seconds},
            )
            lost = [LostAttempt.model_validate(dict(row._mapping)) for row in found]
            for each in lost:
                event(connection, "attempt.lost", each.run_id, role=each.role, holder=each.holder)
        return lost

    # --- stages -------------------------------------------------------------------------

    def stage_started(self, lease: Lease) -> None:
        """Record when the lease's stage began; another attempt keeps the first one's start.

        Raises:
            FencedError: a newer attempt has the work.
        """
        with self.transaction() as connection:
            check_fence(connection, lease)
            connection.execute(
                text(
                    "INSERT INTO stages (job_id, stage, started_at) VALUES (:job, :stage, clock_timestamp()) "
                    "ON CONFLICT (job_id, stage) DO UPDATE SET ended_at = NULL, "
                    "attempts = stages.attempts + 1"
                ),
                {"job": lease.job_id, "stage": lease.role},
            )

    def stage_ended(self, lease: Lease, detail: dict[str, Any]) -> None:
        """Record when the lease's stage ended, and with what.

        Raises:
            FencedError: a newer attempt has the work.
        """
        with self.transaction() as connection:
            check_fence(connection, lease)
            connection.execute(
                text(
                    "UPDATE stages SET ended_at = clock_timestamp(), detail = :detail "
                    "WHERE job_id = :job AND stage = :stage"
                ),
                {"job": lease.job_id, "stage": lease.role, "detail": json.dumps(detail)},
            )

    def end_open_stage(self, lease: Lease, detail: dict[str, Any] | None = None) -> None:
        """Record that a stage has ended, where the attempt that did the work did not live to say so.

        Raises:
            FencedError: a newer attempt has the work.
        """
        with self.transaction() as connection:
            check_fence(connection, lease)
            connection.execute(
                text(
                    "UPDATE stages SET ended_at = clock_timestamp(), "
                    "detail = coalesce(cast(:detail AS jsonb), detail) "
                    "WHERE job_id = :job AND stage = :stage AND ended_at IS NULL"
                ),
                {
                    "job": lease.job_id,
                    "stage": lease.role,
                    "detail": json.dumps(detail) if detail is not None else None,
                },
            )

    def stage_times_of(self, bucket: str, key: str) -> list[StageTime]:
        """The stages of a document's newest job, in the order they began."""
        with self.transaction() as connection:
            found = rows(
                connection,
                """
                SELECT stage, started_at, ended_at, attempts, detail FROM stages WHERE job_id = (
                    SELECT j.id FROM jobs j JOIN versions v ON v.id = j.version_id
                    JOIN documents d ON d.id = v.document_id WHERE d.bucket = :bucket AND d.key = :key
                    AND j.state <> 'cancelled' ORDER BY v.state = 'current' DESC, j.id DESC LIMIT 1)
                ORDER BY started_at
                """,
                {"bucket": bucket, "key": key},
            )
        return [StageTime.model_validate(dict(row._mapping)) for row in found]


def check_fence(connection: Connection, lease: Lease, *, progress: bool = True) -> None:
    """Lock the role's row and refuse an attempt that is not the newest. What passes is a sign of life, and of
    ``progress`` where something is committed with it."""
    passed = connection.execute(
        text(
            "UPDATE leases SET beat_at = clock_timestamp(), ended_at = NULL, "
            "progress_at = CASE WHEN :progress THEN clock_timestamp() ELSE progress_at END "
            "WHERE job_id = :job AND role = :role AND token = :token"
        ),
        {"job": lease.job_id, "role": lease.role, "token": lease.token, "progress": progress},
    )
    if passed.rowcount == 1:
        return
    found = one(
        connection,
        "SELECT token, holder FROM leases WHERE job_id = :job AND role = :role",
        job=lease.job_id,
        role=lease.role,
    )
    raise FencedError(
        f"job {lease.job_id}: attempt {lease.token} to {lease.role} was replaced by attempt "
        f"{found.token if found else 'none'} ({found.holder if found else 'the job is gone'})"
    )


def check_not_replaced(connection: Connection, job_id: int, role: Stage, holder: str) -> None:
    """Lock the role's row and refuse a holder whose work a later attempt has taken over.

    For what is recorded of an attempt from outside of it, where its token is not known. Host and process do
    not matter: of an attempt that was lost, another process tells.
    """
    found = one(
        connection,
        "SELECT token, holder FROM leases WHERE job_id = :job AND role = :role FOR UPDATE",
        job=job_id,
        role=role,
    )
    if found is not None and _is_replaced(found.holder, holder):
        raise FencedError(f"job {job_id}: {role} is done by attempt {found.token} now ({found.holder})")


def _is_replaced(newest: str, holder: str) -> bool:
    """Whether the newest holder is another one's attempt, or a later one of the same task.

    A task's holder is ``host:process:run:task:try``; any other is one attempt by itself.
    """
    what, number = _task_and_try(newest)
    own, own_number = _task_and_try(holder)
    return what != own or number > own_number


def _task_and_try(holder: str) -> tuple[str, int]:
    parts = holder.split(":")
    if len(parts) == 5 and parts[4].isdecimal():
        return f"{parts[2]}:{parts[3]}", int(parts[4])
    return holder, 0


def _take_up_again(connection: Connection, job_id: int, role: Stage) -> None:
    """A failed job of which a step is begun anew, by a person or by Airflow, is under way again.

    A stream that ended as failed is written anew: its shards stay, its end goes. A reader that comes first
    still meets it, and ends as it did before.
    """
    again = one(
        connection,
        "UPDATE jobs SET state = 'running', reason = NULL, permanent = false, finished_at = NULL "
        "WHERE id = :job AND state = 'failed' RETURNING run_id",
        job=job_id,
    )
    if again is not None:
        event(connection, "job.running", again.run_id)
    if role in ("claim", "split", "generate"):
        connection.execute(
            text("DELETE FROM stream_ends WHERE job_id = :job AND state = 'failed'"), {"job": job_id}
        )
