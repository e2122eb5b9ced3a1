"""vLLM's own list of models, our resolver, a real registry and a real store; only the engine is a fake."""

import asyncio
from argparse import Namespace
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.serving import BaseServing
from vllm.entrypoints.serve.exception_handling.register import init_exception_handler
from vllm.entrypoints.serve.lora.protocol import UnloadLoRAAdapterRequest
from vllm.lora.lora_model import LoRAModel
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.resolver import LoRAResolverRegistry

from lift_core.records import LoraRecipe, Recipe, TrainingResult
from lift_core.serving.vllm_plugin import LiftResolver, Server, ServingEndpoints
from lift_core.training.adapter_files import save_adapter, sha256_files

SHAPE = LoraRecipe(rank=8, alpha=16)
BASE = Recipe().base_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base model of the name that the recipe asks for, with random weights."""
    from lift_core.training.tiny_model import make_tiny_model

    folder = tmp_path_factory.mktemp("models") / BASE
    make_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """An adapter's folder as the trainer leaves it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=SHAPE.rank, lora_alpha=SHAPE.alpha, target_modules=list(SHAPE.targets))
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    result = TrainingResult(
        steps=1, pairs=1, tokens=1, seconds=1.0, first_loss=1.0, final_loss=1.0, losses=(1.0,)
    )
    folder = tmp_path_factory.mktemp("adapter") / "trained"
    save_adapter(model, Recipe(lora=SHAPE), result, folder)
    return folder


class FakeEngine:
    """Reads an adapter's files with vLLM's own reader, and does nothing with them."""

    renderer = input_processor = None

    def __init__(self, base):
        self.model_config = SimpleNamespace(model=str(base), max_model_len=128)
        self.loaded = {}
        self.while_loading = lambda name: None

    async def add_lora(self, request):
        self.while_loading(request.lora_name)
        helper = PEFTHelper.from_local_dir(request.lora_path, max_position_embeddings=None)
        self.loaded[request.lora_name] = LoRAModel.from_local_checkpoint(
            request.lora_path, set(SHAPE.targets), helper, lora_model_id=request.lora_int_id, device="cpu"
        )


@pytest.fixture
def make_server(base, settings, tmp_path, monkeypatch):
    """An API server over a fake engine, as vLLM builds it from its parts; settings may be changed."""
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")

    def make(max_lora_rank=16, **changes):
        own = settings.model_copy(update={"home": tmp_path} | changes)
        monkeypatch.setattr(LoRAResolverRegistry, "resolvers", {"lift": LiftResolver.from_settings(own)})
        engine = FakeEngine(base)
        app = FastAPI()
        app.state.args = Namespace(log_error_stack=False, max_loras=4, max_lora_rank=max_lora_rank)
        app.state.openai_serving_models = OpenAIServingModels(
            engine, [BaseModelPath(name=BASE, model_path=str(base))]
        )
        plugin = ServingEndpoints()
        plugin.attach_router(app)
        init_exception_handler(app)
        asyncio.run(plugin.init_state(engine, app.state, app.state.args))
        serving = BaseServing(app.state.openai_serving_models, engine.model_config)

        @app.get("/ask")
        async def ask(model: str) -> JSONResponse:
            """What every route of vLLM's does first."""
            error = await serving._check_model(SimpleNamespace(model=model))
            return JSONResponse(error.model_dump() if error else {}, error.error.code if error else 200)

        client = TestClient(app)
        return SimpleNamespace(
            engine=engine,
            models=app.state.openai_serving_models,
            client=client,
            ask=lambda name: client.get("/ask", params={"model": name}),
        )

    return make


@pytest.fixture
def put(registry, store, settings, work, trained):
    """Register a document's trained adapter, its files in the store; changes replace files' bytes."""

    def make(key="report.md", **changes):
        claim = work.claim(key, key)
        lease = registry.acquire(claim.job_id, "train", "test")
        prefix = f"jobs/{claim.job_id}/adapter/{lease.token:06d}/"
        for path in trained.iterdir():
            body = changes.get(path.stem, path.read_bytes())
            store.put_bytes(settings.adapters_bucket, f"{prefix}{path.name}", body)
        return claim, registry.register_candidate(lease, prefix, sha256_files(trained), {})

    return make


def refusals(registry, name):
    return [event.detail["reason"] for event in registry.events(name) if event.kind == "adapter.refused"]


