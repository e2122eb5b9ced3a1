"""Processes are killed while documents become adapters: nothing is lost, nothing doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

KILLED = ("scheduler", "s3", "postgres", "worker", "trainer")
"""Those that hold or write a document's state; `make chaos` kills every kind, many times."""
DOCUMENTS = 4
SECONDS = 1500


@pytest.mark.timeout(SECONDS)
def test_every_document_exactly_once_while_processes_are_killed(tmp_path):
    """The small form of `make chaos`, in a stack of its own without model servers."""
    words = ["bench", "chaos", "--quick", "--documents", str(DOCUMENTS), "--seed", "7", "--json"]
    words += [word for each in KILLED for word in ("--victim", each)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LIFT_")}
    environment |= {"LIFT_HOME": str(tmp_path / "home"), "LIFT_PORT_OFFSET": "300", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "lift_core.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert all(rows[f"kills of {each}"]["ours"] == 1 for each in KILLED)
    for name in ("documents that are ready", "active adapters", "of them verified by hash"):
        assert rows[name]["ours"] == rows[name]["peer"] >= 2 * DOCUMENTS
    for name in (
        "documents with two adapters",
        "jobs that are not done",
        "runs in Airflow that have not ended",
        "orphans in the store",
        "processes after lift down",
    ):
        assert rows[name]["ours"] == 0
