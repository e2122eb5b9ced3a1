"""SIGTERM during a training: leave soon, but not in the middle of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from lift_core.errors import InterruptedTrainingError


class Interruption:
    """While this is entered, SIGTERM sets :attr:`asked`; within :meth:`at_once` it raises.

    Only the main thread can receive signals; in any other one nothing changes.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False
        self._before: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this nothing is lost by leaving: waiting for pairs may take minutes."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if self._at_once:
            raise InterruptedTrainingError("the process was told to leave while it waited for pairs")
