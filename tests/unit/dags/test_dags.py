"""The DAG files: they load, say what they do, stay thin, and import nothing heavy at parse."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DAG_FILES = sorted((ROOT / "dags").glob("*.py"))
MAX_LINES = 80

# Airflow reads its settings when it is imported, so every look at the DAGs is a process of its own.
LOAD = """
import json, sys
from pathlib import Path
sys.path.insert(0, {plugins!r})
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
bag = DagBag({dags!r})
print(json.dumps({{
    "errors": bag.import_errors,
    "heavy": sorted({{"torch", "transformers", "peft", "vllm", "openai", "pysbd"}}
                    & set(sys.modules)),
    "dags": {{
        name: {{
            "doc": dag.doc_md, "tags": sorted(dag.tags), "serialized": bool(DagSerialization.to_dict(dag)),
            "tasks": {{
                task.task_id: {{"doc": task.doc_md, "pool": task.pool, "retries": task.retries,
                               "queue": task.queue, "executor": task.executor,
                               "config": task.executor_config,
                               "after": sorted(task.upstream_task_ids)}}
                for task in dag.tasks
            }},
        }} for name, dag in bag.dags.items()
    }},
}}))
"""


def load(home, **configured):
    import json

    environment = dict(os.environ) | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "LIFT_HOME": str(home / "lift"),
        **configured,
    }
    code = LOAD.format(plugins=str(ROOT / "plugins"), dags=str(ROOT / "dags"))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load(tmp_path_factory.mktemp("airflow"))


def test_every_dag_loads_and_can_be_serialized(loaded):
    assert loaded["errors"] == {}
    assert {path.stem for path in DAG_FILES} == set(loaded["dags"])
    assert all(dag["serialized"] for dag in loaded["dags"].values())


def test_nothing_heavy_is_imported_at_parse(loaded):
    assert loaded["heavy"] == []


def test_every_dag_and_every_task_says_what_it_does(loaded):
    for name, dag in loaded["dags"].items():
        assert dag["doc"] and len(dag["doc"]) > 80, name
        assert dag["tags"] == ["lift"]
        for task, about in dag["tasks"].items():
            assert about["doc"], f"{name}.{task}"


def test_generate_and_train_run_side_by_side_between_split_and_prove(loaded):
    tasks = loaded["dags"]["lift_document"]["tasks"]
    assert list(tasks) == ["claim", "split", "generate", "train", "prove", "activate"]
    assert "split" in tasks["generate"]["after"] and "split" in tasks["train"]["after"]
    assert "generate" not in tasks["train"]["after"] and "train" not in tasks["generate"]["after"]
    assert {"generate", "train"} <= set(tasks["prove"]["after"])
    # A waiting trainer must never hold the slot that generation needs.
    assert tasks["generate"]["pool"] != tasks["train"]["pool"]


def test_pools_that_tasks_name_are_the_ones_the_stack_makes(loaded):
    import json

    made = json.loads((ROOT / "lift_core" / "stack" / "pools.json").read_text())
    named = {task["pool"] for dag in loaded["dags"].values() for task in dag["tasks"].values()}
    assert named <= {"default_pool", *made}
    assert set(made) <= named


GPU_TASKS = {"train", "prove", "measure_bases", "measure"}


def test_nothing_is_placed_unless_it_is_configured(loaded):
    tasks = [task for dag in loaded["dags"].values() for task in dag["tasks"].values()]
    assert {(task["queue"], task["executor"], str(task["config"])) for task in tasks} == {
        ("default", None, "{}")
    }


def test_tasks_that_need_a_gpu_go_where_the_configuration_says(tmp_path):
    celery = "airflow.providers.celery.executors.celery_executor.CeleryExecutor"
    loaded = load(
        tmp_path,
        AIRFLOW__CORE__EXECUTOR=f"LocalExecutor,gpu:{celery}",
        AIRFLOW__LIFT__CPU_QUEUE="cpu",
        AIRFLOW__LIFT__GPU_QUEUE="gpu",
        AIRFLOW__LIFT__GPU_EXECUTOR="gpu",
        AIRFLOW__LIFT__GPU_POD_TEMPLATE_FILE="/etc/lift/gpu-pod.yaml",
    )
    assert loaded["errors"] == {}
    tasks = {name: task for dag in loaded["dags"].values() for name, task in dag["tasks"].items()}
    assert {name for name, task in tasks.items() if task["queue"] == "gpu"} == GPU_TASKS
    for name, task in tasks.items():
        found = (task["queue"], task["executor"], task["config"])
        if name in GPU_TASKS:
            assert found == ("gpu", "gpu", {"pod_template_file": "/etc/lift/gpu-pod.yaml"}), name
        else:
            assert found == ("cpu", None, {}), name


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.name)
def test_dag_files_are_thin(path):
    assert len(path.read_text("utf-8").splitlines()) < MAX_LINES
