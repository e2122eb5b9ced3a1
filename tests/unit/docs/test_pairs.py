"""docs/pairs.md explains every reason that the gate gives."""

import re
from pathlib import Path

from lift_core.synthesis import reasons

PAGE = Path(__file__).resolve().parents[3] / "docs" / "pairs.md"


def test_every_reason_is_explained_in_the_order_of_its_gravity():
    table = PAGE.read_text("utf-8").split("| reason | what it says |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \| .+ \|$", table, re.MULTILINE) == list(reasons())
