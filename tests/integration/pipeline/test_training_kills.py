"""Trainings that are killed at any moment: each goes on where it was, and ends with the same adapter."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from lift_core.housekeeping import Housekeeping
from lift_core.recipes import load_recipe
from lift_core.stack.processes import wait_until
from lift_core.store import layout

KILLS = int(os.environ.get("LIFT_TEST_KILLS", "4"))
SEED = 11
# The recipe takes a few steps for each sentence. An attempt commits some steps, then it is killed within the
# time of some more: there are so many sentences that no attempt comes to the end.
SENTENCES_PER_KILL = 6
MOST_COMMITS = 4
LONGEST_WAIT_SECONDS = 0.05
# Where the kills fall, over and over: at a random moment; after the object and before its row; after the
# row and before the next step.
MOMENTS = ("random", "object", "random", "row")

JOB = """
    SELECT j.id FROM jobs j JOIN versions v ON v.id = j.version_id
    JOIN documents d ON d.id = v.document_id WHERE d.slug = 'killed'
"""
TOKEN = "SELECT token FROM leases WHERE job_id = %s AND role = 'train'"
OTHERS = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
# `lift run`, telling through a pipe when its training begins and which step it is about to commit. With a
# moment and a number it kills itself there at that commit.
RUN = """
import os, signal, sys
from lift_core.cli import main
from lift_core.registry import AdapterRegistry

talk, moment, number = os.fdopen(int(sys.argv[1]), "w"), sys.argv[2], int(sys.argv[3])
acquire, save_checkpoint = AdapterRegistry.acquire, AdapterRegistry.save_checkpoint
commits = 0

def tell_acquire(self, job_id, role, holder):
    lease = acquire(self, job_id, role, holder)
    if role == "train":
        print("train", file=talk, flush=True)
    return lease

def die_beside_save(self, lease, checkpoint):
    global commits
    commits += 1
    print(checkpoint.step, file=talk, flush=True)
    if (moment, number) == ("object", commits):
        os.kill(os.getpid(), signal.SIGKILL)
    save_checkpoint(self, lease, checkpoint)
    if (moment, number) == ("row", commits):
        os.kill(os.getpid(), signal.SIGKILL)

AdapterRegistry.acquire, AdapterRegistry.save_checkpoint = tell_acquire, die_beside_save
sys.argv[:4] = ["lift"]
main()
"""


class Run:
    """``lift run`` in a process of its own. ``steps``: those that it told it was about to commit."""

    def __init__(self, words, environment, moment="none", number=0):
        self.steps = []
        ours, theirs = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(theirs), moment, str(number), "run", *words, "--json"],
            env=environment,
            pass_fds=[theirs],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(theirs)
        self._talk = os.fdopen(ours)

    def hear(self):
        """The next thing that it tells: that its training begins, or a step; empty at its end."""
        said = self._talk.readline().strip()
        if said.isdecimal():
            self.steps.append(int(said))
        return said

    def kill(self):
        self._process.kill()
        self.end(-signal.SIGKILL)

    def end(self, expected=0):
        """Hear it out; what it printed."""
        while self.hear():
            pass
        printed, told = self._process.communicate(timeout=120)
        self._talk.close()
        assert self._process.returncode == expected, told
        return printed


@pytest.fixture
def recipe(tmp_path):
    """The path of a recipe that trains bit by bit the same on every run."""
    recipe = load_recipe("smoke")
    assert recipe.training.precision == "fp32"
    path = tmp_path / "kills.json"
    path.write_text(recipe.model_dump_json())
    return path


@pytest.fixture
def document(tmp_path):
    """Write the same text under a name: two documents, which are to end with the same adapter."""
    chance = random.Random(SEED)

    def word():
        return "".join(chance.choice("bdfklmnprst") + chance.choice("aeiou") for _ in range(4))

    sentences = [
        f"In {1200 + number} the {word()} of {word()} was given to {word()}."
        for number in range(KILLS * SENTENCES_PER_KILL)
    ]

    def write(name):
        path = tmp_path / name
        path.write_text("# The Annals of Skarholm\n\n" + "\n".join(sentences) + "\n")
        return path

    return write


@pytest.fixture
def run(environment, recipe):
    """Start ``lift run`` on a file; ``variables`` are settings of its environment."""

    def start(file, moment="none", number=0, **variables):
        words = [str(file), "--recipe", str(recipe)]
        return Run(words, environment | {"OMP_NUM_THREADS": "1"} | variables, moment, number)

    return start


@pytest.fixture
def learned(registry, store, settings):
    """The sha256 of an adapter's files, but for the record of its making; and the loss of each step."""

    def read(name):
        adapter, record = registry.adapter(name), "training_record.json"
        made = json.loads(store.get_bytes(settings.adapters_bucket, f"{adapter.prefix}{record}"))
        files = {file: sha256 for file, sha256 in adapter.files.items() if file != record}
        return files, made["result"]["losses"]

    return read


