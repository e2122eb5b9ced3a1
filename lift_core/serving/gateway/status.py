"""What ``GET /v1/lift/status`` tells of the serving engines."""

from __future__ import annotations

from typing import Any

from lift_core.records import Record


class ReplicaStatus(Record):
    """One vLLM server. The counters begin with the gateway's start."""

    number: int
    url: str
    healthy: bool
    problem: str | None
    """Why it is not healthy."""
    base_models: tuple[str, ...]
    resident: tuple[str, ...]
    """Adapters that it holds."""
    in_flight: int
    requests: int
    hits: int
    """Requests whose adapter was resident when they came."""
    cold: int
    """Requests whose adapter was not."""
    errors: int
    adapters: dict[str, Any] | None
    """What the server itself tells of resident and cached adapters; None where it lacks LIFT's plugin."""


class GatewayStatus(Record):
    """The gateway and what is behind it."""

    version: str
    max_resident: int
    """Adapters that the gateway lets a server hold before it unloads the least recently used."""
    replicas: tuple[ReplicaStatus, ...]
