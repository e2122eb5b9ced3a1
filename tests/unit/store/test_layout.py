"""Where things lie: names from outside open no folder, leave none, and never meet in one."""

import re

import pytest

from lift_core.store import layout

DIGEST = "0123456789abcdef" * 4


def test_results_lie_by_their_conditions_and_model():
    assert layout.evaluation_prefix(DIGEST, None) == "evaluations/0123456789abcdef/base/"
    assert layout.evaluation_prefix(DIGEST, "report-v1") == "evaluations/0123456789abcdef/report-v1/"


def test_a_plain_run_is_read_in_the_key_and_another_one_is_told_from_it():
    assert layout.report_prefix("manual-1", "report-v1") == "reports/manual-1/report-v1/"
    scheduled = layout.report_prefix("scheduled__2026-01-01T00:00:00+00:00", "report-v1")
    assert re.fullmatch(r"reports/scheduled__2026-01-01T00_00_00_00_00-[0-9a-f]{12}/report-v1/", scheduled)
    assert scheduled != layout.report_prefix("scheduled__2026-01-01T00_00_00_00_00", "report-v1")
    assert scheduled != layout.report_prefix("scheduled__2026-01-01T00:00:00 00:00", "report-v1")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../..", "a/b", "/", "a\\b", "a\x00b", "Größe", "?a=1#b", "\ud800", "x" * 5000]
)
def test_a_name_from_outside_is_one_part_of_the_key_whatever_is_in_it(name):
    for prefix in (
        layout.report_prefix(name, "report-v1"),
        layout.report_prefix("run", name),
        layout.evaluation_prefix(DIGEST, name or "/"),
    ):
        room, first, second, end = prefix.split("/")
        assert room in ("reports", "evaluations") and end == ""
        for part in (first, second):
            assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", part) and len(part) < 200
