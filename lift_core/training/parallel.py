"""Several processes, each with a device of its own, that train the same adapters.

The process that was asked to train is rank 0: it alone reads the streams, decides, and writes files. The
others follow it (:mod:`lift_core.training.follower`): rank 0 tells them every call on the base model and the
stepper, they make the same one, each computes its share of the step's examples, and the gradients are added
up. So all take the same optimizer step, and the adapters stay the same bit for bit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist

from lift_core.errors import TransientError
from lift_core.training.encoding import Example
from lift_core.training.packing import Batch

WAIT_SECONDS = 600.0
"""How long a process waits for the others' shares of a step before it gives up."""
_UNTIL_TOLD = timedelta(days=365)
"""Pairs may be long in coming, and a follower notices at once when rank 0 has died."""
_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
_END_SECONDS = 60.0
_OBITUARY_SECONDS = 5.0
_POLL_SECONDS = 0.05

Call = tuple[str, tuple[Any, ...]]
"""The name of a call, and its arguments."""


class Ranks:
    """This process's place among those of one training; by default it is the only one, and sends nothing."""

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        obituary: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.rank = rank
        self.size = size
        self._told: dist.ProcessGroup | None = None
        self._obituary = obituary
        self._lost = ""

    def meet(self, wait: timedelta) -> None:
        """Open the way on which rank 0 tells the others; all must call it. Only they wait for ever."""
        self._told = dist.new_group(backend="gloo", timeout=_UNTIL_TOLD if self.rank else wait)

    def part(self) -> None:
        """Close it: it lives as long as something refers to it, and the others would wait."""
        self._told = None

    def tell(self, name: str, *arguments: Any) -> None:
        """Let the followers make a call that this process makes too. Only rank 0 tells.

        Raises:
            TransientError: another process has ended, or does not answer. So do all the methods below.
        """
        if self.rank == 0 and self.size > 1:
            self._broadcast((name, arguments))

    def hear(self) -> Call:
        """The next call that rank 0 tells of."""
        return self._broadcast(None)

    def add_up(self, tensor: torch.Tensor) -> None:
        """Put the sum of all processes' tensors into each."""
        if self.size > 1:
            with self.in_touch():
                dist.all_reduce(tensor)

    def totals(self, numbers: Sequence[float]) -> list[float]:
        """The sums of all processes' numbers."""
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64)
        self.add_up(tensor)
        return tensor.tolist()

    def agree(self, number: int) -> bool:
        """Whether all processes have the same number, of at most 63 bits."""
        if self.size == 1:
            return True
        both = torch.tensor([number, -number])
        with self.in_touch():
            dist.all_reduce(both, op=dist.ReduceOp.MAX)
        return bool(both[0] == -both[1])

    @contextmanager
    def in_touch(self) -> Iterator[None]:
        """Within this, what goes wrong between the processes becomes a TransientError that says who died."""
        if self._lost:
            # After a failure nobody knows which of its calls another process is at.
            raise TransientError(self._lost)
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            cause = self._obituary() or str(error)
            self._lost = f"training process {self.rank} of {self.size} cannot go on with the others: {cause}"
            raise TransientError(self._lost) from error

    def _broadcast(self, call: Call | None) -> Call:
        parcel: list[Any] = [call]
        with self.in_touch():
            dist.broadcast_object_list(parcel, src=0, group=self._told, device=torch.device("cpu"))
        heard: Call = parcel[0]
        return heard


def shares(batches: Sequence[Batch], count: int) -> list[list[Batch]]:
    """Deal a step's examples out to ``count`` processes, about as many tokens to each.

    A batch stays together where it can: each process that has a part of it computes its prefix. Where there
    are fewer examples than processes, some get none.
    """
    waiting = deque((batch, each) for batch in batches for each in sorted(batch.examples, key=_length))
    left = sum(len(batch.prefix) for batch in batches) + sum(each.length for _, each in waiting)
    found: list[list[Batch]] = []
    for processes in range(count, 0, -1):
        share: list[tuple[Batch, list[Example]]] = []
        tokens = 0
        while waiting:
            batch, example = waiting[0]
            new = not share or share[-1][0] is not batch
            added = example.length + (len(batch.prefix) if new else 0)
            if share and processes > 1 and tokens + added / 2 > left / processes:
                break
            if new:
                share.append((batch, []))
            share[-1][1].append(example)
            waiting.popleft()
            tokens += added
        left -= tokens
        if waiting and share and share[-1][0] is waiting[0][0]:
            # It is cut: its prefix is computed again.
            left += len(waiting[0][0].prefix)
        found.append([Batch(batch.adapter, batch.prefix, tuple(examples)) for batch, examples in share])
    return found


def _length(example: Example) -> int:
    return example.length


# --- how the processes come together ----------------------------------------------------------


