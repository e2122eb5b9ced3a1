"""The vLLM servers behind the gateway: what each holds and does, and which one answers a request."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from lift_core.errors import LiftError
from lift_core.serving.gateway.naming import Target
from lift_core.serving.gateway.refusals import Refusal
from lift_core.serving.verification import base_name


@dataclass(eq=False)
class Replica:
    """One vLLM server as the gateway knows it. ``url`` ends in ``/v1``."""

    number: int
    url: str
    healthy: bool = False
    problem: str | None = "it has not been asked yet"
    """Why it is not healthy."""
    base_models: Mapping[str, str] | None = None
    """Its base models, each with the folder or name it was loaded from; None before it first answered."""
    context_tokens: Mapping[str, int] = field(default_factory=dict)
    """How many tokens its base models read at most, where it says so."""
    listed: set[str] = field(default_factory=set)
    """Adapters that it holds."""
    used: dict[str, float] = field(default_factory=dict)
    """When an adapter was last asked for here, on the monotonic clock."""
    in_flight: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    hits: int = 0
    """Requests whose adapter was listed when they came; the others are ``cold``."""
    cold: int = 0
    errors: int = 0

    @property
    def address(self) -> str:
        """Its URL without user, password and query: it may be shown."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def busy(self) -> int:
        """Requests under way."""
        return self.in_flight.total()

    def holds(self, name: str) -> bool:
        """Whether it has an adapter, or is just loading it for a request."""
        return name in self.listed or self.in_flight[name] > 0

    def serves(self, target: Target) -> bool:
        """Whether the target's base model is one of those it serves."""
        if target.adapter is None:
            return target.model in (self.base_models or {})
        roots = {base_name(root) for root in (self.base_models or {}).values()}
        return base_name(target.adapter.base_model) in roots

    def up(self, base_models: Mapping[str, str], listed: Collection[str]) -> None:
        """It answered: it serves these base models and holds these adapters."""
        self.healthy, self.problem = True, None
        self.base_models = dict(base_models)
        self.listed = set(listed)
        self.used = {name: at for name, at in self.used.items() if self.holds(name)}

    def down(self, problem: str) -> None:
        """It does not answer: nothing is sent there until it does again."""
        self.healthy, self.problem = False, problem

    @contextmanager
    def request(self, target: Target) -> Iterator[None]:
        """Count a request while it is under way."""
        self.requests += 1
        if target.adapter is not None:
            if target.model in self.listed:
                self.hits += 1
            else:
                self.cold += 1
        self.in_flight[target.model] += 1
        self.used[target.model] = time.monotonic()
        try:
            yield
        finally:
            self.in_flight[target.model] -= 1
            if not self.in_flight[target.model]:
                del self.in_flight[target.model]


class Replicas:
    """All of them, in the order of the settings.

    Raises:
        LiftError: there is none, or an address is not one.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        if not urls:
            raise LiftError("the gateway has no serving engine: run `lift up`, or set LIFT_SERVING_URL")
        for number, url in enumerate(urls):
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise LiftError(
                    f"address {number} in LIFT_SERVING_URL is not one: write http://host:port/v1, "
                    "several of them separated by commas"
                )
        self.all = tuple(Replica(number, url.rstrip("/")) for number, url in enumerate(urls))

    def base_models(self) -> list[str]:
        """Names of the base models that a replica serves, or served when it was last up."""
        return sorted({name for replica in self.all for name in replica.base_models or {}})

    def context_tokens(self, base_model: str) -> int | None:
        """How many tokens every replica of a base model reads; None where none says so."""
        return min(
            (each.context_tokens[base_model] for each in self.all if base_model in each.context_tokens),
            default=None,
        )

    def all_seen(self) -> bool:
        """Whether each replica has answered at least once, so that all base models are known."""
        return all(replica.base_models is not None for replica in self.all)

    def choose(self, target: Target, tried: Collection[Replica] = ()) -> Replica | None:
        """The replica that is to answer; None where no healthy one is left.

        For an adapter, one that holds it, with the fewest requests under way. If none does, the one that
        its name falls to among the healthy ones: concurrent first requests, and several gateways, meet there.
        """
        able = [each for each in self.all if each.healthy and each not in tried and each.serves(target)]
        holding = [each for each in able if target.adapter is None or each.holds(target.model)]
        if holding:
            return min(holding, key=lambda each: (each.busy, each.requests))
        return max(able, key=lambda each: _weight(each.url, target.model), default=None)

    def check(self, target: Target) -> None:
        """Return if a replica serves the target's base model, whether or not it is healthy now.

        Raises:
            Refusal: none does (409), or none of those that have answered so far does (503).
        """
        if any(each.serves(target) for each in self.all):
            return
        if not self.all_seen():
            raise self.none_left(target)
        base = target.adapter.base_model if target.adapter else target.model
        raise Refusal(
            409,
            "base_model_mismatch",
            f"adapter '{target.model}' is of base model '{base}', and the servers have "
            f"{', '.join(self.base_models()) or 'none'}: start one with '{base}' and name it in "
            "LIFT_SERVING_URL",
            "model",
        )

    def none_left(self, target: Target) -> Refusal:
        """What a client is told when no replica can answer now."""
        why = "; ".join(f"server {each.number}: {each.problem}" for each in self.all if each.problem)
        return Refusal(
            503,
            "no_replica",
            f"no serving engine can answer for '{target.model}' now ({why or 'each failed'}): "
            "see `lift serve status`",
        )


def _weight(url: str, name: str) -> bytes:
    """Rendezvous hashing: of all replicas the heaviest gets the name, so a lost one moves only its own."""
    return hashlib.sha256(f"{url} {name}".encode()).digest()
