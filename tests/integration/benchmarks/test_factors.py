"""The processes in which the benchmark ``factors`` trains: what ends the benchmark ends them."""

import multiprocessing
import signal
import time

from lift_core.benchmarks import factors
from lift_core.recipes import load_recipe


def stuck(seconds):
    time.sleep(seconds)


def test_the_end_of_the_learners_ends_what_they_do(monkeypatch, tmp_path):
    monkeypatch.setattr(factors, "base_model_folder", lambda *_: tmp_path)
    monkeypatch.setattr(factors, "_begin", nothing_to_load)
    before = set(multiprocessing.active_children())
    with factors.learners(load_recipe("embedded"), None) as pool:
        pool.submit(stuck, 600)
        started = set(multiprocessing.active_children()) - before
        assert started
    for child in started:
        child.join(60)
        assert child.exitcode == -signal.SIGKILL


def nothing_to_load(*_):
    """In place of loading a model."""