@contextmanager
def team(processes: int, wait_seconds: float = WAIT_SECONDS) -> Iterator[Ranks]:
    """Be rank 0 of so many processes on this machine; the others are started, and ended with this.

    They also end when this process dies. Nothing listens beyond the loopback interface.

    Raises:
        TransientError: this machine has fewer GPUs, or a process ended before it was ready.
    """
    if processes == 1:
        yield Ranks()
        return
    if torch.cuda.is_available() and processes > torch.cuda.device_count():
        raise TransientError(
            f"LIFT_TRAIN_PROCESSES is {processes}, but this machine has {torch.cuda.device_count()} GPUs"
        )
    before = torch.get_num_threads()
    with TemporaryDirectory(prefix="lift-ranks-") as folder, _environment(_LOOPBACK):
        meeting = Path(folder) / "meeting"
        torch.set_num_threads(max(1, before // processes))
        followers = _Followers(processes, meeting, wait_seconds)
        try:
            followers.await_ready(_store(meeting, processes, wait_seconds))
            with _joined(0, processes, 0, meeting, wait_seconds, followers.obituary) as ranks:
                yield ranks
                ranks.tell("end")
                followers.leave()
        finally:
            followers.kill()
            torch.set_num_threads(before)


@contextmanager
def from_environment(meeting: Path | None = None, wait_seconds: float = WAIT_SECONDS) -> Iterator[Ranks]:
    """Be the process that torchrun's variables say: RANK, WORLD_SIZE and LOCAL_RANK.

    The processes meet at MASTER_ADDR and MASTER_PORT, or in the file ``meeting``.

    Raises:
        KeyError: the variables are not set.
        TransientError: the others did not come.
    """
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if meeting is not None:
        _store(meeting, size, wait_seconds).set(_ready(rank), "1")
    with _joined(rank, size, local, meeting, wait_seconds, lambda: None) as ranks:
        yield ranks


@contextmanager
def _joined(
    rank: int,
    size: int,
    local: int,
    meeting: Path | None,
    wait_seconds: float,
    obituary: Callable[[], str | None],
) -> Iterator[Ranks]:
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    ranks = Ranks(rank, size, obituary)
    wait = timedelta(seconds=wait_seconds)
    with ranks.in_touch():
        dist.init_process_group(
            backend,
            store=None if meeting is None else _store(meeting, size, wait_seconds),
            rank=rank,
            world_size=size,
            timeout=wait,
        )
    try:
        with ranks.in_touch():
            ranks.meet(wait)
        yield ranks
    finally:
        ranks.part()
        dist.destroy_process_group()


def _store(meeting: Path, size: int, wait_seconds: float) -> Any:
    # A file, not torchrun's TCP store: that one listens on every interface.
    store = dist.FileStore(str(meeting), size)  # type: ignore[attr-defined]
    store.set_timeout(timedelta(seconds=wait_seconds))
    return store


def _ready(rank: int) -> str:
    return f"ready/{rank}"


@contextmanager
def _environment(defaults: dict[str, str]) -> Iterator[None]:
    missing = defaults.keys() - os.environ.keys()
    os.environ.update({name: defaults[name] for name in missing})
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


class _Followers:
    """The processes of the ranks 1 and up, on this machine."""

    def __init__(self, processes: int, meeting: Path, wait_seconds: float) -> None:
        self._children = {
            rank: subprocess.Popen(
                [sys.executable, "-m", "lift_core.training.follower", str(meeting), str(wait_seconds)],
                # It is closed when this process ends, whatever ends it: that ends them.
                stdin=subprocess.PIPE,
                # Standard output may be a command's JSON.
                stdout=2,
                env=os.environ
                | {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(processes),
                    "OMP_NUM_THREADS": str(torch.get_num_threads()),
                },
            )
            for rank in range(1, processes)
        }

    def await_ready(self, store: Any) -> None:
        """Wait until every one has started, and said so in the file where they meet.

        Raises:
            TransientError: one has ended.
        """
        for rank in self._children:
            while not store.check([_ready(rank)]):
                died = self._died()
                if died:
                    raise TransientError(f"{died} before it was ready; what it said is on standard error")
                time.sleep(_POLL_SECONDS)

    def obituary(self) -> str | None:
        """Which one has ended, looked at until something can be said."""
        until = time.monotonic() + _OBITUARY_SECONDS
        while (died := self._died()) is None and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        return died

    def leave(self) -> None:
        """Wait until all have ended by themselves, but not for ever."""
        until = time.monotonic() + _END_SECONDS
        while time.monotonic() < until and any(child.poll() is None for child in self._children.values()):
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """End those that still run."""
        for child in self._children.values():
            child.kill()
        for child in self._children.values():
            child.communicate()

    def _died(self) -> str | None:
        for rank, child in self._children.items():
            code = child.poll()
            if code is not None:
                how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
                return f"training process {rank} {how}"
        return None
