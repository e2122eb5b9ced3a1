"""Who may ask: whoever sends one of the gateway's keys. Only the health probe needs none."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lift_core.serving.gateway.refusals import Refusal

HEALTH = "/health"


class BearerKeys:
    """Middleware that answers 401 to every path but the health probe, unless a key comes with the request."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._lets_in(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            message = "no valid API key: send one of the gateway's (LIFT_GATEWAY_API_KEY) as a bearer token"
            await Refusal(401, "invalid_api_key", message).answer()(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "there are no websockets here"})

    def _lets_in(self, scope: Scope) -> bool:
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        # All are compared, each in constant time: how long it takes tells nothing of a key.
        same = [hmac.compare_digest(key, given.strip().encode("latin-1")) for key in self._keys]
        return scope["path"] == HEALTH or (scheme.lower() == "bearer" and any(same))
