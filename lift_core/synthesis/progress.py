"""How far the writing of a document's pairs has come, how fast it is, and how long it will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from lift_core.records import GenerationCost
from lift_core.records.base import Record

_RECENT_SECONDS = 60.0
_BETWEEN_SECONDS = 1.0
"""Between two points that rates are computed from, at least: their number is bounded."""


class Progress(Record):
    """A moment's figures. Rates are of the last minute; None where nothing can be said yet.

    ``tokens_per_second`` counts written tokens, ``cache_hit_rate`` is the share of all prompt tokens until
    now that the server reports as cached.
    """

    segments: int = Field(ge=0)
    of: int = Field(ge=0)
    pairs: int = Field(ge=0)
    pairs_per_second: float | None = None
    tokens_per_second: float | None = None
    cache_hit_rate: float | None = None
    seconds_left: float | None = None

    def __str__(self) -> str:
        parts = [f"{self.segments} of {self.of} segments", f"{self.pairs} pairs"]
        if self.pairs_per_second is not None:
            parts.append(f"{self.pairs_per_second:.1f} pairs/s")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:.0f} tokens/s")
        if self.cache_hit_rate is not None:
            parts.append(f"{self.cache_hit_rate:.0%} of prompts cached")
        if self.seconds_left is not None:
            minutes, seconds = divmod(round(self.seconds_left), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
        return ", ".join(parts)


@dataclass(frozen=True)
class _Point:
    at: float
    segments: int
    pairs: int
    tokens: int


class ProgressMeter:
    """Makes :class:`Progress` of counts that grow.

    ``segments`` is how many there are in all, ``done`` how many were there at the start. ``clock`` gives
    seconds.
    """

    def __init__(self, segments: int, *, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._of = segments
        self._clock = clock
        self._points = deque([_Point(clock(), done, 0, 0)])

    def update(self, *, segments: int, pairs: int, cost: GenerationCost) -> Progress:
        """The figures now. ``segments`` counts those that were done at the start; the others do not."""
        now = _Point(self._clock(), segments, pairs, cost.completion_tokens)
        # The oldest point is the last one that is older than a minute.
        while len(self._points) > 1 and self._points[1].at <= now.at - _RECENT_SECONDS:
            self._points.popleft()
        then = self._points[0]
        if now.at - self._points[-1].at >= _BETWEEN_SECONDS:
            self._points.append(now)
        seconds = now.at - then.at
        advanced = segments - then.segments
        return Progress(
            segments=segments,
            of=self._of,
            pairs=pairs,
            pairs_per_second=(pairs - then.pairs) / seconds if seconds else None,
            tokens_per_second=(now.tokens - then.tokens) / seconds if seconds and now.tokens else None,
            cache_hit_rate=cost.cached_tokens / cost.prompt_tokens if cost.prompt_tokens else None,
            seconds_left=(self._of - segments) * seconds / advanced if seconds and advanced else None,
        )
