"""Airflow's side of a step: who holds it, what becomes of its errors, what dies with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

import structlog
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from lift_core.errors import AlreadyDoneError, FencedError, LiftError, PermanentError
from lift_core.log import quiet_libraries
from lift_core.records import Claim, Stage

if TYPE_CHECKING:
    from lift_core.steps import Steps

_PR_SET_PDEATHSIG = 1
_log: Any = structlog.get_logger("lift")


def claim(context: Any) -> dict[str, Any]:
    """Claim the run's job; returns the claim as JSON, for the tasks that follow."""
    ended_with_parent()
    run_id = context["ti"].run_id
    me = holder(context)
    steps = _connect()
    with _translated(steps, run_id, "claim", me):
        claimed = steps.patiently("claim", lambda: steps.claim(run_id, me), None, me)
        return claimed.model_dump(mode="json")


def run_step(name: Stage, claimed: dict[str, Any], context: Any) -> Any:
    """Call one step of :class:`lift_core.steps.Steps` for a claim; a service that is away is waited for."""
    ended_with_parent()
    quiet_libraries()
    steps = _connect()
    step: Callable[..., Any] = getattr(steps, name)
    work, me = Claim.model_validate(claimed), holder(context)
    with _translated(steps, work.run_id, name, me):
        return steps.patiently(name, lambda: step(work, me), work, me)


def _connect() -> Steps:
    """The steps, imported when a task runs: their clients made parsing ten times longer."""
    from lift_core.steps import Steps

    return Steps.connect()


def holder(context: Any) -> str:
    """Who writes: host, process and Airflow's task instance."""
    instance = context["ti"]
    return f"{socket.gethostname()}:{os.getpid()}:{instance.run_id}:{instance.task_id}:{instance.try_number}"


def record_failure(context: Any) -> None:
    """Mark the job as failed when Airflow gives a task up; the reason is the task's last error.

    It runs once and waits for nothing: what it cannot record, `lift_housekeeping` finds.
    """
    cause = context.get("exception")
    task, run_id = context["ti"].task_id, context["ti"].run_id
    # The attempt that replaced this one has the job: it is not failed.
    if isinstance(getattr(cause, "__cause__", None), FencedError) or task not in get_args(Stage):
        return
    reason = f"{task}: {cause}" if cause else f"{task} was ended from outside"
    try:
        _connect().fail(run_id, reason, permanent=False, by=(task, holder(context)))
    except LiftError as error:
        _log.warning("the failure was not recorded", run=run_id, reason=reason, why=str(error))


@contextmanager
def _translated(steps: Steps, run_id: str, step: Stage, me: str) -> Iterator[None]:
    """Permanent errors end the run at once, with their reason on the job; others are retried."""
    try:
        yield
    except AlreadyDoneError as error:
        raise AirflowSkipException(str(error)) from error
    except PermanentError as error:
        reason = str(error)
        try:
            steps.patiently(step, lambda: steps.fail(run_id, reason, permanent=True, by=(step, me)), None, me)
        except FencedError as fenced:
            raise AirflowFailException(str(fenced)) from fenced
        raise AirflowFailException(reason) from error
    except FencedError as error:
        # Another attempt goes on with the work: the job is not failed, this attempt is over.
        raise AirflowFailException(str(error)) from error


def ended_with_parent() -> None:
    """Let the kernel end this process when its worker dies: an orphan would go on for minutes."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
