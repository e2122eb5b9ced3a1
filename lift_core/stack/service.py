"""What the supervisor has to know of a service, and how it asks whether one answers."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOME_MARK = "LIFT_STACK_HOME"
"""Every process of a stack carries this variable; `down` finds strays by it."""
SHARED_CORES = {"GOMP_SPINCOUNT": "1000"}
"""For processes that compute on the same few cores, as the generator and the training do: OpenMP threads
that wait spin for some microseconds, then sleep. By default they spin for milliseconds, on a core that the
thread they wait for may need (docs/log.md has the figures)."""
_PROBE_SECONDS = 3.0


def nothing() -> None:
    """Stand for a preparation that is not needed."""


@dataclass(frozen=True)
class Service:
    """One process of the stack.

    ``prepare`` runs before each start and may raise OSError or LiftError; ``ready`` is asked
    several times a second until it says yes, given the start's time in seconds since the epoch.
    A ``task`` is a program that ends by itself: exit code 0 makes it ready.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    ready: Callable[[float], bool] = lambda _: True
    after: tuple[str, ...] = ()
    prepare: Callable[[], None] = nothing
    url: str | None = None
    task: bool = False
    start_seconds: float = 120.0
    stop_seconds: float = 15.0
    stop_signal: signal.Signals = signal.SIGTERM
    user: Callable[[], tuple[int, int] | None] = lambda: None
    folder: Path | None = None


def get_json(url: str) -> Any | None:
    """The JSON document at ``url``; None while nobody answers it with status 200.

    An empty body with status 200 is ``{}``. Proxies are not asked: the services are local.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        body = response.read()
        return (json.loads(body) if body else {}) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
