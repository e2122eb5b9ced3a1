"""docs/cli.md is what its generator prints, at any width of the terminal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize("columns", ["40", "200"])
def test_command_reference_is_what_the_generator_prints(columns):
    done = subprocess.run(
        [sys.executable, DOCS / "generate_cli.py"],
        env=os.environ | {"COLUMNS": columns, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = (DOCS / "cli.md").read_text("utf-8")
    assert done.stdout == written, "docs/cli.md is not what the commands say of themselves: run `make docs`"
