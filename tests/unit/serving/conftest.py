"""Stand-ins for the gateway's neighbours: vLLM servers and a registry, over real sockets."""

import asyncio
import json
import socket
import threading
from datetime import UTC, datetime

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lift_core.errors import NotFoundError, NotServableError, ServiceUnavailableError
from lift_core.records import AdapterPage, AdapterRecord, Recipe

PATIENCE_SECONDS = 30
BASE = "base"


class FakeVllm:
    """Answers as vLLM does; what it says names the model it was asked for. Tests set how it misbehaves."""

    def __init__(self, base=BASE):
        self.base = base
        self.listed = set()
        self.asked = []
        self.unloaded = []
        self.refused = set()
        self.reply = None
        """A response to give instead of an answer."""
        self.answers_as = None
        self.plugin = None
        self.go_on = threading.Event()
        """Streams pause after their first piece, and answers before they come, until it is set."""
        self.go_on.set()
        self.begun = threading.Event()
        self.cancelled = threading.Event()
        self.breaks_off = False
        self.app = Starlette(
            routes=[
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.answer, methods=["POST"]),
                Route("/v1/completions", self.answer, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
                Route("/v1/lift/adapters", self.adapters),
            ]
        )

    async def models(self, request):
        cards = [{"id": self.base, "root": f"/models/{self.base}", "parent": None}]
        cards += [{"id": name, "root": f"/cache/{name}", "parent": self.base} for name in sorted(self.listed)]
        return JSONResponse({"object": "list", "data": cards})

    async def adapters(self, request):
        return JSONResponse(self.plugin) if self.plugin else JSONResponse({"detail": "Not Found"}, 404)

    async def unload(self, request):
        name = (await request.json())["lora_name"]
        self.listed.discard(name)
        self.unloaded.append(name)
        return Response(f"Success: LoRA adapter '{name}' removed successfully.")

    async def answer(self, request):
        body = await request.json()
        self.asked.append(body)
        name = body["model"]
        if self.reply is not None:
            return self.reply
        if name in self.refused:
            message = f"The model `{name}` does not exist."
            return JSONResponse({"error": {"message": message, "type": "NotFoundError", "code": 404}}, 404)
        if name != self.base:
            self.listed.add(name)
        said = self.answers_as or name
        if body.get("stream"):
            return StreamingResponse(self.events(said), media_type="text/event-stream")
        self.begun.set()
        while not self.go_on.is_set():
            if await request.is_disconnected():
                self.cancelled.set()
                break
            await asyncio.sleep(0.01)
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": f"I am {said}"},
        }
        return JSONResponse(
            {"id": "1", "object": "chat.completion", "created": 0, "model": said, "choices": [choice]}
        )

    async def events(self, said):
        try:
            for piece in ("I am ", said):
                choice = {"index": 0, "delta": {"content": piece}}
                chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": said}
                yield f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"
                self.begun.set()
                while not self.go_on.is_set():
                    await asyncio.sleep(0.01)
                if self.breaks_off:
                    raise ConnectionError("the engine is dead")
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class FakeRegistry:
    """Names in memory, with the errors of the real one."""

    def __init__(self):
        self.by_name = {}
        self.aliases = {}
        self.away = False

    def add(self, name, **changes):
        self.by_name[name] = record(name, **changes)
        return self.by_name[name]

    def point(self, alias, name):
        self.aliases[alias] = name

    def set_state(self, name, state):
        self.by_name[name] = self.by_name[name].model_copy(update={"state": state})

    def resolve(self, name):
        self.check()
        found = self.by_name.get(self.aliases.get(name, name))
        if found is None:
            raise NotFoundError(f"there is no adapter, alias or document '{name}'; see `lift adapters ls`")
        if found.state not in ("active", "superseded"):
            raise NotServableError(f"adapter '{found.name}' is {found.state}: it may not serve", found.state)
        return found

    def recipe(self, digest):
        self.check()
        return Recipe()

    def states_of(self, names):
        self.check()
        return {name: self.by_name[name].state for name in names if name in self.by_name}

    def adapters(self, filter, limit, cursor):
        self.check()
        names = sorted(name for name, each in self.by_name.items() if each.state in filter.states)
        first = int(cursor or 0)
        page = [
            self.by_name[name].model_copy(
                update={"aliases": tuple(alias for alias, to in self.aliases.items() if to == name)}
            )
            for name in names[first : first + limit]
        ]
        more = first + limit < len(names)
        return AdapterPage(adapters=tuple(page), next_cursor=str(first + limit) if more else None)

    def check(self):
        if self.away:
            raise ServiceUnavailableError("the registry at db:5432/lift does not answer: is it up?")


def record(name, **changes):
    made = AdapterRecord(
        name=name,
        aliases=(),
        bucket="inbox",
        document="report.md",
        slug="report",
        version=1,
        title="Report of {1912}",
        base_model=BASE,
        base_revision="1",
        recipe="0" * 64,
        state="active",
        prefix=f"jobs/{name}/",
        files={},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        activated_at=None,
        scores={},
        tags={},
    )
    return made.model_copy(update=changes)


class Server(uvicorn.Server):
    """Looks ten times as often as uvicorn does whether it is to stop."""

    async def main_loop(self):
        while not await self.on_tick(0):
            await asyncio.sleep(0.01)


class Served:
    """An application on a free port, in a thread."""

    def __init__(self, app, port=0):
        self.socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"
        self.server = Server(uvicorn.Config(app, log_level="critical"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()
        waiting = threading.Event()
        for _ in range(PATIENCE_SECONDS * 100):
            if self.server.started or not self.thread.is_alive():
                break
            waiting.wait(0.01)
        assert self.server.started

    def ask_to_stop(self):
        self.server.should_exit = self.server.force_exit = True

    def stop(self):
        self.ask_to_stop()
        self.thread.join()
        self.socket.close()


@pytest.fixture
def served():
    """Serve an application until the test's end."""
    started = []

    def start(app, port=0):
        started.append(Served(app, port))
        return started[-1]

    yield start
    for each in started:
        each.ask_to_stop()
    for each in started:
        each.stop()


@pytest.fixture
def fake_vllm():
    """Make a stand-in for a vLLM server."""
    return FakeVllm


@pytest.fixture
def registry():
    """A stand-in for the registry with one document of two versions."""
    made = FakeRegistry()
    made.add("report-v1")
    made.add("report-v2")
    made.point("report", "report-v1")
    made.point("report@champion", "report-v1")
    return made