@pytest.fixture
def objects(store, settings):
    """Keys of the checkpoints in the store that an attempt, or any, put for a job."""

    def read(job, token=None):
        prefix = f"jobs/{job}/checkpoints/" + (f"{token:06d}/" if token else "")
        return {found.key for found in store.list(settings.work_bucket, prefix)}

    return read


@pytest.mark.timeout(180 + 60 * KILLS)
@pytest.mark.usefixtures("tiny_model")
def test_a_training_killed_at_any_moment_ends_with_the_same_adapter(
    registry, store, settings, sql, document, run, learned, objects
):
    undisturbed = json.loads(run(document("undisturbed.md")).end())
    files, losses = learned(undisturbed["adapter"])
    assert {"adapter_model.safetensors", "adapter_config.json"} <= files.keys()

    file = document("killed.md")
    chance = random.Random(SEED)
    job, done, tokens = None, 0, [0]
    for kill in range(KILLS):
        moment, commits = MOMENTS[kill % len(MOMENTS)], chance.randint(1, MOST_COMMITS)
        attempt = run(file, moment, commits, LIFT_CHECKPOINT_SECONDS="0")
        assert attempt.hear() == "train"
        if moment == "random":
            for _ in range(chance.randint(0, MOST_COMMITS)):
                attempt.hear()
            time.sleep(chance.uniform(0, LONGEST_WAIT_SECONDS))
            attempt.kill()
        else:
            attempt.end(-signal.SIGKILL)
            assert len(attempt.steps) == commits

        # What it sent last may still be on its way into the database.
        assert wait_until(lambda: sql(OTHERS) == [(0,)], 30)
        [(job,)] = sql(JOB)
        # It went on after the last step that was committed, and committed one step after the other.
        [(token,)], known = sql(TOKEN, job), registry.checkpoint(job)
        assert token > tokens[-1]
        tokens.append(token)
        assert attempt.steps == [*range(done + 1, done + 1 + len(attempt.steps))]
        begun, done = done + len(attempt.steps), known.step if known else 0
        assert done < len(losses)
        if moment == "random":
            assert begun - done in (0, 1)
        else:
            # It died where it was to die: the last object is there, and its row is not; or the row is there
            # too, and the object before is still to be deleted.
            assert begun - done == (1 if moment == "object" else 0)
            assert objects(job, token) == {
                layout.checkpoint_key(job, token, step) for step in attempt.steps[-2:]
            }

    last = run(file, LIFT_CHECKPOINT_SECONDS="0")
    adapter = json.loads(last.end())["adapter"]
    assert last.steps == [*range(done + 1, len(losses) + 1)]
    assert learned(adapter) == (files, losses)

    # One adapter, of the last attempt; all that is left is what the others put and nothing refers to.
    [(token,)] = sql(TOKEN, job)
    assert token > tokens[-1]
    assert registry.checkpoint(job) is None
    assert [each.name for each in registry.adapters().adapters] == [adapter, undisturbed["adapter"]]
    keeper, left = Housekeeping(registry, store, settings), objects(job)
    assert left
    assert {each.key for each in keeper.orphans(older_than=timedelta(0), delete=True)} == left
    assert objects(job) == set()
