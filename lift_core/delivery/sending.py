"""One POST to a receiver: where it may go, how long it may take, and what the answer means."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Self

import httpx

from lift_core.delivery.messages import Message, headers
from lift_core.errors import LiftError
from lift_core.registry.webhook_rules import check_address
from lift_core.registry.webhooks import WebhookTarget

SECONDS = 10.0
"""For the whole of it: name, connection, request and answer."""
_KEPT_CHARACTERS = 200
_READ_BYTES = 1000


@dataclass(frozen=True)
class Answer:
    """What came back: a status, unless nobody answered, and the reason why it does not count."""

    status: int | None
    reason: str | None = None

    @property
    def taken(self) -> bool:
        """Whether the receiver took the message."""
        return self.reason is None

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no more messages."""
        return self.status == HTTPStatus.GONE


class Sender:
    """Posts messages; use it as an asynchronous context manager."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._http = httpx.AsyncClient(
            # The environment's certificates (SSL_CERT_FILE) count, its proxies do not: behind one, nobody
            # could tell which address is reached.
            verify=httpx.create_ssl_context(),
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # noqa: S113 - all of it is under one limit, see send()
            # Connections are made to addresses. One that was kept could serve another name at the same
            # address, whose certificate nobody has looked at.
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(self, target: WebhookTarget, message: Message) -> Answer:
        """Post one message and say what came of it; whatever goes wrong on the way is an answer too."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._send(target, message)
        except TimeoutError:
            return Answer(None, f"no answer within {self._seconds:g} seconds")
        except LiftError as error:
            return Answer(None, str(error))
        except (httpx.TransportError, httpx.InvalidURL) as error:
            return Answer(None, f"{type(error).__name__}: {_printable(str(error))}")

    async def _send(self, target: WebhookTarget, message: Message) -> Answer:
        url = httpx.URL(target.url)
        try:
            addresses = await _addresses(url)
        except (OSError, UnicodeError) as error:
            return Answer(None, f"the name '{url.host}' cannot be resolved: {_printable(str(error))}")
        for address in addresses:
            check_address(address)
        failure = ""
        for address in addresses:
            try:
                return await self._post(url, address, target, message)
            except httpx.ConnectError as error:  # the name's next address may listen
                failure = f"no connection to {url.host} at {address}: {_printable(str(error))}"
        return Answer(None, failure)

    async def _post(self, url: httpx.URL, address: str, target: WebhookTarget, message: Message) -> Answer:
        """Post to the address that was checked, not to whatever the name resolves to a moment later."""
        request = self._http.build_request(
            "POST",
            url.copy_with(host=address),
            content=message.body,
            headers=headers(message, target.secret, datetime.now(UTC)) | {"host": url.netloc.decode()},
            extensions={"sni_hostname": url.host},
        )
        reply = await self._http.send(request, stream=True)
        try:
            if reply.is_success:
                return Answer(reply.status_code)
            if reply.has_redirect_location:
                return Answer(reply.status_code, f"HTTP {reply.status_code}: redirects are not followed")
            said = _printable((await _beginning(reply)).decode(errors="replace"))
            return Answer(reply.status_code, f"HTTP {reply.status_code}" + (f": {said}" if said else ""))
        finally:
            await reply.aclose()


async def _addresses(url: httpx.URL) -> list[str]:
    port = url.port or (443 if url.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def _beginning(reply: httpx.Response) -> bytes:
    """The first bytes of an answer as they were sent: nothing is unpacked that could be huge."""
    read = b""
    async for chunk in reply.aiter_raw():
        read += chunk
        if len(read) >= _READ_BYTES:
            break
    return read[:_READ_BYTES]


def _printable(text: str) -> str:
    """One short line that a terminal and a log can show."""
    letters = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(letters.split())[:_KEPT_CHARACTERS]