def test_an_adapter_that_the_server_never_saw_is_fetched_and_loaded(put, make_server, registry, tmp_path):
    _, adapter = put()
    server = make_server()
    assert server.ask(adapter.name).status_code == 200
    assert server.engine.loaded[adapter.name].rank == SHAPE.rank
    assert len(server.engine.loaded[adapter.name].loras) == 2 * len(SHAPE.targets)
    listed = asyncio.run(server.models.show_available_models()).data
    assert [(model.id, model.parent) for model in listed] == [(BASE, None), (adapter.name, BASE)]
    body = server.client.get("/v1/lift/adapters").json()
    assert (body["resident"], body["downloads"], body["hits"]) == ([adapter.name], 1, 0)
    assert [copy["name"] for copy in body["cached"]] == [adapter.name]
    assert (tmp_path / "adapter-cache" / adapter.name).is_dir()
    assert refusals(registry, adapter.name) == []


def test_a_server_that_starts_anew_takes_the_copy_that_is_there(put, make_server, store, settings):
    _, adapter = put()
    make_server().ask(adapter.name).raise_for_status()
    for found in list(store.list(settings.adapters_bucket)):
        store.remove(settings.adapters_bucket, found.key)
    again = make_server()
    assert again.ask(adapter.name).status_code == 200
    assert again.client.get("/v1/lift/adapters").json()["hits"] == 1


def test_an_adapter_may_be_asked_for_by_its_own_name_while_it_is_in_service(put, make_server, registry, work):
    claim, adapter = put()
    registry.record_proof(work.prover(claim), adapter.name, {"gain": 1.0})
    assert registry.activate(adapter.name).aliases
    assert make_server().ask(adapter.name).status_code == 200
    # Aliases are the gateway's: here they would go stale.
    assert make_server().ask("report").status_code == 404
    assert make_server().ask("report@champion").status_code == 404
    registry.quarantine(adapter.name, "test")
    server = make_server()
    reply = server.ask(adapter.name)
    assert reply.status_code == 404
    assert "does not exist" in reply.json()["error"]["message"]
    assert server.engine.loaded == {}
    assert refusals(registry, adapter.name) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"adapter_model": b"tampered"}, "is not the file that was registered"),
        ({"adapter_config": b"{}"}, "is not the file that was registered"),
    ],
)
def test_files_that_are_not_the_registered_ones_are_never_loaded(put, make_server, registry, changes, reason):
    _, adapter = put(**changes)
    server = make_server()
    assert server.ask(adapter.name).status_code == 404
    assert server.engine.loaded == {} and server.models.lora_requests == {}
    assert server.client.get("/v1/lift/adapters").json()["refused"] == 1
    (found,) = refusals(registry, adapter.name)
    assert adapter.name in found and reason in found


def test_a_file_that_is_gone_from_the_store_is_named(put, make_server, registry, store, settings):
    _, adapter = put()
    store.remove(settings.adapters_bucket, f"{adapter.prefix}adapter_model.safetensors")
    assert make_server().ask(adapter.name).status_code == 404
    (found,) = refusals(registry, adapter.name)
    assert f"there is no s3://{settings.adapters_bucket}/{adapter.prefix}adapter_model" in found


def test_a_rank_above_the_servers_is_refused_before_the_engine_sees_it(put, make_server, registry):
    _, adapter = put()
    server = make_server(max_lora_rank=4)
    assert server.ask(adapter.name).status_code == 404
    assert server.engine.loaded == {}
    assert "takes at most 4" in refusals(registry, adapter.name)[0]


@pytest.mark.parametrize(
    "name", ["../report-v1", "folder/report-v1", "report-v1\n", " report-v1", "unknown-v1"]
)
def test_a_name_that_no_adapter_has_is_not_found(put, make_server, registry, name, tmp_path):
    put()
    assert make_server().ask(name).status_code == 404
    assert not (tmp_path / "adapter-cache").exists()


@pytest.mark.parametrize("away", ["s3_endpoint", "database_url"])
def test_a_service_that_is_away_is_a_503_and_never_a_404(put, make_server, settings, away):
    _, adapter = put()
    url = settings.database_url.get_secret_value().rpartition("@")[0] + "@127.0.0.1:9/none"
    changes = {"s3_endpoint": "127.0.0.1:9"}
    if away == "database_url":
        changes = {"database_url": type(settings.database_url)(url)}
    server = make_server(**changes)
    reply = server.ask(adapter.name)
    assert reply.status_code == 503
    assert "does not answer" in reply.json()["error"]["message"]
    assert server.models.lora_requests == {}


def test_what_vllm_lists_or_loads_counts_as_in_use(put, make_server):
    _, first = put("first.md")
    _, second = put("second.md")
    server = make_server()
    state = Server(server.models, max_loras=4, max_lora_rank=16)
    seen = []
    server.engine.while_loading = lambda name: seen.append(state.names_in_use())
    server.ask(first.name).raise_for_status()
    server.ask(second.name).raise_for_status()
    assert seen == [{first.name}, {first.name, second.name}]
    assert state.names_in_use() == {first.name, second.name}
    asyncio.run(server.models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=first.name)))
    assert state.names_in_use() == {second.name}
