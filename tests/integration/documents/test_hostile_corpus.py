"""More than a hundred files that are broken or made to do harm: an error that helps, or a sensible text.

Each group is read by one process (``hostile.py``), whose limits bound time and memory.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .hostile import CONVERT_MEMORY, GROUPS, cases

CHECKOUT = Path(__file__).parents[3]
OWN_MEMORY = 600 * 2**20
"""Of the process that reads. Its largest document has 20 MiB, and is held as bytes, text and segments."""
REMEDY = re.compile(r"\b(save|split|allow|print|run|unpack|rename|put|open|give)\b")


def test_there_are_more_than_a_hundred_different_files():
    names = [(group, case.name) for group in GROUPS for case in cases(group)]
    assert len(set(names)) == len(names) > 150


@pytest.mark.parametrize("group", GROUPS)
def test_each_ends_with_a_clear_error_or_a_sensible_text(group, subtests):
    command = [sys.executable, "-m", f"{__package__}.hostile", group]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    expected = list(cases(group))
    assert [each["case"] for each in found] == [case.name for case in expected], ended.stderr[-2000:]
    for case, came in zip(expected, found, strict=True):
        with subtests.test(case.name):
            if "error" in came:
                assert case.refusal, came["error"]
                assert re.search(case.refusal, came["error"], re.S)
                assert came["error"].startswith(f"'{case.key}'")
                assert REMEDY.search(came["error"].removeprefix(f"'{case.key}'"))
                assert len(came["error"]) < 400 + len(case.key)
            else:
                assert came["as_expected"], came["text"]
                assert came["title"].strip()
                assert came["lost"] == ""
            assert came["own_bytes"] < OWN_MEMORY
            assert came["converters_bytes"] < CONVERT_MEMORY
