"""What make-env.sh and the programs in the containers do, each run here without an engine."""

import importlib.util
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lift_core.recipes import load_recipe
from lift_core.settings import Settings
from lift_core.stack import vllm

DOCKER = Path(__file__).parents[3] / "docker"
TEXT = (DOCKER / "compose.yaml").read_text("utf-8")
SERVICES = yaml.safe_load(TEXT)["services"]
# Its secrets are made by the same script.
SEVERAL = (DOCKER / "several-machines.yaml").read_text("utf-8")
ADDRESS = "CLUSTER_ADDRESS"
REFERENCE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


def load(name):
    spec = importlib.util.spec_from_file_location(f"docker_{name}", DOCKER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """What make-env.sh writes: name -> value."""
    file = tmp_path_factory.mktemp("env") / ".env"
    subprocess.run([DOCKER / "make-env.sh", file], check=True, capture_output=True)
    return read_env(file)


def read_env(file):
    lines = file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


# --- make-env.sh ----------------------------------------------------------------------------------------


def test_secrets_are_those_that_compose_requires(secrets):
    required = {name for name, how, _ in REFERENCE.findall(TEXT + SEVERAL) if how == "?"}
    assert required - {ADDRESS} == set(secrets)
    assert all(len(value) >= 20 for value in secrets.values())
    assert len(secrets["AIRFLOW_JWT_SECRET"]) >= 64
    for name, how, text in REFERENCE.findall(TEXT + SEVERAL):
        assert how, f"${{{name}}} is neither required nor has a default"
        if how == "?":
            assert text == (
                "set CLUSTER_ADDRESS in docker/.env" if name == ADDRESS else "run docker/make-env.sh first"
            )


def test_settings_named_by_make_env_are_those_of_compose():
    offered = dict(re.findall(r"^#(\w+)=(\S+)$", (DOCKER / "make-env.sh").read_text(), re.MULTILINE))
    assert offered.pop(ADDRESS)
    assert offered == {name: text for name, how, text in REFERENCE.findall(TEXT + SEVERAL) if how == "-"}


def test_fernet_key_is_one(secrets):
    from cryptography.fernet import Fernet

    Fernet(secrets["AIRFLOW_FERNET_KEY"])


def test_secrets_are_private_new_each_time_and_never_replaced(tmp_path, secrets):
    # As a user runs it: a copy beside its own .env.
    script = shutil.copy(DOCKER / "make-env.sh", tmp_path)
    subprocess.run([script], check=True, capture_output=True)
    file = tmp_path / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    values = read_env(file)
    assert not set(values.values()) & set(secrets.values())
    assert len(set(values.values())) == len(values)

    before = file.read_bytes()
    again = subprocess.run([script], capture_output=True, text=True)
    assert again.returncode == 1
    assert str(file) in again.stderr
    assert file.read_bytes() == before


# --- what runs in the containers ------------------------------------------------------------------------


def test_recipe_is_valid_and_mounted():
    recipe = load_recipe(str(DOCKER / "recipe.json"))
    assert vllm.fitting_rank(recipe.lora.rank)
    assert recipe.proof.served
    for service in ("setup", "gpu-worker", "vllm-serving", "models"):
        assert "./recipe.json:/etc/lift/recipe.json:ro" in SERVICES[service]["volumes"]
        assert SERVICES[service]["environment"]["LIFT_RECIPE"] == "/etc/lift/recipe.json"


@pytest.mark.parametrize("role", ["generator", "serving"])
def test_servers_answer_to_the_names_in_the_recipe(role):
    serve = load("serve")
    recipe = load_recipe(str(DOCKER / "recipe.json"))
    python, script, word, *options = SERVICES[f"vllm-{role}"]["command"]
    assert (python, Path(script).name, word) == ("python", "serve.py", role)
    words = serve.command(role, recipe.model_dump(), Path("/models"), options)
    given = dict(itertools.pairwise(words))
    name = recipe.generator.model if role == "generator" else recipe.base_model
    assert given["--served-model-name"] == name
    assert given["--model"] == f"/models/{name}"
    assert ("--enable-lora" in words) == (role == "serving")
    assert words[3:][-len(options) :] == options
    if role == "serving":
        assert given["--max-lora-rank"] == str(vllm.fitting_rank(recipe.lora.rank))
    url = SERVICES["gpu-worker"]["environment"][f"LIFT_{role.upper()}_URL"]
    assert url == f"http://vllm-{role}:{given['--port']}/v1"


def test_ranks_are_those_of_the_embedded_server():
    assert load("serve").LORA_RANKS == vllm.LORA_RANKS


def test_a_server_needs_a_key(tmp_path):
    serve = load("serve")
    (tmp_path / "key").write_text("from-a-file\n")
    assert serve.api_key({"VLLM_API_KEY_FILE": str(tmp_path / "key"), "VLLM_API_KEY": "x"}) == "from-a-file"
    assert serve.api_key({"VLLM_API_KEY": "from-the-environment"}) == "from-the-environment"
    with pytest.raises(SystemExit, match="VLLM_API_KEY"):
        serve.api_key({})


def test_server_is_started_with_the_key_out_of_sight(tmp_path):
    # A package named vllm that tells what it was started with.
    package = tmp_path / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for folder in (package, *package.parents[:2]):
        (folder / "__init__.py").touch()  # without, the real package would win
    (package / "api_server.py").write_text(
        "import os, sys, json; print(json.dumps([sys.argv, dict(os.environ)]))"
    )
    environment = {
        "PYTHONPATH": str(tmp_path),
        "LIFT_RECIPE": str(DOCKER / "recipe.json"),
        "LIFT_HOME": "/nowhere",
        "VLLM_API_KEY": "the-key",
    }
    words = [sys.executable, DOCKER / "serve.py", "serving", "--max-loras=4"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    arguments, seen = json.loads(done.stdout)
    assert arguments[-1] == "--max-loras=4"
    assert seen["VLLM_API_KEY"] == "the-key"
    assert seen["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert seen["VLLM_PLUGINS"] == vllm.ADAPTER_PLUGINS
    assert "the-key" not in " ".join(arguments)


def test_models_are_fetched_once(tmp_path, monkeypatch):
    fetch_models = load("fetch_models")
    calls = []

    class Hub:
        def model_info(self, name):
            return type("Info", (), {"sha": "c0ffee"})

    def download(name, revision, local_dir, allow_patterns):
        calls.append((name, revision))
        local_dir.mkdir(parents=True)

    monkeypatch.setattr(fetch_models, "HfApi", Hub)
    monkeypatch.setattr(fetch_models, "snapshot_download", download)
    monkeypatch.setattr(fetch_models, "prepare_models", lambda home, _: calls.append(("embedded", str(home))))
    settings = Settings(home=tmp_path, recipe=str(DOCKER / "recipe.json"))
    monkeypatch.setattr(fetch_models, "get_settings", lambda: settings)
    fetch_models.main()
    recipe = load_recipe(settings.recipe)
    assert calls == [(recipe.base_model, "c0ffee"), ("embedded", str(tmp_path))]
    assert (settings.models / recipe.base_model).is_dir()  # where steps and servers look
    fetch_models.main()
    assert len([name for name, _ in calls if name == recipe.base_model]) == 1


def test_entry_point_writes_the_password_file(tmp_path):
    file = tmp_path / "passwords.json"
    environment = {
        "PATH": os.environ["PATH"],
        "AIRFLOW_ADMIN_PASSWORD": "swordfish",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(file),
    }
    words = [DOCKER / "airflow-entrypoint.sh", "env"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(file.read_text()) == {"admin": "swordfish"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "swordfish" not in done.stdout

    file.unlink()
    del environment["AIRFLOW_ADMIN_PASSWORD"]
    subprocess.run(words, env=environment, capture_output=True, check=True)
    assert not file.exists()
