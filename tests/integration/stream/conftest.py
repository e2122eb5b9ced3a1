"""Processes to be killed: each a real one, and there at once, forked from one that has imported all."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from lift_core.stack.processes import is_gone

# After the program, which defines `work(talk, *words)`. Forks a child for every socket that it is given. A
# child begins when it is told to; its last words say how it ended.
NURSERY = """
import os, signal, socket, sys

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
control = socket.socket(fileno=int(sys.argv[1]))
while True:
    words, sockets, _, _ = socket.recv_fds(control, 1024, 1)
    if not words:
        break
    pid = os.fork()
    if pid == 0:
        control.close()
        with socket.socket(fileno=sockets[0]).makefile("rw") as talk:
            talk.readline()
            try:
                work(talk, *words.decode().split())
                print("done", file=talk, flush=True)
            except Exception as error:
                print(f"{type(error).__name__}: {error}", file=talk, flush=True)
        os._exit(0)
    os.close(sockets[0])
    control.send(str(pid).encode())
"""


class Child:
    """A process that works once it is told to."""

    def __init__(self, nursery, *words):
        ours, theirs = socket.socketpair()
        socket.send_fds(nursery, [" ".join(map(str, words)).encode()], [theirs.fileno()])
        theirs.close()
        self.pid = int(nursery.recv(32))
        self.talk = ours.makefile("rw")
        self.ended = False

    def tell(self):
        """Let it begin, or go on."""
        print(file=self.talk, flush=True)

    def hear(self):
        return self.talk.readline().strip()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        assert self.end() == "", "it ended before it was killed"

    def check(self):
        """Fail with its last words if it has ended by itself."""
        assert not is_gone(self.pid), f"it ended: {self.end()}"

    def end(self):
        """Wait for its end; its last words."""
        try:
            said = self.talk.read().strip()
        except ConnectionResetError:  # killed before it had heard what it was told
            said = ""
        self.ended = True
        return said


@pytest.fixture(scope="module")
def nursery(request, environment):
    """Where the children of a test module come from; its ``PROGRAM`` says what they do."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", request.module.PROGRAM + NURSERY, str(theirs.fileno())],
            env=environment,
            pass_fds=[theirs.fileno()],
        )
    yield ours
    ours.close()
    process.wait(120)


@pytest.fixture
def start(nursery):
    """Start a child with these words; none outlives the test."""
    started = []

    def begin(*words):
        started.append(Child(nursery, *words))
        return started[-1]

    yield begin
    for child in started:
        if not child.ended:
            child.kill()


@pytest.fixture
def put_but_not_named(registry, store, settings):
    """Keys of objects of a job's stream that were put but are not part of it."""

    def find(job_id):
        put = {found.key for found in store.list(settings.work_bucket, f"jobs/{job_id}/pairs/")}
        end = registry.stream_end(job_id)
        named = {shard.key for shard in registry.shards(job_id)} | ({end.report} if end else set())
        return put - named

    return find
