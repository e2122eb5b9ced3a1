"""Jobs against runs: whose run is dead is run again, or fails with a reason that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from lift_core.records import OpenJob
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings

RunState = Callable[[str], str | None]
"""The state of a run: ``queued``, ``running``, ``success`` or ``failed``; None where there is none."""
_log: Any = structlog.get_logger("lift")


def reconcile(registry: AdapterRegistry, settings: Settings, run_state: RunState) -> list[str]:
    """The runs to start again, in order. Attempts that give no sign of life are ended on the way.

    A job is looked at once all its attempts have been quiet for LIFT_LEASE_SECONDS; a run that is under way
    is Airflow's, which retries its tasks. One that ended, or is gone, without ending its job is started
    again, at most LIFT_RERUNS times; then the job fails. Called twice, it counts nothing twice.

    Raises:
        ServiceUnavailableError: the registry is away.
    """
    for lost in registry.end_lost_attempts(settings.lease_seconds):
        _log.warning("attempt lost", **lost.model_dump(mode="json"))
    found = registry.open_jobs(settings.documents_bucket, settings.lease_seconds, settings.reruns)
    return [job.run_id for job in found if _is_to_start(registry, settings, job, run_state(job.run_id))]


def _is_to_start(registry: AdapterRegistry, settings: Settings, job: OpenJob, state: str | None) -> bool:
    if state in ("queued", "running"):
        return False
    if state is None and job.state == "admitted":
        # Its run was never made: the dispatcher offers it again by itself.
        return False
    why = f"its run {'is gone' if state is None else f'ended as {state}'}, and the job is {job.state}"
    if job.reruns >= settings.reruns:
        reason = (
            f"{why}, after {job.reruns} reruns (LIFT_RERUNS): see the run's logs in Airflow; then clear it "
            "there, or use `lift docs retry`"
        )
        _log.error("given up", run=job.run_id, reason=reason)
        registry.fail_job(job.job_id, reason, permanent=True)
        return False
    started = registry.count_rerun(job, why)
    if started:
        _log.warning("run again", run=job.run_id, why=why, rerun=job.reruns + 1)
    return started
