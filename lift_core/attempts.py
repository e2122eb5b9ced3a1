"""Attempts at a step: they give signs of life, end at their limits, and wait for services that are away."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

import structlog

from lift_core.errors import ConflictError, FencedError, LiftError, ServiceUnavailableError, StepTimeoutError
from lift_core.records import Beat, Lease
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings

T = TypeVar("T")
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_STEADY_SECONDS = 120.0
"""A try that got so far before it failed met another outage, not the same one."""
_MOST_CONFLICTS = 10
_SIGNAL = signal.SIGUSR1
_log: Any = structlog.get_logger("lift")


def this_process() -> str:
    """Who holds the work where nobody says more: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def patiently(
    call: Callable[[], T],
    *,
    what: str,
    seconds: float,
    on_wait: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What ``call`` returns, tried again while a service that it needs is away: for ``seconds`` at most.

    Every try begins at what is committed. Pauses double up to half a minute and are partly random, so that
    steps that lost a service together do not come back together. ``on_wait`` is told of each, and why.

    Raises:
        ServiceUnavailableError: the service stayed away.
        ConflictError: the database ended one transaction after another.
        LiftError: whatever else the call raised.
    """
    pause = _FIRST_PAUSE_SECONDS
    away_since: float | None = None
    conflicts = 0
    while True:
        began = clock()
        try:
            return call()
        except ConflictError:
            conflicts += 1
            if conflicts == _MOST_CONFLICTS:
                raise
            sleep(random.uniform(0.05, 0.5))  # noqa: S311 - no secret
        except ServiceUnavailableError as error:
            now = clock()
            if away_since is None or now - began > _STEADY_SECONDS:
                away_since, pause = began if away_since is None else now, _FIRST_PAUSE_SECONDS
            waited = now - away_since
            if waited >= seconds:
                raise
            wait = min(pause * random.uniform(0.5, 1.0), seconds - waited)  # noqa: S311 - no secret
            _log.warning(
                "waiting for a service",
                step=what,
                service=str(error),
                waited_s=round(waited),
                at_most_s=round(seconds),
                next_try_s=round(wait, 1),
            )
            on_wait(str(error))
            sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


@contextmanager
def alive(
    registry: AdapterRegistry, lease: Lease, settings: Settings, *, interrupting: bool = True
) -> Iterator[None]:
    """While this is entered the lease shows that its attempt lives; afterwards, that it has ended.

    In the main thread and where it is ``interrupting``, the attempt also ends where it was replaced, and at
    the limits of the settings. Else there are no limits, and its next commit is refused.

    Raises:
        FencedError: a newer attempt has the work.
        StepTimeoutError: it took longer than LIFT_STEP_SECONDS, or committed nothing for longer than
            LIFT_STEP_IDLE_SECONDS.
    """
    with _interruptible(interrupting) as interrupt:
        over = threading.Event()
        beating = threading.Thread(
            target=_beat, args=(registry, lease, settings, over, interrupt), name="heartbeat", daemon=True
        )
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()
            # Where the registry is away, the silence says the same a minute later.
            with suppress(ServiceUnavailableError, ConflictError):
                registry.end_attempt(lease)


def _beat(
    registry: AdapterRegistry,
    lease: Lease,
    settings: Settings,
    over: threading.Event,
    interrupt: Callable[[LiftError], None],
) -> None:
    while not over.wait(settings.heartbeat_seconds):
        try:
            late = _over_limit(registry.beat(lease), lease, settings)
        except FencedError as error:
            interrupt(error)
            return
        except LiftError as error:
            _log.warning("no sign of life could be given", role=lease.role, why=str(error))
            continue
        if late is not None:
            interrupt(late)
            return


def _over_limit(beat: Beat, lease: Lease, settings: Settings) -> StepTimeoutError | None:
    whole, idle = settings.step_seconds, settings.step_idle_seconds
    if whole and beat.seconds > whole:
        return StepTimeoutError(
            f"{lease.role} has taken {beat.seconds:.0f} s; the limit is {whole:.0f} s (LIFT_STEP_SECONDS)"
        )
    if idle and beat.idle_seconds > idle:
        return StepTimeoutError(
            f"{lease.role} has committed nothing for {beat.idle_seconds:.0f} s; the limit is {idle:.0f} s "
            "(LIFT_STEP_IDLE_SECONDS)"
        )
    return None


@contextmanager
def _interruptible(wanted: bool) -> Iterator[Callable[[LiftError], None]]:
    """A function for another thread that raises an error in this one: a signal wakes it even from a wait."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield lambda error: _log.warning("this attempt is over", why=str(error))
        return
    asked: list[LiftError] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked:
            raise asked[0]

    def interrupt(error: LiftError) -> None:
        asked.append(error)
        signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)

    before = signal.signal(_SIGNAL, on_signal)
    try:
        yield interrupt
    finally:
        asked.clear()
        signal.signal(_SIGNAL, before)
