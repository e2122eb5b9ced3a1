"""A machine is cut off while it trains: its document goes on elsewhere, what it writes later is refused."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from lift_core.records import AdapterRecord

COLOURS = ("copper", "silver", "crimson", "emerald", "amber", "violet")
PLACES = ("granary", "ferry landing", "weighing house", "rope walk")
DOCUMENT = "\n\n".join(
    f"The {colour} lantern of Brakefield hangs above the {place}, and keeper {number} lights it at dusk."
    for number, (colour, place) in enumerate(itertools.product(COLOURS, PLACES), start=1)
)
ROWS = {
    "jobs": "SELECT * FROM jobs",
    "shards": "SELECT * FROM shards",
    "checkpoints": "SELECT * FROM checkpoints",
    "adapters": "SELECT * FROM adapters",
    "aliases": "SELECT * FROM aliases",
    "leases": "SELECT * FROM leases",
    "events": "SELECT * FROM events",
    "stages": "SELECT * FROM stages",
}


def trainer(cluster):
    """Machine and token of the newest training attempt."""
    found = cluster.sql("SELECT holder, token FROM leases WHERE role = 'train'")
    return (found[0][0].split(":")[0], found[0][1]) if found else None


def checkpoint(cluster):
    """Token and step of the committed checkpoint."""
    found = cluster.sql("SELECT token, step FROM checkpoints")
    return found[0] if found else None


def everything(cluster):
    return {name: sorted(map(repr, cluster.sql(query))) for name, query in ROWS.items()}


def state(cluster):
    found = cluster.sql("SELECT state, reason FROM jobs")
    assert not found or found[0][0] != "failed", found
    return found[0][0] if found else None


@pytest.mark.timeout(2400)
def test_a_document_outlives_the_machine_that_was_training_it(cluster):
    network = cluster.network
    cluster.store.put_bytes(cluster.settings.documents_bucket, "lanterns.md", DOCUMENT.encode())

    # It trains on the one of the two machines that takes GPU tasks, and has a checkpoint.
    cut, token = cluster.until(lambda: trainer(cluster), "training")
    assert cut == "a"
    other = "b"
    # Past the first epoch it has all pairs at hand, and trains on without a network.
    steps = 3 * len(COLOURS) * len(PLACES) + 1
    cluster.until(lambda: (checkpoint(cluster) or (0, 0))[1] > steps, "a checkpoint of the second epoch")

    network.cut(cut)
    network.hide_api(cut)
    before = checkpoint(cluster)
    cluster.take_gpu_tasks(other)
    cluster.until(lambda: trainer(cluster) != (cut, token), "another attempt")
    assert trainer(cluster) == (other, token + 1)
    cluster.until(lambda: state(cluster) == "done", "the end of the job")
    after = everything(cluster)

    # It went on where the lost machine had been, it did not begin anew.
    assert f"of_attempt={token} " in cluster.task_log(other) or f'"of_attempt":{token}' in cluster.task_log(
        other
    )
    assert before[0] == token and before[1] > 0
    adapters = cluster.sql("SELECT name FROM adapters")
    assert adapters == [("lanterns-v1",)]
    assert_files_are_the_registered_ones(cluster, cluster.registry.adapter("lanterns-v1"))

    # The attempt lives and knows of nothing. Its data are within reach again, Airflow's API is not: nobody
    # but the registry can tell it that it was replaced.
    assert "was replaced by attempt" not in cluster.task_log(cut)
    network.heal(cut)
    cluster.until(
        lambda: f"attempt {token} to train was replaced by attempt {token + 1}" in cluster.task_log(cut),
        "the refusal of what the cut attempt wrote",
    )
    network.show_api(cut)
    assert everything(cluster) == after
    assert_files_are_the_registered_ones(cluster, cluster.registry.adapter("lanterns-v1"))

    where = dict(
        cluster.sql(
            "SELECT task_id, hostname FROM task_instance WHERE dag_id = 'lift_document'", database="airflow"
        )
    )
    assert where["train"] == other and where["prove"] == other
    assert not {where[task] for task in ("claim", "split", "generate", "activate")} & {"a", "b"}


def assert_files_are_the_registered_ones(cluster, adapter: AdapterRecord) -> None:
    assert adapter.state == "active"
    for name, sha256 in adapter.files.items():
        data = cluster.store.get_bytes(cluster.settings.adapters_bucket, f"{adapter.prefix}{name}")
        assert hashlib.sha256(data).hexdigest() == sha256, name
