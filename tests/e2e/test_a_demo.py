"""`make demo`, as a newcomer sees it. First by name: it starts the stack for the others."""

import re


def test_demo_answers_closed_book_better_than_the_base(lift):
    assert lift.demo.returncode == 0, lift.demo.stdout + lift.demo.stderr
    found = re.search(r"base model ([0-9.]+), adapter ([0-9.]+)", lift.demo.stdout)
    assert found, lift.demo.stdout
    base, adapter = map(float, found.groups())
    assert adapter >= base + 0.2


def test_demo_says_how_to_go_on(lift, services):
    assert services["airflow"]["url"] in lift.demo.stdout
    assert services["airflow"]["password"] in lift.demo.stdout
    for words in ("lift ask", "lift docs put", "make down"):
        assert words in lift.demo.stdout


def test_training_started_before_generation_ended(lift):
    document = lift.json("docs", "ls")[0]
    stages = {s["stage"]: s for s in lift.json("docs", "show", document["key"])["stages"]}
    assert stages["train"]["started_at"] < stages["generate"]["ended_at"] < stages["train"]["ended_at"]


def test_second_demo_registers_nothing_new(lift):
    before = lift.json("adapters", "ls"), lift.json("docs", "ls")
    again = lift.run("demo")
    assert (lift.json("adapters", "ls"), lift.json("docs", "ls")) == before
    assert "adapter" in again.stdout


def test_questions_are_not_in_the_bucket(lift, minio_client, services):
    keys = [o.object_name for o in minio_client.list_objects(services["s3"]["bucket"], recursive=True)]
    assert keys and not [key for key in keys if "questions" in key]


def test_doctor_finds_nothing_wrong(lift):
    assert lift.run("doctor").returncode == 0
