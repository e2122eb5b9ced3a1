"""Processes: started so that they end with their supervisor, and ended with all they started."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterable
from pathlib import Path

import psutil

from lift_core.stack.service import HOME_MARK, Service

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOG_LIMIT = 10 * 1024 * 1024


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (Linux).

    PostgreSQL's and Airflow's children lead sessions of their own; as the supervisor's children
    they are still found, and ended, after their parents were killed.
    """
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def start(service: Service, log: Path) -> subprocess.Popen[bytes]:
    """Start a service in a process group of its own, its output appended to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    user = service.user()
    with log.open("ab") as output:
        return subprocess.Popen(
            service.command,
            env=dict(service.environment),
            cwd=service.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
            # Runs after the change of user, which would clear the setting. The supervisor has one thread.
            preexec_fn=_die_with_parent(service.stop_signal),
        )


def family(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes that live, and all their living descendants, each once."""
    found: dict[int, psutil.Process] = {}
    for process in processes:
        try:
            for each in (process, *process.children(recursive=True)):
                if each.status() != psutil.STATUS_ZOMBIE:
                    found[each.pid] = each
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def end(processes: Iterable[psutil.Process], patience: float) -> list[psutil.Process]:
    """TERM the processes, and KILL those still there after ``patience`` seconds; returns those killed."""
    listed = list(processes)
    for process in listed:
        _send(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(listed, timeout=patience)
    killed = [process for process in alive if not is_gone(process.pid)]
    for process in killed:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(killed, timeout=5)
    return killed


def strays(home: Path, led: Container[int] = (), before: float = 0.0) -> list[psutil.Process]:
    """Processes of a stack at ``home`` whose supervisor is gone, and their descendants.

    Found by the mark that they inherit in their environment; as some overwrite their environment
    with their title, also as members of a session that one of the services ``led``. A number in
    ``led`` counts only for a process born ``before`` that time, in seconds since the epoch.
    """
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(HOME_MARK) == str(home)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            marked = False
        if process.pid != os.getpid() and (marked or _in_session(process, led, before)):
            found.append(process)
    return family(found)


def _in_session(process: psutil.Process, led: Container[int], before: float) -> bool:
    try:
        session = os.getsid(process.pid)
        if session not in led:
            return False
        # No new process gets the number of a session that has members left.
        return not psutil.pid_exists(session) or psutil.Process(session).create_time() < before
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def reap_adopted(own: set[int]) -> None:
    """Take the exit codes of adopted orphans, so that none stays a zombie."""
    for child in psutil.Process().children():
        if child.pid in own:
            continue
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
        except (psutil.NoSuchProcess, ChildProcessError):
            continue


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Whether the condition came true within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def is_gone(pid: int) -> bool:
    """Whether no living process has this number; a zombie only waits for its parent."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to the process group that ``pid`` leads, if any of it is left."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    parent = os.getpid()
    library = ctypes.CDLL(None, use_errno=True)  # loaded here: after the fork as little as possible

    def set_death_signal() -> None:
        library.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it died between the fork and this line
            os._exit(1)

    return set_death_signal


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
