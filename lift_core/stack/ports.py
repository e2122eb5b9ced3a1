"""Ports of the embedded services, all on loopback."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from lift_core.errors import ServiceUnavailableError

HOST = "127.0.0.1"
DEFAULT_PORTS = {
    "postgres": 15432,
    "s3": 18333,
    "s3-master": 18334,
    "s3-volume": 18335,
    "s3-filer": 18336,
    "s3-admin": 18337,
    "vllm-generator": 18100,
    "vllm-serving": 18101,
    "gateway": 18800,
    "airflow": 18080,
}
GRPC_OFFSET = 10_000
"""SeaweedFS puts each server's gRPC port this far above its HTTP port."""
_SOCKETS = Path("/tmp")  # noqa: S108 - where SeaweedFS itself puts them
_TRIES = 500


class PortClaims:
    """What other stacks of this machine need to know: which ports one has, from its choice to its end.

    A server binds its port long after it was chosen, vLLM minutes later, and then shares it with another
    vLLM without a word: half of the requests of either stack would go to the other. A claim is a socket with
    an abstract name; the kernel lets go of it when the process ends. Only Linux has those, and only within
    one network namespace, which is how far ports reach too.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def __enter__(self) -> PortClaims:
        return self

    def __exit__(self, *_: object) -> None:
        while self._held:
            self._held.pop().close()

    def take(self, ports: Collection[int]) -> bool:
        """Claim all of these ports, or none where another stack has one of them."""
        if sys.platform != "linux":
            return True
        taken: list[socket.socket] = []
        for port in ports:
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            taken.append(claim)
            try:
                claim.bind(f"\0lift-stack-port-{port}")
            except OSError:
                for each in taken:
                    each.close()
                return False
        self._held += taken
        return True


def choose_ports(
    previous: Mapping[str, int], offset: int = 0, claims: PortClaims | None = None
) -> tuple[dict[str, int], list[str]]:
    """A free port for every service, and a note for each that is not the default.

    A port used before by this home comes first, so that addresses stay; then the default with ``offset``
    added; then the next free one above it. Only for a stack that does not run: its own services
    would be taken for strangers. With ``claims`` the ports are claimed, and those of other stacks left alone.

    Raises:
        ServiceUnavailableError: a service finds none.
    """
    chosen: dict[str, int] = {}
    notes: list[str] = []
    taken: set[int] = set()
    for name, usual in DEFAULT_PORTS.items():
        default = usual + offset
        offsets = (0, GRPC_OFFSET) if name.startswith("s3") else (0,)
        first = [previous[name]] if name in previous else []
        for port in [*first, *range(default, default + _TRIES)]:
            wanted = {port + offset for offset in offsets}
            free = not wanted & taken and all(is_free(each) and not _is_blocked(each) for each in wanted)
            if free and (claims is None or claims.take(wanted)):
                break
        else:
            raise ServiceUnavailableError(f"no free port for {name} in {default}..{default + _TRIES}")
        chosen[name] = port
        taken |= wanted
        if port != default:
            notes.append(f"port {default} for {name} is taken or was; using {port}")
    return chosen, notes


def _is_blocked(port: int) -> bool:
    """Whether another user's SeaweedFS left a socket file for this port, which ours could not replace."""
    if os.geteuid() == 0:
        return False
    left = _SOCKETS.glob(f"seaweedfs-*-{port}.sock")
    return any(path.lstat().st_uid != os.geteuid() for path in left)


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT is free, one that somebody listens on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
