"""Receivers of webhooks: real HTTP servers on loopback that verify what they get."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from lift_core.delivery import Deliverer, Sender
from lift_core.registry.webhooks import Webhooks
from lift_core.settings import Settings

SECRET = SecretStr("whsec_" + base64.b64encode(b"integration tests sign with this").decode())


@dataclass(frozen=True)
class Received:
    """A request, and whether its signature is that of its id, time and body."""

    path: str
    id: str
    headers: dict[str, str]
    raw: bytes
    signed: bool

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def kind(self) -> str:
        return str(self.body["type"])

    @property
    def subject(self) -> str:
        return str(self.body["data"]["subject"])


class Receiver:
    """A server that keeps what it gets and answers what ``answer`` says: a status, or more than that.

    ``answer`` is called with each request before it is answered; it may wait, or kill the sender.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/hook"
        self.received: list[Received] = []
        self.answer: Callable[[Received], int | tuple[int, dict[str, str], bytes]] = lambda _: 200
        self._lock = threading.Lock()

    @property
    def subjects(self) -> list[str]:
        """The subjects of all requests, in order; each was signed."""
        with self._lock:
            assert all(each.signed for each in self.received)
            return [each.subject for each in self.received]

    @contextmanager
    def listening(self) -> Iterator[None]:
        server = _server(self)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def take(self, path: str, headers: dict[str, str], raw: bytes) -> tuple[int, dict[str, str], bytes]:
        key = base64.b64decode(SECRET.get_secret_value().removeprefix("whsec_"))
        text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + raw
        expected = "v1," + base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()
        signed = hmac.compare_digest(headers["webhook-signature"], expected)
        found = Received(path, headers["webhook-id"], headers, raw, signed)
        with self._lock:
            self.received.append(found)
        answer = self.answer(found)
        return answer if isinstance(answer, tuple) else (answer, {}, b"")


def _server(receiver: Receiver) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            raw = self.rfile.read(int(headers["content-length"]))
            status, more, body = receiver.take(self.path, headers, raw)
            try:
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                return  # the sender was killed, or did not wait

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    return Server(("127.0.0.1", receiver.port), Handler)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture
def new_receiver() -> Iterator[Callable[..., Receiver]]:
    """Make receivers; unless told otherwise they listen until the test ends."""
    with ExitStack() as stack:

        def make(*, listening: bool = True) -> Receiver:
            receiver = Receiver(free_port())
            if listening:
                stack.enter_context(receiver.listening())
            return receiver

        yield make


@pytest.fixture
def receiver(new_receiver: Callable[..., Receiver]) -> Receiver:
    return new_receiver()


@pytest.fixture
def hooks(registry: Any, settings: Settings) -> Webhooks:
    """The webhooks of the registry with empty tables."""
    return Webhooks.from_settings(settings)


@pytest.fixture
def add(hooks: Webhooks) -> Callable[..., int]:
    """Add a webhook for a receiver; returns its number."""

    def call(receiver: Receiver, *kinds: str) -> int:
        return hooks.add_webhook(receiver.url, kinds, SECRET)[0].id

    return call


@pytest.fixture
def deliver(hooks: Webhooks) -> Callable[[], None]:
    """Deliver all that is due, as ``lift webhooks deliver --once`` does."""

    async def run() -> None:
        async with Sender(seconds=5) as sender:
            await Deliverer(hooks, sender).run(once=True)

    return lambda: asyncio.run(run())


@pytest.fixture
def time_passes(sql: Any) -> Callable[[], None]:
    """Let every lease and every wait be over."""
    return lambda: sql("UPDATE deliveries SET next_at = clock_timestamp() - interval '1 second'")
