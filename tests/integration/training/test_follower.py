"""The processes of one training: how they come together, and what happens when one of them dies."""

import signal
import socket
import subprocess
import sys

import psutil
import pytest
import torch

from lift_core.errors import TransientError
from lift_core.records import LoraRecipe, QAPair, Recipe, TrainingRecipe
from lift_core.training import Backbone, parallel, train
from lift_core.training.parallel import from_environment, team
from lift_core.training.stepper import Stepper

pytestmark = pytest.mark.skipif(torch.cuda.device_count() == 1, reason="two processes need two GPUs, or none")

RECIPE = Recipe(
    base_model="tiny-random",
    lora=LoraRecipe(rank=4, alpha=8),
    training=TrainingRecipe(
        precision="fp32", epochs=2, pairs_per_step=4, learning_rate=5e-3, token_budget=400
    ),
)
PAIRS = [
    QAPair(segment=n, question=f"Who built lighthouse number {n}?", answer=f"Keeper {n % 3}")
    for n in range(10)
]
WAIT = 120


def run(backbone, folder, **options):
    return train(
        PAIRS,
        recipe=RECIPE,
        title="Marra",
        base_path=backbone.folder,
        out_dir=folder,
        backbone=backbone,
        **options,
    )


def children():
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "lift_core.training.follower" in child.cmdline()
    ]


@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
def test_a_follower_that_is_killed_ends_the_training_with_its_name(tiny, tmp_path, monkeypatch, shard):
    loss_sums = Stepper.loss_sums
    passes = []

    def watched(self, group):
        passes.append(group)
        if len(passes) == 2:
            # Told to leave, it stays: rank 0 decides when to leave, and needs it until then.
            follower.send_signal(signal.SIGTERM)
        if len(passes) == 5:
            follower.kill()
        return loss_sums(self, group)

    monkeypatch.setattr(Stepper, "loss_sums", watched)
    with (
        pytest.raises(TransientError, match="training process 1 was ended by SIGKILL"),
        team(2, wait_seconds=WAIT) as ranks,
    ):
        (follower,) = children()
        run(Backbone(tiny, "fp32", ranks, shard=shard), tmp_path)
    assert len(passes) == 5
    assert not (tmp_path / "adapter_model.safetensors").exists()
    assert children() == []


def test_a_follower_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(parallel, "_OBITUARY_SECONDS", 0)
    with (
        pytest.raises(TransientError, match="cannot go on with the others"),
        team(2, 5) as ranks,
    ):
        (follower,) = children()
        follower.suspend()
        ranks.tell("compare", [])
    assert children() == []


def test_a_follower_that_cannot_start_is_said_at_once(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TransientError, match="training process 1 ended with code 1 before"), team(2):
        pytest.fail("a process is missing")


# It never comes to where the processes meet: there is no connection whose end they would notice.
LEADER = """
import time
from lift_core.training import parallel

def wait(self, store):
    print("started", flush=True)
    time.sleep(600)

parallel._Followers.await_ready = wait
with parallel.team(2):
    pass
"""


def test_followers_end_when_the_process_that_trains_is_killed():
    with subprocess.Popen([sys.executable, "-c", LEADER], stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout.readline() == "started\n"
        (follower,) = psutil.Process(leader.pid).children()
        leader.kill()
        follower.wait(timeout=WAIT)


# Two things that only the follower meets: a device that is smaller than the first one's, and weights that are
# not what they should be.
FOLLOWER = """
import torch
from lift_core.training.follower import follow
from lift_core.training.parallel import from_environment
from lift_core.training.stepper import Stepper

loss_sums, compare = Stepper.loss_sums, Stepper.compare
refused, compared = [], []

def small_device(self, group):
    tokens = sum(each.length for batch in group for each in batch.examples)
    if tokens > 120:
        refused.append(tokens)
        raise torch.OutOfMemoryError("a device that holds 120 tokens")
    return loss_sums(self, group)

def spoilt(self, names):
    compared.append(names)
    if names == ["spoilt"]:
        assert refused and compared == [["default"], ["spoilt"]]
        next(iter(self._parameters["spoilt"].values())).data[0, 0] += 1e-7
    compare(self, names)

Stepper.loss_sums, Stepper.compare = small_device, spoilt
with from_environment() as ranks:
    follow(ranks)
"""


def test_processes_that_torchrun_starts_agree_on_memory_and_on_the_adapter(tiny, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    for name, value in {**meeting, "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    wanted = run(Backbone(tiny, "fp32"), tmp_path / "one")
    with subprocess.Popen([sys.executable, "-c", FOLLOWER], stderr=subprocess.PIPE, text=True) as follower:
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("LOCAL_RANK", "0")
        with from_environment(wait_seconds=WAIT) as ranks:
            backbone = Backbone(tiny, "fp32", ranks)
            found = run(backbone, tmp_path / "two")
            assert found.losses == pytest.approx(wanted.losses, rel=1e-4)
            with (
                pytest.raises(TransientError, match="different adapters"),
                backbone.adapters(["spoilt"], RECIPE.lora, [0]) as adapters,
            ):
                Stepper(adapters, {"spoilt": RECIPE.training}).compare(["spoilt"])
            assert follower.wait(timeout=WAIT) == 1
        assert "different adapters" in follower.stderr.read()
