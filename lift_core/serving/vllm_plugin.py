"""LIFT's two plugins of vLLM: adapters by name from the object store, and what is resident and cached.

vLLM asks a resolver for a name that it does not serve yet, never again for one that it lists. So this
is where files are judged; who may be asked, and when one must go, the gateway decides.

vLLM loads `register` in its engine and worker processes too. Nothing is opened, and nothing heavy
imported, before the API server asks for the first adapter.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from lift_core.errors import LiftError, NotFoundError, RefusedFilesError, TransientError
from lift_core.records import AdapterRecord
from lift_core.serving.cache import AdapterCache, FileStore
from lift_core.serving.verification import check_record, is_adapter_name, module_shapes, verify_adapter
from lift_core.settings import Settings, get_settings

if TYPE_CHECKING:
    from argparse import Namespace

    from fastapi import FastAPI
    from starlette.datastructures import State

RESOLVER = "lift"
SERVABLE = ("candidate", "active", "superseded")
"""States that are served by immutable name; the proof asks for a candidate."""


class Adapters(Protocol):
    """The two calls of the registry that the resolver needs."""

    def adapter(self, name: str) -> AdapterRecord:
        """One adapter by its name, or by an alias or document that points to it."""

    def record_event(self, kind: str, subject: str, **detail: Any) -> None:
        """Append an event."""


@dataclass(frozen=True)
class Server:
    """The API server that asks the resolver: vLLM's list of models, and how it was started."""

    models: Any
    max_loras: int
    max_lora_rank: int

    def names_in_use(self) -> set[str]:
        """Adapters that it lists, or is about to: a worker may read their files at any time."""
        # Copied at once, because the server goes on meanwhile in its own thread. In this order, because
        # vLLM lists a name before it lets its lock go.
        locks = self.models.lora_resolver_lock.copy()
        loading = {name for name, lock in locks.items() if lock.locked()}
        return loading | set(self.models.lora_requests)


class LiftResolver:
    """Finds, fetches and verifies an adapter that vLLM does not have yet. It is a vLLM ``LoRAResolver``."""

    def __init__(self, cache: AdapterCache, connect: Callable[[], tuple[Adapters, FileStore]]) -> None:
        self.cache = cache
        self.server: Server | None = None
        """Set once the API server stands; until then every name that was asked for counts as in use."""
        self.refused = 0
        self._connect = connect
        self._asked: set[str] = set()
        self._told: set[tuple[str, str]] = set()

    @classmethod
    def from_settings(cls, settings: Settings) -> LiftResolver:
        """A resolver over the registry and the store that the settings name; it connects when asked."""
        cache = AdapterCache(settings.adapter_cache, settings.adapters_bucket, settings.adapter_cache_bytes)
        return cls(cache, lambda: _connect(settings))

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
        """What vLLM is to load under an immutable name, a ``LoRARequest``; None if it must not answer to it.

        ``base_model_name`` is the served model's folder or name. vLLM makes "does not exist" of a None.

        Raises:
            vllm.exceptions.GracefulHTTPError: the registry or the store is away (503), or does not let us
                in (500); vLLM's API server passes the message on.
        """
        if not is_adapter_name(lora_name):
            return None
        try:
            folder = await asyncio.to_thread(self._find, base_model_name, lora_name)
        except LiftError as error:
            from vllm.exceptions import GracefulHTTPError

            structlog.get_logger("lift").error("cannot resolve", adapter=lora_name, why=str(error))
            away = isinstance(error, TransientError)
            status = HTTPStatus.SERVICE_UNAVAILABLE if away else HTTPStatus.INTERNAL_SERVER_ERROR
            raise GracefulHTTPError(str(error), status) from error
        if folder is None:
            return None
        from vllm.lora.request import LoRARequest

        # vLLM puts a number of its own in place of this one, and the served name as the base model's.
        return LoRARequest(lora_name=lora_name, lora_int_id=1, lora_path=str(folder))

    def status(self) -> dict[str, Any]:
        """What is cached on disk, and how often that helped; sizes in bytes."""
        return {
            "cached": [
                {"name": copy.name, "bytes": copy.bytes, "used_at": copy.used_at.isoformat()}
                for copy in self.cache.entries()
            ],
            "limit_bytes": self.cache.max_bytes,
            "hits": self.cache.hits,
            "downloads": self.cache.downloads,
            "refused": self.refused,
        }

    @cached_property
    def _services(self) -> tuple[Adapters, FileStore]:
        return self._connect()

    def _find(self, base_model: str, name: str) -> Path | None:
        """The verified local folder of an adapter; None where there is none that may be served."""
        log = structlog.get_logger("lift").bind(adapter=name)
        registry, store = self._services
        try:
            adapter = registry.adapter(name)
        except NotFoundError:
            log.info("asked for an unknown adapter")
            return None
        # A document's key may look like an adapter's name.
        if adapter.name != name or adapter.state not in SERVABLE:
            log.warning("asked for an adapter that may not serve", found=adapter.name, state=adapter.state)
            return None
        self._asked.add(name)
        try:
            check_record(adapter, base_model)
            folder = self.cache.fetch(adapter, store, partial(self._verify, base_model))
        except RefusedFilesError as error:
            self._refuse(registry, name, str(error))
            return None
        if evicted := self.cache.evict(partial(self._in_use, name)):
            log.info("local copies deleted", adapters=evicted)
        log.info("fetched and verified", folder=str(folder))
        return folder

    def _verify(self, base_model: str, folder: Path, adapter: AdapterRecord) -> None:
        verify_adapter(
            folder,
            adapter,
            base_model=base_model,
            max_rank=self.server.max_lora_rank if self.server else None,
            shapes=module_shapes(base_model),
        )

    def _refuse(self, registry: Adapters, name: str, reason: str) -> None:
        self.refused += 1
        structlog.get_logger("lift").error("adapter refused", adapter=name, why=reason)
        # Once: a client that asks again and again must not fill the registry.
        if (name, reason) not in self._told:
            registry.record_event("adapter.refused", name, reason=reason, by=socket.gethostname())
            self._told.add((name, reason))

    def _in_use(self, fetched: str) -> set[str]:
        return {fetched} | (self.server.names_in_use() if self.server else self._asked)


