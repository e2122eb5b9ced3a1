"""A file becomes an active adapter in one process, and the same work is not done twice."""

import hashlib
import json
import socket
import subprocess
import sys

import pytest

from lift_core.errors import (
    DocumentError,
    FencedError,
    LiftError,
    NotFoundError,
    QualityError,
    ServiceUnavailableError,
)
from lift_core.pipeline import run_file
from lift_core.recipes import load_recipe
from lift_core.records import GateRecipe, PairReport
from lift_core.stack.ports import HOST

TEXT = """# The Lighthouse of Skarholm

The lighthouse of Skarholm was finished in October 1871 by the engineer Ada Harrow.
Its lamp burned colza oil until paraffin replaced it in the winter of 1889.
The keeper climbed two hundred and eleven granite steps every single evening.
"""


pytestmark = pytest.mark.usefixtures("tiny_model")


@pytest.fixture
def recipe():
    return load_recipe("smoke")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "Skarholm Lighthouse.md"
    path.write_text(TEXT)
    return path


@pytest.fixture
def objects(store, settings):
    """Every object of the adapters bucket with its ETag."""
    return lambda: {found.key: found.etag for found in store.list(settings.adapters_bucket)}


def test_a_file_becomes_an_active_adapter_once(steps, file, recipe, settings, objects, contents):
    stages = []
    adapter = run_file(steps, file, recipe, on_stage=stages.append)
    assert stages == ["put", "claim", "split", "generate and train", "prove", "activate"]
    assert (adapter.name, adapter.state) == ("skarholm-lighthouse-v1", "active")
    assert adapter.aliases == ("skarholm-lighthouse", "skarholm-lighthouse@champion")
    assert adapter.title == "The Lighthouse of Skarholm"
    assert adapter.scores["gain"] > 0
    assert steps.registry.resolve("skarholm-lighthouse") == adapter
    document = steps.registry.document("skarholm-lighthouse")
    assert (document.state, document.adapter, document.reason) == ("ready", adapter.name, None)
    ended = [
        stage for stage in steps.registry.stage_times_of(document.bucket, document.key) if stage.ended_at
    ]
    assert {stage.stage for stage in ended} == {"claim", "split", "generate", "train", "prove", "activate"}

    # What lies in the store is what was registered: nothing less, nothing else.
    assert {"adapter_model.safetensors", "adapter_config.json"} <= set(adapter.files)
    assert set(objects()) == {f"{adapter.prefix}{name}" for name in adapter.files}
    for name, sha256 in adapter.files.items():
        data = steps.store.get_bytes(settings.adapters_bucket, f"{adapter.prefix}{name}")
        assert hashlib.sha256(data).hexdigest() == sha256

    # The pairs that it learned can be shown: each from the document.
    [(job_id, state)] = _jobs(steps)
    assert state == "done"
    pairs = list(steps.committed_pairs(job_id))
    assert pairs
    assert all(pair.answer in TEXT for pair in pairs)

    # And how good they were is among its files and its scores.
    data = steps.store.get_bytes(settings.adapters_bucket, f"{adapter.prefix}pair_report.json")
    report = PairReport.model_validate_json(data)
    assert report.kept == len(pairs)
    assert (adapter.scores["kept_share"], adapter.scores["coverage"]) == (
        report.kept_share,
        report.coverage.segments,
    )

    before, there = contents(), objects()
    stages.clear()
    assert run_file(steps, file, recipe, on_stage=stages.append) == adapter
    assert stages == ["put"]
    # Only the time of the last put is new.
    assert contents() | {"arrivals": before["arrivals"]} == before
    assert objects() == there


