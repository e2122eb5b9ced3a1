"""The files for several machines, as far as they can be checked without an engine and without a cluster."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lift_core.settings import Settings

DOCKER = Path(__file__).parents[3] / "docker"
FIRST = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))["services"]
SEVERAL = yaml.safe_load((DOCKER / "several-machines.yaml").read_text("utf-8"))["services"]
MACHINE = yaml.safe_load((DOCKER / "gpu-machine.yaml").read_text("utf-8"))["services"]
VALUES = yaml.safe_load((DOCKER / "kubernetes" / "values.yaml").read_text("utf-8"))
POD = yaml.safe_load((DOCKER / "kubernetes" / "gpu-pod.yaml").read_text("utf-8"))
REFERENCE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
AIRFLOW_PARTS = ("api-server", "dag-processor", "triggerer", "scheduler", "cpu-worker", "gpu-worker")


def test_compose_files_fit_the_specification():
    files = [str(DOCKER / name) for name in ("several-machines.yaml", "gpu-machine.yaml")]
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_overridden_is_there():
    for name, service in SEVERAL.items():
        assert name in FIRST or "extends" in service or "image" in service, name
        if "extends" in service:
            assert service["extends"]["file"] == "compose.yaml"
            assert service["extends"]["service"] in FIRST


def test_every_part_of_airflow_has_the_same_executor_and_broker():
    told = [SEVERAL[name]["environment"] for name in AIRFLOW_PARTS]
    assert all(each == told[0] for each in told)
    assert told[0]["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"


def test_somebody_listens_on_every_queue_and_one_gpu_has_one_trainer():
    told = SEVERAL["scheduler"]["environment"]
    for kind in ("cpu", "gpu"):
        words = SEVERAL[f"{kind}-worker"]["command"]
        assert words[words.index("--queues") + 1] == told[f"AIRFLOW__LIFT__{kind.upper()}_QUEUE"]
    for words in (SEVERAL["gpu-worker"]["command"], MACHINE["gpu-worker"]["command"]):
        assert words[:3] == ["airflow", "celery", "worker"]
        assert words[words.index("--queues") + 1] == "gpu"
        assert words[words.index("--concurrency") + 1] == "1"


def test_a_gpu_machine_is_told_of_the_registry_the_store_the_broker_and_the_api_alone():
    environment = {name: str(value) for name, value in MACHINE["gpu-worker"]["environment"].items()}
    asked = {name for value in environment.values() for name, _, _ in REFERENCE.findall(value)}
    assert asked == {
        "CLUSTER_ADDRESS",
        "REGISTRY_DB_PASSWORD",
        "S3_ACCESS_KEY",
        "S3_SECRET_KEY",
        "BROKER_PASSWORD",
        "AIRFLOW_SECRET_KEY",
        "SERVING_URL",
        "VLLM_API_KEY",
    }
    assert {name for name in environment if name.startswith("LIFT_")} <= {
        f"LIFT_{name.upper()}" for name in Settings.model_fields
    }
    for name in ("AIRFLOW__CORE__EXECUTOR", "AIRFLOW__LIFT__GPU_QUEUE", "AIRFLOW__LIFT__CPU_QUEUE"):
        assert environment[name] == SEVERAL["scheduler"]["environment"][name]
    # The same databases of the same broker, seen from outside.
    for name in ("AIRFLOW__CELERY__BROKER_URL", "AIRFLOW__CELERY__RESULT_BACKEND"):
        ours = SEVERAL["scheduler"]["environment"][name]
        assert environment[name].rsplit(":", 1)[1] == ours.rsplit(":", 1)[1]


def test_what_is_published_is_so_on_the_machines_own_network():
    ports = {name: service["ports"] for name, service in SEVERAL.items() if "ports" in service}
    assert set(ports) == {"broker", "postgres", "minio", "api-server"}
    for port in (port for each in ports.values() for port in each):
        assert re.fullmatch(r"\$\{CLUSTER_ADDRESS:\?[^}]+\}:\d+:\d+", port), port


@pytest.mark.parametrize("service", [SEVERAL["broker"]], ids=["broker"])
def test_the_brokers_password_is_in_no_command_line(service):
    assert "${" not in " ".join(service["command"])
    assert re.search(r":\d+\.\d+\.\d+", service["image"])


# --- Kubernetes -----------------------------------------------------------------------------------------


def test_the_pod_is_what_the_executor_needs_and_has_one_gpu():
    assert (POD["apiVersion"], POD["kind"]) == ("v1", "Pod")
    base = POD["spec"]["containers"][0]
    # The KubernetesExecutor puts the task's command into the container of this name.
    assert base["name"] == "base"
    assert POD["spec"]["restartPolicy"] == "Never"
    assert base["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert base["image"].endswith(":cuda")


def test_values_place_gpu_tasks_by_the_template_that_they_mount():
    told = {each["name"]: each["value"] for each in VALUES["env"]}
    path = told["AIRFLOW__LIFT__GPU_POD_TEMPLATE_FILE"]
    mounts = {each["mountPath"]: each for each in VALUES["scheduler"]["extraVolumeMounts"]}
    assert path in mounts and mounts[path]["readOnly"]
    volume = {each["name"]: each for each in VALUES["scheduler"]["extraVolumes"]}[mounts[path]["name"]]
    assert mounts[path]["subPath"] == Path(path).name == "gpu-pod.yaml"
    assert volume["configMap"]["name"] in (DOCKER / "kubernetes" / "README.md").read_text("utf-8")
    assert VALUES["executor"] == "KubernetesExecutor"


def test_no_secret_is_written_down():
    written = [*VALUES["env"], *POD["spec"]["containers"][0].get("env", [])]
    assert not [
        each["name"] for each in written if re.search("PASSWORD|SECRET|KEY$|DATABASE_URL", each["name"])
    ]
    # They come from one Kubernetes secret, to Airflow's parts and to the pods alike.
    assert "secretRef" in VALUES["extraEnvFrom"]
    sources = [each["secretRef"]["name"] for each in POD["spec"]["containers"][0]["envFrom"]]
    assert all(name in VALUES["extraEnvFrom"] for name in sources)


def test_the_settings_that_are_named_exist():
    fields = {f"LIFT_{name.upper()}" for name in Settings.model_fields}
    names = [each["name"] for each in (*VALUES["env"], *POD["spec"]["containers"][0].get("env", []))]
    assert {name for name in names if name.startswith("LIFT_")} <= fields
