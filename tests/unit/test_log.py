"""Logs: every line of a step names its document, whoever writes it; JSON holds for libraries too."""

import json
import logging
import sys

import structlog

from lift_core.log import configure, logger_for, told_of
from lift_core.records import Claim, Recipe

CLAIM = Claim(
    job_id=1,
    run_id="a-v1-12345678-g1",
    slug="a",
    title="A",
    bucket="b",
    key="a.md",
    etag="e",
    size=3,
    version=1,
    recipe=Recipe(),
)


def test_lines_of_a_step_name_the_document_also_those_of_libraries(capsys):
    configure("json")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with told_of(CLAIM, adapter="a-v1"):
        logging.getLogger("some.library").warning("the %s is odd", "file")
        structlog.get_logger("elsewhere").info("working")
        logger_for(CLAIM).info("split", segments=3)
    logging.getLogger("some.library").error("after it")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["the file is odd", "working", "split", "after it"]
    for line in lines[:3]:
        assert (line["document"], line["version"], line["run"]) == ("a", 1, CLAIM.run_id)
        assert line["adapter"] == "a-v1" and line["timestamp"] and line["level"]
    assert lines[0]["logger"] == "some.library"
    assert "document" not in lines[3]
