"""A request on its way to a vLLM server, and the answer on its way back, if it bears the right name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx
import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from lift_core.serving.gateway.naming import Target
from lift_core.serving.gateway.refusals import Refusal
from lift_core.serving.gateway.replicas import Replica, Replicas

TIMEOUT = httpx.Timeout(600.0, connect=5.0)
"""The long one is for an answer, or the next piece of it: a queue on few cores may be long."""
LIMITS = httpx.Limits(max_connections=None, keepalive_expiry=2.0)
"""A connection is not used again when vLLM, which keeps an idle one for 5 s, may just be closing it."""
_MAX_BROKEN = 2
"""Servers that may break off over one request. It may be the request that ends them."""
_MAX_HEAD_BYTES = 2**20
_PASSED_HEADERS = ("content-type", "retry-after")


class Forwarder:
    """Sends requests to replicas."""

    def __init__(self, replicas: Replicas, http: httpx.AsyncClient) -> None:
        self._replicas = replicas
        self._http = http
        self._log = structlog.get_logger("lift")

    async def forward(self, path: str, body: Mapping[str, Any], target: Target) -> Response:
        """The answer of a replica; ``path`` is the route's after ``/v1/``. A dead replica is passed over.

        Raises:
            Refusal: no replica answers (503), one broke off or answered in another name (502), or took too
                long (504).
        """
        content = json.dumps({**body, "model": target.model}).encode()
        tried: list[Replica] = []
        broken = 0
        while broken < _MAX_BROKEN and (replica := self._replicas.choose(target, tried)) is not None:
            tried.append(replica)
            async with AsyncExitStack() as stack:
                stack.enter_context(replica.request(target))
                try:
                    reply = await self._send(f"{replica.url}/{path}", content)
                except httpx.ReadTimeout as error:
                    replica.errors += 1
                    raise _too_slow(replica, target) from error
                except httpx.TransportError as error:
                    broken += not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                    self._lost(replica, error)
                    continue
                stack.push_async_callback(reply.aclose)
                return await self._answer(reply, replica, target, stack)
        raise self._replicas.none_left(target)

    async def _send(self, url: str, content: bytes) -> httpx.Response:
        # Nothing compressed: what comes is passed on at once, as it is.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        return await self._http.send(
            self._http.build_request("POST", url, content=content, headers=headers), stream=True
        )

    async def _answer(
        self, reply: httpx.Response, replica: Replica, target: Target, stack: AsyncExitStack
    ) -> Response:
        headers = {name: reply.headers[name] for name in _PASSED_HEADERS if name in reply.headers}
        headers |= target.headers() | {"x-lift-replica": str(replica.number)}
        streams = reply.is_success and headers.get("content-type", "").startswith("text/event-stream")
        try:
            if streams:
                pieces = reply.aiter_bytes()
                held, said = await _first_event(pieces)
            else:
                held = await reply.aread()
                said = _json(held)
        except httpx.ReadTimeout as error:
            replica.errors += 1
            raise _too_slow(replica, target) from error
        except httpx.TransportError as error:
            self._lost(replica, error)
            raise Refusal(
                502, "replica_lost", f"serving engine {replica.number} broke off: ask again"
            ) from error
        status = reply.status_code
        if reply.is_success and isinstance(said, dict) and said.get("error"):
            status = _status_in(said)
        if status not in range(200, 300):
            replica.errors += status >= 500
            return _error(status, held, said, headers, replica, target)
        self._check_name(said, replica, target)
        self._log.info("answers", asked=target.asked, model=target.model, replica=replica.number)
        if not streams:
            return Response(held, status, headers)
        return _Streamed(self._pass_on(held, pieces, replica), headers, stack.pop_all())

    def _check_name(self, said: Any, replica: Replica, target: Target) -> None:
        if target.adapter is None:
            return
        name = said.get("model") if isinstance(said, dict) else None
        if name != target.model:
            replica.errors += 1
            self._log.error(
                "a serving engine answered in another name",
                asked=target.model,
                said=name,
                replica=replica.address,
            )
            raise Refusal(
                502,
                "wrong_model",
                f"serving engine {replica.number} was asked for '{target.model}' and answered as "
                f"{str(name)[:200]!r}; its answer is withheld",
            )
        replica.listed.add(target.model)

    async def _pass_on(
        self, held: bytes, pieces: AsyncIterator[bytes], replica: Replica
    ) -> AsyncIterator[bytes]:
        yield held
        try:
            async for piece in pieces:
                yield piece
        except httpx.TransportError as error:
            self._lost(replica, error)
            lost = Refusal(502, "replica_lost", f"serving engine {replica.number} broke off in mid-answer")
            yield f"\n\ndata: {json.dumps(lost.body())}\n\n".encode()

    def _lost(self, replica: Replica, error: httpx.TransportError) -> None:
        replica.errors += 1
        replica.down(f"it does not answer ({type(error).__name__})")
        self._log.warning("a serving engine is away", replica=replica.address, why=repr(error))


class _Streamed(StreamingResponse):
    """Passes events on; the replica's answer is closed at the end, also when the client leaves early."""

    def __init__(
        self, events: AsyncIterator[bytes], headers: Mapping[str, str], stack: AsyncExitStack
    ) -> None:
        super().__init__(events, headers={**headers, "cache-control": "no-store"})
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)


async def _first_event(pieces: AsyncIterator[bytes]) -> tuple[bytes, Any]:
    """What was read up to the first event with data, and that data; None if there is none."""
    held = b""
    async for piece in pieces:
        held += piece
        for line in held.split(b"\n")[:-1]:
            if line.startswith(b"data:"):
                return held, _json(line.removeprefix(b"data:"))
        if len(held) > _MAX_HEAD_BYTES:
            break
    return held, None


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _status_in(said: Mapping[str, Any]) -> int:
    """The status of an error that came as an event, after the answer's own status had been sent."""
    error = said["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def _error(
    status: int, held: bytes, said: Any, headers: Mapping[str, str], replica: Replica, target: Target
) -> Response:
    """The replica's error as it is, where it is one that the client can understand."""
    error = said.get("error") if isinstance(said, dict) else None
    message = (
        str(error.get("message", error)) if isinstance(error, dict) else held[:300].decode(errors="replace")
    )
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Refusal(
            502,
            "replica_refuses",
            f"serving engine {replica.number} does not take the gateway's key ({status}): "
            "check LIFT_SERVING_API_KEY",
        ).answer()
    not_loaded = f"LoRA adapter '{target.model}' was found but could not be loaded" in message
    if target.adapter is not None and (status == httpx.codes.NOT_FOUND or not_loaded):
        return Refusal(
            502,
            "adapter_not_loadable",
            f"serving engine {replica.number} does not load '{target.model}' ({message}): its log says why; "
            f"see `lift adapters show {target.model}`",
            "model",
        ).answer()
    if status < 400 or not isinstance(error, dict):
        return Refusal(
            status if status >= 400 else 502,
            "replica_error",
            f"serving engine {replica.number} answers {status}: {message}",
        ).answer()
    # The error alone: beside it there may be words in another name.
    return Response(json.dumps({"error": error}), status, {**headers, "content-type": "application/json"})


def _too_slow(replica: Replica, target: Target) -> Refusal:
    return Refusal(
        504,
        "replica_timeout",
        f"serving engine {replica.number} took more than {TIMEOUT.read:.0f} s over '{target.model}': "
        "see `lift serve status`",
    )
