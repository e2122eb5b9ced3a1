"""The supervisor with small programs in place of the services."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from lift_core.stack import down, status
from lift_core.stack.processes import wait_until

SLEEP = "import time; time.sleep(600)"
# A child in a session of its own, as PostgreSQL's and Airflow's are, that ignores TERM.
ESCAPING = textwrap.dedent(
    """
    import pathlib, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"],
        start_new_session=True)
    pathlib.Path("child.pid").write_text(str(child.pid))
    time.sleep(600)
    """
)
RUNNER = textwrap.dedent(
    """
    import os, pathlib, sys
    from lift_core.log import configure
    from lift_core.stack.service import HOME_MARK, Service
    from lift_core.stack.state import take_lock
    from lift_core.stack.supervisor import Supervisor
    home = pathlib.Path(sys.argv[1]); os.chdir(home)
    environment = dict(os.environ) | {HOME_MARK: str(home)}
    def program(name, text, **more):
        return Service(name=name, command=(sys.executable, "-c", text), environment=environment, **more)
    configure("json")
    lock = take_lock(home)
    Supervisor(home, eval(sys.argv[2]), {}).run()
    """
)


@pytest.fixture
def supervise(tmp_path):
    running = []

    def begin(services):
        log = (tmp_path / "out.log").open("w")
        running.append(
            subprocess.Popen([sys.executable, "-c", RUNNER, tmp_path, services], stdout=log, stderr=log)
        )
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()
    for stray in psutil.process_iter():
        try:
            if stray.environ().get("LIFT_STACK_HOME") == str(tmp_path):
                stray.kill()
        except psutil.Error:
            continue


def reaches(home, name, state, seconds=20):
    def reached():
        service = status(home).service(name)
        return service is not None and service.state == state

    return wait_until(reached, seconds)


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_order_restart_and_stop(tmp_path, supervise):
    supervise(
        "[program('first', 'pass', task=True),"
        f" program('second', {SLEEP!r}, after=('first',)),"
        " program('third', 'raise SystemExit(3)', after=('second',))]"
    )
    assert reaches(tmp_path, "third", "failed")
    seen = status(tmp_path)
    assert seen.phase == "failed"
    assert "exit code 3" in seen.service("third").reason
    assert [each.state for each in seen.services[:2]] == ["ready", "ready"]
    first_pid = seen.service("second").pid
    os.kill(first_pid, signal.SIGKILL)
    assert wait_until(lambda: (status(tmp_path).service("second").pid or first_pid) != first_pid, 10)
    assert reaches(tmp_path, "second", "ready")
    assert status(tmp_path).service("second").restarts == 1
    second_pid = status(tmp_path).service("second").pid
    down(tmp_path, lambda _: None)
    assert status(tmp_path).phase == "stopped"
    assert gone(second_pid)


def test_a_child_that_escaped_is_ended(tmp_path, supervise):
    supervise(f"[program('parent', {ESCAPING!r})]")
    assert wait_until((tmp_path / "child.pid").exists, 10)
    time.sleep(0.3)
    child = int((tmp_path / "child.pid").read_text())
    # Its parent dies first: only the supervisor can still know it.
    os.kill(status(tmp_path).service("parent").pid, signal.SIGKILL)
    assert reaches(tmp_path, "parent", "restarting") or reaches(tmp_path, "parent", "ready")
    down(tmp_path, lambda _: None)
    assert gone(child)


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_a_killed_supervisor_leaves_nothing_after_down(tmp_path, supervise):
    supervisor = supervise(f"[program('parent', {ESCAPING!r})]")
    assert wait_until((tmp_path / "child.pid").exists, 10)
    time.sleep(0.3)
    child, parent = int((tmp_path / "child.pid").read_text()), status(tmp_path).service("parent").pid
    supervisor.kill()
    supervisor.wait()
    assert wait_until(lambda: gone(parent), 5)
    assert status(tmp_path).phase == "stopped"
    down(tmp_path, lambda _: None)
    assert gone(child)


def test_a_second_supervisor_is_refused(tmp_path, supervise):
    supervise(f"[program('one', {SLEEP!r})]")
    assert reaches(tmp_path, "one", "ready")
    second = subprocess.run(
        [sys.executable, "-m", "lift_core.stack.supervisor", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert "another supervisor" in second.stderr
