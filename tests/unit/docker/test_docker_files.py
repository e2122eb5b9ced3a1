"""The Docker files, as far as they can be checked without an engine: linters, schemas, their pieces run."""

import configparser
import fnmatch
import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest
import yaml

from lift_core.recipes import load_recipe
from lift_core.settings import Settings
from lift_core.stack import postgres, vllm
from lift_core.stack.ports import HOST
from lift_core.stack.processes import start, wait_until
from lift_core.stack.service import Service

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
TEXT = (DOCKER / "compose.yaml").read_text("utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
REFERENCE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
SECRET_NAME = re.compile(r"PASSWORD$|SECRET|_KEY$|TOKEN$|CONN$|ROOT_USER$")


def load(name):
    spec = importlib.util.spec_from_file_location(f"docker_{name}", DOCKER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environments():
    """Every (service, variable, value) of the compose file."""
    return [
        (name, variable, str(value))
        for name, service in SERVICES.items()
        for variable, value in service.get("environment", {}).items()
    ]


def build_of(dockerfile):
    """The context folder of a Dockerfile, as compose.yaml builds it."""
    contexts = {
        (DOCKER / service["build"]["context"]).resolve()
        for service in SERVICES.values()
        if "build" in service
        and (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == dockerfile
    }
    assert len(contexts) == 1, f"{dockerfile.name} is built from {contexts or 'nowhere'}"
    return contexts.pop()


def instructions(dockerfile, word):
    """The arguments of each such instruction, continuation lines joined."""
    text = "\n".join(line for line in dockerfile.read_text().splitlines() if not line.startswith("#"))
    return [
        line.split(None, 1)[1]
        for line in text.replace("\\\n", " ").splitlines()
        if line.startswith(f"{word} ")
    ]


def copied(dockerfile):
    """The sources that a Dockerfile copies from its context."""
    return [
        source.rstrip("/")
        for line in instructions(dockerfile, "COPY")
        for source in shlex.split(line)[:-1]
        if not source.startswith("--")
    ]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """What make-env.sh writes: name -> value."""
    file = tmp_path_factory.mktemp("env") / ".env"
    subprocess.run([DOCKER / "make-env.sh", file], check=True, capture_output=True)
    return read_env(file)


def read_env(file):
    lines = file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


# --- images ---------------------------------------------------------------------------------------------


def test_there_are_dockerfiles():
    assert [path.name for path in DOCKERFILES] == ["airflow.Dockerfile", "vllm.Dockerfile"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(dockerfile):
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", dockerfile], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_base_image_is_pinned_and_user_is_not_root(dockerfile):
    for image in instructions(dockerfile, "FROM"):
        assert re.search(r":v?\d+\.\d+\.\d+", image), f"{image} does not name a version"
    assert instructions(dockerfile, "USER")[-1:] == ["10001"]
    for line in instructions(dockerfile, "ENV") + instructions(dockerfile, "ARG"):
        assert not [word for word in re.findall(r"(\w+)=", line) if SECRET_NAME.search(word)]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_exists_and_is_in_the_context(dockerfile):
    context = build_of(dockerfile)
    ignore = DOCKER / f"{dockerfile.name}.dockerignore"
    lines = (ignore if ignore.is_file() else context / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*", "only what is named may enter the context"
    allowed = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    sources = copied(dockerfile)
    for source in sources:
        assert (context / source).exists(), f"{source} is not in the checkout"
        assert any(source == each or source.startswith(f"{each}/") for each in allowed), source
    for each in allowed:
        assert any(source == each or source.startswith(f"{each}/") for source in sources), (
            f"{each} is not used"
        )
        assert not fnmatch.fnmatch(str(context / each), "*/.env")


def test_vllm_image_is_the_locked_version():
    (image,) = instructions(DOCKER / "vllm.Dockerfile", "FROM")
    locked = re.search(r"^vllm==(\S+)", (ROOT / "requirements/cuda.in").read_text(), re.MULTILINE)
    assert image == f"vllm/vllm-openai:v{locked[1]}"
    assert {SERVICES[f"vllm-{role}"]["image"] for role in ("generator", "serving")} == {
        f"lift-vllm:{locked[1]}"
    }


def test_git_ignores_the_secrets():
    assert ".env" in (DOCKER / ".gitignore").read_text().split()


# --- compose.yaml ---------------------------------------------------------------------------------------


def test_compose_file_fits_the_specification():
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", str(DOCKER / "compose.yaml")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_is_there():
    parts = {"api-server", "dag-processor", "triggerer", "gpu-worker"}
    jobs = {"setup", "models", "airflow-migrate", "airflow-pools"}
    assert set(SERVICES) == {"postgres", "minio", "vllm-generator", "vllm-serving"} | parts | jobs
    commands = [" ".join(service.get("command", [])) for service in SERVICES.values()]
    for words in ("scheduler", "api-server", "dag-processor", "triggerer", "db migrate"):
        assert any(command.startswith(f"airflow {words}") for command in commands), words
    assert SERVICES["setup"]["command"] == ["python", "-m", "lift_core.stack.setup_task"]


def test_conditions_can_be_met():
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            other = SERVICES[needed]
            if how["condition"] == "service_healthy":
                healthy = "healthcheck" in other or instructions(dockerfile_of(other), "HEALTHCHECK")
                assert healthy, f"{name} waits for {needed}, which has no health check"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert other["restart"] == "no", f"{name} waits for the end of {needed}, which has none"
    for name, service in SERVICES.items():
        assert service["restart"] in ("no", "unless-stopped"), name


def dockerfile_of(service):
    return (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).resolve()


def test_only_loopback_is_published():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port), port
    assert not [name for name, service in SERVICES.items() if "network_mode" in service]


def test_mounts_exist_and_volumes_are_declared():
    used = set()
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source, target = mount.split(":")[:2]
            assert target.startswith("/")
            if source.startswith("."):
                assert (DOCKER / source).is_file(), source
                assert mount.endswith(":ro"), mount
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_paths_in_the_image_come_from_the_checkout():
    for path in set(re.findall(r"/opt/lift/([\w./-]+)", TEXT)):
        assert (ROOT / path).exists(), path
        assert any(path.startswith(source) for source in copied(DOCKER / "airflow.Dockerfile")), path


def test_worker_and_serving_engine_see_adapters_at_one_path():
    def target(name):
        mounts = [mount.split(":") for mount in SERVICES[name]["volumes"]]
        return next(mount[1] for mount in mounts if mount[0] == "adapter-cache")

    home = re.search(r"LIFT_HOME=(\S+)", (DOCKER / "airflow.Dockerfile").read_text())[1]
    assert target("gpu-worker") == target("vllm-serving") == str(Settings(home=home).adapter_cache)
    assert f"LIFT_HOME={home} " in (DOCKER / "vllm.Dockerfile").read_text()


def test_tasks_run_where_the_gpu_is():
    worker = SERVICES["gpu-worker"]
    assert worker["command"][:2] == ["airflow", "scheduler"]
    assert worker["build"]["args"] == {"ACCEL": "cuda"}
    with_gpu = {name for name, service in SERVICES.items() if "deploy" in service}
    assert with_gpu == {"gpu-worker", "vllm-generator", "vllm-serving"}
    images = {}
    for name, service in SERVICES.items():
        if "build" in service:
            images.setdefault(service["image"], []).append((name, service["build"]))
    for image, builds in images.items():
        assert all(build == builds[0][1] for _, build in builds), f"{image} is built in two ways"


# --- environment ----------------------------------------------------------------------------------------


def test_lift_variables_are_settings():
    fields = {f"LIFT_{name.upper()}" for name in Settings.model_fields}
    used = {variable for _, variable, _ in environments() if variable.startswith("LIFT_")}
    assert "LIFT_DATABASE_URL" in used
    assert used <= fields
    for dockerfile in DOCKERFILES:
        assert set(re.findall(r"LIFT_\w+", " ".join(instructions(dockerfile, "ENV")))) <= fields


def test_airflow_variables_are_options_of_airflow():
    # Read from its file: importing Airflow takes seconds and makes a configuration of its own.
    package = Path(importlib.util.find_spec("airflow").origin).parent
    known = yaml.safe_load((package / "config_templates" / "config.yml").read_text("utf-8"))
    used = {variable for _, variable, _ in environments() if variable.startswith("AIRFLOW__")}
    assert used
    for variable in used:
        _, section, option = variable.lower().split("__")
        assert option in known[section]["options"], variable


@pytest.mark.parametrize(
    "name", ["api-server", "dag-processor", "triggerer", "gpu-worker", "airflow-migrate"]
)
def test_airflow_is_set_as_in_the_template(name):
    template = configparser.ConfigParser(interpolation=None)
    template.read(ROOT / "airflow.cfg.template")
    environment = SERVICES[name]["environment"]
    for section in template.sections():
        for option, value in template[section].items():
            variable = f"AIRFLOW__{section}__{option}".upper()
            assert variable in environment, f"{variable} is in the template only"
            if "$" not in value and (section, option) != ("api", "host"):
                assert str(environment[variable]) == value, variable


def test_no_secret_is_written_down():
    for name, variable, value in environments():
        if SECRET_NAME.search(variable) or re.search(r"://[^/]*@", value):
            assert REFERENCE.search(value), f"{variable} of {name} is written down"
    for path in DOCKER.rglob("*"):
        if path.is_file() and path.name != ".env" and path.suffix != ".pyc":
            assert not re.search(r"\b[0-9a-f]{24,}\b|[A-Za-z0-9_-]{43}=", path.read_text("utf-8")), path


# --- make-env.sh ----------------------------------------------------------------------------------------


def test_secrets_are_those_that_compose_requires(secrets):
    required = {name for name, how, _ in REFERENCE.findall(TEXT) if how == "?"}
    assert required == set(secrets)
    assert all(len(value) >= 20 for value in secrets.values())
    assert len(secrets["AIRFLOW_JWT_SECRET"]) >= 64
    for name, how, text in REFERENCE.findall(TEXT):
        assert how, f"${{{name}}} is neither required nor has a default"
        if how == "?":
            assert text == "run docker/make-env.sh first"


def test_settings_named_by_make_env_are_those_of_compose():
    offered = dict(re.findall(r"^#(\w+)=(\S+)$", (DOCKER / "make-env.sh").read_text(), re.MULTILINE))
    assert offered == {name: text for name, how, text in REFERENCE.findall(TEXT) if how == "-"}


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
    word, *options = SERVICES[f"vllm-{role}"]["command"]
    assert word == role
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


@pytest.fixture
def server(tmp_path, free_port, secrets):
    """A PostgreSQL as the image starts it: empty, with the superuser's password."""
    data = tmp_path / "data"
    postgres.prepare(data, secrets["POSTGRES_PASSWORD"])
    service = Service(
        name="postgres",
        command=tuple(postgres.command(data, free_port)),
        environment=dict(os.environ),
        stop_signal=postgres.STOP_SIGNAL,
        user=postgres.run_as,
        folder=data,
    )
    process = start(service, tmp_path / "postgres.log")
    yield lambda user, password, database: psycopg2.connect(
        host=HOST, port=free_port, user=user, password=password, dbname=database
    )
    process.send_signal(postgres.STOP_SIGNAL)
    process.wait(20)


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def test_init_script_makes_two_databases_apart(server, free_port, secrets):
    def answers():
        try:
            server("postgres", secrets["POSTGRES_PASSWORD"], "postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    assert wait_until(answers, 30)
    environment = {
        "PATH": f"{postgres.binaries()}:{os.environ['PATH']}",
        "PGHOST": HOST,
        "PGPORT": str(free_port),
        "PGPASSWORD": secrets["POSTGRES_PASSWORD"],
    }
    for variable, value in SERVICES["postgres"]["environment"].items():
        environment[variable] = REFERENCE.sub(lambda found: secrets[found[1]], value)
    subprocess.run([DOCKER / "postgres/init.sh"], env=environment, check=True, capture_output=True)

    passwords = {"lift": secrets["REGISTRY_DB_PASSWORD"], "airflow": secrets["AIRFLOW_DB_PASSWORD"]}
    for role, password in passwords.items():
        with server(role, password, role) as own, own.cursor() as cursor:
            cursor.execute("CREATE TABLE mine (id int)")
        own.close()
    for role, other in (("lift", "airflow"), ("airflow", "lift")):
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            server(role, passwords[role], other)
        with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
            server(role, passwords[other], role)
