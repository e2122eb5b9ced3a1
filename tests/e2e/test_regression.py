"""The scheduled guard in the stack: one adapter stays, one that was made to forget goes out of service."""

import json
import os
import time

import httpx
import pytest

from lift_core.pipeline import run_file
from lift_core.recipes import load_recipe
from lift_core.records import ProofRecipe
from lift_core.settings import Settings
from lift_core.steps import Steps

PATIENCE_SECONDS = 300


@pytest.fixture(scope="module")
def steps(lift, tiny_model):
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LIFT_")]:
            patch.delenv(name)
        return Steps.connect(Settings(home=lift.home, _env_file=lift.home / "stack.env"))


@pytest.fixture(scope="module")
def items(lift):
    """24 questions of one subject and 24 word problems, made here, where the stack looks for them."""
    folder = lift.items

    def write(name, rows):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def question(number):
        choices = [str(number + step) for step in (1, 2, 3, 4)]
        return {"subject": "anatomy", "question": f"What follows {number}?", "choices": choices, "answer": 0}

    def problem(number):
        return {
            "question": f"What is 2 + {number}?",
            "answer": f"2 + {number} = {number + 2}\n#### {number + 2}",
        }

    write("mmlu_test.jsonl", [{"id": f"t{n}", **question(n)} for n in range(24)])
    write("mmlu_dev.jsonl", [{"id": f"d{n}", **question(n)} for n in range(40, 45)])
    write("gsm8k_test.jsonl", [{"id": f"t{n}", **problem(n)} for n in range(24)])
    write("gsm8k_train_fewshot.jsonl", [{"id": f"d{n}", **problem(n)} for n in range(50, 56)])
    return folder


@pytest.fixture(scope="module")
def adapters(steps, tmp_path_factory):
    """A gentle adapter and one whose training ran wild: both of the model with random weights."""
    folder = tmp_path_factory.mktemp("documents")
    smoke = load_recipe("smoke").model_copy(update={"proof": ProofRecipe(min_gain=-1e6, served=False)})
    gentle, wild = (
        smoke.model_copy(
            update={"training": smoke.training.model_copy(update={"learning_rate": rate, "epochs": epochs})}
        )
        for rate, epochs in ((1e-5, 2), (0.3, 12))
    )
    made = []
    for name, recipe in (("gentle-guard", gentle), ("wild-guard", wild)):
        path = folder / f"{name}.md"
        path.write_text(
            f"# {name}\n\nThe keeper Ada Harrow climbed the tower of {name} in October 1871.\n"
            "The lamp burned colza oil until paraffin replaced it in the winter of 1889.\n"
            "The lens was ground in Genoa and carried north by the brig Aurelia Straughn.\n"
        )
        made.append(run_file(steps, path, recipe).name)
    return made


@pytest.fixture(scope="module")
def run(airflow, items, adapters):
    """A run of the DAG for both adapters, once it has ended."""
    started = airflow.post(
        "/api/v2/dags/lift_regression/dagRuns", json={"logical_date": None, "conf": {"adapters": adapters}}
    )
    run_id = started.raise_for_status().json()["dag_run_id"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = airflow.get(f"/api/v2/dags/lift_regression/dagRuns/{run_id}").raise_for_status().json()
        if found["state"] in ("success", "failed"):
            return found
        assert time.monotonic() < deadline, f"{run_id} is {found['state']} after {PATIENCE_SECONDS} s"
        time.sleep(2)


def test_the_run_succeeds_and_takes_the_one_that_forgot_out_of_service(run, lift, adapters):
    gentle, wild = adapters
    assert run["state"] == "success"
    (kept,) = lift.json("eval", "show", gentle)
    (lost,) = lift.json("eval", "show", wild)
    assert (kept["verdict"], kept["action"]) == ("pass", "none")
    assert (lost["verdict"], lost["action"], lost["run"]) == ("regressed", "quarantine", run["dag_run_id"])
    # A model of random weights answers nothing right: the likelihood decides, and the verdict says so.
    assert "log-likelihood" in lost["sentence"]
    assert {each["measure"] for each in lost["tasks"] if each["decides"]} == {"log-likelihood"}
    states = {row["name"]: (row["state"], row["aliases"]) for row in lift.json("adapters", "ls")}
    assert states[gentle] == ("active", ["gentle-guard", "gentle-guard@champion"])
    assert states[wild] == ("quarantined", [])


def test_the_report_opens_from_the_run_and_not_for_strangers(run, airflow, adapters, services):
    links = (
        airflow.get(f"/api/v2/dags/lift_regression/dagRuns/{run['dag_run_id']}/taskInstances/judge/links")
        .raise_for_status()
        .json()["extra_links"]
    )
    path = "/lift/" + links["Report"].split("/lift/", 1)[1]
    page = airflow.get(path).raise_for_status()
    assert all(name in page.text for name in adapters)
    with httpx.Client(base_url=services["airflow"]["url"], trust_env=False) as stranger:
        assert stranger.get(path).status_code == 401


def test_a_person_brings_an_adapter_back(run, lift, adapters):
    lift.run("adapters", "release", adapters[1], "--why", "looked at by hand")
    assert {"wild-guard"} <= {alias for row in lift.json("adapters", "ls") for alias in row["aliases"]}
