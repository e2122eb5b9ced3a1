"""A stand-in for a MinIO server: a real SeaweedFS, with MinIO's notifications of a bucket before it.

What it stands in for is one call, ``GET /bucket?events=…``: an answer without end, of lines
``{"Records": [{"eventName", "s3": {"bucket", "object"}}]}`` and of a space every so often as a sign of life
(MinIO: twice a second). Everything else is handed to SeaweedFS as it came, signature and all; a request to
listen too, so that its signature is checked: SeaweedFS answers a rightful one with NotImplemented.

``fault`` decides what becomes of each notification, as networks and servers do it.
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

_SIGN_OF_LIFE_SECONDS = 0.1
_END, _SILENCE = object(), object()
Fault = Callable[[], str]
"""Gives ``told``, ``missed``, ``twice``, ``late``, ``cut`` or ``silent`` for the next notification."""


class MinioStandIn:
    """Serves on loopback until :meth:`close`; ``endpoint`` is its address."""

    def __init__(self, upstream: str, fault: Fault = lambda: "told") -> None:
        self.upstream = upstream
        self.fault = fault
        self.streams = 0
        self._listeners: list[queue.SimpleQueue[Any]] = []
        self._late: list[bytes] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.endpoint = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.send(_END)
        self._server.shutdown()
        self._server.server_close()

    def send(self, what: Any) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.put(what)

    def changed(self, event: str, bucket: str, key: str) -> None:
        """Tell of a change, or do with it what ``fault`` says."""
        record = {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
        line = json.dumps({"Records": [record]}).encode() + b"\n"
        fault = self.fault()
        if fault == "late":
            self._late.append(line)
            return
        if fault == "missed":
            return
        if fault in ("cut", "silent"):
            self.send(_END if fault == "cut" else _SILENCE)
            return
        for _ in range(2 if fault == "twice" else 1):
            self.send(line)
        # What came late comes now, after what happened after it.
        while self._late:
            self.send(self._late.pop())

    def listen(self) -> queue.SimpleQueue[Any]:
        listener: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            self._listeners.append(listener)
            self.streams += 1
        return listener

    def leave(self, listener: queue.SimpleQueue[Any]) -> None:
        with self._lock:
            self._listeners.remove(listener)


def _handler(stand_in: MinioStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if "events" not in parse_qs(urlsplit(self.path).query):
                self._pass_on()
                return
            status, _, body = self._ask_upstream()
            if b"NotImplemented" not in body:
                self._answer(status, [], body)
                return
            self._stream()

        def do_PUT(self) -> None:
            self._pass_on("s3:ObjectCreated:Put")

        def do_DELETE(self) -> None:
            self._pass_on("s3:ObjectRemoved:Delete")

        def do_HEAD(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        def log_message(self, *_: Any) -> None:
            """Nothing: requests are many."""

        def _pass_on(self, event: str = "") -> None:
            status, headers, body = self._ask_upstream()
            self._answer(status, headers, body)
            address = urlsplit(self.path)
            bucket, _, key = unquote(address.path).lstrip("/").partition("/")
            if event and status < 300 and key and not address.query:
                stand_in.changed(event, bucket, key)

        def _ask_upstream(self) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(stand_in.upstream, timeout=60)
            try:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                # The host that was asked for is part of the signature.
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            finally:
                connection.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = dict(headers).get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.close_connection = True
            listener, silent = stand_in.listen(), False
            try:
                while True:
                    try:
                        what = listener.get(timeout=_SIGN_OF_LIFE_SECONDS)
                    except queue.Empty:
                        what = b" "
                    if what is _END:
                        return
                    silent = silent or what is _SILENCE
                    if not silent:
                        self.wfile.write(f"{len(what):x}\r\n".encode() + what + b"\r\n")
                        self.wfile.flush()
            except OSError:
                return
            finally:
                stand_in.leave(listener)

    return Handler


@pytest.fixture
def minio(settings: Any, store: Any) -> Iterator[MinioStandIn]:
    """The stand-in before the tests' SeaweedFS, whose buckets are empty."""
    stand_in = MinioStandIn(settings.s3_endpoint)
    yield stand_in
    stand_in.close()
