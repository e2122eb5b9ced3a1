"""Airflow's side of a step: who holds it, what becomes of its errors, what dies with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from lift_core.errors import AlreadyDoneError, FencedError, PermanentError
from lift_core.log import quiet_libraries
from lift_core.records import Claim

if TYPE_CHECKING:
    from lift_core.steps import Steps

_PR_SET_PDEATHSIG = 1


def claim(run_id: str) -> dict[str, Any]:
    """Claim the run's job; returns the claim as JSON, for the tasks that follow."""
    with _translated(run_id):
        return _connect().claim(run_id).model_dump(mode="json")


def run_step(name: str, claimed: dict[str, Any], context: Any) -> Any:
    """Call one step of :class:`lift_core.steps.Steps` for a claim."""
    ended_with_parent()
    quiet_libraries()
    step: Callable[..., Any] = getattr(_connect(), name)
    work = Claim.model_validate(claimed)
    with _translated(work.run_id):
        if name in ("generate", "train", "prove"):
            return step(work, holder(context))
        return step(work)


def _connect() -> Steps:
    """The steps, imported when a task runs: their clients made parsing ten times longer."""
    from lift_core.steps import Steps

    return Steps.connect()


def holder(context: Any) -> str:
    """Who writes: host, process and Airflow's task instance."""
    instance = context["ti"]
    return f"{socket.gethostname()}:{os.getpid()}:{instance.run_id}:{instance.task_id}:{instance.try_number}"


def record_failure(context: Any) -> None:
    """Mark the job as failed when Airflow gives a task up; the reason is the task's last error."""
    cause = context.get("exception")
    # The attempt that replaced this one has the job: it is not failed.
    if isinstance(getattr(cause, "__cause__", None), FencedError):
        return
    reason = (
        f"{context['ti'].task_id}: {cause}" if cause else f"{context['ti'].task_id} was ended from outside"
    )
    _connect().fail(context["ti"].run_id, reason, permanent=False)


@contextmanager
def _translated(run_id: str) -> Iterator[None]:
    """Permanent errors end the run at once, with their reason on the job; others are retried."""
    try:
        yield
    except AlreadyDoneError as error:
        raise AirflowSkipException(str(error)) from error
    except PermanentError as error:
        _connect().fail(run_id, str(error), permanent=True)
        raise AirflowFailException(str(error)) from error
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