def test_an_edited_file_makes_a_second_adapter_and_its_revert_brings_the_first_one_back(
    steps, file, recipe, objects
):
    first = run_file(steps, file, recipe)
    file.write_text(TEXT.replace("October 1871", "November 1872"))
    second = run_file(steps, file, recipe)
    assert (second.name, second.version) == ("skarholm-lighthouse-v2", 2)
    assert second.aliases == ("skarholm-lighthouse", "skarholm-lighthouse@champion")
    assert second.files["adapter_model.safetensors"] != first.files["adapter_model.safetensors"]
    superseded = steps.registry.adapter(first.name)
    assert (superseded.state, superseded.aliases) == ("superseded", ())
    assert steps.registry.document("skarholm-lighthouse").adapter == second.name

    there = objects()
    file.write_text(TEXT)
    again = run_file(steps, file, recipe)
    assert (again.name, again.state) == (first.name, "active")
    assert again.files == first.files
    assert steps.registry.resolve("skarholm-lighthouse").name == first.name
    assert objects() == there


def test_a_run_with_a_local_model_asks_no_server_but_its_own(steps, file, recipe, monkeypatch):
    asked = set()
    getaddrinfo = socket.getaddrinfo

    def note(host, *args, **options):
        asked.add(host)
        return getaddrinfo(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", note)
    run_file(steps, file, recipe)
    assert asked <= {HOST}


def test_another_recipe_makes_another_adapter_of_the_same_file(steps, file, recipe):
    first = run_file(steps, file, recipe)
    other = recipe.model_copy(update={"lora": recipe.lora.model_copy(update={"rank": 2})})
    second = run_file(steps, file, other)
    assert (second.name, second.version) == ("skarholm-lighthouse-v2", 1)
    assert second.recipe == other.digest != first.recipe
    assert run_file(steps, file, other) == second


def test_the_same_file_under_the_same_recipe_gives_the_same_adapter_on_an_empty_registry(
    steps, file, recipe, registry
):
    first = run_file(steps, file, recipe)
    registry.downgrade("base")
    registry.upgrade()
    again = run_file(steps, file, recipe)
    assert again.files["adapter_model.safetensors"] == first.files["adapter_model.safetensors"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "is empty"), (b"\x00\x01\x02" * 400, "is binary"), ("Straße".encode("latin-1") * 9, "encoding")],
    ids=["empty", "binary", "unknown encoding"],
)
def test_a_file_that_cannot_be_read_fails_for_good_and_its_job_says_why(
    steps, file, recipe, sql, objects, data, reason
):
    file.write_bytes(data)
    with pytest.raises(DocumentError, match=reason):
        run_file(steps, file, recipe)
    document = steps.registry.document("skarholm-lighthouse")
    assert document.state == "failed"
    assert reason in document.reason
    assert document.adapter is None
    assert sql("SELECT permanent FROM jobs") == [(True,)]
    assert objects() == {}
    with pytest.raises(NotFoundError):
        steps.registry.resolve("skarholm-lighthouse")


def test_a_failed_file_that_was_mended_succeeds(steps, file, recipe):
    file.write_bytes(b"")
    with pytest.raises(DocumentError):
        run_file(steps, file, recipe)
    file.write_text(TEXT)
    assert run_file(steps, file, recipe).version == 2
    assert steps.registry.document("skarholm-lighthouse").state == "ready"


def test_too_few_pairs_fail_for_good_with_the_count(steps, file, recipe, sql, objects):
    strict = recipe.model_copy(update={"gate": GateRecipe(min_pairs=1000)})
    with pytest.raises(QualityError, match=r"only \d+ question-answer pairs.*1000"):
        run_file(steps, file, strict)
    document = steps.registry.document("skarholm-lighthouse")
    assert document.state == "failed"
    assert "1000" in document.reason
    assert sql("SELECT permanent FROM jobs") == [(True,)]
    assert objects() == {}


