"""The ``lift`` command in the tests' own process, on the real registry."""

import json
import os
import sys
from typing import NamedTuple

import pytest

from lift_core.cli import main
from lift_core.settings import get_settings


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def lift(stack_home, registry, store, monkeypatch, capsys):
    """Run ``lift …`` in this process; its exit code and what it said."""
    for name in [name for name in os.environ if name.startswith("LIFT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIFT_HOME", str(stack_home))
    monkeypatch.setenv("COLUMNS", "200")
    get_settings.cache_clear()

    def run(*words, check=True):
        monkeypatch.setattr(sys, "argv", ["lift", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        done = Done(ended.value.code or 0, *capsys.readouterr())
        if check:
            assert done.returncode == 0, done.stderr
        return done

    run.json = lambda *words: json.loads(run(*words, "--json").stdout)
    yield run
    get_settings.cache_clear()