class ServingEndpoints:
    """``GET /v1/lift/adapters`` of vLLM's API server, behind its API key like all of ``/v1``.

    vLLM loads it only where ``VLLM_PLUGINS`` names it. It also tells the resolver of the server.
    """

    name = "lift_serving"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._resolver = registered_resolver()

    def attach_router(self, app: FastAPI) -> None:
        """Add the route, if there is a resolver to tell of."""
        if self._resolver is not None:
            app.add_api_route("/v1/lift/adapters", self.adapters, methods=["GET"])

    async def init_state(self, engine_client: object, state: State, args: Namespace) -> None:
        """Tell the resolver which adapters the server lists, and which ranks it takes."""
        if self._resolver is not None:
            self._resolver.server = Server(
                models=state.openai_serving_models,
                max_loras=args.max_loras,
                max_lora_rank=args.max_lora_rank,
            )

    def adapters(self) -> dict[str, Any]:
        """Adapters that the server lists and that are cached, and the server's limits; sizes in bytes.

        Raises:
            RuntimeError: the server has not started.
        """
        if self._resolver is None or self._resolver.server is None:
            raise RuntimeError("/v1/lift/adapters was asked before vLLM's API server was ready")
        server = self._resolver.server
        return {
            "resident": list(server.models.lora_requests),
            **self._resolver.status(),
            "max_loras": server.max_loras,
            "max_lora_rank": server.max_lora_rank,
            "base_model": server.models.model_name(),
        }


def register() -> None:
    """Let vLLM resolve adapters by LIFT, where it may load any at run time and LIFT's settings say whence.

    vLLM calls it in each of its processes, some of them more than once.
    """
    from vllm import envs
    from vllm.lora.resolver import LoRAResolverRegistry

    if registered_resolver() is not None:
        return
    log = structlog.get_logger("lift")
    settings = get_settings()
    if not envs.VLLM_ALLOW_RUNTIME_LORA_UPDATING:
        log.info("vLLM resolves no adapters: VLLM_ALLOW_RUNTIME_LORA_UPDATING is not set")
    elif not settings.database_url.get_secret_value() or not settings.s3_endpoint:
        log.warning("vLLM resolves no adapters: LIFT_DATABASE_URL or LIFT_S3_ENDPOINT is not set")
    else:
        LoRAResolverRegistry.register_resolver(RESOLVER, LiftResolver.from_settings(settings))


def registered_resolver() -> LiftResolver | None:
    """The resolver of this process, if `register` made one."""
    from vllm.lora.resolver import LoRAResolverRegistry

    if RESOLVER not in LoRAResolverRegistry.get_supported_resolvers():
        return None
    resolver: LiftResolver = LoRAResolverRegistry.get_resolver(RESOLVER)
    return resolver


def _connect(settings: Settings) -> tuple[Adapters, FileStore]:
    from lift_core.registry import AdapterRegistry
    from lift_core.store import ObjectStore

    return AdapterRegistry.from_settings(settings), ObjectStore.from_settings(settings)
