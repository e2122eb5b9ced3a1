"""The supervisor: one process that starts the services, watches them, and ends them all.

``python -m lift_core.stack.supervisor HOME`` runs in the foreground until TERM or INT; `lift up`
starts it in a session of its own. It has one thread: services are started from it, and they
die with the thread that started them.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import psutil
import structlog

from lift_core.errors import LiftError
from lift_core.log import configure
from lift_core.stack import processes
from lift_core.stack.service import Service
from lift_core.stack.state import (
    ServiceState,
    ServiceStatus,
    StackPhase,
    StackStatus,
    take_lock,
    write_status,
)

_TICK_SECONDS = 0.2
_LOCK_SECONDS = 2.0
_LONGEST_PAUSE = 60.0
_FAILED_AFTER = 3
"""So many failures in a row make a service ``failed``; it is tried again all the same."""
_STEADY_SECONDS = 60.0
"""A service that was ready for so long starts with a clean slate when it crashes."""
_REAP_SECONDS = 5.0


class Watched:
    """A service and what has become of it."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.log = log
        self.state: ServiceState = "waiting"
        self.process: subprocess.Popen[bytes] | None = None
        self.reason: str | None = None
        self.failures = 0
        self.restarts = 0
        self.started_at = 0.0
        self.ready_at = 0.0
        self.next_try = 0.0
        self.kin: list[psutil.Process] = []

    @property
    def status(self) -> ServiceStatus:
        """As it goes into ``stack.json``."""
        return ServiceStatus(
            name=self.service.name,
            state=self.state,
            pid=self.process.pid if self.process else None,
            url=self.service.url,
            log=str(self.log),
            reason=self.reason,
            restarts=self.restarts,
            task=self.service.task,
        )