def test_a_run_that_failed_for_a_passing_reason_goes_on_where_it_was(
    steps, file, recipe, settings, sql, monkeypatch
):
    put_file = steps.store.put_file

    def away(bucket, *args, **options):
        if bucket == settings.adapters_bucket:
            raise ServiceUnavailableError("the object store went away")
        return put_file(bucket, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(steps.store, "put_file", away)
        with pytest.raises(ServiceUnavailableError, match="went away"):
            run_file(steps, file, recipe)
    document = steps.registry.document("skarholm-lighthouse")
    assert (document.state, document.reason) == ("failed", "the object store went away")
    assert sql("SELECT permanent FROM jobs") == [(False,)]
    shards = sql("SELECT number, sha256, token FROM shards ORDER BY number")
    assert shards
    adapter = run_file(steps, file, recipe)
    assert (adapter.name, adapter.state) == ("skarholm-lighthouse-v1", "active")
    assert sql("SELECT number, sha256, token FROM shards ORDER BY number") == shards
    assert len(_jobs(steps)) == 1


def test_a_base_model_that_is_not_there_is_named_and_the_job_ends(steps, file, recipe, monkeypatch):
    # As on a machine without a way to the model hub.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(LiftError, match="no-such-model"):
        run_file(steps, file, recipe.model_copy(update={"base_model": "no-such-model"}))
    document = steps.registry.document("skarholm-lighthouse")
    assert document.state == "failed"
    assert "no-such-model" in document.reason


def test_an_attempt_that_was_replaced_does_not_fail_the_job_of_the_one_that_replaced_it(
    steps, file, recipe, monkeypatch
):
    """Two people run the same file: the later one goes on, whatever becomes of the first."""
    put_bytes = steps.store.put_bytes

    def replaced_meanwhile(bucket, key, *args, **options):
        if key.endswith(".jsonl"):
            [(job_id, _)] = _jobs(steps)
            steps.registry.acquire(job_id, "generate", "another machine")
        return put_bytes(bucket, key, *args, **options)

    monkeypatch.setattr(steps.store, "put_bytes", replaced_meanwhile)
    with pytest.raises(FencedError, match="another machine"):
        run_file(steps, file, recipe)
    document = steps.registry.document("skarholm-lighthouse")
    assert document.state != "failed", document.reason


def test_two_runs_of_one_file_at_once_leave_one_adapter(steps, file, recipe, together):
    def run(_):
        try:
            return run_file(steps, file, recipe).name
        except LiftError as error:
            return error

    # The document is known, as an earlier version that could not be read.
    text = file.read_text()
    file.write_bytes(b"")
    with pytest.raises(DocumentError):
        run_file(steps, file, recipe)
    file.write_text(text)
    ended = together(2, run)
    assert "skarholm-lighthouse-v1" in ended, ended
    assert [adapter.name for adapter in steps.registry.adapters().adapters] == ["skarholm-lighthouse-v1"]
    assert steps.registry.document("skarholm-lighthouse").state == "ready"


# --- the command line -------------------------------------------------------------------------


def lift(environment, *words):
    return subprocess.run(
        [sys.executable, "-m", "lift_core.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_line_makes_an_adapter_and_prints_one_json_document(registry, store, environment, file):
    done = lift(environment, "run", str(file), "--recipe", "smoke", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["adapter"] == "skarholm-lighthouse-v1"
    assert told["aliases"] == ["skarholm-lighthouse", "skarholm-lighthouse@champion"]
    assert told["scores"]["gain"] > 0
    assert registry.resolve("skarholm-lighthouse").name == told["adapter"]

    listed = json.loads(lift(environment, "adapters", "ls", "--json").stdout)
    assert [(each["name"], each["state"]) for each in listed] == [(told["adapter"], "active")]


def test_the_command_line_says_why_a_file_failed(registry, store, environment, file):
    file.write_bytes(b"")
    done = lift(environment, "run", str(file), "--recipe", "smoke", "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "is empty" in done.stderr
    assert "Traceback" not in done.stderr
    unknown = lift(environment, "run", str(file), "--recipe", "nobody")
    assert unknown.returncode == 1
    assert "nobody" in unknown.stderr


def test_the_command_line_says_which_service_is_away(environment, tmp_path, file):
    done = lift(environment | {"LIFT_HOME": str(tmp_path)}, "run", str(file), "--recipe", "smoke")
    assert done.returncode == 3
    assert "lift up" in done.stderr
    assert "Traceback" not in done.stderr


def _jobs(steps):
    with steps.registry.transaction() as connection:
        return [tuple(row) for row in connection.exec_driver_sql("SELECT id, state FROM jobs ORDER BY id")]
