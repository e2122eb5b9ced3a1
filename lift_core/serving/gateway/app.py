"""The application: routes, what each answers, and what runs beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import httpx
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lift_core import __version__
from lift_core.errors import LiftError, NotFoundError
from lift_core.records import AdapterRecord
from lift_core.registry import AdapterRegistry
from lift_core.serving.gateway.access import HEALTH, BearerKeys
from lift_core.serving.gateway.forwarding import LIMITS, TIMEOUT, Forwarder
from lift_core.serving.gateway.naming import LOOKUPS_AT_ONCE, Names, Registry, Target
from lift_core.serving.gateway.refusals import Refusal, handlers
from lift_core.serving.gateway.replicas import Replica, Replicas
from lift_core.serving.gateway.requests import (
    CHAT,
    COMPLETIONS,
    MAX_BODY_BYTES,
    check_no_prompt_logprobs,
    needs_system_message,
    read_body,
)
from lift_core.serving.gateway.status import GatewayStatus, ReplicaStatus
from lift_core.serving.gateway.watching import MAX_RESIDENT, POLL_SECONDS, Watcher
from lift_core.settings import Settings

_PAGE = 100
_MAX_DIGITS = 9
_STATUS_SECONDS = 5.0
_FIRST_LOOK_SECONDS = 3.0
"""A server that takes longer is waited for by nobody; it comes in with a later look."""
_Made = TypeVar("_Made")


def create_app(
    registry: Registry,
    replica_urls: Sequence[str],
    *,
    gateway_keys: Sequence[str],
    serving_key: str,
    refuse_prompt_logprobs: bool = True,
    max_resident: int = MAX_RESIDENT,
    max_body_bytes: int = MAX_BODY_BYTES,
    poll_seconds: float = POLL_SECONDS,
) -> Starlette:
    """The gateway in front of the vLLM servers at ``replica_urls``, each ending in ``/v1``.

    ``registry`` is asked by several threads. Clients send one of ``gateway_keys``; the servers are sent
    ``serving_key``.

    Raises:
        LiftError: there is no key or no server, or a server's address is not one.
    """
    if not gateway_keys or not all(gateway_keys):
        raise LiftError("the gateway has no key: run `lift up`, or set LIFT_GATEWAY_API_KEY")
    gateway = _Gateway(
        registry,
        replica_urls,
        serving_key,
        refuse_prompt_logprobs,
        max_resident,
        max_body_bytes,
        poll_seconds,
    )
    return Starlette(
        routes=[
            Route(f"/v1/{CHAT}", gateway.chat, methods=["POST"]),
            Route(f"/v1/{COMPLETIONS}", gateway.completions, methods=["POST"]),
            Route("/v1/models", gateway.models),
            Route("/v1/models/{name:path}", gateway.model),
            Route("/v1/lift/status", gateway.status),
            Route(HEALTH, gateway.health),
        ],
        middleware=[Middleware(BearerKeys, keys=gateway_keys)],
        exception_handlers=handlers(),
        lifespan=gateway.lifespan,
    )


def app_from_settings(
    settings: Settings, *, refuse_prompt_logprobs: bool = True, max_resident: int = MAX_RESIDENT
) -> Starlette:
    """The gateway over the registry and the serving engines that the settings name.

    Raises:
        LiftError: the settings hold no key for its clients, or no serving engine.
        ServiceUnavailableError: they name no registry.
    """
    keys = settings.gateway_api_key.get_secret_value().split(",")
    return create_app(
        AdapterRegistry.from_settings(settings, pool_size=LOOKUPS_AT_ONCE),
        settings.serving_replicas,
        gateway_keys=[key.strip() for key in keys if key.strip()],
        serving_key=settings.serving_api_key.get_secret_value(),
        refuse_prompt_logprobs=refuse_prompt_logprobs,
        max_resident=max_resident,
    )


class _Gateway:
    """What the routes share."""

    def __init__(
        self,
        registry: Registry,
        replica_urls: Sequence[str],
        serving_key: str,
        refuse_prompt_logprobs: bool,
        max_resident: int,
        max_body_bytes: int,
        poll_seconds: float,
    ) -> None:
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT, limits=LIMITS, headers={"Authorization": f"Bearer {serving_key}"}
        )
        self._names = Names(registry)
        self._replicas = Replicas(replica_urls)
        self._forwarder = Forwarder(self._replicas, self._http)
        self._watcher = Watcher(self._replicas, self._names, self._http, max_resident, poll_seconds)
        self._watching: asyncio.Task[None] | None = None
        self._refuse_prompt_logprobs = refuse_prompt_logprobs
        self._max_resident = max_resident
        self._max_body_bytes = max_body_bytes

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Watch the replicas while the gateway is up; the first requests find them looked at already."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                await self._watcher.look_at_all()
        self._watching = asyncio.create_task(self._watcher.run())
        self._watching.add_done_callback(_tell_of_end)
        try:
            yield
        finally:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            await self._http.aclose()
            self._names.close()

    async def health(self, request: Request) -> Response:
        """Whether the gateway runs, for probes; it needs no key and tells nothing else."""
        watches = self._watching is not None and not self._watching.done()
        return JSONResponse({"status": "ok" if watches else "failed"}, 200 if watches else 503)

    async def chat(self, request: Request) -> Response:
        """Chat completions."""
        return await self._forward(request, CHAT)

    async def completions(self, request: Request) -> Response:
        """Completions of a text, which is passed on as it is."""
        return await self._forward(request, COMPLETIONS)

    async def models(self, request: Request) -> Response:
        """What can be asked: base models, then adapters, newest first, each followed by its aliases.

        ``limit`` is the number of adapters (100); ``after`` is the ``next`` of the page before.
        """
        after, limit = request.query_params.get("after"), request.query_params.get("limit", str(_PAGE))
        if not limit.isdecimal() or len(limit) > _MAX_DIGITS:
            raise Refusal(400, "invalid_request", f"limit is a number, not {limit[:50]!r}", "limit")
        page = await self._names.page(int(limit), after)
        data = [] if after else [self._base(name) for name in self._replicas.base_models()]
        for adapter in page.adapters:
            if any(replica.serves(Target(adapter.name, adapter)) for replica in self._replicas.all):
                data += [_card(name, adapter) for name in (adapter.name, *adapter.aliases)]
        more = {"has_more": page.next_cursor is not None, "next": page.next_cursor}
        return JSONResponse({"object": "list", "data": data, **more})

    async def model(self, request: Request) -> Response:
        """One name that can be asked."""
        target = await self._target(request.path_params["name"])
        return JSONResponse(
            _card(target.asked, target.adapter) if target.adapter else self._base(target.asked)
        )

    def _base(self, name: str) -> dict[str, Any]:
        return _base_card(name, self._replicas.context_tokens(name))

    async def status(self, request: Request) -> Response:
        """The replicas, what they hold and how often that helped."""
        told = await asyncio.gather(*(self._told_by(replica) for replica in self._replicas.all))
        replicas = [
            ReplicaStatus(
                number=each.number,
                url=each.address,
                healthy=each.healthy,
                problem=each.problem,
                base_models=tuple(sorted(each.base_models or {})),
                resident=tuple(sorted(each.listed)),
                in_flight=each.busy,
                requests=each.requests,
                hits=each.hits,
                cold=each.cold,
                errors=each.errors,
                adapters=adapters,
            )
            for each, adapters in zip(self._replicas.all, told, strict=True)
        ]
        status = GatewayStatus(version=__version__, max_resident=self._max_resident, replicas=tuple(replicas))
        return JSONResponse(status.model_dump(mode="json"))

    async def _forward(self, request: Request, path: str) -> Response:
        body = await read_body(request, self._max_body_bytes)
        if self._refuse_prompt_logprobs:
            check_no_prompt_logprobs(body, path)
        return await _unless_client_leaves(request, self._answer(request, path, body))

    async def _answer(self, request: Request, path: str, body: dict[str, Any]) -> Response:
        target = await self._target(body["model"])
        if target.adapter and path == CHAT and needs_system_message(body, request):
            body = {**body, "messages": await self._names.as_trained(target.adapter, body["messages"])}
        return await self._forwarder.forward(path, body, target)

    async def _target(self, asked: str) -> Target:
        # A base model comes first: nobody's document takes its name.
        if asked in self._replicas.base_models():
            return Target(asked)
        try:
            target = Target(asked, await self._names.resolve(asked))
        except NotFoundError:
            if not self._replicas.all_seen():
                # It may be the base model of a server that has not answered yet.
                raise self._replicas.none_left(Target(asked)) from None
            raise
        self._replicas.check(target)
        return target

    async def _told_by(self, replica: Replica) -> dict[str, Any] | None:
        if not replica.healthy:
            return None
        try:
            reply = await self._http.get(f"{replica.url}/lift/adapters", timeout=_STATUS_SECONDS)
            told = reply.json() if reply.is_success else None
        except (httpx.HTTPError, ValueError) as error:
            structlog.get_logger("lift").warning(
                "a serving engine does not tell of its adapters", replica=replica.address, why=repr(error)
            )
            return None
        return told if isinstance(told, dict) else None


async def _unless_client_leaves(request: Request, work: Coroutine[Any, Any, _Made]) -> _Made:
    """What the work makes. It is cancelled, and with it the replica's, when the client leaves.

    Raises:
        ClientDisconnect: it did.
    """
    making = asyncio.create_task(work)
    leaving = asyncio.create_task(_client_leaves(request))
    try:
        await asyncio.wait((making, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            raise ClientDisconnect
        return making.result()
    finally:
        making.cancel()
        leaving.cancel()
        await asyncio.wait((making, leaving))


async def _client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _tell_of_end(watching: asyncio.Task[None]) -> None:
    if not watching.cancelled():
        # From now on the health probe fails, so that whoever supervises the gateway starts it anew.
        structlog.get_logger("lift").error("the gateway watches no more", exc_info=watching.exception())


def _card(name: str, adapter: AdapterRecord) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(adapter.created_at.timestamp()),
        "owned_by": "lift",
        "root": adapter.name,
        "parent": adapter.base_model,
    }


def _base_card(name: str, context_tokens: int | None) -> dict[str, Any]:
    card = {"id": name, "object": "model", "created": 0, "owned_by": "vllm", "root": name, "parent": None}
    # vLLM's own name for it.
    return card | ({"max_model_len": context_tokens} if context_tokens is not None else {})