class Supervisor:
    """Runs services in the order of their dependencies until it is told to stop."""

    def __init__(
        self, home: Path, services: Sequence[Service], ports: dict[str, int], notes: Sequence[str] = ()
    ) -> None:
        self.home = home
        self.ports = ports
        self.notes = tuple(notes)
        self.watched = {each.name: Watched(each, home / "logs" / f"{each.name}.log") for each in services}
        self.stopping = False
        self.log = structlog.get_logger("lift.supervisor")
        self._written: StackStatus | None = None
        self._reaped_at = 0.0

    def run(self) -> None:
        """Supervise until TERM or INT, then stop everything in reverse order."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        processes.adopt_orphans()
        try:
            while not self.stopping:
                self.tick()
                time.sleep(_TICK_SECONDS)
        finally:
            self.shut_down()

    def tick(self) -> None:
        """Look at every service once and do what is due."""
        for each in self.watched.values():
            if each.process is None:
                self._start_if_due(each)
            else:
                self._check(each)
            # Written at each change: `lift up` reports from the file.
            self._write()
        if time.monotonic() - self._reaped_at > _REAP_SECONDS:
            self._reaped_at = time.monotonic()
            processes.reap_adopted(self._own_pids())

    @property
    def phase(self) -> StackPhase:
        """The stack as a whole."""
        states = {each.state for each in self.watched.values()}
        if self.stopping:
            return "stopping" if states != {"stopped"} else "stopped"
        if states <= {"ready"}:
            return "ready"
        return "failed" if "failed" in states else "starting"

    def shut_down(self) -> None:
        """Stop the services, the last started first, and end whatever they have left behind."""
        self.stopping = True
        needed = {name for each in self.watched.values() for name in each.service.after}
        for each in self.watched.values():
            if each.service.name not in needed:
                self._ask_to_stop(each)
        for each in reversed(self.watched.values()):
            self._end(each)
            each.state = "stopped"
            self._write()
        left = processes.family(psutil.Process().children())
        if left:
            self.log.info("ending what services left behind", pids=[process.pid for process in left])
            processes.end(left, patience=3)
        processes.reap_adopted(set())
        self._write()
        self.log.info("stopped")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _start_if_due(self, each: Watched) -> None:
        if each.service.task and each.state == "ready":
            return
        if time.monotonic() < each.next_try:
            return
        if any(self.watched[name].state != "ready" for name in each.service.after):
            return
        each.started_at = time.time()
        each.state = "starting"
        self._write()
        try:
            each.service.prepare()
            each.process = processes.start(each.service, each.log)
        except (OSError, LiftError, subprocess.SubprocessError) as error:
            self._failed(each, str(error))
            return
        self.log.info("started", service=each.service.name, pid=each.process.pid)

    def _check(self, each: Watched) -> None:
        if each.process is None:
            return
        code = each.process.poll()
        seconds = time.time() - each.started_at
        if code == 0 and each.service.task:
            self._is_ready(each)
            each.process = None
        elif code is not None:
            self._end(each)
            self._failed(each, f"ended with {_describe(code)} after {seconds:.0f} s; see {each.log}")
        elif each.state != "starting":
            return
        elif not each.service.task and each.service.ready(each.started_at):
            self._is_ready(each)
        elif seconds > each.service.start_seconds:
            self._end(each)
            self._failed(each, f"did not get ready within {each.service.start_seconds:.0f} s; see {each.log}")

    def _is_ready(self, each: Watched) -> None:
        each.state = "ready"
        each.reason = None
        each.ready_at = time.time()
        self.log.info("ready", service=each.service.name, seconds=round(each.ready_at - each.started_at, 1))

    def _failed(self, each: Watched, reason: str) -> None:
        if each.state == "ready" and time.time() - each.ready_at > _STEADY_SECONDS:
            each.failures = 0
        each.failures += 1
        each.restarts += 1
        pause = min(_LONGEST_PAUSE, 2.0 ** (each.failures - 1))
        each.next_try = time.monotonic() + pause
        each.state = "failed" if each.failures >= _FAILED_AFTER else "restarting"
        each.reason = reason
        self.log.warning("failed", service=each.service.name, reason=reason, next_try_s=pause)

    def _end(self, each: Watched) -> None:
        """End a service's process and all its descendants, also those in groups of their own."""
        self._ask_to_stop(each)
        process, each.process = each.process, None
        if process is None:
            return
        asked = time.monotonic()
        try:
            process.wait(each.service.stop_seconds)
        except subprocess.TimeoutExpired:
            self.log.warning("does not stop; killing", service=each.service.name)
            process.kill()
            process.wait()
        processes.signal_group(process.pid, signal.SIGKILL)
        killed = processes.end(processes.family(each.kin), patience=2)
        each.kin = []
        seconds = round(time.monotonic() - asked, 1)
        self.log.info("ended", service=each.service.name, seconds=seconds, killed=len(killed))

    def _ask_to_stop(self, each: Watched) -> None:
        """Send the stop signal, once; the descendants are noted first, while they can be traced."""
        if each.kin or each.process is None or each.process.poll() is not None:
            return
        each.kin = processes.family([psutil.Process(each.process.pid)])
        each.process.send_signal(each.service.stop_signal)

    def _own_pids(self) -> set[int]:
        return {each.process.pid for each in self.watched.values() if each.process}

    def _write(self) -> None:
        status = StackStatus(
            home=self.home,
            phase=self.phase,
            services=tuple(each.status for each in self.watched.values()),
            ports=self.ports,
            notes=self.notes,
            supervisor_pid=None if self.phase == "stopped" else os.getpid(),
        )
        if status != self._written:
            write_status(status)
            self._written = status


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def main() -> int:
    """Supervise one home; exit code 1 if another supervisor does."""
    from lift_core.stack.plan import make_plan
    from lift_core.stack.ports import PortClaims

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--without-airflow", action="store_true")
    parser.add_argument("--without-vllm", action="store_true")
    options = parser.parse_args()
    configure("json")
    home = options.home.resolve()
    deadline = time.monotonic() + _LOCK_SECONDS
    while (lock := take_lock(home)) is None:
        if time.monotonic() > deadline:
            sys.stderr.write(f"another supervisor runs for {home}\n")
            return 1
        time.sleep(0.1)
    with lock, PortClaims() as claims:
        services, ports, notes = make_plan(
            home,
            with_airflow=not options.without_airflow,
            with_vllm=not options.without_vllm,
            claims=claims,
        )
        Supervisor(home, services, ports, notes).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
