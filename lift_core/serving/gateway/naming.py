"""Names in the registry: asked with every request, so that a move or a quarantine holds at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from lift_core.errors import NotFoundError, ServiceUnavailableError
from lift_core.prompting import messages
from lift_core.records import AdapterFilter, AdapterPage, AdapterRecord, Recipe

LOOKUPS_AT_ONCE = 8
"""Connections to the registry. A lookup takes a few milliseconds at most; more of them wait for a turn."""
_LOOKUP_SECONDS = 15.0
_RECIPES = 256
_MAX_NAME = 1100
"""An object's key, the longest thing that names an adapter, has at most 1024 bytes."""
_Found = TypeVar("_Found")


class Registry(Protocol):
    """What the gateway asks of the registry; several threads call it at once."""

    def resolve(self, name: str) -> AdapterRecord:
        """The adapter that may answer under a name, an alias or a document's key."""

    def recipe(self, digest: str) -> Recipe:
        """The recipe of that digest."""

    def states_of(self, names: Collection[str]) -> dict[str, str]:
        """The state of each adapter of those names."""

    def adapters(self, filter: AdapterFilter | None, limit: int, cursor: str | None) -> AdapterPage:
        """One page of the adapters that a filter lets through."""


@dataclass(frozen=True)
class Target:
    """Who answers a request: an adapter, or a base model under its own name."""

    asked: str
    """The client's word: an adapter's name, an alias, a document's key or a base model's name."""
    adapter: AdapterRecord | None = None

    @property
    def model(self) -> str:
        """What vLLM is asked for: an adapter's immutable name, or the base model's."""
        return self.adapter.name if self.adapter else self.asked

    def headers(self) -> dict[str, str]:
        """What the client is told of who answered; a document's key is percent-encoded."""
        if self.adapter is None:
            return {}
        return {"x-lift-adapter": self.adapter.name, "x-lift-alias": quote(self.asked, safe="@/")}


class Names:
    """The registry, asked in threads of its own. Nothing is remembered but recipes, which never change."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._recipe = lru_cache(_RECIPES)(registry.recipe)
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="registry")

    async def resolve(self, asked: str) -> AdapterRecord:
        """The adapter that may answer under a name, an alias or a document's key.

        Raises:
            NotFoundError: there is none.
            NotServableError: its state does not let it answer.
            ServiceUnavailableError: the registry is away.
        """
        # What PostgreSQL cannot take as text names nothing.
        if len(asked) > _MAX_NAME or "\0" in asked or any("\ud800" <= each <= "\udfff" for each in asked):
            raise NotFoundError("there is no adapter, alias or document of that name")
        return await self._call(partial(self._registry.resolve, asked))

    async def as_trained(self, adapter: AdapterRecord, chat: list[Any]) -> list[Any]:
        """A chat's messages with what the adapter was trained to see before a question.

        That is the recipe's system message, or, where the base model's template knows no system role, its
        words at the beginning of the first user message. A client that put them there itself, as `lift ask`
        does, has them once.

        Raises:
            ServiceUnavailableError: the registry is away.
        """
        recipe = await self._call(partial(self._recipe, adapter.recipe))
        first = messages(recipe.training, adapter.title, "")[0]
        if first["role"] == "system":
            return [first, *chat]
        for number, message in enumerate(chat):
            if isinstance(message, dict) and message.get("role") == "user":
                content = _begun(message.get("content"), first["content"])
                return [*chat[:number], {**message, "content": content}, *chat[number + 1 :]]
        return chat

    async def states_of(self, names: Collection[str]) -> dict[str, str]:
        """The state of each adapter of those names; names that are no adapter's are left out.

        Raises:
            ServiceUnavailableError: the registry is away.
        """
        return await self._call(partial(self._registry.states_of, names))

    async def page(self, limit: int, cursor: str | None) -> AdapterPage:
        """Some of the adapters that may be asked, newest first.

        Raises:
            LiftError: the cursor or the limit is not one.
            ServiceUnavailableError: the registry is away.
        """
        servable = AdapterFilter(states=("active", "superseded"))
        return await self._call(partial(self._registry.adapters, servable, limit, cursor))

    def close(self) -> None:
        """End the threads; what they are asking for is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, call: Callable[[], _Found]) -> _Found:
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except TimeoutError as error:
            raise ServiceUnavailableError(
                f"the registry did not answer within {_LOOKUP_SECONDS:.0f} s: is its database well? "
                "see `lift status`"
            ) from error


def _begun(content: Any, beginning: str) -> Any:
    """A message's content, a text or a list of parts, with its text beginning so."""
    if isinstance(content, str):
        return content if content.startswith(beginning) else beginning + content
    # What is neither, or holds no text, is vLLM's to refuse.
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
            begun = {**part, "text": _begun(part["text"], beginning)}
            return [*content[:number], begun, *content[number + 1 :]]
    return content
