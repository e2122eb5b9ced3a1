"""What several tiers share: a server that answers as a test says, in place of an OpenAI-compatible one."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class ScriptedServer(ThreadingHTTPServer):
    """Answers by ``script``: called with a request's body and its number, from 1 on.

    It returns what the model writes: a text, sent ``n`` times, or the list of texts. Or a status, a reply (sent
    as JSON, or as it is where it is bytes) and, if need be, headers. ``usage`` goes with every completion.
    ``asked`` are the bodies so far, ``paths`` where they were sent, ``most`` the largest number of requests
    that were under way at once.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = None
        self.usage = None
        self.asked = []
        self.paths = []
        self.under_way = 0
        self.most = 0
        self.guard = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def completion(self, body, texts):
        """A completion or a chat's answer, as its request asks for."""
        chat = "messages" in body
        choices = [
            {"index": n, "finish_reason": "stop", "logprobs": None}
            | ({"message": {"role": "assistant", "content": text}} if chat else {"text": text})
            for n, text in enumerate(texts)
        ]
        kind = "chat.completion" if chat else "text_completion"
        reply = {"id": "c", "object": kind, "created": 0, "model": body["model"], "choices": choices}
        return reply | ({"usage": self.usage} if self.usage else {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.guard:
            server.asked.append(body)
            server.paths.append(self.path)
            server.under_way += 1
            server.most = max(server.most, server.under_way)
            number = len(server.asked)
        said = server.script(body, number)
        with server.guard:
            server.under_way -= 1
        if isinstance(said, str):
            said = [said] * body.get("n", 1)
        if isinstance(said, list):
            said = (200, server.completion(body, said))
        status, reply, *more = said
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        self.send_response(status)
        for name, value in (headers | (more[0] if more else {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def scripted_server():
    server = ScriptedServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
