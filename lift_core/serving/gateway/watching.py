"""Looks at each vLLM server every few seconds: what it holds, and what must leave it.

Nobody has to tell of a quarantine: what a server lists is compared with the registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import httpx
import structlog
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from lift_core.errors import LiftError
from lift_core.serving.gateway.naming import Names
from lift_core.serving.gateway.replicas import Replica, Replicas

MAX_RESIDENT = 64
POLL_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
_MISSES = 3
"""Looks that must go unanswered in a row: a server that computes on few cores may be slow to answer one."""
RETIRED = frozenset({"quarantined", "archived", "rejected", "removed"})
_IN_SERVICE = frozenset({"active", "superseded"})


class _Model(BaseModel):
    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


class _Models(BaseModel):
    data: list[_Model]


class Watcher:
    """Keeps the replicas' picture true, and the replicas clear of what may not serve.

    ``max_resident`` bounds how many adapters a server lists.
    """

    def __init__(
        self,
        replicas: Replicas,
        names: Names,
        http: httpx.AsyncClient,
        max_resident: int = MAX_RESIDENT,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._replicas = replicas
        self._names = names
        self._http = http
        self._max_resident = max_resident
        self._poll_seconds = poll_seconds
        self._misses: dict[Replica, int] = {}
        self._log = structlog.get_logger("lift")

    async def run(self) -> None:
        """Look until cancelled. Each server has its own turn: a slow one delays no other."""
        await asyncio.gather(*(self._watch(replica) for replica in self._replicas.all))

    async def look_at_all(self) -> None:
        """Look at each server once."""
        await asyncio.gather(*(self.look(replica) for replica in self._replicas.all))

    async def look(self, replica: Replica) -> None:
        """Ask one server what it holds, and unload what has to go."""
        if await self._ask(replica):
            await self._tidy(replica)

    async def _watch(self, replica: Replica) -> None:
        while True:
            await self.look(replica)
            await asyncio.sleep(self._poll_seconds)

    async def _ask(self, replica: Replica) -> bool:
        was_healthy = replica.healthy
        try:
            reply = await self._http.get(f"{replica.url}/models", timeout=_ANSWER_SECONDS)
            models = _Models.model_validate_json(reply.raise_for_status().content).data
        except httpx.HTTPStatusError as error:
            return self._missed(replica, _MISSES, _refused(error.response.status_code))
        except httpx.ReadTimeout:
            return self._missed(replica, 1, f"it was asked {_MISSES} times in a row and did not answer")
        except httpx.HTTPError as error:
            return self._missed(replica, _MISSES, f"it does not answer ({type(error).__name__})")
        except ValidationError:
            return self._missed(replica, _MISSES, "what it answers to /v1/models is not a list of models")
        self._misses.pop(replica, None)
        bases = {model.id: model.root or model.id for model in models if model.parent is None}
        replica.up(bases, [model.id for model in models if model.parent is not None])
        replica.context_tokens = {m.id: m.max_model_len for m in models if m.max_model_len is not None}
        if not was_healthy:
            self._log.info("a serving engine is up", replica=replica.address, base_models=sorted(bases))
        return True

    def _missed(self, replica: Replica, weight: int, problem: str) -> bool:
        self._misses[replica] = self._misses.get(replica, 0) + weight
        if self._misses[replica] >= _MISSES:
            if replica.problem != problem:
                self._log.warning("a serving engine is away", replica=replica.address, why=problem)
            replica.down(problem)
        return False

    async def _tidy(self, replica: Replica) -> None:
        if not replica.listed:
            return
        try:
            states = await self._names.states_of(sorted(replica.listed))
        except (LiftError, SQLAlchemyError) as error:
            self._log.warning("cannot tell which adapters may serve", why=str(error))
            return
        retired = {name for name in replica.listed if states.get(name) in RETIRED}
        for name in sorted(retired):
            await self._unload(replica, name, states[name])
        for name in self._surplus(replica, states, replica.listed - retired):
            await self._unload(replica, name, "least recently used")

    def _surplus(self, replica: Replica, states: Mapping[str, str], kept: Iterable[str]) -> list[str]:
        """What is too many: idle and in service. A candidate is being proven; an unknown one is not ours."""
        held = set(kept)
        idle = [
            name for name in held if states.get(name) in _IN_SERVICE and not replica.in_flight.get(name, 0)
        ]
        excess = max(0, len(held) - self._max_resident)
        return sorted(idle, key=lambda name: (replica.used.get(name, 0.0), name))[:excess]

    async def _unload(self, replica: Replica, name: str, why: str) -> None:
        """Let a server forget an adapter. It is still listed if that fails, so the next look tries again."""
        try:
            reply = await self._http.post(
                f"{replica.url}/unload_lora_adapter", json={"lora_name": name}, timeout=_ANSWER_SECONDS
            )
        except httpx.HTTPError as error:
            self._log.warning("cannot unload", adapter=name, replica=replica.address, why=repr(error))
            return
        if reply.is_success or reply.status_code == httpx.codes.NOT_FOUND:
            replica.listed.discard(name)
            self._log.info("unloaded", adapter=name, replica=replica.address, why=why)
        else:
            self._log.warning("cannot unload", adapter=name, replica=replica.address, why=reply.text[:300])


def _refused(status: int) -> str:
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return f"it does not take the gateway's key ({status}): check LIFT_SERVING_API_KEY"
    return f"it answers {status} to /v1/models"
