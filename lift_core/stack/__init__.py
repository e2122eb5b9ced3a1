"""The embedded stack: PostgreSQL, S3, vLLM and Airflow under one supervisor, all on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from lift_core.errors import ServiceUnavailableError
from lift_core.stack import processes
from lift_core.stack.models import prepare_models
from lift_core.stack.state import (
    Secrets,
    ServiceStatus,
    StackStatus,
    is_supervised,
    load_secrets,
    read_status,
    write_status,
)

__all__ = [
    "Secrets",
    "ServiceStatus",
    "StackStatus",
    "down",
    "left_behind",
    "log_tail",
    "prepare_models",
    "status",
    "up",
]

_UP_SECONDS = 900.0
_DOWN_SECONDS = 120.0
_GROUP_SECONDS = 5.0


def up(
    home: Path,
    on_progress: Callable[[str], None],
    with_airflow: bool = True,
    with_vllm: bool = True,
    timeout: float = _UP_SECONDS,
) -> StackStatus:
    """Start what is not running and wait until all of it answers; at once if it does already.

    Raises:
        ServiceUnavailableError: a service does not come up; the message names it, its reason and
            the end of its log. What did come up keeps running, and the supervisor keeps trying.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    running = status(home)
    if is_supervised(home) and not _has(running, with_airflow, with_vllm):
        on_progress("the running stack lacks a service that is wanted now: starting it anew")
        down(home, on_progress)
    if with_vllm:
        prepare_models(home, on_progress)
    if not is_supervised(home):
        _end_strays(home, on_progress)
        _launch(home, with_airflow, with_vllm)
    return _wait_ready(home, on_progress, timeout)


def down(home: Path, on_progress: Callable[[str], None]) -> None:
    """Stop the stack; afterwards no process of it is left. Nothing to do if none runs.

    Raises:
        ServiceUnavailableError: the supervisor does not end.
    """
    home = home.resolve()
    known = read_status(home)
    if is_supervised(home):
        if known is None or known.supervisor_pid is None:
            raise ServiceUnavailableError(f"the stack in {home} is just starting: try again in a moment")
        on_progress("stopping the stack")
        supervisor = known.supervisor_pid
        os.kill(supervisor, signal.SIGTERM)
        if not processes.wait_until(lambda: processes.is_gone(supervisor), _DOWN_SECONDS):
            raise ServiceUnavailableError(
                f"the supervisor (process {supervisor}) does not end; see {_supervisor_log(home)}"
            )
    _end_strays(home, on_progress)
    left = read_status(home)
    if left and left.phase != "stopped":
        write_status(_stopped(left))
    on_progress("the stack is down")


def status(home: Path) -> StackStatus:
    """What the supervisor wrote last, or a stopped stack; with the secrets, if there are any."""
    home = home.resolve()
    known = read_status(home)
    if known is None:
        known = StackStatus(home=home, phase="stopped")
    elif known.phase != "stopped" and not is_supervised(home):
        known = _stopped(known)
    return known.model_copy(update={"secrets": load_secrets(home)})


def left_behind(home: Path) -> list[psutil.Process]:
    """Processes that carry the mark of this home's stack: after ``down`` there must be none."""
    return processes.strays(home.resolve())


def log_tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, or an empty text if there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - 16_384))
        return "\n".join(handle.read().decode("utf-8", "replace").splitlines()[-lines:])


def _has(running: StackStatus, with_airflow: bool, with_vllm: bool) -> bool:
    # A user's own servers make a stack without any vllm service: then nothing is lacking either.
    own_vllm = bool(os.environ.get("LIFT_GENERATOR_URL") and os.environ.get("LIFT_SERVING_URL"))
    names = [service.name for service in running.services]
    return (not with_airflow or "airflow-api" in names) and (
        not with_vllm or own_vllm or any(name.startswith("vllm-") for name in names)
    )


def _launch(home: Path, with_airflow: bool, with_vllm: bool) -> None:
    log = _supervisor_log(home)
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "lift_core.stack.supervisor", str(home)]
    words += [] if with_airflow else ["--without-airflow"]
    words += [] if with_vllm else ["--without-vllm"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )

    def took_over() -> bool:
        known = read_status(home)
        return known is not None and known.supervisor_pid == process.pid

    processes.wait_until(lambda: took_over() or process.poll() is not None, 60)
    if not took_over():
        raise ServiceUnavailableError(f"the supervisor does not start:\n{log_tail(log)}")


def _wait_ready(home: Path, on_progress: Callable[[str], None], timeout: float) -> StackStatus:
    told: dict[str, str] = {}
    started = time.monotonic()
    while True:
        seen = status(home)
        for note in seen.notes:
            if note not in told:
                on_progress(note)
                told[note] = "said"
        for service in seen.services:
            before, told[service.name] = told.get(service.name), service.state
            # Nothing to tell of services that were ready when this began.
            if service.state != before and not (
                service.state == "waiting" or (not before and seen.phase == "ready")
            ):
                where = f" at {service.url}" if service.state == "ready" and service.url else ""
                why = f": {service.reason}" if service.reason else ""
                on_progress(
                    f"[{time.monotonic() - started:3.0f} s] {service.name} {service.state}{where}{why}"
                )
        if seen.phase == "ready":
            return seen
        if seen.phase in ("failed", "stopped"):
            raise ServiceUnavailableError(_explain(seen))
        if time.monotonic() - started > timeout:
            raise ServiceUnavailableError(f"not ready after {timeout:.0f} s: {_explain(seen)}")
        time.sleep(0.2)


def _explain(seen: StackStatus) -> str:
    troubled = [each for each in seen.services if each.state != "ready"]
    failed = seen.failures or tuple(troubled)
    if not failed:
        return f"the supervisor ended:\n{log_tail(_supervisor_log(seen.home))}"
    return "\n".join(
        f"{each.name} is {each.state}: {each.reason or 'it does not answer yet'}\n{log_tail(Path(each.log))}"
        for each in failed
    )


def _stopped(known: StackStatus) -> StackStatus:
    services = tuple(each.model_copy(update={"state": "stopped", "pid": None}) for each in known.services)
    return known.model_copy(update={"phase": "stopped", "services": services, "supervisor_pid": None})


def _end_strays(home: Path, on_progress: Callable[[str], None]) -> None:
    """End what a killed supervisor left: its services were told to stop, their children may not have been."""
    known = read_status(home)
    led = {each.pid for each in known.services if each.pid} if known and known.phase != "stopped" else set()
    written = (home / "stack.json").stat().st_mtime if known else 0.0

    def left() -> list[psutil.Process]:
        return processes.strays(home, led, before=written)

    if processes.wait_until(lambda: not left(), _GROUP_SECONDS if led else 0):
        return
    found = left()
    on_progress(f"ending {len(found)} processes left by an earlier stack")
    processes.end(found, patience=5)


def _supervisor_log(home: Path) -> Path:
    return home / "logs" / "supervisor.log"
