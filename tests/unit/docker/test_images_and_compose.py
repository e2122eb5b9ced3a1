"""The Dockerfiles and compose.yaml, as far as they can be checked without an engine: linters, schemas."""

import configparser
import fnmatch
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lift_core.settings import Settings

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
TEXT = (DOCKER / "compose.yaml").read_text("utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
REFERENCE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
SECRET_NAME = re.compile(r"PASSWORD$|SECRET|_KEY$|TOKEN$|CONN$|ROOT_USER$")


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


# --- images ---------------------------------------------------------------------------------------------


def test_there_are_dockerfiles():
    assert [path.name for path in DOCKERFILES] == ["airflow.Dockerfile"]


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


def test_vllm_runs_from_the_image_that_has_lift_beside_it():
    for role in ("generator", "serving"):
        assert SERVICES[f"vllm-{role}"]["image"] == SERVICES["gpu-worker"]["image"]


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
    assert (
        set(SERVICES)
        == {"postgres", "minio", "vllm-generator", "vllm-serving", "gateway", "webhooks"} | parts | jobs
    )
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


def test_copies_of_adapters_outlive_the_serving_engine():
    mounts = [mount.split(":") for mount in SERVICES["vllm-serving"]["volumes"]]
    target = next(mount[1] for mount in mounts if mount[0] == "adapter-cache")
    home = re.search(r"LIFT_HOME=(\S+)", (DOCKER / "airflow.Dockerfile").read_text())[1]
    assert target == str(Settings(home=home).adapter_cache)


def test_the_gateway_is_where_clients_are_told():
    gateway = SERVICES["gateway"]
    port = gateway["ports"][0].rsplit(":", 1)[1]
    assert SERVICES["gpu-worker"]["environment"]["LIFT_GATEWAY_URL"] == f"http://gateway:{port}/v1"
    assert "ports" not in SERVICES["vllm-serving"]


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
