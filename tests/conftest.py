"""What the tiers share: a server that answers as a test says, a model of random weights, gradients."""

import functools
import json
import logging
import os
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import structlog

# Workers beside each other have the cores; threads of torch that wait for theirs in a loop take them away.
# Before torch is loaded, which is later.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


class ScriptedServer(ThreadingHTTPServer):
    """Answers by ``script``: called with a request's body and its number, from 1 on.

    It returns what the model writes: a text, sent ``n`` times, or the list of texts. Or a status, a reply
    (sent as JSON, or as it is where it is bytes) and, if need be, headers. ``usage`` goes with every
    completion. ``pages`` are the texts that can be got, by path. ``asked`` are the bodies so far, ``paths``
    where they were sent, ``most`` the largest number of requests that were under way at once.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = None
        self.usage = None
        self.pages = {}
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

    def do_GET(self):
        page = self.server.pages.get(self.path)
        self.send_response(404 if page is None else 200)
        data = (page or "").encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

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


@pytest.fixture(scope="session", autouse=True)
def certificates():
    """HTTP clients share one reading of the root certificates, which takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(autouse=True)
def logs_as_before():
    """A command that a test runs in this process sends the logs to its own stderr, which is gone after it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configured, found = structlog.is_configured(), structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    if configured:
        structlog.configure(**found)
    else:
        structlog.reset_defaults()


# --- training -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a random-weights Llama with a real chat template; nobody writes into it."""
    from lift_core.training.tiny_model import make_tiny_model

    folder = tmp_path_factory.mktemp("model") / "tiny-random"
    make_tiny_model(folder)
    return folder


@pytest.fixture
def shake():
    """Give adapters weights in which nothing is zero."""
    import torch

    def run(adapters, *names):
        torch.manual_seed(1)
        for name in names:
            for parameter in adapters.parameters(name).values():
                # B starts at zero, and with it A's gradient would be zero too.
                parameter.data = torch.randn_like(parameter) * 0.05

    return run


@pytest.fixture
def gradients():
    """The gradients that an adapter of the trainer's has, by name."""

    def run(adapters, name):
        return {key: p.grad.clone() for key, p in adapters.parameters(name).items() if p.grad is not None}

    return run


@pytest.fixture
def assert_same():
    """Two sets of gradients are equal within float32's rounding, and none is zero."""
    import torch

    def run(found, wanted):
        assert found.keys() == wanted.keys() and wanted
        for name, gradient in wanted.items():
            assert gradient.abs().max() > 0, name
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)

    return run
